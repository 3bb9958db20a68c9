//! PS/2 mouse: the auxiliary device of the IBM PS/2 Technical Reference, with the wheel of Microsoft's IntelliMouse
//! (device ID 3) and the two more buttons of the IntelliMouse Explorer (ID 4), which a driver wakes by setting sample
//! rates in a known order.
//!
//! Emulated: all commands; stream, remote and wrap mode; the sample rate as the pace of reports in stream mode; 2:1
//! scaling. Movement that does not fit one packet goes into the next, so the overflow bits are never set, and a click
//! shorter than a sampling period is reported all the same. The resolution is stored and reported but does not scale
//! movement: what comes in are pixels, which have no millimetres.
//!
//! The Explorer's packet also carries a horizontal wheel, as its version 4.0 sends it (bit 6 of the fourth byte).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{ACK, BAT_PASSED, Output, RESEND};
use crate::base::clock::NS_PER_SEC;
use crate::base::{Inspector, StateError};
use crate::input::MouseButton;

/// Commands of the host.
mod command {
    pub const RESET_SCALING: u8 = 0xe6;
    pub const SET_SCALING: u8 = 0xe7;
    pub const SET_RESOLUTION: u8 = 0xe8;
    pub const STATUS_REQUEST: u8 = 0xe9;
    pub const SET_STREAM_MODE: u8 = 0xea;
    pub const READ_DATA: u8 = 0xeb;
    pub const RESET_WRAP_MODE: u8 = 0xec;
    pub const SET_WRAP_MODE: u8 = 0xee;
    pub const SET_REMOTE_MODE: u8 = 0xf0;
    pub const READ_DEVICE_TYPE: u8 = 0xf2;
    pub const SET_SAMPLING_RATE: u8 = 0xf3;
    pub const ENABLE: u8 = 0xf4;
    pub const DISABLE: u8 = 0xf5;
    pub const SET_DEFAULT: u8 = 0xf6;
    pub const RESEND: u8 = 0xfe;
    pub const RESET: u8 = 0xff;
}

/// The second invalid byte in a row.
const ERROR: u8 = 0xfc;

const DEFAULT_RATE: u8 = 100;
/// 4 counts per millimetre.
const DEFAULT_RESOLUTION: u8 = 2;

/// Movements kept for reports to come. Further ones are added to the last.
const MAX_MOTIONS: usize = 32;

/// Bound of a movement that has not been reported.
const MAX_COUNTS: i32 = 0xffff;

/// What the device says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Model {
    /// Two or three buttons.
    Standard,
    /// A wheel.
    IntelliMouse,
    /// A wheel and five buttons.
    Explorer,
}

impl Model {
    fn id(self) -> u8 {
        match self {
            Self::Standard => 0,
            Self::IntelliMouse => 3,
            Self::Explorer => 4,
        }
    }
}

/// Movement with the buttons in one state. Right, down and towards the user are positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Motion {
    x: i32,
    y: i32,
    wheel: i32,
    horizontal_wheel: i32,
    buttons: u8,
}

impl Motion {
    fn counters(&mut self) -> [&mut i32; 4] {
        [&mut self.x, &mut self.y, &mut self.wheel, &mut self.horizontal_wheel]
    }
}

/// A PS/2 mouse.
pub struct Mouse {
    output: Output,
    model: Model,
    /// The sampling rates set last: the sequence that wakes the wheel.
    last_rates: [u8; 3],
    remote: bool,
    wrap: bool,
    reporting: bool,
    scaling: bool,
    resolution: u8,
    rate: u8,
    /// A command that waits for its parameter.
    awaiting: Option<u8>,
    /// The last byte was invalid.
    erred: bool,
    /// Buttons as in byte 1 of a packet (left, right, middle), and in bits 3 and 4 the side buttons.
    buttons: u8,
    /// Not yet reported.
    motions: VecDeque<Motion>,
    /// The last packet or answer, for the host that asks for it again.
    last_packet: Vec<u8>,
    /// Guest nanoseconds before which no report is sent in stream mode.
    next_sample: u64,
}

