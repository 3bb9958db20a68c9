//! The user's keyboard and mouse, as monitors operate them. Names and numbers of keys and buttons are QEMU's.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use devices::input::{KeyCode, MouseButton};

use super::Control;
use super::commands::Context;
use crate::suggest::did_you_mean;

/// Between two strokes of a combination if nothing else is said, as in QEMU.
pub const DEFAULT_HOLD: Duration = Duration::from_millis(10);
/// Largest coordinate of a position.
pub const MAX_POSITION: i64 = 0x7fff;

/// What the user's hands do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputEvent {
    /// A key goes down or up.
    Key(KeyCode, bool),
    /// A button goes down or up.
    Button(MouseButton, bool),
    /// A wheel turns by a click.
    Wheel {
        /// Towards the user; negative: away.
        down: i32,
        /// To the right.
        right: i32,
    },
    /// The mouse moves by this much, to the right or towards the user.
    Move(Axis, i32),
    /// The pointer is at this place, 0 to [`MAX_POSITION`], from the left or from above.
    Position(Axis, u16),
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// From left to right.
    X,
    /// From top to bottom.
    Y,
}

/// A mouse that the guest can hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mouse {
    /// Its number.
    pub index: u64,
    /// What QEMU calls it.
    pub name: &'static str,
    /// It is the one that is moved.
    pub current: bool,
    /// It reports positions.
    pub absolute: bool,
}

/// Keyboard and mouse of a machine.
pub trait Input {
    /// Presses keys one after the other and releases them in the opposite order, each stroke `hold` after the one before.
    /// Returns at once.
    ///
    /// # Errors
    /// There is no keyboard, or it is still busy.
    fn type_together(&self, keys: &[KeyCode], hold: Duration) -> Result<()>;

    /// Does all of this now.
    ///
    /// # Errors
    /// The guest has nothing that hears of one of them; then none is done.
    fn act(&self, events: &[InputEvent]) -> Result<()>;

    /// The mice that the guest can hear of now.
    fn mice(&self) -> Vec<Mouse>;

    /// Has this mouse be the one that is moved.
    ///
    /// # Errors
    /// There is none of that number.
    fn choose_mouse(&self, index: u64) -> Result<()>;
}

/// Keyboard and mouse of a machine that takes notice of them.
pub(super) fn of_live(machine: &dyn Control) -> Result<&dyn Input> {
    match machine.status() {
        "running" | "suspended" => machine.input(),
        _ => bail!("VM not running"),
    }
}

/// Keys that QEMU has names for, and PS/2 keyboards no codes.
const NOT_ON_PS2: [&str; 11] =
    ["stop", "again", "props", "undo", "front", "copy", "open", "paste", "find", "cut", "lf"];

/// The key of a name.
pub(super) fn key_by_name(name: &str) -> Result<KeyCode> {
    KeyCode::from_name(name).ok_or_else(|| match name {
        name if NOT_ON_PS2.contains(&name) => anyhow!("a PS/2 keyboard has no key '{name}'"),
        _ => {
            let names = KeyCode::ALL.iter().map(|key| key.name());
            anyhow!("invalid parameter: {name}{}", did_you_mean(name, names))
        }
    })
}

/// The key of a number.
pub(super) fn key_by_number(number: u64) -> Result<KeyCode> {
    KeyCode::from_number(number).with_context(|| format!("no key has the number {number:#x}"))
}

/// `KEYS [HOLD]`: names or numbers with hyphens between them, and milliseconds.
fn parse_keys(arguments: &[&str]) -> Result<(Vec<KeyCode>, Duration)> {
    let (keys, hold) = match arguments {
        [keys] => (keys, None),
        [keys, hold] => (keys, Some(hold)),
        _ => bail!("give keys, as in ctrl-alt-delete, and how many milliseconds they are held"),
    };
    let key = |name: &str| match name.strip_prefix("0x") {
        // The sign on the key.
        _ if name == "<" => Ok(KeyCode::Less),
        Some(digits) => {
            key_by_number(u64::from_str_radix(digits, 16).map_err(|_| anyhow!("invalid parameter: {name}"))?)
        }
        None => key_by_name(name),
    };
    let keys = keys.split('-').map(key).collect::<Result<_>>()?;
    let hold =
        hold.map(|hold| hold.parse().map_err(|_| anyhow!("'{hold}' is no number of milliseconds"))).transpose()?;
    Ok((keys, hold_time(hold)))
}

/// How long keys are held; 0 means what it means to leave it out.
pub(super) fn hold_time(milliseconds: Option<u64>) -> Duration {
    milliseconds.filter(|hold| *hold > 0).map_or(DEFAULT_HOLD, Duration::from_millis)
}

