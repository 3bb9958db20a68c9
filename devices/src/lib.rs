//! Device models of the classic PC.
//!
//! This crate knows no KVM, no threads, no files and no wall clock: a device is a value that is called with
//! `&mut self` by whoever owns its lock, and reaches the world only through what its constructor was given
//! (interrupt lines, a clock, timers, guest RAM, back ends). [`base`] is the contract all devices share.
#![forbid(unsafe_code)]

pub mod backend;
pub mod base;
pub mod chipset;
pub mod debug;
pub mod firmware;
pub mod flash;
pub mod floppy;
pub mod ide;
pub mod input;
pub mod parallel;
pub mod pci;
pub mod scsi;
pub mod serial;
pub mod virtio;
pub mod vmware;
pub mod watchdog;
