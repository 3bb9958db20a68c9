use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::irq::Delivery;
use crate::base::{AccessRule, Device, Inspector, IrqSink, State, StateError, shared};
use crate::pci::mechanism1::{self, ConfigMechanism1};
use crate::pci::{Bar, BarKind, OptionRom, PciConfig, PciConfigBuilder};

/// A function with one I/O and one memory window that read as their window's number.
struct Probe(PciConfig);

impl Probe {
    fn new() -> Self {
        let io = Bar { region: Region::ports(1, "probe-io", 0x20, AccessRule::BYTE), kind: BarKind::Io };
        let memory = Bar {
            region: Region::memory(2, "probe-memory", 0x1000, AccessRule::BYTE),
            kind: BarKind::Memory32 { prefetchable: false },
        };
        Self(PciConfigBuilder::new(0x1234, 0x5678, 0xff_0000).bar(0, io).bar(1, memory).build())
    }
}

impl Device for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }
    fn reset(&mut self, _kind: ResetKind) {
        self.0.reset();
    }
    fn save(&self) -> State {
        State::of(1, &self.0.save())
    }
    fn load(&mut self, state: &State) -> Result<(), StateError> {
        self.0.load(&state.decode(1)?)
    }
    fn inspect(&self, _out: &mut Inspector) {}
}

impl IoDevice for Probe {
    fn read(&mut self, region: u16, _offset: u64, _size: u8) -> u64 {
        u64::from(region)
    }
    fn write(&mut self, _region: u16, _offset: u64, _size: u8, _value: u64) {}
}

impl PciFunction for Probe {
    fn config(&self) -> &PciConfig {
        &self.0
    }
    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.0
    }
}

struct NoSink;
impl IrqSink for NoSink {
    fn set_level(&self, _pin: u32, _level: bool) -> Delivery {
        Delivery::Ignored
    }
}

struct Board {
    ports: Arc<Bus>,
    memory: Arc<Bus>,
    intx: [Arc<IrqInput>; 4],
    bus: Arc<PciBus>,
}

fn board() -> Board {
    let (ports, memory) = (Arc::new(Bus::new(Space::Port)), Arc::new(Bus::new(Space::Memory)));
    let intx: [_; 4] = std::array::from_fn(|pin| IrqInput::new(Arc::new(NoSink), pin as u32));
    let bus = Arc::new(PciBus::new(ports.clone(), memory.clone(), intx.clone()));
    let mechanism = shared(ConfigMechanism1::new(bus.clone()));
    for (region, base) in mechanism1::REGIONS.into_iter().zip([0xcf8, 0xcfc]) {
        ports.map(base, region, Priority::Fixed, mechanism.clone());
    }
    Board { ports, memory, intx, bus }
}

impl Board {
    fn outl(&self, port: u64, value: u32) {
        self.ports.write(port, &value.to_le_bytes());
    }
    fn inb(&self, port: u64) -> u8 {
        let mut data = [0];
        self.ports.read(port, &mut data);
        data[0]
    }
    fn inl(&self, port: u64) -> u32 {
        let mut data = [0; 4];
        self.ports.read(port, &mut data);
        u32::from_le_bytes(data)
    }
    fn readb(&self, address: u64) -> u8 {
        let mut data = [0];
        self.memory.read(address, &mut data);
        data[0]
    }
}

#[test]
fn mechanism_1_reaches_functions_and_absent_ones_read_as_ones() {
    let board = board();
    board.bus.insert(PciAddress { slot: 3, function: 1 }, "probe", shared(Probe::new())).unwrap();
    board.outl(0xcf8, 0x8000_1900);
    assert_eq!(board.inl(0xcf8), 0x8000_1900);
    assert_eq!(board.inl(0xcfc), 0x5678_1234);
    assert_eq!(board.inb(0xcff), 0x56);
    assert_eq!(board.inb(0xcf8), 0xff, "a byte read does not reach CONFADD");
    for absent in [0x8000_1800, 0x8000_2100, 0x8001_1900, 0x0000_1900] {
        board.outl(0xcf8, absent);
        assert_eq!(board.inl(0xcfc), u32::MAX, "{absent:#x}");
    }
    // A word at CF8h does not latch.
    board.outl(0xcf8, 0x8000_1900);
    board.ports.write(0xcf8, &[0, 0]);
    assert_eq!(board.inl(0xcf8), 0x8000_1900);
}

