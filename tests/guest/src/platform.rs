//! Processors and interrupt controllers as the firmware describes them: the MADT of ACPI or, without ACPI, the MP table
//! (Intel MultiProcessor Specification 1.4, chapter 4).

use crate::{
    acpi::{self, Acpi},
    ioapic::Trigger,
    memory::{self, u16_at, u32_at},
};

/// Where the MP floating pointer is looked for: the last KiB of base memory, and the BIOS.
const MP_AREAS: [(u64, usize); 2] = [(0x9_fc00, 0x400), (0xf_0000, 0x1_0000)];
const MP_POINTER_SIZE: usize = 16;
const MP_HEADER: usize = 44;
const MADT_HEADER: usize = 44;

/// Flag of a processor's entry, in both tables: the processor is usable.
const PROCESSOR_ENABLED: u32 = 1;
/// Flags of an interrupt's entry, in both tables; 0 in a field means what is usual for the bus: for ISA, edge and high.
const POLARITY: u16 = 3;
const POLARITY_LOW: u16 = 3;
const TRIGGER: u16 = 3 << 2;
const TRIGGER_LEVEL: u16 = 3 << 2;

/// What one entry of the table says, if it is of interest here.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Processor { apic_id: u32 },
    IoApic { address: u64 },
    IsaInterrupt { irq: u8, pin: u32, trigger: Trigger },
    Other,
}

/// The table.
#[derive(Clone, Copy)]
pub enum Platform {
    /// ACPI's.
    Madt(&'static [u8]),
    /// The older one.
    MpTable(&'static [u8]),
}

impl Platform {
    /// The MADT if there is one, else the MP table if there is one.
    pub fn find(acpi: Option<&Acpi>) -> Option<Self> {
        let madt = acpi.and_then(|acpi| acpi.table("APIC"));
        madt.map(|madt| Self::Madt(madt.bytes)).or_else(|| Some(Self::MpTable(find_mp_table()?)))
    }

    /// What the table is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Madt(_) => "MADT",
            Self::MpTable(_) => "MP table",
        }
    }

    /// The local APIC ids of the processors that can be used.
    pub fn processors(&self) -> impl Iterator<Item = u32> + use<> {
        self.entries().filter_map(|entry| if let Entry::Processor { apic_id } = entry { Some(apic_id) } else { None })
    }

    /// The address of the I/O APIC that has the ISA interrupts.
    pub fn io_apic(&self) -> Option<u64> {
        self.entries().find_map(|entry| if let Entry::IoApic { address } = entry { Some(address) } else { None })
    }

    /// The I/O APIC's pin for an ISA interrupt, and how it is triggered.
    pub fn isa_interrupt(&self, irq: u8) -> (u32, Trigger) {
        let told = self.entries().find_map(|entry| match entry {
            Entry::IsaInterrupt { irq: source, pin, trigger } if source == irq => Some((pin, trigger)),
            _ => None,
        });
        told.unwrap_or((irq.into(), Trigger::default()))
    }

    fn entries(&self) -> Entries {
        let (Self::Madt(table) | Self::MpTable(table)) = *self;
        let header = if matches!(self, Self::Madt(_)) { MADT_HEADER } else { MP_HEADER };
        Entries { platform: *self, rest: table.get(header..).unwrap_or_default(), isa_bus: None }
    }
}

/// The entries of a table, in turn. A broken one ends it.
struct Entries {
    platform: Platform,
    rest: &'static [u8],
    /// The number that the MP table gave to the ISA bus.
    isa_bus: Option<u8>,
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let kind = *self.rest.first()?;
        let size = match (self.platform, kind) {
            (Platform::Madt(_), _) => usize::from(*self.rest.get(1)?),
            (Platform::MpTable(_), 0) => 20,
            (Platform::MpTable(_), _) => 8,
        };
        let (entry, rest) = self.rest.split_at_checked(size.max(2))?;
        self.rest = rest;
        match self.platform {
            Platform::Madt(_) => madt_entry(kind, entry),
            Platform::MpTable(_) => self.mp_entry(kind, entry),
        }
    }
}

impl Entries {
    fn mp_entry(&mut self, kind: u8, entry: &[u8]) -> Option<Entry> {
        Some(match kind {
            0 if u32::from(entry[3]) & PROCESSOR_ENABLED != 0 => Entry::Processor { apic_id: entry[1].into() },
            1 => {
                if entry[2..8] == *b"ISA   " {
                    self.isa_bus = Some(entry[1]);
                }
                Entry::Other
            }
            2 => Entry::IoApic { address: u32_at(entry, 4)?.into() },
            // An ordinary interrupt (type 0), not an NMI or the 8259's.
            3 if entry[1] == 0 && self.isa_bus == Some(entry[4]) => {
                Entry::IsaInterrupt { irq: entry[5], pin: entry[7].into(), trigger: trigger(u16_at(entry, 2)?) }
            }
            _ => Entry::Other,
        })
    }
}

fn madt_entry(kind: u8, entry: &[u8]) -> Option<Entry> {
    const LOCAL_APIC: u8 = 0;
    const IO_APIC: u8 = 1;
    const INTERRUPT_OVERRIDE: u8 = 2;
    const LOCAL_X2APIC: u8 = 9;
    Some(match kind {
        LOCAL_APIC if u32_at(entry, 4)? & PROCESSOR_ENABLED != 0 => Entry::Processor { apic_id: entry[3].into() },
        LOCAL_X2APIC if u32_at(entry, 8)? & PROCESSOR_ENABLED != 0 => Entry::Processor { apic_id: u32_at(entry, 4)? },
        // The one whose interrupts are numbered from 0.
        IO_APIC if u32_at(entry, 8)? == 0 => Entry::IoApic { address: u32_at(entry, 4)?.into() },
        INTERRUPT_OVERRIDE => {
            Entry::IsaInterrupt { irq: *entry.get(3)?, pin: u32_at(entry, 4)?, trigger: trigger(u16_at(entry, 8)?) }
        }
        _ => Entry::Other,
    })
}

fn trigger(flags: u16) -> Trigger {
    Trigger { level: flags & TRIGGER == TRIGGER_LEVEL, active_low: flags & POLARITY == POLARITY_LOW }
}

/// The MP configuration table, as long as it says it is.
fn find_mp_table() -> Option<&'static [u8]> {
    let pointer = MP_AREAS.iter().find_map(|(start, size)| {
        // SAFETY: firmware's memory, which nobody writes to any more.
        let area = unsafe { memory::slice::<u8>(*start, *size) }?;
        area.chunks_exact(MP_POINTER_SIZE).find(|chunk| chunk.starts_with(b"_MP_") && acpi::sum(chunk) == 0)
    })?;
    let address = u32_at(pointer, 4)?.into();
    // SAFETY: the same.
    let header = unsafe { memory::slice::<u8>(address, MP_HEADER) }?;
    let length = u16_at(header, 4).filter(|_| header.starts_with(b"PCMP"))?;
    // SAFETY: the same.
    unsafe { memory::slice::<u8>(address, length.into()) }.filter(|table| acpi::sum(table) == 0)
}
