//! The IDE controller with its disks and CD drives.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use devices::backend::block::BlockBackend;
use devices::backend::disk::{
    AtOnce, DiskClient, DiskPort, ErrorAction, ErrorPolicy, ErrorReport, ErrorReporter, OnError,
};
use devices::base::{Clock, GuestRam, Priority, SystemControl, SystemRequest, lock, shared};
use devices::ide::{Cd, Connection, Disk, Geometry, Identity, PiixIde, SECTOR, Translation};

use super::{Board, place};
use crate::config::{self, DeviceConfig, IDE_PLACES, IdeDrive, MachineConfig};
use crate::host::Backends;
use crate::machine::board::{irq, pci, port};
use crate::machine::boot_order::BootOrder;
use crate::tell::tell;

/// Model and firmware of QEMU's drives, which guests know.
const DISK_MODEL: &str = "QEMU HARDDISK";
const CD_MODEL: &str = "QEMU DVD-ROM";
const FIRMWARE: &str = "2.5+";

/// What firmware is told of a disk, by its place.
pub type DiskGeometries = [Option<(Geometry, Translation)>; IDE_PLACES];

/// The devices of the controller by their places, and the geometries of its disks.
pub(super) struct IdeDrives {
    places: [Option<Connection>; IDE_PLACES],
    pub geometries: DiskGeometries,
}

/// Tells the user of errors, and stops the machine where that is wanted.
struct Errors {
    drive: String,
    system: Arc<dyn SystemControl>,
}

impl ErrorReporter for Errors {
    fn disk_error(&self, report: &ErrorReport<'_>) {
        let ErrorReport { operation, offset, error, action } = report;
        let what = format!("drive '{}': {operation:?} at {offset:#x} failed: {:#}", self.drive, Causes(error));
        match action {
            ErrorAction::Report => log::warn!("{what}; the guest is told"),
            ErrorAction::Ignore => log::warn!("{what}; the guest is not told"),
            ErrorAction::Stop => {
                tell(format_args!("{what}; the machine stops, and tries again when it goes on"));
                self.system.request(SystemRequest::DiskError);
            }
        }
    }
}

/// An error with what caused it.
struct Causes<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source()).try_for_each(|error| write!(f, ": {error}"))
    }
}

/// Makes the devices of a configuration, and gives them their places in the boot order.
///
/// # Errors
/// A drive of the host can't be had or does not suit its device, or a place is taken.
pub(super) fn drives(
    config: &MachineConfig,
    backends: &dyn Backends,
    clock: &Clock,
    system: &Arc<dyn SystemControl>,
    order: &mut BootOrder,
) -> Result<IdeDrives> {
    let mut drives = IdeDrives { places: [const { None }; IDE_PLACES], geometries: [None; IDE_PLACES] };
    for device in config.ide.iter().chain(&config.devices) {
        let (drive, name, is_disk) = match device {
            DeviceConfig::IdeHd(drive) => (drive, "ide-hd", true),
            DeviceConfig::IdeCd(drive) => (drive, "ide-cd", false),
            _ => continue,
        };
        let context = || match &drive.drive {
            Some(id) => format!("{name} with drive '{id}'"),
            None => name.to_owned(),
        };
        let path = format!("/pci@i0cf8/ide@1,1/drive@{}/disk@{}", drive.bus, drive.unit);
        order.add(drive.bootindex, path).with_context(context)?;
        let medium = drive.drive.as_ref().map(|id| backends.block(id)).transpose().with_context(context)?.flatten();
        let errors = Errors { drive: drive.drive.clone().unwrap_or_default(), system: Arc::clone(system) };
        let policy = policy(config, drive);
        let port = |medium: Option<Box<dyn BlockBackend>>| {
            let disk = medium.map(|medium| Box::new(AtOnce::new(medium)) as _);
            DiskPort::new(disk, policy, Arc::new(errors))
        };
        let at = drive.place();
        drives.places[at] = Some(if is_disk {
            let (medium, geometry) = contents(medium).with_context(context)?;
            drives.geometries[at] = Some(geometry);
            Connection::Disk(Disk::new(clock.clone(), port(Some(medium)), identity(drive, DISK_MODEL, geometry.0)))
        } else {
            Connection::Cd(Cd::new(port(medium), identity(drive, CD_MODEL, Geometry::for_size(0))))
        });
    }
    Ok(drives)
}

/// The contents of a disk, and its geometry, which its partition table may tell.
fn contents(medium: Option<Box<dyn BlockBackend>>) -> Result<(Box<dyn BlockBackend>, (Geometry, Translation))> {
    let mut medium = medium.context("a disk needs contents: give its -drive a file=PATH")?;
    if medium.is_read_only() {
        bail!(
            "an IDE disk can't be write protected: its file can't be written, or has readonly=on; snapshot=on does without"
        );
    }
    let mut first = [0; SECTOR];
    medium.read_at(0, &mut first).context("its first sector can't be read")?;
    let geometry = Geometry::guess(medium.len() / SECTOR as u64, &first);
    Ok((medium, geometry))
}

fn identity(drive: &IdeDrive, model: &str, geometry: Geometry) -> Identity {
    let IdeDrive { serial, model: stated, version, wwn, rotation_rate, .. } = drive;
    let text = |stated: &Option<String>, usual: &str| stated.clone().unwrap_or_else(|| usual.to_owned());
    Identity {
        // QEMU numbers the places, whether there is something or not.
        serial: text(serial, &format!("QM{:05}", drive.place() + 1)),
        model: text(stated, model),
        firmware: text(version, FIRMWARE),
        wwn: *wwn,
        geometry,
        rotation_rate: *rotation_rate,
    }
}

/// What errors of the drive behind a device lead to.
fn policy(config: &MachineConfig, device: &IdeDrive) -> ErrorPolicy {
    let drive = config.drives.iter().find(|drive| Some(&drive.id) == device.drive.as_ref());
    drive.map_or_else(ErrorPolicy::default, |config::Drive { on_read_error, on_write_error, .. }| ErrorPolicy {
        read: on_error(*on_read_error),
        write: on_error(*on_write_error),
    })
}

fn on_error(configured: config::OnError) -> OnError {
    match configured {
        config::OnError::Report => OnError::Report,
        config::OnError::Stop => OnError::Stop,
        config::OnError::Ignore => OnError::Ignore,
        config::OnError::Enospc => OnError::Enospc,
    }
}

impl Board {
    pub(super) fn add_ide(&mut self, drives: IdeDrives) -> Result<()> {
        let [a, b, c, d] = drives.places;
        let irqs = [self.line(irq::IDE[0], "IDE primary"), self.line(irq::IDE[1], "IDE secondary")];
        let ide = shared(PiixIde::new(GuestRam::clone(&self.ram), self.pci.bus_master(), irqs, [[a, b], [c, d]]));
        for (regions, bases) in PiixIde::REGIONS.into_iter().zip(port::IDE) {
            for (region, base) in regions.into_iter().zip(bases) {
                self.ports.map(base.into(), region, Priority::Fixed, ide.clone());
            }
        }
        self.add_pci(place(pci::IDE), &ide)?;
        self.ide = Some(ide);
        Ok(())
    }

    /// The machine goes on: requests that were kept because of an error are made again.
    pub fn resume_disks(&self) {
        if let Some(ide) = &self.ide {
            lock(ide).resume_requests();
        }
    }
}
