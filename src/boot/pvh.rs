//! PVH: 32-bit protected mode at the address in an ELF note, and a start-info structure.
//!
//! Follows Xen's `docs/misc/pvh.pandoc` and `xen/include/public/arch-x86/hvm/start_info.h`, version 1 (with a memory map).
//! The kernel may be a 32-bit or a 64-bit ELF file. The initrd is module 0, without a command line of its own, as in QEMU.
//!
//! Not there: `XEN_ELFNOTE_PHYS32_RELOC` (the kernel is loaded where it is linked) and everything of Xen itself.

use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::ByteValued;

use super::elf::Elf;
use super::entry::{CpuPage, Entry, Prot32Registers};
use super::guest::Guest;
use super::image::Image;
use super::place::BELOW_4G;
use super::{InitrdError, LoadError};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
const VERSION: u32 = 1;

/// Loads an ELF kernel whose PVH entry point is `entry`.
pub(super) fn load(
    elf: &Elf,
    entry: u32,
    kernel: &mut Image,
    initrd: Option<&mut Image>,
    cmdline: &[u8],
    guest: &mut Guest<'_>,
) -> Result<Entry, LoadError> {
    elf.load(kernel, guest).map_err(|e| LoadError::kernel(kernel, e))?;
    let cpu = CpuPage::take(&mut guest.free)?;
    let mut map = Vec::new();
    for entry in guest.platform.e820 {
        let entry =
            hvm_memmap_table_entry { addr: entry.addr, size: entry.size, type_: entry.kind as u32, reserved: 0 };
        map.extend_from_slice(entry.as_slice());
    }
    let mut info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: VERSION,
        cmdline_paddr: guest.put_string(cmdline)?,
        rsdp_paddr: guest.platform.rsdp.unwrap_or(0),
        memmap_paddr: guest.put(&map, 8)?,
        memmap_entries: guest.platform.e820.len() as u32,
        ..Default::default()
    };
    if let Some(initrd) = initrd {
        let addr = load_initrd(initrd, elf.end(), guest).map_err(|e| LoadError::initrd(initrd, e))?;
        let module = hvm_modlist_entry { paddr: addr, size: initrd.len(), ..Default::default() };
        info.nr_modules = 1;
        info.modlist_paddr = guest.put(module.as_slice(), 8)?;
    }
    let registers = Prot32Registers { eax: 0, ebx: guest.put(info.as_slice(), 8)? as u32, esi: 0 };
    Ok(cpu.prot32(guest.mem, entry, registers)?)
}

/// Puts the initrd as high as possible below 4 GiB.
fn load_initrd(initrd: &mut Image, kernel_end: u64, guest: &mut Guest<'_>) -> Result<u64, InitrdError> {
    let len = initrd.len();
    let free = &mut guest.free;
    let addr = free
        .take_highest(len, PAGE, MIB..BELOW_4G.end)
        .ok_or_else(|| free.refusal(kernel_end..kernel_end.saturating_add(len)))?;
    initrd.copy_to(guest.mem, 0, len, addr)?;
    Ok(addr)
}
