//! Serial ports.

mod pci_serial;
mod registers;
mod uart;

pub use pci_serial::{Model as PciSerialModel, PciSerial, PortEnd};
pub use uart::Uart;
