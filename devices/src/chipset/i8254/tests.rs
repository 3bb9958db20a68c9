mod speaker;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::timer::Alarm;
use crate::base::{IrqInput, IrqProbe, IrqSink, ManualClock, Shared, TimerQueue, lock, shared};

struct Rig {
    pit: Shared<I8254>,
    clock: Arc<ManualClock>,
    queue: TimerQueue,
    irq: IrqProbe,
}

fn rig() -> Rig {
    let (line, irq) = IrqLine::probed();
    let (pit, clock, queue) = timer(line, LostTicks::Discard);
    Rig { pit, clock, queue, irq }
}

fn timer(line: IrqLine, lost_ticks: LostTicks) -> (Shared<I8254>, Arc<ManualClock>, TimerQueue) {
    timer_with(Box::new(Mute), line, lost_ticks)
}

fn timer_with(
    speaker: Box<dyn Speaker>,
    line: IrqLine,
    lost_ticks: LostTicks,
) -> (Shared<I8254>, Arc<ManualClock>, TimerQueue) {
    let (clock, view) = ManualClock::new();
    let queue = TimerQueue::new(view.clone());
    let timers = queue.timers();
    let owner = timers.owner();
    let pit = shared(I8254::new(view, timers, line, lost_ticks, speaker));
    queue.attach(owner, &pit);
    (pit, clock, queue)
}

/// A speaker that nobody listens to.
struct Mute;

impl Speaker for Mute {
    fn sound(&mut self, _tone: Option<Tone>) {}
}

impl Rig {
    fn out(&self, port: u16, value: u8) {
        let (region, offset) = if port == 0x61 { (window::PORT_61, 0) } else { (window::COUNTERS, port - 0x40) };
        lock(&self.pit).write(region, offset.into(), 1, value.into());
    }

    fn inb(&self, port: u16) -> u8 {
        let (region, offset) = if port == 0x61 { (window::PORT_61, 0) } else { (window::COUNTERS, port - 0x40) };
        lock(&self.pit).read(region, offset.into(), 1) as u8
    }

    /// Control word, then the count in two bytes.
    fn program(&self, control: u8, count: u16) {
        self.out(0x43, control);
        self.write16(0x40 + u16::from(control >> 6), count);
    }

    fn write16(&self, port: u16, value: u16) {
        value.to_le_bytes().into_iter().for_each(|byte| self.out(port, byte));
    }

    fn read16(&self, port: u16) -> u16 {
        u16::from_le_bytes([self.inb(port), self.inb(port)])
    }

    /// Moves the clock to tick `tick`, edge by edge.
    fn at(&self, tick: u64) {
        self.queue.step(&self.clock, RATE.ns_at(tick));
    }

    /// Counter 2's OUT.
    fn out_2(&self) -> bool {
        self.inb(0x61) & 0x20 != 0
    }

    /// Counter 2's count and OUT at each of the next ticks.
    fn trace(&self, from: u64, ticks: u64) -> Vec<(u16, bool)> {
        let sample = |tick| {
            self.at(tick);
            (self.read16(0x42), self.out_2())
        };
        (from..from + ticks).map(sample).collect()
    }
}

const HIGH: bool = true;
const LOW: bool = false;

#[test]
fn keeps_the_contract() {
    contract::check(
        || {
            let Rig { pit, clock, queue, irq } = rig();
            Subject { device: pit, regions: I8254::REGIONS.to_vec(), irqs: vec![irq], keep: Box::new((clock, queue)) }
        },
        // QEMU 7.2, `i /b` on a stopped machine; its refresh bit toggles with each read.
        &[
            ResetValue { region: window::COUNTERS, offset: 0, size: 1, value: 0 },
            ResetValue { region: window::COUNTERS, offset: 1, size: 1, value: 0 },
            ResetValue { region: window::COUNTERS, offset: 2, size: 1, value: 0 },
            ResetValue { region: window::COUNTERS, offset: 3, size: 1, value: 0 },
            ResetValue { region: window::PORT_61, offset: 0, size: 1, value: 0x20 },
        ],
    );
}

#[test]
fn the_status_of_all_counters_at_reset_is_qemus() {
    let rig = rig();
    rig.out(0x43, 0xee);
    assert_eq!([rig.inb(0x40), rig.inb(0x41), rig.inb(0x42)], [0x86; 3]);
}

