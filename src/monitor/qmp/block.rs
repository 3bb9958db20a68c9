//! Commands of drives.

use serde_json::json;

use super::commands::{Answer, Result, now};
use super::error::QmpError;
use super::request::Arguments;
use crate::config::{Throttle, ThrottleLimits};
use crate::monitor::drives::{DriveInfo, Target};
use crate::monitor::{Control, Medium, MediumChange, Writing};

const WRITING: [(&str, Writing); 3] =
    [("retain", Writing::Retain), ("read-only", Writing::Forbidden), ("read-write", Writing::Allowed)];

/// `query-block`.
pub fn query(machine: &dyn Control) -> Result {
    now(machine.drives()?.iter().map(DriveInfo::json).collect())
}

/// `query-named-block-nodes`.
pub fn query_nodes(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let flat = arguments.optional_bool("flat")?.unwrap_or_default();
    // As in QEMU: the latest comes first.
    now(machine.nodes()?.nodes().iter().rev().map(|node| node.json(flat)).collect())
}

/// `query-blockstats`.
pub fn query_stats(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    if arguments.optional_bool("query-nodes")?.unwrap_or_default() {
        return now(machine.nodes()?.nodes().iter().map(|node| node.stats_json(false)).collect());
    }
    let drives = machine.drives()?;
    // As in QEMU: those that a device has, or something is in.
    let told = drives.iter().filter(|drive| drive.device.is_some() || drive.medium.is_some());
    now(told.map(DriveInfo::stats_json).collect())
}

/// `blockdev-add`.
pub fn add(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    machine.nodes()?.add(arguments.take_all())?;
    now(json!({}))
}

/// `blockdev-del`.
pub fn delete(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let name = arguments.string("node-name")?;
    machine.nodes()?.remove(&name)?;
    now(json!({}))
}

/// `blockdev-insert-medium`.
pub fn insert_medium(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let node = arguments.string("node-name")?;
    let drive = drive(machine, arguments)?;
    machine.nodes()?.insert(&drive, &node)?;
    Ok(Answer::Settled(json!({})))
}

/// `block_resize`.
pub fn resize(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let (device, node) = (arguments.optional_string("device")?, arguments.optional_string("node-name")?);
    let size = arguments.signed("size")?;
    let target = match (device, node) {
        (Some(drive), None) => Target::Drive(drive),
        (None, Some(node)) => Target::Node(node),
        (device, node) => {
            let [device, node] = [device, node].map(Option::unwrap_or_default);
            return Err(QmpError::generic(format!("Cannot find device='{device}' nor node-name='{node}'")));
        }
    };
    let size = u64::try_from(size).map_err(|_| QmpError::generic("Parameter 'size' expects a >0 size"))?;
    machine.nodes()?.resize(&target, size)?;
    Ok(Answer::Settled(json!({})))
}

/// `block_set_io_throttle`.
pub fn set_throttle(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let group = arguments.optional_string("group")?;
    let mut limits = ThrottleLimits::default();
    for (argument, name) in LIMITS {
        for (suffix, of) in [("", ""), ("_max", "-max"), ("_max_length", "-max-length")] {
            let value = arguments.optional_unsigned(&format!("{argument}{suffix}"))?;
            if let Some(value) = value {
                limits.set(&format!("{name}{of}"), value);
            }
        }
    }
    limits.iops_size = arguments.optional_unsigned("iops_size")?.unwrap_or_default();
    limits.check().map_err(QmpError::generic)?;
    let drive = drive(machine, arguments)?;
    machine.nodes()?.throttle(&drive, Throttle { group, limits })?;
    now(json!({}))
}

/// The limits by their names here, and by those that they have elsewhere.
const LIMITS: [(&str, &str); 6] = [
    ("bps", "bps-total"),
    ("bps_rd", "bps-read"),
    ("bps_wr", "bps-write"),
    ("iops", "iops-total"),
    ("iops_rd", "iops-read"),
    ("iops_wr", "iops-write"),
];

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
