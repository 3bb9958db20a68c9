//! Throttling: no more bytes and requests in a second than the user allows.
//!
//! Each limit is a leaky bucket, as in QEMU (docs/throttle.txt of its documentation): what is done is poured in, it leaks at the
//! allowed rate, and a request waits while the bucket is over its rim. Without a burst rate the rim is a tenth of a second's
//! worth, so that requests don't have to come evenly. With a burst rate (`-max`) it is what flows in `-max-length` seconds at that
//! rate, and if that is more than one second, a second bucket that leaks at the burst rate keeps the burst to it.
//!
//! Drives of one group share the buckets. Requests of a group go in the order in which they come, reads and writes apart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use devices::backend::block::BlockError;
use devices::base::lock;
use vm_memory::VolatileSlice;

use super::filter::Filter;
use super::node::{Node, RawAccess, total_len};
use crate::config::{self, Limit, ThrottleLimits};

/// A wait is looked at again after this time at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a request is to the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// How full the buckets of a limit are.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    level: f64,
    burst: f64,
}

impl Bucket {
    fn leak(&mut self, limit: &Limit, seconds: f64) {
        self.level = (self.level - limit.average as f64 * seconds).max(0.0);
        self.burst = (self.burst - limit.max as f64 * seconds).max(0.0);
    }

    fn pour(&mut self, limit: &Limit, units: f64) {
        self.level += units;
        if limit.max_length > 1 {
            self.burst += units;
        }
    }

    /// Seconds until a request may go.
    fn wait(&self, limit: &Limit) -> f64 {
        if limit.average == 0 {
            return 0.0;
        }
        let (average, max) = (limit.average as f64, limit.max as f64);
        let rim = if limit.max == 0 { average / 10.0 } else { max * limit.max_length as f64 };
        let over = self.level - rim;
        if over > 0.0 {
            return over / average;
        }
        let over = self.burst - max / 10.0;
        if limit.max_length > 1 && over > 0.0 { over / max } else { 0.0 }
    }
}

/// The six limits, in one order everywhere, with the requests and the amount that each counts.
const LIMITS: usize = 6;

fn limits(of: &ThrottleLimits) -> [&Limit; LIMITS] {
    [&of.bps_total, &of.bps_read, &of.bps_write, &of.iops_total, &of.iops_read, &of.iops_write]
}

fn concerns(direction: Direction) -> [bool; LIMITS] {
    let (read, write) = (direction == Direction::Read, direction == Direction::Write);
    [true, read, write, true, read, write]
}

/// What is left of the limits, at a time.
struct Account {
    limits: ThrottleLimits,
    buckets: [Bucket; LIMITS],
    leaked: Duration,
}

impl Account {
    fn new(limits: ThrottleLimits) -> Self {
        Self { limits, buckets: Default::default(), leaked: Duration::ZERO }
    }

    /// How long a request has to wait at `now`.
    fn wait(&mut self, direction: Direction, now: Duration) -> Duration {
        let seconds = now.saturating_sub(self.leaked).as_secs_f64();
        self.leaked = self.leaked.max(now);
        let mut longest = 0.0_f64;
        for ((bucket, limit), counts) in self.buckets.iter_mut().zip(limits(&self.limits)).zip(concerns(direction)) {
            bucket.leak(limit, seconds);
            if counts {
                longest = longest.max(bucket.wait(limit));
            }
        }
        Duration::try_from_secs_f64(longest).unwrap_or(LONGEST_WAIT)
    }

    /// A request of `len` bytes goes.
    fn go(&mut self, direction: Direction, len: u64) {
        let requests = if self.limits.iops_size == 0 { 1 } else { len.div_ceil(self.limits.iops_size).max(1) };
        let all = self.buckets.iter_mut().zip(limits(&self.limits)).zip(concerns(direction));
        for (number, ((bucket, limit), counts)) in all.enumerate() {
            if counts {
                bucket.pour(limit, if number < 3 { len as f64 } else { requests as f64 });
            }
        }
    }
}

/// What the drives of a group share.
pub struct Group {
    start: Instant,
    state: Mutex<State>,
    /// A request has gone, the limits have changed, or the fate of one that waits.
    changed: Condvar,
}

struct State {
    account: Account,
    /// Those who wait, by direction.
    waiting: [VecDeque<u64>; 2],
    next: u64,
}

/// What becomes of a request that waits in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes when the limits let it.
    Waits,
    /// It goes at once.
    Goes,
    /// Its drive is in the group no more.
    Leaves,
}

