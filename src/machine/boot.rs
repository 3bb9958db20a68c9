//! What the machine starts with, at first and after each reset: firmware, or a kernel with what firmware would have left
//! behind (tables in RAM, the processors where firmware puts them).

use std::ffi::OsStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use devices::base::GuestRam;
use kvm_ioctls::VmFd;

use super::bios_data::BiosData;
use super::firmware::{self, FirmwareRom};
use super::flash::FlashChip;
use super::handoff;
use super::pc::Board;
use crate::boot::builtin::BUILTIN_GUEST;
use crate::boot::{DirectBoot, Entry, Image, Platform, rng_seed};
use crate::config::{BootConfig, Firmware, MachineConfig};
use crate::kvm::msr::Msr;
use crate::kvm::vcpu::Vcpu;

/// The image that runs first.
pub enum FirstImage {
    /// A kernel.
    Kernel(DirectBoot),
    /// Firmware in ROM.
    Firmware(FirmwareRom),
}

impl FirstImage {
    /// Opens what `config` starts with; `flash` are its flash chips.
    ///
    /// # Errors
    /// A file is missing, or not what it should be.
    pub fn open(config: &MachineConfig, flash: &[FlashChip]) -> Result<Self> {
        let BootConfig { kernel, initrd, append, .. } = &config.boot;
        Ok(match (open_firmware(&config.boot, flash)?, kernel) {
            (Some(firmware), _) => Self::Firmware(firmware),
            (None, Some(kernel)) => {
                let initrd = initrd.as_ref().map(OsStr::new);
                Self::Kernel(DirectBoot::open(kernel, initrd, append.as_bytes(), config.memory.size())?)
            }
            (None, None) => {
                let guest = Image::from_bytes("the built-in guest", BUILTIN_GUEST);
                Self::Kernel(DirectBoot::new(guest, append.as_bytes())?)
            }
        })
    }

    /// The firmware, if it is one.
    #[must_use]
    pub fn firmware(&self) -> Option<&FirmwareRom> {
        match self {
            Self::Firmware(rom) => Some(rom),
            Self::Kernel(_) => None,
        }
    }
}

/// Opens the firmware that `boot` asks for, if any. What is in a flash chip comes before any other.
///
/// # Errors
/// It is missing, or no firmware.
pub fn open_firmware(boot: &BootConfig, flash: &[FlashChip]) -> Result<Option<FirmwareRom>> {
    if let Some(first) = flash.first() {
        return FirmwareRom::flash(&first.array).map(Some).context("-drive if=pflash");
    }
    let name = match &boot.firmware {
        Firmware::None => return Ok(None),
        Firmware::Default => firmware::DEFAULT,
        Firmware::File(name) => name,
    };
    FirmwareRom::open(name, &boot.directories).map(Some).context("-bios")
}

/// What the machine starts with.
pub enum BootSource {
    /// The processors begin where the architecture lets them, and find firmware there.
    Firmware,
    /// A kernel.
    Kernel(Box<KernelStart>),
}

impl BootSource {
    /// Sets up a machine that has just been made or reset, but for its processors, and says where these start.
    /// `ram_is_clear` says that RAM is new.
    ///
    /// # Errors
    /// The kernel image can't be loaded.
    pub fn load(&mut self, vm: &Arc<VmFd>, board: &Board, ram_is_clear: bool) -> Result<Start> {
        match self {
            Self::Firmware => Ok(Start(None)),
            Self::Kernel(start) => start.load(vm, board, ram_is_clear),
        }
    }
}

/// A kernel to be started directly, again after each reset.
pub struct KernelStart {
    /// The kernel.
    pub kernel: DirectBoot,
    /// What the operating system finds instead of firmware.
    pub bios: BiosData,
    /// Memory types, for every processor.
    pub mtrrs: Vec<Msr>,
    /// Where it is loaded.
    pub ram: GuestRam,
}

impl KernelStart {
    fn load(&mut self, vm: &Arc<VmFd>, board: &Board, ram_is_clear: bool) -> Result<Start> {
        handoff::chipset(&board.pci);
        handoff::keyboard_controller(&board.ports);
        match board.interrupt_controllers {
            Some(_) => handoff::interrupt_controllers(&board.ports),
            None => {
                handoff::kernel_interrupt_controllers(vm).context("can't set up the interrupt controllers")?;
            }
        }
        self.bios.write(&self.ram).context("the tables for the operating system can't be written")?;
        let platform = Platform {
            e820: &self.bios.e820,
            reserved: &[],
            rsdp: self.bios.rsdp,
            rng_seed: rng_seed().ok(),
            ram_is_clear,
        };
        Ok(Start(Some((self.kernel.load(&self.ram, &platform)?, self.mtrrs.clone()))))
    }
}

/// Where the processors start: with a kernel, how the first enters it and the types of memory for all.
#[derive(Clone)]
pub struct Start(Option<(Entry, Vec<Msr>)>);

impl Start {
    /// Puts a processor that has just been made or reset there.
    ///
    /// # Errors
    /// The host refuses.
    pub fn apply(&self, vcpu: &mut Vcpu) -> Result<()> {
        let Some((entry, mtrrs)) = &self.0 else { return Ok(()) };
        vcpu.set_msrs(mtrrs).context("can't set the types of memory")?;
        if vcpu.index() == 0 {
            handoff::local_apic(vcpu.fd()).context("can't set up the first processor's local APIC")?;
            vcpu.enter_kernel(entry)?;
        }
        Ok(())
    }
}
