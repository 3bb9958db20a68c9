//! The link between a device and the host: what both sides of a character device share.
//!
//! Output goes to the host in the thread that writes, a vCPU's as a rule, by one call that never blocks. Input, and
//! news of the connection, come from the main loop ([`super::driver`]). The lock here is a leaf: nothing that takes
//! another lock is called while it is held. The bell wakes the main loop when the device's side changes what there is
//! to wait for.
//!
//! Output that nobody can get vanishes, as in QEMU: that of a socket without a client, of a pseudo-terminal that nobody
//! has opened, or (after one warning) of a pipe whose reader is gone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};

use devices::backend::char::{CharBackend, CharEvent, LineParameters};
use devices::base::lock;
use event_manager::EventSet;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::connection::{Connection, Input};
use super::ringbuf::Ringbuf;
use crate::host::channel::Channel;

/// What is behind a character device.
pub(super) enum Medium {
    /// Nothing.
    Null,
    /// A buffer in memory.
    Ringbuf(Ringbuf),
    /// A connection that lasts as long as the process: what ends does not come back.
    Fixed(Connection),
    /// Connections that come and go.
    Changing(Option<Connection>, Box<dyn Connector>),
}

/// Makes connections. Called by the main loop only.
pub(super) trait Connector: Send {
    /// The descriptor that tells when something happens, while there is a connection or not.
    fn watch(&self, connected: bool) -> Option<(RawFd, EventSet)>;

    /// Something happened; the new connection if there is one.
    fn ready(&mut self) -> Option<Connection>;

    /// The connection has ended.
    fn lost(&mut self);
}

/// What the main loop has to wait for.
#[derive(Default)]
pub(super) struct Watches {
    pub input: Option<RawFd>,
    pub output: Option<RawFd>,
    pub connector: Option<(RawFd, EventSet)>,
}

/// What happened since the main loop looked last.
#[derive(Default)]
pub(super) struct News {
    /// The connection ended.
    pub lost: bool,
    /// Descriptors to close once they are not watched any more.
    pub ended: Vec<Channel>,
    /// Events that came with the input.
    pub events: Vec<CharEvent>,
}

struct State {
    medium: Medium,
    log: Option<File>,
    /// Output was refused: the device waits for [`CharEvent::Writable`].
    blocked: bool,
    /// The device may have no room: [`CharBackend::input_wanted`] wakes the main loop.
    hungry: bool,
    /// It had no room, so that nothing is read.
    paused: bool,
    news: News,
}

/// The link of one character device.
pub(super) struct Link {
    /// How messages call the character device.
    label: String,
    state: Mutex<State>,
    bell: EventFd,
}

impl Link {
    /// # Errors
    /// The host has no file descriptor left.
    pub fn new(label: String, medium: Medium, log: Option<File>) -> io::Result<Arc<Self>> {
        let state = State { medium, log, blocked: false, hungry: false, paused: false, news: News::default() };
        Ok(Arc::new(Self { label, state: Mutex::new(state), bell: EventFd::new(EFD_NONBLOCK)? }))
    }

    /// The device's end.
    pub fn backend(self: &Arc<Self>) -> Box<dyn CharBackend> {
        Box::new(LinkBackend(Arc::clone(self)))
    }

    /// How messages call the character device.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Wakes the main loop.
    pub fn ring(&self) {
        // It can only fail after 2^64 rings that nobody heard.
        let _ = self.bell.write(1);
    }

    pub fn silence(&self) {
        let _ = self.bell.read();
    }

    /// Has the device hear of a break.
    pub fn send_break(&self) {
        lock(&self.state).news.events.push(CharEvent::Break);
        self.ring();
    }

    /// Reads input for the device.
    pub fn read(&self, buffer: &mut [u8]) -> Input {
        let State { medium, news, .. } = &mut *lock(&self.state);
        let Some(connection) = medium.connection_mut() else { return Input::Nothing };
        let input = connection.read(buffer, &mut news.events);
        if input == Input::End {
            medium.end_input(news);
        }
        input
    }

    /// Writes output that waits inside the connection.
    pub fn flush(&self) {
        let state = &mut *lock(&self.state);
        if let Some(connection) = state.medium.connection_mut()
            && let Err(error) = connection.flush()
        {
            self.end_output(state, &error);
        }
    }

    /// Takes what happened.
    pub fn take_news(&self) -> News {
        std::mem::take(&mut lock(&self.state).news)
    }

    /// Whether the device waits to be told that output is accepted again; it is told now.
    pub fn take_blocked(&self) -> bool {
        std::mem::take(&mut lock(&self.state).blocked)
    }

    /// Makes a note that the device may have no room. To be called before the device is asked, so that
    /// [`CharBackend::input_wanted`] finds it.
    pub fn expect_no_room(&self) {
        let mut state = lock(&self.state);
        (state.hungry, state.paused) = (true, true);
    }

    /// The device had room, and if `all` it has taken everything it was given.
    pub fn note_room(&self, all: bool) {
        let mut state = lock(&self.state);
        (state.hungry, state.paused) = (!all, false);
    }

