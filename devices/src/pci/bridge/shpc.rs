//! The Standard Hot-Plug Controller of a bridge: its working registers (PCI Standard Hot-Plug Controller and Subsystem
//! Specification, revision 1.0, section 4.9).
//!
//! There are 31 slots of conventional PCI at 33 MHz, slots 1 to 31 of the secondary bus; slot 0 can't be plugged. A card that
//! is there when the machine starts is in its slot for good, with the latch (MRL) closed; the latches of empty slots are open.
//! Cards come and go in no other way, so that no slot reports an event by itself. A slot that software does not keep
//! enabled cuts its card off the bus ([`Shpc::isolated`]), without power: when it is enabled again the card is as after a
//! power-on. (QEMU takes the card out of the machine then.)
//!
//! Commands complete at once: Controller Busy is never seen. There is no arbiter that could time out and no power that could
//! fail.

use serde::{Deserialize, Serialize};

use crate::base::{Inspector, StateError};

/// Slots that can be plugged.
pub const SLOTS: usize = 31;
/// The first of them on the secondary bus. Slots are counted from 1 in commands, locators and on the chassis too.
const FIRST_SLOT: u8 = 1;

/// Registers, by the number of their 32-bit word.
mod word {
    pub const SLOTS_AVAILABLE_1: u8 = 1;
    pub const SLOT_CONFIGURATION: u8 = 3;
    /// Secondary bus configuration, MSI control, programming interface.
    pub const SECONDARY_BUS: u8 = 4;
    /// Command, command status.
    pub const COMMAND: u8 = 5;
    pub const INTERRUPT_LOCATOR: u8 = 6;
    pub const SERR_LOCATOR: u8 = 7;
    pub const SERR_INTERRUPT: u8 = 8;
    pub const FIRST_SLOT: u8 = 9;
}

/// Slot Configuration: physical slot numbers go up; each slot has a latch sensor and an attention button.
const NUMBERS_GO_UP: u32 = 1 << 29;
const MRL_SENSORS: u32 = 1 << 30;
const ATTENTION_BUTTONS: u32 = 1 << 31;
/// Programming interface: revision 1.0 of the specification.
const INTERFACE_1_0: u32 = 1 << 24;

/// Command status.
mod status {
    pub const MRL_OPEN: u8 = 1 << 1;
    pub const INVALID_COMMAND: u8 = 1 << 2;
    pub const INVALID_SPEED: u8 = 1 << 3;
    pub const ALL: u8 = MRL_OPEN | INVALID_COMMAND | INVALID_SPEED;
}

/// Controller SERR-INT Enable.
mod serr_interrupt {
    pub const INTERRUPT_MASK: u32 = 1 << 0;
    pub const COMMAND_INTERRUPT_MASK: u32 = 1 << 2;
    pub const ARBITER_SERR_MASK: u32 = 1 << 3;
    /// All masks: global interrupt, global SERR, command completion interrupt, arbiter SERR.
    pub const MASKS: u32 = 0xf;
    pub const COMMAND_COMPLETED: u32 = 1 << 16;
    pub const ARBITER_TIMEOUT: u32 = 1 << 17;
}

/// Bits of Slot Status.
mod slot_status {
    pub const MRL_OPEN: u32 = 1 << 8;
    /// Both presence pins open.
    pub const EMPTY: u32 = 0b11 << 10;
}

/// Bits of a slot's event latch, and of its masks of interrupts; the latter go on with two masks of SERR.
mod event {
    pub const MRL: u8 = 1 << 3;
    pub const CONNECTED_FAULT: u8 = 1 << 4;
    pub const ALL: u8 = 0x1f;
    pub const MRL_SERR_MASK: u8 = 1 << 5;
    pub const CONNECTED_FAULT_SERR_MASK: u8 = 1 << 6;
    pub const MASKS: u8 = 0x7f;
}

/// Slot states, in commands (where 0 changes nothing) and in Slot Status.
mod state {
    pub const UNCHANGED: u8 = 0;
    pub const POWER_ONLY: u8 = 1;
    pub const ENABLED: u8 = 2;
    pub const DISABLED: u8 = 3;
}

