//! The interval timer in the kernel, as far as other devices have a say in it.

use std::sync::Arc;

use devices::chipset::hpet::LegacyReplacement;
use kvm_bindings::KVM_PIT_FLAGS_HPET_LEGACY;
use kvm_ioctls::VmFd;

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
