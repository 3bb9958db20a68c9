//! Drives and what is in them, which can be changed.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result, anyhow, bail};
use devices::backend::disk::DiskClient;
use devices::base::{Shared, lock};
use devices::floppy::Fdc;
use devices::scsi::{CdDrive, MediumError, Tray};

use super::nodes;
use crate::blockdev::{self, Inherited};
use crate::config::{Access, Aio, Child, DeviceConfig, Drive, FloppyKind, MachineConfig, OnError};
use crate::host::block::engine::Failure;
use crate::host::block::{self, Blocks};
use crate::machine::pc::cd::CdBay;
use crate::machine::pc::view::BoardView;
use crate::machine::qom::Paths;
use crate::monitor::drives::{DeviceInfo, DriveInfo, MediumInfo, ThrottleInfo, TrayInfo, id_in};
use crate::monitor::{Medium, MediumChange, Writing};

/// A drive.
pub(super) struct Entry {
    pub(super) id: String,
    is_anonymous: bool,
    /// The path of the object of the device that has it.
    object: Option<String>,
    /// Where its medium goes, if that can be changed.
    slot: Option<Slot>,
    /// There are errors that stop the machine.
    errors_stop: bool,
}

impl Entry {
    /// What people call it.
    fn shown(&self) -> &str {
        match &self.object {
            Some(object) if self.is_anonymous => id_in(object).unwrap_or(object),
            _ => &self.id,
        }
    }

    /// Where its medium goes.
    ///
    /// # Errors
    /// It can't be changed.
    fn slot(&self) -> Result<&Slot> {
        self.slot.as_ref().with_context(|| format!("Device '{}' is not removable", self.shown()))
    }
}

/// Where a medium goes.
enum Slot {
    /// A drive of the floppy controller.
    Floppy(u8),
    /// A CD drive.
    Cd(CdBay),
}

/// The drives of a machine.
pub(super) struct Media {
    fdc: Option<Shared<Fdc>>,
    pub(super) blocks: Arc<Blocks>,
    /// The devices that have disks.
    pub(super) disks: Vec<Arc<Mutex<dyn DiskClient>>>,
    pub(super) drives: Vec<Entry>,
}

impl Media {
    /// The drives of the machine of this board, whose objects are called `paths`.
    pub(super) fn new(config: &MachineConfig, blocks: Arc<Blocks>, board: &BoardView, paths: &Paths) -> Self {
        let entry = |drive: &Drive| {
            let slot = slot_of(config, board, &drive.id);
            let object = paths.of_drives.iter().find(|(id, _)| *id == drive.id).map(|(_, path)| path);
            let object = object.or(matches!(slot, Some(Slot::Floppy(_))).then_some(&paths.floppy_controller));
            // Floppy drives and flash chips only report errors.
            let errors_stop = !matches!(slot, Some(Slot::Floppy(_)))
                && (drive.on_read_error == OnError::Stop
                    || matches!(drive.on_write_error, OnError::Stop | OnError::Enospc));
            Entry {
                id: drive.id.clone(),
                is_anonymous: drive.name().is_none(),
                object: object.cloned(),
                slot,
                errors_stop,
            }
        };
        let drives = config.drives.iter().map(entry).collect();
        Self { fdc: board.fdc.clone(), blocks, disks: board.disks.clone(), drives }
    }

    /// What is where.
    pub(super) fn all(&self) -> Vec<DriveInfo> {
        self.drives.iter().map(|entry| self.info(entry)).collect()
    }

    fn info(&self, entry: &Entry) -> DriveInfo {
        let Entry { id, is_anonymous, object, slot, errors_stop } = entry;
        let (stats, throttle) = self.blocks.drive(id).unwrap_or_default();
        let status = match stats.failure() {
            None => "ok",
            Some(Failure::NoSpace) => "nospace",
            Some(Failure::Other) => "failed",
        };
        let device = object.as_ref().map(|object| DeviceInfo {
            object: object.clone(),
            io_status: errors_stop.then_some(status),
            removable: slot.is_some(),
            tray: slot.as_ref().and_then(tray),
        });
        let medium = self.blocks.medium(id).ok().flatten().map(|medium| MediumInfo {
            node: nodes::node_info(medium.top(), &self.highest_written()),
            write_back: medium.is_write_back(),
            throttle: throttle.map_or_else(ThrottleInfo::default, |throttle| ThrottleInfo {
                limits: throttle.limits,
                // As QEMU, where a group that has no name is called as its only drive.
                group: Some(throttle.group.unwrap_or_else(|| id.clone())),
            }),
        });
        DriveInfo { id: id.clone(), is_anonymous: *is_anonymous, device, medium, stats: nodes::stats_info(&stats) }
    }

