//! The IDE controller with its disks and CD drives.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use devices::base::{Clock, GuestRam, Priority, SystemControl, lock, shared};
use devices::ide::{Cd, Connection, Disk, Geometry, Identity, LateWrites, PiixIde, Place, Translation, WriteBuffer};

use super::cd::{self, CdBay, Connector};
use super::disks::{self, DiskEnd};
use super::doorbells::DoorbellHost;
use super::{Board, place};
use crate::config::{ChsTranslation, DeviceConfig, IDE_PLACES, IdeDrive, MachineConfig};
use crate::host::Backends;
use crate::host::block::engine::Bell;
use crate::host::block::node::Node;
use crate::machine::board::{irq, pci, port};
use crate::machine::boot_order::BootOrder;

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
    /// Its CD drives, each with the drive of its media and what rings for them.
    cds: Vec<(String, Place, Bell)>,
    bells: Vec<Bell>,
}

/// The host keeps writes that may be late.
struct KeptWrites {
    host: Arc<dyn DoorbellHost>,
    kept: Mutex<Vec<Range<u16>>>,
}

impl WriteBuffer for KeptWrites {
    fn may_be_late(&self, writes: &[LateWrites]) {
        let ports = |writes: &LateWrites| match writes {
            LateWrites::Command { channel, registers } => {
                let [base, _] = port::IDE[*channel];
                base + registers.start as u16..base + registers.end as u16
            }
            LateWrites::Ports(ports) => ports.clone(),
        };
        let wanted: Vec<_> = writes.iter().map(ports).collect();
        let mut kept = lock(&self.kept);
        kept.retain(|ports| {
            let stays = wanted.contains(ports);
            if !stays && let Err(error) = self.host.hear_writes(ports.clone()) {
                log::warn!("writes to ports {ports:x?} stay late: {error}");
            }
            stays
        });
        for ports in wanted {
            if kept.contains(&ports) {
                continue;
            }
            match self.host.keep_writes(ports.clone()) {
                Ok(()) => kept.push(ports),
                // It does the same, and takes longer.
                Err(error) => log::debug!("writes to ports {ports:x?} are carried out one by one: {error}"),
            }
        }
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
    let mut drives = IdeDrives {
        places: [const { None }; IDE_PLACES],
        geometries: [None; IDE_PLACES],
        cds: Vec::new(),
        bells: Vec::new(),
    };
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
        let end = DiskEnd::new(config, backends, drive.drive.as_deref(), system);
        let DiskEnd { port, bell, node } = end.with_context(context)?;
        drives.bells.extend(bell.clone());
        let at = drive.place();
        drives.places[at] = Some(if is_disk {
            let geometry = geometry(drive, node.as_deref()).with_context(context)?;
            drives.geometries[at] = Some(geometry);
            let write_cache = disks::write_cache(drive.write_cache, config, drive.drive.as_deref());
            let identity = Identity { write_cache, ..identity(drive, DISK_MODEL, geometry.0) };
            Connection::Disk(Disk::new(clock.clone(), port, identity))
        } else {
            let at = Place { channel: drive.bus, unit: drive.unit };
            drives.cds.extend(drive.drive.clone().zip(bell).map(|(drive, bell)| (drive, at, bell)));
            let cd = Cd::new(port, identity(drive, CD_MODEL, Geometry::for_size(0)));
            Connection::Cd(cd.watched_by(cd::watcher(config, drive.drive.as_deref(), system)))
        });
    }
    Ok(drives)
}

/// The geometry of a disk with these contents.
fn geometry(drive: &IdeDrive, contents: Option<&dyn Node>) -> Result<(Geometry, Translation)> {
    let contents = contents.context("a disk needs contents: give its -drive a file=PATH")?;
    if contents.is_read_only() {
        bail!(
            "an IDE disk can't be write protected: its file can't be written, or has readonly=on; snapshot=on does without"
        );
    }
    let (geometry, translation) = match *drive {
        IdeDrive { cyls: 0, .. } => disks::geometry(contents),
        IdeDrive { cyls: cylinders, heads, secs: sectors, .. } => {
            // As QEMU: what the numbers of the disk calls have no room for is counted.
            let fits = cylinders <= 1024 && sectors <= 63;
            (Geometry { cylinders, heads, sectors }, if fits { Translation::None } else { Translation::Lba })
        }
    };
    let translation = match drive.translation {
        None => translation,
        Some(ChsTranslation::None) => Translation::None,
        Some(ChsTranslation::Lba) => Translation::Lba,
        Some(ChsTranslation::Large) => Translation::Large,
        Some(ChsTranslation::Rechs) => Translation::Rechs,
    };
    Ok((geometry, translation))
}

fn identity(drive: &IdeDrive, model: &str, geometry: Geometry) -> Identity {
    let IdeDrive { serial, model: stated, version, wwn, rotation_rate, physical_block_size, .. } = drive;
    let text = |stated: &Option<String>, usual: &str| stated.clone().unwrap_or_else(|| usual.to_owned());
    Identity {
        // QEMU numbers the places, whether there is something or not.
        serial: text(serial, &format!("QM{:05}", drive.place() + 1)),
        model: text(stated, model),
        firmware: text(version, FIRMWARE),
        wwn: *wwn,
        geometry,
        rotation_rate: *rotation_rate,
        physical_sector: *physical_block_size,
        ..Identity::default()
    }
}

impl Board {
    pub(super) fn add_ide(&mut self, drives: IdeDrives) -> Result<()> {
        let [a, b, c, d] = drives.places;
        let irqs = [self.line(irq::IDE[0], "IDE primary"), self.line(irq::IDE[1], "IDE secondary")];
        let mut ide = PiixIde::new(GuestRam::clone(&self.ram), self.pci.bus_master(), irqs, [[a, b], [c, d]]);
        if let Some(host) = &self.doorbells {
            ide = ide.buffered_by(Arc::new(KeptWrites { host: Arc::clone(host), kept: Mutex::default() }));
        }
        let ide = shared(ide);
        for (regions, bases) in PiixIde::REGIONS.into_iter().zip(port::IDE) {
            for (region, base) in regions.into_iter().zip(bases) {
                self.ports.map(base.into(), region, Priority::Fixed, ide.clone());
            }
        }
        self.add_pci(place(pci::IDE), &ide)?;
        self.add_disks(&ide, drives.bells);
        for (drive, place, bell) in drives.cds {
            self.add_cd(CdBay { drive, at: Connector::Ide(ide.clone(), place), bell });
        }
        Ok(())
    }
}
