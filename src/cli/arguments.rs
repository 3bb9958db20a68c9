//! The top level of the command line: which options were given, in which order, with which arguments.
//!
//! QEMU's forms, `-option value` and `--option value`, are simple enough to be read here: a parser that builds its own table
//! of all options first takes longer than the rest of the command line. `clap` knows the options for completion only.

use super::error::{Origin, UsageError};
use super::options::{self, Argument, Effect, OptionSpec};
use super::suggest::did_you_mean;
use clap::builder::PossibleValuesParser;
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
    let mut given = Vec::new();
    let mut arguments = arguments.into_iter().map(text);
    while let Some(word) = arguments.next() {
        let word = word?;
        if is_image(&word) {
            let option = options::find("hda").unwrap_or_else(|| unreachable!("-hda is an option"));
            given.push(Given { option, argument: Some(word) });
            continue;
        }
        let option = find(&word)?;
        let argument = match option.argument {
            Argument::None => None,
            Argument::OptionName => {
                // `-help -smp` asks about -smp; other options behind -help don't matter.
                let name = arguments.next().transpose()?.unwrap_or_default();
                let is_other =
                    name.strip_prefix('-').is_some_and(|name| options::find(name.trim_start_matches('-')).is_none());
                Some(if is_other { String::new() } else { name })
            }
            _ => Some(arguments.next().transpose()?.ok_or_else(|| {
                Origin::option(option.name, None).error(format_args!("its argument is missing: {}", option.form()))
            })?),
        };
        given.push(Given { option, argument });
        if matches!(option.effect, Effect::Print) {
            break;
        }
    }
    Ok(given)
}

/// Whether a word is no option, but the image of the first disk.
fn is_image(word: &str) -> bool {
    !word.starts_with('-') && !word.is_empty()
}

/// The option that a word of the command line names, as `-option` or `--option`.
fn find(word: &str) -> Result<&'static OptionSpec, UsageError> {
    let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|name| !name.is_empty()) else {
        return Err(UsageError::general(format_args!("{word}: this is no option")));
    };
    if let Some(option) = options::find(name) {
        return Ok(option);
    }
    if let Some((name, value)) = name.split_once('=')
        && options::find(name).is_some_and(OptionSpec::takes_argument)
    {
        return Err(Origin::bare(word).error(format_args!("write -{name} {value}")));
    }
    let name = name.trim_start_matches('-').split(['=', ' ']).next().unwrap_or_default();
    let names = options::all().flat_map(|option| [Some(option.name), option.alias]).flatten();
    let meant = did_you_mean(name, names);
    let advice = if meant.is_empty() { "; -help lists them all" } else { &meant };
    Err(Origin::option(name, None).error(format_args!("there is no such option{advice}")))
}

/// An argument as text.
fn text(argument: OsString) -> Result<String, UsageError> {
    argument.into_string().map_err(|argument| {
        Origin::bare(&argument.to_string_lossy())
            .error("this is not valid UTF-8; give the file another name, or a link to it")
    })
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
        assert_eq!(split_words(&["-S", "disk.img"]), Ok(vec![("S", None), ("hda", value("disk.img"))]));
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
            (&[""], ": this is no option"),
            (&["--"], "--: this is no option"),
            (&["-"], "-: this is no option"),
            (&["---m", "64"], "-m: there is no such option"),
        ] {
            let error = split_words(words).unwrap_err();
            assert!(error.starts_with(message), "{words:?}: {error}");
        }
    }
}
