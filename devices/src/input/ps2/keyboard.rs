//! PS/2 keyboard: the 101/102-key keyboard of the IBM PS/2 Technical Reference, with the keys that were added later.
//!
//! Emulated: all commands, the three scan code sets, typematic and make/break types of set 3, the 16-byte buffer with
//! its overrun code, the simulated shifts of the cursor keys, LEDs.
//!
//! The keyboard does not repeat a held key by itself. Whoever presses the keys (a window system, a VNC client) repeats
//! them already and knows when they are released; a key that went on repeating in here while its release is delayed on
//! the network is what users of remote consoles dread. A repetition that comes in is passed on if the key is typematic,
//! no sooner than the programmed delay and no faster than the programmed rate.
//!
//! Not emulated: failures (BAT error, parity).

use serde::{Deserialize, Serialize};

use super::scancodes::{Codes, KeyType, Kind, SET3_CODES, codes, default_key_types, translate};
use super::{ACK, BAT_PASSED, Output, RESEND};
use crate::base::{Inspector, StateError};
use crate::input::KeyCode;

/// Commands of the host.
mod command {
    pub const SET_LEDS: u8 = 0xed;
    pub const ECHO: u8 = 0xee;
    pub const SELECT_SCAN_CODES: u8 = 0xf0;
    pub const READ_ID: u8 = 0xf2;
    pub const SET_TYPEMATIC: u8 = 0xf3;
    pub const ENABLE: u8 = 0xf4;
    pub const DEFAULT_DISABLE: u8 = 0xf5;
    pub const SET_DEFAULT: u8 = 0xf6;
    pub const ALL_TYPEMATIC: u8 = 0xf7;
    pub const ALL_MAKE_BREAK: u8 = 0xf8;
    pub const ALL_MAKE: u8 = 0xf9;
    pub const ALL_TYPEMATIC_MAKE_BREAK: u8 = 0xfa;
    pub const KEY_TYPEMATIC: u8 = 0xfb;
    pub const KEY_MAKE_BREAK: u8 = 0xfc;
    pub const KEY_MAKE: u8 = 0xfd;
    pub const RESEND: u8 = 0xfe;
    pub const RESET: u8 = 0xff;
}

/// The two bytes by which the keyboard tells its kind.
const ID: [u8; 2] = [0xab, 0x83];

/// Bytes of key strokes that the buffer holds. One more place is for the overrun code.
const BUFFER: usize = 16;

/// 10.9 characters a second after half a second.
const DEFAULT_TYPEMATIC: u8 = 0x2b;

/// Set 2, which every keyboard starts with.
const DEFAULT_SET: u8 = 2;

const BREAK_PREFIX: u8 = 0xf0;
const EXTENDED: u8 = 0xe0;
/// Set 2 codes of the Shift keys, which are also simulated.
const SHIFT_LEFT: u8 = 0x12;
const SHIFT_RIGHT: u8 = 0x59;

/// The lights on the keyboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leds {
    /// Scroll Lock.
    pub scroll_lock: bool,
    /// Num Lock.
    pub num_lock: bool,
    /// Caps Lock.
    pub caps_lock: bool,
}

impl Leds {
    fn from_bits(bits: u8) -> Self {
        Self { scroll_lock: bits & 1 != 0, num_lock: bits & 2 != 0, caps_lock: bits & 4 != 0 }
    }

    fn bits(self) -> u8 {
        u8::from(self.scroll_lock) | u8::from(self.num_lock) << 1 | u8::from(self.caps_lock) << 2
    }
}

/// The last pressed key, which is the one that repeats.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    key: KeyCode,
    /// Guest nanoseconds before which it does not.
    not_before: u64,
}

/// A PS/2 keyboard.
pub struct Keyboard {
    output: Output,
    /// A command that waits for its parameter.
    awaiting: Option<u8>,
    scanning: bool,
    set: u8,
    typematic: u8,
    leds: Leds,
    key_types: [KeyType; SET3_CODES],
    pressed: Vec<KeyCode>,
    repeat: Option<Repeat>,
}

