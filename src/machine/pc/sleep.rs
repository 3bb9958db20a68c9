//! Suspend to RAM: what the board does on the way into S3 and out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::base::{Delivery, IrqSink, SystemControl, SystemRequest, WakeCause, lock};
use devices::chipset::piix4_pm::SleepStates;

use super::Board;
use crate::config::{Accel, Firmware, MachineConfig};
use crate::machine::board::port;

/// Shutdown status in CMOS RAM, and its value that tells QEMU's firmware to go on from S3.
const SHUTDOWN_STATUS: u8 = 0x0f;
const RESUME_FROM_S3: u8 = 0xfe;

/// The sleeping states besides S5. Without firmware there is nobody to find a sleeping guest in RAM.
pub fn states(config: &MachineConfig) -> SleepStates {
    let platform = &config.platform;
    let firmware = config.boot.firmware != Firmware::None || platform.accel == Accel::Qtest;
    SleepStates {
        s3: firmware && !platform.power.disable_s3,
        s4: (!platform.power.disable_s4).then_some(platform.power.s4_value),
    }
}

/// Wakes the machine by an interrupt, which it passes on, while the machine sleeps.
pub(super) struct WakeByInterrupt {
    /// The rest of the wire.
    pub next: Arc<dyn IrqSink>,
    /// Whether the machine sleeps.
    pub asleep: Arc<AtomicBool>,
    /// Who is asked.
    pub system: Arc<dyn SystemControl>,
}

impl IrqSink for WakeByInterrupt {
    fn set_level(&self, pin: u32, level: bool) -> Delivery {
        if level && self.asleep.load(Ordering::Relaxed) {
            self.system.request(SystemRequest::Wake(WakeCause::Rtc));
        }
        self.next.set_level(pin, level)
    }
}

impl Board {
    /// The processors have stopped for S3.
    pub fn fall_asleep(&self) {
        self.ports.write(port::RTC.into(), &[SHUTDOWN_STATUS]);
        self.ports.write(u64::from(port::RTC) + 1, &[RESUME_FROM_S3]);
        self.asleep.store(true, Ordering::Relaxed);
    }

    /// S3 is over.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// S3 is over because of `cause`; the board has been reset.
    pub fn wake(&self, cause: WakeCause) {
        self.wake_up();
        lock(&self.power).wake(cause);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use devices::base::{IrqInput, IrqLine};

    use super::*;
    use crate::machine::gate::Gate;

    #[derive(Default)]
    struct Requests(Mutex<Vec<SystemRequest>>);

    impl SystemControl for Requests {
        fn request(&self, request: SystemRequest) {
            lock(&self.0).push(request);
        }
    }

    #[test]
    fn an_interrupt_wakes_a_sleeping_machine_only() {
        let (out, probe) = IrqLine::probed();
        let (asleep, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(Requests::default()));
        let wake = WakeByInterrupt { next: Gate::new(out), asleep: asleep.clone(), system: requests.clone() };
        let line = IrqInput::new(Arc::new(wake), 0).line("RTC");
        line.pulse();
        assert_eq!((lock(&requests.0).len(), probe.rising_edges()), (0, 1));
        asleep.store(true, Ordering::Relaxed);
        line.pulse();
        assert_eq!(*lock(&requests.0), [SystemRequest::Wake(WakeCause::Rtc)]);
        assert_eq!(probe.rising_edges(), 2);
    }
}
