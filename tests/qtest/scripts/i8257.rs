//! The 8237A pair and its page registers (Intel 8237A data sheet; PIIX3).

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &["-m", "16"],
    run: walk,
    differences: &[
        Difference {
            places: &[at("masks at 0Fh", "inb 0xf", 0x0a), at("masks at 0Fh", "inb 0xde", 0x0a)],
            reason: "the PIIX3 shows the masks at 0Fh and DEh; QEMU shows them at 09h and D2h only",
        },
        Difference {
            places: &[at("a software request", "inb 0x8", 0x22), at("a software request", "read 0x123000+4", 0xffff)],
            reason: "QEMU moves no data without a peripheral; the data sheet serves a request in block mode at once",
        },
    ],
};

/// A controller: its first port, and the distance of its registers in powers of two.
struct Controller {
    base: u16,
    shift: u16,
}

const CONTROLLERS: [Controller; 2] = [Controller { base: 0x00, shift: 0 }, Controller { base: 0xc0, shift: 1 }];

impl Controller {
    /// Register `number` as the data sheet counts them: 0 to 7 addresses and counts, 8 to Fh control.
    fn port(&self, number: u16) -> u16 {
        self.base + (number << self.shift)
    }

    fn out(&self, pc: &mut dyn Pc, number: u16, value: u8) {
        pc.outb(self.port(number), value);
    }

    fn inb(&self, pc: &mut dyn Pc, number: u16) -> u8 {
        pc.inb(self.port(number))
    }
}

fn walk(pc: &mut dyn Pc) {
    for controller in CONTROLLERS {
        registers(pc, &controller);
    }

    pc.section("page registers");
    for (value, port) in (0x11..).zip([0x81, 0x82, 0x83, 0x87, 0x89, 0x8a, 0x8b, 0x8f]) {
        pc.outb(port, value);
    }
    for (value, port) in (0x11..).zip([0x81, 0x82, 0x83, 0x87, 0x89, 0x8a, 0x8b, 0x8f]) {
        assert_eq!(pc.inb(port), value);
    }
    // Not there on this board.
    for port in [0x84, 0x85, 0x86, 0x88, 0x8c, 0x8d, 0x8e] {
        assert_eq!(pc.inb(port), 0xff);
    }

    pc.section("a software request");
    let first = &CONTROLLERS[0];
    pc.writel(0x12_3000, 0);
    first.out(pc, 0xd, 0);
    // Channel 1, block mode, writes memory: 2 transfers to 123000h.
    first.out(pc, 0xb, 0x85);
    pc.outb(0x83, 0x12);
    for (number, value) in [(2, 0x00), (2, 0x30), (3, 0x01), (3, 0x00)] {
        first.out(pc, number, value);
    }
    first.out(pc, 0x9, 0x05);
    assert_eq!(first.inb(pc, 0x8), if pc.is_natoma() { 0x02 } else { 0x20 });
    assert_eq!(pc.readl(0x12_3000), if pc.is_natoma() { 0x0000_ffff } else { 0 });
}

fn registers(pc: &mut dyn Pc, controller: &Controller) {
    pc.section("reset state");
    for number in 0..0xf {
        controller.inb(pc, number);
    }
    assert_eq!(controller.inb(pc, 0x9), 0xff, "all channels are masked");

    pc.section("addresses and counts");
    controller.out(pc, 0xc, 0);
    for number in 0..8 {
        controller.out(pc, number, 0x34 + number as u8);
        controller.out(pc, number, 0x12);
    }
    for number in 0..8 {
        assert_eq!([controller.inb(pc, number), controller.inb(pc, number)], [0x34 + number as u8, 0x12]);
    }
    controller.inb(pc, 0);
    controller.out(pc, 0xc, 0);
    assert_eq!(controller.inb(pc, 0), 0x34, "the flip-flop is cleared");
    controller.out(pc, 0xc, 0);

    pc.section("masks");
    controller.out(pc, 0xe, 0);
    assert_eq!(controller.inb(pc, 0x9), 0x00);
    controller.out(pc, 0xa, 0x06);
    assert_eq!(controller.inb(pc, 0x9), 0x04);
    controller.out(pc, 0xa, 0x02);
    assert_eq!(controller.inb(pc, 0x9), 0x00);
    controller.out(pc, 0xf, 0x0a);
    assert_eq!(controller.inb(pc, 0x9), 0x0a);
    pc.section("masks at 0Fh");
    controller.inb(pc, 0xf);

    pc.section("requests");
    // In single mode a request by software stays.
    controller.out(pc, 0xb, 0x46);
    controller.out(pc, 0x9, 0x06);
    assert_eq!([controller.inb(pc, 0x8), controller.inb(pc, 0x8)], [0x40, 0x40]);
    controller.out(pc, 0x9, 0x02);
    assert_eq!(controller.inb(pc, 0x8), 0x00);

    pc.section("master clear");
    controller.out(pc, 0xf, 0x00);
    controller.out(pc, 0xd, 0);
    assert_eq!(controller.inb(pc, 0x9), 0xff);
    assert_eq!(controller.inb(pc, 0x8), 0x00);
    assert_eq!(controller.inb(pc, 0xd), 0x00, "the temporary register");
}
