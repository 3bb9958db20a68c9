//! The interrupt controllers of the PC: a pair of 8259A as the PIIX3 has them, with ELCR.
//!
//! Follows the 8259A data sheet and Intel 290550 (PIIX3). Ports on a PC: 20h-21h (inputs 0 to 7), A0h-A1h (8 to 15, output to
//! input 2 of the first), 4D0h-4D1h (ELCR).
//!
//! Emulated: initialization, masks, priorities with rotation, all ends of interrupt, special mask, special fully nested
//! and poll mode, spurious interrupts (vectors of inputs 7 and 15), edge and level triggering by ELCR, whose bits 0 to 2,
//! 8 and 13 are fixed to edge. As in QEMU and KVM an edge stays requested when its line falls before it is
//! acknowledged, which interrupts by pulse rely on. As on the PIIX3, LTIM does nothing and the cascade is wired whatever
//! ICW3 says. Not emulated: MCS-80 mode (a PC can't take its CALL instructions; vectors are those of 8086 mode), buffered
//! mode (it concerns a pin).
//!
//! The pair is a leaf: its inputs are driven under other devices' locks. A saved state holds the levels of the inputs,
//! and is to be loaded after the states of the devices that drive them.

mod chip;
mod registers;
#[cfg(test)]
mod tests;

use chip::{Chip, Expect};
use registers::Icw4;

use crate::base::{AccessRule, Delivery, Device, Inspector, IoDevice, IrqLine, Region, ResetKind, State, StateError};

const MASTER: usize = 0;
const SLAVE: usize = 1;
/// The master's input that the slave's output is wired to, and its bit.
const CASCADE: u8 = 2;
const CASCADES: [u8; 2] = [1 << CASCADE, 0];
/// Bits of ELCR that exist.
const ELCR_WRITABLE: [u8; 2] = [0xf8, 0xde];
/// The level of an interrupt that was gone when the processor acknowledged.
const SPURIOUS: u8 = 7;
/// Window of the ELCR pair; those of the chips have their chip's number.
const ELCR: u16 = 2;

/// What one chip holds, to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PicRegisters {
    /// Interrupt request register.
    pub irr: u8,
    /// Interrupt mask register.
    pub imr: u8,
    /// In-service register.
    pub isr: u8,
    /// The level of highest priority.
    pub highest: u8,
    /// The vector of level 0.
    pub vector_base: u8,
    /// The even port reads ISR rather than IRR.
    pub read_isr: bool,
    /// Edge/level control register.
    pub elcr: u8,
    /// Special fully nested mode.
    pub special_fully_nested: bool,
}

/// The pair.
pub struct I8259 {
    /// INTR of the processor.
    intr: IrqLine,
    chips: [Chip; 2],
    /// INT output of the slave.
    slave_int: bool,
}

impl I8259 {
    /// Windows: the master, the slave, ELCR.
    pub const REGIONS: [Region; 3] = [
        Region::ports(MASTER as u16, "pic", 2, AccessRule::BYTE),
        Region::ports(SLAVE as u16, "pic", 2, AccessRule::BYTE),
        Region::ports(ELCR, "elcr", 2, AccessRule::BYTE),
    ];

    /// A pair that nobody has initialized. `intr` is the INTR input of the processor.
    #[must_use]
    pub fn new(intr: IrqLine) -> Self {
        Self { intr, chips: Default::default(), slave_int: false }
    }

    /// Drives input `input` (0 to 15; 2 is the cascade and not there).
    pub fn set_input(&mut self, input: u8, level: bool) -> Delivery {
        if input == CASCADE || input >= 16 {
            return Delivery::Ignored;
        }
        let delivery = self.chips[usize::from(input >> 3)].set_input(input & 7, level);
        self.settle();
        delivery
    }

