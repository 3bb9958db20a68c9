use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::irq::Delivery;
use crate::base::msi::{Msi, MsiSink};
use crate::base::{AccessRule, Bus, IrqInput, IrqProbe, IrqSink, Region, Shared, Space, lock, shared};
use crate::pci::mechanism1::{self, ConfigMechanism1};
use crate::pci::{Bar, BarKind, PciAddress, PciBus};

/// A function whose windows read as their number: 1 I/O of 512 bytes, 2 memory of 4 KiB, 3 prefetchable memory of 1 MiB,
/// and the memory and ports of a VGA as 4 and 5.
struct Card {
    config: PciConfig,
    vga: bool,
}

impl Card {
    fn new(vga: bool) -> Self {
        let bar = |region, kind| Bar { region, kind };
        let memory = |id, len| Region::memory(id, "card-memory", len, AccessRule::BYTE);
        let config = PciConfigBuilder::new(0x1234, 0x5678, 0xff_0000)
            .bar(0, bar(Region::ports(1, "card-io", 0x200, AccessRule::BYTE), BarKind::Io))
            .bar(1, bar(memory(2, 0x1000), BarKind::Memory32 { prefetchable: false }))
            .bar(2, bar(memory(3, 0x10_0000), BarKind::Memory64 { prefetchable: true }))
            .build();
        Self { config, vga }
    }
}

impl Device for Card {
    fn name(&self) -> &'static str {
        "card"
    }
    fn reset(&mut self, _kind: ResetKind) {
        self.config.reset();
    }
    fn save(&self) -> State {
        State::of(1, &self.config.save())
    }
    fn load(&mut self, state: &State) -> Result<(), StateError> {
        self.config.load(&state.decode(1)?)
    }
    fn inspect(&self, _out: &mut Inspector) {}
}

impl IoDevice for Card {
    fn read(&mut self, region: u16, _offset: u64, _size: u8) -> u64 {
        u64::from(region)
    }
    fn write(&mut self, _region: u16, _offset: u64, _size: u8, _value: u64) {}
}

impl PciFunction for Card {
    fn config(&self) -> &PciConfig {
        &self.config
    }
    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }
    fn windows(&self) -> Vec<(u64, Region)> {
        match self.vga {
            true => vec![
                (0xa_0000, Region::memory(4, "vga", 0x2_0000, AccessRule::BYTE)),
                (0x3c0, Region::ports(5, "vga", 0x20, AccessRule::BYTE)),
            ],
            false => Vec::new(),
        }
    }
}

struct NoSink;
impl IrqSink for NoSink {
    fn set_level(&self, _pin: u32, _level: bool) -> Delivery {
        Delivery::Ignored
    }
}

/// Bus 0 with a bridge in slot 4, behind it a bridge in slot 2, and a card in slot 3 of the last bus.
struct Board {
    ports: Arc<Bus>,
    memory: Arc<Bus>,
    intx: [Arc<IrqInput>; 4],
    root: Arc<PciBus>,
    gates: [BusMaster; 2],
    buses: [Arc<PciBus>; 2],
    /// From the root outward.
    devices: [Arc<Mutex<dyn Device>>; 3],
    _mechanism: Shared<ConfigMechanism1>,
}

const OUTER: u32 = 4 << 11;
const INNER: u32 = 1 << 16 | 2 << 11;
const CARD: u32 = 2 << 16 | 3 << 11;

impl Board {
    fn new() -> Self {
        let (ports, memory) = (Arc::new(Bus::new(Space::Port)), Arc::new(Bus::new(Space::Memory)));
        let intx: [_; 4] = std::array::from_fn(|pin| IrqInput::new(Arc::new(NoSink), pin as u32));
        let root = Arc::new(PciBus::new(ports.clone(), memory.clone(), intx.clone()));
        let gates = [root.bus_master(), BusMaster::closed()];
        let outer = PciBus::behind(&root, 4, "outer", gates[0].clone());
        let gates = [gates[0].clone(), outer.bus_master()];
        let inner = PciBus::behind(&outer, 2, "inner", gates[1].clone());
        let bridge = |chassis, gate: &BusMaster| shared(PciBridge::new(chassis, gate.clone(), Extras::default()));
        let (first, second, card) = (bridge(1, &gates[0]), bridge(2, &gates[1]), shared(Card::new(true)));
        root.insert_bridge(PciAddress::slot(4), "pci-bridge", first.clone(), outer.clone()).unwrap();
        outer.insert_bridge(PciAddress::slot(2), "pci-bridge", second.clone(), inner.clone()).unwrap();
        inner.insert(PciAddress::slot(3), "card", card.clone()).unwrap();
        let mechanism = shared(ConfigMechanism1::new(root.clone()));
        for (region, base) in mechanism1::REGIONS.into_iter().zip([0xcf8, 0xcfc]) {
            ports.map(base, region, crate::base::Priority::Fixed, mechanism.clone());
        }
        Self {
            ports,
            memory,
            intx,
            root,
            gates,
            buses: [outer, inner],
            devices: [first, second, card],
            _mechanism: mechanism,
        }
    }