impl Keyboard {
    /// A keyboard that has passed its power-on test.
    pub fn new() -> Self {
        Self {
            output: Output::default(),
            awaiting: None,
            scanning: true,
            set: DEFAULT_SET,
            typematic: DEFAULT_TYPEMATIC,
            leds: Leds::default(),
            key_types: default_key_types(),
            pressed: Vec::new(),
            repeat: None,
        }
    }

    /// Power-on or the reset command. Keys stay pressed by whoever presses them.
    pub fn reset(&mut self) {
        self.output = Output::default();
        self.awaiting = None;
        self.set_defaults();
        self.scanning = true;
    }

    fn set_defaults(&mut self) {
        self.set = DEFAULT_SET;
        self.typematic = DEFAULT_TYPEMATIC;
        self.leds = Leds::default();
        self.key_types = default_key_types();
        self.clear_buffer();
    }

    fn clear_buffer(&mut self) {
        self.output.data.clear();
        self.repeat = None;
    }

    /// The lights.
    pub fn leds(&self) -> Leds {
        self.leds
    }

    /// The next byte for the controller. While the keyboard waits for a parameter it holds back key strokes.
    pub fn next_byte(&mut self) -> Option<u8> {
        self.output.pop_reply().or_else(|| if self.awaiting.is_none() { self.output.pop_data() } else { None })
    }

    /// A byte from the host. The answer, if the byte has one, is queued.
    pub fn write(&mut self, byte: u8) {
        // Where a parameter is due, a command (they all have bit 7 set) is obeyed instead.
        match self.awaiting.take() {
            Some(command) if byte & 0x80 == 0 || self.is_key_id(command, byte) => self.parameter(command, byte),
            _ => self.command(byte),
        }
    }

    fn is_key_id(&self, command: u8, byte: u8) -> bool {
        matches!(command, command::KEY_TYPEMATIC | command::KEY_MAKE_BREAK | command::KEY_MAKE)
            && usize::from(byte) < SET3_CODES
    }

    fn command(&mut self, byte: u8) {
        match byte {
            command::SET_LEDS | command::SET_TYPEMATIC => self.await_parameter(byte),
            command::SELECT_SCAN_CODES => {
                self.clear_buffer();
                self.await_parameter(byte);
            }
            command::ECHO => self.output.reply(&[command::ECHO]),
            command::READ_ID => {
                let [first, second] = ID;
                self.output.reply(&[ACK, first, second]);
            }
            command::ENABLE => {
                self.clear_buffer();
                self.scanning = true;
                self.output.reply(&[ACK]);
            }
            command::DEFAULT_DISABLE => {
                self.set_defaults();
                self.scanning = false;
                self.output.reply(&[ACK]);
            }
            command::SET_DEFAULT => {
                self.set_defaults();
                self.output.reply(&[ACK]);
            }
            command::ALL_TYPEMATIC => self.set_all_types(KeyType::TYPEMATIC),
            command::ALL_MAKE_BREAK => self.set_all_types(KeyType::MAKE_BREAK),
            command::ALL_MAKE => self.set_all_types(KeyType::MAKE),
            command::ALL_TYPEMATIC_MAKE_BREAK => self.set_all_types(KeyType::TYPEMATIC_MAKE_BREAK),
            command::KEY_TYPEMATIC | command::KEY_MAKE_BREAK | command::KEY_MAKE => {
                self.clear_buffer();
                self.await_parameter(byte);
            }
            command::RESEND => {
                let last = self.output.last;
                self.output.reply(&[last]);
            }
            command::RESET => {
                self.reset();
                self.output.reply(&[ACK, BAT_PASSED]);
            }
            _ => self.output.reply(&[RESEND]),
        }
    }

