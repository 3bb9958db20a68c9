//! What is wrong with a command line, and where.

use std::fmt;
use std::sync::Arc;

/// Longest piece of the command line that a message repeats, in characters.
const LONGEST: usize = 160;
/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 2000;

/// Where a setting comes from: an option of the command line, or a line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Arc<str>);

impl Origin {
    /// An option as it was written.
    pub fn option(name: &str, argument: Option<&str>) -> Self {
        match argument {
            Some("") => Self(format!("-{name} ''").into()),
            Some(argument) => Self(format!("-{name} {}", shorten(argument)).into()),
            None => Self(format!("-{name}").into()),
        }
    }

    /// A word of the command line.
    pub fn bare(word: &str) -> Self {
        Self(shorten(word).into())
    }

    /// A section of a configuration file.
    pub fn section(file: &str, line: usize, section: &str) -> Self {
        Self(format!("{}:{line}: [{}]", shorten(file), shorten(section)).into())
    }

    /// An error at this place. The message says what is wrong and what to do about it.
    pub fn error(&self, message: impl fmt::Display) -> UsageError {
        UsageError { origin: Some(self.clone()), message: readable(&message.to_string()) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command line that describes no machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    origin: Option<Origin>,
    message: String,
}

impl UsageError {
    /// An error that no single option is to blame for.
    pub fn general(message: impl fmt::Display) -> Self {
        Self { origin: None, message: readable(&message.to_string()) }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for UsageError {}

/// A text for a message: without control characters, and not longer than a person wants to read.
fn shorten(text: &str) -> String {
    cut(text, LONGEST)
}

/// A message as a person wants to read it: values from the command line may be of any length and contain anything.
fn readable(message: &str) -> String {
    let words: Vec<_> = message.split(' ').map(shorten).collect();
    cut(&words.join(" "), LONGEST_MESSAGE)
}

fn cut(text: &str, longest: usize) -> String {
    let mut short: String =
        text.chars().take(longest).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(longest).is_some() {
        short.push_str("...");
    }
    short
}
