//! fw_cfg on the board.

use devices::base::{BusMaster, Dma, GuestRam, Shared, shared};
use devices::firmware::FwCfg;

use super::Board;
use crate::machine::board::port;

/// Room for files, as in QEMU's machine.
const FILE_SLOTS: u16 = 0x20;

/// The device, with nothing in it yet. It transfers to and from `ram`.
pub(super) fn device(ram: GuestRam) -> Shared<FwCfg> {
    shared(FwCfg::new(Dma::new(ram, BusMaster::always()), FILE_SLOTS))
}

impl Board {
    pub(super) fn add_fw_cfg(&mut self) {
        let [selector_and_data, dma_address] = FwCfg::REGIONS;
        let device = Shared::clone(&self.fw_cfg);
        self.add(&device, &[(port::FW_CFG, selector_and_data), (port::FW_CFG_DMA, dma_address)]);
        self.acpi.fw_cfg = true;
    }

    /// The device from which firmware learns about the machine.
    #[must_use]
    pub fn fw_cfg(&self) -> &Shared<FwCfg> {
        &self.fw_cfg
    }
}