#[test]
fn counter_0_interrupts_at_the_exact_rate() {
    let rig = rig();
    assert!(!rig.irq.level());
    rig.program(0x34, 11932);
    rig.queue.step(&rig.clock, 10 * 1_000_000_000);
    // Loaded with tick 1; the period is 11932 ticks of 1193182 Hz.
    assert_eq!(rig.irq.rising_edges(), (10 * HZ - 1) / 11932);
    rig.queue.step(&rig.clock, 1000 * 1_000_000_000);
    assert_eq!(rig.irq.rising_edges(), (1000 * HZ - 1) / 11932, "no drift");
}

#[test]
fn the_counter_runs_from_reset_with_the_longest_period() {
    let rig = rig();
    rig.at(65535);
    assert_eq!(rig.irq.rising_edges(), 0);
    rig.at(65536);
    assert_eq!(rig.irq.rising_edges(), 1);
    lock(&rig.pit).reset(ResetKind::System);
    rig.at(2 * 65536);
    assert_eq!(rig.irq.rising_edges(), 2);
}

/// Data sheet, figure 15: LSB = 4.
#[test]
fn mode_0_interrupts_on_terminal_count() {
    let rig = rig();
    rig.out(0x61, 0x01);
    rig.program(0xb0, 4);
    let trace = rig.trace(1, 6);
    assert_eq!(trace, [(4, LOW), (3, LOW), (2, LOW), (1, LOW), (0, HIGH), (0xffff, HIGH)]);

    // The first byte stops it, the second loads at the next tick.
    rig.out(0x42, 3);
    assert!(!rig.out_2());
    rig.at(20);
    assert!(!rig.out_2());
    rig.out(0x42, 0);
    assert_eq!(rig.trace(21, 4), [(3, LOW), (2, LOW), (1, LOW), (0, HIGH)]);

    // The gate holds the count, and OUT where it is.
    rig.program(0xb0, 3);
    rig.at(26);
    rig.out(0x61, 0x00);
    assert_eq!(rig.trace(30, 2), [(2, LOW), (2, LOW)]);
    rig.out(0x61, 0x01);
    assert_eq!(rig.trace(32, 2), [(1, LOW), (0, HIGH)]);
}

/// Data sheet, figure 16: a one-shot of 3, triggered again.
#[test]
fn mode_1_is_a_one_shot() {
    let rig = rig();
    rig.program(0xb2, 3);
    rig.at(10);
    assert!(rig.out_2());
    rig.out(0x61, 0x01);
    assert!(rig.out_2(), "OUT falls with the next tick");
    rig.at(11);
    assert!(!rig.out_2());
    rig.out(0x61, 0x00);
    assert_eq!(rig.trace(12, 3), [(2, LOW), (1, LOW), (0, HIGH)], "the gate's level does not matter");
    rig.out(0x61, 0x01);
    rig.at(15);
    assert_eq!(rig.read16(0x42), 3);
    rig.out(0x61, 0x00);
    rig.at(16);
    // A new count waits for the next trigger; a trigger on the way starts over.
    rig.write16(0x42, 5);
    rig.out(0x61, 0x01);
    assert_eq!(rig.trace(17, 6), [(5, LOW), (4, LOW), (3, LOW), (2, LOW), (1, LOW), (0, HIGH)]);
}

/// Data sheet, figure 17: LSB = 3, then a gate, then a new count.
#[test]
fn mode_2_is_a_rate_generator() {
    let rig = rig();
    rig.out(0x61, 0x01);
    rig.program(0xb4, 3);
    assert_eq!(rig.trace(1, 7), [(3, HIGH), (2, HIGH), (1, LOW), (3, HIGH), (2, HIGH), (1, LOW), (3, HIGH)]);
    rig.out(0x61, 0x00);
    assert_eq!(rig.trace(8, 2), [(3, HIGH), (3, HIGH)]);
    rig.out(0x61, 0x01);
    assert_eq!(rig.trace(10, 3), [(3, HIGH), (2, HIGH), (1, LOW)]);
    rig.at(14);
    rig.write16(0x42, 4);
    assert_eq!(rig.trace(15, 5), [(1, LOW), (4, HIGH), (3, HIGH), (2, HIGH), (1, LOW)]);
    // A low gate raises OUT at once.
    rig.out(0x61, 0x00);
    assert!(rig.out_2());
}

