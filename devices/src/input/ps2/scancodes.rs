//! Scan codes of the 101 to 109 key PS/2 keyboards.
//!
//! Sets 2 and 3 are those of the IBM PS/2 Technical Reference ("Keyboard and Auxiliary Device Controller", "Keyboards
//! (101- and 102-Key)"), with the newer keys of Microsoft's "Keyboard Scan Code Specification". Set 1 is set 2 seen
//! through the translation of the 8042. The multimedia keys have no codes in set 3.

use crate::input::KeyCode;

/// Which keys of set 3 repeat and which report their release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyType {
    /// Holding the key repeats its make code.
    pub typematic: bool,
    /// Releasing the key sends a break code.
    pub sends_break: bool,
}

impl KeyType {
    /// Repeats, does not report its release.
    pub const TYPEMATIC: Self = Self { typematic: true, sends_break: false };
    /// Reports its release, does not repeat.
    pub const MAKE_BREAK: Self = Self { typematic: false, sends_break: true };
    /// Neither.
    pub const MAKE: Self = Self { typematic: false, sends_break: false };
    /// Both.
    pub const TYPEMATIC_MAKE_BREAK: Self = Self { typematic: true, sends_break: true };

    /// The type as it is saved.
    pub fn bits(self) -> u8 {
        u8::from(self.typematic) | u8::from(self.sends_break) << 1
    }

    /// The inverse of [`Self::bits`]; `None` for more than two bits.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits < 4).then_some(Self { typematic: bits & 1 != 0, sends_break: bits & 2 != 0 })
    }
}

/// A key of sets 1 and 2 whose codes depend on other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Always the same code.
    Plain,
    /// One code when pressed, nothing when released, no repetition.
    MakeOnly,
    /// The grey cursor keys: behind a simulated shift when Num Lock is on or Shift is held.
    Cursor,
    /// The grey slash: the held Shift is taken back for it.
    Slash,
    /// Print Screen, which is SysRq with Alt.
    Print,
    /// Pause, which is Break with Ctrl.
    Pause,
}

/// The codes of one key.
#[derive(Clone, Copy, Debug)]
pub struct Codes {
    /// Set 2: the code, with E0h in the high byte if it has that prefix.
    pub set2: u16,
    /// How sets 1 and 2 send it.
    pub kind: Kind,
    /// Set 3: the code, and the key's type after reset.
    pub set3: Option<(u8, KeyType)>,
}

/// One more than the highest code of set 3.
pub const SET3_CODES: usize = 0x90;

