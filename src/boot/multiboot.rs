//! Multiboot version 1 kernels: 32-bit protected mode, a header anywhere in the first 8 KiB, an information structure.
//!
//! Follows the Multiboot Specification, version 0.6.96, and where that leaves a choice QEMU 7.2: modules lie page-aligned
//! behind the kernel in the order given, the command line starts with the kernel's name, and a module's string is its name
//! and arguments. The image is an ELF file or describes its own layout (the "a.out kludge"). As with other boot loaders,
//! but not QEMU, the ELF file may be a 64-bit one; it is entered in 32-bit mode all the same.
//!
//! Not there: drive, configuration, APM and VBE information (a machine without BIOS has none) and symbols. A kernel that
//! asks for a video mode is started without one, with a warning.

use super::e820::E820Entry;
use super::elf::Elf;
use super::entry::{CpuPage, Entry, Prot32Registers};
use super::guest::Guest;
use super::image::Image;
use super::place::BELOW_4G;
use super::{InitrdError, KernelError, LoadError, Module};

const HEADER_MAGIC: u32 = 0x1bad_b002;
/// How much of a file may hold the header.
pub(super) const SEARCH: usize = 8192;
/// Magic, flags, checksum.
const HEADER_LEN: usize = 12;
/// Flags whose features a boot loader must provide or refuse to start the kernel.
const REQUIREMENTS: u32 = 0xffff;
const WANTS_PAGE_ALIGNED_MODULES: u32 = 1 << 0;
const WANTS_MEMORY: u32 = 1 << 1;
const WANTS_VIDEO_MODE: u32 = 1 << 2;
const HAS_ADDRESSES: u32 = 1 << 16;

const BOOTLOADER_MAGIC: u32 = 0x2bad_b002;
const INFO_MEMORY: u32 = 1 << 0;
const INFO_BOOT_DEVICE: u32 = 1 << 1;
const INFO_CMDLINE: u32 = 1 << 2;
const INFO_MODULES: u32 = 1 << 3;
const INFO_MMAP: u32 = 1 << 6;
const INFO_LOADER_NAME: u32 = 1 << 9;
const INFO_FLAGS: u32 = INFO_MEMORY | INFO_BOOT_DEVICE | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER_NAME;
/// The information structure up to and including the VBE fields.
const INFO_LEN: usize = 88;
const MODULE_LEN: usize = 16;
/// Of an entry of the memory map, without its size field.
const MMAP_ENTRY_LEN: u32 = 20;
/// The first BIOS hard disk, no partition: what QEMU says whatever the disks are.
const FIRST_DISK: u64 = 0x8000_ffff;
const LOADER_NAME: &[u8] = b"natoma";

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
const END_OF_CONVENTIONAL: u64 = 0xa_0000;

