//! SCSI hosts, and disks and CD drives at them: `-device virtio-scsi-pci`, `scsi-hd` and `scsi-cd`.

use std::collections::BTreeMap;

use super::ide::Media;
use super::{disk, virtio};
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::cli::suggest::did_you_mean;
use crate::config::{DeviceConfig, PciDevice, PciFunction, ScsiDisk, ScsiDrive, VirtioOptions, VirtioScsi};

/// Highest number of a target, and of a logical unit.
const LAST_TARGET: u8 = 0xff;
const LAST_LUN: u16 = 0x3fff;

/// Reads a host. Its bus has no name yet: [`Buses::add`] gives it one.
pub fn host(origin: &Origin, list: &KeyValues, options: VirtioOptions) -> Result<VirtioScsi, UsageError> {
    let usual = VirtioScsi::new("");
    let queue_size = list.number("virtqueue_size").unwrap_or(usual.queue_size);
    if !queue_size.is_power_of_two() {
        return Err(origin.error("virtqueue_size has to be a power of two from 4 to 1024"));
    }
    // As in QEMU the largest number is the same as nothing.
    let queues = list.number::<u32>("num_queues").filter(|queues| *queues != u32::MAX);
    let queues = queues.map(|queues| u16::try_from(queues).ok().filter(|queues| *queues <= VirtioScsi::MOST_QUEUES));
    if queues == Some(None) {
        return Err(origin.error(format_args!("num_queues is at most {}", VirtioScsi::MOST_QUEUES)));
    }
    let flag = |key: &str, usual: bool| list.flag(key).unwrap_or(usual);
    Ok(VirtioScsi {
        io_thread: virtio::io_thread(origin, list, &options)?,
        virtio: options,
        queues: queues.flatten(),
        queue_size,
        seg_max_adjust: flag("seg_max_adjust", usual.seg_max_adjust),
        max_sectors: list.number("max_sectors").unwrap_or(usual.max_sectors),
        cmd_per_lun: list.number("cmd_per_lun").unwrap_or(usual.cmd_per_lun),
        hotplug: flag("hotplug", usual.hotplug),
        param_change: flag("param_change", usual.param_change),
        ..usual
    })
}

/// Targets of a host.
pub const TARGETS: usize = LAST_TARGET as usize + 1;
/// The bus of the host that `-drive if=scsi` makes. No `-device` has a name like it.
const BUS_OF_DRIVES: &str = "#scsi.0";

/// The host of the units that `-drive if=scsi` makes.
pub fn host_of_drives() -> DeviceConfig {
    let host = VirtioScsi::new(BUS_OF_DRIVES);
    DeviceConfig::Pci(PciDevice::new(PciFunction::VirtioScsi(Box::new(host))))
}

/// Makes such a host of a device that is one.
pub fn give_to_drives(device: &mut DeviceConfig) {
    if let DeviceConfig::Pci(PciDevice { function: PciFunction::VirtioScsi(host), .. }) = device {
        host.scsi_bus = BUS_OF_DRIVES.to_owned();
    }
}

/// Such a unit.
pub fn unit_of_drive(media: Media, target: u8, drive: &str) -> DeviceConfig {
    device(media, ScsiDrive::new(BUS_OF_DRIVES, target, 0, Some(drive.to_owned())))
}

/// The SCSI buses so far, and what is on them.
#[derive(Default)]
pub struct Buses {
    buses: Vec<Bus>,
    /// Names given to buses of hosts without one.
    unnamed: usize,
}

struct Bus {
    name: String,
    /// What sits at which target and unit.
    units: BTreeMap<(u8, u16), &'static str>,
}

impl Bus {
    /// The place that a unit wishes for, or the first that is free, as QEMU finds it.
    fn place(&self, target: Option<u8>, lun: Option<u16>, origin: &Origin) -> Result<(u8, u16), UsageError> {
        let name = &self.name;
        let free = |place: &(u8, u16)| !self.units.contains_key(place);
        match (target, lun) {
            (None, lun) => {
                let lun = lun.unwrap_or(0);
                (0..=LAST_TARGET).map(|target| (target, lun)).find(free).ok_or_else(|| {
                    origin
                        .error(format_args!("all {} targets on '{name}' have a unit {lun}", u16::from(LAST_TARGET) + 1))
                })
            }
            (Some(target), None) => (0..=LAST_LUN)
                .map(|lun| (target, lun))
                .find(free)
                .ok_or_else(|| origin.error(format_args!("all units of target {target} on '{name}' are taken"))),
            (Some(target), Some(lun)) => match self.units.get(&(target, lun)) {
                None => Ok((target, lun)),
                Some(other) => Err(origin.error(format_args!(
                    "there already is a {other} with scsi-id={target},lun={lun} on '{name}': choose others"
                ))),
            },
        }
    }
}

