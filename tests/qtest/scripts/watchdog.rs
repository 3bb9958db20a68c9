//! Watchdogs: i6300esb (Intel 300641) and ib700.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const I6300ESB: Script = Script {
    options: &["-device", "i6300esb,addr=4", "-action", "watchdog=none"],
    run: walk_i6300esb,
    differences: &[
        Difference {
            places: &[
                at("preload values", "read 0xfebf0000+4", 0xf_ffff),
                at("preload values", "read 0xfebf0004+4", 0xf_ffff),
            ],
            reason: "the registers can be read (data sheet); QEMU's read as 0",
        },
        Difference {
            places: &[at("configuration", "inw 0xcfc", 0x12)],
            reason: "the interrupt type has two bits, 0 and 1; QEMU's has bits 0 and 4",
        },
        Difference {
            places: &[at("as a dword", "inl 0xcfc", 0x24)],
            reason: "QEMU's registers can only be read at their own size",
        },
    ],
};

const FUNCTION: (u8, u8) = (4, 0);
const BASE: u64 = 0xfebf_0000;
const PRELOAD_1: u64 = BASE;
const PRELOAD_2: u64 = BASE + 4;
const RELOAD: u64 = BASE + 0xc;
const WDT_CONFIG: u8 = 0x60;
const WDT_LOCK: u8 = 0x68;

fn unlock(pc: &mut dyn Pc) {
    pc.writew(RELOAD, 0x80);
    pc.writew(RELOAD, 0x86);
}

fn walk_i6300esb(pc: &mut dyn Pc) {
    pc.section("configuration space");
    for register in (0..=0xfc).step_by(4) {
        pc.pci_read(FUNCTION, register, 4);
    }
    pc.pci_write(FUNCTION, 0x10, 4, 0xffff_ffff);
    assert_eq!(pc.pci_read(FUNCTION, 0x10, 4), 0xffff_fff0);
    pc.pci_write(FUNCTION, 0x10, 4, BASE as u32);
    pc.pci_write(FUNCTION, 0x04, 2, 2);

    pc.section("configuration");
    pc.pci_write(FUNCTION, WDT_CONFIG, 2, 0xffff);
    assert_eq!(pc.pci_read(FUNCTION, WDT_CONFIG, 2), if pc.is_natoma() { 0x27 } else { 0x35 });
    pc.section("clock and output");
    pc.pci_write(FUNCTION, WDT_CONFIG, 2, 0x24);
    assert_eq!(pc.pci_read(FUNCTION, WDT_CONFIG, 2), 0x24);
    pc.section("as a dword");
    pc.pci_read(FUNCTION, WDT_CONFIG, 4);
    pc.section("lock");
    pc.pci_write(FUNCTION, WDT_CONFIG, 2, 0);
    pc.pci_write(FUNCTION, WDT_LOCK, 1, 0);
    assert_eq!(pc.pci_read(FUNCTION, WDT_LOCK, 1), 0);

    pc.section("preload values");
    for register in [PRELOAD_1, PRELOAD_2] {
        pc.writel(register, 5);
        pc.readl(register);
        unlock(pc);
        pc.writel(register, 1000);
        let value = pc.readl(register);
        assert!(!pc.is_natoma() || value == 1000);
    }
    pc.section("nothing has timed out");
    assert_eq!(pc.readw(RELOAD), 0);

    pc.section("locked for good");
    pc.pci_write(FUNCTION, WDT_LOCK, 1, 3);
    assert_eq!(pc.pci_read(FUNCTION, WDT_LOCK, 1), 3);
    pc.pci_write(FUNCTION, WDT_LOCK, 1, 0);
    assert_eq!(pc.pci_read(FUNCTION, WDT_LOCK, 1), 3);

    if !pc.has_clock() {
        return;
    }
    pc.section("running out");
    // 1000 * 2^15 periods of 33 MHz for each stage: 992.97 ms.
    pc.clock_step(900_000_000);
    unlock(pc);
    pc.writew(RELOAD, 0x100);
    pc.clock_step(1_900_000_000);
    assert_eq!(pc.readw(RELOAD), 0, "it was fed in time");
    pc.clock_step(100_000_000);
    assert_eq!(pc.readw(RELOAD), 0x1200, "timed out");
    unlock(pc);
    pc.writew(RELOAD, 0x200);
    assert_eq!(pc.readw(RELOAD), 0);
}

pub const IB700: Script =
    Script { options: &["-device", "ib700", "-action", "watchdog=none"], run: walk_ib700, differences: &[] };

fn walk_ib700(pc: &mut dyn Pc) {
    pc.section("write only");
    for port in [0x441, 0x443] {
        assert_eq!(pc.inb(port), 0xff);
    }
    pc.section("start and stop");
    pc.outb(0x443, 0);
    pc.outb(0x441, 0);
    assert_eq!(pc.inb(0x443), 0xff);
}
