//! ISA devices.

use super::device::{ISA_BUS, PORT};
use crate::cli::keyval::{Key, Kind, Variant};

pub(super) const EVENTS: Key =
    Key::new("events", Kind::Number(0, 0xff), "events the guest may report: 1 a panic, 2 a crash, 3 both (default 3)");

pub(super) const PVPANIC: Variant = Variant {
    name: "pvpanic",
    help: "a port by which the guest reports that it has panicked (see -action panic=)",
    keys: &[ISA_BUS, Key::new("ioport", PORT, "its port (default 0x505)"), EVENTS],
};

pub(super) const IB700: Variant = Variant {
    name: "ib700",
    help: "the watchdog of the IB700 board, on ports 0x441 and 0x443 (see -action watchdog=)",
    keys: &[ISA_BUS],
};

pub(super) const PC_TESTDEV: Variant =
    Variant { name: "pc-testdev", help: "ports and memory that kvm-unit-tests use", keys: &[ISA_BUS] };
