//! Instructions that KVM does not emulate, performed in user space.
