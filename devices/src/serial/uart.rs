//! 16550A UART: National Semiconductor PC16550D (data sheet TL/C/8652, June 1995), eight ports.
//!
//! Everything a driver can see is here: both FIFOs with trigger levels and the character timeout, the line status of
//! every received character, loopback of data and modem lines, modem status deltas, break, the divisor latch.
//!
//! Where the chip leaves a choice, or a virtual machine calls for one, this model does what users of QEMU expect:
//!
//! - Nothing is paced by the baud rate: a character leaves as fast as the back end takes it, and input arrives as
//!   fast as the driver reads. Only the character timeout is counted in the programmed bit times. A back end that is
//!   full makes THRE stay clear; no byte is lost.
//! - Input is offered up to the trigger level and then one character at a time, so that the driver's choice of a
//!   trigger level means something; a well-behaved host never causes an overrun.
//! - Characters cross the back end as whole bytes whatever the word length: programs that print without programming
//!   the LCR first (it resets to 5 bits) are read all the same. Inside the loopback the word length counts.
//! - OUT2 does not gate the interrupt (on many cards it does), and like there MCR starts with OUT2 set. DLL, DLM and
//!   SCR, which the chip's reset leaves alone, start anew.
//! - A divisor of 0, which the data sheet does not define, counts as 1.
//!
//! Not emulated: the DMA handshake pins (FCR bit 3 selects their mode; the PC leaves them unconnected), and writes to
//! LSR and MSR, which the data sheet reserves for factory tests.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::registers::{self as reg, Fcr, Ier, InterruptId, Lcr, Lsr, Mcr, Msr};
use crate::backend::char::{CharBackend, CharClient, CharEvent, LineParameters, ModemInputs, Parity};
use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, GuestLog, Inspector, IoDevice, IrqLine, Region, ResetKind, State,
    StateError, TimerClient,
};

/// The character timeout.
const TIMEOUT: u32 = 0;

/// A received character and the errors that came with it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Received {
    data: u8,
    /// PE, FE and BI as in the LSR; cleared when they are revealed there.
    errors: u8,
}

/// What the chip drives at its pins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outputs {
    dtr: bool,
    rts: bool,
    breaking: bool,
}

/// A 16550A UART.
pub struct Uart {
    clock: Clock,
    timers: DeviceTimers,
    irq: IrqLine,
    backend: Box<dyn CharBackend>,
    log: GuestLog,
    /// Deadline of the timer as armed in the queue.
    armed: Option<u64>,
    /// Pins as last told to the back end.
    outputs: Outputs,
    /// Line parameters as last told to the back end.
    line: LineParameters,

    ier: Ier,
    fcr: Fcr,
    lcr: Lcr,
    mcr: Mcr,
    scr: u8,
    divisor: u16,
    /// Latched error bits of the LSR: OE, PE, FE, BI.
    line_errors: u8,
    /// Delta bits of the MSR.
    modem_deltas: u8,
    /// The character read last: what RBR shows when there is nothing new.
    rbr: u8,
    /// Receive FIFO; holds at most one character in 16450 mode.
    received: VecDeque<Received>,
    /// Transmit FIFO; in 16450 mode the THR.
    transmit: VecDeque<u8>,
    /// Transmitter shift register: the character that the back end has not taken yet.
    shift: Option<u8>,
    /// The transmitter empty interrupt is pending (if enabled).
    thre_pending: bool,
    /// When the character timeout becomes (or became) pending.
    timeout_at: Option<u64>,
    inputs: ModemInputs,
}

impl Uart {
    /// The eight registers.
    pub const REGION: Region = Region::ports(0, "serial", reg::COUNT, AccessRule::BYTE);

