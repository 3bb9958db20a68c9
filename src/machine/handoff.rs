//! What firmware would have set up before an operating system starts: for kernels that are started without any.
//!
//! Everything goes through the guest's own doors (configuration space), with the values SeaBIOS leaves behind.

use std::io;

use devices::base::Bus;
use devices::pci::{PciAddress, PciBus};
use kvm_bindings::{KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip};
use kvm_ioctls::{VcpuFd, VmFd};

use super::board::{irq, pci, port};
use super::pci_pins::{self, Pin};

const PAM0: u8 = 0x59;
const INTERRUPT_LINE: u8 = 0x3c;
/// Bus number registers of a PCI bridge: primary, secondary, subordinate; the latency timer is above them.
const PRIMARY_BUS: u8 = 0x18;
/// Registers of the PIIX4 power management function (Intel 290562).
const PMBA: u8 = 0x40;
const PMREGMISC: u8 = 0x80;
const SMBBA: u8 = 0x90;
const SMBHSTCFG: u8 = 0xd2;
/// Registers of the PIIX3 IDE function (Intel 290550): command, base of the bus master, timing with the decode enable bits.
const COMMAND: u8 = 0x04;
const BMIBA: u8 = 0x20;
const IDETIM: u8 = 0x40;

/// Command of the keyboard controller that writes its command byte, and that byte: translation, mouse off, keyboard
/// interrupt on.
const KBC_WRITE_COMMAND_BYTE: u8 = 0x60;
const KBC_COMMAND_BYTE: u8 = 0x61;

/// The local APIC's registers that firmware sets, by their offset in the APIC page (Intel SDM volume 3, table 11-1), with
/// the values that SeaBIOS leaves: enabled, spurious vector FFh, LINT0 ExtINT, LINT1 NMI, both level triggered.
const LOCAL_APIC: [(usize, u32); 3] = [(0x0f0, 0x1ff), (0x350, 0x8700), (0x360, 0x8400)];

/// Sets up the chipset: RAM where ROM was, PCI interrupts routed, power management registers in place.
pub fn chipset(bus: &PciBus) {
    let host_bridge = PciAddress::slot(0);
    bus.config_write(host_bridge, PAM0, 1, 0x30);
    bus.config_write(host_bridge, PAM0 + 1, 4, 0x3333_3333);
    bus.config_write(host_bridge, PAM0 + 5, 2, 0x3333);

    let isa_bridge = place(pci::ISA_BRIDGE);
    for (register, irq) in (pci::PIRQRCA..).zip(irq::PIRQ_DEFAULT) {
        bus.config_write(isa_bridge, register, 1, irq.into());
    }
    // Without ACPI there is no such function, and nobody to take this.
    let power = place(pci::POWER);
    bus.config_write(power, PMBA, 4, u32::from(port::PM) | 1);
    bus.config_write(power, PMREGMISC, 1, 1);
    bus.config_write(power, SMBBA, 4, u32::from(port::SMBUS) | 1);
    bus.config_write(power, SMBHSTCFG, 1, 0x09);

    let ide = place(pci::IDE);
    bus.config_write(ide, BMIBA, 4, u32::from(port::IDE_MASTER) | 1);
    bus.config_write(ide, COMMAND, 2, 0x0005);
    bus.config_write(ide, IDETIM, 4, 0x8000_8000);

    number_buses(bus, 0);
    pci_pins::for_each(bus, &mut |bus, address, Pin { slot, pin }| {
        let irq = pci::interrupt(slot, pin, irq::PIRQ_DEFAULT);
        bus.config_write(address, INTERRUPT_LINE, 1, irq.into());
    });
}

/// Numbers the buses behind the bridges of `bus`, which has number `own`, each before those behind it. Returns the last number.
fn number_buses(bus: &PciBus, own: u8) -> u8 {
    bus.secondaries().into_iter().fold(own, |last, (bridge, secondary)| {
        let number = last.saturating_add(1);
        let subordinate = number_buses(&secondary, number);
        let numbers = u32::from_le_bytes([own, number, subordinate, 0]);
        bus.config_write(bridge, PRIMARY_BUS, 4, numbers);
        subordinate
    })
}

/// Switches the keyboard controller on: keyboard with its interrupt and translation to scan code set 1, mouse off. Without
/// a controller nothing happens.
pub fn keyboard_controller(ports: &Bus) {
    ports.write(port::KBC_COMMAND.into(), &[KBC_WRITE_COMMAND_BYTE]);
    ports.write(port::KBC_DATA.into(), &[KBC_COMMAND_BYTE]);
}

/// Makes the 8259 inputs of PCI interrupts level triggered (ELCR), where the 8259s are on the board.
pub fn interrupt_controllers(ports: &Bus) {
    ports.write(port::PIC[2].into(), &level_triggered());
}

/// The two bytes of ELCR.
fn level_triggered() -> [u8; 2] {
    irq::PIRQ_DEFAULT.iter().fold(0_u16, |mask, irq| mask | 1 << irq).to_le_bytes()
}

/// As [`interrupt_controllers`], where they are in the kernel.
///
/// # Errors
/// The kernel refuses.
pub fn kernel_interrupt_controllers(vm: &VmFd) -> io::Result<()> {
    for (chip_id, elcr) in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE].into_iter().zip(level_triggered()) {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        vm.get_irqchip(&mut chip).map_err(error)?;
        chip.chip.pic.elcr = elcr;
        vm.set_irqchip(&chip).map_err(error)?;
    }
    Ok(())
}

/// Lets the 8259's interrupts through to the first processor, and non-maskable ones to it.
///
/// # Errors
/// The kernel refuses.
pub fn local_apic(vcpu: &VcpuFd) -> io::Result<()> {
    let mut lapic = vcpu.get_lapic().map_err(error)?;
    for (offset, value) in LOCAL_APIC {
        for (register, byte) in lapic.regs[offset..].iter_mut().zip(value.to_le_bytes()) {
            *register = byte.cast_signed();
        }
    }
    vcpu.set_lapic(&lapic).map_err(error)
}

fn error(errno: kvm_ioctls::Error) -> io::Error {
    io::Error::from_raw_os_error(errno.errno())
}

fn place((slot, function): (u8, u8)) -> PciAddress {
    PciAddress { slot, function }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_behind_bridges_are_told_their_interrupt_too() {
        let (root, inner) = pci_pins::tests::tree();
        chipset(&root);
        let told = |bus: &PciBus, slot| bus.config_read(PciAddress::slot(slot), INTERRUPT_LINE, 1);
        // PIRQA and B are IRQ 10, C and D 11. INTA# of slot 5 is PIRQA; INTB# and INTA# of slot 4 are PIRQA and D.
        assert_eq!((told(&root, 5), told(&inner, 3), told(&inner, 6)), (10, 10, 11));
    }

    #[test]
    fn buses_are_numbered_depth_first() {
        let (root, inner) = pci_pins::tests::tree();
        chipset(&root);
        let numbers = |bus: &PciBus, slot| bus.config_read(PciAddress::slot(slot), PRIMARY_BUS, 4);
        // Slot 4 comes first, with the bridges in its slots 2 and 7 behind it, the former with two more behind it.
        assert_eq!(numbers(&root, 4), 0x0005_0100);
        assert_eq!((numbers(&inner, 3), numbers(&inner, 6)), (0x0003_0302, 0x0004_0402));
        assert_eq!(numbers(&root, 5), 0x0006_0600);
    }
}
