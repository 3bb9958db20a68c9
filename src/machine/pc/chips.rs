//! Interrupt controllers and interval timer: on the board, unless they are in the kernel.

use std::sync::Arc;

use devices::base::msi::ApicBus;
use devices::base::{Delivery, IrqInput, IrqLine, IrqSink, Priority, Shared, lock, shared};
use devices::chipset::hpet::LegacyReplacement;
use devices::chipset::i8254::{I8254, LostTicks, Speaker, Tone};
use devices::chipset::i8259::I8259;
use devices::chipset::ioapic::Ioapic;

use super::{Board, TIMER_IRQ};
use crate::machine::board::{irq, port};
use crate::machine::gate::Gate;
use crate::machine::interrupt_report::InterruptReport;
use crate::machine::layout::IOAPIC;

/// Where interrupt controllers and interval timer are.
pub enum Chips {
    /// In the kernel, with the means to silence the timer.
    Kernel(Box<dyn LegacyReplacement>),
    /// On the board, with what becomes of interrupts of the timer that the guest did not take in time.
    Board(InterruptControllers, LostTicks),
}

/// The interrupt controllers of the board.
#[derive(Clone)]
pub struct InterruptControllers {
    /// The 8259 pair.
    pub pic: Shared<I8259>,
    /// The I/O APIC.
    pub ioapic: Shared<Ioapic>,
}

impl InterruptControllers {
    /// Controllers in their reset state: the 8259s drive `intr`, the INTR input of the first processor, and the I/O APIC sends
    /// its messages to `apics`.
    #[must_use]
    pub fn new(intr: IrqLine, apics: Arc<dyn ApicBus>) -> Self {
        Self { pic: shared(I8259::new(intr)), ioapic: shared(Ioapic::new(apics)) }
    }

    /// What they hold.
    #[must_use]
    pub fn report(&self) -> InterruptReport {
        InterruptReport { pics: lock(&self.pic).registers(), ioapic: lock(&self.ioapic).registers() }
    }
}

/// Pin n is GSI n: the first 16 go to both controllers, the others to the I/O APIC. The timer's GSI 0 is input 2 there.
impl IrqSink for InterruptControllers {
    fn set_level(&self, pin: u32, level: bool) -> Delivery {
        let Ok(gsi) = u8::try_from(pin) else { return Delivery::Ignored };
        let pic = lock(&self.pic).set_input(gsi, level);
        let ioapic = match gsi {
            TIMER_IRQ => lock(&self.ioapic).set_input(irq::PIT_GSI, level),
            irq::PIT_GSI => Delivery::Ignored,
            _ => lock(&self.ioapic).set_input(gsi, level),
        };
        match (pic, ioapic) {
            (Delivery::Delivered, _) | (_, Delivery::Delivered) => Delivery::Delivered,
            (Delivery::Coalesced, _) | (_, Delivery::Coalesced) => Delivery::Coalesced,
            _ => Delivery::Ignored,
        }
    }
}

impl Board {
    /// Makes the timer and returns what silences it.
    pub(super) fn add_pit(&mut self, lost_ticks: LostTicks) -> Box<dyn LegacyReplacement> {
        let gate = Gate::new(self.line(TIMER_IRQ, "PIT"));
        let line = IrqInput::new(Arc::clone(&gate) as Arc<dyn IrqSink>, 0).line("PIT");
        let timers = self.queue.timers();
        let owner = timers.owner();
        let timer = shared(I8254::new(self.queue.clock().clone(), timers, line, lost_ticks, Box::new(TracedSpeaker)));
        self.wind(owner, &timer);
        let [counters, port_61] = I8254::REGIONS;
        self.add(&timer, &[(port::PIT, counters), (port::NMI_STATUS_CONTROL, port_61)]);
        Box::new(Pit(gate))
    }

    /// Makes the board's own controllers appear. Comes last: a reset makes the devices lower their lines first.
    pub(super) fn add_interrupt_controllers(&mut self) {
        let Some(controllers) = self.interrupt_controllers.clone() else { return };
        let windows: Vec<_> = port::PIC.into_iter().zip(I8259::REGIONS).collect();
        self.add(&controllers.pic, &windows);
        self.memory.map(IOAPIC, Ioapic::REGION, Priority::Fixed, controllers.ioapic.clone());
        self.register(controllers.ioapic.clone());
    }
}

/// The speaker of a machine without sound, which can be read in a trace.
struct TracedSpeaker;

impl Speaker for TracedSpeaker {
    fn sound(&mut self, tone: Option<Tone>) {
        match tone {
            Some(tone) => log::trace!(target: "speaker", "{tone}"),
            None => log::trace!(target: "speaker", "silence"),
        }
    }
}

/// The timer of the board, whose interrupt passes a gate.
struct Pit(Arc<Gate>);

impl LegacyReplacement for Pit {
    fn replace(&mut self, on: bool) {
        self.0.set_open(!on);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use devices::base::IoDevice;
    use devices::base::msi::{Msi, MsiSink};

    #[derive(Default)]
    struct Apics(Mutex<Vec<u32>>);

    impl MsiSink for Apics {
        fn send(&self, message: Msi) -> Delivery {
            lock(&self.0).push(message.data);
            Delivery::Delivered
        }
    }

    impl ApicBus for Apics {
        fn watch_end(&self, _pin: u8, _message: Option<Msi>) {}
    }

    #[test]
    fn gsis_reach_both_controllers_and_the_timer_input_2() {
        let apics = Arc::new(Apics::default());
        let (intr, probe) = IrqLine::probed();
        let controllers = InterruptControllers::new(intr, Arc::clone(&apics) as _);
        for pin in 0..24_u64 {
            let mut ioapic = lock(&controllers.ioapic);
            ioapic.write(0, 0x00, 4, 0x10 + 2 * pin);
            ioapic.write(0, 0x10, 4, 0x40 + pin);
        }
        let sent = |gsi| {
            let delivery = controllers.set_level(gsi, true);
            (delivery, std::mem::take(&mut *lock(&apics.0)))
        };
        assert_eq!(sent(0), (Delivery::Delivered, vec![0x42]));
        assert!(probe.level());
        assert_eq!(sent(2), (Delivery::Ignored, vec![]));
        assert_eq!(sent(9), (Delivery::Delivered, vec![0x49]));
        assert_eq!(sent(23), (Delivery::Delivered, vec![0x57]));
        assert_eq!(sent(u32::MAX), (Delivery::Ignored, vec![]));
    }
}
