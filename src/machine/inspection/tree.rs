//! `info qtree`: the devices by bus, each with what it reports about itself.
//!
//! The layout is that of QEMU's tree. The properties are natoma's own: the registers under their data-sheet names.

use std::fmt::Write;

use devices::base::{Device, Inspector, lock};
use devices::pci::PciBus;

use super::pci::{class, id_of};
use crate::machine::pc::view::BoardView;
use crate::monitor::pci::class_name;

/// The ISA bus is behind this function.
const ISA_BRIDGE: &str = "PIIX3";

/// All devices.
pub(super) fn describe(board: &BoardView) -> String {
    let mut tree = Tree::default();
    tree.line(0, format_args!("bus: main-system-bus"));
    tree.line(2, format_args!("type System"));
    tree.line(2, format_args!("dev: i440FX-pcihost, id \"\""));
    tree.bus(4, &board.pci, board);
    tree.text
}

#[derive(Default)]
struct Tree {
    text: String,
}

impl Tree {
    fn line(&mut self, indent: usize, line: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "");
    }

    fn device<D: Device + ?Sized>(&mut self, indent: usize, device: &D, id: &str) {
        self.line(indent, format_args!("dev: {}, id \"{id}\"", device.name()));
        let mut report = Inspector::default();
        device.inspect(&mut report);
        for (name, value) in report.items() {
            self.line(indent + 2, format_args!("{name} = {value}"));
        }
    }

    fn bus(&mut self, indent: usize, bus: &PciBus, board: &BoardView) {
        self.line(indent, format_args!("bus: {}", bus.name()));
        self.line(indent + 2, format_args!("type PCI"));
        let secondaries = bus.secondaries();
        for (address, label) in bus.functions() {
            let is_isa_bridge = bus.look_at(address, |function| {
                self.device(indent + 2, function, id_of(&label));
                let config = function.config();
                let (vendor, device) = (config.read_u16(0), config.read_u16(2));
                let class = class_name(class(config));
                let place = format!("{:02x}.{:x}", address.slot, address.function);
                self.line(indent + 4, format_args!("class {class}, addr {place}, pci id {vendor:04x}:{device:04x}"));
                function.name() == ISA_BRIDGE
            });
            if is_isa_bridge == Some(true) {
                self.isa(indent + 4, board);
            }
            if let Some((_, behind)) = secondaries.iter().find(|(place, _)| *place == address) {
                self.bus(indent + 4, behind, board);
            }
        }
    }

    /// Everything that is no PCI function.
    fn isa(&mut self, indent: usize, board: &BoardView) {
        self.line(indent, format_args!("bus: isa.0"));
        self.line(indent + 2, format_args!("type ISA"));
        for device in &board.others {
            self.device(indent + 2, &*lock(device), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qtest::QtestMachine;

    #[test]
    fn devices_are_on_their_buses() {
        let options = ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "i6300esb,bus=b,addr=3"];
        let pc = QtestMachine::new(options).unwrap();
        let text = describe(&pc.board().view());
        assert!(text.starts_with("bus: main-system-bus\n  type System\n"), "{text}");
        assert!(text.contains("\n    bus: pci.0\n      type PCI\n      dev: i440FX, id \"\"\n"), "{text}");
        assert!(text.contains("\n        bus: isa.0\n          type ISA\n"), "{text}");
        assert!(text.contains("\n          dev: i8042, id \"\"\n            status = 0x18\n"), "{text}");
        assert!(text.contains("\n      dev: pci-bridge, id \"b\"\n"), "{text}");
        assert!(text.contains("\n        bus: b\n          type PCI\n          dev: i6300esb, id \"\"\n"), "{text}");
        assert_eq!(text.matches("dev: PIIX3,").count(), 1);
    }
}
