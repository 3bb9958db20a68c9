//! `-drive` and its short forms: drives of the host, and which floppy drive or flash chip each is.

use super::check_id;
use super::device::Globals;
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::cli::options::NO_DISK;
use crate::cli::settings::{Merged, Occurrence, Settings};
use crate::cli::suggest::did_you_mean;
use crate::config::{
    Access, CacheMode, Drive, FLOPPY_DRIVES, FdcConfig, FdcDrive, FloppyDevice, FloppyKind, Image, ImageFormat,
    Locking, PFLASH_UNITS,
};

/// Formats of QEMU's that natoma does not read.
const OTHER_FORMATS: [&str; 14] = [
    "qcow2",
    "qcow",
    "qed",
    "vmdk",
    "vdi",
    "vpc",
    "vhdx",
    "luks",
    "parallels",
    "bochs",
    "cloop",
    "dmg",
    "vvfat",
    "nbd",
];
/// Beginnings of file names that are no files to QEMU.
const PROTOCOLS: [&str; 14] = [
    "nbd:",
    "nbd+unix:",
    "fat:",
    "http:",
    "https:",
    "ftp:",
    "iscsi:",
    "rbd:",
    "ssh:",
    "nfs:",
    "gluster:",
    "json:",
    "blkdebug:",
    "null-co:",
];

/// Why there is no flash chip.
const NO_CONTENTS: &str = "a flash chip needs contents: give file=PATH";

/// What an interface is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interface {
    Floppy,
    Pflash,
    None,
}

/// The result.
#[derive(Default)]
pub struct Drives {
    pub drives: Vec<Drive>,
    pub fdc: FdcConfig,
    pub pflash: [Option<String>; PFLASH_UNITS],
    /// Drives made with `if=none` that no device uses yet.
    free: Vec<String>,
}

/// Reads `-drive`, `-fda`, `-fdb` and `-snapshot`, and what `-global` says of the floppy controller.
pub fn build(settings: &Settings, globals: &Globals) -> Result<Drives, UsageError> {
    let mut result = Drives::default();
    let kinds = globals.floppy_kinds();
    result.fdc.bootindex = globals.floppy_bootindex();
    result.fdc.fallback = globals.floppy_fallback().unwrap_or(result.fdc.fallback);
    for given in settings.iter() {
        match given.option.name {
            "drive" => {
                if let Some(list) = given.list() {
                    result.add(list, &given.origin, settings.has("snapshot"), kinds)?;
                }
            }
            "fda" => result.add_short(given, 0, settings, kinds)?,
            "fdb" => result.add_short(given, 1, settings, kinds)?,
            "pflash" => {
                let image = Image {
                    path: path(given.text(), &given.origin)?,
                    snapshot: settings.has("snapshot"),
                    ..Image::new("")
                };
                result.place(Interface::Pflash, None, None, Some(image), &given.origin, kinds)?;
            }
            _ => {}
        }
    }
    result.connect_flash(&settings.merged("machine"))?;
    let floppy_device =
        settings.all("device").any(|given| given.list().and_then(|list| list.variant) == Some("floppy"));
    if !settings.has("nodefaults") && !floppy_device && result.fdc.drives[0].is_none() {
        result.drives.push(Drive { id: "floppy0".into(), image: None });
        result.fdc.drives[0] = Some(FdcDrive { drive: "floppy0".into(), kind: kinds[0] });
    }
    Ok(result)
}

/// The floppy drive of a `-device floppy`.
pub fn floppy(id: Option<String>, list: &KeyValues, unit: u8) -> FloppyDevice {
    FloppyDevice {
        id,
        unit,
        drive: list.text("drive").map(str::to_owned),
        kind: list.choice("drive-type").unwrap_or(FloppyKind::Auto),
    }
}

impl Drives {
    /// Which floppy drives there are.
    pub fn floppy_units(&self) -> [bool; FLOPPY_DRIVES] {
        self.fdc.drives.each_ref().map(Option::is_some)
    }

