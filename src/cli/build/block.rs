//! `-drive` and its short forms: drives of the host, and which floppy drive or flash chip each is.

use super::device::Globals;
use super::ide::{Media, Places, Wish};
use super::{blockdev, check_id, scsi, throttle};
use crate::blockdev::{Inherited, Style, instead_of, nest};
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::{Entry, KeyValues};
use crate::cli::options::{NO_DISK, NODE_KEYS};
use crate::cli::settings::{Merged, Occurrence, Settings};
use crate::cli::suggest::did_you_mean;
use crate::config::{
    Access, Aio, CacheMode, Child, DetectZeroes, DeviceConfig, Drive, FLOPPY_DRIVES, FdcConfig, FdcDrive, FloppyDevice,
    FloppyKind, IDE_PLACES, IdeDrive, NodeConfig, NodeDriver, OnError, PFLASH_UNITS, PciDevice, PciFunction, Throttle,
    VirtioBlk,
};
use serde_json::Value;

/// Why there is no flash chip.
const NO_CONTENTS: &str = "a flash chip needs contents: give file=PATH";

/// What an interface is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interface {
    Ide(Media),
    Scsi(Media),
    Virtio,
    Floppy,
    Pflash,
    None,
}

const DISK: Interface = Interface::Ide(Media::Disk);
/// The place of `-cdrom`, where a machine has an empty drive if it is not told otherwise.
const USUAL_CDROM: usize = 2;

/// A drive that has no place yet.
#[derive(Default)]
struct NewDrive {
    id: Option<String>,
    medium: Option<NodeConfig>,
    /// Writes are safe when they are done.
    write_through: bool,
    throttle: Option<Throttle>,
    wish: Wish,
    on_read_error: Option<OnError>,
    on_write_error: Option<OnError>,
}

/// The result.
#[derive(Default)]
pub struct Drives {
    pub drives: Vec<Drive>,
    pub fdc: FdcConfig,
    pub ide: Vec<DeviceConfig>,
    pub pflash: [Option<String>; PFLASH_UNITS],
    /// virtio disks, and the SCSI host with its units.
    pub virtio: Vec<DeviceConfig>,
    /// Their numbers.
    virtio_numbers: Vec<usize>,
    /// Drives made with `if=none` that no device uses yet.
    free: Vec<String>,
    /// The nodes of `-blockdev`.
    pub nodes: Vec<NodeConfig>,
}

