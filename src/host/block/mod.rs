//! Back ends of drives: media, and the nodes that they are made of.
//!
//! A node ([`node`]) is a file, a server, an image format over another node, a filter; the [`graph`] knows all of them by their
//! names. All nodes are opened before the machine is built, and files are locked as QEMU locks them, so that no other process
//! writes to an image in use.

mod blkdebug;
mod detect_zeroes;
mod device;
mod direct;
pub mod engine;
mod file;
mod filter;
pub mod graph;
mod guard;
mod keeper;
mod lock;
pub mod memory;
pub mod nbd;
pub mod node;
mod null;
mod open;
mod overlay;
mod padded;
mod probe;
pub mod qcow2;
mod raw;
mod storage;
mod throttle;
mod vectored;
pub mod vmdk;
mod window;

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use devices::backend::block::BlockBackend;
use devices::backend::disk::{AtOnce, DiskBackend};
use devices::base::lock as locked;

use self::engine::{Bell, Engine, EngineOptions, Stats};
use self::graph::{Graph, GraphNode, User};
use self::node::{Node, Waiting};
use self::throttle::{Group, Throttle};
use crate::config::{self, Aio, Child, Drive, MachineConfig};

/// Whose requests have been carried out when they have been submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtOnceFor {
    /// Nobody's.
    None,
    /// Those of disks of which nobody says by what means (`aio=`) they are carried out.
    Undecided,
    /// Everybody's.
    All,
}

/// The drives of a machine, each with what is in it, and the nodes of their media.
pub struct Blocks {
    graph: Graph,
    drives: Mutex<Vec<DriveState>>,
    at_once: AtOnceFor,
}

/// A drive.
struct DriveState {
    config: Drive,
    stats: Arc<Stats>,
    /// Its limits.
    group: Option<Arc<Group>>,
    medium: Option<Medium>,
}

/// What is in a drive.
#[derive(Clone)]
pub struct Medium {
    /// The node at the top.
    top: Arc<GraphNode>,
    /// The same under the limits of the drive.
    throttle: Arc<Throttle>,
    options: EngineOptions,
    stats: Arc<Stats>,
    at_once: bool,
    /// Keeps others from writing to it.
    _user: Arc<User>,
}

impl Medium {
    /// What can be read and written, without the limits of the drive: these are for the guest.
    #[must_use]
    pub fn node(&self) -> &Arc<dyn Node> {
        &self.top.node
    }

    fn limited(&self) -> Arc<dyn Node> {
        Arc::clone(&self.throttle) as _
    }

    /// The node at the top, as the graph knows it.
    #[must_use]
    pub fn top(&self) -> &Arc<GraphNode> {
        &self.top
    }

    /// Whether writes are safe only when they have been flushed.
    #[must_use]
    pub fn is_write_back(&self) -> bool {
        !self.options.write_through
    }

    /// The medium for a device that waits for each of its requests.
    #[must_use]
    pub fn waiting(&self) -> Box<dyn BlockBackend> {
        Box::new(Waiting::new(self.limited(), self.options.write_through))
    }

    /// The medium for a device that goes on while its requests are carried out; `bell` rings when one has been, unless that is
    /// before the device has submitted it. May be called several times, for a device with several queues say.
    ///
    /// # Errors
    /// The host can't provide what the drive asks for.
    pub fn connect(&self, bell: &Bell) -> Result<Box<dyn DiskBackend>> {
        if self.at_once {
            return Ok(Box::new(AtOnce::new(self.waiting())));
        }
        let engine = Engine::new(self.limited(), self.options, Arc::clone(&self.stats), bell.clone())?;
        Ok(Box::new(engine.named(self.top.traits.file_name.clone())))
    }
}

impl Blocks {
    /// Opens the nodes of a configuration and the media of its drives, in order. `at_once`: whose requests take no time.
    ///
    /// # Errors
    /// One can't be opened: says which, why and what to do.
    pub fn open(config: &MachineConfig, at_once: AtOnceFor) -> Result<Self> {
        let blocks = Self { graph: Graph::new(&config.throttle_groups), drives: Mutex::default(), at_once };
        for node in &config.nodes {
            let opened = blocks.graph.open(node);
            let name = node.name.as_deref().unwrap_or_default();
            blocks.graph.keep(opened.with_context(|| format!("-blockdev node-name={name}"))?);
        }
        for drive in &config.drives {
            let mut state = DriveState {
                config: drive.clone(),
                stats: Arc::default(),
                group: drive.throttle.as_ref().map(Group::of),
                medium: None,
            };
            let medium = drive.medium.as_ref().map(|child| blocks.medium_of(&state, child)).transpose();
            state.medium = medium.with_context(|| match (drive.name(), &drive.medium) {
                (Some(name), _) => format!("drive '{name}'"),
                (None, Some(Child::Name(node))) => format!("a device with drive={node}"),
                (None, _) => "a drive".to_owned(),
            })?;
            locked(&blocks.drives).push(state);
        }
        Ok(blocks)
    }

