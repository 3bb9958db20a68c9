//! Command lines through the front door: what they become, and what is wrong with them.

mod blockdev;
mod board;
mod boot;
mod consoles;
mod devices;
mod drives;
mod files;
mod grammar;
mod help;
mod ide;
mod numa;
mod scsi;
mod tables;
mod virtio;

use super::*;
use crate::config::*;
use proptest::prelude::*;
use std::io;

/// Two models and two properties.
const CPUS: CpuCatalogue = CpuCatalogue {
    models: || ["qemu64", "host"].map(|name| (name.into(), format!("the model {name}"))).into(),
    properties: || vec!["avx2", "kvm"],
    check: |cpu| match cpu.model.as_str() {
        "qemu64" | "host" => Ok(()),
        model => Err(format!("there is no CPU model '{model}'")),
    },
};

fn parse_with(words: &[&str], files: &[(&str, &str)]) -> Result<CommandLine, String> {
    let read_file = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new(name) == path);
        file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    let environment = Environment { cpus: CPUS, read_file: &read_file };
    parse(words.iter().map(OsString::from), &environment).map_err(|error| error.to_string())
}

/// Splits at spaces; `~` stands for a space inside an argument.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace('~', " ")).collect()
}

fn command_line(line: &str) -> Result<CommandLine, String> {
    parse_with(&words(line).iter().map(String::as_str).collect::<Vec<_>>(), &[])
}

/// The machine that a command line describes.
fn machine(line: &str) -> MachineConfig {
    match command_line(line) {
        Ok(CommandLine { request: Request::Run(config), .. }) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    command_line(line).expect_err(line)
}

/// Checks lines with the beginnings of their errors.
fn check_errors(cases: &[(&str, &str)]) {
    for (line, message) in cases {
        let error = error(line);
        assert!(error.starts_with(message), "{line}\n     is: {error}\n should: {message}");
    }
}

fn chardev(id: &str, backend: ChardevBackend) -> Chardev {
    Chardev { id: id.into(), option: None, backend, mux: false, logfile: None, logappend: false }
}

fn floppy(drive: &str, kind: FloppyKind) -> Option<FdcDrive> {
    Some(FdcDrive { drive: drive.into(), kind })
}

#[test]
fn no_options_give_a_pc_with_its_console_on_the_terminal() {
    let config = machine("");
    let of = |option: &str| Some(option.to_owned());
    let stdio =
        Chardev { mux: true, option: of("serial"), ..chardev("serial0", ChardevBackend::Stdio { signal: false }) };
    let parallel = Chardev { option: of("parallel"), ..chardev("parallel0", ChardevBackend::Null) };
    assert_eq!(
        config,
        MachineConfig {
            chardevs: vec![stdio, parallel],
            parallels: [Some("parallel0".into()), None, None],
            serials: [Some("serial0".into()), None, None, None],
            drives: vec![Drive::new("floppy0", None), Drive::new("ide1-cd0", None)],
            fdc: FdcConfig { drives: [floppy("floppy0", FloppyKind::Auto), None], ..FdcConfig::default() },
            ide: vec![DeviceConfig::IdeCd(IdeDrive::new(2, Some("ide1-cd0".into())))],
            monitors: vec![MonitorConfig { chardev: "serial0".into(), mode: MonitorMode::Readline }],
            ..MachineConfig::default()
        }
    );
    assert_eq!(config.memory.size(), 128 << 20);
    assert_eq!(machine("-nodefaults"), MachineConfig::default());
}
