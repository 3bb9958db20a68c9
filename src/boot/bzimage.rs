//! bzImage files: the setup header, what it says about memory, and loading the protected-mode part.
//!
//! Follows Linux's `Documentation/arch/x86/boot.rst` ("Details of Header Fields", "The Real-Mode Kernel Header"), for all
//! protocol versions from 2.02 (2.4 kernels) on. The real-mode part of the file is not run: there is no BIOS that it could
//! ask. That excludes the images that consist of little else (memdisk, iPXE's .lkrn) and zImages. The structures are
//! `linux-loader`'s; its loader does not look at `init_size`, `pref_address` or the length of the header.

use std::ops::Range;

use linux_loader::bootparam::{
    CAN_USE_HEAP, LOADED_HIGH, XLF_CAN_BE_LOADED_ABOVE_4G, XLF_KERNEL_64, boot_params, setup_header,
};
use vm_memory::{ByteValued, GuestMemoryMmap};

use super::image::{Image, ImageError};
use super::place::{BELOW_4G, FreeRam, PlaceError};

const SECTOR: u64 = 512;
/// Offset of the setup header in the file and in `boot_params`.
const HEADER: usize = 0x1f1;
/// Offset of the magic number `HdrS`; the header's length counts from here.
const MAGIC_AT: usize = 0x202;
const MAGIC: &[u8; 4] = b"HdrS";
/// The header can grow up to here in `boot_params`.
const HEADER_MAX_END: usize = 0x290;
/// `setup_sects` of images that say 0.
const DEFAULT_SETUP_SECTS: u8 = 4;
const MIB: u64 = 1 << 20;
/// Offset of the 64-bit entry point in the protected-mode code.
const ENTRY_64: u64 = 0x200;
/// Offset of the end of the setup heap in the real-mode segment, less 0x200, as boot loaders choose it.
const HEAP_END: u16 = 0xe000 - 0x200;

/// What is wrong with a bzImage.
#[derive(Debug, thiserror::Error)]
pub enum BzImageError {
    /// The file ends too soon.
    #[error("the file is truncated: its setup header promises {needed} bytes, it has {len}")]
    Truncated {
        /// Bytes promised.
        needed: u64,
        /// Bytes there.
        len: u64,
    },
    /// Too old.
    #[error(
        "it follows Linux boot protocol {}.{:02}; 2.02 (Linux 2.4) or later is needed", version >> 8, version & 0xff
    )]
    Old {
        /// Protocol version, major number in the high byte.
        version: u16,
    },
    /// Loaded low.
    #[error(
        "it is a zImage, which must be started in real mode by a BIOS: add -bios bios-256k.bin, or build a bzImage"
    )]
    ZImage,
    /// Not Linux, but something with a Linux header for the sake of boot loaders.
    #[error("it ({name}) must be started in real mode by a BIOS: add -bios bios-256k.bin")]
    RealMode {
        /// What it calls itself.
        name: String,
    },
    /// Header fields without meaning.
    #[error("its setup header is damaged: {0}")]
    Damaged(&'static str),
}

/// A bzImage, by its setup header.
#[derive(Debug)]
pub(super) struct BzImage {
    /// Zero but for the setup header, which is as long as the kernel says.
    params: Box<boot_params>,
    /// Offset of the protected-mode code in the file.
    code_at: u64,
    code_len: u64,
}

/// Where the protected-mode code goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// Load address.
    pub(super) addr: u64,
    /// First address that the kernel leaves alone until it knows the memory map.
    pub(super) end: u64,
}

/// Whether a file has a Linux setup header.
pub(super) fn is_bzimage(head: &[u8]) -> bool {
    head.get(MAGIC_AT..).is_some_and(|h| h.starts_with(MAGIC))
}

impl BzImage {
    /// Reads the setup header of `image`, which starts with `head`.
    pub(super) fn parse(image: &Image, head: &[u8]) -> Result<Self, BzImageError> {
        let truncated = |needed: u64| BzImageError::Truncated { needed, len: image.len() };
        let jump = head.get(MAGIC_AT - 1).copied().unwrap_or(0);
        let header_end = (MAGIC_AT + usize::from(jump)).min(HEADER_MAX_END);
        let header = head.get(HEADER..header_end).ok_or_else(|| truncated(header_end as u64))?;
        let mut params = Box::new(boot_params::default());
        params.as_mut_slice()[HEADER..header_end].copy_from_slice(header);
        let hdr = params.hdr;

        if hdr.version < 0x202 {
            return Err(BzImageError::Old { version: hdr.version });
        }
        if hdr.loadflags & LOADED_HIGH == 0 {
            return Err(BzImageError::ZImage);
        }
        let setup_sects = match hdr.setup_sects {
            0 => DEFAULT_SETUP_SECTS,
            n => n,
        };
        let code_at = (u64::from(setup_sects) + 1) * SECTOR;
        let code_len = image.len().saturating_sub(code_at);
        let this = Self { params, code_at, code_len };

        // In units of 16 bytes, which not every image fills to the end, and before 2.04 too narrow for a bzImage.
        if hdr.version >= 0x204 && code_len < (u64::from(hdr.syssize) * 16).saturating_sub(15) {
            return Err(truncated(code_at + u64::from(hdr.syssize) * 16));
        }
        if code_len <= ENTRY_64 {
            return Err(truncated(code_at + ENTRY_64 + 1));
        }
        if u64::from(hdr.code32_start) < MIB || head_name(head, &this).starts_with("MEMDISK") {
            return Err(BzImageError::RealMode { name: head_name(head, &this) });
        }
        if this.relocatable() && !this.alignment().is_power_of_two() {
            return Err(BzImageError::Damaged("kernel_alignment is not a power of two"));
        }
        Ok(this)
    }

