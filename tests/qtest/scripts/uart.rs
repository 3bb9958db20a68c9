//! 16550A UART (National PC16550D) as COM1.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &["-serial", "null"],
    run: walk,
    differences: &[
        Difference {
            places: &[at("modem status in loopback", "inb 0x3fe", 0x0f)],
            reason: "a change of an input sets its delta bit in loopback too; in QEMU it does not",
        },
        Difference {
            places: &[at("transmitter empty interrupt", "inb 0x3fe", 0x04)],
            reason: "the same, when loopback ends",
        },
    ],
};

const IRQ: u32 = 4;
const RBR: u16 = 0x3f8;
const IER: u16 = 0x3f9;
const IIR: u16 = 0x3fa;
const FCR: u16 = 0x3fa;
const LCR: u16 = 0x3fb;
const MCR: u16 = 0x3fc;
const LSR: u16 = 0x3fd;
const MSR: u16 = 0x3fe;
const SCR: u16 = 0x3ff;

fn walk(pc: &mut dyn Pc) {
    pc.section("reset state");
    assert_eq!(pc.inb(IER), 0);
    assert_eq!(pc.inb(IIR), 0x01, "nothing pending, no FIFOs");
    assert_eq!(pc.inb(LCR), 0);
    assert_eq!(pc.inb(MCR), 0x08, "OUT2, as in QEMU");
    assert_eq!(pc.inb(LSR), 0x60, "transmitter empty");
    assert_eq!(pc.inb(MSR), 0xb0, "a null modem cable: DCD, DSR, CTS");
    assert_eq!(pc.inb(SCR), 0);

    pc.section("scratch register");
    for value in [0x55, 0xaa] {
        pc.outb(SCR, value);
        assert_eq!(pc.inb(SCR), value);
    }

    pc.section("reserved bits");
    pc.outb(IER, 0xff);
    assert_eq!(pc.inb(IER), 0x0f);
    pc.outb(IER, 0x00);
    pc.outb(MCR, 0xff);
    assert_eq!(pc.inb(MCR), 0x1f);
    pc.outb(MCR, 0x08);
    pc.outb(LCR, 0x7f);
    assert_eq!(pc.inb(LCR), 0x7f);

    pc.section("divisor latch");
    pc.outb(LCR, 0x80);
    assert_eq!([pc.inb(RBR), pc.inb(IER)], [0x0c, 0x00], "9600 baud");
    pc.outb(RBR, 0x01);
    pc.outb(IER, 0x00);
    assert_eq!([pc.inb(RBR), pc.inb(IER)], [0x01, 0x00]);
    pc.outb(LCR, 0x03);

    pc.section("FIFOs");
    pc.outb(FCR, 0x07);
    assert_eq!(pc.inb(IIR), 0xc1);
    pc.outb(FCR, 0x00);
    assert_eq!(pc.inb(IIR), 0x01);

    pc.section("modem status in loopback");
    for (mcr, msr) in [(0x10, 0x00), (0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80), (0x1f, 0xf0)] {
        pc.outb(MCR, mcr);
        assert_eq!(pc.inb(MSR) & 0xf0, msr);
    }
    pc.outb(MCR, 0x08);

    pc.section("transmitter empty interrupt");
    pc.irq(IRQ);
    pc.inb(MSR);
    pc.outb(IER, 0x02);
    assert!(pc.irq(IRQ), "it is empty");
    assert_eq!(pc.inb(IIR), 0x02);
    assert!(!pc.irq(IRQ), "reading IIR has cleared it");
    assert_eq!(pc.inb(IIR), 0x01);
    pc.outb(IER, 0x00);

    pc.section("transmission is not paced");
    pc.outb(RBR, b'a');
    pc.outb(RBR, b'b');
    assert_eq!(pc.inb(LSR), 0x60, "it leaves as fast as the back end takes it");

    pc.section("loopback");
    pc.outb(MCR, 0x18);
    pc.outb(FCR, 0x07);
    pc.outb(IER, 0x01);
    for byte in *b"loop" {
        pc.outb(RBR, byte);
    }
    assert_eq!(pc.inb(LSR) & 0x01, 1, "data ready");
    assert_eq!(pc.inb(IIR) & 0x0f, 0x04);
    for byte in *b"loop" {
        assert_eq!(pc.inb(RBR), byte);
    }
    assert_eq!(pc.inb(LSR) & 0x01, 0);

    pc.section("overrun");
    pc.outb(FCR, 0x00);
    for byte in *b"xy" {
        pc.outb(RBR, byte);
    }
    assert_eq!(pc.inb(LSR) & 0x03, 0x03);
    assert_eq!(pc.inb(LSR) & 0x02, 0, "reading clears it");
}
