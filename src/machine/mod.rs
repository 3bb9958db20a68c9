//! The machine: its board, memory, firmware tables and life.

pub mod accel;
pub mod acpi;
pub mod bios_data;
pub mod board;
mod boot;
pub mod boot_order;
mod build;
pub mod clock;
mod cmos;
pub mod control;
mod description;
mod firmware;
mod flash;
mod front_doors;
mod fw_cfg;
mod gate;
pub mod guest_time;
mod handoff;
pub mod inspection;
mod interrupt_report;
mod layout;
mod lifecycle;
pub mod mailbox;
mod main_loop;
pub mod mptable;
pub mod pc;
mod pci_pins;
mod qom;
pub mod ram;
mod rtc_time;
pub mod shadow;
mod signals;
pub mod smbios;
#[cfg(test)]
mod testing;
pub mod timers;

pub(crate) use build::{Built, begin};
pub use lifecycle::{ExitStatus, Machine, Status};
pub use main_loop::run;