/// Reads `-drive`, `-fda`, `-fdb` and `-snapshot`, and what `-global` says of the floppy controller.
pub fn build(settings: &Settings, globals: &Globals) -> Result<Drives, UsageError> {
    let mut result = Drives { nodes: blockdev::build(settings)?, ..Drives::default() };
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
            "fda" => result.add_short(given, Interface::Floppy, 0, settings, kinds)?,
            "fdb" => result.add_short(given, Interface::Floppy, 1, settings, kinds)?,
            "hda" => result.add_short(given, DISK, 0, settings, kinds)?,
            "hdb" => result.add_short(given, DISK, 1, settings, kinds)?,
            "hdc" => result.add_short(given, DISK, 2, settings, kinds)?,
            "hdd" => result.add_short(given, DISK, 3, settings, kinds)?,
            "cdrom" => result.add_short(given, Interface::Ide(Media::Cdrom), USUAL_CDROM, settings, kinds)?,
            "pflash" => {
                let medium = named(given, Access::ReadWrite, settings.has("snapshot"))?;
                let drive = NewDrive { medium: Some(medium), ..NewDrive::default() };
                result.place(Interface::Pflash, drive, &given.origin, kinds)?;
            }
            _ => {}
        }
    }
    result.connect_flash(&settings.merged("machine"))?;
    let floppy_device =
        settings.all("device").any(|given| given.list().and_then(|list| list.variant) == Some("floppy"));
    if !settings.has("nodefaults") && !floppy_device && result.fdc.drives[0].is_none() {
        result.drives.push(Drive::new("floppy0", None));
        result.fdc.drives[0] = Some(FdcDrive { drive: "floppy0".into(), kind: kinds[0] });
    }
    let ide_device =
        |given: &Occurrence| matches!(given.list().and_then(|list| list.variant), Some("ide-hd" | "ide-cd"));
    let has_cdrom = settings.has("nodefaults") || settings.all("device").any(ide_device);
    if !has_cdrom && !result.ide_places()[USUAL_CDROM] {
        let id = format!("ide{}-cd{}", USUAL_CDROM / 2, USUAL_CDROM % 2);
        result.drives.push(Drive::new(&id, None));
        result.ide.push(DeviceConfig::IdeCd(IdeDrive::new(USUAL_CDROM, Some(id))));
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

    /// Gives a device the drive that it names, or a drive for the node that it names, and tells which drive that is.
    pub fn reference(&mut self, id: &str, origin: &Origin) -> Result<String, UsageError> {
        if let Some(at) = self.free.iter().position(|free| free == id) {
            return Ok(self.free.swap_remove(at));
        }
        if blockdev::has_node(&self.nodes, id) {
            let names = |number: usize| if number == 1 { format!("#{id}") } else { format!("#{id}.{number}") };
            let free = |name: &String| self.drives.iter().all(|drive| drive.id != *name);
            let name = (1..).map(names).find(free).unwrap_or_default();
            self.drives.push(Drive::new(&name, Some(Child::Name(id.to_owned()))));
            return Ok(name);
        }
        if self.drives.iter().any(|drive| drive.id == *id) {
            Err(origin.error(format_args!("the drive '{id}' is in use by another device")))
        } else {
            Err(origin.error(format_args!(
                "there is no drive '{id}': define it with -drive if=none,id={id},file=PATH, or with -blockdev node-name={id},..."
            )))
        }
    }

    /// Gives a device whose media can be changed a drive, if it names none.
    pub fn furnish(&mut self, device: &mut DeviceConfig) {
        let (drive, name) = match device {
            DeviceConfig::IdeCd(IdeDrive { id, bus, unit, drive, .. }) => {
                (drive, id.clone().unwrap_or_else(|| format!("ide{bus}-cd{unit}")))
            }
            DeviceConfig::Floppy(FloppyDevice { id, unit, drive, .. }) => {
                (drive, id.clone().unwrap_or_else(|| format!("floppy{unit}")))
            }
            // As by QEMU, a unit's identification does not tell the name of a drive that the user has not named.
            DeviceConfig::ScsiCd(cd) => {
                let name = cd.id.clone().unwrap_or_else(|| format!("{}-cd{}.{}", cd.bus, cd.target, cd.lun));
                (&mut cd.drive, format!("#{name}"))
            }
            _ => return,
        };
        if drive.is_none() {
            let taken = self.drives.iter().any(|drive| drive.id == name) || blockdev::has_node(&self.nodes, &name);
            let name = if taken { format!("#{name}") } else { name };
            self.drives.push(Drive::new(&name, None));
            *drive = Some(name);
        }
    }

    /// Takes over what a device says of its drive, whatever `-drive` says.
    ///
    /// # Errors
    /// It does not go with the medium.
    pub fn tune(&mut self, id: &str, list: &KeyValues, origin: &Origin) -> Result<(), UsageError> {
        let Some(drive) = self.drives.iter_mut().find(|drive| drive.id == *id) else { return Ok(()) };
        let on_error = |key| list.choice::<String>(key).filter(|word| word != "auto").and_then(|_| list.choice(key));
        drive.on_read_error = on_error("rerror").unwrap_or(drive.on_read_error);
        drive.on_write_error = on_error("werror").unwrap_or(drive.on_write_error);
        drive.share_rw = list.flag("share-rw").unwrap_or(false);
        match &drive.medium {
            Some(Child::Node(node)) if drive.share_rw && matches!(node.driver, NodeDriver::Probed { .. }) => {
                Err(origin.error(format_args!(
                    "share-rw=on: an image whose format has to be found out is not shared: add format=raw to drive '{id}'"
                )))
            }
            _ => Ok(()),
        }
    }

    /// A CD drive has this drive: unless the user wants it otherwise nobody writes to what is in it, so that others may read it too.
    pub fn take_for_cd(&mut self, id: &str) {
        let drive = self.drives.iter_mut().find(|drive| drive.id == *id);
        if let Some(Child::Node(node)) = drive.and_then(|drive| drive.medium.as_mut())
            && node.access == Access::Auto
        {
            blockdev::protect(node);
        }
    }

    /// Lets other processes write to the files of drives that bear it, if all do that use such a file.
    pub fn share_files(&mut self) {
        let Self { drives, nodes, .. } = self;
        for share in [true, false] {
            for drive in drives.iter_mut().filter(|drive| drive.share_rw == share) {
                if let Some(medium) = &mut drive.medium {
                    blockdev::share(medium, share, nodes);
                }
            }
        }
    }

    /// Makes flash chips of the drives that `-machine` names.
    fn connect_flash(&mut self, machine: &Merged) -> Result<(), UsageError> {
        for (unit, key) in ["pflash0", "pflash1"].into_iter().enumerate() {
            let Some((id, origin)) = machine.text(key).zip(machine.origin(key)) else { continue };
            if self.pflash[unit].is_some() {
                return Err(origin.error(format_args!("{key} is in use by -drive if=pflash: leave one of them out")));
            }
            let drive = self.reference(id, origin)?;
            if self.drives.iter().any(|other| other.id == drive && other.medium.is_none()) {
                return Err(origin.error(format_args!("{NO_CONTENTS} (drive '{id}')")));
            }
            self.pflash[unit] = Some(drive);
        }
        Ok(())
    }

    /// Which places of the IDE controller are taken.
    pub fn ide_places(&self) -> Places {
        let mut places = [false; IDE_PLACES];
        for device in &self.ide {
            if let DeviceConfig::IdeHd(drive) | DeviceConfig::IdeCd(drive) = device {
                places[drive.place()] = true;
            }
        }
        places
    }

    fn add_short(
        &mut self,
        given: &Occurrence,
        interface: Interface,
        index: usize,
        settings: &Settings,
        kinds: [FloppyKind; FLOPPY_DRIVES],
    ) -> Result<(), UsageError> {
        let medium = named(given, usual_access(interface), settings.has("snapshot"))?;
        let wish = Wish { index: Some(index), ..Wish::default() };
        self.place(interface, NewDrive { medium: Some(medium), wish, ..NewDrive::default() }, &given.origin, kinds)
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
        let wish = Wish { index: number("index"), bus: number("bus"), unit: number("unit") };
        let id = list.text("id").map(|id| check_id(origin, id)).transpose()?.map(str::to_owned);
        // An empty drive has them too, for a medium that may come.
        let (driver, access, cache) = (driver(list, origin)?, access(list, interface, origin)?, cache(list));
        let (aio, detect_zeroes) = (aio(list, cache, origin)?, detect_zeroes(list));
        let throttle = throttle::of_drive(list, origin)?;
        let snapshot = list.flag("snapshot").unwrap_or(snapshot);
        let medium = medium(
            list,
            origin,
            driver,
            snapshot,
            Inherited {
                access,
                direct: cache.direct,
                no_flush: cache.no_flush,
                force_share: list.flag("force-share").unwrap_or(false),
                discard: discard(list),
                aio,
            },
        )?;
        let medium = medium.map(|node| if snapshot { over(node, access) } else { node });
        let medium = medium.map(|node| NodeConfig { detect_zeroes, discard: discard(list), ..node });
        let drive = NewDrive {
            id,
            medium,
            write_through: !cache.writeback,
            throttle,
            wish,
            on_read_error: list.choice("rerror"),
            on_write_error: list.choice("werror"),
        };
        self.place(interface, drive, origin, kinds)
    }

    /// Adds a drive and connects it.
    fn place(
        &mut self,
        interface: Interface,
        drive: NewDrive,
        origin: &Origin,
        kinds: [FloppyKind; FLOPPY_DRIVES],
    ) -> Result<(), UsageError> {
        let NewDrive { id, medium, write_through, throttle, wish, on_read_error, on_write_error } = drive;
        let (name, unit) = match interface {
            Interface::Ide(media) => {
                let place = wish.place(&self.ide_places()).map_err(|message| origin.error(message))?;
                (format!("ide{}-{}{}", place / 2, media.word(), place % 2), place)
            }
            Interface::Scsi(media) => {
                let (_, target) = self.numbered("scsi", &self.scsi_targets(), wish, origin)?;
                (format!("scsi0-{}{target}", media.word()), target)
            }
            Interface::Virtio => self.virtio_number(wish, origin)?,
            Interface::Floppy => self.numbered("floppy", &self.floppy_units(), wish, origin)?,
            Interface::Pflash => {
                let taken = self.pflash.each_ref().map(Option::is_some);
                self.numbered("pflash", &taken, wish, origin)?
            }
            Interface::None => {
                let unit = self.drives.iter().filter(|drive| drive.id.starts_with("none")).count();
                (format!("none{unit}"), unit)
            }
        };
        let id = id.unwrap_or(name);
        if self.drives.iter().any(|drive| drive.id == id) {
            return Err(origin.error(format_args!("there are two drives with the id '{id}'")));
        }
        match interface {
            Interface::Floppy | Interface::Pflash if on_read_error.or(on_write_error).is_some() => {
                return Err(origin.error("rerror and werror are for disks and CD drives: leave them out"));
            }
            Interface::Ide(Media::Disk) | Interface::Scsi(Media::Disk) | Interface::Virtio if medium.is_none() => {
                return Err(origin.error("a disk needs contents: give file=PATH"));
            }
            Interface::Ide(media) => self.ide.push(media.device(IdeDrive::new(unit, Some(id.clone())))),
            Interface::Scsi(media) => {
                if self.scsi_targets().iter().all(|taken| !taken) {
                    self.virtio.push(scsi::host_of_drives());
                }
                self.virtio.push(scsi::unit_of_drive(media, unit as u8, &id));
            }
            Interface::Virtio => {
                let function = PciFunction::VirtioBlk(Box::new(VirtioBlk::new(&id)));
                self.virtio.push(DeviceConfig::Pci(PciDevice::new(function)));
                self.virtio_numbers.push(unit);
            }
            Interface::Floppy => self.fdc.drives[unit] = Some(FdcDrive { drive: id.clone(), kind: kinds[unit] }),
            Interface::Pflash if medium.is_none() => {
                return Err(origin.error(NO_CONTENTS));
            }
            Interface::Pflash => self.pflash[unit] = Some(id.clone()),
            Interface::None => self.free.push(id.clone()),
        }
        if blockdev::has_node(&self.nodes, &id) {
            return Err(origin.error(format_args!("there is a node with the name '{id}': choose another id")));
        }
        let mut drive = Drive::new(id, medium.map(Child::from));
        (drive.write_back, drive.throttle) = (!write_through, throttle);
        drive.on_read_error = on_read_error.unwrap_or(drive.on_read_error);
        drive.on_write_error = on_write_error.unwrap_or(drive.on_write_error);
        self.drives.push(drive);
        Ok(())
    }

    /// Which targets of the SCSI host are taken.
    fn scsi_targets(&self) -> [bool; scsi::TARGETS] {
        let mut targets = [false; scsi::TARGETS];
        for device in &self.virtio {
            if let DeviceConfig::ScsiHd(unit) | DeviceConfig::ScsiCd(unit) = device {
                targets[usize::from(unit.target)] = true;
            }
        }
        targets
    }

    /// The name and number of a virtio disk: each is on a bus of its own.
    fn virtio_number(&self, wish: Wish, origin: &Origin) -> Result<(String, usize), UsageError> {
        let Wish { index, bus, unit } = wish;
        if unit.is_some_and(|unit| unit != 0) || index.is_some() && bus.is_some() {
            return Err(
                origin.error("a virtio disk has a bus of its own, whose number is index: leave bus and unit out")
            );
        }
        let free = || (0..).find(|number| !self.virtio_numbers.contains(number)).unwrap_or_default();
        let number = index.or(bus).unwrap_or_else(free);
        if self.virtio_numbers.contains(&number) {
            return Err(origin.error(format_args!("there already is a drive with if=virtio,index={number}")));
        }
        Ok((format!("virtio{number}"), number))
    }

    /// The name and number of a drive on an interface without buses.
    fn numbered(&self, word: &str, taken: &[bool], wish: Wish, origin: &Origin) -> Result<(String, usize), UsageError> {
        let Wish { index, bus, unit } = wish;
        if index.is_some() && unit.is_some() {
            return Err(origin.error("index and unit mean the same here: leave one of them out"));
        }
        let most = taken.len();
        let wished = index.or(unit);
        let number = wished.unwrap_or_else(|| taken.iter().position(|taken| !taken).unwrap_or(most));
        match taken.get(number) {
            _ if bus.is_some_and(|bus| bus != 0) => Err(origin.error(format_args!("if={word} has one bus, 0"))),
            None => Err(origin.error(format_args!("if={word} has {most} places, index 0 to {}", most - 1))),
            Some(true) => Err(origin.error(format_args!("there already is a drive with if={word},index={number}"))),
            Some(false) => Ok((format!("{word}{number}"), number)),
        }
    }
}

