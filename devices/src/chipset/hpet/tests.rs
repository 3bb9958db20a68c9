use std::sync::{Arc, Mutex};

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::msi::MsiSink;
use crate::base::{BusMaster, Delivery, GuestRam, IrqProbe, ManualClock, TimerQueue, lock, shared};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<bool>>>);

impl LegacyReplacement for Log {
    fn replace(&mut self, on: bool) {
        lock(&self.0).push(on);
    }
}

struct Board {
    time: Arc<ManualClock>,
    queue: TimerQueue,
    legacy_0: IrqProbe,
    legacy_1: IrqProbe,
    /// Of the three timers on input 2.
    routed: [IrqProbe; 3],
    replaced: Log,
    hpet: Arc<Mutex<Hpet>>,
}

/// Messages to local APICs.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<(u64, u32)>>>);

impl MsiSink for Messages {
    fn send(&self, message: Msi) -> Delivery {
        lock(&self.0).push((message.address, message.data));
        Delivery::Delivered
    }
}

impl Messages {
    fn take(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut lock(&self.0))
    }

    fn port(&self) -> (MessagePort, GuestRam) {
        let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2000)]).unwrap());
        (MessagePort::new(Arc::new(self.clone()), GuestRam::clone(&ram), BusMaster::always()), ram)
    }
}

/// The block of QEMU's pc.
fn board() -> Board {
    board_with(3, None)
}

/// `timers` timers; all but the first three can be routed to input 20 alone.
fn board_with(timers: usize, messages: Option<MessagePort>) -> Board {
    let (time, clock) = ManualClock::new();
    let queue = TimerQueue::new(clock.clone());
    let deadlines = queue.timers();
    let owner = deadlines.owner();
    let (line_0, legacy_0) = IrqLine::probed();
    let (line_1, legacy_1) = IrqLine::probed();
    let [a, b, c] = [IrqLine::probed(), IrqLine::probed(), IrqLine::probed()];
    let first = [a.0, b.0, c.0].into_iter().map(|line| BTreeMap::from([(2, line)]));
    let more = std::iter::repeat_with(|| BTreeMap::from([(20, IrqLine::detached())]));
    let routed = first.chain(more).take(timers).collect();
    let outputs = Outputs { legacy_0: line_0, legacy_1: line_1, routed, messages };
    let replaced = Log::default();
    let hpet = shared(Hpet::new(clock, deadlines, outputs, Box::new(replaced.clone())));
    queue.attach(owner, &hpet);
    Board { time, queue, legacy_0, legacy_1, routed: [a.1, b.1, c.1], replaced, hpet }
}

impl Board {
    fn read(&self, offset: u64) -> u64 {
        lock(&self.hpet).read(0, offset, 8)
    }

    fn write(&self, offset: u64, value: u64) {
        lock(&self.hpet).write(0, offset, 8, value);
    }

    fn write32(&self, offset: u64, value: u32) {
        lock(&self.hpet).write(0, offset, 4, value.into());
    }

    /// Lets `ticks` ticks of 10 ns pass.
    fn pass(&self, ticks: u64) {
        let target = lock(&self.hpet).clock.now() + 10 * ticks;
        self.queue.step(&self.time, target);
    }

    fn edges(&self) -> [u64; 3] {
        self.routed.each_ref().map(IrqProbe::rising_edges)
    }
}

/// Timer configuration bits, from the specification.
const LEVEL: u64 = 1 << 1;
const ENABLE: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const VALUE_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;
const ROUTE_2: u64 = 2 << 9;

