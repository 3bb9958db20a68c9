//! The objects of a machine, as QMP and qtest name them.

mod disk;
mod scsi;
mod virtio;

use serde_json::{Map, Value, json};

use super::pc::Board;
use crate::config::{
    DeviceConfig, FloppyDevice, MachineConfig, PciBridge, PciDevice, PciFunction, PciPlace, PciReserve, PciSerial,
    PciTestdev, PlatformConfig, PvpanicPci,
};
use crate::monitor::qom::Qom;

/// The board's I/O APIC, whose inputs are the interrupt inputs of the board.
pub const IOAPIC: &str = "/machine/i440fx/ioapic";
/// The parts of the board that have no name of their own.
const UNATTACHED: &str = "/machine/unattached";

/// Parts of natoma's board that are no objects of their own in QEMU's.
const PARTS_OF_OTHERS: [&str; 6] =
    ["pci-config", "ioport80", "acpi-pci-hotplug", "acpi-cpu-hotplug", "fw_cfg", "ioapic"];

/// All objects of the machine that `config` describes.
#[must_use]
pub fn objects(config: &MachineConfig, board: &Board) -> Qom {
    let mut qom = Qom::default();
    let PlatformConfig { acpi, hpet, i8042, graphics, vmport, .. } = &config.platform;
    let properties = [("acpi", acpi), ("hpet", hpet), ("i8042", i8042), ("graphics", graphics)];
    let properties = properties.map(|(name, flag)| (name.to_owned(), Value::Bool(*flag)));
    let vmport = ("vmport".to_owned(), if *vmport { "on" } else { "off" }.into());
    qom.add("/machine", "pc-i440fx-7.2-machine", properties.into_iter().chain([vmport]));
    qom.add("/machine/i440fx", "i440FX-pcihost", realized());
    qom.add("/machine/i440fx/pci.0", "PCI", realized());
    qom.add(IOAPIC, "ioapic", realized());
    qom.add("/machine/fw_cfg", "fw_cfg_io", realized());
    for container in [UNATTACHED, "/machine/peripheral", "/machine/peripheral-anon", "/objects", "/chardevs"] {
        qom.add(container, "container", []);
    }

    let cpu = format!("{}-x86_64-cpu", config.cpu.model);
    let cpus = (0..config.smp.cpus).map(|_| cpu.as_str());
    for (index, name) in cpus.chain(parts(board)).enumerate() {
        qom.add(&format!("{UNATTACHED}/device[{index}]"), name, realized());
    }

    for (path, driver, properties, _) in devices(config, board) {
        let properties = properties.into_iter().filter(|(_, value)| !value.is_null());
        qom.add(&path, &driver, realized().into_iter().chain(properties));
    }
    for thread in &config.io_threads {
        qom.add(&format!("/objects/{}", thread.id), "iothread", virtio::io_thread(thread));
    }
    for chardev in &config.chardevs {
        qom.add(&format!("/chardevs/{}", chardev.id), "chardev", []);
    }
    qom
}

/// The devices of the configuration: path, driver and properties of each.
fn devices<'a>(
    config: &'a MachineConfig,
    board: &Board,
) -> impl Iterator<Item = (String, String, Map<String, Value>, &'a DeviceConfig)> {
    let (mut unattached, mut anonymous) = (config.smp.cpus as usize + parts(board).count(), 0);
    let own = config.ide.iter().map(|device| (device, true));
    let all = own.chain(config.devices.iter().map(|device| (device, false)));
    all.filter_map(move |(device, is_own)| {
        let (driver, mut properties) = describe(device)?;
        let (container, count) = match (properties.remove("id"), is_own) {
            (Some(Value::String(id)), _) => {
                return Some((format!("/machine/peripheral/{id}"), driver, properties, device));
            }
            (_, true) => (UNATTACHED, &mut unattached),
            (_, false) => ("/machine/peripheral-anon", &mut anonymous),
        };
        let path = format!("{container}/device[{count}]");
        *count += 1;
        Some((path, driver, properties, device))
    })
}

/// Where the objects are that have drives of the host.
#[derive(Debug, Default)]
pub struct Paths {
    /// The board's floppy controller.
    pub floppy_controller: String,
    /// The drives of the host, each with the object that uses it; but for those of the floppy controller itself.
    pub of_drives: Vec<(String, String)>,
}

impl Paths {
    /// Those of the machine that `config` describes.
    #[must_use]
    pub fn new(config: &MachineConfig, board: &Board) -> Self {
        let place = parts(board).position(|name| name == "isa-fdc").unwrap_or_default();
        let floppy_controller = format!("{UNATTACHED}/device[{}]", config.smp.cpus as usize + place);
        let mut of_drives = Vec::new();
        for (path, _, _, device) in devices(config, board) {
            let Some(drive) = device.clone().drive_mut().cloned() else { continue };
            match device {
                // A virtio device is two objects in QEMU, and this one has the drive.
                DeviceConfig::Pci(_) => of_drives.push((drive, format!("{path}/virtio-backend"))),
                // Without a name it is the controller's.
                DeviceConfig::Floppy(FloppyDevice { id: None, .. }) => {}
                _ => of_drives.push((drive, path)),
            }
        }
        Self { floppy_controller, of_drives }
    }
}

