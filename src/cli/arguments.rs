//! The top level of the command line: which options were given, in which order, with which arguments.
//!
//! `clap` does the work. It knows only `--option=value`, so QEMU's `-option value` and `--option value` are rewritten to that
//! form first.

use super::error::{Origin, UsageError};
use super::options::{self, Argument, Effect, OptionSpec};
use super::suggest::did_you_mean;
use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, ValueHint};
use std::ffi::OsString;

/// One option of the command line.
#[derive(Debug)]
pub struct Given {
    /// The option.
    pub option: &'static OptionSpec,
    /// Its argument; `None` if it takes none.
    pub argument: Option<String>,
}

impl Given {
    /// Where it was given.
    pub fn origin(&self) -> Origin {
        Origin::option(self.option.name, self.argument.as_deref())
    }
}

/// Splits a command line (without the program's name) into its options, in their order.
///
/// An option that only prints something ends the command line: what follows it is not looked at.
pub fn split(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<Given>, UsageError> {
    let rewritten = rewrite(arguments)?;
    let matches = command().try_get_matches_from(rewritten).map_err(|error| explain(&error))?;
    let mut given: Vec<(usize, Given)> = Vec::new();
    for option in options::all() {
        let (Some(indices), Some(values)) = (matches.indices_of(option.name), matches.get_many::<String>(option.name))
        else {
            continue;
        };
        given.extend(
            indices.zip(values).map(|(index, value)| {
                (index, Given { option, argument: option.takes_argument().then(|| value.clone()) })
            }),
        );
    }
    given.sort_by_key(|(index, _)| *index);
    Ok(given.into_iter().map(|(_, given)| given).collect())
}

/// Rewrites `-option value` and `--option value` to `--option=value`. An option that is not known stays for clap to refuse.
fn rewrite(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, UsageError> {
    let mut rewritten = Vec::new();
    let mut arguments = arguments.into_iter().map(text);
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        let Some(name) =
            argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).filter(|name| !name.is_empty())
        else {
            return Err(match argument.as_str() {
                "-" | "--" => UsageError::general(format_args!("{argument}: this is no option")),
                _ => Origin::bare(&argument).error("natoma has no disks yet: boot a kernel with -kernel and -initrd"),
            });
        };
        let Some(option) = options::find(name) else {
            if let Some((name, value)) = name.split_once('=')
                && options::find(name).is_some_and(OptionSpec::takes_argument)
            {
                return Err(Origin::bare(&argument).error(format_args!("write -{name} {value}")));
            }
            rewritten.push(format!("--{name}"));
            break;
        };
        let value = match option.argument {
            Argument::None => None,
            Argument::OptionName => {
                // `-help -smp` asks about -smp; other options behind -help don't matter.
                let name = arguments.next().transpose()?.unwrap_or_default();
                let is_other =
                    name.strip_prefix('-').is_some_and(|name| options::find(name.trim_start_matches('-')).is_none());
                Some(if is_other { String::new() } else { name })
            }
            _ => arguments.next().transpose()?,
        };
        rewritten.push(match value {
            Some(value) => format!("--{}={value}", option.name),
            None => format!("--{}", option.name),
        });
        if matches!(option.effect, Effect::Print) {
            break;
        }
    }
    Ok(rewritten)
}

/// An argument as text.
fn text(argument: OsString) -> Result<String, UsageError> {
    argument.into_string().map_err(|argument| {
        Origin::bare(&argument.to_string_lossy())
            .error("this is not valid UTF-8; give the file another name, or a link to it")
    })
}

/// The command line as clap sees it. Values are not checked here: only their presence.
fn command() -> Command {
    Command::new("natoma").no_binary_name(true).disable_help_flag(true).disable_version_flag(true).args(
        options::all().map(|option| {
            let arg = Arg::new(option.name).long(option.name).action(ArgAction::Append).require_equals(true);
            if option.takes_argument() { arg.num_args(1) } else { arg.num_args(0..=1).default_missing_value("") }
        }),
    )
}

