//! SMBus host of the PIIX4 (Intel 290562), and the EEPROMs on it.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[],
    run: walk,
    differences: &[
        Difference {
            places: &[at("bad counts", "inb 0x700", 0x06)],
            reason: "a block has 1 to 32 bytes; what QEMU makes of other counts depends on the accesses before",
        },
        Difference {
            places: &[at("process call", "inb 0x700", 0x06)],
            reason: "QEMU's host does not do process calls",
        },
        Difference {
            places: &[
                at("slave side", "inb 0x708", 0x0f),
                at("slave side", "inb 0x709", 0xff),
                at("slave side", "inb 0x70a", 0xff),
                at("slave side", "inb 0x70b", 0xff),
            ],
            reason: "QEMU's host has none of these registers",
        },
    ],
};

const FUNCTION: (u8, u8) = (1, 3);
const BASE: u16 = 0x700;
const STS: u16 = BASE;
const CNT: u16 = BASE + 2;
const CMD: u16 = BASE + 3;
const ADD: u16 = BASE + 4;
const D0: u16 = BASE + 5;
const D1: u16 = BASE + 6;
const BLK: u16 = BASE + 7;
const WRITE: u8 = 0xa0;
const READ: u8 = 0xa1;

fn run(pc: &mut dyn Pc, address: u8, protocol: u8, command: u8, data: [u8; 2]) -> u8 {
    pc.outb(STS, 0xff);
    for (port, value) in [(ADD, address), (CMD, command), (D0, data[0]), (D1, data[1])] {
        pc.outb(port, value);
    }
    pc.outb(CNT, 0x40 | protocol << 2);
    assert_eq!(pc.inb(STS), 1, "busy");
    pc.inb(STS)
}

fn walk(pc: &mut dyn Pc) {
    pc.section("where it decodes");
    assert_eq!(pc.pci_read(FUNCTION, 0x90, 4), 0xb101);
    assert_eq!(pc.pci_read(FUNCTION, 0xd2, 1), 9);
    assert_eq!(pc.inb(0xb10d), 2);
    pc.pci_write(FUNCTION, 0x90, 4, u32::from(BASE) | 1);
    pc.pci_write(FUNCTION, 0xd2, 1, 9);
    assert_eq!(pc.inb(0xb10d), 0xff);

    pc.section("reset state");
    for offset in 0..64 {
        pc.inb(BASE + offset);
    }

    pc.section("blank modules");
    for module in 0..8 {
        for protocol in [0, 1, 2, 3, 5] {
            assert_eq!(run(pc, READ + 2 * module, protocol, 0, [0, 0]), 2);
            assert_eq!((pc.inb(D0), pc.inb(D1)), (0, 0));
        }
    }
    pc.section("nobody there");
    // Not the general call (address 0), to which QEMU's EEPROMs answer and those of memory modules do not.
    for address in [0x90, 0x91, 0x02, 0xff] {
        for protocol in 0..6 {
            assert_eq!(run(pc, address, protocol, 0, [0, 0]), 4);
        }
    }

    pc.section("bytes and words");
    assert_eq!(run(pc, WRITE, 2, 0x10, [0x42, 0]), 2);
    assert_eq!(run(pc, READ, 2, 0x10, [0, 0]), 2);
    assert_eq!(pc.inb(D0), 0x42);
    assert_eq!(run(pc, WRITE, 3, 0x20, [0x11, 0x22]), 2);
    assert_eq!(run(pc, READ, 3, 0x20, [0, 0]), 2);
    assert_eq!((pc.inb(D0), pc.inb(D1)), (0x11, 0x22));
    assert_eq!(run(pc, WRITE, 1, 0x20, [0, 0]), 2);
    for expected in [0x11, 0x22] {
        assert_eq!(run(pc, READ, 1, 0, [0, 0]), 2);
        assert_eq!(pc.inb(D0), expected);
    }

    pc.section("bad counts");
    for count in [0, 33] {
        let status = run(pc, WRITE, 5, 0x40, [count, 0]);
        assert!(!pc.is_natoma() || status == 4);
    }

    pc.section("interrupt enabled");
    pc.outb(STS, 0xff);
    pc.outb(ADD, READ);
    pc.outb(CNT, 0x49);
    assert_eq!(pc.inb(STS), 2, "done at once");
    assert_eq!(pc.inb(CNT), 0x09);
    pc.outb(CNT, 0);
    pc.outb(STS, 0xff);

    pc.section("process call");
    let status = run(pc, WRITE, 4, 0x30, [1, 2]);
    assert!(!pc.is_natoma() || status == 2);

    pc.section("block write");
    pc.inb(CNT);
    for byte in [7, 8, 9] {
        pc.outb(BLK, byte);
    }
    let status = run(pc, WRITE, 5, 0x40, [3, 0]);
    assert!(!pc.is_natoma() || status == 2);
    run(pc, READ, 5, 0x40, [0, 0]);
    pc.inb(CNT);
    let block = [pc.inb(BLK), pc.inb(BLK), pc.inb(BLK)];
    assert!(!pc.is_natoma() || block == [7, 8, 9]);

    pc.section("slave side");
    for offset in [8, 9, 10, 11] {
        pc.outb(BASE + offset, 0xff);
        pc.inb(BASE + offset);
    }
}
