//! From a kernel image, firmware or the built-in guest to the state in which the first vCPU starts.
//!
//! [`DirectBoot`] is `-kernel`, `-initrd` and `-append` without firmware. [`DirectBoot::open`] opens the files and finds out
//! what they are, so that wrong ones are refused before there is a machine; [`DirectBoot::load`] lays them out in guest
//! memory, at the start and again at each reset.
//!
//! # Which boot protocol
//!
//! In the order in which QEMU looks:
//! 1. A Linux setup header: a bzImage. It is entered at its 64-bit entry point, or at the 32-bit one if it has no other.
//! 2. A multiboot header: multiboot, unless the file is a 64-bit ELF file with a PVH note (QEMU refuses those).
//! 3. An ELF file. A 64-bit Linux is entered by the 64-bit boot protocol even if it has a PVH entry point: it skips the
//!    32-bit start-up code, and the zero page can carry what `hvm_start_info` cannot (a random seed, so that the guest's
//!    generator is ready at once; an initrd above 4 GiB). Any other kernel needs a PVH note, as in QEMU.
//!
//! There is no BIOS that a kernel started this way could ask. What it would ask for (where RAM is, where the tables are) the
//! board gives in a [`Platform`]; [`mtrr`] has what firmware would have set in each processor.

pub mod builtin;
pub mod by_firmware;
mod bzimage;
mod cmdline;
pub mod e820;
mod elf;
mod entry;
mod error;
mod format;
mod guest;
mod image;
mod linux;
pub mod mtrr;
mod multiboot;
mod place;
mod pvh;
mod ram;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use vm_memory::GuestMemoryMmap;

use bzimage::BzImage;
use e820::E820Entry;
use elf::{Elf, ElfError};
use guest::Guest;
use multiboot::Multiboot;

pub use entry::{Entry, EntryState, Prot32Registers};
pub use error::{CommandLineError, InitrdError, KernelError, LoadError};
pub use image::{Image, ImageError};

/// What the board has prepared before a kernel is loaded.
#[derive(Clone, Debug)]
pub struct Platform<'a> {
    /// The memory map the guest is told. Only what is RAM in it, and in no entry of another kind, is used for loading.
    pub e820: &'a [E820Entry],
    /// RAM that is in use already (tables, BIOS data) although the map calls it RAM.
    pub reserved: &'a [Range<u64>],
    /// Guest address of the ACPI root pointer, if there is ACPI.
    pub rsdp: Option<u64>,
    /// What the guest's random number generator is seeded with, fresh for each start; see [`rng_seed`].
    pub rng_seed: Option<[u8; 32]>,
    /// Whether RAM is known to be zero, as new memory is and memory after a reset is not. Saves clearing.
    pub ram_is_clear: bool,
}

/// The boot protocol by which a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Linux's 64-bit boot protocol.
    Linux64,
    /// Linux's 32-bit boot protocol.
    Linux32,
    /// Multiboot version 1.
    Multiboot,
    /// PVH, the direct boot of Xen's HVM guests.
    Pvh,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Linux64 => "64-bit Linux boot protocol",
            Protocol::Linux32 => "32-bit Linux boot protocol",
            Protocol::Multiboot => "multiboot",
            Protocol::Pvh => "PVH",
        })
    }
}

/// A kernel with what belongs to it, ready to be loaded.
#[derive(Debug)]
pub struct DirectBoot {
    kernel: Image,
    format: Format,
    modules: Vec<Module>,
    cmdline: Vec<u8>,
}

#[derive(Debug)]
enum Format {
    BzImage(BzImage),
    Vmlinux(Elf),
    Multiboot(Multiboot),
    Pvh(Elf, u32),
}

/// An initrd. Multiboot kernels take several, each with a string.
#[derive(Debug)]
struct Module {
    image: Image,
    string: Vec<u8>,
}

impl DirectBoot {
    /// Opens the files of `-kernel`, `-initrd` and `-append`. For a multiboot kernel `initrd` is a list of modules with
    /// their arguments, as in QEMU: `file1 arguments,file2` (a comma is doubled to be part of a name).
    ///
    /// `ram_size` is the size of guest memory in bytes: the bound for what is read from a pipe.
    pub fn open(kernel: &Path, initrd: Option<&OsStr>, append: &[u8], ram_size: u64) -> Result<Self, LoadError> {
        let image = Image::open(kernel, ram_size)
            .map_err(|e| LoadError::Kernel { name: kernel.display().to_string(), source: e.into() })?;
        let mut this = Self::new(image, append)?;
        if let Some(initrd) = initrd {
            let modules = match this.format {
                Format::Multiboot(_) => split_modules(initrd.as_bytes()),
                _ => vec![(initrd.as_bytes().to_vec(), initrd.as_bytes().to_vec())],
            };
            for (file, string) in modules {
                let path = Path::new(OsStr::from_bytes(&file));
                let image = Image::open(path, ram_size)
                    .map_err(|e| LoadError::Initrd { name: path.display().to_string(), source: e.into() })?;
                this.add_module(image, string);
            }
        }
        Ok(this)
    }

