//! Lists of `key=value`: what keys an option has, and reading a list by them.
//!
//! A [`Schema`] is a constant table. It drives the parser, the text of errors, `-OPTION help` and the reference
//! documentation. A list is checked completely when it is read: a [`KeyValues`] holds only keys that exist, with values of
//! the right kind.

mod json;
pub mod syntax;

use super::suggest::did_you_mean;
use crate::scalar;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ChoiceError, StrDeserializer};
use syntax::Item;

/// The keys of an option.
#[derive(Debug)]
pub struct Schema {
    /// Key of a first element that has no `=`.
    pub implied: Option<&'static str>,
    /// Keys that the option always has.
    pub keys: &'static [Key],
    /// Further keys, chosen by the value of the implied key. Empty: the implied key is one of `keys`.
    pub variants: &'static [Variant],
    /// Other names of variants, and theirs.
    pub aliases: &'static [(&'static str, &'static str)],
    /// What a variant is called in messages: `device`, say.
    pub variant_noun: &'static str,
    /// Variants that QEMU has and natoma does not, and for each group of them what to do instead.
    pub missing_variants: &'static [(&'static [&'static str], &'static str)],
    /// The list may also be written as a JSON object.
    pub json: bool,
}

/// A kind of thing with keys of its own: one driver of `-device`, one backend of `-chardev`.
#[derive(Debug)]
pub struct Variant {
    /// Value of the implied key that selects it. A key of the variant with this name selects it too.
    pub name: &'static str,
    /// What it is, in a line.
    pub help: &'static str,
    /// Its keys, beside those of the schema.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name. One that ends in a dot stands for all keys that begin so.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it does, in a line.
    pub help: &'static str,
    /// Whether it works.
    pub support: Support,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `on` or `off`.
    Flag,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A number in a range (both ends included).
    Number(u64, u64),
    /// A size in bytes with optional suffix; without one it counts units of this many bytes.
    Size(u64),
    /// Any text; the placeholder says what it means.
    Text(&'static str),
    /// ASCII characters that the guest sees, so many at most: the rest is cut off, as QEMU does.
    Name(usize),
}

/// Whether a key works.
#[derive(Debug, Clone, Copy)]
pub enum Support {
    /// It does.
    Works,
    /// It is another spelling of a key of another option (or of another key of the same option).
    Moved(&'static str, &'static str),
    /// QEMU has it and natoma does not. Values that ask for what natoma does anyway are accepted.
    Missing {
        /// These values.
        harmless: &'static [&'static str],
        /// What to do instead.
        instead: &'static str,
    },
}