impl Mouse {
    /// A mouse that has passed its power-on test.
    pub fn new() -> Self {
        Self {
            output: Output::default(),
            model: Model::Standard,
            last_rates: [0; 3],
            remote: false,
            wrap: false,
            reporting: false,
            scaling: false,
            resolution: DEFAULT_RESOLUTION,
            rate: DEFAULT_RATE,
            awaiting: None,
            erred: false,
            buttons: 0,
            motions: VecDeque::new(),
            last_packet: Vec::new(),
            next_sample: 0,
        }
    }

    /// Power-on or the reset command. Buttons stay pressed by whoever presses them.
    pub fn reset(&mut self) {
        *self = Self { buttons: self.buttons, ..Self::new() };
    }

    fn set_defaults(&mut self) {
        self.remote = false;
        self.reporting = false;
        self.scaling = false;
        self.resolution = DEFAULT_RESOLUTION;
        self.rate = DEFAULT_RATE;
    }

    /// Moves by counts to the right and downwards.
    pub fn move_by(&mut self, right: i32, down: i32) {
        self.record(|motion| {
            motion.x = motion.x.saturating_add(right);
            motion.y = motion.y.saturating_add(down);
        });
    }

    /// Turns the wheels by clicks, towards the user and to the right.
    pub fn scroll(&mut self, down: i32, right: i32) {
        self.record(|motion| {
            motion.wheel = motion.wheel.saturating_add(down);
            motion.horizontal_wheel = motion.horizontal_wheel.saturating_add(right);
        });
    }

    /// Presses or releases a button.
    pub fn button(&mut self, button: MouseButton, down: bool) {
        let bit = match button {
            MouseButton::Left => 1,
            MouseButton::Right => 2,
            MouseButton::Middle => 4,
            MouseButton::Side => 8,
            MouseButton::Extra => 16,
        };
        let buttons = if down { self.buttons | bit } else { self.buttons & !bit };
        if buttons != self.buttons {
            self.buttons = buttons;
            self.record(|_| {});
        }
    }

    /// Adds to the last motion, or to a new one if the buttons have changed since.
    fn record(&mut self, change: impl FnOnce(&mut Motion)) {
        let buttons = self.buttons;
        let full = self.motions.len() >= MAX_MOTIONS;
        let mut motion = match self.motions.pop_back() {
            Some(last) if full || last.buttons == buttons => Motion { buttons, ..last },
            last => {
                self.motions.extend(last);
                Motion { buttons, ..Motion::default() }
            }
        };
        change(&mut motion);
        for counter in motion.counters() {
            *counter = (*counter).clamp(-MAX_COUNTS, MAX_COUNTS);
        }
        self.motions.push_back(motion);
    }

    fn is_streaming(&self) -> bool {
        self.reporting && !self.remote && !self.wrap && self.awaiting.is_none()
    }

    /// The next byte for the controller at guest time `now` in nanoseconds.
    pub fn next_byte(&mut self, now: u64) -> Option<u8> {
        if self.output.is_empty() && self.is_streaming() && now >= self.next_sample && !self.motions.is_empty() {
            let packet = self.packet(self.scaling);
            self.output.data.extend(&packet);
            self.last_packet = packet;
            self.next_sample = now.saturating_add(NS_PER_SEC / u64::from(self.rate.max(1)));
        }
        self.output.pop_reply().or_else(|| self.output.pop_data())
    }

    /// When there will be a report that is not due yet, in guest nanoseconds.
    pub fn wakes_at(&self) -> Option<u64> {
        (self.output.is_empty() && self.is_streaming() && !self.motions.is_empty()).then_some(self.next_sample)
    }

