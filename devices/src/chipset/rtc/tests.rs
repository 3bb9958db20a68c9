use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{IrqInput, IrqProbe, IrqSink, ManualClock, TimerQueue, lock, shared};

const SECOND: u64 = 1_000_000_000;

struct Board {
    time: Arc<ManualClock>,
    queue: TimerQueue,
    irq: IrqProbe,
    alarm: IrqProbe,
    rtc: Arc<Mutex<Rtc>>,
}

fn board_at(epoch: i64, lost_ticks: LostTicks) -> Board {
    let (time, clock) = ManualClock::new();
    let queue = TimerQueue::new(clock.clone());
    let timers = queue.timers();
    let owner = timers.owner();
    let ((irq_line, irq), (alarm_line, alarm)) = (IrqLine::probed(), IrqLine::probed());
    let lines = RtcLines { irq: irq_line, alarm: alarm_line };
    let epoch = epoch.saturating_mul(SECOND as i64);
    let rtc = shared(Rtc::new(clock, timers, lines, epoch, &[0; CMOS_SIZE], lost_ticks));
    queue.attach(owner, &rtc);
    Board { time, queue, irq, alarm, rtc }
}

/// Thursday 2026-12-31T23:59:58, `date -u -d 2026-12-31T23:59:58 +%s`.
const NEW_YEARS_EVE: i64 = 1_798_761_598;

fn board() -> Board {
    board_at(NEW_YEARS_EVE, LostTicks::Discard)
}

impl Board {
    fn get(&self, register: u8) -> u8 {
        let mut rtc = lock(&self.rtc);
        rtc.write(0, 0, 1, register.into());
        rtc.read(0, 1, 1) as u8
    }

    fn set(&self, register: u8, value: u8) {
        let mut rtc = lock(&self.rtc);
        rtc.write(0, 0, 1, register.into());
        rtc.write(0, 1, 1, value.into());
    }

    fn pass(&self, ns: u64) {
        let target = lock(&self.rtc).clock.now() + ns;
        self.queue.step(&self.time, target);
    }

    fn shown(&self) -> [u8; 8] {
        [0x32, 9, 8, 7, 6, 4, 2, 0].map(|register| self.get(register))
    }
}

#[test]
fn the_year_turns_in_bcd() {
    let board = board();
    assert_eq!(board.shown(), [0x20, 0x26, 0x12, 0x31, 0x05, 0x23, 0x59, 0x58]);
    assert_eq!(board.get(0x37), 0x20);
    board.pass(2 * SECOND - 1);
    assert_eq!(board.shown(), [0x20, 0x26, 0x12, 0x31, 0x05, 0x23, 0x59, 0x59]);
    board.pass(1);
    assert_eq!(board.shown(), [0x20, 0x27, 0x01, 0x01, 0x06, 0x00, 0x00, 0x00]);
}

#[test]
fn binary_and_twelve_hour_formats() {
    let board = board();
    board.set(0x0b, 0x06);
    assert_eq!(board.shown(), [20, 26, 12, 31, 5, 23, 59, 58]);
    board.set(0x0b, 0x04);
    assert_eq!(board.get(4), 0x80 | 11);
    board.set(0x0b, 0x00);
    assert_eq!(board.get(4), 0x80 | 0x11);
    board.pass(2 * SECOND);
    assert_eq!(board.get(4), 0x12, "midnight is 12 AM");
    board.pass(12 * 3600 * SECOND);
    assert_eq!(board.get(4), 0x92, "noon is 12 PM");
}

#[test]
fn update_in_progress_for_244_us_before_each_update() {
    let board = board();
    assert_eq!(board.get(0x0a), 0x26);
    // 8 cycles of 32768 Hz are 244140.6 ns.
    board.pass(SECOND - 244_142);
    assert_eq!(board.get(0x0a), 0x26);
    board.pass(1);
    assert_eq!(board.get(0x0a), 0xa6);
    board.pass(244_140);
    assert_eq!((board.get(0x0a), board.get(0)), (0xa6, 0x58));
    board.pass(1);
    assert_eq!((board.get(0x0a), board.get(0)), (0x26, 0x59));
}

#[test]
fn set_stops_the_clock_until_a_new_time_is_in() {
    let board = board();
    board.set(0x0b, 0x82);
    board.pass(10 * SECOND);
    assert_eq!(board.get(0), 0x58);
    for (register, value) in [(0x32, 0x19), (9, 0x99), (8, 0x02), (7, 0x28), (6, 0x01), (4, 0x12), (2, 0x34), (0, 0x56)]
    {
        board.set(register, value);
    }
    board.set(0x0b, 0x02);
    board.pass(4 * SECOND);
    assert_eq!(board.shown(), [0x19, 0x99, 0x02, 0x28, 0x01, 0x12, 0x35, 0x00]);
    board.pass(24 * 3600 * SECOND);
    assert_eq!(board.shown()[2..5], [0x03, 0x01, 0x02], "1999 is no leap year");
}

