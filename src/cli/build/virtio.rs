//! `-device` for virtio devices.

use super::{check_id, scsi};
use crate::cli::error::UsageError;
use crate::cli::keyval::KeyValues;
use crate::cli::settings::Occurrence;
use crate::config::{PciFunction, VirtioBlk, VirtioInterface, VirtioOptions};

/// Most MSI-X vectors of a function.
const MOST_VECTORS: u16 = 2048;
/// Most queues of a function.
const MOST_QUEUES: u16 = 1024;

/// Reads a virtio device; `None` if `driver` is not one.
pub fn device(given: &Occurrence, driver: &str, list: &KeyValues) -> Result<Option<PciFunction>, UsageError> {
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
            Some(PciFunction::VirtioBlk(Box::new(disk(given, list, options(given, interface, list)?)?)))
        }
        "virtio-scsi-pci" => {
            let options = options(given, interface, list)?;
            Some(PciFunction::VirtioScsi(Box::new(scsi::host(given, list, options)?)))
        }
        _ => None,
    })
}

/// What every virtio device has.
///
/// # Errors
/// It would have no interface, or more vectors than a function can have.
pub fn options(given: &Occurrence, interface: VirtioInterface, list: &KeyValues) -> Result<VirtioOptions, UsageError> {
    let error = |message: &str| given.origin.error(message);
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
            return Err(given.origin.error(format_args!("a PCI function has at most {MOST_VECTORS} vectors")));
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
    })
}

fn disk(given: &Occurrence, list: &KeyValues, virtio: VirtioOptions) -> Result<VirtioBlk, UsageError> {
    let error = |message: &str| given.origin.error(message);
    let drive = list
        .text("drive")
        .ok_or_else(|| error("'drive' is missing: give drive=ID of a -drive if=none,id=ID,file=PATH"))?;
    let usual = VirtioBlk::new(check_id(&given.origin, drive)?);
    let serial = list.text("serial").unwrap_or_default();
    if serial.len() > 20 {
        return Err(error("serial has at most 20 characters"));
    }
    let queue_size = list.number("queue-size").unwrap_or(usual.queue_size);
    if !queue_size.is_power_of_two() {
        return Err(error("queue-size has to be a power of two from 4 to 1024"));
    }
    let queues = list.number::<u16>("num-queues").filter(|queues| *queues != u16::MAX);
    if queues.is_some_and(|queues| queues > MOST_QUEUES) {
        return Err(given.origin.error(format_args!("num-queues is at most {MOST_QUEUES}")));
    }
    let block_size = |key: &str| match list.size(key).filter(|size| *size != 0) {
        Some(size) if !size.is_power_of_two() || !(512..=2 << 20).contains(&size) => {
            Err(given.origin.error(format_args!("{key} has to be a power of two from 512 to 2M")))
        }
        size => Ok(size.map(|size| size as u32)),
    };
    let logical_block_size = block_size("logical_block_size")?.unwrap_or(usual.logical_block_size);
    let physical_block_size = block_size("physical_block_size")?.unwrap_or(logical_block_size.max(512));
    if physical_block_size < logical_block_size {
        return Err(error("logical_block_size can't be more than physical_block_size"));
    }
    // Whole blocks, whose number fits into the register that tells it.
    let blocks = |key: &str, most: u64| match list.size(key) {
        None => Ok(None),
        Some(size) if size % u64::from(logical_block_size) == 0 && size / u64::from(logical_block_size) <= most => {
            u32::try_from(size).map(Some).map_err(|_| given.origin.error(format_args!("{key} is less than 4G")))
        }
        Some(_) => Err(given.origin.error(format_args!(
            "{key} is a multiple of logical_block_size ({logical_block_size}), at most {most} of it"
        ))),
    };
    let geometry = ["cyls", "heads", "secs"].map(|key| list.number::<u16>(key).filter(|number| *number != 0));
    let geometry = match geometry {
        [None, None, None] => None,
        [Some(cylinders), Some(heads), Some(sectors)] => Some((cylinders, heads as u8, sectors as u8)),
        _ => return Err(error("cyls, heads and secs have to be given together")),
    };
    Ok(VirtioBlk {
        virtio,
        serial: serial.to_owned(),
        bootindex: list.number("bootindex"),
        queues,
        queue_size,
        seg_max_adjust: list.flag("seg-max-adjust").unwrap_or(usual.seg_max_adjust),
        logical_block_size,
        physical_block_size,
        min_io_size: blocks("min_io_size", u16::MAX.into())?.unwrap_or(usual.min_io_size),
        opt_io_size: blocks("opt_io_size", u32::MAX.into())?.unwrap_or(usual.opt_io_size),
        geometry,
        write_cache: match list.choice::<String>("write-cache").as_deref() {
            Some("on") => Some(true),
            Some("off") => Some(false),
            _ => None,
        },
        config_wce: list.flag("config-wce").unwrap_or(usual.config_wce),
        discard: list.flag("discard").unwrap_or(usual.discard),
        // As in QEMU the largest number is the same as nothing.
        discard_granularity: match list.size("discard_granularity") {
            Some(size) if size == u64::from(u32::MAX) => None,
            _ => blocks("discard_granularity", u32::MAX.into())?,
        },
        max_discard_sectors: list.number("max-discard-sectors").unwrap_or(usual.max_discard_sectors),
        write_zeroes: list.flag("write-zeroes").unwrap_or(usual.write_zeroes),
        max_write_zeroes_sectors: list.number("max-write-zeroes-sectors").unwrap_or(usual.max_write_zeroes_sectors),
        ..usual
    })
}