pub(super) fn send_key(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let (keys, hold) = parse_keys(arguments)?;
    of_live(context.machine)?.type_together(&keys, hold).map(|()| String::new())
}

pub(super) fn mouse_move(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let events = parse_movement(arguments)?;
    of_live(context.machine)?.act(&events).map(|()| String::new())
}

/// `DX DY [DZ]`. The third counts upwards, as in QEMU.
fn parse_movement(arguments: &[&str]) -> Result<Vec<InputEvent>> {
    let mut numbers = [0_i32; 3];
    if !(2..=3).contains(&arguments.len()) {
        bail!("give the movement to the right and downwards, and of the wheel if there is any");
    }
    for (number, text) in numbers.iter_mut().zip(arguments) {
        *number = text.parse().map_err(|_| anyhow!("'{text}' is no number"))?;
    }
    let [right, down, up] = numbers;
    let mut events = vec![InputEvent::Move(Axis::X, right), InputEvent::Move(Axis::Y, down)];
    if up != 0 {
        events.push(InputEvent::Wheel { down: up.saturating_neg(), right: 0 });
    }
    Ok(events)
}

/// The buttons in the order of the bits by which the human monitor names them.
const BUTTONS: [MouseButton; 3] = [MouseButton::Left, MouseButton::Middle, MouseButton::Right];

pub(super) fn mouse_button(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [state] = arguments else { bail!("give the sum of 1 (left), 2 (middle) and 4 (right)") };
    let state = state.parse::<u8>().ok().filter(|state| *state < 8);
    let state = state.with_context(|| format!("'{}' is no state of three buttons", arguments[0]))?;
    let events: Vec<_> =
        (0..).zip(BUTTONS).map(|(bit, button)| InputEvent::Button(button, state >> bit & 1 != 0)).collect();
    of_live(context.machine)?.act(&events).map(|()| String::new())
}

pub(super) fn mouse_set(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [index] = arguments else { bail!("give the number of a mouse (see 'info mice')") };
    let index = index.parse().map_err(|_| anyhow!("'{index}' is no number"))?;
    context.machine.input()?.choose_mouse(index).map(|()| String::new())
}

/// `info mice`.
pub(super) fn describe_mice(machine: &dyn Control) -> Result<String> {
    let mice = machine.input()?.mice();
    if mice.is_empty() {
        return Ok("No mouse devices connected\n".into());
    }
    let line = |Mouse { index, name, current, absolute }: Mouse| {
        let (mark, absolute) = (if current { '*' } else { ' ' }, if absolute { " (absolute)" } else { "" });
        format!("{mark} Mouse #{index}: {name}{absolute}\n")
    };
    Ok(mice.into_iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_numbered_and_combined() {
        let parse = |text: &str| parse_keys(&text.split(' ').collect::<Vec<_>>());
        let (keys, hold) = parse("ctrl-alt-delete").unwrap();
        assert_eq!((keys, hold), (vec![KeyCode::CtrlLeft, KeyCode::AltLeft, KeyCode::Delete], DEFAULT_HOLD));
        assert_eq!(parse("0x1d-<-0xc8 250").unwrap().0, [KeyCode::CtrlLeft, KeyCode::Less, KeyCode::Up]);
        assert_eq!(parse("a 250").unwrap().1, Duration::from_millis(250));
        assert_eq!(parse("asterisk 0").unwrap(), (vec![KeyCode::KeypadMultiply], DEFAULT_HOLD));
        for bad in ["", "a-", "ctrl-foo", "0xzz", "0x55", "a b", "a -1", "a 1 2", "copy"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let error = parse("ctrl-delet").unwrap_err().to_string();
        assert_eq!(error, "invalid parameter: delet; did you mean 'delete'?");
    }

    /// Names of keys, longer than any, were copied into a buffer for the longest one (CVE-2015-8619).
    #[test]
    fn cve_2015_8619_names_longer_than_any_key() {
        for name in ["x".repeat(4000), "ctrl".repeat(1000), "ctrl-".repeat(800), format!("0x{}", "1".repeat(4000))] {
            assert!(parse_keys(&[&name]).is_err(), "{name}");
        }
        assert_eq!(parse_keys(&[&["a"; 2000].join("-")]).unwrap().0.len(), 2000);
    }

    #[test]
    fn the_wheel_counts_upwards() {
        let movement = |text: &str| parse_movement(&text.split(' ').collect::<Vec<_>>()).unwrap();
        let moved = [InputEvent::Move(Axis::X, 3), InputEvent::Move(Axis::Y, -4)];
        assert_eq!(movement("3 -4"), moved);
        assert_eq!(movement("3 -4 1")[2], InputEvent::Wheel { down: -1, right: 0 });
    }
}