    /// Gives a device the drive that it names.
    pub fn reference(&mut self, id: &str, origin: &Origin) -> Result<(), UsageError> {
        if let Some(at) = self.free.iter().position(|free| free == id) {
            self.free.swap_remove(at);
            Ok(())
        } else if self.drives.iter().any(|drive| drive.id == *id) {
            Err(origin.error(format_args!("the drive '{id}' is in use by another device")))
        } else {
            Err(origin.error(format_args!("there is no drive '{id}': define it with -drive if=none,id={id},file=PATH")))
        }
    }

    /// Makes flash chips of the drives that `-machine` names.
    fn connect_flash(&mut self, machine: &Merged) -> Result<(), UsageError> {
        for (unit, key) in ["pflash0", "pflash1"].into_iter().enumerate() {
            let Some((id, origin)) = machine.text(key).zip(machine.origin(key)) else { continue };
            if self.pflash[unit].is_some() {
                return Err(origin.error(format_args!("{key} is in use by -drive if=pflash: leave one of them out")));
            }
            self.reference(id, origin)?;
            if self.drives.iter().any(|drive| drive.id == id && drive.image.is_none()) {
                return Err(origin.error(format_args!("{NO_CONTENTS} (drive '{id}')")));
            }
            self.pflash[unit] = Some(id.to_owned());
        }
        Ok(())
    }

    fn add_short(
        &mut self,
        given: &Occurrence,
        unit: usize,
        settings: &Settings,
        kinds: [FloppyKind; FLOPPY_DRIVES],
    ) -> Result<(), UsageError> {
        let mut image = Image { access: Access::Auto, snapshot: settings.has("snapshot"), ..Image::new("") };
        image.path = path(given.text(), &given.origin)?;
        self.place(Interface::Floppy, Some(unit), None, Some(image), &given.origin, kinds)
    }

    fn add(
        &mut self,
        list: &KeyValues,
        origin: &Origin,
        snapshot: bool,
        kinds: [FloppyKind; FLOPPY_DRIVES],
    ) -> Result<(), UsageError> {
        let interface = interface(list, origin)?;
        let number = |key| list.number::<usize>(key);
        let index = match (number("index"), number("unit")) {
            (Some(_), Some(_)) => return Err(origin.error("index and unit mean the same here: leave one of them out")),
            (index, unit) => index.or(unit),
        };
        let id = list.text("id").map(|id| check_id(origin, id)).transpose()?.map(str::to_owned);
        // An empty drive has them too, for a medium that may come.
        let (format, access, cache) = (format(list, origin)?, access(list, interface, origin)?, cache(list, origin)?);
        let image = match list.text("file").filter(|file| !file.is_empty()) {
            None => None,
            Some(file) => Some(Image {
                path: path(file, origin)?,
                format,
                access,
                snapshot: list.flag("snapshot").unwrap_or(snapshot),
                cache,
                locking: list.choice("file.locking").unwrap_or(Locking::Auto),
            }),
        };
        self.place(interface, index, id, image, origin, kinds)
    }

    /// Adds a drive and connects it.
    fn place(
        &mut self,
        interface: Interface,
        index: Option<usize>,
        id: Option<String>,
        image: Option<Image>,
        origin: &Origin,
        kinds: [FloppyKind; FLOPPY_DRIVES],
    ) -> Result<(), UsageError> {
        let (word, taken): (_, Vec<bool>) = match interface {
            Interface::Floppy => ("floppy", self.floppy_units().into()),
            Interface::Pflash => ("pflash", self.pflash.iter().map(Option::is_some).collect()),
            Interface::None => ("none", Vec::new()),
        };
        let unit = match (interface, index) {
            (Interface::None, _) => self.drives.iter().filter(|drive| drive.id.starts_with("none")).count(),
            (_, Some(index)) => index,
            (_, None) => taken.iter().position(|taken| !taken).unwrap_or(taken.len()),
        };
        if interface != Interface::None {
            let most = taken.len();
            match taken.get(unit) {
                None => return Err(origin.error(format_args!("if={word} has {most} places, index 0 to {}", most - 1))),
                Some(true) => {
                    return Err(origin.error(format_args!("there already is a drive with if={word},index={unit}")));
                }
                Some(false) => {}
            }
        }
        let id = id.unwrap_or_else(|| format!("{word}{unit}"));
        if self.drives.iter().any(|drive| drive.id == id) {
            return Err(origin.error(format_args!("there are two drives with the id '{id}'")));
        }
        match interface {
            Interface::Floppy => self.fdc.drives[unit] = Some(FdcDrive { drive: id.clone(), kind: kinds[unit] }),
            Interface::Pflash if image.is_none() => {
                return Err(origin.error(NO_CONTENTS));
            }
            Interface::Pflash => self.pflash[unit] = Some(id.clone()),
            Interface::None => self.free.push(id.clone()),
        }
        self.drives.push(Drive { id, image });
        Ok(())
    }
}

