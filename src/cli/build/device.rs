//! `-device` and `-global`: devices beside those of the board, and defaults of their properties.

use super::ide::Media;
use super::{block, check_id, ide, pci, scsi};
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::{Entry, KeyValues, Support};
use crate::cli::options::{self, BOARD_DRIVERS};
use crate::cli::settings::{Occurrence, Settings};
use crate::cli::suggest::did_you_mean;
use crate::config::{
    DeviceConfig, FLOPPY_DRIVES, FloppyKind, IsaDebugExit, IsaDebugcon, IsaParallel, IsaSerial, LostTickPolicy,
    PARALLEL_PORTS, PciDevice, PciFunction, PlainDevice, PlatformConfig, Pvpanic, SERIAL_PORTS,
};

/// The settings of `-global`.
pub struct Globals {
    /// Driver and property, in command-line order.
    entries: Vec<(&'static str, Entry)>,
}

impl Globals {
    /// Reads every `-global`.
    pub fn read(settings: &Settings) -> Result<Self, UsageError> {
        let mut entries = Vec::new();
        for given in settings.all("global") {
            let error = |message: String| given.origin.error(message);
            let list = given.list();
            let text = |key| {
                list.and_then(|list| list.text(key))
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| error("expected DRIVER.PROPERTY=VALUE, isa-debugcon.iobase=0x402 say".into()))
            };
            let (driver, property, value) = (text("driver")?, text("property")?, text("value")?);
            let drivers =
                || options::schema("device").map(|schema| schema.variants).into_iter().flatten().chain(BOARD_DRIVERS);
            let Some(driver) = drivers().find(|known| known.name == driver) else {
                let meant = did_you_mean(driver, drivers().map(|driver| driver.name));
                return Err(error(format!("the machine has no device '{driver}'{meant}; -global help lists them")));
            };
            // Where a device is can't be the same for all.
            let properties = driver.keys.iter().filter(|key| !["bus", "unit", "index"].contains(&key.name));
            let Some(key) = properties.clone().find(|key| key.name == property) else {
                let works = properties.filter(|key| matches!(key.support, Support::Works)).map(|key| key.name);
                let meant = did_you_mean(property, works.clone());
                return Err(error(format!(
                    "'{}' has no property '{property}'{meant}; it has {}",
                    driver.name,
                    works.collect::<Vec<_>>().join(", ")
                )));
            };
            entries.push((driver.name, key.entry(property, value).map_err(|problem| given.origin.error(problem))?));
        }
        Ok(Self { entries })
    }

    /// The properties of a driver.
    fn of(&self, driver: &str) -> KeyValues {
        let entries = self.entries.iter().filter(|(name, _)| *name == driver).map(|(_, entry)| entry.clone());
        KeyValues { entries: entries.collect(), ..KeyValues::default() }
    }

    /// Sets the properties of the devices that `-drive` and its short forms have made.
    ///
    /// # Errors
    /// Such a device can't have one of them.
    pub fn apply_to_drives(&self, drives: &mut block::Drives) -> Result<(), UsageError> {
        let origin = Origin::bare("-global");
        let (mut ide, mut virtio) = (std::mem::take(&mut drives.ide), std::mem::take(&mut drives.virtio));
        for device in ide.iter_mut().chain(&mut virtio) {
            let (driver, media) = match device {
                DeviceConfig::IdeHd(_) => ("ide-hd", Media::Disk),
                DeviceConfig::IdeCd(_) => ("ide-cd", Media::Cdrom),
                DeviceConfig::ScsiHd(_) => ("scsi-hd", Media::Disk),
                DeviceConfig::ScsiCd(_) => ("scsi-cd", Media::Cdrom),
                DeviceConfig::Pci(PciDevice { function: PciFunction::VirtioScsi(_), .. }) => {
                    ("virtio-scsi-pci", Media::Disk)
                }
                _ => ("virtio-blk-pci", Media::Disk),
            };
            let mut list = self.of(driver);
            if list.entries.is_empty() {
                continue;
            }
            if let Some(drive) = device.drive_mut() {
                drives.tune(drive, &list, &origin)?;
                list.entries.push(Entry::text("drive", drive));
            }
            match device {
                DeviceConfig::IdeHd(drive) | DeviceConfig::IdeCd(drive) => {
                    *drive = ide::properties(media, drive.clone(), &list, &origin)?;
                }
                DeviceConfig::ScsiHd(unit) | DeviceConfig::ScsiCd(unit) => {
                    **unit = scsi::properties(media, (**unit).clone(), &list, &origin)?;
                }
                _ => {
                    if let Some(mut made) = pci::device(&origin, driver, &list)? {
                        scsi::give_to_drives(&mut made);
                        *device = made;
                    }
                }
            }
        }
        (drives.ide, drives.virtio) = (ide, virtio);
        Ok(())
    }