    /// Buses 1 and 2; everything enabled; I/O C000h, memory FE000000h, prefetchable memory at 4 GiB.
    fn configured() -> Self {
        let board = Self::new();
        board.configure();
        board
    }

    fn configure(&self) {
        let board = self;
        for (bridge, primary, secondary) in [(OUTER, 0, 1), (INNER, 1, 2)] {
            board.write(bridge, 0x18, primary | secondary << 8 | 2 << 16);
            board.write(bridge, 0x1c, 0xc0c0);
            board.write(bridge, 0x20, 0xfe00_fe00);
            board.write(bridge, 0x24, 0);
            board.write(bridge, 0x28, 1);
            board.write(bridge, 0x2c, 1);
            board.write(bridge, 0x04, 7);
        }
        board.write(CARD, 0x10, 0xc000);
        board.write(CARD, 0x14, 0xfe00_0000);
        board.write(CARD, 0x1c, 1);
        board.write(CARD, 0x04, 7);
    }

    /// What a snapshot is: each device's state.
    fn save(&self) -> Vec<State> {
        self.devices.iter().map(|device| lock(device).save()).collect()
    }

    /// A board to which a snapshot of this one is brought back.
    fn twin(&self) -> Self {
        let twin = Self::new();
        for (device, state) in twin.devices.iter().zip(self.save()) {
            lock(device).load(&state).unwrap();
        }
        twin.root.remap();
        twin
    }

