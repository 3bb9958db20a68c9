use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::system::Requests;
use crate::base::{IrqInput, IrqProbe, ManualClock, TimeSource, TimerQueue, lock, shared};

struct Board {
    time: Arc<ManualClock>,
    queue: TimerQueue,
    sci: IrqProbe,
    gpe: Arc<GpeBlock>,
    gpe_sci: IrqProbe,
    /// From the clock's alarm.
    alarm: IrqLine,
    rtc: Arc<RtcEvent>,
    rtc_sci: IrqProbe,
    requests: Arc<Requests>,
    function: Arc<Mutex<Piix4Pm>>,
}

fn board() -> Board {
    let (time, clock) = ManualClock::new();
    let queue = TimerQueue::new(clock.clone());
    let timers = queue.timers();
    let owner = timers.owner();
    let (line, sci) = IrqLine::probed();
    let (gpe_line, gpe_sci) = IrqLine::probed();
    let gpe = GpeBlock::new(gpe_line);
    let (rtc_line, rtc_sci) = IrqLine::probed();
    let rtc = RtcEvent::new(rtc_line);
    let alarm = IrqInput::new(rtc.clone(), 0).line("alarm");
    let requests = Arc::new(Requests::default());
    let resources = Resources { com1: true, ..Resources::default() };
    let function = shared(Piix4Pm::new(clock, timers, line, gpe.clone(), rtc.clone(), requests.clone(), resources));
    queue.attach(owner, &function);
    Board { time, queue, sci, gpe, gpe_sci, alarm, rtc, rtc_sci, requests, function }
}

impl Board {
    fn read(&self, region: Region, offset: u64, size: u8) -> u64 {
        lock(&self.function).read(region.id, offset, size)
    }

    fn write(&self, region: Region, offset: u64, size: u8, value: u64) {
        lock(&self.function).write(region.id, offset, size, value);
    }

    fn pass(&self, ns: u64) {
        let target = lock(&self.function).clock.now() + ns;
        self.queue.step(&self.time, target);
    }
}

/// 2^23 ticks of 3.579545 MHz, rounded up to a nanosecond.
const HALF_PERIOD_NS: u64 = 2_343_484_438;

#[test]
fn config_space_at_reset_is_qemus() {
    let board = board();
    let function = lock(&board.function);
    let config = function.config();
    assert_eq!(config.read_u32(0x00), 0x7113_8086);
    assert_eq!(config.read_u32(0x04), 0x0280_0000);
    assert_eq!(config.read_u32(0x08), 0x0680_0003);
    assert_eq!(config.read_u8(0x3d), 1);
    let rest: Vec<_> = (0x40..=0xff).map(|at| (at, config.read_u8(at))).filter(|(_, value)| *value != 0).collect();
    let expected = [
        (0x40, 0x01),
        (0x5b, 0x02),
        (0x5f, 0x10),
        (0x63, 0x60),
        (0x67, 0x08),
        (0x90, 0x01),
        (0x91, 0xb1),
        (0xd2, 0x09),
    ];
    assert_eq!(rest, expected);
}

#[test]
fn the_block_decodes_where_and_when_pmba_says() {
    let board = board();
    let mut function = lock(&board.function);
    function.config_mut().write(0x40, 4, 0x0000_06ff);
    assert_eq!(function.windows(), [(0xb100, SMBUS)]);
    function.config_mut().write(0x80, 1, 1);
    assert_eq!(function.windows(), [(0x6c0, PM_BLOCK), (0xb100, SMBUS)]);
}

