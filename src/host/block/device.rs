//! What the kernel tells of block devices and does with them.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_io_nr;

use super::direct::Alignment;

// Gives up a range of bytes.
ioctl_io_nr!(BLKDISCARD, 0x12, 119);

/// Number of bytes, now.
pub(super) fn size(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Tells the device that a range is not needed any more. Nothing happens if it can't make use of that.
pub(super) fn discard(file: &File, offset: u64, len: u64) -> io::Result<()> {
    // SAFETY: the kernel reads two numbers: the first byte and how many they are.
    if unsafe { ioctl_with_ref(file, BLKDISCARD(), &[offset, len]) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => Ok(()),
        error => Err(error),
    }
}

/// Whether a device is a whole disk of the host, and not a partition or something that is made of files.
pub(super) fn is_whole_disk(file: &File) -> io::Result<bool> {
    let number = file.metadata()?.rdev();
    let described = format!("/sys/dev/block/{}:{}", libc::major(number), libc::minor(number));
    Ok(is_described_as_whole_disk(Path::new(&described)))
}

/// The same, from what sysfs says of a device.
fn is_described_as_whole_disk(description: &Path) -> bool {
    description.join("device").exists() && !description.join("partition").exists()
}

/// Opens a file that is open once more, past the host's cache. Gives what requests to it have to be multiples of.
pub(super) fn open_direct(path: &Path, write: bool, flags: i32) -> io::Result<(File, Alignment)> {
    let file = OpenOptions::new().read(true).write(write).custom_flags(flags | libc::O_DIRECT).open(path)?;
    let alignment = stated_alignment(&file).unwrap_or(Alignment { file: 4096, memory: 4096 });
    Ok((file, alignment))
}

/// What the kernel says of a file, from Linux 6.1 on.
fn stated_alignment(file: &File) -> Option<Alignment> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty string, and the kernel fills a structure that is all numbers.
    let result = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, found.as_mut_ptr())
    };
    // SAFETY: zeroes are numbers too.
    let found = unsafe { found.assume_init() };
    let (memory, offset) = (found.stx_dio_mem_align as usize, found.stx_dio_offset_align as usize);
    let stated = result == 0 && found.stx_mask & libc::STATX_DIOALIGN != 0;
    (stated && memory.is_power_of_two() && offset.is_power_of_two()).then_some(Alignment { file: offset, memory })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// As Linux describes them in /sys/dev/block: a disk has the device that it is of, a partition of it has its number too, and a loop
    /// device or one of the device mapper has neither.
    #[test]
    fn only_a_whole_disk_is_taken_for_one() {
        for (entries, expected) in [
            (&["device", "size"][..], true),
            (&["device", "partition"], false),
            (&["partition"], false),
            (&["loop"], false),
        ] {
            let directory = TempDir::new().unwrap();
            entries.iter().for_each(|entry| fs::create_dir(directory.path().join(entry)).unwrap());
            assert_eq!(is_described_as_whole_disk(directory.path()), expected, "{entries:?}");
        }
    }
}