    /// What to wait for.
    pub fn watches(&self) -> Watches {
        let state = lock(&self.state);
        let (connection, connector) = match &state.medium {
            Medium::Null | Medium::Ringbuf(_) => (None, None),
            Medium::Fixed(connection) => (Some(connection), None),
            Medium::Changing(connection, connector) => (connection.as_ref(), connector.watch(connection.is_some())),
        };
        let fd = |channel: &Option<Channel>| {
            channel.as_ref().filter(|channel| channel.is_watchable()).map(AsRawFd::as_raw_fd)
        };
        Watches {
            input: connection.filter(|_| !state.paused).and_then(|connection| fd(&connection.input)),
            output: connection
                .filter(|connection| state.blocked || connection.has_pending())
                .and_then(|connection| fd(&connection.output)),
            connector,
        }
    }

    /// Whether there is input of which nothing but asking tells when it comes.
    pub fn has_unwatched_input(&self) -> bool {
        let state = lock(&self.state);
        state
            .medium
            .connection()
            .and_then(|connection| connection.input.as_ref())
            .is_some_and(|input| !input.is_watchable())
    }

    /// Whether somebody is at the other side.
    pub fn is_open(&self) -> bool {
        !matches!(lock(&self.state).medium, Medium::Changing(None, _))
    }

    /// Lets the connector do its work; whether there is a new connection.
    pub fn connector_ready(&self) -> bool {
        match &mut lock(&self.state).medium {
            Medium::Changing(connection, connector) => match connector.ready() {
                Some(new) if connection.is_none() => {
                    *connection = Some(new);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Tells the connector that the connection has ended.
    pub fn connector_lost(&self) {
        if let Medium::Changing(None, connector) = &mut lock(&self.state).medium {
            connector.lost();
        }
    }

    /// Takes up to `count` bytes out of a ring buffer; `None` if this is none.
    pub fn read_ringbuf(&self, count: usize) -> Option<Vec<u8>> {
        match &mut lock(&self.state).medium {
            Medium::Ringbuf(ring) => Some(ring.read(count)),
            _ => None,
        }
    }

    fn write(&self, data: &[u8]) -> usize {
        let state = &mut *lock(&self.state);
        let written = match &mut state.medium {
            Medium::Null => Ok(data.len()),
            Medium::Ringbuf(ring) => {
                ring.write(data);
                Ok(data.len())
            }
            medium => medium.connection_mut().map_or(Ok(data.len()), |connection| connection.write(data)),
        };
        let taken = written.unwrap_or_else(|error| {
            self.end_output(state, &error);
            data.len()
        });
        if let Some(log) = &mut state.log
            && let Err(error) = log.write_all(&data[..taken])
        {
            log::warn!("{}: the log file can't be written and ends here: {error}", self.label);
            state.log = None;
        }
        if taken < data.len() && !state.blocked {
            state.blocked = true;
            self.ring();
        } else if state.medium.connection().is_some_and(Connection::has_pending) {
            self.ring();
        }
        taken
    }

    /// Nothing more can be written.
    fn end_output(&self, state: &mut State, error: &io::Error) {
        if let Medium::Fixed(connection) = &mut state.medium {
            log::warn!("{}: output is dropped from now on: {error}", self.label);
            state.news.ended.extend(connection.output.take());
        } else {
            state.medium.end(&mut state.news);
        }
        self.ring();
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}

impl Medium {
    fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Null | Self::Ringbuf(_) => None,
            Self::Fixed(connection) => Some(connection),
            Self::Changing(connection, _) => connection.as_ref(),
        }
    }

    fn connection_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Null | Self::Ringbuf(_) => None,
            Self::Fixed(connection) => Some(connection),
            Self::Changing(connection, _) => connection.as_mut(),
        }
    }

    /// No more input comes. A fixed connection may still take output.
    fn end_input(&mut self, news: &mut News) {
        if let Self::Fixed(connection) = self {
            let input = connection.input.take();
            news.lost |= input.is_some();
            news.ended.extend(input);
        } else {
            self.end(news);
        }
    }

    /// A changing connection is over.
    fn end(&mut self, news: &mut News) {
        if let Self::Changing(connection, _) = self
            && let Some(connection) = connection.take()
        {
            news.lost = true;
            news.ended.extend(connection.into_channels());
        }
    }
}

/// The device's end of a link.
struct LinkBackend(Arc<Link>);

impl LinkBackend {
    fn with_connection(&self, act: impl FnOnce(&Connection)) {
        if let Some(connection) = lock(&self.0.state).medium.connection() {
            act(connection);
        }
    }
}

impl CharBackend for LinkBackend {
    fn write(&mut self, data: &[u8]) -> usize {
        self.0.write(data)
    }

    fn input_wanted(&mut self) {
        let mut state = lock(&self.0.state);
        if std::mem::take(&mut state.hungry) {
            state.paused = false;
            self.0.ring();
        }
    }

    fn set_line(&mut self, parameters: LineParameters) {
        self.with_connection(|connection| connection.set_line(parameters));
    }

    fn set_break(&mut self, on: bool) {
        self.with_connection(|connection| connection.set_break(on));
    }

    fn set_modem_outputs(&mut self, dtr: bool, rts: bool) {
        self.with_connection(|connection| connection.set_modem_outputs(dtr, rts));
    }
}