#[test]
fn the_counter_counts_100_mhz_while_enabled_and_can_be_set() {
    let board = board();
    board.pass(1000);
    assert_eq!(board.read(0xf0), 0);
    board.write(0x10, 1);
    board.pass(1000);
    assert_eq!(board.read(0xf0), 1000);
    board.write(0x10, 0);
    board.pass(1000);
    assert_eq!(board.read(0xf0), 1000);
    board.write(0xf0, 0xffff_ffff_ffff_fffe);
    board.write(0x10, 1);
    board.pass(5);
    assert_eq!(board.read(0xf0), 3);
    board.write(0xf0, 0x1234_5678_9abc_def0);
    assert_eq!(lock(&board.hpet).read(0, 0xf0, 4), 0x9abc_def0);
    assert_eq!(lock(&board.hpet).read(0, 0xf4, 4), 0x1234_5678);
}

#[test]
fn one_shot_interrupts_once_at_the_match() {
    let board = board();
    board.write(0x108, 500);
    board.write(0x100, ENABLE | ROUTE_2);
    board.write(0x10, 1);
    board.pass(499);
    assert_eq!(board.edges(), [0, 0, 0]);
    board.pass(1);
    assert_eq!(board.edges(), [1, 0, 0]);
    board.pass(1_000_000);
    assert_eq!(board.edges(), [1, 0, 0]);
    assert_eq!(board.read(0x20), 0, "an edge-triggered timer has no status");
}

#[test]
fn a_32_bit_timer_matches_again_when_its_half_of_the_counter_wraps() {
    let board = board();
    board.write(0x148, 0xdead_beef_0000_0010);
    board.write(0x140, ENABLE | ROUTE_2 | MODE_32);
    assert_eq!(board.read(0x148), 0x10, "the upper half is gone");
    board.write(0x10, 1);
    board.pass(0x10);
    assert_eq!(board.edges(), [0, 0, 1]);
    board.pass((1 << 32) - 1);
    assert_eq!(board.edges(), [0, 0, 1]);
    board.pass(1);
    assert_eq!(board.edges(), [0, 0, 2]);
}

#[test]
fn periodic_with_the_two_writes_of_the_specification() {
    let board = board();
    board.write(0x10, 1);
    board.pass(100);
    board.write32(0x120, (ENABLE | PERIODIC | VALUE_SET | ROUTE_2 | MODE_32) as u32);
    board.write32(0x128, 1100);
    assert_eq!(board.read(0x120) & VALUE_SET, 0, "clears itself");
    board.write32(0x128, 250);
    board.pass(999);
    assert_eq!(board.edges(), [0, 0, 0]);
    board.pass(1);
    assert_eq!((board.edges(), board.read(0x128)), ([0, 1, 0], 1350));
    board.pass(1000);
    assert_eq!((board.edges(), board.read(0x128)), ([0, 5, 0], 2350));
}

#[test]
fn a_late_periodic_timer_does_not_lose_its_phase() {
    let board = board();
    board.write(0x100, PERIODIC | VALUE_SET);
    board.write(0x108, 1000);
    board.write(0x10, 1);
    board.time.advance(10 * 5300);
    assert_eq!(board.read(0xf0), 5300);
    assert_eq!(board.read(0x108), 6000);
}

#[test]
fn level_triggered_holds_until_its_status_is_cleared() {
    let board = board();
    board.write(0x108, 10);
    board.write(0x100, LEVEL | ROUTE_2);
    board.write(0x10, 1);
    board.pass(10);
    assert_eq!((board.read(0x20), board.routed[0].level()), (1, false), "status without enable");
    board.write(0x100, LEVEL | ENABLE | ROUTE_2);
    assert!(board.routed[0].level());
    board.write(0x20, 0b110);
    assert!(board.routed[0].level());
    board.write(0x20, 0b001);
    assert!(!board.routed[0].level());
    board.write(0x108, 20);
    board.pass(10);
    assert!(board.routed[0].level());
    board.write(0x10, 0);
    assert!(!board.routed[0].level(), "the enable bit of the block gates all interrupts");
}

