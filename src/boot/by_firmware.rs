//! `-kernel` through firmware: a Linux kernel in the parts from which an option ROM starts it in real mode.
//!
//! Follows Linux's `Documentation/arch/x86/boot.rst`, and QEMU in where the parts lie. The kernel's real-mode code asks the
//! firmware itself, so that this also takes what [`DirectBoot`](super::DirectBoot) has to refuse: zImages, iPXE's `.lkrn`, memdisk.

use std::ffi::OsStr;
use std::path::Path;

use super::bzimage::{BzImageError, is_bzimage};
use super::error::{CommandLineError, KernelError, LoadError};
use super::image::Image;

/// The option ROM that starts the kernel.
pub static ROM: &[u8] = include_bytes!(env!("NATOMA_ROM_LINUX"));

const SECTOR: usize = 512;
/// `setup_sects` of images that say 0.
const DEFAULT_SETUP_SECTS: usize = 4;
/// Fields of the setup header, by their offset in the file.
mod field {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const VID_MODE: usize = 0x1fa;
    pub const VERSION: usize = 0x206;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const LOADFLAGS: usize = 0x211;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    pub const HEAP_END: usize = 0x224;
    pub const COMMAND_LINE: usize = 0x228;
    pub const INITRD_MAX: usize = 0x22c;
    pub const XLOADFLAGS: usize = 0x236;
    /// Before version 2.02: a mark, and the offset of the command line.
    pub const OLD_COMMAND_LINE_MARK: usize = 0x20;
    pub const OLD_COMMAND_LINE: usize = 0x22;
}
/// `type_of_loader` of QEMU.
const LOADER: u8 = 0xb0;
const LOADED_HIGH: u8 = 1 << 0;
const CAN_USE_HEAP: u8 = 1 << 7;
const CAN_BE_LOADED_ABOVE_4G: u8 = 1 << 1;
const OLD_COMMAND_LINE_MARK: u16 = 0xa33f;
/// What QEMU leaves free at the end of low RAM, for the firmware's tables.
const TABLES: u64 = 0x2_8000;
const PAGE: u64 = 4096;
/// Highest address for an initrd of kernels that do not say.
const OLD_INITRD_MAX: u64 = 0x37ff_ffff;

/// End of what a kernel that is loaded low uses.
const LOW_END: u32 = 0x9_a000;
/// Most bytes of a command line, with its zero, there and elsewhere.
const LOW_COMMAND_LINE_MOST: usize = 0x1000;
const COMMAND_LINE_MOST: usize = 0x1_0000;

/// Bytes for a physical address.
pub struct Part {
    /// The address.
    pub address: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A kernel in parts.
pub struct FirmwareKernel {
    /// The real-mode code with its header filled in.
    pub setup: Part,
    /// The protected-mode code.
    pub kernel: Part,
    /// The command line with its zero.
    pub command_line: Part,
    /// The initial RAM disk; empty if there is none.
    pub initrd: Part,
}

impl FirmwareKernel {
    /// Opens the files of `-kernel` and `-initrd`. Low RAM ends at `low_ram_end`.
    ///
    /// # Errors
    /// They can't be read, it is no Linux kernel, or RAM is too small.
    pub fn open(kernel: &Path, initrd: Option<&OsStr>, append: &[u8], low_ram_end: u64) -> Result<Self, LoadError> {
        let name = || kernel.display().to_string();
        let refuse = |source: KernelError| LoadError::Kernel { name: name(), source };
        let image = Image::open(kernel, low_ram_end).and_then(|image| image.read(0, low_ram_end));
        let image = image.map_err(|error| refuse(error.into()))?;
        let initrd = match initrd {
            None => Vec::new(),
            Some(file) => {
                let path = Path::new(file);
                let read = Image::open(path, low_ram_end).and_then(|image| image.read(0, low_ram_end));
                read.map_err(|e| LoadError::Initrd { name: path.display().to_string(), source: e.into() })?
            }
        };
        if append.contains(&0) {
            return Err(CommandLineError::Nul.into());
        }
        Self::new(image, initrd, append, low_ram_end).map_err(refuse)
    }

