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
        if let Some(note) = self.admit() {
            log::warn!(target: "guest_errors", "{device}: {message}{note}");
        }
    }

    /// A guest did something that the user should hear of, whether they asked for the guest's errors or not.
    pub fn tell(&mut self, message: fmt::Arguments<'_>) {
        if let Some(note) = self.admit() {
            log::warn!("{message}{note}");
        }
    }

    /// Counts a message. If it is to be shown: what is said behind it.
    fn admit(&mut self) -> Option<String> {
        self.count += 1;
        match self.count {
            ..=Self::ALWAYS => Some(String::new()),
            count if count.is_power_of_two() => Some(format!(" ({count} such messages so far)")),
            _ => None,
        }
    }

    /// Messages so far, shown or not.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ever_fewer_messages_are_shown() {
        let mut log = GuestLog::default();
        let shown: Vec<_> = (1..=100).filter_map(|n| log.admit().map(|note| (n, note))).collect();
        let numbers: Vec<_> = shown.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64]);
        assert_eq!((shown[7].1.as_str(), shown[8].1.as_str()), ("", " (16 such messages so far)"));
        assert_eq!(log.count(), 100);
    }
}