/// States of indicators, in commands (where 0 changes nothing) and in Slot Status.
mod led {
    pub const UNCHANGED: u8 = 0;
    pub const ON: u8 = 1;
    pub const OFF: u8 = 3;
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    /// [`state`], never unchanged.
    state: u8,
    /// [`led`].
    power_led: u8,
    attention_led: u8,
    /// [`event`]s that software has not taken note of.
    latch: u8,
    masks: u8,
}

impl Slot {
    fn new(occupied: bool) -> Self {
        let (state, power_led) = if occupied { (state::ENABLED, led::ON) } else { (state::DISABLED, led::OFF) };
        Self { state, power_led, attention_led: led::UNCHANGED, latch: 0, masks: event::MASKS }
    }

    fn is_valid(&self) -> bool {
        (state::POWER_ONLY..=state::DISABLED).contains(&self.state)
            && self.power_led <= led::OFF
            && self.attention_led <= led::OFF
            && self.latch & !event::ALL == 0
            && self.masks & !event::MASKS == 0
    }

    /// Carries out what a command says of indicators and state.
    fn change(&mut self, state: u8, power_led: u8, attention_led: u8) {
        for (now, wanted, unchanged) in [
            (&mut self.state, state, state::UNCHANGED),
            (&mut self.power_led, power_led, led::UNCHANGED),
            (&mut self.attention_led, attention_led, led::UNCHANGED),
        ] {
            if wanted != unchanged {
                *now = wanted;
            }
        }
    }

    fn interrupts(&self) -> bool {
        self.latch & !self.masks != 0
    }

    fn reports_error(&self) -> bool {
        let reports = |what: u8, mask: u8| self.latch & what != 0 && self.masks & mask == 0;
        reports(event::MRL, event::MRL_SERR_MASK) || reports(event::CONNECTED_FAULT, event::CONNECTED_FAULT_SERR_MASK)
    }
}

/// The controller.
pub struct Shpc {
    /// Slots of the secondary bus with a card: bit n is slot n.
    occupied: u32,
    command: u8,
    target: u8,
    status: u8,
    serr_interrupt: u32,
    slots: [Slot; SLOTS],
}

/// A controller in its reset state, of slots without cards.
impl Default for Shpc {
    fn default() -> Self {
        Self {
            occupied: 0,
            command: 0,
            target: 0,
            status: 0,
            serr_interrupt: serr_interrupt::MASKS,
            slots: [Slot::new(false); SLOTS],
        }
    }
}

impl Shpc {
    /// Tells which slots of the secondary bus have a card (bit n is slot n), and resets the controller.
    pub fn connect(&mut self, occupied: u32) {
        self.occupied = occupied;
        self.reset();
    }

    /// The reset state.
    pub fn reset(&mut self) {
        (self.command, self.target, self.status) = (0, 0, 0);
        self.serr_interrupt = serr_interrupt::MASKS;
        self.slots = std::array::from_fn(|index| Slot::new(self.is_occupied(index)));
    }

    fn is_occupied(&self, index: usize) -> bool {
        self.occupied >> (index + usize::from(FIRST_SLOT)) & 1 != 0
    }

    /// Slots whose cards are cut off the bus: bit n is slot n.
    #[must_use]
    pub fn isolated(&self) -> u32 {
        self.locate(|slot| slot.state != state::ENABLED)
    }

