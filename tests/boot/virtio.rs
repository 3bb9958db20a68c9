//! Linux's virtio driver on disks of all forms at a time: both interfaces, both kinds of rings, one, two and four queues, raw and qcow2
//! images, every cache mode. What it sees of them, what it writes, and what is left after a reset and an end in the middle of writing.
//! Beside them an IDE disk on a qcow2 image, and a CD that is changed.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::complaints::WITHOUT_ACPI;
use crate::disk_tools::{
    MIB, MKE2FS, SECTOR, TOOL, append, cd, change_cd, check_cd, check_files, check_from_outside, check_says,
    check_tells, contents, directory as mounted, disk, mount, replay_journal, run, write_files,
};
use crate::guest::Guest;
use crate::qmp::Qmp;
use crate::{check_log, end};

/// Of each disk, and of the file system at its beginning.
const SIZE: u64 = 20 * MIB;
const FILE_SYSTEM: u64 = 16 * MIB;
/// What writes and flushes on all disks may take.
const LIMIT: Duration = Duration::from_secs(300);

struct Disk {
    /// What Linux calls it.
    name: &'static str,
    device: &'static str,
    /// How qemu-img makes the image, over a raw one; `None`: the raw one it is.
    qcow2: Option<&'static str>,
    cache: &'static str,
    /// More about the drive.
    drive: &'static str,
    /// What is to be seen in the guest: whether writes are cached, the queues, and the bytes of a logical block.
    seen: (&'static str, u32, u32),
}

impl Disk {
    /// Of its image.
    fn format(&self) -> &'static str {
        if self.qcow2.is_some() { "qcow2" } else { "raw" }
    }
}

static DISKS: [Disk; 6] = [
    Disk {
        name: "vda",
        device: "virtio-blk-pci,num-queues=4,iothread=io",
        qcow2: Some("cluster_size=64k"),
        cache: "none",
        drive: ",discard=unmap",
        seen: ("write back", 4, 512),
    },
    Disk {
        name: "vdb",
        device: "virtio-blk-pci-non-transitional,num-queues=2,logical_block_size=4096,iothread=io",
        qcow2: None,
        cache: "writeback",
        drive: ",discard=unmap",
        seen: ("write back", 2, 4096),
    },
    Disk {
        name: "vdc",
        device: "virtio-blk-pci,disable-modern=on,num-queues=1",
        qcow2: None,
        cache: "directsync",
        drive: "",
        seen: ("write through", 1, 512),
    },
    Disk {
        name: "vdd",
        device: "virtio-blk-pci,disable-legacy=on,packed=on,num-queues=4,vectors=0",
        qcow2: Some("cluster_size=4k,lazy_refcounts=on"),
        cache: "writethrough",
        drive: "",
        seen: ("write through", 4, 512),
    },
    Disk {
        name: "vde",
        device: "virtio-blk-pci,disable-modern=on,num-queues=2,vectors=2,ioeventfd=off",
        qcow2: Some("compat=0.10"),
        cache: "unsafe",
        drive: "",
        seen: ("write back", 2, 512),
    },
    Disk {
        name: "sda",
        device: "ide-hd,bus=ide.0,unit=0",
        qcow2: Some("cluster_size=512,refcount_bits=1"),
        cache: "writethrough",
        drive: ",aio=threads",
        seen: ("write through", 1, 512),
    },
];

/// The one that the guest itself makes a file system on, which the host makes on all others.
const MADE_BY_GUEST: &str = "vdb";
const UUID: &str = "6b3c2c0a-4d59-4c37-8f0c-2a4c8f5e9d13";
/// Those with `discard=unmap`.
const SHRINKING: [&str; 2] = ["vda", "vdb"];

/// The paths of all disks in the guest.
fn paths() -> Vec<String> {
    DISKS.iter().map(|disk| format!("/dev/{}", disk.name)).collect()
}

/// Whether files of a directory can be used past the host's cache.
fn goes_past_the_cache(directory: &TempDir) -> bool {
    let file = directory.path().join("direct");
    let opened = fs::File::options().create(true).append(true).custom_flags(libc::O_DIRECT).open(file);
    opened.inspect_err(|error| eprintln!("SKIPPED: cache=none and cache=directsync: {error}")).is_ok()
}