    /// Where windows are on the buses.
    fn windows(&self) -> [Vec<(u64, u64, &'static str)>; 2] {
        [self.ports.ranges(), self.memory.ranges()]
    }

    fn select(&self, function: u32, register: u32) {
        self.ports.write(0xcf8, &(0x8000_0000 | function | register).to_le_bytes());
    }
    fn write(&self, function: u32, register: u32, value: u32) {
        self.select(function, register);
        self.ports.write(0xcfc, &value.to_le_bytes());
    }
    fn read(&self, function: u32, register: u32) -> u32 {
        self.select(function, register);
        let mut data = [0; 4];
        self.ports.read(0xcfc, &mut data);
        u32::from_le_bytes(data)
    }
    fn inb(&self, port: u64) -> u8 {
        let mut data = [0];
        self.ports.read(port, &mut data);
        data[0]
    }
    fn readb(&self, address: u64) -> u8 {
        let mut data = [0];
        self.memory.read(address, &mut data);
        data[0]
    }
}

#[test]
fn config_space_is_that_of_qemus_bridge_without_shpc() {
    let mut bridge = PciBridge::new(1, BusMaster::closed(), Extras::default());
    let value = |bridge: &PciBridge, at| bridge.config.read_u32(at);
    // Dumped from QEMU 7.2 by `-device pci-bridge,chassis_nr=1,shpc=off`; all other registers are 0.
    let qemu = [
        (0x00, 0x0001_1b36),
        (0x04, 0x00b0_0000),
        (0x08, 0x0604_0000),
        (0x0c, 0x0001_0000),
        (0x1c, 0x00a0_0000),
        (0x24, 0x0001_0001),
        (0x34, 0x0000_0040),
        (0x40, 0x0120_0004),
    ];
    for at in (0..=0xfc).step_by(4) {
        let want = qemu.iter().find(|(offset, _)| *offset == at).map_or(0, |(_, value)| *value);
        assert_eq!(value(&bridge, at), want, "{at:#x}");
    }
    // The same with ones written to every register.
    let ones = [
        (0x04, 0x00b0_0507),
        (0x0c, 0x0001_00ff),
        (0x10, 0),
        (0x14, 0),
        (0x18, 0xffff_ffff),
        (0x1c, 0x00a0_f0f0),
        (0x20, 0xfff0_fff0),
        (0x24, 0xfff1_fff1),
        (0x28, 0xffff_ffff),
        (0x2c, 0xffff_ffff),
        (0x30, 0),
        (0x34, 0x0000_0040),
        (0x38, 0),
        (0x3c, 0x0bff_00ff),
        (0x40, 0xff20_0004),
        (0x44, 0xffff_ffff),
    ];
    for at in (0..=0xfc).step_by(4) {
        bridge.config.write(at, 4, u32::MAX);
    }
    for (at, want) in ones {
        assert_eq!(value(&bridge, at), want, "{at:#x}");
    }
}

/// A bridge with all that it can have, its messages, the level of its pin, and its gate.
fn hot_plug_bridge(reserve: Reserve) -> (PciBridge, Arc<Messages>, IrqProbe) {
    let messages = Arc::<Messages>::default();
    let (interrupt, probe) = IrqLine::probed();
    let gate = BusMaster::closed();
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
    let port = MessagePort::new(Arc::clone(&messages) as _, ram, gate.clone());
    let extras = Extras { hot_plug: Some(HotPlug { interrupt, messages: Some(port) }), reserve };
    let mut bridge = PciBridge::new(1, gate, extras);
    bridge.connect_slots(1 << 3);
    (bridge, messages, probe)
}

#[derive(Default)]
struct Messages(Mutex<Vec<Msi>>);

impl MsiSink for Messages {
    fn send(&self, message: Msi) -> Delivery {
        lock(&self.0).push(message);
        Delivery::Delivered
    }
}

/// As a guest writes.
fn configure(bridge: &mut PciBridge, offset: u8, size: u8, value: u32) {
    bridge.config.write(offset, size, value);
    bridge.config_written(offset, size);
}

#[test]
fn config_space_is_that_of_qemus_bridge() {
    let reserve = Reserve { buses: Some(2), io: Some(0x1000), prefetchable_64: Some(1 << 32), ..Reserve::default() };
    let (bridge, ..) = hot_plug_bridge(reserve);
    // QEMU 7.2 with `-device pci-bridge,chassis_nr=1,bus-reserve=2,io-reserve=4K,pref64-reserve=4G`; all others are 0.
    let qemu = [
        (0x00, 0x0001_1b36),
        (0x04, 0x00b0_0000),
        (0x08, 0x0604_0000),
        (0x0c, 0x0001_0000),
        (0x10, 0x0000_0004),
        (0x1c, 0x00a0_0000),
        (0x24, 0x0001_0001),
        (0x34, 0x0000_0064),
        (0x3c, 0x0000_0100),
        (0x40, 0x0000_000c),
        (0x48, 0x0120_4004),
        (0x4c, 0x0180_4805),
        (0x64, 0x0120_4c09),
        (0x68, 2),
        (0x6c, 0x1000),
        (0x74, u32::MAX),
        (0x78, u32::MAX),
        (0x80, 1),
    ];
    for at in (0..=0xfc).step_by(4) {
        let want = qemu.iter().find(|(offset, _)| *offset == at).map_or(0, |(_, value)| *value);
        assert_eq!(bridge.config.read_u32(at), want, "{at:#x}");
    }
}

#[test]
fn registers_of_the_hot_plug_controller_are_in_both_windows() {
    let (mut bridge, _, probe) = hot_plug_bridge(Reserve::default());
    // Slot configuration, by BAR 0 in all sizes and by the capability.
    assert_eq!(bridge.read(0, 0x0c, 4), 0xe001_011f);
    assert_eq!((bridge.read(0, 0x0e, 2), bridge.read(0, 0x0d, 1)), (0xe001, 0x01));
    configure(&mut bridge, 0x42, 1, 3);
    assert_eq!(bridge.config.read_u32(0x44), 0xe001_011f);
    configure(&mut bridge, 0x44, 4, 0);
    assert_eq!(bridge.config.read_u32(0x44), 0xe001_011f);
    // Behind the last register.
    assert_eq!((bridge.read(0, 0xa0, 4), bridge.read(0, 0xff, 1)), (0, 0));

    // A command in bytes of the window: the target is written first. Its completion interrupts by the pin.
    bridge.write(0, 0x20, 1, 0x0a);
    bridge.write(0, 0x15, 1, 3);
    bridge.write(0, 0x14, 1, 0x0f);
    assert_eq!(bridge.read(0, 0x2c, 1), 0x0f, "slot 3");
    assert_eq!(bridge.forwarding().unwrap().isolated >> 3 & 1, 1);
    assert!(probe.level());
    assert_eq!(bridge.config.read_u8(0x43), 0x80, "interrupt pending");
    configure(&mut bridge, 0x42, 1, 8);
    assert_eq!(bridge.config.read_u32(0x44), 0x0001_000a);
    configure(&mut bridge, 0x44, 4, 0x0001_000a);
    assert_eq!((probe.level(), bridge.config.read_u8(0x43)), (false, 0));
    bridge.reset(ResetKind::System);
    assert_eq!((bridge.read(0, 0x2c, 4), bridge.read(0, 0x20, 4)), (0x7f00_0006, 0x0f));
}

#[test]
fn the_hot_plug_controller_interrupts_by_messages() {
    let (mut bridge, messages, probe) = hot_plug_bridge(Reserve::default());
    for (offset, size, value) in [(0x50, 4, 0xfee0_0000), (0x58, 2, 0x51), (0x4e, 2, 1), (0x04, 2, 4)] {
        configure(&mut bridge, offset, size, value);
    }
    bridge.write(0, 0x20, 1, 0x0a);
    let message = Msi { address: 0xfee0_0000, data: 0x51 };
    let take = || std::mem::take(&mut *lock(&messages.0));
    bridge.write(0, 0x14, 2, 0x40);
    assert_eq!((take(), probe.level()), (vec![message], false));
    // One for each time that there begins to be a cause.
    bridge.write(0, 0x14, 2, 0x40);
    assert_eq!(take(), []);
    bridge.write(0, 0x20, 4, 0x1_000a);
    bridge.write(0, 0x14, 2, 0x40);
    assert_eq!(take(), [message]);
    // A state that is loaded does not send again what has been sent.
    let saved = bridge.save();
    bridge.reset(ResetKind::System);
    bridge.load(&saved).unwrap();
    assert_eq!((take(), bridge.save()), (vec![], saved));
    // Masked: later.
    bridge.write(0, 0x20, 4, 0x1_000a);
    configure(&mut bridge, 0x5c, 4, 1);
    bridge.write(0, 0x14, 2, 0x40);
    assert_eq!((take(), bridge.config.read_u32(0x60)), (vec![], 1));
    configure(&mut bridge, 0x5c, 4, 0);
    assert_eq!((take(), bridge.config.read_u32(0x60)), (vec![message], 0));
}

#[test]
fn a_state_is_of_a_bridge_with_the_same_parts() {
    let (mut with, ..) = hot_plug_bridge(Reserve::default());
    let mut without = PciBridge::new(1, BusMaster::closed(), Extras::default());
    let states = [with.save(), without.save()];
    assert!(with.load(&states[1]).is_err());
    assert!(without.load(&states[0]).is_err());
    // A capability that is not there.
    with.config.put(0x4c, &[0x11]);
    let bad = with.save();
    let (mut good, ..) = hot_plug_bridge(Reserve::default());
    assert!(good.load(&bad).is_err());
    assert_eq!(good.save(), states[0]);
}

#[test]
fn contract_with_a_hot_plug_controller() {
    let make = || {
        let (bridge, _, probe) = hot_plug_bridge(Reserve::default());
        Subject { device: shared(bridge), regions: vec![WINDOW], irqs: vec![probe], keep: Box::new(()) }
    };
    let register = |offset, value| ResetValue { region: 0, offset, size: 4, value };
    contract::check(make, &[register(0x04, 31), register(0x10, 0x0100_0000), register(0x2c, 0x7f00_0006)]);
    crate::pci::contract::check(make);
}

#[test]
fn type_1_cycles_follow_the_bus_numbers() {
    let board = Board::new();
    assert_eq!(board.read(INNER, 0), u32::MAX, "nobody has numbered the buses");
    board.write(OUTER, 0x18, 0x00_05_01_00);
    assert_eq!(board.read(INNER, 0), 0x0001_1b36);
    assert_eq!(board.read(CARD, 0), u32::MAX);
    board.write(INNER, 0x18, 0x00_02_02_01);
    assert_eq!(board.read(CARD, 0), 0x5678_1234);
    board.write(OUTER, 0x18, 0x00_01_01_00);
    assert_eq!(board.read(CARD, 0), u32::MAX, "bus 2 is beyond the subordinate bus");
    // A bridge that claims bus 0 does not hide the root bus.
    board.write(OUTER, 0x18, 0x00_ff_00_00);
    assert_eq!(board.read(OUTER, 0), 0x0001_1b36);
}

#[test]
fn windows_of_all_bridges_let_accesses_through() {
    let board = Board::configured();
    assert_eq!((board.inb(0xc01f), board.readb(0xfe00_0fff), board.readb(0x1_0000_0000)), (1, 2, 3));
    for bridge in [OUTER, INNER] {
        board.write(bridge, 0x04, 6);
        assert_eq!((board.inb(0xc000), board.readb(0xfe00_0000)), (0xff, 2), "I/O is off");
        board.write(bridge, 0x04, 5);
        assert_eq!((board.inb(0xc000), board.readb(0xfe00_0000), board.readb(0x1_0000_0000)), (1, 0xff, 0xff));
        board.write(bridge, 0x04, 7);
        board.write(bridge, 0x1c, 0xd0d0);
        board.write(bridge, 0x20, 0xfe10_fe10);
        assert_eq!((board.inb(0xc000), board.readb(0xfe00_0000), board.readb(0x1_0000_0000)), (0xff, 0xff, 3));
        // A limit below the base closes a window.
        board.write(bridge, 0x1c, 0xb0c0);
        board.write(bridge, 0x20, 0xfdf0_fe00);
        board.write(bridge, 0x2c, 0);
        assert_eq!((board.inb(0xc000), board.readb(0xfe00_0000), board.readb(0x1_0000_0000)), (0xff, 0xff, 0xff));
        board.write(bridge, 0x1c, 0xc0c0);
        board.write(bridge, 0x20, 0xfe00_fe00);
        board.write(bridge, 0x2c, 1);
        assert_eq!((board.inb(0xc000), board.readb(0xfe00_0000), board.readb(0x1_0000_0000)), (1, 2, 3));
    }
}

#[test]
fn a_window_that_ends_inside_a_bar_shows_a_part_of_it() {
    let board = Board::configured();
    // ISA Enable leaves the first 256 ports of each kilobyte.
    board.write(OUTER, 0x3c, 1 << 18);
    assert_eq!((board.inb(0xc0ff), board.inb(0xc100), board.inb(0xc1ff)), (1, 0xff, 0xff));
    board.write(CARD, 0x10, 0xc200);
    assert_eq!((board.inb(0xc200), board.inb(0xc3ff)), (0xff, 0xff));
    board.write(CARD, 0x10, 0xc400);
    assert_eq!((board.inb(0xc400), board.inb(0xc4ff), board.inb(0xc500)), (1, 1, 0xff));
}

#[test]
fn vga_enable_forwards_the_legacy_addresses() {
    let board = Board::configured();
    assert_eq!((board.readb(0xa_0000), board.inb(0x3c0)), (0xff, 0xff));
    board.write(OUTER, 0x3c, 1 << 19);
    assert_eq!(board.readb(0xa_0000), 0xff, "the inner bridge does not forward yet");
    board.write(INNER, 0x3c, 1 << 19 | 1 << 20);
    assert_eq!((board.readb(0xb_ffff), board.inb(0x3c0), board.inb(0x3df)), (4, 5, 5));
    // Images of 10-bit decoding, and their absence.
    board.write(CARD, 0x10, 0x600);
    assert_eq!(board.inb(0x7c0), 0xff);
    board.write(INNER, 0x3c, 1 << 19);
    assert_eq!(board.inb(0x7c0), 1);
}

#[test]
fn secondary_bus_reset_resets_what_is_behind() {
    let board = Board::configured();
    board.write(OUTER, 0x3c, 1 << 22);
    assert_eq!(board.read(INNER, 0), u32::MAX, "nobody answers while the reset is held");
    assert_eq!(board.inb(0xc000), 0xff);
    board.write(OUTER, 0x3c, 0);
    assert_eq!((board.read(INNER, 0x18), board.read(INNER, 0x04)), (0, 0x00b0_0000));
    board.write(INNER, 0x18, 0x00_02_02_01);
    assert_eq!((board.read(CARD, 0x10), board.read(CARD, 0x04) & 0xffff), (1, 0));
    assert_eq!(board.read(OUTER, 0x18), 0x0002_0100, "the bridge itself is not reset");
}

#[test]
fn a_reset_of_the_root_takes_everything_off_the_bus() {
    let board = Board::configured();
    board.root.reset(ResetKind::System);
    assert_eq!((board.inb(0xc000), board.readb(0xfe00_0000)), (0xff, 0xff));
    assert_eq!(board.ports.ranges().len(), 2, "only the mechanism is left: {:?}", board.ports.ranges());
    assert!(board.memory.ranges().is_empty());
}

#[test]
fn interrupts_are_swizzled_at_each_bridge() {
    // Card in slot 3 INTA: pin (3 + 0) mod 4 = INTD of the inner bridge, which sits in slot 2: (2 + 3) mod 4 = INTB of the
    // outer one in slot 4 of the root bus, whose INTB is wire (4 + 1 - 1) mod 4 = 0.
    let board = Board::new();
    for (pin, wire) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        let line = board.buses[1].interrupt_line(3, pin, "card");
        line.set(true);
        let high: Vec<_> = (0..4).filter(|wire| board.intx[*wire].level()).collect();
        assert_eq!(high, [wire], "pin {pin}");
    }
    let line = board.buses[0].interrupt_line(0, 1, "card");
    line.set(true);
    assert!(board.intx[3].level(), "slot 0 INTA is the bridge's INTA: wire (4 + 0 - 1) mod 4");
}

