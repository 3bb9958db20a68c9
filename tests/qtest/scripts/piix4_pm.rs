//! PIIX4 power management (Intel 290562): PM1 event block, control, timer, APM, general purpose events.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[],
    run: walk,
    differences: &[
        Difference {
            places: &[at("reset state", "inw 0x600", 0x1)],
            reason: "QEMU's timer begins with an overflow that has not happened",
        },
        Difference {
            places: &[at("reset state", "inw 0x604", 0x1)],
            reason: "without system management mode ACPI is on from the start; this QEMU has that mode",
        },
        Difference {
            places: &[at("enables", "inw 0x602", 0xfade)],
            reason: "PM1_EN has the bits of the data sheet; in QEMU all can be set",
        },
    ],
};

const FUNCTION: (u8, u8) = (1, 3);
const PMBA: u8 = 0x40;
const PMREGMISC: u8 = 0x80;
const BASE: u16 = 0x600;
const PM1_STS: u16 = BASE;
const PM1_EN: u16 = BASE + 2;
const PM1_CNT: u16 = BASE + 4;
const PM_TMR: u16 = BASE + 8;
const GPE0_STS: u16 = 0xafe0;
const GPE0_EN: u16 = 0xafe2;
const APMC: u16 = 0xb2;
const APMS: u16 = 0xb3;
const SCI: u32 = 9;
/// The timer's carry: bit 23 changes every 2^23 ticks of 3.579545 MHz.
const HALF_PERIOD: u64 = 2_343_484_438;

fn walk(pc: &mut dyn Pc) {
    pc.section("identification");
    assert_eq!(pc.pci_read(FUNCTION, 0x00, 4), 0x7113_8086);
    assert_eq!(pc.pci_read(FUNCTION, 0x08, 4), 0x0680_0003);
    assert_eq!(pc.pci_read(FUNCTION, 0x3d, 1), 1, "INTA#");

    pc.section("nothing decodes before it is placed");
    assert_eq!(pc.inl(PM_TMR), 0xffff_ffff);
    pc.pci_write(FUNCTION, PMBA, 4, u32::from(BASE) | 1);
    assert_eq!(pc.pci_read(FUNCTION, PMBA, 4), 0x601);
    assert_eq!(pc.inl(PM_TMR), 0xffff_ffff, "nor before it is enabled");
    pc.pci_write(FUNCTION, PMREGMISC, 1, 1);

    pc.section("reset state");
    let status = pc.inw(PM1_STS);
    assert!(!pc.is_natoma() || status == 0);
    assert_eq!(pc.inw(PM1_EN), 0);
    pc.inw(PM1_CNT);
    assert_eq!([pc.inb(GPE0_STS), pc.inb(GPE0_STS + 1), pc.inb(GPE0_EN), pc.inb(GPE0_EN + 1)], [0; 4]);

    pc.section("enables");
    pc.outw(PM1_EN, 0xffff);
    pc.inw(PM1_EN);
    pc.outw(PM1_EN, 0x0121);
    assert_eq!(pc.inw(PM1_EN), 0x0121);
    pc.outw(PM1_EN, 0x0000);
    pc.outw(PM1_STS, 0xffff);
    assert_eq!(pc.inw(PM1_STS), 0);

    pc.section("general purpose enables");
    for value in [0x02, 0xff, 0x00] {
        pc.outb(GPE0_EN, value);
        assert_eq!(pc.inb(GPE0_EN), value);
        pc.outb(GPE0_EN + 1, value);
        assert_eq!(pc.inb(GPE0_EN + 1), value);
    }

    pc.section("control");
    pc.outw(PM1_CNT, 0x1c01);
    assert_eq!(pc.inw(PM1_CNT) & 0x1c00, 0x1c00, "sleep type is kept");
    pc.outw(PM1_CNT, 0x0001);

    pc.section("APM");
    pc.outb(APMS, 0x5a);
    assert_eq!(pc.inb(APMS), 0x5a);
    pc.outb(APMC, 0x12);
    assert_eq!(pc.inb(APMC), 0x12);

    if !pc.has_clock() {
        return;
    }
    pc.section("timer");
    let start = pc.inl(PM_TMR);
    pc.clock_step(1_000_000_000);
    let ticks = pc.inl(PM_TMR).wrapping_sub(start) & 0xff_ffff;
    assert!((3_579_544..=3_579_546).contains(&ticks), "{ticks} in a second");
    assert_eq!(pc.inl(PM_TMR) >> 24, 0, "24 bits");

    pc.section("timer overflow");
    pc.outw(PM1_STS, 1);
    pc.outw(PM1_EN, 1);
    assert!(!pc.irq(SCI));
    pc.clock_step(HALF_PERIOD);
    assert!(pc.irq(SCI), "bit 23 has changed");
    assert_eq!(pc.inw(PM1_STS) & 1, 1);
    pc.outw(PM1_STS, 1);
    assert!(!pc.irq(SCI));
}
