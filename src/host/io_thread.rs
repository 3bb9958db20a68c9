//! Threads that serve the queues of devices (`-object iothread`).
//!
//! A thread sleeps until a doorbell or a back end rings. After it has done something it may first look for more, for a time that
//! adapts to how long things take to come ([`Patience`]), as QEMU's does: whoever has not to be woken answers sooner, and a
//! driver that need not ring saves an exit from the guest.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use devices::base::lock;
use devices::virtio::QueueClient;
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use nix::unistd::gettid;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::chardev::Subscriber;
use crate::config;

/// What the first look for more takes, in nanoseconds.
const FIRST_LOOK: u64 = 4000;
/// Longest name of a thread that the kernel keeps.
const LONGEST_NAME: usize = 15;

/// What a loop does for devices.
#[derive(Clone, Default)]
pub struct LoopWork {
    /// Who is told of doorbells and completions.
    pub subscribers: Vec<Subscriber>,
    /// Whose queues can be looked at. All that happens to them is told to a subscriber, too.
    pub queues: Vec<Arc<Mutex<dyn QueueClient>>>,
}

/// How long a thread looks for more before it sleeps.
#[derive(Debug)]
struct Patience {
    most: u64,
    grow: u64,
    shrink: u64,
    /// Nanoseconds.
    now: u64,
}

impl Patience {
    fn new(config: &config::IoThread) -> Self {
        let config::IoThread { id: _, poll_max_ns, poll_grow, poll_shrink, aio_max_batch: _ } = *config;
        Self { most: poll_max_ns, grow: poll_grow, shrink: poll_shrink, now: 0 }
    }

    /// Something has come after `waited` nanoseconds.
    fn learn(&mut self, waited: u64) {
        if waited > self.most {
            // No looking would have been long enough.
            self.now = self.now.checked_div(self.shrink).unwrap_or(0);
        } else if waited > self.now {
            let factor = if self.grow == 0 { 2 } else { self.grow };
            let longer = if self.now == 0 { FIRST_LOOK } else { self.now.saturating_mul(factor) };
            self.now = longer.min(self.most);
        }
    }
}

/// Ends a thread's loop.
struct Stop {
    wanted: AtomicBool,
    event: EventFd,
}

/// Wakes the loop.
struct StopSubscriber(Arc<Stop>);

impl MutEventSubscriber for StopSubscriber {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {}

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.0.event, EventSet::IN)) {
            log::error!("an I/O thread can't be ended: {error}");
        }
    }
}

/// When the thread was told of the first thing since it began to wait.
type Woken = Arc<Mutex<Option<Instant>>>;

/// A subscriber of which it is noted when it is told of something.
struct Noting {
    subscriber: Subscriber,
    woken: Woken,
}

impl MutEventSubscriber for Noting {
    fn process(&mut self, events: Events, ops: &mut EventOps) {
        lock(&self.woken).get_or_insert_with(Instant::now);
        self.subscriber.process(events, ops);
    }

    fn init(&mut self, ops: &mut EventOps) {
        self.subscriber.init(ops);
    }
}

/// A thread that runs until it is dropped.
pub struct IoThread {
    config: config::IoThread,
    id: i32,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    /// Starts a thread that does `work`; `named` after its id, or like the process.
    ///
    /// # Errors
    /// The host has no thread or no descriptor left.
    pub fn start(config: &config::IoThread, work: LoopWork, named: bool) -> Result<Self> {
        Self::try_to_start(config, work, named).with_context(|| format!("-object iothread,id={}", config.id))
    }

