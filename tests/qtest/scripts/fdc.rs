//! Floppy disk controller 82078 (Intel 290475) with one empty drive.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::{InProcess, Pc};

pub const SCRIPT: Script = Script {
    options: &["-drive", "if=floppy"],
    run: walk,
    differences: &[
        Difference {
            places: &[at("registers", "inb 0x3f3", 0x7)],
            reason: "TDR: bits 1 and 0 select a tape drive (data sheet, 2.1.4); QEMU has bit 2 instead",
        },
        Difference {
            places: &[at("dump of registers, byte 8", "inb 0x3f5", 0x40)],
            reason: "CONFIGURE after a reset is 20h, without implied seeks (data sheet, CONFIGURE); QEMU's has them",
        },
        Difference {
            places: &[
                at("dump of registers, byte 5", "inb 0x3f5", 0x01),
                at("dump after set-up, byte 4", "inb 0x3f5", 0xd2),
                at("dump after set-up, byte 5", "inb 0x3f5", 0x01),
            ],
            reason: "DUMPREG gives the bytes of SPECIFY back; QEMU shifts the first, and shows the DMA gate of DOR as the lowest bit of \
                     the second",
        },
        Difference {
            places: &[
                at("dump of registers, byte 6", "inb 0x3f5", 0xff),
                at("dump after set-up, byte 6", "inb 0x3f5", 0xff),
            ],
            reason: "there is no last sector of a track before there was a transfer; QEMU makes one up",
        },
        Difference {
            places: &[at("status of the drives", "inb 0x3f5", 0x50)],
            reason: "a drive that is not there is neither protected nor over track 0",
        },
        Difference {
            places: &[at("reset", "inb 0x3f4", 0x80)],
            reason: "held in reset the chip takes no command; reading MSR ends QEMU's reset",
        },
    ],
};

const IRQ: u32 = 6;
const SRB: u16 = 0x3f1;
const DOR: u16 = 0x3f2;
const TDR: u16 = 0x3f3;
const MSR: u16 = 0x3f4;
const FIFO: u16 = 0x3f5;
const DIR: u16 = 0x3f7;
const CCR: u16 = 0x3f7;

/// More than any command takes without a medium.
const LONG: u64 = 50_000_000;

fn command(pc: &mut dyn Pc, bytes: &[u8]) {
    bytes.iter().for_each(|byte| pc.outb(FIFO, *byte));
}

fn result(pc: &mut dyn Pc) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < 16 && pc.inb(MSR) & 0xd0 == 0xd0 {
        bytes.push(pc.inb(FIFO));
    }
    bytes
}

/// DUMPREG, with a section for each byte.
fn registers(pc: &mut dyn Pc, section: &str) -> [u8; 10] {
    pc.section(section);
    command(pc, &[0x0e]);
    std::array::from_fn(|byte| {
        pc.section(&format!("{section}, byte {byte}"));
        assert_eq!(pc.inb(MSR) & 0xd0, 0xd0);
        pc.inb(FIFO)
    })
}

