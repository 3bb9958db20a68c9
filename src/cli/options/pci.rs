//! PCI devices.

use super::isa::EVENTS;
use crate::cli::keyval::{Key, Kind, Variant};

/// The keys of a PCI device: its own, and those that every one has.
macro_rules! pci_keys {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            Key::new("bus", Kind::Text("BUS"), "the bus it is on: pci.0, or the id of a bridge (default pci.0)"),
            Key::new("addr", Kind::Text("SLOT[.FN]"), "its slot and function, hexadecimal (default: the first free slot)"),
            Key::new("multifunction", Kind::Flag, "its slot has more functions than function 0 (default off)"),
            Key::new("romfile", Kind::Text("FILE"), "its option ROM, also searched where firmware is; empty: it has none"),
            Key::new("romsize", Kind::Number(0, u32::MAX as u64), "size of the ROM: a power of two (default: the file's)"),
            Key::new("rombar", Kind::Number(0, 1), "0: firmware gets the ROM as a file (genroms/NAME in fw_cfg) and not from the card (default 1)"),
            Key::new(
                "acpi-index",
                Kind::Number(0, crate::config::PciDevice::LAST_ACPI_INDEX as u64),
                "number by which ACPI names it, which Linux makes a part of the name of a network card (default 0: none)",
            ),
            Key::missing("failover_pair_id", &[""], "leave it out"),
            Key::missing("x-pcie-lnksta-dllla", &["on", "off"], ""),
            Key::missing("x-pcie-extcap-init", &["on", "off"], ""),
        ]
    };
}

pub(super) use pci_keys;

/// The keys that every PCI device has.
pub const COMMON: &[Key] = pci_keys![];

/// Whether a PCI device has a key only because every PCI device has it.
pub fn is_common(key: &Key) -> bool {
    COMMON.iter().any(|common| (common.name, common.help) == (key.name, key.help))
}

const CHARDEV: Kind = Kind::Text("ID");
const PROG_IF: Key = Key::new("prog_if", Kind::Number(0, 0xff), "programming interface in its class code (default 2)");

pub(super) const PCI_BRIDGE: Variant = Variant {
    name: "pci-bridge",
    help: "a bridge to a PCI bus of its own, which has the bridge's id as its name",
    keys: pci_keys![
        Key::new(
            "chassis_nr",
            Kind::Number(1, 0xff),
            "number of its chassis, different for each bridge: must be given"
        ),
        Key::new("shpc", Kind::Flag, "it has a hot-plug controller (default on)"),
        Key::new(
            "msi",
            Kind::Choice(&["on", "off", "auto"]),
            "its hot-plug controller can interrupt by messages (default auto: it can)"
        ),
        Key::new(
            "bus-reserve",
            Kind::Number(0, u32::MAX as u64),
            "bus numbers that firmware is asked to leave behind it (default: as firmware likes)"
        ),
        Key::new("io-reserve", Kind::Size(1), "I/O space that firmware is asked to leave behind it"),
        Key::new("mem-reserve", Kind::Size(1), "the same of memory, less than 4G"),
        Key::new("pref32-reserve", Kind::Size(1), "the same of prefetchable memory below 4 GiB"),
        Key::new("pref64-reserve", Kind::Size(1), "the same of prefetchable memory anywhere, instead of the former"),
    ],
};

pub(super) const PCI_SERIAL: Variant = Variant {
    name: "pci-serial",
    help: "a PCI card with a 16550A UART",
    keys: pci_keys![
        Key::new("chardev", CHARDEV, "the character device (default: what is sent is lost)"),
        PROG_IF,
        Key::missing("baudbase", &["115200"], ""),
        Key::missing("wakeup", &["off"], ""),
    ],
};

pub(super) const PCI_SERIAL_2X: Variant = Variant {
    name: "pci-serial-2x",
    help: "a PCI card with two 16550A UARTs",
    keys: pci_keys![
        Key::new("chardev1", CHARDEV, "the character device of the first (default: what is sent is lost)"),
        Key::new("chardev2", CHARDEV, "the character device of the second"),
        PROG_IF,
    ],
};

pub(super) const PCI_SERIAL_4X: Variant = Variant {
    name: "pci-serial-4x",
    help: "a PCI card with four 16550A UARTs",
    keys: pci_keys![
        Key::new("chardev1", CHARDEV, "the character device of the first (default: what is sent is lost)"),
        Key::new("chardev2", CHARDEV, "the character device of the second"),
        Key::new("chardev3", CHARDEV, "the character device of the third"),
        Key::new("chardev4", CHARDEV, "the character device of the fourth"),
        PROG_IF,
    ],
};

pub(super) const PVPANIC_PCI: Variant = Variant {
    name: "pvpanic-pci",
    help: "a PCI device by which the guest reports that it has panicked (see -action panic=)",
    keys: pci_keys![EVENTS],
};

pub(super) const PCI_TESTDEV: Variant = Variant {
    name: "pci-testdev",
    help: "a PCI device that counts accesses, for kvm-unit-tests",
    keys: pci_keys![Key::new(
        "membar",
        Kind::Size(1),
        "size of a window of memory that is not there: a power of two (default 0: it has none)"
    )],
};

pub(super) const I6300ESB: Variant =
    Variant { name: "i6300esb", help: "the watchdog of the Intel 6300ESB (see -action watchdog=)", keys: pci_keys![] };