#[test]
fn all_bridges_have_to_let_a_master_pass() {
    let board = Board::configured();
    let gate = board.buses[1].bus_master();
    gate.set(true);
    assert!(gate.is_open());
    board.write(OUTER, 0x04, 3);
    assert!(!gate.is_open() && !board.gates[1].is_open());
    board.write(OUTER, 0x04, 7);
    board.write(INNER, 0x04, 3);
    assert!(!gate.is_open() && board.gates[0].is_open());
}

#[test]
fn random_registers_never_upset_the_tree_and_a_snapshot_brings_it_back() {
    let board = Board::new();
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut reached = 0;
    for round in 0..3000 {
        // From time to time the way to the card is open.
        if round % 20 == 0 {
            board.configure();
        }
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let function = [OUTER, INNER, CARD][(seed % 3) as usize];
        board.write(function, ((seed >> 8) & 0x3c) as u32, (seed >> 24) as u32);
        let _ = (board.inb(seed >> 48), board.readb(seed >> 32));
        reached += u32::from(board.read(CARD, 0) != u32::MAX);
        let twin = board.twin();
        assert_eq!(twin.save(), board.save(), "round {round}");
        assert_eq!(twin.windows(), board.windows(), "round {round}");
    }
    assert!((300..2900).contains(&reached), "{reached}");
}

