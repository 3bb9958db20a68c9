//! `-numa`: nodes, their processors and memory, and how far they are apart.

use super::memory;
use crate::cli::error::UsageError;
use crate::cli::keyval::KeyValues;
use crate::cli::settings::{Occurrence, Settings};
use crate::config::{MemoryConfig, NumaConfig, Smp};
use crate::scalar::print_size;

/// Distance of a node to itself, and to others where nothing is said.
const LOCAL: u8 = 10;
const REMOTE: u8 = 20;

/// A node as it is given.
#[derive(Clone, Default)]
struct Node {
    memory: Option<u64>,
    /// Id of the memory backend it consists of.
    memdev: Option<String>,
}

/// What has been read so far.
#[derive(Default)]
struct Nodes<'a> {
    nodes: Vec<Option<Node>>,
    cpus: Vec<Option<u32>>,
    distances: Vec<(usize, usize, u8)>,
    last: Option<&'a Occurrence>,
}

/// Reads `-numa` for a machine with this memory, which becomes that of the nodes if they bring their own.
pub fn build(settings: &Settings, smp: &Smp, memory: &mut MemoryConfig) -> Result<NumaConfig, UsageError> {
    let mut read = Nodes { cpus: vec![None; smp.max_cpus as usize], ..Nodes::default() };
    for given in settings.all("numa") {
        let Some(list) = given.list() else { return Err(given.origin.error("its keys are missing")) };
        match list.variant {
            Some("node") => read.node(given, list)?,
            Some("cpu") => read.cpu(given, list, smp)?,
            _ => read.distance(given, list)?,
        }
        read.last = Some(given);
    }
    read.take_backends(settings, memory)?;
    read.finish(smp, memory.size())
}

impl<'a> Nodes<'a> {
    fn node(&mut self, given: &Occurrence, list: &KeyValues) -> Result<(), UsageError> {
        let next = self.nodes.iter().position(Option::is_none).unwrap_or(self.nodes.len());
        let number = list.number("nodeid").unwrap_or(next);
        if number >= NumaConfig::MOST_NODES {
            return Err(given.origin.error(format_args!("there are at most {} nodes", NumaConfig::MOST_NODES)));
        }
        if self.nodes.len() <= number {
            self.nodes.resize(number + 1, None);
        }
        if self.nodes[number].is_some() {
            return Err(given.origin.error(format_args!("node {number} is defined already")));
        }
        let (memory, memdev) = (list.size("mem"), list.text("memdev").map(str::to_owned));
        let mixed =
            |other: &Node| memory.is_some() && other.memdev.is_some() || memdev.is_some() && other.memory.is_some();
        if memory.is_some() && memdev.is_some() || self.nodes.iter().flatten().any(mixed) {
            return Err(given.origin.error("give all nodes memory by memdev=, or all by mem="));
        }
        self.nodes[number] = Some(Node { memory, memdev });
        for entry in list.entries.iter().filter(|entry| entry.key == "cpus") {
            let (first, last) = range(&entry.text).ok_or_else(|| {
                given.origin.error(format_args!("cpus={}: expected a number, or two as in 0-3", entry.text))
            })?;
            if last as usize >= self.cpus.len() {
                return Err(given.origin.error(format_args!(
                    "cpus={}: the machine has room for CPUs 0 to {} (-smp)",
                    entry.text,
                    self.cpus.len() - 1
                )));
            }
            for cpu in first..=last {
                self.assign(given, cpu, number as u32)?;
            }
        }
        Ok(())
    }

    fn assign(&mut self, given: &Occurrence, cpu: u32, node: u32) -> Result<(), UsageError> {
        match &mut self.cpus[cpu as usize] {
            Some(other) if *other != node => {
                Err(given.origin.error(format_args!("CPU {cpu} is in node {other} already")))
            }
            place => {
                *place = Some(node);
                Ok(())
            }
        }
    }

    fn defined(&self, given: &Occurrence, list: &KeyValues, key: &str) -> Result<usize, UsageError> {
        match list.number::<usize>(key) {
            None => Err(given.origin.error(format_args!("'{key}' is missing: give {key}=NODE"))),
            Some(node) if !matches!(self.nodes.get(node), Some(Some(_))) => Err(given
                .origin
                .error(format_args!("{key}={node}: there is no such node: define it before with -numa node"))),
            Some(node) => Ok(node),
        }
    }

