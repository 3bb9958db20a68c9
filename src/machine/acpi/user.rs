//! ACPI tables of the user's (`-acpitable`): read, and given the header that was asked for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Oem;
use crate::config::AcpiTableConfig;

/// Longest table. The largest that real machines have are a few hundred KiB.
pub const MOST: u64 = 4 << 20;
/// Length of the header of a table.
const HEADER: usize = 36;
/// QEMU's header for tables that come without: "QEMU", length, revision 1, checksum, OEM id, OEM table id, OEM revision 1,
/// compiler id, its revision 1.
const DEFAULT_HEADER: &[u8; HEADER] = b"QEMU\0\0\0\0\x01\0QEMUQEQEMUQEMU\x01\0\0\0QEMU\x01\0\0\0";

/// Offsets in the header.
mod field {
    pub const SIGNATURE: usize = 0;
    pub const LENGTH: usize = 4;
    pub const REVISION: usize = 8;
    pub const CHECKSUM: usize = 9;
    pub const OEM_ID: usize = 10;
    pub const OEM_TABLE_ID: usize = 16;
    pub const OEM_REVISION: usize = 24;
    pub const COMPILER_ID: usize = 28;
    pub const COMPILER_REVISION: usize = 32;
}

/// Why a table can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UserTableError {
    /// A file can't be read.
    #[error("can't read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than [`MOST`] bytes.
    #[error("the table is longer than {} MiB", MOST >> 20)]
    TooLong,
    /// No header where there should be one.
    #[error(
        "the table has {0} bytes, fewer than the {HEADER} of its header: for one without a header use data= instead of file="
    )]
    NoHeader(usize),
}

/// Reads a table.
///
/// # Errors
/// A file can't be read, or is none of the kind that it should be.
pub fn load(config: &AcpiTableConfig) -> Result<Vec<u8>, UserTableError> {
    let mut table = if config.has_header { Vec::new() } else { DEFAULT_HEADER.to_vec() };
    for path in &config.files {
        read(path, &mut table)?;
    }
    if table.len() < HEADER {
        return Err(UserTableError::NoHeader(table.len()));
    }
    let length = table.len() as u32;
    let said = u32::from_le_bytes([table[4], table[5], table[6], table[7]]);
    if config.has_header && said != length {
        log::warn!("-acpitable: the header says {said} bytes, and the table has {length}: the header is changed");
    }
    let mut set = |at: usize, bytes: &[u8]| table[at..at + bytes.len()].copy_from_slice(bytes);
    for (at, len, text) in [
        (field::SIGNATURE, 4, &config.signature),
        (field::OEM_ID, 6, &config.oem_id),
        (field::OEM_TABLE_ID, 8, &config.oem_table_id),
        (field::COMPILER_ID, 4, &config.compiler_id),
    ] {
        if let Some(text) = text {
            let mut bytes = text.clone().into_bytes();
            bytes.resize(len, 0);
            set(at, &bytes);
        }
    }
    for (at, number) in
        [(field::OEM_REVISION, config.oem_revision), (field::COMPILER_REVISION, config.compiler_revision)]
    {
        if let Some(number) = number {
            set(at, &number.to_le_bytes());
        }
    }
    if let Some(revision) = config.revision {
        set(field::REVISION, &[revision]);
    }
    set(field::LENGTH, &length.to_le_bytes());
    set(field::CHECKSUM, &[0]);
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    table[field::CHECKSUM] = sum.wrapping_neg();
    Ok(table)
}

/// Appends a file.
fn read(path: &Path, table: &mut Vec<u8>) -> Result<(), UserTableError> {
    let error = |source| UserTableError::Read { path: path.to_owned(), source };
    let room = MOST.saturating_sub(table.len() as u64);
    // One byte more tells a table that is too long from one that just fits.
    let read = File::open(path).map_err(error)?.take(room + 1).read_to_end(table).map_err(error)?;
    if read as u64 > room { Err(UserTableError::TooLong) } else { Ok(()) }
}

/// The tables as firmware that builds its own found them in fw_cfg: their number, then each behind its length, in 16 bits.
/// Nothing without tables; one that is too long for that is left out, as QEMU has none of these.
pub fn item(tables: &[Vec<u8>]) -> Vec<u8> {
    let told: Vec<_> = tables.iter().filter_map(|table| Some((u16::try_from(table.len()).ok()?, table))).collect();
    let Some(count) = u16::try_from(told.len()).ok().filter(|count| *count > 0) else { return Vec::new() };
    let mut item = count.to_le_bytes().to_vec();
    for (len, table) in told {
        item.extend(len.to_le_bytes());
        item.extend_from_slice(table);
    }
    item
}

