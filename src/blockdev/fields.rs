//! The members of an object of options, taken one by one, so that what nobody takes can be refused.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::scalar::{parse_flag, parse_number, parse_size};
use crate::suggest::did_you_mean;

/// How scalars are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As JSON has them.
    Json,
    /// As texts, as in a list of `key=value`.
    Words,
}

/// The members of an object.
pub struct Fields {
    members: Map<String, Value>,
    /// What is put before the name of a member to tell which one is meant: `file.`
    prefix: String,
    style: Style,
    asked: Vec<&'static str>,
}

/// Why options describe nothing, beginning as QEMU begins it.
type Result<T> = std::result::Result<T, String>;

impl Fields {
    pub fn new(members: Map<String, Value>, style: Style) -> Self {
        Self { members, prefix: String::new(), style, asked: Vec::new() }
    }

    /// The full name of a member.
    pub fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// How scalars are written.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Takes a member as it is.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.members.remove(key)
    }

    fn wrong(&self, key: &str, expected: &str) -> String {
        format!("Invalid parameter type for '{}', expected: {expected}", self.full(key))
    }

    /// A member that has to be there.
    pub fn must<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| format!("Parameter '{}' is missing", self.full(key)))
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "string")),
        }
    }

    /// A switch.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        match (self.take(key), self.style) {
            (None, _) => Ok(None),
            (Some(Value::Bool(on)), _) => Ok(Some(on)),
            (Some(Value::String(text)), Style::Words) => {
                let flag = parse_flag(&text).map(Some);
                flag.ok_or_else(|| format!("Parameter '{}' expects 'on' or 'off'", self.full(key)))
            }
            _ => Err(self.wrong(key, "boolean")),
        }
    }

    fn unsigned(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Option<u64>) -> Result<Option<u64>> {
        let number = match (self.take(key), self.style) {
            (None, _) => return Ok(None),
            (Some(Value::Number(number)), _) => number.as_u64(),
            (Some(Value::String(text)), Style::Words) => parse(&text),
            _ => return Err(self.wrong(key, "integer")),
        };
        number.map(Some).ok_or_else(|| format!("Parameter '{}' expects an integer from 0 on", self.full(key)))
    }

    /// A number.
    pub fn number(&mut self, key: &'static str) -> Result<Option<u64>> {
        self.unsigned(key, parse_number)
    }

    /// A number of bytes.
    pub fn size(&mut self, key: &'static str) -> Result<Option<u64>> {
        self.unsigned(key, |text| parse_size(text, 1))
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let known = || words.iter().map(|(word, _)| *word);
        found.map(Some).ok_or_else(|| {
            format!(
                "Parameter '{}' does not accept value '{text}'{}; it takes {}",
                self.full(key),
                did_you_mean(&text, known()),
                known().collect::<Vec<_>>().join(", ")
            )
        })
    }

    /// One of the words of an enumeration by its names in configurations.
    pub fn named<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let read = serde_json::from_value(text.as_str().into());
        read.map(Some)
            .map_err(|error| format!("Parameter '{}' does not accept value '{text}': {error}", self.full(key)))
    }

    /// The members of an object among the members; none if it is not there.
    pub fn object(&mut self, key: &'static str) -> Result<Self> {
        match self.take(key) {
            None => Ok(self.below(key, Map::new())),
            Some(Value::Object(members)) => Ok(self.below(key, members)),
            Some(_) => Err(self.wrong(key, "object")),
        }
    }

    /// The members of an object that has the name `key`.
    pub fn below(&self, key: &str, members: Map<String, Value>) -> Self {
        Self { members, prefix: format!("{}.", self.full(key)), style: self.style, asked: Vec::new() }
    }

    /// The objects of a list, which `key=value` writes as members with numbers.
    pub fn list(&mut self, key: &'static str) -> Result<Vec<Self>> {
        let elements = match (self.take(key), self.style) {
            (None, _) => return Ok(Vec::new()),
            (Some(Value::Array(elements)), _) => elements,
            (Some(Value::Object(mut members)), Style::Words) => {
                let elements: Vec<_> = (0..members.len()).map_while(|n| members.remove(&n.to_string())).collect();
                if let Some(other) = members.keys().next() {
                    return Err(format!(
                        "Parameter '{}.{other}' is unexpected: the elements are numbered from 0 on",
                        self.full(key)
                    ));
                }
                elements
            }
            _ => return Err(self.wrong(key, "array")),
        };
        let object = |(number, element)| match element {
            Value::Object(members) => Ok(self.below(&format!("{key}.{number}"), members)),
            _ => Err(self.wrong(&format!("{key}[{number}]"), "object")),
        };
        elements.into_iter().enumerate().map(object).collect()
    }

    /// Refuses a member that QEMU has, unless it asks for what there is anyway.
    pub fn refuse(&mut self, key: &'static str, harmless: &[&str], instead: &str) -> Result<()> {
        let Some(value) = self.take(key) else { return Ok(()) };
        let asks_for = |word: &str| match &value {
            Value::String(text) => text == word,
            Value::Bool(on) => parse_flag(word) == Some(*on),
            Value::Number(number) => number.to_string() == word,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        match harmless.iter().any(|word| asks_for(word)) {
            true => Ok(()),
            false => Err(format!("Parameter '{}' is not supported: {instead}", self.full(key))),
        }
    }

    /// Refuses what was not taken.
    pub fn end(self, of: &str) -> Result<()> {
        let Some(key) = self.members.keys().next() else { return Ok(()) };
        let meant = match did_you_mean(key, self.asked.iter().copied()) {
            none if none.is_empty() => format!(": {of} takes {}", self.asked.join(", ")),
            meant => meant,
        };
        Err(format!("Parameter '{}' is unexpected{meant}", self.full(key)))
    }
}
