//! The board: memory layout, firmware tables, and the wiring of all devices.

pub mod acpi;
pub mod board;
pub mod layout;

#[cfg(test)]
mod testing;