    /// A UART in its reset state. `timers` must be attached to it by the board.
    pub fn new(clock: Clock, timers: DeviceTimers, irq: IrqLine, backend: Box<dyn CharBackend>) -> Self {
        let mut uart = Self {
            clock,
            timers,
            irq,
            backend,
            log: GuestLog::default(),
            armed: None,
            outputs: Outputs::default(),
            line: line_parameters(Lcr::new(), reg::RESET_DIVISOR),
            ier: Ier::new(),
            fcr: Fcr::new(),
            lcr: Lcr::new(),
            mcr: Mcr::new(),
            scr: 0,
            divisor: reg::RESET_DIVISOR,
            line_errors: 0,
            modem_deltas: 0,
            rbr: 0,
            received: VecDeque::with_capacity(reg::FIFO_DEPTH),
            transmit: VecDeque::with_capacity(reg::FIFO_DEPTH),
            shift: None,
            thre_pending: false,
            timeout_at: None,
            inputs: ModemInputs::default(),
        };
        uart.set_reset_values();
        uart
    }

    fn set_reset_values(&mut self) {
        self.ier = Ier::new();
        self.fcr = Fcr::new();
        self.lcr = Lcr::new();
        self.mcr = Mcr::new().with_out2(true);
        self.scr = 0;
        self.divisor = reg::RESET_DIVISOR;
        self.line_errors = 0;
        self.modem_deltas = 0;
        self.rbr = 0;
        self.received.clear();
        self.transmit.clear();
        self.shift = None;
        self.thre_pending = false;
        self.timeout_at = None;
    }

