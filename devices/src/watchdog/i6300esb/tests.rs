//! The watchdog as a driver sees it; expected values are from Intel 300641.

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::system::Requests;
use crate::base::{Bus, ManualClock, Priority, Shared, Space, TimerQueue, lock, shared};

struct Rig {
    watchdog: Shared<I6300Esb>,
    fired: Arc<Requests>,
    queue: TimerQueue,
    clock: Arc<ManualClock>,
    bus: Bus,
}

fn rig() -> Rig {
    let (manual, clock) = ManualClock::new();
    let queue = TimerQueue::new(clock.clone());
    let timers = queue.timers();
    let owner = timers.owner();
    let fired = Arc::new(Requests::default());
    let watchdog = shared(I6300Esb::new(clock, timers, Arc::clone(&fired) as _));
    queue.attach(owner, &watchdog);
    let bus = Bus::new(Space::Memory);
    bus.map(0, I6300Esb::REGION, Priority::Fixed, watchdog.clone());
    Rig { watchdog, fired, queue, clock: manual, bus }
}

impl Rig {
    fn writew(&self, offset: u64, value: u16) {
        self.bus.write(offset, &value.to_le_bytes());
    }
    fn writel(&self, offset: u64, value: u32) {
        self.bus.write(offset, &value.to_le_bytes());
    }
    fn readw(&self, offset: u64) -> u16 {
        let mut data = [0; 2];
        self.bus.read(offset, &mut data);
        u16::from_le_bytes(data)
    }
    fn readl(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.bus.read(offset, &mut data);
        u32::from_le_bytes(data)
    }
    fn unlock(&self) {
        self.writew(0x0c, 0x80);
        self.writew(0x0c, 0x86);
    }
    fn configure(&self, offset: u8, value: u16) {
        let mut watchdog = lock(&self.watchdog);
        watchdog.config_mut().write(offset, 2, value.into());
        watchdog.config_written(offset, 2);
    }
    fn config(&self, offset: u8) -> u16 {
        lock(&self.watchdog).config().read_u16(offset)
    }
    fn step(&self, to: u64) {
        self.queue.step(&self.clock, to);
    }
    fn fired(&self) -> usize {
        lock(&self.fired.0).len()
    }
}

#[test]
fn config_space_at_reset_is_qemus() {
    let rig = rig();
    let watchdog = lock(&rig.watchdog);
    let config = watchdog.config();
    for at in (0..=0xfc).step_by(4) {
        let want = match at {
            0x00 => 0x25ab_8086,
            0x08 => 0x0880_0000,
            0x2c => 0x1100_1af4,
            _ => 0,
        };
        assert_eq!(config.read_u32(at), want, "{at:#x}");
    }
}

#[test]
fn a_preload_needs_the_unlocking_sequence_and_only_one_write_passes() {
    let rig = rig();
    rig.writel(0, 0x123);
    assert_eq!(rig.readl(0), 0xf_ffff);
    rig.unlock();
    rig.writel(0, 0xfff0_0123);
    assert_eq!(rig.readl(0), 0x123, "20 bits");
    rig.writel(4, 0x456);
    assert_eq!(rig.readl(4), 0xf_ffff, "locked again");
    // The steps have to follow each other.
    rig.writew(0x0c, 0x86);
    rig.writew(0x0c, 0x80);
    rig.writel(4, 0x456);
    assert_eq!(rig.readl(4), 0xf_ffff);
    rig.writew(0x0c, 0x80);
    rig.readw(0x0c);
    rig.writew(0x0c, 0x86);
    rig.writel(4, 0x456);
    assert_eq!(rig.readl(4), 0xf_ffff, "a read of the reload register begins the sequence anew");
    rig.unlock();
    rig.writew(4, 0x456);
    assert_eq!(rig.readl(4), 0xf_ffff, "half a register");
    for key in [0x80, 0x86] {
        rig.bus.write(0x0c, &[key]);
    }
    rig.writel(4, 0x789);
    assert_eq!(rig.readl(4), 0x789, "QEMU takes bytes of the sequence");
    rig.unlock();
    rig.writel(4, 0x456);
    assert_eq!(rig.readl(4), 0x456);
}

