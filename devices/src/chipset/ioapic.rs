//! The I/O APIC: 24 interrupt inputs that become messages to local APICs.
//!
//! Follows the 82093AA data sheet, with the EOI register of later chips (ICH datasheets, version 20h), as QEMU's model does.
//! In memory at FEC00000h on a PC.
//!
//! Emulated: id, version, arbitration id, redirection table with all delivery and destination modes, edges and levels,
//! remote IRR, masks, ends of interrupt by broadcast and by register. An edge on a masked pin is lost, as the data
//! sheet says. As in QEMU and KVM the polarity bit is storage, since firmware and systems set it to
//! contradict the wiring. Delivery status is always idle: a message takes no time. An ExtINT entry sends its
//! message; the vector comes from the 8259 by the processor's INTR wire.
//!
//! The chip is a leaf: its inputs are driven under other devices' locks. A saved state holds the levels of the inputs,
//! and is to be loaded after the states of the devices that drive them.

mod registers;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use registers::{Redirection, index, offset};

use crate::base::msi::{ApicBus, Msi};
use crate::base::{AccessRule, Delivery, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};

/// Inputs.
pub const PINS: usize = 24;

/// The version register: the one that has an EOI register.
const VERSION: u8 = 0x20;

/// What the chip holds, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoapicRegisters {
    /// 20h.
    pub version: u8,
    /// Its id.
    pub id: u8,
    /// IOREGSEL.
    pub selected: u8,
    /// Level-triggered inputs that are high.
    pub requests: u32,
    /// IOREDTBL.
    pub entries: [u64; PINS],
}

/// The chip.
pub struct Ioapic {
    bus: Arc<dyn ApicBus>,
    id: u8,
    selected: u8,
    entries: [Redirection; PINS],
    /// Levels at the inputs, one bit each.
    lines: u32,
    /// The ends that the bus was last told to watch.
    watched: [Option<Msi>; PINS],
}

impl Ioapic {
    /// The registers.
    pub const REGION: Region = Region::memory(0, "ioapic", 0x1000, AccessRule::UP_TO_DWORD);

    /// A chip in its reset state, on the bus of the local APICs.
    #[must_use]
    pub fn new(bus: Arc<dyn ApicBus>) -> Self {
        Self { bus, id: 0, selected: 0, entries: [Redirection::RESET; PINS], lines: 0, watched: [None; PINS] }
    }

    /// What it holds.
    #[must_use]
    pub fn registers(&self) -> IoapicRegisters {
        let level = (0..).zip(self.entries).fold(0, |pins, (pin, entry)| pins | u32::from(entry.is_level()) << pin);
        IoapicRegisters {
            version: VERSION,
            id: self.id,
            selected: self.selected,
            requests: self.lines & level,
            entries: self.entries.map(u64::from),
        }
    }

    /// Drives input `pin` (0 to 23).
    pub fn set_input(&mut self, pin: u8, level: bool) -> Delivery {
        let pin = usize::from(pin);
        let Some(entry) = self.entries.get(pin).copied() else { return Delivery::Ignored };
        let bit = 1 << pin;
        let rises = level && self.lines & bit == 0;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        if !rises || entry.masked() {
            Delivery::Ignored
        } else if entry.is_level() {
            self.service(pin)
        } else {
            self.bus.send(message(entry))
        }
    }