    fn try_to_start(config: &config::IoThread, work: LoopWork, named: bool) -> Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).context("can't make an event descriptor")?;
        let stop = Arc::new(Stop { wanted: AtomicBool::new(false), event });
        let LoopWork { subscribers, queues } = work;
        let subscribers = subscribers.into_iter().chain([Arc::new(Mutex::new(StopSubscriber(Arc::clone(&stop)))) as _]);
        let mut events = EventManager::new().map_err(|error| anyhow!("can't make its loop: {error}"))?;
        let woken = Woken::default();
        for subscriber in subscribers {
            events.add_subscriber(Noting { subscriber, woken: Arc::clone(&woken) });
        }
        let patience = Patience::new(config);
        let server = Server { events, woken, queues, patience, hushed: false, stop: Arc::clone(&stop) };

        let mut builder = thread::Builder::new();
        if named {
            builder = builder.name(format!("IO {}", config.id).chars().take(LONGEST_NAME).collect());
        }
        let (tell, told) = mpsc::channel();
        let run = move || {
            // Whoever starts it waits for this.
            let _ = tell.send(gettid().as_raw());
            server.serve();
        };
        let thread = builder.spawn(run).context("can't start a thread")?;
        let id = told.recv().context("the thread has ended at once")?;
        Ok(Self { config: config.clone(), id, stop, thread: Some(thread) })
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &config::IoThread {
        &self.config
    }

    /// The kernel's number of the thread.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.stop.wanted.store(true, Ordering::Release);
        // It can't be full: nobody else writes to it.
        let _ = self.stop.event.write(1);
        if let Some(thread) = self.thread.take() {
            // One that has panicked has told of it.
            let _ = thread.join();
        }
    }
}

/// What runs on a thread.
struct Server {
    events: EventManager<Noting>,
    woken: Woken,
    queues: Vec<Arc<Mutex<dyn QueueClient>>>,
    patience: Patience,
    /// Drivers may have been hushed by a look since the last time that the thread listened.
    hushed: bool,
    stop: Arc<Stop>,
}