    /// The nodes.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A node as the medium of a drive.
    fn medium_of(&self, drive: &DriveState, child: &Child) -> Result<Medium> {
        let DriveState { config, stats, group, .. } = drive;
        let top = self.graph.child(child)?;
        let user = match config.name() {
            Some(name) => format!("drive '{name}'"),
            None => "a device".to_owned(),
        };
        let user = self.graph.attach(user, &top, config.share_rw)?;
        let throttle = Arc::new(Throttle::new(Arc::clone(&top.node), group.clone()));
        // Whoever has chosen how requests are carried out has a loop that hears of their ends.
        let at_once =
            self.at_once == AtOnceFor::All || (self.at_once == AtOnceFor::Undecided && top.traits.aio == Aio::Auto);
        let options =
            EngineOptions { aio: top.traits.aio, write_through: !config.write_back, discard: top.traits.discard };
        Ok(Medium { top, throttle, options, stats: Arc::clone(stats), at_once, _user: user })
    }

    /// What is in drive `id`; `None`: nothing.
    ///
    /// # Errors
    /// There is no such drive.
    pub fn medium(&self, id: &str) -> Result<Option<Medium>> {
        let drives = locked(&self.drives);
        let drive = drives.iter().find(|drive| drive.config.id == id);
        Ok(drive.ok_or_else(|| anyhow!("there is no drive '{id}'"))?.medium.clone())
    }

    /// Opens what is to be in drive `id`, without putting it in.
    ///
    /// # Errors
    /// It can't be used, or there is no such drive.
    pub fn open_for(&self, id: &str, child: &Child) -> Result<Medium> {
        let drives = locked(&self.drives);
        let drive = drives.iter().find(|drive| drive.config.id == id);
        self.medium_of(drive.ok_or_else(|| anyhow!("there is no drive '{id}'"))?, child)
    }

    /// What drive `id` has done so far, and its limits.
    #[must_use]
    pub fn drive(&self, id: &str) -> Option<(Arc<Stats>, Option<config::Throttle>)> {
        let drives = locked(&self.drives);
        let drive = drives.iter().find(|drive| drive.config.id == id)?;
        Some((Arc::clone(&drive.stats), drive.config.throttle.clone()))
    }

    /// Sets how much drive `id` may do in a second.
    pub fn set_throttle(&self, id: &str, throttle: config::Throttle) {
        let mut drives = locked(&self.drives);
        let Some(drive) = drives.iter_mut().find(|drive| drive.config.id == id) else { return };
        let is_limited = throttle.limits.is_limited();
        // Those that wait already are to go by the new limits too.
        let is_own = drive.config.throttle.as_ref().is_none_or(|before| before.group.is_none());
        if let Some(group) = drive.group.as_ref().filter(|_| throttle.group.is_none() && (is_own || is_limited)) {
            group.set_limits(throttle.limits);
        }
        let of = drive.config.throttle.take().and_then(|before| before.group);
        let throttle = config::Throttle { group: throttle.group.or(of), ..throttle };
        drive.group = match drive.group.take() {
            Some(group) if is_limited && throttle.group.is_none() => Some(group),
            _ => is_limited.then(|| Group::of(&throttle)),
        };
        drive.config.throttle = is_limited.then_some(throttle);
        if let Some(medium) = &drive.medium {
            medium.throttle.set_group(drive.group.clone());
        }
    }

    /// Takes note of what is in drive `id` now.
    pub fn set_medium(&self, id: &str, medium: Option<Medium>) {
        let mut drives = locked(&self.drives);
        let before = drives.iter_mut().find(|drive| drive.config.id == id);
        let before = before.map(|drive| {
            drive.stats.forget_failure();
            std::mem::replace(&mut drive.medium, medium)
        });
        drop(drives);
        // Closing takes its time.
        drop(before);
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
