//! Names of keys and mouse buttons, the same for every kind of input device.

use serde::{Deserialize, Serialize};

use super::ps2;

macro_rules! keys {
    ($($variant:ident $name:literal)*) => {
        /// A key, by what a US keyboard has printed on it. Named in text as QEMU names it (`sendkey`,
        /// `input-send-event`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "a variant says all there is to say about a key")]
        pub enum KeyCode {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl KeyCode {
            /// All keys.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name that QEMU uses.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

keys! {
    Esc "esc"
    Digit1 "1" Digit2 "2" Digit3 "3" Digit4 "4" Digit5 "5"
    Digit6 "6" Digit7 "7" Digit8 "8" Digit9 "9" Digit0 "0"
    Minus "minus" Equal "equal" Backspace "backspace" Tab "tab"
    A "a" B "b" C "c" D "d" E "e" F "f" G "g" H "h" I "i" J "j" K "k" L "l" M "m"
    N "n" O "o" P "p" Q "q" R "r" S "s" T "t" U "u" V "v" W "w" X "x" Y "y" Z "z"
    BracketLeft "bracket_left" BracketRight "bracket_right" Return "ret"
    Semicolon "semicolon" Apostrophe "apostrophe" GraveAccent "grave_accent" Backslash "backslash"
    Comma "comma" Dot "dot" Slash "slash" Space "spc" Less "less"
    ShiftLeft "shift" ShiftRight "shift_r" CtrlLeft "ctrl" CtrlRight "ctrl_r"
    AltLeft "alt" AltRight "alt_r" MetaLeft "meta_l" MetaRight "meta_r"
    Menu "menu" Compose "compose"
    CapsLock "caps_lock" NumLock "num_lock" ScrollLock "scroll_lock"
    F1 "f1" F2 "f2" F3 "f3" F4 "f4" F5 "f5" F6 "f6" F7 "f7" F8 "f8" F9 "f9" F10 "f10" F11 "f11" F12 "f12"
    F13 "f13" F14 "f14" F15 "f15" F16 "f16" F17 "f17" F18 "f18"
    F19 "f19" F20 "f20" F21 "f21" F22 "f22" F23 "f23" F24 "f24"
    Print "print" SysRq "sysrq" Pause "pause"
    Insert "insert" Delete "delete" Home "home" End "end" PageUp "pgup" PageDown "pgdn"
    Left "left" Right "right" Up "up" Down "down"
    Keypad0 "kp_0" Keypad1 "kp_1" Keypad2 "kp_2" Keypad3 "kp_3" Keypad4 "kp_4"
    Keypad5 "kp_5" Keypad6 "kp_6" Keypad7 "kp_7" Keypad8 "kp_8" Keypad9 "kp_9"
    KeypadDivide "kp_divide" KeypadMultiply "kp_multiply" KeypadSubtract "kp_subtract" KeypadAdd "kp_add"
    KeypadEnter "kp_enter" KeypadDecimal "kp_decimal" KeypadComma "kp_comma" KeypadEquals "kp_equals"
    Ro "ro" Yen "yen" Henkan "henkan" Muhenkan "muhenkan" Hiragana "hiragana"
    KatakanaHiragana "katakanahiragana" Lang1 "lang1" Lang2 "lang2"
    Power "power" Sleep "sleep" Wake "wake"
    AudioNext "audionext" AudioPrevious "audioprev" AudioStop "audiostop" AudioPlay "audioplay"
    AudioMute "audiomute" VolumeUp "volumeup" VolumeDown "volumedown" MediaSelect "mediaselect"
    Mail "mail" Calculator "calculator" Computer "computer"
    BrowserHome "ac_home" BrowserBack "ac_back" BrowserForward "ac_forward" BrowserRefresh "ac_refresh"
    BrowserBookmarks "ac_bookmarks"
}

impl KeyCode {
    /// The key of this number: its code in set 1, plus 80h if that has the prefix E0h. This is how QEMU and libvirt number
    /// keys. Print Screen is B7h, Pause C6h.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| u64::from(ps2::number(*key)) == number)
    }

    /// The key of this name, in QEMU's spelling.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            // QEMU's second name for this key.
            "asterisk" => Some(Self::KeypadMultiply),
            _ => Self::ALL.iter().copied().find(|key| key.name() == name),
        }
    }
}

/// A button of a mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MouseButton {
    /// Button 1, under the index finger of a right hand.
    Left,
    /// Button 3, or pressing the wheel.
    Middle,
    /// Button 2.
    Right,
    /// Button 4, "back".
    Side,
    /// Button 5, "forward".
    Extra,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for &key in KeyCode::ALL {
            assert_eq!(KeyCode::from_name(key.name()), Some(key));
            assert_eq!(serde_json::to_value(key).ok(), Some(key.name().into()));
        }
        assert_eq!(KeyCode::from_name("no such key"), None);
    }

    /// Numbers of QEMU's `qnum` key map.
    #[test]
    fn keys_have_numbers() {
        for (number, name) in [
            (0x01, "esc"),
            (0x1e, "a"),
            (0x1d, "ctrl"),
            (0x9d, "ctrl_r"),
            (0x2a, "shift"),
            (0x54, "sysrq"),
            (0x56, "less"),
            (0x57, "f11"),
            (0x70, "katakanahiragana"),
            (0x71, "lang2"),
            (0x72, "lang1"),
            (0x73, "ro"),
            (0x7d, "yen"),
            (0xb5, "kp_divide"),
            (0xb7, "print"),
            (0xb8, "alt_r"),
            (0xc6, "pause"),
            (0xc8, "up"),
            (0xd3, "delete"),
            (0xdb, "meta_l"),
            (0xdd, "menu"),
            (0xde, "power"),
        ] {
            assert_eq!(KeyCode::from_number(number), KeyCode::from_name(name), "{number:#x}");
        }
        for none in [0, 0x55, 0xff, 0x100, 0x11e, u64::MAX] {
            assert_eq!(KeyCode::from_number(none), None, "{none:#x}");
        }
    }
}
