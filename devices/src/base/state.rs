//! Saved state.
//!
//! Each device has a serde type of its own for its state, apart from the structure it works with and filled by
//! destructuring every field, so that a new field breaks the build until its fate is decided.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The state of one device: self-describing, so that it can be read, compared and migrated by version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of the device's state type.
    pub version: u32,
    /// The state type's fields.
    pub data: serde_json::Value,
}

impl State {
    /// Encodes a device's state type.
    ///
    /// # Panics
    /// The type has a map with keys that are not strings: a mistake in the device, found by its first test.
    #[must_use]
    pub fn of<T: Serialize>(version: u32, data: &T) -> Self {
        let data = serde_json::to_value(data).expect("a device's state type is made of plain structures");
        Self { version, data }
    }

    /// Decodes version `version` of a device's state type.
    ///
    /// # Errors
    /// It is another version or does not decode.
    pub fn decode<T: DeserializeOwned>(&self, version: u32) -> Result<T, StateError> {
        if self.version != version {
            return Err(StateError::Version { found: self.version, known: version });
        }
        T::deserialize(&self.data).map_err(StateError::Malformed)
    }
}

/// Why a saved state was refused.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The state was written by a version that is not understood.
    #[error("state version {found} is not known (this program reads version {known})")]
    Version {
        /// Version of the saved state.
        found: u32,
        /// Version that can be read.
        known: u32,
    },
    /// Fields are missing, unknown, or of the wrong type or range.
    #[error("the saved state does not decode")]
    Malformed(#[source] serde_json::Error),
    /// A field holds what the device can't reach.
    #[error("field {field}: {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl StateError {
    /// Refuses the value of `field`.
    pub fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }
}