fn walk(pc: &mut dyn Pc) {
    pc.section("registers");
    pc.irq(IRQ);
    assert_eq!([SRB, DOR, TDR, MSR].map(|port| pc.inb(port)), [0xc0, 0x0c, 0x00, 0x80]);
    pc.outb(TDR, 0x07);
    pc.inb(TDR);
    pc.outb(TDR, 0x00);
    pc.outb(DOR, 0x1c);
    assert_eq!([pc.inb(DOR), pc.inb(SRB)], [0x1c, 0xc1], "motor A");
    assert_eq!(pc.inb(DIR), 0x80, "the drive is empty");

    pc.section("what the chip is");
    command(pc, &[0x10]);
    assert_eq!(result(pc), [0x90], "VERSION");
    command(pc, &[0x18]);
    assert_eq!(result(pc), [0x41], "PART ID");
    for invalid in [0x00, 0x01, 0x1f, 0xff] {
        command(pc, &[invalid]);
        assert_eq!(result(pc), [0x80], "{invalid:#x} is no command");
    }
    command(pc, &[0x08]);
    assert_eq!(result(pc), [0x80], "no interrupt is pending");

    let dump = registers(pc, "dump of registers");
    if pc.is_natoma() {
        assert_eq!(dump[8], 0x20);
    }

    pc.section("set-up");
    command(pc, &[0x03, 0xdf, 0x02]);
    command(pc, &[0x13, 0x00, 0x47, 0x20]);
    command(pc, &[0x94]);
    assert_eq!(result(pc), [0x10], "LOCK");
    let dump = registers(pc, "dump after set-up");
    assert_eq!(dump[8..], [0x47, 0x20]);
    if pc.is_natoma() {
        assert_eq!(dump[4..7], [0xdf, 0x02, 0x00]);
    }
    assert_eq!(dump[7] & 0x80, 0x80);
    pc.section("UNLOCK");
    command(pc, &[0x14]);
    assert_eq!(result(pc), [0x00], "UNLOCK");

    pc.section("status of the drives");
    command(pc, &[0x04, 0x04]);
    assert_eq!(result(pc)[0] & 0x3f, 0x3c, "drive A, head 1, over track 0");
    command(pc, &[0x04, 0x01]);
    result(pc);

    pc.section("reset");
    pc.outb(DOR, 0x18);
    pc.inb(MSR);
    pc.outb(DOR, 0x1c);
    assert_eq!(pc.inb(MSR), 0x80);
    if !pc.has_clock() {
        return;
    }

    pc.section("interrupts of a reset");
    assert!(!pc.irq(IRQ));
    pc.clock_step(LONG);
    assert!(pc.irq(IRQ));
    for drive in 0..4 {
        command(pc, &[0x08]);
        assert_eq!(result(pc), [0xc0 | drive, 0]);
        assert!(!pc.irq(IRQ));
    }

    pc.section("seek");
    command(pc, &[0x0f, 0x00, 0x05]);
    pc.clock_step(LONG);
    assert!(pc.irq(IRQ));
    command(pc, &[0x08]);
    assert_eq!(result(pc), [0x20, 5]);
    command(pc, &[0x07, 0x00]);
    pc.clock_step(LONG);
    command(pc, &[0x08]);
    assert_eq!(result(pc), [0x20, 0]);

    pc.section("no medium");
    pc.outb(CCR, 0);
    command(pc, &[0x4a, 0x00]);
    pc.clock_step(LONG);
    assert_eq!(result(pc)[..2], [0x40, 0x01], "READ ID");
}

/// Sector 37 (cylinder 1, head 0, sector 2) goes to 12000h, and from there to the sector after it.
#[test]
fn sectors_move_by_dma() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let mut contents = vec![0; 1_474_560];
    contents[37 * 512..38 * 512].fill(0x5a);
    std::fs::write(image.path(), &contents).unwrap();
    let drive = format!("if=floppy,format=raw,file={}", image.path().display());
    let mut pc = InProcess::new(&["-nodefaults", "-drive", &drive]);
    pc.irq(IRQ);
    pc.outb(DOR, 0x1c);
    pc.outb(CCR, 0);
    command(&mut pc, &[0x03, 0xdf, 0x02]);
    command(&mut pc, &[0x0f, 0x00, 0x01]);
    pc.clock_step(LONG);
    command(&mut pc, &[0x08]);
    assert_eq!(result(&mut pc), [0x20, 1]);
    // Channel 2: single transfers, to memory (46h) or from it (4ah).
    for (mode, code, r) in [(0x46, 0x46, 2), (0x4a, 0x45, 3)] {
        for (port, value) in [
            (0x0a, 0x06),
            (0x0c, 0x00),
            (0x04, 0x00),
            (0x04, 0x20),
            (0x81, 0x01),
            (0x05, 0xff),
            (0x05, 0x01),
            (0x0b, mode),
            (0x0a, 0x02),
        ] {
            pc.outb(port, value);
        }
        command(&mut pc, &[code, 0x00, 1, 0, r, 2, 18, 0x1b, 0xff]);
        pc.clock_step(LONG);
        assert!(pc.irq(IRQ));
        assert_eq!(result(&mut pc), [0, 0, 0, 1, 0, r + 1, 2]);
    }
    let mut data = [0; 514];
    pc.read(0x1_1fff, &mut data);
    assert_eq!(data[1..513], [0x5a; 512]);
    assert_eq!((data[0], data[513]), (0, 0));
    contents[38 * 512..39 * 512].fill(0x5a);
    assert_eq!(std::fs::read(image.path()).unwrap(), contents);
}
