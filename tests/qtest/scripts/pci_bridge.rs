//! PCI-to-PCI bridge (PCI-to-PCI Bridge Architecture Specification 1.1): bus numbers, windows, reset of the bus behind it.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[
        "-device",
        "pci-bridge,id=back,chassis_nr=3,shpc=off,addr=5",
        "-device",
        "pci-serial,bus=back,addr=4,multifunction=on",
        "-device",
        "pci-serial,bus=back,addr=4.1",
    ],
    run: walk,
    differences: &[
        Difference {
            places: &[at("secondary bus reset", "inl 0xcfc", (NOBODY ^ CARD) as u64)],
            reason: "nothing answers on a bus that is held in reset",
        },
        Difference {
            places: &[at("ISA enable", "inb 0xd505", 0x9f)],
            reason: "QEMU's bridge has the bit and does not act on it",
        },
    ],
};

const BRIDGE: (u8, u8) = (5, 0);
const CARD: u32 = 0x0002_1b36;
const NOBODY: u32 = 0xffff_ffff;

/// Address of a register on a bus.
fn select(pc: &mut dyn Pc, bus: u32, slot: u32, function: u32, register: u32) {
    pc.outl(0xcf8, 0x8000_0000 | bus << 16 | slot << 11 | function << 8 | register);
}

fn identity(pc: &mut dyn Pc, bus: u32, slot: u32, function: u32) -> u32 {
    select(pc, bus, slot, function, 0);
    pc.inl(0xcfc)
}

fn place_card(pc: &mut dyn Pc, base: u32) {
    select(pc, 7, 4, 0, 0x10);
    pc.outl(0xcfc, base);
    select(pc, 7, 4, 0, 0x04);
    pc.outw(0xcfc, 1);
}

fn walk(pc: &mut dyn Pc) {
    pc.section("configuration space");
    for register in (0..=0xfc).step_by(4) {
        pc.pci_read(BRIDGE, register, 4);
    }
    assert_eq!(pc.pci_read(BRIDGE, 0x0e, 1), 1, "type 1 header");
    assert_eq!(pc.pci_read(BRIDGE, 0x40, 4), 0x0320_0004, "slot numbering: first in chassis 3");

    pc.section("what can be written");
    for register in (0..=0xfc).step_by(4) {
        let before = pc.pci_read(BRIDGE, register, 4);
        // Without the reset of the bus.
        pc.pci_write(BRIDGE, register, 4, if register == 0x3c { 0xffbf_ffff } else { 0xffff_ffff });
        pc.pci_read(BRIDGE, register, 4);
        pc.pci_write(BRIDGE, register, 4, before);
    }

    pc.section("bus numbers");
    assert_eq!(identity(pc, 7, 4, 0), NOBODY);
    pc.pci_write(BRIDGE, 0x18, 4, 0x0007_0700);
    assert_eq!(identity(pc, 7, 4, 0), CARD);
    assert_eq!(identity(pc, 7, 4, 1), CARD);
    assert_eq!(identity(pc, 7, 5, 0), NOBODY);
    assert_eq!(identity(pc, 6, 4, 0), NOBODY);
    assert_eq!(identity(pc, 8, 4, 0), NOBODY);

    pc.section("I/O window");
    place_card(pc, 0xd000);
    assert_eq!(pc.inb(0xd005), 0xff, "the window is at 0, and off");
    pc.pci_write(BRIDGE, 0x1c, 2, 0xe0d0);
    assert_eq!(pc.inb(0xd005), 0xff, "off");
    pc.pci_write(BRIDGE, 0x04, 2, 1);
    assert_eq!(pc.inb(0xd005), 0x60, "an idle UART");
    place_card(pc, 0xeff8);
    assert_eq!(pc.inb(0xeffd), 0x60);
    place_card(pc, 0xf000);
    assert_eq!(pc.inb(0xf005), 0xff, "above the limit");
    pc.pci_write(BRIDGE, 0x1c, 2, 0xd0e0);
    place_card(pc, 0xd000);
    assert_eq!(pc.inb(0xd005), 0xff, "a limit below the base closes the window");
    pc.pci_write(BRIDGE, 0x1c, 2, 0xd0d0);
    assert_eq!(pc.inb(0xd005), 0x60);

    pc.section("ISA enable");
    pc.pci_write(BRIDGE, 0x3e, 2, 0x0004);
    assert_eq!(pc.inb(0xd005), 0x60, "the first 256 of 1024 ports");
    place_card(pc, 0xd500);
    assert_eq!(pc.inb(0xd505), if pc.is_natoma() { 0xff } else { 0x60 });
    pc.pci_write(BRIDGE, 0x3e, 2, 0);
    place_card(pc, 0xd000);

    pc.section("secondary bus reset");
    pc.pci_write(BRIDGE, 0x3e, 2, 0x0040);
    assert_eq!(identity(pc, 7, 4, 0), if pc.is_natoma() { NOBODY } else { CARD });
    pc.section("after the reset");
    pc.pci_write(BRIDGE, 0x3e, 2, 0);
    assert_eq!(pc.inb(0xd005), 0xff, "nothing is placed");
    select(pc, 7, 4, 0, 0x10);
    assert_eq!(pc.inl(0xcfc), 1);
    assert_eq!(pc.pci_read(BRIDGE, 0x18, 4), 0x0007_0700, "the bridge is as it was");
}
