//! The power management function and who it hears of. A machine without ACPI has none, as QEMU's.

use std::sync::Arc;

use anyhow::Result;
use devices::base::{IrqInput, IrqLine, Priority, Shared, SystemControl, shared};
use devices::chipset::gpe::GpeBlock;
use devices::chipset::piix4_pm::{self, Piix4Pm, Resources, RtcEvent};

use super::sleep::{self, AlarmWire};
use super::{Board, parallel, place};
use crate::config::MachineConfig;
use crate::machine::board::{irq, pci, port};

/// The function with the events that other devices raise.
pub(super) struct Power {
    pub function: Shared<Piix4Pm>,
    pub general_events: Arc<GpeBlock>,
    pub rtc_event: Arc<RtcEvent>,
}

impl Board {
    /// Adds the function.
    pub(super) fn add_power(&mut self, config: &MachineConfig, system: &Arc<dyn SystemControl>) -> Result<()> {
        let general_events = GpeBlock::new(self.line(irq::SCI, "general purpose event"));
        let rtc_event = RtcEvent::new(self.line(irq::SCI, "RTC event"));
        let resources = Resources {
            lpt: parallel::has_lpt1(config),
            com1: config.serials[0].is_some(),
            com2: config.serials[1].is_some(),
        };
        let timers = self.queue.timers();
        let owner = timers.owner();
        let function = Piix4Pm::new(
            self.queue.clock().clone(),
            timers,
            self.line(irq::SCI, "SCI"),
            Arc::clone(&general_events),
            Arc::clone(&rtc_event),
            Arc::clone(system),
            resources,
        );
        let function = shared(function.with_sleep_states(sleep::states(config)));
        self.wind(owner, &function);
        self.ports.map(port::GPE0.into(), piix4_pm::GPE0, Priority::Fixed, function.clone());
        self.ports.map(port::APM_CONTROL.into(), piix4_pm::APM, Priority::Fixed, function.clone());
        self.add_pci(place(pci::POWER), &function)?;
        self.power = Some(Power { function, general_events, rtc_event });
        Ok(())
    }

    /// The wire of the RTC's alarm.
    pub(super) fn alarm_line(&self, system: &Arc<dyn SystemControl>) -> IrqLine {
        let Some(power) = &self.power else { return IrqLine::detached() };
        let wire = AlarmWire {
            event: Arc::clone(&power.rtc_event),
            asleep: Arc::clone(&self.asleep),
            system: Arc::clone(system),
        };
        IrqInput::new(Arc::new(wire), 0).line("RTC alarm")
    }
}

#[cfg(test)]
mod tests {
    use crate::monitor::qtest::IrqChange;
    use crate::qtest::QtestMachine;

    fn machine(options: &str) -> QtestMachine {
        let always = ["-nodefaults", "-rtc", "base=2026-01-01T00:00:00"];
        QtestMachine::new(always.into_iter().chain(options.split_whitespace())).unwrap()
    }

    /// Reads a double word of the function's configuration space.
    fn config(pc: &mut QtestMachine, register: u32) -> u32 {
        pc.outl(0xcf8, 0x8000_0b00 | register);
        pc.inl(0xcfc)
    }

    const SECOND: u64 = 1_000_000_000;

    /// RTC_STS, without the timer's bit beside it.
    fn alarmed(pc: &mut QtestMachine) -> bool {
        pc.inw(0x600) & 0x0400 != 0
    }

    /// Has the RTC's alarm go off each minute, and the power management block at 600h.
    fn arm_alarm(pc: &mut QtestMachine) {
        for (register, value) in [(0x40, 0x601), (0x80, 1)] {
            config(pc, register);
            pc.outl(0xcfc, value);
        }
        for (register, value) in [(1, 0x00), (3, 0xc0), (5, 0xc0), (0x0b, 0x22)] {
            pc.outb(0x70, register);
            pc.outb(0x71, value);
        }
    }

    #[test]
    fn the_alarm_is_an_event_of_acpi() {
        let mut pc = machine("");
        arm_alarm(&mut pc);
        // The PIT, which runs from the start, waits for a count in mode 0.
        pc.outb(0x43, 0x30);
        pc.intercept("ioapic").unwrap();
        pc.clock_step(60 * SECOND).unwrap();
        assert!(alarmed(&mut pc));
        assert_eq!(pc.take_interrupts(), [IrqChange { pin: 8, level: true }]);
        pc.outw(0x602, 0x0400);
        assert_eq!(pc.take_interrupts(), [IrqChange { pin: 9, level: true }]);
        pc.outw(0x600, 0x0400);
        assert_eq!(pc.take_interrupts(), [IrqChange { pin: 9, level: false }]);
        // The alarm is not acknowledged: that of the next minute is the same one.
        pc.clock_step(60 * SECOND).unwrap();
        assert!(!alarmed(&mut pc));
        pc.outb(0x70, 0x0c);
        assert_eq!(pc.inb(0x71) & 0xa0, 0xa0);
        pc.clock_step(60 * SECOND).unwrap();
        assert!(alarmed(&mut pc));
    }

    #[test]
    fn without_acpi_there_is_no_such_function() {
        let mut pc = machine("-machine acpi=on");
        assert_eq!(config(&mut pc, 0), 0x7113_8086);
        assert_eq!((pc.inb(0xb2), pc.inl(0xafe0)), (0, 0));
        let mut pc = machine("-machine acpi=off");
        assert_eq!(config(&mut pc, 0), u32::MAX);
        arm_alarm(&mut pc);
        assert_eq!((pc.inb(0xb2), pc.inl(0xafe0), pc.inl(0x600), pc.inb(0xb100)), (0xff, u32::MAX, u32::MAX, 0xff));
        pc.clock_step(60 * SECOND).unwrap();
        pc.outb(0x70, 0x0c);
        assert_eq!(pc.inb(0x71) & 0xa0, 0xa0, "the alarm goes off all the same");
        pc.system_reset();
    }
}
