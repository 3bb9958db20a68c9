//! The qtest protocol: lines of text that access ports and memory of a machine without processors, and move its clock.
//!
//! The protocol and the words of its answers are QEMU's (`qtest.c` and the clients in QEMU's `tests/qtest`), so that those
//! clients can drive natoma. Where QEMU would end by an assertion, a command that makes no sense is answered `FAIL` and why.

mod protocol;
mod server;

pub use protocol::{LONGEST_LINE, execute, interrupts};
pub use server::{QtestLog, QtestServer};

/// A change of an interrupt input that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqChange {
    /// The number of the input.
    pub pin: u32,
    /// Its level from now on.
    pub level: bool,
}

/// Why a machine can't do what is asked of it. The first two are told in QEMU's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HardwareError {
    /// There is no device at that path.
    #[error("Unknown device")]
    UnknownDevice,
    /// Interrupts of another device are watched.
    #[error("IRQ intercept already enabled")]
    AlreadyIntercepted,
    /// The device has no such input.
    #[error("the device has no input '{name}' number {number}")]
    NoSuchInput {
        /// The name of the group of inputs.
        name: String,
        /// The number in it.
        number: u32,
    },
    /// Too many timers expire on the way.
    #[error("more than {0} timers expire before that time: move the clock in smaller steps")]
    TooFar(usize),
}

/// A machine as the protocol sees it.
pub trait Hardware: Send {
    /// Reads from an I/O port: 1, 2 or 4 bytes.
    fn read_port(&self, port: u16, data: &mut [u8]);

    /// Writes to an I/O port: 1, 2 or 4 bytes.
    fn write_port(&self, port: u16, data: &[u8]);

    /// Reads guest-physical memory as an instruction would.
    fn read_memory(&self, address: u64, data: &mut [u8]);

    /// Writes guest-physical memory as an instruction would.
    fn write_memory(&self, address: u64, data: &[u8]);

    /// Guest time in nanoseconds.
    fn now(&self) -> u64;

    /// The earliest deadline of a timer, in nanoseconds of guest time.
    fn next_deadline(&self) -> Option<u64>;

    /// Moves the clock on to `target`, deadline by deadline; a time in the past runs only what is due.
    ///
    /// # Errors
    /// Too many timers expire on the way; the clock stands at the last of them.
    fn step_to(&self, target: u64) -> Result<(), HardwareError>;

    /// Begins to watch the inputs (or outputs) of the device at a path, from levels that count as low.
    ///
    /// # Errors
    /// There is no such device, or another is watched.
    fn intercept(&self, path: &str, outputs: bool) -> Result<(), HardwareError>;

    /// Takes the changes of what is watched since the last time.
    fn take_interrupts(&self) -> Vec<IrqChange>;

    /// Drives an input of the device at a path.
    ///
    /// # Errors
    /// There is no such device or input.
    fn set_input(&self, path: &str, name: &str, number: u32, level: bool) -> Result<(), HardwareError>;

    /// Whether nothing waits for the main loop: no reset, no power-off.
    fn is_settled(&self) -> bool;
}

#[cfg(test)]
mod tests;
