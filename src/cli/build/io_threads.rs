//! `-object iothread`: threads that serve the queues of devices.

use super::check_id;
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::cli::settings::{Occurrence, Settings};
use crate::config::IoThread;

/// The option, if it makes such a thread.
fn keys(object: &Occurrence) -> Option<&KeyValues> {
    object.list().filter(|list| list.variant == Some("iothread"))
}

/// Reads all of them.
pub fn build(settings: &Settings) -> Result<Vec<IoThread>, UsageError> {
    let mut threads: Vec<IoThread> = Vec::new();
    for object in settings.all("object") {
        let Some(list) = keys(object) else { continue };
        let error = |message: &str| object.origin.error(message);
        let id = list.text("id").ok_or_else(|| error("'id' is missing: give id=NAME"))?;
        let usual = IoThread::new(check_id(&object.origin, id)?);
        let number = |key: &str, usual: u64| list.number(key).unwrap_or(usual);
        threads.push(IoThread {
            poll_max_ns: number("poll-max-ns", usual.poll_max_ns),
            poll_grow: number("poll-grow", usual.poll_grow),
            poll_shrink: number("poll-shrink", usual.poll_shrink),
            aio_max_batch: number("aio-max-batch", usual.aio_max_batch),
            ..usual
        });
    }
    Ok(threads)
}

/// Checks that there is a thread `id` for a device that names it.
pub fn reference(settings: &Settings, id: &str, origin: &Origin) -> Result<(), UsageError> {
    let mut ids = settings.all("object").filter_map(|object| keys(object)?.text("id"));
    match ids.any(|other| other == id) {
        true => Ok(()),
        false => Err(origin
            .error(format_args!("iothread={id}: there is no such thread: define it with -object iothread,id={id}"))),
    }
}