    /// A copy: the fields of the structure are not aligned.
    fn header(&self) -> setup_header {
        self.params.hdr
    }

    fn version(&self) -> u16 {
        self.header().version
    }

    fn relocatable(&self) -> bool {
        self.version() >= 0x205 && self.header().relocatable_kernel != 0
    }

    fn alignment(&self) -> u64 {
        self.header().kernel_alignment.into()
    }

    /// Where a kernel prefers to be, or if it can't be moved, moves itself.
    fn preferred(&self) -> Option<u64> {
        let address = self.header().pref_address;
        (self.version() >= 0x20a && address != 0).then_some(address)
    }

    fn xloadflags(&self) -> u16 {
        if self.version() >= 0x20c { self.header().xloadflags } else { 0 }
    }

    /// Whether it has the 64-bit entry point.
    pub(super) fn is_64bit(&self) -> bool {
        self.xloadflags() & XLF_KERNEL_64 != 0
    }

    /// Whether the initrd may be above 4 GiB.
    pub(super) fn takes_high_initrd(&self) -> bool {
        self.is_64bit() && self.xloadflags() & XLF_CAN_BE_LOADED_ABOVE_4G != 0
    }

    /// Where an initrd must end, if there is room below 4 GiB. The header says 2 GiB for the sake of old boot loaders; a
    /// kernel that can do without that limit is known by another flag (so does QEMU).
    pub(super) fn initrd_end(&self) -> u64 {
        if self.xloadflags() & XLF_CAN_BE_LOADED_ABOVE_4G != 0 {
            BELOW_4G.end
        } else if self.version() >= 0x203 {
            u64::from(self.header().initrd_addr_max) + 1
        } else {
            0x3800_0000
        }
    }

    /// Longest command line in bytes, without the terminating zero.
    pub(super) fn cmdline_max(&self) -> u64 {
        let size = self.header().cmdline_size;
        if self.version() >= 0x206 && size != 0 { size.into() } else { 255 }
    }

    /// Whether the kernel follows `setup_data`.
    pub(super) fn has_setup_data(&self) -> bool {
        self.version() >= 0x209
    }

    /// Chooses where to load the kernel and claims all memory it needs before it looks at the memory map.
    pub(super) fn place(&self, free: &mut FreeRam) -> Result<Placement, PlaceError> {
        let code32_start = u64::from(self.header().code32_start);
        let init_size = self.header().init_size;
        let size = if self.version() >= 0x20a && init_size != 0 {
            self.code_len.max(init_size.into())
        } else {
            // Older kernels do not say how far they unpack.
            self.code_len.saturating_mul(3)
        };
        let from = |addr: u64| addr..addr.saturating_add(size);
        if !self.relocatable() {
            // It unpacks itself to where it is linked for, from wherever it has been loaded.
            let runtime = from(self.preferred().unwrap_or(code32_start));
            let loaded = code32_start..code32_start.saturating_add(self.code_len);
            let end = runtime.end.max(loaded.end);
            if runtime.end > BELOW_4G.end {
                return Err(free.refusal(runtime));
            }
            free.take(runtime.clone())?;
            for rest in subtract(loaded, &runtime) {
                free.take(rest)?;
            }
            return Ok(Placement { addr: code32_start, end });
        }
        let wanted = self.preferred().unwrap_or(code32_start);
        let aligned = wanted.checked_next_multiple_of(self.alignment());
        let wanted = from(aligned.unwrap_or(wanted));
        let addr = if free.is_free(&wanted) && wanted.end <= BELOW_4G.end {
            free.take(wanted.clone())?;
            wanted.start
        } else {
            // A relocatable kernel runs anywhere above the address it prefers, never below.
            let within = wanted.start.min(BELOW_4G.end)..BELOW_4G.end;
            free.take_lowest(size, self.alignment(), within).ok_or_else(|| free.refusal(wanted))?
        };
        Ok(Placement { addr, end: addr + size })
    }

    /// Copies the protected-mode code to where it has been placed; returns the entry point.
    pub(super) fn copy_to(&self, image: &mut Image, mem: &GuestMemoryMmap, addr: u64) -> Result<u64, ImageError> {
        image.copy_to(mem, self.code_at, self.code_len, addr)?;
        Ok(if self.is_64bit() { addr + ENTRY_64 } else { addr })
    }

    /// A zero page with the kernel's setup header, completed with where the kernel has been loaded.
    pub(super) fn params(&self, addr: u64) -> Box<boot_params> {
        let mut params = self.params.clone();
        params.hdr.code32_start = addr as u32;
        params.hdr.loadflags |= CAN_USE_HEAP;
        params.hdr.heap_end_ptr = HEAP_END;
        params
    }
}

/// What the image calls itself (a version number, for Linux), by its `kernel_version` pointer.
fn head_name(head: &[u8], image: &BzImage) -> String {
    let at = match image.params.hdr.kernel_version {
        0 => return String::from("an image without a name"),
        at => usize::from(at) + SECTOR as usize,
    };
    let text = head.get(at..).unwrap_or_default();
    let text = text.split(|&c| c == 0).next().unwrap_or_default();
    String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned()
}

/// The parts of `range` outside of `hole`.
fn subtract(range: Range<u64>, hole: &Range<u64>) -> [Range<u64>; 2] {
    [range.start..range.end.min(hole.start), range.start.max(hole.end)..range.end]
}