/// Makes the images. `None`, with a notice, if something is not here that it takes.
fn images(directory: &TempDir) -> Option<Vec<PathBuf>> {
    let mut images = Vec::new();
    for Disk { name, qcow2, .. } in &DISKS {
        let raw = disk(directory, &format!("{name}.raw"), SIZE / SECTOR);
        let raw_name = raw.display().to_string();
        if *name != MADE_BY_GUEST {
            let blocks = format!("{}k", FILE_SYSTEM >> 10);
            run("/usr/sbin/mke2fs", "e2fsprogs", &["-q", "-t", "ext4", &raw_name, &blocks])?;
        }
        let Some(qcow2) = qcow2 else {
            images.push(raw);
            continue;
        };
        let image = directory.path().join(name);
        let arguments = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &raw_name, "-o", qcow2];
        run("qemu-img", "qemu-utils", &[&arguments[..], &[&image.display().to_string()]].concat())?;
        images.push(image);
    }
    Some(images)
}

/// The options that make the disks of the images.
fn options(images: &[PathBuf], direct: bool) -> Vec<String> {
    let mut options = Vec::new();
    for (disk, image) in DISKS.iter().zip(images) {
        let Disk { name, device, cache, drive, .. } = disk;
        let cache = match *cache {
            "none" if !direct => "writeback",
            "directsync" if !direct => "writethrough",
            cache => cache,
        };
        let (format, image) = (disk.format(), image.display());
        options
            .extend(["-drive".into(), format!("if=none,id={name},format={format},cache={cache},file={image}{drive}")]);
        options.extend(["-device".into(), format!("{device},drive={name},serial=SERIAL-{name}")]);
    }
    options
}

/// What Linux sees of the disks.
fn check_disks(guest: &mut Guest) {
    // One process: a fork takes long where the guest's kernel is interpreted.
    let names = DISKS.each_ref().map(|disk| disk.name);
    let files = |file: &str| names.map(|disk| format!("/sys/block/{disk}/{file}")).join(" ");
    let caches = DISKS.each_ref().map(|Disk { seen: (cache, ..), .. }| *cache).join("\n");
    check_says(guest, &format!("cat {}", files("queue/write_cache")), &caches);
    let queues = |Disk { name, seen: (_, queues, _), .. }: &Disk| {
        (0..*queues).map(|queue| format!("/sys/block/{name}/mq/{queue}")).collect::<Vec<_>>().join(" ")
    };
    check_says(guest, &format!("echo {}", files("mq/*")), &DISKS.each_ref().map(queues).join(" "));
    let virtio = |values: fn(&Disk) -> String| {
        let disks = DISKS.iter().filter(|disk| disk.device.starts_with("virtio"));
        disks.map(values).collect::<Vec<_>>().join("\n")
    };
    // These come without ends of lines.
    let serials = virtio(|disk| format!("SERIAL-{}", disk.name)).replace('\n', "");
    check_says(guest, "cat /sys/block/vd?/serial; echo", &serials);
    // As much as a request of QEMU's disks can name, in units of a block.
    let columns = "NAME,TYPE,SIZE,LOG-SEC,PHY-SEC,MIN-IO,ROTA,RO,DISC-GRAN,DISC-MAX";
    let expected = virtio(|Disk { name, seen: (.., block), .. }| {
        format!("{name} disk {SIZE} {block} {block} {block} 1 0 {block} {}", 0x3f_ffff * SECTOR)
    });
    // It takes a while: it brings ten libraries, and looks at much of /sys.
    guest.begin(&format!("{TOOL}lsblk -bnro {columns} /dev/vd?"));
    let listed = guest.finish(LIMIT);
    guest.check(listed == expected, || format!("lsblk: {listed:?} instead of {expected:?}"));
    let zeroes = virtio(|_| (0x3f_ffff * SECTOR).to_string());
    check_says(guest, "cat /sys/block/vd?/queue/write_zeroes_max_bytes", &zeroes);
}

