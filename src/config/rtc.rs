//! Real-time clock: where its time comes from and how it advances.

use super::LostTickPolicy;
use serde::{Deserialize, Serialize};

/// The real-time clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtcConfig {
    /// The date when the machine starts.
    pub base: RtcBase,
    /// The clock by which it advances.
    pub clock: RtcClock,
    /// What happens to periodic interrupts that the guest was too slow for: `discard` or `slew`.
    pub lost_ticks: LostTickPolicy,
}

impl Default for RtcConfig {
    fn default() -> Self {
        Self { base: RtcBase::Utc, clock: RtcClock::Host, lost_ticks: LostTickPolicy::Discard }
    }
}

/// The date the real-time clock shows when the machine starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RtcBase {
    /// The host's date in UTC.
    #[default]
    Utc,
    /// The host's date in its time zone.
    Localtime,
    /// A fixed date: what the clock shows, read as UTC, in seconds since 1970-01-01T00:00:00. Never negative.
    Date(i64),
}

/// The clock by which the real-time clock advances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RtcClock {
    /// The host's wall clock, with its adjustments.
    #[default]
    Host,
    /// Guest-virtual time: stands still while the machine is stopped.
    Vm,
    /// The host's monotonic clock: no adjustments, goes on while the machine is stopped.
    Rt,
}