impl Server {
    fn serve(mut self) {
        while !self.is_stopped() {
            let start = Instant::now();
            let waited = match self.look(start) {
                Some(waited) => waited,
                None => {
                    *lock(&self.woken) = None;
                    if let Err(error) = self.events.run() {
                        log::error!("an I/O thread can't wait for events: {error}");
                        return;
                    }
                    let woken = *lock(&self.woken);
                    nanoseconds(woken.map_or_else(|| start.elapsed(), |woken| woken.duration_since(start)))
                }
            };
            // What was done then took its time, too: it says nothing of how long things take to come.
            self.patience.learn(waited);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.wanted.load(Ordering::Acquire)
    }

    /// Looks for something to do, as long as that may pay, and does it. Gives the nanoseconds that it took to come. `None`: there was
    /// nothing, and all drivers tell of what there will be.
    fn look(&mut self, start: Instant) -> Option<u64> {
        // The last thing may have come so late that the patience is at its end.
        if self.patience.now == 0 && !self.hushed {
            return None;
        }
        let each = |look: fn(&mut dyn QueueClient) -> bool| {
            self.queues.iter().fold(false, |found, queue| look(&mut *lock(queue)) | found)
        };
        let mut waited = 0;
        while waited < self.patience.now && !self.is_stopped() {
            self.hushed = true;
            if each(|queue| queue.look()) {
                return Some(waited);
            }
            spin_loop();
            waited = nanoseconds(start.elapsed());
        }
        self.hushed = false;
        each(|queue| queue.listen()).then_some(waited)
    }
}

/// The nanoseconds of a duration.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(most: u64, grow: u64, shrink: u64) -> Patience {
        let config =
            config::IoThread { poll_max_ns: most, poll_grow: grow, poll_shrink: shrink, ..config::IoThread::new("t") };
        Patience::new(&config)
    }

    fn after(patience: &mut Patience, waited: &[u64]) -> Vec<u64> {
        let learn = |waited: &u64| {
            patience.learn(*waited);
            patience.now
        };
        waited.iter().map(learn).collect()
    }

    #[test]
    fn patience_adapts_as_qemus() {
        let mut usual = patience(32768, 0, 0);
        // It grows while more would have helped, stays while it is enough, and ends when no look would have been long enough.
        assert_eq!(
            after(&mut usual, &[5000, 5000, 5000, 20_000, 20_000, 30_000, 30_000, 40_000, 1000]),
            [4000, 8000, 8000, 16_000, 32_000, 32_000, 32_000, 0, 4000]
        );
        let mut own = patience(100_000, 10, 4);
        assert_eq!(after(&mut own, &[1, 90_000, 90_000, 200_000, 200_000]), [4000, 40_000, 100_000, 25_000, 6250]);
        assert_eq!(after(&mut patience(0, 0, 0), &[1, 0]), [0, 0], "none");
        assert_eq!(after(&mut patience(1000, u64::MAX, 0), &[10, 1000]), [1000, 1000]);
    }

    /// Notes how it is called. Something is there whenever the test has said so.
    #[derive(Default)]
    struct Queue {
        rung: usize,
        there: bool,
        looks: usize,
        listens: usize,
    }

    impl QueueClient for Queue {
        fn ring(&mut self, _queue: u16) {
            self.rung += 1;
        }

        fn look(&mut self) -> bool {
            self.looks += 1;
            std::mem::take(&mut self.there)
        }

        fn listen(&mut self) -> bool {
            self.listens += 1;
            std::mem::take(&mut self.there)
        }
    }

    #[test]
    fn a_thread_whose_patience_is_at_its_end_listens_before_it_sleeps() {
        let queue = Arc::<Mutex<Queue>>::default();
        let mut server = Server {
            events: EventManager::new().unwrap(),
            woken: Woken::default(),
            queues: vec![queue.clone()],
            patience: patience(u64::MAX, 0, 0),
            hushed: false,
            stop: Arc::new(Stop { wanted: AtomicBool::new(false), event: EventFd::new(EFD_NONBLOCK).unwrap() }),
        };
        let calls = || {
            let queue = lock(&queue);
            (queue.looks, queue.listens)
        };
        server.patience.now = u64::MAX;
        lock(&queue).there = true;
        assert_eq!(server.look(Instant::now()), Some(0), "it was there, whatever time it took");
        assert_eq!(calls(), (1, 0));
        // Something has come later than any look may take.
        server.patience.now = 0;
        for _ in 0..2 {
            assert!(server.look(Instant::now()).is_none());
            assert_eq!(calls(), (1, 1));
        }
    }

    /// Rings and tells the test that it was heard.
    struct Bell(Arc<EventFd>, Arc<Mutex<Queue>>, mpsc::Sender<()>);

    impl MutEventSubscriber for Bell {
        fn process(&mut self, _events: Events, _ops: &mut EventOps) {
            lock(&self.1).ring(0);
            self.2.send(()).unwrap();
        }

        fn init(&mut self, ops: &mut EventOps) {
            ops.add(Events::new(&*self.0, EventSet::IN | EventSet::EDGE_TRIGGERED)).unwrap();
        }
    }

    #[test]
    fn a_thread_hears_bells_and_listens_before_it_sleeps() {
        let bell = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let queue = Arc::<Mutex<Queue>>::default();
        let (heard, hear) = mpsc::channel();
        let subscriber = Bell(Arc::clone(&bell), Arc::clone(&queue), heard);
        let work = LoopWork { subscribers: vec![Arc::new(Mutex::new(subscriber))], queues: vec![queue.clone()] };
        let config = config::IoThread { poll_max_ns: u64::MAX / 2, ..config::IoThread::new("t") };
        let thread = IoThread::start(&config, work, true).unwrap();
        assert!(thread.id() > 0 && thread.id() != gettid().as_raw());
        for _ in 0..3 {
            bell.write(1).unwrap();
            hear.recv().unwrap();
        }
        drop(thread);
        let queue = lock(&queue);
        assert_eq!(queue.rung, 3, "each signal is heard once");
        assert!(queue.looks > 0 && queue.listens > 0);
    }
}
