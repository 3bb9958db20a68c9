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
        Some(Value::Object(arguments)) => Ok(Request { command, arguments: Arguments(arguments) }),
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

/// The arguments of a command. Each is taken out; one that is left at the end is refused.
#[derive(Debug, Default, PartialEq)]
pub struct Arguments(Map<String, Value>);

impl Arguments {
    /// An argument that must be given.
    pub fn string(&mut self, name: &str) -> Result<String, QmpError> {
        let value = self.optional_string(name)?;
        value.ok_or_else(|| QmpError::generic(format!("Parameter '{name}' is missing")))
    }

    /// An argument that may be left out.
    pub fn optional_string(&mut self, name: &str) -> Result<Option<String>, QmpError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(name, "string")),
        }
    }

    /// An argument that may be left out.
    pub fn optional_bool(&mut self, name: &str) -> Result<Option<bool>, QmpError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(wrong_type(name, "boolean")),
        }
    }

    /// A number that must be given.
    pub fn unsigned(&mut self, name: &str) -> Result<u64, QmpError> {
        match self.optional_unsigned(name)? {
            Some(value) => Ok(value),
            None => Err(QmpError::generic(format!("Parameter '{name}' is missing"))),
        }
    }

    /// A number that may be left out.
    pub fn optional_unsigned(&mut self, name: &str) -> Result<Option<u64>, QmpError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong_type(name, "integer")),
        }
    }

    /// A list of strings that may be left out.
    pub fn optional_strings(&mut self, name: &str) -> Result<Vec<String>, QmpError> {
        match self.0.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let text = |value: Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong_type(name, "string"));
                values.into_iter().map(text).collect()
            }
            Some(_) => Err(wrong_type(name, "array")),
        }
    }

    /// All have been taken.
    pub fn end(&self) -> Result<(), QmpError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(QmpError::generic(format!("Parameter '{name}' is unexpected"))),
        }
    }
}

fn wrong_type(name: &str, expected: &str) -> QmpError {
    QmpError::generic(format!("Invalid parameter type for '{name}', expected: {expected}"))
}