#[test]
fn bars_come_and_go_with_the_command_register() {
    let board = board();
    let place = PciAddress::slot(4);
    board.bus.insert(place, "probe", shared(Probe::new())).unwrap();
    board.bus.config_write(place, 0x10, 4, 0xc000);
    board.bus.config_write(place, 0x14, 4, 0xfeb0_0000);
    assert_eq!((board.inb(0xc000), board.readb(0xfeb0_0000)), (0xff, 0xff));
    board.bus.config_write(place, 0x04, 2, 1);
    assert_eq!((board.inb(0xc01f), board.readb(0xfeb0_0000)), (1, 0xff));
    board.bus.config_write(place, 0x04, 2, 2);
    assert_eq!((board.inb(0xc000), board.readb(0xfeb0_0fff)), (0xff, 2));
    board.bus.config_write(place, 0x14, 4, 0xfeb1_0000);
    assert_eq!((board.readb(0xfeb0_0000), board.readb(0xfeb1_0000)), (0xff, 2));
    board.bus.reset(ResetKind::System);
    assert_eq!(board.readb(0xfeb1_0000), 0xff);
    assert_eq!(board.bus.config_read(place, 0x14, 4), 0);
}

#[test]
fn the_33rd_device_is_told_who_sits_where() {
    let board = board();
    for slot in 0..32 {
        let place = board.bus.free_slot().unwrap();
        assert_eq!(place, PciAddress::slot(slot));
        board.bus.insert(place, format!("device{slot}"), shared(Probe::new())).unwrap();
    }
    let full = board.bus.free_slot().unwrap_err().to_string();
    assert!(full.starts_with("all 32 slots of PCI bus pci.0 are in use: 00.0 device0, 01.0 device1"), "{full}");
    let taken = board.bus.insert(PciAddress::slot(9), "late", shared(Probe::new())).unwrap_err();
    assert_eq!(taken.to_string(), "PCI address 09.0 is already used by device9");
}

#[test]
fn a_slot_has_eight_functions_if_the_first_says_so() {
    let board = board();
    let at = |function| PciAddress { slot: 9, function };
    let multifunction = || {
        let mut probe = Probe::new();
        probe.0.set_multifunction();
        shared(probe)
    };
    board.bus.insert(at(0), "single", shared(Probe::new())).unwrap();
    let refused = board.bus.insert(at(1), "second", shared(Probe::new())).unwrap_err().to_string();
    assert!(refused.starts_with("PCI: single function device can't be populated in function 09.1"), "{refused}");

    let at = |function| PciAddress { slot: 10, function };
    for function in (1..8).rev() {
        board.bus.insert(at(function), format!("f{function}"), shared(Probe::new())).unwrap();
    }
    let refused = board.bus.insert(at(0), "late", shared(Probe::new())).unwrap_err().to_string();
    assert!(refused.starts_with("PCI: 0a.0 indicates single function, but 0a.1 is already populated"), "{refused}");
    board.bus.insert(at(0), "f0", multifunction()).unwrap();
    assert_eq!(board.bus.functions().len(), 9);
    assert_eq!(board.bus.config_read(at(0), 0x0e, 1), 0x80);
}

#[test]
fn an_expansion_rom_shows_its_contents_where_the_guest_puts_it() {
    let board = board();
    let mut probe = Probe::new();
    probe.0.fit_option_rom(OptionRom::new(b"\x55\xaa\x06rom".repeat(500)).unwrap());
    board.bus.insert(PciAddress::slot(4), "probe", shared(probe)).unwrap();
    let place = PciAddress::slot(4);
    board.bus.config_write(place, 0x30, 4, u32::MAX);
    assert_eq!(board.bus.config_read(place, 0x30, 4), 0xffff_f001, "3000 bytes need 4 KiB");
    board.bus.config_write(place, 0x30, 4, 0xfeb0_0001);
    board.bus.config_write(place, 0x04, 2, 2);
    assert_eq!((board.readb(0xfeb0_0000), board.readb(0xfeb0_0001), board.readb(0xfeb0_0fff)), (0x55, 0xaa, 0));
    assert!(OptionRom::new(Vec::new()).is_none());
}

