//! The bytes to and from the client of a monitor.

use std::collections::VecDeque;

use devices::backend::char::CharBackend;

/// A monitor's end of its character device. A client that does not read what it is told is not listened to.
pub struct Connection {
    output: Box<dyn CharBackend>,
    /// Output that the host has not taken yet. No input is looked at while there is some.
    pending: VecDeque<u8>,
    input: VecDeque<u8>,
    room: usize,
}

impl Connection {
    /// A connection that writes to `output` and takes `room` bytes of input before they are looked at.
    pub fn new(output: Box<dyn CharBackend>, room: usize) -> Self {
        Self { output, pending: VecDeque::new(), input: VecDeque::new(), room }
    }

    /// Sends bytes, as soon as the host takes them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
        self.flush();
    }

    /// Sends what is pending, as far as the host takes it.
    pub fn flush(&mut self) {
        while !self.pending.is_empty() {
            let (front, _) = self.pending.as_slices();
            match self.output.write(front) {
                0 => return,
                count => drop(self.pending.drain(..count)),
            }
        }
    }

    /// Output, in bytes, that the host has not taken yet.
    pub fn backlog(&self) -> usize {
        self.pending.len()
    }

    /// Takes input, of which there is no more than [`Self::can_receive`] said.
    pub fn receive(&mut self, data: &[u8]) {
        self.input.extend(data);
    }

    /// The next byte of the input; `None` while there is none, or output is pending.
    pub fn next_byte(&mut self) -> Option<u8> {
        if self.pending.is_empty() { self.input.pop_front() } else { None }
    }

    /// How many bytes of input there is room for; none for a monitor that is `busy`.
    pub fn can_receive(&self, busy: bool) -> usize {
        match busy || !self.pending.is_empty() {
            true => 0,
            false => self.room.saturating_sub(self.input.len()),
        }
    }

    /// Asks the host for more input if there is room for it.
    pub fn ask_for_input(&mut self, busy: bool) {
        if self.can_receive(busy) > 0 {
            self.output.input_wanted();
        }
    }

    /// Forgets what the client said and what it has not been told, for the next one.
    pub fn clear(&mut self) {
        self.input.clear();
        self.pending.clear();
    }
}
