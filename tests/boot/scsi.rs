//! Linux on SCSI disks and a CD drive behind two virtio hosts, one for drivers of virtio 1 and one for those before: what it sees of
//! them, what it writes, and what the host finds afterwards. And CDs that are changed while it runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::disk_tools::{
    MIB, MKE2FS, SECTOR, SMALL, append, cd, change_cd, check_cd, check_files, check_from_outside, check_says, contents,
    directory as mounted, disk, fill, mount, run, unmount,
};
use crate::guest::Guest;
use crate::qmp::Qmp;
use crate::{check_log, end};

/// Disks beside the first two, with sizes of 1 MiB, 2 MiB and so on.
const MORE: u64 = 14;
/// A disk and a CD drive at the ends of where units can be, a disk of large blocks, and all the others.
const UNITS: u64 = 3 + MORE;
/// Where the disk with the file system is: host, channel, target, unit.
const FIRST: &str = "0:0:0:0";
/// Where that with large blocks is, and the CD. Linux numbers units as they are addressed: 4000h is the flat space method (SAM-5,
/// 4.7.7.3).
const LARGE: &str = "0:0:0:16684";
const CD: &str = "0:0:255:32767";
/// Where the drive without a CD is.
const EMPTY: &str = "1:0:0:0";
/// Sectors of the disk with large blocks.
const LARGE_BLOCKS: u64 = 16 * MIB / SECTOR;

/// Linux asks each of the 256 targets that a host can have, which takes a minute where it is interpreted: the tests name the targets.
const SCAN: &str = "scsi_mod.scan=manual";
/// From there to the last disk.
const SCAN_LIMIT: Duration = Duration::from_secs(300);

/// Has Linux look for units of these targets on a host, until there are so many disks in all.
fn scan(guest: &mut Guest, host: u8, targets: &str, disks: u64) {
    guest.begin(&format!(
        "for target in {targets}; do echo 0 $target - > /sys/class/scsi_host/host{host}/scan; done; \
         until test $(ls -d /sys/block/sd* | wc -l) = {disks}; do sleep 1; done"
    ));
    guest.finish(SCAN_LIMIT);
}

/// Checks that the kernel had nothing to complain about but what units tell first, as QEMU's do.
fn check_log_of_units(guest: &mut Guest) {
    let others = (1..=MORE).map(|number| format!("sd 0:0:{number}:0"));
    let drives = [("sd", FIRST), ("sd", LARGE), ("sr", CD), ("sr", EMPTY)];
    let units = drives.map(|(driver, place)| format!("{driver} {place}")).into_iter().chain(others);
    let told: Vec<_> = units.map(|unit| format!("{unit}: Power-on or device reset occurred")).collect();
    check_log(guest, &told.iter().map(String::as_str).collect::<Vec<_>>());
}

/// What Linux knows of a unit.
fn unit(place: &str, file: &str) -> String {
    format!("cat /sys/class/scsi_device/{place}/device/{file}")
}

/// The name of the disk or CD that is a unit.
fn name(guest: &mut Guest, place: &str) -> String {
    format!("/dev/{}", guest.run(&format!("ls /sys/class/scsi_device/{place}/device/block")))
}

/// What Linux sees of the units.
fn check_units(guest: &mut Guest) {
    let queue = |place: &str| {
        let names =
            ["logical_block_size", "physical_block_size", "rotational", "write_cache", "discard_max_bytes", "fua"];
        unit(
            place,
            &format!("block/*/queue/{}", names.join(&format!(" /sys/class/scsi_device/{place}/device/block/*/queue/"))),
        )
    };
    check_says(guest, "ls /sys/class/scsi_device | wc -l", &(UNITS + 1).to_string());
    check_says(guest, &unit(FIRST, "vendor"), "QEMU    ");
    check_says(guest, &unit(FIRST, "model"), "QEMU HARDDISK   ");
    check_says(guest, &unit(FIRST, "rev"), "2.5+");
    check_says(guest, &unit(FIRST, "wwid"), "naa.5000c50012345678");
    check_says(guest, &unit(FIRST, "block/*/size"), &SMALL.to_string());
    // As much as one UNMAP of QEMU's disks can name.
    check_says(guest, &queue(FIRST), "512\n512\n0\nwrite back\n1073741824\n1");
    // Its serial number, as a unit tells it by itself.
    let serial = "echo $(dd bs=1 skip=4 2>/dev/null < /sys/class/scsi_device/0:0:0:0/device/vpd_pg80)";
    check_says(guest, serial, "NATOMA-SERIAL");
    check_says(guest, &unit(LARGE, "block/*/size"), &LARGE_BLOCKS.to_string());
    check_says(guest, &queue(LARGE), "4096\n4096\n1\nwrite through\n1073741824\n0");
    check_says(guest, &unit(CD, "model"), "QEMU CD-ROM     ");
    for number in 1..=MORE {
        check_says(guest, &unit(&format!("0:0:{number}:0"), "block/*/size"), &(number * MIB / SECTOR).to_string());
    }
}

