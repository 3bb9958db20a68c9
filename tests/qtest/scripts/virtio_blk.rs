//! `virtio-blk-pci` (virtio 1.2), as a transitional function, for legacy drivers only and for those of virtio 1 only.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[
        "-drive",
        "if=none,id=a,format=raw,snapshot=on,file=IMAGE",
        "-device",
        "virtio-blk-pci,drive=a,addr=4,serial=natoma,num-queues=2,packed=on",
        "-drive",
        "if=none,id=b,format=raw,snapshot=on,file=IMAGE,file.locking=off",
        "-device",
        "virtio-blk-pci-non-transitional,drive=b,addr=5,logical_block_size=4096,physical_block_size=8192,vectors=0",
        "-drive",
        "if=none,id=c,format=raw,snapshot=on,file=IMAGE,file.locking=off",
        "-device",
        "virtio-blk-pci,drive=c,addr=6,disable-modern=on,config-wce=off,queue-size=64",
    ],
    run: walk,
    differences: &[Difference {
        places: &[at("legacy: registers", "inl 0xc100", 0x0800_0080)],
        reason: "QEMU offers SCSI commands to legacy drivers, and answers them as unsupported; and it takes back ANY_LAYOUT",
    }],
};

/// Slots.
const TRANSITIONAL: (u8, u8) = (4, 0);
const MODERN: (u8, u8) = (5, 0);
const LEGACY: (u8, u8) = (6, 0);

/// Ports of the legacy interfaces, and where BAR 4 and BAR 1 go.
const PORTS: u16 = 0xc000;
const LEGACY_PORTS: u16 = 0xc100;
const BAR: u64 = 0xfe00_0000;
const TABLE: u64 = 0xfebc_0000;

/// RAM of the queue and of the requests.
const QUEUE: u64 = 0x10_0000;
const DATA: u64 = 0x11_0000;

/// A device is given this many looks.
const PATIENCE: u32 = 1_000_000;

fn configuration(pc: &mut dyn Pc, function: (u8, u8)) {
    for register in (0..=0xfc).step_by(4) {
        pc.pci_read(function, register, 4);
    }
    for bar in (0x10..=0x24).step_by(4) {
        pc.pci_write(function, bar, 4, 0xffff_ffff);
        pc.pci_read(function, bar, 4);
        pc.pci_write(function, bar, 4, 0);
    }
    // What can be written of the capabilities, without the register that reaches the BARs.
    for register in (0x40..0xa8).step_by(4).filter(|register| *register != 0x94) {
        let before = pc.pci_read(function, register, 4);
        pc.pci_write(function, register, 4, 0xffff_ffff);
        pc.pci_read(function, register, 4);
        pc.pci_write(function, register, 4, before);
    }
}

fn common(pc: &mut dyn Pc) {
    for select in 0..3 {
        pc.writel(BAR, select);
        pc.readl(BAR + 4);
    }
    for select in 0..3 {
        pc.writew(BAR + 0x16, select);
        for (offset, size) in [(0x18, 2), (0x1a, 2), (0x1c, 2), (0x1e, 2), (0x20, 4), (0x24, 4), (0x28, 4), (0x30, 4)] {
            pc.read(BAR + offset, &mut [0; 4][..size]);
        }
    }
    for offset in [0x10, 0x12] {
        pc.readw(BAR + offset);
    }
    for offset in [0x14, 0x15] {
        pc.readb(BAR + offset);
    }
}

fn device(pc: &mut dyn Pc) {
    for offset in (0..0x40).step_by(4) {
        pc.readl(BAR + 0x2000 + offset);
    }
    for offset in 0..0x40 {
        pc.readb(BAR + 0x2000 + offset);
    }
}

/// A read of sector `sector` and its serial number, by a split queue in one piece at [`QUEUE`].
struct Queue {
    size: u16,
    index: u16,
}

impl Queue {
    fn available(&self) -> u64 {
        QUEUE + 16 * u64::from(self.size)
    }

    fn used(&self) -> u64 {
        (self.available() + 4 + 2 * u64::from(self.size)).next_multiple_of(0x1000)
    }

