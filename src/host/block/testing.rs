//! Images for tests, opened as drives open them.

use std::path::{Path, PathBuf};

use super::node::Waiting;
use super::*;
use crate::blockdev::{self, Inherited};
use crate::config::{Access, Aio, CacheMode, DetectZeroes, FileConfig, FileKind, Locking, NodeConfig, NodeDriver};

/// An image file, and how it is used.
#[derive(Clone, Debug)]
pub struct Image {
    pub path: PathBuf,
    pub format: Option<&'static str>,
    pub access: Access,
    pub snapshot: bool,
    pub cache: CacheMode,
    pub discard: bool,
    pub detect_zeroes: DetectZeroes,
    pub locking: Locking,
}

impl Image {
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            format: None,
            access: Access::ReadWrite,
            snapshot: false,
            cache: CacheMode::WRITEBACK,
            discard: false,
            detect_zeroes: DetectZeroes::Off,
            locking: Locking::Auto,
        }
    }

    /// As `-drive` has it.
    fn config(&self) -> NodeConfig {
        let inherited = Inherited {
            access: if self.snapshot { Access::ReadOnly } else { self.access },
            direct: self.cache.direct,
            no_flush: self.cache.no_flush,
            discard: self.discard,
            aio: Aio::Auto,
            force_share: false,
        };
        let mut node = blockdev::named(self.path.to_str().unwrap(), self.format, inherited).unwrap();
        if let NodeDriver::Raw { file, .. } = &mut node.driver {
            let config = FileConfig { locking: self.locking, ..FileConfig::new(&self.path, FileKind::Any) };
            let Child::Node(file) = file else { panic!("a file of its own") };
            file.driver = NodeDriver::File(config);
        }
        if self.snapshot {
            let access = if self.access == Access::ReadOnly { self.access } else { Access::ReadWrite };
            node = NodeConfig { access, ..NodeConfig::new(NodeDriver::Overlay { file: node.into() }) };
        }
        NodeConfig { detect_zeroes: self.detect_zeroes, discard: self.discard, ..node }
    }
}

/// Opens an image.
pub fn open_node(image: &Image) -> Result<Arc<dyn Node>> {
    Ok(Arc::clone(&Graph::default().open(&image.config())?.node))
}

/// Opens an image for a device that waits for each of its requests.
pub fn open(image: &Image) -> Result<Box<dyn BlockBackend>> {
    Ok(Box::new(Waiting::new(open_node(image)?, !image.cache.writeback)))
}
