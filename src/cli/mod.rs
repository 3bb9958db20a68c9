//! The command line: the option grammar and the table of all options, which become a
//! [`MachineConfig`].
//!
//! Nothing of the host is touched here but the files of `-readconfig` and `-trace events=`, and these only through the
//! [`Environment`]. The way of an option: `arguments` splits the command line, `settings` reads each argument by the table in
//! `options` (lists of `key=value` by `keyval`), `build` makes a machine of all of them. `help`, `manual` and `completion`
//! print the same table.

mod arguments;
mod build;
mod completion;
mod config_file;
mod error;
mod help;
pub mod keyval;
mod manual;
mod options;
mod settings;
use crate::suggest;

pub use build::{CpuCatalogue, Environment};
pub use config_file::read_file;
pub use error::{Origin, UsageError};

use crate::config::{Catalogue, DeviceProperty, DeviceType, MachineConfig, OptionGroup};
use arguments::Given;
use keyval::{Kind, Support};
use options::Effect;
use settings::{Occurrence, Settings};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a command line asks for.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Run this machine.
    Run(Box<MachineConfig>),
    /// Print this text and exit.
    Print(String),
    /// Write this text to a file (`-` is the standard output) and exit.
    Write {
        /// The file.
        path: PathBuf,
        /// The text.
        text: String,
    },
}

/// A command line that was understood.
#[derive(Debug, PartialEq)]
pub struct CommandLine {
    /// What it asks for.
    pub request: Request,
    /// Advice to the person who wrote it, a line each.
    pub warnings: Vec<String>,
}

/// Reads a command line, without the name of the program.
///
/// # Errors
/// The command line describes no machine. The message names the option and says what to do.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<CommandLine, UsageError> {
    let mut settings = Settings::default();
    let mut write_to: Option<Given> = None;
    for given in arguments::split(arguments)? {
        if let Some(text) = printed(&given, environment)? {
            return Ok(CommandLine { request: Request::Print(text), warnings: Vec::new() });
        }
        match (given.option.name, &given.argument) {
            ("readconfig", Some(file)) => {
                let text = (environment.read_file)(Path::new(file))
                    .map_err(|error| given.origin().error(format_args!("cannot read the file: {error}")))?;
                config_file::parse(file, &text)?.into_iter().for_each(|occurrence| settings.push(occurrence));
            }
            ("writeconfig", _) => write_to = Some(given),
            _ => settings.push(Occurrence::read(given)?),
        }
    }

    let mut warnings = Vec::new();
    for occurrence in settings.iter() {
        let advice = occurrence.list().into_iter().flat_map(|list| &list.advice);
        warnings.extend(advice.map(|advice| format!("{}: {advice}", occurrence.origin)));
    }
    let config = build::machine(&settings, environment, &mut warnings)?;
    let request = match write_to.and_then(|given| given.argument) {
        Some(path) => Request::Write { path: path.into(), text: config_file::print(&settings)? },
        None => Request::Run(Box::new(config)),
    };
    Ok(CommandLine { request, warnings })
}

/// What monitors tell of the command line.
pub const CATALOGUE: Catalogue = Catalogue { device_types, option_groups };

/// The devices that `-device` knows, with the properties that can be set.
fn device_types() -> Vec<DeviceType> {
    let variants = options::schema("device").map_or(&[][..], |schema| schema.variants);
    let device = |variant: &keyval::Variant| DeviceType {
        name: variant.name,
        // The bus is where it is, and no property.
        properties: variant.keys.iter().filter(|key| key.name != "bus").filter_map(property).collect(),
    };
    variants.iter().map(device).collect()
}

/// The options with parameters, by the names that they have in configuration files, with all parameters that work.
fn option_groups() -> Vec<OptionGroup> {
    let group = |option: &options::OptionSpec| match (option.group, option.argument) {
        (Some(name), options::Argument::List(_, schema)) => {
            let variants = schema.variants.iter().flat_map(|variant| variant.keys);
            let mut parameters: Vec<_> = schema.keys.iter().chain(variants).filter_map(property).collect();
            // Variants may have keys of the same name.
            parameters.sort_by_key(|parameter| parameter.name);
            parameters.dedup_by_key(|parameter| parameter.name);
            // What is after -device depends on the device.
            let parameters = if name == "device" { Vec::new() } else { parameters };
            Some(OptionGroup { name, parameters })
        }
        _ => None,
    };
    options::all().filter_map(group).collect()
}

/// A key as monitors tell of it, if it works.
fn property(key: &keyval::Key) -> Option<DeviceProperty> {
    let kind = match key.kind {
        Kind::Flag => "bool",
        Kind::Number(_, most) if most > u32::MAX.into() => "uint64",
        Kind::Number(..) => "uint32",
        Kind::Size(_) => "size",
        Kind::Choice(_) | Kind::Text(_) | Kind::Name(_) => "str",
    };
    let works = matches!(key.support, Support::Works | Support::Moved(..)) && !key.is_prefix();
    works.then_some(DeviceProperty { name: key.name, kind, description: key.help })
}

/// The text that an option asks to print, if it does.
fn printed(given: &Given, environment: &Environment) -> Result<Option<String>, UsageError> {
    let argument = given.argument.as_deref().unwrap_or_default();
    if !matches!(given.option.effect, Effect::Print) {
        let subject = help::requested(given.option, argument);
        return Ok(subject.map(|subject| help::keys(given.option, subject.as_deref(), &environment.cpus)));
    }
    Ok(Some(match (given.option.name, argument) {
        ("version", _) => help::version(),
        ("help", "") => help::overview(),
        ("help", name) => match options::find(name.trim_start_matches('-')) {
            Some(option) => help::option(option, &environment.cpus),
            None => {
                let names = options::all().map(|option| option.name);
                let meant = suggest::did_you_mean(name.trim_start_matches('-'), names);
                return Err(given.origin().error(format_args!("there is no such option{meant}")));
            }
        },
        ("manual", "man") => manual::man_page(),
        ("manual", "markdown") => manual::markdown(),
        ("completion", shell) => {
            completion::script(shell).ok_or_else(|| given.origin().error("expected bash, zsh or fish"))?
        }
        _ => return Err(given.origin().error(format_args!("expected {}", given.option.form()))),
    }))
}

#[cfg(test)]
mod tests;
