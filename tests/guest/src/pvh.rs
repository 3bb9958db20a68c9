//! What the loader hands over: Xen's `hvm_start_info`, versions 0 and 1 (`xen/include/public/arch-x86/hvm/start_info.h`).

use core::{
    ffi::CStr,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::memory;

/// "xEn3" with the top bit of the E set.
const MAGIC: u32 = 0x336e_c578;

/// The start info as it lies in memory. What version 1 added can be read in version 0 too, but means nothing there.
#[repr(C)]
pub struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

/// A range of guest-physical addresses, as the firmware or the loader describes it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    kind: u32,
    reserved: u32,
}

/// A file that the loader brought along, an initrd for example.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    command_line: u64,
    reserved: u64,
}

impl Region {
    /// One past the last address.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// Whether this is memory that a program may use as it likes.
    pub fn is_usable(&self) -> bool {
        self.kind == 1
    }

    /// The type in words, as the ACPI specification has them ("Address Range Types").
    pub fn kind(&self) -> &'static str {
        match self.kind {
            1 => "usable",
            2 => "reserved",
            3 => "ACPI tables",
            4 => "ACPI NVS",
            5 => "unusable",
            6 => "disabled",
            7 => "persistent memory",
            _ => "of an unknown type",
        }
    }
}

static START_INFO: AtomicPtr<StartInfo> = AtomicPtr::new(ptr::null_mut());

/// Remembers where the loader put the start info.
pub(crate) fn init(address: *const StartInfo) {
    START_INFO.store(address.cast_mut(), Ordering::Release);
    assert!(start_info().magic == MAGIC, "there is no PVH start info at {address:p}");
}

/// The loader's start info.
pub fn start_info() -> &'static StartInfo {
    // SAFETY: what `init` stored is what the loader left in EBX; nobody writes to the start info.
    unsafe { &*START_INFO.load(Ordering::Acquire) }
}

impl StartInfo {
    /// Version of the structure.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The memory map; empty if the loader gave none, as in version 0.
    pub fn memory_map(&self) -> &'static [Region] {
        let entries = if self.version >= 1 { self.memory_map_entries as usize } else { 0 };
        // SAFETY: the loader's, and nobody writes to it. Any bytes are a valid `Region`.
        unsafe { memory::slice(self.memory_map, entries) }.unwrap_or_default()
    }

    /// The command line; empty if there is none or if it isn't text.
    pub fn command_line(&self) -> &'static str {
        const LONGEST: usize = 4096;
        // SAFETY: the loader's, and nobody writes to it.
        let bytes = unsafe { memory::slice::<u8>(self.command_line, LONGEST) }.unwrap_or_default();
        if self.command_line == 0 {
            return "";
        }
        CStr::from_bytes_until_nul(bytes).ok().and_then(|line| line.to_str().ok()).unwrap_or_default()
    }

    /// The files that the loader brought along.
    pub fn modules(&self) -> &'static [Module] {
        // SAFETY: the loader's, and nobody writes to it. Any bytes are a valid `Module`.
        unsafe { memory::slice(self.modules, self.module_count as usize) }.unwrap_or_default()
    }

    /// Whether a range has bytes in common with what the loader left for the program.
    pub(crate) fn overlaps(&self, start: u64, size: u64) -> bool {
        let own = [
            (ptr::from_ref(self).addr() as u64, size_of::<Self>() as u64),
            (self.memory_map, size_of_val(self.memory_map()) as u64),
            (self.command_line, self.command_line().len() as u64 + 1),
            (self.modules, size_of_val(self.modules()) as u64),
        ];
        let modules = self.modules().iter().map(|module| (module.start, module.size));
        own.into_iter().chain(modules).any(|(left, length)| left < start + size && start < left.saturating_add(length))
    }

    /// Where the loader says the ACPI tables' root pointer is.
    pub fn rsdp(&self) -> Option<u64> {
        (self.rsdp != 0).then_some(self.rsdp)
    }
}