    /// Does something to a drive by hand.
    ///
    /// # Errors
    /// As for [`Control::change_medium`](crate::monitor::Control::change_medium); the drive keeps what it has then, but its
    /// tray may be open.
    pub(super) fn change(&self, name: &str, change: MediumChange, force: bool) -> Result<()> {
        let entry = self.entry(name)?;
        let (shown, slot) = (entry.shown(), entry.slot()?);
        match change {
            MediumChange::OpenTray => match self.open_tray(slot, force) {
                // It has been asked, and that is all that was wanted.
                Err(MediumError::Locked) => Ok(()),
                opened => explain(shown, opened),
            },
            MediumChange::CloseTray => explain(shown, self.close_tray(slot)),
            MediumChange::Eject | MediumChange::Remove => {
                if change == MediumChange::Eject {
                    explain(shown, self.open_tray(slot, force))?;
                }
                explain(shown, self.take(slot))?;
                self.blocks.set_medium(name, None);
                Ok(())
            }
            MediumChange::Insert(Medium { path, format, writing }) => {
                let before = self.blocks.medium(name)?;
                let access = match (writing, slot, &before) {
                    (Writing::Forbidden, ..) => Access::ReadOnly,
                    (Writing::Retain, _, None) => usual_access(slot),
                    (Writing::Retain, _, Some(before)) if before.node().is_read_only() => Access::ReadOnly,
                    (Writing::Retain, _, Some(_)) | (Writing::Allowed, Slot::Floppy(_), _) => Access::ReadWrite,
                    (Writing::Allowed, Slot::Cd(_), _) => {
                        bail!("Device '{shown}' can't write: use read-only or retain")
                    }
                };
                let traits = before.as_ref().map(|before| &before.top().traits);
                let inherited = Inherited {
                    access,
                    direct: traits.is_some_and(|traits| traits.direct),
                    no_flush: traits.is_some_and(|traits| traits.no_flush),
                    discard: traits.is_some_and(|traits| traits.discard),
                    aio: traits.map_or(Aio::Auto, |traits| traits.aio),
                    force_share: false,
                };
                let mut node = blockdev::named(&path, format.as_deref(), inherited).map_err(|why| anyhow!(why))?;
                node.detect_zeroes = traits.map_or(node.detect_zeroes, |traits| traits.detect_zeroes);
                // Before anything moves: the old medium stays if there is no new one.
                let opened = self.blocks.open_for(name, &node.into()).with_context(|| format!("change {shown}"))?;
                explain(shown, self.open_tray(slot, force))?;
                explain(shown, self.put_in(slot, &opened, true)?)?;
                self.blocks.set_medium(name, Some(opened));
                Ok(())
            }
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        let entry = self.drives.iter().find(|entry| entry.id == name);
        entry.ok_or_else(|| anyhow!("Device '{name}' not found"))
    }

    /// Puts a medium into the open tray of an empty drive.
    ///
    /// # Errors
    /// There is no such drive, its tray is closed, there is something in it, or the medium can't be used.
    pub(super) fn insert_node(&self, name: &str, node: &Child) -> Result<()> {
        let entry = self.entry(name)?;
        let slot = entry.slot()?;
        if tray(slot).is_some_and(|tray| !tray.open) {
            bail!("Tray of the device is not open");
        }
        if self.blocks.medium(name)?.is_some() {
            bail!("There already is a medium in the device");
        }
        let opened = self.blocks.open_for(name, node)?;
        explain(entry.shown(), self.put_in(slot, &opened, false)?)?;
        self.blocks.set_medium(name, Some(opened));
        Ok(())
    }

    fn open_tray(&self, slot: &Slot, force: bool) -> Result<(), MediumError> {
        match slot {
            Slot::Floppy(_) => Ok(()),
            Slot::Cd(bay) => bay.with(|cd| cd.open_tray(force)).ok_or(MediumError::NoDrive)?,
        }
    }

    fn close_tray(&self, slot: &Slot) -> Result<(), MediumError> {
        match slot {
            Slot::Floppy(_) => Ok(()),
            Slot::Cd(bay) => bay.with(CdDrive::close_tray).ok_or(MediumError::NoDrive),
        }
    }

    fn take(&self, slot: &Slot) -> Result<(), MediumError> {
        // What is taken is dropped when the controller is released again.
        match slot {
            Slot::Floppy(unit) => {
                let taken = self.fdc()?.eject(*unit);
                drop(taken);
            }
            Slot::Cd(bay) => {
                let taken = bay.with(CdDrive::take_medium).ok_or(MediumError::NoDrive)??;
                drop(taken);
            }
        }
        Ok(())
    }

    /// Puts a medium into the place of a drive; `close`: and closes its tray.
    fn put_in(&self, slot: &Slot, medium: &block::Medium, close: bool) -> Result<Result<(), MediumError>> {
        Ok(match slot {
            Slot::Floppy(unit) => {
                let put = self.fdc().map(|mut fdc| fdc.insert(*unit, medium.waiting()));
                put.and_then(|is_there| is_there.then_some(()).ok_or(MediumError::NoDrive))
            }
            Slot::Cd(bay) => {
                let backend = medium.connect(&bay.bell)?;
                let put = bay.with(|cd| match close {
                    true => Ok(cd.insert(backend)),
                    false => cd.load_medium(backend),
                });
                // What was there is dropped when the controller is released again.
                put.unwrap_or(Err(MediumError::NoDrive)).map(drop)
            }
        })
    }

    fn fdc(&self) -> Result<MutexGuard<'_, Fdc>, MediumError> {
        self.fdc.as_ref().map(|fdc| lock(fdc)).ok_or(MediumError::NoDrive)
    }
}