#[test]
fn both_stages_run_out_by_the_pci_clock() {
    // Preload value v counts v * 2^15 (1 kHz) or v * 2^5 (1 MHz) periods of 33 MHz.
    for (pre_sel, ns_per_count) in [(0, 992_969.696_97), (4, 969.696_969_7)] {
        let rig = rig();
        for (offset, value) in [(0, 1000), (4, 500)] {
            rig.unlock();
            rig.writel(offset, value);
        }
        rig.configure(0x60, 3 | pre_sel);
        rig.configure(0x68, 2);
        let first = rig.queue.next_deadline().unwrap();
        assert!((first as f64 - 1000.0 * ns_per_count).abs() < 2.0, "{first}");
        rig.step(first);
        assert_eq!((rig.readl(8), rig.fired()), (1, 0), "only the first stage's status");
        let second = rig.queue.next_deadline().unwrap();
        assert!((second as f64 - 1500.0 * ns_per_count).abs() < 3.0, "{second}");
        rig.step(second - 1);
        assert_eq!(rig.fired(), 0);
        rig.step(second);
        assert_eq!(*lock(&rig.fired.0), [SystemRequest::Watchdog]);
        assert_eq!(rig.queue.next_deadline(), None);
        assert_eq!(rig.readw(0x0c), 0x1200, "timed out");
        lock(&rig.watchdog).reset(ResetKind::System);
        assert_eq!(rig.readw(0x0c), 0x1200, "the flag survives the reset that it caused");
        rig.unlock();
        // The data sheet's bit, and that of old Linux drivers.
        rig.writew(0x0c, if pre_sel == 0 { 0x200 } else { 0x1000 });
        assert_eq!(rig.readw(0x0c), 0);
    }
}

#[test]
fn reloading_starts_the_first_stage_again() {
    let rig = rig();
    for offset in [0, 4] {
        rig.unlock();
        rig.writel(offset, 1000);
    }
    rig.configure(0x68, 2);
    let period = rig.queue.next_deadline().unwrap();
    for round in 1..10 {
        rig.step(round * period + period / 2);
        rig.unlock();
        rig.writew(0x0c, 0x100);
        assert!(rig.queue.next_deadline().unwrap().abs_diff(round * period + period / 2 + period) <= 1);
    }
    assert_eq!(rig.fired(), 0);
    // Without the sequence it is not reloaded.
    rig.writew(0x0c, 0x100);
    rig.step(100 * period);
    assert_eq!(rig.fired(), 1);
    // The status of the first stage clears by writing 1, unlocked.
    rig.configure(0x68, 2);
    rig.step(200 * period);
    assert_eq!((rig.fired(), rig.readl(8)), (1, 0), "firing has reset the preload values to their longest");
}

#[test]
fn firing_leaves_the_header_to_a_machine_that_goes_on() {
    const COMMAND: u8 = 0x04;
    const BAR0: u8 = 0x10;
    let rig = rig();
    rig.configure(BAR0 + 2, 0xfebf);
    rig.configure(COMMAND, 2);
    rig.configure(0x68, 3);
    rig.step(u64::MAX / 2);
    assert_eq!(rig.fired(), 1);
    assert_eq!((rig.config(BAR0 + 2), rig.config(COMMAND)), (0xfebf, 2));
    rig.configure(0x68, 4);
    assert_eq!(rig.config(0x68), 4, "it is unlocked again");
}

#[test]
fn a_disabled_watchdog_does_not_fire_and_a_locked_one_can_not_be_disabled() {
    let rig = rig();
    rig.configure(0x68, 2);
    rig.configure(0x68, 0);
    assert_eq!(rig.queue.next_deadline(), None);
    rig.configure(0x68, 3);
    rig.configure(0x68, 0);
    assert_eq!(rig.config(0x68), 3);
    assert!(rig.queue.next_deadline().is_some());
    let saved = lock(&rig.watchdog).save();
    lock(&rig.watchdog).reset(ResetKind::System);
    assert_eq!(rig.config(0x68), 0);
    rig.configure(0x68, 4);
    assert_eq!(rig.config(0x68), 4, "a reset unlocks");
    lock(&rig.watchdog).load(&saved).unwrap();
    rig.configure(0x68, 0);
    assert_eq!(rig.config(0x68), 3, "a loaded lock holds");
    rig.configure(0x60, 0xffff);
    assert_eq!(rig.config(0x60), 0x27);
}

