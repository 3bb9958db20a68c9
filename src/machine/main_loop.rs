//! The main loop: timers, signals, messages and back ends, on one thread.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use devices::base::lock;
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};

use super::build::{self, Built};
use super::control::MonitorControl;
use super::front_doors::FrontDoors;
use super::lifecycle::{ExitStatus, Machine};
use super::mailbox::{Mailbox, Message, UserRequest};
use super::signals::Signals;
use crate::config::{Accel, Catalogue, MachineConfig};
use crate::host::Opened;
use crate::host::block::{AtOnceFor, Blocks};
use crate::host::chardev::{Chardevs, Quit, Subscriber};
use crate::host::io_thread::IoThread;
use crate::host::process::Process;
use crate::logging;

/// Builds the machine that `config` describes and runs it to its end. `catalogue` is what monitors tell of what there is.
///
/// # Errors
/// The machine can't be built, or the host refuses something it can't go on without.
pub fn run(config: &MachineConfig, catalogue: Catalogue) -> Result<ExitStatus> {
    let mut process = Process::start(&config.identity, &config.run)?;
    // In the process that stays: the name of the log file may have its number.
    logging::init(&config.log)?;
    let mailbox = Arc::new(Mailbox::new().context("can't make an event descriptor")?);
    // Before any thread exists, so that all inherit the mask.
    let mut signals = Signals::block(Arc::clone(&mailbox)).context("can't take over the signals")?;
    // First of all, as it takes longest.
    let begun = build::begin(config);
    signals.stand_by().context("can't start a thread")?;
    // Where time is virtual a request takes none, unless somebody has chosen how it is carried out.
    let at_once = if config.platform.accel == Accel::Qtest { AtOnceFor::Undecided } else { AtOnceFor::None };
    let blocks = Arc::new(Blocks::open(config, at_once)?);
    let furnished = begun.furnish(config, &*blocks);
    let mut events = EventManager::<Subscriber>::new().map_err(|error| anyhow!("can't make the main loop: {error}"))?;
    let chardevs = Chardevs::open(&config.chardevs, &mut signals, &quit(&mailbox))?;
    let control = Arc::new(MonitorControl::new(config, catalogue, &chardevs, Arc::clone(&mailbox)));
    // Before the devices, so that what is typed goes to a device that shares a character device with a monitor.
    let mut doors = FrontDoors::open(config, &chardevs, &control)?;
    let built = furnished.build(config, &mailbox, &Opened { chardevs: &chardevs, blocks: &blocks });
    let Built { mut machine, bench } = match built {
        Ok(built) => built,
        // A signal may have ended it, or nobody wants to know any more.
        Err(error) => return signals.ended().ok_or(error),
    };
    if let Some(bench) = bench {
        doors.open_qtest(config, &chardevs, bench)?;
    }
    // If there is anybody who may ask.
    if !config.monitors.is_empty() {
        control.set_machine(config, &machine, &blocks);
    }
    for timers in machine.timers() {
        events.add_subscriber(timers);
    }
    for subscriber in machine.loop_work(None).subscribers {
        events.add_subscriber(subscriber);
    }
    let start = |thread| IoThread::start(thread, machine.loop_work(Some(&thread.id)), config.identity.debug_threads);
    // They end before the machine.
    let io_threads = config.io_threads.iter().map(start).collect::<Result<Vec<_>>>()?;
    control.set_io_threads(&io_threads);
    let signals = Arc::new(Mutex::new(signals));
    events.add_subscriber(signals.clone());
    events.add_subscriber(Arc::new(Mutex::new(Bell(Arc::clone(&mailbox)))));

    if config.run.daemonize {
        // The parent must not call it a success before the processors are set up. All others learn of a failure in the loop.
        machine.wait_set_up();
        while let Some(message) = mailbox.take() {
            if let Some(status) = machine.handle(message)? {
                return Ok(status);
            }
        }
    }
    process.ready()?;
    if !config.run.start_paused {
        machine.resume()?;
    }
    // Nobody can have been there to hear of the start.
    machine.take_events();
    // Input that is there already is taken at once: it must not come before the start, which would make requests again that it made
    // fail.
    for subscriber in chardevs.subscribers() {
        events.add_subscriber(subscriber);
    }
    let end = live(&mut machine, &mut events, &mailbox, &control, &mut doors);
    // What follows waits for disks.
    lock(&signals).leave(*end.as_ref().unwrap_or(&ExitStatus::FAILURE));
    if end.is_ok() {
        machine.quiesce();
    }
    end
}

/// The life of a machine that has begun.
fn live(
    machine: &mut Machine,
    events: &mut EventManager<Subscriber>,
    mailbox: &Mailbox,
    control: &MonitorControl,
    doors: &mut FrontDoors,
) -> Result<ExitStatus> {
    loop {
        while let Some(message) = mailbox.take() {
            let end = machine.handle(message)?;
            machine.take_events().into_iter().for_each(|event| doors.tell(event));
            if let Some(status) = end {
                doors.settle();
                return Ok(status);
            }
        }
        control.set_status(machine.status());
        doors.settle();
        // A monitor may have gone on with a command that asks for something.
        if !mailbox.is_empty() {
            continue;
        }
        events.run().map_err(|error| anyhow!("the main loop can't wait for events: {error}"))?;
    }
}

/// What Ctrl-A x does.
fn quit(mailbox: &Arc<Mailbox>) -> Arc<Quit> {
    let mailbox = Arc::clone(mailbox);
    Arc::new(move || mailbox.post(Message::User(UserRequest::Quit)))
}

/// Wakes the main loop when a message arrives.
struct Bell(Arc<Mailbox>);

impl MutEventSubscriber for Bell {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        self.0.silence();
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&*self.0, EventSet::IN)) {
            log::error!("messages can't be watched: {error}");
        }
    }
}
