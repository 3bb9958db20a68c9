//! Commands of keyboard and mouse.

use devices::input::{KeyCode, MouseButton};
use serde_json::{Value, json};

use super::commands::{Answer, Result, now};
use super::error::QmpError;
use super::request::{Arguments, not_accepted};
use crate::monitor::Control;
use crate::monitor::input::{Axis, InputEvent, MAX_POSITION, Mouse, hold_time, key_by_name, key_by_number, of_live};

/// What `button` can be.
#[derive(Clone, Copy)]
enum Button {
    Real(MouseButton),
    /// A wheel counts as buttons, which are pressed once for each click: towards the user and to the right.
    Wheel(i32, i32),
}

const BUTTONS: [(&str, Button); 9] = [
    ("left", Button::Real(MouseButton::Left)),
    ("middle", Button::Real(MouseButton::Middle)),
    ("right", Button::Real(MouseButton::Right)),
    ("side", Button::Real(MouseButton::Side)),
    ("extra", Button::Real(MouseButton::Extra)),
    ("wheel-up", Button::Wheel(-1, 0)),
    ("wheel-down", Button::Wheel(1, 0)),
    ("wheel-left", Button::Wheel(0, -1)),
    ("wheel-right", Button::Wheel(0, 1)),
];

const AXES: [(&str, Axis); 2] = [("x", Axis::X), ("y", Axis::Y)];

/// How a key is named, and what an event is about.
#[derive(Clone, Copy)]
enum Kind {
    Name,
    Number,
}

const KEY_KINDS: [(&str, Kind); 2] = [("qcode", Kind::Name), ("number", Kind::Number)];

#[derive(Clone, Copy)]
enum Subject {
    Key,
    Button,
    Movement,
    Position,
}

const SUBJECTS: [(&str, Subject); 4] =
    [("key", Subject::Key), ("btn", Subject::Button), ("rel", Subject::Movement), ("abs", Subject::Position)];

/// `{"type": "qcode", "data": "a"}` or `{"type": "number", "data": 30}`.
fn key(mut value: Arguments) -> std::result::Result<KeyCode, QmpError> {
    let key = match value.choice("type", &KEY_KINDS)? {
        Kind::Name => {
            let name = value.string("data")?;
            key_by_name(&name).map_err(|_| not_accepted("data", &name))?
        }
        Kind::Number => key_by_number(value.unsigned("data")?)?,
    };
    value.end()?;
    Ok(key)
}

/// `send-key`: a combination, as a person types it.
pub fn send_key(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let keys = arguments.objects("keys")?.into_iter().map(key).collect::<std::result::Result<Vec<_>, _>>()?;
    let hold = hold_time(arguments.optional_unsigned("hold-time")?);
    of_live(machine)?.type_together(&keys, hold)?;
    now(json!({}))
}

/// An event of `input-send-event`; `None` for the end of a wheel's click.
fn event(mut value: Arguments) -> std::result::Result<Option<InputEvent>, QmpError> {
    let subject = value.choice("type", &SUBJECTS)?;
    let mut data = value.object("data")?;
    value.end()?;
    let event = match subject {
        Subject::Key => {
            let key = key(data.object("key")?)?;
            Some(InputEvent::Key(key, data.bool("down")?))
        }
        Subject::Button => match (data.choice("button", &BUTTONS)?, data.bool("down")?) {
            (Button::Real(button), down) => Some(InputEvent::Button(button, down)),
            (Button::Wheel(down, right), true) => Some(InputEvent::Wheel { down, right }),
            (Button::Wheel(..), false) => None,
        },
        Subject::Movement => {
            let (axis, by) = (data.choice("axis", &AXES)?, data.signed("value")?);
            Some(InputEvent::Move(axis, by.clamp(i32::MIN.into(), i32::MAX.into()) as i32))
        }
        Subject::Position => {
            let (axis, at) = (data.choice("axis", &AXES)?, data.signed("value")?);
            Some(InputEvent::Position(axis, at.clamp(0, MAX_POSITION) as u16))
        }
    };
    data.end()?;
    Ok(event)
}

/// `input-send-event`: what happens at the devices, at once.
pub fn input_send_event(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let (device, _head) = (arguments.optional_string("device")?, arguments.optional_unsigned("head")?);
    let events = arguments.objects("events")?;
    let events = events.into_iter().map(event).collect::<std::result::Result<Vec<_>, _>>()?;
    if let Some(device) = device {
        // Only displays can be named, of which there are none.
        return Err(QmpError::device_not_found(&device));
    }
    let events: Vec<_> = events.into_iter().flatten().collect();
    of_live(machine)?.act(&events)?;
    Ok(Answer::Now(json!({})))
}

/// `query-mice`.
pub fn query_mice(machine: &dyn Control) -> Result {
    let mouse = |Mouse { index, name, current, absolute }: Mouse| -> Value {
        json!({ "name": name, "index": index, "current": current, "absolute": absolute })
    };
    now(machine.input()?.mice().into_iter().map(mouse).collect())
}
