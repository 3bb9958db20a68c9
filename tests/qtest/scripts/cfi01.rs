//! Flash chips that hold firmware (JESD68.01; Intel's 28F640J3 for commands and status), as QEMU has them.

use std::io::Write;
use std::sync::LazyLock;

use tempfile::NamedTempFile;

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

/// Two chips: the second one takes no writes. `FLASH` stands for a file.
pub const SCRIPT: Script = Script {
    options: &[
        "-m",
        "16",
        "-drive",
        "if=pflash,format=raw,snapshot=on,file=FLASH",
        "-drive",
        "if=pflash,format=raw,readonly=on,file=FLASH",
    ],
    run: walk,
    differences: &[Difference {
        places: &[at("from query to status", "read 0xffff0010+1", 0xd1)],
        reason: "a query is over with the next command; QEMU's only with FFh",
    }],
};

/// Bytes of a chip.
const SIZE: usize = 0x1_0000;
const CHIP: u64 = 0xffff_0000;
const READ_ONLY: u64 = CHIP - SIZE as u64;
/// Bytes of what is erased at once.
const BLOCK: u64 = 0x1000;

/// The file: each byte is the low one of its number, but the last block is erased.
pub fn file() -> &'static str {
    static FILE: LazyLock<NamedTempFile> = LazyLock::new(|| {
        let erased = SIZE - BLOCK as usize;
        let contents: Vec<_> = (0..SIZE).map(|at| if at < erased { at as u8 } else { 0xff }).collect();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&contents).unwrap();
        file
    });
    FILE.path().to_str().unwrap()
}

/// A command of two bytes; what the chip says of it then. It is left in its array.
fn carry_out(pc: &mut dyn Pc, address: u64, command: u8, second: u8) -> u8 {
    pc.writeb(address, command);
    pc.writeb(address, second);
    let status = pc.readb(address);
    pc.writeb(address, 0x50);
    pc.writeb(address, 0xff);
    status
}

const READY: u8 = 0x80;
const ERASE_ERROR: u8 = 0x20;
const PROGRAM_ERROR: u8 = 0x10;

fn walk(pc: &mut dyn Pc) {
    // Erased: what comes next is written here.
    let free = CHIP + SIZE as u64 - BLOCK;

    pc.section("array");
    for chip in [CHIP, READ_ONLY] {
        assert_eq!((pc.readb(chip + 0x85), pc.readw(chip + 2), pc.readl(chip + 4)), (0x85, 0x0302, 0x0706_0504));
    }
    assert_eq!(pc.readq(free), u64::MAX);

    pc.section("identifier");
    pc.writeb(CHIP, 0x90);
    for offset in 0..4 {
        assert_eq!(pc.readb(CHIP + offset), 0, "no manufacturer, no device");
    }
    assert_eq!(pc.readb(READ_ONLY + 1), 1, "each chip for itself");

    pc.section("query");
    pc.writeb(CHIP + 0x55, 0x98);
    let table: Vec<_> = (0..0x60).map(|offset| pc.readb(CHIP + offset)).collect();
    assert_eq!(&table[0x10..0x13], b"QRY");
    assert_eq!(table[0x13..0x15], [1, 0], "Intel's command set");
    assert_eq!(table[0x27], 16, "two to the power of 16 bytes");
    assert_eq!(table[0x2c..0x31], [1, 15, 0, 16, 0], "16 blocks of 4 KiB");

    pc.section("from query to status");
    pc.writeb(CHIP, 0x70);
    assert_eq!(pc.readb(CHIP + 0x10), if pc.is_natoma() { READY } else { b'Q' });
    pc.writeb(CHIP, 0xff);

    pc.section("status");
    pc.writeb(CHIP, 0x70);
    for size in [1, 2, 4] {
        let mut status = [0; 4];
        pc.read(CHIP + 0x10, &mut status[..size]);
        assert_eq!(status[0] & READY, READY);
    }
    pc.writeb(CHIP, 0xff);
    assert_eq!(pc.readb(CHIP + 1), 1);

    pc.section("program");
    assert_eq!(carry_out(pc, free, 0x40, 0x5a), READY);
    assert_eq!(carry_out(pc, free + 1, 0x10, 0xa5), READY);
    assert_eq!(pc.readl(free), 0xffff_a55a);
    pc.writel(free + 4, 0x40);
    pc.writel(free + 4, 0x1234_5678);
    assert_eq!(pc.readb(free + 4), READY);
    pc.writeb(free + 4, 0xff);
    assert_eq!(pc.readl(free + 4), 0x1234_5678);

    pc.section("program by the buffer");
    pc.writeb(free + 0x100, 0xe8);
    assert_eq!(pc.readb(free + 0x100) & READY, READY, "there is room");
    pc.writeb(free + 0x100, 3);
    for offset in 0..4 {
        pc.writeb(free + 0x100 + offset, 0x31 + offset as u8);
    }
    pc.writeb(free + 0x100, 0xd0);
    assert_eq!(pc.readb(free + 0x100) & (READY | PROGRAM_ERROR), READY);
    pc.writeb(free + 0x100, 0xff);
    assert_eq!(pc.readq(free + 0x100), 0xffff_ffff_3433_3231);

    pc.section("erase");
    assert_eq!(carry_out(pc, free + 0x234, 0x20, 0xd0), READY);
    for offset in [0, 4, 0x100, BLOCK - 8] {
        assert_eq!(pc.readq(free + offset), u64::MAX);
    }
    assert_eq!(pc.readb(free - 1), 0xff, "a number");
    assert_eq!(pc.readb(free - 2), 0xfe, "the block before");
    assert_eq!(carry_out(pc, CHIP, 0x20, 0xd0), READY);
    assert_eq!((pc.readl(CHIP), pc.readb(CHIP + BLOCK + 1)), (u32::MAX, 1));

    pc.section("locks");
    for second in [0xd0, 0x01] {
        assert_eq!(carry_out(pc, CHIP, 0x60, second) & (ERASE_ERROR | PROGRAM_ERROR), 0);
    }

    pc.section("a chip that takes no writes");
    let status = carry_out(pc, READ_ONLY + 0x40, 0x40, 0x00);
    assert_eq!(status, READY | PROGRAM_ERROR);
    assert_eq!(pc.readb(READ_ONLY + 0x40), 0x40);
    let status = carry_out(pc, READ_ONLY + 0x40, 0x20, 0xd0);
    assert_eq!(status & ERASE_ERROR, ERASE_ERROR);
    assert_eq!(pc.readb(READ_ONLY + 0x40), 0x40);

    pc.section("other commands");
    for command in [0x00, 0x01, 0x33, 0xaa, 0xf0, 0xff] {
        pc.writeb(CHIP, command);
        assert_eq!(pc.readb(CHIP + BLOCK + 2), 2, "{command:#x} leads back to the array");
    }

    pc.section("reset");
    assert_eq!(carry_out(pc, free, 0x40, 0x77), READY);
    pc.writeb(CHIP, 0x90);
    pc.outb(0xcf9, 0x06);
    assert_eq!((pc.readb(free), pc.readb(CHIP + BLOCK + 3)), (0x77, 3), "contents stay, and are shown");
}
