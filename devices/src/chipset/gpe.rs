//! General purpose event block 0 (ACPI 4.0, section 4.7.4.1) of QEMU's PIIX4: 16 status and 16 enable bits.
//!
//! The registers appear among those of the power management function ([`Piix4Pm`](super::piix4_pm::Piix4Pm)), which
//! tells the block whether the SCI is enabled. Events come from other devices while these are locked; so the block is a leaf
//! with a lock of its own, and what raises an event holds a [`GpeInput`] and never meets the function.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::base::{IrqLine, lock};

/// The block.
pub struct GpeBlock {
    inner: Mutex<Inner>,
}

struct Inner {
    registers: GpeRegisters,
    sci_enable: bool,
    sci: IrqLine,
}

impl Inner {
    fn settle(&self) {
        let GpeRegisters { status, enable } = self.registers;
        self.sci.set(self.sci_enable && status & enable != 0);
    }
}

/// The registers of the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpeRegisters {
    /// Events that happened.
    pub status: u16,
    /// Events that interrupt.
    pub enable: u16,
}

impl GpeBlock {
    /// The block in its reset state. `sci` is its own line to the system control interrupt.
    #[must_use]
    pub fn new(sci: IrqLine) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { registers: GpeRegisters::default(), sci_enable: true, sci }) })
    }

    /// The input of event `number`.
    ///
    /// # Panics
    /// There is no such event: the number is above 15.
    #[must_use]
    pub fn input(self: &Arc<Self>, number: u8) -> GpeInput {
        assert!(number < 16, "general purpose event {number} does not exist");
        GpeInput { block: Arc::clone(self), bit: 1 << number }
    }

    /// The registers now.
    #[must_use]
    pub fn registers(&self) -> GpeRegisters {
        lock(&self.inner).registers
    }

    /// Changes the registers.
    pub(super) fn change(&self, change: impl FnOnce(&mut GpeRegisters)) {
        let mut inner = lock(&self.inner);
        change(&mut inner.registers);
        inner.settle();
    }

    /// Lets events interrupt, or not (SCI_EN).
    pub(super) fn enable_sci(&self, enable: bool) {
        let mut inner = lock(&self.inner);
        inner.sci_enable = enable;
        inner.settle();
    }

    /// Whether an event asserts the SCI.
    pub(super) fn asserted(&self) -> bool {
        lock(&self.inner).sci.level()
    }
}

/// Sets the status bit of one event.
#[derive(Clone)]
pub struct GpeInput {
    block: Arc<GpeBlock>,
    bit: u16,
}

impl GpeInput {
    /// The event happened.
    pub fn raise(&self) {
        self.block.change(|registers| registers.status |= self.bit);
    }
}
