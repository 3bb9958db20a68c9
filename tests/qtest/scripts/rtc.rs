//! MC146818A real-time clock (Motorola), with the CMOS RAM of a PC.

use crate::Script;
use crate::pc::Pc;

pub const SCRIPT: Script = Script { options: &["-m", "64"], run: walk, differences: &[] };

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const IRQ: u32 = 8;

const REG_A: u8 = 0x0a;
const REG_B: u8 = 0x0b;
const REG_C: u8 = 0x0c;
const REG_D: u8 = 0x0d;

fn get(pc: &mut dyn Pc, register: u8) -> u8 {
    pc.outb(INDEX, register);
    pc.inb(DATA)
}

fn set(pc: &mut dyn Pc, register: u8, value: u8) {
    pc.outb(INDEX, register);
    pc.outb(DATA, value);
}

fn time(pc: &mut dyn Pc) -> [u8; 7] {
    [0, 2, 4, 6, 7, 8, 9].map(|register| get(pc, register))
}

fn walk(pc: &mut dyn Pc) {
    pc.section("reset state");
    assert_eq!(pc.inb(INDEX), 0xff, "the index can't be read back");
    assert_eq!(get(pc, REG_A), 0x26, "32768 Hz, 1024 Hz periodic rate");
    assert_eq!(get(pc, REG_B), 0x02, "24 hours, BCD");
    assert_eq!(get(pc, REG_C), 0x00);
    assert_eq!(get(pc, REG_D), 0x80, "battery good");

    pc.section("date");
    // 2026-03-04 is a Wednesday: day 4.
    assert_eq!(time(pc), [0x07, 0x06, 0x05, 0x04, 0x04, 0x03, 0x26]);
    assert_eq!(get(pc, 0x32), 0x20, "century");

    pc.section("CMOS RAM");
    for register in 0x0e..0x80 {
        get(pc, register);
    }
    for register in [0x0e, 0x33, 0x40, 0x7f] {
        set(pc, register, 0x5a);
        assert_eq!(get(pc, register), 0x5a);
    }
    pc.outb(INDEX, 0x80 | 0x40);
    assert_eq!(pc.inb(DATA), 0x5a, "bit 7 of the index is the NMI mask and no address");

    pc.section("read-only registers");
    set(pc, REG_C, 0xff);
    set(pc, REG_D, 0x00);
    assert_eq!([get(pc, REG_C), get(pc, REG_D)], [0x00, 0x80]);

    pc.section("setting the date");
    set(pc, REG_B, 0x82);
    for (register, value) in [(0, 0x59), (2, 0x59), (4, 0x23), (6, 0x05), (7, 0x31), (8, 0x12), (9, 0x99), (0x32, 0x20)]
    {
        set(pc, register, value);
    }
    set(pc, REG_B, 0x02);
    assert_eq!(time(pc), [0x59, 0x59, 0x23, 0x05, 0x31, 0x12, 0x99]);

    pc.section("binary");
    set(pc, REG_B, 0x86);
    for (register, value) in [(0, 30), (2, 45), (4, 13), (6, 3), (7, 14), (8, 7), (9, 26), (0x32, 20)] {
        set(pc, register, value);
    }
    set(pc, REG_B, 0x06);
    assert_eq!(time(pc), [30, 45, 13, 3, 14, 7, 26]);

    pc.section("12 hours");
    set(pc, REG_B, 0x04);
    assert_eq!(get(pc, 4), 0x81, "1 pm");
    set(pc, REG_B, 0x00);
    assert_eq!(get(pc, 4), 0x81, "the same in BCD");
    set(pc, REG_B, 0x02);

    if !pc.has_clock() {
        return;
    }
    pc.section("seconds pass");
    set(pc, REG_B, 0x06);
    let before = get(pc, 0);
    pc.clock_step(2_000_000_000);
    assert_eq!(get(pc, 0), before + 2);

    pc.section("periodic interrupt");
    assert!(!pc.irq(IRQ));
    get(pc, REG_C);
    set(pc, REG_B, 0x46);
    // 1024 Hz are 976562.5 ns.
    pc.clock_step(976_563);
    assert!(pc.irq(IRQ));
    assert_eq!(get(pc, REG_C) & 0xc0, 0xc0, "IRQF and PF");
    assert!(!pc.irq(IRQ), "reading register C releases the line");
    assert_eq!(get(pc, REG_C) & 0xc0, 0);
    let mut count = 0;
    for _ in 0..1024 {
        pc.clock_step(976_562);
        count += u32::from(pc.irq(IRQ));
        get(pc, REG_C);
    }
    assert!((1023..=1024).contains(&count), "{count} interrupts in a second");

    pc.section("update-ended interrupt");
    set(pc, REG_B, 0x16);
    get(pc, REG_C);
    pc.clock_step(1_000_000_000);
    assert!(pc.irq(IRQ));
    assert_eq!(get(pc, REG_C) & 0x90, 0x90);

    pc.section("alarm");
    set(pc, REG_B, 0x86);
    for (register, value) in [(0, 0), (2, 0), (4, 0), (1, 3), (3, 0xff), (5, 0xff)] {
        set(pc, register, value);
    }
    set(pc, REG_B, 0x26);
    get(pc, REG_C);
    pc.clock_step(2_000_000_000);
    assert!(!pc.irq(IRQ));
    pc.clock_step(1_600_000_000);
    assert!(pc.irq(IRQ), "any hour and minute, second 3");
    assert_eq!(get(pc, REG_C) & 0xa0, 0xa0);
}
