//! Drives: image files and what they are connected to.

use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema, Variant};

/// What is said of interfaces that there are no controllers for.
pub const NO_DISK: &str = "disks can be if=ide, if=scsi or if=virtio, CD drives if=ide or if=scsi";

/// What `-drive` says of the node itself, as `-blockdev` does.
pub const NODE_KEYS: &[&str] = &[
    "file.",
    "backing.",
    "backing",
    "node-name",
    "filename",
    "offset",
    "size",
    "read-zeroes",
    "latency-ns",
    "server.",
    "export",
    "reconnect-delay",
    "image.",
    "config",
    "inject-error.",
    "set-state.",
    "throttle-group",
];

const KINDS: Kind = Kind::Choice(&["144", "288", "120", "none", "auto"]);

const DRIVE: Schema = Schema::plain(
    None,
    &[
        Key::new(
            "file",
            Kind::Text("PATH"),
            "the image: a file, a block device, nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH or null-co://; none means an empty drive",
        ),
        Key::new(
            "if",
            Kind::Text("INTERFACE"),
            "what it is connected to: ide, scsi (a virtio SCSI host), virtio, floppy, pflash, or none for -device (default ide)",
        ),
        Key::new("index", Kind::Number(0, 255), "its number on the interface (default: the first free one)"),
        Key::new("unit", Kind::Number(0, 255), "its number on the bus"),
        Key::new("bus", Kind::Number(0, 1), "the channel of IDE"),
        Key::new("id", Kind::Text("ID"), "its name (default: interface and number, floppy0 say)"),
        Key::new(
            "format",
            Kind::Text("FORMAT"),
            "format of the image: raw, qcow2 or vmdk (default: found out from its contents)",
        ),
        Key::new("driver", Kind::Text("FORMAT"), "the same"),
        Key::new("readonly", Kind::Flag, "the guest can't write to it (default off)"),
        Key::new("read-only", Kind::Flag, "the same"),
        Key::new("snapshot", Kind::Flag, "writes go to a temporary file and are lost at the end (default off)"),
        Key::new(
            "cache",
            Kind::Choice(&["writeback", "writethrough", "none", "directsync", "unsafe", "off"]),
            "when a write is safe: when the guest has flushed it, at once, or (unsafe) never; none and directsync are the first two \
             past the host's cache (default writeback)",
        ),
        Key::new("cache.writeback", Kind::Flag, "a write is safe when the guest has flushed it, and not before"),
        Key::new("cache.direct", Kind::Flag, "pass by the host's cache"),
        Key::new("cache.no-flush", Kind::Flag, "ignore the guest's flushes: nothing is ever safe"),
        Key::new("file.", Kind::Text("VALUE"), "a key of -blockdev for the file: file.locking=off say"),
        Key::new(
            "backing.",
            Kind::Text("VALUE"),
            "a key of -blockdev for what the image is made over: backing.file.filename=PATH say",
        ),
        Key::new("backing", Kind::Text("NODE"), "the node that the image is made over (default: what the image says)"),
        Key::new("offset", Kind::Text("SIZE"), "of format=raw: where the medium begins in the file (default 0)"),
        Key::new(
            "size",
            Kind::Text("SIZE"),
            "of format=raw: how long it is (default: to the end); of driver=null-co too",
        ),
        Key::new("read-zeroes", Kind::Text("on|off"), "of driver=null-co: what is read is zero (default off)"),
        Key::new("latency-ns", Kind::Text("N"), "of driver=null-co: how long a request takes (default 0)"),
        Key::new("filename", Kind::Text("PATH"), "of driver=file and host_device: the same as file"),
        Key::new(
            "server.",
            Kind::Text("VALUE"),
            "of driver=nbd: where the server is, server.type=unix,server.path=PATH say",
        ),
        Key::new("export", Kind::Text("NAME"), "of driver=nbd: which of its exports (default the one without a name)"),
        Key::new(
            "reconnect-delay",
            Kind::Text("SECONDS"),
            "of driver=nbd: how long requests wait for a lost server (default 0)",
        ),
        Key::new("image.", Kind::Text("VALUE"), "of driver=blkdebug: a key of -blockdev for what it is over"),
        Key::new("config", Kind::Text("PATH"), "of driver=blkdebug: a file of rules"),
        Key::new("inject-error.", Kind::Text("VALUE"), "of driver=blkdebug: a rule, inject-error.0.event=read_aio say"),
        Key::new("set-state.", Kind::Text("VALUE"), "of driver=blkdebug: the same"),
        Key::new("throttle-group", Kind::Text("ID"), "of driver=throttle: whose limits"),
        Key::missing("lazy-refcounts", &["on", "off"], "leave it out: reference counts are always up to date"),
        Key::missing("overlap-check", &["cached", "constant", "none"], "leave it out: the active tables are checked"),
        Key::missing("pass-discard-request", &["on"], "leave it out: discard= says it"),
        Key::missing("pass-discard-snapshot", &["on"], "leave it out: discard= says it"),
        Key::missing("pass-discard-other", &["on"], "leave it out: discard= says it"),
        Key::new("l2-cache-size", Kind::Size(1), "of format=qcow2, and without effect: 128 of its tables are cached"),
        Key::new("l2-cache-entry-size", Kind::Size(1), "the same: whole tables are"),
        Key::new(
            "refcount-cache-size",
            Kind::Size(1),
            "of format=qcow2, and without effect: 32 of its blocks are cached",
        ),
        Key::new("cache-size", Kind::Size(1), "both of these"),
        Key::new(
            "cache-clean-interval",
            Kind::Number(0, u32::MAX as u64),
            "of format=qcow2, and without effect: caches stay small",
        ),
        Key::new("media", Kind::Choice(&["disk", "cdrom"]), "what a drive at IDE or SCSI is (default disk)"),
        Key::new(
            "aio",
            Kind::Choice(&["threads", "native", "io_uring"]),
            "how a disk's requests reach the host: by worker threads or by io_uring (default io_uring where the host has it)",
        ),
        Key::new(
            "discard",
            Kind::Choice(&["ignore", "off", "unmap", "on"]),
            "whether what the guest does not need any more is given back to the host (default ignore)",
        ),
        Key::new(
            "detect-zeroes",
            Kind::Choice(&["off", "on", "unmap"]),
            "whether zeroes that the guest writes are left to the host to make, and may take no room there (default off)",
        ),
        Key::missing(
            "copy-on-read",
            &["off"],
            "what is read is not kept: 'qemu-img rebase -b \"\" IMAGE' brings everything of its backing file into an image",
        ),
        Key::new(
            "auto-read-only",
            Kind::Flag,
            "the guest can't write to it if the host does not allow it: otherwise that is an error (default on, but for IDE disks and flash chips)",
        ),
        Key::new(
            "force-share",
            Kind::Flag,
            "it is used although others may write to it; needs readonly=on (default off)",
        ),
        Key::missing("stats-account-invalid", &["on"], "requests that are refused are always counted: leave it out"),
        Key::missing("stats-account-failed", &["on"], "requests that fail are always counted: leave it out"),
        Key::missing("stats-intervals", &[], "there are no statistics of intervals: leave it out"),
        Key::missing(
            "serial",
            &[],
            "give it to the device: -drive if=none,id=ID,... with -device ...,drive=ID,serial=TEXT",
        ),
        Key::missing(
            "addr",
            &[],
            "give it to the device: -drive if=none,id=ID,... with -device virtio-blk-pci,drive=ID,addr=SLOT",
        ),
        Key::missing(
            "cyls",
            &[],
            "give it to the device: -drive if=none,id=ID,... with -device ide-hd,drive=ID,cyls=N,heads=N,secs=N",
        ),
        Key::missing("heads", &[], "the same as of cyls"),
        Key::missing("secs", &[], "the same as of cyls"),
        Key::missing(
            "trans",
            &[],
            "give it to the device: -drive if=none,id=ID,... with -device ide-hd,drive=ID,bios-chs-trans=lba",
        ),
        Key::new(
            "werror",
            Kind::Choice(&["report", "stop", "ignore", "enospc"]),
            "what happens when the host can't write: the guest is told, the machine stops, nothing, or it stops if the \
             storage is full (default enospc)",
        ),
        Key::new(
            "rerror",
            Kind::Choice(&["report", "stop", "ignore"]),
            "what happens when the host can't read (default report)",
        ),
        Key::new("node-name", Kind::Text("NAME"), "name of its node, by which others can refer to it"),
        Key::new("throttling.bps-total", Kind::Size(1), "bytes read and written in a second (default 0: not limited)"),
        Key::new("throttling.bps-total-max", Kind::Size(1), "the same in a burst (default 0: there are none)"),
        Key::new(
            "throttling.bps-total-max-length",
            Kind::Number(0, 1 << 40),
            "seconds that a burst can last (default 1)",
        ),
        Key::new("throttling.bps-read", Kind::Size(1), "bytes read in a second (default 0: not limited)"),
        Key::new("throttling.bps-read-max", Kind::Size(1), "the same in a burst (default 0: there are none)"),
        Key::new(
            "throttling.bps-read-max-length",
            Kind::Number(0, 1 << 40),
            "seconds that a burst can last (default 1)",
        ),
        Key::new("throttling.bps-write", Kind::Size(1), "bytes written in a second (default 0: not limited)"),
        Key::new("throttling.bps-write-max", Kind::Size(1), "the same in a burst (default 0: there are none)"),
        Key::new(
            "throttling.bps-write-max-length",
            Kind::Number(0, 1 << 40),
            "seconds that a burst can last (default 1)",
        ),
        Key::new("throttling.iops-total", Kind::Size(1), "requests in a second (default 0: not limited)"),
        Key::new("throttling.iops-total-max", Kind::Size(1), "the same in a burst (default 0: there are none)"),
        Key::new(
            "throttling.iops-total-max-length",
            Kind::Number(0, 1 << 40),
            "seconds that a burst can last (default 1)",
        ),
        Key::new("throttling.iops-read", Kind::Size(1), "reads in a second (default 0: not limited)"),
        Key::new("throttling.iops-read-max", Kind::Size(1), "the same in a burst (default 0: there are none)"),
        Key::new(
            "throttling.iops-read-max-length",
            Kind::Number(0, 1 << 40),
            "seconds that a burst can last (default 1)",
        ),
        Key::new("throttling.iops-write", Kind::Size(1), "writes in a second (default 0: not limited)"),
        Key::new("throttling.iops-write-max", Kind::Size(1), "the same in a burst (default 0: there are none)"),
        Key::new(
            "throttling.iops-write-max-length",
            Kind::Number(0, 1 << 40),
            "seconds that a burst can last (default 1)",
        ),
        Key::new("throttling.iops-size", Kind::Size(1), "a larger request counts as several of this size"),
        Key::new("throttling.group", Kind::Text("NAME"), "drives with the same name share their limits"),
        Key::moved("bps", Kind::Size(1), "drive", "throttling.bps-total"),
        Key::moved("bps_max", Kind::Size(1), "drive", "throttling.bps-total-max"),
        Key::moved("bps_max_length", Kind::Number(0, 1 << 40), "drive", "throttling.bps-total-max-length"),
        Key::moved("bps_rd", Kind::Size(1), "drive", "throttling.bps-read"),
        Key::moved("bps_rd_max", Kind::Size(1), "drive", "throttling.bps-read-max"),
        Key::moved("bps_rd_max_length", Kind::Number(0, 1 << 40), "drive", "throttling.bps-read-max-length"),
        Key::moved("bps_wr", Kind::Size(1), "drive", "throttling.bps-write"),
        Key::moved("bps_wr_max", Kind::Size(1), "drive", "throttling.bps-write-max"),
        Key::moved("bps_wr_max_length", Kind::Number(0, 1 << 40), "drive", "throttling.bps-write-max-length"),
        Key::moved("iops", Kind::Size(1), "drive", "throttling.iops-total"),
        Key::moved("iops_max", Kind::Size(1), "drive", "throttling.iops-total-max"),
        Key::moved("iops_max_length", Kind::Number(0, 1 << 40), "drive", "throttling.iops-total-max-length"),
        Key::moved("iops_rd", Kind::Size(1), "drive", "throttling.iops-read"),
        Key::moved("iops_rd_max", Kind::Size(1), "drive", "throttling.iops-read-max"),
        Key::moved("iops_rd_max_length", Kind::Number(0, 1 << 40), "drive", "throttling.iops-read-max-length"),
        Key::moved("iops_wr", Kind::Size(1), "drive", "throttling.iops-write"),
        Key::moved("iops_wr_max", Kind::Size(1), "drive", "throttling.iops-write-max"),
        Key::moved("iops_wr_max_length", Kind::Number(0, 1 << 40), "drive", "throttling.iops-write-max-length"),
        Key::moved("iops_size", Kind::Size(1), "drive", "throttling.iops-size"),
        Key::moved("group", Kind::Text("NAME"), "drive", "throttling.group"),
    ],
);

