//! The kernel side: VM, memory slots, interrupt chip, vCPUs, CPUID, and what KVM leaves to user space.

pub mod cpuid;
pub mod fallback;
pub mod quirks;
