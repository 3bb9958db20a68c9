//! The nodes of media, as people see them and change them by hand.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use devices::base::lock;
use nix::sys::stat::fstat;
use serde_json::{Map, Value};

use super::media::Media;
use crate::blockdev::{self, Style};
use crate::config::{Child, Throttle};
use crate::host::block::engine::{Kind, Stats};
use crate::host::block::graph::{GraphNode, Role};
use crate::monitor::drives::{DiscardsInfo, ImageInfo, NodeInfo, Nodes, Qcow2Info, StatsInfo, TallyInfo, Target};

/// What `stat` counts in.
const BLOCK: u64 = 512;
/// Media have whole sectors.
const SECTOR: u64 = 512;

/// What is told of a node.
pub(super) fn node_info(node: &Arc<GraphNode>, highest: &HighestWritten) -> NodeInfo {
    let below = |role| node.child(role).map(|below| Box::new(node_info(below, highest)));
    NodeInfo {
        name: node.name.clone(),
        read_only: node.node.is_read_only(),
        direct: node.traits.direct,
        no_flush: node.traits.no_flush,
        detect_zeroes: node.traits.detect_zeroes,
        image: image_info(node),
        highest_written: highest.of(node),
        // What changes nothing is the same as the file for all who use it.
        discards: node.node.file_tally().filter(|_| node.below.is_empty()).map(|tally| DiscardsInfo {
            operations: tally.discards,
            bytes: tally.discarded,
            failed: tally.failed_discards,
        }),
        file: below(Role::File).or_else(|| below(Role::Filtered)),
        backing: below(Role::Backing),
    }
}

/// How far drives have written to the nodes at their tops.
pub(super) struct HighestWritten(Vec<(Arc<GraphNode>, u64)>);

impl HighestWritten {
    /// The end of what was written to a node, as far as it goes and is known: a drive may go past those that change nothing.
    fn of(&self, node: &Arc<GraphNode>) -> u64 {
        let filtered = |node: &Arc<GraphNode>| node.child(Role::Filtered).cloned();
        let has_it = |top: &Arc<GraphNode>| {
            std::iter::successors(Some(Arc::clone(top)), filtered).any(|below| Arc::ptr_eq(&below, node))
        };
        let by_drives = self.0.iter().filter(|(top, _)| has_it(top)).map(|(_, highest)| *highest).max();
        let bottom = std::iter::successors(Some(Arc::clone(node)), filtered).last();
        let by_nodes = bottom.and_then(|bottom| bottom.node.file_tally()).map(|tally| tally.highest_written);
        by_drives.max(by_nodes).unwrap_or(0)
    }
}

fn image_info(node: &GraphNode) -> ImageInfo {
    let qcow2 = node.traits.qcow2.as_ref().map(|header| Qcow2Info {
        version: header.version,
        cluster_size: header.cluster(),
        refcount_bits: header.refcount_bits(),
        lazy_refcounts: header.lazy_refcounts,
        corrupt: header.corrupt,
        backing: header.backing.as_ref().map(|backing| (backing.name.clone(), backing.format.clone())),
    });
    ImageInfo {
        file_name: node.traits.file_name.clone(),
        format: node.traits.driver,
        // A file that holds an image may end anywhere.
        virtual_size: node.node.len().next_multiple_of(SECTOR),
        actual_size: allocated(node),
        qcow2,
        backing: node.backing().map(|backing| Box::new(image_info(backing))),
    }
}

/// Bytes that the files under a node take on the host, but for those of what an image is made over.
fn allocated(node: &GraphNode) -> u64 {
    if node.below.is_empty() {
        let found = node.node.raw().and_then(|raw| fstat(raw.file).ok());
        return found.map_or(0, |found| u64::try_from(found.st_blocks).unwrap_or(0) * BLOCK);
    }
    node.below.iter().filter(|below| below.role != Role::Backing).map(|below| allocated(&below.node)).sum()
}

/// What is told of what a drive has done.
pub(super) fn stats_info(stats: &Stats) -> StatsInfo {
    let tally = |kind| {
        let tally = stats.tally(kind);
        TallyInfo {
            operations: tally.operations,
            bytes: tally.bytes,
            nanoseconds: tally.nanoseconds,
            failed: tally.failed,
        }
    };
    StatsInfo {
        read: tally(Kind::Read),
        write: tally(Kind::Write),
        flush: tally(Kind::Flush),
        unmap: tally(Kind::Unmap),
        highest_written: stats.highest_written(),
    }
}

impl Media {
    /// How far the drives have written.
    pub(super) fn highest_written(&self) -> HighestWritten {
        let tops = self.drives.iter().filter_map(|entry| {
            let medium = self.blocks.medium(&entry.id).ok()??;
            Some((Arc::clone(medium.top()), self.blocks.drive(&entry.id)?.0.highest_written()))
        });
        HighestWritten(tops.collect())
    }

    fn node(&self, name: &str) -> Result<Arc<GraphNode>> {
        self.blocks.graph().find(name).with_context(|| format!("Cannot find device='' nor node-name='{name}'"))
    }
}

impl Nodes for Media {
    fn nodes(&self) -> Vec<NodeInfo> {
        let highest = self.highest_written();
        self.blocks.graph().all().iter().map(|node| node_info(node, &highest)).collect()
    }

    fn add(&self, options: Map<String, Value>) -> Result<()> {
        let config = blockdev::node(options, Style::Json).map_err(|why| anyhow!(why))?;
        let graph = self.blocks.graph();
        if let Some(name) = config.name.as_deref().filter(|name| graph.find(name).is_some()) {
            bail!("Duplicate nodes with node-name='{name}'");
        }
        graph.keep(graph.open(&config)?);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.blocks.graph().remove(name)
    }

    fn insert(&self, drive: &str, node: &str) -> Result<()> {
        if self.blocks.graph().find(node).is_none() {
            bail!("Node '{node}' not found");
        }
        self.insert_node(drive, &Child::Name(node.to_owned()))
    }

    fn resize(&self, target: &Target, size: u64) -> Result<()> {
        let node = match target {
            Target::Node(name) => self.node(name)?,
            Target::Drive(name) => {
                let medium = self.blocks.medium(name).ok().flatten();
                let medium = medium.filter(|_| !name.starts_with('#'));
                let medium = medium.with_context(|| format!("Cannot find device='{name}' nor node-name=''"))?;
                Arc::clone(medium.top())
            }
        };
        let size = size.checked_next_multiple_of(SECTOR).filter(|size| i64::try_from(*size).is_ok());
        let size = size.context("Required too big image size, it must be not greater than 9223372036854775296")?;
        if node.node.is_read_only() {
            bail!("Image is read-only");
        }
        self.blocks.graph().check_resize(&node)?;
        let resized = node.node.resize(size);
        resized.with_context(|| format!("the node '{}' ({}) can't be resized", node.name, node.traits.driver))?;
        for disk in &self.disks {
            lock(disk).medium_resized();
        }
        Ok(())
    }

    fn throttle(&self, drive: &str, throttle: Throttle) -> Result<()> {
        if self.blocks.medium(drive)?.is_none() {
            bail!("Device has no medium");
        }
        self.blocks.set_throttle(drive, throttle);
        Ok(())
    }
}
