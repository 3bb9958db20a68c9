//! QEMU's pci-testdev (docs/specs/pci-testdev), as kvm-unit-tests use it.

use crate::Script;
use crate::pc::Pc;

pub const SCRIPT: Script =
    Script { options: &["-device", "pci-testdev,addr=4,membar=4G"], run: walk, differences: &[] };

const PLACE: (u8, u8) = (4, 0);
const MEMORY: u64 = 0xfea0_0000;
const PORTS: u16 = 0xd000;

const TEST: u16 = 0;
const WIDTH: u16 = 1;
const OFFSET: u16 = 4;
const DATA: u16 = 8;
const COUNT: u16 = 12;
const NAME: u16 = 16;

fn walk(pc: &mut dyn Pc) {
    pc.section("configuration space");
    for register in (0..0x40).step_by(4) {
        pc.pci_read(PLACE, register, 4);
    }
    pc.pci_write(PLACE, 0x10, 4, u32::MAX);
    assert_eq!(pc.pci_read(PLACE, 0x10, 4), 0xffff_f000, "4 KiB of memory");
    pc.pci_write(PLACE, 0x14, 4, u32::MAX);
    assert_eq!(pc.pci_read(PLACE, 0x14, 4), 0xffff_ff01, "256 ports");
    for register in [0x18, 0x1c] {
        pc.pci_write(PLACE, register, 4, u32::MAX);
        pc.pci_read(PLACE, register, 4);
        pc.pci_write(PLACE, register, 4, 0);
    }
    pc.pci_write(PLACE, 0x10, 4, MEMORY as u32);
    pc.pci_write(PLACE, 0x14, 4, PORTS.into());
    pc.pci_write(PLACE, 0x04, 2, 3);

    pc.section("no test");
    for offset in [0, 4, 12, 16, 0x800, 0xfff] {
        pc.readb(MEMORY + offset);
    }
    pc.inl(PORTS);

    pc.section("tests of ports");
    for test in 0..3 {
        pc.outb(PORTS + TEST, test);
        assert_eq!((pc.inb(PORTS + TEST), pc.inb(PORTS + WIDTH)), (3 + test, 1));
        let (offset, data) = (pc.inl(PORTS + OFFSET), pc.inb(PORTS + DATA));
        assert_eq!(offset, 0x80 + 3 + u32::from(test));
        for at in 0..28 {
            pc.inb(PORTS + NAME + at);
        }
        for value in [data, data ^ 1, data] {
            pc.outb(PORTS + offset as u16, value);
        }
        assert_eq!(pc.inl(PORTS + COUNT), if test == 0 { 2 } else { 0 });
        pc.outb(PORTS + offset as u16 + 1, data);
        pc.inb(PORTS + offset as u16);
        pc.writeb(MEMORY + u64::from(offset), data);
        pc.inl(PORTS + COUNT);
        pc.readb(MEMORY + u64::from(TEST));
    }

    pc.section("tests of memory");
    for test in 0..3 {
        pc.writeb(MEMORY, test);
        assert_eq!((pc.readb(MEMORY), pc.readb(MEMORY + u64::from(WIDTH))), (test, 1));
        let (offset, data) = (pc.readl(MEMORY + u64::from(OFFSET)), pc.readb(MEMORY + u64::from(DATA)));
        assert_eq!(offset, 0x800 + u32::from(test));
        for at in 0..28 {
            pc.readb(MEMORY + u64::from(NAME + at));
        }
        for value in [data, data, data ^ 0x80] {
            pc.writeb(MEMORY + u64::from(offset), value);
        }
        assert_eq!(pc.readl(MEMORY + u64::from(COUNT)), if test == 0 { 2 } else { 0 });
        pc.inb(PORTS + TEST);
    }

    pc.section("a test that does not exist");
    pc.outb(PORTS + TEST, 0);
    pc.outb(PORTS + TEST, 3);
    assert_eq!((pc.inl(PORTS), pc.inl(PORTS + COUNT)), (0, 0));
}