/// The command line for completion scripts: what works, with the words that are possible as arguments.
pub fn completion_command() -> Command {
    let shown = options::all().filter(|option| !option.help.is_empty());
    Command::new("natoma").disable_help_flag(true).disable_version_flag(true).args(shown.map(|option| {
        let arg = Arg::new(option.name).long(option.name).help(option.help);
        match option.argument {
            Argument::None => arg.action(ArgAction::SetTrue),
            Argument::File(_) => arg.action(ArgAction::Append).value_hint(ValueHint::FilePath),
            Argument::Choice(words) => arg.value_parser(PossibleValuesParser::new(words)),
            Argument::OptionName => {
                arg.value_parser(PossibleValuesParser::new(options::all().map(|option| option.name)))
            }
            Argument::Text(_) | Argument::List(..) => arg.action(ArgAction::Append).value_hint(ValueHint::Other),
        }
    }))
}

/// An error of clap's in the words of this program.
fn explain(error: &clap::Error) -> UsageError {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => "",
    };
    let name = argument.trim_start_matches('-').split(['=', ' ']).next().unwrap_or_default();
    let origin = Origin::option(name, None);
    match (error.kind(), options::find(name)) {
        (ErrorKind::UnknownArgument, _) | (_, None) => {
            let names = options::all().flat_map(|option| [Some(option.name), option.alias]).flatten();
            origin.error(format_args!(
                "there is no such option{}",
                match did_you_mean(name, names) {
                    none if none.is_empty() => "; -help lists them all".into(),
                    meant => meant,
                }
            ))
        }
        (_, Some(option)) => origin.error(format_args!("its argument is missing: {}", option.form())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_words(words: &[&str]) -> Result<Vec<(&'static str, Option<String>)>, String> {
        split(words.iter().map(OsString::from))
            .map(|given| given.into_iter().map(|given| (given.option.name, given.argument)).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_keep_their_order_and_arguments_may_look_like_options() {
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(
            split_words(&[
                "-serial", "null", "--m", "64", "-S", "-append", "-m", "-serial", "stdio", "--S", "-M", "pc"
            ]),
            Ok(vec![
                ("serial", value("null")),
                ("m", value("64")),
                ("S", None),
                ("append", value("-m")),
                ("serial", value("stdio")),
                ("S", None),
                ("machine", value("pc")),
            ])
        );
        assert_eq!(split_words(&["-append", "a=b --c", "-name", ""]).unwrap()[1], ("name", value("")));
        assert_eq!(split_words(&[]), Ok(vec![]));
    }

    #[test]
    fn a_request_for_help_ends_the_command_line() {
        let help = |text: &str| Ok(vec![("help", Some(text.to_owned()))]);
        assert_eq!(split_words(&["-h"]), help(""));
        assert_eq!(split_words(&["--help", "smp", "-nosuch"]), help("smp"));
        assert_eq!(split_words(&["-h", "-nosuch"]), help(""));
        assert_eq!(split_words(&["-h", "--smp"]), help("--smp"));
        assert_eq!(split_words(&["-version", "-nosuch"]), Ok(vec![("version", None)]));
    }

    #[test]
    fn what_is_no_option_is_refused_with_advice() {
        for (words, message) in [
            (&["-machin", "pc"][..], "-machin: there is no such option; did you mean 'machine'?"),
            (&["--no-grafic"], "-no-grafic: there is no such option; did you mean 'nographic'?"),
            (&["-xyzzy=5"], "-xyzzy: there is no such option; -help lists them all"),
            (&["-m"], "-m: its argument is missing: -m [size=]SIZE"),
            (&["-S", "-kernel"], "-kernel: its argument is missing: -kernel FILE"),
            (&["-m=64"], "-m=64: write -m 64"),
            (&["disk.img"], "disk.img: natoma has no disks yet: boot a kernel with -kernel and -initrd"),
            (&["--"], "--: this is no option"),
            (&["-"], "-: this is no option"),
            (&["---m", "64"], "-m: there is no such option"),
        ] {
            let error = split_words(words).unwrap_err();
            assert!(error.starts_with(message), "{words:?}: {error}");
        }
    }
}