#[test]
fn with_its_output_off_it_stops_or_runs_freely() {
    for (lock_bits, running) in [(2, false), (6, true)] {
        let rig = rig();
        for offset in [0, 4] {
            rig.unlock();
            rig.writel(offset, 10);
        }
        rig.configure(0x60, 0x20);
        rig.configure(0x68, lock_bits);
        rig.step(10_000_000_000);
        assert_eq!((rig.fired(), rig.queue.next_deadline()), (0, None));
        assert_eq!(rig.readl(8), u32::from(!running), "no status in free running mode");
        // A free running one goes on when its output is switched on.
        rig.configure(0x60, 0);
        rig.step(20_000_000_000);
        assert_eq!(rig.fired(), usize::from(running));
    }
}

#[test]
fn a_preload_of_zero_runs_out_once() {
    let rig = rig();
    for offset in [0, 4] {
        rig.unlock();
        rig.writel(offset, 0);
    }
    rig.configure(0x60, 0x24);
    rig.configure(0x68, 6);
    // A free running timer without a period must not keep the queue busy for ever.
    rig.step(1);
    assert_eq!(rig.queue.next_deadline(), None);
}

#[test]
fn states_that_can_not_be_are_refused() {
    let rig = rig();
    let good = lock(&rig.watchdog).save();
    for (field, value) in [("preload", serde_json::json!([0, 1 << 20])), ("unlocked", 3.into())] {
        let mut bad = good.clone();
        bad.data[field] = value;
        assert!(lock(&rig.watchdog).load(&bad).is_err(), "{field}");
    }
    rig.configure(0x68, 2);
    let good = lock(&rig.watchdog).save();
    // The longest stage takes 2^35 / 33 MHz, 1041 s.
    for running in [(false, 1_042_000_000_000), (true, 1_042_000_000_000), (true, u64::MAX), (false, u64::MAX)] {
        let mut bad = good.clone();
        bad.data["running"] = serde_json::json!(running);
        assert!(lock(&rig.watchdog).load(&bad).is_err(), "{running:?}");
    }
    // Not enabled; and enabled, but whose end is seen since it fires.
    for (lock_bits, running) in [(0, (false, 0_u64)), (4, (true, 1_000)), (6, (false, u64::MAX))] {
        let mut bad = good.clone();
        bad.data["config"]["bytes"][0x68] = lock_bits.into();
        bad.data["running"] = serde_json::json!(running);
        assert!(lock(&rig.watchdog).load(&bad).is_err(), "{lock_bits:#x}");
    }
}

#[test]
fn a_watchdog_that_runs_freely_without_being_seen_is_loaded() {
    let rig = rig();
    rig.configure(0x60, 0x20);
    rig.configure(0x68, 6);
    rig.step(3_000_000_000_000);
    assert_eq!(rig.queue.next_deadline(), None);
    let saved = lock(&rig.watchdog).save();
    let twin = self::rig();
    lock(&twin.watchdog).load(&saved).unwrap();
    assert_eq!(lock(&twin.watchdog).save(), saved);
    twin.configure(0x60, 0);
    twin.step(3_000_000_000_000);
    assert_eq!(twin.fired(), 1);
}

#[test]
fn contract() {
    let make = || {
        let Rig { watchdog, fired, queue, clock, bus } = rig();
        let keep = Box::new((fired, queue, clock, bus));
        Subject { device: watchdog, regions: vec![I6300Esb::REGION], irqs: Vec::new(), keep }
    };
    let value = |offset, value| ResetValue { region: 0, offset, size: 4, value };
    contract::check(make, &[value(0, 0xf_ffff), value(4, 0xf_ffff), value(8, 0), value(12, 0)]);
    crate::pci::contract::check(make);
}
