//! A parallel port: the standard one of the PC (SPP, the compatible mode of IEEE 1284), with a printer at it.
//!
//! Follows IBM's technical reference of the Printer Adapter and, where drivers can see it, QEMU's `isa-parallel`: registers
//! DATA, STATUS and CONTROL, and 0FFh at the five ports after them, where other chips have EPP. The printer takes each byte
//! as soon as the host does; until then it is busy. It acknowledges while the driver polls the status, and interrupts when a
//! byte is taken, until the status is read. Not emulated: EPP and ECP, data from the printer (with the direction reversed
//! the lines float high), and a printer without paper or power.

pub mod registers;
#[cfg(test)]
mod tests;

use self::registers::{CONTROL, CONTROL_ALWAYS, Control, DATA, RESET_CONTROL, RESET_STATUS, STATUS, Status};
use crate::backend::char::{CharBackend, CharClient, CharEvent};
use crate::base::{AccessRule, Device, Inspector, IoDevice, IrqLine, Region, ResetKind, State, StateError};

/// The port.
pub struct Parallel {
    backend: Box<dyn CharBackend>,
    irq: IrqLine,
    data: u8,
    status: Status,
    control: Control,
    interrupt: bool,
    /// A byte that the host has not taken yet.
    unsent: Option<u8>,
}

impl Parallel {
    /// The registers.
    pub const REGION: Region = Region::ports(0, "parallel", 8, AccessRule::BYTE);

    /// A port whose printer writes to `backend`.
    pub fn new(irq: IrqLine, backend: Box<dyn CharBackend>) -> Self {
        Self { backend, irq, data: 0xff, status: RESET_STATUS, control: RESET_CONTROL, interrupt: false, unsent: None }
    }

    /// The driver polls: a printer that is done with a byte acknowledges with a pulse, one level for each look.
    fn read_status(&mut self) -> u8 {
        let status = self.status.into_bits();
        self.interrupt = false;
        if !self.status.not_busy() && !self.control.strobe() && self.unsent.is_none() {
            let idle = !self.status.not_ack();
            self.status.set_not_ack(idle);
            self.status.set_not_busy(idle);
        }
        status
    }

    fn write_control(&mut self, value: u8) {
        let before = self.control;
        self.control = Control::from(value | CONTROL_ALWAYS);
        if !self.control.not_init() {
            // A reset printer forgets what it has not taken.
            self.unsent = None;
            self.status = RESET_STATUS.with_timeout(false);
        } else if self.control.select() {
            if self.control.strobe() {
                self.status.set_not_busy(false);
                if !before.strobe() {
                    self.unsent = Some(self.data);
                    self.send();
                }
            } else if before.strobe() && self.control.interrupt_enable() {
                self.interrupt = self.unsent.is_none();
            }
        }
    }

    /// Offers the byte to the host.
    fn send(&mut self) {
        if let Some(byte) = self.unsent
            && self.backend.write(&[byte]) != 0
        {
            self.unsent = None;
        }
    }

    fn settle(&mut self) {
        self.irq.set(self.interrupt);
    }
}

impl IoDevice for Parallel {
    fn read(&mut self, _region: u16, offset: u64, _size: u8) -> u64 {
        let value = match offset {
            DATA if self.control.reverse() => 0xff,
            DATA => self.data,
            STATUS => self.read_status(),
            CONTROL => self.control.into_bits(),
            _ => 0xff,
        };
        self.settle();
        value.into()
    }

    fn write(&mut self, _region: u16, offset: u64, _size: u8, value: u64) {
        let [value, ..] = value.to_le_bytes();
        match offset {
            DATA => self.data = value,
            CONTROL => self.write_control(value),
            _ => {}
        }
        self.settle();
    }
}

impl CharClient for Parallel {
    fn can_receive(&self) -> usize {
        0
    }

    /// A printer says nothing.
    fn receive(&mut self, _data: &[u8]) {}

    fn event(&mut self, event: CharEvent) {
        match event {
            CharEvent::Opened | CharEvent::Closed | CharEvent::Writable => {
                let waited = self.unsent.is_some();
                self.send();
                let taken = waited && self.unsent.is_none();
                self.interrupt |= taken && !self.control.strobe() && self.control.interrupt_enable();
                self.settle();
            }
            CharEvent::Break | CharEvent::ModemInputs(_) => {}
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub data: u8,
        pub status: u8,
        pub control: u8,
        pub interrupt: bool,
        pub unsent: Option<u8>,
    }
}

impl Device for Parallel {
    fn name(&self) -> &'static str {
        "isa-parallel"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.data = 0xff;
        self.status = RESET_STATUS;
        self.control = RESET_CONTROL;
        self.interrupt = false;
        self.unsent = None;
        self.settle();
    }

    fn save(&self) -> State {
        let Self { backend: _, irq: _, data, status, control, interrupt, unsent } = self;
        State::of(
            state::VERSION,
            &state::V1 {
                data: *data,
                status: status.into_bits(),
                control: control.into_bits(),
                interrupt: *interrupt,
                unsent: *unsent,
            },
        )
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { data, status, control, interrupt, unsent } = state.decode(state::VERSION)?;
        if control & CONTROL_ALWAYS != CONTROL_ALWAYS {
            return Err(StateError::invalid("control", format!("{control:#x}: bits 7 and 6 are always set")));
        }
        // All that this printer ever changes.
        let changing = Status::new().with_timeout(true).with_not_ack(true).with_not_busy(true).into_bits();
        if (status ^ RESET_STATUS.into_bits()) & !changing != 0 {
            return Err(StateError::invalid(
                "status",
                format!("{status:#04x} has signals that this printer never gives"),
            ));
        }
        self.data = data;
        self.status = Status::from(status);
        self.control = Control::from(control);
        self.interrupt = interrupt;
        self.unsent = unsent;
        self.send();
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("DATA", self.data, 8);
        out.register("STATUS", self.status.into_bits(), 8);
        out.register("CONTROL", self.control.into_bits(), 8);
        out.flag("interrupt", self.interrupt);
        out.flag("byte waiting for the host", self.unsent.is_some());
    }
}
