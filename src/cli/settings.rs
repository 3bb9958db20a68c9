//! The options of a command line and of its configuration files, each read by the table, in their order.

use super::arguments::Given;
use super::error::{Origin, UsageError};
use super::keyval::KeyValues;
use super::keyval::syntax::{self, Item};
use super::options::{self, Argument, Effect, OptionSpec};
use super::suggest::did_you_mean;
use std::ops::Deref;

/// One option, read.
#[derive(Debug, Clone)]
pub struct Occurrence {
    /// The option.
    pub option: &'static OptionSpec,
    /// Where it was given.
    pub origin: Origin,
    /// Its argument.
    pub content: Content,
}

/// The argument of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// There is none.
    Flag,
    /// Text.
    Text(String),
    /// A list, or the one key that the option is sugar for.
    List(KeyValues),
}

impl Occurrence {
    /// Reads an option of the command line.
    pub fn read(given: Given) -> Result<Self, UsageError> {
        let origin = given.origin();
        let content = Content::read(given.option, given.argument, &origin)?;
        Ok(Self { option: given.option, origin, content })
    }

    /// Its argument as text; empty if it is none.
    pub fn text(&self) -> &str {
        match &self.content {
            Content::Text(text) => text,
            Content::Flag | Content::List(_) => "",
        }
    }

    /// Its argument as a list; `None` if it is none.
    pub fn list(&self) -> Option<&KeyValues> {
        match &self.content {
            Content::List(list) => Some(list),
            Content::Flag | Content::Text(_) => None,
        }
    }
}

impl Content {
    fn read(option: &'static OptionSpec, argument: Option<String>, origin: &Origin) -> Result<Self, UsageError> {
        let problem = |problem| origin.error(problem);
        match (option.effect, option.argument, argument) {
            (Effect::Missing { harmless, .. }, _, Some(text)) if harmless.contains(&text.as_str()) => {
                Ok(Self::Text(text))
            }
            (Effect::Missing { harmless, instead }, ..) => Err(origin.error(refusal(option, harmless, instead))),
            (Effect::Sugar { option: target, key, value }, _, argument) => {
                let text = value.map_or_else(|| argument.unwrap_or_default(), str::to_owned);
                let schema = options::schema(target).unwrap_or_else(|| unreachable!("-{target} has no keys"));
                let mut entry = schema.entry(key, &text).map_err(problem)?;
                entry.option.get_or_insert(target);
                Ok(Self::List(KeyValues { entries: vec![entry], ..KeyValues::default() }))
            }
            (_, Argument::List(_, schema), Some(text)) => {
                let list = if option.name == "global" { schema.read(global_items(&text)) } else { schema.parse(&text) };
                list.map(Self::List).map_err(problem)
            }
            (_, Argument::Choice(words), Some(text)) if !words.contains(&text.as_str()) => Err(origin
                .error(format_args!("expected {}{}", words.join(", "), did_you_mean(&text, words.iter().copied())))),
            (_, _, Some(text)) => Ok(Self::Text(text)),
            (_, _, None) => Ok(Self::Flag),
        }
    }
}

/// Why an option is not accepted.
fn refusal(option: &OptionSpec, harmless: &[&str], instead: &str) -> String {
    let accepted: Vec<_> = harmless.iter().map(|value| format!("-{} {value}", option.name)).collect();
    if accepted.is_empty() {
        format!("this option is not supported yet; {instead}")
    } else {
        format!("this is not supported yet; {instead}; {} works", accepted.join(" or "))
    }
}

/// The elements of `-global DRIVER.PROPERTY=VALUE`, or of its form with keys. A value needs no doubled commas.
fn global_items(text: &str) -> Vec<Item> {
    match text.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value))) {
        Some(((driver, property), value)) if !driver.contains(',') => {
            [("driver", driver), ("property", property), ("value", value)]
                .map(|(key, text)| Item::Pair(key.into(), text.into()))
                .into()
        }
        _ => syntax::split(text),
    }
}

/// All options, in their order.
#[derive(Debug, Default)]
pub struct Settings {
    occurrences: Vec<Occurrence>,
}

/// The settings of an option that may be given several times and counts as one: later keys replace earlier ones.
#[derive(Debug, Default)]
pub struct Merged {
    list: KeyValues,
    origins: Vec<Origin>,
}

impl Settings {
    /// Adds an option after the others.
    pub fn push(&mut self, occurrence: Occurrence) {
        self.occurrences.push(occurrence);
    }

    /// All options.
    pub fn iter(&self) -> impl Iterator<Item = &Occurrence> {
        self.occurrences.iter()
    }

    /// Every occurrence of an option.
    pub fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &Occurrence> {
        self.occurrences.iter().filter(move |occurrence| occurrence.option.name == name)
    }

    /// The last occurrence of an option.
    pub fn last(&self, name: &str) -> Option<&Occurrence> {
        self.all(name).next_back()
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// The keys of an option, wherever they were set.
    pub fn merged(&self, name: &str) -> Merged {
        let mut merged = Merged::default();
        for occurrence in &self.occurrences {
            for entry in occurrence.list().into_iter().flat_map(|list| &list.entries) {
                if entry.option.unwrap_or(occurrence.option.name) == name {
                    merged.list.entries.push(entry.clone());
                    merged.origins.push(occurrence.origin.clone());
                }
            }
        }
        merged
    }
}

impl Merged {
    /// Where the last value of a key was set.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        let at = self.list.entries.iter().rposition(|entry| entry.key == key)?;
        self.origins.get(at)
    }

    /// Where any of these keys was set last.
    pub fn any_origin(&self, keys: &[&str]) -> Option<&Origin> {
        let at = self.list.entries.iter().rposition(|entry| keys.contains(&entry.key))?;
        self.origins.get(at)
    }

    /// An error about a key that was set.
    pub fn error(&self, key: &str, message: impl std::fmt::Display) -> UsageError {
        match self.origin(key) {
            Some(origin) => origin.error(message),
            None => UsageError::general(message),
        }
    }
}

impl Deref for Merged {
    type Target = KeyValues;

    fn deref(&self) -> &KeyValues {
        &self.list
    }
}
