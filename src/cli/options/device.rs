//! Devices beside those of the board, and defaults of their properties.

use super::block::{FLOPPY, ISA_FDC};
use super::chardev::ISA_PARALLEL;
use super::machine::HPET;
use super::{Argument, OptionSpec, Section};
use super::{ide, isa, pci, scsi, virtio};
use crate::cli::keyval::{Key, Kind, Schema, Variant};

pub(super) const PORT: Kind = Kind::Number(0, 0xffff);

/// The one ISA bus.
pub(super) const ISA_BUS: Key = Key::new("bus", Kind::Choice(&["isa.0"]), "the bus it is on");

const DEVICE: Schema = Schema {
    implied: Some("driver"),
    keys: &[Key::new("id", Kind::Text("ID"), "its name")],
    variants: &[
        Variant {
            name: "isa-debug-exit",
            help: "a port that ends natoma: writing V gives the exit status (V << 1) | 1",
            keys: &[
                ISA_BUS,
                Key::new("iobase", PORT, "its first port (default 0x501)"),
                Key::new("iosize", Kind::Number(1, 4), "number of ports: 1, 2 or 4 (default 2)"),
            ],
        },
        Variant {
            name: "isa-debugcon",
            help: "a port that sends each byte written to it to a character device",
            keys: &[
                ISA_BUS,
                Key::new("chardev", Kind::Text("ID"), "the character device: must be given"),
                Key::new("iobase", PORT, "its port (default 0xe9)"),
                Key::new("readback", Kind::Number(0, 0xff), "what reading the port gives (default 0xe9)"),
            ],
        },
        Variant {
            name: "isa-serial",
            help: "a 16550A UART",
            keys: &[
                ISA_BUS,
                Key::new("chardev", Kind::Text("ID"), "the character device: must be given"),
                Key::new(
                    "index",
                    Kind::Number(0, 3),
                    "which of COM1 (0) to COM4 (3) it is (default: the first free one)",
                ),
                Key::new("iobase", PORT, "its first port (default: that of the COM port)"),
                Key::new("irq", Kind::Number(0, 15), "its ISA interrupt (default: that of the COM port)"),
                Key::missing("baudbase", &["115200"], ""),
                Key::missing("wakeup", &["off"], ""),
            ],
        },
        ISA_PARALLEL,
        FLOPPY,
        ide::IDE_HD,
        ide::IDE_CD,
        isa::PVPANIC,
        isa::IB700,
        isa::PC_TESTDEV,
        pci::PCI_BRIDGE,
        pci::PCI_SERIAL,
        pci::PCI_SERIAL_2X,
        pci::PCI_SERIAL_4X,
        pci::PVPANIC_PCI,
        pci::I6300ESB,
        pci::PCI_TESTDEV,
        virtio::VIRTIO_BLK,
        virtio::VIRTIO_BLK_TRANSITIONAL,
        virtio::VIRTIO_BLK_NON_TRANSITIONAL,
        scsi::VIRTIO_SCSI,
        scsi::VIRTIO_SCSI_TRANSITIONAL,
        scsi::VIRTIO_SCSI_NON_TRANSITIONAL,
        scsi::SCSI_HD,
        scsi::SCSI_CD,
    ],
    aliases: &[("virtio-blk", "virtio-blk-pci"), ("virtio-scsi", "virtio-scsi-pci")],
    variant_noun: "device",
    missing_variants: &[
        (
            &[
                "e1000",
                "e1000-82544gc",
                "e1000-82545em",
                "e1000e",
                "igb",
                "rtl8139",
                "pcnet",
                "ne2k_pci",
                "ne2k_isa",
                "i82551",
                "i82557b",
                "i82559er",
                "vmxnet3",
                "tulip",
                "virtio-net",
                "virtio-net-pci",
                "usb-net",
            ],
            "natoma has no network yet: leave it out, and use -nic none",
        ),
        (
            &[
                "ide-cf",
                "nvme",
                "nvme-ns",
                "ahci",
                "ich9-ahci",
                "piix3-ide",
                "piix4-ide",
                "lsi53c895a",
                "megasas",
                "mptsas1068",
                "pvscsi",
                "am53c974",
                "sd-card",
                "sdhci-pci",
                "isa-fdc",
                "usb-storage",
                "virtio-9p-pci",
                "virtio-pmem-pci",
                "vhost-user-blk-pci",
                "vhost-user-fs-pci",
            ],
            "disks can be ide-hd, virtio-blk-pci or scsi-hd, and CD drives ide-cd or scsi-cd",
        ),
        (&["scsi-disk"], "use scsi-hd for a disk, and scsi-cd for a CD drive"),
        (&["scsi-block", "scsi-generic"], "devices of the host are not passed through: use scsi-hd or scsi-cd"),
        (
            &[
                "VGA",
                "cirrus-vga",
                "bochs-display",
                "qxl",
                "qxl-vga",
                "secondary-vga",
                "ramfb",
                "vmware-svga",
                "virtio-vga",
                "virtio-gpu",
                "virtio-gpu-pci",
            ],
            "natoma has no display yet: use -nographic",
        ),
        (
            &[
                "piix3-usb-uhci",
                "piix4-usb-uhci",
                "ich9-usb-ehci1",
                "usb-ehci",
                "nec-usb-xhci",
                "qemu-xhci",
                "pci-ohci",
                "usb-kbd",
                "usb-mouse",
                "usb-tablet",
                "usb-hub",
                "usb-host",
                "usb-serial",
                "usb-audio",
                "virtio-keyboard-pci",
                "virtio-mouse-pci",
                "virtio-tablet-pci",
                "virtio-input-host-pci",
            ],
            "natoma has no USB or virtio input yet: use the serial console",
        ),
        (
            &[
                "AC97",
                "ES1370",
                "intel-hda",
                "ich9-intel-hda",
                "hda-duplex",
                "hda-micro",
                "hda-output",
                "sb16",
                "adlib",
            ],
            "natoma has no sound yet",
        ),
        (&["virtconsole", "virtserialport"], "use isa-serial or pci-serial"),
        (
            &[
                "virtio-serial",
                "virtio-serial-pci",
                "virtio-rng",
                "virtio-rng-pci",
                "virtio-balloon",
                "virtio-balloon-pci",
                "virtio-crypto-pci",
                "virtio-iommu-pci",
                "virtio-mem-pci",
                "vhost-vsock-pci",
            ],
            "of virtio natoma has disks and SCSI hosts: leave it out",
        ),
        (
            &[
                "pcie-root-port",
                "ioh3420",
                "edu",
                "ivshmem-plain",
                "ivshmem-doorbell",
                "vmcoreinfo",
                "vmgenid",
                "tpm-tis",
                "tpm-crb",
                "pc-dimm",
                "nvdimm",
                "vfio-pci",
                "intel-iommu",
                "amd-iommu",
                "hyperv-testdev",
                "vmmouse",
                "isa-ipmi-bt",
                "isa-ipmi-kcs",
                "smbus-ipmi",
                "isa-applesmc",
                "sga",
                "loader",
                "generic-sdhci",
            ],
            "leave it out",
        ),
    ],
    json: true,
};

