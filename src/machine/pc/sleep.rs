//! Suspend to RAM: what the board does on the way into S3 and out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::base::{Delivery, IrqSink, SystemControl, SystemRequest, WakeCause, lock};
use devices::chipset::piix4_pm::{RtcEvent, SleepStates};

use super::Board;
use crate::config::{Accel, MachineConfig};
use crate::machine::board::port;

/// Shutdown status in CMOS RAM, and its value that tells QEMU's firmware to go on from S3.
const SHUTDOWN_STATUS: u8 = 0x0f;
const RESUME_FROM_S3: u8 = 0xfe;

/// The sleeping states besides S5. Without firmware there is nobody to find a sleeping guest in RAM.
pub fn states(config: &MachineConfig) -> SleepStates {
    let platform = &config.platform;
    let firmware = config.has_firmware() || platform.accel == Accel::Qtest;
    SleepStates {
        s3: firmware && !platform.power.disable_s3,
        s4: (!platform.power.disable_s4).then_some(platform.power.s4_value),
    }
}

/// The wire from the RTC's alarm to its event, which wakes the machine if it sleeps and the guest wants that (RTC_EN).
pub(super) struct AlarmWire {
    /// The event.
    pub event: Arc<RtcEvent>,
    /// Whether the machine sleeps.
    pub asleep: Arc<AtomicBool>,
    /// Who is asked.
    pub system: Arc<dyn SystemControl>,
}

impl IrqSink for AlarmWire {
    fn set_level(&self, pin: u32, level: bool) -> Delivery {
        let delivery = self.event.set_level(pin, level);
        if level && self.event.is_pending() && self.asleep.load(Ordering::Relaxed) {
            self.system.request(SystemRequest::Wake(WakeCause::Rtc));
        }
        delivery
    }
}

/// Wakes the machine, if it sleeps, when the user presses something. The guest reads that it was the power button: so it is in
/// QEMU, and PM1 has no bit for keys.
pub(super) struct WakeByUser {
    /// Whether the machine sleeps.
    pub asleep: Arc<AtomicBool>,
    /// Who is asked.
    pub system: Arc<dyn SystemControl>,
}

impl IrqSink for WakeByUser {
    fn set_level(&self, _pin: u32, level: bool) -> Delivery {
        if level && self.asleep.load(Ordering::Relaxed) {
            self.system.request(SystemRequest::Wake(WakeCause::PowerButton));
        }
        Delivery::Delivered
    }
}

impl Board {
    /// The processors have stopped for S3. Returns what is to wake the machine at once: an alarm that was faster.
    #[must_use]
    pub fn fall_asleep(&self) -> Option<WakeCause> {
        self.ports.write(port::RTC.into(), &[SHUTDOWN_STATUS]);
        self.ports.write(u64::from(port::RTC) + 1, &[RESUME_FROM_S3]);
        self.asleep.store(true, Ordering::Relaxed);
        self.power.as_ref().filter(|power| power.rtc_event.is_pending()).map(|_| WakeCause::Rtc)
    }

