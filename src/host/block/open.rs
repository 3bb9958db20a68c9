//! Opening nodes, with what they are built on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::blkdebug::{self, Blkdebug};
use super::detect_zeroes::ZeroDetector;
use super::file::SECTOR;
use super::graph::{Below, Graph, GraphNode, Role, Traits};
use super::guard::Guarded;
use super::keeper::Keeper;
use super::lock::{self, Sharing};
use super::nbd::Nbd;
use super::node::Node;
use super::null::Null;
use super::overlay::Overlay;
use super::qcow2::Qcow2;
use super::qcow2::header::{BackingFile, Header};
use super::raw::RawImage;
use super::throttle::Throttle;
use super::vmdk::Vmdk;
use super::window::Window;
use super::{device, file, padded, probe};
use crate::blockdev::{self, Inherited};
use crate::config::{
    Access, Aio, Backing, Child, DetectZeroes, FileConfig, FileKind, NbdConfig, NodeConfig, NodeDriver, NullConfig,
};
use crate::tell::tell;

/// The longest chain of images. A longer one goes round in circles.
const LONGEST_CHAIN: usize = 200;

/// A node that is open, and has no place in the graph yet.
struct Fresh {
    node: Arc<dyn Node>,
    driver: &'static str,
    file_name: String,
    aio: Aio,
    below: Vec<Below>,
    qcow2: Option<Arc<Header>>,
}

impl Fresh {
    /// A node over `below`, of which it has its name for people.
    fn over(driver: &'static str, node: Arc<dyn Node>, below: Below) -> Self {
        let Traits { file_name, aio, .. } = &below.node.traits;
        Self { driver, node, file_name: file_name.clone(), aio: *aio, below: vec![below], qcow2: None }
    }
}

/// What messages call a node: its name, or the image that it is of.
pub(super) fn describe(config: &NodeConfig) -> String {
    match &config.driver {
        NodeDriver::File(file) => format!("the image {}", file.path.display()),
        NodeDriver::Nbd(nbd) => format!("the export of {}", nbd.server),
        NodeDriver::Null(_) => "null-co".to_owned(),
        NodeDriver::Blkdebug(blkdebug) => describe_child(&blkdebug.image),
        NodeDriver::Probed { file }
        | NodeDriver::Raw { file, .. }
        | NodeDriver::Qcow2 { file, .. }
        | NodeDriver::Vmdk { file }
        | NodeDriver::Throttle { file, .. }
        | NodeDriver::Overlay { file } => describe_child(file),
    }
}

fn describe_child(child: &Child) -> String {
    match child {
        Child::Name(name) => format!("the node '{name}'"),
        Child::Node(config) => describe(config),
    }
}

impl Graph {
    /// Opens a node.
    ///
    /// # Errors
    /// It, or something that it is built on, can't be used: says why and what to do.
    pub fn open(&self, config: &NodeConfig) -> Result<Arc<GraphNode>> {
        self.open_in_chain(config, 1).with_context(|| format!("can't use {}", describe(config)))
    }

    /// The node that a drive or another node asks for.
    ///
    /// # Errors
    /// There is none of that name, or it can't be opened.
    pub fn child(&self, child: &Child) -> Result<Arc<GraphNode>> {
        match child {
            Child::Name(name) => self.named(name),
            Child::Node(config) => self.open(config),
        }
    }

    fn named(&self, name: &str) -> Result<Arc<GraphNode>> {
        self.find(name).ok_or_else(|| {
            anyhow!("Cannot find device='{name}' nor node-name='{name}': define it before, with -blockdev node-name={name},...")
        })
    }

    /// Opens a node whose image is the `depth`-th of its chain.
    fn open_in_chain(&self, config: &NodeConfig, depth: usize) -> Result<Arc<GraphNode>> {
        let NodeConfig { name, direct, no_flush, discard, detect_zeroes, .. } = config;
        let Fresh { mut node, driver, file_name, aio, below, qcow2 } = self.fresh(config, depth)?;
        if *detect_zeroes != DetectZeroes::Off {
            node = Arc::new(ZeroDetector::new(node, *detect_zeroes == DetectZeroes::Unmap));
        }
        let traits = Traits {
            driver,
            file_name,
            direct: *direct,
            no_flush: *no_flush,
            discard: *discard,
            detect_zeroes: *detect_zeroes,
            aio,
            qcow2,
        };
        self.add(name.as_deref(), node, traits, below)
    }