fn interface(list: &KeyValues, origin: &Origin) -> Result<Interface, UsageError> {
    let media = match list.choice::<String>("media").as_deref() {
        Some("cdrom") => Media::Cdrom,
        _ => Media::Disk,
    };
    match list.text("if") {
        None | Some("ide") => Ok(Interface::Ide(media)),
        Some(word @ ("floppy" | "pflash")) if media == Media::Cdrom => {
            Err(origin.error(format_args!("media=cdrom: if={word} has no CD drives")))
        }
        Some("virtio") => Ok(Interface::Virtio),
        Some("floppy") => Ok(Interface::Floppy),
        Some("pflash") => Ok(Interface::Pflash),
        Some("none") => Ok(Interface::None),
        Some("scsi") => Ok(Interface::Scsi(media)),
        Some(word @ ("sd" | "mtd" | "xen")) => {
            Err(origin.error(format_args!("if={word} is not supported yet; {NO_DISK}")))
        }
        Some(word) => Err(origin.error(format_args!(
            "there is no interface '{word}'{}; natoma has ide, scsi, virtio, floppy, pflash and none",
            did_you_mean(word, ["ide", "scsi", "virtio", "floppy", "pflash", "none"])
        ))),
    }
}

/// The node that `file`, and the keys that begin so, name.
fn medium(
    list: &KeyValues,
    origin: &Origin,
    driver: Option<&str>,
    snapshot: bool,
    inherited: Inherited,
) -> Result<Option<NodeConfig>, UsageError> {
    let is_given = |entry: &&Entry| NODE_KEYS.contains(&entry.key);
    let given = list.entries.iter().filter(is_given).map(|entry| (entry.written_key.as_str(), entry.text.as_str()));
    let pairs = given.chain(driver.map(|driver| ("driver", driver))).map(|(key, text)| (key, Value::from(text)));
    let inherited = if snapshot { Inherited { access: Access::ReadOnly, ..inherited } } else { inherited };
    nest(pairs)
        .and_then(|options| crate::blockdev::drive(options, Style::Words, list.text("file"), inherited))
        .map_err(|why| origin.error(why))
}

