//! ISA devices that are added to those of the board.

use serde::{Deserialize, Serialize};

/// `pvpanic`: a port by which the guest reports that it has panicked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pvpanic {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// The port.
    pub ioport: u16,
    /// Events that the guest is asked to report: bit 0 a panic, bit 1 a crash that it sees to itself.
    pub events: u8,
}

impl Default for Pvpanic {
    fn default() -> Self {
        Self { id: None, ioport: 0x505, events: 3 }
    }
}

/// A device without settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainDevice {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
}