fn interface(list: &KeyValues, origin: &Origin) -> Result<Interface, UsageError> {
    match list.text("if") {
        Some("floppy") => Ok(Interface::Floppy),
        Some("pflash") => Ok(Interface::Pflash),
        Some("none") => Ok(Interface::None),
        None => {
            Err(origin.error(format_args!("without if= it is an IDE disk; {NO_DISK} (if=floppy and if=pflash exist)")))
        }
        Some(word @ ("ide" | "scsi" | "sd" | "mtd" | "virtio" | "xen")) => {
            Err(origin.error(format_args!("if={word} is not supported yet; {NO_DISK}")))
        }
        Some(word) => Err(origin.error(format_args!(
            "there is no interface '{word}'{}; natoma has floppy, pflash and none",
            did_you_mean(word, ["floppy", "pflash", "none"])
        ))),
    }
}

/// The name of the file, without the protocol `file:`.
fn path(file: &str, origin: &Origin) -> Result<std::path::PathBuf, UsageError> {
    if file.is_empty() {
        return Err(origin.error("the name of the file is empty"));
    }
    if let Some(protocol) = PROTOCOLS.iter().find(|protocol| file.starts_with(**protocol)) {
        return Err(origin.error(format_args!(
            "natoma opens files only, and '{protocol}' is not supported yet; if it is the name of a file write ./{protocol}..."
        )));
    }
    Ok(file.strip_prefix("file:").unwrap_or(file).into())
}

fn format(list: &KeyValues, origin: &Origin) -> Result<Option<ImageFormat>, UsageError> {
    match list.text("format").or_else(|| list.text("driver")) {
        None => Ok(None),
        Some("raw") => Ok(Some(ImageFormat::Raw)),
        Some(name) if OTHER_FORMATS.contains(&name) => Err(origin.error(format_args!(
            "format={name} is not supported yet; convert the image with 'qemu-img convert -O raw', and use format=raw"
        ))),
        Some(name) => Err(origin.error(format_args!("there is no format '{name}'; natoma has raw"))),
    }
}

fn access(list: &KeyValues, interface: Interface, origin: &Origin) -> Result<Access, UsageError> {
    let read_only = match ["readonly", "read-only"].map(|key| list.flag(key)) {
        [Some(one), Some(other)] if one != other => {
            return Err(origin.error("readonly and read-only mean the same here: leave one of them out"));
        }
        [one, other] => one.or(other),
    };
    Ok(match read_only {
        Some(true) => Access::ReadOnly,
        // The guest of a drive with media can see that the medium is protected.
        None if interface != Interface::Pflash => Access::Auto,
        Some(false) | None => Access::ReadWrite,
    })
}

fn cache(list: &KeyValues, origin: &Origin) -> Result<CacheMode, UsageError> {
    match list.choice::<String>("cache").as_deref() {
        None | Some("writeback") => Ok(CacheMode::Writeback),
        Some("writethrough") => Ok(CacheMode::Writethrough),
        Some("unsafe") => Ok(CacheMode::Unsafe),
        Some("none") => Err(origin.error("cache=none: natoma does not go around the host's cache yet; use writeback")),
        Some(mode) => Err(origin
            .error(format_args!("cache={mode}: natoma does not go around the host's cache yet; use writethrough"))),
    }
}
