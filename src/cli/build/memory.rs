//! `-m`, `-mem-path`, `-mem-prealloc`, `-object memory-backend-*`: guest RAM.

use super::check_id;
use crate::cli::error::UsageError;
use crate::cli::settings::{Occurrence, Settings};
use crate::config::{MemoryBackend, MemoryBackendKind, MemoryConfig, Smp};
use crate::scalar::print_size;

/// Sizes of `-m` are rounded up to this many bytes, as in QEMU.
const RAM_GRANULARITY: u64 = 8 << 10;
/// Sizes of memory backends are rounded up to this many bytes.
const PAGE: u64 = 4 << 10;
const DEFAULT_ID: &str = MemoryBackend::DEFAULT_ID;

/// What a backend has when its own keys do not say otherwise.
struct Defaults {
    merge: bool,
    dump: bool,
    prealloc: bool,
    prealloc_threads: u32,
}

/// Reads the options of guest RAM.
pub fn build(settings: &Settings, smp: &Smp) -> Result<MemoryConfig, UsageError> {
    let machine = settings.merged("machine");
    let prealloc = settings.has("mem-prealloc");
    let defaults = Defaults {
        merge: machine.flag("mem-merge").unwrap_or(true),
        dump: machine.flag("dump-guest-core").unwrap_or(true),
        prealloc,
        // As many threads as the guest has CPUs: the host is meant to have these to spare.
        prealloc_threads: if prealloc { smp.cpus } else { 1 },
    };

    let mut spare: Vec<MemoryBackend> = Vec::new();
    let is_backend = |object: &&Occurrence| {
        object.list().and_then(|list| list.variant).is_none_or(|variant| variant.starts_with("memory-backend-"))
    };
    for object in settings.all("object").filter(is_backend) {
        spare.push(backend(object, &defaults)?);
    }

    let m = settings.merged("m");
    let size = match m.size("size").filter(|size| *size != 0) {
        None => None,
        Some(size) if size < MemoryConfig::MIN_SIZE => {
            return Err(m.error("size", "a PC has at least 1M of memory; a size without a suffix counts MiB"));
        }
        Some(size) if size > MemoryConfig::MAX_SIZE => {
            return Err(m.error(
                "size",
                format_args!("this is {size} bytes, and x86 has addresses for {} bytes of RAM", MemoryConfig::MAX_SIZE),
            ));
        }
        Some(size) => Some(size.next_multiple_of(RAM_GRANULARITY)),
    };

    let Some(id) = machine.text("memory-backend") else {
        if let Some(object) = settings.all("object").find(|object| object_id(object) == Some(DEFAULT_ID)) {
            return Err(object.origin.error(format_args!(
                "the id '{DEFAULT_ID}' is that of the default RAM; choose another, or use it with -machine memory-backend={DEFAULT_ID}"
            )));
        }
        let mut ram = MemoryBackend::anonymous(DEFAULT_ID, size.unwrap_or(MemoryConfig::DEFAULT_SIZE));
        (ram.merge, ram.dump) = (defaults.merge, defaults.dump);
        (ram.prealloc, ram.prealloc_threads) = (defaults.prealloc, defaults.prealloc_threads);
        if let Some(path) = settings.last("mem-path") {
            ram.kind = MemoryBackendKind::File { path: path.text().into(), align: 0, readonly: false };
        }
        return Ok(MemoryConfig { ram: vec![ram], spare });
    };

    if let Some(path) = settings.last("mem-path") {
        return Err(path
            .origin
            .error("-machine memory-backend= says what guest RAM is made of: leave one of the two out"));
    }
    let Some(at) = spare.iter().position(|backend| backend.id == id) else {
        return Err(machine.error(
            "memory-backend",
            format_args!(
                "there is no memory backend '{id}': define it with -object memory-backend-ram,id={id},size=SIZE"
            ),
        ));
    };
    let ram = spare.remove(at);
    if let Some(size) = size.filter(|size| *size != ram.size) {
        return Err(m.error(
            "size",
            format_args!(
                "this is {}, but memory backend '{id}' has {}: make them equal, or leave -m out",
                print_size(size),
                print_size(ram.size)
            ),
        ));
    }
    Ok(MemoryConfig { ram: vec![ram], spare })
}