#[test]
fn the_day_of_the_week_counts_by_itself() {
    let board = board();
    board.set(6, 0x02);
    board.pass(2 * SECOND);
    assert_eq!(board.get(6), 0x03);
}

#[test]
fn a_stopped_divider_holds_the_time_and_its_release_updates_half_a_second_later() {
    let board = board();
    board.set(0x0a, 0x76);
    board.pass(3 * SECOND);
    assert_eq!(board.get(0), 0x58);
    board.set(0x0a, 0x26);
    board.pass(SECOND / 2 - 1);
    assert_eq!(board.get(0), 0x58);
    board.pass(1);
    assert_eq!(board.get(0), 0x59);
}

#[test]
fn every_periodic_rate_of_the_data_sheet() {
    // Table 5, for a 32.768 kHz time base: interrupts per second.
    let table: [(u8, u64); 15] = [
        (1, 256),
        (2, 128),
        (3, 8192),
        (4, 4096),
        (5, 2048),
        (6, 1024),
        (7, 512),
        (8, 256),
        (9, 128),
        (10, 64),
        (11, 32),
        (12, 16),
        (13, 8),
        (14, 4),
        (15, 2),
    ];
    for (rate, hz) in table {
        let board = board();
        board.set(0x0a, 0x20 | rate);
        board.set(0x0b, 0x42);
        let mut seen = 0;
        while let Some(deadline) = board.queue.next_deadline().filter(|deadline| *deadline <= 2 * SECOND) {
            board.queue.step(&board.time, deadline);
            assert!(board.irq.level());
            assert_eq!(board.get(0x0c) & 0xc0, 0xc0);
            assert!(!board.irq.level());
            seen += 1;
        }
        assert_eq!(seen, 2 * hz, "RS = {rate}");
    }
    let board = board();
    board.set(0x0a, 0x20);
    board.set(0x0b, 0x42);
    assert_eq!(board.queue.next_deadline(), None, "rate 0 is off");
}

#[test]
fn a_pending_flag_holds_the_line_and_enabling_late_raises_it() {
    let board = board();
    board.pass(SECOND);
    assert!(!board.irq.level());
    board.set(0x0b, 0x12);
    assert!(board.irq.level(), "UF was set before UIE");
    assert_eq!(board.get(0x0c), 0xd0, "PF is set without being enabled");
    assert_eq!(board.get(0x0c), 0);
    board.pass(5 * SECOND);
    assert_eq!(board.irq.rising_edges(), 2, "not acknowledged: one edge for five updates");
    board.set(0x0b, 0x82);
    assert!(!board.irq.level(), "SET clears UIE");
    assert_eq!(board.get(0x0b), 0x82);
}

#[test]
fn alarms() {
    let cases: [(&str, [u8; 3], u64); 6] = [
        ("23:59:59", [0x23, 0x59, 0x59], 1),
        ("any hour, minute 0, second 5", [0xc0, 0x00, 0x05], 7),
        ("any hour and minute, second 58", [0xff, 0xff, 0x58], 60),
        ("every second", [0xc0, 0xc0, 0xc0], 1),
        ("23:59:57 is tomorrow", [0x23, 0x59, 0x57], 86_399),
        ("12:00:00", [0x12, 0x00, 0x00], 12 * 3600 + 2),
    ];
    for (what, [hours, minutes, seconds], wait) in cases {
        let board = board();
        board.set(5, hours);
        board.set(3, minutes);
        board.set(1, seconds);
        board.set(0x0b, 0x22);
        board.pass(wait * SECOND - 1);
        assert!(!board.irq.level(), "{what}: early");
        board.pass(1);
        assert!(board.irq.level(), "{what}: late");
        assert_eq!(board.get(0x0c) & 0xa0, 0xa0, "{what}");
    }
    let board = board();
    board.set(5, 0x77);
    board.set(0x0b, 0x22);
    board.pass(2 * 86_400 * SECOND);
    assert!(!board.irq.level(), "there is no hour 77");
}

#[test]
fn the_alarm_has_a_wire_that_no_other_interrupt_moves() {
    let board = board();
    // Every second; at first neither it nor its flag interrupts.
    (1..=5).step_by(2).for_each(|register| board.set(register, 0xc0));
    board.set(0x0a, 0x2f);
    board.set(0x0b, 0x52);
    board.pass(SECOND - 1);
    assert!(board.irq.level() && !board.alarm.level(), "two periodic interrupts are not acknowledged");
    board.set(0x0b, 0x72);
    board.pass(1);
    assert!(board.alarm.level(), "though the interrupt was asserted already");
    assert_eq!(board.get(0x0c) & 0xe0, 0xe0);
    assert!(!board.alarm.level());
    board.pass(SECOND);
    assert_eq!((board.alarm.level(), board.alarm.rising_edges()), (true, 2));
    board.set(0x0b, 0x52);
    assert!(board.irq.level() && !board.alarm.level(), "the alarm is not to interrupt");
}

