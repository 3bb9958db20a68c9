//! Guest time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds per second.
pub const NS_PER_SEC: u64 = 1_000_000_000;

/// Where guest time comes from.
pub trait TimeSource: Send + Sync {
    /// Guest-virtual nanoseconds: never decreasing, standing still while the machine is stopped.
    fn now(&self) -> u64;
}

/// A device's view of guest time.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// A view of `source`.
    pub fn new(source: Arc<dyn TimeSource>) -> Self {
        Self(source)
    }

    /// Guest-virtual nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.now()
    }
}

/// Time that moves when it is told to, for tests and for virtual-time operation.
#[derive(Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock at 0 and the view of it that devices take.
    #[must_use]
    pub fn new() -> (Arc<Self>, Clock) {
        let source = Arc::new(Self::default());
        (Arc::clone(&source), Clock::new(source))
    }

    /// Sets the time, in nanoseconds. Going backwards is the caller's mistake and is ignored.
    pub fn set(&self, now: u64) {
        self.0.fetch_max(now, Ordering::SeqCst);
    }

    /// Moves time on by `ns` nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.0.fetch_add(ns, Ordering::SeqCst);
    }
}

impl TimeSource for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// An exact frequency in whole hertz. Conversions go through 128 bits and never through a rounded period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// A rate of `hz` ticks per second, at least 1.
    #[must_use]
    pub const fn hz(hz: u64) -> Self {
        assert!(hz > 0);
        Self(hz)
    }

    /// Whole ticks that have passed after `ns` nanoseconds.
    #[must_use]
    pub fn ticks(self, ns: u64) -> u64 {
        let (seconds, rest) = (ns / NS_PER_SEC, ns % NS_PER_SEC);
        match (seconds.checked_mul(self.0), rest.checked_mul(self.0)) {
            // Exact, as whole seconds have whole ticks; and many times quicker than a division of 128 bits.
            (Some(whole), Some(part)) => whole.saturating_add(part / NS_PER_SEC),
            _ => clamp(u128::from(ns) * u128::from(self.0) / u128::from(NS_PER_SEC)),
        }
    }

    /// The first nanosecond at which `ticks` whole ticks have passed: `ticks(ns_at(n)) == n` for rates up to 1 GHz.
    #[must_use]
    pub fn ns_at(self, ticks: u64) -> u64 {
        clamp((u128::from(ticks) * u128::from(NS_PER_SEC)).div_ceil(u128::from(self.0)))
    }
}

fn clamp(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pm_timer_wraps_where_the_rational_rate_says() {
        // 2^24 / 3579545 Hz = 4.686 968 874 1... s (ACPI 4.8.3.3: the timer has 24 bits).
        let rate = Rate::hz(3_579_545);
        assert_eq!(rate.ns_at(1 << 24), 4_686_968_875);
        assert_eq!(rate.ticks(4_686_968_874), (1 << 24) - 1);
        assert_eq!(rate.ticks(4_686_968_875), 1 << 24);
    }

    #[test]
    fn a_century_does_not_overflow() {
        let century = 100 * 366 * 86_400 * NS_PER_SEC;
        assert_eq!(Rate::hz(1_193_182).ticks(century), 100 * 366 * 86_400 * 1_193_182);
    }

    proptest! {
        #[test]
        fn ticks_are_exact_however_large_the_numbers(hz in 1..=u64::MAX, ns: u64) {
            let exact = u128::from(ns) * u128::from(hz) / 1_000_000_000;
            prop_assert_eq!(u128::from(Rate::hz(hz).ticks(ns)), exact.min(u64::MAX.into()));
            let exact = u128::from(ns) * u128::from(hz % 5_000_000_000 + 1) / 1_000_000_000;
            prop_assert_eq!(u128::from(Rate::hz(hz % 5_000_000_000 + 1).ticks(ns)), exact.min(u64::MAX.into()));
        }

        #[test]
        fn ticks_and_nanoseconds_agree(hz in 1..=1_000_000_000u64, ticks in 0..1u64 << 33) {
            let ns = Rate::hz(hz).ns_at(ticks);
            prop_assume!(ns < u64::MAX);
            prop_assert_eq!(Rate::hz(hz).ticks(ns), ticks);
            prop_assert!(ns == 0 || Rate::hz(hz).ticks(ns - 1) < ticks);
        }
    }
}
