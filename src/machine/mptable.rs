//! The multiprocessor table (MultiProcessor Specification 1.4): processors and interrupt wiring for operating systems that
//! don't use ACPI, such as Linux with `acpi=off`.
//!
//! Unlike SeaBIOS's it lists every processor, not only the first of each socket.

use super::acpi::Cpu;
use super::board::{irq, pci};
use super::layout::{IOAPIC, LOCAL_APIC};
use super::pci_pins::Pin;

/// Length of the floating pointer structure.
pub const FLOATING_POINTER_LEN: usize = 16;

/// Bus ids, in the order in which the buses are listed.
const PCI_BUS: u8 = 0;
const ISA_BUS: u8 = 1;
/// The only I/O APIC's id.
const IOAPIC_ID: u8 = 0;

/// Entry types.
mod entry {
    pub const PROCESSOR: u8 = 0;
    pub const BUS: u8 = 1;
    pub const IO_APIC: u8 = 2;
    pub const IO_INTERRUPT: u8 = 3;
    pub const LOCAL_INTERRUPT: u8 = 4;
}

/// What an interrupt entry is about.
mod interrupt {
    pub const INT: u8 = 0;
    pub const NMI: u8 = 1;
    pub const EXT_INT: u8 = 3;
}

/// All that the table is made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The processors; the first one starts the others. Those whose id does not fit in eight bits are left out.
    pub cpus: &'a [Cpu],
    /// EAX of CPUID leaf 1.
    pub signature: u32,
    /// EDX of CPUID leaf 1.
    pub features: u32,
    /// Interrupt pins in use on PCI bus 0, in the order of the table. Each is listed once. An operating system looks there for
    /// what is behind bridges, too.
    pub pins: &'a [Pin],
    /// What PIRQA to PIRQD are routed to.
    pub pirqs: [u8; 4],
}