#[test]
fn interrupt_pins_rotate_with_the_slot() {
    // INTA# of slot 1 is wire 0 (PIIX3 data sheet: IDSEL 12 to PIRQA), of slot 2 wire 1, of slot 5 wire 0 again.
    let board = board();
    for (slot, pin, wire) in [(1, 1, 0), (2, 1, 1), (3, 1, 2), (5, 1, 0), (1, 4, 3), (3, 2, 3)] {
        let line = board.bus.interrupt_line(slot, pin, "probe");
        line.set(true);
        let high: Vec<_> = (0..4).filter(|wire| board.intx[*wire].level()).collect();
        assert_eq!(high, [wire], "slot {slot} pin {pin}");
    }
}

#[test]
fn mechanism_1_keeps_the_contract() {
    let reset = [
        ResetValue { region: mechanism1::CONFADD, offset: 0, size: 4, value: 0 },
        ResetValue { region: mechanism1::CONFDATA, offset: 0, size: 1, value: u64::MAX },
    ];
    let make = || {
        let board = board();
        board.bus.insert(PciAddress::slot(0), "probe", shared(Probe::new())).unwrap();
        Subject {
            device: shared(ConfigMechanism1::new(board.bus.clone())),
            regions: mechanism1::REGIONS.to_vec(),
            irqs: Vec::new(),
            keep: Box::new(board.ports),
        }
    };
    contract::check(make, &reset);
}

#[test]
fn a_window_of_a_bridge_is_the_bridge_and_does_nothing_once_the_bus_is_gone() {
    let bridge = shared(Probe::new());
    let mut window = BridgeWindow { bridge: Arc::clone(&bridge), seat: Weak::new(), bus: Weak::new() };
    assert_eq!((window.name(), window.read(2, 0, 1)), ("probe", 2));
    let new = window.save();
    lock(&bridge).config_mut().write(0x3c, 1, 0x0b);
    let saved = window.save();
    assert_eq!(saved, lock(&bridge).save());
    window.reset(ResetKind::System);
    assert_eq!(lock(&bridge).save(), new);
    window.write(1, 0, 1, 0xff);
    assert_eq!(lock(&bridge).save(), new);
    window.load(&saved).unwrap();
    assert_eq!(lock(&bridge).config().read_u8(0x3c), 0x0b);
    assert!(window.load(&State { version: 2, ..new }).is_err());
    let (mut of_window, mut of_bridge) = (Inspector::default(), Inspector::default());
    window.inspect(&mut of_window);
    lock(&bridge).inspect(&mut of_bridge);
    assert_eq!(of_window.items().len(), of_bridge.items().len());
}

#[test]
fn a_function_is_looked_at_where_it_sits() {
    let (ports, memory) = (Arc::new(Bus::new(Space::Port)), Arc::new(Bus::new(Space::Memory)));
    let intx = std::array::from_fn(|wire| IrqInput::new(Arc::new(NoSink), wire as u32));
    let bus = PciBus::new(ports, memory, intx);
    bus.insert(PciAddress::slot(4), "probe", shared(Probe::new())).unwrap();
    assert_eq!(bus.look_at(PciAddress::slot(4), |function| function.config().read_u16(0)), Some(0x1234));
    assert_eq!(bus.look_at(PciAddress::slot(5), |_| ()), None);
    assert_eq!((bus.name(), bus.find(1).is_none(), bus.secondaries().len()), ("pci.0", true, 0));
    assert_eq!(bus.free_slot().unwrap(), PciAddress::slot(0));
    assert!(!bus.bus_master().is_open());
}