/// Makes RAM of the backends that NUMA nodes bring, given by their ids in the order of the nodes.
pub fn from_nodes(
    settings: &Settings,
    numa: &Occurrence,
    ids: &[&str],
    memory: &mut MemoryConfig,
) -> Result<(), UsageError> {
    let machine = settings.merged("machine");
    if machine.text("memory-backend").is_some() {
        return Err(machine
            .error("memory-backend", "the nodes of -numa bring their memory (memdev=): leave one of the two out"));
    }
    if let Some(path) = settings.last("mem-path") {
        return Err(path.origin.error("the nodes of -numa bring their memory (memdev=): leave one of the two out"));
    }
    let mut ram = Vec::new();
    for id in ids {
        let at = memory.spare.iter().position(|backend| backend.id == *id);
        ram.push(memory.spare.remove(at.ok_or_else(|| {
            numa.origin.error(format_args!(
                "memdev={id}: there is no such memory backend, or another node has it: define one for each node with \
                 -object memory-backend-ram,id={id},size=SIZE"
            ))
        })?));
    }
    let given = memory.size();
    memory.ram = ram;
    let m = settings.merged("m");
    if m.size("size").is_some_and(|size| size != 0) && given != memory.size() {
        return Err(m.error(
            "size",
            format_args!(
                "this is {}, but the memory backends of the NUMA nodes have {} together: make them equal, or leave -m out",
                print_size(given),
                print_size(memory.size())
            ),
        ));
    }
    match memory.size() {
        size if !(MemoryConfig::MIN_SIZE..=MemoryConfig::MAX_SIZE).contains(&size) => {
            Err(numa.origin.error(format_args!(
                "the memory backends of the nodes have {} together: a PC has from 1M to {} bytes of memory",
                print_size(size),
                MemoryConfig::MAX_SIZE
            )))
        }
        _ => Ok(()),
    }
}

fn object_id(object: &Occurrence) -> Option<&str> {
    object.list()?.text("id")
}

/// Reads one `-object memory-backend-*`.
fn backend(object: &Occurrence, defaults: &Defaults) -> Result<MemoryBackend, UsageError> {
    let error = |message: String| object.origin.error(message);
    let Some(list) = object.list() else { return Err(error("its keys are missing".into())) };
    let id = list.text("id").ok_or_else(|| error("'id' is missing: give id=NAME".into()))?;
    check_id(&object.origin, id)?;
    let size = match list.size("size") {
        None => return Err(error("'size' is missing: give size=SIZE, size=512M say".into())),
        Some(size) if size == 0 || size > MemoryConfig::MAX_SIZE => {
            return Err(error(format!("size={size}: expected a size from 1 to {} bytes", MemoryConfig::MAX_SIZE)));
        }
        Some(size) => size.next_multiple_of(PAGE),
    };
    let power_of_two = |key: &str| match list.size(key).unwrap_or(0) {
        size if size == 0 || size.is_power_of_two() => Ok(size),
        size => Err(error(format!("{key}={}: expected a power of two", print_size(size)))),
    };
    let kind = match list.variant {
        Some("memory-backend-file") => {
            let path = list.text("mem-path").filter(|path| !path.is_empty());
            MemoryBackendKind::File {
                path: path.ok_or_else(|| error("'mem-path' is missing: give mem-path=PATH".into()))?.into(),
                align: power_of_two("align")?,
                readonly: list.flag("readonly").unwrap_or(false),
            }
        }
        Some("memory-backend-memfd") => {
            let hugetlb = list.flag("hugetlb").unwrap_or(false);
            let hugetlbsize = power_of_two("hugetlbsize")?;
            if hugetlbsize != 0 && !hugetlb {
                return Err(error("hugetlbsize says how large huge pages are: it needs hugetlb=on".into()));
            }
            if hugetlbsize != 0 && size % hugetlbsize != 0 {
                return Err(error(format!(
                    "the size {} is no multiple of hugetlbsize={}",
                    print_size(size),
                    print_size(hugetlbsize)
                )));
            }
            MemoryBackendKind::Memfd { hugetlb, hugetlbsize, seal: list.flag("seal").unwrap_or(true) }
        }
        _ => MemoryBackendKind::Ram,
    };
    let share = list.flag("share").unwrap_or(matches!(kind, MemoryBackendKind::Memfd { .. }));
    Ok(MemoryBackend {
        id: id.into(),
        kind,
        size,
        share,
        merge: list.flag("merge").unwrap_or(defaults.merge),
        dump: list.flag("dump").unwrap_or(defaults.dump),
        prealloc: list.flag("prealloc").unwrap_or(defaults.prealloc),
        prealloc_threads: list.number("prealloc-threads").unwrap_or(defaults.prealloc_threads),
        reserve: list.flag("reserve").unwrap_or(true),
    })
}