/// Data sheet, figure 18: counts 4 and 5.
#[test]
fn mode_3_is_a_square_wave() {
    let rig = rig();
    rig.out(0x61, 0x01);
    rig.program(0xb6, 4);
    assert_eq!(rig.trace(1, 6), [(4, HIGH), (2, HIGH), (4, LOW), (2, LOW), (4, HIGH), (2, HIGH)]);
    rig.program(0xbe, 5);
    let period = [(4, HIGH), (2, HIGH), (0, HIGH), (4, LOW), (2, LOW)];
    assert_eq!(rig.trace(7, 10), [period, period].concat(), "mode 7 is mode 3");
    // A new count waits for the end of the half.
    rig.at(17);
    rig.write16(0x42, 8);
    assert_eq!(rig.trace(18, 6), [(2, HIGH), (0, HIGH), (8, LOW), (6, LOW), (4, LOW), (2, LOW)]);
    rig.at(24);
    assert_eq!((rig.read16(0x42), rig.out_2()), (8, HIGH));
    rig.out(0x61, 0x00);
    assert!(rig.out_2());
    rig.at(26);
    rig.out(0x61, 0x01);
    assert_eq!(rig.trace(27, 2), [(8, HIGH), (6, HIGH)]);
}

/// Data sheet, figure 19: LSB = 3.
#[test]
fn mode_4_strobes_once() {
    let rig = rig();
    rig.out(0x61, 0x01);
    rig.program(0xb8, 3);
    assert_eq!(rig.trace(1, 5), [(3, HIGH), (2, HIGH), (1, HIGH), (0, LOW), (0xffff, HIGH)]);
    rig.write16(0x42, 2);
    assert_eq!(rig.trace(6, 4), [(2, HIGH), (1, HIGH), (0, LOW), (0xffff, HIGH)]);
}

/// Data sheet, figure 20: a count of 3.
#[test]
fn mode_5_strobes_when_triggered() {
    let rig = rig();
    rig.program(0xba, 3);
    assert_eq!(rig.trace(1, 2).iter().map(|(_, out)| *out).collect::<Vec<_>>(), [HIGH, HIGH]);
    rig.out(0x61, 0x01);
    assert_eq!(rig.trace(3, 5), [(3, HIGH), (2, HIGH), (1, HIGH), (0, LOW), (0xffff, HIGH)]);
}

#[test]
fn every_mode_drives_the_interrupt_of_counter_0() {
    // Control word, rising edges within 1000 ticks of a count of 100.
    for (control, edges) in [(0x30, 1), (0x32, 0), (0x34, 9), (0x36, 9), (0x38, 1), (0x3a, 0)] {
        let rig = rig();
        rig.program(control, 100);
        rig.at(1000);
        assert_eq!(rig.irq.rising_edges(), edges, "{control:#x}");
    }
}

#[test]
fn bcd_counts_have_decimal_digits() {
    let rig = rig();
    rig.out(0x61, 0x01);
    rig.program(0xb1, 0x1000);
    rig.at(2);
    assert_eq!(rig.read16(0x42), 0x0999);
    rig.program(0xb1, 0x0000);
    rig.at(4);
    assert_eq!(rig.read16(0x42), 0x9999, "0 is 10000");
    rig.at(3 + 9999);
    assert!(!rig.out_2());
    rig.at(3 + 10_000);
    assert!(rig.out_2());
}

#[test]
fn an_illegal_count_of_1_does_not_oscillate() {
    for control in [0x34, 0x36] {
        let rig = rig();
        rig.program(control, 1);
        rig.at(1000);
        // OUT is high from the reset on.
        assert_eq!(rig.irq.rising_edges(), 0, "{control:#x}");
        assert_eq!(rig.queue.next_deadline(), None);
    }
}

#[test]
fn single_bytes_are_the_low_or_the_high_one() {
    let rig = rig();
    rig.out(0x61, 0x01);
    rig.out(0x43, 0x90);
    rig.out(0x42, 0x05);
    rig.at(1);
    assert_eq!(rig.inb(0x42), 0x05);
    rig.out(0x43, 0xa0);
    rig.out(0x42, 0x12);
    rig.at(2);
    assert_eq!(rig.inb(0x42), 0x12);
    rig.at(3);
    assert_eq!(rig.inb(0x42), 0x11);
}