/// Groups in use, by their names.
static GROUPS: Mutex<BTreeMap<String, Weak<Group>>> = Mutex::new(BTreeMap::new());

impl Group {
    /// The group of a drive.
    pub fn of(throttle: &config::Throttle) -> Arc<Self> {
        match &throttle.group {
            None => Arc::new(Self::new(throttle.limits)),
            Some(name) => Self::named(name, Some(throttle.limits).filter(ThrottleLimits::is_limited)),
        }
    }

    /// The group of this name. If it is in use already it gets the new limits, if there are any, as QEMU's does.
    pub fn named(name: &str, limits: Option<ThrottleLimits>) -> Arc<Self> {
        let mut groups = lock(&GROUPS);
        if let Some(group) = groups.get(name).and_then(Weak::upgrade) {
            if let Some(limits) = limits {
                group.set_limits(limits);
            }
            return group;
        }
        let group = Arc::new(Self::new(limits.unwrap_or_default()));
        groups.insert(name.to_owned(), Arc::downgrade(&group));
        group
    }

    fn new(limits: ThrottleLimits) -> Self {
        let state = State { account: Account::new(limits), waiting: Default::default(), next: 0 };
        Self { start: Instant::now(), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The limits from now on.
    pub fn set_limits(&self, limits: ThrottleLimits) {
        lock(&self.state).account.limits = limits;
        self.changed.notify_all();
    }

    /// Waits until a request may go. `false`: it has left instead.
    fn enter(&self, direction: Direction, len: u64, fate: impl Fn() -> Fate) -> bool {
        let mut state = lock(&self.state);
        let ticket = state.next;
        state.next += 1;
        let queue = direction as usize;
        state.waiting[queue].push_back(ticket);
        let goes = loop {
            let first = state.waiting[queue].front() == Some(&ticket);
            let wait = match fate() {
                Fate::Leaves => break false,
                Fate::Goes => Duration::ZERO,
                Fate::Waits if first => state.account.wait(direction, self.start.elapsed()).min(LONGEST_WAIT),
                Fate::Waits => LONGEST_WAIT,
            };
            if wait.is_zero() {
                break true;
            }
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiting[queue].retain(|waiting| *waiting != ticket);
        if goes {
            state.account.go(direction, len);
        }
        drop(state);
        self.changed.notify_all();
        goes
    }

    /// Has those who wait ask for their fate again.
    fn remind(&self) {
        // Whoever has asked is waiting now.
        drop(lock(&self.state));
        self.changed.notify_all();
    }
}

/// A node that makes requests wait, if it has limits. Flushes don't wait, as in QEMU.
pub(super) struct Throttle {
    below: Arc<dyn Node>,
    group: ArcSwapOption<Group>,
    /// How many are in a hurry.
    hurried: AtomicU32,
}

impl Throttle {
    pub fn new(below: Arc<dyn Node>, group: Option<Arc<Group>>) -> Self {
        Self { below, group: ArcSwapOption::new(group), hurried: AtomicU32::new(0) }
    }

    /// Gives it other limits, also for requests that wait already.
    pub fn set_group(&self, group: Option<Arc<Group>>) {
        if let Some(before) = self.group.swap(group) {
            before.remind();
        }
    }

    fn enter(&self, direction: Direction, len: u64) {
        // Not a guard, which is not to be held for long.
        while let Some(group) = self.group.load_full() {
            if group.enter(direction, len, || self.fate(&group)) {
                return;
            }
        }
    }

    /// The fate of a request that waits in a group.
    fn fate(&self, group: &Arc<Group>) -> Fate {
        if self.hurried.load(Ordering::Acquire) > 0 {
            return Fate::Goes;
        }
        let is_in = self.group.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, group));
        if is_in { Fate::Waits } else { Fate::Leaves }
    }
}

impl Filter for Throttle {
    fn below(&self) -> &Arc<dyn Node> {
        &self.below
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        if self.group.load().is_none() { self.below.raw() } else { None }
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        self.enter(Direction::Read, total_len(to) as u64);
        self.below.read(offset, to)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.enter(Direction::Write, total_len(from) as u64);
        self.below.write(offset, from, durable)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.enter(Direction::Write, len);
        self.below.discard(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.enter(Direction::Write, len);
        self.below.write_zeroes(offset, len, may_unmap)
    }

    fn hurry(&self, hurried: bool) {
        if hurried {
            self.hurried.fetch_add(1, Ordering::AcqRel);
        } else {
            self.hurried.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(group) = self.group.load_full() {
            group.remind();
        }
        self.below.hurry(hurried);
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::super::node::write_bytes;
    use super::*;

    const fn limit(average: u64, max: u64, max_length: u64) -> Limit {
        Limit { average, max, max_length }
    }

    /// Units of work that requests of `units` get done in the given seconds, one by one.
    fn done(account: &mut Account, direction: Direction, units: u64, seconds: std::ops::Range<u64>) -> u64 {
        let (mut now, mut done) = (Duration::from_secs(seconds.start), 0);
        while now < Duration::from_secs(seconds.end) {
            let wait = account.wait(direction, now);
            if wait.is_zero() {
                account.go(direction, units);
                done += units;
            } else {
                now += wait + Duration::from_nanos(1);
            }
        }
        done
    }

    fn near(found: u64, expected: u64) -> bool {
        found.abs_diff(expected) <= expected / 50 + 1
    }

    #[test]
    fn a_rate_is_kept_after_a_tenth_of_a_second_of_grace() {
        let limits = ThrottleLimits { bps_total: limit(1_000_000, 0, 1), ..ThrottleLimits::default() };
        let mut account = Account::new(limits);
        let found = done(&mut account, Direction::Read, 4096, 0..10);
        assert!(near(found, 10_100_000), "{found}");
        // Both directions take from the same bucket.
        let found = done(&mut account, Direction::Write, 4096, 10..20);
        assert!(near(found, 10_000_000), "{found}");
    }

    #[test]
    fn a_burst_has_its_rate_and_its_length() {
        let limits = ThrottleLimits { iops_write: limit(100, 1000, 5), ..ThrottleLimits::default() };
        let mut account = Account::new(limits);
        // At first at the burst rate: 5000 requests are poured in while 100 leak each second, so it takes 5000 / 900 seconds.
        let found = done(&mut account, Direction::Write, 512, 0..5) / 512;
        assert!(near(found, 5_100), "{found}");
        done(&mut account, Direction::Write, 512, 5..7);
        let found = done(&mut account, Direction::Write, 512, 7..17) / 512;
        assert!(near(found, 1000), "{found}");
        assert!(account.wait(Direction::Read, Duration::from_secs(17)).is_zero(), "reads are not limited");
        // With the default length of a second there is no second bucket.
        let limits = ThrottleLimits { iops_total: limit(100, 1000, 1), ..ThrottleLimits::default() };
        let found = done(&mut Account::new(limits), Direction::Read, 512, 0..1) / 512;
        assert!(near(found, 1100), "{found}");
    }

    #[test]
    fn a_large_request_counts_as_many_of_iops_size() {
        let limits = ThrottleLimits { iops_total: limit(100, 0, 1), iops_size: 4096, ..ThrottleLimits::default() };
        let found = done(&mut Account::new(limits), Direction::Read, 8193, 0..10) / 8193;
        assert!(near(found, 1010 / 3), "{found}");
    }

    #[test]
    fn a_group_shares_its_limits_until_a_drive_is_in_a_hurry_or_leaves() {
        let limits = ThrottleLimits { bps_write: limit(1, 0, 1), ..ThrottleLimits::default() };
        let group = Arc::new(Group::new(limits));
        let nodes = [(); 3].map(|()| Throttle::new(Arc::new(Memory::new(vec![0; 4096])), Some(Arc::clone(&group))));
        // The first request goes and fills the bucket for more than an hour.
        write_bytes(&nodes[0], 0, &mut [1; 4096], false).unwrap();
        let waiting = || lock(&group.state).waiting[1].len();
        std::thread::scope(|scope| {
            let [first, second, third] =
                nodes.each_ref().map(|node| scope.spawn(|| write_bytes(node, 0, &mut [2; 512], false).unwrap()));
            while waiting() < 3 {
                std::thread::yield_now();
            }
            Filter::hurry(&nodes[2], true);
            third.join().unwrap();
            assert_eq!(waiting(), 2, "the others are in no hurry");
            Filter::hurry(&nodes[2], false);
            nodes[1].set_group(Some(Arc::new(Group::new(ThrottleLimits::default()))));
            second.join().unwrap();
            assert_eq!(waiting(), 1);
            nodes[0].set_group(None);
            first.join().unwrap();
        });
        assert_eq!(waiting(), 0);
        write_bytes(&nodes[0], 0, &mut [2; 512], false).unwrap();
    }
}