/// The codes of `key`.
pub fn codes(key: KeyCode) -> Codes {
    use KeyCode as K;
    use Kind::{Cursor, MakeOnly, Pause, Plain, Print, Slash};
    const T: KeyType = KeyType::TYPEMATIC;
    const B: KeyType = KeyType::MAKE_BREAK;
    const M: KeyType = KeyType::MAKE;

    let (set2, kind, set3) = match key {
        K::Esc => (0x76, Plain, Some((0x08, M))),
        K::Digit1 => (0x16, Plain, Some((0x16, T))),
        K::Digit2 => (0x1e, Plain, Some((0x1e, T))),
        K::Digit3 => (0x26, Plain, Some((0x26, T))),
        K::Digit4 => (0x25, Plain, Some((0x25, T))),
        K::Digit5 => (0x2e, Plain, Some((0x2e, T))),
        K::Digit6 => (0x36, Plain, Some((0x36, T))),
        K::Digit7 => (0x3d, Plain, Some((0x3d, T))),
        K::Digit8 => (0x3e, Plain, Some((0x3e, T))),
        K::Digit9 => (0x46, Plain, Some((0x46, T))),
        K::Digit0 => (0x45, Plain, Some((0x45, T))),
        K::Minus => (0x4e, Plain, Some((0x4e, T))),
        K::Equal => (0x55, Plain, Some((0x55, T))),
        K::Backspace => (0x66, Plain, Some((0x66, T))),
        K::Tab => (0x0d, Plain, Some((0x0d, T))),
        K::A => (0x1c, Plain, Some((0x1c, T))),
        K::B => (0x32, Plain, Some((0x32, T))),
        K::C => (0x21, Plain, Some((0x21, T))),
        K::D => (0x23, Plain, Some((0x23, T))),
        K::E => (0x24, Plain, Some((0x24, T))),
        K::F => (0x2b, Plain, Some((0x2b, T))),
        K::G => (0x34, Plain, Some((0x34, T))),
        K::H => (0x33, Plain, Some((0x33, T))),
        K::I => (0x43, Plain, Some((0x43, T))),
        K::J => (0x3b, Plain, Some((0x3b, T))),
        K::K => (0x42, Plain, Some((0x42, T))),
        K::L => (0x4b, Plain, Some((0x4b, T))),
        K::M => (0x3a, Plain, Some((0x3a, T))),
        K::N => (0x31, Plain, Some((0x31, T))),
        K::O => (0x44, Plain, Some((0x44, T))),
        K::P => (0x4d, Plain, Some((0x4d, T))),
        K::Q => (0x15, Plain, Some((0x15, T))),
        K::R => (0x2d, Plain, Some((0x2d, T))),
        K::S => (0x1b, Plain, Some((0x1b, T))),
        K::T => (0x2c, Plain, Some((0x2c, T))),
        K::U => (0x3c, Plain, Some((0x3c, T))),
        K::V => (0x2a, Plain, Some((0x2a, T))),
        K::W => (0x1d, Plain, Some((0x1d, T))),
        K::X => (0x22, Plain, Some((0x22, T))),
        K::Y => (0x35, Plain, Some((0x35, T))),
        K::Z => (0x1a, Plain, Some((0x1a, T))),
        K::BracketLeft => (0x54, Plain, Some((0x54, T))),
        K::BracketRight => (0x5b, Plain, Some((0x5b, T))),
        K::Return => (0x5a, Plain, Some((0x5a, T))),
        K::Semicolon => (0x4c, Plain, Some((0x4c, T))),
        K::Apostrophe => (0x52, Plain, Some((0x52, T))),
        K::GraveAccent => (0x0e, Plain, Some((0x0e, T))),
        K::Backslash => (0x5d, Plain, Some((0x5c, T))),
        K::Comma => (0x41, Plain, Some((0x41, T))),
        K::Dot => (0x49, Plain, Some((0x49, T))),
        K::Slash => (0x4a, Plain, Some((0x4a, T))),
        K::Space => (0x29, Plain, Some((0x29, T))),
        K::Less => (0x61, Plain, Some((0x13, T))),
        K::ShiftLeft => (0x12, Plain, Some((0x12, B))),
        K::ShiftRight => (0x59, Plain, Some((0x59, B))),
        K::CtrlLeft => (0x14, Plain, Some((0x11, B))),
        K::CtrlRight => (0xe014, Plain, Some((0x58, M))),
        K::AltLeft => (0x11, Plain, Some((0x19, B))),
        K::AltRight => (0xe011, Plain, Some((0x39, M))),
        K::MetaLeft => (0xe01f, Plain, Some((0x8b, B))),
        K::MetaRight => (0xe027, Plain, Some((0x8c, B))),
        K::Menu | K::Compose => (0xe02f, Plain, Some((0x8d, B))),
        K::CapsLock => (0x58, Plain, Some((0x14, B))),
        K::NumLock => (0x77, Plain, Some((0x76, M))),
        K::ScrollLock => (0x7e, Plain, Some((0x5f, M))),
        K::F1 => (0x05, Plain, Some((0x07, M))),
        K::F2 => (0x06, Plain, Some((0x0f, M))),
        K::F3 => (0x04, Plain, Some((0x17, M))),
        K::F4 => (0x0c, Plain, Some((0x1f, M))),
        K::F5 => (0x03, Plain, Some((0x27, M))),
        K::F6 => (0x0b, Plain, Some((0x2f, M))),
        K::F7 => (0x83, Plain, Some((0x37, M))),
        K::F8 => (0x0a, Plain, Some((0x3f, M))),
        K::F9 => (0x01, Plain, Some((0x47, M))),
        K::F10 => (0x09, Plain, Some((0x4f, M))),
        K::F11 => (0x78, Plain, Some((0x56, M))),
        K::F12 => (0x07, Plain, Some((0x5e, M))),
        K::F13 => (0x08, Plain, None),
        K::F14 => (0x10, Plain, None),
        K::F15 => (0x18, Plain, None),
        K::F16 => (0x20, Plain, None),
        K::F17 => (0x28, Plain, None),
        K::F18 => (0x30, Plain, None),
        K::F19 => (0x38, Plain, None),
        K::F20 => (0x40, Plain, None),
        K::F21 => (0x48, Plain, None),
        K::F22 => (0x50, Plain, None),
        K::F23 => (0x57, Plain, None),
        K::F24 => (0x5f, Plain, None),
        K::Print => (0xe07c, Print, Some((0x57, M))),
        K::SysRq => (0x84, Plain, Some((0x57, M))),
        K::Pause => (0xe07e, Pause, Some((0x62, M))),
        K::Insert => (0xe070, Cursor, Some((0x67, M))),
        K::Delete => (0xe071, Cursor, Some((0x64, T))),
        K::Home => (0xe06c, Cursor, Some((0x6e, M))),
        K::End => (0xe069, Cursor, Some((0x65, M))),
        K::PageUp => (0xe07d, Cursor, Some((0x6f, M))),
        K::PageDown => (0xe07a, Cursor, Some((0x6d, M))),
        K::Left => (0xe06b, Cursor, Some((0x61, T))),
        K::Right => (0xe074, Cursor, Some((0x6a, T))),
        K::Up => (0xe075, Cursor, Some((0x63, T))),
        K::Down => (0xe072, Cursor, Some((0x60, T))),
        K::Keypad0 => (0x70, Plain, Some((0x70, M))),
        K::Keypad1 => (0x69, Plain, Some((0x69, M))),
        K::Keypad2 => (0x72, Plain, Some((0x72, M))),
        K::Keypad3 => (0x7a, Plain, Some((0x7a, M))),
        K::Keypad4 => (0x6b, Plain, Some((0x6b, M))),
        K::Keypad5 => (0x73, Plain, Some((0x73, M))),
        K::Keypad6 => (0x74, Plain, Some((0x74, M))),
        K::Keypad7 => (0x6c, Plain, Some((0x6c, M))),
        K::Keypad8 => (0x75, Plain, Some((0x75, M))),
        K::Keypad9 => (0x7d, Plain, Some((0x7d, M))),
        K::KeypadDivide => (0xe04a, Slash, Some((0x77, M))),
        K::KeypadMultiply => (0x7c, Plain, Some((0x7e, M))),
        K::KeypadSubtract => (0x7b, Plain, Some((0x84, M))),
        K::KeypadAdd => (0x79, Plain, Some((0x7c, T))),
        K::KeypadEnter => (0xe05a, Plain, Some((0x79, M))),
        K::KeypadDecimal => (0x71, Plain, Some((0x71, M))),
        K::KeypadComma => (0x6d, Plain, None),
        K::KeypadEquals => (0x0f, Plain, None),
        K::Ro => (0x51, Plain, Some((0x51, T))),
        K::Yen => (0x6a, Plain, Some((0x5d, T))),
        K::Henkan => (0x64, Plain, Some((0x86, M))),
        K::Muhenkan => (0x67, Plain, Some((0x85, M))),
        K::Hiragana => (0x62, Plain, None),
        K::KatakanaHiragana => (0x13, Plain, Some((0x87, M))),
        K::Lang1 => (0xf2, MakeOnly, None),
        K::Lang2 => (0xf1, MakeOnly, None),
        K::Power => (0xe037, Plain, None),
        K::Sleep => (0xe03f, Plain, None),
        K::Wake => (0xe05e, Plain, None),
        K::AudioNext => (0xe04d, Plain, None),
        K::AudioPrevious => (0xe015, Plain, None),
        K::AudioStop => (0xe03b, Plain, None),
        K::AudioPlay => (0xe034, Plain, None),
        K::AudioMute => (0xe023, Plain, None),
        K::VolumeUp => (0xe032, Plain, None),
        K::VolumeDown => (0xe021, Plain, None),
        K::MediaSelect => (0xe050, Plain, None),
        K::Mail => (0xe048, Plain, None),
        K::Calculator => (0xe02b, Plain, None),
        K::Computer => (0xe040, Plain, None),
        K::BrowserHome => (0xe03a, Plain, None),
        K::BrowserBack => (0xe038, Plain, None),
        K::BrowserForward => (0xe030, Plain, None),
        K::BrowserRefresh => (0xe020, Plain, None),
        K::BrowserBookmarks => (0xe018, Plain, None),
    };
    Codes { set2, kind, set3 }
}

