//! Doorbells of virtio functions that a loop of the host hears, so that no processor has to leave the guest for them.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use devices::base::lock;
use devices::virtio::{Doorbell, DoorbellWatch, QueueClient};
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// What hears a doorbell, and keeps writes that nobody has to hear of at once. Called with the lock of a function held: a leaf.
pub trait DoorbellHost: Send + Sync {
    /// Has writes to a doorbell signal `event` from now on, instead of being accesses to a register.
    ///
    /// # Errors
    /// The host refuses: it stays a register.
    fn connect(&self, doorbell: &Doorbell, event: &EventFd) -> io::Result<()>;

    /// Makes a doorbell a register again.
    ///
    /// # Errors
    /// It was not connected.
    fn disconnect(&self, doorbell: &Doorbell, event: &EventFd) -> io::Result<()>;

    /// Keeps writes to these ports from now on until a processor has left the guest for another reason. They are carried out before
    /// that is seen to.
    ///
    /// # Errors
    /// The host refuses: each write is carried out at once.
    fn keep_writes(&self, ports: Range<u16>) -> io::Result<()>;

    /// Carries out each write to these ports at once again.
    ///
    /// # Errors
    /// They were not kept.
    fn hear_writes(&self, ports: Range<u16>) -> io::Result<()>;
}

/// The doorbells of one function.
pub(super) struct Doorbells {
    host: Arc<dyn DoorbellHost>,
    /// What is signalled, by queue.
    events: Vec<EventFd>,
    connected: Mutex<Vec<Doorbell>>,
}

impl Doorbells {
    /// Those of a function with `queues` queues.
    ///
    /// # Errors
    /// The host has no descriptors left.
    pub fn new(host: Arc<dyn DoorbellHost>, queues: u16) -> Result<Self> {
        let event = |_| EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        let events = (0..queues).map(event).collect::<io::Result<_>>();
        let events = events.context("can't make event descriptors for the queues: use fewer, or raise 'ulimit -n'")?;
        Ok(Self { host, events, connected: Mutex::default() })
    }
}

impl DoorbellWatch for Doorbells {
    fn doorbells_moved(&self, doorbells: &[Doorbell]) {
        let mut connected = lock(&self.connected);
        connected.retain(|doorbell| {
            let stays = doorbells.contains(doorbell);
            if !stays && let Err(error) = self.host.disconnect(doorbell, &self.events[usize::from(doorbell.queue)]) {
                log::warn!("a doorbell at {:#x} can't be disconnected: {error}", doorbell.address);
            }
            stays
        });
        for doorbell in doorbells {
            let Some(event) = self.events.get(usize::from(doorbell.queue)) else { continue };
            if connected.contains(doorbell) {
                continue;
            }
            match self.host.connect(doorbell, event) {
                Ok(()) => connected.push(*doorbell),
                // As a register it does the same, and takes longer.
                Err(error) => log::debug!("a doorbell at {:#x} stays a register: {error}", doorbell.address),
            }
        }
    }
}

/// Tells a function of doorbells that were rung.
pub(super) struct DoorbellSubscriber {
    pub doorbells: Arc<Doorbells>,
    pub client: Arc<Mutex<dyn QueueClient>>,
}

impl MutEventSubscriber for DoorbellSubscriber {
    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        // Each signal is an edge: the counter need not be read.
        lock(&self.client).ring(events.data() as u16);
    }

    fn init(&mut self, ops: &mut EventOps) {
        for (queue, event) in (0..).zip(&self.doorbells.events) {
            let edges = Events::with_data(event, queue, EventSet::IN | EventSet::EDGE_TRIGGERED);
            if let Err(error) = ops.add(edges) {
                log::error!("a doorbell can't be heard: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use devices::base::Space;

    use super::*;

    /// Takes note of what is connected; has room for as many.
    struct Host {
        room: usize,
        calls: Mutex<Vec<(&'static str, u64)>>,
    }

    impl DoorbellHost for Host {
        fn connect(&self, doorbell: &Doorbell, _event: &EventFd) -> io::Result<()> {
            let mut calls = lock(&self.calls);
            calls.push(("connect", doorbell.address));
            if calls.iter().filter(|(what, _)| *what == "connect").count() > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        fn disconnect(&self, doorbell: &Doorbell, _event: &EventFd) -> io::Result<()> {
            lock(&self.calls).push(("disconnect", doorbell.address));
            Ok(())
        }

        fn keep_writes(&self, _ports: Range<u16>) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn hear_writes(&self, _ports: Range<u16>) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn at(address: u64, queue: u16) -> Doorbell {
        Doorbell { queue, space: Space::Memory, address, value: None }
    }

    #[test]
    fn only_what_has_changed_is_connected_and_disconnected() {
        let host = Arc::new(Host { room: 4, calls: Mutex::default() });
        let doorbells = Doorbells::new(host.clone(), 2).unwrap();
        let calls = || std::mem::take(&mut *lock(&host.calls));
        doorbells.doorbells_moved(&[at(0x1000, 0), at(0x1004, 1)]);
        assert_eq!(calls(), [("connect", 0x1000), ("connect", 0x1004)]);
        doorbells.doorbells_moved(&[at(0x1000, 0), at(0x2004, 1), at(0x2008, 2)]);
        assert_eq!(calls(), [("disconnect", 0x1004), ("connect", 0x2004)], "there is no third queue");
        doorbells.doorbells_moved(&[]);
        assert_eq!(calls(), [("disconnect", 0x1000), ("disconnect", 0x2004)]);
    }

    #[test]
    fn a_doorbell_without_room_is_not_disconnected() {
        let host = Arc::new(Host { room: 1, calls: Mutex::default() });
        let doorbells = Doorbells::new(host.clone(), 2).unwrap();
        doorbells.doorbells_moved(&[at(0x1000, 0), at(0x1004, 1)]);
        lock(&host.calls).clear();
        doorbells.doorbells_moved(&[]);
        assert_eq!(*lock(&host.calls), [("disconnect", 0x1000)]);
    }
}
