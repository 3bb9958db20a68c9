//! Starting the machine without firmware: tables and kernel into RAM, the first processor to the kernel's entry.

use std::sync::Arc;

use anyhow::{Context, Result};
use devices::base::GuestRam;
use kvm_ioctls::VmFd;
use vm_memory::{Bytes, GuestAddress};

use super::acpi::{self, AcpiTables, Oem, PirqRouting};
use super::board::irq;
use super::handoff;
use super::layout::{BIOS_SEGMENT, MemoryLayout};
use super::pc::Board;
use crate::boot::mtrr::mtrrs;
use crate::boot::{DirectBoot, Platform, rng_seed};
use crate::kvm::control::VcpuHandle;
use crate::kvm::vcpu::Vcpu;

/// What the tables tell of the machine beside its memory.
#[derive(Clone)]
pub struct Description {
    /// Where RAM and the PCI windows are.
    pub layout: MemoryLayout,
    /// The processors, in order of their numbers.
    pub cpus: Vec<acpi::Cpu>,
    /// Physical address bits of the processors.
    pub phys_bits: u8,
    /// Slots of the PCI bus that hold devices, as a bit mask.
    pub slots: u32,
    /// The optional parts.
    pub devices: acpi::Devices,
    /// Whether there are ACPI tables.
    pub acpi: bool,
    /// Who made them.
    pub oem: Oem,
}

/// A kernel to be started directly, again after each reset.
pub struct BootSource {
    kernel: DirectBoot,
    description: Description,
    ram: GuestRam,
}

impl BootSource {
    /// Starts `kernel` on the machine that `description` describes.
    #[must_use]
    pub fn new(kernel: DirectBoot, description: Description, ram: GuestRam) -> Self {
        Self { kernel, description, ram }
    }

    /// Sets up a machine that has just been reset. `ram_is_clear` says that RAM is new.
    ///
    /// # Errors
    /// The kernel image can't be loaded, or the host refuses to set up the processor.
    pub fn start(&mut self, vm: &Arc<VmFd>, board: &Board, vcpus: &[VcpuHandle], ram_is_clear: bool) -> Result<()> {
        handoff::chipset(&board.pci);
        handoff::interrupt_controllers(vm).context("can't set up the interrupt controllers")?;
        let entry = self.load(ram_is_clear)?;
        let mtrrs = mtrrs(self.description.layout.low_ram.end, self.description.phys_bits);
        for vcpu in vcpus {
            let mtrrs = mtrrs.clone();
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

    fn load(&mut self, ram_is_clear: bool) -> Result<crate::boot::Entry> {
        let Description { layout, cpus, slots, devices, acpi, oem, phys_bits: _ } = &self.description;
        let (mut top, mut rsdp) = (0..0, None);
        if *acpi {
            let pirqs = PirqRouting::Fixed(irq::PIRQ_DEFAULT);
            let inputs = acpi::Inputs { oem: *oem, cpus, layout, slots: *slots, pirqs, devices: *devices };
            let tables = AcpiTables::build(&inputs);
            let len = tables.tables.len() as u64;
            top = layout.top_of_low_ram(len).context("the machine has too little RAM (-m) for its ACPI tables")?;
            // Low RAM ends below 4 GiB.
            let placed = tables.place(top.start as u32);
            self.put(top.start, &placed.tables)?;
            self.put(BIOS_SEGMENT.start, &placed.rsdp)?;
            rsdp = Some(BIOS_SEGMENT.start);
        }
        let e820 = layout.e820(top);
        let platform = Platform { e820: &e820, reserved: &[], rsdp, rng_seed: rng_seed().ok(), ram_is_clear };
        Ok(self.kernel.load(&self.ram, &platform)?)
    }

    fn put(&self, address: u64, data: &[u8]) -> Result<()> {
        self.ram.write_slice(data, GuestAddress(address)).context("the firmware tables don't fit into RAM")
    }
}
