//! An expansion ROM: what a function's ROM BAR shows.

use super::config::{Bar, BarKind};
use crate::base::{AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};

/// Smallest ROM BAR: the other address bits of its register have other uses.
const SMALLEST: usize = 2 << 10;

/// The contents of an expansion ROM. They are part of the machine's description, not of its state.
pub struct OptionRom(Vec<u8>);

impl OptionRom {
    /// Largest ROM in bytes that a BAR may ask for (PCI Local Bus Specification 2.1, section 6.2.5.2).
    pub const LARGEST: usize = 16 << 20;

    /// A ROM with these contents; `None` if they are empty or larger than [`Self::LARGEST`].
    #[must_use]
    pub fn new(mut contents: Vec<u8>) -> Option<Self> {
        if !(1..=Self::LARGEST).contains(&contents.len()) {
            return None;
        }
        // What is left of the power of two that a BAR needs reads as in an empty ROM of QEMU's.
        contents.resize(contents.len().next_power_of_two().max(SMALLEST), 0);
        Some(Self(contents))
    }

    /// The BAR that shows it.
    #[must_use]
    pub fn bar(&self) -> Bar {
        let region = Region::memory(0, "option-rom", self.0.len() as u64, AccessRule::native(1, 8));
        Bar { region, kind: BarKind::Rom }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {}
}

impl Device for OptionRom {
    fn name(&self) -> &'static str {
        "option-rom"
    }

    fn reset(&mut self, _kind: ResetKind) {}

    fn save(&self) -> State {
        let Self(_) = self;
        State::of(state::VERSION, &state::V1 {})
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 {} = state.decode(state::VERSION)?;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("size", self.0.len() as u64, 32);
    }
}

impl IoDevice for OptionRom {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        let mut value = [0; 8];
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(at..).unwrap_or_default();
        for (to, from) in value.iter_mut().zip(bytes).take(size.into()) {
            *to = *from;
        }
        u64::from_le_bytes(value)
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, _value: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::shared;

    #[test]
    fn contract() {
        contract::check(
            || {
                let rom = OptionRom::new(vec![0x55, 0xaa, 0x03]).expect("a ROM");
                let regions = vec![rom.bar().region];
                Subject { device: shared(rom), regions, irqs: Vec::new(), keep: Box::new(()) }
            },
            &[
                ResetValue { region: 0, offset: 0, size: 4, value: 0x0003_aa55 },
                ResetValue { region: 0, offset: 0x7f8, size: 8, value: 0 },
            ],
        );
    }

    /// PCI 2.1, 6.2.5.2: the register has address bits 31:11, and a ROM is at most 16 MiB.
    #[test]
    fn its_bar_is_a_power_of_two_from_2_kib_to_16_mib() {
        let size = |len| OptionRom::new(vec![0xff; len]).map(|rom| rom.bar().region.len);
        assert_eq!([size(1), size(0x801), size(16 << 20)], [Some(0x800), Some(0x1000), Some(16 << 20)]);
        assert_eq!([size(0), size((16 << 20) + 1)], [None; 2]);
    }

    #[test]
    fn it_is_read_only_and_has_no_state() {
        let mut rom = OptionRom::new(vec![0x55, 0xaa]).expect("a ROM");
        rom.write(0, 0, 2, 0);
        assert_eq!((rom.read(0, 0, 2), rom.read(0, 1, 2), rom.read(0, 0x7ff, 8)), (0xaa55, 0x00aa, 0));
        // Beyond the window, and beyond all numbers.
        assert_eq!((rom.read(0, 0x800, 1), rom.read(0, u64::MAX, 8)), (0, 0));
        rom.reset(ResetKind::System);
        assert_eq!(rom.read(0, 0, 2), 0xaa55);
        let saved = rom.save();
        assert!(rom.load(&saved).is_ok());
        assert!(rom.load(&State { version: saved.version + 1, ..saved.clone() }).is_err());
        assert!(rom.load(&State { data: serde_json::json!({ "contents": [1] }), ..saved }).is_err());
    }
}