    /// Sets the properties of the board's own devices.
    pub fn apply_to_board(&self, platform: &mut PlatformConfig) {
        platform.pit_lost_ticks = self.of("kvm-pit").choice("lost_tick_policy").or(platform.pit_lost_ticks);
        let pm = self.of("PIIX4_PM");
        let flag = |key| pm.number::<u8>(key).map(|number| number != 0);
        let power = &mut platform.power;
        power.disable_s3 = flag("disable_s3").unwrap_or(power.disable_s3);
        power.disable_s4 = flag("disable_s4").unwrap_or(power.disable_s4);
        power.s4_value = pm.number("s4_val").unwrap_or(power.s4_value);
        let own = self.of("hpet");
        let hpet = &mut platform.hpet_properties;
        hpet.timers = own.number("timers").unwrap_or(hpet.timers);
        hpet.messages = own.flag("msi").unwrap_or(hpet.messages);
        // 0 is QEMU's word for what the board has.
        hpet.routes = own.number("hpet-intcap").filter(|routes| *routes != 0).unwrap_or(hpet.routes);
    }

    /// What the drives of the board's floppy controller are.
    pub fn floppy_kinds(&self) -> [FloppyKind; FLOPPY_DRIVES] {
        let fdc = self.of("isa-fdc");
        ["fdtypeA", "fdtypeB"].map(|key| fdc.choice(key).unwrap_or(FloppyKind::Auto))
    }

    /// Places of the floppy drives in the boot order.
    pub fn floppy_bootindex(&self) -> [Option<i32>; FLOPPY_DRIVES] {
        let fdc = self.of("isa-fdc");
        ["bootindexA", "bootindexB"].map(|key| fdc.number(key))
    }

    /// What an empty floppy drive of no stated kind is.
    pub fn floppy_fallback(&self) -> Option<FloppyKind> {
        self.of("isa-fdc").choice("fallback")
    }

    /// What `-global` says about the real-time clock's lost ticks.
    pub fn rtc_lost_ticks(&self) -> Option<LostTickPolicy> {
        self.of("mc146818rtc").choice("lost_tick_policy")
    }
}

/// What is on the board already.
pub struct Taken {
    /// COM ports, by `-serial`.
    pub serials: [bool; SERIAL_PORTS],
    /// LPT ports, by `-parallel`.
    pub parallels: [bool; PARALLEL_PORTS],
    /// Floppy drives, by `-drive`.
    pub floppies: [bool; FLOPPY_DRIVES],
    /// Places of the IDE controller, by `-drive`.
    pub ide: ide::Places,
    /// SCSI buses, by `-device`.
    pub scsi: scsi::Buses,
}

impl Taken {
    /// The ports of the kind that a device is, and what they are called.
    fn ports(&mut self, driver: &str) -> (&mut [bool], &'static str) {
        match driver {
            "isa-parallel" => (&mut self.parallels, "LPT"),
            _ => (&mut self.serials, "COM"),
        }
    }

    /// Takes the first port of the kind that is free.
    fn free_port(&mut self, driver: &str) -> Result<u8, String> {
        let (ports, name) = self.ports(driver);
        let count = ports.len();
        let (index, port) = ports
            .iter_mut()
            .enumerate()
            .find(|(_, taken)| !**taken)
            .ok_or_else(|| format!("a PC has {count} {name} ports, and all are taken: leave one out"))?;
        *port = true;
        Ok(index as u8)
    }
}

/// Reads every `-device`. `taken` says what other options have put on the board.
pub fn build(settings: &Settings, globals: &Globals, mut taken: Taken) -> Result<Vec<DeviceConfig>, UsageError> {
    let mut devices = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    // An explicit index has precedence over one that natoma chooses, wherever it stands.
    for given in settings.all("device") {
        if let Some(list) = given.list()
            && let Some(index) = list.number::<usize>("index")
        {
            let (ports, name) = taken.ports(list.variant.unwrap_or_default());
            let port = ports.get_mut(index).filter(|taken| !**taken);
            *port.ok_or_else(|| {
                given.origin.error(format_args!("there already is a {name}{}: choose another index", index + 1))
            })? = true;
        }
    }
    for given in settings.all("device") {
        let mut device = one(given, globals, &mut taken)?;
        taken.scsi.add(&mut device);
        if let Some(id) = given.list().and_then(|list| list.text("id")) {
            check_id(&given.origin, id)?;
            if ids.iter().any(|other| other == id) {
                return Err(given.origin.error(format_args!("there are two devices with the id '{id}'")));
            }
            ids.push(id.into());
        }
        devices.push(device);
    }
    let on_pci = settings.all("device").zip(&devices).filter_map(|(given, device)| match device {
        DeviceConfig::Pci(device) => Some((given, device)),
        _ => None,
    });
    pci::check(&on_pci.collect::<Vec<_>>())?;
    Ok(devices)
}

