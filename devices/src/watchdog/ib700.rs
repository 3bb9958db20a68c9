//! The watchdog of the IBASE IB700 single board computer (`ib700`), as QEMU has it.
//!
//! Two ports, both write only. A write to 443h starts the countdown: the low four bits choose from 30 seconds (0) down to none
//! (15) in steps of two. A write to 441h stops it. When it has run out the watchdog fires once and stops.

use std::sync::Arc;

use crate::base::clock::NS_PER_SEC;
use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, Inspector, IoDevice, Region, ResetKind, State, StateError, SystemControl,
    SystemRequest, TimerClient,
};

/// Longest countdown, chosen by 0.
const LONGEST_SECONDS: u64 = 30;
const STEP_SECONDS: u64 = 2;
const CHOICE: u64 = 0x0f;
const COUNTDOWN: u32 = 0;

/// The watchdog.
pub struct Ib700 {
    clock: Clock,
    timers: DeviceTimers,
    system: Arc<dyn SystemControl>,
    /// When it fires, in guest nanoseconds.
    deadline: Option<u64>,
}

impl Ib700 {
    /// The port that stops it.
    pub const DISABLE: Region = Region::ports(0, "ib700-disable", 1, AccessRule::BYTE);
    /// The port that starts it.
    pub const ENABLE: Region = Region::ports(1, "ib700-enable", 1, AccessRule::BYTE);

    /// A watchdog that is not counting. `timers` must be attached to it by the board.
    #[must_use]
    pub fn new(clock: Clock, timers: DeviceTimers, system: Arc<dyn SystemControl>) -> Self {
        Self { clock, timers, system, deadline: None }
    }

    fn set(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
        self.timers.set(COUNTDOWN, deadline);
    }
}

impl TimerClient for Ib700 {
    fn timer_expired(&mut self, _timer: u32) {
        if self.deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
            self.set(None);
            self.system.request(SystemRequest::Watchdog);
        }
    }
}

impl IoDevice for Ib700 {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        u64::MAX
    }

    fn write(&mut self, region: u16, _offset: u64, _size: u8, value: u64) {
        let seconds = LONGEST_SECONDS - STEP_SECONDS * (value & CHOICE);
        let enabled = region == Self::ENABLE.id;
        self.set(enabled.then(|| self.clock.now().saturating_add(seconds * NS_PER_SEC)));
    }
}

impl Device for Ib700 {
    fn name(&self) -> &'static str {
        "ib700"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.set(None);
    }

    fn save(&self) -> State {
        let Self { clock: _, timers: _, system: _, deadline } = self;
        State::of(state::VERSION, &state::V1 { deadline: *deadline })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { deadline } = state.decode(state::VERSION)?;
        let latest = self.clock.now().saturating_add(LONGEST_SECONDS * NS_PER_SEC);
        if deadline.is_some_and(|deadline| deadline > latest) {
            return Err(StateError::invalid("deadline", format!("it is more than {LONGEST_SECONDS} seconds ahead")));
        }
        self.set(deadline);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.flag("counting", self.deadline.is_some());
        out.number("fires at", self.deadline.unwrap_or(0));
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub deadline: Option<u64>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::system::Requests;
    use crate::base::{ManualClock, Shared, TimerQueue, lock, shared};

    struct Rig {
        watchdog: Shared<Ib700>,
        fired: Arc<Requests>,
        queue: TimerQueue,
        clock: Arc<ManualClock>,
    }

    fn rig() -> Rig {
        let (manual, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock.clone());
        let timers = queue.timers();
        let owner = timers.owner();
        let fired = Arc::new(Requests::default());
        let watchdog = shared(Ib700::new(clock, timers, Arc::clone(&fired) as _));
        queue.attach(owner, &watchdog);
        Rig { watchdog, fired, queue, clock: manual }
    }

    #[test]
    fn the_low_bits_choose_from_30_to_0_seconds_and_a_stop_is_a_stop() {
        for (value, seconds) in [(0, 30), (1, 28), (7, 16), (15, 0), (0xf8, 14)] {
            let rig = rig();
            lock(&rig.watchdog).write(Ib700::ENABLE.id, 0, 1, value);
            assert_eq!(rig.queue.next_deadline(), Some(seconds * 1_000_000_000), "{value}");
            rig.queue.step(&rig.clock, 40_000_000_000);
            assert_eq!(*lock(&rig.fired.0), [SystemRequest::Watchdog]);
            lock(&rig.watchdog).write(Ib700::ENABLE.id, 0, 1, value);
            lock(&rig.watchdog).write(Ib700::DISABLE.id, 0, 1, 0);
            rig.queue.step(&rig.clock, 90_000_000_000);
            assert_eq!(lock(&rig.fired.0).len(), 1);
        }
    }

    #[test]
    fn a_deadline_that_no_choice_gives_is_refused() {
        let rig = rig();
        rig.queue.step(&rig.clock, 5_000_000_000);
        let mut state = lock(&rig.watchdog).save();
        state.data["deadline"] = 35_000_000_000_u64.into();
        assert!(lock(&rig.watchdog).load(&state).is_ok());
        state.data["deadline"] = 35_000_000_001_u64.into();
        assert!(lock(&rig.watchdog).load(&state).is_err());
    }

    #[test]
    fn contract() {
        let make = || {
            let Rig { watchdog, fired, queue, clock } = rig();
            let keep = Box::new((fired, queue, clock));
            Subject { device: watchdog, regions: vec![Ib700::DISABLE, Ib700::ENABLE], irqs: Vec::new(), keep }
        };
        contract::check(make, &[ResetValue { region: 0, offset: 0, size: 1, value: u64::MAX }]);
    }
}