    /// Whether the interrupt output is active.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.irq.level()
    }

    /// Number of characters a FIFO holds in the present mode.
    fn depth(&self) -> usize {
        if self.fcr.fifo_enable() { reg::FIFO_DEPTH } else { 1 }
    }

    fn lsr(&self) -> Lsr {
        let fifo_error = self.line_errors & Lsr::CHARACTER_ERRORS != 0 || self.received.iter().any(|c| c.errors != 0);
        Lsr::from(self.line_errors)
            .with_data_ready(!self.received.is_empty())
            .with_thr_empty(self.transmit.is_empty())
            .with_transmitter_empty(self.transmit.is_empty() && self.shift.is_none())
            .with_fifo_error(self.fcr.fifo_enable() && fifo_error)
    }

    /// The modem inputs as the status register sees them: the pins, or in loopback the four outputs.
    fn modem_inputs(&self) -> ModemInputs {
        if self.mcr.loopback() {
            ModemInputs { cts: self.mcr.rts(), dsr: self.mcr.dtr(), ri: self.mcr.out1(), dcd: self.mcr.out2() }
        } else {
            self.inputs
        }
    }

    fn msr(&self) -> Msr {
        let inputs = self.modem_inputs();
        Msr::from(self.modem_deltas).with_cts(inputs.cts).with_dsr(inputs.dsr).with_ri(inputs.ri).with_dcd(inputs.dcd)
    }

    /// Latches what changed since the modem inputs were `before`.
    fn latch_modem_changes(&mut self, before: ModemInputs) {
        let now = self.modem_inputs();
        self.modem_deltas |= u8::from(
            Msr::new()
                .with_delta_cts(before.cts != now.cts)
                .with_delta_dsr(before.dsr != now.dsr)
                .with_trailing_edge_ri(before.ri && !now.ri)
                .with_delta_dcd(before.dcd != now.dcd),
        );
    }

    fn timeout_pending(&self) -> bool {
        self.timeout_at.is_some_and(|deadline| deadline <= self.clock.now())
    }

    /// The strongest interrupt that is pending and enabled.
    fn interrupt_id(&self) -> InterruptId {
        if self.ier.elsi() && self.line_errors != 0 {
            return InterruptId::ReceiverLineStatus;
        }
        if self.ier.erbfi() && !self.received.is_empty() {
            if self.timeout_pending() {
                return InterruptId::CharacterTimeout;
            }
            if !self.fcr.fifo_enable() || self.received.len() >= self.fcr.trigger_level() {
                return InterruptId::ReceivedDataAvailable;
            }
        }
        if self.ier.etbei() && self.thre_pending {
            return InterruptId::TransmitterEmpty;
        }
        if self.ier.edssi() && self.modem_deltas != 0 {
            return InterruptId::ModemStatus;
        }
        InterruptId::None
    }

    /// Drives the interrupt line, and arms the timer if the character timeout is what would change it next.
    fn update_interrupt(&mut self) {
        let quiet = self.interrupt_id() == InterruptId::None;
        self.irq.set(!quiet);
        let deadline = self.timeout_at.filter(|_| quiet && self.ier.erbfi());
        if self.armed != deadline {
            self.timers.set(TIMEOUT, deadline);
            self.armed = deadline;
        }
    }

    /// Tells the back end what changed at the pins.
    fn update_outputs(&mut self) {
        let connected = !self.mcr.loopback();
        let outputs = Outputs {
            dtr: connected && self.mcr.dtr(),
            rts: connected && self.mcr.rts(),
            breaking: connected && self.lcr.set_break(),
        };
        let before = std::mem::replace(&mut self.outputs, outputs);
        if (before.dtr, before.rts) != (outputs.dtr, outputs.rts) {
            self.backend.set_modem_outputs(outputs.dtr, outputs.rts);
        }
        if before.breaking != outputs.breaking {
            self.backend.set_break(outputs.breaking);
        }
    }

    /// Tells the back end when the format or speed of characters changed.
    fn update_line(&mut self) {
        let line = line_parameters(self.lcr, self.divisor);
        if self.line != line {
            self.line = line;
            self.backend.set_line(line);
        }
    }

    /// Asks the host for input if there was no room `before` and now there is.
    fn offer_room(&mut self, before: usize) {
        if before == 0 && self.can_receive() > 0 {
            self.backend.input_wanted();
        }
    }

    /// A character has arrived in the receiver shift register.
    fn receive_character(&mut self, character: Received) {
        if self.received.len() >= self.depth() {
            self.line_errors |= u8::from(Lsr::new().with_overrun(true));
            // A full FIFO keeps its contents; the single buffer of the 16450 is overwritten.
            if !self.fcr.fifo_enable() {
                self.received.clear();
            }
        }
        if self.received.len() < self.depth() {
            self.received.push_back(character);
            self.reveal_errors();
        }
        // New characters put the timeout off, but don't take back one that has occurred.
        if !self.timeout_pending() {
            self.restart_timeout();
        }
    }

    /// The errors of the character at the top of the FIFO show in the LSR.
    fn reveal_errors(&mut self) {
        if let Some(top) = self.received.front_mut() {
            self.line_errors |= std::mem::take(&mut top.errors);
        }
    }

    fn restart_timeout(&mut self) {
        let counting = self.fcr.fifo_enable() && !self.received.is_empty();
        self.timeout_at = counting.then(|| self.clock.now().saturating_add(timeout_ns(self.lcr, self.divisor)));
    }

    fn read_rbr(&mut self) -> u8 {
        let room = self.can_receive();
        if let Some(character) = self.received.pop_front() {
            self.rbr = character.data;
            self.reveal_errors();
            self.restart_timeout();
            self.update_interrupt();
            self.offer_room(room);
        } else if self.fcr.fifo_enable() {
            return 0;
        }
        self.rbr
    }

    fn iir(&self) -> u8 {
        let fifos = if self.fcr.fifo_enable() { reg::IIR_FIFOS_ENABLED } else { 0 };
        self.interrupt_id() as u8 | fifos
    }

    fn read_iir(&mut self) -> u8 {
        let iir = self.iir();
        if self.interrupt_id() == InterruptId::TransmitterEmpty {
            self.thre_pending = false;
            self.update_interrupt();
        }
        iir
    }

    fn read_lsr(&mut self) -> u8 {
        let lsr = self.lsr();
        if self.line_errors != 0 {
            self.line_errors = 0;
            self.update_interrupt();
        }
        lsr.into()
    }

    fn read_msr(&mut self) -> u8 {
        let msr = self.msr();
        if self.modem_deltas != 0 {
            self.modem_deltas = 0;
            self.update_interrupt();
        }
        msr.into()
    }

    fn write_thr(&mut self, value: u8) {
        if self.transmit.len() >= self.depth() {
            self.log.warn("serial", format_args!("the driver wrote {value:#04x} to a full transmitter"));
            if self.fcr.fifo_enable() {
                return;
            }
            self.transmit.clear();
        }
        self.transmit.push_back(value);
        // The line drops before it can rise again: drivers of edge-triggered interrupts count on it.
        self.thre_pending = false;
        self.update_interrupt();
        self.run_transmitter();
    }

    /// Sends what the back end takes.
    fn run_transmitter(&mut self) {
        let was_empty = self.transmit.is_empty();
        while let Some(data) = self.shift.take().or_else(|| self.transmit.pop_front()) {
            if self.mcr.loopback() {
                self.receive_character(Received { data: data & self.lcr.data_mask(), errors: 0 });
            } else if self.backend.write(&[data]) == 0 {
                self.shift = Some(data);
                break;
            }
        }
        if !was_empty && self.transmit.is_empty() {
            self.thre_pending = true;
        }
        self.update_interrupt();
    }

    fn write_ier(&mut self, value: u8) {
        let before = self.ier;
        self.ier = Ier::from(value & 0x0f);
        if self.ier.etbei() && !before.etbei() {
            self.thre_pending = self.transmit.is_empty();
        }
        self.update_interrupt();
    }

    fn write_fcr(&mut self, value: u8) {
        let room = self.can_receive();
        let value = Fcr::from(value);
        let mode_changes = value.fifo_enable() != self.fcr.fifo_enable();
        if value.fifo_enable() {
            self.fcr = value.with_rcvr_reset(false).with_xmit_reset(false);
        } else {
            self.fcr.set_fifo_enable(false);
        }
        if mode_changes || (value.fifo_enable() && value.rcvr_reset()) {
            self.received.clear();
            self.line_errors &= !Lsr::CHARACTER_ERRORS;
            self.timeout_at = None;
        }
        if mode_changes || (value.fifo_enable() && value.xmit_reset()) {
            // "The first transmitter interrupt after changing FCR0 will be immediate."
            self.thre_pending |= mode_changes || !self.transmit.is_empty();
            self.transmit.clear();
        }
        self.update_interrupt();
        self.offer_room(room);
    }

    fn write_lcr(&mut self, value: u8) {
        self.lcr = Lcr::from(value);
        self.update_outputs();
        self.update_line();
    }

    fn write_divisor(&mut self, divisor: u16) {
        self.divisor = divisor;
        self.update_line();
    }

    fn write_mcr(&mut self, value: u8) {
        let room = self.can_receive();
        let inputs = self.modem_inputs();
        self.mcr = Mcr::from(value & 0x1f);
        self.latch_modem_changes(inputs);
        self.update_outputs();
        // A character that waited for the back end goes to the receiver when loopback comes on.
        self.run_transmitter();
        self.offer_room(room);
    }

    fn receive_break(&mut self) {
        if self.mcr.loopback() {
            return;
        }
        // During a break the line is spacing where the parity and stop bits should be.
        let errors = Lsr::new()
            .with_break_interrupt(true)
            .with_framing(true)
            .with_parity(matches!(self.lcr.parity_kind(), Parity::Odd | Parity::Mark));
        self.receive_character(Received { data: 0, errors: errors.into() });
        self.update_interrupt();
    }
}

