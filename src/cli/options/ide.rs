//! `-device ide-hd` and `ide-cd`.

use crate::cli::keyval::{Key, Kind, Variant};

const DRIVE_OF_DISK: Key = Key::new("drive", Kind::Text("ID"), "the -drive that holds its contents: must be given");
const DRIVE_OF_CD: Key = Key::new("drive", Kind::Text("ID"), "the -drive that holds its medium (default: it is empty)");
const BUS: Key =
    Key::new("bus", Kind::Choice(&["ide.0", "ide.1"]), "the channel (default: the first with a free place)");
const UNIT: Key = Key::new("unit", Kind::Number(0, 1), "0 is the master, 1 the slave (default: the first free one)");
const SERIAL: Key =
    Key::new("serial", Kind::Text("TEXT"), "serial number, up to 20 characters (default QM00001 for the first place)");
const MODEL: Key = Key::new("model", Kind::Text("TEXT"), "model, up to 40 characters (default that of QEMU)");
const VERSION: Key = Key::new("ver", Kind::Text("TEXT"), "revision of its firmware, up to 8 characters (default 2.5+)");
const WWN: Key = Key::new("wwn", Kind::Number(0, u64::MAX), "world wide name (default none)");
const BOOTINDEX: Key = Key::new("bootindex", Kind::Number(0, i32::MAX as u64), "place in the boot order");
const SHARED: Key = Key::missing("share-rw", &["off"], "use -drive file.locking=off");
const LOGICAL: Key = Key::missing("logical_block_size", &["0", "512"], "ATA disks of this kind have 512");
const PHYSICAL: Key = Key::missing("physical_block_size", &["0", "512"], "leave it out");
const RERROR: Key = Key::missing("rerror", &["auto"], "give it to -drive");
const WERROR: Key = Key::missing("werror", &["auto"], "give it to -drive");

/// A disk.
pub const IDE_HD: Variant = Variant {
    name: "ide-hd",
    help: "a disk at the board's IDE controller",
    keys: &[
        DRIVE_OF_DISK,
        BUS,
        UNIT,
        SERIAL,
        MODEL,
        VERSION,
        WWN,
        BOOTINDEX,
        Key::new(
            "rotation_rate",
            Kind::Number(0, 0xffff),
            "revolutions per minute; 1: it does not rotate (default 0: not told)",
        ),
        Key::missing("write-cache", &["auto", "on"], "the guest switches it off if it wants to"),
        LOGICAL,
        PHYSICAL,
        Key::missing("discard_granularity", &["512"], "leave it out"),
        SHARED,
        RERROR,
        WERROR,
    ],
};

/// A CD drive.
pub const IDE_CD: Variant = Variant {
    name: "ide-cd",
    help: "a CD/DVD drive at the board's IDE controller",
    keys: &[DRIVE_OF_CD, BUS, UNIT, SERIAL, MODEL, VERSION, WWN, BOOTINDEX, LOGICAL, PHYSICAL, SHARED, RERROR, WERROR],
};