#[test]
fn legacy_replacement_takes_irq_0_and_8() {
    let board = board();
    for timer in [0x100, 0x120, 0x140] {
        board.write(timer + 8, 50);
        board.write(timer, ENABLE | ROUTE_2);
    }
    board.write(0x10, 0b11);
    assert_eq!(*lock(&board.replaced.0), [true]);
    board.pass(50);
    assert_eq!((board.legacy_0.rising_edges(), board.legacy_1.rising_edges()), (1, 1));
    assert_eq!(board.edges(), [0, 0, 1]);
    let saved = lock(&board.hpet).save();
    board.write(0x10, 0b01);
    assert_eq!(*lock(&board.replaced.0), [true, false]);
    lock(&board.hpet).load(&saved).unwrap();
    lock(&board.hpet).reset(ResetKind::System);
    assert_eq!(*lock(&board.replaced.0), [true, false, true, false]);
}

#[test]
fn a_route_that_is_not_offered_reaches_nobody() {
    let board = board();
    board.write(0x108, 10);
    board.write(0x100, LEVEL | ENABLE | (5 << 9));
    board.write(0x10, 1);
    board.pass(10);
    assert_eq!(board.read(0x20), 1);
    assert!(!board.routed[0].level());
    board.write(0x120, ENABLE | (5 << 9));
    board.write(0x128, 20);
    board.pass(20);
    assert_eq!(board.edges(), [0, 0, 0]);
}

#[test]
fn reserved_bits_and_registers_read_zero() {
    let board = board();
    board.write(0x10, u64::MAX);
    assert_eq!(board.read(0x10), 3);
    board.write(0x100, u64::MAX);
    assert_eq!(board.read(0x100), 0x0000_0004_0000_3f7e);
    for reserved in [0x08, 0x18, 0x28, 0xf8, 0x110, 0x160, 0x3f8] {
        board.write(reserved, u64::MAX);
        assert_eq!(board.read(reserved), 0, "{reserved:#x}");
    }
}

/// Tn_FSB_EN_CNF.
const FSB: u64 = 1 << 14;

#[test]
fn messages_take_the_place_of_lines() {
    let messages = Messages::default();
    let board = board_with(3, Some(messages.port().0));
    assert_eq!(board.read(0x100), 0x0000_0004_0000_8030, "Tn_FSB_INT_DEL_CAP is bit 15");
    board.write(0x100, u64::MAX);
    assert_eq!(board.read(0x100), 0x0000_0004_0000_ff7e);
    board.write(0x110, 0xfee0_1000_0000_0041);
    board.write(0x108, 100);
    // That it is level triggered means nothing to a message.
    board.write(0x100, ENABLE | LEVEL | FSB | ROUTE_2);
    board.write32(0x130, 0x42);
    board.write32(0x134, 0xfee0_2004);
    assert_eq!(board.read(0x130), 0xfee0_2004_0000_0042);
    board.write(0x120, ENABLE | PERIODIC | VALUE_SET | FSB);
    board.write(0x128, 40);
    board.write(0x10, 1);
    board.pass(100);
    assert_eq!(messages.take(), [(0xfee0_2004, 0x42), (0xfee0_2004, 0x42), (0xfee0_1000, 0x41)]);
    assert_eq!((board.read(0x20), board.edges()), (0, [0, 0, 0]));
    board.write(0x120, PERIODIC | FSB);
    board.pass(100);
    assert_eq!(messages.take(), [], "interrupts are disabled");
    lock(&board.hpet).reset(ResetKind::System);
    assert_eq!(board.read(0x110), 0);
}

#[test]
fn a_line_that_is_up_falls_when_messages_begin_and_the_timer_goes_on() {
    let messages = Messages::default();
    let board = board_with(3, Some(messages.port().0));
    board.write(0x110, 0xfee0_0000_0000_0030);
    board.write(0x108, 10);
    board.write(0x100, LEVEL | ENABLE | ROUTE_2);
    board.write(0x10, 1);
    board.pass(10);
    assert!(board.routed[0].level());
    board.write(0x100, LEVEL | ENABLE | ROUTE_2 | FSB);
    assert!(!board.routed[0].level());
    board.write(0x108, 20);
    board.pass(10);
    assert_eq!(messages.take(), [(0xfee0_0000, 0x30)]);
}

