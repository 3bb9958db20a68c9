//! Ports for debugging: what firmware and test programs tell the outside world.

mod debug_exit;
mod debugcon;
mod pc_testdev;
mod pci_testdev;
mod post_code;
mod pvpanic;

pub use debug_exit::DebugExit;
pub use debugcon::Debugcon;
pub use pc_testdev::PcTestdev;
pub use pci_testdev::PciTestdev;
pub use post_code::PostCode;
pub use pvpanic::{Pvpanic, PvpanicPci};
