//! Drives and what is in them: `info block`, `eject`, `change`.

use std::fmt::Write;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, bail};
use devices::base::{Shared, lock};
use devices::floppy::Fdc;

use crate::config::{Access, CacheMode, DeviceConfig, Drive, Image, MachineConfig};
use crate::host::block;
use crate::monitor::{Medium, Writing};

/// Who has a drive.
enum User {
    /// A floppy drive: its number, and its id if it has one.
    Floppy(u8, Option<String>),
    /// A device whose medium stays as it is, or nobody.
    Other,
}

struct Entry {
    id: String,
    user: User,
    image: Option<Image>,
}

/// The drives of a machine.
pub(super) struct Media {
    fdc: Option<Shared<Fdc>>,
    drives: Mutex<Vec<Entry>>,
}

impl Media {
    pub(super) fn new(config: &MachineConfig, fdc: Option<Shared<Fdc>>) -> Self {
        let drives = config.drives.iter().map(|Drive { id, image }| Entry {
            id: id.clone(),
            user: user(config, id),
            image: image.clone(),
        });
        Self { fdc, drives: Mutex::new(drives.collect()) }
    }

    /// Tells what is where.
    pub(super) fn describe(&self) -> String {
        let drives = lock(&self.drives);
        let mut text = String::new();
        for (number, Entry { id, user, image }) in drives.iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            // Writing to a String can't fail.
            let _ = match image {
                Some(Image { path, access, .. }) => {
                    let read_only = if *access == Access::ReadOnly { ", read-only" } else { "" };
                    writeln!(text, "{id}: {} (raw{read_only})", path.display())
                }
                None => writeln!(text, "{id}: [not inserted]"),
            };
            if let User::Floppy(unit, device) = user {
                let path = match device {
                    Some(id) => format!("/machine/peripheral/{id}"),
                    None => format!("floppy drive {}", if *unit == 0 { 'A' } else { 'B' }),
                };
                let _ = writeln!(text, "    Attached to:      {path}");
                let _ = writeln!(text, "    Removable device: not locked, tray closed");
            }
            if let Some(Image { cache, .. }) = image {
                let mode = match cache {
                    CacheMode::Writeback => "writeback",
                    CacheMode::Writethrough => "writethrough",
                    CacheMode::Unsafe => "writeback, ignore flushes",
                };
                let _ = writeln!(text, "    Cache mode:       {mode}");
            }
        }
        text
    }

    /// Puts a medium into a drive, or takes the one out that is in it.
    ///
    /// # Errors
    /// There is no such drive, its medium can't be changed, or the image can't be opened; then the drive keeps what it has.
    pub(super) fn change(&self, name: &str, medium: Option<Medium>) -> Result<()> {
        let mut drives = lock(&self.drives);
        let is_meant = |entry: &&mut Entry| match &entry.user {
            User::Floppy(_, Some(device)) if device == name => true,
            _ => entry.id == name,
        };
        let entry = drives.iter_mut().find(is_meant).ok_or_else(|| anyhow!("Device '{name}' not found"))?;
        let (User::Floppy(unit, _), Some(fdc)) = (&entry.user, &self.fdc) else {
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
        let format = raw.then_some(crate::config::ImageFormat::Raw);
        let image = Image { path: path.into(), format, access, snapshot: false, ..before };
        let opened = block::open(&image).with_context(|| format!("change {name}"))?;
        if !lock(fdc).insert(unit, opened) {
            bail!("there is no floppy drive behind '{name}'");
        }
        entry.image = Some(image);
        Ok(())
    }
}

/// Who has drive `id`.
fn user(config: &MachineConfig, id: &str) -> User {
    for (unit, drive) in (0..).zip(&config.fdc.drives) {
        if drive.as_ref().is_some_and(|drive| drive.drive == id) {
            return User::Floppy(unit, None);
        }
    }
    for device in &config.devices {
        if let DeviceConfig::Floppy(floppy) = device
            && floppy.drive.as_deref() == Some(id)
        {
            return User::Floppy(floppy.unit, floppy.id.clone());
        }
    }
    User::Other
}
