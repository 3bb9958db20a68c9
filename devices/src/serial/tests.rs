//! The UART as a driver and as the host see it. Expected values are from the PC16550D data sheet; where QEMU's choice
//! is followed instead, the test says so.

use proptest::prelude::*;

use super::*;
use crate::backend::char::MemoryChar;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{IrqProbe, ManualClock, Shared, TimerQueue, lock, shared};

// A second copy of the constants, so that a wrong one is noticed.
const THR: u64 = 0;
const RBR: u64 = 0;
const DLL: u64 = 0;
const IER: u64 = 1;
const DLM: u64 = 1;
const IIR: u64 = 2;
const FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

const DATA_READY: u8 = 0x01;
const OVERRUN: u8 = 0x02;
const PARITY_ERROR: u8 = 0x04;
const FRAMING_ERROR: u8 = 0x08;
const BREAK: u8 = 0x10;
const IDLE: u8 = 0x60;
const FIFO_ERROR: u8 = 0x80;

/// 4 characters of 10 bits at 9600 baud: 4.166 666... ms.
const TIMEOUT_8N1_9600: u64 = 4_166_667;

struct Rig {
    uart: Shared<Uart>,
    irq: IrqProbe,
    host: MemoryChar,
    queue: TimerQueue,
    clock: std::sync::Arc<ManualClock>,
}

impl Rig {
    fn new() -> Self {
        let (manual, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock.clone());
        let timers = queue.timers();
        let owner = timers.owner();
        let (line, irq) = IrqLine::probed();
        let host = MemoryChar::default();
        let uart = shared(Uart::new(clock, timers, line, Box::new(host.clone())));
        queue.attach(owner, &uart);
        Self { uart, irq, host, queue, clock: manual }
    }

    /// 8 data bits, no parity, FIFOs on with a trigger level of 8, receive interrupts on.
    fn with_fifos() -> Self {
        let rig = Self::new();
        rig.out(LCR, 0x03);
        rig.out(FCR, 0x81);
        rig.out(IER, 0x01);
        rig
    }

    fn out(&self, register: u64, value: u8) {
        lock(&self.uart).write(0, register, 1, value.into());
    }

    fn inp(&self, register: u64) -> u8 {
        lock(&self.uart).read(0, register, 1) as u8
    }

    fn receive(&self, data: &[u8]) {
        lock(&self.uart).receive(data);
    }

    fn event(&self, event: CharEvent) {
        lock(&self.uart).event(event);
    }

    fn room(&self) -> usize {
        lock(&self.uart).can_receive()
    }

    fn step(&self, ns: u64) {
        let now = self.queue.clock().now();
        self.queue.step(&self.clock, now + ns);
    }

    fn subject() -> Subject<Uart> {
        let rig = Self::new();
        Subject {
            device: rig.uart,
            regions: vec![Uart::REGION],
            irqs: vec![rig.irq],
            keep: Box::new((rig.queue, rig.clock)),
        }
    }
}

#[test]
fn contract() {
    // MCR 08 and SCR 00 are QEMU's; the upper half of MSR shows the default inputs.
    let values = [0x00, 0x00, 0x01, 0x00, 0x08, 0x60, 0xb0, 0x00];
    let values: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(offset, &value)| ResetValue { region: 0, offset: offset as u64, size: 1, value })
        .collect();
    contract::check(Rig::subject, &values);
}

#[test]
fn registers_hold_their_bits_and_no_others() {
    let rig = Rig::new();
    for (register, mask) in [(IER, 0x0f), (LCR, 0x7f), (MCR, 0x1f), (SCR, 0xff)] {
        rig.out(register, if register == LCR { 0x7f } else { 0xff });
        assert_eq!(rig.inp(register), mask, "register {register}");
        rig.out(register, 0);
        assert_eq!(rig.inp(register), 0, "register {register}");
    }
}

#[test]
fn dlab_switches_to_the_divisor_latch() {
    let rig = Rig::new();
    rig.out(LCR, 0x83);
    rig.out(DLL, 0x01);
    rig.out(DLM, 0x00);
    assert_eq!((rig.inp(DLL), rig.inp(DLM)), (1, 0));
    let line = rig.host.line().expect("parameters reach the host");
    assert_eq!((line.baud, line.data_bits, line.parity, line.two_stop_bits), (115_200, 8, Parity::None, false));
    rig.out(DLM, 0x09);
    rig.out(DLL, 0x00);
    assert_eq!(rig.host.line().map(|line| line.baud), Some(50));
    rig.out(LCR, 0x03);
    assert_eq!((rig.inp(RBR), rig.inp(IER)), (0, 0));
    assert!(rig.host.take_output().is_empty());
}

