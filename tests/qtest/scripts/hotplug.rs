//! Hot-plug by ACPI as QEMU's machine has it (its `docs/specs`): the registers for processors and for PCI slots.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const PROCESSORS: Script =
    Script { options: &["-smp", "2,maxcpus=6,sockets=2,cores=3"], run: processors, differences: &[] };

pub const SLOTS: Script = Script {
    options: &["-device", "pci-bridge,id=b,chassis_nr=1,addr=3", "-device", "pci-serial,addr=4,acpi-index=7"],
    run: slots,
    differences: &[Difference {
        places: &[at("slots", "inl 0xae0c", 0x10), at("ejection", "inl 0xae0c", 0x10)],
        reason: "what sits in a slot when natoma's machine starts stays there",
    }],
};

const CPU: u16 = 0xaf00;
const FLAGS: u16 = CPU + 4;
const COMMAND: u16 = CPU + 5;
const DATA: u16 = CPU + 8;

fn processors(pc: &mut dyn Pc) {
    pc.section("bitmap");
    // Two sockets of three cores: the APIC ids of the second socket begin with 4.
    assert_eq!((pc.inb(CPU), pc.inb(CPU + 1), pc.inl(CPU)), (0b11, 0, 0b11));
    for port in 0..32 {
        pc.inb(CPU + port);
    }
    pc.outb(CPU, 1);
    pc.outl(FLAGS, 0);
    assert_eq!(pc.inb(CPU), 0b11, "neither changes anything");

    pc.section("registers");
    pc.outl(CPU, 0);
    for port in 0..32 {
        pc.inb(CPU + port);
    }
    assert_eq!(pc.inl(CPU + 12), 0xffff_ffff, "no longer decoded");
    for (cpu, flags, apic_id) in [(0, 1, 0), (1, 1, 1), (2, 0, 2), (3, 0, 4), (5, 0, 6)] {
        pc.outl(CPU, cpu);
        assert_eq!(pc.inb(FLAGS), flags, "CPU {cpu}");
        pc.outb(COMMAND, 3);
        assert_eq!((pc.inl(DATA), pc.inl(CPU)), (apic_id, 0));
        pc.outb(COMMAND, 0);
        assert_eq!(pc.inl(DATA), cpu, "no event: the selection stays");
    }

    pc.section("beyond the last");
    for cpu in [6, 0x8000_0000, 0xffff_ffff] {
        pc.outl(CPU, cpu);
        pc.outb(FLAGS, 0x1e);
        pc.outb(COMMAND, 0);
        pc.outl(DATA, cpu);
        assert_eq!((pc.inb(FLAGS), pc.inl(DATA), pc.inl(CPU)), (0, 0, 0));
    }

    pc.section("commands");
    pc.outl(CPU, 1);
    for command in 0..=255 {
        pc.outb(COMMAND, command);
        pc.inl(DATA);
        pc.inl(CPU);
    }
    pc.section("firmware lets go");
    pc.outb(FLAGS, 0x10);
    assert_eq!(pc.inb(FLAGS), 0x11);
    pc.outl(CPU, 4);
    pc.outb(COMMAND, 0);
    assert_eq!(pc.inl(DATA), 1, "an event of CPU 1");
    pc.outb(FLAGS, 0x10);
    assert_eq!(pc.inb(FLAGS), 0x11, "it stands until it is ejected");
    pc.section("accesses of other sizes");
    for port in 0..12 {
        pc.inw(CPU + port);
        pc.inl(CPU + port);
    }
}

const UP: u16 = 0xae00;
const DOWN: u16 = 0xae04;
const EJECT: u16 = 0xae08;
const PLUGGABLE: u16 = 0xae0c;
const BUS: u16 = 0xae10;
const INDEX: u16 = 0xae14;

fn slots(pc: &mut dyn Pc) {
    pc.section("slots");
    assert_eq!((pc.inl(UP), pc.inl(DOWN), pc.inl(EJECT), pc.inl(BUS)), (0, 0, 0, 0));
    pc.inl(PLUGGABLE);
    assert_eq!(pc.inl(0xae18), 0xffff_ffff);

    pc.section("buses");
    for bus in [1, 2, 255] {
        pc.outl(BUS, bus);
        assert_eq!((pc.inl(BUS), pc.inl(PLUGGABLE)), (bus, 0xffff_ffff), "empty, or not there");
    }
    for bus in [256, 0x8000_0000, 0xffff_ffff] {
        pc.outl(BUS, bus);
        assert_eq!((pc.inl(BUS), pc.inl(PLUGGABLE), pc.inl(UP)), (0, 0, 0), "can't be");
    }
    pc.outl(BUS, 0);

    pc.section("names");
    pc.outl(INDEX, 1 << 4);
    assert_eq!((pc.inl(INDEX), pc.inl(INDEX)), (7, 0), "told once");
    for slot in [0, 1, 5, 31] {
        pc.outl(INDEX, 1 << slot);
        assert_eq!(pc.inl(INDEX), 0);
    }

    pc.section("accesses of other sizes");
    for port in [UP, DOWN, PLUGGABLE, BUS] {
        assert_eq!((pc.inb(port), pc.inw(port)), (0, 0));
        pc.outb(port, 1);
        pc.outw(port, 1);
    }
    assert_eq!(pc.inl(BUS), 0);

    pc.section("ejection");
    for slots in [0, 1 << 0, 1 << 1, 1 << 20, 1 << 31] {
        pc.outl(EJECT, slots);
    }
    pc.inl(PLUGGABLE);
    assert_eq!((pc.inl(UP), pc.inl(DOWN)), (0, 0));
    assert_eq!(pc.pci_read((1, 0), 0, 4), 0x7000_8086, "the board's own functions stay");
}
