//! The PCI-to-ISA bridge of the 82371SB (PIIX3), PCI function 01.0, and its Reset Control register (CF9h).
//!
//! Follows Intel 290550. Emulated: interrupt routing (PIRQRCA to PIRQRCD, 60h-63h) and RCR. The X-Bus, ISA timing, chip select
//! and DMA registers are storage: everything behind them answers at its standard address whatever they say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pirq::PirqRouter;
use crate::base::{
    AccessRule, Device, Inspector, IoDevice, Region, ResetCause, ResetKind, State, StateError, SystemControl,
    SystemRequest,
};
use crate::pci::{PciConfig, PciConfigBuilder, PciConfigState, PciFunction};

/// Reset Control register, one port.
pub const RCR: Region = Region::ports(0, "piix3-reset-control", 1, AccessRule::BYTE);

const PIRQRCA: u8 = 0x60;
/// RCR bit 2, Reset CPU: writing one starts a reset. It never reads back.
const RCR_RCPU: u8 = 1 << 2;
/// RCR bit 1, System Reset: chooses between a soft and a hard reset, which a virtual machine does not tell apart.
const RCR_SRST: u8 = 1 << 1;

/// The bridge.
pub struct Piix3 {
    config: PciConfig,
    rcr: u8,
    router: Arc<PirqRouter>,
    system: Arc<dyn SystemControl>,
}

impl Piix3 {
    /// A bridge that steers `router` and resets `system`.
    #[must_use]
    pub fn new(router: Arc<PirqRouter>, system: Arc<dyn SystemControl>) -> Self {
        let config = PciConfigBuilder::new(0x8086, 0x7000, 0x06_0100)
            .multifunction()
            .status(0x0200)
            .bytes(0x4c, &[0x4d])
            .bytes(0x4e, &[0x03])
            .bytes(PIRQRCA, &[0x80; 4])
            .bytes(0x69, &[0x02])
            .bytes(0x70, &[0x80])
            .bytes(0x76, &[0x0c, 0x0c, 0x02])
            .bytes(0xa0, &[0x08])
            .bytes(0xa8, &[0x0f])
            .build();
        Self { config, rcr: 0, router, system }
    }

    fn settle(&self) {
        for wire in 0..4 {
            self.router.route(usize::from(wire), self.config.read_u8(PIRQRCA + wire));
        }
    }
}

impl Device for Piix3 {
    fn name(&self) -> &'static str {
        "PIIX3"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.config.reset();
        self.rcr = 0;
        self.settle();
    }

    fn save(&self) -> State {
        let Self { config, rcr, router: _, system: _ } = self;
        State::of(state::VERSION, &state::V1 { config: config.save(), rcr: *rcr })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config, rcr } = state.decode(state::VERSION)?;
        if rcr & !RCR_SRST != 0 {
            return Err(StateError::invalid("rcr", format!("{rcr:#04x} has bits that never read back")));
        }
        self.config.load(&config)?;
        self.rcr = rcr;
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        for (wire, name) in (0..).zip(["PIRQRCA", "PIRQRCB", "PIRQRCC", "PIRQRCD"]) {
            out.register(name, self.config.read_u8(PIRQRCA + wire), 8);
        }
        out.register("RCR", self.rcr, 8);
    }
}

impl IoDevice for Piix3 {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        u64::from(self.rcr)
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, value: u64) {
        let value = value as u8;
        self.rcr = value & RCR_SRST;
        if value & RCR_RCPU != 0 {
            self.system.request(SystemRequest::Reset(ResetCause::ResetControl));
        }
    }
}

impl PciFunction for Piix3 {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: u8) {
        if offset < PIRQRCA + 4 && offset + len > PIRQRCA {
            self.settle();
        }
    }
}

