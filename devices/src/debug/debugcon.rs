//! QEMU's `isa-debugcon`: a port whose writes go to a character back end.
//!
//! Reading gives a fixed value by which a program knows that the port is there (E9h, the habit of Bochs). The port has
//! no way to make its writer wait, so what a slow back end does not take is kept, and lost only beyond
//! 64 KiB, which is logged.

use std::collections::VecDeque;

use crate::backend::char::{CharBackend, CharClient, CharEvent};
use crate::base::{AccessRule, Device, GuestLog, Inspector, IoDevice, Region, ResetKind, State, StateError};

/// Bytes that are kept for a back end that is slow.
const BACKLOG: usize = 64 * 1024;

/// The port.
pub struct Debugcon {
    backend: Box<dyn CharBackend>,
    readback: u8,
    log: GuestLog,
    /// On its way to the host: nothing that the guest could know about.
    backlog: VecDeque<u8>,
}

impl Debugcon {
    /// The port itself.
    pub const REGION: Region = Region::ports(0, "isa-debugcon", 1, AccessRule::BYTE);

    /// What reads give in QEMU unless told otherwise.
    pub const READBACK: u8 = 0xe9;

    /// A port that writes to `backend` and reads as `readback`.
    pub fn new(readback: u8, backend: Box<dyn CharBackend>) -> Self {
        Self { backend, readback, log: GuestLog::default(), backlog: VecDeque::new() }
    }

    fn flush(&mut self) {
        while !self.backlog.is_empty() {
            let (front, _) = self.backlog.as_slices();
            let taken = self.backend.write(front).min(front.len());
            if taken == 0 {
                break;
            }
            self.backlog.drain(..taken);
        }
    }
}

impl IoDevice for Debugcon {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        self.readback.into()
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, value: u64) {
        let [byte, ..] = value.to_le_bytes();
        if self.backlog.is_empty() && self.backend.write(&[byte]) != 0 {
            return;
        }
        if self.backlog.len() < BACKLOG {
            self.backlog.push_back(byte);
        } else {
            self.log.warn("isa-debugcon", format_args!("the back end is too slow: output is lost"));
        }
    }
}

impl CharClient for Debugcon {
    fn can_receive(&self) -> usize {
        0
    }

    /// The port has no input.
    fn receive(&mut self, _data: &[u8]) {}

    fn event(&mut self, event: CharEvent) {
        match event {
            CharEvent::Opened | CharEvent::Closed | CharEvent::Writable => self.flush(),
            CharEvent::Break | CharEvent::ModemInputs(_) => {}
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {}
}

impl Device for Debugcon {
    fn name(&self) -> &'static str {
        "isa-debugcon"
    }

    fn reset(&mut self, _kind: ResetKind) {}

    fn save(&self) -> State {
        let Self { backend: _, readback: _, log: _, backlog: _ } = self;
        State::of(state::VERSION, &state::V1 {})
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 {} = state.decode(state::VERSION)?;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("readback", self.readback, 8);
        out.number("bytes waiting for the host", self.backlog.len() as u64);
        out.number("bytes lost", self.log.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::char::MemoryChar;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::shared;

    #[test]
    fn contract() {
        contract::check(
            || Subject {
                device: shared(Debugcon::new(Debugcon::READBACK, Box::new(MemoryChar::default()))),
                regions: vec![Debugcon::REGION],
                irqs: Vec::new(),
                keep: Box::new(()),
            },
            &[ResetValue { region: 0, offset: 0, size: 1, value: 0xe9 }],
        );
    }

    #[test]
    fn writes_reach_the_host_in_order() {
        let host = MemoryChar::default();
        let mut port = Debugcon::new(0x42, Box::new(host.clone()));
        assert_eq!(port.read(0, 0, 1), 0x42);
        host.set_room(Some(1));
        for byte in *b"abcd" {
            port.write(0, 0, 1, byte.into());
        }
        assert_eq!(host.take_output(), b"a");
        host.set_room(Some(2));
        port.event(CharEvent::Writable);
        assert_eq!(host.take_output(), b"bc");
        host.set_room(None);
        port.write(0, 0, 1, b'e'.into());
        assert!(host.take_output().is_empty(), "not past what waits");
        port.event(CharEvent::Writable);
        assert_eq!(host.take_output(), b"de");
        assert_eq!(port.log.count(), 0);
    }

    #[test]
    fn the_backlog_is_bounded() {
        let host = MemoryChar::default();
        host.set_room(Some(0));
        let mut port = Debugcon::new(Debugcon::READBACK, Box::new(host.clone()));
        for _ in 0..BACKLOG + 3 {
            port.write(0, 0, 1, 0);
        }
        assert_eq!(port.log.count(), 3);
        host.set_room(None);
        port.event(CharEvent::Writable);
        assert_eq!(host.take_output().len(), BACKLOG);
    }
}
