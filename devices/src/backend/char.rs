//! Character back ends: where the bytes of serial ports and debug consoles go and come from.
//!
//! Nothing blocks. Output that the host can't take yet is refused and announced later by
//! [`CharEvent::Writable`]; input that the device can't take yet stays with the host until the device calls
//! [`CharBackend::input_wanted`]. So that this call is never missed, a host that finds no room makes a note of it
//! before it lets go of the device's lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::base::lock;

/// Parameters of an asynchronous serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineParameters {
    /// Bits per second.
    pub baud: u32,
    /// Bits per character, 5 to 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: Parity,
    /// Two stop bits (one and a half with 5 data bits) instead of one.
    pub two_stop_bits: bool,
}

/// Parity of an asynchronous serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Odd number of ones.
    Odd,
    /// Even number of ones.
    Even,
    /// Always one.
    Mark,
    /// Always zero.
    Space,
}

/// The modem status inputs of a serial port, `true` when active. By default they are those of a null modem cable
/// with somebody at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModemInputs {
    /// Clear to send.
    pub cts: bool,
    /// Data set ready.
    pub dsr: bool,
    /// Ring indicator.
    pub ri: bool,
    /// Data carrier detect.
    pub dcd: bool,
}

impl Default for ModemInputs {
    fn default() -> Self {
        Self { cts: true, dsr: true, ri: false, dcd: true }
    }
}

/// The host's end of a character device, as the device sees it. Calls come with the device's lock held: an
/// implementation must not call the device.
pub trait CharBackend: Send {
    /// Takes as much of `data` as the host accepts now and returns that number of bytes. After less than all, a
    /// [`CharEvent::Writable`] follows when there is room again.
    fn write(&mut self, data: &[u8]) -> usize;

    /// The device has room for input again, after [`CharClient::can_receive`] was 0.
    fn input_wanted(&mut self);

    /// The guest changed the parameters of the line.
    fn set_line(&mut self, _parameters: LineParameters) {}

    /// The guest started (`true`) or ended sending a break.
    fn set_break(&mut self, _on: bool) {}

    /// The guest drives its modem control outputs.
    fn set_modem_outputs(&mut self, _dtr: bool, _rts: bool) {}
}

/// Something that happened at the host's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharEvent {
    /// Somebody connected: a console opens, a client arrives.
    Opened,
    /// The other side went away.
    Closed,
    /// A break was received.
    Break,
    /// The modem status lines changed (a real serial port of the host).
    ModemInputs(ModemInputs),
    /// Output is accepted again.
    Writable,
}

/// A device with a character back end, as the host sees it. Called by a loop that holds no other lock.
pub trait CharClient: Send {
    /// Number of bytes it can take now.
    fn can_receive(&self) -> usize;

    /// Takes input, at most [`Self::can_receive`] bytes; more is lost as on a real line (overrun).
    fn receive(&mut self, data: &[u8]);

    /// Something happened at the host's end.
    fn event(&mut self, event: CharEvent);
}

/// A back end that drops output and never has input.
pub struct NullChar;

impl CharBackend for NullChar {
    fn write(&mut self, data: &[u8]) -> usize {
        data.len()
    }

    fn input_wanted(&mut self) {}
}

/// A back end in memory: what the device wrote can be read by the test.
#[derive(Clone, Default)]
pub struct MemoryChar(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    output: VecDeque<u8>,
    /// Bytes accepted before the host is "full"; `None` is no limit.
    room: Option<usize>,
    wanted: u64,
    line: Option<LineParameters>,
    breaking: bool,
    modem: (bool, bool),
}

impl MemoryChar {
    /// Takes what the device has written.
    #[must_use]
    pub fn take_output(&self) -> Vec<u8> {
        lock(&self.0).output.drain(..).collect()
    }

    /// Limits the number of further bytes that are accepted.
    pub fn set_room(&self, room: Option<usize>) {
        lock(&self.0).room = room;
    }

    /// How often the device has asked for input.
    #[must_use]
    pub fn times_wanted(&self) -> u64 {
        lock(&self.0).wanted
    }

    /// The line parameters set last.
    #[must_use]
    pub fn line(&self) -> Option<LineParameters> {
        lock(&self.0).line
    }

    /// Whether a break is being sent.
    #[must_use]
    pub fn breaking(&self) -> bool {
        lock(&self.0).breaking
    }

    /// DTR and RTS.
    #[must_use]
    pub fn modem_outputs(&self) -> (bool, bool) {
        lock(&self.0).modem
    }
}

impl CharBackend for MemoryChar {
    fn write(&mut self, data: &[u8]) -> usize {
        let mut memory = lock(&self.0);
        let taken = memory.room.map_or(data.len(), |room| room.min(data.len()));
        memory.room = memory.room.map(|room| room - taken);
        memory.output.extend(&data[..taken]);
        taken
    }

    fn input_wanted(&mut self) {
        lock(&self.0).wanted += 1;
    }

    fn set_line(&mut self, parameters: LineParameters) {
        lock(&self.0).line = Some(parameters);
    }

    fn set_break(&mut self, on: bool) {
        lock(&self.0).breaking = on;
    }

    fn set_modem_outputs(&mut self, dtr: bool, rts: bool) {
        lock(&self.0).modem = (dtr, rts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: LineParameters = LineParameters { baud: 9600, data_bits: 7, parity: Parity::Even, two_stop_bits: true };

    /// What a back end is told beside the bytes is nothing that it must know of.
    fn tell_all(backend: &mut dyn CharBackend) {
        backend.input_wanted();
        backend.set_line(LINE);
        backend.set_break(true);
        backend.set_modem_outputs(true, false);
    }

    #[test]
    fn nobody_takes_everything() {
        let mut nobody = NullChar;
        tell_all(&mut nobody);
        assert_eq!((nobody.write(b"any"), nobody.write(b"")), (3, 0));
    }

    #[test]
    fn memory_takes_what_it_has_room_for_and_keeps_what_it_is_told() {
        let memory = MemoryChar::default();
        let mut backend = memory.clone();
        assert_eq!((memory.line(), memory.breaking(), memory.modem_outputs()), (None, false, (false, false)));
        tell_all(&mut backend);
        assert_eq!(memory.line(), Some(LINE));
        assert_eq!((memory.times_wanted(), memory.breaking(), memory.modem_outputs()), (1, true, (true, false)));

        assert_eq!(backend.write(b"all"), 3);
        memory.set_room(Some(4));
        assert_eq!((backend.write(b"abc"), backend.write(b"de"), backend.write(b"f")), (3, 1, 0));
        memory.set_room(None);
        assert_eq!(backend.write(b"!"), 1);
        assert_eq!((memory.take_output(), memory.take_output()), (b"allabcd!".to_vec(), Vec::new()));
    }
}