/// Build the configuration table.
pub fn build(inputs: &Inputs<'_>) -> Vec<u8> {
    let mut entries: Vec<u8> = Vec::new();
    let mut count = 0u16;
    let mut add = |bytes: &[u8]| {
        entries.extend(bytes);
        count += 1;
    };
    for (n, cpu) in inputs.cpus.iter().enumerate().filter(|(_, cpu)| cpu.present) {
        // 255 addresses all local APICs.
        let Ok(apic_id @ 0..=254) = u8::try_from(cpu.apic_id) else { continue };
        let flags = 1 | u8::from(n == 0) << 1; // enabled, bootstrap processor
        let mut processor = [entry::PROCESSOR, apic_id, 0x14, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        processor[4..8].copy_from_slice(&inputs.signature.to_le_bytes());
        processor[8..12].copy_from_slice(&inputs.features.to_le_bytes());
        add(&processor);
    }
    add(&[entry::BUS, PCI_BUS, b'P', b'C', b'I', b' ', b' ', b' ']);
    add(&[entry::BUS, ISA_BUS, b'I', b'S', b'A', b' ', b' ', b' ']);
    let [a, b, c, d] = (IOAPIC as u32).to_le_bytes();
    add(&[entry::IO_APIC, IOAPIC_ID, 0x11, 1, a, b, c, d]);

    let mut listed = 0u128;
    for &Pin { slot, pin } in inputs.pins {
        let source = (slot % pci::SLOTS) << 2 | pin & 3;
        if listed & 1 << source != 0 {
            continue;
        }
        listed |= 1 << source;
        // Active high; triggered as is usual on the bus.
        let destination = pci::interrupt(slot, pin, inputs.pirqs);
        add(&[entry::IO_INTERRUPT, interrupt::INT, 1, 0, PCI_BUS, source, IOAPIC_ID, destination]);
    }
    // The cascade input, and what PCI interrupts may be routed to, have no ISA devices.
    let taken = |irq: &u8| *irq == 2 || *irq == irq::SCI || irq::PIRQ_CHOICES.contains(irq);
    for isa_irq in (0..16).filter(|irq| !taken(irq)) {
        let input = if isa_irq == 0 { irq::PIT_GSI } else { isa_irq };
        add(&[entry::IO_INTERRUPT, interrupt::INT, 0, 0, ISA_BUS, isa_irq, IOAPIC_ID, input]);
    }
    // LINT0 of the first processor is the 8259s, LINT1 of all is NMI.
    add(&[entry::LOCAL_INTERRUPT, interrupt::EXT_INT, 0, 0, ISA_BUS, 0, 0, 0]);
    add(&[entry::LOCAL_INTERRUPT, interrupt::NMI, 0, 0, ISA_BUS, 0, 0xff, 1]);

    let mut table = Vec::from(*b"PCMP");
    table.extend((44 + entries.len() as u16).to_le_bytes());
    table.extend([4, 0]); // revision 1.4, checksum
    table.extend(b"BOCHSCPU0.1         ");
    table.extend([0; 6]); // no table of the maker's
    table.extend(count.to_le_bytes());
    table.extend((LOCAL_APIC as u32).to_le_bytes());
    table.extend([0; 4]); // no extended table
    table.extend(entries);
    table[7] = checksum(&table);
    table
}

/// The structure that leads to a table at `address`; to lie at a multiple of 16 in the first KiB of the extended BIOS data
/// area, or in the BIOS segment.
pub fn floating_pointer(address: u32) -> [u8; FLOATING_POINTER_LEN] {
    let mut pointer = *b"_MP_\0\0\0\0\x01\x04\0\0\0\0\0\0"; // length in 16 bytes, revision 1.4, no default configuration
    pointer[4..8].copy_from_slice(&address.to_le_bytes());
    pointer[10] = checksum(&pointer);
    pointer
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn cpus(apic_ids: &[u32]) -> Vec<Cpu> {
        apic_ids.iter().map(|&apic_id| Cpu::new(apic_id, true)).collect()
    }

    /// The table that SeaBIOS makes for QEMU's `pc`, with functions on three slots and a pin that is not A.
    #[test]
    fn says_what_seabios_says() {
        let args =
            ["-smp", "2,sockets=2", "-usb", "-device", "virtio-balloon-pci,addr=4", "-device", "virtio-rng-pci,addr=6"];
        let Some(qemu) = testing::qemu_memory("mptable", &args) else { return };
        let (_, pointer) = qemu.find_in_bios_segment(b"_MP_").expect("SeaBIOS places a floating pointer");
        let pointer = &pointer[..FLOATING_POINTER_LEN];
        let address = u32::from_le_bytes(pointer[4..8].try_into().unwrap());
        let theirs = &qemu.ram[address as usize..];
        let length = usize::from(u16::from_le_bytes([theirs[4], theirs[5]]));

        let inputs = Inputs {
            cpus: &cpus(&[0, 1]),
            signature: 0x60fb1,
            features: 0x078b_fbfd,
            pins: &[(1, 3), (1, 0), (4, 0), (6, 0), (1, 0)].map(|(slot, pin)| Pin { slot, pin }),
            pirqs: irq::PIRQ_DEFAULT,
        };
        assert_eq!(build(&inputs), theirs[..length]);
        assert_eq!(floating_pointer(address)[..10], pointer[..10]);
        assert_eq!(sum(&floating_pointer(address)), 0);
    }

    #[test]
    fn leaves_out_processors_it_has_no_room_for() {
        let mut cpus = cpus(&[0, 254, 255, 256]);
        cpus.push(Cpu::new(2, false));
        let inputs = Inputs { cpus: &cpus, signature: 0, features: 0, pins: &[], pirqs: irq::PIRQ_DEFAULT };
        let table = build(&inputs);
        assert_eq!(sum(&table), 0);
        let processors = table[44..].chunks(20).take_while(|entry| entry[0] == entry::PROCESSOR);
        let ids_and_flags: Vec<_> = processors.map(|entry| (entry[1], entry[3])).collect();
        assert_eq!(ids_and_flags, [(0, 3), (254, 1)]);
        assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
    }
}
