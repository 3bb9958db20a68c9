//! Linux by its 32-bit and 64-bit boot protocols: what a bzImage and an ELF vmlinux have in common, the zero page.
//!
//! Follows `Documentation/arch/x86/boot.rst` and `zero-page.rst`. Fields that only BIOS calls could fill (video mode, disk
//! geometry, APM, EDD, SpeedStep) stay zero, which kernels take as "not there"; `orig_video_isVGA` is one of them, since
//! without a video BIOS no display is in a text mode. Boot loader number 0xff is the one for loaders without a number.

use linux_loader::bootparam::{
    E820_MAX_ENTRIES_ZEROPAGE, LOADED_HIGH, SETUP_RNG_SEED, XLF_CAN_BE_LOADED_ABOVE_4G, XLF_KERNEL_64, boot_e820_entry,
    boot_params,
};
use vm_memory::ByteValued;

use super::bzimage::{BzImage, Placement};
use super::cmdline;
use super::elf::Elf;
use super::entry::{CpuPage, Entry, IdentityMap, Prot32Registers};
use super::guest::Guest;
use super::image::Image;
use super::place::{BELOW_4G, FreeRam, PlaceError};
use super::ram;
use super::{InitrdError, KernelError, LoadError};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
const LOADER_WITHOUT_NUMBER: u8 = 0xff;
/// `COMMAND_LINE_SIZE` of every x86 kernel since 2.6.22, less the terminating zero: for a vmlinux, which does not say.
pub(super) const VMLINUX_CMDLINE_MAX: u64 = 2047;
/// The largest amount of extended memory that the 16-bit field of old kernels can hold, in KiB.
const EXT_MEM_K_MAX: u64 = 0xffff;

/// What the protocol needs to know about a kernel that has been loaded.
struct Loaded {
    params: Box<boot_params>,
    entry: u64,
    is_64bit: bool,
    /// First address after the kernel.
    end: u64,
    initrd_end: u64,
    takes_high_initrd: bool,
    has_setup_data: bool,
}

/// Loads a bzImage.
pub(super) fn load_bzimage(
    bzimage: &BzImage,
    kernel: &mut Image,
    initrd: Option<&mut Image>,
    cmdline: &[u8],
    guest: &mut Guest<'_>,
) -> Result<Entry, LoadError> {
    let mut load = || -> Result<Loaded, KernelError> {
        let Placement { addr, end } = bzimage.place(&mut guest.free)?;
        Ok(Loaded {
            params: bzimage.params(addr),
            entry: bzimage.copy_to(kernel, guest.mem, addr)?,
            is_64bit: bzimage.is_64bit(),
            end,
            initrd_end: bzimage.initrd_end(),
            takes_high_initrd: bzimage.takes_high_initrd(),
            has_setup_data: bzimage.has_setup_data(),
        })
    };
    let loaded = load().map_err(|e| LoadError::kernel(kernel, e))?;
    loaded.finish(initrd, cmdline, guest)
}

/// Loads a 64-bit vmlinux, as the boot loader inside a bzImage would have unpacked it.
pub(super) fn load_vmlinux(
    elf: &Elf,
    kernel: &mut Image,
    initrd: Option<&mut Image>,
    cmdline: &[u8],
    guest: &mut Guest<'_>,
) -> Result<Entry, LoadError> {
    let mut params = Box::new(boot_params::default());
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = u32::from_le_bytes(*b"HdrS");
    params.hdr.version = 0x20f;
    params.hdr.loadflags = LOADED_HIGH;
    params.hdr.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G;
    params.hdr.cmdline_size = VMLINUX_CMDLINE_MAX as u32;
    params.hdr.initrd_addr_max = u32::MAX;
    let mut load = || -> Result<u64, KernelError> {
        let entry = elf.entry()?;
        elf.load(kernel, guest)?;
        Ok(entry)
    };
    let loaded = Loaded {
        params,
        entry: load().map_err(|e| LoadError::kernel(kernel, e))?,
        is_64bit: true,
        end: elf.end(),
        initrd_end: BELOW_4G.end,
        takes_high_initrd: true,
        has_setup_data: true,
    };
    loaded.finish(initrd, cmdline, guest)
}