#[test]
fn line_control_selects_the_format() {
    let rig = Rig::new();
    for (lcr, bits, parity, two) in [
        (0x00, 5, Parity::None, false),
        (0x0d, 6, Parity::Odd, true),
        (0x1a, 7, Parity::Even, false),
        (0x2b, 8, Parity::Mark, false),
        (0x3f, 8, Parity::Space, true),
    ] {
        rig.out(LCR, 0x03);
        rig.out(LCR, lcr);
        let line = rig.host.line().expect("parameters reach the host");
        assert_eq!((line.data_bits, line.parity, line.two_stop_bits), (bits, parity, two), "LCR {lcr:#x}");
    }
}

#[test]
fn a_zero_divisor_is_survived() {
    let rig = Rig::with_fifos();
    rig.out(LCR, 0x83);
    rig.out(DLL, 0);
    rig.out(LCR, 0x03);
    rig.receive(b"x");
    rig.step(1_000_000);
    assert_eq!(rig.inp(IIR), 0xcc);
}

#[test]
fn characters_go_out_at_once() {
    let rig = Rig::new();
    for byte in *b"hi" {
        rig.out(THR, byte);
        assert_eq!(rig.inp(LSR), IDLE);
    }
    assert_eq!(rig.host.take_output(), b"hi");
    assert_eq!(rig.irq.rising_edges(), 0);
}

#[test]
fn transmitter_interrupt_follows_the_data_sheet() {
    let rig = Rig::new();
    rig.out(IER, 0x02);
    assert!(rig.irq.level(), "enabling it with an empty transmitter raises it");
    assert_eq!(rig.inp(IIR), 0x02);
    assert!(!rig.irq.level(), "reading the IIR takes it back");
    assert_eq!(rig.inp(IIR), 0x01);

    rig.out(IER, 0x02);
    assert!(!rig.irq.level(), "writing the same value is no new enable");
    rig.out(IER, 0x00);
    rig.out(IER, 0x02);
    assert!(rig.irq.level(), "enabling it again raises it again");

    let edges = rig.irq.rising_edges();
    rig.out(THR, b'a');
    rig.out(THR, b'b');
    assert_eq!(rig.irq.rising_edges(), edges + 2, "each write takes it back, each character sent raises it");
    rig.out(IER, 0x00);
    assert!(!rig.irq.level());
}

#[test]
fn the_iir_read_clears_only_what_it_reports() {
    let rig = Rig::new();
    rig.out(IER, 0x03);
    rig.receive(b"x");
    assert_eq!(rig.inp(IIR), 0x04);
    assert_eq!(rig.inp(RBR), b'x');
    assert_eq!(rig.inp(IIR), 0x02, "the transmitter's interrupt was not the one reported");
    assert_eq!(rig.inp(IIR), 0x01);
}

#[test]
fn a_full_host_holds_the_transmitter_and_loses_nothing() {
    let rig = Rig::new();
    rig.host.set_room(Some(0));
    rig.out(IER, 0x02);
    rig.inp(IIR);
    rig.out(THR, b'a');
    assert_eq!(rig.inp(LSR), 0x20, "in the shift register: THR free, transmitter busy");
    assert_eq!(rig.inp(IIR), 0x02);
    rig.out(THR, b'b');
    assert_eq!(rig.inp(LSR), 0x00);
    assert!(!rig.irq.level());
    rig.host.set_room(Some(1));
    rig.event(CharEvent::Writable);
    assert_eq!(rig.inp(LSR), 0x20);
    assert!(rig.irq.level());
    rig.host.set_room(None);
    rig.event(CharEvent::Writable);
    assert_eq!(rig.inp(LSR), IDLE);
    assert_eq!(rig.host.take_output(), b"ab");
}

