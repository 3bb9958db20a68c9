//! Deadlines in guest time.
//!
//! Devices are pull style: their state is registers plus the time they were last brought up to date, and they arm
//! only the next edge that somebody can see. An expiry is a hint to catch up: it may come late or, after a
//! concurrent [`DeviceTimers::cancel`] or re-arm, once without need. A device decides by the clock, not by the call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};

use super::{Clock, ManualClock, lock};

/// Nanoseconds between expiries of a periodic timer where somebody has to be woken for each. A guest can program periods of
/// nanoseconds, which would leave the host no time for anything else. KVM's own bound is 200 us (`min_timer_period_us`); this
/// one leaves the 8192 Hz of an RTC, which guests have the HPET stand in for, alone.
pub const SHORTEST_PERIOD: u64 = 100_000;

/// A device that wants to be woken.
pub trait TimerClient: Send {
    /// The deadline of timer `timer` may have passed.
    fn timer_expired(&mut self, timer: u32);
}

/// Told when the earliest deadline changes. Called with the queue's lock held: it must not call devices or the queue.
pub trait Alarm: Send + Sync {
    /// The earliest deadline is now at `deadline` nanoseconds, or there is none.
    fn set(&self, deadline: Option<u64>);
}

#[derive(Default)]
struct Inner {
    /// Deadline, owner, timer number: ordered by time.
    armed: BTreeSet<(u64, usize, u32)>,
    clients: Vec<Option<Weak<Mutex<dyn TimerClient>>>>,
    /// When the timers, by owner and number, expired last.
    expired: BTreeMap<(usize, u32), u64>,
    alarm: Option<Arc<dyn Alarm>>,
}

impl Inner {
    fn earliest(&self) -> Option<u64> {
        self.armed.first().map(|(deadline, ..)| *deadline)
    }

    /// Applies `change` and tells the alarm if the earliest deadline moved.
    fn update(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.earliest();
        change(self);
        let after = self.earliest();
        if before != after
            && let Some(alarm) = &self.alarm
        {
            alarm.set(after);
        }
    }
}

/// All deadlines of one clock.
#[derive(Clone)]
pub struct TimerQueue {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

impl TimerQueue {
    /// An empty queue over `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, inner: Arc::default() }
    }

    /// The clock the deadlines refer to.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Connects the alarm that wakes whoever calls [`Self::run_due`].
    pub fn set_alarm(&self, alarm: Arc<dyn Alarm>) {
        let mut inner = lock(&self.inner);
        alarm.set(inner.earliest());
        inner.alarm = Some(alarm);
    }

    /// Tells the alarm the earliest deadline again: after it went off, or after the clock was started.
    pub fn rearm(&self) {
        let inner = lock(&self.inner);
        if let Some(alarm) = &inner.alarm {
            alarm.set(inner.earliest());
        }
    }

    /// Timers for one device, which is connected later by [`Self::attach`].
    #[must_use]
    pub fn timers(&self) -> DeviceTimers {
        let mut inner = lock(&self.inner);
        inner.clients.push(None);
        DeviceTimers { queue: self.clone(), owner: inner.clients.len() - 1 }
    }

    /// Makes expiries of `timers` reach `client`, for as long as it lives.
    pub fn attach<T: TimerClient + 'static>(&self, owner: usize, client: &Arc<Mutex<T>>) {
        let weak: Weak<Mutex<T>> = Arc::downgrade(client);
        if let Some(slot) = lock(&self.inner).clients.get_mut(owner) {
            *slot = Some(weak);
        }
    }

    /// The earliest deadline in nanoseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        lock(&self.inner).earliest()
    }

    /// Calls every device whose deadline has passed, in order of the deadlines. A device that re-arms in the past
    /// is called again on the next call, not in this one, so that the caller keeps control.
    pub fn run_due(&self) {
        let now = self.clock.now();
        let due = {
            let mut inner = lock(&self.inner);
            let mut due = Vec::new();
            inner.update(|inner| {
                while let Some(&(deadline, owner, timer)) = inner.armed.first()
                    && deadline <= now
                {
                    inner.armed.pop_first();
                    inner.expired.insert((owner, timer), now);
                    due.push((inner.clients.get(owner).cloned().flatten(), timer));
                }
            });
            due
        };
        for (client, timer) in due {
            if let Some(client) = client.and_then(|client| client.upgrade()) {
                lock(&client).timer_expired(timer);
            }
        }
    }

    /// Moves a manual clock to `target` deadline by deadline, so that a periodic device sees every period.
    pub fn step(&self, clock: &ManualClock, target: u64) {
        while let Some(deadline) = self.next_deadline()
            && deadline <= target
        {
            clock.set(deadline);
            self.run_due();
        }
        clock.set(target);
    }
}

/// The timers of one device.
pub struct DeviceTimers {
    queue: TimerQueue,
    owner: usize,
}

