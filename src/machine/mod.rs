//! The board: memory layout, firmware tables, and the wiring of all devices.

pub mod acpi;
pub mod board;
pub mod clock;
pub mod layout;

pub mod mailbox;
pub mod ram;
pub mod shadow;
#[cfg(test)]
mod testing;
pub mod timers;
