//! What happens to a machine, as those hear of it who control it.

use std::time::{SystemTime, UNIX_EPOCH};

use devices::base::{DiskFailure, ErrorAction};
use nix::errno::Errno;
use serde_json::{Map, Value, json};

use super::drives::{DeviceInfo, DriveInfo};

/// Why a machine resets or ends, by QEMU's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The guest reset the machine.
    GuestReset,
    /// The guest powered off.
    GuestShutdown,
    /// The guest reported a panic.
    GuestPanic,
    /// A monitor reset the machine.
    MonitorReset,
    /// A monitor ended natoma.
    MonitorQuit,
    /// A signal ended natoma.
    Signal,
    /// Something went wrong on the host.
    HostError,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::GuestReset => "guest-reset",
            Self::GuestShutdown => "guest-shutdown",
            Self::GuestPanic => "guest-panic",
            Self::MonitorReset => "host-qmp-system-reset",
            Self::MonitorQuit => "host-qmp-quit",
            Self::Signal => "host-signal",
            Self::HostError => "host-error",
        }
    }

    fn is_guests(self) -> bool {
        matches!(self, Self::GuestReset | Self::GuestShutdown | Self::GuestPanic)
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The processors stopped.
    Stop,
    /// The processors go on.
    Resume,
    /// The machine was reset.
    Reset(Cause),
    /// The machine was switched off, or natoma ends.
    Shutdown(Cause),
    /// The power button was pressed.
    Powerdown,
    /// The guest suspended to RAM.
    Suspend,
    /// The guest suspended to disk; the machine is switched off next.
    SuspendDisk,
    /// The machine woke from suspend to RAM.
    Wakeup,
    /// The guest reported a panic, and this is done about it.
    GuestPanicked(&'static str),
    /// The tray of a drive has opened or closed.
    TrayMoved {
        /// The drive's number among those of [`DriveInfo`].
        drive: u16,
        /// It is open.
        open: bool,
    },
    /// The host could not carry out a request of a disk. The drive is its number among those of [`DriveInfo`].
    DiskError(DiskFailure),
}

impl Event {
    /// One of each kind.
    #[must_use]
    pub fn examples() -> [Self; 11] {
        [
            Self::Stop,
            Self::Resume,
            Self::Reset(Cause::GuestReset),
            Self::Shutdown(Cause::GuestShutdown),
            Self::Powerdown,
            Self::Suspend,
            Self::SuspendDisk,
            Self::Wakeup,
            Self::GuestPanicked("pause"),
            Self::TrayMoved { drive: 0, open: true },
            Self::DiskError(DiskFailure {
                drive: 0,
                is_read: true,
                no_space: false,
                errno: Errno::EIO as i32,
                action: ErrorAction::Report,
            }),
        ]
    }

    /// The name QEMU has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "STOP",
            Self::Resume => "RESUME",
            Self::Reset(_) => "RESET",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Powerdown => "POWERDOWN",
            Self::Suspend => "SUSPEND",
            Self::SuspendDisk => "SUSPEND_DISK",
            Self::Wakeup => "WAKEUP",
            Self::GuestPanicked(_) => "GUEST_PANICKED",
            Self::TrayMoved { .. } => "DEVICE_TRAY_MOVED",
            Self::DiskError(_) => "BLOCK_IO_ERROR",
        }
    }

    /// The message of QMP that tells of it, as of now; these are the drives of the machine.
    #[must_use]
    pub fn message(self, drives: &[DriveInfo]) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = json!({ "seconds": now.as_secs(), "microseconds": now.subsec_micros() });
        let mut message = json!({ "timestamp": timestamp, "event": self.name() });
        let data = self.data(drives);
        if !data.is_empty() {
            message["data"] = data.into();
        }
        message
    }

    /// What there is to tell of it.
    #[must_use]
    pub fn data(self, drives: &[DriveInfo]) -> Map<String, Value> {
        let data = match self {
            Self::Reset(cause) | Self::Shutdown(cause) => {
                vec![("guest", cause.is_guests().into()), ("reason", cause.name().into())]
            }
            Self::GuestPanicked(action) => vec![("action", action.into())],
            Self::TrayMoved { drive, open } => {
                let moved = drives.get(usize::from(drive));
                let name = moved.map_or("", DriveInfo::name);
                let id = moved.and_then(|info| info.device.as_ref()).map_or("", DeviceInfo::name);
                vec![("device", name.into()), ("id", id.into()), ("tray-open", open.into())]
            }
            Self::DiskError(DiskFailure { drive, is_read, no_space, errno, action }) => {
                let drive = drives.get(usize::from(drive));
                let node = drive.and_then(|drive| drive.medium.as_ref()).map_or("", |medium| medium.node.name.as_str());
                let action = match action {
                    ErrorAction::Report => "report",
                    ErrorAction::Ignore => "ignore",
                    ErrorAction::Stop => "stop",
                };
                vec![
                    ("device", drive.map_or("", DriveInfo::name).into()),
                    ("node-name", node.into()),
                    ("operation", if is_read { "read" } else { "write" }.into()),
                    ("action", action.into()),
                    ("nospace", no_space.into()),
                    ("reason", Errno::from_raw(errno).desc().into()),
                ]
            }
            Self::Stop | Self::Resume | Self::Powerdown | Self::Suspend | Self::SuspendDisk | Self::Wakeup => vec![],
        };
        data.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Control;
    use crate::monitor::double::Machine;

    #[test]
    fn a_tray_that_moves_is_told_by_the_names_of_drive_and_device() {
        let drives = Machine::default().drives().unwrap();
        let message = Event::TrayMoved { drive: 2, open: true }.message(&drives);
        assert_eq!(message["event"], "DEVICE_TRAY_MOVED");
        assert_eq!(message["data"], json!({ "device": "ide1-cd0", "id": "cd", "tray-open": true }));
    }

    /// As QEMU 7.2 tells it.
    #[test]
    fn an_error_of_the_host_is_told_with_what_is_done_about_it() {
        let drives = Machine::default().drives().unwrap();
        let failure = DiskFailure {
            drive: 1,
            is_read: false,
            no_space: true,
            errno: Errno::ENOSPC as i32,
            action: ErrorAction::Stop,
        };
        let message = Event::DiskError(failure).message(&drives);
        assert_eq!(message["event"], "BLOCK_IO_ERROR");
        assert_eq!(
            message["data"],
            json!({
                "device": "a", "node-name": "", "operation": "write", "action": "stop", "nospace": true,
                "reason": "No space left on device",
            })
        );
    }

    #[test]
    fn events_of_sleep_have_qemus_names_and_no_data() {
        for (event, name) in
            [(Event::Suspend, "SUSPEND"), (Event::SuspendDisk, "SUSPEND_DISK"), (Event::Wakeup, "WAKEUP")]
        {
            let message = event.message(&[]);
            assert_eq!((&message["event"], &message["data"]), (&json!(name), &Value::Null));
        }
    }
}
