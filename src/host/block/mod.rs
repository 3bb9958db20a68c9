//! Back ends of drives: image files of the host.
//!
//! An image is a file or a block device, in one of several formats; a raw one has the bytes of the medium, one after the other. All
//! images are opened before the machine is built, and locked as QEMU locks them, so that no other process writes to an image in use.

mod blkdebug;
mod detect_zeroes;
mod device;
mod direct;
pub mod engine;
mod file;
mod image;
mod lock;
pub mod memory;
pub mod nbd;
pub mod node;
mod null;
mod overlay;
mod probe;
pub mod qcow2;
mod raw;
mod storage;
mod throttle;
mod vectored;
pub mod vmdk;

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, ensure};
use devices::backend::block::BlockBackend;
use devices::backend::disk::{AtOnce, DiskBackend};
use devices::base::lock as locked;

use self::detect_zeroes::ZeroDetector;
use self::engine::{Bell, Engine, EngineOptions, Stats};
use self::nbd::Nbd;
use self::node::{Node, Waiting};
use self::null::Null;
use self::overlay::Overlay;
use self::throttle::{Group, Throttle};
use crate::config::{Access, DetectZeroes, Drive, Image, ImageFormat, Source};

/// The drives of a configuration, each with the medium that is in it until a device takes it.
pub struct Blocks {
    drives: Mutex<Vec<(String, Option<Medium>)>>,
}

/// What is in a drive.
pub struct Medium {
    node: Arc<dyn Node>,
    options: EngineOptions,
    stats: Arc<Stats>,
    at_once: bool,
}

impl Medium {
    /// What can be read and written.
    #[must_use]
    pub fn node(&self) -> &Arc<dyn Node> {
        &self.node
    }

    /// The medium for a device that waits for each of its requests.
    #[must_use]
    pub fn waiting(&self) -> Box<dyn BlockBackend> {
        Box::new(Waiting::new(Arc::clone(&self.node), self.options.write_through))
    }

    /// The medium for a device that goes on while its requests are carried out, and what rings when one has been: `None` if
    /// that is before the device has submitted it. May be called several times, for a device with several queues say.
    ///
    /// # Errors
    /// The host can't provide what the drive asks for.
    pub fn connect(&self) -> Result<(Box<dyn DiskBackend>, Option<Bell>)> {
        if self.at_once {
            return Ok((Box::new(AtOnce::new(self.waiting())), None));
        }
        let engine = Engine::new(Arc::clone(&self.node), self.options, Arc::clone(&self.stats))?;
        let bell = engine.bell();
        Ok((Box::new(engine), Some(bell)))
    }
}

impl Blocks {
    /// Opens the images of a configuration, in order. `at_once`: time is virtual, and no request takes any.
    ///
    /// # Errors
    /// One can't be opened: says which, why and what to do.
    pub fn open(configs: &[Drive], at_once: bool) -> Result<Self> {
        let mut drives = Vec::new();
        for Drive { id, image, .. } in configs {
            let medium = image.as_ref().map(|image| medium(image, at_once)).transpose();
            drives.push((id.clone(), medium.with_context(|| format!("drive '{id}'"))?));
        }
        Ok(Self { drives: Mutex::new(drives) })
    }

    /// Takes the medium out of drive `id`; `None` if the drive is empty.
    ///
    /// # Errors
    /// There is no such drive.
    pub fn take(&self, id: &str) -> Result<Option<Medium>> {
        let mut drives = locked(&self.drives);
        let drive = drives.iter_mut().find(|(other, _)| other == id);
        let (_, medium) = drive.ok_or_else(|| anyhow!("there is no drive '{id}'"))?;
        Ok(medium.take())
    }
}

/// Opens an image. `at_once` as for [`Blocks::open`].
///
/// # Errors
/// It can't be opened, or its contents are not what they should be: says which file, why and what to do.
pub fn medium(image: &Image, at_once: bool) -> Result<Medium> {
    let write_through = !image.cache.writeback;
    let options = EngineOptions { aio: image.aio, write_through, discard: image.discard };
    Ok(Medium { node: open_node(image)?, options, stats: Arc::default(), at_once })
}

/// Opens an image for a device that waits for each of its requests.
///
/// # Errors
/// As for [`medium`].
pub fn open(image: &Image) -> Result<Box<dyn BlockBackend>> {
    Ok(medium(image, false)?.waiting())
}

/// Opens an image.
fn open_node(image: &Image) -> Result<Arc<dyn Node>> {
    open_file(image).with_context(|| format!("can't use the image {}", image.path.display()))
}

fn open_file(image: &Image) -> Result<Arc<dyn Node>> {
    // Nobody writes to the file under an overlay.
    let access = if image.snapshot { Access::ReadOnly } else { image.access };
    let mut node = match &image.source {
        Source::File => image::open(image, access)?,
        source => open_source(source, image, access)?,
    };
    if image.snapshot {
        node = Arc::new(Overlay::new(node, image.access == Access::ReadOnly)?);
    }
    if let Some(throttle) = &image.throttle {
        node = Arc::new(Throttle::new(node, Group::of(throttle)));
    }
    Ok(match image.detect_zeroes {
        DetectZeroes::Off => node,
        how => Arc::new(ZeroDetector::new(node, how == DetectZeroes::Unmap)),
    })
}

/// Opens what is no file.
fn open_source(source: &Source, image: &Image, access: Access) -> Result<Arc<dyn Node>> {
    ensure!(
        matches!(image.format, None | Some(ImageFormat::Raw)) && image.rules.is_none(),
        "it is no file, and natoma reads it as it is: leave format= out, and have an NBD server open the format ('qemu-nbd -f')"
    );
    let read_only = access == Access::ReadOnly;
    Ok(match source {
        Source::Nbd(config) => match Nbd::open(config.clone(), read_only) {
            Err(_) if access == Access::Auto => Arc::new(Nbd::open(config.clone(), true)?),
            opened => Arc::new(opened?),
        },
        Source::Null(config) => Arc::new(Null::new(*config, read_only)),
        Source::File => unreachable!("files are opened by their format"),
    })
}

#[cfg(test)]
mod tests;