impl Buses {
    /// Names the bus of a host, if `device` is one, and adds it.
    pub fn add(&mut self, device: &mut DeviceConfig) {
        let DeviceConfig::Pci(PciDevice { id, function: PciFunction::VirtioScsi(host), .. }) = device else { return };
        host.scsi_bus = match id {
            Some(id) => format!("{id}.0"),
            None => {
                self.unnamed += 1;
                format!("scsi.{}", self.unnamed - 1)
            }
        };
        self.buses.push(Bus { name: host.scsi_bus.clone(), units: BTreeMap::new() });
    }

    /// Reads a unit, which takes a place on a bus.
    pub fn unit(
        &mut self,
        media: Media,
        id: Option<String>,
        list: &KeyValues,
        origin: &Origin,
    ) -> Result<DeviceConfig, UsageError> {
        let names: Vec<_> = self.buses.iter().map(|bus| bus.name.clone()).collect();
        let bus = match list.text("bus") {
            None => self.buses.first_mut(),
            Some(name) => match self.buses.iter_mut().find(|bus| bus.name == name) {
                Some(bus) => Some(bus),
                None if names.is_empty() => None,
                None => {
                    let meant = did_you_mean(name, names.iter().map(String::as_str));
                    let names = names.join(", ");
                    return Err(
                        origin.error(format_args!("there is no SCSI bus '{name}' before it{meant}; there is {names}"))
                    );
                }
            },
        };
        let Some(bus) = bus else {
            return Err(origin.error("there is no SCSI host before it: give -device virtio-scsi-pci first"));
        };
        let (target, lun) = bus.place(list.number("scsi-id"), list.number("lun"), origin)?;
        let drive = match media {
            Media::Disk => Some(disk::contents(list, origin)?),
            Media::Cdrom => disk::medium(list, origin)?,
        };
        let unit = ScsiDrive { id, ..ScsiDrive::new(&bus.name, target, lun, drive) };
        let unit = properties(media, unit, list, origin)?;
        bus.units.insert((target, lun), driver(media));
        Ok(device(media, unit))
    }
}

fn driver(media: Media) -> &'static str {
    match media {
        Media::Disk => "scsi-hd",
        Media::Cdrom => "scsi-cd",
    }
}

fn device(media: Media, unit: ScsiDrive) -> DeviceConfig {
    match media {
        Media::Disk => DeviceConfig::ScsiHd(Box::new(unit)),
        Media::Cdrom => DeviceConfig::ScsiCd(Box::new(unit)),
    }
}

/// The same unit with the properties that are given.
///
/// # Errors
/// It can't have one of them.
pub fn properties(media: Media, unit: ScsiDrive, list: &KeyValues, origin: &Origin) -> Result<ScsiDrive, UsageError> {
    let text = |key: &str| list.text(key).map(str::to_owned);
    // Where there is room for more of it, it is the serial number as it was given.
    let name = || list.get("serial").filter(|serial| Some(&*serial.text) != list.text("serial"));
    Ok(ScsiDrive {
        bootindex: list.number("bootindex"),
        serial: text("serial"),
        vendor: text("vendor"),
        product: text("product"),
        ver: text("ver"),
        device_id: text("device_id").or_else(|| Some(name()?.text.chars().take(247).collect())),
        wwn: disk::world_wide_name(list, "wwn"),
        port_wwn: disk::world_wide_name(list, "port_wwn"),
        port_index: list.number("port_index").unwrap_or(0),
        disk: match media {
            Media::Disk => of_disk(list, origin)?,
            Media::Cdrom => ScsiDisk::default(),
        },
        ..unit
    })
}

fn of_disk(list: &KeyValues, origin: &Origin) -> Result<ScsiDisk, UsageError> {
    let usual = ScsiDisk::default();
    Ok(ScsiDisk {
        removable: list.flag("removable").unwrap_or(usual.removable),
        dpofua: list.flag("dpofua").unwrap_or(usual.dpofua),
        rotation_rate: list.number("rotation_rate").unwrap_or(usual.rotation_rate),
        blocks: disk::blocks(list, origin)?,
    })
}