#[test]
fn latched_values_stay_until_they_are_read() {
    let rig = rig();
    rig.program(0x34, 0x1000);
    rig.at(0x10);
    rig.out(0x43, 0x00);
    rig.at(0x20);
    rig.out(0x43, 0x00);
    assert_eq!(rig.read16(0x40), 0x1000 - 0xf, "the second latch command is ignored");
    assert_eq!(rig.read16(0x40), 0x1000 - 0x1f);

    // Read-back of status and count: status comes first, and only the first of each counts.
    rig.out(0x43, 0xc2);
    rig.at(0x30);
    rig.out(0x43, 0xc2);
    assert_eq!(rig.inb(0x40), 0xb4, "OUT high, both bytes, mode 2");
    assert_eq!(rig.read16(0x40), 0x1000 - 0x1f);
    // Count only, for counters 0 and 2; the others are not touched.
    rig.out(0x43, 0xda);
    rig.at(0x40);
    assert_eq!(rig.read16(0x40), 0x1000 - 0x2f);
    rig.out(0x43, 0xe0);
    assert_eq!(rig.read16(0x40), 0x1000 - 0x3f, "a read-back of no counter");
    // A control word forgets what was latched.
    rig.out(0x43, 0x00);
    rig.program(0x34, 0x0200);
    rig.at(0x42);
    assert_eq!(rig.read16(0x40), 0x01ff);
}

#[test]
fn null_count_is_shown_until_the_count_is_loaded() {
    let rig = rig();
    let status = || {
        rig.out(0x43, 0xe2);
        rig.inb(0x40)
    };
    rig.out(0x43, 0x34);
    assert_eq!(status(), 0xf4);
    rig.write16(0x40, 100);
    assert_eq!(status(), 0xf4, "before the next tick");
    rig.at(1);
    assert_eq!(status(), 0xb4);
    rig.write16(0x40, 50);
    rig.at(100);
    assert_eq!(status() & 0x40, 0x40, "the new count waits for the end of the period");
    rig.at(101);
    assert_eq!(status(), 0xb4);
    assert_eq!(rig.read16(0x40), 50);
}

#[test]
fn a_program_that_measures_with_counter_2_sees_ten_milliseconds() {
    // What Linux does to calibrate: mode 0, 11932 ticks, poll OUT2.
    let rig = rig();
    rig.out(0x61, 0x01);
    rig.program(0xb0, 11932);
    rig.at(11932);
    assert!(!rig.out_2());
    rig.at(11933);
    assert!(rig.out_2());
}

#[test]
fn port_61_keeps_four_bits_and_toggles_with_refreshes() {
    let rig = rig();
    rig.out(0x61, 0xff);
    assert_eq!(rig.inb(0x61) & 0xcf, 0x0f);
    rig.out(0x61, 0x00);
    for (tick, toggle) in [(17, 0x00), (18, 0x10), (35, 0x10), (36, 0x00)] {
        rig.at(tick);
        assert_eq!(rig.inb(0x61), 0x20 | toggle, "tick {tick}");
    }
}

/// A PIC whose one interrupt stays pending until it is taken.
#[derive(Default)]
struct Pending(std::sync::Mutex<(bool, u64)>);

impl Pending {
    fn take(&self) {
        let mut pending = lock(&self.0);
        pending.1 += u64::from(std::mem::take(&mut pending.0));
    }
}

impl IrqSink for Pending {
    fn set_level(&self, _pin: u32, level: bool) -> Delivery {
        let mut pending = lock(&self.0);
        if level && std::mem::replace(&mut pending.0, true) { Delivery::Coalesced } else { Delivery::Delivered }
    }
}