    /// Makes a request and waits for its end.
    fn request(&mut self, pc: &mut dyn Pc, kind: u32, sector: u64, data: (u32, u16), kick: impl FnOnce(&mut dyn Pc)) {
        pc.writel(DATA, kind);
        pc.writel(DATA + 4, 0);
        pc.writeq(DATA + 8, sector);
        pc.writeb(DATA + 0x800, 0xff);
        let parts = [(DATA, 16, 1), (DATA + 0x1000, data.0, 1 | data.1), (DATA + 0x800, 1, 2)];
        for (index, (address, len, flags)) in (0..).zip(parts) {
            let at = QUEUE + 16 * u64::from(index);
            pc.writeq(at, address);
            pc.writel(at + 8, len);
            pc.writew(at + 12, flags);
            pc.writew(at + 14, index + 1);
        }
        pc.writew(self.available() + 4 + 2 * u64::from(self.index % self.size), 0);
        self.index += 1;
        pc.writew(self.available() + 2, self.index);
        kick(pc);
        pc.leave_out(true);
        let used = self.used();
        let done = (0..PATIENCE).any(|_| pc.readw(used + 2) == self.index);
        pc.leave_out(false);
        assert!(done, "request {kind} comes to an end");
        let entry = used + 4 + 8 * u64::from((self.index - 1) % self.size);
        pc.readl(entry);
        pc.readl(entry + 4);
        pc.readb(DATA + 0x800);
        let mut bytes = [0; 32];
        pc.read(DATA + 0x1000, &mut bytes);
    }

    fn requests(&mut self, pc: &mut dyn Pc, kick: fn(&mut dyn Pc)) {
        self.request(pc, 0, 5, (512, 2), kick);
        self.request(pc, 8, 0, (20, 2), kick);
        // A sector that is not there, and half of one.
        self.request(pc, 0, 131_072, (512, 2), kick);
        self.request(pc, 0, 5, (256, 2), kick);
        // A flush, what is none, and a write that can be read.
        self.request(pc, 4, 0, (1, 2), kick);
        self.request(pc, 99, 0, (8, 2), kick);
        pc.writeq(DATA + 0x1000, 0x1122_3344_5566_7788);
        self.request(pc, 1, 7, (512, 0), kick);
        self.request(pc, 0, 7, (512, 2), kick);
        // Zeroes of three sectors from the sixth on, and of one with a flag that is none.
        for (sector, count, flags) in [(6, 3, 0), (6, 1, 2)] {
            pc.writeq(DATA + 0x1000, sector);
            pc.writel(DATA + 0x1008, count);
            pc.writel(DATA + 0x100c, flags);
            self.request(pc, 13, 0, (16, 0), kick);
        }
        self.request(pc, 0, 7, (512, 2), kick);
    }
}

fn walk(pc: &mut dyn Pc) {
    for (name, function) in [("transitional", TRANSITIONAL), ("modern", MODERN), ("legacy", LEGACY)] {
        pc.section(&format!("{name}: configuration space"));
        configuration(pc, function);
    }
    transitional(pc);
    modern(pc);
    legacy(pc);
}

