//! Messages that a guest can cause, counted and kept from flooding the log.

use std::fmt;

/// Lets through the first messages and then ever fewer of them: the 16th, 32nd, 64th, ... each with the count.
#[derive(Debug, Default)]
pub struct GuestLog {
    count: u64,
}

impl GuestLog {
    const ALWAYS: u64 = 8;

    /// A guest did something that its data sheet forbids; `device` is logged as the source.
    pub fn warn(&mut self, device: &str, message: fmt::Arguments<'_>) {
        self.count += 1;
        if self.count <= Self::ALWAYS {
            log::warn!(target: "guest_errors", "{device}: {message}");
        } else if self.count.is_power_of_two() {
            log::warn!(target: "guest_errors", "{device}: {message} ({} such messages so far)", self.count);
        }
    }

    /// Messages so far, shown or not.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}