    fn await_parameter(&mut self, command: u8) {
        self.awaiting = Some(command);
        self.output.reply(&[ACK]);
    }

    fn set_all_types(&mut self, key_type: KeyType) {
        self.clear_buffer();
        self.key_types = [key_type; SET3_CODES];
        self.output.reply(&[ACK]);
    }

    fn parameter(&mut self, command: u8, byte: u8) {
        let key_type = match command {
            command::KEY_TYPEMATIC => KeyType::TYPEMATIC,
            command::KEY_MAKE_BREAK => KeyType::MAKE_BREAK,
            command::KEY_MAKE => KeyType::MAKE,
            command::SET_LEDS => {
                self.leds = Leds::from_bits(byte);
                return self.output.reply(&[ACK]);
            }
            command::SET_TYPEMATIC => {
                self.typematic = byte;
                return self.output.reply(&[ACK]);
            }
            _ => return self.select_scan_codes(byte),
        };
        // A list of keys goes on until the next command.
        self.awaiting = Some(command);
        let known = KeyCode::ALL.iter().any(|&key| codes(key).set3.is_some_and(|(code, _)| code == byte));
        match self.key_types.get_mut(usize::from(byte)) {
            Some(slot) if known => {
                *slot = key_type;
                self.output.reply(&[ACK]);
            }
            _ => self.output.reply(&[RESEND]),
        }
    }

    fn select_scan_codes(&mut self, byte: u8) {
        match byte {
            0 => self.output.reply(&[ACK, self.set]),
            1..=3 => {
                self.set = byte;
                self.output.reply(&[ACK]);
            }
            _ => self.output.reply(&[RESEND]),
        }
    }

    /// A key goes down (again, for a repetition) or up, at guest time `now` in nanoseconds.
    pub fn key(&mut self, key: KeyCode, down: bool, now: u64) {
        let held = self.pressed.contains(&key);
        match (down, held) {
            (true, true) => return self.repeat_key(key, now),
            (true, false) => {
                self.pressed.push(key);
                self.repeat = Some(Repeat { key, not_before: now.saturating_add(self.typematic_delay()) });
            }
            (false, true) => {
                self.pressed.retain(|&other| other != key);
                self.repeat = self.repeat.filter(|repeat| repeat.key != key);
            }
            (false, false) => return,
        }
        let stroke = if self.set == 3 { self.stroke_of_set3(key, down) } else { self.stroke_of_set2(key, down) };
        self.send(&stroke);
    }

    fn repeat_key(&mut self, key: KeyCode, now: u64) {
        let period = self.typematic_period();
        let Some(repeat) = self.repeat.as_mut().filter(|repeat| repeat.key == key && repeat.not_before <= now) else {
            return;
        };
        // From one due time to the next, so that a host that repeats at nearly this rate loses none.
        repeat.not_before = repeat.not_before.max(now.saturating_sub(period)).saturating_add(period);
        let Codes { set2, kind, set3 } = codes(key);
        if self.set == 3 {
            if let Some((code, _)) = set3
                && self.key_type(code).typematic
            {
                self.send(&[code]);
            }
        } else if matches!(kind, Kind::Plain | Kind::Cursor | Kind::Slash | Kind::Print) {
            let mut stroke = Vec::new();
            push_code(&mut stroke, set2, true);
            self.send(&stroke);
        }
    }

    fn key_type(&self, code: u8) -> KeyType {
        self.key_types.get(usize::from(code)).copied().unwrap_or(KeyType::MAKE)
    }

    fn stroke_of_set3(&self, key: KeyCode, down: bool) -> Vec<u8> {
        match codes(key).set3 {
            Some((code, _)) if down => vec![code],
            Some((code, _)) if self.key_type(code).sends_break => vec![BREAK_PREFIX, code],
            _ => Vec::new(),
        }
    }

    fn any_pressed(&self, keys: &[KeyCode]) -> bool {
        self.pressed.iter().any(|key| keys.contains(key))
    }

