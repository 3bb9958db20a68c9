//! `-blockdev`: nodes that drives, devices and other nodes refer to.

use crate::blockdev::{self, Style, nest};
use crate::cli::error::UsageError;
use crate::cli::keyval::syntax::{Item, split};
use crate::cli::settings::Settings;
use crate::config::{Access, Backing, Blkdebug, Child, NodeConfig, NodeDriver};
use serde_json::{Map, Value};

/// Reads every `-blockdev`.
pub fn build(settings: &Settings) -> Result<Vec<NodeConfig>, UsageError> {
    let mut nodes: Vec<NodeConfig> = Vec::new();
    for given in settings.all("blockdev") {
        let (options, style) = options(given.text()).map_err(|why| given.origin.error(why))?;
        let node = blockdev::node(options, style).map_err(|why| given.origin.error(why))?;
        if let Some(name) = names(&node).into_iter().find(|name| has_node(&nodes, name)) {
            return Err(given.origin.error(format_args!("Duplicate nodes with node-name='{name}'")));
        }
        if let Some(name) = references(&node).into_iter().find(|name| !has_node(&nodes, name)) {
            return Err(given.origin.error(format_args!(
                "Cannot find device='{name}' nor node-name='{name}': define it before, with -blockdev node-name={name},..."
            )));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// Whether there is a node of this name.
pub fn has_node(nodes: &[NodeConfig], name: &str) -> bool {
    nodes.iter().any(|node| names(node).contains(&name))
}

/// The object that the argument is.
fn options(text: &str) -> Result<(Map<String, Value>, Style), String> {
    if text.starts_with('{') {
        let options = serde_json::from_str(text).map_err(|error| format!("this is no valid JSON: {error}"))?;
        return Ok((options, Style::Json));
    }
    let pair = |item| match item {
        Item::Pair(key, text) => Ok((key, text)),
        Item::Implied(driver) => Ok(("driver".to_owned(), driver)),
        Item::Bare(key) => Err(format!("Expected '=' after parameter '{key}'")),
    };
    let pairs = split(text).into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let options = nest(pairs.iter().map(|(key, text)| (key.as_str(), text.as_str().into())))?;
    Ok((options, Style::Words))
}

/// What a node is built on, from a reference to its driver, to be changed or not.
macro_rules! below {
    ($driver:expr) => {
        match $driver {
            NodeDriver::File(_) | NodeDriver::Nbd(_) | NodeDriver::Null(_) => vec![],
            NodeDriver::Qcow2 { file, backing: Backing::Node(backing) } => vec![file, backing],
            NodeDriver::Blkdebug(Blkdebug { image: file, .. })
            | NodeDriver::Probed { file }
            | NodeDriver::Raw { file, .. }
            | NodeDriver::Qcow2 { file, .. }
            | NodeDriver::Vmdk { file }
            | NodeDriver::Throttle { file, .. }
            | NodeDriver::Overlay { file } => vec![file],
        }
    };
}

fn children(node: &NodeConfig) -> Vec<&Child> {
    below!(&node.driver)
}

fn children_mut(node: &mut NodeConfig) -> Vec<&mut Child> {
    below!(&mut node.driver)
}

/// Lets nobody write to a node and those in it.
pub fn protect(node: &mut NodeConfig) {
    node.access = Access::ReadOnly;
    for child in children_mut(node) {
        if let Child::Node(node) = child {
            protect(node);
        }
    }
}

/// Says whether other processes may write to the file whose bytes are those of `child`. An image format has its file for itself.
pub fn share(child: &mut Child, share: bool, nodes: &mut [NodeConfig]) {
    let mut elsewhere = share_here(child, share);
    // A node refers to those before it only.
    while let Some(name) = elsewhere {
        let node = nodes.iter_mut().find_map(|node| find(node, &name));
        elsewhere = node.and_then(|node| share_below(node, share));
    }
}

/// Gives the name of the node elsewhere where it goes on.
fn share_here(child: &mut Child, share: bool) -> Option<String> {
    match child {
        Child::Name(name) => Some(name.clone()),
        Child::Node(node) => share_below(node, share),
    }
}

fn share_below(node: &mut NodeConfig, share: bool) -> Option<String> {
    match &mut node.driver {
        NodeDriver::File(file) => {
            file.share_rw = share;
            None
        }
        NodeDriver::Raw { file, .. } | NodeDriver::Throttle { file, .. } | NodeDriver::Overlay { file } => {
            share_here(file, share)
        }
        NodeDriver::Blkdebug(blkdebug) => share_here(&mut blkdebug.image, share),
        NodeDriver::Probed { .. }
        | NodeDriver::Qcow2 { .. }
        | NodeDriver::Vmdk { .. }
        | NodeDriver::Nbd(_)
        | NodeDriver::Null(_) => None,
    }
}

/// The node of this name, which may be in another one.
fn find<'a>(node: &'a mut NodeConfig, name: &str) -> Option<&'a mut NodeConfig> {
    if node.name.as_deref() == Some(name) {
        return Some(node);
    }
    children_mut(node).into_iter().find_map(|child| match child {
        Child::Node(node) => find(node, name),
        Child::Name(_) => None,
    })
}

/// The names of a node and of those in it.
fn names(node: &NodeConfig) -> Vec<&str> {
    let below = children(node).into_iter().flat_map(|child| match child {
        Child::Node(node) => names(node),
        Child::Name(_) => vec![],
    });
    node.name.as_deref().into_iter().chain(below).collect()
}

/// The names of nodes elsewhere.
fn references(node: &NodeConfig) -> Vec<&str> {
    let names = children(node).into_iter().flat_map(|child| match child {
        Child::Node(node) => references(node),
        Child::Name(name) => vec![name.as_str()],
    });
    names.collect()
}
