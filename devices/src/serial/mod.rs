//! Serial ports.

mod registers;
mod uart;

pub use uart::Uart;