    fn stroke_of_set2(&self, key: KeyCode, down: bool) -> Vec<u8> {
        let Codes { set2, kind, .. } = codes(key);
        let shift = self.any_pressed(&[KeyCode::ShiftLeft, KeyCode::ShiftRight]);
        let ctrl = self.any_pressed(&[KeyCode::CtrlLeft, KeyCode::CtrlRight]);
        let alt = self.any_pressed(&[KeyCode::AltLeft, KeyCode::AltRight]);
        let mut stroke = Vec::new();
        match kind {
            Kind::Plain => push_code(&mut stroke, set2, down),
            Kind::MakeOnly if down => push_code(&mut stroke, set2, true),
            // Only the key-down of Pause sends anything.
            Kind::Pause if down && ctrl => {
                push_code(&mut stroke, set2, true);
                push_code(&mut stroke, set2, false);
            }
            Kind::Pause if down => stroke.extend([0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77]),
            Kind::MakeOnly | Kind::Pause => {}
            Kind::Print if alt => push_code(&mut stroke, codes(KeyCode::SysRq).set2, down),
            Kind::Print if shift || ctrl => push_code(&mut stroke, set2, down),
            Kind::Print => wrap(&mut stroke, set2, down, &[(SHIFT_LEFT, true)]),
            Kind::Cursor if self.leds.num_lock && !shift => wrap(&mut stroke, set2, down, &[(SHIFT_LEFT, true)]),
            Kind::Cursor if self.leds.num_lock => push_code(&mut stroke, set2, down),
            Kind::Cursor | Kind::Slash => {
                let held = [(KeyCode::ShiftLeft, SHIFT_LEFT), (KeyCode::ShiftRight, SHIFT_RIGHT)];
                let held: Vec<_> =
                    held.iter().filter(|(key, _)| self.pressed.contains(key)).map(|&(_, code)| (code, false)).collect();
                wrap(&mut stroke, set2, down, &held);
            }
        }
        stroke
    }

    /// Queues a stroke, in set 1 translated from set 2. One that does not fit is lost as a whole, and the overrun code
    /// says so.
    fn send(&mut self, stroke: &[u8]) {
        let data = &mut self.output.data;
        if !self.scanning || data.len() > BUFFER {
            return;
        }
        let len = if self.set == 1 { to_set1(stroke).count() } else { stroke.len() };
        if data.len() + len > BUFFER {
            data.push_back(if self.set == 1 { 0xff } else { 0x00 });
        } else if self.set == 1 {
            data.extend(to_set1(stroke));
        } else {
            data.extend(stroke);
        }
    }

    /// Time before a held key repeats, in nanoseconds.
    fn typematic_delay(&self) -> u64 {
        (u64::from(self.typematic >> 5 & 3) + 1) * 250_000_000
    }

    /// Time between two repetitions, in nanoseconds: (8 + bits 0-2) * 2^(bits 3-4) / 240 s.
    fn typematic_period(&self) -> u64 {
        let (mantissa, exponent) = (self.typematic & 7, self.typematic >> 3 & 3);
        ((8 + u64::from(mantissa)) << exponent) * 1_000_000_000 / 240
    }

    /// Reports the state.
    pub fn inspect(&self, out: &mut Inspector) {
        out.flag("keyboard scanning", self.scanning);
        out.number("keyboard scan code set", self.set);
        out.register("keyboard typematic", self.typematic, 8);
        out.register("keyboard LEDs", self.leds.bits(), 3);
        out.number("keyboard bytes waiting", (self.output.replies.len() + self.output.data.len()) as u64);
        let names: Vec<_> = self.pressed.iter().map(|key| key.name()).collect();
        out.text("keys pressed", names.join(" "));
    }

