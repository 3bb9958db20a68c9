//! Configuration files: QEMU's format, read by `-readconfig` and written by `-writeconfig`.
//!
//! ```text
//! # comment
//! [chardev "com1"]
//!   backend = "stdio"
//!   signal = "off"
//!
//! [natoma]
//!   serial = "chardev:com1"
//! ```
//!
//! A section is an option whose argument is a list, with the section names that QEMU uses; the text after the section's name
//! is the key `id`. Options that have no section in QEMU's files are keys of the section `[natoma]`, `on` standing for an
//! option without argument. A value goes from the first quote to the last one of its line: nothing is escaped.

use super::arguments::Given;
use super::error::{Origin, UsageError};
use super::keyval::syntax::Item;
use super::options::{self, Argument, Effect, OptionSpec};
use super::settings::{Content, Occurrence, Settings};
use super::suggest::did_you_mean;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The section of options that have none of their own.
const OWN_SECTION: &str = "natoma";

/// Reads a small text file: a configuration or a list of trace patterns.
///
/// # Errors
/// Those of the file system; a file that is not UTF-8 or larger than 1 MiB is [`io::ErrorKind::InvalidData`].
pub fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than 1 MiB"));
    }
    Ok(text)
}

/// A section of a file while it is read.
struct Section<'a> {
    name: &'a str,
    origin: Origin,
    items: Vec<Item>,
}

/// Reads the text of a configuration file.
pub fn parse(file: &str, text: &str) -> Result<Vec<Occurrence>, UsageError> {
    let mut occurrences = Vec::new();
    let mut section: Option<Section> = None;
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        let here = || Origin::bare(&format!("{file}:{number}"));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, id)) = heading(line) {
            if let Some(section) = section.take() {
                section.finish(&mut occurrences)?;
            }
            let items = id.map(|id| Item::Pair("id".into(), id.into())).into_iter().collect();
            section = Some(Section { name, origin: Origin::section(file, number, name), items });
        } else if let Some((key, value)) = pair(line) {
            let Some(section) = &mut section else {
                return Err(here().error("this line is in no section; begin with one such as [machine]"));
            };
            section.items.push(Item::Pair(key.into(), value.into()));
        } else {
            return Err(here().error("expected [section], [section \"id\"] or key = \"value\""));
        }
    }
    if let Some(section) = section {
        section.finish(&mut occurrences)?;
    }
    Ok(occurrences)
}

/// `[name]` or `[name "id"]`.
fn heading(line: &str) -> Option<(&str, Option<&str>)> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?.trim();
    match inner.split_once('"') {
        Some((name, id)) => Some((name.trim_end(), Some(id.strip_suffix('"')?))),
        None => Some((inner, None)),
    }
}

/// `key = "value"`.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    Some((key.trim_end(), value.trim_start().strip_prefix('"')?.strip_suffix('"')?))
}

impl Section<'_> {
    fn finish(self, occurrences: &mut Vec<Occurrence>) -> Result<(), UsageError> {
        if self.name == OWN_SECTION {
            for item in self.items {
                if let Item::Pair(name, value) = item {
                    occurrences.push(own_option(&self.origin, &name, value)?);
                }
            }
            return Ok(());
        }
        let groups = || options::all().filter_map(|option| option.group).chain([OWN_SECTION]);
        let Some(option) = options::all().find(|option| option.group == Some(self.name)) else {
            return Err(self.origin.error(match did_you_mean(self.name, groups()) {
                none if none.is_empty() => {
                    format!("there is no such section; there are {}", groups().collect::<Vec<_>>().join(", "))
                }
                meant => format!("there is no such section{meant}"),
            }));
        };
        let Argument::List(_, schema) = option.argument else { unreachable!("[{}] has no keys", self.name) };
        let list = schema.read(self.items).map_err(|problem| self.origin.error(problem))?;
        occurrences.push(Occurrence { option, origin: self.origin, content: Content::List(list) });
        Ok(())
    }
}

/// A line of the section `[natoma]`: an option by its name.
fn own_option(origin: &Origin, name: &str, value: String) -> Result<Occurrence, UsageError> {
    let Some(option) = options::find(name).filter(|option| may_be_in_file(option)) else {
        let names = options::all().filter(|option| may_be_in_file(option)).map(|option| option.name);
        return Err(origin.error(format_args!("there is no option '{name}' for a file{}", did_you_mean(name, names))));
    };
    let argument = match (option.takes_argument(), value.as_str()) {
        (true, _) => Some(value),
        (false, "on") => None,
        (false, _) => return Err(origin.error(format_args!("write {name} = \"on\", or leave it out"))),
    };
    Occurrence::read(Given { option, argument })
        .map(|occurrence| Occurrence { origin: origin.clone(), ..occurrence })
        .map_err(|error| origin.error(error))
}

/// Whether an option makes sense in a file.
fn may_be_in_file(option: &OptionSpec) -> bool {
    !matches!(option.effect, Effect::Print) && !["readconfig", "writeconfig"].contains(&option.name)
}

/// Writes options so that [`parse`] reads them back.
///
/// # Errors
/// A value has a line break, which no line of the file can hold.
pub fn print(settings: &Settings) -> Result<String, UsageError> {
    let mut text = String::from("# natoma configuration: natoma -readconfig FILE\n");
    let mut own = String::new();
    for occurrence in settings.iter().filter(|occurrence| may_be_in_file(occurrence.option)) {
        let option = match occurrence.option.effect {
            Effect::Sugar { option, .. } => options::find(option).unwrap_or(occurrence.option),
            _ => occurrence.option,
        };
        match (&occurrence.content, option.group) {
            (Content::List(list), Some(group)) => {
                let id = list.entries.iter().find(|entry| entry.key == "id" && entry.option.is_none());
                match id {
                    Some(id) => write_line(&mut text, occurrence, format_args!("\n[{group} \"{}\"]", id.text))?,
                    None => write_line(&mut text, occurrence, format_args!("\n[{group}]"))?,
                }
                let variant = options::schema(option.name).and_then(|schema| schema.implied).zip(list.variant);
                let entries = list.entries.iter().filter(|entry| !id.is_some_and(|id| std::ptr::eq(id, *entry)));
                for (key, value) in
                    variant.into_iter().chain(entries.map(|entry| (entry.written_key.as_str(), entry.text.as_str())))
                {
                    write_line(&mut text, occurrence, format_args!("  {key} = \"{value}\""))?;
                }
            }
            (Content::List(list), None) => {
                let pairs = list.entries.iter().map(|entry| (entry.written_key.as_str(), entry.text.as_str()));
                let list = super::keyval::syntax::join(pairs);
                write_line(&mut own, occurrence, format_args!("  {} = \"{list}\"", option.name))?;
            }
            (Content::Text(value), _) => {
                write_line(&mut own, occurrence, format_args!("  {} = \"{value}\"", option.name))?
            }
            (Content::Flag, _) => write_line(&mut own, occurrence, format_args!("  {} = \"on\"", option.name))?,
        }
    }
    if !own.is_empty() {
        text.push_str("\n[natoma]\n");
        text.push_str(&own);
    }
    Ok(text)
}

fn write_line(text: &mut String, occurrence: &Occurrence, line: std::fmt::Arguments) -> Result<(), UsageError> {
    let start = text.len();
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
    let written = &text[start..text.len() - 1];
    if written.trim_start_matches('\n').contains(['\n', '\r']) {
        return Err(occurrence.origin.error("a configuration file cannot hold a value with a line break"));
    }
    Ok(())
}
