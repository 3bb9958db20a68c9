//! What is booted, and what firmware is told.

use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema};

/// Values of `-boot`, which `-machine boot.` has too.
pub(super) const DRIVES: Kind = Kind::Text("DRIVES");
pub(super) const SPLASH: Kind = Kind::Text("FILE");
pub(super) const MILLISECONDS: Kind = Kind::Number(0, 0xffff);
pub(super) const TIMEOUT: Kind = Kind::Text("MS");

const BOOT: Schema = Schema::plain(
    Some("order"),
    &[
        Key::new(
            "order",
            DRIVES,
            "kinds of drives in their order: a, b floppy, c hard disk, d CD-ROM, n network (default cad)",
        ),
        Key::new("once", DRIVES, "the order until the machine is reset"),
        Key::new("menu", Kind::Flag, "let the firmware offer a menu (default off)"),
        Key::new("splash", SPLASH, "a picture to show, with menu=on: JPEG, or BMP with 24 bits a pixel"),
        Key::new("splash-time", MILLISECONDS, "how many milliseconds the menu waits"),
        Key::new("reboot-timeout", TIMEOUT, "milliseconds until a reset when nothing boots; -1: never (default)"),
        Key::new("strict", Kind::Flag, "boot from devices with a bootindex only (default off)"),
    ],
);

const FW_CFG: Schema = Schema::plain(
    Some("name"),
    &[
        Key::new("name", Kind::Text("NAME"), "name of the file, up to 55 bytes; should begin with opt/"),
        Key::new("file", Kind::Text("FILE"), "the file with its contents"),
        Key::new("string", Kind::Text("TEXT"), "its contents"),
        Key::missing("gen_id", &[], "natoma has no objects that make such files: use file= or string="),
    ],
);

const OPTION_ROM: Schema = Schema::plain(
    Some("romfile"),
    &[
        Key::new("romfile", Kind::Text("FILE"), "the image"),
        Key::new("bootindex", Kind::Number(0, i32::MAX as u64), "its place in the boot order"),
    ],
);

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("kernel", Argument::File("FILE"), Section::Boot, "boot this kernel")
        .sugar("machine", "kernel", None)
        .details(
            "A Linux bzImage, a 64-bit ELF image, an image with a PVH note, or a multiboot image. Without this option natoma \
             boots a small built-in guest that shows the machine and powers off.",
        ),
    OptionSpec::new("initrd", Argument::File("FILE"), Section::Boot, "initial RAM disk of the kernel")
        .sugar("machine", "initrd", None)
        .details(
            "For a multiboot kernel this is a list of modules: file names separated by commas, each with arguments for the \
             module after a space.",
        ),
    OptionSpec::new("append", Argument::Text("TEXT"), Section::Boot, "command line of the kernel").sugar(
        "machine", "append", None,
    ),
    OptionSpec::new(
        "boot",
        Argument::List("[order=]DRIVES[,KEY=VALUE...]", &BOOT),
        Section::Boot,
        "tell the firmware what to boot",
    )
    .group("boot-opts")
    .details(
        "A device with `bootindex=N` is tried before all that have none, the lowest index first; then comes the order of \
         this option.\n\n\
         Without a kernel this option starts the firmware.",
    ),
    OptionSpec::new("bios", Argument::File("FILE"), Section::Boot, "start this firmware")
        .sugar("machine", "firmware", None)
        .details(
            "The image has a multiple of 64 KiB. Without a directory the file is also searched where `-L` says and where \
             distributions install firmware.\n\n\
             A machine with drives or `-boot`, but without `-kernel`, starts SeaBIOS (`bios-256k.bin`, Debian: package \
             `seabios`). With `-kernel` it is this option that decides: natoma starts the kernel itself, and much faster, \
             unless firmware is given; then the firmware starts it.",
        ),
    OptionSpec::new("L", Argument::Text("DIR"), Section::Boot, "search firmware, option ROMs and boot pictures here first")
        .details("May be given several times."),
    OptionSpec::new(
        "option-rom",
        Argument::List("[romfile=]FILE[,bootindex=N]", &OPTION_ROM),
        Section::Boot,
        "let the firmware run this ROM",
    )
    .group("option-rom"),
    OptionSpec::new(
        "fw_cfg",
        Argument::List("[name=]NAME,file=FILE|string=TEXT", &FW_CFG),
        Section::Boot,
        "hand a file to the firmware and the guest",
    )
    .group("fw_cfg")
    .details("Linux shows such files below `/sys/firmware/qemu_fw_cfg/by_name`."),
    OptionSpec::new(
        "no-fd-bootchk",
        Argument::None,
        Section::Boot,
        "boot a floppy even if its boot sector has no signature",
    ),
    OptionSpec::missing("dtb", Argument::File("FILE"), &[], "a PC describes itself by ACPI: leave it out"),
];