    /// Takes a kernel that is open already, without an initrd.
    pub fn new(kernel: Image, cmdline: &[u8]) -> Result<Self, LoadError> {
        let format = recognise(&kernel).map_err(|e| LoadError::kernel(&kernel, e))?;
        if cmdline.contains(&0) {
            return Err(CommandLineError::Nul.into());
        }
        let max = match &format {
            Format::BzImage(bzimage) => bzimage.cmdline_max(),
            Format::Vmlinux(_) => linux::VMLINUX_CMDLINE_MAX,
            // No limit but memory.
            Format::Multiboot(_) | Format::Pvh(..) => u64::MAX,
        };
        if cmdline.len() as u64 > max {
            return Err(CommandLineError::TooLong { len: cmdline.len(), max }.into());
        }
        Ok(Self { kernel, format, modules: Vec::new(), cmdline: cmdline.to_vec() })
    }

    /// The same with an initrd that is open already.
    pub fn with_initrd(mut self, initrd: Image) -> Self {
        let string = initrd.name().as_bytes().to_vec();
        self.add_module(initrd, string);
        self
    }

    fn add_module(&mut self, image: Image, string: Vec<u8>) {
        if image.is_empty() && !matches!(self.format, Format::Multiboot(_)) {
            log::warn!("-initrd {}: it is empty and left out", image.name());
            return;
        }
        self.modules.push(Module { image, string });
    }

    /// How the kernel will be entered.
    pub fn protocol(&self) -> Protocol {
        match &self.format {
            Format::BzImage(bzimage) if bzimage.is_64bit() => Protocol::Linux64,
            Format::BzImage(_) => Protocol::Linux32,
            Format::Vmlinux(_) => Protocol::Linux64,
            Format::Multiboot(_) => Protocol::Multiboot,
            Format::Pvh(..) => Protocol::Pvh,
        }
    }

    /// Writes everything to guest memory and says how to start the first CPU. Can be repeated.
    pub fn load(&mut self, mem: &GuestMemoryMmap, platform: &Platform<'_>) -> Result<Entry, LoadError> {
        let mut guest = Guest::new(mem, platform);
        let kernel = &mut self.kernel;
        let initrd = self.modules.first_mut().map(|m| &mut m.image);
        let entry = match &self.format {
            Format::BzImage(bzimage) => linux::load_bzimage(bzimage, kernel, initrd, &self.cmdline, &mut guest),
            Format::Vmlinux(elf) => linux::load_vmlinux(elf, kernel, initrd, &self.cmdline, &mut guest),
            Format::Pvh(elf, entry) => pvh::load(elf, *entry, kernel, initrd, &self.cmdline, &mut guest),
            Format::Multiboot(multiboot) => multiboot.load(kernel, &mut self.modules, &self.cmdline, &mut guest),
        }?;
        log::debug!("-kernel {}: loaded by {}: {entry:x?}", self.kernel.name(), self.protocol());
        Ok(entry)
    }
}

/// Fresh random bytes for [`Platform::rng_seed`].
pub fn rng_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    // SAFETY: the pointer and the length are those of `seed`, which outlives the call.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    // Up to 256 bytes come in one piece once the host's generator is ready, for which the call waits.
    if got == seed.len() as isize { Ok(seed) } else { Err(io::Error::last_os_error()) }
}

/// Finds out what a kernel file is, and checks as much of it as can be checked without guest memory.
fn recognise(image: &Image) -> Result<Format, KernelError> {
    let head = image.read(0, multiboot::SEARCH as u64)?;
    if head.is_empty() {
        return Err(KernelError::Empty);
    }
    if bzimage::is_bzimage(&head) {
        return Ok(Format::BzImage(BzImage::parse(image, &head)?));
    }
    let multiboot = multiboot::Header::find(&head);
    if let Some(header) = &multiboot
        && header.has_addresses()
    {
        return Ok(Format::Multiboot(Multiboot::parse(header, None, image)?));
    }
    if !elf::is_elf(&head) {
        return Err(format::not_a_kernel(&head));
    }
    let elf = Elf::parse(image, &head)?;
    if let Some(header) = multiboot
        && !(elf.is_64bit && elf.pvh_entry.is_some())
    {
        return Ok(Format::Multiboot(Multiboot::parse(&header, Some(elf), image)?));
    }
    if elf.is_linux64() {
        elf.entry()?;
        return Ok(Format::Vmlinux(elf));
    }
    let entry = elf.pvh_entry.ok_or(ElfError::NoProtocol)?;
    if !elf.loads(entry.into()) {
        return Err(ElfError::EntryOutside(entry.into()).into());
    }
    Ok(Format::Pvh(elf, entry))
}

/// Splits a list of modules at its commas, of which a doubled one stands for itself, and each module at its first space:
/// file name and whole string.
fn split_modules(list: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut modules = vec![Vec::new()];
    let mut rest = list.iter().copied().peekable();
    while let Some(c) = rest.next() {
        if c == b',' && rest.next_if_eq(&b',').is_none() {
            modules.push(Vec::new());
        } else if let Some(module) = modules.last_mut() {
            module.push(c);
        }
    }
    modules
        .into_iter()
        .map(|string| {
            let file = string.split(|&c| c == b' ').next().unwrap_or_default();
            (file.to_vec(), string)
        })
        .collect()
}
