//! QEMU's pc-testdev, as kvm-unit-tests use it.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &["-device", "pc-testdev"],
    run: walk,
    differences: &[Difference {
        places: &[at("memory past its end", "read 0xff010000+1", 0xff)],
        reason: "nobody answers: unclaimed memory reads as ones",
    }],
};

const MEMORY: u64 = 0xff00_0000;

fn walk(pc: &mut dyn Pc) {
    pc.section("latch");
    pc.outl(0xe0, 0x1234_5678);
    assert_eq!((pc.inl(0xe0), pc.inw(0xe2), pc.inb(0xe1)), (0x1234_5678, 0x1234, 0x56));
    pc.outw(0xe0, 0xbeef);
    assert_eq!(pc.inl(0xe0), 0x1234_beef);
    pc.outb(0xe3, 0xaa);
    assert_eq!(pc.inl(0xe0), 0xaa34_beef);

    pc.section("latch by bytes");
    assert_eq!(pc.inl(0xe8), 0xaa34_beef);
    pc.outl(0xe8, 0x0102_0304);
    assert_eq!((pc.inl(0xe0), pc.inb(0xe9)), (0x0102_0304, 0x03));

    pc.section("interrupts");
    for irq in [3, 5, 10] {
        assert!(!pc.irq(irq));
        pc.outb(0x2000 + irq as u16, 1);
        assert!(pc.irq(irq));
        pc.outb(0x2000 + irq as u16, 0);
        assert!(!pc.irq(irq));
    }

    pc.section("memory");
    pc.writel(MEMORY + 0x100, 0xcafe_f00d);
    assert_eq!((pc.readl(MEMORY + 0x100), pc.readb(MEMORY + 0x101)), (0xcafe_f00d, 0xf0));
    pc.writeb(MEMORY + 0xffff, 0x5a);
    assert_eq!(pc.readb(MEMORY + 0xffff), 0x5a);
    pc.section("memory past its end");
    pc.readb(MEMORY + 0x1_0000);
}