    fn below(&self, child: &Child, name: &'static str, role: Role, depth: usize) -> Result<Below> {
        let node = match child {
            Child::Name(name) => self.named(name)?,
            Child::Node(config) => self.open_in_chain(config, depth)?,
        };
        Ok(Below { name, role, node })
    }

    fn fresh(&self, config: &NodeConfig, depth: usize) -> Result<Fresh> {
        let under = |child: &Child, name, role| self.below(child, name, role, depth);
        Ok(match &config.driver {
            NodeDriver::File(file) => open_file(file, config)?,
            NodeDriver::Nbd(nbd) => open_nbd(nbd, config.access)?,
            NodeDriver::Null(null) => open_null(*null, config.access),
            NodeDriver::Raw { file, offset, size } => {
                let below = under(file, "file", Role::Filtered)?;
                check_access(config, &below)?;
                let len = below.node.node.len();
                let node = match (offset, size) {
                    (0, None) => padded::to_sectors(usable(&below.node)),
                    (offset, size) => {
                        let left = len.checked_sub(*offset).filter(|left| size.is_none_or(|size| size <= *left));
                        let left = left.with_context(|| format!("The sum of offset ({offset}) and size has to be smaller or equal to the actual size of the containing file ({len})"))?;
                        let size = size.unwrap_or(left);
                        check_sectors(size)?;
                        Arc::new(Window::new(usable(&below.node), *offset, size))
                    }
                };
                Fresh::over("raw", node, below)
            }
            NodeDriver::Probed { file } => self.open_probed(config, under(file, "file", Role::Filtered)?, depth)?,
            NodeDriver::Qcow2 { file, backing } => {
                self.open_qcow2(config, under(file, "file", Role::File)?, backing, depth)?
            }
            NodeDriver::Vmdk { file } => self.open_vmdk(config, under(file, "file", Role::File)?, depth)?,
            NodeDriver::Blkdebug(blkdebug) => {
                let below = under(&blkdebug.image, "image", Role::Filtered)?;
                let mut rules = blkdebug.rules.clone();
                if let Some(path) = &blkdebug.rules_file {
                    let read = blkdebug::read_rules(path)?;
                    rules.inject_error.extend(read.inject_error);
                    rules.set_state.extend(read.set_state);
                }
                Fresh::over("blkdebug", Arc::new(Blkdebug::new(usable(&below.node), rules)), below)
            }
            NodeDriver::Throttle { file, group } => {
                let below = under(file, "file", Role::Filtered)?;
                let found = self.group(group);
                let group = found.with_context(|| {
                    format!(
                        "Throttle group '{group}' does not exist: define it with -object throttle-group,id={group},..."
                    )
                })?;
                Fresh::over("throttle", Arc::new(Throttle::new(usable(&below.node), Some(group))), below)
            }
            NodeDriver::Overlay { file } => {
                let below = under(file, "backing", Role::Backing)?;
                let node = Overlay::new(Arc::clone(&below.node.node), config.access == Access::ReadOnly)?;
                Fresh::over("overlay", Arc::new(node), below)
            }
        })
    }