/// The tray of a drive that has one.
fn tray(slot: &Slot) -> Option<TrayInfo> {
    let Slot::Cd(bay) = slot else { return None };
    let Tray { open, locked } = bay.with(|cd| cd.tray())?;
    Some(TrayInfo { open, locked })
}

/// In QEMU's words.
fn explain(name: &str, result: Result<(), MediumError>) -> Result<()> {
    result.map_err(|error| match error {
        MediumError::NoDrive => anyhow!("Device '{name}' is not removable"),
        MediumError::Locked => {
            anyhow!("Device '{name}' is locked and force was not specified, wait for tray to open and try again")
        }
        MediumError::TrayClosed => anyhow!("Tray of device '{name}' is not open"),
    })
}

/// What may be done with a medium of which nobody has said it.
fn usual_access(slot: &Slot) -> Access {
    match slot {
        Slot::Floppy(_) => Access::Auto,
        Slot::Cd(_) => Access::ReadOnly,
    }
}

/// Where the medium of a drive of the host goes, if it can be changed.
fn slot_of(config: &MachineConfig, board: &BoardView, id: &str) -> Option<Slot> {
    let floppies = (0..).zip(&config.fdc.drives);
    let mut floppies = floppies.filter_map(|(unit, drive)| Some((unit, drive.as_ref()?)));
    if let Some((unit, _)) = floppies.find(|(_, floppy)| floppy.drive == id) {
        return Some(Slot::Floppy(unit));
    }
    let floppy = config.devices.iter().find_map(|device| match device {
        DeviceConfig::Floppy(floppy) if floppy.drive.as_deref() == Some(id) && floppy.kind != FloppyKind::Absent => {
            Some(Slot::Floppy(floppy.unit))
        }
        _ => None,
    });
    floppy.or_else(|| board.cd_bays.iter().find(|bay| bay.drive == id).cloned().map(Slot::Cd))
}
