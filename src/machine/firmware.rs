//! The firmware: which file it is, where that lies on the host, and the ROM made of it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vm_memory::{MmapRegion, VolatileMemory, volatile_memory};

use super::layout::FOUR_GIB;

/// The firmware of a machine for which none is chosen: SeaBIOS.
pub const DEFAULT: &str = "bios-256k.bin";
/// The Debian package that brings it.
const PACKAGE: &str = "seabios";
/// ROM comes in pieces of this size: 64 KiB.
const GRANULE: u64 = 0x1_0000;
/// Most of a flash chip that is seen below 1 MiB.
const LEGACY: usize = 128 << 10;
/// Most that fits between the local APICs and 4 GiB.
const MOST: u64 = 16 << 20;

/// Where distributions install firmware, option ROMs and boot pictures.
const DIRECTORIES: [&str; 8] = [
    "/usr/share/seabios",
    "/usr/share/qemu",
    "/usr/share/qemu-firmware",
    "/usr/lib/ipxe/qemu",
    "/usr/share/ipxe/qemu",
    "/usr/share/ipxe",
    "/usr/share/vgabios",
    "/usr/local/share/qemu",
];

/// Why there is no firmware.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// There is no such file.
    #[error(
        "there is no file \"{name}\"{}, and none in {}{}",
        if Path::new(.name).is_absolute() { "" } else { " in the current directory" },
        searched.join(", "),
        if .name == DEFAULT { format!(": install the package that brings it (Debian: {PACKAGE}), or give -bios FILE or -L DIR") } else { String::new() }
    )]
    NotFound {
        /// The name.
        name: String,
        /// Directories that were searched.
        searched: Vec<String>,
    },
    /// The file can't be read.
    #[error("can't read \"{}\"", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no ROM image.
    #[error(
        "\"{}\" has {len} bytes: firmware is a multiple of 64 KiB, up to {} MiB",
        .path.display(), MOST >> 20
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The host gives no memory.
    #[error("the host gives no memory for the firmware")]
    Memory(#[source] io::Error),
}

/// Finds a file that comes with firmware: as it is named, then in the directories of `-L`, then where distributions have it.
///
/// # Errors
/// It is nowhere.
pub fn find(name: &str, directories: &[PathBuf]) -> Result<PathBuf, FirmwareError> {
    let given = Path::new(name);
    // A name without a directory means the file of that name in the current directory first, as in QEMU.
    if may_be_read(given) {
        return Ok(given.to_owned());
    }
    let known = DIRECTORIES.iter().map(Path::new);
    let all = || directories.iter().map(PathBuf::as_path).chain(known.clone());
    let found = all().map(|directory| directory.join(given)).find(|path| may_be_read(path));
    found.ok_or_else(|| FirmwareError::NotFound {
        name: name.into(),
        searched: all().map(|directory| directory.display().to_string()).collect(),
    })
}

/// Whether there is something at `path` that reading may make sense of, a pipe even. Why it can't be read is told when it is.
fn may_be_read(path: &Path) -> bool {
    match path.metadata() {
        Ok(metadata) => !metadata.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Reads a file that comes with firmware, of at most `most` bytes.
///
/// # Errors
/// It can't be read, or is longer.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FirmwareError> {
    let error = |source| FirmwareError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(error)?;
    if bytes.len() as u64 > most {
        return Err(error(io::Error::other(format!("it has more than {most} bytes"))));
    }
    Ok(bytes)
}

/// Firmware in ROM.
pub struct FirmwareRom {
    memory: Arc<MmapRegion>,
    legacy: Arc<MmapRegion>,
}

impl FirmwareRom {
    /// Reads the firmware.
    ///
    /// # Errors
    /// The file is not to be found, or no ROM image.
    pub fn open(name: &str, directories: &[PathBuf]) -> Result<Self, FirmwareError> {
        let path = find(name, directories)?;
        let bytes = read(&path, MOST)?;
        let len = bytes.len() as u64;
        if len == 0 || !len.is_multiple_of(GRANULE) {
            return Err(FirmwareError::Size { path, len });
        }
        Self::new(&bytes)
    }

    /// ROM with these contents.
    fn new(bytes: &[u8]) -> Result<Self, FirmwareError> {
        let memory = MmapRegion::new(bytes.len()).map_err(|error| FirmwareError::Memory(io::Error::other(error)))?;
        memory.as_volatile_slice().copy_from(bytes);
        let memory = Arc::new(memory);
        Ok(Self { legacy: Arc::clone(&memory), memory })
    }

    /// The firmware in a flash chip. Below 1 MiB there is a copy of its end, which stays as it is when the chip is programmed.
    ///
    /// # Errors
    /// The host gives no memory.
    pub fn flash(array: &Arc<MmapRegion>) -> Result<Self, FirmwareError> {
        let mut end = vec![0; array.size().min(LEGACY)];
        let error = |error: volatile_memory::Error| FirmwareError::Memory(io::Error::other(error));
        array.get_slice(array.size() - end.len(), end.len()).map_err(error)?.copy_to(&mut end[..]);
        let Self { legacy, .. } = Self::new(&end)?;
        Ok(Self { memory: Arc::clone(array), legacy })
    }

    /// Where the processors see it: the end of the first 4 GiB.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        FOUR_GIB - self.memory.size() as u64..FOUR_GIB
    }

    /// What is seen below 1 MiB, from its end on.
    #[must_use]
    pub fn legacy(&self) -> &Arc<MmapRegion> {
        &self.legacy
    }

    /// The memory that the ROM is.
    #[must_use]
    pub fn memory(&self) -> &Arc<MmapRegion> {
        &self.memory
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_is_searched_in_the_given_directories_first() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rom.bin");
        fs::write(&file, vec![0x90; 0x1_0000]).unwrap();
        let directories = [directory.path().join("nothing"), directory.path().to_owned()];
        assert_eq!(find("rom.bin", &directories).unwrap(), file);
        assert_eq!(find(file.to_str().unwrap(), &[]).unwrap(), file);
        let rom = FirmwareRom::open("rom.bin", &directories).unwrap();
        assert_eq!(rom.range(), 0xffff_0000..0x1_0000_0000);

        let error = find("no such rom", &directories).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("current directory") && error.contains("nothing") && error.contains("/usr/share/seabios")
        );
        let missing = FirmwareError::NotFound { name: DEFAULT.into(), searched: vec!["/a".into()] }.to_string();
        assert!(missing.contains("Debian: seabios") && missing.contains("-L DIR"), "{missing}");
    }

    #[test]
    fn what_can_t_be_read_is_not_called_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(find(path.to_str().unwrap(), &[]).unwrap(), path);
        assert!(find(directory.path().to_str().unwrap(), &[]).is_err(), "a directory");
    }

    #[test]
    fn firmware_is_a_multiple_of_64_kib() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rom.bin");
        for len in [0, 1, 0xffff, 0x1_0001, (16 << 20) + 0x1_0000] {
            fs::write(&file, vec![0; len]).unwrap();
            assert!(FirmwareRom::open(file.to_str().unwrap(), &[]).is_err(), "{len:#x}");
        }
    }
}