/// What is wrong with a multiboot image.
#[derive(Debug, thiserror::Error)]
pub enum MultibootError {
    /// The header asks for something unknown that it can't do without.
    #[error("its multiboot header requires features that do not exist (flags {0:#06x})")]
    Requirements(u32),
    /// The header's addresses contradict each other.
    #[error("its multiboot header is damaged: {0}")]
    Damaged(&'static str),
    /// The file is shorter than the header says.
    #[error("the file is truncated: its multiboot header promises {needed} bytes, it has {len}")]
    Truncated {
        /// Bytes promised.
        needed: u64,
        /// Bytes there.
        len: u64,
    },
    /// Neither addresses in the header nor an ELF file.
    #[error("its multiboot header gives no addresses and the file is not an ELF file")]
    NoLayout,
    /// The entry point can't be reached in 32-bit mode.
    #[error("its entry point {0:#x} is above 4 GiB, where 32-bit code cannot run")]
    EntryTooHigh(u64),
}

/// A multiboot header and where it was found.
#[derive(Debug)]
pub(super) struct Header {
    flags: u32,
    /// Offset in the file.
    at: usize,
    /// `header_addr`, `load_addr`, `load_end_addr`, `bss_end_addr`, `entry_addr`.
    addresses: Option<[u32; 5]>,
}

/// A multiboot kernel.
#[derive(Debug)]
pub(super) struct Multiboot {
    layout: Layout,
    entry: u32,
}

#[derive(Debug)]
enum Layout {
    Elf(Elf),
    /// `file_len` bytes at `offset` go to `start`; what follows up to `end` is zero.
    Flat {
        offset: u64,
        file_len: u64,
        start: u64,
        end: u64,
    },
}

impl Header {
    /// Looks for a header in the first bytes of a file.
    pub(super) fn find(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(SEARCH)];
        let word = |at: usize| {
            let bytes = head.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        (0..head.len().saturating_sub(HEADER_LEN - 1)).step_by(4).find_map(|at| {
            let [magic, flags, checksum] = [word(at)?, word(at + 4)?, word(at + 8)?];
            let sum = magic.wrapping_add(flags).wrapping_add(checksum);
            if magic != HEADER_MAGIC || sum != 0 {
                return None;
            }
            let addresses = if flags & HAS_ADDRESSES != 0 {
                let mut addresses = [0; 5];
                for (i, address) in addresses.iter_mut().enumerate() {
                    *address = word(at + HEADER_LEN + 4 * i)?;
                }
                Some(addresses)
            } else {
                None
            };
            Some(Self { flags, at, addresses })
        })
    }

    /// Whether the header itself says where the image goes, so that it does not matter what else the file is.
    pub(super) fn has_addresses(&self) -> bool {
        self.addresses.is_some()
    }
}

impl Multiboot {
    /// Reads the layout of `image`, in which `header` was found; `elf` is the image as an ELF file, if it is one.
    pub(super) fn parse(header: &Header, elf: Option<Elf>, image: &Image) -> Result<Self, KernelError> {
        const KNOWN: u32 = WANTS_PAGE_ALIGNED_MODULES | WANTS_MEMORY | WANTS_VIDEO_MODE;
        let unknown = header.flags & REQUIREMENTS & !KNOWN;
        if unknown != 0 {
            return Err(MultibootError::Requirements(unknown).into());
        }
        if header.flags & WANTS_VIDEO_MODE != 0 {
            log::warn!(
                "-kernel {}: the multiboot header asks for a video mode; there is none without firmware",
                image.name()
            );
        }
        if let Some(addresses) = header.addresses {
            return Ok(Self::flat(header.at, addresses, image.len())?);
        }
        let elf = elf.ok_or(MultibootError::NoLayout)?;
        let entry = elf.entry()?;
        let entry = u32::try_from(entry).map_err(|_| MultibootError::EntryTooHigh(entry))?;
        Ok(Self { layout: Layout::Elf(elf), entry })
    }

    fn flat(at: usize, addresses: [u32; 5], len: u64) -> Result<Self, MultibootError> {
        use MultibootError::Damaged;
        let [header, start, load_end, bss_end, entry] = addresses.map(u64::from);
        let before_header = header.checked_sub(start).ok_or(Damaged("load_addr is above header_addr"))?;
        let offset =
            (at as u64).checked_sub(before_header).ok_or(Damaged("load_addr is before the start of the file"))?;
        // The header is inside the file, so `offset` is too.
        let file_len = match load_end {
            0 => len - offset,
            end => (end.checked_sub(start)).ok_or(Damaged("load_end_addr is below load_addr"))?,
        };
        let needed = offset + file_len;
        if needed > len {
            return Err(MultibootError::Truncated { needed, len });
        }
        let end = match bss_end {
            0 => start + file_len,
            end if end < start + file_len => {
                return Err(Damaged("bss_end_addr is below load_end_addr"));
            }
            end => end,
        };
        if !(start..end).contains(&entry) {
            return Err(Damaged("entry_addr is outside of what is loaded"));
        }
        Ok(Self { layout: Layout::Flat { offset, file_len, start, end }, entry: entry as u32 })
    }