fn line_parameters(lcr: Lcr, divisor: u16) -> LineParameters {
    LineParameters {
        baud: reg::MAX_BAUD / u32::from(divisor.max(1)),
        data_bits: lcr.data_bits(),
        parity: lcr.parity_kind(),
        two_stop_bits: lcr.two_stop_bits(),
    }
}

/// Duration of four characters with their start, parity and stop bits.
fn timeout_ns(lcr: Lcr, divisor: u16) -> u64 {
    // Half a bit lasts 8 crystal periods times the divisor.
    let periods = 4 * lcr.half_bits() * 8 * u64::from(divisor.max(1));
    reg::CRYSTAL.ns_at(periods)
}

impl IoDevice for Uart {
    fn read(&mut self, _region: u16, offset: u64, _size: u8) -> u64 {
        let [dll, dlm] = self.divisor.to_le_bytes();
        let value = match offset {
            reg::RBR_THR_DLL if self.lcr.dlab() => dll,
            reg::RBR_THR_DLL => self.read_rbr(),
            reg::IER_DLM if self.lcr.dlab() => dlm,
            reg::IER_DLM => self.ier.into(),
            reg::IIR_FCR => self.read_iir(),
            reg::LCR => self.lcr.into(),
            reg::MCR => self.mcr.into(),
            reg::LSR => self.read_lsr(),
            reg::MSR => self.read_msr(),
            reg::SCR => self.scr,
            _ => 0xff,
        };
        value.into()
    }

