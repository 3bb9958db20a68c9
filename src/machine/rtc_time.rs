//! The date of the real-time clock: `-rtc base=,clock=`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use devices::base::{Clock, TimeSource, TimerQueue};

use super::clock::{HostMonotonicClock, HostWallClock};
use crate::config::{RtcBase, RtcClock, RtcConfig};

const NS_PER_SEC: i64 = 1_000_000_000;

/// The queue whose clock drives the RTC, the date in nanoseconds since 1970 when that clock shows 0, and whether the
/// queue is one of its own, which goes on while the machine is stopped.
#[must_use]
pub fn source(config: &RtcConfig, guest: &TimerQueue) -> (TimerQueue, i64, bool) {
    let own = |source: Arc<dyn TimeSource>| TimerQueue::new(Clock::new(source));
    let (queue, is_own) = match config.clock {
        RtcClock::Host => (own(Arc::new(HostWallClock::default())), true),
        RtcClock::Rt => (own(Arc::new(HostMonotonicClock::new())), true),
        RtcClock::Vm => (guest.clone(), false),
    };
    let host = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    let start = match config.base {
        RtcBase::Utc => host,
        RtcBase::Localtime => host + local_offset(host / NS_PER_SEC) * NS_PER_SEC,
        RtcBase::Date(date) => date.saturating_mul(NS_PER_SEC),
    };
    let now = i64::try_from(queue.clock().now()).unwrap_or(i64::MAX);
    (queue, start.saturating_sub(now), is_own)
}

/// Seconds that the host's time zone is ahead of UTC at `unix` seconds since 1970.
fn local_offset(unix: i64) -> i64 {
    // SAFETY: all fields are integers or a pointer that is only read after localtime_r has set it.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live through the call. natoma does not change its environment, from
    // which the time zone is read.
    if unsafe { libc::localtime_r(&unix, &mut local) }.is_null() {
        return 0;
    }
    local.tm_gmtoff
}
