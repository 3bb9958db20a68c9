//! The floppy disk controller and its drives: Intel's 82078 (64 pins) as an ISA device in AT mode.
//!
//! Follows Intel's data sheet 290475 and, where that says the same in more words, that of the 82077AA. Registers: SRB, DOR,
//! TDR, MSR and DSR, FIFO (ports 3f1h to 3f5h), DIR and CCR (3f7h); the first port of the chip, SRA, is not decoded.
//! Emulated: all commands with their result and status bits; transfers by DMA and by the processor; multi-track, skip and
//! implied seek; the four interrupts of drive polling after a reset; overlapped seeks; write protection, change of media
//! and data rates that do not suit the medium. A DMA channel that is programmed after the command is waited for, for a
//! revolution of the medium. What was written is on the host's disk a second later, when the motor stops, when the medium is
//! taken out and when the machine is reset or ends.
//!
//! Not emulated: rotation and the time that heads and motors need: a seek or transfer takes [`LATENCY`] of guest time, so
//! that the busy bits can be seen. A drive turns with its motor off. Marks of deleted data are kept beside the medium, as
//! an image has no place for them, and are gone when it is ejected. Tracks can only be formatted as the image has them.
//! Tape drives (TDR is storage), precompensation, gaps and the media type of a drive specification have no effect.

mod command;
mod controller;
mod drive;
pub mod registers;
mod state;
#[cfg(test)]
mod tests;
mod transfer;

pub use controller::{Fdc, LATENCY};
pub use drive::{DriveKind, FloppyDrive, Geometry};