    fn write(&mut self, _region: u16, offset: u64, _size: u8, value: u64) {
        let [value, ..] = value.to_le_bytes();
        let [dll, dlm] = self.divisor.to_le_bytes();
        match offset {
            reg::RBR_THR_DLL if self.lcr.dlab() => self.write_divisor(u16::from_le_bytes([value, dlm])),
            reg::RBR_THR_DLL => self.write_thr(value),
            reg::IER_DLM if self.lcr.dlab() => self.write_divisor(u16::from_le_bytes([dll, value])),
            reg::IER_DLM => self.write_ier(value),
            reg::IIR_FCR => self.write_fcr(value),
            reg::LCR => self.write_lcr(value),
            reg::MCR => self.write_mcr(value),
            reg::SCR => self.scr = value,
            // LSR and MSR are read-only.
            _ => {}
        }
    }
}

impl TimerClient for Uart {
    fn timer_expired(&mut self, _timer: u32) {
        self.armed = None;
        self.update_interrupt();
    }
}

impl CharClient for Uart {
    fn can_receive(&self) -> usize {
        let held = self.received.len();
        if self.mcr.loopback() {
            0
        } else if !self.fcr.fifo_enable() || held >= self.fcr.trigger_level() {
            usize::from(held < self.depth())
        } else {
            self.fcr.trigger_level() - held
        }
    }

    fn receive(&mut self, data: &[u8]) {
        // The receiver's input pin is disconnected in loopback.
        if self.mcr.loopback() {
            return;
        }
        for &data in data {
            self.receive_character(Received { data, errors: 0 });
        }
        self.update_interrupt();
    }

    fn event(&mut self, event: CharEvent) {
        match event {
            CharEvent::Opened | CharEvent::Closed | CharEvent::Writable => self.run_transmitter(),
            CharEvent::Break => self.receive_break(),
            CharEvent::ModemInputs(inputs) => {
                let before = self.modem_inputs();
                self.inputs = inputs;
                self.latch_modem_changes(before);
                self.update_interrupt();
            }
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::Received;

    pub const VERSION: u32 = 1;

    /// Registers under their names; times in guest nanoseconds.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub ier: u8,
        pub fcr: u8,
        pub lcr: u8,
        pub mcr: u8,
        pub scr: u8,
        pub divisor: u16,
        pub line_errors: u8,
        /// MSR: levels of the input pins and delta bits.
        pub msr: u8,
        pub rbr: u8,
        pub received: Vec<Received>,
        pub transmit: Vec<u8>,
        pub shift: Option<u8>,
        pub thre_pending: bool,
        pub timeout_at: Option<u64>,
    }
}

impl Device for Uart {
    fn name(&self) -> &'static str {
        "isa-serial"
    }

    fn reset(&mut self, _kind: ResetKind) {
        let room = self.can_receive();
        self.set_reset_values();
        self.update_outputs();
        self.update_line();
        self.update_interrupt();
        self.offer_room(room);
    }

