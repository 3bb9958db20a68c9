use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{IrqLine, IrqProbe, shared};
use crate::chipset::gpe::GpeBlock;
use crate::chipset::hotplug::testing::Told;

struct Board {
    registers: PciHotplug,
    told: Arc<Told>,
    gpe: Arc<GpeBlock>,
    sci: IrqProbe,
}

/// A root bus as QEMU's with all its defaults, and an empty bus behind a bridge.
fn board() -> Board {
    let (line, sci) = IrqLine::probed();
    let gpe = GpeBlock::new(line);
    let told = Arc::new(Told::default());
    let mut registers = PciHotplug::new(gpe.input(1), told.clone());
    let mut acpi_index = [0; 32];
    acpi_index[3] = 77;
    registers.describe(0, BusSlots { pluggable: 0xffff_fff8, acpi_index });
    registers.describe(1, BusSlots::default());
    Board { registers, told, gpe, sci }
}

impl Board {
    fn read(&mut self, offset: u64) -> u64 {
        self.registers.read(0, offset, 4)
    }

    fn write(&mut self, offset: u64, value: u64) {
        self.registers.write(0, offset, 4, value);
    }
}

/// The values are those of QEMU 7.2.
#[test]
fn tells_of_the_selected_bus() {
    let mut board = board();
    assert_eq!([0, 4, 8, 0xc, 0x10, 0x14].map(|at| board.read(at)), [0, 0, 0, 0xffff_fff8, 0, 0]);
    board.write(0x10, 1);
    assert_eq!([0, 4, 8, 0xc, 0x10, 0x14].map(|at| board.read(at)), [0, 0, 0, 0xffff_ffff, 1, 0]);
    board.write(0x10, 255);
    assert_eq!((board.read(0xc), board.read(0x10)), (0xffff_ffff, 255), "a bus that is not there");
    board.write(0x10, 256);
    assert_eq!((board.read(0xc), board.read(0x10)), (0, 0), "one that can't be");
}

#[test]
fn takes_dwords_only() {
    let mut board = board();
    for size in [1, 2] {
        assert_eq!(board.registers.read(0, 0xc, size), 0);
        board.registers.write(0, 0x10, size, 1);
        assert_eq!(board.read(0x10), 0);
    }
}

#[test]
fn a_new_device_raises_the_event_once() {
    let mut board = board();
    board.gpe.change(|registers| registers.enable = 1 << 1);
    for (bus, slot) in [(0, 2), (0, 32), (2, 3), (u32::MAX, 0)] {
        board.registers.plug(bus, slot);
        board.registers.request_unplug(bus, slot);
        assert_eq!(board.gpe.registers().status, 0, "nothing can come or go at {bus}:{slot}");
    }
    board.registers.plug(0, 3);
    board.registers.plug(0, 31);
    board.registers.plug(1, 0);
    assert!(board.sci.level());
    assert_eq!(board.gpe.registers().status, 1 << 1);
    assert_eq!((board.read(0), board.read(0)), (0x8000_0008, 0), "reading clears");
    board.write(0x10, 1);
    assert_eq!((board.read(0), board.read(4)), (1, 0));
}

#[test]
fn the_guest_lets_go_when_asked() {
    let mut board = board();
    board.registers.request_unplug(0, 3);
    board.registers.request_unplug(0, 4);
    assert_eq!((board.read(4), board.read(4)), (0x18, 0x18), "reading does not clear");
    board.write(8, 0x18);
    assert_eq!(board.told.take(), ["bus 0 slot 3"], "the lowest slot only");
    assert_eq!(board.read(4), 0x10);
    board.write(8, 0);
    board.write(8, 1 << 2);
    assert_eq!(board.told.take(), [""; 0], "what is there to stay stays");
    board.write(0x10, 1);
    board.write(8, 1 << 31);
    assert_eq!(board.told.take(), ["bus 1 slot 31"]);
    board.write(0x10, 2);
    board.write(8, 1);
    assert_eq!(board.told.take(), [""; 0]);
}

#[test]
fn a_reset_takes_what_was_to_go() {
    let mut board = board();
    board.registers.plug(0, 5);
    board.registers.request_unplug(0, 3);
    board.registers.request_unplug(1, 31);
    board.write(0x10, 1);
    board.registers.reset(ResetKind::System);
    assert_eq!(board.told.take(), ["bus 0 slot 3", "bus 1 slot 31"]);
    assert_eq!([0, 4, 0x10].map(|at| board.read(at)), [0, 0, 0]);
}

#[test]
fn tells_the_index_of_a_device_once() {
    let mut board = board();
    board.write(0x14, 1 << 3);
    assert_eq!((board.read(0x14), board.read(0x14)), (77, 0));
    board.write(0x14, 1 << 4);
    assert_eq!(board.read(0x14), 0);
    board.write(0x14, 1 << 3);
    board.write(0x14, 0);
    assert_eq!(board.read(0x14), 77, "no slot, no change");
}

/// The number of a bus comes from whoever counts bridges; the registers can't select more than 256.
#[test]
fn describes_no_more_buses_than_can_be_selected() {
    let mut board = board();
    board.registers.describe(u32::MAX, BusSlots::default());
    board.registers.describe(256, BusSlots::default());
    assert_eq!(board.registers.buses.len(), 2);
}

#[test]
fn refuses_states_of_other_machines() {
    let mut board = board();
    let good = board.registers.save();
    let with = |field: &str, value: u32| {
        let mut bad = good.clone();
        bad.data["buses"][0][field] = value.into();
        bad
    };
    let mut fewer = good.clone();
    fewer.data["buses"] = serde_json::json!([]);
    for bad in [with("up", 1), with("down", 4), fewer] {
        board.registers.load(&bad).expect_err("must be refused");
        assert_eq!(board.registers.save(), good);
    }
}

#[test]
fn keeps_the_contract() {
    let make = || {
        let Board { registers, gpe, sci, .. } = board();
        Subject { device: shared(registers), regions: vec![PciHotplug::REGION], irqs: vec![sci], keep: Box::new(gpe) }
    };
    let at = |offset, value| ResetValue { region: 0, offset, size: 4, value };
    contract::check(make, &[at(0, 0), at(4, 0), at(8, 0), at(0xc, 0xffff_fff8), at(0x10, 0), at(0x14, 0)]);
}
