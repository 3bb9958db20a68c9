//! The process: names, actions, files, background.

use crate::cli::error::UsageError;
use crate::cli::settings::Settings;
use crate::config::{Actions, Identity, RunConfig};
use uuid::Uuid;

/// Reads `-name` and `-uuid`.
pub fn identity(settings: &Settings) -> Result<Identity, UsageError> {
    let name = settings.merged("name");
    let text = |key| name.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(process) = text("process").filter(|process| process.contains('\0')) {
        return Err(name.error("process", format_args!("the name '{}' contains a zero byte", process.escape_debug())));
    }
    let uuid = match settings.last("uuid") {
        None => None,
        Some(given) => Some(parse_uuid(given.text()).map_err(|problem| given.origin.error(problem))?),
    };
    Ok(Identity {
        name: text("guest"),
        process_name: text("process"),
        debug_threads: name.flag("debug-threads").unwrap_or(false),
        uuid,
    })
}

/// Reads a UUID. The crate also reads forms without hyphens and with braces, which QEMU refuses.
pub fn parse_uuid(text: &str) -> Result<Uuid, &'static str> {
    Uuid::try_parse(text)
        .ok()
        .filter(|_| text.len() == 36)
        .ok_or("expected 8-4-4-4-12 hexadecimal digits, 550e8400-e29b-41d4-a716-446655440000 say")
}

/// Reads the options of the process.
pub fn run(settings: &Settings) -> Result<RunConfig, UsageError> {
    let action = settings.merged("action");
    let pidfile = match settings.last("pidfile") {
        Some(given) if given.text().is_empty() => return Err(given.origin.error("the name of the file is empty")),
        given => given.map(|given| given.text().into()),
    };
    Ok(RunConfig {
        actions: Actions {
            reboot: action.choice("reboot").unwrap_or_default(),
            shutdown: action.choice("shutdown").unwrap_or_default(),
            panic: action.choice("panic").unwrap_or_default(),
            watchdog: action.choice("watchdog").unwrap_or_default(),
        },
        start_paused: settings.has("S"),
        daemonize: settings.has("daemonize"),
        pidfile,
    })
}
