//! The two 8259A interrupt controllers of the PC.

use crate::{
    interrupts::PIC_VECTORS,
    ring0::{inb, outb},
};

const COMMAND: [u16; 2] = [0x20, 0xa0];
const DATA: [u16; 2] = [0x21, 0xa1];
/// The first one's input to which the second one is wired.
const CASCADE: u8 = 2;

const ICW1_INIT_WITH_ICW4: u8 = 0x11;
const ICW4_8086: u8 = 0x01;

/// Initialises both, their vectors from [`PIC_VECTORS`] on, all lines masked.
pub fn init() {
    for (chip, icw3) in [(0, 1 << CASCADE), (1, CASCADE)] {
        outb(COMMAND[chip], ICW1_INIT_WITH_ICW4);
        outb(DATA[chip], PIC_VECTORS + 8 * chip as u8);
        outb(DATA[chip], icw3);
        outb(DATA[chip], ICW4_8086);
        outb(DATA[chip], 0xff);
    }
}

/// Lets the interrupts of a line through. Returns their vector.
pub fn unmask(irq: u8) -> u8 {
    let (chip, bit) = (usize::from(irq / 8), irq % 8);
    outb(DATA[chip], inb(DATA[chip]) & !(1 << bit));
    if chip == 1 {
        outb(DATA[0], inb(DATA[0]) & !(1 << CASCADE));
    }
    PIC_VECTORS + irq
}

/// Stops the interrupts of a line.
pub fn mask(irq: u8) {
    let chip = usize::from(irq / 8);
    outb(DATA[chip], inb(DATA[chip]) | 1 << (irq % 8));
}
