//! The ACPI tables, found and read as the ACPI specification (6.5, chapter 5) describes; their AML is not interpreted.

use crate::{
    memory::{self, u32_at, u64_at},
    pvh,
};

/// The BIOS area that holds the root pointer, if the loader doesn't say where it is.
const BIOS: (u64, usize) = (0xe_0000, 0x2_0000);
/// Bytes of the root pointer before revision 2, and since.
const RSDP_SIZE: (usize, usize) = (20, 36);
/// Bytes of the header that every table but the FACS has.
const HEADER: usize = 36;
/// No real table is larger; a length beyond it is a sign of something else.
const LARGEST_TABLE: u32 = 1 << 20;

/// A table: its address, and its bytes as far as its length says.
#[derive(Clone, Copy)]
pub struct Table {
    /// Guest-physical address.
    pub address: u64,
    /// The bytes, header included.
    pub bytes: &'static [u8],
}

/// At this address, to which another table points, there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTable {
    /// Guest-physical address.
    pub address: u64,
}

impl Table {
    fn at(address: u64) -> Result<Self, NoTable> {
        // SAFETY: firmware's memory, which nobody writes to any more.
        let header = unsafe { memory::slice::<u8>(address, 8) }.ok_or(NoTable { address })?;
        let length = u32_at(header, 4).filter(|length| (8..=LARGEST_TABLE).contains(length)).unwrap_or(0);
        // SAFETY: the same.
        let bytes = unsafe { memory::slice::<u8>(address, length as usize) };
        bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| Self { address, bytes }).ok_or(NoTable { address })
    }

    /// The four letters by which tables are known.
    pub fn signature(&self) -> &'static str {
        str::from_utf8(&self.bytes[..4]).unwrap_or("????")
    }

    /// Whether the bytes add up to 0. The FACS has no checksum and is always right.
    pub fn is_sound(&self) -> bool {
        self.signature() == "FACS" || sum(self.bytes) == 0
    }
}

/// The root of the tables.
#[derive(Clone, Copy)]
pub struct Acpi {
    /// Where the root pointer (RSDP) is.
    pub root_pointer: u64,
    /// Its revision: 0 for ACPI 1.0, else 2.
    pub revision: u8,
    root: Table,
}

impl Acpi {
    /// Finds the tables: where the loader says, else by searching the BIOS area.
    pub fn find() -> Option<Self> {
        let told = pvh::start_info().rsdp();
        let (start, size) = told.map_or(BIOS, |address| (address, RSDP_SIZE.1));
        // SAFETY: firmware's memory, which nobody writes to any more.
        let area = unsafe { memory::slice::<u8>(start, size) }?;
        (0..size).step_by(16).find_map(|offset| Self::at(start + offset as u64, &area[offset..]))
    }

    /// The root pointer at the start of `bytes`, if there is one whose checksums are right.
    fn at(address: u64, bytes: &[u8]) -> Option<Self> {
        let first = bytes.get(..RSDP_SIZE.0).filter(|first| first.starts_with(b"RSD PTR ") && sum(first) == 0)?;
        let revision = first[15];
        let extended = bytes.get(..RSDP_SIZE.1).filter(|all| revision >= 2 && sum(all) == 0);
        let xsdt = extended.and_then(|all| u64_at(all, 24)).filter(|xsdt| *xsdt != 0);
        let root = Table::at(xsdt.unwrap_or(u32_at(first, 16)?.into())).ok()?;
        Some(Self { root_pointer: address, revision, root })
    }

    /// Every table: the root table, those it lists, and those that the FADT points to.
    pub fn tables(&self) -> impl Iterator<Item = Result<Table, NoTable>> + use<> {
        let root = *self;
        let fadt = root.table("FACP");
        // DSDT and FACS: a 32-bit pointer, and in later versions a 64-bit one that may stand in for it.
        let behind_fadt = [(40, 140), (36, 132)].into_iter().filter_map(move |(narrow, wide)| {
            let fadt = fadt?.bytes;
            let pointers = [u32_at(fadt, narrow).map(u64::from), u64_at(fadt, wide)];
            pointers.into_iter().flatten().find(|pointer| *pointer != 0).map(Table::at)
        });
        [Ok(root.root)].into_iter().chain(root.listed()).chain(behind_fadt)
    }

