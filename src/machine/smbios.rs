//! The SMBIOS tables (System Management BIOS 2.8): what the machine is called and what is in it, for inventories.
//!
//! Names, ids and handles are those that QEMU's `pc` shows with SeaBIOS, but for the firmware, of which there is none.

mod user;

pub use user::UserFiles;

use super::layout::{BIOS_SEGMENT, MemoryLayout};
use crate::config::{SmbiosBios, SmbiosBoard, SmbiosConfig};

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
/// What stands in for a firmware release date: QEMU's. Linux looks at the year: from 2015 on it takes the RTC's alarm from ACPI.
const FIRMWARE_DATE: &str = "04/01/2014";
/// Real-mode segment in which the firmware begins that QEMU's type 0 describes.
const FIRMWARE_SEGMENT: u16 = 0xe800;
/// Memory is shown as modules of this size, of which the last may be smaller.
const MODULE_SIZE: u64 = 16 * GIB;

/// No error information structure (types 16 and 17).
const NO_ERROR_HANDLE: u16 = 0xfffe;
/// Handles, by QEMU's scheme.
mod handle {
    pub const BIOS: u16 = 0x0000;
    pub const SYSTEM: u16 = 0x0100;
    pub const BOARD: u16 = 0x0200;
    pub const CHASSIS: u16 = 0x0300;
    pub const PROCESSOR: u16 = 0x0400;
    /// QEMU counts these from 0, the handle of its firmware.
    pub const PORT: u16 = 0x0800;
    pub const OEM_STRINGS: u16 = 0x0e00;
    pub const MEMORY_ARRAY: u16 = 0x1000;
    pub const MEMORY_DEVICE: u16 = 0x1100;
    pub const MAPPED_ADDRESS: u16 = 0x1300;
    pub const BOOT: u16 = 0x2000;
    pub const ONBOARD: u16 = 0x2900;
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
    /// What the user says of it.
    pub user: &'a SmbiosConfig,
    /// What the user's files contain.
    pub files: &'a UserFiles,
    /// Slot and function of the PCI device of each of the user's devices on the board, as one byte.
    pub onboard_places: &'a [u8],
}

/// The texts of a structure.
#[derive(Default)]
struct Texts(Vec<Vec<u8>>);

impl Texts {
    /// Adds a text, unless it is empty, and returns the number by which the structure refers to it; 0: none.
    fn add(&mut self, text: impl AsRef<[u8]>) -> u8 {
        let text = text.as_ref();
        if text.is_empty() {
            return 0;
        }
        self.0.push(text.to_vec());
        self.0.len() as u8
    }