impl Key {
    /// A key that works.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help, support: Support::Works }
    }

    /// A key that is another spelling of `key` of `option`, which has the same kind.
    pub const fn moved(name: &'static str, kind: Kind, option: &'static str, key: &'static str) -> Self {
        Self { name, kind, help: "", support: Support::Moved(option, key) }
    }

    /// A key of QEMU's that natoma does not have.
    pub const fn missing(name: &'static str, harmless: &'static [&'static str], instead: &'static str) -> Self {
        Self { name, kind: Kind::Text("value"), help: "", support: Support::Missing { harmless, instead } }
    }

    /// What to write after the `=`, for help texts.
    pub fn value_form(&self) -> String {
        match (self.support, self.kind) {
            (Support::Missing { harmless, .. }, _) => harmless.join("|"),
            (_, Kind::Flag) => "on|off".into(),
            (_, Kind::Choice(words)) => words.join("|"),
            (_, Kind::Number(..)) => "N".into(),
            (_, Kind::Size(_)) => "SIZE".into(),
            (_, Kind::Text(placeholder)) => placeholder.into(),
            (_, Kind::Name(_)) => "TEXT".into(),
        }
    }

    /// Whether it is the one of this name.
    fn is(&self, name: &str) -> bool {
        self.name == name || (self.is_prefix() && name.len() > self.name.len() && name.starts_with(self.name))
    }

    /// Whether it stands for all keys that begin so.
    pub fn is_prefix(&self) -> bool {
        self.name.ends_with('.')
    }

    /// Reads a value as an element of a list in which it is called `written_key`.
    pub fn entry(&self, written_key: &str, text: &str) -> Result<Entry, Problem> {
        let value = self.read(text)?;
        let (option, key) = match self.support {
            Support::Moved(option, key) => (Some(option), key),
            _ => (None, self.name),
        };
        Ok(Entry { option, key, value, written_key: written_key.into(), text: text.into() })
    }

    /// Reads a value.
    fn read(&self, text: &str) -> Result<Value, Problem> {
        if let Support::Missing { harmless, instead } = self.support {
            let same = |word: &str| {
                word == text || scalar::parse_flag(word).is_some_and(|on| scalar::parse_flag(text) == Some(on))
            };
            return if harmless.iter().any(|word| same(word)) {
                Ok(Value::Text(text.into()))
            } else {
                Err(Problem::Missing { key: self.name, value: text.into(), harmless, instead })
            };
        }
        let value = match self.kind {
            Kind::Flag => scalar::parse_flag(text).map(Value::Flag),
            Kind::Choice(words) => words.iter().find(|word| **word == text).map(|word| Value::Choice(word)),
            Kind::Number(least, most) => {
                scalar::parse_number(text).filter(|number| (least..=most).contains(number)).map(Value::Number)
            }
            Kind::Size(unit) => scalar::parse_size(text, unit).map(Value::Size),
            Kind::Text(_) => Some(Value::Text(text.into())),
            Kind::Name(most) => text.is_ascii().then(|| Value::Text(text.chars().take(most).collect())),
        };
        value.ok_or_else(|| Problem::Value { key: self.name, value: text.into(), kind: self.kind })
    }
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// See [`Kind::Flag`].
    Flag(bool),
    /// See [`Kind::Choice`].
    Choice(&'static str),
    /// See [`Kind::Number`].
    Number(u64),
    /// See [`Kind::Size`]: bytes.
    Size(u64),
    /// See [`Kind::Text`] and [`Kind::Name`].
    Text(String),
}

/// One element of a list that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the option whose key it is, if not that of the list (see [`Support::Moved`]).
    pub option: Option<&'static str>,
    /// The key.
    pub key: &'static str,
    /// The value, read.
    pub value: Value,
    /// The key as written.
    pub written_key: String,
    /// The value as written.
    pub text: String,
}

impl Entry {
    /// An entry that nobody has written.
    pub fn text(key: &'static str, text: &str) -> Self {
        let value = Value::Text(text.to_owned());
        Self { option: None, key, value, written_key: key.to_owned(), text: text.to_owned() }
    }
}

/// A list that was read and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValues {
    /// The variant that the list chose, if the schema has variants.
    pub variant: Option<&'static str>,
    /// The elements in their order, without the one that chose the variant.
    pub entries: Vec<Entry>,
    /// What is no error and should be known: spellings to be avoided, texts that were cut off.
    pub advice: Vec<String>,
}

/// What is wrong with a list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// An element is empty, or has no name before its `=`.
    #[error("there is an empty name; write name=value, and a comma inside a value twice")]
    NoName,
    /// No such key.
    #[error("there is no parameter '{key}' {place}{}", hint(key, known))]
    NoKey {
        /// The key.
        key: String,
        /// Where it was looked for.
        place: String,
        /// The keys there are.
        known: Vec<&'static str>,
    },
    /// A key stands alone and is not a flag.
    #[error("'{key}' needs a value: {key}={form}")]
    NoValue {
        /// The key.
        key: &'static str,
        /// What its value looks like.
        form: String,
    },
    /// The value is not of the key's kind.
    #[error("{key}={value}: {}", expected(kind, value))]
    Value {
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// What it should be.
        kind: Kind,
    },
    /// The key is known and does not work.
    #[error("{key}={value} is not supported yet; {}", nearest(key, harmless, instead))]
    Missing {
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// Values that are accepted.
        harmless: &'static [&'static str],
        /// What to do instead.
        instead: &'static str,
    },
    /// The list does not say which variant it wants.
    #[error("it does not say which {noun}: give {key}=NAME; natoma has {}", known.join(", "))]
    NoVariant {
        /// What a variant is called.
        noun: &'static str,
        /// The key that chooses it.
        key: &'static str,
        /// The variants there are.
        known: Vec<&'static str>,
    },
    /// No such variant.
    #[error("there is no {noun} '{name}'{}", instead_of(name, known))]
    UnknownVariant {
        /// What a variant is called.
        noun: &'static str,
        /// Its name as written.
        name: String,
        /// The variants there are.
        known: Vec<&'static str>,
    },
    /// The variant is known and does not work.
    #[error("the {noun} '{name}' is not supported yet; {instead}")]
    MissingVariant {
        /// What a variant is called.
        noun: &'static str,
        /// Its name.
        name: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// A key that must be there is not.
    #[error("'{key}' is missing: give {key}={form}")]
    Required {
        /// The key.
        key: &'static str,
        /// What its value looks like.
        form: String,
    },
    /// The JSON text is not an object of plain values.
    #[error("{0}")]
    Json(String),
}

