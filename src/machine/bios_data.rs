//! What firmware would have left in memory: the tables, the pointers to them, and the BIOS data area. A machine that starts
//! a kernel directly has no firmware; the board lays this out in its place.
//!
//! Everything goes where the memory map has a hole or a reserved range anyhow, the extended BIOS data area (EBDA) and the
//! BIOS segment, and only what is too long for that to the top of low RAM. Each range in the memory map costs the guest time
//! at boot, and so does each place where it looks for a pointer in vain: they lie where Linux looks first.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::acpi::AcpiTables;
use super::board::port;
use super::layout::{BIOS_SEGMENT, EBDA, MemoryLayout};
use super::mptable;
use super::smbios::{EntryPoint, EntryPointError, Smbios};
use crate::boot::e820::E820Entry;

/// The BIOS data area.
const BDA: u64 = 0x400;
const BDA_LEN: usize = 0x100;
/// Words in it, as offsets.
mod bda {
    /// Ports of COM1 to COM4 (zero: absent).
    pub const COM: usize = 0x00;
    /// Ports of LPT1 to LPT3.
    pub const LPT: usize = 0x08;
    /// Segment of the EBDA.
    pub const EBDA: usize = 0x0e;
    /// Equipment list, of which bit 1 is the floating point unit, 2 the mouse, 11:9 the number of serial and 15:14 that of
    /// parallel ports.
    pub const EQUIPMENT: usize = 0x10;
    /// KiB of base memory below the EBDA.
    pub const BASE_MEMORY: usize = 0x13;
}
/// The pointer to the multiprocessor table, behind the word that the EBDA begins with.
const MP_POINTER: u64 = EBDA.start + 0x10;

/// What the BIOS data area lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Equipment {
    /// COM1 to COM4.
    pub com: [bool; 4],
    /// LPT1.
    pub lpt: bool,
    /// PS/2 mouse.
    pub mouse: bool,
}

/// What to lay out.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Where RAM lies.
    pub layout: &'a MemoryLayout,
    /// The ACPI tables, unless the machine has none (`acpi=off`).
    pub acpi: Option<AcpiTables>,
    /// The SMBIOS tables.
    pub smbios: Smbios,
    /// Which entry point leads to them.
    pub smbios_entry_point: EntryPoint,
    /// The multiprocessor table ([`mptable::build`]).
    pub mptable: Vec<u8>,
    /// What the BIOS data area lists.
    pub equipment: Equipment,
}

/// Why there is no place for something.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BiosDataError {
    /// Low RAM is too small.
    #[error("{0} bytes of tables for the operating system don't fit into RAM: give the machine more of it (-m)")]
    NoRoom(u64),
    /// No SMBIOS entry point.
    #[error(transparent)]
    Smbios(#[from] EntryPointError),
}

/// What to put where. To be written at the start and again at each reset.
#[derive(Clone, Debug)]
pub struct BiosData {
    /// The memory map, with what this takes marked as such.
    pub e820: Vec<E820Entry>,
    /// Where the ACPI root pointer is.
    pub rsdp: Option<u64>,
    chunks: Vec<(u64, Vec<u8>)>,
}

impl BiosData {
    /// Find a place for everything. The guest has to be able to write to the BIOS segment, in which ACPI's FACS may lie.
    ///
    /// # Errors
    /// There is none.
    pub fn lay_out(inputs: Inputs<'_>) -> Result<Self, BiosDataError> {
        let Inputs { layout, acpi, smbios, smbios_entry_point, mptable, equipment } = inputs;
        let mut room = Room { next: BIOS_SEGMENT.start, on_top: 0 };
        // Pointers first: they have to be in the segment, and Linux looks from its start.
        let smbios_pointer = room.take(smbios.entry_point(smbios_entry_point, 0)?.len());
        let rsdp = acpi.as_ref().map(|acpi| room.take(acpi.rsdp.len()));
        let mptable_place = room.take(mptable.len());
        let smbios_place = room.take(smbios.tables.len());
        let acpi_place = acpi.as_ref().map(|acpi| room.take(acpi.tables.len()));

        let top = layout.top_of_low_ram(room.on_top).ok_or(BiosDataError::NoRoom(room.on_top))?;
        // Low RAM ends below 4 GiB.
        let address = |place: Place| match place {
            Place::InSegment(address) => address,
            Place::OnTop(offset) => top.start + offset,
        };
        let mut chunks = vec![
            (BDA, bios_data_area(equipment)),
            (EBDA.start, vec![((EBDA.end - EBDA.start) / 1024) as u8, 0]),
            (MP_POINTER, mptable::floating_pointer(address(mptable_place) as u32).to_vec()),
            (address(mptable_place), mptable),
            (address(smbios_pointer), smbios.entry_point(smbios_entry_point, address(smbios_place) as u32)?),
            (address(smbios_place), smbios.tables),
        ];
        let rsdp = rsdp.map(address);
        if let (Some(acpi), Some(rsdp), Some(place)) = (acpi, rsdp, acpi_place) {
            let placed = acpi.place(address(place) as u32);
            chunks.push((rsdp, placed.rsdp.to_vec()));
            chunks.push((address(place), placed.tables));
        }
        Ok(Self { e820: layout.e820(top), rsdp, chunks })
    }

