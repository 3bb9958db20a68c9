//! Channel 0 of the 8254 interval timer.

use crate::ring0::{inb, outb};

/// What the chip counts at: 14.31818 MHz / 12.
pub const HZ: u64 = 1_193_182;

const CHANNEL0: u16 = 0x40;
const CONTROL: u16 = 0x43;

const ACCESS_BOTH: u8 = 3 << 4;
const MODE_RATE: u8 = 2 << 1;
const LATCH: u8 = 0;

/// Starts channel 0 as a rate generator: it counts from `divisor` (0 stands for 65536) down to 1, raises IRQ 0, repeats.
pub fn start(divisor: u16) {
    let [low, high] = divisor.to_le_bytes();
    outb(CONTROL, ACCESS_BOTH | MODE_RATE);
    outb(CHANNEL0, low);
    outb(CHANNEL0, high);
}

/// The count of channel 0.
pub fn read() -> u16 {
    outb(CONTROL, LATCH);
    let low = inb(CHANNEL0);
    u16::from_le_bytes([low, inb(CHANNEL0)])
}
