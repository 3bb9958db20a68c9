//! The state of the interrupt controllers and the interval timer in the kernel, to which a reset returns them.

use devices::chipset::i8259::PicRegisters;
use devices::chipset::ioapic::IoapicRegisters;
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_PIT_FLAGS_HPET_LEGACY, kvm_irqchip,
    kvm_pit_state2,
};
use kvm_ioctls::VmFd;

use super::vm::VmError;

/// The I/O APIC in the kernel is an 82093AA.
const KERNEL_IOAPIC_VERSION: u8 = 0x11;

/// What the 8259 pair and the I/O APIC hold now.
///
/// # Errors
/// The kernel refuses.
pub fn registers(vm: &VmFd) -> Result<([PicRegisters; 2], IoapicRegisters), VmError> {
    let read = |chip_id| {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        vm.get_irqchip(&mut chip).map(|()| chip).map_err(VmError::new("read the interrupt controllers"))
    };
    let pic = |chip_id| {
        let chip = read(chip_id)?.chip;
        // SAFETY: all bit patterns are a pic: it is plain integers, as everything else in the union.
        let pic = unsafe { chip.pic };
        Ok(PicRegisters {
            irr: pic.irr,
            imr: pic.imr,
            isr: pic.isr,
            highest: pic.priority_add,
            vector_base: pic.irq_base,
            read_isr: pic.read_reg_select != 0,
            elcr: pic.elcr,
            special_fully_nested: pic.special_fully_nested_mode != 0,
        })
    };
    let chip = read(KVM_IRQCHIP_IOAPIC)?.chip;
    // SAFETY: all bit patterns are an I/O APIC: it is plain integers, as everything else in the union.
    let ioapic = unsafe { chip.ioapic };
    let entries = ioapic.redirtbl.map(|entry| {
        // SAFETY: both variants are the same 64 bits.
        unsafe { entry.bits }
    });
    let ioapic = IoapicRegisters {
        version: KERNEL_IOAPIC_VERSION,
        id: ioapic.id as u8,
        selected: ioapic.ioregsel as u8,
        requests: ioapic.irr,
        entries,
    };
    Ok(([pic(KVM_IRQCHIP_PIC_MASTER)?, pic(KVM_IRQCHIP_PIC_SLAVE)?], ioapic))
}

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
