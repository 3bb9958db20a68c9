//! What happens to a machine, as those hear of it who control it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

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
}

impl Event {
    /// One of each kind.
    #[must_use]
    pub fn examples() -> [Self; 9] {
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
        }
    }

    /// The message of QMP that tells of it, as of now.
    #[must_use]
    pub fn message(self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = json!({ "seconds": now.as_secs(), "microseconds": now.subsec_micros() });
        let mut message = json!({ "timestamp": timestamp, "event": self.name() });
        let data = self.data();
        if !data.is_empty() {
            message["data"] = data.into();
        }
        message
    }

    /// What there is to tell of it.
    #[must_use]
    pub fn data(self) -> Map<String, Value> {
        let data = match self {
            Self::Reset(cause) | Self::Shutdown(cause) => {
                vec![("guest", cause.is_guests().into()), ("reason", cause.name().into())]
            }
            Self::GuestPanicked(action) => vec![("action", action.into())],
            Self::Stop | Self::Resume | Self::Powerdown | Self::Suspend | Self::SuspendDisk | Self::Wakeup => vec![],
        };
        data.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_sleep_have_qemus_names_and_no_data() {
        for (event, name) in
            [(Event::Suspend, "SUSPEND"), (Event::SuspendDisk, "SUSPEND_DISK"), (Event::Wakeup, "WAKEUP")]
        {
            let message = event.message();
            assert_eq!((&message["event"], &message["data"]), (&json!(name), &Value::Null));
        }
    }
}
