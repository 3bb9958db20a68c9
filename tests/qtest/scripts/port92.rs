//! Port 92h: fast gate A20 and fast reset (as in the PS/2).

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[],
    run: walk,
    differences: &[Difference {
        places: &[at("a rising bit 0 resets", "inb 0x92", 0x02)],
        reason: "QEMU's register keeps its other bits; a platform reset clears it, as it does at power-on",
    }],
};

const PORT: u16 = 0x92;
const FAST_RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;

fn walk(pc: &mut dyn Pc) {
    pc.section("reset state");
    assert_eq!(pc.inb(PORT), 0);

    pc.section("what is written is read");
    for value in [A20, 0x00, 0xfc, A20 | 0x80, 0x00] {
        pc.outb(PORT, value);
        assert_eq!(pc.inb(PORT), value);
    }

    pc.section("a rising bit 0 resets");
    pc.outb(PORT, A20 | 0x50);
    pc.outb(PORT, A20 | FAST_RESET);
    assert_eq!(pc.inb(PORT) & FAST_RESET, 0, "and the register with it");
}
