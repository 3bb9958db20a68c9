//! What the machine boots, and what its firmware is told.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the machine boots. Without firmware and kernel it runs the built-in guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootConfig {
    /// Kernel image: bzImage, ELF, PVH or multiboot.
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk exactly as given. For a multiboot kernel it is a list of modules separated by commas, each a
    /// file name and optional arguments after a space; for every other kernel it is one file name.
    pub initrd: Option<String>,
    /// Kernel command line; empty: none.
    pub append: String,
    /// Whether firmware starts the machine, and which; without, the kernel or the built-in guest is started directly.
    pub firmware: Firmware,
    /// Directories in which files of firmware are searched before the usual ones.
    pub directories: Vec<PathBuf>,
    /// Where firmware looks for an operating system.
    pub order: BootOrder,
    /// Files that the firmware, and through it the guest, can read.
    pub files: Vec<FirmwareFile>,
    /// ROMs that firmware runs, beside those of devices.
    pub option_roms: Vec<OptionRom>,
}

/// What runs first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// No firmware.
    #[default]
    None,
    /// The board's usual one, SeaBIOS.
    Default,
    /// The image in this file: a path, or a name in one of the directories for firmware.
    File(String),
}

/// Where firmware looks for an operating system, and what it shows the user (`-boot`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootOrder {
    /// Kinds of drives in their order: `a` and `b` floppies, `c` hard disk, `d` CD-ROM, `n` network. At most three.
    pub order: String,
    /// The order until the machine is reset for the first time.
    pub once: Option<String>,
    /// Whether the firmware offers a menu.
    pub menu: bool,
    /// A picture to show: JPEG, or BMP with 24 bits a pixel.
    pub splash: Option<String>,
    /// How long to show it, and the menu, in milliseconds.
    pub splash_time: Option<u16>,
    /// Milliseconds after which the machine is reset when nothing boots; `None`: never.
    pub reboot_timeout: Option<u16>,
    /// Boot from devices with a boot index only.
    pub strict: bool,
    /// Whether the firmware looks for a signature at the end of a floppy's boot sector.
    pub check_floppy: bool,
}

impl Default for BootOrder {
    fn default() -> Self {
        Self {
            order: "cad".into(),
            once: None,
            menu: false,
            splash: None,
            splash_time: None,
            reboot_timeout: None,
            strict: false,
            check_floppy: true,
        }
    }
}

/// A file that is handed to the firmware (`-fw_cfg`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareFile {
    /// Its name there, up to 55 bytes.
    pub name: String,
    /// What it contains.
    pub contents: FirmwareFileContents,
}

/// The contents of a [`FirmwareFile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareFileContents {
    /// Those of a file of the host.
    File(PathBuf),
    /// This text, without a zero at its end.
    String(String),
}

/// A ROM that the firmware runs (`-option-rom`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionRom {
    /// The image: a path, or a name in one of the directories for firmware.
    pub file: String,
    /// Its place in the boot order.
    pub bootindex: Option<i32>,
}
