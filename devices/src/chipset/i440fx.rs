//! The host bridge of the 82441FX (i440FX PMC), PCI function 00.0.
//!
//! Follows Intel 290549. Emulated: the Programmable Attribute Map (PAM0-PAM6, 59h-5Fh), which moves the areas from
//! C0000h to FFFFFh between RAM and ROM, and SMRAM (72h) as far as D_OPEN. The DRAM timing and row registers are
//! storage: there is no DRAM to time, and firmware learns the size of RAM elsewhere. "Write only" PAM areas (RE clear,
//! WE set) are plain RAM, as KVM has no memory that reads from one place and writes to another; QEMU does the same.
//! PAM and SMRAM outlast suspend to RAM, as they do in QEMU: SeaBIOS finds in its copy in RAM that it is to wake a system.

use serde::{Deserialize, Serialize};

use crate::base::{Device, Inspector, IoDevice, ResetKind, State, StateError};
use crate::pci::{PciConfig, PciConfigBuilder, PciConfigState, PciFunction};

const PAM0: u8 = 0x59;
const PAMS: u8 = 7;
const SMRAM: u8 = 0x72;
const SMRAM_D_OPEN: u8 = 1 << 6;
/// 57h, where QEMU leaves the size of RAM in units of 8 MiB.
const RAM_SIZE: u8 = 0x57;

/// Number of areas that the PAM registers control: 12 of 16 KiB from C0000h and the 64 KiB from F0000h.
pub const AREAS: usize = 13;

/// What an area of the BIOS space shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shadow {
    /// The ROM on the PCI side; writes vanish.
    #[default]
    Rom,
    /// RAM that can be read but not written.
    ReadOnlyRam,
    /// RAM.
    Ram,
}

impl Shadow {
    /// From the RE (bit 0) and WE (bit 1) bits of a PAM nibble.
    fn from_nibble(nibble: u8) -> Self {
        match nibble & 3 {
            0 => Self::Rom,
            1 => Self::ReadOnlyRam,
            _ => Self::Ram,
        }
    }
}

/// What the bridge decides about memory below 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ShadowMap {
    /// Areas in order of address: C0000h, C4000h, ... EC000h, F0000h.
    pub areas: [Shadow; AREAS],
    /// A0000h-BFFFFh shows RAM instead of the video memory.
    pub smram_open: bool,
}

/// First address and length of area `index`, 0 to 12, in bytes.
#[must_use]
pub const fn area(index: usize) -> (u64, u64) {
    if index < AREAS - 1 { (0xc_0000 + 0x4000 * index as u64, 0x4000) } else { (0xf_0000, 0x1_0000) }
}

/// The board's memory map, as far as the bridge switches it. Called only when something changed.
pub trait ShadowControl: Send {
    /// Makes the guest see `map`.
    fn apply(&mut self, map: &ShadowMap);
}

/// The bridge.
pub struct I440fx {
    config: PciConfig,
    shadow: Box<dyn ShadowControl>,
    applied: ShadowMap,
}

impl I440fx {
    /// A bridge for a machine with `ram_size` bytes of RAM. At reset every area shows ROM, which is also what
    /// `shadow` must start from.
    #[must_use]
    pub fn new(ram_size: u64, shadow: Box<dyn ShadowControl>) -> Self {
        let units = u8::try_from(ram_size >> 23).unwrap_or(u8::MAX);
        let config = PciConfigBuilder::new(0x8086, 0x1237, 0x06_0000)
            .revision(2)
            .bytes(RAM_SIZE, &[units])
            .bytes(SMRAM, &[0x02])
            .build();
        Self { config, shadow, applied: ShadowMap::default() }
    }

    /// The memory below 1 MiB as the registers describe it.
    #[must_use]
    pub fn shadow_map(&self) -> ShadowMap {
        let pam = |index: u8| self.config.read_u8(PAM0 + index);
        let areas = std::array::from_fn(|area| {
            let nibble = match area as u8 {
                12 => pam(0) >> 4,
                area => pam(1 + area / 2) >> (4 * (area % 2)),
            };
            Shadow::from_nibble(nibble)
        });
        ShadowMap { areas, smram_open: self.config.read_u8(SMRAM) & SMRAM_D_OPEN != 0 }
    }

    fn settle(&mut self) {
        let map = self.shadow_map();
        if map != self.applied {
            self.shadow.apply(&map);
            self.applied = map;
        }
    }
}

impl Device for I440fx {
    fn name(&self) -> &'static str {
        "i440FX"
    }

    fn reset(&mut self, kind: ResetKind) {
        let memory = (PAM0..PAM0 + PAMS).chain([SMRAM]).map(|register| (register, self.config.read_u8(register)));
        let kept: Vec<_> = if kind == ResetKind::Wake { memory.collect() } else { Vec::new() };
        self.config.reset();
        for (register, value) in kept {
            self.config.put(register, &[value]);
        }
        self.settle();
    }

    fn save(&self) -> State {
        let Self { config, shadow: _, applied: _ } = self;
        State::of(state::VERSION, &state::V1 { config: config.save() })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config } = state.decode(state::VERSION)?;
        self.config.load(&config)?;
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        for index in 0..PAMS {
            out.register(format!("PAM{index}"), self.config.read_u8(PAM0 + index), 8);
        }
        out.register("SMRAM", self.config.read_u8(SMRAM), 8);
    }
}