/// A file of the file system, copied to the disk with large blocks as it is, and files that go again.
fn use_both(guest: &mut Guest) {
    let (first, large) = (name(guest, FIRST), name(guest, LARGE));
    mount(guest, &[&first], "discard");
    let at = mounted(&first);
    guest.run(&format!("seq 30000 > {at}/gone && sync && rm {at}/gone && sync"));
    guest.run(&format!("seq 20000 > {at}/lines && dd if={at}/lines of={large} bs=4k conv=sync,fsync"));
    unmount(guest, &[&first]);
}

#[test]
fn scsi_disks_and_cds() {
    let directory = tempfile::tempdir().unwrap();
    let (first, large) = (directory.path().join("first"), disk(&directory, "large", LARGE_BLOCKS));
    let Some(tools_cd) = cd(&directory) else { return };
    let size = (SMALL * SECTOR).to_string();
    let made = run("qemu-img", "qemu-utils", &["create", "-q", "-f", "qcow2", &first.display().to_string(), &size]);
    let Some(_) = made else { return };
    let drive = |id: &str, more: &str, path: &Path| format!("if=none,id={id},format=raw{more},file={}", path.display());
    let first_drive = format!("if=none,id=first,format=qcow2,file={}", first.display());
    let socket = directory.path().join("qmp");
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let mut units = vec![
        (
            drive("large", "", &large),
            "scsi-hd,drive=large,bus=s.0,scsi-id=0,lun=300,logical_block_size=4096,write-cache=off".into(),
        ),
        (drive("cd", ",media=cdrom", &tools_cd), "scsi-cd,drive=cd,bus=s.0,scsi-id=255,lun=16383".into()),
    ];
    for number in 1..=MORE {
        let path = disk(&directory, &format!("more{number}"), number * MIB / SECTOR);
        units.push((
            drive(&format!("m{number}"), "", &path),
            format!("scsi-hd,drive=m{number},bus=s.0,scsi-id={number}"),
        ));
    }
    let units: Vec<_> = units.iter().flat_map(|(drive, device)| ["-drive", drive, "-device", device]).collect();
    let append = format!("{} {SCAN}", append());

    #[rustfmt::skip]
    let options = [
        "-nodefaults", "-nographic", "-serial", "stdio", "-smp", "2", "-object", "iothread,id=io", "-device",
        "virtio-scsi-pci-non-transitional,id=s,iothread=io",
        "-device", "virtio-scsi-pci,id=legacy,disable-modern=on,num_queues=1,vectors=0",
        "-device", "scsi-cd,bus=legacy.0,id=empty", "-qmp", &qmp,
        "-drive", &first_drive,
        "-device", "scsi-hd,drive=first,bus=s.0,scsi-id=0,lun=0,serial=NATOMA-SERIAL,wwn=0x5000c50012345678,rotation_rate=1,dpofua=on",
    ];
    let Some(mut guest) = Guest::boot("vmlinux-smp", &append, &[&options[..], &units].concat()) else { return };
    scan(&mut guest, 0, &format!("$(seq 0 {MORE}) 255"), 2 + MORE);
    scan(&mut guest, 1, "0", 2 + MORE);
    check_units(&mut guest);
    let cd = name(&mut guest, CD);
    check_cd(&mut guest, &cd);
    let filled = name(&mut guest, FIRST);
    guest.run(&format!("{MKE2FS} {filled}"));
    fill(&mut guest, &filled);
    let empty = guest.run(&format!("ls /sys/class/scsi_device/{EMPTY}/device/block"));
    change_cd(&mut guest, &mut Qmp::connect(&socket), &directory, &json!({ "id": "empty" }), &empty);
    use_both(&mut guest);
    check_log_of_units(&mut guest);
    end(guest, "poweroff -f");
    let held = contents(&directory, &first, "qcow2");
    check_from_outside(&held);
    let lines = run("/usr/sbin/debugfs", "e2fsprogs", &["-R", "cat /lines", &held.display().to_string()]);
    let lines = lines.unwrap_or_default();
    assert!(lines.ends_with("\n20000\n") && fs::read(&large).unwrap().starts_with(lines.as_bytes()));

    // Once more, with the same disk behind a host of the other kind.
    #[rustfmt::skip]
    let options = [
        "-nodefaults", "-nographic", "-serial", "stdio", "-smp", "2", "-device", "virtio-scsi-pci,disable-modern=on,num_queues=1,vectors=0",
        "-drive", &first_drive, "-device", "scsi-hd,drive=first",
    ];
    let Some(mut guest) = Guest::boot("vmlinux-smp", &append, &options) else { return };
    scan(&mut guest, 0, "0", 1);
    let filled = name(&mut guest, FIRST);
    mount(&mut guest, &[&filled], "rw");
    check_files(&mut guest, &[&filled]);
    guest.run(&format!("echo by an old driver > {}/legacy", mounted(&filled)));
    unmount(&mut guest, &[&filled]);
    check_log_of_units(&mut guest);
    end(guest, "poweroff -f");
    let held = contents(&directory, &first, "qcow2");
    check_from_outside(&held);
    let written = run("/usr/sbin/debugfs", "e2fsprogs", &["-R", "cat /legacy", &held.display().to_string()]);
    assert!(written.is_none_or(|written| written == "by an old driver\n"));
}
