//! What the drivers of block nodes that are no files are told, and limits.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a drive is throttled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Drives that name the same group share its limits.
    pub group: Option<String>,
    /// What they may do.
    pub limits: ThrottleLimits,
}

/// `-object throttle-group`: limits that drives and nodes share by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThrottleGroup {
    /// Its name.
    pub id: String,
    /// What all of them together may do.
    pub limits: ThrottleLimits,
}

/// `driver=null-co`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NullConfig {
    /// Bytes.
    pub size: u64,
    /// What each request takes.
    pub latency_ns: u64,
    /// Reads give zeroes; otherwise they leave the memory as it is.
    pub read_zeroes: bool,
}

impl Default for NullConfig {
    fn default() -> Self {
        Self { size: 1 << 30, latency_ns: 0, read_zeroes: false }
    }
}

/// `driver=nbd`: an export of a network block device server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NbdConfig {
    /// Where the server is.
    pub server: NbdServer,
    /// Which of its exports; the empty name is the server's default.
    pub export: String,
    /// For how many seconds requests wait for a server that went away.
    pub reconnect_delay: u32,
}

impl NbdConfig {
    /// Its name in one word.
    pub fn uri(&self) -> String {
        let Self { server, export, .. } = self;
        match server {
            NbdServer::Tcp { host, port } => format!("nbd://{host}:{port}/{export}"),
            NbdServer::Unix(path) => format!("nbd+unix:///{export}?socket={}", path.display()),
        }
    }
}

/// Where an NBD server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NbdServer {
    /// A TCP port.
    Tcp {
        /// Name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for NbdServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The port of NBD servers.
pub const NBD_PORT: u16 = 10809;

/// The rules of `driver=blkdebug`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlkdebugConfig {
    /// Which requests fail.
    pub inject_error: Vec<InjectError>,
    /// What changes the state that rules can ask for.
    pub set_state: Vec<SetState>,
}

/// A rule of which requests fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectError {
    /// What wakes it.
    pub event: BlkdebugEvent,
    /// In which state only; 0: in any.
    pub state: u64,
    /// Which requests fail; `None`: all.
    pub iotype: Option<BlkdebugRequest>,
    /// The error's number.
    pub errno: i32,
    /// Only requests that touch this sector of 512 bytes fail.
    pub sector: Option<u64>,
    /// Only one request fails.
    pub once: bool,
}

/// A rule of when the state changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetState {
    /// When this happens
    pub event: BlkdebugEvent,
    /// in this state (0: in any)
    pub state: u64,
    /// this is the next one.
    pub new_state: u64,
}

/// What happens between an image format and its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlkdebugEvent {
    /// Nothing has to happen.
    None,
    /// Data is about to be read.
    ReadAio,
    /// Data is about to be written.
    WriteAio,
    /// What is cached is about to be handed to the host.
    FlushToOs,
    /// The host is about to be told to flush.
    FlushToDisk,
}

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum BlkdebugRequest {
    Read,
    Write,
    WriteZeroes,
    Discard,
    Flush,
}

/// What a drive or a group of drives may do in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThrottleLimits {
    /// Bytes, in both directions together.
    pub bps_total: Limit,
    /// Bytes read.
    pub bps_read: Limit,
    /// Bytes written.
    pub bps_write: Limit,
    /// Requests, in both directions together.
    pub iops_total: Limit,
    /// Reads.
    pub iops_read: Limit,
    /// Writes.
    pub iops_write: Limit,
    /// A request counts as so many as it has units of this many bytes; 0: as one.
    pub iops_size: u64,
}

/// A limit of something per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// In the long run; 0: none.
    pub average: u64,
    /// In a burst; 0: there are none.
    pub max: u64,
    /// Seconds that a burst can last.
    pub max_length: u64,
}

impl Default for Limit {
    fn default() -> Self {
        Self { average: 0, max: 0, max_length: 1 }
    }
}

impl ThrottleLimits {
    /// QEMU's bound of all numbers.
    const MOST: u64 = 1_000_000_000_000_000;

