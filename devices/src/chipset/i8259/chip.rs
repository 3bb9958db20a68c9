//! One 8259A.

use super::registers::{Command, ICW1, Icw1, Icw4, OCW3, Ocw2, Ocw3, POLL_INTERRUPT};
use crate::base::Delivery;

/// The write that an initialization waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// None: the odd port is OCW1.
    #[default]
    Ocw1,
    Icw2,
    Icw3,
    Icw4,
}

/// The registers of one chip.
#[derive(Clone, Debug, Default)]
pub struct Chip {
    /// Levels at the inputs.
    pub lines: u8,
    /// Interrupt request register.
    pub irr: u8,
    /// In-service register.
    pub isr: u8,
    /// Interrupt mask register.
    pub imr: u8,
    /// Edge/level control register: a set bit makes an input level triggered.
    pub elcr: u8,
    /// The level with the lowest priority, plus one: the one with the highest.
    pub highest: u8,
    /// ICW2, T7 to T3.
    pub vector_base: u8,
    pub icw4: Icw4,
    pub expect: Expect,
    /// What of ICW1 decides the rest of the initialization.
    pub single: bool,
    pub icw4_needed: bool,
    pub rotate_in_auto_eoi: bool,
    pub special_mask: bool,
    pub poll: bool,
    pub read_isr: bool,
}

impl Chip {
    /// The state after the platform's reset. Levels at the inputs are not the chip's; an ICW1 leaves ELCR alone.
    pub fn reset(&mut self) {
        *self = Self { lines: self.lines, ..Self::default() };
    }

    fn initialize(&mut self, icw1: Icw1) {
        let (lines, elcr, vector_base) = (self.lines, self.elcr, self.vector_base);
        *self = Self { lines, elcr, vector_base, icw4: self.icw4, ..Self::default() };
        // The edge detectors start over: a line that is high already requests nothing.
        self.irr = lines & elcr;
        self.single = icw1.single();
        self.icw4_needed = icw1.icw4_needed();
        if !self.icw4_needed {
            self.icw4 = Icw4::new();
        }
        self.expect = Expect::Icw2;
    }

    /// Drives input `input` (0 to 7).
    pub fn set_input(&mut self, input: u8, level: bool) -> Delivery {
        let bit = 1 << (input & 7);
        let rises = level && self.lines & bit == 0;
        let requested = self.irr & bit != 0;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        if self.elcr & bit != 0 && !level {
            self.irr &= !bit;
        } else if rises {
            self.irr |= bit;
        }
        match (rises, self.imr & bit != 0) {
            (true, false) if requested => Delivery::Coalesced,
            (true, false) => Delivery::Delivered,
            _ => Delivery::Ignored,
        }
    }

    /// Sets ELCR as far as `writable` allows.
    pub fn set_elcr(&mut self, value: u8, writable: u8) {
        let changed = self.elcr ^ (value & writable);
        self.elcr = value & writable;
        // An input that is level triggered now requests what its line says.
        let level = changed & self.elcr;
        self.irr = (self.irr & !level) | (self.lines & level);
    }

    /// The level of highest priority among `levels`, and how far it is from the highest possible.
    fn highest_of(&self, levels: u8) -> Option<(u8, u32)> {
        let rank = levels.rotate_right(self.highest.into()).trailing_zeros();
        (levels != 0).then(|| ((self.highest + rank as u8) & 7, rank))
    }

    /// The level that asks for service: requested, not masked, and above what is in service. `cascade` has the inputs that
    /// other chips are connected to.
    pub fn request(&self, cascade: u8) -> Option<u8> {
        let (level, rank) = self.highest_of(self.irr & !self.imr)?;
        let mut blocking = self.isr;
        if self.special_mask {
            blocking &= !self.imr;
        }
        // A slave in service may ask for more: it knows its own priorities.
        let nests = self.icw4.special_fully_nested() && cascade & 1 << level != 0;
        match self.highest_of(blocking) {
            Some((_, in_service)) if in_service < rank || (in_service == rank && !nests) => None,
            _ => Some(level),
        }
    }

    /// The processor acknowledges level `level`.
    pub fn acknowledge(&mut self, level: u8) {
        let bit = 1 << level;
        if self.elcr & bit == 0 {
            self.irr &= !bit;
        }
        if !self.icw4.auto_eoi() {
            self.isr |= bit;
        } else if self.rotate_in_auto_eoi {
            self.highest = (level + 1) & 7;
        }
    }

    /// The interrupt vector of level `level`.
    pub fn vector(&self, level: u8) -> u8 {
        self.vector_base | level
    }

    /// Writes the even (`false`) or odd (`true`) port.
    pub fn write(&mut self, odd: bool, value: u8) {
        match (odd, self.expect) {
            (false, _) if value & ICW1 != 0 => self.initialize(Icw1::from(value)),
            (false, _) if value & OCW3 != 0 => self.ocw3(Ocw3::from(value)),
            (false, _) => self.ocw2(Ocw2::from(value)),
            (true, Expect::Ocw1) => self.imr = value,
            (true, Expect::Icw2) => {
                self.vector_base = value & 0xf8;
                self.expect = match (self.single, self.icw4_needed) {
                    (false, _) => Expect::Icw3,
                    (true, true) => Expect::Icw4,
                    (true, false) => Expect::Ocw1,
                };
            }
            // The wiring of the board is what it is.
            (true, Expect::Icw3) => self.expect = if self.icw4_needed { Expect::Icw4 } else { Expect::Ocw1 },
            (true, Expect::Icw4) => {
                self.icw4 = Icw4::from(value);
                self.expect = Expect::Ocw1;
            }
        }
    }

    fn ocw2(&mut self, ocw2: Ocw2) {
        let level = ocw2.level();
        match ocw2.command() {
            Command::ClearRotateInAutoEoi => self.rotate_in_auto_eoi = false,
            Command::SetRotateInAutoEoi => self.rotate_in_auto_eoi = true,
            Command::NonSpecificEoi => {
                self.end_highest();
            }
            Command::RotateOnNonSpecificEoi => {
                if let Some(ended) = self.end_highest() {
                    self.highest = (ended + 1) & 7;
                }
            }
            Command::SpecificEoi => self.isr &= !(1 << level),
            Command::RotateOnSpecificEoi => {
                self.isr &= !(1 << level);
                self.highest = (level + 1) & 7;
            }
            Command::SetPriority => self.highest = (level + 1) & 7,
            Command::NoOperation => {}
        }
    }

    /// Ends the service of the highest level; in special mask mode that of one which is not masked.
    fn end_highest(&mut self) -> Option<u8> {
        let candidates = if self.special_mask { self.isr & !self.imr } else { self.isr };
        let (level, _) = self.highest_of(candidates)?;
        self.isr &= !(1 << level);
        Some(level)
    }

    fn ocw3(&mut self, ocw3: Ocw3) {
        if ocw3.poll() {
            self.poll = true;
        }
        if ocw3.read_register() {
            self.read_isr = ocw3.read_isr();
        }
        if ocw3.enable_special_mask() {
            self.special_mask = ocw3.special_mask();
        }
    }

    /// Reads the even (`false`) or odd (`true`) port. The read after a poll command acknowledges.
    pub fn read(&mut self, odd: bool, cascade: u8) -> u8 {
        if std::mem::take(&mut self.poll) {
            return self.request(cascade).map_or(0, |level| {
                self.acknowledge(level);
                POLL_INTERRUPT | level
            });
        }
        match (odd, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr,
        }
    }
}