/// The guest switches the write cache of a disk off and on.
fn switch_cache(guest: &mut Guest) {
    for state in ["write through", "write back"] {
        guest.run(&format!("echo {state} > /sys/block/vda/cache_type"));
        let seen = "cat /sys/block/vda/cache_type /sys/block/vda/queue/write_cache";
        check_says(guest, seen, &format!("{state}\n{state}"));
    }
}

/// Each of four processors uses its own queue, which has an interrupt of its own. Two of them run only for that: where a guest's
/// kernel is interpreted four take long.
fn check_queues(guest: &mut Guest) {
    let switch =
        |online: u8| [2, 3].map(|cpu| format!("echo {online} > /sys/devices/system/cpu/cpu{cpu}/online")).join(" && ");
    guest.run(&switch(1));
    let read = |cpu: u64| {
        let block = (FILE_SYSTEM + cpu * MIB) >> 16;
        format!("taskset {:x} dd if=/dev/vda of=/dev/null bs=64k count=1 skip={block} 2>/dev/null", 1 << cpu)
    };
    guest.run(&[0, 1, 2, 3].map(read).join(" && "));
    let interrupts = guest.run("grep virtio0-req /proc/interrupts");
    guest.run(&switch(0));
    // Number, a count for each processor, and what it is of.
    let come = |line: &str| line.split_whitespace().skip(1).take(4).any(|count| count != "0");
    let right = interrupts.lines().count() == 4 && interrupts.lines().all(come);
    guest.check(right, || format!("a queue of four has no interrupts:\n{interrupts}"));
}

/// Whether an image holds data at a place.
fn holds_data(disk: &Disk, image: &Path, at: u64) -> Option<bool> {
    let arguments = ["map", "-U", "-f", disk.format(), "--output=json", &image.display().to_string()];
    let map = run("qemu-img", "qemu-utils", &arguments)?;
    let map: Value = serde_json::from_str(&map).unwrap();
    let mut extents = map.as_array().unwrap().iter();
    let extent = extents.find(|extent| at < extent["start"].as_u64().unwrap() + extent["length"].as_u64().unwrap());
    Some(extent.is_some_and(|extent| extent["data"] == true))
}

/// What the guest does not need any more, or makes zeroes, takes no room in the image; and it reads zeroes there.
fn give_back(guest: &mut Guest, images: &[PathBuf]) {
    let places = [0, 1].map(|place| FILE_SYSTEM + place * MIB);
    for (disk, image) in DISKS.iter().zip(images).filter(|(disk, _)| SHRINKING.contains(&disk.name)) {
        let path = format!("/dev/{}", disk.name);
        let write =
            places.map(|at| format!("dd if=/tmp/cd/lines.txt of={path} bs=64k count=1 seek={} conv=notrunc", at >> 16));
        let flush = format!("dd if=/dev/null of={path} conv=notrunc,fsync");
        guest.run(&format!("({} && {flush}) 2>/dev/null", write.join(" && ")));
        let held = |at: &u64| holds_data(disk, image, *at).unwrap_or_default();
        assert!(places.iter().all(held), "{path}: {places:?} are written");
        let [discarded, punched] = places;
        guest.run(&format!("blkdiscard -o {discarded} -l {MIB} {path}"));
        guest.run(&format!("{TOOL}fallocate -p -o {punched} -l {MIB} {path} && {flush} 2>/dev/null"));
        assert!(!places.iter().any(held), "{path}: {places:?} have been given back");
        let read = places.map(|at| format!("dd if={path} bs=64k count=1 skip={} 2>/dev/null", at >> 16));
        check_says(guest, &format!("({}) | tr -d '\\000' | wc -c", read.join("; ")), "0");
    }
}

/// Has a process for each disk write and flush until the machine ends; returns when all of them have done so once.
fn keep_writing(guest: &mut Guest, paths: &[&str]) {
    let directories: Vec<_> = paths.iter().map(|path| mounted(path)).collect();
    let flushed = directories.join("/flushed ") + "/flushed";
    guest.run(&format!("rm -f {flushed}"));
    for directory in &directories {
        // In a shell of its own: this one would tell of its end.
        let write = format!("while seq 9000 > {directory}/again && sync; do echo > {directory}/flushed; done");
        guest.run(&format!("( ({write}) & )"));
    }
    guest.begin(&format!("until ls {flushed} > /tmp/list 2>&1; do sleep 1; done"));
    guest.finish(LIMIT);
}

