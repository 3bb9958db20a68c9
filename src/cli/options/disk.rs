//! Keys that disks and CD drives of several kinds have.

use crate::cli::keyval::{Key, Kind};

pub const DRIVE_OF_DISK: Key = Key::new("drive", Kind::Text("ID"), "the -drive that holds its contents: must be given");
pub const DRIVE_OF_CD: Key =
    Key::new("drive", Kind::Text("ID"), "the -drive that holds its medium (default: it is empty)");
pub const BOOTINDEX: Key = Key::new("bootindex", Kind::Number(0, i32::MAX as u64), "place in the boot order");
pub const WWN: Key = Key::new("wwn", Kind::Number(0, u64::MAX), "world wide name (default none)");
pub const ROTATION_RATE: Key = Key::new(
    "rotation_rate",
    Kind::Number(0, 0xffff),
    "revolutions per minute; 1: it does not rotate (default 0: not told)",
);
pub const LOGICAL_BLOCK_SIZE: Key =
    Key::new("logical_block_size", Kind::Size(1), "bytes of a logical block: a power of two up to 2M (default 512)");
pub const PHYSICAL_BLOCK_SIZE: Key =
    Key::new("physical_block_size", Kind::Size(1), "the same of a physical block (default: a logical block)");
pub const MIN_IO_SIZE: Key =
    Key::new("min_io_size", Kind::Size(1), "bytes of the smallest transfer that is not slow (default 0: not told)");
pub const OPT_IO_SIZE: Key = Key::new("opt_io_size", Kind::Size(1), "bytes of the best transfer (default 0: not told)");
pub const WRITE_CACHE: Key = Key::new(
    "write-cache",
    Kind::Choice(&["on", "off", "auto"]),
    "the write cache at the start (default auto: off with cache=writethrough of the drive)",
);
pub const CYLINDERS: Key =
    Key::new("cyls", Kind::Number(0, 0xffff), "cylinders (default: as the partition table has them)");
pub const HEADS: Key = Key::new("heads", Kind::Number(0, 0xff), "heads: to be given with cyls");
pub const SECTORS: Key = Key::new("secs", Kind::Number(0, 0xff), "sectors of a track: to be given with cyls");
pub const SHARED: Key = Key::new(
    "share-rw",
    Kind::Flag,
    "others may write to its medium too, if they bear the same: for guests whose file system is made for that (default off)",
);
const ON_ERROR: Kind = Kind::Choice(&["auto", "report", "stop", "ignore", "enospc"]);
pub const RERROR: Key =
    Key::new("rerror", ON_ERROR, "what happens when the host can't read, as of -drive (default auto: as -drive says)");
pub const WERROR: Key = Key::new("werror", ON_ERROR, "the same when it can't write");
pub const ACCOUNT_FAILED: Key =
    Key::missing("account-failed", &["auto", "on"], "requests that fail are always counted: leave it out");
pub const ACCOUNT_INVALID: Key =
    Key::missing("account-invalid", &["auto", "on"], "requests that are refused are always counted: leave it out");
pub const LOGICAL_CYLINDERS: Key =
    Key::missing("lcyls", &["0"], "firmware makes them of cyls, heads and secs: leave it out");
pub const LOGICAL_HEADS: Key = Key::missing("lheads", &["0"], "the same as of lcyls");
pub const LOGICAL_SECTORS: Key = Key::missing("lsecs", &["0"], "the same as of lcyls");
