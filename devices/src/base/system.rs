//! What devices ask of the machine as a whole.

#[cfg(any(test, feature = "testing"))]
use std::sync::Mutex;

/// Why a reset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// The Reset Control register of the PIIX3 (port CF9h).
    ResetControl,
    /// Bit 0 of port 92h.
    Port92,
    /// The keyboard controller's reset output.
    KeyboardController,
}

/// What wakes a machine in S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeCause {
    /// The real-time clock.
    Rtc,
    /// The power button, or the user in another way.
    PowerButton,
}

/// What one error has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorAction {
    /// The guest is told.
    Report,
    /// The guest is not told.
    Ignore,
    /// The machine is to be stopped.
    Stop,
}

/// A request of a disk that the host could not carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFailure {
    /// The number that the board has given the drive of the host.
    pub drive: u16,
    /// It was a read.
    pub is_read: bool,
    /// The host's storage is full.
    pub no_space: bool,
    /// The host's number of the error.
    pub errno: i32,
    /// What is done about it.
    pub action: ErrorAction,
}

/// A wish of a device that concerns the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemRequest {
    /// Reset the platform.
    Reset(ResetCause),
    /// Soft off (ACPI S5).
    PowerOff,
    /// Suspend to disk (ACPI S4): the guest has saved itself, and the machine powers off.
    SuspendToDisk,
    /// Suspend to RAM (ACPI S3): the processors stop until something wakes the machine.
    Suspend,
    /// Something happened that wakes a machine in S3; any other it does not concern.
    Wake(WakeCause),
    /// End the process with this exit status (isa-debug-exit).
    Exit(u8),
    /// A watchdog has run out of time.
    Watchdog,
    /// The host could not carry out a request of a disk. The machine is to stop if that is what is done about it.
    DiskError(DiskFailure),
    /// The tray of a drive has opened or closed.
    TrayMoved {
        /// The number of the drive among those of the configuration.
        drive: u16,
        /// It is open.
        open: bool,
    },
    /// The guest says that it has panicked.
    GuestPanicked,
    /// The guest says that it has crashed, and that it sees to it itself.
    GuestCrashLoaded,
}

/// The machine as a device sees it. A request is a message: it returns at once and is carried out by the main loop
/// after the access that caused it has been completed.
pub trait SystemControl: Send + Sync {
    /// Posts a request.
    fn request(&self, request: SystemRequest);
}

/// A machine that keeps what it is asked for, in order.
#[cfg(any(test, feature = "testing"))]
#[derive(Default)]
pub struct Requests(pub Mutex<Vec<SystemRequest>>);

#[cfg(any(test, feature = "testing"))]
impl SystemControl for Requests {
    fn request(&self, request: SystemRequest) {
        super::lock(&self.0).push(request);
    }
}
