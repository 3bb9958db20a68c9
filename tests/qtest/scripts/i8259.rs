//! The 8259A pair with ELCR (Intel 8259A data sheet; PIIX3). Interrupts come from the keyboard controller, which is told to
//! pretend that it received something, and are acknowledged by polling.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &["-m", "16"],
    run: walk,
    differences: &[Difference {
        places: &[at("special mask mode", "inb 0x20", 0x02)],
        reason: "QEMU's non-specific EOI ends a masked level too, which the data sheet excludes in special mask mode",
    }],
};

const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;
const ELCR: [u16; 2] = [0x4d0, 0x4d1];

const KBC_DATA: u16 = 0x60;
const KBC_COMMAND: u16 = 0x64;

fn initialize(pc: &mut dyn Pc, icw4: u8) {
    for (port, words) in [(MASTER, [0x08, 0x04, icw4]), (SLAVE, [0x70, 0x02, icw4])] {
        pc.outb(port, 0x11);
        for word in words {
            pc.outb(port + 1, word);
        }
    }
}

fn irr(pc: &mut dyn Pc, port: u16) -> u8 {
    pc.outb(port, 0x0a);
    pc.inb(port)
}

fn isr(pc: &mut dyn Pc, port: u16) -> u8 {
    pc.outb(port, 0x0b);
    pc.inb(port)
}

fn poll(pc: &mut dyn Pc, port: u16) -> u8 {
    pc.outb(port, 0x0c);
    pc.inb(port)
}

/// An edge of IRQ 1 (keyboard) or 12 (mouse). Taking the byte lowers the line.
fn interrupt(pc: &mut dyn Pc, irq: u8) {
    pc.outb(KBC_COMMAND, if irq == 1 { 0xd2 } else { 0xd3 });
    pc.outb(KBC_DATA, 0x5a);
    pc.inb(KBC_DATA);
}

fn walk(pc: &mut dyn Pc) {
    pc.section("reset state");
    for port in [MASTER, MASTER + 1, SLAVE, SLAVE + 1, ELCR[0], ELCR[1]] {
        assert_eq!(pc.inb(port), 0x00);
    }

    pc.section("ELCR");
    for (port, bits) in ELCR.into_iter().zip([0xf8, 0xde]) {
        pc.outb(port, 0xff);
        assert_eq!(pc.inb(port), bits);
        pc.outb(port, 0x00);
        assert_eq!(pc.inb(port), 0x00);
    }

    pc.section("initialization");
    initialize(pc, 0x01);
    for port in [MASTER, SLAVE] {
        assert_eq!(pc.inb(port + 1), 0x00);
        pc.outb(port + 1, 0xa5);
        assert_eq!(pc.inb(port + 1), 0xa5);
        pc.outb(port + 1, 0x00);
    }
    // Keyboard controller: both interrupts, no translation, both devices enabled.
    pc.outb(KBC_COMMAND, 0x60);
    pc.outb(KBC_DATA, 0x03);

    pc.section("request and service");
    assert_eq!(poll(pc, MASTER), 0x00);
    interrupt(pc, 1);
    assert_eq!([irr(pc, MASTER), isr(pc, MASTER)], [0x02, 0x00], "an edge stays");
    assert_eq!(poll(pc, MASTER), 0x81);
    assert_eq!([irr(pc, MASTER), isr(pc, MASTER)], [0x00, 0x02]);
    interrupt(pc, 12);
    assert_eq!([irr(pc, MASTER), irr(pc, SLAVE)], [0x04, 0x10], "the slave is input 2");
    assert_eq!(poll(pc, MASTER), 0x00, "1 is above 2");
    pc.outb(MASTER, 0x20);
    assert_eq!(poll(pc, MASTER), 0x82);
    assert_eq!(poll(pc, SLAVE), 0x84);
    assert_eq!([isr(pc, MASTER), isr(pc, SLAVE)], [0x04, 0x10]);
    pc.outb(SLAVE, 0x64);
    pc.outb(MASTER, 0x62);
    assert_eq!([isr(pc, MASTER), isr(pc, SLAVE)], [0x00, 0x00]);

    pc.section("masks");
    pc.outb(MASTER + 1, 0x02);
    interrupt(pc, 1);
    assert_eq!(irr(pc, MASTER), 0x02);
    assert_eq!(poll(pc, MASTER), 0x00);
    pc.outb(MASTER + 1, 0x00);
    assert_eq!(poll(pc, MASTER), 0x81);
    pc.outb(MASTER, 0x20);

    pc.section("rotation");
    interrupt(pc, 1);
    interrupt(pc, 12);
    pc.outb(MASTER, 0xc1);
    assert_eq!(poll(pc, MASTER), 0x82, "1 is the lowest now");
    poll(pc, SLAVE);
    pc.outb(SLAVE, 0x20);
    pc.outb(MASTER, 0xa0);
    assert_eq!(poll(pc, MASTER), 0x81);
    pc.outb(MASTER, 0xe7);
    assert_eq!(isr(pc, MASTER), 0x02, "a specific end of another level");
    pc.outb(MASTER, 0x61);
    assert_eq!(isr(pc, MASTER), 0x00);

    pc.section("automatic end of interrupt");
    initialize(pc, 0x03);
    interrupt(pc, 1);
    assert_eq!(poll(pc, MASTER), 0x81);
    assert_eq!(isr(pc, MASTER), 0x00);

    pc.section("special mask mode");
    initialize(pc, 0x01);
    interrupt(pc, 1);
    assert_eq!(poll(pc, MASTER), 0x81);
    interrupt(pc, 12);
    pc.outb(MASTER + 1, 0x02);
    assert_eq!(poll(pc, MASTER), 0x00);
    pc.outb(MASTER, 0x68);
    assert_eq!(poll(pc, MASTER), 0x82);
    assert_eq!(isr(pc, MASTER), 0x06);
    pc.outb(MASTER, 0x62);
    pc.outb(MASTER, 0x20);
    if pc.is_natoma() {
        assert_eq!(isr(pc, MASTER), 0x02);
    } else {
        isr(pc, MASTER);
    }

    pc.section("an initialization forgets requests");
    initialize(pc, 0x01);
    interrupt(pc, 1);
    pc.outb(MASTER, 0x11);
    assert_eq!(irr(pc, MASTER), 0x00);
}
