//! What every register shows: PCI configuration space, all I/O ports, power management, CMOS RAM, HPET, I/O APIC at power-on.
//!
//! The scripts assert nothing: what the registers should show is what QEMU's show, but for the differences listed. A reset leads back
//! to there, which is natoma's own: much of QEMU's chipset keeps what was written.

use std::ops::RangeInclusive;

use crate::Script;
use crate::differ::{Difference, Recorder, at};
use crate::pc::{InProcess, Pc};

pub const SCRIPT: Script =
    Script { options: &["-m", "128", "-serial", "null"], run: |pc| dump(pc, BOARD), differences: DIFFERENCES };

/// A machine with more of everything.
pub const LARGE: Script = Script {
    options: &[
        "-m",
        "5G",
        "-smp",
        "2",
        "-serial",
        "null",
        "-serial",
        "null",
        "-serial",
        "null",
        "-serial",
        "null",
        "-parallel",
        "null",
    ],
    run: |pc| dump(pc, BOARD),
    differences: DIFFERENCES,
};

/// A machine with each add-on device.
pub const ADD_ONS: Script = Script {
    options: &[
        "-chardev",
        "null,id=c",
        "-chardev",
        "null,id=d",
        "-device",
        "pci-bridge,chassis_nr=1,addr=2",
        "-device",
        "pci-serial,chardev=c,addr=3",
        "-device",
        "pvpanic-pci,addr=4",
        "-device",
        "i6300esb,addr=5",
        "-device",
        "pvpanic",
        "-device",
        "isa-debug-exit",
        "-device",
        "isa-debugcon,chardev=d,iobase=0x402",
        "-device",
        "pc-testdev",
    ],
    run: |pc| dump(pc, &[(0, 0), (1, 0), (1, 1), (1, 3), (2, 0), (3, 0), (4, 0), (5, 0)]),
    differences: DIFFERENCES,
};

/// A read of QEMU's VMware port without a processor, whose registers are the arguments, ends QEMU.
const VMPORT: RangeInclusive<u16> = 0x5658..=0x565b;

const DIFFERENCES: &[Difference] = &[
    Difference {
        places: &[at("PCI 01.3 58", "inl 0xcfc", 0x0200_0000)],
        reason: "5Bh: there is no system management mode, as with QEMU on a KVM without; this QEMU translates code and has it",
    },
    Difference {
        places: &[at("power management", "inb 0x604", 0x01)],
        reason: "without system management mode ACPI is on from the start; this QEMU has that mode",
    },
    Difference {
        places: &[at("power management", "inb 0x600", 0x01)],
        reason: "QEMU's timer begins with an overflow that has not happened",
    },
    Difference {
        places: &[at("ports", "inb 0xf", 0xff), at("ports", "inb 0xde", 0xff), at("ports", "inb 0xdf", 0xff)],
        reason: "the PIIX3 shows the masks of the DMA channels here, and a reset sets them; QEMU shows them elsewhere",
    },
    Difference {
        places: &[at("ports", "inb 0x61", 0x10)],
        reason: "bit 4 shows the refresh of memory, which follows time; QEMU's changes with each read",
    },
    Difference {
        places: &[at("ports", "inb 0x3f7", 0x80)],
        reason: "no drive is selected that could say that its medium was changed; QEMU's says so of a drive that is not there",
    },
    Difference {
        places: &[at("ports", "inb 0xcf8", 0xff), at("ports", "inb 0xcfa", 0xff), at("ports", "inb 0xcfb", 0xff)],
        reason: "CONFADD answers accesses of four bytes only, others are ISA's (Intel 290549, 3.1.1)",
    },
];

/// The functions of the board that natoma has.
const BOARD: &[(u8, u8)] = &[(0, 0), (1, 0), (1, 1), (1, 3)];

/// Writes to the registers of the board, except those whose writing does more than to change them.
fn scribble(pc: &mut dyn Pc) {
    for &function in BOARD {
        for register in (0x40..=0xfc).step_by(4) {
            pc.section(&format!("PCI {:02x}.{} {register:02x}", function.0, function.1));
            pc.pci_write(function, register, 4, 0x5a5a_5a5a);
        }
    }
    pc.section("ports");
    // 8237s and pages, 8259s and ELCR, 8254, port 61h, 8042, port 92h (not bit 0), APM (not commands), serial and parallel ports.
    let ports =
        [0x00..=0x08, 0x20..=0x21, 0x40..=0x43, 0x60..=0x61, 0x81..=0x83, 0x89..=0x8b, 0xa0..=0xa1, 0xb3..=0xb3];
    for port in ports.into_iter().chain([0xc0..=0xd0, 0x3f9..=0x3ff, 0x4d0..=0x4d1]).flatten() {
        pc.outb(port, 0x5a);
    }
    pc.section("HPET");
    for register in [0x100, 0x108, 0x120, 0x128, 0x140, 0x148] {
        pc.writeq(0xfed0_0000 + register, 0x5a5a_5a5a);
    }
    pc.section("I/O APIC");
    for register in 0..0x40 {
        pc.writel(0xfec0_0000, register);
        pc.writel(0xfec0_0010, 0x5a5a_5a5a);
    }
}

/// Reads everything. Functions that are not in `functions` answer nobody.
fn dump(pc: &mut dyn Pc, functions: &[(u8, u8)]) {
    for slot in 0..32 {
        for function in 0..8 {
            let registers = if functions.contains(&(slot, function)) { 0..=0xfc } else { 0..=0 };
            for register in registers.step_by(4) {
                pc.section(&format!("PCI {slot:02x}.{function} {register:02x}"));
                pc.pci_read((slot, function), register, 4);
            }
        }
    }
    pc.section("PCI mechanism");
    pc.outl(0xcf8, 0);
    pc.inl(0xcf8);

    // Reading some ports has effects, but the same ones on both.
    pc.section("ports");
    for port in (0..=0xffff_u16).filter(|port| !VMPORT.contains(port)) {
        pc.inb(port);
    }

    pc.section("power management");
    pc.pci_write((1, 3), 0x40, 4, 0x0601);
    pc.pci_write((1, 3), 0x80, 1, 0x01);
    for port in 0x600..0x640 {
        pc.inb(port);
    }

    for register in 0..0x80 {
        pc.section(&format!("CMOS {register:02x}"));
        pc.outb(0x70, register);
        pc.inb(0x71);
    }

    pc.section("HPET");
    for register in (0..0x400).step_by(8) {
        pc.readq(0xfed0_0000 + register);
    }

    for register in 0..0x40 {
        pc.section(&format!("I/O APIC {register:02x}"));
        pc.writel(0xfec0_0000, register);
        pc.readl(0xfec0_0010);
    }
}

/// Every register but the CMOS RAM, which is kept, and port 61h, whose refresh goes on.
#[test]
fn a_reset_leads_back_to_power_on() {
    let mut pc = InProcess::new(&[crate::OPTIONS, SCRIPT.options].concat());
    let mut dumped = || {
        let mut recorder = Recorder::new(&mut pc);
        dump(&mut recorder, BOARD);
        let steps = recorder.into_steps();
        scribble(&mut pc);
        pc.outb(0xcf9, 0x06);
        steps
    };
    let at_power_on = dumped();
    let again = dumped();
    let differ: Vec<_> = again.iter().zip(&at_power_on).filter(|(again, first)| again != first).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}
