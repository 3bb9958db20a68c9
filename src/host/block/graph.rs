//! The nodes of a machine: by what names they go, which is built on which, and who may write to each.
//!
//! Who uses a node says whether it writes to it and whether it bears that others do. QEMU's rules: a device writes unless its medium
//! is read-only, and bears nobody else unless it has `share-rw=on`; an image format writes to its file, and bears nobody there; what is over a backing
//! file never writes to it, and bears what those above it bear; a filter does what those above it do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use anyhow::{Result, bail, ensure};
use devices::base::lock;

use super::node::Node;
use super::qcow2::header::Header;
use super::throttle::Group;
use crate::config::{Aio, DetectZeroes, ThrottleGroup};

/// What a node is to the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// That one does with it what is done to itself.
    Filtered,
    /// It holds that one's data, and what that one knows of them.
    File,
    /// What that one reads where it has nothing itself.
    Backing,
}

/// A node under another one.
#[derive(Clone)]
pub struct Below {
    /// What that one calls it.
    pub name: &'static str,
    /// What it is to that one.
    pub role: Role,
    /// The node.
    pub node: Arc<GraphNode>,
}

/// What is told of a node.
#[derive(Clone, Debug)]
pub struct Traits {
    /// The driver by QEMU's name.
    pub driver: &'static str,
    /// What it is of, for people.
    pub file_name: String,
    /// The host's cache is passed by.
    pub direct: bool,
    /// Flushing does nothing.
    pub no_flush: bool,
    /// What is not needed any more is given back to the host.
    pub discard: bool,
    /// What becomes of writes of nothing but zeroes.
    pub detect_zeroes: DetectZeroes,
    /// By what means requests reach the host.
    pub aio: Aio,
    /// What the header of a qcow2 image said when it was opened.
    pub qcow2: Option<Arc<Header>>,
}

/// A node of a graph.
pub struct GraphNode {
    /// Its name; one that begins with `#` was made up.
    pub name: String,
    /// What it does.
    pub node: Arc<dyn Node>,
    /// What is told of it.
    pub traits: Traits,
    /// What it is built on.
    pub below: Vec<Below>,
    users: Mutex<Vec<Weak<User>>>,
}

impl GraphNode {
    /// The node in a role below.
    pub fn child(&self, role: Role) -> Option<&Arc<Self>> {
        self.below.iter().find(|below| below.role == role).map(|below| &below.node)
    }

    /// What is under an image: its backing file, also through filters.
    pub fn backing(&self) -> Option<&Arc<Self>> {
        self.child(Role::Backing).or_else(|| self.child(Role::Filtered)?.backing())
    }
}

/// A drive that uses a node, until it is dropped.
pub struct User {
    name: String,
    writes: bool,
    /// It bears that others write.
    shares: bool,
}

/// A use of a node, as others have to bear it.
struct Edge {
    by: String,
    writes: bool,
    bears: bool,
}

/// All nodes.
#[derive(Default)]
pub struct Graph {
    nodes: Mutex<Nodes>,
    /// Names that were made up.
    made_up: AtomicU64,
}

#[derive(Default)]
struct Nodes {
    all: Vec<Weak<GraphNode>>,
    /// Those that stay although nobody uses them.
    kept: Vec<Arc<GraphNode>>,
    /// The groups of limits that nodes can name.
    groups: Vec<(String, Arc<Group>)>,
}

