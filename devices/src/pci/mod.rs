//! PCI: configuration space, functions, and the bus (PCI Local Bus Specification 2.1, conventional PCI).

pub mod bridge;
pub mod bus;
pub mod config;
#[cfg(test)]
pub(crate) mod contract;
mod forwarding;
pub mod mechanism1;
pub mod msi;
pub mod msix;
mod option_rom;

pub use bridge::{Extras, HotPlug, PciBridge, Reserve};
pub use bus::{PciAddress, PciBus, SlotError};
pub use config::{Bar, BarKind, PciConfig, PciConfigBuilder, PciConfigState};
pub use forwarding::Forwarding;
pub use msi::{MessagePort, MsiCapability, MsiOptions};
pub use msix::{Msix, MsixState};
pub use option_rom::OptionRom;

use crate::base::{IoDevice, Region};

/// One function on the bus. Its BARs are windows of its [`IoDevice`].
pub trait PciFunction: IoDevice {
    /// Its configuration space.
    fn config(&self) -> &PciConfig;

    /// Its configuration space, to be written.
    fn config_mut(&mut self) -> &mut PciConfig;

    /// The guest is about to read `len` bytes at `offset` of the configuration space. For registers whose value is not
    /// there until somebody asks.
    fn config_wanted(&mut self, _offset: u8, _len: u8) {}

    /// The guest has written `len` bytes at `offset` of the configuration space. Called after the write, for
    /// registers that do something.
    fn config_written(&mut self, _offset: u8, _len: u8) {}

    /// What a bridge forwards to the bus behind it, as its registers are now. `None` for all other functions.
    fn forwarding(&self) -> Option<Forwarding> {
        None
    }

    /// Windows that registers of the function's own place, beside its BARs: address and window.
    fn windows(&self) -> Vec<(u64, Region)> {
        Vec::new()
    }
}