impl IoDevice for I440fx {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        u64::MAX
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, _value: u64) {}
}

impl PciFunction for I440fx {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u8, _len: u8) {
        self.settle();
    }
}

mod state {
    use super::{Deserialize, PciConfigState, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::base::contract::{self, Subject};
    use crate::base::{lock, shared};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<ShadowMap>>>);

    impl ShadowControl for Log {
        fn apply(&mut self, map: &ShadowMap) {
            lock(&self.0).push(*map);
        }
    }

    fn guest_write(bridge: &mut I440fx, offset: u8, value: u8) {
        bridge.config_mut().write(offset, 1, u32::from(value));
        bridge.config_written(offset, 1);
    }

    #[test]
    fn config_space_at_reset_is_qemus() {
        let bridge = I440fx::new(128 << 20, Box::new(Log::default()));
        let config = bridge.config();
        assert_eq!(config.read_u32(0x00), 0x1237_8086);
        assert_eq!(config.read_u32(0x04), 0);
        assert_eq!(config.read_u32(0x08), 0x0600_0002);
        assert_eq!(config.read_u32(0x2c), 0x1100_1af4);
        let rest: Vec<_> = (0x40..=0xff).filter(|at| config.read_u8(*at) != 0).collect();
        assert_eq!(rest, [0x57, 0x72]);
        assert_eq!((config.read_u8(0x57), config.read_u8(0x72)), (16, 0x02));
        let large = I440fx::new(64 << 30, Box::new(Log::default()));
        assert_eq!(large.config().read_u8(0x57), 0xff);
    }

    #[test]
    fn every_pam_nibble_moves_its_area() {
        // Data sheet table 11: register, nibble, first address.
        let table: [(u8, bool, u64); AREAS] = [
            (0x59, true, 0xf0000),
            (0x5a, false, 0xc0000),
            (0x5a, true, 0xc4000),
            (0x5b, false, 0xc8000),
            (0x5b, true, 0xcc000),
            (0x5c, false, 0xd0000),
            (0x5c, true, 0xd4000),
            (0x5d, false, 0xd8000),
            (0x5d, true, 0xdc000),
            (0x5e, false, 0xe0000),
            (0x5e, true, 0xe4000),
            (0x5f, false, 0xe8000),
            (0x5f, true, 0xec000),
        ];
        for (register, high, address) in table {
            let log = Log::default();
            let mut bridge = I440fx::new(1 << 20, Box::new(log.clone()));
            for (bits, shadow) in [(1, Shadow::ReadOnlyRam), (3, Shadow::Ram), (2, Shadow::Ram), (0, Shadow::Rom)] {
                guest_write(&mut bridge, register, if high { bits << 4 } else { bits });
                let map = bridge.shadow_map();
                for (index, got) in map.areas.into_iter().enumerate() {
                    let want = if area(index).0 == address { shadow } else { Shadow::Rom };
                    assert_eq!(got, want, "PAM {register:#x} at {:#x}", area(index).0);
                }
            }
            let applied = lock(&log.0).len();
            assert_eq!(applied, 3, "the step from 3 to 2 changes nothing the guest sees");
        }
    }

    #[test]
    fn smram_opens_and_reset_restores_rom() {
        let log = Log::default();
        let mut bridge = I440fx::new(1 << 20, Box::new(log.clone()));
        guest_write(&mut bridge, 0x72, 0x42);
        guest_write(&mut bridge, 0x5a, 0x33);
        assert!(bridge.shadow_map().smram_open);
        let saved = bridge.save();
        bridge.reset(ResetKind::System);
        assert_eq!(lock(&log.0).last(), Some(&ShadowMap::default()));
        bridge.load(&saved).unwrap();
        assert_eq!(lock(&log.0).last().unwrap().areas[..2], [Shadow::Ram; 2]);
    }

    #[test]
    fn waking_keeps_what_memory_shows() {
        let log = Log::default();
        let mut bridge = I440fx::new(1 << 20, Box::new(log.clone()));
        for (register, value) in [(0x59, 0x30), (0x5f, 0x33), (0x72, 0x4a)] {
            guest_write(&mut bridge, register, value);
        }
        let (map, applied) = (bridge.shadow_map(), lock(&log.0).len());
        bridge.reset(ResetKind::Wake);
        assert_eq!(bridge.shadow_map(), map);
        assert_eq!(lock(&log.0).len(), applied, "memory does not change for a moment");
        assert_eq!(bridge.config.read_u8(0x72), 0x4a);
        bridge.reset(ResetKind::System);
        assert_eq!((bridge.shadow_map(), bridge.config.read_u8(0x72)), (ShadowMap::default(), 0x02));
    }

    #[test]
    fn keeps_the_contract() {
        let make = || Subject {
            device: shared(I440fx::new(1 << 27, Box::new(Log::default()))),
            regions: Vec::new(),
            irqs: Vec::new(),
            keep: Box::new(()),
        };
        contract::check(make, &[]);
        crate::pci::contract::check(make);
    }
}