/// `-device floppy`.
pub const FLOPPY: Variant = Variant {
    name: "floppy",
    help: "a floppy drive at the board's controller",
    keys: &[
        Key::new("bus", Kind::Choice(&["floppy-bus.0"]), "the controller it is connected to"),
        Key::new("unit", Kind::Number(0, 1), "which drive it is: 0 is A, 1 is B (default: the first free one)"),
        Key::new("drive", Kind::Text("ID"), "the -drive that holds its media (default: it is empty)"),
        Key::new("drive-type", KINDS, "what it is, in units of 10 KB (default auto: what its first medium needs)"),
        Key::missing("write-cache", &["auto", "on"], "a floppy drive has no cache"),
        super::disk::SHARED,
        Key::missing("logical_block_size", &["0", "512"], "leave it out"),
        Key::missing("physical_block_size", &["0", "512"], "leave it out"),
    ],
};

/// The floppy controller, for `-global`.
pub const ISA_FDC: Variant = Variant {
    name: "isa-fdc",
    help: "the floppy controller",
    keys: &[
        Key::new(
            "fdtypeA",
            KINDS,
            "what drive A of -fda or -drive if=floppy is (default auto: what its first medium needs)",
        ),
        Key::new("fdtypeB", KINDS, "what drive B is"),
        Key::new("bootindexA", Kind::Number(0, i32::MAX as u64), "place of drive A in the boot order"),
        Key::new("bootindexB", Kind::Number(0, i32::MAX as u64), "place of drive B in the boot order"),
        Key::new("fallback", Kind::Choice(&["144", "288", "120"]), "what an empty drive of type auto is (default 288)"),
        Key::missing("iobase", &["1008", "0x3f0"], "the board's firmware looks for it there"),
        Key::missing("irq", &["6"], "the board's firmware looks for it there"),
        Key::missing("dma", &["2"], "the board's firmware looks for it there"),
    ],
};

