//! QEMU's `pci-testdev` (1b36:0005), which kvm-unit-tests drive to see how long an access takes.
//!
//! Follows QEMU's docs/specs/pci-testdev. A window in memory and one of ports; the lower half of each is registers, in the upper
//! half each of its three tests has a byte. Writing a test's number to the first register chooses it; then the registers tell of
//! it, and it counts what is written to its byte. The tests with an event descriptor are about writes that do not reach the device
//! at all: they do not count. An optional third window is memory that is not there, as large as one likes.

use crate::base::{AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};
use crate::pci::{Bar, BarKind, PciConfig, PciConfigBuilder, PciConfigState, PciFunction};

/// Tests of a window.
const TESTS: u8 = 3;
/// What the device compares writes with.
const DATA: u8 = 0xfa;
/// What a test shows that compares with nothing.
const ANY_DATA: u8 = 0xce;

/// Offsets in the lower half of a window.
mod register {
    /// Number of the test; chooses one when written.
    pub const TEST: u64 = 0;
    /// Bytes of an access.
    pub const WIDTH: usize = 1;
    /// Where the test's byte is, 4 bytes.
    pub const OFFSET: usize = 4;
    /// What is to be written there.
    pub const DATA: usize = 8;
    /// How often that was done, 4 bytes.
    pub const COUNT: usize = 12;
    /// The name of the test, with a zero at its end.
    pub const NAME: usize = 16;
}

/// A test that was chosen.
#[derive(Clone, Copy, PartialEq)]
struct Chosen {
    /// The window through which it was.
    region: u16,
    number: u8,
    count: u32,
}

impl Chosen {
    /// Its number among all, those of memory first.
    fn index(self) -> u8 {
        self.number + if self.region == PciTestdev::PORTS.id { TESTS } else { 0 }
    }

    /// Where in the window its byte is.
    fn offset(self) -> u64 {
        let window = if self.region == PciTestdev::PORTS.id { PciTestdev::PORTS } else { PciTestdev::MEMORY };
        window.len / 2 + u64::from(self.index())
    }

    fn name(self) -> String {
        let window = if self.region == PciTestdev::PORTS.id { "portio" } else { "mmio" };
        let test = match self.number {
            0 => "no-eventfd",
            1 => "wildcard-eventfd",
            _ => "datamatch-eventfd",
        };
        format!("{window}-{test}")
    }

    fn compares(self) -> bool {
        self.number != 1
    }

    /// Whether a write counts. Event descriptors are for the window through which the test was chosen, and take what it waits for
    /// there; the other window counts it.
    fn counts(self, region: u16, offset: u64, value: u8) -> bool {
        let awaited = offset == self.offset() && (value == DATA || !self.compares());
        awaited && (self.number == 0 || region != self.region)
    }

    /// The registers.
    fn registers(self) -> Vec<u8> {
        let name = self.name();
        let mut bytes = vec![0; register::NAME + name.len() + 1];
        bytes[register::TEST as usize] = self.index();
        bytes[register::WIDTH] = 1;
        bytes[register::OFFSET..][..4].copy_from_slice(&(self.offset() as u32).to_le_bytes());
        bytes[register::DATA] = if self.compares() { DATA } else { ANY_DATA };
        bytes[register::COUNT..][..4].copy_from_slice(&self.count.to_le_bytes());
        bytes[register::NAME..][..name.len()].copy_from_slice(name.as_bytes());
        bytes
    }
}

/// The device.
pub struct PciTestdev {
    config: PciConfig,
    chosen: Option<Chosen>,
}

impl PciTestdev {
    /// The window in memory.
    pub const MEMORY: Region = Region::memory(0, "pci-testdev-mmio", 0x1000, AccessRule::BYTE);
    /// The window of ports.
    pub const PORTS: Region = Region::ports(1, "pci-testdev-portio", 0x100, AccessRule::BYTE);
    /// The memory that is not there.
    const HOLE: u16 = 2;

    /// A device, with so many bytes of memory that are not there: a power of two from 16 on, or none.
    #[must_use]
    pub fn new(hole: Option<u64>) -> Self {
        let mut config = PciConfigBuilder::new(0x1b36, 0x0005, 0x00_ff00)
            .bar(0, Bar { region: Self::MEMORY, kind: BarKind::Memory32 { prefetchable: false } })
            .bar(1, Bar { region: Self::PORTS, kind: BarKind::Io });
        if let Some(len) = hole {
            let region = Region::memory(Self::HOLE, "pci-testdev-membar", len, AccessRule::BYTE);
            config = config.bar(2, Bar { region, kind: BarKind::Memory64 { prefetchable: true } });
        }
        Self { config: config.build(), chosen: None }
    }
}

impl IoDevice for PciTestdev {
    fn read(&mut self, region: u16, offset: u64, _size: u8) -> u64 {
        if region == Self::HOLE {
            return u64::MAX;
        }
        // Both windows show what was chosen through either.
        let registers = self.chosen.map(Chosen::registers).unwrap_or_default();
        let byte = usize::try_from(offset).ok().and_then(|offset| registers.get(offset));
        byte.copied().unwrap_or_default().into()
    }

