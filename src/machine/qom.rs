//! The objects of a machine, as QMP and qtest name them.

use serde_json::Value;

use super::pc::Board;
use crate::config::{MachineConfig, PlatformConfig};
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

    let mut anonymous = 0;
    for device in &config.devices {
        // The name of the variant is that of the driver, and its fields are the properties.
        let Ok(Value::Object(description)) = serde_json::to_value(device) else { continue };
        for (name, fields) in description {
            let Value::Object(mut fields) = fields else { continue };
            let path = match fields.remove("id") {
                Some(Value::String(id)) => format!("/machine/peripheral/{id}"),
                _ => {
                    anonymous += 1;
                    format!("/machine/peripheral-anon/device[{}]", anonymous - 1)
                }
            };
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            qom.add(&path, &name, realized().into_iter().chain(fields));
        }
    }
    for chardev in &config.chardevs {
        qom.add(&format!("/chardevs/{}", chardev.id), "chardev", []);
    }
    qom
}

/// The parts of the board that have no name of their own, but for the processors, which come first.
fn parts(board: &Board) -> impl Iterator<Item = &str> {
    board.parts().filter(|name| !PARTS_OF_OTHERS.contains(name))
}

/// The path of the board's floppy controller.
#[must_use]
pub fn floppy_controller(config: &MachineConfig, board: &Board) -> String {
    let place = parts(board).position(|name| name == "isa-fdc").unwrap_or_default();
    format!("{UNATTACHED}/device[{}]", config.smp.cpus as usize + place)
}

/// Every object here is complete.
fn realized() -> [(String, Value); 1] {
    [("realized".to_owned(), true.into())]
}
