//! Commands of drives.

use serde_json::json;

use super::commands::{Answer, Result, now};
use super::error::QmpError;
use super::request::Arguments;
use crate::monitor::drives::DriveInfo;
use crate::monitor::{Control, Medium, MediumChange, Writing};

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

/// Does something to a drive. The answer comes after the events of its tray.
fn change(machine: &dyn Control, drive: &str, change: MediumChange, force: bool) -> Result {
    machine.change_medium(drive, change, force)?;
    Ok(Answer::Settled(json!({})))
}

/// `eject`.
pub fn eject(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let force = arguments.optional_bool("force")?.unwrap_or_default();
    let drive = drive(machine, arguments)?;
    change(machine, &drive, MediumChange::Eject, force)
}

/// `blockdev-open-tray`. That the guest has locked it is no error: it is asked to open it.
pub fn open_tray(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let force = arguments.optional_bool("force")?.unwrap_or_default();
    let drive = drive(machine, arguments)?;
    change(machine, &drive, MediumChange::OpenTray, force)
}

/// `blockdev-close-tray`.
pub fn close_tray(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let drive = drive(machine, arguments)?;
    change(machine, &drive, MediumChange::CloseTray, false)
}

/// `blockdev-remove-medium`.
pub fn remove_medium(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let drive = drive(machine, arguments)?;
    change(machine, &drive, MediumChange::Remove, false)
}

/// `blockdev-change-medium`.
pub fn change_medium(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let force = arguments.optional_bool("force")?.unwrap_or_default();
    let path = arguments.string("filename")?;
    let format = arguments.optional_string("format")?;
    let writing = arguments.optional_choice("read-only-mode", &WRITING)?.unwrap_or_default();
    let drive = drive(machine, arguments)?;
    let medium = Medium { path, format, writing };
    change(machine, &drive, MediumChange::Insert(medium), force)
}
