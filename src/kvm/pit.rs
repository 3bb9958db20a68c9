//! The interval timer in the kernel, as far as other devices have a say in it.

use std::io;
use std::sync::Arc;

use devices::chipset::hpet::LegacyReplacement;
use kvm_bindings::{KVM_PIT_FLAGS_HPET_LEGACY, KVMIO, kvm_reinject_control};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_io_nr;

#[allow(missing_docs, reason = "the macro makes a public function without a comment")]
mod ioctls {
    use super::{KVMIO, ioctl_io_nr};
    ioctl_io_nr!(KVM_REINJECT_CONTROL, KVMIO, 0x71);
}

/// Lets interrupts be lost that come while one is pending (KVM_REINJECT_CONTROL); a new PIT delivers them later.
///
/// # Errors
/// The kernel refuses.
pub fn discard_lost_ticks(vm: &VmFd) -> io::Result<()> {
    let control = kvm_reinject_control::default();
    // SAFETY: the kernel reads one kvm_reinject_control, which lives through the call.
    match unsafe { ioctl_with_ref(vm, ioctls::KVM_REINJECT_CONTROL(), &control) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Silences the PIT's interrupt while the HPET takes its place.
pub struct KernelPit(Arc<VmFd>);

impl KernelPit {
    /// The PIT of `vm`.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self(vm)
    }
}

impl LegacyReplacement for KernelPit {
    fn replace(&mut self, on: bool) {
        let result = self.0.get_pit2().and_then(|mut state| {
            state.flags &= !KVM_PIT_FLAGS_HPET_LEGACY;
            state.flags |= if on { KVM_PIT_FLAGS_HPET_LEGACY } else { 0 };
            self.0.set_pit2(&state)
        });
        if let Err(error) = result {
            // The machine was given a PIT, and its state is what was read.
            log::error!("the interval timer can't be switched: {error}");
        }
    }
}
