//! QEMU's panic notifiers, on ISA and PCI. Nothing is reported: that would end the machine.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &["-device", "pvpanic", "-device", "pvpanic-pci,events=1,addr=4"],
    run: walk,
    differences: &[Difference {
        places: &[at("size", "inl 0xcfc", 0xe)],
        reason: "QEMU's BAR has two bytes, but the smallest that PCI has is 16",
    }],
};

const PCI: (u8, u8) = (4, 0);
const BASE: u32 = 0xfebf_0000;

fn walk(pc: &mut dyn Pc) {
    pc.section("port");
    assert_eq!(pc.inb(0x505), 3);
    pc.outb(0x505, 0);
    assert_eq!(pc.inb(0x505), 3);

    pc.section("configuration space");
    for register in (0..=0xfc).step_by(4) {
        pc.pci_read(PCI, register, 4);
    }
    pc.section("size");
    pc.pci_write(PCI, 0x10, 4, 0xffff_ffff);
    assert_eq!(pc.pci_read(PCI, 0x10, 4) & !0xf, 0xffff_fff0);
    pc.section("memory");
    pc.pci_write(PCI, 0x10, 4, BASE);
    pc.pci_write(PCI, 0x04, 2, 2);
    assert_eq!(pc.readb(BASE.into()), 1);
    assert_eq!(pc.readb(u64::from(BASE) + 1), 1);
}