    fn save(&self) -> State {
        let Self {
            clock: _,
            timers: _,
            irq: _,
            backend: _,
            log: _,
            armed: _,
            outputs: _,
            line: _,
            ier,
            fcr,
            lcr,
            mcr,
            scr,
            divisor,
            line_errors,
            modem_deltas,
            rbr,
            received,
            transmit,
            shift,
            thre_pending,
            timeout_at,
            inputs,
        } = self;
        let pins =
            Msr::from(*modem_deltas).with_cts(inputs.cts).with_dsr(inputs.dsr).with_ri(inputs.ri).with_dcd(inputs.dcd);
        State::of(
            state::VERSION,
            &state::V1 {
                ier: (*ier).into(),
                fcr: (*fcr).into(),
                lcr: (*lcr).into(),
                mcr: (*mcr).into(),
                scr: *scr,
                divisor: *divisor,
                line_errors: *line_errors,
                msr: pins.into(),
                rbr: *rbr,
                received: received.iter().copied().collect(),
                transmit: transmit.iter().copied().collect(),
                shift: *shift,
                thre_pending: *thre_pending,
                timeout_at: *timeout_at,
            },
        )
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state: state::V1 = state.decode(state::VERSION)?;
        for (field, value, allowed) in [
            ("ier", state.ier, 0x0f),
            ("fcr", state.fcr, 0xf9),
            ("mcr", state.mcr, 0x1f),
            ("line_errors", state.line_errors, Lsr::ERRORS),
        ] {
            if value & !allowed != 0 {
                return Err(StateError::invalid(field, format!("{value:#04x} has bits that do not exist")));
            }
        }
        let fcr = Fcr::from(state.fcr);
        let depth = if fcr.fifo_enable() { reg::FIFO_DEPTH } else { 1 };
        for (field, len) in [("received", state.received.len()), ("transmit", state.transmit.len())] {
            if len > depth {
                return Err(StateError::invalid(field, format!("{len} characters do not fit into {depth}")));
            }
        }
        if state.received.iter().any(|character| character.errors & !Lsr::CHARACTER_ERRORS != 0) {
            return Err(StateError::invalid("received", "a character has an error that does not exist"));
        }
        if state.timeout_at.is_some() && (state.received.is_empty() || !fcr.fifo_enable()) {
            return Err(StateError::invalid("timeout_at", "no character in a FIFO that could time out"));
        }

        let room = self.can_receive();
        self.ier = Ier::from(state.ier);
        self.fcr = fcr;
        self.lcr = Lcr::from(state.lcr);
        self.mcr = Mcr::from(state.mcr);
        self.scr = state.scr;
        self.divisor = state.divisor;
        self.line_errors = state.line_errors;
        self.modem_deltas = state.msr & Msr::DELTAS;
        self.rbr = state.rbr;
        self.received.clear();
        self.received.extend(&state.received);
        self.transmit.clear();
        self.transmit.extend(&state.transmit);
        self.shift = state.shift;
        self.thre_pending = state.thre_pending;
        self.timeout_at = state.timeout_at;
        let pins = Msr::from(state.msr);
        self.inputs = ModemInputs { cts: pins.cts(), dsr: pins.dsr(), ri: pins.ri(), dcd: pins.dcd() };

        self.update_outputs();
        self.update_line();
        self.update_interrupt();
        self.offer_room(room);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("IER", u8::from(self.ier), 8);
        out.register("IIR", self.iir(), 8);
        out.register("FCR", u8::from(self.fcr), 8);
        out.register("LCR", u8::from(self.lcr), 8);
        out.register("MCR", u8::from(self.mcr), 8);
        out.register("LSR", u8::from(self.lsr()), 8);
        out.register("MSR", u8::from(self.msr()), 8);
        out.register("SCR", self.scr, 8);
        out.register("divisor", self.divisor, 16);
        out.number("received", self.received.len() as u64);
        out.number("waiting to be sent", (self.transmit.len() + usize::from(self.shift.is_some())) as u64);
        out.flag("interrupt", self.irq.level());
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
