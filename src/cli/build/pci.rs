//! `-device` for PCI functions: where they sit, and what they are.

use super::virtio;
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::cli::settings::Occurrence;
use crate::config::{
    DeviceConfig, PciBridge, PciDevice, PciFunction, PciPlace, PciReserve, PciRom, PciSerial, PciTestdev, PvpanicPci,
};

const SLOTS: u8 = 32;
const FUNCTIONS: u8 = 8;

/// Reads a PCI device; `None` if `driver` is not one.
pub fn device(origin: &Origin, driver: &str, list: &KeyValues) -> Result<Option<DeviceConfig>, UsageError> {
    let error = |message: &str| origin.error(message);
    let text = |key: &str| list.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let serial = |chardevs: &[&str]| {
        PciFunction::PciSerial(PciSerial {
            chardevs: chardevs.iter().map(|key| text(key)).collect(),
            prog_if: list.number("prog_if").unwrap_or(2),
        })
    };
    let function = match driver {
        "pci-bridge" => {
            let chassis_nr = list.number("chassis_nr").ok_or_else(|| {
                error("'chassis_nr' is missing: give each bridge a chassis_nr of its own, from 1 to 255")
            })?;
            let shpc = list.flag("shpc").unwrap_or(true);
            // Without a controller nothing would interrupt; QEMU has no MSI then either, whatever is asked for.
            let msi = shpc && list.choice::<String>("msi").as_deref() != Some("off");
            PciFunction::PciBridge(PciBridge { chassis_nr, shpc, msi, reserve: reserve(origin, list)? })
        }
        "pci-serial" => serial(&["chardev"]),
        "pci-serial-2x" => serial(&["chardev1", "chardev2"]),
        "pci-serial-4x" => serial(&["chardev1", "chardev2", "chardev3", "chardev4"]),
        "pvpanic-pci" => PciFunction::PvpanicPci(PvpanicPci { events: list.number("events").unwrap_or(3) }),
        "i6300esb" => PciFunction::I6300esb,
        "pci-testdev" => {
            let membar = list.size("membar").filter(|size| *size != 0);
            if membar.is_some_and(|size| !size.is_power_of_two() || !(16..=PciTestdev::LARGEST).contains(&size)) {
                return Err(error("membar is a size that a PCI window can have: a power of two from 16 to 4P"));
            }
            PciFunction::PciTestdev(PciTestdev { membar })
        }
        _ => match virtio::device(origin, driver, list)? {
            Some(function) => function,
            None => return Ok(None),
        },
    };
    let addr = match text("addr") {
        None => None,
        Some(text) => Some(place(&text).ok_or_else(|| {
            error("addr is SLOT or SLOT.FUNCTION, both hexadecimal: 0 to 1f, and 0 to 7; addr=05.1 say")
        })?),
    };
    let size = list.number::<u32>("romsize").filter(|size| *size != u32::MAX);
    if size.is_some_and(|size| !size.is_power_of_two()) {
        return Err(error("romsize has to be a power of two"));
    }
    let bar = list.number::<u8>("rombar") != Some(0);
    let file = text("romfile");
    if size.is_some() && file.is_none() {
        return Err(error(
            "romsize is the size of an option ROM, and there is none: give it with romfile=FILE, or leave romsize out",
        ));
    }
    Ok(Some(DeviceConfig::Pci(PciDevice {
        id: text("id"),
        bus: text("bus"),
        addr,
        multifunction: list.flag("multifunction").unwrap_or(false),
        rom: file.map(|file| PciRom { file, size, bar }),
        acpi_index: list.number("acpi-index").filter(|index| *index != 0),
        function,
    })))
}

/// What a bridge asks firmware for; as in QEMU, the largest number is the same as nothing.
fn reserve(origin: &Origin, list: &KeyValues) -> Result<PciReserve, UsageError> {
    let size = |key: &str| list.size(key).filter(|size| *size != u64::MAX);
    let below_4g = |key: &str| match size(key).map(u32::try_from) {
        None => Ok(None),
        Some(Ok(size)) => Ok(Some(size)),
        Some(Err(_)) => Err(origin.error(format_args!("{key} has to be less than 4G"))),
    };
    let reserve = PciReserve {
        buses: list.number("bus-reserve").filter(|buses| *buses != u32::MAX),
        io: size("io-reserve"),
        memory: below_4g("mem-reserve")?,
        prefetchable_32: below_4g("pref32-reserve")?,
        prefetchable_64: size("pref64-reserve"),
    };
    match (reserve.prefetchable_32, reserve.prefetchable_64) {
        (Some(_), Some(_)) => {
            Err(origin.error("a bridge has one prefetchable window: give pref32-reserve or pref64-reserve"))
        }
        _ => Ok(reserve),
    }
}

/// Checks what concerns all PCI devices together: each bus is there when a device is put on it, and no two have the same
/// number of ACPI or of chassis.
pub fn check(devices: &[(&Occurrence, &PciDevice)]) -> Result<(), UsageError> {
    for (at, (given, device)) in devices.iter().enumerate() {
        let before = &devices[..at];
        let is_bridge = |device: &PciDevice| matches!(device.function, PciFunction::PciBridge(_));
        if let Some(bus) = &device.bus {
            let mut unnamed = 0;
            let mut buses = vec!["pci.0".to_owned()];
            for (_, bridge) in before.iter().filter(|(_, other)| is_bridge(other)) {
                buses.push(bridge.id.clone().unwrap_or_else(|| {
                    unnamed += 1;
                    format!("pci.{unnamed}")
                }));
            }
            if !buses.contains(bus) {
                return Err(given.origin.error(format_args!(
                    "there is no PCI bus '{bus}'; there is {} (a bridge has to stand before what is behind it)",
                    buses.join(", ")
                )));
            }
        }
        if let Some(index) = device.acpi_index
            && let Some((_, other)) = before.iter().find(|(_, other)| other.acpi_index == Some(index))
        {
            return Err(given
                .origin
                .error(format_args!("a PCI device with acpi-index = {index} already exists: {other}")));
        }
        if let PciFunction::PciBridge(bridge) = &device.function
            && let Some((_, other)) = before.iter().find(
                |(_, other)| matches!(&other.function, PciFunction::PciBridge(other) if other.chassis_nr == bridge.chassis_nr),
            )
        {
            let chassis = bridge.chassis_nr;
            return Err(given.origin.error(format_args!("chassis_nr={chassis} is that of {other} already")));
        }
    }
    Ok(())
}

/// Reads `SLOT[.FUNCTION]`, hexadecimal as `lspci` prints it, with or without `0x`.
fn place(text: &str) -> Option<PciPlace> {
    let number = |text: &str, count: u8| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let number = digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?;
        number.filter(|number| *number < count)
    };
    let (slot, function) = text.split_once('.').unwrap_or((text, "0"));
    Some(PciPlace { slot: number(slot, SLOTS)?, function: number(function, FUNCTIONS)? })
}
