//! The devices on the two PS/2 ports: keyboard and mouse.
//!
//! A device is written a byte at a time and asked for its next byte whenever the controller has room for one and
//! does not hold the clock line down. Transmission takes no time.

mod keyboard;
mod mouse;
mod scancodes;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::base::StateError;

pub use keyboard::{Keyboard, KeyboardState, Leds};
pub use mouse::{Mouse, MouseState};
pub use scancodes::{number, translate};

/// The device has understood.
const ACK: u8 = 0xfa;
/// The Basic Assurance Test (after power-on or reset) was passed.
const BAT_PASSED: u8 = 0xaa;
/// The device asks for the last byte again: it was invalid.
const RESEND: u8 = 0xfe;

/// Answers to one command never come near this.
const MAX_REPLIES: usize = 64;

/// What a device has to send: answers to commands go before key strokes and movements.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    replies: VecDeque<u8>,
    data: VecDeque<u8>,
    /// The byte sent last.
    last: u8,
}

impl Output {
    /// Queues an answer. A host that never reads loses what is beyond any sensible number of answers.
    fn reply(&mut self, bytes: &[u8]) {
        if self.replies.len() + bytes.len() <= MAX_REPLIES {
            self.replies.extend(bytes);
        }
    }

    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.data.is_empty()
    }

    fn pop_reply(&mut self) -> Option<u8> {
        Self::sent(&mut self.last, self.replies.pop_front())
    }

    fn pop_data(&mut self) -> Option<u8> {
        Self::sent(&mut self.last, self.data.pop_front())
    }

    fn sent(last: &mut u8, byte: Option<u8>) -> Option<u8> {
        *last = byte.unwrap_or(*last);
        byte
    }

    fn check(&self, max_data: usize) -> Result<(), StateError> {
        if self.replies.len() > MAX_REPLIES || self.data.len() > max_data {
            return Err(StateError::invalid("output", "more bytes than the buffer holds"));
        }
        Ok(())
    }
}
