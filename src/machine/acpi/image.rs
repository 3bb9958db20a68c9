//! The tables as one image that can lie anywhere below 4 GiB, and what has to be filled in once it is known where.

use std::ops::Range;

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;

use super::{Oem, tables};

/// Length of the RSDP in bytes.
pub const RSDP_LEN: usize = 36;
/// Offset of the checksum in the header of a system description table.
const SDT_CHECKSUM: u32 = 9;
/// Length of that header.
const SDT_HEADER: u32 = 36;
/// Alignment of all tables but the FACS; the specification asks for none.
const ALIGN: u32 = 16;

/// The two images the tables consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The pointer that the operating system searches the BIOS segment for.
    Rsdp,
    /// Everything else.
    Tables,
}

/// A field that holds an offset into [`Part::Tables`] and is to hold an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Where the field is.
    pub part: Part,
    /// Its offset there.
    pub at: u32,
    /// Its width in bytes, 4 or 8.
    pub width: u8,
}

/// A byte that makes the bytes of a range, of which it is one, add up to zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where the range is.
    pub part: Part,
    /// Offset of the byte.
    pub at: u32,
    /// Offsets of the range.
    pub over: Range<u32>,
}

/// ACPI tables that have not been given an address yet.
#[derive(Clone, Debug)]
pub struct AcpiTables {
    /// The RSDP, with offsets in place of pointers.
    pub rsdp: [u8; RSDP_LEN],
    /// All other tables, with offsets in place of pointers; to lie at a multiple of [`AcpiTables::ALIGN`].
    pub tables: Vec<u8>,
    /// The pointers to fill in.
    pub pointers: Vec<Pointer>,
    /// The checksums to make right afterwards, in this order.
    pub checksums: Vec<Checksum>,
}

/// ACPI tables as they go to guest memory.
#[derive(Clone, Debug)]
pub struct PlacedTables {
    /// The RSDP, for a multiple of 16 in the BIOS segment.
    pub rsdp: [u8; RSDP_LEN],
    /// All other tables, for the address they were placed at.
    pub tables: Vec<u8>,
}

impl AcpiTables {
    /// Alignment of [`Self::tables`], which the FACS at its beginning asks for.
    pub const ALIGN: u32 = 64;

    /// Fill in what depends on the address `base` of the tables. It has to be in memory that the guest can write to (the
    /// FACS is its to write) and that no memory map calls free.
    ///
    /// # Panics
    /// If `base` is not aligned or the tables do not end below 4 GiB.
    pub fn place(self, base: u32) -> PlacedTables {
        let Self { mut rsdp, mut tables, pointers, checksums } = self;
        assert!(base.is_multiple_of(Self::ALIGN), "ACPI tables at {base:#x} are not aligned");
        let end = u32::try_from(tables.len()).ok().and_then(|len| base.checked_add(len));
        assert!(end.is_some(), "ACPI tables at {base:#x} reach beyond 4 GiB");
        for Pointer { part, at, width } in pointers {
            let field = &mut bytes(part, &mut rsdp, &mut tables)[at as usize..][..width.into()];
            let mut value = [0; 8];
            value[..field.len()].copy_from_slice(field);
            let address = u64::from_le_bytes(value) + u64::from(base);
            field.copy_from_slice(&address.to_le_bytes()[..field.len()]);
        }
        for Checksum { part, at, over } in checksums {
            let bytes = bytes(part, &mut rsdp, &mut tables);
            let sum =
                bytes[over.start as usize..over.end as usize].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            bytes[at as usize] = bytes[at as usize].wrapping_sub(sum);
        }
        PlacedTables { rsdp, tables }
    }
}

fn bytes<'a>(part: Part, rsdp: &'a mut [u8], tables: &'a mut [u8]) -> &'a mut [u8] {
    match part {
        Part::Rsdp => rsdp,
        Part::Tables => tables,
    }
}