    /// The tables that the RSDT or XSDT lists.
    fn listed(&self) -> impl Iterator<Item = Result<Table, NoTable>> + use<> {
        let wide = self.root.signature() == "XSDT";
        let entries = self.root.bytes.get(HEADER..).unwrap_or_default();
        let address = move |entry| if wide { u64_at(entry, 0) } else { u32_at(entry, 0).map(u64::from) };
        entries.chunks_exact(if wide { 8 } else { 4 }).filter_map(address).map(Table::at)
    }

    /// The first table of that signature among those that the root table lists.
    pub fn table(&self, signature: &str) -> Option<Table> {
        self.listed().flatten().find(|table| table.signature() == signature)
    }

    /// The fixed description.
    pub fn fadt(&self) -> Option<Fadt> {
        Fadt::parse(self.table("FACP")?.bytes)
    }

    /// The SLP_TYP value that means soft-off: the first element of the package `\_S5`.
    ///
    /// The DSDT is searched for the name's definition, as simple kernels do, instead of being interpreted.
    pub fn sleep_type_s5(&self) -> Option<u8> {
        const NAME_OP: u8 = 0x08;
        const PACKAGE_OP: u8 = 0x12;
        const BYTE_PREFIX: u8 = 0x0a;
        let dsdt = self.tables().flatten().find(|table| table.signature() == "DSDT")?.bytes;
        let name = dsdt.windows(6).position(|window| {
            (window.starts_with(&[NAME_OP, b'_', b'S', b'5', b'_']) && window[5] == PACKAGE_OP)
                || window == [NAME_OP, b'\\', b'_', b'S', b'5', b'_']
        })?;
        let name_end = name + if dsdt[name + 1] == b'\\' { 6 } else { 5 };
        let package = dsdt.get(name_end..)?.strip_prefix(&[PACKAGE_OP])?;
        // The two top bits of a package length's first byte say how many bytes follow it; then comes the element count.
        let elements = package.get(usize::from(package.first()? >> 6) + 2..)?;
        match *elements {
            [BYTE_PREFIX, value, ..] => Some(value),
            [value @ (0 | 1), ..] => Some(value), // ZeroOp, OneOp
            _ => None,
        }
    }
}

/// What the FADT says of fixed hardware, in the fields that the first version of ACPI already had.
#[derive(Clone, Copy, Debug)]
pub struct Fadt {
    /// Port that takes [`acpi_enable`](Self::acpi_enable); 0 if the machine is always in ACPI mode.
    pub smi_command: u16,
    /// What to write to [`smi_command`](Self::smi_command) to enter ACPI mode.
    pub acpi_enable: u8,
    /// Port of the PM1a control register.
    pub pm1a_control: u16,
    /// Port of the power-management timer, if there is one.
    pub pm_timer: Option<u16>,
    /// Bits that timer counts with: 24 or 32.
    pub pm_timer_bits: u32,
    /// The RTC register that holds the century, if there is one.
    pub century: Option<u8>,
}

impl Fadt {
    fn parse(bytes: &[u8]) -> Option<Self> {
        const TMR_VAL_EXT: u32 = 1 << 8;
        let port = |offset| u32_at(bytes, offset).and_then(|port| u16::try_from(port).ok());
        Some(Self {
            smi_command: port(48)?,
            acpi_enable: *bytes.get(52)?,
            pm1a_control: port(64)?,
            pm_timer: port(76).filter(|port| *port != 0),
            pm_timer_bits: if u32_at(bytes, 112)? & TMR_VAL_EXT == 0 { 24 } else { 32 },
            century: bytes.get(108).copied().filter(|register| *register != 0),
        })
    }
}

/// The bytes' sum, which is 0 where a checksum is right.
pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
