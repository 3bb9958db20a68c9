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
    ("int", LogItem::Int, "interrupts and exceptions that natoma delivers itself, in KVM's place"),
];

/// Trace events with their descriptions: the targets of log records. A record without one goes by the path of its module.
pub const TRACE_EVENTS: [(&str, &str); 11] = [
    ("access", "the guest uses a device: where, and with what data"),
    ("cpu_reset", "a CPU is about to be reset: its registers and code"),
    ("fallback", "at the end of a CPU: how often natoma did what the host's KVM leaves out, by instruction"),
    ("fdc", "the floppy controller begins a command"),
    ("guest_errors", "the guest does something invalid with a device"),
    ("int", "natoma delivers an interrupt or exception itself, in KVM's place"),
    ("post_code", "the guest writes to port 80h"),
    ("refused", "the guest uses a device by an access of a size that it does not take"),
    ("speaker", "the guest sounds the PC's speaker, or silences it (with kernel-irqchip=split)"),
    ("unclaimed", "the guest uses an address where there is nothing"),
    ("natoma::MODULE", "a part of natoma has something to say, by its path in the source: natoma::machine::*, say"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The targets of all log records in a folder of sources.
    fn targets(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                targets(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let records = text.split("log::").skip(1);
                let target = |record: &str| Some(record.split_once("!(target: \"")?.1.split_once('"')?.0.to_owned());
                // The target is the first argument: anything further away belongs to another macro.
                found.extend(
                    records.filter(|record| record.find("!(target: ").is_some_and(|at| at < 12)).filter_map(target),
                );
            }
        }
    }

    #[test]
    fn help_lists_every_event_that_there_is() {
        let mut found = Vec::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["src", "devices/src"] {
            targets(&root.join(folder), &mut found);
        }
        found.sort();
        found.dedup();
        let listed: Vec<_> = TRACE_EVENTS.iter().map(|(name, _)| *name).filter(|name| !name.contains(':')).collect();
        assert_eq!(found, listed);
    }
}