/// Specification 2.3.5: of timers 0 and 1 the individual routing, APIC or FSB, has no impact then.
#[test]
fn legacy_replacement_comes_before_messages() {
    let messages = Messages::default();
    let board = board_with(3, Some(messages.port().0));
    for timer in [0x100, 0x120, 0x140] {
        board.write(timer + 0x10, 0xfee0_0000_0000_0050 + timer);
        board.write(timer + 8, 10);
        board.write(timer, ENABLE | FSB);
    }
    board.write(0x10, 0b11);
    board.pass(10);
    assert_eq!((board.legacy_0.rising_edges(), board.legacy_1.rising_edges()), (1, 1));
    assert_eq!(messages.take(), [(0xfee0_0000, 0x190)]);
}

#[test]
fn a_message_elsewhere_is_a_store_to_ram() {
    let messages = Messages::default();
    let (port, ram) = messages.port();
    let board = board_with(3, Some(port));
    board.write(0x110, 0x0000_1004_dead_beef);
    board.write(0x108, 1);
    board.write(0x100, ENABLE | FSB);
    board.write(0x10, 1);
    board.pass(1);
    let stored: [u32; 3] = [0x1000, 0x1004, 0x1008].map(|at| ram.read_obj(GuestAddress(at)).unwrap());
    assert_eq!(stored, [0, 0xdead_beef, 0]);
    assert_eq!(messages.take(), []);
}

#[test]
fn up_to_24_timers_each_with_its_own_routes() {
    let board = board_with(24, None);
    assert_eq!(board.read(0x00), 0x0098_9680_8086_b701, "NUM_TIM_CAP is the last one's number");
    assert_eq!(board.read(0x3e0), 0x0010_0000_0000_0030);
    let (line, probe) = IrqLine::probed();
    lock(&board.hpet).outputs.routed[23].insert(20, line);
    board.write(0x3e8, 77);
    board.write(0x3e0, LEVEL | ENABLE | (20 << 9));
    board.write(0x10, 1);
    board.pass(77);
    assert_eq!((board.read(0x20), probe.level()), (1 << 23, true));
    board.write(0x20, 1 << 23);
    assert_eq!((board.read(0x20), probe.level()), (0, false));
}

#[test]
fn a_state_of_another_block_is_refused() {
    let messages = Messages::default();
    let [three, four, sends] = [board_with(3, None), board_with(4, None), board_with(3, Some(messages.port().0))];
    sends.write(0x110, 1);
    for other in [&four, &sends] {
        let saved = lock(&other.hpet).save();
        assert!(lock(&three.hpet).load(&saved).is_err());
        let saved = lock(&three.hpet).save();
        assert!(lock(&other.hpet).load(&saved).is_err());
    }
}

#[test]
fn keeps_the_contract() {
    let subject = |board| {
        let Board { hpet, legacy_0, legacy_1, routed: [a, b, c], time, queue, .. } = board;
        let irqs = vec![legacy_0, legacy_1, a, b, c];
        Subject { device: hpet, regions: vec![Hpet::REGION], irqs, keep: Box::new((time, queue)) }
    };
    let make = || subject(board());
    contract::check(|| subject(board_with(24, Some(Messages::default().port().0))), &[]);
    let at = |offset, value| ResetValue { region: 0, offset, size: 8, value };
    // As QEMU 7.2 shows them.
    let reset = [
        at(0x00, 0x0098_9680_8086_a201),
        at(0x10, 0),
        at(0x20, 0),
        at(0xf0, 0),
        at(0x100, 0x0000_0004_0000_0030),
        at(0x108, u64::MAX),
        at(0x140, 0x0000_0004_0000_0030),
        at(0x160, 0),
    ];
    contract::check(make, &reset);
}
