//! fw_cfg on the board, and the boot order that firmware finds in CMOS RAM instead.

use devices::base::{BusMaster, Dma, GuestRam, Shared, lock, shared};
use devices::chipset::rtc::Rtc;
use devices::firmware::FwCfg;

use super::Board;
use crate::config;
use crate::machine::board::port;
use crate::machine::cmos;

/// Room for files, as in QEMU's machine.
const FILE_SLOTS: u16 = 0x20;

/// The device, with nothing in it yet. It transfers to and from `ram`.
pub(super) fn device(ram: GuestRam) -> Shared<FwCfg> {
    shared(FwCfg::new(Dma::new(ram, BusMaster::always()), FILE_SLOTS))
}

/// The boot order in CMOS RAM after the first reset, where another one holds until then (`-boot once=`).
pub(super) struct LastingOrder {
    rtc: Shared<Rtc>,
    bytes: [(usize, u8); 2],
}

impl LastingOrder {
    pub(super) fn new(rtc: &Shared<Rtc>, boot: &config::BootOrder) -> Option<Self> {
        boot.once.as_ref()?;
        let [first_and_second, third] = cmos::boot_order(&boot.order, boot.check_floppy);
        let bytes = [(cmos::BOOT_FIRST_AND_SECOND, first_and_second), (cmos::BOOT_THIRD, third)];
        Some(Self { rtc: Shared::clone(rtc), bytes })
    }

    pub(super) fn restore(&self) {
        let mut rtc = lock(&self.rtc);
        self.bytes.iter().for_each(|(address, value)| rtc.set_ram(*address, *value));
    }
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
