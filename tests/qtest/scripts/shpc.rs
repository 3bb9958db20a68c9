//! Hot-plug controller of a PCI bridge (PCI Standard Hot-Plug Controller and Subsystem Specification 1.0) and its MSI.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[
        "-device",
        "pci-bridge,id=back,chassis_nr=3,addr=5,bus-reserve=2,io-reserve=8K,mem-reserve=3M,pref64-reserve=6G",
        "-device",
        "pci-serial,bus=back,addr=4",
    ],
    run: walk,
    differences: &[
        Difference {
            places: &[at("command completion", "inb 0xcff", 0x80)],
            reason: "QEMU's capability does not say that an interrupt is pending",
        },
        Difference {
            places: &[at("refused commands", "read 0xfebf0016+2", 0x2)],
            reason: "a slot without a card, whose latch is open, can't be enabled; QEMU's can",
        },
        Difference {
            places: &[at("power only", "inl 0xcfc", 0xfffd_e4c9)],
            reason: "a slot that is not enabled cuts its card off the bus at once",
        },
        Difference {
            places: &[at("power only", "read 0xfebf0030+4", 0x3)],
            reason: "QEMU's controller has no way from power only to enabled, and changes nothing then",
        },
        Difference {
            places: &[at("disabled", "read 0xfebf0030+4", 0x9_0d00)],
            reason: "QEMU takes a card out of the machine when its slot is disabled with the power indicator off; natoma's \
                     stays in its slot without power",
        },
        Difference {
            places: &[
                at("enabled again", "read 0xfebf0030+4", 0x9_0d00),
                at("enabled again", "inl 0xcfc", 0xfffd_e4c9),
            ],
            reason: "the card is still there, which QEMU has taken out",
        },
    ],
};

const BRIDGE: (u8, u8) = (5, 0);
const CARD: u32 = 0x0002_1b36;
const NOBODY: u32 = 0xffff_ffff;
const BAR: u64 = 0xfebf_0000;
const COMMAND: u64 = BAR + 0x14;
const STATUS: u64 = BAR + 0x16;
const LOCATOR: u64 = BAR + 0x18;
const SERR_INT: u64 = BAR + 0x20;
/// Slot 4.
const SLOT: u64 = BAR + 0x30;
/// Offsets of capabilities.
const SHPC: u8 = 0x40;
const MSI: u8 = 0x4c;

fn identity(pc: &mut dyn Pc) -> u32 {
    pc.outl(0xcf8, 0x8000_0000 | 7 << 16 | 4 << 11);
    pc.inl(0xcfc)
}

