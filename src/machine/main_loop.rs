//! The main loop: timers, signals, messages and back ends, on one thread.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::build::build;
use super::lifecycle::ExitStatus;
use super::mailbox::{Mailbox, Message, UserRequest};
use crate::config::MachineConfig;

/// Signals that end the machine.
const ENDING: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// A part of the main loop.
type Subscriber = Arc<Mutex<dyn MutEventSubscriber + Send>>;

/// Builds the machine that `config` describes and runs it to its end.
///
/// # Errors
/// The machine can't be built, or the host refuses something it can't go on without.
pub fn run(config: &MachineConfig) -> Result<ExitStatus> {
    let mailbox = Arc::new(Mailbox::new().context("can't make an event descriptor")?);
    // Before any thread exists, so that all inherit the mask.
    let signals = Signals::block(Arc::clone(&mailbox)).context("can't take over the signals")?;
    let mut events = EventManager::<Subscriber>::new().map_err(|error| anyhow!("can't make the main loop: {error}"))?;
    let mut machine = build(config, &mailbox, &mut |_id| Ok(Box::new(Tmp)))?;
    let timers: Subscriber = machine.timers.clone();
    events.add_subscriber(timers);
    if let Some(timers) = &machine.rtc_timers {
        events.add_subscriber(timers.clone());
    }
    events.add_subscriber(Arc::new(Mutex::new(signals)));
    events.add_subscriber(Arc::new(Mutex::new(Bell(Arc::clone(&mailbox)))));

    if !config.run.start_paused {
        machine.resume()?;
    }
    loop {
        while let Some(message) = mailbox.take() {
            if let Some(status) = machine.handle(message)? {
                return Ok(status);
            }
        }
        events.run().map_err(|error| anyhow!("the main loop can't wait for events: {error}"))?;
    }
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

/// Turns signals into messages.
struct Signals {
    fd: SignalFd,
    mailbox: Arc<Mailbox>,
}

impl Signals {
    fn block(mailbox: Arc<Mailbox>) -> nix::Result<Self> {
        let set: SigSet = ENDING.into_iter().collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, mailbox })
    }
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        while let Ok(Some(info)) = self.fd.read_signal() {
            let number = info.ssi_signo.cast_signed();
            eprintln!("natoma: terminating on signal {number} from pid {}", info.ssi_pid);
            self.mailbox.post(Message::User(UserRequest::Signal(number)));
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.fd, EventSet::IN)) {
            log::error!("signals can't be watched: {error}");
        }
    }
}

struct Tmp;
impl super::pc::CharPort for Tmp {
    fn backend(&mut self) -> Box<dyn devices::backend::char::CharBackend> {
        Box::new(TmpC)
    }
    fn attach(&mut self, _client: Arc<Mutex<dyn devices::backend::char::CharClient>>) {}
}
struct TmpC;
impl devices::backend::char::CharBackend for TmpC {
    fn write(&mut self, data: &[u8]) -> usize {
        use std::io::Write;
        std::io::stdout().write_all(data).ok();
        std::io::stdout().flush().ok();
        data.len()
    }
    fn input_wanted(&mut self) {}
}
