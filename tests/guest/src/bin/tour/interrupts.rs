//! Interrupts from the sources that every such board has, by the wires that the firmware describes.
//!
//! They must come, and not too early. That one comes late says nothing: the host may have had other things to do.

use alloc::{format, string::String};
use core::hint;

use guest::{
    console,
    hpet::Hpet,
    interrupts,
    ioapic::IoApic,
    lapic::LocalApic,
    pic, pit,
    platform::Platform,
    println,
    ring0::{self, inb, outb},
    rtc, tsc,
};

use crate::{
    Machine, PATIENCE, Report,
    clocks::{self, Rate},
};

const PIT_IRQ: u8 = 0;
const COM1_IRQ: u8 = 4;

/// 100 Hz, all but.
const PIT_DIVISOR: u16 = 11_932;
/// 1024 Hz, which for the RTC's divider is 6.
const RTC_RATE: u8 = 6;
const RTC_HZ: u64 = 1024;
/// What timers that expire once are set to.
const ONCE: u64 = 2_000_000;
const LAPIC_VECTOR: u8 = 0xe0;
const IPI_VECTOR: u8 = 0xe1;

/// Registers and bits of the 16550: interrupt enable, interrupt identification, modem control.
const IER: u16 = 1;
const IIR: u16 = 2;
const MCR: u16 = 4;
const IER_THR_EMPTY: u8 = 0x02;
const MCR_OUT2: u8 = 0x08;

const SECOND: u64 = 1_000_000_000;

/// By what an ISA interrupt reaches the processor.
enum Controller {
    IoApic { chip: IoApic, platform: Platform, processor: u8 },
    Pic,
}

impl Controller {
    /// The I/O APIC if there is one, else the 8259. The 8259 is set up in any case, to keep quiet.
    fn find(machine: &Machine) -> Self {
        pic::init();
        if let (Some(platform), Some(lapic)) = (machine.platform, machine.local_apic)
            && let Some(address) = platform.io_apic()
        {
            // SAFETY: the firmware says that it is there.
            let chip = unsafe { IoApic::at(address) };
            return Self::IoApic { chip, platform, processor: lapic.id() as u8 };
        }
        if let Some(lapic) = machine.local_apic {
            lapic.pass_pic();
        }
        Self::Pic
    }

    /// Lets an interrupt through. Returns its vector, and its way in words.
    fn connect(&self, irq: u8) -> (u8, String) {
        match self {
            Self::IoApic { chip, platform, processor } => {
                let (pin, trigger) = platform.isa_interrupt(irq);
                let vector = interrupts::APIC_VECTORS + irq;
                chip.route(pin, vector, *processor, trigger);
                (vector, format!("IRQ {irq}, I/O APIC pin {pin}"))
            }
            Self::Pic => (pic::unmask(irq), format!("IRQ {irq}, 8259")),
        }
    }

    /// Stops it again.
    fn disconnect(&self, irq: u8) {
        match self {
            Self::IoApic { chip, platform, .. } => chip.mask(platform.isa_interrupt(irq).0),
            Self::Pic => pic::mask(irq),
        }
    }
}

/// Interrupts that are due.
struct Due<'a> {
    source: &'a str,
    way: &'a str,
    vector: u8,
    /// How many of that vector there had been, and the TSC, before the source was started.
    before: (u64, u64),
    count: u64,
    /// Nanoseconds that the last of them takes at least.
    time: u64,
    /// Called after each.
    acknowledge: &'a dyn Fn(),
}

impl Due<'_> {
    /// Waits for them and prints what came. Returns whether they all did.
    ///
    /// The wait is a HLT if something else is sure to end it should the interrupt not come.
    fn show(&self, may_halt: bool, rate: Option<Rate>, report: &mut Report) -> bool {
        let Self { source, way, count, .. } = *self;
        let (before, begin) = self.before;
        let mut seen = 0;
        while seen < count && tsc::since(begin) < PATIENCE {
            let now = interrupts::count(self.vector) - before;
            if now > seen {
                seen = now;
                (self.acknowledge)();
            } else if may_halt {
                interrupts::wait(self.vector, before + seen);
            } else {
                hint::spin_loop();
            }
        }
        let taken = rate.map(|rate| rate.nanoseconds(interrupts::last(self.vector).saturating_sub(begin)));
        // The clocks have shown how well the TSC's rate is known.
        let in_time = taken.is_none_or(|taken| taken + taken / 1000 >= self.time);
        let time = taken.map_or(String::new(), |taken| format!(" after {} us", taken / 1000));
        let verdict = report.check(seen >= count && in_time);
        println!("  {source:17}  {way:21}  {seen} of {count}{time}: {verdict}");
        seen >= count
    }
}

