//! Starting the machine without firmware: tables and kernel into RAM, the processors to where firmware leaves them.

use std::sync::Arc;

use anyhow::{Context, Result};
use devices::base::GuestRam;
use kvm_ioctls::VmFd;

use super::bios_data::BiosData;
use super::handoff;
use super::pc::Board;
use crate::boot::{DirectBoot, Platform, rng_seed};
use crate::kvm::control::VcpuHandle;
use crate::kvm::msr::Msr;
use crate::kvm::vcpu::Vcpu;

/// A kernel to be started directly, again after each reset.
pub struct BootSource {
    kernel: DirectBoot,
    /// What the operating system finds instead of firmware.
    bios: BiosData,
    /// Memory types, for every processor.
    mtrrs: Vec<Msr>,
    ram: GuestRam,
}

impl BootSource {
    /// Starts `kernel` on a machine that `bios` describes and whose memory has the types `mtrrs`.
    #[must_use]
    pub fn new(kernel: DirectBoot, bios: BiosData, mtrrs: Vec<Msr>, ram: GuestRam) -> Self {
        Self { kernel, bios, mtrrs, ram }
    }

    /// Sets up a machine that has just been made or reset. `ram_is_clear` says that RAM is new.
    ///
    /// # Errors
    /// The kernel image can't be loaded, or the host refuses to set up a processor.
    pub fn start(&mut self, vm: &Arc<VmFd>, board: &Board, vcpus: &[VcpuHandle], ram_is_clear: bool) -> Result<()> {
        handoff::chipset(&board.pci);
        handoff::keyboard_controller(&board.ports);
        handoff::interrupt_controllers(vm).context("can't set up the interrupt controllers")?;
        self.bios.write(&self.ram).context("the tables for the operating system can't be written")?;
        let platform = Platform {
            e820: &self.bios.e820,
            reserved: &[],
            rsdp: self.bios.rsdp,
            rng_seed: rng_seed().ok(),
            ram_is_clear,
        };
        let entry = self.kernel.load(&self.ram, &platform)?;
        for vcpu in vcpus {
            let mtrrs = self.mtrrs.clone();
            let prepare = move |vcpu: &mut Vcpu| -> Result<()> {
                vcpu.set_msrs(&mtrrs).context("can't set the types of memory")?;
                if vcpu.index() == 0 {
                    handoff::local_apic(vcpu.fd()).context("can't set up the first processor's local APIC")?;
                    vcpu.enter_kernel(&entry)?;
                }
                Ok(())
            };
            vcpu.with(prepare).context("a virtual CPU is gone")??;
        }
        Ok(())
    }
}