    /// What the chips hold, the master first.
    #[must_use]
    pub fn registers(&self) -> [PicRegisters; 2] {
        self.chips.each_ref().map(|chip| PicRegisters {
            irr: chip.irr,
            imr: chip.imr,
            isr: chip.isr,
            highest: chip.highest,
            vector_base: chip.vector_base,
            read_isr: chip.read_isr,
            elcr: chip.elcr,
            special_fully_nested: chip.icw4.special_fully_nested(),
        })
    }

    /// Whether the processor is asked to acknowledge an interrupt.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.intr.level()
    }

    /// The processor's interrupt acknowledge cycle: the vector.
    pub fn acknowledge(&mut self) -> u8 {
        let [master, slave] = &mut self.chips;
        let vector = match master.request(CASCADES[MASTER]) {
            Some(CASCADE) => {
                master.acknowledge(CASCADE);
                // The slave lowers its output; if it has more, it raises it again.
                self.slave_int = false;
                let level = slave.request(CASCADES[SLAVE]);
                if let Some(level) = level {
                    slave.acknowledge(level);
                }
                slave.vector(level.unwrap_or(SPURIOUS))
            }
            Some(level) => {
                master.acknowledge(level);
                master.vector(level)
            }
            None => master.vector(SPURIOUS),
        };
        self.settle();
        vector
    }

    /// Passes the chips' outputs on.
    fn settle(&mut self) {
        let [master, slave] = &mut self.chips;
        let slave_int = slave.request(CASCADES[SLAVE]).is_some();
        if slave_int != self.slave_int {
            self.slave_int = slave_int;
            // An edge, whatever the master thinks of its line.
            master.set_input(CASCADE, false);
            master.set_input(CASCADE, slave_int);
        }
        self.intr.set(master.request(CASCADES[MASTER]).is_some());
    }
}

impl IoDevice for I8259 {
    fn read(&mut self, region: u16, offset: u64, _size: u8) -> u64 {
        let value = match region {
            ELCR => self.chips[usize::from(offset != 0)].elcr,
            chip => {
                let chip = usize::from(chip != 0);
                // A poll acknowledges, which lowers the output for a moment.
                self.slave_int &= chip != SLAVE || !self.chips[SLAVE].poll;
                let value = self.chips[chip].read(offset != 0, CASCADES[chip]);
                self.settle();
                value
            }
        };
        value.into()
    }

