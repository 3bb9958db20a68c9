//! The state of the interrupt controllers and the interval timer in the kernel, to which a reset returns them.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_PIT_FLAGS_HPET_LEGACY, kvm_irqchip,
    kvm_pit_state2,
};
use kvm_ioctls::VmFd;

use super::vm::VmError;

/// PICs, I/O APIC and PIT as KVM makes them.
pub struct ChipState {
    chips: Vec<kvm_irqchip>,
    pit: kvm_pit_state2,
}

impl ChipState {
    /// Reads the state of chips that nobody has used yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn capture(vm: &VmFd) -> Result<Self, VmError> {
        let chips = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];
        let read = |chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            vm.get_irqchip(&mut chip).map(|()| chip)
        };
        let chips = chips.into_iter().map(read).collect::<Result<_, _>>();
        Ok(Self {
            chips: chips.map_err(VmError::new("read the interrupt controllers"))?,
            pit: vm.get_pit2().map_err(VmError::new("read the interval timer"))?,
        })
    }

    /// Puts the chips back into this state. Whether the HPET has taken the PIT's place is the HPET's to say and stays.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn restore(&self, vm: &VmFd) -> Result<(), VmError> {
        for chip in &self.chips {
            vm.set_irqchip(chip).map_err(VmError::new("reset the interrupt controllers"))?;
        }
        let now = vm.get_pit2().map_err(VmError::new("read the interval timer"))?;
        let kept = now.flags & KVM_PIT_FLAGS_HPET_LEGACY;
        let pit = kvm_pit_state2 { flags: self.pit.flags & !KVM_PIT_FLAGS_HPET_LEGACY | kept, ..self.pit };
        vm.set_pit2(&pit).map_err(VmError::new("reset the interval timer"))
    }
}
