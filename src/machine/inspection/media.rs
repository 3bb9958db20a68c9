//! Drives and what is in them, which can be changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, bail};
use devices::base::{Shared, lock};
use devices::floppy::Fdc;

use crate::config::{Access, DeviceConfig, Drive, FloppyDevice, FloppyKind, Image, ImageFormat, MachineConfig};
use crate::host::block;
use crate::monitor::drives::{DriveInfo, MediumInfo};
use crate::monitor::{Medium, Writing};

/// What `stat` counts in.
const BLOCK: u64 = 512;

/// A drive.
struct Entry {
    id: String,
    /// The floppy drive that has it; `None`: a device whose medium stays as it is, or nobody.
    floppy: Option<Floppy>,
    image: Option<Image>,
}

/// A floppy drive.
struct Floppy {
    unit: u8,
    /// What the object is called that has it.
    path: String,
}

/// The drives of a machine.
pub(super) struct Media {
    fdc: Option<Shared<Fdc>>,
    drives: Mutex<Vec<Entry>>,
}

impl Media {
    /// The drives of a machine whose floppy controller is called `fdc_path`.
    pub(super) fn new(config: &MachineConfig, fdc: Option<Shared<Fdc>>, fdc_path: &str) -> Self {
        let mut floppies = floppies(config, fdc_path);
        let mut drives = Vec::new();
        for Drive { id, image, .. } in &config.drives {
            let place = floppies.iter().position(|(drive, _)| drive == id);
            let floppy = place.map(|place| floppies.remove(place).1);
            drives.push(Entry { id: id.clone(), floppy, image: image.clone() });
        }
        // Those that had no drive of the host at the start.
        drives.extend(floppies.into_iter().map(|(id, floppy)| Entry { id, floppy: Some(floppy), image: None }));
        Self { fdc, drives: Mutex::new(drives) }
    }

    /// What is where.
    pub(super) fn all(&self) -> Vec<DriveInfo> {
        let info = |Entry { id, floppy, image }: &Entry| DriveInfo {
            id: id.clone(),
            floppy: floppy.as_ref().map(|floppy| floppy.path.clone()),
            medium: image.as_ref().map(medium),
        };
        lock(&self.drives).iter().map(info).collect()
    }

    /// Puts a medium into a drive, or takes the one out that is in it.
    ///
    /// # Errors
    /// There is no such drive, its medium can't be changed, or the image can't be opened; then the drive keeps what it has.
    pub(super) fn change(&self, name: &str, medium: Option<Medium>) -> Result<()> {
        let mut drives = lock(&self.drives);
        let entry = drives.iter_mut().find(|entry| entry.id == name);
        let entry = entry.ok_or_else(|| anyhow!("Device '{name}' not found"))?;
        let (Some(Floppy { unit, .. }), Some(fdc)) = (&entry.floppy, &self.fdc) else {
            bail!("Device '{name}' is not removable");
        };
        let unit = *unit;
        let Some(Medium { path, raw, writing }) = medium else {
            // Dropped when the controller is released again.
            let taken = lock(fdc).eject(unit);
            drop(taken);
            entry.image = None;
            return Ok(());
        };
        let access = match writing {
            Writing::Retain => entry.image.as_ref().map_or(Access::Auto, |image| image.access),
            Writing::Forbidden => Access::ReadOnly,
            Writing::Allowed => Access::ReadWrite,
        };
        let before = entry.image.clone().unwrap_or_else(|| Image::new(&path));
        let format = raw.then_some(ImageFormat::Raw);
        let image = Image { path: path.into(), format, access, snapshot: false, ..before };
        let opened = block::open(&image).with_context(|| format!("change {name}"))?;
        if !lock(fdc).insert(unit, opened) {
            bail!("there is no floppy drive behind '{name}'");
        }
        entry.image = Some(image);
        Ok(())
    }
}

fn medium(Image { path, access, cache, .. }: &Image) -> MediumInfo {
    // A file that is gone, or is a device, has no size that could be told.
    let (size, blocks) = fs::metadata(path).map_or((0, 0), |metadata| (metadata.len(), metadata.blocks()));
    let read_only = *access == Access::ReadOnly;
    MediumInfo { path: path.clone(), read_only, cache: *cache, size, allocated: blocks * BLOCK }
}

/// The floppy drives of a configuration, each with the id of the drive of the host that it has, or its own name.
fn floppies(config: &MachineConfig, fdc_path: &str) -> Vec<(String, Floppy)> {
    let mut floppies = Vec::new();
    for (unit, drive) in (0..).zip(&config.fdc.drives) {
        if let Some(drive) = drive {
            floppies.push((drive.drive.clone(), Floppy { unit, path: fdc_path.to_owned() }));
        }
    }
    for device in &config.devices {
        if let DeviceConfig::Floppy(FloppyDevice { id, unit, drive, kind }) = device
            && *kind != FloppyKind::Absent
        {
            let (name, path) = match id {
                Some(id) => (id.clone(), format!("/machine/peripheral/{id}")),
                None => (format!("floppy{unit}"), fdc_path.to_owned()),
            };
            floppies.push((drive.clone().unwrap_or(name), Floppy { unit: *unit, path }));
        }
    }
    floppies
}