    fn write(&mut self, region: u16, offset: u64, _size: u8, value: u64) {
        let [value, ..] = value.to_le_bytes();
        match region {
            ELCR => {
                let chip = usize::from(offset != 0);
                self.chips[chip].set_elcr(value, ELCR_WRITABLE[chip]);
            }
            chip => self.chips[usize::from(chip != 0)].write(offset != 0, value),
        }
        self.settle();
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Chip {
        pub lines: u8,
        pub irr: u8,
        pub isr: u8,
        pub imr: u8,
        pub elcr: u8,
        pub highest: u8,
        pub vector_base: u8,
        pub icw4: u8,
        /// The number of the initialization command word that comes next, 0 if none.
        pub expected_icw: u8,
        pub single: bool,
        pub icw4_needed: bool,
        pub rotate_in_auto_eoi: bool,
        pub special_mask: bool,
        pub poll: bool,
        pub read_isr: bool,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub chips: [Chip; 2],
        pub slave_int: bool,
    }
}

fn save_chip(chip: &Chip) -> state::Chip {
    let Chip {
        lines,
        irr,
        isr,
        imr,
        elcr,
        highest,
        vector_base,
        icw4,
        expect,
        single,
        icw4_needed,
        rotate_in_auto_eoi,
        special_mask,
        poll,
        read_isr,
    } = *chip;
    let expected_icw = match expect {
        Expect::Ocw1 => 0,
        Expect::Icw2 => 2,
        Expect::Icw3 => 3,
        Expect::Icw4 => 4,
    };
    state::Chip {
        lines,
        irr,
        isr,
        imr,
        elcr,
        highest,
        vector_base,
        icw4: icw4.into(),
        expected_icw,
        single,
        icw4_needed,
        rotate_in_auto_eoi,
        special_mask,
        poll,
        read_isr,
    }
}

fn load_chip(state: &state::Chip, elcr_writable: u8) -> Result<Chip, StateError> {
    let state::Chip {
        lines,
        irr,
        isr,
        imr,
        elcr,
        highest,
        vector_base,
        icw4,
        expected_icw,
        single,
        icw4_needed,
        rotate_in_auto_eoi,
        special_mask,
        poll,
        read_isr,
    } = *state;
    let expect = match expected_icw {
        0 => Expect::Ocw1,
        2 => Expect::Icw2,
        3 => Expect::Icw3,
        4 => Expect::Icw4,
        other => return Err(StateError::invalid("expected_icw", format!("there is no ICW{other} to wait for"))),
    };
    if (expect == Expect::Icw3 && single) || (expect == Expect::Icw4 && !icw4_needed) {
        return Err(StateError::invalid("expected_icw", format!("ICW1 has not announced an ICW{expected_icw}")));
    }
    if highest > 7 {
        return Err(StateError::invalid("highest", format!("{highest} is not one of 8 levels")));
    }
    if vector_base & 7 != 0 {
        return Err(StateError::invalid("vector_base", format!("{vector_base:#04x} is not a multiple of 8")));
    }
    if elcr & !elcr_writable != 0 {
        return Err(StateError::invalid("elcr", format!("{elcr:#04x} has bits that are fixed to 0")));
    }
    if (irr ^ lines) & elcr != 0 {
        return Err(StateError::invalid("irr", format!("{irr:#04x} is not what level-triggered inputs request")));
    }
    Ok(Chip {
        lines,
        irr,
        isr,
        imr,
        elcr,
        highest,
        vector_base,
        icw4: Icw4::from(icw4),
        expect,
        single,
        icw4_needed,
        rotate_in_auto_eoi,
        special_mask,
        poll,
        read_isr,
    })
}

impl Device for I8259 {
    fn name(&self) -> &'static str {
        "i8259"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.chips.iter_mut().for_each(Chip::reset);
        self.slave_int = false;
        self.settle();
    }

    fn save(&self) -> State {
        let Self { intr: _, chips, slave_int } = self;
        State::of(state::VERSION, &state::V1 { chips: chips.each_ref().map(save_chip), slave_int: *slave_int })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { chips: [master, slave], slave_int } = state.decode(state::VERSION)?;
        let chips = [load_chip(&master, ELCR_WRITABLE[MASTER])?, load_chip(&slave, ELCR_WRITABLE[SLAVE])?];
        if slave_int != chips[SLAVE].request(CASCADES[SLAVE]).is_some() {
            return Err(StateError::invalid("slave_int", "it is not what the second chip requests"));
        }
        self.chips = chips;
        self.slave_int = slave_int;
        self.intr.set(self.chips[MASTER].request(CASCADES[MASTER]).is_some());
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        for (number, chip) in self.chips.iter().enumerate() {
            out.register(format!("IRR {number}"), chip.irr, 8);
            out.register(format!("ISR {number}"), chip.isr, 8);
            out.register(format!("IMR {number}"), chip.imr, 8);
            out.register(format!("ELCR {number}"), chip.elcr, 8);
            out.register(format!("ICW2 {number}"), chip.vector_base, 8);
            out.register(format!("ICW4 {number}"), u8::from(chip.icw4), 8);
            out.number(format!("highest priority {number}"), chip.highest);
            out.flag(format!("rotate in AEOI {number}"), chip.rotate_in_auto_eoi);
            out.flag(format!("special mask {number}"), chip.special_mask);
            out.flag(format!("poll {number}"), chip.poll);
            out.flag(format!("read ISR {number}"), chip.read_isr);
        }
        out.flag("INTR", self.intr.level());
    }
}