    /// Adds what the user says, or else `default`.
    fn add_or(&mut self, given: &Option<String>, default: &str) -> u8 {
        self.add(given.as_deref().unwrap_or(default))
    }
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

/// What stands in for firmware where there is none.
fn stand_in() -> SmbiosBios {
    SmbiosBios {
        vendor: Some("natoma".into()),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        date: Some(FIRMWARE_DATE.into()),
        release: Some((0xff, 0xff)), // has no number
        uefi: false,
    }
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
        for structure in &inputs.files.structures {
            smbios.append(structure);
        }
        match &inputs.user.bios {
            Some(bios) => smbios.bios(inputs, FIRMWARE_SEGMENT, bios),
            None if !inputs.firmware => smbios.bios(inputs, (BIOS_SEGMENT.start >> 4) as u16, &stand_in()),
            None => {}
        }
        smbios.system(inputs);
        if let Some(board) = &inputs.user.board {
            smbios.board(inputs, board);
        }
        smbios.chassis(inputs);
        smbios.processors(inputs);
        smbios.ports(inputs);
        smbios.oem_strings(inputs);
        smbios.memory(inputs);
        // System boot: six reserved bytes, no errors.
        smbios.add(inputs, 32, handle::BOOT, &[0; 7], Texts::default());
        smbios.onboard(inputs);
        smbios.add(inputs, 127, handle::END, &[], Texts::default());
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

    /// Append a structure of the machine's own, unless the user has one of the same type: header, formatted area, and the
    /// texts that the latter numbers from 1.
    fn add(&mut self, inputs: &Inputs<'_>, kind: u8, handle: u16, formatted: &[u8], texts: Texts) {
        if inputs.files.replaces(kind) {
            return;
        }
        let mut structure = vec![kind, 4 + formatted.len() as u8];
        structure.extend(handle.to_le_bytes());
        structure.extend(formatted);
        for text in &texts.0 {
            structure.extend(text);
            structure.push(0);
        }
        if texts.0.is_empty() {
            structure.push(0);
        }
        structure.push(0);
        self.append(&structure);
    }

    fn append(&mut self, structure: &[u8]) {
        self.tables.extend(structure);
        self.structures = self.structures.saturating_add(1);
        self.longest = self.longest.max(u16::try_from(structure.len()).unwrap_or(u16::MAX));
    }

    /// Type 0: firmware.
    fn bios(&mut self, inputs: &Inputs<'_>, segment: u16, bios: &SmbiosBios) {
        let SmbiosBios { vendor, version, date, release, uefi } = bios;
        let mut texts = Texts::default();
        let mut fields = vec![texts.add_or(vendor, ""), texts.add_or(version, "")];
        fields.extend(segment.to_le_bytes());
        fields.extend([texts.add_or(date, ""), 0]); // size in 64 KiB less one
        fields.extend((1u64 << 3).to_le_bytes()); // characteristics: not told
        fields.extend([0, 1 << 4 | u8::from(*uefi) << 3 | 1 << 2]); // a virtual machine; updates are not by user
        let (major, minor) = release.unwrap_or_default();
        fields.extend([major, minor, 0xff, 0xff]); // no embedded controller
        self.add(inputs, 0, handle::BIOS, &fields, texts);
    }

    /// Type 1: the machine as a product.
    fn system(&mut self, inputs: &Inputs<'_>) {
        let user = &inputs.user.system;
        let mut texts = Texts::default();
        let mut fields = vec![
            texts.add_or(&user.manufacturer, MANUFACTURER),
            texts.add_or(&user.product, PRODUCT),
            texts.add_or(&user.version, VERSION),
            texts.add_or(&user.serial, ""),
        ];
        // The first three fields of the UUID are little-endian numbers here.
        let [a, b, c, d, e, f, g, h, rest @ ..] = user.uuid.map_or(inputs.uuid, uuid::Uuid::into_bytes);
        fields.extend([d, c, b, a, f, e, h, g]);
        fields.extend(rest);
        fields.extend([6, texts.add_or(&user.sku, ""), texts.add_or(&user.family, "")]); // woken by the power switch
        self.add(inputs, 1, handle::SYSTEM, &fields, texts);
    }

    /// Type 2.
    fn board(&mut self, inputs: &Inputs<'_>, board: &SmbiosBoard) {
        let SmbiosBoard { manufacturer, product, version, serial, asset, location } = board;
        let mut texts = Texts::default();
        let mut fields = vec![
            texts.add_or(manufacturer, MANUFACTURER),
            texts.add_or(product, PRODUCT),
            texts.add_or(version, VERSION),
            texts.add_or(serial, ""),
            texts.add_or(asset, ""),
            1, // it carries the processors
            texts.add_or(location, ""),
        ];
        fields.extend(handle::CHASSIS.to_le_bytes());
        fields.extend([0x0a, 0]); // a motherboard; contains nothing that has a handle
        self.add(inputs, 2, handle::BOARD, &fields, texts);
    }

    /// Type 3.
    fn chassis(&mut self, inputs: &Inputs<'_>) {
        let user = &inputs.user.chassis;
        let mut texts = Texts::default();
        let mut fields = vec![texts.add_or(&user.manufacturer, MANUFACTURER), 1]; // type "other"
        fields.push(texts.add_or(&user.version, VERSION));
        fields.extend([texts.add_or(&user.serial, ""), texts.add_or(&user.asset, "")]);
        fields.extend([3, 3, 3, 2]); // all states "safe", security "unknown"
        fields.extend([0; 8]); // height, power cords, contained elements
        fields.push(texts.add_or(&user.sku, ""));
        self.add(inputs, 3, handle::CHASSIS, &fields, texts);
    }

    /// Type 4, for each socket.
    fn processors(&mut self, inputs: &Inputs<'_>) {
        let (user, processors) = (&inputs.user.processor, &inputs.processors);
        let count = |n: u32| u8::try_from(n).unwrap_or(u8::MAX); // ff: more than 254
        let threads = count(processors.cores.saturating_mul(processors.threads));
        let cores = count(processors.cores);
        let id = user.id.unwrap_or(u64::from(processors.features) << 32 | u64::from(processors.signature));
        for socket in 0..processors.sockets {
            let mut texts = Texts::default();
            let name = format!("{} {socket}", user.socket_prefix.as_deref().unwrap_or("CPU"));
            let mut fields = vec![texts.add(name), 3, 1]; // central processor, family "other"
            fields.push(texts.add_or(&user.manufacturer, MANUFACTURER));
            fields.extend(id.to_le_bytes());
            fields.extend([texts.add_or(&user.version, VERSION), 0]); // voltage unknown
            for mhz in [0, user.max_speed.unwrap_or(2000), user.current_speed.unwrap_or(2000)] {
                fields.extend(mhz.to_le_bytes()); // external clock, greatest and current speed
            }
            fields.extend([1 << 6 | 1, 1]); // socket populated, processor enabled; socket "other"
            fields.extend([0xff; 6]); // no cache information
            fields.extend([&user.serial, &user.asset, &user.part].map(|text| texts.add_or(text, "")));
            fields.extend([cores, cores, threads]);
            fields.extend((1u16 << 1).to_le_bytes()); // characteristics unknown
            fields.extend(1u16.to_le_bytes()); // family "other"
            self.add(inputs, 4, handle::PROCESSOR.wrapping_add(socket), &fields, texts);
        }
    }

    /// Type 8.
    fn ports(&mut self, inputs: &Inputs<'_>) {
        for (handle, port) in (handle::PORT..).zip(&inputs.user.ports) {
            let mut texts = Texts::default();
            let internal = texts.add_or(&port.internal_reference, "");
            let external = texts.add_or(&port.external_reference, "");
            let fields = [internal, 0, external, port.connector_type, port.port_type]; // no connector inside
            self.add(inputs, 8, handle, &fields, texts);
        }
    }

    /// Type 11.
    fn oem_strings(&mut self, inputs: &Inputs<'_>) {
        let texts = &inputs.files.texts;
        if !texts.is_empty() {
            self.add(inputs, 11, handle::OEM_STRINGS, &[texts.len() as u8], Texts(texts.clone()));
        }
    }

    /// Type 41.
    fn onboard(&mut self, inputs: &Inputs<'_>) {
        let places = inputs.onboard_places.iter().copied().chain(std::iter::repeat(0));
        for ((handle, device), place) in (handle::ONBOARD..).zip(&inputs.user.onboard).zip(places) {
            let mut texts = Texts::default();
            let designation = texts.add_or(&device.designation, "");
            let enabled = 1 << 7;
            let fields = [designation, enabled | device.kind, device.instance, 0, 0, 0, place]; // segment and bus 0
            self.add(inputs, 41, handle, &fields, texts);
        }
    }

    /// Types 16 (the array of memory modules), 17 (each of them) and 19 (each stretch of addresses).
    fn memory(&mut self, inputs: &Inputs<'_>) {
        let (user, layout) = (&inputs.user.memory, inputs.layout);
        let size: u64 = layout.ram_regions().map(|region| region.guest.end - region.guest.start).sum();
        let modules = size.div_ceil(MODULE_SIZE) as u16;

        let mut fields = vec![1, 3, 6]; // location "other", system memory, multi-bit ECC
        let (capacity, extended) = if size < 2 * TIB { ((size / KIB) as u32, 0) } else { (0x8000_0000, size) };
        fields.extend(capacity.to_le_bytes());
        fields.extend(NO_ERROR_HANDLE.to_le_bytes());
        fields.extend(modules.to_le_bytes());
        fields.extend(extended.to_le_bytes());
        self.add(inputs, 16, handle::MEMORY_ARRAY, &fields, Texts::default());

        for module in 0..modules {
            let size = (size - u64::from(module) * MODULE_SIZE).min(MODULE_SIZE);
            let (mut texts, mut fields) = (Texts::default(), Vec::new());
            for word in [handle::MEMORY_ARRAY, NO_ERROR_HANDLE, 0xffff, 0xffff, (size / MIB) as u16] {
                fields.extend(word.to_le_bytes()); // widths unknown
            }
            let place = format!("{} {module}", user.location_prefix.as_deref().unwrap_or("DIMM"));
            fields.extend([9, 0, texts.add(place), texts.add_or(&user.bank, ""), 7]); // DIMM, in no set; RAM
            fields.extend((1u16 << 1).to_le_bytes()); // of type "other"
            fields.extend(user.speed.to_le_bytes());
            fields.push(texts.add_or(&user.manufacturer, MANUFACTURER));
            fields.extend([&user.serial, &user.asset, &user.part].map(|text| texts.add_or(text, "")));
            fields.extend([0; 5]); // attributes, extended size
            fields.extend(user.speed.to_le_bytes()); // as configured
            fields.extend([0; 6]); // voltages
            self.add(inputs, 17, handle::MEMORY_DEVICE + module, &fields, texts);
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
            self.add(inputs, 19, handle, &fields, Texts::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        SmbiosChassis, SmbiosMemory, SmbiosOnboard, SmbiosPort, SmbiosProcessor, SmbiosSystem, SmbiosText,
    };
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
        build_for(ram_size, processors, &SmbiosConfig::default(), &UserFiles::default())
    }

    fn build_for(ram_size: u64, processors: Processors, user: &SmbiosConfig, files: &UserFiles) -> Smbios {
        let layout = layout(ram_size);
        let firmware = false;
        let onboard_places = &[0x38];
        Smbios::build(&Inputs { uuid: UUID, processors, layout: &layout, firmware, user, files, onboard_places })
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
    fn says_what_the_user_says_as_qemu_does() {
        let scratch = testing::Scratch::new("smbios-user");
        let file = scratch.path("structure");
        std::fs::write(&file, b"\x80\x06\x34\x12\x01\x02one\0two\0\0").unwrap();
        let from_file = format!("file={}", file.display());
        let mut args = vec!["-smp", "4,sockets=2,cores=2", "-uuid", "00112233-4455-6677-8899-aabbccddeeff"];
        args.extend(["-device", "virtio-rng-pci,id=rng,addr=7"]);
        for smbios in [
            "type=0,vendor=v,version=1,date=d,release=1.16,uefi=on",
            "type=1,manufacturer=m,product=p,serial=s,sku=k,family=f",
            "type=2,manufacturer=bm,location=rack,asset=as",
            "type=3,sku=s,serial=cs,asset=ca",
            "type=4,sock_pfx=S,manufacturer=pm,max-speed=3000,processor-id=1234605616436508552,serial=ps,part=pp",
            "type=8,internal_reference=i,external_reference=e,port_type=5,connector_type=4",
            "type=11,value=a,value=b",
            "type=17,speed=1600,bank=x,manufacturer=mm,serial=ms,asset=ma,part=mp,loc_pfx=L",
            "type=41,kind=ethernet,designation=nic,instance=3,pcidev=rng",
            "type=41",
            &from_file,
        ] {
            args.extend(["-smbios", smbios]);
        }
        let Some(qemu) = testing::qemu_memory("smbios-user", &args) else { return };
        let (_, entry) = qemu.find_in_bios_segment(b"_SM_").expect("SeaBIOS places an entry point");
        let length = usize::from(u16::from_le_bytes([entry[0x16], entry[0x17]]));
        let address = u32::from_le_bytes(entry[0x18..0x1c].try_into().unwrap()) as usize;
        let theirs = structures(&qemu.ram[address..address + length]);

        let text = |text: &str| Some(text.to_owned());
        let user = SmbiosConfig {
            files: vec![file],
            bios: Some(SmbiosBios {
                vendor: text("v"),
                version: text("1"),
                date: text("d"),
                release: Some((1, 16)),
                uefi: true,
            }),
            system: SmbiosSystem {
                manufacturer: text("m"),
                product: text("p"),
                serial: text("s"),
                sku: text("k"),
                family: text("f"),
                ..SmbiosSystem::default()
            },
            board: Some(SmbiosBoard {
                manufacturer: text("bm"),
                location: text("rack"),
                asset: text("as"),
                ..SmbiosBoard::default()
            }),
            chassis: SmbiosChassis {
                sku: text("s"),
                serial: text("cs"),
                asset: text("ca"),
                ..SmbiosChassis::default()
            },
            processor: SmbiosProcessor {
                socket_prefix: text("S"),
                manufacturer: text("pm"),
                max_speed: Some(3000),
                id: Some(0x1122_3344_5566_7788),
                serial: text("ps"),
                part: text("pp"),
                ..SmbiosProcessor::default()
            },
            ports: vec![SmbiosPort {
                internal_reference: text("i"),
                external_reference: text("e"),
                connector_type: 4,
                port_type: 5,
            }],
            oem_strings: vec![SmbiosText::Value("a".into()), SmbiosText::Value("b".into())],
            memory: SmbiosMemory {
                location_prefix: text("L"),
                bank: text("x"),
                manufacturer: text("mm"),
                serial: text("ms"),
                asset: text("ma"),
                part: text("mp"),
                speed: 1600,
            },
            onboard: vec![
                SmbiosOnboard { designation: text("nic"), kind: 5, instance: 3, pci_device: text("rng") },
                SmbiosOnboard { designation: None, kind: 1, instance: 1, pci_device: None },
            ],
        };
        let files = UserFiles::load(&user).unwrap();
        let ours = build_for(32 << 20, QEMU64, &user, &files);
        let mut ours: Vec<_> = structures(&ours.tables).into_iter().map(<[u8]>::to_vec).collect();
        for structure in ours.iter_mut().filter(|structure| structure[0] == 8) {
            // QEMU numbers connectors from the handle of type 0 on.
            structure[3] = 0;
        }
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_file_takes_the_place_of_the_machines_own() {
        let files = UserFiles { structures: vec![b"\x04\x04\x01\x02\0\0".to_vec()], texts: Vec::new() };
        let ours = build_for(32 << 20, QEMU64, &SmbiosConfig::default(), &files);
        let kinds = structures(&ours.tables).iter().map(|structure| structure[0]).collect::<Vec<_>>();
        assert_eq!(kinds, [4, 0, 1, 3, 16, 17, 19, 32, 127], "one of type 4, at the beginning");
        assert_eq!(usize::from(ours.structures), kinds.len());
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
