//! What every register shows at power-on: PCI configuration space, all I/O ports, CMOS RAM, HPET, I/O APIC.
//!
//! Nothing is asserted here: what the registers should show is what QEMU's show, but for the differences listed.

use std::ops::RangeInclusive;

use crate::Script;
use crate::differ::Difference;
use crate::pc::Pc;

pub const SCRIPT: Script = Script { options: &["-m", "128", "-serial", "null"], run: dump, differences: DIFFERENCES };

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
    run: dump,
    differences: DIFFERENCES,
};

/// A read of QEMU's VMware port without a processor, whose registers are the arguments, ends QEMU.
const VMPORT: RangeInclusive<u16> = 0x5658..=0x565b;

const NO_IDE: &str = "there is no IDE controller yet";

const DIFFERENCES: &[Difference] = &[
    Difference { section: "PCI 01.1", access: "inl 0xcfc", reason: NO_IDE },
    Difference { section: "ISA ports", access: "inb 0x17", reason: NO_IDE },
    Difference { section: "ISA ports", access: "inb 0x1f", reason: NO_IDE },
    Difference { section: "ISA ports", access: "inb 0x376", reason: NO_IDE },
    Difference { section: "ISA ports", access: "inb 0x3f6", reason: NO_IDE },
    Difference {
        section: "PCI 01.3",
        access: "inl 0xcfc",
        reason: "5Bh: there is no system management mode, as with QEMU on a KVM without; this QEMU translates code and has it",
    },
    Difference {
        section: "ISA ports",
        access: "inb 0xf",
        reason: "a reset masks all DMA channels (8237A data sheet); QEMU's leaves them open",
    },
    Difference { section: "ISA ports", access: "inb 0xd", reason: "the same of the other DMA controller" },
    Difference {
        section: "ISA ports",
        access: "inb 0x61",
        reason: "bit 4 shows the refresh of memory, which follows time; QEMU's changes with each read",
    },
    Difference {
        section: "ISA ports",
        access: "inb 0x3f7",
        reason: "no drive is selected that could say that its medium was changed; QEMU's says so of a drive that is not there",
    },
    Difference {
        section: "ISA ports",
        access: "inb 0xcf",
        reason: "CONFADD answers accesses of four bytes only, others are ISA's (Intel 290549, 3.1.1)",
    },
];

fn dump(pc: &mut dyn Pc) {
    for slot in 0..32 {
        for function in 0..8 {
            pc.section(&format!("PCI {slot:02x}.{function}"));
            for register in (0..=0xfc).step_by(4) {
                pc.pci_read((slot, function), register, 4);
            }
        }
    }
    pc.section("PCI mechanism");
    pc.outl(0xcf8, 0);
    pc.inl(0xcf8);

    // Reading some ports has effects, but the same ones on both.
    for port in (0..=0xffff_u16).filter(|port| !VMPORT.contains(port)) {
        pc.section(if port < 0x1000 { "ISA ports" } else { "ports" });
        pc.inb(port);
    }

    pc.section("CMOS");
    for register in 0..0x80 {
        pc.outb(0x70, register);
        pc.inb(0x71);
    }

    pc.section("HPET");
    for register in (0..0x400).step_by(8) {
        pc.readq(0xfed0_0000 + register);
    }

    pc.section("I/O APIC");
    for register in 0..0x40 {
        pc.writel(0xfec0_0000, register);
        pc.readl(0xfec0_0010);
    }
}