impl Nodes {
    /// Those that there are.
    fn live(&mut self) -> Vec<Arc<GraphNode>> {
        self.all.retain(|node| node.strong_count() > 0);
        self.all.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The uses of a node by those above it and by drives.
fn uses(node: &Arc<GraphNode>, all: &[Arc<GraphNode>]) -> Vec<Edge> {
    let name = &node.name;
    let mut found = Vec::new();
    for user in lock(&node.users).iter().filter_map(Weak::upgrade) {
        let by = format!("{} (uses node '{name}' as 'root' child)", user.name);
        found.push(Edge { by, writes: user.writes, bears: user.shares });
    }
    for above in all {
        for Below { name: child, role, .. } in above.below.iter().filter(|below| Arc::ptr_eq(&below.node, node)) {
            let (writes, bears) = match role {
                Role::File => (!above.node.is_read_only(), false),
                Role::Filtered | Role::Backing => {
                    let uses = uses(above, all);
                    let writes = *role == Role::Filtered && uses.iter().any(|edge| edge.writes);
                    (writes, uses.iter().all(|edge| edge.bears))
                }
            };
            found.push(Edge {
                by: format!("node '{}' (uses node '{name}' as '{child}' child)", above.name),
                writes,
                bears,
            });
        }
    }
    found
}

/// Checks that those who use a node and what it is built on bear each other.
fn check(node: &Arc<GraphNode>, all: &[Arc<GraphNode>]) -> Result<()> {
    let uses = uses(node, all);
    for (at, writer) in uses.iter().enumerate().filter(|(_, edge)| edge.writes) {
        if let Some((_, other)) = uses.iter().enumerate().find(|(other, edge)| *other != at && !edge.bears) {
            bail!(
                "Permission conflict on node '{}': permissions 'write' are both required by {} and unshared by {}: give each its own \
                 image, or make both read-only, or give both devices share-rw=on if the guest is made for that",
                node.name,
                writer.by,
                other.by
            );
        }
    }
    node.below.iter().try_for_each(|below| check(&below.node, all))
}

impl Graph {
    /// Nodes that can name these groups of limits.
    pub fn new(groups: &[ThrottleGroup]) -> Self {
        let groups =
            groups.iter().map(|group| (group.id.clone(), Group::named(&group.id, Some(group.limits)))).collect();
        Self { nodes: Mutex::new(Nodes { groups, ..Nodes::default() }), made_up: AtomicU64::new(0) }
    }

    /// The group of limits of this name.
    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        lock(&self.nodes).groups.iter().find(|(id, _)| id == name).map(|(_, group)| Arc::clone(group))
    }

    /// All nodes there are, in the order in which they were made.
    pub fn all(&self) -> Vec<Arc<GraphNode>> {
        lock(&self.nodes).live()
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<Arc<GraphNode>> {
        self.all().into_iter().find(|node| node.name == name)
    }

    /// Adds a node.
    ///
    /// # Errors
    /// There is one of that name, or it would do to those below what others there don't bear.
    pub fn add(
        &self,
        name: Option<&str>,
        node: Arc<dyn Node>,
        traits: Traits,
        below: Vec<Below>,
    ) -> Result<Arc<GraphNode>> {
        let name = match name {
            Some(name) => {
                ensure!(self.find(name).is_none(), "Duplicate nodes with node-name='{name}'");
                name.to_owned()
            }
            None => format!("#block{:03}", self.made_up.fetch_add(1, Ordering::Relaxed)),
        };
        let node = Arc::new(GraphNode { name, node, traits, below, users: Mutex::default() });
        let mut nodes = lock(&self.nodes);
        let mut all = nodes.live();
        all.push(Arc::clone(&node));
        check(&node, &all)?;
        nodes.all.push(Arc::downgrade(&node));
        Ok(node)
    }

    /// Checks that the length of a node can be changed.
    ///
    /// # Errors
    /// It is the file of an image.
    pub fn check_resize(&self, node: &Arc<GraphNode>) -> Result<()> {
        for above in self.all() {
            let is_file = |below: &&Below| below.role == Role::File && Arc::ptr_eq(&below.node, node);
            if let Some(below) = above.below.iter().find(is_file) {
                bail!(
                    "Permission conflict on node '{0}': permissions 'resize' are unshared by node '{1}' (uses node '{0}' as '{2}' \
                     child): resize '{1}'",
                    node.name,
                    above.name,
                    below.name
                );
            }
        }
        Ok(())
    }

    /// Has a node stay although nobody uses it.
    pub fn keep(&self, node: Arc<GraphNode>) {
        lock(&self.nodes).kept.push(node);
    }

    /// Forgets a node that was kept.
    ///
    /// # Errors
    /// There is none of that name, or somebody uses it.
    pub fn remove(&self, name: &str) -> Result<()> {
        let mut nodes = lock(&self.nodes);
        let all = nodes.live();
        let Some(node) = all.iter().find(|node| node.name == name) else {
            bail!("Failed to find node with node-name='{name}'")
        };
        let Some(at) = nodes.kept.iter().position(|kept| Arc::ptr_eq(kept, node)) else {
            bail!("Node {name} is not owned by the monitor");
        };
        if let Some(edge) = uses(node, &all).first() {
            bail!("Node {name} is in use: {}", edge.by);
        }
        nodes.kept.swap_remove(at);
        Ok(())
    }

    /// Lets a drive, of which messages speak as `name`, use a node, as long as the result is kept; `shares`: it bears that others
    /// write to it too.
    ///
    /// # Errors
    /// Others do to it, or to what it is built on, what a drive does not bear, or don't bear what it does.
    pub fn attach(&self, name: String, node: &Arc<GraphNode>, shares: bool) -> Result<Arc<User>> {
        let user = Arc::new(User { name, writes: !node.node.is_read_only(), shares });
        let all = lock(&self.nodes).live();
        let mut users = lock(&node.users);
        users.retain(|user| user.strong_count() > 0);
        users.push(Arc::downgrade(&user));
        drop(users);
        check(node, &all)?;
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    fn node(graph: &Graph, name: &str, read_only: bool, below: &[(Role, &Arc<GraphNode>)]) -> Result<Arc<GraphNode>> {
        let memory = Memory::new(vec![0; 512]);
        let memory = if read_only { memory.read_only() } else { memory };
        let traits = Traits {
            driver: "memory",
            file_name: name.into(),
            direct: false,
            no_flush: false,
            discard: false,
            detect_zeroes: DetectZeroes::Off,
            aio: Aio::Auto,
            qcow2: None,
        };
        let below = below.iter().map(|(role, node)| Below { name: "file", role: *role, node: Arc::clone(node) });
        graph.add(Some(name), Arc::new(memory), traits, below.collect())
    }

    fn refusal<T>(result: Result<T>) -> String {
        result.err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    /// The words are those of QEMU 7.2.
    #[test]
    fn two_writers_of_one_node_are_refused_and_readers_are_not() {
        let graph = Graph::default();
        let file = node(&graph, "f", false, &[]).unwrap();
        let raw = node(&graph, "r", false, &[(Role::Filtered, &file)]).unwrap();
        let first = graph.attach("drive 'a'".into(), &raw, false).unwrap();
        assert!(refusal(graph.attach("drive 'b'".into(), &raw, false)).starts_with(
            "Permission conflict on node 'r': permissions 'write' are both required by drive 'a' (uses node 'r' as 'root' child) and \
             unshared by drive 'b' (uses node 'r' as 'root' child)"
        ));
        assert!(refusal(graph.attach("drive 'b'".into(), &file, false)).starts_with(
            "Permission conflict on node 'f': permissions 'write' are both required by drive 'b' (uses node 'f' as 'root' child) and \
             unshared by node 'r' (uses node 'f' as 'file' child)"
        ));
        drop(first);
        graph.attach("drive 'b'".into(), &raw, false).unwrap();
        // Those that bear it may, down to the file.
        let users = ["c", "d"].map(|name| graph.attach(format!("drive '{name}'"), &raw, true).unwrap());
        assert!(refusal(graph.attach("drive 'b'".into(), &raw, false)).starts_with("Permission conflict on node 'r'"));
        drop(users);
        let shared = node(&graph, "s", true, &[]).unwrap();
        let users =
            [graph.attach("drive 'a'".into(), &shared, false), graph.attach("drive 'b'".into(), &shared, false)];
        assert!(users.iter().all(Result::is_ok));
    }

    #[test]
    fn the_file_of_an_image_belongs_to_it_and_its_backing_file_is_not_written() {
        let graph = Graph::default();
        let file = node(&graph, "f", false, &[]).unwrap();
        let base = node(&graph, "b", false, &[]).unwrap();
        let image = node(&graph, "q", false, &[(Role::File, &file), (Role::Backing, &base)]).unwrap();
        let message = refusal(graph.attach("drive 'a'".into(), &file, false));
        assert!(message.starts_with("Permission conflict on node 'f'"), "{message}");
        let _user = graph.attach("drive 'a'".into(), &image, false).unwrap();
        let message = refusal(graph.attach("drive 'b'".into(), &base, false));
        assert!(message.starts_with("Permission conflict on node 'b'"), "{message}");
        let message = refusal(node(&graph, "q2", false, &[(Role::File, &file)]));
        assert!(message.starts_with("Permission conflict on node 'f'"), "{message}");
        // Several images over one are usual.
        let other = node(&graph, "f2", false, &[]).unwrap();
        node(&graph, "q3", false, &[(Role::File, &other), (Role::Backing, &base)]).unwrap();
    }

    #[test]
    fn nodes_that_are_kept_go_when_nobody_uses_them() {
        let graph = Graph::default();
        graph.keep(node(&graph, "f", false, &[]).unwrap());
        assert_eq!(refusal(node(&graph, "f", false, &[])), "Duplicate nodes with node-name='f'");
        let file = graph.find("f").unwrap();
        let user = graph.attach("drive 'a'".into(), &file, false).unwrap();
        drop(file);
        assert!(refusal(graph.remove("f")).starts_with("Node f is in use: drive 'a'"));
        drop(user);
        graph.remove("f").unwrap();
        assert!(graph.find("f").is_none() && graph.all().is_empty());
        assert_eq!(refusal(graph.remove("f")), "Failed to find node with node-name='f'");
    }
}