#[test]
fn the_smbus_decodes_where_and_when_smbba_says_and_shares_the_interrupt() {
    let board = board();
    {
        let mut function = lock(&board.function);
        function.config_mut().write(0x90, 4, 0x0701);
        assert_eq!(function.windows(), [(0x700, SMBUS)]);
        function.config_mut().write(0xd2, 1, 8);
        assert_eq!(function.windows(), [], "host enable");
        function.config_mut().write(0xd2, 1, 9);
    }
    // A quick command to the first EEPROM, with the interrupt.
    board.write(SMBUS, 4, 1, 0xa0);
    board.write(SMBUS, 2, 1, 0x41);
    assert!(board.sci.level());
    let saved = lock(&board.function).save();
    // Routed to an SMI, which there is not.
    {
        let mut function = lock(&board.function);
        function.config_mut().write(0xd2, 1, 1);
        function.config_written(0xd2, 1);
    }
    assert!(!board.sci.level());
    lock(&board.function).load(&saved).unwrap();
    assert!(board.sci.level());
    board.write(SMBUS, 0, 1, 2);
    assert!(!board.sci.level());
    board.write(SMBUS, 5, 1, 0x5a);
    lock(&board.function).reset(ResetKind::System);
    assert_eq!(board.read(SMBUS, 5, 1), 0);
    let mut bad = saved.clone();
    bad.data["smbus"]["hststs"] = 0xe0.into();
    assert!(lock(&board.function).load(&bad).is_err());
    bad.data["smbus"]["hststs"] = 0.into();
    bad.data["smbus"]["eeproms"][3]["contents"] = serde_json::json!([1, 2]);
    assert!(lock(&board.function).load(&bad).is_err());
}

#[test]
fn the_timer_counts_3_579545_mhz_in_24_bits() {
    let board = board();
    board.pass(1_000_000_000);
    assert_eq!(board.read(PM_BLOCK, 8, 4), 3_579_545);
    board.write(PM_BLOCK, 8, 4, 0);
    assert_eq!(board.read(PM_BLOCK, 8, 4), 3_579_545, "the timer is read only");
    board.pass(9_000_000_000);
    assert_eq!(board.read(PM_BLOCK, 8, 4), 35_795_450 % (1 << 24));
    assert_eq!(board.read(PM_BLOCK, 9, 1), (35_795_450 >> 8) & 0xff);
}

#[test]
fn every_toggle_of_the_timers_top_bit_interrupts() {
    let board = board();
    board.pass(HALF_PERIOD_NS - 1);
    assert_eq!(board.read(PM_BLOCK, 0, 2), 0);
    board.pass(1);
    assert_eq!(board.read(PM_BLOCK, 0, 2), 1);
    assert!(!board.sci.level(), "not enabled");
    board.write(PM_BLOCK, 0, 2, 1);
    board.write(PM_BLOCK, 2, 2, 1);
    board.pass(HALF_PERIOD_NS);
    assert!(board.sci.level());
    board.write(PM_BLOCK, 0, 2, 0xfffe);
    assert!(board.sci.level(), "other bits do not clear it");
    board.write(PM_BLOCK, 0, 2, 1);
    assert!(!board.sci.level());
    assert_eq!(board.sci.rising_edges(), 1);
    board.pass(4 * HALF_PERIOD_NS);
    assert_eq!(board.sci.rising_edges(), 2, "status stays set until it is cleared");
}

#[test]
fn s5_powers_off_and_sleep_enable_does_not_read_back() {
    let board = board();
    assert_eq!(board.read(PM_BLOCK, 4, 2), 1, "without SMM, ACPI is enabled from the start");
    board.write(PM_BLOCK, 4, 2, 0x0001);
    assert_eq!(*lock(&board.requests.0), []);
    board.write(PM_BLOCK, 4, 2, 0x2401);
    assert_eq!(*lock(&board.requests.0), [], "S3 is not there");
    assert_eq!(board.read(PM_BLOCK, 4, 2), 0x0401);
    board.write(PM_BLOCK, 5, 1, 0x20);
    assert_eq!(*lock(&board.requests.0), [SystemRequest::PowerOff]);
    assert_eq!(board.read(PM_BLOCK, 4, 2), 0x0001);
}