fn transitional(pc: &mut dyn Pc) {
    pc.section("transitional: registers");
    pc.pci_write(TRANSITIONAL, 0x10, 4, PORTS.into());
    pc.pci_write(TRANSITIONAL, 0x14, 4, TABLE as u32);
    pc.pci_write(TRANSITIONAL, 0x20, 4, BAR as u32);
    pc.pci_write(TRANSITIONAL, 0x04, 2, 7);
    common(pc);
    device(pc);
    for port in 0..0x20 {
        pc.inb(PORTS + port);
    }
    for port in (0..0x60).step_by(4) {
        pc.inl(PORTS + port);
    }
    for offset in [0, 8, 12, 16, 28, 0x2c, 0x30, 0x800, 0x804] {
        pc.readl(TABLE + offset);
    }

    pc.section("transitional: vectors");
    for vector in [0, 2, 3, 0xfffe, 1] {
        pc.writew(BAR + 0x10, vector);
        pc.readw(BAR + 0x10);
    }
    pc.pci_write(TRANSITIONAL, 0x9a, 2, 0x8000);
    for port in 0x14..0x20 {
        pc.inb(PORTS + port);
    }
    pc.pci_write(TRANSITIONAL, 0x9a, 2, 0);

    pc.section("transitional: the window in configuration space");
    for (offset, len) in [(0x12, 2), (0x14, 1), (0x2000, 4), (0x1000, 1)] {
        pc.pci_write(TRANSITIONAL, 0x88, 1, 4);
        pc.pci_write(TRANSITIONAL, 0x8c, 4, offset);
        pc.pci_write(TRANSITIONAL, 0x90, 4, len);
        pc.pci_read(TRANSITIONAL, 0x94, len as usize);
    }

    pc.section("transitional: negotiation");
    for status in [0, 1, 3] {
        pc.writeb(BAR + 0x14, status);
        pc.readb(BAR + 0x14);
    }
    for half in [0, 1] {
        pc.writel(BAR, half);
        // Neither event index nor packed rings.
        let features = pc.readl(BAR + 4) & if half == 0 { !(1 << 29) } else { !(1 << 2) };
        pc.writel(BAR + 8, half);
        pc.writel(BAR + 0xc, features);
        pc.readl(BAR + 0xc);
    }
    pc.writeb(BAR + 0x14, 0xb);
    pc.readb(BAR + 0x14);

    pc.section("transitional: queue");
    pc.writew(BAR + 0x16, 0);
    pc.writew(BAR + 0x18, 16);
    pc.readw(BAR + 0x18);
    let mut queue = Queue { size: 16, index: 0 };
    for (register, address) in [(0x20, QUEUE), (0x28, queue.available()), (0x30, queue.used())] {
        pc.writel(BAR + register, address as u32);
        pc.writel(BAR + register + 4, 0);
        pc.readl(BAR + register);
    }
    pc.writew(BAR + 0x1c, 1);
    pc.readw(BAR + 0x1c);
    pc.writeb(BAR + 0x14, 0xf);
    pc.readb(BAR + 0x14);

    pc.section("transitional: requests");
    queue.requests(pc, |pc| pc.writew(BAR + 0x3000, 0));
    assert_eq!(pc.readb(BAR + 0x1000), 1);
    pc.readb(BAR + 0x1000);

    pc.section("transitional: a broken chain");
    pc.writew(QUEUE + 14, 99);
    pc.writew(queue.available() + 4 + 2 * u64::from(queue.index % 16), 0);
    pc.writew(queue.available() + 2, queue.index + 1);
    pc.writew(BAR + 0x3000, 0);
    pc.leave_out(true);
    let told = (0..PATIENCE).any(|_| pc.readb(BAR + 0x14) & 0x40 != 0);
    pc.leave_out(false);
    assert!(told, "DEVICE_NEEDS_RESET");
    pc.readb(BAR + 0x14);
    pc.readb(BAR + 0x15);
    pc.readb(BAR + 0x1000);
    pc.writeb(BAR + 0x14, 0);
    common(pc);
    pc.pci_write(TRANSITIONAL, 0x04, 2, 0);
}

fn modern(pc: &mut dyn Pc) {
    pc.section("modern: registers");
    pc.pci_write(MODERN, 0x20, 4, BAR as u32);
    pc.pci_write(MODERN, 0x04, 2, 6);
    common(pc);
    device(pc);
    // There are no vectors.
    pc.writew(BAR + 0x10, 0);
    pc.readw(BAR + 0x10);
    pc.pci_write(MODERN, 0x04, 2, 0);
}

fn legacy(pc: &mut dyn Pc) {
    pc.section("legacy: registers");
    pc.pci_write(LEGACY, 0x10, 4, LEGACY_PORTS.into());
    pc.pci_write(LEGACY, 0x04, 2, 3);
    for port in (0..0x60).step_by(4) {
        pc.inl(LEGACY_PORTS + port);
    }

    pc.section("legacy: queue");
    for status in [0, 1, 3] {
        pc.outb(LEGACY_PORTS + 0x12, status);
        pc.inb(LEGACY_PORTS + 0x12);
    }
    // The driver has forgotten it.
    pc.pci_read(LEGACY, 0x04, 2);
    pc.outl(LEGACY_PORTS + 4, 0x0000_0200);
    pc.inl(LEGACY_PORTS + 4);
    pc.outw(LEGACY_PORTS + 0xe, 1);
    pc.inw(LEGACY_PORTS + 0xc);
    pc.outw(LEGACY_PORTS + 0xe, 0);
    let size = pc.inw(LEGACY_PORTS + 0xc);
    pc.outl(LEGACY_PORTS + 8, (QUEUE >> 12) as u32);
    pc.inl(LEGACY_PORTS + 8);
    // What the other driver has left in the same place.
    let mut queue = Queue { size, index: 0 };
    for address in (queue.available()..queue.used() + 0x1000).step_by(8) {
        pc.leave_out(true);
        pc.writeq(address, 0);
        pc.leave_out(false);
    }
    pc.outb(LEGACY_PORTS + 0x12, 7);
    pc.inb(LEGACY_PORTS + 0x12);

    pc.section("legacy: requests");
    queue.requests(pc, |pc| pc.outw(LEGACY_PORTS + 0x10, 0));
    assert_eq!(pc.inb(LEGACY_PORTS + 0x13), 1);
    pc.inb(LEGACY_PORTS + 0x13);

    pc.section("legacy: page 0");
    pc.outl(LEGACY_PORTS + 8, 0);
    pc.inl(LEGACY_PORTS + 8);
    pc.inb(LEGACY_PORTS + 0x12);
}
