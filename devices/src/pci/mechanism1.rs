//! Configuration mechanism #1 of the host bridge: CONFADD (CF8h) and CONFDATA (CFCh).
//!
//! Intel 82441FX (290549) section 3.1. Only dword accesses reach CONFADD; others are left to the ISA bus, where
//! nobody answers. A bus number other than 0 makes a type 1 cycle, which the bridge that owns the number takes.

use std::sync::Arc;

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

use super::{PciAddress, PciBus};
use crate::base::{AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};

/// The address register.
pub const CONFADD: u16 = 0;
/// The data window.
pub const CONFDATA: u16 = 1;

/// The windows of the mechanism, in the order address, data.
pub const REGIONS: [Region; 2] = [
    Region::ports(CONFADD, "pci-conf-idx", 4, AccessRule::UP_TO_DWORD),
    Region::ports(CONFDATA, "pci-conf-data", 4, AccessRule::UP_TO_DWORD),
];

#[bitfield(u32)]
struct ConfAdd {
    #[bits(2)]
    zero: u8,
    #[bits(6)]
    register: u8,
    #[bits(3)]
    function: u8,
    #[bits(5)]
    slot: u8,
    bus: u8,
    #[bits(7)]
    reserved: u8,
    enable: bool,
}

/// The two registers.
pub struct ConfigMechanism1 {
    address: ConfAdd,
    bus: Arc<PciBus>,
}

impl ConfigMechanism1 {
    /// Gives access to `bus`, which is bus 0.
    #[must_use]
    pub fn new(bus: Arc<PciBus>) -> Self {
        Self { address: ConfAdd::new(), bus }
    }

    /// The register that an access at `offset` of the data window means: bus, place on it, register.
    fn target(&self, offset: u64) -> Option<(Arc<PciBus>, PciAddress, u8)> {
        let address = self.address;
        let place = PciAddress { slot: address.slot(), function: address.function() };
        let bus = match (address.enable(), address.bus()) {
            (false, _) => return None,
            (true, 0) => Arc::clone(&self.bus),
            (true, number) => self.bus.find(number)?,
        };
        Some((bus, place, address.register() << 2 | (offset & 3) as u8))
    }
}

impl Device for ConfigMechanism1 {
    fn name(&self) -> &'static str {
        "pci-config"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.address = ConfAdd::new();
    }

    fn save(&self) -> State {
        let Self { address, bus: _ } = self;
        State::of(state::VERSION, &state::V1 { confadd: address.into_bits() })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { confadd } = state.decode(state::VERSION)?;
        self.address = ConfAdd::from_bits(confadd);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("CONFADD", self.address.into_bits(), 32);
    }
}

impl IoDevice for ConfigMechanism1 {
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64 {
        match (region, size) {
            (CONFADD, 4) => u64::from(self.address.into_bits()),
            (CONFDATA, _) => match self.target(offset) {
                Some((bus, place, register)) => u64::from(bus.config_read(place, register, size)),
                None => u64::MAX,
            },
            _ => u64::MAX,
        }
    }

    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64) {
        match (region, size) {
            (CONFADD, 4) => self.address = ConfAdd::from_bits(value as u32),
            (CONFDATA, _) => {
                if let Some((bus, place, register)) = self.target(offset) {
                    bus.config_write(place, register, size, value as u32);
                }
            }
            _ => {}
        }
    }
}

mod state {
    use super::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub confadd: u32,
    }
}