fn walk(pc: &mut dyn Pc) {
    pc.section("configuration space");
    for register in (0..=0xfc).step_by(4) {
        pc.pci_read(BRIDGE, register, 4);
    }
    assert_eq!(pc.pci_read(BRIDGE, 0x3d, 1), 1, "INTA#");
    assert_eq!(pc.pci_read(BRIDGE, SHPC, 1), 0x0c);
    assert_eq!(pc.pci_read(BRIDGE, MSI, 1), 0x05);

    pc.section("what can be written");
    for register in (0x40..=0x84).step_by(4).filter(|register| *register != SHPC + 4) {
        let before = pc.pci_read(BRIDGE, register, 4);
        // Messages stay disabled.
        let ones = if register == MSI { 0xfffe_ffff } else { 0xffff_ffff };
        pc.pci_write(BRIDGE, register, 4, ones);
        pc.pci_read(BRIDGE, register, 4);
        pc.pci_write(BRIDGE, register, 4, before);
    }

    pc.section("registers by the capability");
    for word in 0..=44 {
        pc.pci_write(BRIDGE, SHPC + 2, 1, word);
        pc.pci_read(BRIDGE, SHPC + 4, 4);
    }
    pc.pci_write(BRIDGE, SHPC + 2, 1, 3);
    assert_eq!(pc.pci_read(BRIDGE, SHPC + 4, 4), 0xe001_011f, "31 slots from 1, with latches and buttons");

    pc.section("registers in the window");
    pc.pci_write(BRIDGE, 0x18, 4, 0x0007_0700);
    pc.pci_write(BRIDGE, 0x10, 4, 0xffff_ffff);
    assert_eq!(pc.pci_read(BRIDGE, 0x10, 4), 0xffff_ff04, "256 bytes anywhere");
    pc.pci_write(BRIDGE, 0x10, 4, BAR as u32);
    pc.pci_write(BRIDGE, 0x04, 2, 6);
    for offset in (0..0xa0).step_by(4) {
        pc.readl(BAR + offset);
    }
    assert_eq!((pc.readb(BAR + 0x0d), pc.readw(BAR + 0x0e)), (1, 0xe001));
    assert_eq!(pc.readl(SLOT), 0x7f00_0006, "a card: enabled, its indicator is on");
    assert_eq!(pc.readl(SLOT + 4), 0x7f00_0d0f, "none: disabled, off, latch open, not present");

    pc.section("masks");
    pc.writel(SLOT, 0);
    assert_eq!(pc.readl(SLOT), 6);
    pc.writel(SLOT, 0xffff_ffff);
    assert_eq!(pc.readl(SLOT), 0x7f00_0006);
    pc.writel(SERR_INT, 0);
    assert_eq!(pc.readl(SERR_INT), 0);
    pc.writel(SERR_INT, 0xffff_ffff);
    assert_eq!(pc.readl(SERR_INT), 0xf);

    pc.section("command completion");
    // Attention indicator on.
    pc.writew(COMMAND, 0x0410);
    assert_eq!(pc.readl(SLOT), 0x7f00_0016);
    assert_eq!((pc.readw(COMMAND), pc.readw(STATUS)), (0x0410, 0));
    assert_eq!((pc.readl(SERR_INT), pc.readl(LOCATOR)), (0x1_000f, 0));
    pc.writeb(SERR_INT, 0x0b);
    assert_eq!(pc.readl(LOCATOR), 1);
    pc.pci_read(BRIDGE, SHPC + 3, 1);
    assert_eq!(pc.pci_read(BRIDGE, 0x06, 2) & 8, 0, "the controller's interrupts are masked");
    pc.writeb(SERR_INT, 0x0a);
    assert_eq!(pc.pci_read(BRIDGE, 0x06, 2) & 8, 8);
    pc.writel(SERR_INT, 0x1_000a);
    assert_eq!((pc.readl(LOCATOR), pc.pci_read(BRIDGE, 0x06, 2) & 8), (0, 0));

    pc.section("messages");
    // To RAM.
    pc.writel(0x4000, 0);
    pc.pci_write(BRIDGE, MSI + 4, 4, 0x4000);
    pc.pci_write(BRIDGE, MSI + 12, 2, 0x1234);
    pc.pci_write(BRIDGE, MSI + 2, 2, 1);
    pc.writew(COMMAND, 0x0400);
    assert_eq!((pc.readl(0x4000), pc.pci_read(BRIDGE, 0x06, 2) & 8), (0x1234, 0));
    pc.writel(SERR_INT, 0x1_000a);
    pc.writel(0x4000, 0);
    pc.pci_write(BRIDGE, MSI + 16, 4, 1);
    pc.writew(COMMAND, 0x0400);
    assert_eq!((pc.readl(0x4000), pc.pci_read(BRIDGE, MSI + 20, 4)), (0, 1), "masked");
    pc.pci_write(BRIDGE, MSI + 16, 4, 0);
    assert_eq!((pc.readl(0x4000), pc.pci_read(BRIDGE, MSI + 20, 4)), (0x1234, 0));
    pc.pci_write(BRIDGE, MSI + 2, 2, 0);
    pc.writel(SERR_INT, 0x1_000f);

    pc.section("refused commands");
    for command in [0x0405, 0x0002, 0x0041, 0x0047, 0x004a, 0x0048, 0x0049, 0x0506] {
        pc.writew(COMMAND, command);
        pc.readw(STATUS);
        assert_eq!(pc.readl(SLOT), 0x7f00_0016);
    }
    pc.writel(SERR_INT, 0x1_000f);

    pc.section("power only");
    assert_eq!(identity(pc), CARD);
    let natoma = pc.is_natoma();
    // Disabled with the indicators on, power only, enabled.
    for (command, state, card) in [(0x0417, 0x17, NOBODY), (0x0405, 0x15, NOBODY), (0x0406, 0x16, CARD)] {
        pc.writew(COMMAND, command);
        let seen = (pc.readl(SLOT), identity(pc));
        assert!(!natoma || seen == (0x7f00_0000 | state, card), "{command:#x}: {seen:#x?}");
    }

    pc.section("disabled");
    pc.writew(COMMAND, 0x043f);
    let seen = pc.readl(SLOT);
    assert!(!natoma || seen == 0x7f00_003f, "{seen:#x}");
    assert_eq!(identity(pc), NOBODY);

    pc.section("enabled again");
    pc.writew(COMMAND, 0x0406);
    let seen = (pc.readl(SLOT), identity(pc));
    assert!(!natoma || seen == (0x7f00_0036, CARD), "{seen:#x?}");
}
