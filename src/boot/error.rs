//! Why a kernel cannot be started: chains that begin with the option and end with what to do.

use super::bzimage::BzImageError;
use super::elf::ElfError;
use super::image::{Image, ImageError};
use super::multiboot::MultibootError;
use super::place::PlaceError;

/// A direct boot that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel.
    #[error("cannot boot `-kernel {name}`")]
    Kernel {
        /// The file as the user named it.
        name: String,
        /// What is wrong.
        source: KernelError,
    },
    /// The initrd, or one of the modules.
    #[error("cannot use `-initrd {name}`")]
    Initrd {
        /// The file as the user named it.
        name: String,
        /// What is wrong.
        source: InitrdError,
    },
    /// The command line.
    #[error("cannot pass on the kernel command line of `-append`")]
    CommandLine(#[from] CommandLineError),
    /// The structures that describe the machine to the kernel.
    #[error("cannot put the data that the kernel is started with into guest memory")]
    BootData(#[from] PlaceError),
    /// More lines than the kernel's format has room for.
    #[error("the memory map has {entries} entries, of which Linux takes at most {max}")]
    MemoryMapTooLong {
        /// How many there are.
        entries: usize,
        /// How many there may be.
        max: usize,
    },
}

/// What is wrong with a kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error("it is {what}; {remedy}")]
    Format {
        /// What it is.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It is no kernel, and nothing else that is known.
    #[error("it is not a kernel: neither a Linux bzImage, nor an ELF file, nor a multiboot image")]
    Unknown,
    /// It is not what the option ROM starts.
    #[error(
        "it is not a Linux kernel, and firmware starts only those: leave out -bios, so that natoma starts it itself"
    )]
    NotForFirmware,
    /// No room beside the kernel.
    #[error("its initrd does not fit into RAM below 4 GiB: give the machine more of it (-m)")]
    NoRoomForInitrd,
    /// A bzImage with a fault.
    #[error(transparent)]
    BzImage(#[from] BzImageError),
    /// An ELF file with a fault, or that is no kernel.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A multiboot image with a fault.
    #[error(transparent)]
    Multiboot(#[from] MultibootError),
    /// It does not fit into guest memory.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It can't be given its command line.
    #[error("-append does not fit")]
    CommandLine(#[source] CommandLineError),
}

/// What is wrong with an initrd.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// It cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It does not fit into guest memory.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error)]
pub enum CommandLineError {
    /// The kernel would cut it off.
    #[error("it is {len} bytes long, and this kernel takes at most {max}; make it shorter")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The kernel's limit in bytes.
        max: u64,
    },
    /// It would end there.
    #[error("it contains a zero byte")]
    Nul,
}

impl LoadError {
    pub(super) fn kernel(image: &Image, source: impl Into<KernelError>) -> Self {
        LoadError::Kernel { name: image.name().to_owned(), source: source.into() }
    }

    pub(super) fn initrd(image: &Image, source: impl Into<InitrdError>) -> Self {
        LoadError::Initrd { name: image.name().to_owned(), source: source.into() }
    }
}