/// A temporary overlay over a node that is not written.
fn over(node: NodeConfig, access: Access) -> NodeConfig {
    let access = if access == Access::ReadOnly { access } else { Access::ReadWrite };
    NodeConfig { access, ..NodeConfig::new(NodeDriver::Overlay { file: node.into() }) }
}

/// The image that a short form names.
fn named(given: &Occurrence, access: Access, snapshot: bool) -> Result<NodeConfig, UsageError> {
    let error = |why: String| given.origin.error(why);
    let below = if snapshot { Access::ReadOnly } else { access };
    let inherited = Inherited { access: below, ..Inherited::default() };
    let node = crate::blockdev::named(given.text(), None, inherited).map_err(error)?;
    Ok(if snapshot { over(node, access) } else { node })
}

/// What the image is, if that is said.
fn driver<'a>(list: &'a KeyValues, origin: &Origin) -> Result<Option<&'a str>, UsageError> {
    let name = match (list.text("format"), list.text("driver")) {
        (Some(_), Some(_)) => return Err(origin.error("format and driver mean the same here: leave one of them out")),
        (format, driver) => format.or(driver),
    };
    let known = crate::blockdev::DRIVERS;
    match name {
        None => Ok(None),
        Some(name) if known.contains(&name) => Ok(Some(name)),
        Some(name) => Err(match instead_of(name) {
            Some(instead) => origin.error(format_args!("format={name} is not supported; {instead}")),
            None => origin.error(format_args!(
                "there is no format '{name}'{}; natoma has raw, qcow2 and vmdk",
                did_you_mean(name, known)
            )),
        }),
    }
}

