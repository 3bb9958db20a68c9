//! IA-PC HPET (Intel, revision 1.0a): three comparators at FED00000h, 10 ns a tick.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[],
    run: walk,
    differences: &[Difference {
        places: &[
            at("what can be written", "read 0xfed00100+4", 0x4000),
            at("what can be written", "read 0xfed00120+4", 0x4000),
            at("what can be written", "read 0xfed00140+4", 0x4000),
        ],
        reason: "bit 14 enables delivery by FSB, which no timer has: it is read only there (2.3.8), QEMU's can be set",
    }],
};

const BASE: u64 = 0xfed0_0000;
const CAPABILITIES: u64 = BASE;
const CONFIGURATION: u64 = BASE + 0x10;
const STATUS: u64 = BASE + 0x20;
const COUNTER: u64 = BASE + 0xf0;
const ENABLE: u64 = 1 << 0;
const LEGACY_REPLACEMENT: u64 = 1 << 1;

/// Bits of a timer's configuration.
const LEVEL: u64 = 1 << 1;
const INTERRUPT: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const SET_ACCUMULATOR: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;

const fn timer(number: u64) -> u64 {
    BASE + 0x100 + 0x20 * number
}

const fn comparator(number: u64) -> u64 {
    timer(number) + 8
}

fn walk(pc: &mut dyn Pc) {
    pc.section("capabilities");
    assert_eq!(pc.readq(CAPABILITIES), 0x0098_9680_8086_a201, "10,000,000 fs; 3 timers, 64 bits, legacy routes");
    assert_eq!(pc.readl(CAPABILITIES), 0x8086_a201);
    assert_eq!(pc.readl(CAPABILITIES + 4), 10_000_000);
    pc.writeq(CAPABILITIES, 0);
    assert_eq!(pc.readq(CAPABILITIES), 0x0098_9680_8086_a201, "read only");

    pc.section("reset state");
    assert_eq!(pc.readq(CONFIGURATION), 0);
    assert_eq!(pc.readq(STATUS), 0);
    assert_eq!(pc.readq(COUNTER), 0);
    for number in 0..3 {
        assert_eq!(pc.readq(timer(number)), 0x0000_0004_0000_0030, "periodic, 64 bits, route 2");
        assert_eq!(pc.readq(comparator(number)), u64::MAX);
    }

    pc.section("what can be written");
    for number in 0..3 {
        pc.writel(timer(number), 0xffff_ffff);
        pc.readl(timer(number));
        pc.writel(timer(number), 0);
        assert_eq!(pc.readl(timer(number)), 0x30);
        pc.writeq(comparator(number), 0x1122_3344_5566_7788);
        assert_eq!(pc.readq(comparator(number)), 0x1122_3344_5566_7788);
        pc.writel(timer(number), (MODE_32 | INTERRUPT) as u32);
        assert_eq!(pc.readl(timer(number)), 0x134);
        pc.writel(timer(number), 0);
    }

    pc.section("the counter is set while it stands");
    pc.writeq(COUNTER, 0x1_0000_0000);
    assert_eq!(pc.readq(COUNTER), 0x1_0000_0000);
    assert_eq!(pc.readl(COUNTER + 4), 1);
    pc.writeq(COUNTER, 0);

    if !pc.has_clock() {
        return;
    }
    pc.section("the counter counts");
    pc.writeq(CONFIGURATION, ENABLE);
    pc.clock_step(1_000_000);
    assert_eq!(pc.readq(COUNTER), 100_000);

    pc.section("one shot, edge");
    assert!(!pc.irq(2) && !pc.irq(0));
    pc.writeq(timer(2), INTERRUPT | 2 << 9);
    pc.writeq(comparator(2), 200_000);
    pc.clock_step(999_999);
    assert_eq!(pc.readq(STATUS), 0);
    pc.clock_step(1);
    assert_eq!(pc.readq(STATUS), 0, "edge triggered: no status");
    pc.writeq(timer(2), 0);

    pc.section("periodic, level");
    pc.writeq(timer(0), INTERRUPT | LEVEL | PERIODIC | SET_ACCUMULATOR | 2 << 9);
    let start = pc.readq(COUNTER);
    pc.writeq(comparator(0), start + 1000);
    pc.writeq(comparator(0), 1000);
    for _ in 0..5 {
        pc.clock_step(10_000);
        assert_eq!(pc.readq(STATUS) & 1, 1);
        pc.writeq(STATUS, 1);
        assert_eq!(pc.readq(STATUS) & 1, 0, "write 1 to clear");
    }
    pc.clock_step(9_990);
    assert_eq!(pc.readq(STATUS) & 1, 0);
    pc.clock_step(10);
    assert_eq!(pc.readq(STATUS) & 1, 1, "no drift");
    pc.writeq(STATUS, 1);
    pc.writeq(timer(0), 0);

    pc.section("legacy replacement");
    pc.writeq(timer(1), INTERRUPT | LEVEL);
    pc.writeq(CONFIGURATION, ENABLE | LEGACY_REPLACEMENT);
    let now = pc.readq(COUNTER);
    pc.writeq(comparator(1), now + 100);
    assert!(!pc.irq(8));
    pc.clock_step(1_000);
    assert!(pc.irq(8), "timer 1 takes the place of the RTC");
    pc.writeq(STATUS, 2);
    assert!(!pc.irq(8));
    pc.writeq(CONFIGURATION, 0);

    pc.section("the counter stands again");
    let now = pc.readq(COUNTER);
    pc.clock_step(1_000_000);
    assert_eq!(pc.readq(COUNTER), now);
}

