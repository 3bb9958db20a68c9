//! What the machine boots: `-kernel`, `-bios`, `-boot`, and what else firmware is told.

use crate::cli::error::{Origin, UsageError};
use crate::cli::settings::Settings;
use crate::config::{BootConfig, BootOrder, Firmware, FirmwareFile, FirmwareFileContents, OptionRom};

/// Most kinds of drives that a PC's CMOS has room for.
const MOST_KINDS: usize = 3;
/// Longest name of a file of the firmware, in bytes.
const MOST_NAME: usize = 55;
/// The firmware to be had.
const FIRMWARE: &str = "bios-256k.bin";
/// Options that ask for something to boot from, which only firmware can do.
const BOOTABLE: [&str; 13] = [
    "boot",
    "option-rom",
    "pflash",
    "drive",
    "blockdev",
    "fda",
    "fdb",
    "hda",
    "hdb",
    "hdc",
    "hdd",
    "cdrom",
    "no-fd-bootchk",
];

/// Options that only firmware acts on.
const FOR_FIRMWARE: [&str; 3] = ["boot", "option-rom", "no-fd-bootchk"];

/// What is said for firmware to a machine that has none: advice on each.
pub fn unheard(settings: &Settings) -> impl Iterator<Item = String> {
    let given = FOR_FIRMWARE.iter().flat_map(|option| settings.all(option));
    given.map(|given| {
        format!("{}: firmware would act on this, and the kernel is started without: add -bios {FIRMWARE}", given.origin)
    })
}

/// Reads what the machine boots. Advice that is no error is added to `warnings`.
pub fn build(settings: &Settings, warnings: &mut Vec<String>) -> Result<BootConfig, UsageError> {
    let machine = settings.merged("machine");
    let text = |key| machine.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let (kernel, initrd, append) = (text("kernel"), text("initrd"), text("append"));
    for (key, value) in [("initrd", &initrd), ("append", &append)] {
        if value.is_some() && kernel.is_none() {
            return Err(machine.error(key, "this needs a kernel: give one with -kernel FILE"));
        }
    }
    let boot = settings.merged("boot");
    let bootable = BOOTABLE.iter().any(|option| settings.has(option)) || !boot.entries.is_empty();
    let firmware = match text("firmware") {
        Some(name) => Firmware::File(name),
        None if kernel.is_none() && bootable => Firmware::Default,
        None => Firmware::None,
    };
    Ok(BootConfig {
        kernel: kernel.map(Into::into),
        initrd,
        append: append.unwrap_or_default(),
        firmware,
        directories: settings.all("L").map(|given| given.text().into()).collect(),
        order: order(settings)?,
        files: files(settings, warnings)?,
        option_roms: option_roms(settings)?,
    })
}

fn order(settings: &Settings) -> Result<BootOrder, UsageError> {
    let boot = settings.merged("boot");
    let default = BootOrder::default();
    let drives = |key: &str| match boot.text(key) {
        None => Ok(None),
        Some(text) => check_drives(text).map(|()| Some(text.to_owned())).map_err(|why| boot.error(key, why)),
    };
    let reboot_timeout = match boot.text("reboot-timeout") {
        None | Some("-1") => None,
        Some(text) => Some(text.parse().map_err(|_| {
            boot.error("reboot-timeout", "reboot-timeout is a number of milliseconds up to 65535, or -1 for never")
        })?),
    };
    Ok(BootOrder {
        order: drives("order")?.unwrap_or(default.order),
        once: drives("once")?,
        menu: boot.flag("menu").unwrap_or(default.menu),
        splash: boot.text("splash").map(str::to_owned),
        splash_time: boot.number("splash-time"),
        reboot_timeout,
        strict: boot.flag("strict").unwrap_or(default.strict),
        check_floppy: !settings.has("no-fd-bootchk"),
    })
}

/// QEMU's rules: letters a to p, none twice, and of those the ones that a PC knows, as many as it has room for.
fn check_drives(drives: &str) -> Result<(), String> {
    for (at, letter) in drives.char_indices() {
        if drives[..at].contains(letter) {
            return Err(format!("the boot device '{letter}' is given twice"));
        }
        if !matches!(letter, 'a' | 'b' | 'c' | 'd' | 'n') {
            return Err(format!(
                "'{letter}' is no boot device of a PC: a and b are floppies, c a hard disk, d a CD-ROM, n the network"
            ));
        }
    }
    if drives.len() > MOST_KINDS {
        return Err(format!("a PC has room for {MOST_KINDS} boot devices: use bootindex= of the devices for more"));
    }
    Ok(())
}

fn files(settings: &Settings, warnings: &mut Vec<String>) -> Result<Vec<FirmwareFile>, UsageError> {
    let mut files: Vec<FirmwareFile> = Vec::new();
    for given in settings.all("fw_cfg") {
        let error = |message: String| given.origin.error(message);
        let text = |key| given.list().and_then(|list| list.text(key)).filter(|text| !text.is_empty());
        let string = given.list().and_then(|list| list.text("string"));
        let contents = match (text("file"), string) {
            (Some(file), None) => FirmwareFileContents::File(file.into()),
            (None, Some(string)) => FirmwareFileContents::String(string.into()),
            _ => return Err(error("expected a name and either file=FILE or string=TEXT".into())),
        };
        let name = text("name").ok_or_else(|| error("the file has no name: opt/org.example/name, say".into()))?;
        check_name(name).map_err(&error)?;
        if files.iter().any(|file| file.name == name) {
            return Err(error(format!("there are two files '{name}'")));
        }
        if !name.starts_with("opt/") {
            warnings.push(warn_prefix(&given.origin));
        }
        files.push(FirmwareFile { name: name.into(), contents });
    }
    Ok(files)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MOST_NAME {
        return Err(format!("the name has {} bytes; at most {MOST_NAME} fit", name.len()));
    }
    if name.contains('\0') { Err("the name contains a zero byte".into()) } else { Ok(()) }
}

fn warn_prefix(origin: &Origin) -> String {
    format!("{origin}: names that do not begin with opt/ belong to the machine and its firmware")
}

fn option_roms(settings: &Settings) -> Result<Vec<OptionRom>, UsageError> {
    let one = |given: &crate::cli::settings::Occurrence| {
        let list = given.list();
        let file = list.and_then(|list| list.text("romfile")).filter(|file| !file.is_empty());
        let file = file.ok_or_else(|| given.origin.error("the name of the image is missing"))?;
        Ok(OptionRom { file: file.into(), bootindex: list.and_then(|list| list.number("bootindex")) })
    };
    settings.all("option-rom").map(one).collect()
}
