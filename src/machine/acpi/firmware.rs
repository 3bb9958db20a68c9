//! The tables of a machine that boots firmware: made when the firmware asks for them, with what it has programmed by then.

use std::sync::Arc;

use devices::base::Bus;
use devices::chipset::piix4_pm::{self, SleepStates};
use devices::firmware::FwCfg;
use devices::firmware::fw_cfg::FileError;

use super::loader::{LOADER_FILE, RSDP_FILE, TABLES_FILE, script};
use super::{AcpiTables, Cpu, Devices, Inputs, Oem, Purpose, RSDP_LEN, Slots};
use crate::config::NumaConfig;
use crate::machine::board::port;
use crate::machine::layout::MemoryLayout;

/// Sizes of the files are multiples of these, as QEMU's: what changes in the tables does not change their size.
const TABLES_STEP: usize = 128 << 10;
const LOADER_STEP: usize = 4 << 10;
/// Where 64-bit PCI memory may begin.
const ABOVE_4G: u64 = 1 << 32;

/// All that the tables of a machine are made of, but for what firmware decides.
///
/// That is read where it shows without a device being called: from the maps of the buses.
#[derive(Clone)]
pub struct FirmwareTables {
    /// Who made them.
    pub oem: Oem,
    /// The processors in the order of their numbers.
    pub cpus: Vec<Cpu>,
    /// Where RAM and the windows for PCI memory lie.
    pub layout: MemoryLayout,
    /// The PCI root bus.
    pub slots: Slots,
    /// The sleeping states besides S5.
    pub sleep: SleepStates,
    /// What else is on the board.
    pub devices: Devices,
    /// NUMA nodes.
    pub numa: NumaConfig,
    /// Tables of the user's, complete.
    pub user_tables: Vec<Vec<u8>>,
    /// Port space.
    pub ports: Arc<Bus>,
    /// Memory space outside RAM.
    pub memory: Arc<Bus>,
}

impl FirmwareTables {
    /// The tables as things are now.
    #[must_use]
    pub fn build(&self) -> AcpiTables {
        let block = self.ports.ranges().into_iter().find(|(_, _, name)| *name == piix4_pm::PM_BLOCK.name);
        let pm_base = block.and_then(|(first, ..)| u16::try_from(first).ok()).unwrap_or(port::PM);
        // What firmware has placed up there belongs to the window, wherever it is.
        let mut pci_hole64 = self.layout.pci_hole64.clone();
        for (first, last, _) in self.memory.ranges().into_iter().filter(|(first, ..)| *first >= ABOVE_4G) {
            pci_hole64.start = pci_hole64.start.min(first);
            pci_hole64.end = pci_hole64.end.max(last.saturating_add(1));
        }
        AcpiTables::build(&Inputs {
            oem: self.oem,
            cpus: &self.cpus,
            layout: &self.layout,
            pci_hole64,
            pm_base,
            slots: &self.slots,
            sleep: self.sleep,
            purpose: Purpose::Firmware,
            devices: self.devices,
            numa: &self.numa,
            user_tables: &self.user_tables,
        })
    }

    /// Adds the files. They are made together when one of them is first selected after a reset: the script knows where the
    /// pointers in the tables are, so that all have to be of the same tables, whatever firmware programs meanwhile.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn add_files(&self, fw_cfg: &mut FwCfg) -> Result<(), FileError> {
        let now = self.build();
        let size = |len: usize, step: usize| u32::try_from(len.next_multiple_of(step)).unwrap_or(u32::MAX);
        let files = [
            (RSDP_FILE, RSDP_LEN as u32),
            (TABLES_FILE, size(now.tables.len(), TABLES_STEP)),
            (LOADER_FILE, size(script(&now).len(), LOADER_STEP)),
        ];
        let source = self.clone();
        fw_cfg.add_produced_files(&files, move || {
            let tables = source.build();
            let script = script(&tables);
            vec![tables.rsdp.to_vec(), tables.tables, script]
        })
    }
}