/// More of it than a PC has.
pub const CONFIGURED: Script = Script {
    options: &[
        "-global",
        "hpet.timers=5",
        "-global",
        "hpet.msi=on",
        "-global",
        "hpet.hpet-intcap=0xf00104",
        "-m",
        "16",
    ],
    run: walk_configured,
    differences: &[],
};

/// Delivery by messages: enabled, and possible.
const FSB: u64 = 1 << 14;
const FSB_CAPABLE: u64 = 1 << 15;

fn walk_configured(pc: &mut dyn Pc) {
    pc.section("capabilities");
    assert_eq!(pc.readq(CAPABILITIES), 0x0098_9680_8086_a401, "5 timers");
    for number in 0..5 {
        assert_eq!(pc.readq(timer(number)), 0x00f0_0104_0000_0030 | FSB_CAPABLE);
        pc.readq(comparator(number));
        pc.readq(timer(number) + 0x10);
    }

    pc.section("what can be written");
    pc.writel(timer(4), 0xffff_ffff);
    assert_eq!(pc.readl(timer(4)), 0xff7e);
    pc.writel(timer(4), 0);
    pc.writeq(timer(4) + 0x10, 0xfee0_1000_0000_4041);
    assert_eq!(pc.readl(timer(4) + 0x10), 0x4041, "Tn_FSB_INT_VAL");
    assert_eq!(pc.readl(timer(4) + 0x14), 0xfee0_1000, "Tn_FSB_INT_ADDR");
    pc.writel(timer(4) + 0x14, 0x0000_2000);
    assert_eq!(pc.readq(timer(4) + 0x10), 0x0000_2000_0000_4041);

    pc.section("what firmware is told");
    pc.outw(0x510, 0x8004);
    for _ in 0..16 {
        pc.inb(0x511);
    }

    if !pc.has_clock() {
        return;
    }
    pc.section("a message that is a store");
    pc.writel(0x2000, 0);
    pc.writel(timer(4), (INTERRUPT | FSB) as u32);
    pc.writeq(comparator(4), 100);
    pc.writeq(CONFIGURATION, ENABLE);
    pc.clock_step(999);
    assert_eq!(pc.readl(0x2000), 0);
    pc.clock_step(1);
    assert_eq!(pc.readl(0x2000), 0x4041);
    pc.writel(timer(4), 0);

    pc.section("routes");
    pc.writel(timer(3), (INTERRUPT | LEVEL | 21 << 9) as u32);
    let now = pc.readq(COUNTER);
    pc.writeq(comparator(3), now + 100);
    assert!(!pc.irq(21));
    pc.clock_step(1_000);
    assert!(pc.irq(21));
    assert_eq!(pc.readq(STATUS), 1 << 3);
    pc.writeq(STATUS, 1 << 3);
    assert!(!pc.irq(21));
}
