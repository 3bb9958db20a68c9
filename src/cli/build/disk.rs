//! Properties that disks and CD drives of several kinds have.

use super::check_id;
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::config::DiskBlocks;

/// The drive that holds a medium.
///
/// # Errors
/// What is given is not an id.
pub fn medium(list: &KeyValues, origin: &Origin) -> Result<Option<String>, UsageError> {
    Ok(list.text("drive").map(|id| check_id(origin, id)).transpose()?.map(str::to_owned))
}

/// The drive that holds the contents of a disk.
///
/// # Errors
/// As for [`medium`], or there is none.
pub fn contents(list: &KeyValues, origin: &Origin) -> Result<String, UsageError> {
    medium(list, origin)?
        .ok_or_else(|| origin.error("'drive' is missing: give drive=ID of a -drive if=none,id=ID,file=PATH"))
}

/// A world wide name; 0 is none, as in QEMU.
pub fn world_wide_name(list: &KeyValues, key: &str) -> Option<u64> {
    list.number(key).filter(|name| *name != 0)
}

/// Bytes of a block; 0 is what is usual, as in QEMU.
///
/// # Errors
/// No disk can have such blocks.
pub fn block_size(list: &KeyValues, origin: &Origin, key: &str) -> Result<Option<u32>, UsageError> {
    match list.size(key).filter(|size| *size != 0) {
        Some(size) if !size.is_power_of_two() || !(512..=2 << 20).contains(&size) => {
            Err(origin.error(format_args!("{key} has to be a power of two from 512 to 2M")))
        }
        size => Ok(size.map(|size| size as u32)),
    }
}

/// What a disk tells of its blocks.
///
/// # Errors
/// A size is none that a disk can have, or does not go with another.
pub fn blocks(list: &KeyValues, origin: &Origin) -> Result<DiskBlocks, UsageError> {
    let usual = DiskBlocks::default();
    let logical_block_size = block_size(list, origin, "logical_block_size")?.unwrap_or(usual.logical_block_size);
    let physical_block_size = block_size(list, origin, "physical_block_size")?.unwrap_or(logical_block_size);
    if physical_block_size < logical_block_size {
        return Err(origin.error("logical_block_size can't be more than physical_block_size"));
    }
    // Whole blocks, whose number fits into the register that tells it.
    let multiple = |key: &str, most: u64| match list.size(key) {
        None => Ok(None),
        Some(size) if size % u64::from(logical_block_size) == 0 && size / u64::from(logical_block_size) <= most => {
            u32::try_from(size).map(Some).map_err(|_| origin.error(format_args!("{key} is less than 4G")))
        }
        Some(_) => Err(origin.error(format_args!(
            "{key} is a multiple of logical_block_size ({logical_block_size}), at most {most} of it"
        ))),
    };
    Ok(DiskBlocks {
        logical_block_size,
        physical_block_size,
        min_io_size: multiple("min_io_size", u16::MAX.into())?.unwrap_or(usual.min_io_size),
        opt_io_size: multiple("opt_io_size", u32::MAX.into())?.unwrap_or(usual.opt_io_size),
        // As in QEMU the largest number is the same as nothing.
        discard_granularity: match list.size("discard_granularity") {
            Some(size) if size == u64::from(u32::MAX) => None,
            _ => multiple("discard_granularity", u32::MAX.into())?,
        },
        write_cache: write_cache(list),
        geometry: geometry(list, origin)?,
    })
}

/// The write cache at the start, unless the drive is to say.
pub fn write_cache(list: &KeyValues) -> Option<bool> {
    match list.choice::<String>("write-cache").as_deref() {
        Some("on") => Some(true),
        Some("off") => Some(false),
        _ => None,
    }
}

/// Cylinders, heads and sectors, unless the partition table is to tell them.
///
/// # Errors
/// Not all of them are given.
pub fn geometry(list: &KeyValues, origin: &Origin) -> Result<Option<(u16, u8, u8)>, UsageError> {
    let number = |key: &str| list.number::<u16>(key).filter(|number| *number != 0);
    match ["cyls", "heads", "secs"].map(number) {
        [None, None, None] => Ok(None),
        // The table of options has no more than 255 for the latter two.
        [Some(cylinders), Some(heads), Some(sectors)] => Ok(Some((cylinders, heads as u8, sectors as u8))),
        _ => Err(origin.error("cyls, heads and secs have to be given together")),
    }
}