#[test]
fn lost_ticks_are_delivered_late_if_that_is_wanted() {
    for (policy, expected) in [(LostTicks::Delay, 100), (LostTicks::Discard, 51)] {
        let pending = Arc::new(Pending::default());
        let line = IrqInput::new(Arc::clone(&pending) as Arc<dyn IrqSink>, 0).line("PIT");
        let (pit, clock, queue) = timer(line, policy);
        lock(&pit).write(window::COUNTERS, 3, 1, 0x34);
        for byte in 11932_u16.to_le_bytes() {
            lock(&pit).write(window::COUNTERS, 0, 1, byte.into());
        }
        let tick = |number: u64| RATE.ns_at(1 + number * 11932);
        // The guest does not look for 50 ticks, and then takes what comes at once.
        queue.step(&clock, tick(50));
        for number in 50..=100 {
            pending.take();
            while let Some(deadline) = queue.next_deadline().filter(|deadline| *deadline < tick(number + 1)) {
                queue.step(&clock, deadline);
                pending.take();
            }
        }
        assert_eq!(lock(&pending.0).1, expected, "{policy:?}");
        assert_eq!(lock(&pit).lost, 0);
    }
}

/// A timer that makes up for lost ticks, in mode 3 with this count.
fn square_wave(count: u16) -> (Shared<I8254>, Arc<ManualClock>, TimerQueue, Arc<Pending>) {
    let pending = Arc::new(Pending::default());
    let line = IrqInput::new(Arc::clone(&pending) as Arc<dyn IrqSink>, 0).line("PIT");
    let (pit, clock, queue) = timer(line, LostTicks::Delay);
    lock(&pit).write(window::COUNTERS, 3, 1, 0x36);
    for byte in count.to_le_bytes() {
        lock(&pit).write(window::COUNTERS, 0, 1, byte.into());
    }
    (pit, clock, queue, pending)
}

/// An attempt to deliver a lost tick in the low half of a square wave left the line high, and a state that no load took.
#[test]
fn a_timer_with_lost_ticks_can_be_saved_at_any_time() {
    let (pit, clock, queue, _pending) = square_wave(0);
    for step in 1..=400 {
        queue.step(&clock, step * 1_000_000);
        let saved = lock(&pit).save();
        let line = IrqLine::detached();
        let (twin, twins_clock, twins_queue) = timer(line, LostTicks::Delay);
        twins_queue.step(&twins_clock, step * 1_000_000);
        lock(&twin).load(&saved).unwrap();
        assert_eq!(lock(&twin).save(), saved);
    }
    assert!(lock(&pit).lost > 1, "nobody takes them");
}

/// A guest that polls, and a timer that is faster than the attempts, must not put these off for ever.
#[test]
fn lost_ticks_are_delivered_whatever_happens_meanwhile() {
    // 5 kHz with an edge every 100 us, and a guest that looks at port 61h as often.
    let (pit, clock, queue, pending) = square_wave(239);
    let mut now = 0;
    let mut run = |duration: u64, takes: bool| {
        let end = now + duration;
        while now < end {
            if takes {
                pending.take();
            }
            now += 50_000;
            queue.step(&clock, now);
            lock(&pit).read(window::PORT_61, 0, 1);
        }
        lock(&pit).lost
    };
    assert_eq!(run(100_000_000, false), 498, "of 499, one is pending");
    // 2000 attempts a second, of which some meet a tick that has just come.
    let left = run(100_000_000, true);
    assert!((298..400).contains(&left), "{left}");
    assert_eq!(run(300_000_000, true), 0);
}

#[test]
fn ticks_while_the_host_slept_are_lost_ticks() {
    let pending = Arc::new(Pending::default());
    let line = IrqInput::new(Arc::clone(&pending) as Arc<dyn IrqSink>, 0).line("PIT");
    let (pit, clock, queue) = timer(line, LostTicks::Delay);
    lock(&pit).write(window::COUNTERS, 3, 1, 0x14);
    lock(&pit).write(window::COUNTERS, 0, 1, 2);
    clock.advance(3_600_000_000_000);
    queue.run_due();
    assert_eq!(lock(&pit).lost, MOST_LOST, "an hour of the fastest rate is bounded");
    lock(&pit).write(window::COUNTERS, 3, 1, 0x30);
    assert_eq!(lock(&pit).lost, 0, "programming it anew forgets them");
}

#[test]
fn a_masked_tick_is_not_made_up_for() {
    struct Masked;
    impl IrqSink for Masked {
        fn set_level(&self, _pin: u32, _level: bool) -> Delivery {
            Delivery::Ignored
        }
    }
    let line = IrqInput::new(Arc::new(Masked), 0).line("PIT");
    let (pit, clock, queue) = timer(line, LostTicks::Delay);
    queue.step(&clock, 1_000_000_000);
    assert_eq!(lock(&pit).lost, 0);
}