/// The OEM ids of an SLIC table, which a licence compares with those of the RSDT.
pub(super) fn licence(tables: &[Vec<u8>]) -> Option<Oem> {
    let slic = tables.iter().find(|table| table.starts_with(b"SLIC"))?;
    let id = slic.get(field::OEM_ID..)?.first_chunk()?;
    let table_id = slic.get(field::OEM_TABLE_ID..)?.first_chunk()?;
    Some(Oem { id: *id, table_id: *table_id })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machine::testing::Scratch;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    /// What QEMU 7.2 makes of `-acpitable data=FILE` with a file of four bytes.
    #[test]
    fn makes_a_header() {
        let scratch = Scratch::new("acpitable");
        let path = scratch.path("body");
        fs::write(&path, [1, 2, 3, 4]).unwrap();
        let config = AcpiTableConfig { files: vec![path], ..AcpiTableConfig::default() };
        let table = load(&config).unwrap();
        assert_eq!(&table[..9], b"QEMU\x28\0\0\0\x01");
        assert_eq!(&table[10..], b"QEMUQEQEMUQEMU\x01\0\0\0QEMU\x01\0\0\0\x01\x02\x03\x04");
        assert_eq!(sum(&table), 0);
    }

    #[test]
    fn changes_the_fields_that_are_named() {
        let scratch = Scratch::new("acpitable-fields");
        let [first, second] = ["first", "second"].map(|name| scratch.path(name));
        fs::write(&first, [b'x'; 30]).unwrap();
        fs::write(&second, [b'y'; 8]).unwrap();
        let files = vec![first, second];
        let plain = load(&AcpiTableConfig { files: files.clone(), has_header: true, ..AcpiTableConfig::default() });
        let plain = plain.unwrap();
        assert_eq!((&plain[..4], &plain[4..8], &plain[36..]), (&b"xxxx"[..], &[38, 0, 0, 0][..], &b"yy"[..]));
        let all = AcpiTableConfig {
            files,
            has_header: true,
            signature: Some("AB".into()),
            revision: Some(7),
            oem_id: Some("sixsix".into()),
            oem_table_id: Some("eight".into()),
            oem_revision: Some(0x0102_0304),
            compiler_id: Some("".into()),
            compiler_revision: Some(u32::MAX),
        };
        let table = load(&all).unwrap();
        assert_eq!(&table[..9], b"AB\0\0\x26\0\0\0\x07");
        assert_eq!(&table[10..], b"sixsixeight\0\0\0\x04\x03\x02\x01\0\0\0\0\xff\xff\xff\xffyy");
        assert_eq!((sum(&plain), sum(&table)), (0, 0));
    }

    #[test]
    fn refuses_what_is_no_table() {
        let scratch = Scratch::new("acpitable-bad");
        let load = |name: &str, has_header| {
            load(&AcpiTableConfig { files: vec![scratch.path(name)], has_header, ..AcpiTableConfig::default() })
        };
        fs::write(scratch.path("short"), [0; 35]).unwrap();
        let long = File::create(scratch.path("long")).unwrap();
        long.set_len(MOST + 1).unwrap();
        assert!(matches!(load("short", true), Err(UserTableError::NoHeader(35))));
        assert_eq!(load("short", false).unwrap().len(), 71);
        assert!(matches!(load("long", true), Err(UserTableError::TooLong)));
        assert!(matches!(load("long", false), Err(UserTableError::TooLong)));
        let error = load("absent", true).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }

    /// The format in which QEMU keeps the tables: their number, then length and contents of each.
    #[test]
    fn firmware_finds_the_tables_one_after_the_other() {
        assert!(item(&[]).is_empty());
        let long = vec![0; 0x1_0000];
        assert_eq!(item(&[b"abc".to_vec(), long.clone(), b"d".to_vec()]), b"\x02\0\x03\0abc\x01\0d");
        assert!(item(&[long]).is_empty());
    }

    #[test]
    fn finds_the_licence() {
        let mut slic = b"SLIC".to_vec();
        slic.resize(10, 0);
        slic.extend(b"MAKER MACHINE ");
        assert_eq!(licence(&[b"XXXX".to_vec(), slic]), Some(Oem { id: *b"MAKER ", table_id: *b"MACHINE " }));
        assert_eq!(licence(&[b"SLIC".to_vec(), Vec::new()]), None);
    }
}