#[test]
fn sleeps_as_the_board_can() {
    let (_, clock) = ManualClock::new();
    let requests = Arc::new(Requests::default());
    let timers = TimerQueue::new(clock.clone()).timers();
    let gpe = GpeBlock::new(IrqLine::detached());
    let (line, sci) = IrqLine::probed();
    let rtc = RtcEvent::new(IrqLine::detached());
    let function = Piix4Pm::new(clock, timers, line, gpe, rtc, requests.clone(), Resources::default());
    let mut function = function.with_sleep_states(SleepStates { s3: true, s4: Some(2) });
    for (sleep_type, request) in
        [(1, Some(SystemRequest::Suspend)), (2, Some(SystemRequest::SuspendToDisk)), (3, None), (7, None)]
    {
        function.write(PM_BLOCK.id, 4, 2, 0x2001 | sleep_type << 10);
        assert_eq!(lock(&requests.0).pop(), request, "sleep type {sleep_type}");
    }

    function.reset(ResetKind::System);
    function.wake(WakeCause::Rtc);
    assert_eq!(function.read(PM_BLOCK.id, 0, 2), 0x8400);
    function.write(PM_BLOCK.id, 0, 2, 0xffff);
    function.wake(WakeCause::PowerButton);
    assert_eq!(function.read(PM_BLOCK.id, 0, 2), 0x8100);
    assert!(!sci.level(), "nothing is enabled");
    function.write(PM_BLOCK.id, 2, 2, 0x0100);
    assert!(sci.level());
}

#[test]
fn the_power_button_interrupts_if_enabled() {
    let board = board();
    lock(&board.function).press_power_button();
    assert_eq!(board.read(PM_BLOCK, 0, 2), 0x0100);
    assert!(!board.sci.level());
    board.write(PM_BLOCK, 2, 2, 0xffff);
    assert!(board.sci.level());
    assert_eq!(board.read(PM_BLOCK, 2, 2), 0x0521, "only bits that exist can be enabled");
    board.write(APM, 0, 1, 0xf0);
    assert!(!board.sci.level(), "ACPI is switched off");
    board.write(APM, 0, 1, 0xf1);
    assert!(board.sci.level());
    board.write(PM_BLOCK, 1, 1, 0x01);
    assert!(!board.sci.level());
}

#[test]
fn an_alarm_sets_rtc_sts_and_interrupts_if_enabled() {
    let board = board();
    board.alarm.set(true);
    assert_eq!(board.read(PM_BLOCK, 0, 2), 0x0400);
    assert!(!board.rtc_sci.level() && !board.rtc.is_pending(), "not enabled");
    board.write(PM_BLOCK, 0, 2, 0xfbff);
    assert_eq!(board.read(PM_BLOCK, 0, 2), 0x0400, "other bits do not clear it");
    board.write(PM_BLOCK, 0, 2, 0x0400);
    assert_eq!(board.read(PM_BLOCK, 0, 2), 0, "it is the assertion that counts");
    board.write(PM_BLOCK, 2, 2, 0x0400);
    board.alarm.set(false);
    assert!(!board.rtc_sci.level());
    board.alarm.set(true);
    assert!(board.rtc_sci.level() && board.rtc.is_pending());
    board.write(APM, 0, 1, 0xf0);
    assert!(!board.rtc_sci.level(), "ACPI is switched off");
    assert!(board.rtc.is_pending(), "the machine may sleep, and wake by it");
    board.write(APM, 0, 1, 0xf1);
    assert!(board.rtc_sci.level());

    let saved = lock(&board.function).save();
    board.write(PM_BLOCK, 1, 1, 0x04);
    assert!(!board.rtc_sci.level());
    lock(&board.function).load(&saved).unwrap();
    assert!(board.rtc_sci.level());
    assert_eq!(board.read(PM_BLOCK, 0, 2), 0x0400);
    lock(&board.function).reset(ResetKind::System);
    assert!(!board.rtc_sci.level());
    assert_eq!(board.read(PM_BLOCK, 0, 2), 0);
}

#[test]
fn one_dword_write_reaches_status_and_enable() {
    let board = board();
    lock(&board.function).press_power_button();
    board.write(PM_BLOCK, 0, 4, 0x0520_0100);
    assert_eq!((board.read(PM_BLOCK, 0, 2), board.read(PM_BLOCK, 2, 2)), (0, 0x0520));
}

