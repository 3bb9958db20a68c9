//! The I/O APIC (Intel 82093AA data sheet). Interrupts come from the keyboard controller, which is told to pretend that it
//! received something.

use crate::Script;
use crate::pc::Pc;

pub const SCRIPT: Script = Script { options: &["-m", "16"], run: walk, differences: &[] };

const IOREGSEL: u64 = 0xfec0_0000;
const IOWIN: u64 = 0xfec0_0010;
const EOI: u64 = 0xfec0_0040;

const KBC_DATA: u16 = 0x60;
const KBC_COMMAND: u16 = 0x64;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;

fn get(pc: &mut dyn Pc, index: u8) -> u32 {
    pc.writel(IOREGSEL, index.into());
    pc.readl(IOWIN)
}

fn set(pc: &mut dyn Pc, index: u8, value: u32) {
    pc.writel(IOREGSEL, index.into());
    pc.writel(IOWIN, value);
}

fn walk(pc: &mut dyn Pc) {
    pc.section("reset state");
    assert_eq!(get(pc, 0x00), 0);
    assert_eq!(get(pc, 0x01), 0x0017_0020);
    assert_eq!(get(pc, 0x02), 0);
    for pin in 0..24 {
        assert_eq!([get(pc, 0x10 + 2 * pin), get(pc, 0x11 + 2 * pin)], [MASKED, 0]);
    }

    pc.section("what can be written");
    set(pc, 0x00, u32::MAX);
    assert_eq!([get(pc, 0x00), get(pc, 0x02)], [0x0f00_0000; 2]);
    set(pc, 0x00, 0);
    set(pc, 0x01, 0);
    assert_eq!(get(pc, 0x01), 0x0017_0020);

    pc.section("indices that do not exist");
    for index in [0x03, 0x0f, 0x40, 0x41, 0xff] {
        set(pc, index, u32::MAX);
        assert_eq!(get(pc, index), 0);
    }

    pc.section("a level-triggered interrupt");
    pc.outb(KBC_COMMAND, 0x60);
    pc.outb(KBC_DATA, 0x01);
    set(pc, 0x13, 0);
    set(pc, 0x12, 0x31 | LEVEL);
    assert_eq!(get(pc, 0x12), 0x31 | LEVEL);
    pc.outb(KBC_COMMAND, 0xd2);
    pc.outb(KBC_DATA, 0x5a);
    assert_eq!(get(pc, 0x12), 0x31 | LEVEL | REMOTE_IRR);
    pc.writel(EOI, 0x32);
    assert_eq!(get(pc, 0x12), 0x31 | LEVEL | REMOTE_IRR, "another vector");
    pc.writel(EOI, 0x31);
    assert_eq!(get(pc, 0x12), 0x31 | LEVEL | REMOTE_IRR, "the line is still high");
    pc.inb(KBC_DATA);
    pc.writel(EOI, 0x31);
    assert_eq!(get(pc, 0x12), 0x31 | LEVEL);

    pc.section("edges have no remote IRR");
    set(pc, 0x12, 0x31 | LEVEL);
    pc.outb(KBC_COMMAND, 0xd2);
    pc.outb(KBC_DATA, 0x5a);
    set(pc, 0x12, 0x31);
    assert_eq!(get(pc, 0x12), 0x31);
    pc.inb(KBC_DATA);
    set(pc, 0x12, MASKED);
}