/// The driver of a device and its properties, by QEMU's names; null stands for one that is not set.
fn describe(device: &DeviceConfig) -> Option<(String, Map<String, Value>)> {
    match device {
        DeviceConfig::Pci(device) => return Some((device.driver().to_owned(), pci_properties(device))),
        DeviceConfig::ScsiHd(unit) => return Some(("scsi-hd".to_owned(), scsi::unit(unit, true))),
        DeviceConfig::ScsiCd(unit) => return Some(("scsi-cd".to_owned(), scsi::unit(unit, false))),
        _ => {}
    }
    // The name of the variant is that of the driver, and its fields are the properties.
    let Ok(Value::Object(description)) = serde_json::to_value(device) else { return None };
    let (driver, Value::Object(mut fields)) = description.into_iter().next()? else { return None };
    if let Some(kind) = fields.remove("kind") {
        fields.insert("drive-type".to_owned(), kind);
    }
    Some((driver, fields))
}

/// The properties of a PCI function, those that every one has before its own.
fn pci_properties(device: &PciDevice) -> Map<String, Value> {
    let PciDevice { id, bus: _, addr, multifunction, rom, acpi_index, function } = device;
    let mut properties = Map::new();
    let mut add = |name: &str, value: Value| {
        properties.insert(name.to_owned(), value);
    };
    add("id", json!(id));
    add("addr", json!(addr.map(|PciPlace { slot, function }| slot << 3 | function)));
    add("multifunction", json!(multifunction));
    add("romfile", json!(rom.as_ref().map(|rom| &rom.file)));
    add("romsize", json!(rom.as_ref().and_then(|rom| rom.size).unwrap_or(u32::MAX)));
    add("rombar", json!(u8::from(rom.as_ref().is_none_or(|rom| rom.bar))));
    add("acpi-index", json!(acpi_index.unwrap_or(0)));
    match function {
        PciFunction::PciBridge(PciBridge { chassis_nr, shpc, msi, reserve }) => {
            let PciReserve { buses, io, memory, prefetchable_32, prefetchable_64 } = reserve;
            add("chassis_nr", json!(chassis_nr));
            add("shpc", json!(shpc));
            add("msi", json!(if *msi { "on" } else { "off" }));
            add("bus-reserve", json!(buses.unwrap_or(u32::MAX)));
            let sizes = [
                ("io-reserve", *io),
                ("mem-reserve", memory.map(u64::from)),
                ("pref32-reserve", prefetchable_32.map(u64::from)),
                ("pref64-reserve", *prefetchable_64),
            ];
            sizes.into_iter().for_each(|(name, size)| add(name, json!(size.unwrap_or(u64::MAX))));
        }
        PciFunction::PciSerial(PciSerial { chardevs, prog_if }) => {
            for (port, chardev) in (1..).zip(chardevs) {
                let name = if chardevs.len() == 1 { "chardev".to_owned() } else { format!("chardev{port}") };
                add(&name, json!(chardev));
            }
            add("prog_if", json!(prog_if));
        }
        PciFunction::PvpanicPci(PvpanicPci { events }) => add("events", json!(events)),
        PciFunction::PciTestdev(PciTestdev { membar }) => add("membar", json!(membar.unwrap_or(0))),
        PciFunction::I6300esb => {}
        PciFunction::VirtioBlk(disk) => virtio::block(disk, &mut add),
        PciFunction::VirtioScsi(host) => scsi::host(host, &mut add),
    }
    properties
}

/// The parts of the board that have no name of their own, but for the processors, which come first.
fn parts(board: &Board) -> impl Iterator<Item = &str> {
    board.parts().filter(|name| !PARTS_OF_OTHERS.contains(name))
}

/// Every object here is complete.
fn realized() -> [(String, Value); 1] {
    [("realized".to_owned(), true.into())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(function: PciFunction) -> DeviceConfig {
        let addr = Some(PciPlace { slot: 5, function: 1 });
        let (id, bus, multifunction, rom, acpi_index) = (Some("card".into()), None, true, None, None);
        DeviceConfig::Pci(PciDevice { id, bus, addr, multifunction, rom, acpi_index, function })
    }

    /// As `qom-list` and `qom-get` of QEMU 7.2 have them.
    #[test]
    fn pci_devices_have_the_names_of_their_drivers_and_properties() {
        let (driver, properties) = describe(&device(PciFunction::I6300esb)).unwrap();
        let common = json!({
            "id": "card", "addr": 0x29, "multifunction": true, "romfile": null, "romsize": 4294967295_u32, "rombar": 1,
            "acpi-index": 0
        });
        assert_eq!((&*driver, Value::Object(properties)), ("i6300esb", common));

        let card = PciSerial { chardevs: vec![None, Some("c".into())], prog_if: 2 };
        let (driver, properties) = describe(&device(PciFunction::PciSerial(card))).unwrap();
        assert_eq!(
            (&*driver, &properties["chardev2"], &properties["prog_if"]),
            ("pci-serial-2x", &json!("c"), &json!(2))
        );

        let reserve = PciReserve { io: Some(4096), ..PciReserve::default() };
        let bridge = PciBridge { chassis_nr: 3, shpc: true, msi: false, reserve };
        let (driver, properties) = describe(&device(PciFunction::PciBridge(bridge))).unwrap();
        assert_eq!((&*driver, &properties["chassis_nr"], &properties["msi"]), ("pci-bridge", &json!(3), &json!("off")));
        assert_eq!((&properties["io-reserve"], &properties["mem-reserve"]), (&json!(4096), &json!(u64::MAX)));
    }
}
