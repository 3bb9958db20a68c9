//! The devices under test: on which board, and what of it belongs to the device.

/// A device under test.
pub struct Target {
    /// The name of its fuzz target.
    pub name: &'static str,
    /// Options of the board beside `-nodefaults`. `IMAGE` stands for a file of [`IMAGE_SIZE`] bytes, of which writes are lost.
    pub options: &'static [&'static str],
    /// Beginnings of the names of its windows.
    pub windows: &'static [&'static str],
    /// The names of its states, and of its functions on the PCI bus.
    pub devices: &'static [&'static str],
}

/// Size of image files: those of flash chips and of the smallest floppy that every controller knows.
pub const IMAGE_SIZE: usize = 360 << 10;

/// A board with nothing special on it.
const PLAIN: &[&str] = &[];

const fn target(
    name: &'static str,
    options: &'static [&'static str],
    windows: &'static [&'static str],
    devices: &'static [&'static str],
) -> Target {
    Target { name, options, windows, devices }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("rtc", &["-rtc", "driftfix=slew"], &["rtc"], &["mc146818rtc"]),
    target(
        "hpet",
        &["-global", "hpet.timers=5", "-global", "hpet.msi=on", "-global", "hpet.hpet-intcap=0xf00104"],
        &["hpet"],
        &["hpet"],
    ),
    target("uart", &["-serial", "null"], &["serial"], &["isa-serial"]),
    target("fdc", &["-drive", "if=floppy,format=raw,snapshot=on,file=IMAGE"], &["fdc", "dma"], &["isa-fdc"]),
    target(
        "ide",
        &[
            "-drive",
            "if=ide,format=raw,snapshot=on,file=IMAGE,rerror=ignore",
            "-drive",
            "if=ide,index=2,media=cdrom,format=raw,file=IMAGE",
        ],
        &["ide", "piix-bmdma"],
        &["piix3-ide"],
    ),
    target(
        "virtio_scsi",
        &[
            "-device",
            "virtio-scsi-pci,disable-legacy=on",
            "-drive",
            "if=none,id=a,format=raw,snapshot=on,file=IMAGE,rerror=ignore",
            "-device",
            "scsi-hd,drive=a",
            "-device",
            "scsi-cd",
            "-drive",
            "if=none,id=b,format=raw,snapshot=on,file=IMAGE",
            "-device",
            "scsi-hd,drive=b,scsi-id=0,lun=300,logical_block_size=4096,removable=on",
        ],
        &["virtio-pci", "msix"],
        &["virtio-scsi-pci"],
    ),
    target("parallel", &["-parallel", "null"], &["parallel"], &["isa-parallel"]),
    target("i8042", PLAIN, &["i8042"], &["i8042"]),
    target("piix4_pm", PLAIN, &["piix4-pm", "acpi-gpe0", "apm", "pm-smbus"], &["PIIX4_PM"]),
    target("piix3", PLAIN, &["piix3"], &["PIIX3"]),
    target("i440fx", PLAIN, &[], &["i440FX"]),
    target("pci_config", PLAIN, &["pci-conf"], &["pci-config"]),
    target("dma", PLAIN, &["dma"], &["i8257", "i8257#1"]),
    target("port92", PLAIN, &["port92"], &["port92"]),
    target("post_code", PLAIN, &["ioport80"], &["ioport80"]),
    target("fw_cfg", &["-fw_cfg", "opt/fuzz,string=some text"], &["fwcfg"], &["fw_cfg"]),
    target(
        "hotplug",
        &["-smp", "1,maxcpus=4"],
        &["acpi-pci", "acpi-cpu", "acpi-gpe0"],
        &["acpi-pci-hotplug", "acpi-cpu-hotplug"],
    ),
    target("debugcon", &["-debugcon", "null"], &["isa-debugcon"], &["isa-debugcon"]),
    target("debug_exit", &["-device", "isa-debug-exit,iosize=4"], &["isa-debug-exit"], &["isa-debug-exit"]),
    target(
        "pci_bridge",
        &["-device", "pci-bridge,chassis_nr=1,id=b", "-device", "pci-serial,bus=b,addr=1"],
        &["shpc", "pci-serial"],
        &["pci-bridge", "pci-serial"],
    ),
    target(
        "pci_serial",
        &["-chardev", "null,id=c", "-device", "pci-serial,chardev=c"],
        &["pci-serial"],
        &["pci-serial"],
    ),
    target("cfi01", &["-drive", "if=pflash,format=raw,snapshot=on,file=IMAGE"], &["system.flash"], &["cfi.pflash01"]),
    target("pic", PLAIN, &["pic", "elcr"], &["i8259"]),
    target("pit", PLAIN, &["pit", "pcspk"], &["isa-pit"]),
    target("ioapic", PLAIN, &["ioapic"], &["ioapic"]),
    target("i6300esb", &["-device", "i6300esb", "-action", "watchdog=none"], &["i6300esb"], &["i6300esb"]),
    target("ib700", &["-device", "ib700", "-action", "watchdog=none"], &["ib700"], &["ib700"]),
    target("pvpanic", &["-device", "pvpanic"], &["pvpanic"], &["pvpanic"]),
    target("pvpanic_pci", &["-device", "pvpanic-pci"], &["pvpanic"], &["pvpanic-pci"]),
    target("pci_testdev", &["-device", "pci-testdev"], &["pci-testdev"], &["pci-testdev"]),
    target("vmport", PLAIN, &["vmport", "i8042"], &["vmport", "i8042"]),
    target(
        "virtio_blk",
        &[
            "-drive",
            "if=none,id=d,format=raw,snapshot=on,file=IMAGE",
            "-device",
            "virtio-blk-pci,drive=d,num-queues=2,queue-size=8",
        ],
        &["virtio-pci", "msix"],
        &["virtio-blk-pci"],
    ),
    target(
        "virtio_packed",
        &[
            "-drive",
            "if=none,id=d,format=raw,snapshot=on,file=IMAGE,rerror=ignore,werror=ignore",
            "-device",
            "virtio-blk-pci,drive=d,packed=on,disable-legacy=on,queue-size=8",
        ],
        &["virtio-pci", "msix"],
        &["virtio-blk-pci"],
    ),
    target("pc_testdev", &["-device", "pc-testdev"], &["pc-testdev"], &["pc-testdev"]),
];

/// The board of everything, for what goes across devices.
pub const BOARD: Target = target(
    "board",
    &["-serial", "null", "-debugcon", "null", "-device", "pci-bridge,chassis_nr=1", "-smp", "1,maxcpus=4"],
    &[""],
    &["i440FX", "PIIX3", "PIIX4_PM", "pci-bridge"],
);

/// The target of this name.
///
/// # Panics
/// There is none.
#[must_use]
pub fn find(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target in the table")
}