const GLOBAL: Schema = Schema::plain(
    None,
    &[
        Key::new("driver", Kind::Text("DRIVER"), "the kind of device"),
        Key::new("property", Kind::Text("PROPERTY"), "its property"),
        Key::new("value", Kind::Text("VALUE"), "the value"),
    ],
);

const LOST_TICKS: &str = "what happens to timer interrupts the guest missed";

/// Drivers of devices that are part of the board, and those of their properties that `-global` can set. The devices of
/// `-device` have their keys beside these.
pub const BOARD_DRIVERS: &[Variant] = &[
    Variant {
        name: "kvm-pit",
        help: "the timer in the kernel",
        keys: &[Key::new("lost_tick_policy", Kind::Choice(&["delay", "discard"]), LOST_TICKS)],
    },
    ISA_FDC,
    HPET,
    Variant {
        name: "mc146818rtc",
        help: "the real-time clock",
        keys: &[Key::new("lost_tick_policy", Kind::Choice(&["discard", "slew"]), LOST_TICKS)],
    },
    Variant {
        name: "PIIX4_PM",
        help: "the power management function",
        keys: &[
            Key::new("disable_s3", Kind::Number(0, 1), "1: do not offer suspend to RAM"),
            Key::new("disable_s4", Kind::Number(0, 1), "1: do not offer suspend to disk"),
            Key::new("s4_val", Kind::Number(0, 7), "sleep type that means suspend to disk (default 2)"),
        ],
    },
];

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("device", Argument::List("DRIVER[,KEY=VALUE...]", &DEVICE), Section::Devices, "add a device")
        .group("device")
        .details(
            "`-device help` lists the drivers, `-device DRIVER,help` the keys of one. The argument may be a JSON object.",
        ),
    OptionSpec::new(
        "global",
        Argument::List("DRIVER.PROPERTY=VALUE", &GLOBAL),
        Section::Devices,
        "change the default of a property for every device of a driver",
    )
    .group("global")
    .details(
        "Also written `driver=DRIVER,property=PROPERTY,value=VALUE`. It applies to the devices of `-device` and `-debugcon`, \
         and to these properties of the board's own devices (`-global help`):",
    ),
    OptionSpec::missing("net", Argument::Text("none"), &["none"], "natoma has no network yet"),
    OptionSpec::missing("nic", Argument::Text("none"), &["none"], "natoma has no network yet"),
    OptionSpec::missing("usb", Argument::None, &[], "natoma has no USB yet: leave it out"),
];
