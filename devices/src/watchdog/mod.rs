//! Watchdog timers. What happens to the machine when one fires is the user's choice, not theirs.

mod i6300esb;
mod ib700;

pub use i6300esb::I6300Esb;
pub use ib700::Ib700;