/// The types of all codes of set 3 after reset.
pub fn default_key_types() -> [KeyType; SET3_CODES] {
    let mut types = [KeyType::MAKE; SET3_CODES];
    for (code, key_type) in KeyCode::ALL.iter().filter_map(|&key| codes(key).set3) {
        if let Some(slot) = types.get_mut(usize::from(code)) {
            *slot = key_type;
        }
    }
    types
}

/// How the 8042 turns a byte of set 2 into set 1. From 80h on, bytes pass as they are, but for F7 and SysRq.
const TO_SET1: [u8; 128] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, // 00
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, // 10
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, // 20
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, // 30
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, // 40
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, // 50
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, // 60
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, // 70
];

/// Translates a byte of set 2 to set 1.
pub fn translate(byte: u8) -> u8 {
    match byte {
        0x83 => 0x41,
        0x84 => 0x54,
        _ => TO_SET1.get(usize::from(byte)).copied().unwrap_or(byte),
    }
}

/// The code of `key` in set 1 without a prefix, in seven bits; the eighth tells the prefix E0h.
pub fn number(key: KeyCode) -> u8 {
    let [prefix, code] = codes(key).set2.to_be_bytes();
    translate(code) & 0x7f | if prefix == 0 { 0 } else { 0x80 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_translation_is_one_to_one() {
        let images: BTreeSet<_> = TO_SET1.iter().collect();
        assert_eq!(images.len(), 128);
    }

    #[test]
    fn set_1_is_what_the_xt_had() {
        // Rows of the XT keyboard, which numbered its keys in order.
        let rows = [
            (0x01, "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab"),
            (0x10, "q w e r t y u i o p bracket_left bracket_right ret ctrl"),
            (0x1e, "a s d f g h j k l semicolon apostrophe grave_accent shift backslash"),
            (0x2c, "z x c v b n m comma dot slash shift_r kp_multiply alt spc caps_lock"),
            (0x3b, "f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock"),
            (0x47, "kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 kp_0 kp_decimal"),
            (0x54, "sysrq"),
            (0x56, "less f11 f12 kp_equals"),
        ];
        for (first, names) in rows {
            for (code, name) in (first..).zip(names.split(' ')) {
                let key = KeyCode::from_name(name).expect(name);
                assert_eq!(u16::from(translate(codes(key).set2 as u8)), code, "{name}");
            }
        }
    }

    #[test]
    fn codes_are_unique_but_for_shared_keys() {
        let shared = [KeyCode::Compose, KeyCode::SysRq];
        let keys = || KeyCode::ALL.iter().filter(|key| !shared.contains(key));
        let set2: BTreeSet<_> = keys().map(|&key| codes(key).set2).collect();
        assert_eq!(set2.len(), keys().count());
        let set3: Vec<_> = keys().filter_map(|&key| codes(key).set3).map(|(code, _)| code).collect();
        assert_eq!(set3.iter().collect::<BTreeSet<_>>().len(), set3.len());
        assert!(set3.iter().all(|&code| usize::from(code) < SET3_CODES));
    }
}