/// Starts one source after the other and prints what comes. `others` are the processors that can be interrupted.
pub(crate) fn show(machine: &Machine, rate: Option<Rate>, others: &[u32], report: &mut Report) {
    println!("\nInterrupts");
    let controller = Controller::find(machine);
    ring0::enable_interrupts();

    // The PIT has been running for the clocks' sake: begin anew, so that nothing of that comes while it is being set up.
    pit::start(0);
    // From here it goes on until the end, and wakes the processor if something else fails to.
    let (vector, way) = controller.connect(PIT_IRQ);
    let before = before(vector);
    pit::start(PIT_DIVISOR);
    let time = 3 * u64::from(PIT_DIVISOR) * SECOND / pit::HZ;
    let due = Due { source: "PIT at 100 Hz", way: &way, vector, before, count: 3, time, acknowledge: &|| {} };
    let ticking = due.show(false, rate, report);

    show_rtc(&controller, ticking, rate, report);
    show_serial(&controller, ticking, rate, report);
    if let Some(lapic) = machine.local_apic {
        show_lapic(lapic, ticking, rate, others, report);
    }
    if let Some(hpet) = machine.hpet {
        pit::start(0); // so that its next interrupt is 55 ms away
        show_hpet(hpet, &controller, rate, report);
    }
    controller.disconnect(PIT_IRQ);
    ring0::disable_interrupts();
}

/// An interrupt of the first serial port, which has one as long as nothing is left to send.
fn show_serial(controller: &Controller, may_halt: bool, rate: Option<Rate>, report: &mut Report) {
    let (vector, way) = controller.connect(COM1_IRQ);
    let before = before(vector);
    console::with_port(|port| {
        outb(port + MCR, inb(port + MCR) | MCR_OUT2);
        outb(port + IER, IER_THR_EMPTY);
        inb(port + IIR);
        outb(port + IER, 0);
    });
    let due = Due { source: "COM1, all sent", way: &way, vector, before, count: 1, time: 0, acknowledge: &|| {} };
    due.show(may_halt, rate, report);
    controller.disconnect(COM1_IRQ);
}

/// The local APIC's timer, and interrupts to the other processors.
fn show_lapic(lapic: LocalApic, may_halt: bool, rate: Option<Rate>, others: &[u32], report: &mut Report) {
    let lapic_hz = clocks::lapic_hz();
    let before = before(LAPIC_VECTOR);
    let ticks = lapic_hz.unwrap_or(SECOND) * ONCE / SECOND;
    lapic.start_timer(ticks as u32, Some(LAPIC_VECTOR));
    let time = if lapic_hz.is_some() { ONCE } else { 0 };
    let (source, way, vector) = ("LAPIC timer, once", "local", LAPIC_VECTOR);
    Due { source, way, vector, before, count: 1, time, acknowledge: &|| {} }.show(may_halt, rate, report);

    if !others.is_empty() {
        let before = self::before(IPI_VECTOR);
        for &id in others {
            lapic.send(id, IPI_VECTOR);
        }
        let (source, way, vector) = ("IPI, one to each", "other processor", IPI_VECTOR);
        let count = others.len() as u64;
        Due { source, way, vector, before, count, time: 0, acknowledge: &|| {} }.show(false, rate, report);
    }
}

/// An interrupt of the HPET in the PIT's place.
fn show_hpet(hpet: Hpet, controller: &Controller, rate: Option<Rate>, report: &mut Report) {
    if !hpet.replace_pit() {
        println!("  The HPET can't replace the PIT.");
        return;
    }
    let (vector, way) = controller.connect(PIT_IRQ);
    let before = before(vector);
    hpet.interrupt_after((hpet.hz() * ONCE / SECOND) as u32);
    let due = Due { source: "HPET for the PIT", way: &way, vector, before, count: 1, time: ONCE, acknowledge: &|| {} };
    due.show(false, rate, report);
    hpet.release_pit();
}

/// How often a vector was delivered, and the TSC.
fn before(vector: u8) -> (u64, u64) {
    (interrupts::count(vector), tsc::now())
}

/// Periodic interrupts of the RTC. The first may come at once: its divider never stops.
fn show_rtc(controller: &Controller, may_halt: bool, rate: Option<Rate>, report: &mut Report) {
    let (vector, way) = controller.connect(rtc::IRQ);
    let before = before(vector);
    rtc::start_periodic(RTC_RATE);
    let (count, time) = (4, 3 * SECOND / RTC_HZ);
    let due = Due { source: "RTC at 1024 Hz", way: &way, vector, before, count, time, acknowledge: &rtc::acknowledge };
    due.show(may_halt, rate, report);
    rtc::stop_periodic();
    controller.disconnect(rtc::IRQ);
}
