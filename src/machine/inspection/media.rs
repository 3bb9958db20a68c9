//! Drives and what is in them, which can be changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};

use anyhow::{Context, Result, anyhow, bail};
use devices::backend::block::BlockBackend;
use devices::backend::disk::AtOnce;
use devices::base::{Shared, lock};
use devices::floppy::Fdc;
use devices::ide::{MediumError, PiixIde, Place};
use devices::scsi::Tray;

use crate::blockdev::{self, Inherited};
use crate::config::{Access, Aio, CacheMode, DeviceConfig, Drive, FloppyDevice, FloppyKind, MachineConfig};
use crate::host::block::graph::Traits;
use crate::host::block::{self, Blocks};
use crate::machine::qom::Paths;
use crate::monitor::drives::{self, DriveInfo, MediumInfo, TrayInfo};
use crate::monitor::{Medium, MediumChange, Writing};

/// Places of a channel of the IDE controller.
const UNITS: u8 = 2;
/// What `stat` counts in.
const BLOCK: u64 = 512;

/// A drive.
struct Entry {
    id: String,
    /// The device that has it, if its medium can be changed.
    device: Option<Removable>,
}

/// A device whose medium can be changed.
struct Removable {
    slot: Slot,
    /// What the object is called that has it.
    path: String,
}

/// Where a medium goes.
#[derive(Clone, Copy)]
enum Slot {
    /// A drive of the floppy controller.
    Floppy(u8),
    /// A CD drive of the IDE controller.
    Cd(Place),
}

/// The drives of a machine.
pub(super) struct Media {
    fdc: Option<Shared<Fdc>>,
    ide: Option<Shared<PiixIde>>,
    blocks: Arc<Blocks>,
    drives: Vec<Entry>,
}

impl Media {
    /// The drives of a machine with these controllers, whose objects are called `paths`.
    pub(super) fn new(
        config: &MachineConfig,
        blocks: Arc<Blocks>,
        fdc: Option<Shared<Fdc>>,
        ide: Option<Shared<PiixIde>>,
        paths: &Paths,
    ) -> Self {
        let mut devices: Vec<_> = floppies(config, &paths.floppy_controller).chain(cds(config, paths)).collect();
        let entry = |drive: &Drive| {
            let place = devices.iter().position(|(id, _)| *id == drive.id);
            Entry { id: drive.id.clone(), device: place.map(|place| devices.swap_remove(place).1) }
        };
        Self { fdc, ide, drives: config.drives.iter().map(entry).collect(), blocks }
    }

    /// What is where.
    pub(super) fn all(&self) -> Vec<DriveInfo> {
        let removable =
            |Removable { slot, path }: &Removable| drives::Removable { object: path.clone(), tray: self.tray(*slot) };
        let info = |Entry { id, device }: &Entry| DriveInfo {
            id: id.clone(),
            removable: device.as_ref().map(removable),
            medium: self.blocks.medium(id).ok().flatten().as_ref().map(medium),
        };
        self.drives.iter().map(info).collect()
    }

    fn tray(&self, slot: Slot) -> Option<TrayInfo> {
        let Slot::Cd(place) = slot else { return None };
        let Tray { open, locked } = lock(self.ide.as_ref()?).tray(place).ok()?;
        Some(TrayInfo { number: UNITS * place.channel + place.unit, open, locked })
    }

    /// Does something to a drive by hand.
    ///
    /// # Errors
    /// As for [`Control::change_medium`](crate::monitor::Control::change_medium); the drive keeps what it has then, but its
    /// tray may be open.
    pub(super) fn change(&self, name: &str, change: MediumChange, force: bool) -> Result<()> {
        let entry = self.drives.iter().find(|entry| entry.id == name);
        let entry = entry.ok_or_else(|| anyhow!("Device '{name}' not found"))?;
        let slot = entry.device.as_ref().with_context(|| format!("Device '{name}' is not removable"))?.slot;
        match change {
            MediumChange::OpenTray => match self.open_tray(slot, force) {
                // It has been asked, and that is all that was wanted.
                Err(MediumError::Locked) => Ok(()),
                opened => explain(name, opened),
            },
            MediumChange::CloseTray => explain(name, self.close_tray(slot)),
            MediumChange::Eject | MediumChange::Remove => {
                if change == MediumChange::Eject {
                    explain(name, self.open_tray(slot, force))?;
                }
                explain(name, self.take(slot))?;
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
                        bail!("Device '{name}' can't write: use read-only or retain")
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
                let opened = self.blocks.open_for(name, &node.into()).with_context(|| format!("change {name}"))?;
                explain(name, self.open_tray(slot, force))?;
                explain(name, self.insert(slot, opened.waiting()))?;
                self.blocks.set_medium(name, Some(opened));
                Ok(())
            }
        }
    }

