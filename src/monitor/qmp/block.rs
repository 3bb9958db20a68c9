//! Commands of drives.

use serde_json::json;

use super::commands::{Result, now};
use super::error::QmpError;
use super::request::Arguments;
use crate::monitor::drives::DriveInfo;
use crate::monitor::{Control, Medium, Writing};

const WRITING: [(&str, Writing); 3] =
    [("retain", Writing::Retain), ("read-only", Writing::Forbidden), ("read-write", Writing::Allowed)];

/// `query-block`.
pub fn query(machine: &dyn Control) -> Result {
    now(machine.drives()?.iter().map(DriveInfo::json).collect())
}

/// The drive that is named by `device`, its own name, or by `id`, that of the device that has it.
fn drive(machine: &dyn Control, arguments: &mut Arguments) -> std::result::Result<String, QmpError> {
    let (device, id) = (arguments.optional_string("device")?, arguments.optional_string("id")?);
    let drives = machine.drives()?;
    let (name, found) = match (device, id) {
        (Some(name), None) => {
            let found = drives.into_iter().find(|drive| drive.id == name);
            (name, found)
        }
        (None, Some(name)) => {
            let found = drives.into_iter().find(|drive| drive.belongs_to(&name));
            (name, found)
        }
        _ => return Err(QmpError::generic("Need exactly one of 'device' and 'id'")),
    };
    found.map(|drive| drive.id).ok_or_else(|| QmpError::device_not_found(&name))
}

/// `eject`.
pub fn eject(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    // Nothing is ever locked in, so that force makes no difference.
    let _force = arguments.optional_bool("force")?;
    let drive = drive(machine, arguments)?;
    machine.change_medium(&drive, None)?;
    now(json!({}))
}

/// `blockdev-change-medium`.
pub fn change_medium(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let _force = arguments.optional_bool("force")?;
    let path = arguments.string("filename")?;
    let format = arguments.optional_string("format")?;
    let writing = arguments.optional_choice("read-only-mode", &WRITING)?.unwrap_or_default();
    let drive = drive(machine, arguments)?;
    if let Some(format) = format.as_deref().filter(|format| *format != "raw") {
        return Err(QmpError::generic(format!("Unknown driver '{format}': natoma can read raw images only")));
    }
    machine.change_medium(&drive, Some(Medium { path, raw: format.is_some(), writing }))?;
    now(json!({}))
}