    /// The state for saving.
    pub fn save(&self) -> KeyboardState {
        let Self { output, awaiting, scanning, set, typematic, leds, key_types, pressed, repeat } = self;
        KeyboardState {
            output: output.clone(),
            awaiting: *awaiting,
            scanning: *scanning,
            set: *set,
            typematic: *typematic,
            leds: leds.bits(),
            key_types: key_types.iter().map(|key_type| key_type.bits()).collect(),
            pressed: pressed.clone(),
            repeat: *repeat,
        }
    }

    /// The keyboard of a saved state.
    ///
    /// # Errors
    /// A field holds what a keyboard can't reach.
    pub fn restore(state: KeyboardState) -> Result<Self, StateError> {
        let KeyboardState { output, awaiting, scanning, set, typematic, leds, key_types, pressed, repeat } = state;
        output.check(BUFFER + 1)?;
        if !awaiting.is_none_or(takes_parameter) {
            return Err(StateError::invalid("awaiting", "not a command with a parameter"));
        }
        if !(1..=3).contains(&set) {
            return Err(StateError::invalid("set", format!("there is no scan code set {set}")));
        }
        if typematic > 0x7f || leds > 7 {
            return Err(StateError::invalid("typematic", "typematic or leds has bits that do not exist"));
        }
        let types: Option<Vec<_>> = key_types.into_iter().map(KeyType::from_bits).collect();
        let Some(Ok(key_types)) = types.map(<[KeyType; SET3_CODES]>::try_from) else {
            return Err(StateError::invalid("key_types", format!("not {SET3_CODES} key types")));
        };
        if pressed.iter().enumerate().any(|(at, key)| pressed[..at].contains(key)) {
            return Err(StateError::invalid("pressed", "a key is pressed twice"));
        }
        let leds = Leds::from_bits(leds);
        Ok(Self { output, awaiting, scanning, set, typematic, leds, key_types, pressed, repeat })
    }
}

fn takes_parameter(command: u8) -> bool {
    matches!(
        command,
        command::SET_LEDS
            | command::SELECT_SCAN_CODES
            | command::SET_TYPEMATIC
            | command::KEY_TYPEMATIC
            | command::KEY_MAKE_BREAK
            | command::KEY_MAKE
    )
}

/// A keyboard's state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyboardState {
    output: Output,
    awaiting: Option<u8>,
    scanning: bool,
    set: u8,
    typematic: u8,
    leds: u8,
    key_types: Vec<u8>,
    pressed: Vec<KeyCode>,
    repeat: Option<Repeat>,
}

/// Appends a code of set 2, for pressing or releasing its key.
fn push_code(stroke: &mut Vec<u8>, set2: u16, down: bool) {
    let [prefix, code] = set2.to_be_bytes();
    if prefix != 0 {
        stroke.push(prefix);
    }
    if !down {
        stroke.push(BREAK_PREFIX);
    }
    stroke.push(code);
}

/// Appends a code between simulated shifts: before the key goes down each `(code, down)` is sent, after it has gone up
/// the opposites in reverse order.
fn wrap(stroke: &mut Vec<u8>, set2: u16, down: bool, shifts: &[(u8, bool)]) {
    let extended = |code| u16::from_be_bytes([EXTENDED, code]);
    if down {
        shifts.iter().for_each(|&(code, pressed)| push_code(stroke, extended(code), pressed));
    }
    push_code(stroke, set2, down);
    if !down {
        shifts.iter().rev().for_each(|&(code, pressed)| push_code(stroke, extended(code), !pressed));
    }
}

/// A stroke of set 2 in set 1: the codes translated, the break prefix folded into bit 7.
fn to_set1(stroke: &[u8]) -> impl Iterator<Item = u8> {
    let mut releases = 0;
    stroke.iter().filter_map(move |&byte| {
        if byte == BREAK_PREFIX {
            releases = 0x80;
            return None;
        }
        Some(translate(byte) | std::mem::take(&mut releases))
    })
}

#[cfg(test)]
#[path = "keyboard_tests.rs"]
mod tests;
