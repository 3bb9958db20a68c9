//! The SMBIOS tables (System Management BIOS 2.8): what the machine is called and what is in it, for inventories.
//!
//! Names, ids and handles are those that QEMU's `pc` shows with SeaBIOS, but for the firmware, of which there is none.

use super::layout::{BIOS_SEGMENT, MemoryLayout};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Who the machine says it is from.
const MANUFACTURER: &str = "QEMU";
/// What it says it is.
const PRODUCT: &str = "Standard PC (i440FX + PIIX, 1996)";
/// The version of the machine type.
const VERSION: &str = "pc-i440fx-7.2";
/// What stands in for a firmware release date: QEMU's. Linux looks at the year. From 2015 on it would leave the RTC's alarm
/// to ACPI, which the power management function has no wire for, instead of having the HPET make up for IRQ 8.
const FIRMWARE_DATE: &str = "04/01/2014";
/// Memory is shown as modules of this size, of which the last may be smaller.
const MODULE_SIZE: u64 = 16 * GIB;

/// No error information structure (types 16 and 17).
const NO_ERROR_HANDLE: u16 = 0xfffe;
/// Handles, by QEMU's scheme.
mod handle {
    pub const BIOS: u16 = 0x0000;
    pub const SYSTEM: u16 = 0x0100;
    pub const CHASSIS: u16 = 0x0300;
    pub const PROCESSOR: u16 = 0x0400;
    pub const MEMORY_ARRAY: u16 = 0x1000;
    pub const MEMORY_DEVICE: u16 = 0x1100;
    pub const MAPPED_ADDRESS: u16 = 0x1300;
    pub const BOOT: u16 = 0x2000;
    pub const END: u16 = 0x7f00;
}

/// What the tables tell of the processors.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    /// Sockets with a processor.
    pub sockets: u16,
    /// Cores in each.
    pub cores: u32,
    /// Threads in each core.
    pub threads: u32,
    /// EAX of CPUID leaf 1.
    pub signature: u32,
    /// EDX of CPUID leaf 1.
    pub features: u32,
}

/// All that the tables are made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The machine's UUID in the order in which it is written.
    pub uuid: [u8; 16],
    /// Its processors.
    pub processors: Processors,
    /// Its memory.
    pub layout: &'a MemoryLayout,
    /// There is firmware, which adds itself to the tables.
    pub firmware: bool,
}

/// Which structure leads to the tables (`smbios-entry-point-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryPoint {
    /// That of SMBIOS 2.1, with a 32-bit address and at most 64 KiB of tables.
    #[default]
    Bits32,
    /// That of SMBIOS 3.0.
    Bits64,
}

/// Why there is no entry point for tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryPointError {
    /// They are longer than a 32-bit entry point can say.
    #[error(
        "{0} bytes of SMBIOS tables are more than the 64 KiB that a 32-bit entry point leads to: set the machine's \
         smbios-entry-point-type to 64"
    )]
    TooLong(usize),
}

/// The tables.
#[derive(Clone, Debug)]
pub struct Smbios {
    /// All structures, one after the other.
    pub tables: Vec<u8>,
    structures: u16,
    longest: u16,
}

impl Smbios {
    /// Build the tables.
    pub fn build(inputs: &Inputs<'_>) -> Self {
        let mut smbios = Self { tables: Vec::new(), structures: 0, longest: 0 };
        if !inputs.firmware {
            smbios.bios();
        }
        smbios.system(&inputs.uuid);
        smbios.chassis();
        smbios.processors(&inputs.processors);
        smbios.memory(inputs.layout);
        // System boot: six reserved bytes, no errors.
        smbios.add(32, handle::BOOT, &[0; 7], &[]);
        smbios.add(127, handle::END, &[], &[]);
        smbios
    }

