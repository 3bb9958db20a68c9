//! The pointing device behind VMware's port, as QEMU's `vmmouse`: reports positions, which a PS/2 mouse can't.
//!
//! A driver finds it next to a PS/2 mouse, whose interrupts tell that there is something to read here. While it is enabled,
//! movement goes here and not to the PS/2 mouse. Each event is four words: buttons and flags, x, y, wheel. Commands
//! and words are those that VMware's X driver and Linux's `vmmouse` use; their behaviour follows QEMU 7.2 but for one
//! thing: a reset also makes it relative again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::base::{Inspector, StateError};
use crate::input::MouseButton;

/// Largest coordinate of a pointer: right and lower edge of the screen.
pub const MAX_COORDINATE: u16 = 0x7fff;

/// Words that wait to be read.
pub(super) const QUEUE_SIZE: usize = 1024;
/// Words of an event.
const EVENT: usize = 4;
/// Most words that one access reads: as many as there are registers.
const MOST_WORDS: u32 = 6;

/// What is read first after the mouse was enabled.
const VERSION_ID: u32 = 0x3442_554a;
/// The high half of the status while the mouse is disabled, and after an error.
const ERROR: u32 = 0xffff;

/// Operations, given in EBX.
mod operation {
    pub const READ_ID: u32 = 0x4541_4552;
    pub const DISABLE: u32 = 0xf5;
    pub const REQUEST_RELATIVE: u32 = 0x4c45_5252;
    pub const REQUEST_ABSOLUTE: u32 = 0x5342_4152;
}

/// Bits of an event's first word.
mod flags {
    pub const MIDDLE: u32 = 1 << 3;
    pub const RIGHT: u32 = 1 << 4;
    pub const LEFT: u32 = 1 << 5;
    pub const RELATIVE: u32 = 1 << 16;
}

/// The mouse.
#[derive(Debug, Default)]
pub struct VmMouse {
    enabled: bool,
    /// The user has chosen the PS/2 mouse although this one is enabled.
    aside: bool,
    absolute: bool,
    queue: VecDeque<u32>,
    /// Buttons as in an event.
    buttons: u32,
    /// Where the pointer was last, which is told with buttons and wheel.
    position: (u16, u16),
}

impl VmMouse {
    /// Power-on. Buttons stay pressed by whoever presses them.
    pub(super) fn reset(&mut self) {
        *self = Self { buttons: self.buttons, position: self.position, ..Self::default() };
    }