    /// Takes what fits into one packet from the motions.
    fn packet(&mut self, scaling: bool) -> Vec<u8> {
        let mut motion = self.motions.pop_front().unwrap_or(Motion { buttons: self.buttons, ..Motion::default() });
        let buttons = motion.buttons;
        let limit = if scaling { 127 } else { 255 };
        let scale = |counts| if scaling { double(counts) } else { counts };
        let x = scale(take(&mut motion.x, -limit, limit));
        // The mouse counts upwards.
        let y = -scale(take(&mut motion.y, -limit, limit));
        let signs = u8::from(x < 0) << 4 | u8::from(y < 0) << 5;
        let mut packet = vec![0x08 | signs | buttons & 7, low_byte(x), low_byte(y)];
        match self.model {
            Model::Standard => (motion.wheel, motion.horizontal_wheel) = (0, 0),
            Model::IntelliMouse => {
                packet.push(low_byte(take(&mut motion.wheel, -8, 7)));
                motion.horizontal_wheel = 0;
            }
            Model::Explorer if motion.horizontal_wheel != 0 => {
                let right = take(&mut motion.horizontal_wheel, -31, 31);
                packet.push(0x40 | low_byte(-right) & 0x3f);
            }
            Model::Explorer => {
                let wheel = take(&mut motion.wheel, -8, 7);
                packet.push(low_byte(wheel) & 0x0f | (buttons & 0x18) << 1);
            }
        }
        if motion != (Motion { buttons, ..Motion::default() }) {
            self.motions.push_front(motion);
        }
        packet
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.output.reply(bytes);
        self.last_packet = bytes.to_vec();
    }

    /// A byte from the host. The answer, if the byte has one, is queued.
    pub fn write(&mut self, byte: u8) {
        // A packet that is under way is given up: what follows is the answer.
        self.output.data.clear();
        if self.wrap && !matches!(byte, command::RESET | command::RESET_WRAP_MODE) {
            return self.reply(&[byte]);
        }
        // Where a parameter is due, a command is obeyed instead.
        let valid = match self.awaiting.take() {
            Some(command) if byte < command::RESET_SCALING => self.parameter(command, byte),
            _ => self.command(byte),
        };
        if !valid {
            self.reply(&[if self.erred { ERROR } else { RESEND }]);
        }
        self.erred = !valid;
    }

    /// Obeys a command; `false` if there is no such command.
    fn command(&mut self, byte: u8) -> bool {
        match byte {
            command::RESET_SCALING => self.scaling = false,
            command::SET_SCALING => self.scaling = true,
            command::SET_RESOLUTION | command::SET_SAMPLING_RATE => self.awaiting = Some(byte),
            command::STATUS_REQUEST => {
                self.reply(&[ACK, self.status(), self.resolution, self.rate]);
                return true;
            }
            command::SET_STREAM_MODE => self.remote = false,
            command::READ_DATA => {
                let packet = self.packet(false);
                self.output.reply(&[ACK]);
                self.reply(&packet);
                return true;
            }
            command::RESET_WRAP_MODE => self.wrap = false,
            command::SET_WRAP_MODE => self.wrap = true,
            command::SET_REMOTE_MODE => self.remote = true,
            command::READ_DEVICE_TYPE => {
                self.reply(&[ACK, self.model.id()]);
                return true;
            }
            command::ENABLE => self.reporting = true,
            command::DISABLE => self.reporting = false,
            command::SET_DEFAULT => self.set_defaults(),
            command::RESEND => {
                let packet = std::mem::take(&mut self.last_packet);
                self.reply(&packet);
                return true;
            }
            command::RESET => {
                self.reset();
                self.reply(&[ACK, BAT_PASSED, Model::Standard.id()]);
                return true;
            }
            _ => return false,
        }
        self.motions.clear();
        self.reply(&[ACK]);
        true
    }

    /// Takes the parameter of a command; `false` if it is out of range.
    fn parameter(&mut self, command: u8, byte: u8) -> bool {
        match (command, byte) {
            (command::SET_RESOLUTION, 0..=3) => self.resolution = byte,
            (command::SET_SAMPLING_RATE, 10 | 20 | 40 | 60 | 80 | 100 | 200) => {
                self.rate = byte;
                self.last_rates.rotate_left(1);
                self.last_rates[2] = byte;
                match self.last_rates {
                    [200, 100, 80] => self.model = Model::IntelliMouse,
                    [200, 200, 80] => self.model = Model::Explorer,
                    _ => {}
                }
            }
            _ => return false,
        }
        self.motions.clear();
        self.reply(&[ACK]);
        true
    }

    fn status(&self) -> u8 {
        let [left, right, middle] = [self.buttons & 1, self.buttons >> 1 & 1, self.buttons >> 2 & 1];
        u8::from(self.remote) << 6
            | u8::from(self.reporting) << 5
            | u8::from(self.scaling) << 4
            | left << 2
            | middle << 1
            | right
    }