    fn new(image: Vec<u8>, initrd: Vec<u8>, append: &[u8], low_ram_end: u64) -> Result<Self, KernelError> {
        if !is_bzimage(&image) {
            return Err(KernelError::NotForFirmware);
        }
        let sectors = match image.get(field::SETUP_SECTS) {
            None | Some(0) => DEFAULT_SETUP_SECTS,
            Some(sectors) => usize::from(*sectors),
        };
        let needed = (sectors + 1) * SECTOR;
        let truncated = BzImageError::Truncated { needed: needed as u64, len: image.len() as u64 };
        let (setup, code) = image.split_at_checked(needed).ok_or(truncated)?;
        let mut setup = Header(setup.to_vec());
        let version = setup.word(field::VERSION);
        let loaded_high = setup.byte(field::LOADFLAGS) & LOADED_HIGH != 0;
        let command_line = [append, &[0]].concat();
        // A kernel that is loaded low has its command line above its stack.
        let most = if loaded_high { COMMAND_LINE_MOST } else { LOW_COMMAND_LINE_MOST };
        if command_line.len() > most {
            return Err(KernelError::CommandLine(CommandLineError::TooLong {
                len: append.len(),
                max: most as u64 - 1,
            }));
        }
        let (setup_at, command_line_at, kernel_at) = if loaded_high {
            (0x1_0000_u32, 0x2_0000_u32, 0x10_0000_u32)
        } else {
            (0x9_0000, LOW_END - command_line.len() as u32, 0x1_0000)
        };
        if let Some(mode) = video_mode(append) {
            setup.put(field::VID_MODE, &mode.to_le_bytes());
        }
        setup.put(field::TYPE_OF_LOADER, &[LOADER]);
        if version >= 0x201 {
            let flags = setup.byte(field::LOADFLAGS) | CAN_USE_HEAP;
            setup.put(field::LOADFLAGS, &[flags]);
            setup.put(field::HEAP_END, &((command_line_at - setup_at - 0x200) as u16).to_le_bytes());
        }
        if version >= 0x202 {
            setup.put(field::COMMAND_LINE, &command_line_at.to_le_bytes());
        } else {
            setup.put(field::OLD_COMMAND_LINE_MARK, &OLD_COMMAND_LINE_MARK.to_le_bytes());
            setup.put(field::OLD_COMMAND_LINE, &((command_line_at - setup_at) as u16).to_le_bytes());
        }
        let initrd_at = if initrd.is_empty() {
            0
        } else {
            let most = match version {
                0x20c.. if setup.byte(field::XLOADFLAGS) & CAN_BE_LOADED_ABOVE_4G != 0 => u64::from(u32::MAX),
                0x203.. => u64::from(setup.dword(field::INITRD_MAX)),
                _ => OLD_INITRD_MAX,
            };
            let end = most.min(low_ram_end.saturating_sub(TABLES) - 1);
            let start = end.checked_sub(initrd.len() as u64).map(|start| start & !(PAGE - 1));
            let kernel_end = u64::from(kernel_at) + code.len() as u64;
            let start = start.filter(|start| *start >= kernel_end).ok_or(KernelError::NoRoomForInitrd)?;
            start as u32
        };
        setup.put(field::RAMDISK_IMAGE, &initrd_at.to_le_bytes());
        setup.put(field::RAMDISK_SIZE, &(initrd.len() as u32).to_le_bytes());
        Ok(Self {
            setup: Part { address: setup_at, bytes: setup.0 },
            kernel: Part { address: kernel_at, bytes: code.to_vec() },
            command_line: Part { address: command_line_at, bytes: command_line },
            initrd: Part { address: initrd_at, bytes: initrd },
        })
    }
}

/// `vga=` of the command line: what the real-mode code sets up the screen for.
fn video_mode(append: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(append);
    let mode = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("vga=")).next_back()?;
    match mode {
        "normal" => Some(0xffff),
        "ext" => Some(0xfffe),
        "ask" => Some(0xfffd),
        number => match number.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        },
    }
}

/// The real-mode code. What lies beyond its end reads as zero and is not written.
struct Header(Vec<u8>);

impl Header {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.byte(at), self.byte(at + 1)])
    }

    fn dword(&self, at: usize) -> u32 {
        u32::from(self.word(at)) | u32::from(self.word(at + 2)) << 16
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }
}