    /// The entry point for tables at `address`; to lie at a multiple of 16 in the BIOS segment.
    ///
    /// # Errors
    /// The tables are too long for a 32-bit one.
    pub fn entry_point(&self, kind: EntryPoint, address: u32) -> Result<Vec<u8>, EntryPointError> {
        let checksum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
        let mut entry = Vec::new();
        match kind {
            EntryPoint::Bits32 => {
                let too_long = |_| EntryPointError::TooLong(self.tables.len());
                let length = u16::try_from(self.tables.len()).map_err(too_long)?;
                entry.extend(b"_SM_\0\x1f\x02\x08"); // checksum, length, version 2.8
                entry.extend(self.longest.to_le_bytes());
                entry.extend([0; 6]); // revision of the entry point, formatted area
                let intermediate = entry.len();
                entry.extend(b"_DMI_\0");
                entry.extend(length.to_le_bytes());
                entry.extend(address.to_le_bytes());
                entry.extend(self.structures.to_le_bytes());
                entry.push(0x28); // version in BCD
                entry[intermediate + 5] = checksum(&entry[intermediate..]);
                entry[4] = checksum(&entry);
            }
            EntryPoint::Bits64 => {
                entry.extend(b"_SM3_\0\x18\x03\x00\x00\x01\x00"); // checksum, length, version 3.0.0, revision
                entry.extend((self.tables.len() as u32).to_le_bytes());
                entry.extend(u64::from(address).to_le_bytes());
                entry[5] = checksum(&entry);
            }
        }
        Ok(entry)
    }

    /// The entry point as firmware takes it, which fills in the address of the tables and the checksums.
    ///
    /// # Errors
    /// As [`Self::entry_point`].
    pub fn anchor(&self, kind: EntryPoint) -> Result<Vec<u8>, EntryPointError> {
        let mut anchor = self.entry_point(kind, 0)?;
        let checksums: &[usize] = match kind {
            EntryPoint::Bits32 => &[4, 0x15],
            EntryPoint::Bits64 => &[5],
        };
        for at in checksums {
            anchor[*at] = 0;
        }
        Ok(anchor)
    }

    /// Append a structure: header, formatted area, and the strings that the latter numbers from 1.
    fn add(&mut self, kind: u8, handle: u16, formatted: &[u8], strings: &[&str]) {
        let start = self.tables.len();
        self.tables.extend([kind, 4 + formatted.len() as u8]);
        self.tables.extend(handle.to_le_bytes());
        self.tables.extend(formatted);
        for string in strings {
            self.tables.extend(string.as_bytes());
            self.tables.push(0);
        }
        if strings.is_empty() {
            self.tables.push(0);
        }
        self.tables.push(0);
        self.structures += 1;
        self.longest = self.longest.max((self.tables.len() - start) as u16);
    }

    /// Type 0: what stands in for firmware.
    fn bios(&mut self) {
        let mut fields = vec![1, 2];
        fields.extend(((BIOS_SEGMENT.start >> 4) as u16).to_le_bytes());
        fields.extend([3, 0]); // release date, size in 64 KiB less one
        fields.extend((1u64 << 3).to_le_bytes()); // characteristics: not told
        fields.extend([0, 1 << 4 | 1 << 2]); // a virtual machine; updates are not by user
        fields.extend([0xff; 4]); // no release numbers of system firmware and embedded controller
        self.add(0, handle::BIOS, &fields, &["natoma", env!("CARGO_PKG_VERSION"), FIRMWARE_DATE]);
    }

    /// Type 1: the machine as a product.
    fn system(&mut self, uuid: &[u8; 16]) {
        let mut fields = vec![1, 2, 3, 0];
        // The first three fields of the UUID are little-endian numbers here.
        let [a, b, c, d, e, f, g, h, rest @ ..] = *uuid;
        fields.extend([d, c, b, a, f, e, h, g]);
        fields.extend(rest);
        fields.extend([6, 0, 0]); // woken by the power switch; neither SKU number nor family
        self.add(1, handle::SYSTEM, &fields, &[MANUFACTURER, PRODUCT, VERSION]);
    }

    /// Type 3.
    fn chassis(&mut self) {
        let mut fields = vec![1, 1, 2, 0, 0]; // type "other"; neither serial number nor asset tag
        fields.extend([3, 3, 3, 2]); // all states "safe", security "unknown"
        fields.extend([0; 9]); // height, power cords, contained elements, SKU number
        self.add(3, handle::CHASSIS, &fields, &[MANUFACTURER, VERSION]);
    }

    /// Type 4, for each socket.
    fn processors(&mut self, processors: &Processors) {
        let count = |n: u32| u8::try_from(n).unwrap_or(u8::MAX); // ff: more than 254
        let threads = count(processors.cores.saturating_mul(processors.threads));
        let cores = count(processors.cores);
        for socket in 0..processors.sockets {
            let mut fields = vec![1, 3, 1, 2]; // central processor, family "other"
            fields.extend(processors.signature.to_le_bytes());
            fields.extend(processors.features.to_le_bytes());
            fields.extend([3, 0]); // version; voltage unknown
            for mhz in [0u16, 2000, 2000] {
                fields.extend(mhz.to_le_bytes()); // external clock, greatest and current speed
            }
            fields.extend([1 << 6 | 1, 1]); // socket populated, processor enabled; socket "other"
            fields.extend([0xff; 6]); // no cache information
            fields.extend([0; 3]); // serial number, asset tag, part number
            fields.extend([cores, cores, threads]);
            fields.extend((1u16 << 1).to_le_bytes()); // characteristics unknown
            fields.extend(1u16.to_le_bytes()); // family "other"
            let handle = handle::PROCESSOR.wrapping_add(socket);
            self.add(4, handle, &fields, &[&format!("CPU {socket}"), MANUFACTURER, VERSION]);
        }
    }