/// A machine that is paused has no writes under way.
fn check_pause(qmp: &mut Qmp, images: &[PathBuf]) {
    let read = || images.iter().map(|image| fs::read(image).unwrap()).collect::<Vec<_>>();
    qmp.run("stop", &json!({}));
    let paused = read();
    assert!(read() == paused, "an image changed while the machine was paused");
    qmp.run("cont", &json!({}));
}

/// A CD that is mounted stays; one that is not is changed.
fn change_tools_cd(guest: &mut Guest, qmp: &mut Qmp, directory: &TempDir) {
    let drive = json!({ "device": "ide1-cd0" });
    let locked = qmp.refused("eject", &drive);
    assert!(locked.contains("is locked"), "{locked}");
    guest.run("umount /tmp/cd");
    change_cd(guest, qmp, directory, &drive, "sr0");
}

/// The image, and the file system on it, after the machine ended in the middle of writing.
fn check_image(directory: &TempDir, disk: &Disk, image: &Path) {
    let raw = contents(directory, image, disk.format());
    replay_journal(&raw);
    check_from_outside(&raw);
}

#[test]
fn disks_of_all_forms_keep_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (Some(tools_cd), Some(images)) = (cd(&directory), images(&directory)) else { return };
    let cd_drive = format!("index=2,media=cdrom,format=raw,file={}", tools_cd.display());
    let socket = directory.path().join("qmp");
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    // Without the tables and devices that it does not need: a boot takes long where the guest's kernel is interpreted.
    #[rustfmt::skip]
    let fixed = [
        "-nodefaults", "-nographic", "-serial", "mon:stdio", "-no-acpi", "-no-hpet", "-smp", "4", "-object", "iothread,id=io",
        "-drive", &cd_drive, "-qmp", &qmp,
    ];
    let disks = options(&images, goes_past_the_cache(&directory));
    let options: Vec<_> = fixed.into_iter().chain(disks.iter().map(String::as_str)).collect();
    let paths = paths();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();

    let Some(mut guest) = Guest::boot("vmlinux-smp", &format!("{} maxcpus=2", append()), &options) else { return };
    let mut qmp = Qmp::connect(&socket);
    check_cd(&mut guest, "/dev/sr0");
    check_disks(&mut guest);
    switch_cache(&mut guest);
    check_queues(&mut guest);
    give_back(&mut guest, &images);
    let file_system = format!("/dev/{MADE_BY_GUEST} {}k", FILE_SYSTEM >> 10);
    guest.run(&format!("{MKE2FS} -L virtio -U {UUID} {file_system}"));
    let known = format!("LABEL=\"virtio\" UUID=\"{UUID}\"");
    check_tells(
        &mut guest,
        &format!("{TOOL}blkid -p /dev/{MADE_BY_GUEST}"),
        &[&known, "BLOCK_SIZE=\"4096\" TYPE=\"ext4\""],
    );
    mount(&mut guest, &paths, "rw");
    write_files(&mut guest, &paths);
    change_tools_cd(&mut guest, &mut qmp, &directory);
    keep_writing(&mut guest, &paths);
    check_log(&mut guest, WITHOUT_ACPI);

    // In the middle of writing, and without the flush that comes before an orderly reboot.
    guest.send("reboot -n -f\n");
    guest.expect_shell();
    mount(&mut guest, &paths, "rw");
    check_files(&mut guest, &paths);
    keep_writing(&mut guest, &paths);
    check_pause(&mut qmp, &images);
    check_log(&mut guest, WITHOUT_ACPI);
    // Ctrl-A x: the end of natoma.
    end(guest, "\x01x");
    for (disk, image) in DISKS.iter().zip(&images) {
        check_image(&directory, disk, image);
    }
}
