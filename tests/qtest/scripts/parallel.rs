//! Parallel port LPT1: the standard port of the PC with a printer.

use crate::Script;
use crate::pc::Pc;

pub const SCRIPT: Script = Script { options: &["-parallel", "null"], run: walk, differences: &[] };

const IRQ: u32 = 7;
const DATA: u16 = 0x378;
const STATUS: u16 = 0x379;
const CONTROL: u16 = 0x37a;

fn walk(pc: &mut dyn Pc) {
    pc.section("reset state");
    assert_eq!([DATA, STATUS, CONTROL].map(|port| pc.inb(port)), [0xff, 0xd9, 0xcc]);
    for port in 0x37b..=0x37f {
        assert_eq!(pc.inb(port), 0xff, "there is no EPP");
    }

    pc.section("data lines");
    pc.outb(DATA, 0x5a);
    assert_eq!(pc.inb(DATA), 0x5a);
    pc.outb(CONTROL, 0x2c);
    assert_eq!([pc.inb(DATA), pc.inb(CONTROL)], [0xff, 0xec], "inputs float high");
    pc.outb(CONTROL, 0x0c);
    assert_eq!(pc.inb(DATA), 0x5a);

    pc.section("reset of the printer");
    pc.outb(CONTROL, 0x08);
    assert_eq!(pc.inb(STATUS), 0xd8);
    pc.outb(CONTROL, 0x0c);

    pc.section("a byte");
    pc.outb(DATA, b'a');
    pc.outb(CONTROL, 0x0d);
    assert_eq!([pc.inb(STATUS), pc.inb(STATUS)], [0x58, 0x58], "busy while the strobe lasts");
    pc.outb(CONTROL, 0x0c);
    assert_eq!([(); 4].map(|()| pc.inb(STATUS)), [0x58, 0x18, 0xd8, 0xd8], "the acknowledgement is a pulse");

    pc.section("interrupt");
    assert!(!pc.irq(IRQ));
    pc.outb(CONTROL, 0x1c);
    pc.outb(CONTROL, 0x1d);
    pc.outb(CONTROL, 0x1c);
    assert!(pc.irq(IRQ), "the byte has been taken");
    pc.inb(STATUS);
    assert!(!pc.irq(IRQ));
    pc.outb(CONTROL, 0x0c);
}