#[test]
fn contract() {
    let make = || Subject {
        device: shared(PciBridge::new(1, BusMaster::closed(), Extras::default())),
        regions: Vec::new(),
        irqs: Vec::new(),
        keep: Box::new(()),
    };
    contract::check(make, &[]);
    crate::pci::contract::check(make);
}

/// A function without windows of its own: nothing but its configuration space is state.
#[test]
fn the_bridge_itself_answers_no_access_and_keeps_its_state() {
    let mut bridge = PciBridge::new(3, BusMaster::closed(), Extras::default());
    assert_eq!(bridge.name(), "pci-bridge");
    bridge.write(0, 0, 4, 0x1234_5678);
    assert_eq!(bridge.read(0, 0, 4), u64::MAX);
    // Secondary bus 5 (PCI-to-PCI Bridge 1.1, 3.2.5.3).
    bridge.config_mut().write(0x19, 1, 5);
    let saved = bridge.save();
    bridge.reset(ResetKind::System);
    assert_eq!(bridge.config().read_u8(0x19), 0);
    bridge.load(&saved).expect("loads");
    assert_eq!((bridge.config().read_u8(0x19), bridge.save()), (5, saved));
    assert!(bridge.load(&State { version: 99, data: serde_json::Value::Null }).is_err());
}