    /// Whether the controller interrupts.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.serr_interrupt & serr_interrupt::INTERRUPT_MASK == 0 && self.interrupt_locator() != 0
    }

    /// A bit for each slot with a property, slot n in bit n.
    fn locate(&self, property: impl Fn(&Slot) -> bool) -> u32 {
        let bits = self.slots.iter().zip(FIRST_SLOT..).map(|(slot, number)| u32::from(property(slot)) << number);
        bits.fold(0, |all, bit| all | bit)
    }

    /// What interrupts: bit 0 is the completion of a command, bit n slot n.
    #[must_use]
    pub fn interrupt_locator(&self) -> u32 {
        let masked = self.serr_interrupt & serr_interrupt::COMMAND_INTERRUPT_MASK != 0;
        let completed = self.serr_interrupt & serr_interrupt::COMMAND_COMPLETED != 0;
        self.locate(Slot::interrupts) | u32::from(completed && !masked)
    }

    /// What reports a system error: bit 0 is the arbiter, bit n slot n.
    #[must_use]
    pub fn serr_locator(&self) -> u32 {
        let masked = self.serr_interrupt & serr_interrupt::ARBITER_SERR_MASK != 0;
        let timeout = self.serr_interrupt & serr_interrupt::ARBITER_TIMEOUT != 0;
        self.locate(Slot::reports_error) | u32::from(timeout && !masked)
    }

    fn slot_word(&self, index: usize) -> u32 {
        let Some(slot) = self.slots.get(index) else { return 0 };
        let presence = if self.is_occupied(index) { 0 } else { slot_status::MRL_OPEN | slot_status::EMPTY };
        u32::from(slot.state | slot.power_led << 2 | slot.attention_led << 4)
            | presence
            | u32::from(slot.latch) << 16
            | u32::from(slot.masks) << 24
    }

    /// Reads 32-bit register `number`; those that do not exist read as 0.
    #[must_use]
    pub fn read(&self, number: u8) -> u32 {
        let first = u32::from(FIRST_SLOT);
        match number {
            word::SLOTS_AVAILABLE_1 => SLOTS as u32,
            word::SLOT_CONFIGURATION => {
                SLOTS as u32 | first << 8 | first << 16 | NUMBERS_GO_UP | MRL_SENSORS | ATTENTION_BUTTONS
            }
            word::SECONDARY_BUS => INTERFACE_1_0,
            word::COMMAND => u32::from(self.command) | u32::from(self.target) << 8 | u32::from(self.status) << 16,
            word::INTERRUPT_LOCATOR => self.interrupt_locator(),
            word::SERR_LOCATOR => self.serr_locator(),
            word::SERR_INTERRUPT => self.serr_interrupt,
            word::FIRST_SLOT.. => self.slot_word(usize::from(number - word::FIRST_SLOT)),
            // The base offset of the registers in their window, slots at 66 MHz.
            _ => 0,
        }
    }

    /// Writes those bits of `value` to 32-bit register `number` that are set in `lanes`: whole bytes.
    pub fn write(&mut self, number: u8, value: u32, lanes: u32) {
        let merged = |before: u32, writable: u32| before & !(writable & lanes) | value & writable & lanes;
        match number {
            word::COMMAND => {
                let written = merged(u32::from(self.command) | u32::from(self.target) << 8, 0x1fff);
                [self.command, self.target, ..] = written.to_le_bytes();
                if lanes & 0xffff != 0 {
                    self.execute();
                }
            }
            word::SERR_INTERRUPT => {
                let clears = serr_interrupt::COMMAND_COMPLETED | serr_interrupt::ARBITER_TIMEOUT;
                self.serr_interrupt = merged(self.serr_interrupt, serr_interrupt::MASKS) & !(value & lanes & clears);
            }
            word::FIRST_SLOT.. => {
                let Some(slot) = self.slots.get_mut(usize::from(number - word::FIRST_SLOT)) else { return };
                let [_, _, cleared, _] = (value & lanes).to_le_bytes();
                slot.latch &= !cleared;
                let masks = merged(u32::from(slot.masks) << 24, u32::from(event::MASKS) << 24);
                slot.masks = (masks >> 24) as u8;
            }
            _ => {}
        }
    }

    /// Carries out the command in the register. Its errors are those of this command alone.
    fn execute(&mut self) {
        let code = self.command;
        self.status = match code {
            0x00..=0x3f => self.operate(self.target, code & 3, code >> 2 & 3, code >> 4 & 3),
            // 33 MHz, the only speed of the bus.
            0x40 => 0,
            0x41..=0x47 => status::INVALID_SPEED,
            0x48 => self.change_all(state::POWER_ONLY),
            0x49 => self.change_all(state::ENABLED),
            _ => status::INVALID_COMMAND,
        };
        self.serr_interrupt |= serr_interrupt::COMMAND_COMPLETED;
    }

    /// Slot operation.
    fn operate(&mut self, target: u8, state: u8, power_led: u8, attention_led: u8) -> u8 {
        let Some(index) = usize::from(target).checked_sub(FIRST_SLOT.into()) else { return status::INVALID_COMMAND };
        let closed = self.is_occupied(index);
        let Some(slot) = self.slots.get_mut(index) else { return status::INVALID_COMMAND };
        match (slot.state, state) {
            // An enabled slot has to be disabled before its card is taken off the bus.
            (state::ENABLED, state::POWER_ONLY) => status::INVALID_COMMAND,
            (_, state::POWER_ONLY | state::ENABLED) if !closed => status::MRL_OPEN,
            _ => {
                slot.change(state, power_led, attention_led);
                0
            }
        }
    }

    /// Power Only All Slots, Enable All Slots: for the time before any is enabled.
    fn change_all(&mut self, wanted: u8) -> u8 {
        if self.slots.iter().any(|slot| slot.state == state::ENABLED) {
            return status::INVALID_COMMAND;
        }
        for index in 0..SLOTS {
            let (state, power_led) =
                if self.is_occupied(index) { (wanted, led::ON) } else { (state::UNCHANGED, led::OFF) };
            self.slots[index].change(state, power_led, led::UNCHANGED);
        }
        0
    }

    /// The saved form.
    #[must_use]
    pub fn save(&self) -> ShpcState {
        // What is in the slots is part of the machine's configuration.
        let Self { occupied: _, command, target, status, serr_interrupt, slots } = self;
        ShpcState {
            command: *command,
            target: *target,
            status: *status,
            serr_interrupt: *serr_interrupt,
            slots: slots.to_vec(),
        }
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// It holds what the registers can't; nothing is changed then.
    pub fn load(&mut self, saved: &ShpcState) -> Result<(), StateError> {
        let ShpcState { command, target, status, serr_interrupt, slots } = saved;
        let Ok(slots) = <[Slot; SLOTS]>::try_from(slots.as_slice()) else {
            return Err(StateError::invalid("slots", format!("{} slots instead of {SLOTS}", slots.len())));
        };
        for (index, slot) in slots.iter().enumerate() {
            let powered = slot.state != state::DISABLED;
            if !slot.is_valid() || powered && !self.is_occupied(index) {
                return Err(StateError::invalid("slots", format!("slot {} can't be {slot:?}", index + 1)));
            }
        }
        let bits = serr_interrupt::MASKS | serr_interrupt::COMMAND_COMPLETED | serr_interrupt::ARBITER_TIMEOUT;
        if *target > 0x1f || status & !status::ALL != 0 || serr_interrupt & !bits != 0 {
            return Err(StateError::invalid("hot_plug", "a register has bits that it does not have"));
        }
        (self.command, self.target, self.status) = (*command, *target, *status);
        self.serr_interrupt = *serr_interrupt;
        self.slots = slots;
        Ok(())
    }

    /// Reports the registers.
    pub fn inspect(&self, out: &mut Inspector) {
        for (name, number) in [
            ("SHPC command and status", word::COMMAND),
            ("SHPC interrupt locator", word::INTERRUPT_LOCATOR),
            ("SHPC SERR locator", word::SERR_LOCATOR),
            ("SHPC SERR-INT enable", word::SERR_INTERRUPT),
        ] {
            out.register(name, self.read(number), 32);
        }
        out.register("SHPC slots with a card", self.occupied, 32);
        out.register("SHPC slots cut off", self.isolated(), 32);
    }
}

/// Saved form of a [`Shpc`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShpcState {
    command: u8,
    target: u8,
    status: u8,
    serr_interrupt: u32,
    slots: Vec<Slot>,
}

#[cfg(test)]
mod tests;
