//! The main loop's part of a character device: input, news of the connection, and room for output.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};

use devices::backend::char::{CharClient, CharEvent};
use devices::base::lock;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use super::connection::Input;
use super::link::Link;

/// Most bytes that are read at once.
pub(super) const BUFFER: usize = 4096;
/// Most reads before others of the main loop have their turn.
const TURN: usize = 16;

/// Fills a buffer with input and returns the number of bytes.
pub(super) type Source<'a> = dyn FnMut(&mut [u8]) -> usize + 'a;

/// What a sink did with input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// It took none: nothing is read until it wants some.
    NoRoom,
    /// It took some and keeps it for a device that has no room: it has to be fed again when that has.
    Some,
    /// It took some and can take more.
    All,
}

/// What takes the input of a character device. Called by the main loop only.
pub(super) trait Sink: Send {
    /// Takes input from `source` as far as there is room. A device without room asks by
    /// [`devices::backend::char::CharBackend::input_wanted`] when it has some again.
    fn feed(&mut self, source: &mut Source<'_>) -> Fed;

    /// Something happened at the host's end.
    fn event(&mut self, event: CharEvent);
}

/// A device alone.
impl Sink for Arc<Mutex<dyn CharClient>> {
    fn feed(&mut self, source: &mut Source<'_>) -> Fed {
        // The lock is kept from the question to the answer, so that the guest can't take the room away in between.
        let mut client = lock(self);
        let mut buffer = [0; BUFFER];
        let room = client.can_receive().min(BUFFER);
        if room == 0 {
            return Fed::NoRoom;
        }
        let count = source(&mut buffer[..room]);
        if count != 0 {
            client.receive(&buffer[..count]);
        }
        Fed::All
    }

    fn event(&mut self, event: CharEvent) {
        lock(self).event(event);
    }
}

/// The main loop's part of one character device.
pub(super) struct Driver {
    link: Arc<Link>,
    sink: Option<Box<dyn Sink>>,
    /// What `epoll` watches.
    watched: Vec<(RawFd, EventSet)>,
}

impl Driver {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, sink: None, watched: Vec::new() }
    }

    /// Connects what takes the input.
    pub fn connect(&mut self, sink: Box<dyn Sink>) {
        self.sink = Some(sink);
    }

    fn tell(&mut self, event: CharEvent) {
        if let Some(sink) = &mut self.sink {
            sink.event(event);
        }
    }

    /// Carries input to the device until there is no more or no more room.
    fn pump(&mut self) {
        self.link.expect_no_room();
        let Some(sink) = &mut self.sink else { return };
        for _ in 0..TURN {
            let mut input = Input::Nothing;
            let fed = sink.feed(&mut |buffer| {
                input = self.link.read(buffer);
                match input {
                    Input::Bytes(count) => count,
                    Input::Nothing | Input::End => 0,
                }
            });
            if fed == Fed::NoRoom {
                return;
            }
            self.link.note_room(fed == Fed::All);
            if !matches!(input, Input::Bytes(_)) {
                return;
            }
            self.link.expect_no_room();
        }
        self.link.note_room(false);
        if self.link.has_unwatched_input() {
            self.link.ring();
        }
    }

    /// Passes on what happened, and waits for what is to be waited for now.
    fn settle(&mut self, ops: &mut EventOps) {
        let mut ended = Vec::new();
        loop {
            let news = self.link.take_news();
            if !news.lost && news.ended.is_empty() && news.events.is_empty() {
                break;
            }
            ended.extend(news.ended);
            for event in news.events {
                self.tell(event);
            }
            if news.lost {
                self.link.connector_lost();
                self.tell(CharEvent::Closed);
            }
            // What can't be written any more is not waited for: it is dropped.
            if self.link.take_blocked() {
                self.tell(CharEvent::Writable);
            }
        }
        self.watch(ops);
        // Only now, since a descriptor number may be given away again as soon as it is closed.
        drop(ended);
    }

    fn watch(&mut self, ops: &mut EventOps) {
        let watches = self.link.watches();
        let wanted: Vec<_> = [watches.input.map(|fd| (fd, EventSet::IN)), watches.output.map(|fd| (fd, EventSet::OUT))]
            .into_iter()
            .chain([watches.connector])
            .flatten()
            .collect();
        for &(fd, events) in self.watched.iter().filter(|watch| !wanted.contains(watch)) {
            self.report(ops.remove(Events::new_raw(fd, events)));
        }
        for &(fd, events) in wanted.iter().filter(|watch| !self.watched.contains(watch)) {
            self.report(ops.add(Events::new_raw(fd, events)));
        }
        self.watched = wanted;
    }

    fn report(&self, result: Result<(), event_manager::Error>) {
        if let Err(error) = result {
            log::error!("{}: can't be watched: {error}", self.link.label());
        }
    }
}

impl MutEventSubscriber for Driver {
    fn process(&mut self, events: Events, ops: &mut EventOps) {
        let fd = events.fd();
        let watches = self.link.watches();
        if fd == self.link.as_raw_fd() {
            self.link.silence();
        } else if watches.connector.is_some_and(|(connector, _)| connector == fd) {
            if self.link.connector_ready() {
                self.tell(CharEvent::Opened);
            }
        } else if watches.output == Some(fd) {
            self.link.flush();
            if self.link.take_blocked() {
                self.tell(CharEvent::Writable);
            }
        }
        self.pump();
        self.settle(ops);
    }

    fn init(&mut self, ops: &mut EventOps) {
        self.report(ops.add(Events::new(&*self.link, EventSet::IN)));
        if self.link.is_open() {
            self.tell(CharEvent::Opened);
        }
        self.pump();
        self.settle(ops);
    }
}