#[test]
fn slew_delivers_every_lost_tick() {
    let board = board_at(0, LostTicks::Slew);
    board.set(0x0a, 0x2f);
    board.set(0x0b, 0x42);
    // 2 Hz, unacknowledged for ten seconds: 20 ticks.
    board.pass(10 * SECOND);
    let mut delivered = 0;
    while board.irq.level() {
        assert_eq!(board.get(0x0c) & 0x40, 0x40);
        delivered += 1;
    }
    assert_eq!(delivered, 20);
    assert_eq!(board.irq.rising_edges(), 20);

    let discarding = board_at(0, LostTicks::Discard);
    discarding.set(0x0a, 0x2f);
    discarding.set(0x0b, 0x42);
    discarding.pass(10 * SECOND);
    assert_eq!(discarding.get(0x0c) & 0x40, 0x40);
    assert!(!discarding.irq.level());
}

#[test]
fn slew_counts_what_the_interrupt_controller_coalesces() {
    struct Busy;
    impl IrqSink for Busy {
        fn set_level(&self, _pin: u32, level: bool) -> Delivery {
            if level { Delivery::Coalesced } else { Delivery::Delivered }
        }
    }
    for (lost_ticks, lost) in [(LostTicks::Slew, 1), (LostTicks::Discard, 0)] {
        let (time, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock.clone());
        let timers = queue.timers();
        let owner = timers.owner();
        let line = IrqInput::new(Arc::new(Busy), 8).line("RTC");
        let lines = RtcLines { irq: line, alarm: IrqLine::detached() };
        let rtc = shared(Rtc::new(clock, timers, lines, 0, &[0; CMOS_SIZE], lost_ticks));
        queue.attach(owner, &rtc);
        for (register, value) in [(0x0a, 0x2f), (0x0b, 0x42)] {
            lock(&rtc).write(0, 0, 1, register);
            lock(&rtc).write(0, 1, 1, value);
        }
        queue.step(&time, SECOND / 2);
        assert_eq!(lock(&rtc).lost, lost);
    }
}

#[test]
fn reset_keeps_time_and_memory_but_no_interrupts() {
    let board = board();
    board.set(0x40, 0x5a);
    board.set(0x0b, 0x7e);
    board.pass(SECOND);
    assert!(board.irq.level());
    lock(&board.rtc).reset(ResetKind::System);
    assert!(!board.irq.level());
    assert_eq!((board.get(0x40), board.get(0x0b), board.get(0x0c)), (0x5a, 0x06, 0));
    assert_eq!(board.get(0), 59, "binary mode stays");
    assert_eq!(lock(&board.rtc).read(0, 0, 1), 0xff);
}

#[test]
fn keeps_the_contract() {
    let make = || {
        let Board { rtc, irq, alarm, time, queue } = board();
        Subject { device: rtc, regions: vec![Rtc::REGION], irqs: vec![irq, alarm], keep: Box::new((time, queue)) }
    };
    contract::check(make, &[ResetValue { region: 0, offset: 0, size: 1, value: 0xff }]);
}

proptest! {
    /// Setting what was read changes nothing, in every format and from the year 0 to 9999.
    #[test]
    fn written_as_read(epoch in -62_167_219_200..=253_402_300_799_i64, format in 0..4_u8) {
        let board = board_at(0, LostTicks::Discard);
        lock(&board.rtc).offset = epoch.saturating_mul(SECOND as i64);
        board.set(0x0b, format << 1);
        let before = board.shown();
        for (register, value) in [0x32, 9, 8, 7, 6, 4, 2, 0].into_iter().zip(before) {
            board.set(register, value);
        }
        prop_assert_eq!(board.shown(), before);
    }
}

#[test]
fn a_setup_program_changes_ram_and_not_the_clock() {
    let board = board();
    for address in 0..CMOS_SIZE + 2 {
        lock(&board.rtc).set_ram(address, 0x5a);
    }
    assert_eq!((board.get(0x0e), board.get(0x3d), board.get(0x7f)), (0x5a, 0x5a, 0x5a));
    assert_eq!(board.shown(), [0x20, 0x26, 0x12, 0x31, 0x05, 0x23, 0x59, 0x58]);
    assert_eq!(board.get(0x0b), 0x02);
}

/// What the counter has no room for is the first or the last date that it has.
#[test]
fn dates_at_both_ends_survive_a_reset_of_the_divider() {
    for century in [0x00, 0x16, 0x99] {
        let board = board();
        board.pass(10 * SECOND + SECOND * 2 / 5);
        board.set(0x32, century);
        board.set(0x09, 0x00);
        for _ in 0..3 {
            let before = board.shown();
            board.set(0x0a, 0x70);
            board.set(0x0a, 0x26);
            assert_eq!(board.shown()[..7], before[..7], "century {century:#x}");
        }
    }
}

#[test]
fn a_state_of_a_time_to_come_is_refused() {
    let board = board();
    board.pass(SECOND);
    board.get(0);
    let mut state = lock(&board.rtc).save();
    lock(&board.rtc).load(&state).unwrap();
    for seen in [SECOND + 1, u64::MAX] {
        state.data["seen"] = seen.into();
        assert!(lock(&board.rtc).load(&state).is_err(), "{seen}");
    }
}
