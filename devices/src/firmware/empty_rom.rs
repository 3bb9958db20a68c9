//! The 128 KiB below the BIOS for option ROMs, as QEMU's `pc.rom`: memory that can't be written and holds nothing. It is seen
//! where the host bridge does not show RAM instead. Reads give zeros, in which no ROM is found.

use crate::base::{AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};

/// The area. It has no state.
#[derive(Default)]
pub struct EmptyRom;

impl EmptyRom {
    /// The window.
    pub const REGION: Region = Region::memory(0, "pc.rom", 0x2_0000, AccessRule::native(1, 8));
}

impl IoDevice for EmptyRom {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        0
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, _value: u64) {}
}

impl Device for EmptyRom {
    fn name(&self) -> &'static str {
        "pc.rom"
    }

    fn reset(&mut self, _kind: ResetKind) {}

    fn save(&self) -> State {
        State::of(state::VERSION, &state::V1 {})
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 {} = state.decode(state::VERSION)?;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.number("size", Self::REGION.len);
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::shared;

    #[test]
    fn contract() {
        let make = || Subject {
            device: shared(EmptyRom),
            regions: vec![EmptyRom::REGION],
            irqs: Vec::new(),
            keep: Box::new(()),
        };
        // There is no signature 55h AAh.
        contract::check(make, &[ResetValue { region: 0, offset: 0, size: 2, value: 0 }]);
    }
}