    fn cpu(&mut self, given: &Occurrence, list: &KeyValues, smp: &Smp) -> Result<(), UsageError> {
        let node = self.defined(given, list, "node-id")? as u32;
        let wanted = ["socket-id", "die-id", "core-id", "thread-id"].map(|key| list.number::<u32>(key));
        let mut found = false;
        for cpu in 0..smp.max_cpus {
            let (core, die) = (cpu / smp.threads, cpu / (smp.threads * smp.cores));
            let place = [die / smp.dies, die % smp.dies, core % smp.cores, cpu % smp.threads];
            if wanted.iter().zip(place).all(|(wanted, at)| wanted.is_none_or(|wanted| wanted == at)) {
                found = true;
                self.assign(given, cpu, node)?;
            }
        }
        if found { Ok(()) } else { Err(given.origin.error("the machine has no CPU at this place (-smp)")) }
    }

    fn distance(&mut self, given: &Occurrence, list: &KeyValues) -> Result<(), UsageError> {
        let (from, to) = (self.defined(given, list, "src")?, self.defined(given, list, "dst")?);
        let Some(distance) = list.number::<u8>("val") else {
            return Err(given.origin.error("'val' is missing: give val=DISTANCE"));
        };
        if (from == to) != (distance == LOCAL) {
            return Err(given
                .origin
                .error(format_args!("{LOCAL} is the distance of a node to itself, and of no other")));
        }
        self.distances.push((from, to, distance));
        Ok(())
    }

    /// Makes RAM of the memory backends of the nodes, if they have some.
    fn take_backends(&mut self, settings: &Settings, memory: &mut MemoryConfig) -> Result<(), UsageError> {
        let Some(last) = self.last else { return Ok(()) };
        let ids: Vec<_> = self.nodes.iter().flatten().filter_map(|node| node.memdev.as_deref()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        memory::from_nodes(settings, last, &ids, memory)?;
        let mut backends = memory.ram.iter();
        for node in self.nodes.iter_mut().flatten() {
            node.memory = node.memdev.as_ref().and_then(|_| backends.next()).map(|backend| backend.size);
        }
        Ok(())
    }

    fn finish(self, smp: &Smp, memory: u64) -> Result<NumaConfig, UsageError> {
        let Some(last) = self.last else { return Ok(NumaConfig::default()) };
        let error = |message: String| last.origin.error(message);
        let count = self.nodes.len();
        let mut sizes = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else {
                return Err(error(format!("node {number} is missing: nodes are counted from 0")));
            };
            sizes.push(node.memory);
        }
        let sizes: Vec<u64> = match &sizes[..] {
            [None] => vec![memory],
            _ => sizes.into_iter().map(|size| size.unwrap_or(0)).collect(),
        };
        let sum = sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size));
        if sum != memory {
            return Err(error(format!(
                "the nodes have {} of memory together, and the machine has {}: give each its mem=SIZE or memdev=ID, or change -m",
                print_size(sum),
                print_size(memory)
            )));
        }
        if let Some(size) = sizes.iter().find(|size| **size % (4 << 10) != 0) {
            return Err(error(format!("mem={size}: the memory of a node is a multiple of 4 KiB")));
        }
        let by_socket = |cpu: usize| cpu as u32 / (smp.dies * smp.cores * smp.threads) % count as u32;
        let cpus = self.cpus.iter().enumerate().map(|(cpu, node)| node.unwrap_or_else(|| by_socket(cpu))).collect();
        let mut distances = Vec::new();
        if !self.distances.is_empty() {
            let known =
                |from, to| self.distances.iter().rev().find(|(f, t, _)| (*f, *t) == (from, to)).map(|(.., d)| *d);
            let distance = |from: usize, to: usize| match from == to {
                true => LOCAL,
                false => known(from, to).or_else(|| known(to, from)).unwrap_or(REMOTE),
            };
            distances = (0..count).map(|from| (0..count).map(|to| distance(from, to)).collect()).collect();
        }
        Ok(NumaConfig { memory: sizes, cpus, distances })
    }
}

/// `3` or `0-3`.
fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}