    fn write(&mut self, region: u16, offset: u64, _size: u8, value: u64) {
        let value = value as u8;
        match &mut self.chosen {
            _ if region == Self::HOLE => {}
            chosen if offset == register::TEST => {
                *chosen = (value < TESTS).then_some(Chosen { region, number: value, count: 0 });
            }
            Some(chosen) if chosen.counts(region, offset, value) => chosen.count = chosen.count.wrapping_add(1),
            _ => {}
        }
    }
}

impl Device for PciTestdev {
    fn name(&self) -> &'static str {
        "pci-testdev"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.config.reset();
        self.chosen = None;
    }

    fn save(&self) -> State {
        let Self { config, chosen } = self;
        let chosen = chosen.map(|Chosen { region, number, count }| state::ChosenV1 { region, number, count });
        State::of(state::VERSION, &state::V1 { config: config.save(), chosen })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config, chosen } = state.decode(state::VERSION)?;
        let chosen = chosen.map(|state::ChosenV1 { region, number, count }| Chosen { region, number, count });
        if let Some(Chosen { region, number, .. }) = chosen
            && (![Self::MEMORY.id, Self::PORTS.id].contains(&region) || number >= TESTS)
        {
            return Err(StateError::invalid("chosen", format!("test {number} of window {region}")));
        }
        self.config.load(&config)?;
        self.chosen = chosen;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.number("test", self.chosen.map_or(u64::MAX, |chosen| u64::from(chosen.index())));
        out.number("count", self.chosen.map_or(0, |chosen| chosen.count));
    }
}

impl PciFunction for PciTestdev {
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
    pub struct ChosenV1 {
        pub region: u16,
        pub number: u8,
        pub count: u32,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
        pub chosen: Option<ChosenV1>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::shared;

    #[test]
    fn contract() {
        for hole in [None, Some(1 << 33)] {
            let make = || Subject {
                device: shared(PciTestdev::new(hole)),
                regions: vec![PciTestdev::MEMORY, PciTestdev::PORTS],
                irqs: Vec::new(),
                keep: Box::new(()),
            };
            let nothing = |region, offset| ResetValue { region, offset, size: 1, value: 0 };
            contract::check(make, &[nothing(0, 0), nothing(0, 4), nothing(1, 0), nothing(1, 12)]);
            crate::pci::contract::check(make);
        }
    }

    /// QEMU, docs/specs/pci-testdev. The test with index 0 of a window counts; the others are for event descriptors, which
    /// take what is written there.
    #[test]
    fn a_test_tells_of_itself_and_counts_what_reaches_the_device() {
        for (region, number, index, at, data, name) in [
            (0, 0, 0, 0x800_u32, 0xfa_u8, "mmio-no-eventfd"),
            (0, 1, 1, 0x801, 0xce, "mmio-wildcard-eventfd"),
            (0, 2, 2, 0x802, 0xfa, "mmio-datamatch-eventfd"),
            (1, 0, 3, 0x83, 0xfa, "portio-no-eventfd"),
            (1, 1, 4, 0x84, 0xce, "portio-wildcard-eventfd"),
            (1, 2, 5, 0x85, 0xfa, "portio-datamatch-eventfd"),
        ] {
            let mut device = PciTestdev::new(Some(1 << 20));
            device.write(region, 0, 1, number);
            let mut read =
                |at: u64, len: u64| (at..at + len).map(|at| device.read(region, at, 1) as u8).collect::<Vec<_>>();
            assert_eq!(read(0, 2), [index, 1], "{name}");
            assert_eq!(read(4, 4), at.to_le_bytes(), "{name}");
            assert_eq!(read(8, 1), [data], "{name}");
            assert_eq!(read(16, name.len() as u64 + 1), [name.as_bytes(), &[0]].concat());
            // Two writes that it waits for; another value, another place, and the memory that is not there.
            for (region, at, value) in
                [(region, at, data), (region, at, data), (region, at, data ^ 1), (region, at + 1, data), (2, at, data)]
            {
                device.write(region, at.into(), 1, value.into());
            }
            assert_eq!(device.read(region, 12, 1), if number == 0 { 2 } else { 0 }, "{name}");
            assert_eq!(device.read(2, 12, 1) as u8, 0xff, "nothing is there");
            device.write(region, 0, 1, 3);
            assert_eq!((device.read(region, 12, 1), device.read(region, 16, 1)), (0, 0), "no such test");
        }
    }

    #[test]
    fn a_state_that_no_guest_makes_is_refused() {
        let mut device = PciTestdev::new(None);
        device.write(1, 0, 1, 0);
        device.write(1, 0x83, 1, DATA.into());
        let good = device.save();
        assert_eq!(good.data["chosen"], serde_json::json!({ "region": 1, "number": 0, "count": 1 }));
        for (member, value) in [("region", 2), ("number", 3)] {
            let mut bad = good.clone();
            bad.data["chosen"][member] = value.into();
            assert!(device.load(&bad).is_err(), "{member} {value}");
        }
        assert_eq!(device.save(), good);
    }
}