    /// Types 16 (the array of memory modules), 17 (each of them) and 19 (each stretch of addresses).
    fn memory(&mut self, layout: &MemoryLayout) {
        let size: u64 = layout.ram_regions().map(|region| region.guest.end - region.guest.start).sum();
        let modules = size.div_ceil(MODULE_SIZE) as u16;

        let mut fields = vec![1, 3, 6]; // location "other", system memory, multi-bit ECC
        let (capacity, extended) = if size < 2 * TIB { ((size / KIB) as u32, 0) } else { (0x8000_0000, size) };
        fields.extend(capacity.to_le_bytes());
        fields.extend(NO_ERROR_HANDLE.to_le_bytes());
        fields.extend(modules.to_le_bytes());
        fields.extend(extended.to_le_bytes());
        self.add(16, handle::MEMORY_ARRAY, &fields, &[]);

        for module in 0..modules {
            let size = (size - u64::from(module) * MODULE_SIZE).min(MODULE_SIZE);
            let mut fields = Vec::new();
            for word in [handle::MEMORY_ARRAY, NO_ERROR_HANDLE, 0xffff, 0xffff, (size / MIB) as u16] {
                fields.extend(word.to_le_bytes()); // widths unknown
            }
            fields.extend([9, 0, 1, 0, 7]); // DIMM, in no set; its place, but not its bank; RAM
            fields.extend((1u16 << 1).to_le_bytes()); // of type "other"
            fields.extend([0, 0, 2]); // speed unknown; manufacturer
            fields.extend([0; 16]); // no further strings, attributes, speeds or voltages
            self.add(17, handle::MEMORY_DEVICE + module, &fields, &[&format!("DIMM {module}"), MANUFACTURER]);
        }

        let first_handle = handle::MAPPED_ADDRESS.max(handle::MEMORY_DEVICE + modules);
        for (handle, region) in (first_handle..).zip(layout.ram_regions()) {
            let (start, last) = (region.guest.start, region.guest.end - 1);
            let in_kib = u32::try_from(start / KIB).ok().zip(u32::try_from(last / KIB).ok());
            let in_kib = in_kib.filter(|(_, last)| *last != u32::MAX);
            let extended = if in_kib.is_some() { (0, 0) } else { (start, last) };
            let (start, last) = in_kib.unwrap_or((u32::MAX, u32::MAX));
            let mut fields = Vec::new();
            fields.extend(start.to_le_bytes());
            fields.extend(last.to_le_bytes());
            fields.extend(handle::MEMORY_ARRAY.to_le_bytes());
            fields.push(1); // modules side by side
            fields.extend(extended.0.to_le_bytes());
            fields.extend(extended.1.to_le_bytes());
            self.add(19, handle, &fields, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::layout::Rules;
    use crate::machine::testing;

    fn layout(ram_size: u64) -> MemoryLayout {
        let rules = Rules {
            ram_size,
            max_ram_below_4g: None,
            phys_bits: 46,
            amd: false,
            pci_hole64_size: Rules::PCI_HOLE64_SIZE,
        };
        MemoryLayout::new(&rules).unwrap()
    }

    const UUID: [u8; 16] =
        [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];

    /// qemu64 as TCG shows it.
    const QEMU64: Processors =
        Processors { sockets: 2, cores: 2, threads: 1, signature: 0x60fb1, features: 0x078b_fbfd };

    fn build(ram_size: u64, processors: Processors) -> Smbios {
        Smbios::build(&Inputs { uuid: UUID, processors, layout: &layout(ram_size), firmware: false })
    }

    /// Take tables apart: each structure with its strings, terminators included.
    fn structures(mut tables: &[u8]) -> Vec<&[u8]> {
        let mut structures = Vec::new();
        while !tables.is_empty() {
            let formatted = usize::from(tables[1]);
            let strings = tables[formatted..].windows(2).position(|pair| pair == [0, 0]).unwrap();
            let (structure, rest) = tables.split_at(formatted + strings + 2);
            structures.push(structure);
            tables = rest;
        }
        structures
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn describes_the_machine_as_qemu_does() {
        let args = ["-smp", "4,sockets=2,cores=2", "-uuid", "00112233-4455-6677-8899-aabbccddeeff"];
        let Some(qemu) = testing::qemu_memory("smbios", &args) else { return };
        let (_, entry) = qemu.find_in_bios_segment(b"_SM_").expect("SeaBIOS places an entry point");
        let length = usize::from(u16::from_le_bytes([entry[0x16], entry[0x17]]));
        let address = u32::from_le_bytes(entry[0x18..0x1c].try_into().unwrap()) as usize;
        let theirs = structures(&qemu.ram[address..address + length]);
        let ours = build(32 << 20, QEMU64);
        let ours = structures(&ours.tables);
        // The first is SeaBIOS's own.
        assert_eq!((theirs[0][0], ours[0][0]), (0, 0));
        assert_eq!(ours[1..], theirs[1..]);
    }

    #[test]
    fn entry_points_lead_to_the_tables() {
        let smbios = build(20 * GIB, QEMU64);
        let structures = structures(&smbios.tables);
        let longest = structures.iter().map(|structure| structure.len()).max().unwrap();

        let entry = smbios.entry_point(EntryPoint::Bits32, 0xf_0020).unwrap();
        assert_eq!((entry.len(), &entry[..4], &entry[0x10..0x15]), (0x1f, &b"_SM_"[..], &b"_DMI_"[..]));
        assert_eq!((sum(&entry), sum(&entry[0x10..])), (0, 0));
        assert_eq!(entry[5..8], [0x1f, 2, 8], "length and version");
        assert_eq!(entry[8..10], (longest as u16).to_le_bytes());
        assert_eq!(entry[0x16..0x18], (smbios.tables.len() as u16).to_le_bytes());
        assert_eq!(entry[0x18..0x1c], 0xf_0020u32.to_le_bytes());
        assert_eq!(entry[0x1c..0x1e], (structures.len() as u16).to_le_bytes());

        let entry = smbios.entry_point(EntryPoint::Bits64, 0xf_0020).unwrap();
        assert_eq!((entry.len(), &entry[..5], sum(&entry)), (0x18, &b"_SM3_"[..], 0));
        assert_eq!(entry[6..9], [0x18, 3, 0], "length and version");
        assert_eq!(entry[0x0c..0x10], (smbios.tables.len() as u32).to_le_bytes());
        assert_eq!(entry[0x10..], 0xf_0020u64.to_le_bytes());
    }

    /// The extended fields of SMBIOS 2.7, and more modules than QEMU's scheme of handles has room for.
    #[test]
    fn describes_more_memory_than_the_first_fields_hold() {
        let smbios = build(9 * TIB, QEMU64);
        let structures = structures(&smbios.tables);
        let of = |kind| structures.iter().copied().filter(move |structure| structure[0] == kind);
        let array = of(16).next().unwrap();
        assert_eq!(array[7..11], 0x8000_0000u32.to_le_bytes());
        assert_eq!(array[15..23], (9 * TIB).to_le_bytes());
        assert_eq!(of(17).count(), 576);
        let mapped: Vec<_> = of(19).collect();
        assert_eq!(mapped[0][4..12], [0, 0, 0, 0, 0xff, 0xff, 0x2f, 0], "3 GiB in KiB");
        assert_eq!(mapped[1][4..12], [0xff; 8]);
        assert_eq!(mapped[1][15..23], (4 * GIB).to_le_bytes());
        assert_eq!(mapped[1][23..31], (9 * TIB + GIB - 1).to_le_bytes());
        let mut handles: Vec<_> = structures.iter().map(|structure| &structure[2..4]).collect();
        handles.sort_unstable();
        handles.dedup();
        assert_eq!(handles.len(), structures.len(), "handles are unique");
    }

    #[test]
    fn tables_beyond_64_kib_need_the_64_bit_entry_point() {
        let smbios = build(GIB, Processors { sockets: 1024, ..QEMU64 });
        let error = smbios.entry_point(EntryPoint::Bits32, 0).unwrap_err();
        assert_eq!(error, EntryPointError::TooLong(smbios.tables.len()));
        assert!(smbios.entry_point(EntryPoint::Bits64, 0).is_ok());
    }
}
