//! IDE function of the PIIX3 (Intel 290550) with a disk (ATA/ATAPI-6) and a CD drive (MMC-3).

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[
        "-drive",
        "if=ide,index=0,format=raw,snapshot=on,file=IMAGE",
        "-drive",
        "if=ide,index=2,media=cdrom,format=raw,file=IMAGE",
    ],
    run: walk,
    differences: &[
        Difference {
            places: &[at("after power-on", "inb 0x1f1", 0x01), at("after power-on", "inb 0x171", 0x01)],
            reason: "a device that has passed its self-test says so after power-on (ATA/ATAPI-6, 9.1); QEMU's after SRST only",
        },
        Difference {
            places: &[at("after power-on", "inb 0x177", 0x50), at("after power-on", "inb 0x376", 0x50)],
            reason: "a packet device is not ready after a reset until its first command (ATA/ATAPI-6, 9.1)",
        },
        Difference {
            places: &[at("software reset", "inb 0x3f6", 0xd0), at("software reset", "inb 0x376", 0x80)],
            reason: "devices are busy as long as SRST is set (ATA/ATAPI-6, 9.2); QEMU's begin when it is cleared",
        },
        Difference {
            places: &[
                at("disk: word 49", "inw 0x1f0", 0x2000),
                at("disk: word 50", "inw 0x1f0", 0x4000),
                at("disk: word 82", "inw 0x1f0", 0x3448),
                at("disk: word 84", "inw 0x1f0", 0x0002),
                at("disk: word 85", "inw 0x1f0", 0x3448),
                at("disk: word 87", "inw 0x1f0", 0x0002),
            ],
            reason: "standby timer, power management, buffer, look-ahead, host protected area, self-tests: what QEMU can do too \
                     but for the timer, and does not tell",
        },
        Difference {
            places: &[
                at("CD: word 82", "inw 0x170", 0x4218),
                at("CD: word 83", "inw 0x170", 0x4000),
                at("CD: word 84", "inw 0x170", 0x4000),
                at("CD: word 85", "inw 0x170", 0x4218),
                at("CD: word 87", "inw 0x170", 0x4000),
            ],
            reason: "the features of a packet device, of which QEMU's tells nothing",
        },
        Difference {
            places: &[at("errors", "inb 0x1f1", 0x14)],
            reason: "a sector that is not there is IDNF (ATA/ATAPI-6, 8.27); QEMU's disk aborts the command",
        },
    ],
};

const DISK: u16 = 0x1f0;
const CD: u16 = 0x170;
/// The bus master's ports.
const MASTER: u16 = 0xc000;
/// RAM for its table and its data.
const TABLE: u64 = 0x10_0000;
const DATA: u64 = 0x11_0000;
const END_OF_TABLE: u32 = 1 << 31;
/// A device is given this many looks at its status.
const PATIENCE: u32 = 1_000_000;

/// Waits until a channel is not busy: on QEMU that takes as many looks as it takes.
fn wait(pc: &mut dyn Pc, channel: u16) -> u8 {
    wait_until_clear(pc, channel, 0x80)
}

/// Waits until these bits of a channel's status are clear.
fn wait_until_clear(pc: &mut dyn Pc, channel: u16, bits: u8) -> u8 {
    pc.leave_out(true);
    let busy = |status: &u8| status & bits != 0;
    let status = (0..PATIENCE).map(|_| pc.inb(channel + 0x206)).find(|status| !busy(status));
    pc.leave_out(false);
    let status = status.expect("the device comes to an end");
    pc.finding("status", &[status]);
    status
}

fn registers(pc: &mut dyn Pc, channel: u16) -> Vec<u8> {
    (1..8).map(|register| pc.inb(channel + register)).collect()
}

/// A command with features, sector count and LBA.
fn command(pc: &mut dyn Pc, opcode: u8, features: u8, count: u8, lba: u32) -> u8 {
    let [low, mid, high, top] = lba.to_le_bytes();
    for (register, value) in (1..).zip([features, count, low, mid, high, 0xe0 | top]) {
        pc.outb(DISK + register, value);
    }
    pc.outb(DISK + 7, opcode);
    // By DRQ a disk shows that the bus master is at work.
    let by_dma = opcode == 0xc8;
    wait_until_clear(pc, DISK, if by_dma { 0x88 } else { 0x80 })
}

/// Reads words, each in a section of its own.
fn words(pc: &mut dyn Pc, channel: u16, name: &str) -> Vec<u16> {
    (0..256)
        .map(|word| {
            pc.section(&format!("{name}: word {word}"));
            pc.inw(channel)
        })
        .collect()
}

fn packet(pc: &mut dyn Pc, packet: &[u8]) -> Vec<u8> {
    for (register, value) in [(6, 0xa0), (1, 0), (4, 0xfe), (5, 0xff), (7, 0xa0)] {
        pc.outb(CD + register, value);
    }
    wait(pc, CD);
    let mut bytes = [0; 12];
    bytes[..packet.len()].copy_from_slice(packet);
    bytes.chunks_exact(2).for_each(|pair| pc.outw(CD, u16::from_le_bytes([pair[0], pair[1]])));
    let mut answer = Vec::new();
    while wait(pc, CD) & 0x08 != 0 {
        let len = usize::from(u16::from_le_bytes([pc.inb(CD + 4), pc.inb(CD + 5)]));
        let words = (0..len.div_ceil(2)).flat_map(|_| pc.inw(CD).to_le_bytes());
        answer.extend(words.take(len));
    }
    pc.inb(CD + 7);
    answer
}

