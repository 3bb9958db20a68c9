//! Guest time: it passes by itself while the machine runs, or it is stepped from outside.

use std::io;
use std::sync::{Arc, Mutex};

use devices::base::{Clock, ManualClock, TimeSource, TimerQueue, lock};

use super::clock::GuestClock;
use super::timers::QueueRunner;

/// What makes guest time pass.
pub enum Clockwork {
    /// The host's time, while the machine runs.
    Flowing(Arc<GuestClock>),
    /// Somebody who steps it.
    Stepped(Arc<ManualClock>),
}

impl Clockwork {
    /// Time that passes with the host's, from 0, stopped.
    #[must_use]
    pub fn flowing() -> Self {
        Self::Flowing(Arc::new(GuestClock::new()))
    }

    /// Time that is stepped, from 0.
    #[must_use]
    pub fn stepped() -> Self {
        Self::Stepped(Arc::default())
    }

    /// An empty queue of timers in this time.
    #[must_use]
    pub fn queue(&self) -> TimerQueue {
        let source: Arc<dyn TimeSource> = match self {
            Self::Flowing(clock) => Arc::clone(clock) as _,
            Self::Stepped(clock) => Arc::clone(clock) as _,
        };
        TimerQueue::new(Clock::new(source))
    }

    /// Connects the queue that [`Self::queue`] made. Best when the devices have armed their first timers, as each change
    /// is a call of the kernel from then on.
    ///
    /// # Errors
    /// The host has no file descriptor left.
    pub fn connect(self, queue: TimerQueue) -> io::Result<GuestTime> {
        Ok(match self {
            Self::Flowing(clock) => {
                GuestTime::Flowing { clock, timers: Arc::new(Mutex::new(QueueRunner::new(queue, true)?)) }
            }
            Self::Stepped(clock) => GuestTime::Stepped { clock, queue },
        })
    }
}

/// Guest time with its timers.
pub enum GuestTime {
    /// The main loop runs the timers as the host's time passes.
    Flowing {
        /// The time.
        clock: Arc<GuestClock>,
        /// The timers.
        timers: Arc<Mutex<QueueRunner>>,
    },
    /// Whoever steps the clock runs the timers.
    Stepped {
        /// The time.
        clock: Arc<ManualClock>,
        /// The timers.
        queue: TimerQueue,
    },
}

impl GuestTime {
    /// Lets time pass, if it does so by itself.
    pub fn start(&self) {
        if let Self::Flowing { clock, timers } = self {
            clock.start();
            lock(timers).suspend(false);
        }
    }

    /// Freezes it.
    pub fn stop(&self) {
        if let Self::Flowing { clock, timers } = self {
            clock.stop();
            lock(timers).suspend(true);
        }
    }

    /// What the main loop has to run.
    #[must_use]
    pub fn runner(&self) -> Option<Arc<Mutex<QueueRunner>>> {
        match self {
            Self::Flowing { timers, .. } => Some(Arc::clone(timers)),
            Self::Stepped { .. } => None,
        }
    }
}
