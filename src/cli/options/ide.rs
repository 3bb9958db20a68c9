//! `-device ide-hd` and `ide-cd`.

use super::disk::{
    ACCOUNT_FAILED, ACCOUNT_INVALID, BOOTINDEX, CYLINDERS, DRIVE_OF_CD, DRIVE_OF_DISK, HEADS, PHYSICAL_BLOCK_SIZE,
    RERROR, ROTATION_RATE, SECTORS, SHARED, WERROR, WRITE_CACHE, WWN,
};
use crate::cli::keyval::{Key, Kind, Variant};

const BUS: Key =
    Key::new("bus", Kind::Choice(&["ide.0", "ide.1"]), "the channel (default: the first with a free place)");
const UNIT: Key = Key::new("unit", Kind::Number(0, 1), "0 is the master, 1 the slave (default: the first free one)");
const SERIAL: Key =
    Key::new("serial", Kind::Name(20), "serial number, up to 20 characters (default QM00001 for the first place)");
const MODEL: Key = Key::new("model", Kind::Name(40), "model, up to 40 characters (default that of QEMU)");
const VERSION: Key = Key::new("ver", Kind::Name(8), "revision of its firmware, up to 8 characters (default 2.5+)");
const LOGICAL: Key = Key::missing("logical_block_size", &["0", "512"], "ATA disks of this kind have 512");

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
        ROTATION_RATE,
        WRITE_CACHE,
        LOGICAL,
        PHYSICAL_BLOCK_SIZE,
        CYLINDERS,
        HEADS,
        SECTORS,
        Key::new(
            "bios-chs-trans",
            Kind::Choice(&["auto", "none", "lba", "large", "rechs"]),
            "how firmware makes the numbers of its disk calls of these (default auto: as the partition table suggests)",
        ),
        Key::missing("discard_granularity", &["512"], "leave it out"),
        Key::missing("min_io_size", &["0"], "ATA has no word for it: leave it out"),
        Key::missing("opt_io_size", &["0"], "ATA has no word for it: leave it out"),
        ACCOUNT_FAILED,
        ACCOUNT_INVALID,
        SHARED,
        RERROR,
        WERROR,
    ],
};

/// A CD drive.
pub const IDE_CD: Variant = Variant {
    name: "ide-cd",
    help: "a CD/DVD drive at the board's IDE controller",
    keys: &[
        DRIVE_OF_CD,
        BUS,
        UNIT,
        SERIAL,
        MODEL,
        VERSION,
        WWN,
        BOOTINDEX,
        LOGICAL,
        Key::missing("physical_block_size", &["0", "512"], "leave it out"),
        SHARED,
        RERROR,
        WERROR,
        ACCOUNT_FAILED,
        ACCOUNT_INVALID,
    ],
};