/// What may be done with the image of a drive if it is not said.
fn usual_access(interface: Interface) -> Access {
    match interface {
        Interface::Ide(Media::Cdrom) | Interface::Scsi(Media::Cdrom) => Access::ReadOnly,
        Interface::Ide(Media::Disk) | Interface::Pflash => Access::ReadWrite,
        // The guest of a drive with media can see that the medium is protected.
        Interface::Floppy | Interface::Virtio | Interface::Scsi(Media::Disk) | Interface::None => Access::Auto,
    }
}

fn access(list: &KeyValues, interface: Interface, origin: &Origin) -> Result<Access, UsageError> {
    let read_only = match ["readonly", "read-only"].map(|key| list.flag(key)) {
        [Some(one), Some(other)] if one != other => {
            return Err(origin.error("readonly and read-only mean the same here: leave one of them out"));
        }
        [one, other] => one.or(other),
    };
    let is_cd = list.choice::<String>("media").as_deref() == Some("cdrom");
    let forced = list.flag("force-share") == Some(true);
    let auto = list.flag("auto-read-only");
    match (read_only, interface) {
        (None | Some(false), _) if forced => {
            Err(origin.error("force-share=on can only be used with read-only images: add readonly=on"))
        }
        (Some(true), DISK) => Err(origin
            .error("an IDE disk can't be write protected: leave readonly=on out, or use media=cdrom or snapshot=on")),
        (Some(true), _) => Ok(Access::ReadOnly),
        (Some(false), _) if is_cd => Err(origin.error("a CD can't be written: leave readonly=off out")),
        (None, _) if is_cd => Ok(Access::ReadOnly),
        (None | Some(false), Interface::Virtio | Interface::Scsi(_) | Interface::None) if auto == Some(true) => {
            Ok(Access::Auto)
        }
        (Some(false), _) => Ok(Access::ReadWrite),
        (None, interface) => Ok(match usual_access(interface) {
            Access::Auto if auto == Some(false) => Access::ReadWrite,
            usual => usual,
        }),
    }
}

