//! What the arguments of commands are: requests are checked by it, and `query-qmp-schema` shows it (QEMU,
//! docs/devel/qapi-code-gen, "Client JSON Protocol introspection").
//!
//! What commands return is shown as a value of any type.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::error::QmpError;
use super::request::Arguments;

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A text; some commands take a few words only.
    Str,
    /// An object, which the command takes apart itself.
    Object,
    /// A list of texts.
    Strings,
    /// A list of objects, which the command takes apart itself.
    Objects,
    /// What only the command knows.
    Any,
}

/// An argument of a command.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    name: &'static str,
    kind: Kind,
    optional: bool,
}

/// An argument that must be given.
pub const fn must(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, optional: false }
}

/// An argument that may be left out.
pub const fn may(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, optional: true }
}

impl Kind {
    /// Its name in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int => "integer",
            Self::Str => "string",
            Self::Object => "object",
            Self::Strings | Self::Objects => "array",
            Self::Any => "value",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Int => value.is_i64() || value.is_u64(),
            Self::Str => value.is_string(),
            Self::Object => value.is_object(),
            Self::Strings | Self::Objects => value.is_array(),
            Self::Any => true,
        }
    }

    /// The type's name in the schema.
    fn type_name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Str => "str",
            Self::Object | Self::Any => ANY,
            Self::Strings => "[str]",
            Self::Objects => "[any]",
        }
    }
}

/// The name of the parameter that stands for all that the command looks at itself.
const ANY_OTHER: &str = "*";

/// The parameter that stands for further ones, which depend on others.
pub const OTHERS: Parameter = Parameter { name: ANY_OTHER, kind: Kind::Any, optional: true };

/// Checks that what a command needs is there, of the right kind, and nothing else.
///
/// # Errors
/// It is not, in QEMU's words.
pub fn check(parameters: &[Parameter], arguments: &Arguments) -> Result<(), QmpError> {
    for Parameter { name, kind, optional } in parameters {
        match arguments.get(name) {
            Some(value) if !kind.fits(value) => {
                let expected = kind.name();
                return Err(QmpError::generic(format!("Invalid parameter type for '{name}', expected: {expected}")));
            }
            None if !optional => return Err(QmpError::generic(format!("Parameter '{name}' is missing"))),
            _ => {}
        }
    }
    let unexpected = arguments.names().find(|given| parameters.iter().all(|parameter| parameter.name != *given));
    match unexpected.filter(|_| parameters.iter().all(|parameter| parameter.name != ANY_OTHER)) {
        Some(name) => Err(QmpError::generic(format!("Parameter '{name}' is unexpected"))),
        None => Ok(()),
    }
}

/// The type of whatever has no other.
const ANY: &str = "any";
/// The object without members.
const EMPTY: &str = "0";
/// Types that need no description: name, and what they are in JSON.
const BUILTIN: [(&str, &str); 4] = [("str", "string"), ("int", "int"), ("bool", "boolean"), (ANY, "value")];

/// Everything that a client can ask for or be told, in QEMU's form. Types that are not named after what they are have numbers.
pub fn introspection<'a>(
    commands: impl Iterator<Item = (&'a str, &'a [Parameter])>,
    events: impl Iterator<Item = (&'a str, Map<String, Value>)>,
) -> Value {
    let mut entities: Vec<Value> = BUILTIN
        .iter()
        .map(|(name, json_type)| json!({ "name": name, "meta-type": "builtin", "json-type": json_type }))
        .collect();
    entities.push(json!({ "name": EMPTY, "meta-type": "object", "members": [] }));
    let mut arrays = BTreeSet::new();
    let mut objects = 0;
    let mut object = |members: Vec<Value>, entities: &mut Vec<Value>| {
        if members.is_empty() {
            return EMPTY.to_owned();
        }
        objects += 1;
        entities.push(json!({ "name": objects.to_string(), "meta-type": "object", "members": members }));
        objects.to_string()
    };
    for (name, parameters) in commands {
        let member = |Parameter { name, kind, optional }: &Parameter| {
            let mut member = json!({ "name": name, "type": kind.type_name() });
            if *optional {
                // Says that it may be left out.
                member["default"] = Value::Null;
            }
            member
        };
        arrays
            .extend(parameters.iter().map(|parameter| parameter.kind.type_name()).filter(|name| name.starts_with('[')));
        let named = parameters.iter().filter(|parameter| parameter.name != ANY_OTHER);
        let arguments = object(named.map(member).collect(), &mut entities);
        entities.push(json!({ "name": name, "meta-type": "command", "arg-type": arguments, "ret-type": ANY }));
    }
    for (name, data) in events {
        let kind = |value: &Value| match value {
            Value::Bool(_) => Kind::Bool,
            Value::Number(_) => Kind::Int,
            Value::String(_) => Kind::Str,
            _ => Kind::Any,
        };
        let members = data.iter().map(|(name, value)| json!({ "name": name, "type": kind(value).type_name() }));
        let data = object(members.collect(), &mut entities);
        entities.push(json!({ "name": name, "meta-type": "event", "arg-type": data }));
    }
    let array =
        |name: &str| json!({ "name": name, "meta-type": "array", "element-type": name.trim_matches(['[', ']']) });
    entities.extend(arrays.into_iter().map(array));
    entities.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_closed_and_tells_what_may_be_left_out() {
        let eject: &[_] = &[may("force", Kind::Bool), must("keys", Kind::Strings)];
        let reason = json!({ "guest": true, "reason": "x" }).as_object().unwrap().clone();
        let schema = introspection(
            [("stop", &[] as &[_]), ("eject", eject)].into_iter(),
            [("STOP", Map::new()), ("RESET", reason)].into_iter(),
        );
        let schema = schema.as_array().unwrap();
        let find = |name: &str| schema.iter().find(|entity| entity["name"] == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(find("stop")["arg-type"], "0");
        assert_eq!(
            find(find("eject")["arg-type"].as_str().unwrap())["members"],
            json!([{ "name": "force", "type": "bool", "default": null }, { "name": "keys", "type": "[str]" }])
        );
        assert_eq!(find("[str]"), &json!({ "name": "[str]", "meta-type": "array", "element-type": "str" }));
        assert_eq!(find("STOP"), &json!({ "name": "STOP", "meta-type": "event", "arg-type": "0" }));
        let data = find(find("RESET")["arg-type"].as_str().unwrap());
        assert_eq!(data["members"], json!([{ "name": "guest", "type": "bool" }, { "name": "reason", "type": "str" }]));
        for entity in schema {
            for reference in ["arg-type", "ret-type", "element-type"].iter().filter_map(|key| entity[key].as_str()) {
                find(reference);
            }
            for member in entity["members"].as_array().into_iter().flatten() {
                find(member["type"].as_str().unwrap());
            }
        }
    }
}