    /// Whether the guest's driver has enabled it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it reports positions, once it is enabled.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// Whether it, and not the PS/2 mouse, is to be given buttons and wheel.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.enabled && !self.aside
    }

    /// Whether it takes positions.
    #[must_use]
    pub fn takes_positions(&self) -> bool {
        self.is_in_use() && self.absolute
    }

    /// Whether it takes movement.
    #[must_use]
    pub fn takes_movement(&self) -> bool {
        self.is_in_use() && !self.absolute
    }

    /// Where the pointer was last.
    #[must_use]
    pub fn position(&self) -> (u16, u16) {
        self.position
    }

    /// The user chooses the PS/2 mouse (or this one again), until the driver enables this one anew.
    pub fn set_aside(&mut self, aside: bool) {
        self.aside = aside && self.enabled;
    }

    /// The pointer is at a position, 0 to [`MAX_COORDINATE`] each way. As for all that is reported: `true` if there is
    /// something new to read, which the PS/2 mouse has to announce by a packet.
    pub fn move_to(&mut self, x: u16, y: u16) -> bool {
        self.position = (x.min(MAX_COORDINATE), y.min(MAX_COORDINATE));
        self.takes_positions() && self.report(0, 0, 0)
    }

    /// The mouse moves by counts to the right and downwards.
    pub fn move_by(&mut self, right: i32, down: i32) -> bool {
        self.takes_movement() && self.report(right, down, 0)
    }

    /// The wheel turns by clicks, towards the user.
    pub fn scroll(&mut self, down: i32) -> bool {
        self.report(0, 0, down)
    }

    /// A button goes down or up. There are three.
    pub fn button(&mut self, button: MouseButton, down: bool) -> bool {
        let bit = match button {
            MouseButton::Left => flags::LEFT,
            MouseButton::Right => flags::RIGHT,
            MouseButton::Middle => flags::MIDDLE,
            MouseButton::Side | MouseButton::Extra => return false,
        };
        let buttons = if down { self.buttons | bit } else { self.buttons & !bit };
        std::mem::replace(&mut self.buttons, buttons) != buttons && self.report(0, 0, 0)
    }

    /// Queues an event. One that finds no room is lost.
    fn report(&mut self, right: i32, down: i32, wheel: i32) -> bool {
        if !self.is_in_use() || self.queue.len() + EVENT > QUEUE_SIZE {
            return false;
        }
        let event = if self.absolute {
            let (x, y) = self.position;
            [self.buttons, u32::from(x) << 1, u32::from(y) << 1, wheel.cast_unsigned()]
        } else {
            let [right, down, wheel] = [right, down, wheel].map(i32::cast_unsigned);
            [self.buttons | flags::RELATIVE, right, down, wheel]
        };
        self.queue.extend(event);
        true
    }

    /// Answers VMMOUSE_STATUS: words that wait in the low half, errors in the high one.
    pub(super) fn status(&self) -> u32 {
        let waiting = self.queue.len() as u32;
        if self.enabled { waiting } else { (ERROR << 16) | waiting }
    }

    /// Obeys VMMOUSE_COMMAND; `false` if there is no such operation.
    pub(super) fn command(&mut self, operation: u32) -> bool {
        match operation {
            operation::READ_ID => {
                if self.queue.len() < QUEUE_SIZE {
                    self.queue.push_back(VERSION_ID);
                    (self.enabled, self.aside) = (true, false);
                }
            }
            operation::DISABLE => self.disable(),
            // A mouse that is disabled stays what it is.
            operation::REQUEST_RELATIVE | operation::REQUEST_ABSOLUTE if !self.enabled => {}
            operation::REQUEST_RELATIVE => self.absolute = false,
            operation::REQUEST_ABSOLUTE => self.absolute = true,
            _ => return false,
        }
        true
    }

    fn disable(&mut self) {
        (self.enabled, self.aside) = (false, false);
    }

    /// Answers VMMOUSE_DATA. `None`, and the mouse is disabled, if there are not so many words, or registers for them.
    pub(super) fn data(&mut self, words: u32) -> Option<impl Iterator<Item = u32> + '_> {
        if !(1..=MOST_WORDS).contains(&words) || words as usize > self.queue.len() {
            self.disable();
            return None;
        }
        Some(self.queue.drain(..words as usize))
    }

    pub(super) fn inspect(&self, out: &mut Inspector) {
        out.flag("mouse enabled", self.enabled);
        out.flag("mouse set aside", self.aside);
        out.flag("mouse absolute", self.absolute);
        out.number("mouse words waiting", self.queue.len() as u64);
        out.register("mouse buttons", self.buttons, 8);
    }

    pub(super) fn save(&self) -> VmMouseState {
        let Self { enabled, aside, absolute, queue, buttons, position } = self;
        VmMouseState {
            enabled: *enabled,
            aside: *aside,
            absolute: *absolute,
            queue: queue.clone(),
            buttons: *buttons,
            position: *position,
        }
    }

    /// The mouse of a saved state.
    ///
    /// # Errors
    /// A field holds what a mouse can't reach.
    pub(super) fn restore(state: VmMouseState) -> Result<Self, StateError> {
        let VmMouseState { enabled, aside, absolute, queue, buttons, position } = state;
        if queue.len() > QUEUE_SIZE {
            return Err(StateError::invalid("queue", "more words than the mouse keeps"));
        }
        if buttons & !(flags::LEFT | flags::RIGHT | flags::MIDDLE) != 0 {
            return Err(StateError::invalid("buttons", "more buttons than the mouse has"));
        }
        if aside && !enabled {
            return Err(StateError::invalid("aside", "set for a mouse that is disabled"));
        }
        if position.0.max(position.1) > MAX_COORDINATE {
            return Err(StateError::invalid("position", "outside the screen"));
        }
        Ok(Self { enabled, aside, absolute, queue, buttons, position })
    }
}

/// A mouse's state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VmMouseState {
    enabled: bool,
    aside: bool,
    absolute: bool,
    queue: VecDeque<u32>,
    buttons: u32,
    position: (u16, u16),
}