    /// Reports the state.
    pub fn inspect(&self, out: &mut Inspector) {
        out.number("mouse ID", self.model.id());
        out.register("mouse status", self.status(), 8);
        out.number("mouse resolution", self.resolution);
        out.number("mouse sampling rate", self.rate);
        out.flag("mouse wrap mode", self.wrap);
        out.number("mouse bytes waiting", (self.output.replies.len() + self.output.data.len()) as u64);
    }

    /// The state for saving.
    pub fn save(&self) -> MouseState {
        let Self {
            output,
            model,
            last_rates,
            remote,
            wrap,
            reporting,
            scaling,
            resolution,
            rate,
            awaiting,
            erred,
            buttons,
            motions,
            last_packet,
            next_sample,
        } = self;
        MouseState {
            output: output.clone(),
            model: *model,
            last_rates: *last_rates,
            remote: *remote,
            wrap: *wrap,
            reporting: *reporting,
            scaling: *scaling,
            resolution: *resolution,
            rate: *rate,
            awaiting: *awaiting,
            erred: *erred,
            buttons: *buttons,
            motions: motions.clone(),
            last_packet: last_packet.clone(),
            next_sample: *next_sample,
        }
    }

    /// The mouse of a saved state.
    ///
    /// # Errors
    /// A field holds what a mouse can't reach.
    pub fn restore(state: MouseState) -> Result<Self, StateError> {
        let MouseState {
            output,
            model,
            last_rates,
            remote,
            wrap,
            reporting,
            scaling,
            resolution,
            rate,
            awaiting,
            erred,
            buttons,
            mut motions,
            last_packet,
            next_sample,
        } = state;
        output.check(4)?;
        if resolution > 3 || !matches!(rate, 10 | 20 | 40 | 60 | 80 | 100 | 200) {
            return Err(StateError::invalid("rate", "rate or resolution that can't be set"));
        }
        if !matches!(awaiting, None | Some(command::SET_RESOLUTION | command::SET_SAMPLING_RATE)) {
            return Err(StateError::invalid("awaiting", "not a command with a parameter"));
        }
        if buttons > 0x1f || motions.iter().any(|motion| motion.buttons > 0x1f) {
            return Err(StateError::invalid("buttons", "more buttons than the mouse has"));
        }
        let in_range = |counter: &mut i32| (-MAX_COUNTS..=MAX_COUNTS).contains(counter);
        if motions.len() > MAX_MOTIONS || !motions.iter_mut().all(|m| m.counters().into_iter().all(in_range)) {
            return Err(StateError::invalid("motions", "more movement than the mouse keeps"));
        }
        if last_packet.len() > super::MAX_REPLIES {
            return Err(StateError::invalid("last_packet", "longer than any packet"));
        }
        Ok(Self {
            output,
            model,
            last_rates,
            remote,
            wrap,
            reporting,
            scaling,
            resolution,
            rate,
            awaiting,
            erred,
            buttons,
            motions,
            last_packet,
            next_sample,
        })
    }
}

/// A mouse's state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MouseState {
    output: Output,
    model: Model,
    last_rates: [u8; 3],
    remote: bool,
    wrap: bool,
    reporting: bool,
    scaling: bool,
    resolution: u8,
    rate: u8,
    awaiting: Option<u8>,
    erred: bool,
    buttons: u8,
    motions: VecDeque<Motion>,
    last_packet: Vec<u8>,
    next_sample: u64,
}

/// Takes as much from `counter` as lies between the bounds.
fn take(counter: &mut i32, min: i32, max: i32) -> i32 {
    let taken = (*counter).clamp(min, max);
    *counter -= taken;
    taken
}

/// The 2:1 scaling of stream mode.
fn double(counts: i32) -> i32 {
    let size = match counts.abs() {
        size @ 0..=1 => size,
        2 => 1,
        3 => 3,
        4 => 6,
        5 => 9,
        size => 2 * size,
    };
    size * counts.signum()
}

fn low_byte(value: i32) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
#[path = "mouse_tests.rs"]
mod tests;