impl Loaded {
    /// Places the initrd and everything the kernel is told, and builds the zero page.
    fn finish(mut self, initrd: Option<&mut Image>, cmdline: &[u8], guest: &mut Guest<'_>) -> Result<Entry, LoadError> {
        let cpu = CpuPage::take(&mut guest.free)?;
        let zero_page = guest.free.take_for_boot_data(PAGE, PAGE)?;
        // What is for the boot loader to write may be anything in the file.
        self.params.hdr.ramdisk_image = 0;
        self.params.hdr.ramdisk_size = 0;
        self.params.hdr.setup_data = 0;
        self.params.hdr.type_of_loader = LOADER_WITHOUT_NUMBER;
        self.params.hdr.vid_mode = cmdline::video_mode(cmdline);
        self.params.hdr.cmd_line_ptr = guest.put_string(cmdline)? as u32;
        self.params.acpi_rsdp_addr = guest.platform.rsdp.unwrap_or(0);
        if let Some(seed) = guest.platform.rng_seed.filter(|_| self.has_setup_data) {
            self.params.hdr.setup_data = guest.put(&rng_seed_node(&seed), 16)?;
        }
        self.describe_memory(guest)?;
        let tables = if self.is_64bit { Some(IdentityMap::take(&mut guest.free)?) } else { None };
        if let Some(initrd) = initrd {
            self.load_initrd(initrd, cmdline, guest).map_err(|e| LoadError::initrd(initrd, e))?;
        }

        let mem = guest.mem;
        ram::write(mem, zero_page, self.params.as_slice()).map_err(PlaceError::from)?;
        Ok(match tables {
            Some(tables) => cpu.long64(mem, self.entry, zero_page, tables)?,
            None => {
                let registers = Prot32Registers { eax: 0, ebx: 0, esi: zero_page as u32 };
                cpu.prot32(mem, self.entry as u32, registers)?
            }
        })
    }

    /// The memory map, and for kernels that can't read it the two older ways to say how much memory there is above 1 MiB.
    fn describe_memory(&mut self, guest: &Guest<'_>) -> Result<(), LoadError> {
        let e820 = guest.platform.e820;
        if e820.len() > E820_MAX_ENTRIES_ZEROPAGE {
            return Err(LoadError::MemoryMapTooLong { entries: e820.len(), max: E820_MAX_ENTRIES_ZEROPAGE });
        }
        for (to, from) in self.params.e820_table.iter_mut().zip(e820) {
            *to = boot_e820_entry { addr: from.addr, size: from.size, r#type: from.kind as u32 };
        }
        self.params.e820_entries = e820.len() as u8;
        let above_1m = (guest.ram_from(MIB) - MIB) >> 10;
        self.params.alt_mem_k = u32::try_from(above_1m).unwrap_or(u32::MAX);
        self.params.screen_info.ext_mem_k = above_1m.min(EXT_MEM_K_MAX) as u16;
        Ok(())
    }

    fn load_initrd(&mut self, initrd: &mut Image, cmdline: &[u8], guest: &mut Guest<'_>) -> Result<(), InitrdError> {
        let len = initrd.len();
        let addr = self.place_initrd(len, cmdline::memory_limit(cmdline), &mut guest.free)?;
        initrd.copy_to(guest.mem, 0, len, addr)?;
        self.params.hdr.ramdisk_image = addr as u32;
        self.params.hdr.ramdisk_size = len as u32;
        self.params.ext_ramdisk_image = (addr >> 32) as u32;
        self.params.ext_ramdisk_size = (len >> 32) as u32;
        Ok(())
    }

    /// Finds a page-aligned place as high as possible, or above 4 GiB for a kernel that can do that.
    fn place_initrd(&self, len: u64, memory_limit: Option<u64>, free: &mut FreeRam) -> Result<u64, PlaceError> {
        let below = memory_limit.unwrap_or(u64::MAX).min(self.initrd_end);
        if let Some(addr) = free.take_highest(len, PAGE, MIB..below) {
            return Ok(addr);
        }
        let above = BELOW_4G.end..memory_limit.unwrap_or(u64::MAX);
        if self.takes_high_initrd
            && let Some(addr) = free.take_highest(len, PAGE, above)
        {
            return Ok(addr);
        }
        let end = self.end.saturating_add(len).saturating_add(PAGE);
        match free.refusal(self.end..end) {
            too_little @ PlaceError::TooLittleRam { .. } if end <= below => Err(too_little),
            _ => Err(PlaceError::TooLarge { size: len, below }),
        }
    }
}

/// A node of the `setup_data` list: pointer to the next, type, length, contents.
fn rng_seed_node(seed: &[u8; 32]) -> Vec<u8> {
    let mut node = Vec::with_capacity(16 + seed.len());
    node.extend(0u64.to_le_bytes());
    node.extend(SETUP_RNG_SEED.to_le_bytes());
    node.extend((seed.len() as u32).to_le_bytes());
    node.extend(seed);
    node
}
