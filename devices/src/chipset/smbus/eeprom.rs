//! An EEPROM of 256 bytes on the SMBus, as memory modules have for their serial presence detect data.
//!
//! It has an address counter, which a command sets and every byte moves on. QEMU's are blank on this board (all zeroes, which says
//! that there is no module) and can be written until the next reset: so are these.

use crate::base::StateError;

const LEN: usize = 256;

/// The EEPROM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Eeprom {
    /// Empty while blank, else all of it.
    contents: Vec<u8>,
    address: u8,
}

impl Eeprom {
    pub(super) fn save(&self) -> state::Eeprom {
        let Self { contents, address } = self;
        state::Eeprom { contents: contents.clone(), address: *address }
    }

    /// # Errors
    /// The contents are not those of such an EEPROM.
    pub(super) fn load(state: state::Eeprom) -> Result<Self, StateError> {
        let state::Eeprom { contents, address } = state;
        match contents.len() {
            0 | LEN => Ok(Self { contents, address }),
            other => Err(StateError::invalid("smbus", format!("an EEPROM has {other} bytes, not {LEN}"))),
        }
    }

    /// Sets the address counter.
    pub(super) fn select(&mut self, address: u8) -> &mut Self {
        self.address = address;
        self
    }

    pub(super) fn read(&mut self) -> u8 {
        let byte = self.contents.get(usize::from(self.address)).copied().unwrap_or(0);
        self.address = self.address.wrapping_add(1);
        byte
    }

    pub(super) fn write(&mut self, byte: u8) {
        self.contents.resize(LEN, 0);
        self.contents[usize::from(self.address)] = byte;
        self.address = self.address.wrapping_add(1);
    }
}

/// The saved form.
pub(super) mod state {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Eeprom {
        pub contents: Vec<u8>,
        pub address: u8,
    }
}