#[test]
fn the_transmit_fifo_takes_sixteen_and_reports_when_empty() {
    let rig = Rig::new();
    rig.out(FCR, 0x01);
    rig.host.set_room(Some(0));
    rig.out(THR, b'0');
    for byte in b'a'..=b'p' {
        rig.out(THR, byte);
    }
    rig.out(THR, b'!');
    assert_eq!(rig.inp(LSR), 0x00);
    rig.out(IER, 0x02);
    assert_eq!(rig.inp(IIR), 0xc1, "no interrupt until the FIFO is empty");
    rig.host.set_room(Some(16));
    rig.event(CharEvent::Writable);
    assert_eq!(rig.inp(LSR), 0x20);
    assert_eq!(rig.inp(IIR), 0xc2);
    rig.host.set_room(None);
    rig.event(CharEvent::Writable);
    assert_eq!(rig.inp(LSR), IDLE);
    assert_eq!(rig.host.take_output(), b"0abcdefghijklmnop");
}

#[test]
fn xmit_fifo_reset_keeps_the_shift_register() {
    let rig = Rig::new();
    rig.out(FCR, 0x01);
    rig.host.set_room(Some(0));
    rig.out(THR, b'0');
    rig.out(THR, b'1');
    rig.out(FCR, 0x05);
    assert_eq!(rig.inp(LSR), 0x20);
    rig.host.set_room(None);
    rig.event(CharEvent::Writable);
    assert_eq!(rig.host.take_output(), b"0");
}

#[test]
fn without_fifos_a_second_character_overruns_the_first() {
    let rig = Rig::new();
    rig.out(IER, 0x05);
    assert_eq!(rig.room(), 1);
    rig.receive(b"a");
    assert_eq!(rig.room(), 0);
    assert_eq!(rig.inp(IIR), 0x04);
    rig.receive(b"b");
    assert_eq!(rig.inp(IIR), 0x06);
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY | OVERRUN);
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY, "reading the LSR clears the error");
    assert_eq!(rig.inp(RBR), b'b');
    assert_eq!(rig.inp(LSR), IDLE);
    assert!(!rig.irq.level());
    assert_eq!(rig.inp(RBR), b'b', "the buffer keeps its contents");
    assert_eq!(rig.host.times_wanted(), 1);
}

#[test]
fn with_fifos_an_overrun_keeps_the_first_sixteen() {
    let rig = Rig::with_fifos();
    rig.receive(b"0123456789abcdefXY");
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY | OVERRUN);
    assert_eq!(rig.room(), 0);
    let read: Vec<_> = (0..16).map(|_| rig.inp(RBR)).collect();
    assert_eq!(read, b"0123456789abcdef");
    assert_eq!(rig.inp(LSR), IDLE);
    assert_eq!(rig.host.times_wanted(), 1);
}

#[test]
fn trigger_levels() {
    for (fcr, level) in [(0x01, 1), (0x41, 4), (0x81, 8), (0xc1, 14)] {
        let rig = Rig::new();
        rig.out(IER, 0x01);
        rig.out(FCR, fcr);
        assert_eq!(rig.room(), level, "input is offered up to the trigger level");
        for count in 1..=16 {
            rig.receive(b"x");
            assert_eq!(rig.inp(IIR), if count < level { 0xc1 } else { 0xc4 }, "level {level}, {count} characters");
        }
        for count in (0..16).rev() {
            rig.inp(RBR);
            assert_eq!(rig.irq.level(), count >= level, "level {level}, {count} characters left");
        }
    }
}

#[test]
fn input_past_the_trigger_level_is_taken_one_by_one() {
    let rig = Rig::with_fifos();
    rig.receive(b"01234");
    assert_eq!(rig.room(), 3);
    rig.receive(b"567");
    for _ in 8..16 {
        assert_eq!(rig.room(), 1);
        rig.receive(b"x");
    }
    assert_eq!(rig.room(), 0);
    assert_eq!(rig.host.times_wanted(), 0);
    rig.inp(RBR);
    assert_eq!(rig.host.times_wanted(), 1);
}