/// The end of a message about an unknown key.
fn hint(key: &str, known: &[&'static str]) -> String {
    match did_you_mean(key, known.iter().copied()) {
        none if none.is_empty() => format!("; it takes {}", known.join(", ")),
        meant => meant,
    }
}

/// The end of a message about an unknown variant.
fn instead_of(name: &str, known: &[&'static str]) -> String {
    format!("; natoma has {}{}", known.join(", "), did_you_mean(name, known.iter().copied()))
}

/// The end of a message about a key that does not work.
fn nearest(key: &str, harmless: &[&str], instead: &str) -> String {
    let accepted: Vec<_> = harmless.iter().map(|value| format!("{key}={value}")).collect();
    match (accepted.join(" or "), instead) {
        (accepted, "") => format!("use {accepted}"),
        (accepted, instead) if accepted.is_empty() => instead.into(),
        (accepted, instead) => format!("{instead}, or use {accepted}"),
    }
}

/// What a value should have been.
fn expected(kind: &Kind, value: &str) -> String {
    match kind {
        Kind::Flag => "expected on or off".into(),
        Kind::Choice(words) => {
            format!("expected {}{}", words.join(", "), did_you_mean(value, words.iter().copied()))
        }
        Kind::Number(least, most) => format!("expected a number from {least} to {most}"),
        Kind::Size(_) => "expected a size below 2^64 bytes: a number with an optional suffix k, M, G, T, P or E \
                          (a fraction needs the suffix)"
            .into(),
        Kind::Text(_) => "expected a text".into(),
        Kind::Name(_) => "expected ASCII characters".into(),
    }
}

impl Schema {
    /// A schema of plain keys.
    pub const fn plain(implied: Option<&'static str>, keys: &'static [Key]) -> Self {
        Self { implied, keys, variants: &[], aliases: &[], variant_noun: "", missing_variants: &[], json: false }
    }

    /// Reads a list.
    pub fn parse(&self, text: &str) -> Result<KeyValues, Problem> {
        let items = if self.json && text.starts_with('{') {
            json::items(text).map_err(Problem::Json)?
        } else {
            syntax::split(text)
        };
        self.read(items)
    }

    /// The variant of a name.
    pub fn find_variant(&self, name: &str) -> Option<&'static Variant> {
        let name = self.aliases.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The names of a variant, its own first.
    pub fn names(&self, variant: &Variant) -> String {
        let aliases = self.aliases.iter().filter(|(_, meant)| *meant == variant.name);
        aliases.fold(variant.name.to_owned(), |names, (alias, _)| format!("{names}, {alias}"))
    }

    /// Reads one value for a key that no list was written for.
    pub fn entry(&self, key: &str, text: &str) -> Result<Entry, Problem> {
        self.key(None, key)?.entry(key, text)
    }

    /// Checks the elements of a list.
    pub fn read(&self, items: Vec<Item>) -> Result<KeyValues, Problem> {
        let variant = self.variant(&items)?;
        let mut list = KeyValues { variant: variant.map(|variant| variant.name), ..KeyValues::default() };
        for item in items {
            let (key, text) = match item {
                Item::Implied(text) => match self.implied {
                    Some(key) => (key.to_owned(), text),
                    None => self.bare(variant, &text, &mut list.advice)?,
                },
                Item::Bare(name) => self.bare(variant, &name, &mut list.advice)?,
                Item::Pair(key, text) => (key, text),
            };
            if variant.is_some() && self.implied == Some(key.as_str()) {
                continue;
            }
            let known = self.key(variant, &key)?;
            let entry = known.entry(&key, &text)?;
            if let (Kind::Name(most), Value::Text(cut)) = (known.kind, &entry.value)
                && *cut != text
            {
                list.advice.push(format!("{key} has at most {most} characters: the guest sees '{cut}'"));
            }
            list.entries.push(entry);
        }
        Ok(list)
    }

    /// The variant that a list asks for; `None` if the schema has none.
    fn variant(&self, items: &[Item]) -> Result<Option<&'static Variant>, Problem> {
        let (Some(implied), false) = (self.implied, self.variants.is_empty()) else { return Ok(None) };
        let noun = self.variant_noun;
        let known = || self.variants.iter().map(|variant| variant.name).collect();
        let name = items
            .iter()
            .rev()
            .find_map(|item| match item {
                Item::Implied(name) => Some(name),
                Item::Pair(key, name) if key == implied => Some(name),
                _ => None,
            })
            .or_else(|| items.iter().find_map(|item| self.own_key(item)))
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Problem::NoVariant { noun, key: implied, known: known() })?;
        if let Some(variant) = self.find_variant(name) {
            return Ok(Some(variant));
        }
        let name = name.clone();
        Err(match self.missing_variants.iter().find(|(names, _)| names.contains(&name.as_str())) {
            Some((_, instead)) => Problem::MissingVariant { noun, name, instead },
            None => Problem::UnknownVariant { noun, name, known: known() },
        })
    }

    /// The name of a variant that has a key of that name, if the element is this key.
    fn own_key<'a>(&self, item: &'a Item) -> Option<&'a String> {
        let Item::Pair(key, _) = item else { return None };
        self.find_variant(key)?.keys.iter().any(|own| own.name == key).then_some(key)
    }

    /// A bare word: `flag` is `flag=on`, `noflag` is `flag=off`.
    fn bare(
        &self,
        variant: Option<&'static Variant>,
        word: &str,
        advice: &mut Vec<String>,
    ) -> Result<(String, String), Problem> {
        let flag = |name: &str| self.key(variant, name).ok().filter(|key| matches!(key.kind, Kind::Flag));
        let (key, value) = match (flag(word), word.strip_prefix("no").and_then(flag)) {
            (Some(key), _) => (key, "on"),
            (None, Some(key)) => (key, "off"),
            (None, None) => {
                let key = self.key(variant, word)?;
                return Err(Problem::NoValue { key: key.name, form: key.value_form() });
            }
        };
        advice.push(format!("'{word}' is an old spelling; write {}={value}", key.name));
        Ok((key.name.into(), value.into()))
    }

    /// Looks up a key.
    fn key(&self, variant: Option<&'static Variant>, name: &str) -> Result<&'static Key, Problem> {
        if name.is_empty() {
            return Err(Problem::NoName);
        }
        let keys = || variant.map(|variant| variant.keys).unwrap_or_default().iter().chain(self.keys);
        keys().find(|key| key.is(name)).ok_or_else(|| Problem::NoKey {
            key: name.into(),
            place: variant.map_or("here".into(), |variant| format!("of {} '{}'", self.variant_noun, variant.name)),
            known: keys().filter(|key| matches!(key.support, Support::Works)).map(|key| key.name).collect(),
        })
    }
}

impl KeyValues {
    /// The last element with this key: later ones replace earlier ones.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }

    /// Value of a flag.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Flag(on) => Some(on),
            ref other => unreachable!("{key} is no flag: {other:?}"),
        }
    }

    /// Value of a number. The schema's range makes it fit `T`.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        match self.get(key)?.value {
            Value::Number(number) => number.try_into().ok(),
            ref other => unreachable!("{key} is no number: {other:?}"),
        }
    }

    /// Value of a size, in bytes.
    pub fn size(&self, key: &str) -> Option<u64> {
        match self.get(key)?.value {
            Value::Size(bytes) => Some(bytes),
            ref other => unreachable!("{key} is no size: {other:?}"),
        }
    }

    /// Value of a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            other => unreachable!("{key} is no text: {other:?}"),
        }
    }

    /// Value of a choice as the type whose serde names are the words of the choice.
    pub fn choice<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        match self.get(key)?.value {
            Value::Choice(word) => match T::deserialize(StrDeserializer::<ChoiceError>::new(word)) {
                Ok(value) => Some(value),
                Err(error) => unreachable!("{key}={word} is no {}: {error}", std::any::type_name::<T>()),
            },
            ref other => unreachable!("{key} is no choice: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests;
