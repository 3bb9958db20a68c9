//! Which format an image seems to be in.

use devices::backend::block::BlockError;

use super::file::SECTOR;
use super::node::{Node, read_bytes};

/// First sector of an image.
pub(super) type FirstSector = [u8; SECTOR as usize];

/// Name, and the bytes that give it away at an offset.
const MAGICS: [(&str, usize, &[u8]); 12] = [
    ("qcow2", 0, b"QFI\xfb\0\0\0\x02"),
    ("qcow2", 0, b"QFI\xfb\0\0\0\x03"),
    ("qcow", 0, b"QFI\xfb"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vhdx", 0, b"vhdxfile"),
    ("vpc", 0, b"conectix"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
];

/// The beginning of the text that describes the parts of a vmdk image.
const VMDK_DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

/// The format that an image seems to be in; `None`: raw.
///
/// # Errors
/// It can't be read.
pub(super) fn format(image: &dyn Node) -> Result<Option<&'static str>, BlockError> {
    let mut sector = [0; SECTOR as usize];
    let there = usize::try_from(image.len()).unwrap_or(usize::MAX).min(sector.len());
    read_bytes(image, 0, &mut sector[..there])?;
    Ok(format_of(&sector))
}

/// The format of an image that begins so; `None`: raw.
pub(super) fn format_of(sector: &FirstSector) -> Option<&'static str> {
    if sector.starts_with(VMDK_DESCRIPTOR) {
        return Some("vmdk");
    }
    let found = MAGICS.iter().find(|(_, at, magic)| sector[*at..].starts_with(magic));
    found.map(|(name, ..)| *name)
}