#[test]
fn general_purpose_events() {
    let board = board();
    board.gpe.input(2).raise();
    board.gpe.input(9).raise();
    assert_eq!((board.read(GPE0, 0, 1), board.read(GPE0, 1, 1)), (0x04, 0x02));
    assert!(!board.gpe_sci.level());
    board.write(GPE0, 3, 1, 0x02);
    assert!(board.gpe_sci.level());
    board.write(APM, 0, 1, 0xf0);
    assert!(!board.gpe_sci.level(), "ACPI is switched off");
    board.write(APM, 0, 1, 0xf1);
    assert!(board.gpe_sci.level());
    board.write(GPE0, 1, 1, 0xff);
    assert!(!board.gpe_sci.level());
    assert_eq!((board.read(GPE0, 0, 1), board.read(GPE0, 1, 1)), (0x04, 0));
    board.gpe.input(9).raise();
    assert!(board.gpe_sci.level(), "an event interrupts without an access to the function");
    lock(&board.function).reset(ResetKind::System);
    assert!(!board.gpe_sci.level());
    assert_eq!((board.read(GPE0, 0, 1), board.read(GPE0, 3, 1)), (0, 0));
}

#[test]
fn keeps_the_contract() {
    let make = || {
        let Board { function, sci, gpe_sci, rtc_sci, time, queue, .. } = board();
        Subject {
            device: function,
            regions: vec![PM_BLOCK, GPE0, APM, SMBUS],
            irqs: vec![sci, gpe_sci, rtc_sci],
            keep: Box::new((time, queue)),
        }
    };
    let at = |region: Region, offset, size, value| ResetValue { region: region.id, offset, size, value };
    let reset = [
        at(PM_BLOCK, 0, 4, 0),
        at(PM_BLOCK, 4, 2, 1),
        at(PM_BLOCK, 0x20, 4, 0xffff_ffff),
        at(GPE0, 0, 1, 0),
        at(GPE0, 2, 1, 0),
        at(APM, 0, 1, 0),
        at(APM, 1, 1, 0),
    ];
    contract::check(make, &reset);
    crate::pci::contract::check(make);
}

/// The clock source of guests that have no better one.
#[test]
fn a_reading_of_the_timer_is_one_of_the_clock() {
    struct Counting(AtomicU64);
    impl TimeSource for Counting {
        fn now(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed) * 1_000_000
        }
    }
    let readings = Arc::new(Counting(AtomicU64::new(0)));
    let queue = TimerQueue::new(Clock::new(readings.clone()));
    let lines = [(); 3].map(|()| IrqLine::detached());
    let [sci, gpe, rtc] = lines;
    let mut function = Piix4Pm::new(
        Clock::new(readings.clone()),
        queue.timers(),
        sci,
        GpeBlock::new(gpe),
        RtcEvent::new(rtc),
        Arc::new(Requests::default()),
        Resources::default(),
    );
    for (offset, size) in [(8, 4), (8, 1), (0, 2), (9, 2)] {
        let before = readings.0.load(Ordering::Relaxed);
        let value = function.read(PM_BLOCK.id, offset, size);
        assert_eq!(readings.0.load(Ordering::Relaxed) - before, 1, "{offset} {size}");
        // 3.579545 MHz for `before` milliseconds.
        assert!((offset, size) != (8, 4) || value == before * 3_579_545 / 1000, "{value} {before}");
    }
}

/// The timer's bit is seen, and interrupts, at a read as well as at an expiry.
#[test]
fn a_read_finds_the_overflow() {
    let board = board();
    board.write(PM_BLOCK, 2, 2, 0x0001);
    board.time.advance(HALF_PERIOD_NS);
    assert!(!board.sci.level());
    assert_eq!(board.read(PM_BLOCK, 8, 4), 1 << 23);
    assert!(board.sci.level());
}

#[test]
fn a_timer_that_was_seen_in_the_future_is_refused() {
    let board = board();
    board.pass(1_000_000_000);
    let mut state = lock(&board.function).save();
    assert_eq!(state.data["timer_seen"], 0, "nobody has looked");
    state.data["timer_seen"] = 3_579_545.into();
    assert!(lock(&board.function).load(&state).is_ok());
    state.data["timer_seen"] = 3_579_546.into();
    assert!(lock(&board.function).load(&state).is_err());
}
