//! Changes of saved states.

use serde_json::Value;

use crate::op::{Change, Tampering};

/// Changes one value of a state.
pub fn tamper(data: &mut Value, tampering: &Tampering) {
    let places = count(data);
    let mut left = usize::from(tampering.place) % places;
    if let Some(value) = nth(data, &mut left) {
        change(value, &tampering.change);
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|value| nth(value, left)),
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, left)),
        _ => None,
    }
}

fn change(value: &mut Value, change: &Change) {
    *value = match (change, value.take()) {
        (Change::Number(number), _) => (*number).into(),
        (Change::Top(less), _) => (u64::MAX - u64::from(*less)).into(),
        (Change::Flip, Value::Bool(old)) => (!old).into(),
        (Change::Flip | Change::Null, _) => Value::Null,
        (Change::Text(text), _) => text.clone().into(),
        (Change::List(list), _) => list.clone().into(),
        (Change::Resize(longer), Value::Array(mut list)) => {
            if *longer {
                list.push(list.last().cloned().unwrap_or(0.into()));
            } else {
                list.pop();
            }
            list.into()
        }
        (Change::Gone, Value::Object(mut map)) => {
            let key = map.keys().next().cloned();
            key.and_then(|key| map.remove(&key));
            map.into()
        }
        (Change::Resize(_) | Change::Gone, old) => old,
    };
}