fn aio(list: &KeyValues, cache: CacheMode, origin: &Origin) -> Result<Aio, UsageError> {
    match list.choice::<String>("aio").as_deref() {
        Some("threads") => Ok(Aio::Threads),
        Some("native") if !cache.direct => Err(origin.error(
            "aio=native goes past the host's cache: add cache.direct=on (or cache=none), or use aio=io_uring or aio=threads",
        )),
        Some("native") => Ok(Aio::Native),
        Some(_) => Ok(Aio::IoUring),
        None => Ok(Aio::Auto),
    }
}

/// Whether what the guest does not need any more is given back.
fn discard(list: &KeyValues) -> bool {
    list.choice::<String>("discard").is_some_and(|word| matches!(&*word, "unmap" | "on"))
}

/// Zeroes keep their room where nothing is given back (`discard=`), whatever is said of them, as with QEMU's `-drive`.
fn detect_zeroes(list: &KeyValues) -> DetectZeroes {
    match list.choice::<String>("detect-zeroes").as_deref() {
        None | Some("off") => DetectZeroes::Off,
        Some("unmap") if discard(list) => DetectZeroes::Unmap,
        Some(_) => DetectZeroes::On,
    }
}

/// `cache=` stands for three settings, each of which can be made on its own.
fn cache(list: &KeyValues) -> CacheMode {
    let named = match list.choice::<String>("cache").as_deref() {
        Some("writethrough") => CacheMode::WRITETHROUGH,
        Some("none" | "off") => CacheMode::NONE,
        Some("directsync") => CacheMode::DIRECTSYNC,
        Some("unsafe") => CacheMode::UNSAFE,
        _ => CacheMode::WRITEBACK,
    };
    CacheMode {
        writeback: list.flag("cache.writeback").unwrap_or(named.writeback),
        direct: list.flag("cache.direct").unwrap_or(named.direct),
        no_flush: list.flag("cache.no-flush").unwrap_or(named.no_flush),
    }
}
