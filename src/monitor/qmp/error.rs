//! Errors as QMP tells them: a class that programs look at and a sentence, in QEMU's words where QEMU has some.

use serde_json::{Value, json};

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QmpError {
    class: &'static str,
    description: String,
}

impl QmpError {
    /// An error of no particular class.
    pub fn generic(description: impl Into<String>) -> Self {
        Self { class: "GenericError", description: description.into() }
    }

    /// There is no such command, or it may not be used now.
    pub fn command_not_found(description: impl Into<String>) -> Self {
        Self { class: "CommandNotFound", description: description.into() }
    }

    /// There is no device or type of that name.
    pub fn device_not_found(name: &str) -> Self {
        Self { class: "DeviceNotFound", description: format!("Device '{name}' not found") }
    }

    /// The value of `error` in an answer.
    pub fn message(&self) -> Value {
        json!({ "class": self.class, "desc": self.description })
    }
}

impl From<anyhow::Error> for QmpError {
    fn from(error: anyhow::Error) -> Self {
        Self::generic(format!("{error:#}"))
    }
}
