//! A request: what is in it, and what must not be.

use serde_json::{Map, Value};

use super::error::QmpError;

/// A command with its arguments.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// Its name.
    pub command: String,
    /// Its arguments.
    pub arguments: Arguments,
}

/// Takes a text apart: the client's `id`, if one can be made out, and the request.
pub fn parse(text: &[u8]) -> (Option<Value>, Result<Request, QmpError>) {
    let value: Value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(error) => return (None, Err(syntax_error(text, &error))),
    };
    let Value::Object(mut members) = value else {
        return (None, Err(QmpError::generic("QMP input must be a JSON object")));
    };
    let id = members.remove("id");
    (id, request(members))
}

fn request(mut members: Map<String, Value>) -> Result<Request, QmpError> {
    let (command, arguments) = (members.remove("execute"), members.remove("arguments"));
    if let Some(name) = members.keys().next() {
        return Err(QmpError::generic(format!("QMP input member '{name}' is unexpected")));
    }
    let command = match command {
        Some(Value::String(command)) => command,
        Some(_) => return Err(QmpError::generic("QMP input member 'execute' must be a string")),
        None => return Err(QmpError::generic("QMP input lacks member 'execute'")),
    };
    match arguments {
        None => Ok(Request { command, arguments: Arguments::default() }),
        Some(Value::Object(arguments)) => Ok(Request { command, arguments: arguments.into() }),
        Some(_) => Err(QmpError::generic("QMP input member 'arguments' must be an object")),
    }
}

/// What is no JSON.
fn syntax_error(text: &[u8], error: &serde_json::Error) -> QmpError {
    let word: Vec<u8> = text.iter().copied().take_while(u8::is_ascii_alphabetic).collect();
    QmpError::generic(match text.first() {
        Some(b'}' | b']' | b',' | b':') => "JSON parse error, expecting value".to_owned(),
        _ if !word.is_empty() => {
            format!("JSON parse error, invalid keyword '{}'", String::from_utf8_lossy(&word))
        }
        _ => format!("JSON parse error, {error}"),
    })
}

/// The arguments of a command, or the members of an object among them. Each is taken out; one that is left at the end is refused.
#[derive(Debug, Default, PartialEq)]
pub struct Arguments {
    members: Map<String, Value>,
    /// What is put before the name of a member to tell which one is meant: `events[0].`
    prefix: String,
}

impl From<Map<String, Value>> for Arguments {
    fn from(members: Map<String, Value>) -> Self {
        Self { members, prefix: String::new() }
    }
}

impl Arguments {
    /// One that was given.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The names of those that were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    fn wrong_type(&self, name: &str, expected: &str) -> QmpError {
        QmpError::generic(format!("Invalid parameter type for '{}{name}', expected: {expected}", self.prefix))
    }

    /// One that must be given, but was not.
    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, QmpError> {
        value.ok_or_else(|| QmpError::generic(format!("Parameter '{}{name}' is missing", self.prefix)))
    }

    /// Takes an argument that may be left out; `read` fails for a value of another type than `expected`.
    fn optional<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, QmpError> {
        match self.members.remove(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong_type(name, expected)),
        }
    }

    /// An argument that must be given.
    pub fn string(&mut self, name: &str) -> Result<String, QmpError> {
        let value = self.optional_string(name)?;
        self.required(name, value)
    }

    /// An argument that may be left out.
    pub fn optional_string(&mut self, name: &str) -> Result<Option<String>, QmpError> {
        self.optional(name, "string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// One of several words; `None` if it is left out.
    pub fn optional_choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, QmpError> {
        let Some(word) = self.optional_string(name)? else { return Ok(None) };
        match choices.iter().find(|(choice, _)| *choice == word) {
            Some((_, value)) => Ok(Some(*value)),
            None => Err(not_accepted(name, &word)),
        }
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<T, QmpError> {
        let value = self.optional_choice(name, choices)?;
        self.required(name, value)
    }

    /// An argument that may be left out.
    pub fn optional_bool(&mut self, name: &str) -> Result<Option<bool>, QmpError> {
        self.optional(name, "boolean", |value| value.as_bool())
    }

    /// An argument that must be given.
    pub fn bool(&mut self, name: &str) -> Result<bool, QmpError> {
        let value = self.optional_bool(name)?;
        self.required(name, value)
    }

    /// A number that must be given.
    pub fn unsigned(&mut self, name: &str) -> Result<u64, QmpError> {
        let value = self.optional_unsigned(name)?;
        self.required(name, value)
    }

    /// A number that may be left out.
    pub fn optional_unsigned(&mut self, name: &str) -> Result<Option<u64>, QmpError> {
        self.optional(name, "integer", |value| value.as_u64())
    }

    /// A number that must be given.
    pub fn signed(&mut self, name: &str) -> Result<i64, QmpError> {
        let value = self.optional(name, "integer", |value| value.as_i64())?;
        self.required(name, value)
    }

    /// An object of any members that may be left out.
    pub fn optional_members(&mut self, name: &str) -> Result<Map<String, Value>, QmpError> {
        let members = self.optional(name, "object", |value| match value {
            Value::Object(members) => Some(members),
            _ => None,
        })?;
        Ok(members.unwrap_or_default())
    }

    /// A list of strings that may be left out.
    pub fn optional_strings(&mut self, name: &str) -> Result<Vec<String>, QmpError> {
        let Some(values) = self.optional(name, "array", array)? else { return Ok(Vec::new()) };
        let text = |(index, value): (usize, Value)| match value {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong_type(&format!("{name}[{index}]"), "string")),
        };
        values.into_iter().enumerate().map(text).collect()
    }

    /// A list of objects.
    pub fn objects(&mut self, name: &str) -> Result<Vec<Self>, QmpError> {
        let values = self.optional(name, "array", array)?;
        let member = |(index, value): (usize, Value)| {
            let name = format!("{name}[{index}]");
            match value {
                Value::Object(members) => Ok(Self { members, prefix: format!("{}{name}.", self.prefix) }),
                _ => Err(self.wrong_type(&name, "object")),
            }
        };
        self.required(name, values)?.into_iter().enumerate().map(member).collect()
    }

    /// An object.
    pub fn object(&mut self, name: &str) -> Result<Self, QmpError> {
        let members = self.optional(name, "object", |value| match value {
            Value::Object(members) => Some(members),
            _ => None,
        })?;
        let members = self.required(name, members)?;
        Ok(Self { members, prefix: format!("{}{name}.", self.prefix) })
    }

    /// Takes all that are left.
    pub fn take_all(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }

    /// All have been taken.
    pub fn end(&self) -> Result<(), QmpError> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(QmpError::generic(format!("Parameter '{}{name}' is unexpected", self.prefix))),
        }
    }
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// A word that is not one of those that an argument can be.
pub fn not_accepted(name: &str, word: &str) -> QmpError {
    QmpError::generic(format!("Parameter '{name}' does not accept value '{word}'"))
}
