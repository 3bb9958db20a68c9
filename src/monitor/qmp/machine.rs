//! Commands of the machine as a whole: its memory, and what is done about events.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::commands::{Result, cpu_index, now, request};
use super::error::QmpError;
use super::request::{Arguments, not_accepted};
use crate::config::{IoThread, MemoryBackend};
use crate::monitor::{ActionChanges, Command, Control, IoThreadInfo, access};

/// `query-memdev`.
pub fn query_memory_backends(machine: &dyn Control) -> Result {
    let describe = |backend: &MemoryBackend| -> Value {
        let MemoryBackend { id, size, share, merge, dump, prealloc, reserve, .. } = backend;
        json!({
            "id": id, "size": size, "share": share, "merge": merge, "dump": dump, "prealloc": prealloc,
            "reserve": reserve, "policy": "default", "host-nodes": [],
        })
    };
    now(machine.memory_backends().iter().map(describe).collect())
}

/// `query-iothreads`.
pub fn query_io_threads(machine: &dyn Control) -> Result {
    let describe = |thread: &IoThreadInfo| -> Value {
        let IoThreadInfo { config: IoThread { id, poll_max_ns, poll_grow, poll_shrink, aio_max_batch }, thread_id } =
            thread;
        json!({
            "id": id, "thread-id": thread_id, "poll-max-ns": poll_max_ns, "poll-grow": poll_grow,
            "poll-shrink": poll_shrink, "aio-max-batch": aio_max_batch,
        })
    };
    now(machine.io_threads().iter().map(describe).collect())
}

/// An action by the name that the command line has for it.
fn action<T: DeserializeOwned>(arguments: &mut Arguments, name: &str) -> std::result::Result<Option<T>, QmpError> {
    let Some(word) = arguments.optional_string(name)? else { return Ok(None) };
    serde_json::from_value(word.as_str().into()).map(Some).map_err(|_| not_accepted(name, &word))
}

/// `set-action`.
pub fn set_action(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let changes = ActionChanges {
        reboot: action(arguments, "reboot")?,
        shutdown: action(arguments, "shutdown")?,
        panic: action(arguments, "panic")?,
        watchdog: action(arguments, "watchdog")?,
    };
    request(machine, Command::SetActions(changes))
}

/// `watchdog-set-action`.
pub fn set_watchdog_action(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let watchdog = action(arguments, "action")?;
    request(machine, Command::SetActions(ActionChanges { watchdog, ..ActionChanges::default() }))
}

/// `memsave`: from a linear address of a processor on.
pub fn save_linear(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let cpu = cpu_index(machine, arguments)?;
    save(machine, Some(cpu), arguments)
}

/// `pmemsave`: from a physical address on.
pub fn save_physical(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    save(machine, None, arguments)
}

fn save(machine: &dyn Control, processor: Option<u32>, arguments: &mut Arguments) -> Result {
    let (address, size) = (arguments.unsigned("val")?, arguments.unsigned("size")?);
    let path = arguments.string("filename")?;
    access::save(machine.access()?, processor, address, size, path)?;
    now(json!({}))
}

/// `chardev-send-break`.
pub fn send_break(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let id = arguments.string("id")?;
    machine.send_break(&id)?;
    now(json!({}))
}

/// `chardev-remove` and `chardev-change`: what there is stays.
pub fn keep_chardev(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let id = arguments.string("id")?;
    Err(QmpError::generic(match machine.chardevs().iter().any(|(other, _)| *other == id) {
        true => format!("Chardev '{id}' is busy: it belongs to its device or monitor to the end"),
        false => format!("Chardev '{id}' not found"),
    }))
}

/// `chardev-add`.
pub fn refuse_chardev(_: &dyn Control, _: &mut Arguments) -> Result {
    let message =
        "nothing could use it: devices and monitors are given their character devices at the start (-chardev)";
    Err(QmpError::generic(message))
}
