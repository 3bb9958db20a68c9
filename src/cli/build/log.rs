//! `-d`, `-D`, `-trace`: what is logged, and where to.

use crate::cli::error::UsageError;
use crate::cli::settings::Settings;
use crate::cli::suggest::did_you_mean;
use crate::config::{LogConfig, LogItem};
use std::io;
use std::path::Path;

/// Items of `-d`: names, values and descriptions.
pub const ITEMS: [(&str, LogItem, &str); 4] = [
    (
        "guest_errors",
        LogItem::GuestErrors,
        "the guest does something invalid, such as using a register that does not exist",
    ),
    ("unimp", LogItem::Unimp, "the guest uses something that natoma does not emulate"),
    ("cpu_reset", LogItem::CpuReset, "state of a CPU before its reset"),
    ("int", LogItem::Int, "interrupts and exceptions"),
];

/// Items of QEMU's that show its translator at work.
const TRANSLATOR_ITEMS: [&str; 14] = [
    "out_asm", "in_asm", "op", "op_opt", "op_ind", "exec", "cpu", "fpu", "mmu", "pcall", "page", "nochain", "plugin",
    "vpu",
];

/// Reads the options of logging.
pub fn build(settings: &Settings, read_file: &dyn Fn(&Path) -> io::Result<String>) -> Result<LogConfig, UsageError> {
    let mut log = LogConfig::default();
    for given in settings.all("d") {
        for item in given.text().split(',') {
            match (item, item.strip_prefix("trace:"), ITEMS.iter().find(|(name, ..)| *name == item)) {
                (_, Some(pattern), _) => log.trace.push(pattern.into()),
                (_, _, Some((_, item, _))) => log.items.push(*item),
                ("all", ..) => log.items.extend(ITEMS.iter().map(|(_, item, _)| *item)),
                (item, ..) if TRANSLATOR_ITEMS.contains(&item) => {
                    return Err(given.origin.error(format_args!(
                        "'{item}' is not supported: natoma runs on KVM and does not translate code; -d help lists what can be \
                         logged"
                    )));
                }
                ("strace" | "tid", ..) => {
                    return Err(given.origin.error(format_args!("'{item}' is not supported; leave it out")));
                }
                _ => {
                    let meant = did_you_mean(item, ITEMS.iter().map(|(name, ..)| *name));
                    return Err(given
                        .origin
                        .error(format_args!("there is no log item '{item}'{meant}; -d help lists them")));
                }
            }
        }
    }
    let mut seen = Vec::new();
    log.items.retain(|item| {
        !seen.contains(item) && {
            seen.push(*item);
            true
        }
    });

    for given in settings.all("trace") {
        for entry in given.list().into_iter().flat_map(|list| &list.entries) {
            if entry.key == "enable" {
                log.trace.push(entry.text.clone());
                continue;
            }
            let text = read_file(Path::new(&entry.text))
                .map_err(|error| given.origin.error(format_args!("cannot read {}: {error}", entry.text)))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            log.trace.extend(lines.map(str::to_owned));
        }
    }
    if let Some(given) = settings.last("D") {
        let name = given.text();
        let percents = name.matches('%').count();
        if name.is_empty() || percents > 1 || percents != name.matches("%d").count() {
            return Err(given
                .origin
                .error("expected the name of a file, with at most one % in it, as %d for the process id"));
        }
        log.file = Some(name.into());
    }
    Ok(log)
}
