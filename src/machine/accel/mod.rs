//! What runs the machine's processors: the seam between the machine and KVM.
//!
//! A machine is built in three steps. The accelerator prepares the [`Ground`]: guest memory, and where interrupts go. On
//! it the board is put up (`build::assemble`), the same for all. Then the accelerator adds the processors, which see
//! the board, and is from then on driven through [`Accelerator`]. What KVM takes long for is done beside this: [`first_cpu`].

mod first_cpu;
mod irqchip;
pub mod kvm;
pub mod qtest;
mod split;

use std::sync::{Arc, Mutex};

use anyhow::Result;
use devices::base::msi::MsiSink;
use devices::base::{GuestRam, IrqSink};

use super::flash::FlashChip;
use super::guest_time::Clockwork;
use super::interrupt_report::ReadInterrupts;
use super::layout::{MemoryLayout, Rules};
use super::pc::Board;
use super::pc::chips::Chips;
use super::pc::doorbells::DoorbellHost;
use super::shadow::ShadowSlots;
use crate::boot::e820::E820Entry;
use crate::config::MachineConfig;
use crate::kvm::control::VcpuThread;
use crate::kvm::cpuid::HostCpu;
use crate::kvm::inspect::Processors;
use crate::kvm::memory::MemorySlots;

/// What a board is put up on.
pub struct Ground {
    /// Where RAM lies.
    pub layout: MemoryLayout,
    /// RAM.
    pub ram: GuestRam,
    /// Addresses that they keep to themselves.
    pub reserved: Vec<E820Entry>,
    /// Which of RAM the processors see where.
    pub slots: Arc<MemorySlots>,
    /// The host bridge's say in that.
    pub shadow: ShadowSlots,
    /// Flash chips, which the processors see already.
    pub flash: Vec<FlashChip>,
    /// Guest time.
    pub clockwork: Clockwork,
    /// Takes the levels of the interrupt inputs.
    pub irqs: Arc<dyn IrqSink>,
    /// Where interrupt controllers and interval timer are.
    pub chips: Chips,
    /// Takes the messages of PCI functions to local APICs.
    pub messages: Arc<dyn MsiSink>,
    /// Hears doorbells of functions, if there is something that does.
    pub doorbells: Option<Arc<dyn DoorbellHost>>,
}

/// The processors of a machine and all that comes with them. Called by the main loop only.
pub trait Accelerator: Send {
    /// Waits until the processors are what they are to be. One that can't be made so has told the machine by then.
    fn wait_set_up(&self);

    /// The threads of the host that run the processors, in their order; empty if none does.
    fn threads(&self) -> Vec<VcpuThread>;

    /// Stops the processors; when it returns, none runs and none has anything half done.
    fn park(&self);

    /// Lets the processors run.
    fn run(&self);

    /// Sends every processor, which may be parked or run, a non-maskable interrupt, if its local APIC passes one from the
    /// board on.
    ///
    /// # Errors
    /// The host refuses.
    fn inject_nmi(&self) -> Result<()>;

    /// Stops the clocks that are the processors' own. They are parked.
    ///
    /// # Errors
    /// The host refuses.
    fn freeze(&mut self) -> Result<()>;

    /// Lets the clocks that [`Self::freeze`] stopped go on.
    ///
    /// # Errors
    /// The host refuses.
    fn thaw(&mut self) -> Result<()>;

    /// What processors can be here; `None` if there are none.
    fn host_cpu(&self) -> Option<Arc<Mutex<HostCpu>>>;

    /// What looks into the processors; `None` if there are none.
    fn processors(&self) -> Option<Processors>;

    /// What reads the interrupt controllers in the kernel; `None` if they are on the board.
    fn kernel_interrupts(&self) -> Option<ReadInterrupts>;

    /// Puts the processors, which are parked, to where the machine starts from. The devices of `board` have been reset.
    ///
    /// # Errors
    /// The host refuses, or what is booted can't be loaded again.
    fn reset(&mut self, board: &Board) -> Result<()>;
}

/// What decides where RAM lies; `amd` says whose the processors are.
fn rules(config: &MachineConfig, amd: bool) -> Rules {
    Rules {
        ram_size: config.memory.size(),
        max_ram_below_4g: config.platform.max_ram_below_4g,
        phys_bits: Rules::MOST_PHYS_BITS,
        amd,
        pci_hole64_size: Rules::PCI_HOLE64_SIZE,
    }
}