impl DeviceTimers {
    /// Identifies the device to [`TimerQueue::attach`].
    #[must_use]
    pub fn owner(&self) -> usize {
        self.owner
    }

    /// Arms timer `timer` for `deadline` nanoseconds, instead of any deadline it had.
    pub fn arm(&self, timer: u32, deadline: u64) {
        lock(&self.queue.inner).update(|inner| {
            inner.armed.retain(|&(_, owner, other)| (owner, other) != (self.owner, timer));
            inner.armed.insert((deadline, self.owner, timer));
        });
    }

    /// Arms timer `timer`, which the guest decides the period of, or disarms it. Time that flows by itself brings its expiries
    /// no closer together than [`SHORTEST_PERIOD`]; the device finds several of its periods over then.
    pub fn set_periodic(&self, timer: u32, deadline: Option<u64>) {
        let paced = |deadline: u64| {
            let inner = lock(&self.queue.inner);
            let last = inner.expired.get(&(self.owner, timer)).filter(|_| inner.alarm.is_some()).copied();
            // A clock that was set back has not come to the last expiry yet.
            let last = last.map(|last| last.min(self.queue.clock.now()));
            last.map_or(deadline, |last| deadline.max(last.saturating_add(SHORTEST_PERIOD)))
        };
        self.set(timer, deadline.map(paced));
    }

    /// Disarms timer `timer`.
    pub fn cancel(&self, timer: u32) {
        lock(&self.queue.inner).update(|inner| {
            inner.armed.retain(|&(_, owner, other)| (owner, other) != (self.owner, timer));
        });
    }

    /// Arms or disarms.
    pub fn set(&self, timer: u32, deadline: Option<u64>) {
        match deadline {
            Some(deadline) => self.arm(timer, deadline),
            None => self.cancel(timer),
        }
    }
}

impl Drop for DeviceTimers {
    fn drop(&mut self) {
        lock(&self.queue.inner).update(|inner| {
            inner.armed.retain(|&(_, owner, _)| owner != self.owner);
            inner.expired.retain(|(owner, _), _| *owner != self.owner);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shared;

    struct Periodic {
        timers: DeviceTimers,
        clock: Clock,
        seen: Vec<u64>,
    }

    impl TimerClient for Periodic {
        fn timer_expired(&mut self, timer: u32) {
            self.seen.push(self.clock.now());
            self.timers.arm(timer, self.clock.now() + 10);
        }
    }

    #[test]
    fn stepping_shows_every_period() {
        let (manual, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock.clone());
        let timers = queue.timers();
        timers.arm(0, 10);
        let owner = timers.owner();
        let device = shared(Periodic { timers, clock, seen: Vec::new() });
        queue.attach(owner, &device);
        queue.step(&manual, 45);
        assert_eq!(lock(&device).seen, [10, 20, 30, 40]);
        assert_eq!(queue.next_deadline(), Some(50));
        assert_eq!(manual.now_ns(), 45);
    }

    /// Hears nothing.
    struct Deaf;

    impl Alarm for Deaf {
        fn set(&self, _deadline: Option<u64>) {}
    }

    struct Fast(Periodic);

    impl TimerClient for Fast {
        fn timer_expired(&mut self, timer: u32) {
            self.0.seen.push(self.0.clock.now());
            self.0.timers.set_periodic(timer, Some(self.0.clock.now() + 1_000));
        }
    }

    #[test]
    fn periods_are_bounded_where_each_expiry_wakes_somebody() {
        for (wakes, expected) in
            [(true, vec![10, 100_010, 200_010]), (false, (0..250).map(|n| 10 + 1_000 * n).collect())]
        {
            let (manual, clock) = ManualClock::new();
            let queue = TimerQueue::new(clock.clone());
            if wakes {
                queue.set_alarm(Arc::new(Deaf));
            }
            let timers = queue.timers();
            timers.set_periodic(0, Some(10));
            let owner = timers.owner();
            let device = shared(Fast(Periodic { timers, clock, seen: Vec::new() }));
            queue.attach(owner, &device);
            queue.step(&manual, 250_000);
            assert_eq!(lock(&device).0.seen, expected);
        }
    }

    impl ManualClock {
        fn now_ns(&self) -> u64 {
            super::super::TimeSource::now(self)
        }
    }

    #[test]
    fn the_alarm_follows_the_earliest_deadline() {
        #[derive(Default)]
        struct Log(Mutex<Vec<Option<u64>>>);
        impl Alarm for Log {
            fn set(&self, deadline: Option<u64>) {
                lock(&self.0).push(deadline);
            }
        }
        let (_, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock);
        let log = Arc::new(Log::default());
        queue.set_alarm(Arc::clone(&log) as Arc<dyn Alarm>);
        let timers = queue.timers();
        timers.arm(0, 50);
        timers.arm(1, 70);
        timers.arm(0, 60);
        timers.cancel(0);
        drop(timers);
        assert_eq!(*lock(&log.0), [None, Some(50), Some(60), Some(70), None]);
    }
}