#[test]
fn a_character_below_the_trigger_level_times_out() {
    let rig = Rig::with_fifos();
    rig.receive(b"ab");
    rig.step(TIMEOUT_8N1_9600 - 1);
    assert_eq!(rig.inp(IIR), 0xc1);
    assert!(!rig.irq.level());
    rig.step(1);
    assert!(rig.irq.level());
    assert_eq!(rig.inp(IIR), 0xcc);
    assert_eq!(rig.inp(RBR), b'a');
    assert_eq!(rig.inp(IIR), 0xc1, "a read restarts the timer");
    rig.step(TIMEOUT_8N1_9600);
    assert_eq!(rig.inp(IIR), 0xcc);
    rig.inp(RBR);
    assert_eq!(rig.queue.next_deadline(), None, "an empty FIFO cannot time out");
    assert_eq!(rig.irq.rising_edges(), 2);
}

#[test]
fn new_characters_put_the_timeout_off_but_do_not_take_it_back() {
    let rig = Rig::with_fifos();
    rig.receive(b"a");
    rig.step(TIMEOUT_8N1_9600 - 1);
    rig.receive(b"b");
    rig.step(TIMEOUT_8N1_9600 - 1);
    assert_eq!(rig.inp(IIR), 0xc1);
    rig.step(1);
    assert_eq!(rig.inp(IIR), 0xcc);
    rig.receive(b"c");
    assert_eq!(rig.inp(IIR), 0xcc);
}

#[test]
fn the_timeout_counts_the_programmed_character() {
    // 5 data bits, parity, 1.5 stop bits at 115200 baud: 4 times 8.5 bits of 8680.56 ns.
    let rig = Rig::with_fifos();
    rig.out(LCR, 0x80);
    rig.out(DLL, 1);
    rig.out(LCR, 0x0c);
    rig.receive(b"a");
    rig.step(295_138);
    assert_eq!(rig.inp(IIR), 0xc1);
    rig.step(1);
    assert_eq!(rig.inp(IIR), 0xcc);
}

#[test]
fn the_timeout_shows_when_the_interrupt_is_enabled_later() {
    let rig = Rig::with_fifos();
    rig.out(IER, 0x00);
    rig.receive(b"a");
    assert_eq!(rig.queue.next_deadline(), None, "an edge that nobody sees needs no timer");
    rig.step(TIMEOUT_8N1_9600);
    rig.out(IER, 0x01);
    assert_eq!(rig.inp(IIR), 0xcc);
}

#[test]
fn switching_the_fifos_discards_their_contents() {
    let rig = Rig::with_fifos();
    rig.receive(b"abc");
    rig.out(IER, 0x02);
    rig.inp(IIR);
    rig.out(FCR, 0x00);
    assert_eq!(rig.inp(LSR), IDLE);
    assert_eq!(rig.inp(IIR), 0x02, "the transmitter interrupt is immediate after changing FCR0");
    assert_eq!(rig.inp(IIR), 0x01);
    rig.receive(b"d");
    rig.out(FCR, 0x06);
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY, "without FCR0 the other bits are not programmed");
    rig.out(FCR, 0x01);
    assert_eq!(rig.inp(LSR), IDLE);
}

#[test]
fn rcvr_fifo_reset_takes_characters_and_timeout_away() {
    let rig = Rig::with_fifos();
    rig.receive(b"abc");
    rig.step(TIMEOUT_8N1_9600);
    assert!(rig.irq.level());
    rig.out(FCR, 0x83);
    assert!(!rig.irq.level());
    assert_eq!(rig.inp(LSR), IDLE);
    assert_eq!(rig.inp(RBR), 0);
}

#[test]
fn a_break_is_a_zero_character_with_errors_of_its_own() {
    let rig = Rig::with_fifos();
    rig.out(IER, 0x05);
    rig.receive(b"a");
    rig.event(CharEvent::Break);
    rig.receive(b"b");
    assert_eq!(rig.inp(IIR), 0xc1);
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY | FIFO_ERROR, "not revealed before it is at the top");
    assert_eq!(rig.inp(RBR), b'a');
    assert_eq!(rig.inp(IIR), 0xc6);
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY | FIFO_ERROR | BREAK | FRAMING_ERROR);
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY, "no further error in the FIFO");
    assert_eq!(rig.inp(RBR), 0);
    assert_eq!(rig.inp(RBR), b'b');
    assert_eq!(rig.inp(LSR), IDLE);
}

