//! The main loop's end of a timer queue: a kernel timer that is set to the earliest deadline.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use devices::base::timer::Alarm;
use devices::base::{Clock, TimerQueue, lock};
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::timerfd::TimerFd;

struct State {
    timer: TimerFd,
    /// The clock stands still: nothing becomes due.
    suspended: bool,
}

/// The kernel timer of one queue.
struct QueueTimer {
    state: Mutex<State>,
    clock: Clock,
}

impl Alarm for QueueTimer {
    fn set(&self, deadline: Option<u64>) {
        let mut state = lock(&self.state);
        // Setting the timer, to whatever, also clears its readiness: it never has to be read.
        let result = match deadline.filter(|_| !state.suspended) {
            Some(deadline) => {
                // A wait of 0 would disarm it: what is due already expires in a nanosecond.
                let wait = deadline.saturating_sub(self.clock.now()).max(1);
                state.timer.reset(Duration::from_nanos(wait), None)
            }
            None => state.timer.clear(),
        };
        if let Err(error) = result {
            // Only a nonsensical time is refused, which a Duration is not.
            log::error!("a timer can't be set: {error}");
        }
    }
}

/// The part of the main loop that runs a queue.
pub struct QueueRunner {
    queue: TimerQueue,
    timer: Arc<QueueTimer>,
}

impl QueueRunner {
    /// Connects `queue` to a kernel timer, suspended if `suspended`.
    ///
    /// # Errors
    /// The host has no file descriptor left.
    pub fn new(queue: TimerQueue, suspended: bool) -> io::Result<Self> {
        let timer = TimerFd::new().map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        let state = Mutex::new(State { timer, suspended });
        let timer = Arc::new(QueueTimer { state, clock: queue.clock().clone() });
        queue.set_alarm(Arc::clone(&timer) as Arc<dyn Alarm>);
        Ok(Self { queue, timer })
    }

    /// Stops or resumes waiting; to be called when the clock is stopped or started.
    pub fn suspend(&self, suspended: bool) {
        lock(&self.timer.state).suspended = suspended;
        self.queue.rearm();
    }
}

impl MutEventSubscriber for QueueRunner {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        self.queue.run_due();
        self.queue.rearm();
    }

    fn init(&mut self, ops: &mut EventOps) {
        let events = Events::new(&lock(&self.timer.state).timer, EventSet::IN);
        if let Err(error) = ops.add(events) {
            log::error!("a timer can't be watched: {error}");
        }
    }
}
