//! Lists written as a JSON object, as `-device` and `-object` also accept them.

use super::syntax::Item;
use serde_json::Value;

/// The elements of a JSON object: booleans become `on` and `off`, an object inside the object becomes keys with dots, an
/// element of an array a key that ends in its number.
pub fn items(text: &str) -> Result<Vec<Item>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("this is no valid JSON: {error}"))?;
    let mut items = Vec::new();
    // serde_json limits the depth of what it reads, so this recursion is bounded.
    flatten(String::new(), value, &mut items)?;
    Ok(items)
}

fn flatten(key: String, value: Value, items: &mut Vec<Item>) -> Result<(), String> {
    let join = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    let text = match value {
        Value::Object(members) => {
            return members.into_iter().try_for_each(|(name, value)| flatten(join(&name), value, items));
        }
        Value::Array(elements) => {
            return elements
                .into_iter()
                .zip(0..)
                .try_for_each(|(value, n)| flatten(join(&n.to_string()), value, items));
        }
        Value::Null => return Err(format!("\"{key}\" is null; leave it out instead")),
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
    };
    items.push(Item::Pair(key, text));
    Ok(())
}