    /// Write all of it to guest memory.
    ///
    /// # Errors
    /// Guest memory is not what the layout says.
    pub fn write(&self, mem: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
        self.chunks.iter().try_for_each(|(address, bytes)| mem.write_slice(bytes, GuestAddress(*address)))
    }
}

/// A place that was taken.
#[derive(Clone, Copy)]
enum Place {
    /// An address in the BIOS segment.
    InSegment(u64),
    /// An offset into what is taken from the top of low RAM.
    OnTop(u64),
}

/// What is free.
struct Room {
    /// First free address in the BIOS segment.
    next: u64,
    /// How much is taken from the top of low RAM.
    on_top: u64,
}

impl Room {
    /// Every place is a multiple of this, which the ACPI tables ask for.
    const ALIGN: u64 = AcpiTables::ALIGN as u64;

    fn take(&mut self, len: usize) -> Place {
        let len = (len as u64).next_multiple_of(Self::ALIGN);
        if len <= BIOS_SEGMENT.end - self.next {
            self.next += len;
            Place::InSegment(self.next - len)
        } else {
            self.on_top += len;
            Place::OnTop(self.on_top - len)
        }
    }
}

fn bios_data_area(equipment: Equipment) -> Vec<u8> {
    let mut area = vec![0; BDA_LEN];
    let mut word = |at: usize, value: u16| area[at..at + 2].copy_from_slice(&value.to_le_bytes());
    let ports = equipment.com.iter().zip(port::COM).filter_map(|(present, port)| present.then_some(port));
    let mut serial = 0;
    for port in ports {
        word(bda::COM + 2 * usize::from(serial), port);
        serial += 1;
    }
    if equipment.lpt {
        word(bda::LPT, port::LPT[0]);
    }
    word(bda::EBDA, (EBDA.start >> 4) as u16);
    let list = 1 << 1 | u16::from(equipment.mouse) << 2 | serial << 9 | u16::from(equipment.lpt) << 14;
    word(bda::EQUIPMENT, list);
    word(bda::BASE_MEMORY, (EBDA.start / 1024) as u16);
    area
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::chipset::piix4_pm::SleepStates;

    use crate::boot::e820::E820Kind;
    use crate::config::{NumaConfig, SmbiosConfig};
    use crate::machine::acpi::{self, Cpu, Devices, Oem, Purpose, Slots};
    use crate::machine::layout::Rules;
    use crate::machine::smbios::{self, Processors, UserFiles};
    use crate::machine::{board, testing};

    const MIB: u64 = 1 << 20;

    fn layout(ram_size: u64) -> MemoryLayout {
        let rules = Rules {
            ram_size,
            max_ram_below_4g: None,
            phys_bits: 40,
            amd: false,
            pci_hole64_size: Rules::PCI_HOLE64_SIZE,
        };
        MemoryLayout::new(&rules).unwrap()
    }

    fn inputs(layout: &MemoryLayout, cpus: u32) -> Inputs<'_> {
        let apic_ids: Vec<_> = (0..cpus).map(|apic_id| Cpu::new(apic_id, true)).collect();
        let processors = Processors { sockets: cpus as u16, cores: 1, threads: 1, signature: 0, features: 0 };
        let acpi = acpi::Inputs {
            oem: Oem::default(),
            cpus: &apic_ids,
            layout,
            pci_hole64: layout.pci_hole64.clone(),
            pm_base: port::PM,
            slots: &Slots { number: 0, present: 1 << 1, ..Slots::default() },
            sleep: SleepStates::default(),
            purpose: Purpose::Firmware,
            devices: Devices::default(),
            numa: &NumaConfig::default(),
            user_tables: &[],
        };
        let mptable =
            mptable::Inputs { cpus: &apic_ids, signature: 0, features: 0, pins: &[], pirqs: board::irq::PIRQ_DEFAULT };
        Inputs {
            layout,
            acpi: Some(AcpiTables::build(&acpi)),
            smbios: Smbios::build(&smbios::Inputs {
                uuid: [0; 16],
                processors,
                layout,
                firmware: false,
                user: &SmbiosConfig::default(),
                files: &UserFiles::default(),
                onboard_places: &[],
            }),
            smbios_entry_point: EntryPoint::Bits64,
            mptable: mptable::build(&mptable),
            equipment: Equipment::default(),
        }
    }

    /// Lay out and write, check that it is all in memory that the map keeps free, and return that and low RAM.
    fn write(layout: &MemoryLayout, inputs: Inputs<'_>) -> (BiosData, Vec<u8>) {
        let data = BiosData::lay_out(inputs).unwrap();
        let size = layout.low_ram.end as usize;
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]).unwrap();
        data.write(&mem).unwrap();
        let mut ranges: Vec<_> =
            data.chunks.iter().map(|(address, bytes)| *address..*address + bytes.len() as u64).collect();
        ranges.sort_by_key(|range| range.start);
        assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "{ranges:x?}");
        let reserved: Vec<_> =
            data.e820.iter().filter(|e| e.kind == E820Kind::Reserved).map(E820Entry::range).collect();
        // The BIOS data area is known to be there.
        for range in ranges.iter().filter(|range| range.start != BDA) {
            let kept = reserved.iter().any(|kept| kept.start <= range.start && range.end <= kept.end);
            assert!(kept, "{range:x?} is not reserved: {reserved:x?}");
        }
        let mut ram = vec![0; size];
        mem.read_slice(&mut ram, GuestAddress(0)).unwrap();
        (data, ram)
    }

    fn u32_at(ram: &[u8], at: usize) -> usize {
        u32::from_le_bytes(ram[at..at + 4].try_into().unwrap()) as usize
    }

    /// Go from pointer to table as operating systems do: through the EBDA segment in the BIOS data area, and by searching
    /// the BIOS segment at multiples of 16.
    fn follow_pointers(data: &BiosData, ram: &[u8]) {
        let ebda = usize::from(u16::from_le_bytes([ram[0x40e], ram[0x40f]])) << 4;
        let mp = (ebda..ebda + 1024).step_by(16).find(|at| ram[*at..].starts_with(b"_MP_")).unwrap();
        assert!(ram[u32_at(ram, mp + 4)..].starts_with(b"PCMP"));
        let find = |anchor: &[u8]| (0xf_0000..0x10_0000).step_by(16).find(|at| ram[*at..].starts_with(anchor)).unwrap();
        let smbios = find(b"_SM3_");
        assert_eq!(ram[u32_at(ram, smbios + 16)..][..2], [0, 24], "a type 0 structure");
        let rsdp = find(b"RSD PTR ");
        assert_eq!(data.rsdp, Some(rsdp as u64));
        for (pointer, signature) in [(16, b"RSDT"), (24, b"XSDT")] {
            assert!(ram[u32_at(ram, rsdp + pointer)..].starts_with(signature));
        }
    }

    #[test]
    fn all_of_a_small_machine_is_in_the_bios_segment() {
        let layout = layout(32 * MIB);
        let (data, ram) = write(&layout, inputs(&layout, 4));
        follow_pointers(&data, &ram);
        assert_eq!(data.e820, layout.e820(0..0), "no RAM is taken");
    }

    #[test]
    fn what_is_too_long_goes_to_the_top_of_low_ram() {
        let layout = layout(32 * MIB);
        let (data, ram) = write(&layout, inputs(&layout, 1024));
        follow_pointers(&data, &ram);
        let taken = data.e820.iter().find(|entry| entry.addr > MIB && entry.kind == E820Kind::Reserved).unwrap();
        assert_eq!(taken.range().end, 32 * MIB);
    }

    #[test]
    fn tables_beyond_ram_are_refused() {
        let layout = layout(2 * MIB);
        let error = BiosData::lay_out(inputs(&layout, 16384)).unwrap_err();
        assert!(matches!(error, BiosDataError::NoRoom(len) if len > MIB), "{error:?}");
    }

    #[test]
    fn without_acpi_there_is_no_root_pointer() {
        let layout = layout(32 * MIB);
        let (data, ram) = write(&layout, Inputs { acpi: None, ..inputs(&layout, 1) });
        assert_eq!(data.rsdp, None);
        assert!(!ram.windows(8).any(|bytes| bytes == b"RSD PTR "));
    }

    #[test]
    fn the_bios_data_area_lists_what_seabios_lists() {
        let com3 = "isa-serial,iobase=0x3e8,irq=4,chardev=com3";
        let args = ["-serial", "null", "-chardev", "null,id=com3", "-device", com3, "-parallel", "null"];
        let Some(qemu) = testing::qemu_memory("bda", &args) else { return };
        let ours = bios_data_area(Equipment { com: [true, false, true, false], lpt: true, mouse: true });
        assert_eq!(ours[..0x12], qemu.ram[0x400..0x412], "ports, EBDA and equipment");
        assert_eq!(ours[0x13..0x15], qemu.ram[0x413..0x415], "base memory");
    }
}
