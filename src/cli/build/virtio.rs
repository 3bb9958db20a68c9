//! `-device` for virtio devices.

use super::{check_id, disk, scsi};
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::config::{PciFunction, VirtioBlk, VirtioInterface, VirtioOptions};

/// Most MSI-X vectors of a function.
const MOST_VECTORS: u16 = 2048;
/// Most queues of a function.
const MOST_QUEUES: u16 = 1024;

/// Reads a virtio device; `None` if `driver` is not one.
pub fn device(origin: &Origin, driver: &str, list: &KeyValues) -> Result<Option<PciFunction>, UsageError> {
    let (kind, interface) = match driver {
        _ if driver.ends_with("-non-transitional") => {
            (driver.trim_end_matches("-non-transitional"), VirtioInterface::NonTransitional)
        }
        _ if driver.ends_with("-transitional") => {
            (driver.trim_end_matches("-transitional"), VirtioInterface::Transitional)
        }
        _ => (driver, VirtioInterface::Plain),
    };
    Ok(match kind {
        "virtio-blk-pci" => {
            Some(PciFunction::VirtioBlk(Box::new(block(origin, list, options(origin, interface, list)?)?)))
        }
        "virtio-scsi-pci" => {
            let options = options(origin, interface, list)?;
            Some(PciFunction::VirtioScsi(Box::new(scsi::host(origin, list, options)?)))
        }
        _ => None,
    })
}

/// What every virtio device has.
///
/// # Errors
/// It would have no interface, or more vectors than a function can have.
pub fn options(origin: &Origin, interface: VirtioInterface, list: &KeyValues) -> Result<VirtioOptions, UsageError> {
    let error = |message: &str| origin.error(message);
    let disable_legacy = list.choice::<String>("disable-legacy");
    let disable_modern = list.flag("disable-modern");
    if interface != VirtioInterface::Plain && (disable_legacy.is_some() || disable_modern.is_some()) {
        return Err(error(
            "the name of the device says which drivers it is for: leave disable-legacy and disable-modern out",
        ));
    }
    let legacy = interface != VirtioInterface::NonTransitional && disable_legacy.as_deref() != Some("on");
    let modern = disable_modern != Some(true);
    if !legacy && !modern {
        return Err(error("no driver could use it: set either disable-legacy or disable-modern to off"));
    }
    // As in QEMU the largest number is the same as nothing.
    let vectors = match list.number::<u32>("vectors").filter(|vectors| *vectors != u32::MAX) {
        Some(vectors) if vectors > u32::from(MOST_VECTORS) => {
            return Err(origin.error(format_args!("a PCI function has at most {MOST_VECTORS} vectors")));
        }
        vectors => vectors.map(|vectors| vectors as u16),
    };
    let usual = VirtioOptions::default();
    let flag = |key: &str, usual: bool| list.flag(key).unwrap_or(usual);
    Ok(VirtioOptions {
        interface,
        legacy,
        modern,
        vectors,
        page_per_vq: flag("page-per-vq", usual.page_per_vq),
        indirect_desc: flag("indirect_desc", usual.indirect_desc),
        event_idx: flag("event_idx", usual.event_idx),
        any_layout: flag("any_layout", usual.any_layout),
        notify_on_empty: flag("notify_on_empty", usual.notify_on_empty),
        packed: flag("packed", usual.packed),
        queue_reset: flag("queue_reset", usual.queue_reset),
        ioeventfd: flag("ioeventfd", usual.ioeventfd),
    })
}

/// The thread that is to serve a device's queues.
///
/// # Errors
/// It would not hear of them.
pub fn io_thread(origin: &Origin, list: &KeyValues, virtio: &VirtioOptions) -> Result<Option<String>, UsageError> {
    match list.text("iothread") {
        Some(_) if !virtio.ioeventfd => {
            Err(origin.error("a thread hears of a queue by ioeventfd: leave ioeventfd=off out, or iothread"))
        }
        id => id.map(|id| check_id(origin, id).map(str::to_owned)).transpose(),
    }
}

fn block(origin: &Origin, list: &KeyValues, virtio: VirtioOptions) -> Result<VirtioBlk, UsageError> {
    let error = |message: &str| origin.error(message);
    let usual = VirtioBlk::new(disk::contents(list, origin)?);
    let io_thread = io_thread(origin, list, &virtio)?;
    let queue_size = list.number("queue-size").unwrap_or(usual.queue_size);
    if !queue_size.is_power_of_two() {
        return Err(error("queue-size has to be a power of two from 4 to 1024"));
    }
    let queues = list.number::<u16>("num-queues").filter(|queues| *queues != u16::MAX);
    if queues.is_some_and(|queues| queues > MOST_QUEUES) {
        return Err(origin.error(format_args!("num-queues is at most {MOST_QUEUES}")));
    }
    Ok(VirtioBlk {
        virtio,
        io_thread,
        serial: list.text("serial").unwrap_or_default().to_owned(),
        bootindex: list.number("bootindex"),
        queues,
        queue_size,
        seg_max_adjust: list.flag("seg-max-adjust").unwrap_or(usual.seg_max_adjust),
        blocks: disk::blocks(list, origin)?,
        config_wce: list.flag("config-wce").unwrap_or(usual.config_wce),
        discard: list.flag("discard").unwrap_or(usual.discard),
        max_discard_sectors: list.number("max-discard-sectors").unwrap_or(usual.max_discard_sectors),
        write_zeroes: list.flag("write-zeroes").unwrap_or(usual.write_zeroes),
        max_write_zeroes_sectors: list.number("max-write-zeroes-sectors").unwrap_or(usual.max_write_zeroes_sectors),
        ..usual
    })
}