/// Gives the bus master a table of one region and starts it.
fn start_master(pc: &mut dyn Pc, len: u32) {
    pc.writel(TABLE, DATA as u32);
    pc.writel(TABLE + 4, len | END_OF_TABLE);
    pc.outb(MASTER, 0x00);
    pc.outl(MASTER + 4, TABLE as u32);
    pc.outb(MASTER + 2, 0x06);
    pc.outb(MASTER, 0x09);
}

fn walk(pc: &mut dyn Pc) {
    pc.section("after power-on");
    pc.irq(14);
    registers(pc, DISK);
    pc.outb(DISK + 6, 0xb0);
    assert_eq!(registers(pc, DISK)[1..], [1, 1, 0xff, 0xff, 0xb0, 0x00]);
    pc.outb(DISK + 6, 0xa0);
    registers(pc, CD);
    pc.inb(CD + 0x206);

    pc.section("software reset");
    for channel in [DISK, CD] {
        pc.outb(channel + 0x206, 0x04);
        let held = pc.inb(channel + 0x206);
        assert!(!pc.is_natoma() || held == 0x80);
        pc.outb(channel + 0x206, 0x00);
        wait(pc, channel);
    }
    assert_eq!(registers(pc, DISK), [1, 1, 1, 0, 0, 0xa0, 0x50]);
    assert_eq!(registers(pc, CD), [1, 1, 1, 0x14, 0xeb, 0xa0, 0x00]);

    pc.section("identification");
    assert_eq!(command(pc, 0xec, 0, 0, 0), 0x58);
    assert!(pc.irq(14));
    assert_eq!(words(pc, DISK, "disk")[60..62], [0, 2]);
    pc.section("identification");
    assert_eq!(pc.inb(DISK + 7), 0x50);
    assert!(!pc.irq(14));
    pc.outb(CD + 7, 0xa1);
    wait(pc, CD);
    assert_eq!(words(pc, CD, "CD")[0], 0x85c0);

    pc.section("reading and writing");
    assert_eq!(command(pc, 0x20, 0, 2, 77), 0x58);
    for sector in [77, 78] {
        wait(pc, DISK);
        assert_eq!(pc.inl(DISK), sector);
        (0..127).for_each(|_| assert_eq!(pc.inl(DISK), 0));
    }
    assert_eq!(wait(pc, DISK), 0x50);
    assert_eq!(command(pc, 0x30, 0, 1, 78), 0x58);
    (0..128).for_each(|word| pc.outl(DISK, word));
    assert_eq!(wait(pc, DISK), 0x50);
    command(pc, 0x20, 0, 1, 78);
    (0..128).for_each(|word| assert_eq!(pc.inl(DISK), word));
    assert_eq!(command(pc, 0xe7, 0, 0, 0), 0x50, "FLUSH CACHE");
    assert_eq!(command(pc, 0xc6, 0, 8, 0), 0x50, "SET MULTIPLE MODE");
    assert_eq!(command(pc, 0xc4, 0, 3, 100), 0x58);
    for sector in 100..103 {
        assert_eq!(pc.inl(DISK), sector);
        (0..127).for_each(|_| assert_eq!(pc.inl(DISK), 0));
    }
    assert_eq!(pc.inb(DISK + 7), 0x50);

    pc.section("errors");
    for (opcode, features, count, lba) in [(0x20, 0, 1, 0x2_0000), (0xc6, 0, 3, 0), (0x00, 0, 0, 0), (0xef, 0x99, 0, 0)]
    {
        assert_eq!(command(pc, opcode, features, count, lba), 0x41);
        let error = pc.inb(DISK + 1);
        assert!(!pc.is_natoma() || error == if opcode == 0x20 { 0x10 } else { 0x04 });
    }
    assert_eq!(command(pc, 0xf8, 0, 0, 0), 0x50, "READ NATIVE MAX ADDRESS");
    assert_eq!([3, 4, 5].map(|register| pc.inb(DISK + register)), [0xff, 0xff, 0x01]);

    pc.section("bus master");
    pc.pci_write((1, 1), 0x20, 4, u32::from(MASTER));
    pc.pci_write((1, 1), 0x04, 2, 0x0005);
    for (len, status) in [(512, 0x04), (1024, 0x05)] {
        start_master(pc, len);
        assert_eq!(command(pc, 0xc8, 0, 1, 5), 0x50);
        assert_eq!(pc.inb(MASTER + 2), status, "a region of {len} bytes");
        assert!(pc.irq(14));
        pc.inb(DISK + 7);
        assert_eq!(pc.readl(DATA), 5);
    }
    pc.outb(MASTER, 0x00);
    pc.inb(MASTER + 2);

    pc.section("packets");
    assert_eq!(packet(pc, &[0x12, 0, 0, 0, 36])[8..32], *b"QEMU    QEMU DVD-ROM    ");
    assert_eq!(packet(pc, &[0x25]), [0, 0, 0x7f, 0xff, 0, 0, 8, 0]);
    assert_eq!(packet(pc, &[0x43, 2, 0, 0, 0, 0, 0, 0, 100]).len(), 20);
    assert_eq!(packet(pc, &[0x28, 0, 0, 0, 0, 3, 0, 0, 2])[2048], 16);
    assert_eq!(packet(pc, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), [0, 4, 4, 0x10, 0, 2, 0, 0]);
    assert_eq!(packet(pc, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]), [0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(packet(pc, &[0x51, 0, 0, 0, 0, 0, 0, 0, 34])[2], 0x0e);
    assert!(packet(pc, &[0xff]).is_empty());
    assert_eq!(pc.inb(CD + 1), 0x50);
}
