//! Back ends of drives: image files of the host.
//!
//! An image is a file or a block device, in one of several formats; a raw one has the bytes of the medium, one after the other. All
//! images are opened before the machine is built, and locked as QEMU locks them, so that no other process writes to an image in use.

mod file;
mod image;
mod lock;
pub mod memory;
pub mod node;
mod overlay;
mod probe;
pub mod qcow2;
mod raw;
mod storage;
mod vectored;
mod vmdk;

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use devices::backend::block::BlockBackend;
use devices::base::lock as locked;

use self::node::{Node, Waiting};
use self::overlay::Overlay;
use crate::config::{Access, CacheMode, Drive, Image};

/// What is in a drive.
type Medium = Option<Box<dyn BlockBackend>>;

/// The drives of a configuration, each with the medium that is in it until a device takes it.
pub struct Blocks {
    drives: Mutex<Vec<(String, Medium)>>,
}

impl Blocks {
    /// Opens the images of a configuration, in order.
    ///
    /// # Errors
    /// One can't be opened: says which, why and what to do.
    pub fn open(configs: &[Drive]) -> Result<Self> {
        let mut drives = Vec::new();
        for Drive { id, image, .. } in configs {
            let medium = image.as_ref().map(open).transpose().with_context(|| format!("drive '{id}'"))?;
            drives.push((id.clone(), medium));
        }
        Ok(Self { drives: Mutex::new(drives) })
    }

    /// Takes the medium out of drive `id`; `None` if the drive is empty.
    ///
    /// # Errors
    /// There is no such drive.
    pub fn take(&self, id: &str) -> Result<Medium> {
        let mut drives = locked(&self.drives);
        let drive = drives.iter_mut().find(|(other, _)| other == id);
        let (_, medium) = drive.ok_or_else(|| anyhow!("there is no drive '{id}'"))?;
        Ok(medium.take())
    }
}

/// Opens an image for a device that waits for each of its requests.
///
/// # Errors
/// As for [`open_node`].
pub fn open(image: &Image) -> Result<Box<dyn BlockBackend>> {
    Ok(Box::new(Waiting::new(open_node(image)?, image.cache == CacheMode::Writethrough)))
}

/// Opens an image.
///
/// # Errors
/// It can't be opened, or its contents are not what they should be: says which file, why and what to do.
pub fn open_node(image: &Image) -> Result<Arc<dyn Node>> {
    open_file(image).with_context(|| format!("can't use the image {}", image.path.display()))
}

fn open_file(image: &Image) -> Result<Arc<dyn Node>> {
    // Nobody writes to the file under an overlay.
    let access = if image.snapshot { Access::ReadOnly } else { image.access };
    let node = image::open(image, access)?;
    if image.snapshot {
        return Ok(Arc::new(Overlay::new(node, image.access == Access::ReadOnly)?));
    }
    Ok(node)
}

#[cfg(test)]
mod tests;
