//! The contract between devices and the board.
//!
//! A device implements [`Device`] (reset, state, inspection) and, as far as it needs them, the capabilities
//! [`IoDevice`] (registers in port or memory space) and [`TimerClient`] (deadlines in guest time). The board puts
//! each device behind one mutex ([`Shared`]) and connects it; a device sees neither threads nor addresses.

pub mod bus;
pub mod caller;
pub mod clock;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod dma;
mod guest_buffer;
pub mod guest_log;
pub mod inspect;
pub mod io;
pub mod irq;
pub mod isa_dma;
pub mod msi;
pub mod state;
pub mod system;
pub mod timer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use bus::{Bus, MappingId, Priority};
pub use caller::{Caller, RegisterPort, Registers};
pub use clock::{Clock, ManualClock, Rate, TimeSource};
pub use dma::{BusMaster, Dma, DmaError, GuestRam};
pub use guest_buffer::{GuestBuffer, Ranges};
pub use guest_log::GuestLog;
pub use inspect::Inspector;
pub use io::{AccessRule, IoDevice, Region, Space};
pub use irq::{Delivery, IrqInput, IrqLine, IrqProbe, IrqSink};
pub use isa_dma::{DmaChannel, DmaProgress};
pub use state::{State, StateError};
pub use system::{DiskFailure, ErrorAction, ResetCause, SystemControl, SystemRequest, WakeCause};
pub use timer::{DeviceTimers, TimerClient, TimerQueue};

/// How far a reset reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// Power was applied: everything starts from its data-sheet value.
    PowerOn,
    /// The platform reset line (RCR, port 92h, keyboard controller, triple fault): battery-backed and
    /// non-volatile contents survive.
    System,
    /// The end of suspend to RAM: a reset by which firmware can still tell that it has been there before.
    Wake,
}

/// What every device can do.
pub trait Device: Send {
    /// The device's name in messages, traces and saved state: lower case, as QEMU spells its type if it has one.
    fn name(&self) -> &'static str;

    /// Puts the registers to their reset values and de-asserts every output.
    fn reset(&mut self, kind: ResetKind);

    /// The complete guest-visible state.
    fn save(&self) -> State;

    /// Replaces the state by a saved one and drives the outputs to match, without edges that the guest could see.
    ///
    /// # Errors
    /// The state has another version, does not decode, or holds values that the device can't reach. It may come
    /// from an untrusted file; a device that returns an error is unchanged.
    fn load(&mut self, state: &State) -> Result<(), StateError>;

    /// Reports the registers under their data-sheet names.
    fn inspect(&self, out: &mut Inspector);
}

/// A device as the board holds it: one lock, many users.
pub type Shared<T> = Arc<Mutex<T>>;

/// Puts a device behind its lock.
pub fn shared<T>(device: T) -> Shared<T> {
    Arc::new(Mutex::new(device))
}

/// Locks a device. A panic in another thread while it held the lock must not take the rest of the machine along,
/// so poisoning is ignored.
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}