/// The device that `-debugcon` makes.
pub fn debugcon(chardev: &str, globals: &Globals) -> IsaDebugcon {
    debugcon_from(&globals.of("isa-debugcon"), None, chardev)
}

fn debugcon_from(list: &KeyValues, id: Option<String>, chardev: &str) -> IsaDebugcon {
    let default = IsaDebugcon::new(chardev);
    IsaDebugcon {
        id,
        iobase: list.number("iobase").unwrap_or(default.iobase),
        readback: list.number("readback").unwrap_or(default.readback),
        chardev: default.chardev,
    }
}

/// The kind of a `-device`, and all that is said of it, by `-global` too.
pub fn settings_of<'a>(given: &'a Occurrence, globals: &Globals) -> Option<(&'a str, KeyValues)> {
    let own = given.list()?;
    let driver = own.variant?;
    let mut list = globals.of(driver);
    list.entries.extend(own.entries.iter().cloned());
    Some((driver, list))
}

fn one(given: &Occurrence, globals: &Globals, taken: &mut Taken) -> Result<DeviceConfig, UsageError> {
    let error = |message: &str| given.origin.error(message);
    let (Some(own), Some((driver, list))) = (given.list(), settings_of(given, globals)) else {
        return Err(error("it does not say which device"));
    };
    let id = list.text("id").map(str::to_owned);
    let chardev = || list.text("chardev").ok_or_else(|| error("'chardev' is missing: give chardev=ID of a -chardev"));
    Ok(match driver {
        "isa-debug-exit" => {
            let default = IsaDebugExit::default();
            let iosize = list.number("iosize").unwrap_or(default.iosize);
            if !iosize.is_power_of_two() {
                return Err(error("iosize is the number of ports: 1, 2 or 4"));
            }
            DeviceConfig::IsaDebugExit(IsaDebugExit {
                id,
                iobase: list.number("iobase").unwrap_or(default.iobase),
                iosize,
            })
        }
        "isa-debugcon" => DeviceConfig::IsaDebugcon(debugcon_from(&list, id, chardev()?)),
        "isa-serial" => {
            let chardev = chardev()?.to_owned();
            let index =
                own.number("index").map_or_else(|| taken.free_port(driver), Ok).map_err(|message| error(&message))?;
            DeviceConfig::IsaSerial(IsaSerial {
                id,
                index,
                iobase: list.number("iobase"),
                irq: list.number("irq"),
                chardev,
            })
        }
        "isa-parallel" => DeviceConfig::IsaParallel(IsaParallel {
            chardev: chardev()?.to_owned(),
            index: own
                .number("index")
                .map_or_else(|| taken.free_port(driver), Ok)
                .map_err(|message| error(&message))?,
            id,
            iobase: list.number("iobase"),
            irq: list.number("irq").unwrap_or(IsaParallel::IRQ),
        }),
        "floppy" => {
            let unit = match own.number("unit") {
                Some(unit) => unit,
                None => taken.floppies.iter().position(|taken| !taken).unwrap_or(FLOPPY_DRIVES),
            };
            match taken.floppies.get_mut(unit) {
                Some(taken) if !*taken => *taken = true,
                Some(_) => return Err(error(&format!("there already is a floppy drive with unit {unit}"))),
                None => return Err(error("the controller has two drives, and both are there: leave one out")),
            }
            DeviceConfig::Floppy(block::floppy(id, &list, unit as u8))
        }
        "ide-hd" => ide::device(Media::Disk, id, &list, &mut taken.ide, &given.origin)?,
        "ide-cd" => ide::device(Media::Cdrom, id, &list, &mut taken.ide, &given.origin)?,
        "scsi-hd" => taken.scsi.unit(Media::Disk, id, &list, &given.origin)?,
        "scsi-cd" => taken.scsi.unit(Media::Cdrom, id, &list, &given.origin)?,
        "pvpanic" => {
            let default = Pvpanic::default();
            DeviceConfig::Pvpanic(Pvpanic {
                id,
                ioport: list.number("ioport").unwrap_or(default.ioport),
                events: list.number("events").unwrap_or(default.events),
            })
        }
        "ib700" => DeviceConfig::Ib700(PlainDevice { id }),
        "pc-testdev" => DeviceConfig::PcTestdev(PlainDevice { id }),
        other => match pci::device(&given.origin, other, &list)? {
            Some(device) => device,
            None => return Err(error(&format!("'{other}' is not supported yet"))),
        },
    })
}