    /// Opens an image whose format nobody stated.
    fn open_probed(&self, config: &NodeConfig, below: Below, depth: usize) -> Result<Fresh> {
        let image = &below.node;
        let found = probe::format(&*image.node).context("its beginning can't be read")?;
        let as_file = |below: Below| Below { role: Role::File, ..below };
        match found {
            Some("qcow2") => return self.open_qcow2(config, as_file(below), &Backing::AsTheImageSays, depth),
            Some("vmdk") => return self.open_vmdk(config, as_file(below), depth),
            Some(other) => bail!("it is in the {other} format, {}", advice(other)),
            None => {}
        }
        check_access(config, &below)?;
        let keeps_nothing = image.traits.driver == "null-co";
        if config.access == Access::ReadOnly || image.node.is_read_only() || keeps_nothing {
            return Ok(Fresh::over("raw", padded::to_sectors(usable(image)), below));
        }
        tell(format_args!(
            "warning: {}: the image seems to be raw, but a guest could make it look like another format: writes of that kind are \
             refused. Add format=raw to lift this",
            image.traits.file_name
        ));
        Ok(Fresh::over("raw", Arc::new(Guarded::new(padded::to_sectors(usable(image)))), below))
    }

    fn open_qcow2(&self, config: &NodeConfig, below: Below, backing: &Backing, depth: usize) -> Result<Fresh> {
        check_access(config, &below)?;
        let file = usable(&below.node);
        let header = Header::load(&*file)?;
        let backing = match backing {
            Backing::Nothing => None,
            Backing::Node(child) => Some(self.below(child, "backing", Role::Backing, depth + 1)?),
            Backing::AsTheImageSays => match &header.backing {
                None => None,
                Some(named) => {
                    let node = self.open_backing(config, &below.node.traits, named, depth + 1);
                    let node = node.with_context(|| format!("its backing file {} can't be used", named.name))?;
                    Some(Below { name: "backing", role: Role::Backing, node })
                }
            },
        };
        let read_only = config.access == Access::ReadOnly || file.is_read_only();
        let base = backing.as_ref().map(|backing| Arc::clone(&backing.node.node));
        let node = Arc::new(Qcow2::open(file, &header, base, read_only)?);
        if header.dirty && !read_only {
            tell(format_args!(
                "{}: the image was not closed by who wrote it last; its reference counts are up to date again",
                below.node.traits.file_name
            ));
        }
        let mut fresh = Fresh::over("qcow2", node, below);
        fresh.below.extend(backing);
        fresh.qcow2 = Some(Arc::new(header));
        Ok(fresh)
    }

    /// Opens the image that the one in `image` is made over.
    fn open_backing(
        &self,
        above: &NodeConfig,
        image: &Traits,
        named: &BackingFile,
        depth: usize,
    ) -> Result<Arc<GraphNode>> {
        ensure!(depth <= LONGEST_CHAIN, "it would be the {depth}th image of its chain: does one refer to itself?");
        let format = match named.format.as_deref() {
            None => None,
            Some("raw" | "file" | "host_device") => Some("raw"),
            Some(known @ ("qcow2" | "vmdk")) => Some(known),
            Some(other) => bail!("it is in the {other} format, {}", advice(other)),
        };
        let NodeConfig { direct, no_flush, force_share, .. } = *above;
        let aio = image.aio;
        let inherited = Inherited { access: Access::ReadOnly, direct, no_flush, force_share, discard: false, aio };
        let backing = blockdev::backing(&named.name, format, directory(Path::new(&image.file_name)), inherited);
        let backing =
            backing.map_err(|why| anyhow!("{why}; 'qemu-img rebase -u -b FILE -F FORMAT' names another image"))?;
        self.open_in_chain(&backing, depth)
    }

    fn open_vmdk(&self, config: &NodeConfig, below: Below, depth: usize) -> Result<Fresh> {
        ensure!(
            config.access != Access::ReadWrite,
            "natoma reads vmdk images and does not write them: add snapshot=on or read-only=on, or convert it with 'qemu-img convert \
             -O qcow2'"
        );
        let directory = PathBuf::from(directory(Path::new(&below.node.traits.file_name)));
        let mut parts = Vec::new();
        let part = |path: &Path| -> Result<Arc<dyn Node>> {
            let file = FileConfig::new(path, FileKind::Any);
            let NodeConfig { direct, no_flush, force_share, .. } = *config;
            let part = NodeConfig {
                access: Access::ReadOnly,
                direct,
                no_flush,
                force_share,
                ..NodeConfig::new(NodeDriver::File(file))
            };
            let node = self.open_in_chain(&part, depth + 1)?;
            check_sectors(node.node.len())?;
            parts.push(Below { name: "extent", role: Role::File, node: Arc::clone(&node) });
            Ok(Arc::clone(&node.node))
        };
        let image = Vmdk::open(&*below.node.node, &directory, part)?;
        let mut fresh = Fresh::over("vmdk", Arc::new(image), below);
        fresh.below.extend(parts);
        Ok(fresh)
    }
}