#[test]
fn impossible_states_are_refused() {
    let rig = rig();
    rig.program(0xb6, 5);
    let saved = lock(&rig.pit).save();
    for (field, value) in [
        ("mode", serde_json::json!(8)),
        ("access", serde_json::json!(4)),
        ("gate", serde_json::json!(false)),
        ("seen", serde_json::json!(-1)),
        ("initial", serde_json::json!(0)),
        ("initial", serde_json::json!(0x1_0001)),
        ("load", serde_json::json!({ "At": i64::MAX })),
        ("run", serde_json::json!({ "Since": i64::MIN })),
        ("run", serde_json::json!({ "Standing": -1 })),
        ("seen", serde_json::json!(1)),
        ("half_written", serde_json::json!(1)),
        ("read_high", serde_json::json!(true)),
        ("bcd", serde_json::json!(true)),
    ] {
        let mut bad = saved.clone();
        bad.data["counters"][0][field] = value.clone();
        assert!(lock(&rig.pit).load(&bad).is_err(), "{field} {value}");
    }
    for (field, value) in
        [("port_61", serde_json::json!(0x10)), ("port_61", serde_json::json!(1)), ("lost", serde_json::json!(1))]
    {
        let mut bad = saved.clone();
        bad.data[field] = value.clone();
        assert!(lock(&rig.pit).load(&bad).is_err(), "{field} {value}");
    }
}

/// KVM's model took counts of 0 from a saved state, and divided by them.
#[test]
fn cve_2015_7513_saved_counts_of_0() {
    let rig = rig();
    let saved = lock(&rig.pit).save();
    for counter in 0..COUNTERS {
        for count in [0, -1, i64::MIN] {
            let mut bad = saved.clone();
            bad.data["counters"][counter]["initial"] = count.into();
            assert!(lock(&rig.pit).load(&bad).is_err(), "counter {counter}: {count}");
        }
    }
    assert_eq!(lock(&rig.pit).save(), saved);
}

#[test]
fn lost_ticks_are_saved_where_there_can_be_any() {
    let (pit, clock, queue, _pending) = square_wave(0);
    queue.step(&clock, 1_000_000_000);
    let saved = lock(&pit).save();
    assert_eq!(saved.data["lost"], 17, "of 18, one is pending");
    let mut bad = saved.clone();
    bad.data["lost"] = (MOST_LOST + 1).into();
    assert!(lock(&pit).load(&bad).is_err());
    let mut bad = saved.clone();
    bad.data["counters"][0]["mode"] = 1.into();
    assert!(lock(&pit).load(&bad).is_err(), "a one-shot");
    assert!(lock(&pit).load(&saved).is_ok());
    assert_eq!(lock(&pit).lost, 17);
}

#[test]
fn a_loaded_timer_goes_on_where_it_was() {
    let rig = rig();
    rig.program(0x36, 1001);
    rig.at(700);
    let saved = lock(&rig.pit).save();
    let count = rig.read16(0x40);
    let twin = self::rig();
    twin.at(700);
    lock(&twin.pit).load(&saved).unwrap();
    assert_eq!(lock(&twin.pit).save(), saved);
    assert_eq!(twin.irq.rising_edges(), 0);
    assert_eq!(twin.read16(0x40), count);
    twin.at(1001);
    assert_eq!(twin.irq.rising_edges(), 0);
    twin.at(1002);
    assert_eq!(twin.irq.rising_edges(), 1);
}

/// CVE-2015-3214 (QEMU) and CVE-2010-0309 (KVM): a read of the control word's port used it as the number of a counter, which is
/// beyond the last one.
#[test]
fn reading_the_control_words_port_touches_no_counter() {
    let rig = rig();
    let bus = crate::base::Bus::new(crate::base::Space::Port);
    bus.map(0x40, I8254::REGIONS[0], crate::base::Priority::Fixed, rig.pit.clone());
    let before = lock(&rig.pit).save();
    for size in 1..=4 {
        let mut data = [0xee; 4];
        bus.read(0x43, &mut data[..size]);
        assert_eq!(data[0], 0);
    }
    assert_eq!(lock(&rig.pit).save(), before);
}

