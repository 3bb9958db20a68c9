//! Looking into a machine for people, and what they may change by hand: the part of the human monitor that knows the
//! hardware. Texts have QEMU's form where programs read them.

mod dump;
mod media;
mod memory;
mod pci;
mod tree;

use std::fmt::Write;

use anyhow::{Context, Result, anyhow};

use super::interrupt_report::ReadInterrupts;
use super::pc::view::BoardView;
use crate::config::MachineConfig;
use crate::kvm::address_space::AddressSpace;
use crate::kvm::inspect::Processors;
use crate::monitor::{Dump, Medium, View};

use self::media::Media;

/// ISA interrupts, which the 8259s see.
const ISA_IRQS: usize = 16;

/// What can be looked at in a machine that is complete. Its methods are called by the main thread with no device locked.
pub struct Inspection {
    /// The devices.
    pub board: BoardView,
    /// Memory and ports as processors see them.
    pub space: AddressSpace,
    /// Unless there are none.
    pub processors: Option<Processors>,
    /// Reads the interrupt controllers.
    pub interrupts: Option<ReadInterrupts>,
    media: Media,
    check_floppy: bool,
    uses_kvm: bool,
}

impl Inspection {
    /// Looks into the machine that was made as `config` says.
    #[must_use]
    pub fn new(
        config: &MachineConfig,
        board: BoardView,
        space: AddressSpace,
        processors: Option<Processors>,
        interrupts: Option<ReadInterrupts>,
    ) -> Self {
        Self {
            media: Media::new(config, board.fdc.clone()),
            check_floppy: config.boot.order.check_floppy,
            uses_kvm: config.platform.accel == crate::config::Accel::Kvm,
            board,
            space,
            processors,
            interrupts,
        }
    }

    fn processors(&self) -> Result<&Processors> {
        self.processors.as_ref().context("this machine has no processors")
    }

    /// Tells about a part of the machine.
    ///
    /// # Errors
    /// There is no such part, or the host refuses.
    pub fn view(&self, view: View) -> Result<String> {
        match view {
            View::InterruptControllers => {
                let read = self.interrupts.as_ref().context("this machine has no interrupt controllers")?;
                Ok(read()?.to_string())
            }
            View::InterruptCounts => Ok(self.interrupt_counts()),
            View::LocalApic(cpu) => self.processors()?.local_apic(cpu),
            View::Registers(cpu) => self.processors()?.registers(cpu),
            View::Pci => Ok(pci::describe(&self.board.pci)),
            View::Devices => Ok(tree::describe(&self.board)),
            View::Memory => Ok(memory::tree(&self.board, &self.space)),
            View::Roms => Ok(memory::roms(&self.board, &self.space)),
            View::Media => Ok(self.media.describe()),
            View::Dump(dump) => self.dump(dump),
        }
    }

    /// How often each input has risen. Those that the kernel's own timer raises it does not tell of.
    fn interrupt_counts(&self) -> String {
        let mut text = String::new();
        let names = match self.uses_kvm {
            true => [("kvm-i8259", ISA_IRQS), ("kvm-ioapic", usize::MAX)],
            false => [("isa-i8259", ISA_IRQS), ("ioapic", usize::MAX)],
        };
        for (name, inputs) in names {
            // Writing to a String can't fail.
            let _ = writeln!(text, "IRQ statistics for {name}:");
            for (number, input) in self.board.gsis.iter().enumerate().take(inputs) {
                let count = input.rises();
                if count > 0 {
                    let _ = writeln!(text, "{number:2}: {count}");
                }
            }
        }
        text
    }

    fn dump(&self, dump: Dump) -> Result<String> {
        dump::text(&dump, |address, data| match dump.processor {
            None => {
                self.space.read(address, data);
                Ok(true)
            }
            Some(cpu) => self.read_linear(cpu, address, data),
        })
    }

    /// Reads memory at a linear address; `false` if not all of it is mapped.
    fn read_linear(&self, cpu: u32, address: u64, data: &mut [u8]) -> Result<bool> {
        const PAGE: u64 = 0x1000;
        let mut done = 0;
        while done < data.len() {
            let at = address.wrapping_add(done as u64);
            let in_page = (PAGE - at % PAGE) as usize;
            let end = data.len().min(done + in_page);
            let Some(physical) = self.processors()?.translate(cpu, at)? else { return Ok(false) };
            self.space.read(physical, &mut data[done..end]);
            done = end;
        }
        Ok(true)
    }

    /// Puts a medium into a drive, or takes the one out that is in it.
    ///
    /// # Errors
    /// There is no such drive, its medium can't be changed, or the image can't be opened.
    pub fn change_medium(&self, drive: &str, medium: Option<Medium>) -> Result<()> {
        self.media.change(drive, medium)
    }

    /// Sets where firmware looks for an operating system from the next start on.
    ///
    /// # Errors
    /// A letter names no device.
    pub fn set_boot_order(&self, order: &str) -> Result<()> {
        for (at, letter) in order.char_indices() {
            if !('a'..='p').contains(&letter) {
                return Err(anyhow!("Invalid boot device '{letter}'"));
            }
            if order[..at].contains(letter) {
                return Err(anyhow!("Boot device '{letter}' was given twice"));
            }
            if !"abcdn".contains(letter) {
                return Err(anyhow!(
                    "Invalid boot device for PC: '{letter}'; a and b are floppies, c is a disk, d a CD-ROM, n the network"
                ));
            }
        }
        if order.len() > 3 {
            return Err(anyhow!("Too many boot devices for PC: three at most"));
        }
        self.board.set_boot_order(order, self.check_floppy);
        Ok(())
    }
}
