//! What guests of VMware's hypervisor expect, as far as QEMU's machine has it.

mod mouse;
mod port;

pub use mouse::{MAX_COORDINATE, VmMouse};
pub use port::{Identity, VmPort};

#[cfg(test)]
mod tests;