/// What a driver can do to a counter.
#[derive(Clone, Debug)]
enum Deed {
    Control(u8),
    Write(u8),
    Gate(bool),
    Wait(u8),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        // All modes and accesses, binary and BCD; no latch command.
        (0x10..0x40_u8).prop_map(Deed::Control),
        (0..12_u8).prop_map(Deed::Write),
        any::<bool>().prop_map(Deed::Gate),
        (1..60_u8).prop_map(Deed::Wait),
    ];
    prop::collection::vec(deed, 1..40)
}

fn perform(counter: &mut Counter, deed: &Deed) {
    match deed {
        Deed::Control(word) => counter.control(ControlWord::from(*word)),
        Deed::Write(value) => counter.write(*value),
        Deed::Gate(gate) => counter.set_gate(*gate),
        Deed::Wait(_) => {}
    }
}

proptest! {
    /// A counter that jumps from access to access is where one is that goes tick by tick, and tells as many rising edges
    /// as can be seen there. The next edge it announces is the next one, or nothing comes before.
    #[test]
    fn jumping_is_as_good_as_ticking(deeds in deeds()) {
        let mut jumping = Counter::new(true, 0);
        let mut ticking = Counter::new(true, 0);
        let mut now = 0;
        for deed in &deeds {
            perform(&mut jumping, deed);
            perform(&mut ticking, deed);
            let Deed::Wait(ticks) = deed else { continue };
            let announced = jumping.next_edge();
            prop_assert!(announced.is_none_or(|tick| tick > now));
            let mut level = ticking.out();
            let (mut seen, mut told) = (0, 0);
            for tick in now + 1..=now + i64::from(*ticks) {
                told += ticking.advance(tick);
                let rises = ticking.out() && !level;
                prop_assert!(!rises || announced.is_some_and(|announced| announced <= tick));
                level = ticking.out();
                seen += u64::from(rises);
            }
            now += i64::from(*ticks);
            prop_assert_eq!(jumping.advance(now), told);
            prop_assert_eq!(seen, told);
            prop_assert_eq!((jumping.count(), jumping.out()), (ticking.count(), ticking.out()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What checks a saved state knows everything that a guest can bring about, with ticks lost or not.
    #[test]
    fn every_state_on_the_way_is_one_that_loads(
        deeds in prop::collection::vec((0..5_u64, any::<u8>(), 0..4_u64, 0..8_u8), 1..60),
    ) {
        let pending = Arc::new(Pending::default());
        let line = IrqInput::new(Arc::clone(&pending) as Arc<dyn IrqSink>, 0).line("PIT");
        let (pit, clock, queue) = timer(line, LostTicks::Delay);
        let mut now = 0;
        for (port, value, wait, kind) in deeds {
            let (region, offset) = if port == 4 { (window::PORT_61, 0) } else { (window::COUNTERS, port) };
            match kind {
                0 => drop(lock(&pit).read(region, offset, 1)),
                1 => pending.take(),
                _ => lock(&pit).write(region, offset, 1, value.into()),
            }
            now += [0, 2_000, 600_000, 60_000_000][wait as usize];
            queue.step(&clock, now);
            let saved = lock(&pit).save();
            let (twin, twins_clock, _queue) = timer(IrqLine::detached(), LostTicks::Delay);
            twins_clock.set(now);
            lock(&twin).load(&saved).unwrap();
            prop_assert_eq!(lock(&twin).save(), saved);
        }
    }
}

#[test]
fn a_count_of_2_does_not_keep_the_host_busy() {
    struct Deaf;
    impl Alarm for Deaf {
        fn set(&self, _deadline: Option<u64>) {}
    }
    // Rate generator and square wave for a millisecond: 596 interrupts, where nobody is woken for each.
    for (control, wakes, expected) in
        [(0x34, false, 595..=597), (0x36, false, 595..=597), (0x34, true, 9..=12), (0x36, true, 9..=12)]
    {
        let rig = rig();
        if wakes {
            rig.queue.set_alarm(Arc::new(Deaf));
        }
        rig.program(control, 2);
        rig.at(HZ / 1000);
        let edges = rig.irq.rising_edges();
        assert!(expected.contains(&edges), "{control:#x}: {edges}");
        // The counter itself is as fast as ever.
        let counter = &lock(&rig.pit).counters[0];
        assert_eq!(counter.initial, 2);
    }
}