    /// S3 is over.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// S3 is over because of `cause`; the board has been reset.
    pub fn wake(&self, cause: WakeCause) {
        self.wake_up();
        if let Some(power) = &self.power {
            lock(&power.function).wake(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use devices::base::{IrqInput, IrqLine};

    use super::*;
    use crate::machine::Status;
    use crate::machine::mailbox::UserRequest;
    use crate::qtest::QtestMachine;

    #[derive(Default)]
    struct Requests(Mutex<Vec<SystemRequest>>);

    impl SystemControl for Requests {
        fn request(&self, request: SystemRequest) {
            lock(&self.0).push(request);
        }
    }

    #[test]
    fn a_press_wakes_a_sleeping_machine_only() {
        let (asleep, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(Requests::default()));
        let wake = WakeByUser { asleep: asleep.clone(), system: requests.clone() };
        let line = IrqInput::new(Arc::new(wake), 0).line("key");
        line.pulse();
        assert_eq!(*lock(&requests.0), []);
        asleep.store(true, Ordering::Relaxed);
        line.pulse();
        assert_eq!(*lock(&requests.0), [SystemRequest::Wake(WakeCause::PowerButton)]);
    }

    #[test]
    fn an_alarm_that_is_not_enabled_wakes_nobody() {
        let (asleep, requests) = (Arc::new(AtomicBool::new(true)), Arc::new(Requests::default()));
        let event = RtcEvent::new(IrqLine::detached());
        let wire = AlarmWire { event, asleep, system: requests.clone() };
        IrqInput::new(Arc::new(wire), 0).line("alarm").pulse();
        assert_eq!(*lock(&requests.0), []);
    }

    const SECOND: u64 = 1_000_000_000;
    const PM1_STS: u16 = 0x600;
    const PM1_EN: u16 = 0x602;
    const PM1_CNT: u16 = 0x604;
    /// SLP_EN and SCI_EN.
    const SLEEP: u16 = 0x2001;
    const S3: u16 = 1 << 10;
    const S4: u16 = 2 << 10;

    fn machine() -> QtestMachine {
        with_power_management(QtestMachine::new(["-nodefaults", "-rtc", "base=2026-01-01T00:00:00"]).unwrap())
    }

    fn with_power_management(mut pc: QtestMachine) -> QtestMachine {
        set_up_power_management(&mut pc);
        pc
    }

    /// Puts the function's registers to 600h.
    fn set_up_power_management(pc: &mut QtestMachine) {
        for (register, value) in [(0x40, 0x601), (0x80, 1)] {
            pc.outl(0xcf8, 0x8000_0b00 | register);
            pc.outl(0xcfc, value);
        }
    }

    fn write_cmos(pc: &mut QtestMachine, register: u8, value: u8) {
        pc.outb(0x70, register);
        pc.outb(0x71, value);
    }

    fn arm_alarm(pc: &mut QtestMachine, minute: u8) {
        for (register, value) in [(1, 0x00), (3, minute), (5, 0xc0), (0x0b, 0x22)] {
            write_cmos(pc, register, value);
        }
    }

    /// PM1_STS after waking, where the function is in its reset state.
    fn pm1_status(pc: &mut QtestMachine) -> u16 {
        set_up_power_management(pc);
        pc.inw(PM1_STS)
    }

    #[test]
    fn the_alarm_wakes_and_no_other_interrupt_of_the_clock_does() {
        let mut pc = machine();
        arm_alarm(&mut pc, 0x01);
        // Periodic and update-ended interrupts, too.
        write_cmos(&mut pc, 0x0a, 0x2f);
        write_cmos(&mut pc, 0x0b, 0x72);
        pc.outw(PM1_EN, 0x0400);
        pc.outw(PM1_CNT, SLEEP | S3);
        assert_eq!(pc.status(), Status::Suspended);
        pc.clock_step(60 * SECOND - 1).unwrap();
        assert_eq!(pc.status(), Status::Suspended);
        pc.clock_step(1).unwrap();
        assert_eq!(pc.status(), Status::Running);
        assert_eq!(pm1_status(&mut pc), 0x8400, "WAK_STS, RTC_STS");
    }

    #[test]
    fn an_alarm_that_nobody_wants_does_not_wake() {
        let mut pc = machine();
        arm_alarm(&mut pc, 0x01);
        pc.outw(PM1_CNT, SLEEP | S3);
        pc.clock_step(61 * SECOND).unwrap();
        assert_eq!(pc.status(), Status::Suspended);
    }

    #[test]
    fn an_alarm_that_is_faster_than_the_sleep_wakes_at_once() {
        let mut pc = machine();
        arm_alarm(&mut pc, 0x01);
        pc.outw(PM1_EN, 0x0400);
        pc.clock_step(60 * SECOND).unwrap();
        pc.outw(PM1_CNT, SLEEP | S3);
        assert_eq!(pc.status(), Status::Running);
        assert_eq!(pm1_status(&mut pc), 0x8400);
    }

    #[test]
    fn a_machine_that_is_stopped_first_sleeps_when_it_goes_on() {
        let mut pc = machine();
        pc.ask(UserRequest::Stop);
        pc.outw(PM1_CNT, SLEEP | S3);
        assert_eq!(pc.status(), Status::Paused);
        pc.ask(UserRequest::Continue);
        assert_eq!(pc.status(), Status::Suspended);
        pc.ask(UserRequest::Wakeup);
        assert_eq!(pc.status(), Status::Running);
    }

    #[test]
    fn a_sleep_that_is_stopped_goes_on_later() {
        let mut pc = machine();
        pc.outw(PM1_CNT, SLEEP | S3);
        pc.ask(UserRequest::Stop);
        assert_eq!(pc.status(), Status::Paused);
        pc.ask(UserRequest::Continue);
        assert_eq!(pc.status(), Status::Suspended);
        pc.ask(UserRequest::Stop);
        pc.system_reset();
        pc.ask(UserRequest::Continue);
        assert_eq!(pc.status(), Status::Running, "a reset is no sleep");
    }

    #[test]
    fn an_alarm_wakes_a_stopped_machine_when_it_goes_on() {
        let mut pc = machine();
        arm_alarm(&mut pc, 0x01);
        pc.outw(PM1_EN, 0x0400);
        pc.outw(PM1_CNT, SLEEP | S3);
        pc.ask(UserRequest::Stop);
        pc.clock_step(60 * SECOND).unwrap();
        assert_eq!(pc.status(), Status::Paused);
        pc.ask(UserRequest::Continue);
        assert_eq!(pc.status(), Status::Running);
        assert_eq!(pm1_status(&mut pc), 0x8400);
    }

    #[test]
    fn a_watchdog_that_fires_while_the_machine_sleeps_does_not_wake_its_processors() {
        let options = ["-nodefaults", "-device", "ib700", "-action", "watchdog=pause"];
        let mut pc = with_power_management(QtestMachine::new(options).unwrap());
        // Two seconds (IB700 data sheet: code 14).
        pc.outb(0x443, 0x0e);
        pc.outw(PM1_CNT, SLEEP | S3);
        pc.clock_step(3 * SECOND).unwrap();
        assert_eq!(pc.status(), Status::Watchdog);
        pc.ask(UserRequest::Continue);
        assert_eq!(pc.status(), Status::Suspended);
    }

    #[test]
    fn another_processor_s_reset_ends_the_sleep() {
        let mut pc = machine();
        pc.outw(PM1_CNT, SLEEP | S3);
        pc.outb(0xcf9, 0x06);
        assert_eq!(pc.status(), Status::Running);
    }

    #[test]
    fn s4_ends_the_machine() {
        let mut pc = machine();
        pc.outw(PM1_CNT, SLEEP | S4);
        assert!(pc.ended().is_some());
    }
}
