//! `info`: what the human monitor tells about the machine.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::commands::{Context, unknown};
use super::drives::DriveInfo;
use super::{IoThreadInfo, View, hardware, input, missing, objects, pci};
use crate::config::{IoThread, MemoryBackend};

/// One item.
struct Item {
    name: &'static str,
    help: &'static str,
    tell: fn(&mut Context<'_>, &[&str]) -> Result<String>,
}

const ITEMS: &[Item] = &[
    Item { name: "block", help: "the drives and what is in them: [-n] [-v] [DRIVE]", tell: drives },
    Item { name: "blockstats", help: "what the drives have done", tell: drive_stats },
    Item { name: "chardev", help: "the character devices", tell: chardevs },
    Item { name: "cpus", help: "the virtual CPUs", tell: |context, _| Ok(hardware::cpus(context)) },
    Item { name: "iothreads", help: "the threads that serve queues of devices", tell: io_threads },
    Item {
        name: "irq",
        help: "how often interrupts came",
        tell: |context, _| context.machine.view(View::InterruptCounts),
    },
    Item { name: "kvm", help: "whether KVM is used", tell: kvm },
    Item { name: "lapic", help: "the local APIC of a CPU", tell: hardware::local_apic },
    Item { name: "memdev", help: "what RAM consists of", tell: memory_backends },
    Item { name: "memory_size_summary", help: "the size of RAM", tell: memory_size },
    Item {
        name: "mice",
        help: "the mice, and which one is moved",
        tell: |context, _| input::describe_mice(context.machine),
    },
    Item {
        name: "mtree",
        help: "what is where in the address spaces",
        tell: |context, _| context.machine.view(View::Memory),
    },
    Item { name: "name", help: "the name of the guest", tell: name },
    Item { name: "numa", help: "the NUMA nodes", tell: numa },
    Item {
        name: "pci",
        help: "the functions on the PCI buses",
        tell: |context, _| Ok(pci::text(&context.machine.pci()?)),
    },
    Item {
        name: "pic",
        help: "the interrupt controllers",
        tell: |context, _| context.machine.view(View::InterruptControllers),
    },
    Item { name: "qom-tree", help: "the objects, from a path on", tell: objects::tree },
    Item {
        name: "qtree",
        help: "the devices by bus, with their registers",
        tell: |context, _| context.machine.view(View::Devices),
    },
    Item { name: "registers", help: "the registers of a CPU, or with -a of all", tell: hardware::registers },
    Item { name: "roms", help: "firmware and option ROMs", tell: |context, _| context.machine.view(View::Roms) },
    Item { name: "status", help: "whether the machine runs", tell: status },
    Item {
        name: "uuid",
        help: "the UUID of the guest",
        tell: |context, _| Ok(format!("{}\n", context.machine.uuid())),
    },
    Item {
        name: "version",
        help: "the version of natoma",
        tell: |_, _| Ok(format!("natoma {}\n", env!("CARGO_PKG_VERSION"))),
    },
];

/// `info [ITEM]`.
pub(super) fn info(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let Some(name) = arguments.first() else { return Ok(ITEMS.iter().map(describe).collect()) };
    match ITEMS.iter().find(|item| item.name == *name) {
        Some(item) => (item.tell)(context, &arguments[1..]),
        None => Ok(missing::item(name).map_or_else(|| not_known(name), |reason| format!("Error: {reason}\n"))),
    }
}

/// `help info ITEM`.
pub(super) fn help(name: &str) -> String {
    ITEMS.iter().find(|item| item.name == name).map_or_else(|| not_known(name), describe)
}

fn describe(item: &Item) -> String {
    format!("info {:<20} {}\n", item.name, item.help)
}

fn not_known(name: &str) -> String {
    unknown("item", name, ITEMS.iter().map(|item| item.name))
}

fn kvm(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    Ok(format!("kvm support: {}\n", if context.machine.uses_kvm() { "enabled" } else { "disabled" }))
}

fn name(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    Ok(context.machine.name().map(|name| format!("{name}\n")).unwrap_or_default())
}

fn status(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    Ok(match context.machine.status() {
        "running" => "VM status: running\n".into(),
        "paused" => "VM status: paused\n".into(),
        other => format!("VM status: paused ({other})\n"),
    })
}

fn chardevs(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    let line = |(id, description): &(String, String)| format!("{id}: filename={description}\n");
    Ok(context.machine.chardevs().iter().map(line).collect())
}

/// `[-n] [-v] [DRIVE]`: nodes, with images.
fn drives(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let (flags, names): (Vec<_>, Vec<_>) = arguments.iter().copied().partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = flags.iter().find(|flag| !["-n", "-v", "-nv", "-vn"].contains(*flag)) {
        bail!("unsupported option {unknown}");
    }
    let has = |letter| flags.iter().any(|flag| flag.contains(letter));
    let wanted = names.first();
    let texts: Vec<_> = match has('n') {
        true => {
            let nodes = context.machine.nodes()?.nodes();
            let told = nodes.iter().rev().filter(|node| wanted.is_none_or(|name| node.name == *name));
            told.map(|node| node.text(has('v'))).collect()
        }
        false => {
            let drives = context.machine.drives()?;
            let told =
                drives.iter().filter(|drive| wanted.is_none_or(|name| drive.id == *name || drive.belongs_to(name)));
            told.map(|drive| drive.text(has('v'))).collect()
        }
    };
    Ok(texts.join("\n"))
}

fn drive_stats(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    Ok(context.machine.drives()?.iter().map(DriveInfo::stats_text).collect())
}

fn memory_size(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    Ok(format!("base memory: {}\nplugged memory: 0\n", context.machine.memory_size()))
}

fn memory_backends(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    let describe = |backend: &MemoryBackend| {
        let MemoryBackend { id, size, share, merge, dump, prealloc, reserve, .. } = backend;
        format!(
            "memory backend: {id}\n  size:  {size}\n  merge: {merge}\n  dump: {dump}\n  prealloc: {prealloc}\n  \
             share: {share}\n  reserve: {reserve}\n  policy: default\n  host nodes: \n\n"
        )
    };
    Ok(context.machine.memory_backends().iter().map(describe).collect())
}

fn io_threads(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    let describe = |thread: &IoThreadInfo| {
        let IoThreadInfo { config: IoThread { id, poll_max_ns, poll_grow, poll_shrink, aio_max_batch }, thread_id } =
            thread;
        format!(
            "{id}:\n  thread_id={thread_id}\n  poll-max-ns={poll_max_ns}\n  poll-grow={poll_grow}\n  \
             poll-shrink={poll_shrink}\n  aio-max-batch={aio_max_batch}\n"
        )
    };
    Ok(context.machine.io_threads().iter().map(describe).collect())
}

fn numa(context: &mut Context<'_>, _: &[&str]) -> Result<String> {
    let (numa, existing) = (context.machine.numa(), context.machine.cpus());
    let mut text = format!("{} nodes\n", numa.memory.len());
    for (node, size) in (0..).zip(&numa.memory) {
        // Writing to a String can't fail.
        let _ = write!(text, "node {node} cpus:");
        for (cpu, _) in (0..existing).zip(&numa.cpus).filter(|(_, other)| **other == node) {
            let _ = write!(text, " {cpu}");
        }
        let _ = writeln!(text, "\nnode {node} size: {} MB\nnode {node} plugged: 0 MB", size >> 20);
    }
    Ok(text)
}
