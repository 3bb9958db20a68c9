//! Linux's drivers for SCSI disks and CDs, behind a virtio host: many units, of all that their options can say; and from the host
//! what they have written.

use std::fs::{self, File};
use std::process::Command;

use tempfile::TempDir;

use crate::guest::{FULL, Guest};
use crate::{check_log, end};

/// Disks with an own number, beside the first two.
const MORE: u64 = 15;
const SIZE: u64 = 16 << 20;
/// Lines of the file.
const LINES: u32 = 20_000;

#[test]
fn many_units_are_found_and_keep_what_is_written() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, len: u64| {
        let path = directory.path().join(name);
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    };
    let (disk, large) = (file("disk", SIZE), file("large", SIZE));
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: mkfs.ext4 is needed");
        return;
    }
    let cd = directory.path().join("cd");
    fs::write(&cd, (0..512_u32).flat_map(|block| block.to_le_bytes().repeat(512)).collect::<Vec<_>>()).unwrap();
    let drive = |id: &str, path: &std::path::Path, more: &str| {
        format!("if=none,id={id},format=raw,file={}{more}", path.display())
    };
    let mut options: Vec<String> = ["-nographic", "-smp", "2", "-device", "virtio-scsi-pci"].map(Into::into).into();
    let mut add = |drive: String, device: &str| {
        options.extend(["-drive".into(), drive, "-device".into(), device.to_owned()]);
    };
    add(drive("a", &disk, ""), "scsi-hd,drive=a,scsi-id=0,lun=0,serial=first,wwn=0x5000c50012345678,rotation_rate=1");
    let large_blocks = "logical_block_size=4096,physical_block_size=4096,write-cache=off";
    add(drive("b", &large, ""), &format!("scsi-hd,drive=b,scsi-id=0,lun=300,{large_blocks}"));
    add(drive("c", &cd, ",media=cdrom"), "scsi-cd,drive=c,scsi-id=255,lun=16383");
    for number in 0..MORE {
        let path = file(&format!("more{number}"), (number + 1) << 20);
        add(drive(&format!("m{number}"), &path, ""), &format!("scsi-hd,drive=m{number}"));
    }
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let Some(mut guest) = Guest::boot("vmlinux-smp", FULL, &options) else { return };
    // Where a unit is: host 0 or a later one, channel 0, target, unit.
    let block = |place: &str| format!("$(basename /sys/class/scsi_device/*:0:{place}/device/block/*)");
    let mut look = |place: &str, files: &str, expected: &str| {
        let seen = guest.run(&format!("cd /sys/block/{}; echo $(cat {files})", block(place)));
        guest.check(seen == expected, || format!("{place}: {seen:?} instead of {expected:?}"));
    };
    let limits = "size queue/logical_block_size queue/rotational queue/write_cache queue/discard_max_bytes";
    look(
        "0:0",
        &format!("device/vendor device/model device/wwid {limits}"),
        "QEMU QEMU HARDDISK naa.5000c50012345678 32768 512 0 write back 1073741824",
    );
    look("0:300", limits, "32768 4096 1 write through 1073741824");
    look("255:16383", "device/model size", "QEMU CD-ROM 2048");
    for number in 0..MORE {
        look(&format!("{}:0", number + 1), "size", &((number + 1) * 2048).to_string());
    }
    let disks = guest.run("ls /sys/class/scsi_disk | wc -l");
    guest.check(disks == (2 + MORE).to_string(), || format!("{disks} disks"));
    let sum = guest.run(&format!("md5sum < /dev/{} | cut -c 1-32", block("255:16383")));
    let host = Command::new("md5sum").arg(&cd).output().unwrap();
    guest.check(host.stdout.starts_with(sum.as_bytes()), || format!("the CD reads as {sum}"));
    guest.run(&format!(
        "mkdir -p /a && mount -t ext4 -o discard /dev/{} /a && seq {LINES} > /a/file && sync",
        block("0:0")
    ));
    guest.run(&format!(
        "cp /a/file /a/gone && sync && rm /a/gone && sync && dd if=/a/file of=/dev/{} bs=4k conv=sync,fsync",
        block("0:300")
    ));
    guest.run("umount /a");
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
    let written: String = (1..=LINES).map(|line| format!("{line}\n")).collect();
    assert!(Command::new("e2fsck").args(["-f", "-n"]).arg(&disk).output().unwrap().status.success());
    let contents = Command::new("debugfs").args(["-R", "cat file"]).arg(&disk).output().unwrap().stdout;
    assert!(contents == written.as_bytes(), "the file system has what the guest has written");
    assert!(fs::read(&large).unwrap().starts_with(written.as_bytes()), "and so has the other disk");
}