    /// Whether anything is limited.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.all().iter().any(|(_, limit)| limit.average > 0)
    }

    /// Sets a number by QEMU's name of it: `bps-total`, `iops-read-max`, `bps-write-max-length`, `iops-size`. `false`: there is
    /// none of that name.
    pub fn set(&mut self, name: &str, value: u64) -> bool {
        if name == "iops-size" {
            self.iops_size = value;
            return true;
        }
        let (name, length) = name.strip_suffix("-max-length").map_or((name, false), |name| (name, true));
        let (name, max) = name.strip_suffix("-max").map_or((name, false), |name| (name, true));
        let limit = match name {
            "bps-total" => &mut self.bps_total,
            "bps-read" => &mut self.bps_read,
            "bps-write" => &mut self.bps_write,
            "iops-total" => &mut self.iops_total,
            "iops-read" => &mut self.iops_read,
            "iops-write" => &mut self.iops_write,
            _ => return false,
        };
        match (max, length) {
            (true, true) => return false,
            (false, false) => limit.average = value,
            (true, false) => limit.max = value,
            (false, true) => limit.max_length = value,
        }
        true
    }

    fn all(&self) -> [(&'static str, &Limit); 6] {
        [
            ("bps-total", &self.bps_total),
            ("bps-read", &self.bps_read),
            ("bps-write", &self.bps_write),
            ("iops-total", &self.iops_total),
            ("iops-read", &self.iops_read),
            ("iops-write", &self.iops_write),
        ]
    }

    /// Checks that the limits fit each other.
    ///
    /// # Errors
    /// They don't: says which and why.
    pub fn check(&self) -> Result<(), String> {
        for (kind, total, read, write) in [
            ("bps", &self.bps_total, &self.bps_read, &self.bps_write),
            ("iops", &self.iops_total, &self.iops_read, &self.iops_write),
        ] {
            let given = |value: fn(&Limit) -> u64| value(total) > 0 && (value(read) > 0 || value(write) > 0);
            if given(|limit| limit.average) || given(|limit| limit.max) {
                return Err(format!(
                    "{kind}-total is for both directions: leave it out, or {kind}-read and {kind}-write"
                ));
            }
        }
        for (name, limit) in self.all() {
            let Limit { average, max, max_length } = *limit;
            if average > Self::MOST || max > Self::MOST {
                return Err(format!("{name} can be {} at most", Self::MOST));
            }
            if max_length == 0 {
                return Err(format!("{name}-max-length has to be a second at least"));
            }
            if max_length > 1 && max == 0 {
                return Err(format!("{name}-max-length is for bursts: give {name}-max too"));
            }
            if max > 0 && average == 0 {
                return Err(format!("{name}-max is for bursts: give {name} too"));
            }
            if max > 0 && max < average {
                return Err(format!("{name}-max is less than {name}"));
            }
            if max.checked_mul(max_length).is_none_or(|burst| burst > Self::MOST) {
                return Err(format!("{name}-max times {name}-max-length can be {} at most", Self::MOST));
            }
        }
        if self.iops_size > 0
            && [self.iops_total, self.iops_read, self.iops_write].iter().all(|limit| limit.average == 0)
        {
            return Err("iops-size is for a limit of requests: give iops-total, iops-read or iops-write too".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_do_not_fit_each_other_are_refused() {
        const fn limit(average: u64, max: u64, max_length: u64) -> Limit {
            Limit { average, max, max_length }
        }
        let none = ThrottleLimits::default();
        assert!(none.check().is_ok() && !none.is_limited());
        let good = ThrottleLimits { bps_read: limit(10, 20, 3), iops_write: limit(1, 0, 1), iops_size: 512, ..none };
        assert!(good.check().is_ok() && good.is_limited());
        for (bad, reason) in [
            (ThrottleLimits { bps_total: limit(1, 0, 1), bps_read: limit(1, 0, 1), ..none }, "both directions"),
            (ThrottleLimits { iops_read: limit(ThrottleLimits::MOST + 1, 0, 1), ..none }, "at most"),
            (ThrottleLimits { iops_read: limit(1, 0, 0), ..none }, "a second at least"),
            (ThrottleLimits { iops_read: limit(1, 0, 2), ..none }, "give iops-read-max too"),
            (ThrottleLimits { iops_read: limit(0, 2, 1), ..none }, "give iops-read too"),
            (ThrottleLimits { bps_write: limit(3, 2, 1), ..none }, "less than bps-write"),
            (ThrottleLimits { bps_write: limit(3, 1 << 40, 1 << 40), ..none }, "times"),
            (ThrottleLimits { iops_size: 512, ..none }, "limit of requests"),
        ] {
            let message = bad.check().unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }
}