    /// A local APIC ends the level-triggered interrupt `vector`.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for pin in 0..PINS {
            let entry = &mut self.entries[pin];
            if entry.remote_irr() && entry.vector() == vector {
                entry.set_remote_irr(false);
                self.service(pin);
            }
        }
    }

    /// Sends the interrupt of a level-triggered pin that is high, unless that has been done.
    fn service(&mut self, pin: usize) -> Delivery {
        let entry = &mut self.entries[pin];
        if entry.masked() || !entry.is_level() || self.lines & 1 << pin == 0 {
            return Delivery::Ignored;
        }
        if entry.remote_irr() {
            return Delivery::Coalesced;
        }
        entry.set_remote_irr(true);
        self.bus.send(message(*entry))
    }

    /// The pin that an indirect register belongs to, and whether it is the high half of its entry.
    fn redirection(&self) -> Option<(usize, bool)> {
        let at = usize::from(self.selected.checked_sub(index::REDIRECTION)?);
        (at / 2 < PINS).then_some((at / 2, at % 2 == 1))
    }

    fn read_selected(&self) -> u32 {
        match self.selected {
            // The arbitration id follows the id whenever that is written.
            index::ID | index::ARBITRATION => u32::from(self.id) << 24,
            index::VERSION => (PINS as u32 - 1) << 16 | u32::from(VERSION),
            _ => self.redirection().map_or(0, |(pin, high)| {
                let entry = u64::from(self.entries[pin]);
                if high { (entry >> 32) as u32 } else { entry as u32 }
            }),
        }
    }

    fn write_selected(&mut self, value: u32) {
        if self.selected == index::ID {
            self.id = (value >> 24) as u8 & 0x0f;
        } else if let Some((pin, high)) = self.redirection() {
            let mut entry = self.entries[pin].written(high, value);
            if !entry.is_level() {
                entry.set_remote_irr(false);
            }
            self.entries[pin] = entry;
            self.tell_bus(pin);
            self.service(pin);
        }
    }

    /// Tells the bus which end of a pin's interrupts matters from now on. A mask alone changes nothing: what was sent
    /// before it still ends, and systems mask and unmask around each interrupt.
    fn tell_bus(&mut self, pin: usize) {
        let entry = self.entries[pin];
        let sends = Some(message(entry));
        let in_use = !entry.masked() || entry.remote_irr() || self.watched[pin] == sends;
        let watched = sends.filter(|_| entry.is_level() && in_use);
        if watched != self.watched[pin] {
            self.watched[pin] = watched;
            self.bus.watch_end(pin as u8, watched);
        }
    }

    fn replace(&mut self, entries: [Redirection; PINS]) {
        self.entries = entries;
        (0..PINS).for_each(|pin| self.tell_bus(pin));
    }
}

/// What an entry sends.
fn message(entry: Redirection) -> Msi {
    let logical = if entry.logical() { Msi::LOGICAL } else { 0 };
    let level = if entry.is_level() { Msi::LEVEL } else { 0 };
    Msi {
        address: Msi::BASE
            | u64::from(entry.destination()) << Msi::DESTINATION_SHIFT
            | u64::from(entry.extended_destination()) << Msi::EXTENDED_DESTINATION_SHIFT
            | logical,
        data: u32::from(entry.vector()) | u32::from(entry.delivery_mode()) << Msi::DELIVERY_MODE_SHIFT | level,
    }
}

impl IoDevice for Ioapic {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        match (offset & 0xff, size) {
            (offset::IOREGSEL, _) => self.selected.into(),
            (offset::IOWIN, 4) => self.read_selected().into(),
            _ => 0,
        }
    }

    fn write(&mut self, _region: u16, offset: u64, size: u8, value: u64) {
        match (offset & 0xff, size) {
            (offset::IOREGSEL, _) => self.selected = value as u8,
            (offset::IOWIN, 4) => self.write_selected(value as u32),
            (offset::EOI, 4) => self.end_of_interrupt(value as u8),
            _ => {}
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub id: u8,
        pub selected: u8,
        pub entries: [u64; super::PINS],
        pub lines: u32,
    }
}

impl Device for Ioapic {
    fn name(&self) -> &'static str {
        "ioapic"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.id = 0;
        self.selected = 0;
        self.replace([Redirection::RESET; PINS]);
    }

    fn save(&self) -> State {
        let Self { bus: _, id, selected, entries, lines, watched: _ } = self;
        let entries = entries.map(u64::from);
        State::of(state::VERSION, &state::V1 { id: *id, selected: *selected, entries, lines: *lines })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { id, selected, entries, lines } = state.decode(state::VERSION)?;
        if id > 0x0f {
            return Err(StateError::invalid("id", format!("{id:#x} has more than 4 bits")));
        }
        if lines >> PINS != 0 {
            return Err(StateError::invalid("lines", format!("{lines:#x} has inputs that do not exist")));
        }
        let entries = entries.map(Redirection::from);
        if let Some(bad) = entries.into_iter().find(|entry| !entry.is_possible()) {
            return Err(StateError::invalid("entries", format!("{:#018x} can't be written", u64::from(bad))));
        }
        let unsent = |entry: &Redirection| entry.is_level() && !entry.masked() && !entry.remote_irr();
        if let Some((pin, _)) = (0..).zip(&entries).find(|(pin, entry)| lines >> pin & 1 != 0 && unsent(entry)) {
            return Err(StateError::invalid("entries", format!("pin {pin} asks for an interrupt that was not sent")));
        }
        (self.id, self.selected, self.lines) = (id, selected, lines);
        self.replace(entries);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("IOAPICID", self.id, 4);
        out.register("IOREGSEL", self.selected, 8);
        out.register("inputs", self.lines, 24);
        for (pin, entry) in self.entries.iter().enumerate() {
            out.register(format!("IOREDTBL {pin}"), u64::from(*entry), 64);
        }
    }
}
