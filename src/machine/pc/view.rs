//! What can be seen of the board from outside.

use std::sync::{Arc, Mutex};

use devices::backend::disk::DiskClient;
use devices::base::{Bus, Device, IrqInput, Shared, lock};
use devices::chipset::rtc::Rtc;
use devices::firmware::FwCfg;
use devices::floppy::Fdc;
use devices::pci::PciBus;

use super::Board;
use super::cd::CdBay;
use super::input::{Pointer, Typist};
use crate::machine::cmos;

/// The parts of a board that people look at. It does not keep the board's buses from being cleared.
pub struct BoardView {
    /// Port space.
    pub ports: Arc<Bus>,
    /// Memory space outside RAM.
    pub memory: Arc<Bus>,
    /// The root PCI bus.
    pub pci: Arc<PciBus>,
    /// Whether the interrupt controllers are among the devices, or in the kernel.
    pub has_interrupt_controllers: bool,
    /// The interrupt inputs.
    pub gsis: Vec<Arc<IrqInput>>,
    /// The floppy controller.
    pub fdc: Option<Shared<Fdc>>,
    /// The devices that have disks.
    pub disks: Vec<Arc<Mutex<dyn DiskClient>>>,
    /// The CD drives.
    pub cd_bays: Vec<CdBay>,
    /// What firmware is told.
    pub fw_cfg: Shared<FwCfg>,
    /// Where movements of the user's mouse go.
    pub pointer: Pointer,
    /// Who types on the keyboard, if there is one.
    pub typist: Option<Shared<Typist>>,
    /// The devices that are not on a PCI bus.
    pub others: Vec<Arc<Mutex<dyn Device>>>,
    rtc: Option<Shared<Rtc>>,
}

impl Board {
    /// What can be seen of it.
    #[must_use]
    pub fn view(&self) -> BoardView {
        let mut functions = Vec::new();
        function_types(&self.pci, &mut functions);
        let others = self.devices.iter().map(|(_, device)| device);
        let others = others.filter(|device| !functions.contains(&lock(device).name()));
        BoardView {
            disks: self.disks.clients.clone(),
            cd_bays: self.disks.cd_bays.clone(),
            ports: Arc::clone(&self.ports),
            memory: Arc::clone(&self.memory),
            pci: Arc::clone(&self.pci),
            has_interrupt_controllers: self.interrupt_controllers.is_some(),
            gsis: self.gsis.clone(),
            fdc: self.fdc.clone(),
            fw_cfg: Arc::clone(&self.fw_cfg),
            pointer: self.pointer(),
            typist: self.typist(),
            others: others.cloned().collect(),
            rtc: self.rtc.clone(),
        }
    }
}

/// The types of all functions on a bus and behind it.
fn function_types(bus: &PciBus, types: &mut Vec<&'static str>) {
    for (address, _) in bus.functions() {
        types.extend(bus.look_at(address, |function| function.name()));
    }
    for (_, secondary) in bus.secondaries() {
        function_types(&secondary, types);
    }
}

impl BoardView {
    /// Writes the boot order (letters of at most three devices) to where firmware finds it.
    pub fn set_boot_order(&self, order: &str, check_floppy: bool) {
        let [first_and_second, third] = cmos::boot_order(order, check_floppy);
        if let Some(rtc) = &self.rtc {
            let mut rtc = lock(rtc);
            rtc.set_ram(cmos::BOOT_FIRST_AND_SECOND, first_and_second);
            rtc.set_ram(cmos::BOOT_THIRD, third);
        }
    }
}