const fn disk(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Argument::File("PATH"), Section::Drives, help)
}

const fn missing(name: &'static str) -> OptionSpec {
    OptionSpec::missing(name, Argument::Text("PATH"), &[], NO_DISK)
}

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("drive", Argument::List("file=PATH[,KEY=VALUE...]", &DRIVE), Section::Drives, "define a drive")
        .group("drive")
        .details(
            "Nobody else may write to an image in use; QEMU and its tools respect that, and natoma respects \
             theirs. `-drive help` lists the keys.",
        ),
    OptionSpec::new("fda", Argument::File("PATH"), Section::Drives, "put an image into floppy drive A")
        .details("The same as `-drive if=floppy,index=0,file=PATH`."),
    OptionSpec::new("fdb", Argument::File("PATH"), Section::Drives, "put an image into floppy drive B")
        .details("The same as `-drive if=floppy,index=1,file=PATH`."),
    OptionSpec::new("pflash", Argument::File("FILE"), Section::Drives, "put firmware into a flash chip").details(
        "The same as `-drive if=pflash,file=FILE`. The first chip holds the firmware that starts, a second one its variables; \
         writes to them go to the file.\n\n\
         UEFI firmware (Debian: package ovmf) comes as two files, of which the second one is to be copied for each machine: \
         `-drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd -drive if=pflash,format=raw,file=COPY`.",
    ),
    OptionSpec::new("snapshot", Argument::None, Section::Drives, "leave all images as they are")
        .details("The default of `snapshot` in every `-drive` becomes `on`."),
    disk("hda", "the first disk, the master of the first IDE channel"),
    disk("hdb", "the disk that is the slave of the first IDE channel"),
    disk("hdc", "the disk that is the master of the second IDE channel"),
    disk("hdd", "the disk that is the slave of the second IDE channel"),
    disk("cdrom", "the CD drive that is the master of the second IDE channel"),
    OptionSpec::new(
        "blockdev",
        Argument::Text("[driver=]DRIVER,node-name=NAME[,KEY=VALUE...]"),
        Section::Drives,
        "define a block node",
    )
    .details(
        "A node is a file, a server, an image format in another node, or a filter over one. Devices refer to it by its name \
         (`drive=NAME`), and so do other nodes; a node inside a node is written with dots (`file.driver=file,file.filename=PATH`), \
         or all of it as a JSON object. The drivers are file, host_device and host_cdrom (filename, aio, locking), raw (file, \
         offset, size), qcow2 (file, backing), vmdk (file), nbd (server, export, reconnect-delay), null-co (size, latency-ns, \
         read-zeroes), throttle (file, throttle-group) and blkdebug (image, config, inject-error, set-state). All have read-only, \
         auto-read-only, cache.direct, cache.no-flush, discard, detect-zeroes and force-share.",
    ),
    missing("mtdblock"),
    missing("sd"),
    missing("iscsi"),
];
