//! What to measure, how often.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// The command line.
pub struct Options {
    /// Rounds of each measurement.
    pub runs: usize,
    /// Whether the boots of Linux are measured, in this many rounds.
    pub linux: Option<usize>,
    /// Whether disks are measured, in this many rounds.
    pub disks: Option<usize>,
    /// Names, or parts of them; empty for all.
    only: Vec<String>,
    /// Where the samples go.
    pub json: PathBuf,
    /// Whether to fail if a requirement is missed.
    pub check: bool,
}

impl Options {
    /// Takes the command line; ends the process if it is wrong or asks for help.
    pub fn parse() -> Self {
        let matches = Command::new("side-by-side")
            .about("Measures natoma beside QEMU and beside bare KVM calls")
            .args([
                Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true).help("Given by cargo"),
                Arg::new("only")
                    .value_name("NAME")
                    .action(ArgAction::Append)
                    .help("Measure what has this in its name (may be given several times) [default: everything]"),
                Arg::new("runs")
                    .long("runs")
                    .value_parser(value_parser!(u16).range(1..))
                    .default_value("15")
                    .help("Rounds of each measurement"),
                Arg::new("linux")
                    .long("linux")
                    .num_args(0..=1)
                    .value_parser(value_parser!(u16).range(1..))
                    .default_missing_value("3")
                    .help(
                        "Measure boots of Linux, in so many rounds (needs resources/test-kernel/build.sh to have run)",
                    ),
                Arg::new("disks")
                    .long("disks")
                    .num_args(0..=1)
                    .value_parser(value_parser!(u16).range(1..))
                    .default_missing_value("3")
                    .help("Measure disks, in so many rounds, beside fio if it is installed"),
                Arg::new("json")
                    .long("json")
                    .value_parser(value_parser!(PathBuf))
                    .default_value(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/side-by-side.json"))
                    .help("Where to write all samples"),
                Arg::new("check").long("check").action(ArgAction::SetTrue).help("Fail if a requirement is missed"),
            ])
            .get_matches();
        Self {
            runs: matches.get_one::<u16>("runs").copied().unwrap_or(1).into(),
            linux: matches.get_one::<u16>("linux").copied().map(usize::from),
            disks: matches.get_one::<u16>("disks").copied().map(usize::from),
            only: matches.get_many("only").into_iter().flatten().cloned().collect(),
            json: matches.get_one::<PathBuf>("json").cloned().unwrap_or_default(),
            check: matches.get_flag("check"),
        }
    }

    /// Whether the measurement with this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}
