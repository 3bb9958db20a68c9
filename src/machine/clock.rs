//! The machine's clocks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use devices::base::TimeSource;

/// Set in [`GuestClock::state`] while time stands still.
const STOPPED: u64 = 1 << 63;

/// Guest-virtual time: nanoseconds since the machine was made, not counting the time it was stopped.
pub struct GuestClock {
    epoch: Instant,
    /// Running: host nanoseconds since `epoch` at which guest time was 0, less than 2^63. Stopped: guest time and
    /// [`STOPPED`]. One word, so that readers need no lock.
    state: AtomicU64,
}

impl GuestClock {
    /// A clock at 0, stopped.
    #[must_use]
    pub fn new() -> Self {
        Self { epoch: Instant::now(), state: AtomicU64::new(STOPPED) }
    }

    fn host(&self) -> u64 {
        // 584 years fit.
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Lets time pass. Only the owner of the machine starts and stops.
    pub fn start(&self) {
        let state = self.state.load(Ordering::SeqCst);
        if state & STOPPED != 0 {
            self.state.store(self.host().wrapping_sub(state & !STOPPED) & !STOPPED, Ordering::SeqCst);
        }
    }

    /// Freezes time.
    pub fn stop(&self) {
        if !self.is_stopped() {
            self.state.store(self.now() | STOPPED, Ordering::SeqCst);
        }
    }

    /// Whether time stands still.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.load(Ordering::SeqCst) & STOPPED != 0
    }
}

impl Default for GuestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TimeSource for GuestClock {
    fn now(&self) -> u64 {
        let state = self.state.load(Ordering::SeqCst);
        if state & STOPPED != 0 { state & !STOPPED } else { self.host().wrapping_sub(state) & !STOPPED }
    }
}

/// Host time of day in nanoseconds since 1970 (UTC), going on while the machine is stopped and following every
/// adjustment of the host's clock; but never backwards.
#[derive(Default)]
pub struct HostWallClock(AtomicU64);

impl TimeSource for HostWallClock {
    fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        self.0.fetch_max(now, Ordering::SeqCst).max(now)
    }
}

/// Host monotonic time in nanoseconds, going on while the machine is stopped (`-rtc clock=rt`).
pub struct HostMonotonicClock(Instant);

impl HostMonotonicClock {
    /// A clock at 0.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for HostMonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TimeSource for HostMonotonicClock {
    fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_while_stopped_and_goes_on_from_there() {
        let clock = GuestClock::new();
        assert_eq!(clock.now(), 0);
        clock.start();
        while clock.now() < 1_000_000 {}
        clock.stop();
        let frozen = clock.now();
        let pause = Instant::now();
        while pause.elapsed().as_millis() < 2 {}
        assert_eq!(clock.now(), frozen);
        clock.start();
        let now = clock.now();
        assert!(now >= frozen && now < frozen + 1_000_000_000, "{frozen} -> {now}");
    }
}