#[test]
fn a_break_fails_the_parity_that_wants_a_one() {
    for (lcr, error) in [(0x0b, PARITY_ERROR), (0x1b, 0), (0x2b, PARITY_ERROR), (0x3b, 0)] {
        let rig = Rig::new();
        rig.out(LCR, lcr);
        rig.event(CharEvent::Break);
        assert_eq!(rig.inp(LSR), IDLE | DATA_READY | BREAK | FRAMING_ERROR | error, "LCR {lcr:#x}");
    }
}

#[test]
fn set_break_reaches_the_host() {
    let rig = Rig::new();
    rig.out(LCR, 0x43);
    assert!(rig.host.breaking());
    rig.out(MCR, 0x10);
    assert!(!rig.host.breaking(), "in loopback the output is marking");
    rig.out(MCR, 0x00);
    assert!(rig.host.breaking());
    lock(&rig.uart).reset(ResetKind::System);
    assert!(!rig.host.breaking());
}

#[test]
fn loopback_returns_characters() {
    let rig = Rig::new();
    rig.out(LCR, 0x02);
    rig.out(MCR, 0x10);
    rig.out(IER, 0x01);
    rig.out(THR, 0xc1);
    assert_eq!(rig.inp(LSR), IDLE | DATA_READY);
    assert_eq!(rig.inp(IIR), 0x04);
    assert_eq!(rig.inp(RBR), 0x41, "seven bits");
    assert!(rig.host.take_output().is_empty());
    rig.receive(b"x");
    assert_eq!(rig.inp(LSR), IDLE, "the input pin is disconnected");
    assert_eq!(rig.room(), 0, "the host keeps its input");
    rig.out(MCR, 0x00);
    assert_eq!(rig.host.times_wanted(), 1);
}

