//! Linux on IDE disks and a CD drive: what it sees of them, what it writes, and what the host finds afterwards.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::disk_tools::{
    MIB, MKE2FS, SECTOR, SMALL, TOOL, append, cd, check_cd, check_files, check_from_outside, check_says, check_tells,
    directory as mounted, disk, fill, mount, run, unmount,
};
use crate::guest::Guest;
use crate::{check_log, end};

/// Sectors of the other: its end is beyond what 28 bits address.
const LARGE: u64 = 200 * 1024 * MIB / SECTOR;
/// What tells the file system from all others.
const UUID: &str = "2f1c6d0e-58a3-4f0b-9a77-0d6c1f3b5e21";
/// How data is transferred to and from the two disks and the CD drive.
const XFER_MODES: &str = "cat /sys/class/ata_device/dev1.0/xfer_mode /sys/class/ata_device/dev1.1/xfer_mode \
                          /sys/class/ata_device/dev2.0/xfer_mode";

/// What Linux sees of the drives.
fn check_identity(guest: &mut Guest) {
    let queue = |disk: &str| {
        let names = ["logical_block_size", "physical_block_size", "rotational", "write_cache"];
        names.map(|name| format!("/sys/block/{disk}/queue/{name}")).join(" ")
    };
    check_says(guest, "cat /sys/block/sd?/size", &format!("{SMALL}\n{LARGE}"));
    check_says(guest, &format!("cat {}", queue("sda")), "512\n512\n1\nwrite back");
    check_says(guest, &format!("cat {}", queue("sdb")), "512\n512\n0\nwrite back");
    check_says(guest, "cat /sys/block/sdb/device/wwid", "naa.5000c50015ea71ad");
    // As much as one block of a TRIM's list can name.
    check_says(guest, "cat /sys/block/sd?/queue/discard_max_bytes", "2147450880\n2147450880");
    let small = ["QEMU HARDDISK", "NATOMA-SERIAL", "2.5+", "Write cache"];
    check_tells(guest, &format!("{TOOL}hdparm -I /dev/sda"), &small);
    let large = ["A large one", "QM00002", "LBA48  user addressable sectors:   419430400"];
    check_tells(guest, &format!("{TOOL}hdparm -I /dev/sdb"), &large);
}

/// The guest switches the write cache off and on.
fn switch_cache(guest: &mut Guest) {
    for (switch, state) in [(0, "0 (off)"), (1, "1 (on)")] {
        let said = format!("write-caching =  {state}");
        // What it says last is what it has read.
        check_tells(guest, &format!("{TOOL}hdparm -W{switch} /dev/sda"), &[&said]);
    }
}

/// The end of the large disk: written, thrown out of the guest's cache, read, and the sectors before it trimmed.
fn use_last_sectors(guest: &mut Guest) {
    let last = LARGE - 1;
    guest.run(&format!(
        "echo the end | dd of=/dev/sdb bs=512 seek={last} conv=notrunc && blockdev --flushbufs /dev/sdb"
    ));
    check_says(guest, &format!("dd if=/dev/sdb bs=512 skip={last} 2>/dev/null | tr -d '\\000'"), "the end");
    guest.run(&format!("blkdiscard -o {} -l {MIB} /dev/sdb", (LARGE - 1) * SECTOR - 4 * MIB + SECTOR));
}

#[test]
fn ide_disks_and_cds() {
    let directory = tempfile::tempdir().unwrap();
    let (small, large) = (disk(&directory, "small", SMALL), disk(&directory, "large", LARGE));
    let Some(tools_cd) = cd(&directory) else { return };
    let drive = |more: &str, path: &Path| format!("format=raw,{more},file={}", path.display());
    let [small_drive, large_drive, cd_drive] =
        [drive("if=none,id=small", &small), drive("if=none,id=large", &large), drive("index=2,media=cdrom", &tools_cd)];
    #[rustfmt::skip]
    let options = [
        "-nographic", "-smp", "2", "-drive", &small_drive, "-device", "ide-hd,drive=small,serial=NATOMA-SERIAL",
        "-drive", &large_drive,
        "-device", "ide-hd,drive=large,model=A large one,rotation_rate=1,wwn=0x5000c50015ea71ad", "-drive", &cd_drive,
    ];
    let append = append();
    let Some(mut guest) = Guest::boot("vmlinux-smp", &append, &options) else { return };
    check_says(&mut guest, XFER_MODES, "XFER_MW_DMA_2\nXFER_MW_DMA_2\nXFER_MW_DMA_2");
    check_cd(&mut guest, "/dev/sr0");
    check_identity(&mut guest);
    switch_cache(&mut guest);
    guest.run(&format!("{MKE2FS} -L a-label -U {UUID} /dev/sda"));
    let known = format!("LABEL=\"a-label\" UUID=\"{UUID}\"");
    check_tells(&mut guest, &format!("{TOOL}blkid -p /dev/sda"), &[&known, "BLOCK_SIZE=\"1024\" TYPE=\"ext4\""]);
    fill(&mut guest, "/dev/sda");
    use_last_sectors(&mut guest);
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
    check_from_outside(&small);
    let mut end_of_large = [0; 7];
    File::open(&large).unwrap().read_exact_at(&mut end_of_large, (LARGE - 1) * SECTOR).unwrap();
    assert_eq!(&end_of_large, b"the end");
    assert!(fs::metadata(&large).unwrap().blocks() * SECTOR < MIB, "the large disk is no longer sparse");

    // Once more, and all by the processor.
    let Some(mut guest) = Guest::boot("vmlinux-smp", &format!("{append} libata.dma=0"), &options) else { return };
    check_says(&mut guest, XFER_MODES, "XFER_PIO_4\nXFER_PIO_4\nXFER_PIO_4");
    mount(&mut guest, &["/dev/sda"], "rw");
    check_files(&mut guest, &["/dev/sda"]);
    guest.run(&format!("echo by the processor > {}/pio", mounted("/dev/sda")));
    unmount(&mut guest, &["/dev/sda"]);
    check_cd(&mut guest, "/dev/sr0");
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
    check_from_outside(&small);
    let written = run("/usr/sbin/debugfs", "e2fsprogs", &["-R", "cat /pio", &small.display().to_string()]);
    assert!(written.is_none_or(|written| written == "by the processor\n"));
}
