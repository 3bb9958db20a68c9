//! The board: memory layout, firmware tables, and the wiring of all devices.

pub mod board;
pub mod layout;
