//! Ports for debugging: what firmware and test programs tell the outside world.

mod debug_exit;
mod debugcon;
mod post_code;

pub use debug_exit::DebugExit;
pub use debugcon::Debugcon;
pub use post_code::PostCode;