mod state {
    use super::{Deserialize, PciConfigState, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
        pub rcr: u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::system::Requests;
    use crate::base::{Delivery, IrqInput, IrqSink, lock, shared};

    struct Silent;

    impl IrqSink for Silent {
        fn set_level(&self, _pin: u32, _level: bool) -> Delivery {
            Delivery::Delivered
        }
    }

    struct Board {
        isa: [Option<Arc<IrqInput>>; 16],
        router: Arc<PirqRouter>,
        requests: Arc<Requests>,
        bridge: Piix3,
    }

    fn board() -> Board {
        let isa = std::array::from_fn(|irq| Some(IrqInput::new(Arc::new(Silent), irq as u32)));
        let router = PirqRouter::new(isa.clone());
        let requests = Arc::new(Requests::default());
        let bridge = Piix3::new(router.clone(), requests.clone());
        Board { isa, router, requests, bridge }
    }

    impl Board {
        fn write(&mut self, offset: u8, value: u8) {
            self.bridge.config_mut().write(offset, 1, u32::from(value));
            self.bridge.config_written(offset, 1);
        }

        fn high(&self) -> Vec<usize> {
            (0..16).filter(|irq| self.isa[*irq].as_ref().unwrap().level()).collect()
        }
    }

    #[test]
    fn config_space_at_reset_is_qemus() {
        let board = board();
        let config = board.bridge.config();
        assert_eq!(config.read_u32(0x00), 0x7000_8086);
        assert_eq!(config.read_u32(0x04), 0x0200_0000);
        assert_eq!(config.read_u32(0x08), 0x0601_0000);
        assert_eq!(config.read_u8(0x0e), 0x80);
        let rest: Vec<_> = (0x40..=0xff).map(|at| (at, config.read_u8(at))).filter(|(_, value)| *value != 0).collect();
        let expected = [
            (0x4c, 0x4d),
            (0x4e, 0x03),
            (0x60, 0x80),
            (0x61, 0x80),
            (0x62, 0x80),
            (0x63, 0x80),
            (0x69, 0x02),
            (0x70, 0x80),
            (0x76, 0x0c),
            (0x77, 0x0c),
            (0x78, 0x02),
            (0xa0, 0x08),
            (0xa8, 0x0f),
        ];
        assert_eq!(rest, expected);
    }

    #[test]
    fn an_asserted_wire_moves_with_its_route() {
        let mut board = board();
        let [a, b, ..] = board.router.inputs();
        let (card, other) = (a.line("card"), b.line("other"));
        card.set(true);
        assert_eq!(board.high(), [0; 0]);
        board.write(0x60, 10);
        assert_eq!(board.high(), [10]);
        board.write(0x61, 10);
        other.set(true);
        card.set(false);
        assert_eq!(board.high(), [10], "the other wire still holds the shared interrupt");
        board.write(0x61, 11);
        assert_eq!(board.high(), [11]);
        for nowhere in [0x80, 0x8b, 0, 1, 2, 8, 13] {
            board.write(0x61, nowhere);
            assert_eq!(board.high(), [0; 0], "{nowhere:#x}");
        }
        board.write(0x61, 5);
        let saved = board.bridge.save();
        board.bridge.reset(ResetKind::System);
        assert_eq!(board.high(), [0; 0]);
        board.bridge.load(&saved).unwrap();
        assert_eq!(board.high(), [5]);
    }

    #[test]
    fn bit_2_of_rcr_resets_and_only_bit_1_is_kept() {
        let mut board = board();
        board.bridge.write(RCR.id, 0, 1, 0x02);
        assert_eq!(lock(&board.requests.0).len(), 0);
        board.bridge.write(RCR.id, 0, 1, 0xff);
        assert_eq!(*lock(&board.requests.0), [SystemRequest::Reset(ResetCause::ResetControl)]);
        assert_eq!(board.bridge.read(RCR.id, 0, 1), 0x02);
    }

    #[test]
    fn keeps_the_contract() {
        let make = || {
            let Board { bridge, isa, .. } = board();
            Subject { device: shared(bridge), regions: vec![RCR], irqs: Vec::new(), keep: Box::new(isa) }
        };
        contract::check(make, &[ResetValue { region: RCR.id, offset: 0, size: 1, value: 0 }]);
        crate::pci::contract::check(make);
    }
}
