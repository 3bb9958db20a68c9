//! Groups of limits.

use crate::cli::keyval::{Key, Kind, Variant};

/// A key by its other spelling.
const fn other(name: &'static str) -> Key {
    Key::new(name, Kind::Size(1), "the same as limits.* of that name")
}

/// `-object throttle-group`.
pub const THROTTLE_GROUP: Variant = Variant {
    name: "throttle-group",
    help: "limits that drives and nodes share",
    keys: &[
        Key::new("limits.", Kind::Text("N"), "a limit, as throttling.* of -drive: limits.bps-total=10M say"),
        other("x-bps-total"),
        other("x-bps-total-max"),
        other("x-bps-total-max-length"),
        other("x-bps-read"),
        other("x-bps-read-max"),
        other("x-bps-read-max-length"),
        other("x-bps-write"),
        other("x-bps-write-max"),
        other("x-bps-write-max-length"),
        other("x-iops-total"),
        other("x-iops-total-max"),
        other("x-iops-total-max-length"),
        other("x-iops-read"),
        other("x-iops-read-max"),
        other("x-iops-read-max-length"),
        other("x-iops-write"),
        other("x-iops-write-max"),
        other("x-iops-write-max-length"),
        other("x-iops-size"),
    ],
};