/// A node as those above it may use it.
fn usable(node: &GraphNode) -> Arc<dyn Node> {
    match node.traits.discard {
        true => Arc::clone(&node.node),
        false => Arc::new(Keeper(Arc::clone(&node.node))),
    }
}

/// Checks that what is to be written is over what can be.
fn check_access(config: &NodeConfig, below: &Below) -> Result<()> {
    ensure!(
        config.access != Access::ReadWrite || !below.node.node.is_read_only(),
        "Block node is read-only: '{}' has read-only=on; add it here too",
        below.node.name
    );
    Ok(())
}

/// Checks that there are whole sectors, as a medium has.
fn check_sectors(len: u64) -> Result<()> {
    ensure!(
        len.is_multiple_of(SECTOR),
        "its size, {len} bytes, is no multiple of {SECTOR}: it is cut off or no image; 'truncate -s %{SECTOR}' fills the last \
         sector"
    );
    Ok(())
}

/// What names in an image are relative to.
fn directory(image: &Path) -> &Path {
    image.parent().unwrap_or(Path::new(""))
}

/// What to do with an image in a format that natoma does not read.
fn advice(format: &str) -> &'static str {
    match format {
        "luks" => {
            "encrypted with LUKS, which natoma does not have: decrypt it with 'qemu-img convert --object \
             secret,id=key,file=PASSWORD_FILE --image-opts driver=luks,key-secret=key,file.filename=IMAGE -O raw DECRYPTED', \
             or add format=raw if the guest is to see the file as it is"
        }
        _ => {
            "which natoma does not read: convert it with 'qemu-img convert -O qcow2', or add format=raw if the guest is to see the \
             file as it is"
        }
    }
}

fn open_file(config: &FileConfig, of: &NodeConfig) -> Result<Fresh> {
    let FileConfig { path, kind, locking, share_rw, aio } = config;
    let opened = file::open(path, *kind, of.access, of.direct)?;
    let (driver, is_device) = if opened.is_device { ("host_device", true) } else { ("file", false) };
    if is_device && !opened.read_only && device::is_whole_disk(&opened.file)? {
        tell(format_args!(
            "warning: {}: the guest may write to a whole disk of this host, its partition table and boot loader included; \
             snapshot=on keeps the disk as it is",
            path.display()
        ));
    }
    let sharing = match (of.force_share, share_rw) {
        (true, _) => Sharing::Everything,
        (false, true) => Sharing::Writes,
        (false, false) => Sharing::Reads,
    };
    lock::lock(&opened.file, opened.read_only, sharing, *locking)?;
    Ok(Fresh {
        node: Arc::new(RawImage::new(opened, !of.no_flush)),
        driver,
        file_name: path.display().to_string(),
        aio: *aio,
        below: Vec::new(),
        qcow2: None,
    })
}

fn open_nbd(config: &NbdConfig, access: Access) -> Result<Fresh> {
    let node = match Nbd::open(config.clone(), access == Access::ReadOnly) {
        Err(_) if access == Access::Auto => Nbd::open(config.clone(), true)?,
        opened => opened?,
    };
    let file_name = config.uri();
    // Somebody else takes his time for each request.
    Ok(Fresh { node: Arc::new(node), driver: "nbd", file_name, aio: Aio::Threads, below: Vec::new(), qcow2: None })
}

fn open_null(config: NullConfig, access: Access) -> Fresh {
    let node = Arc::new(Null::new(config, access == Access::ReadOnly));
    Fresh { node, driver: "null-co", file_name: "null-co://".into(), aio: Aio::Auto, below: Vec::new(), qcow2: None }
}
