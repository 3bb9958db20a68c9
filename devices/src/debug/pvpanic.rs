//! QEMU's paravirtual panic device: `pvpanic` on the ISA bus, `pvpanic-pci` (1b36:0011) on PCI.
//!
//! Follows QEMU's docs/specs/pvpanic. One byte: reading it tells which events the host wants to hear of, writing it reports
//! some. Bit 0 is a panic; bit 1 says that the guest has crashed and will see to it itself (a crash kernel takes over).
//! The byte also answers at the address that follows in the PCI variant, whose BAR is 16 bytes, the smallest that PCI has.

use std::sync::Arc;

use crate::base::{
    AccessRule, Device, GuestLog, Inspector, IoDevice, Region, ResetKind, State, StateError, SystemControl,
    SystemRequest,
};
use crate::pci::{Bar, BarKind, PciConfig, PciConfigBuilder, PciConfigState, PciFunction};

/// The guest has panicked.
const PANICKED: u8 = 1 << 0;
/// The guest has crashed and a crash kernel takes over.
const CRASH_LOADED: u8 = 1 << 1;

/// What both variants are made of.
struct Reporter {
    events: u8,
    system: Arc<dyn SystemControl>,
    log: GuestLog,
}

impl Reporter {
    fn new(events: u8, system: Arc<dyn SystemControl>) -> Self {
        Self { events, system, log: GuestLog::default() }
    }

    fn report(&mut self, name: &str, value: u64) {
        let value = value as u8;
        if value & !(PANICKED | CRASH_LOADED) != 0 {
            self.log.warn(name, format_args!("unknown event {value:#04x}"));
        }
        // A panic outweighs what else is reported with it. Events that were not asked for count, as in QEMU.
        if value & PANICKED != 0 {
            self.system.request(SystemRequest::GuestPanicked);
        } else if value & CRASH_LOADED != 0 {
            self.system.request(SystemRequest::GuestCrashLoaded);
        }
    }
}

/// `pvpanic`.
pub struct Pvpanic(Reporter);

impl Pvpanic {
    /// Its port.
    pub const REGION: Region = Region::ports(0, "pvpanic", 1, AccessRule::BYTE);

    /// A device that wants to hear of `events`.
    #[must_use]
    pub fn new(events: u8, system: Arc<dyn SystemControl>) -> Self {
        Self(Reporter::new(events, system))
    }
}

impl IoDevice for Pvpanic {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        self.0.events.into()
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, value: u64) {
        self.0.report("pvpanic", value);
    }
}

impl Device for Pvpanic {
    fn name(&self) -> &'static str {
        "pvpanic"
    }

    fn reset(&mut self, _kind: ResetKind) {}

    fn save(&self) -> State {
        State::of(state::VERSION, &state::Isa {})
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::Isa {} = state.decode(state::VERSION)?;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("events", self.0.events, 8);
    }
}

/// `pvpanic-pci`.
pub struct PvpanicPci {
    reporter: Reporter,
    config: PciConfig,
}

impl PvpanicPci {
    /// Its memory window.
    pub const REGION: Region = Region::memory(0, "pvpanic", 0x10, AccessRule::BYTE);
    /// Bytes of the window that are the register.
    const DECODED: u64 = 2;

    /// A device that wants to hear of `events`.
    #[must_use]
    pub fn new(events: u8, system: Arc<dyn SystemControl>) -> Self {
        let config = PciConfigBuilder::new(0x1b36, 0x0011, 0x08_8000)
            .revision(1)
            .bar(0, Bar { region: Self::REGION, kind: BarKind::Memory32 { prefetchable: false } })
            .build();
        Self { reporter: Reporter::new(events, system), config }
    }
}

impl IoDevice for PvpanicPci {
    fn read(&mut self, _region: u16, offset: u64, _size: u8) -> u64 {
        if offset < Self::DECODED { self.reporter.events.into() } else { u64::MAX }
    }

    fn write(&mut self, _region: u16, offset: u64, _size: u8, value: u64) {
        if offset < Self::DECODED {
            self.reporter.report("pvpanic-pci", value);
        }
    }
}

impl Device for PvpanicPci {
    fn name(&self) -> &'static str {
        "pvpanic-pci"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.config.reset();
    }

    fn save(&self) -> State {
        let Self { reporter: _, config } = self;
        State::of(state::VERSION, &state::Pci { config: config.save() })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::Pci { config } = state.decode(state::VERSION)?;
        self.config.load(&config)
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("events", self.reporter.events, 8);
    }
}

impl PciFunction for PvpanicPci {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::PciConfigState;

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Isa {}

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Pci {
        pub config: PciConfigState,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::system::Requests;
    use crate::base::{lock, shared};

    #[test]
    fn events_reach_the_machine() {
        use SystemRequest::{GuestCrashLoaded, GuestPanicked};
        for (value, expected) in
            [(1, Some(GuestPanicked)), (2, Some(GuestCrashLoaded)), (3, Some(GuestPanicked)), (0xfc, None), (0, None)]
        {
            let requests = Arc::new(Requests::default());
            let mut isa = Pvpanic::new(3, Arc::clone(&requests) as _);
            isa.write(0, 0, 1, value);
            let mut pci = PvpanicPci::new(1, Arc::clone(&requests) as _);
            pci.write(0, 1, 1, value);
            pci.write(0, 2, 1, value);
            assert_eq!(*lock(&requests.0), expected.into_iter().chain(expected).collect::<Vec<_>>(), "{value}");
            assert_eq!((isa.read(0, 0, 1), pci.read(0, 0, 1), pci.read(0, 1, 1)), (3, 1, 1));
        }
    }

    #[test]
    fn the_pci_variant_has_qemus_identity() {
        let pci = PvpanicPci::new(3, Arc::new(Requests::default()));
        let config = pci.config();
        assert_eq!(config.read_u32(0), 0x0011_1b36);
        assert_eq!((config.read_u32(8), config.read_u32(0x2c), config.read_u32(0x3c)), (0x0880_0001, 0x1100_1af4, 0));
    }

    #[test]
    fn contract() {
        let requests = || Arc::new(Requests::default());
        let value = [ResetValue { region: 0, offset: 0, size: 1, value: 3 }];
        let isa = || Subject {
            device: shared(Pvpanic::new(3, requests())),
            regions: vec![Pvpanic::REGION],
            irqs: Vec::new(),
            keep: Box::new(()),
        };
        contract::check(isa, &value);
        let pci = || Subject {
            device: shared(PvpanicPci::new(3, requests())),
            regions: vec![PvpanicPci::REGION],
            irqs: Vec::new(),
            keep: Box::new(()),
        };
        contract::check(pci, &value);
        crate::pci::contract::check(pci);
    }
}