/// Gathers tables and remembers what points where.
pub(super) struct Builder {
    tables: Vec<u8>,
    pointers: Vec<Pointer>,
    checksums: Vec<Checksum>,
}

impl Builder {
    /// Start with the FACS, which has no checksum.
    pub(super) fn new(facs: &[u8]) -> Self {
        Self { tables: facs.to_vec(), pointers: Vec::new(), checksums: Vec::new() }
    }

    /// Append a table that nothing remains to be filled in of. Returns its offset.
    pub(super) fn add_complete(&mut self, table: &[u8]) -> u32 {
        self.tables.resize(self.tables.len().next_multiple_of(ALIGN as usize), 0);
        let at = offset(&self.tables);
        self.tables.extend_from_slice(table);
        at
    }

    /// Append a system description table. Returns its offset.
    pub(super) fn add(&mut self, table: &[u8]) -> u32 {
        let at = self.add_complete(table);
        let over = at..offset(&self.tables);
        self.checksums.push(Checksum { part: Part::Tables, at: at + SDT_CHECKSUM, over });
        at
    }

    /// Append the FADT, and make it point to the FACS and to the DSDT at offset `dsdt`.
    pub(super) fn add_fadt(&mut self, fadt: &[u8], dsdt: u32) -> u32 {
        let at = self.add(fadt);
        // FIRMWARE_CTRL, DSDT, X_DSDT. Of the two pointers to the FACS only one may be used.
        for (field, width, target) in [(36, 4, 0), (40, 4, dsdt), (140, 8, dsdt)] {
            self.point(at + field, width, target);
        }
        at
    }

    /// Append the RSDT and the XSDT, which list the tables at the offsets `listed`, and close the image.
    pub(super) fn finish(mut self, oem: &Oem, listed: &[u32]) -> AcpiTables {
        let [rsdt, xsdt] = [(b"RSDT", 4), (b"XSDT", 8)].map(|(signature, width)| {
            let entries = vec![0; listed.len() * usize::from(width)];
            let at = self.add(&tables::sdt(signature, 1, oem, &entries));
            for (field, &target) in (at + SDT_HEADER..).step_by(width.into()).zip(listed) {
                self.point(field, width, target);
            }
            at
        });
        let Self { tables, mut pointers, mut checksums } = self;
        pointers.push(Pointer { part: Part::Rsdp, at: 16, width: 4 });
        pointers.push(Pointer { part: Part::Rsdp, at: 24, width: 8 });
        // The first 20 bytes are those of ACPI 1.0 and have a checksum to themselves.
        checksums.push(Checksum { part: Part::Rsdp, at: 8, over: 0..20 });
        checksums.push(Checksum { part: Part::Rsdp, at: 32, over: 0..RSDP_LEN as u32 });
        AcpiTables { rsdp: rsdp(oem, rsdt, xsdt), tables, pointers, checksums }
    }

    /// Write `target` to the `width` bytes at offset `at`, and remember that an address belongs there.
    fn point(&mut self, at: u32, width: u8, target: u32) {
        let field = &mut self.tables[at as usize..][..width.into()];
        field[..4].copy_from_slice(&target.to_le_bytes());
        self.pointers.push(Pointer { part: Part::Tables, at, width });
    }
}

fn rsdp(oem: &Oem, rsdt: u32, xsdt: u32) -> [u8; RSDP_LEN] {
    let mut bytes = Vec::with_capacity(RSDP_LEN);
    Rsdp::new(oem.id, xsdt.into()).to_aml_bytes(&mut bytes);
    let mut rsdp = [0; RSDP_LEN];
    rsdp.copy_from_slice(&bytes);
    // The crate leaves out the RSDT, which ACPI 1.0 systems need.
    rsdp[16..20].copy_from_slice(&rsdt.to_le_bytes());
    rsdp
}

/// The end of `tables` as an offset.
fn offset(tables: &[u8]) -> u32 {
    u32::try_from(tables.len()).expect("ACPI tables are a few MiB at most")
}