    /// Lays the kernel and its modules out in guest memory and describes the machine to it.
    pub(super) fn load(
        &self,
        kernel: &mut Image,
        modules: &mut [Module],
        cmdline: &[u8],
        guest: &mut Guest<'_>,
    ) -> Result<Entry, LoadError> {
        let end = self.load_kernel(kernel, guest).map_err(|e| LoadError::kernel(kernel, e))?;
        let cpu = CpuPage::take(&mut guest.free)?;
        let mut list = Vec::with_capacity(modules.len() * MODULE_LEN);
        for Module { image, string } in modules.iter_mut() {
            let start = load_module(image, end, guest).map_err(|e| LoadError::initrd(image, e))?;
            let string = guest.put_string(string)?;
            for field in [start, start + image.len(), string, 0] {
                list.extend((field as u32).to_le_bytes());
            }
        }
        let map = memory_map(guest.platform.e820);
        let line = [kernel.name().as_bytes(), b" ", cmdline].concat();
        let lower = guest.ram_from(0).min(END_OF_CONVENTIONAL);
        let upper = guest.ram_from(MIB).min(BELOW_4G.end) - MIB;

        let mut info = [0; INFO_LEN];
        let fields = [
            (0, INFO_FLAGS.into()),
            (4, lower >> 10),
            (8, upper >> 10),
            (12, FIRST_DISK),
            (16, guest.put_string(&line)?),
            (20, modules.len() as u64),
            (24, guest.put(&list, 16)?),
            (44, map.len() as u64),
            (48, guest.put(&map, 16)?),
            (64, guest.put_string(LOADER_NAME)?),
        ];
        // Everything has been put below 4 GiB, so that addresses fit into 32 bits.
        for (at, value) in fields {
            info[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        let info = guest.put(&info, 16)?;
        let registers = Prot32Registers { eax: BOOTLOADER_MAGIC, ebx: info as u32, esi: 0 };
        Ok(cpu.prot32(guest.mem, self.entry, registers)?)
    }

    /// Returns the first address after the kernel.
    fn load_kernel(&self, kernel: &mut Image, guest: &mut Guest<'_>) -> Result<u64, KernelError> {
        match self.layout {
            Layout::Elf(ref elf) => {
                elf.load(kernel, guest)?;
                Ok(elf.end())
            }
            Layout::Flat { offset, file_len, start, end } => {
                guest.free.take(start..end)?;
                kernel.copy_to(guest.mem, offset, file_len, start)?;
                guest.clear(start + file_len..end)?;
                Ok(end)
            }
        }
    }
}

/// Puts a module behind the kernel and what is there already; returns its address.
fn load_module(module: &mut Image, kernel_end: u64, guest: &mut Guest<'_>) -> Result<u64, InitrdError> {
    // An empty module too has an address, and one that no other module has.
    let size = module.len().max(1).saturating_add(PAGE - 1) & !(PAGE - 1);
    let free = &mut guest.free;
    let addr = free
        .take_lowest(size, PAGE, kernel_end..BELOW_4G.end)
        .ok_or_else(|| free.refusal(kernel_end..kernel_end.saturating_add(size)))?;
    module.copy_to(guest.mem, 0, module.len(), addr)?;
    Ok(addr)
}

/// The memory map: entries of a size field that does not count itself, address, length and type.
fn memory_map(e820: &[E820Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(e820.len() * (4 + MMAP_ENTRY_LEN as usize));
    for entry in e820 {
        bytes.extend(MMAP_ENTRY_LEN.to_le_bytes());
        bytes.extend(entry.addr.to_le_bytes());
        bytes.extend(entry.size.to_le_bytes());
        bytes.extend((entry.kind as u32).to_le_bytes());
    }
    bytes
}
