//! The log: errors and warnings, and what `-d` and `-trace` switch on, to standard error or the file of `-D`.
//!
//! A log record is switched on by its *target*. Records without a target of their own have their module's path as target and
//! appear from level *warning* up; the targets of [`targets`] appear when their item is switched on. `-trace` patterns match
//! targets too, and switch on every level.

use crate::config::{LogConfig, LogItem};
use anyhow::Context;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

/// Targets of log records that belong to an item of `-d`.
pub fn targets(item: LogItem) -> &'static [&'static str] {
    match item {
        LogItem::GuestErrors => &["guest_errors", "refused"],
        LogItem::Unimp => &["unimp", "unclaimed"],
        LogItem::CpuReset => &["cpu_reset"],
        LogItem::Int => &["int"],
    }
}

/// All items of `-d`.
const ITEMS: [LogItem; 4] = [LogItem::GuestErrors, LogItem::Unimp, LogItem::CpuReset, LogItem::Int];

/// Starts the log.
///
/// # Errors
/// The file of `-D` can't be written, or the log was started before.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let output: Box<dyn Write + Send> = match &config.file {
        None => Box::new(io::stderr()),
        Some(path) => {
            let path = path.to_string_lossy().replace("%d", &std::process::id().to_string());
            Box::new(File::create(&path).with_context(|| format!("-D {path}: can't write the log file"))?)
        }
    };
    let switch = Switch::new(config);
    log::set_max_level(switch.max_level());
    log::set_boxed_logger(Box::new(Logger { switch, output: Mutex::new(output) })).context("the log was started twice")
}

/// Which records are logged.
struct Switch {
    items: Vec<LogItem>,
    /// Patterns of targets and whether they switch on, in command-line order.
    trace: Vec<(String, bool)>,
}

impl Switch {
    fn new(config: &LogConfig) -> Self {
        let trace = config.trace.iter().map(|pattern| match pattern.strip_prefix('-') {
            Some(off) => (off.to_owned(), false),
            None => (pattern.clone(), true),
        });
        Self { items: config.items.clone(), trace: trace.collect() }
    }

    /// The level above which no record is logged, so that the rest costs nothing.
    fn max_level(&self) -> LevelFilter {
        if self.items.is_empty() && self.trace.is_empty() { LevelFilter::Warn } else { LevelFilter::Trace }
    }

    fn is_on(&self, target: &str, level: Level) -> bool {
        if let Some((_, on)) = self.trace.iter().rfind(|(pattern, _)| matches(pattern, target)) {
            return *on;
        }
        match ITEMS.into_iter().find(|item| targets(*item).contains(&target)) {
            Some(item) => self.items.contains(&item),
            None => level <= Level::Warn,
        }
    }
}

/// Whether a text matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

struct Logger {
    switch: Switch,
    output: Mutex<Box<dyn Write + Send>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.switch.is_on(metadata.target(), metadata.level())
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let own_target = record.module_path() != Some(record.target());
        let line = match record.level() {
            _ if own_target => format!("{}: {}\n", record.target(), record.args()),
            Level::Error => format!("natoma: {}\n", record.args()),
            Level::Warn => format!("natoma: warning: {}\n", record.args()),
            _ => format!("{}: {}\n", record.target(), record.args()),
        };
        // A log that can't be written must not end the machine, and there is nowhere to report it.
        let _ = self.output.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_targets() {
        for (pattern, text, expected) in [
            ("int", "int", true),
            ("int", "interrupt", false),
            ("int*", "interrupt", true),
            ("*errors", "guest_errors", true),
            ("natoma::*::fallback", "natoma::kvm::fallback", true),
            ("*", "", true),
            ("**", "x", true),
            ("a*a", "a", false),
            ("a*b*c", "a-c-b-c", true),
            ("a*b*c", "a-c-c", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn items_and_patterns_switch_their_targets() {
        let on = |items: &[LogItem], trace: &[&str], target: &str, level| {
            let trace = trace.iter().map(|pattern| (*pattern).to_owned()).collect();
            Switch::new(&LogConfig { items: items.to_vec(), file: None, trace }).is_on(target, level)
        };
        assert!(on(&[], &[], "natoma::kvm", Level::Warn));
        assert!(!on(&[], &[], "natoma::kvm", Level::Info));
        assert!(!on(&[], &[], "guest_errors", Level::Warn));
        assert!(on(&[LogItem::GuestErrors], &[], "guest_errors", Level::Warn));
        assert!(on(&[LogItem::Unimp], &[], "unclaimed", Level::Trace));
        assert!(!on(&[LogItem::Unimp], &[], "refused", Level::Trace));
        assert!(on(&[], &["natoma::*"], "natoma::kvm", Level::Trace));
        assert!(!on(&[], &["natoma::*", "-natoma::kvm*"], "natoma::kvm::vcpu", Level::Warn));
    }
}