    fn open_tray(&self, slot: Slot, force: bool) -> Result<(), MediumError> {
        match slot {
            Slot::Floppy(_) => Ok(()),
            Slot::Cd(place) => self.ide()?.open_tray(place, force),
        }
    }

    fn close_tray(&self, slot: Slot) -> Result<(), MediumError> {
        match slot {
            Slot::Floppy(_) => Ok(()),
            Slot::Cd(place) => self.ide()?.close_tray(place),
        }
    }

    fn take(&self, slot: Slot) -> Result<(), MediumError> {
        // What is taken is dropped when the controller is released again.
        match slot {
            Slot::Floppy(unit) => {
                let taken = self.fdc()?.eject(unit);
                drop(taken);
            }
            Slot::Cd(place) => {
                let taken = self.ide()?.take_medium(place)?;
                drop(taken);
            }
        }
        Ok(())
    }

    fn insert(&self, slot: Slot, medium: Box<dyn BlockBackend>) -> Result<(), MediumError> {
        match slot {
            Slot::Floppy(unit) => {
                let is_there = self.fdc()?.insert(unit, medium);
                if is_there { Ok(()) } else { Err(MediumError::NoDrive) }
            }
            Slot::Cd(place) => {
                // Nobody listens for the end of requests to a medium that was not there at the start.
                let before = self.ide()?.insert(place, Box::new(AtOnce::new(medium)))?;
                drop(before);
                Ok(())
            }
        }
    }

    fn fdc(&self) -> Result<MutexGuard<'_, Fdc>, MediumError> {
        self.fdc.as_ref().map(|fdc| lock(fdc)).ok_or(MediumError::NoDrive)
    }

    fn ide(&self) -> Result<MutexGuard<'_, PiixIde>, MediumError> {
        self.ide.as_ref().map(|ide| lock(ide)).ok_or(MediumError::NoDrive)
    }
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
fn usual_access(slot: Slot) -> Access {
    match slot {
        Slot::Floppy(_) => Access::Auto,
        Slot::Cd(_) => Access::ReadOnly,
    }
}

fn medium(medium: &block::Medium) -> MediumInfo {
    let Traits { file_name, direct, no_flush, .. } = &medium.top().traits;
    let path = PathBuf::from(file_name);
    // A file that is gone, or is a device, has no size that could be told.
    let (size, blocks) = fs::metadata(&path).map_or((0, 0), |metadata| (metadata.len(), metadata.blocks()));
    let cache = CacheMode { writeback: medium.is_write_back(), direct: *direct, no_flush: *no_flush };
    MediumInfo { path, read_only: medium.node().is_read_only(), cache, size, allocated: blocks * BLOCK }
}

/// The floppy drives of a configuration, each with the id of the drive of the host that it has.
fn floppies(config: &MachineConfig, fdc_path: &str) -> impl Iterator<Item = (String, Removable)> {
    let mut floppies = Vec::new();
    for (unit, drive) in (0..).zip(&config.fdc.drives) {
        if let Some(drive) = drive {
            let device = Removable { slot: Slot::Floppy(unit), path: fdc_path.to_owned() };
            floppies.push((drive.drive.clone(), device));
        }
    }
    for device in &config.devices {
        if let DeviceConfig::Floppy(FloppyDevice { id, unit, drive: Some(drive), kind }) = device
            && *kind != FloppyKind::Absent
        {
            let path = match id {
                Some(id) => format!("/machine/peripheral/{id}"),
                None => fdc_path.to_owned(),
            };
            floppies.push((drive.clone(), Removable { slot: Slot::Floppy(*unit), path }));
        }
    }
    floppies.into_iter()
}

/// The CD drives at the IDE controller in the same way.
fn cds(config: &MachineConfig, paths: &Paths) -> impl Iterator<Item = (String, Removable)> {
    config.ide.iter().chain(&config.devices).filter_map(|device| {
        let DeviceConfig::IdeCd(cd) = device else { return None };
        let slot = Slot::Cd(Place { channel: cd.bus, unit: cd.unit });
        Some((cd.drive.clone()?, Removable { slot, path: paths.ide_drives[cd.place()].clone()? }))
    })
}