#[test]
fn loopback_measures_the_fifo() {
    // How Linux's 8250 driver finds the depth: send 256 characters to itself and count what is left.
    let rig = Rig::new();
    rig.out(FCR, 0x07);
    rig.out(MCR, 0x10);
    rig.out(LCR, 0x03);
    for value in 0..=255 {
        rig.out(THR, value);
    }
    let mut count = 0;
    while rig.inp(LSR) & DATA_READY != 0 {
        assert_eq!(rig.inp(RBR), count);
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn loopback_turns_modem_outputs_into_inputs() {
    let rig = Rig::new();
    rig.out(MCR, 0x0b);
    assert_eq!(rig.host.modem_outputs(), (true, true));
    rig.out(MCR, 0x1a);
    assert_eq!(rig.host.modem_outputs(), (false, false), "the pins go inactive");
    assert_eq!(rig.inp(MSR), 0x92, "RTS is CTS, OUT2 is DCD; DSR has gone");
    assert_eq!(rig.inp(MSR), 0x90, "reading clears the deltas");
    for (mcr, msr) in [(0x10, 0x09), (0x11, 0x22), (0x12, 0x13), (0x14, 0x41), (0x18, 0x8c), (0x1f, 0xf3)] {
        rig.out(MCR, mcr);
        assert_eq!(rig.inp(MSR), msr, "MCR {mcr:#x}");
    }
    rig.out(MCR, 0x03);
    assert_eq!(rig.inp(MSR) & 0xf0, 0xb0, "back to the pins");
    assert_eq!(rig.host.modem_outputs(), (true, true));
}

#[test]
fn modem_inputs_of_the_host_interrupt() {
    let rig = Rig::new();
    rig.out(IER, 0x08);
    rig.event(CharEvent::ModemInputs(ModemInputs { cts: false, dsr: true, ri: true, dcd: true }));
    assert!(rig.irq.level());
    assert_eq!(rig.inp(IIR), 0x00);
    assert_eq!(rig.inp(MSR), 0xe1, "CTS has changed; RI only counts when it goes away");
    assert!(!rig.irq.level());
    rig.event(CharEvent::ModemInputs(ModemInputs { cts: false, dsr: true, ri: false, dcd: true }));
    assert_eq!(rig.inp(MSR), 0xa4);
}

#[test]
fn interrupts_are_ranked() {
    let rig = Rig::new();
    rig.out(IER, 0x0f);
    rig.event(CharEvent::ModemInputs(ModemInputs { cts: false, ..ModemInputs::default() }));
    rig.event(CharEvent::Break);
    assert_eq!(rig.inp(IIR), 0x06);
    rig.inp(LSR);
    assert_eq!(rig.inp(IIR), 0x04);
    rig.inp(RBR);
    assert_eq!(rig.inp(IIR), 0x02);
    assert_eq!(rig.inp(IIR), 0x00);
    rig.inp(MSR);
    assert_eq!(rig.inp(IIR), 0x01);
    assert_eq!(rig.irq.rising_edges(), 1, "one level from the first to the last");
}

#[test]
fn out2_does_not_gate_the_interrupt() {
    // As QEMU's machine, whose guests find the line connected whatever OUT2 says.
    let rig = Rig::new();
    rig.out(MCR, 0x03);
    rig.out(IER, 0x02);
    assert!(rig.irq.level());
}

#[test]
fn a_reset_makes_room_for_waiting_input() {
    let rig = Rig::new();
    rig.receive(b"x");
    lock(&rig.uart).reset(ResetKind::System);
    assert_eq!(rig.inp(LSR), IDLE);
    assert_eq!(rig.host.times_wanted(), 1);
}

#[test]
fn state_travels_with_fifos_interrupt_and_timer() {
    let rig = Rig::with_fifos();
    rig.out(MCR, 0x0b);
    rig.receive(b"ab");
    rig.host.set_room(Some(0));
    rig.out(THR, b'x');
    let state = lock(&rig.uart).save();

    let twin = Rig::new();
    lock(&twin.uart).load(&state).expect("loads");
    assert_eq!(twin.host.modem_outputs(), (true, true));
    assert_eq!(twin.inp(IIR), 0xc1);
    twin.step(TIMEOUT_8N1_9600);
    assert!(twin.irq.level(), "the timer runs on");
    assert_eq!((twin.inp(RBR), twin.inp(RBR)), (b'a', b'b'));
    twin.event(CharEvent::Writable);
    assert_eq!(twin.host.take_output(), b"x");
}

#[test]
fn impossible_states_are_refused() {
    let rig = Rig::with_fifos();
    let good = lock(&rig.uart).save();
    for (field, value) in [
        ("ier", serde_json::json!(0x10)),
        ("fcr", serde_json::json!(0x02)),
        ("mcr", serde_json::json!(0x20)),
        ("line_errors", serde_json::json!(0x01)),
        ("received", serde_json::json!(vec![serde_json::json!({ "data": 1, "errors": 0 }); 17])),
        ("received", serde_json::json!([{ "data": 1, "errors": 1 }])),
        ("transmit", serde_json::json!(vec![0; 17])),
        ("timeout_at", serde_json::json!(5)),
        ("divisor", serde_json::json!(0x1_0000)),
    ] {
        let mut bad = good.clone();
        bad.data[field] = value;
        let error = lock(&rig.uart).load(&bad).expect_err(field);
        assert!(!error.to_string().is_empty());
        assert_eq!(lock(&rig.uart).save(), good);
    }
}

proptest! {
    /// Whatever the driver and the host do: the interrupt line is the IIR's bit 0, and what is saved loads.
    #[test]
    fn line_and_iir_agree(steps in prop::collection::vec((0..14u64, any::<u8>()), 0..200)) {
        let rig = Rig::new();
        for (step, value) in steps {
            match step {
                0..8 => rig.out(step, value),
                8 => drop(rig.inp(u64::from(value % 8))),
                9 => rig.receive(&vec![value; usize::from(value % 20)]),
                10 => rig.event(CharEvent::Break),
                11 => {
                    rig.host.set_room((value & 1 == 0).then_some(usize::from(value)));
                    rig.event(CharEvent::Writable);
                }
                12 => rig.event(CharEvent::ModemInputs(ModemInputs {
                    cts: value & 1 != 0,
                    dsr: value & 2 != 0,
                    ri: value & 4 != 0,
                    dcd: value & 8 != 0,
                })),
                _ => rig.step(u64::from(value) << 16),
            }
            let level = rig.irq.level();
            prop_assert_eq!(rig.inp(IIR) & 1 == 0, level);
        }
        let state = lock(&rig.uart).save();
        let twin = Rig::new();
        twin.step(rig.queue.clock().now());
        lock(&twin.uart).load(&state).expect("a reachable state loads");
        prop_assert_eq!(twin.irq.level(), rig.irq.level());
        prop_assert_eq!(lock(&twin.uart).save(), state);
    }
}
