//! 82441FX host bridge (Intel 290549): configuration mechanism, identification, PAM and SMRAM.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &["-m", "64"],
    run: walk,
    differences: &[
        Difference {
            places: &[
                at("write protection", "read 0xf0000+4", WRITTEN),
                at("write protection", "read 0xc0000+4", WRITTEN),
                at("write protection", "read 0xc4000+4", WRITTEN),
                at("write protection", "read 0xc8000+4", WRITTEN),
                at("write protection", "read 0xcc000+4", WRITTEN),
                at("write protection", "read 0xd0000+4", WRITTEN),
                at("write protection", "read 0xd4000+4", WRITTEN),
                at("write protection", "read 0xd8000+4", WRITTEN),
                at("write protection", "read 0xdc000+4", WRITTEN),
                at("write protection", "read 0xe0000+4", WRITTEN),
                at("write protection", "read 0xe4000+4", WRITTEN),
                at("write protection", "read 0xe8000+4", WRITTEN),
                at("write protection", "read 0xec000+4", WRITTEN),
            ],
            reason: "QEMU's qtest writes to RAM past the write protection that its processors obey",
        },
        Difference {
            places: &[at("SMRAM closed", "read 0xa8000+4", !0x0bad_cafe & 0xffff_ffff)],
            reason: "without VGA QEMU shows RAM in its window, where on a PC nobody answers",
        },
    ],
};

/// What is written to RAM, and to RAM that is write protected.
const KEPT: u32 = 0x1234_5678;
const REFUSED: u32 = 0xdead_beef;
/// A difference of one in place of the other.
const WRITTEN: u64 = (KEPT ^ REFUSED) as u64;

const BRIDGE: (u8, u8) = (0, 0);
const PAM0: u8 = 0x59;
const SMRAM: u8 = 0x72;
/// The first address of what each nibble of PAM0 (high one only) to PAM6 rules.
const AREAS: [u64; 13] = [
    0xf_0000, 0xc_0000, 0xc_4000, 0xc_8000, 0xc_c000, 0xd_0000, 0xd_4000, 0xd_8000, 0xd_c000, 0xe_0000, 0xe_4000,
    0xe_8000, 0xe_c000,
];

/// Sets the attributes of one area: bit 0 reads, bit 1 writes go to RAM.
fn set_area(pc: &mut dyn Pc, area: usize, attributes: u8) {
    let (register, shift) = match area {
        0 => (PAM0, 4),
        _ => (PAM0 + 1 + (area as u8 - 1) / 2, (area as u8 - 1) % 2 * 4),
    };
    let old = pc.pci_read(BRIDGE, register, 1) as u8;
    pc.pci_write(BRIDGE, register, 1, (old & !(0xf << shift) | attributes << shift).into());
}

fn walk(pc: &mut dyn Pc) {
    pc.section("configuration mechanism 1");
    pc.outl(0xcf8, 0x8000_0000);
    assert_eq!(pc.inl(0xcf8), 0x8000_0000);
    assert_eq!(pc.inl(0xcfc), 0x1237_8086);
    pc.outl(0xcf8, 0x0000_0000);
    assert_eq!(pc.inl(0xcfc), 0xffff_ffff, "bit 31 enables");
    pc.outl(0xcf8, 0x8000_0000 | 9 << 11);
    assert_eq!(pc.inl(0xcfc), 0xffff_ffff, "nobody is there");

    pc.section("identification");
    assert_eq!(pc.pci_read(BRIDGE, 0x08, 4), 0x0600_0002, "host bridge, revision 2");
    assert_eq!(pc.pci_read(BRIDGE, 0x0e, 1), 0);
    for register in (0..0x100).step_by(4) {
        pc.pci_read(BRIDGE, register as u8, 4);
    }

    pc.section("PAM at reset");
    for register in PAM0..=PAM0 + 6 {
        assert_eq!(pc.pci_read(BRIDGE, register, 1), 0);
    }

    for (area, address) in AREAS.into_iter().enumerate() {
        let section = format!("PAM {address:#x}");
        pc.section(&section);
        set_area(pc, area, 3);
        pc.writel(address, KEPT);
        assert_eq!(pc.readl(address), KEPT, "3: reads and writes go to RAM");
        set_area(pc, area, 1);
        pc.section("write protection");
        pc.writel(address, REFUSED);
        let kept = pc.readl(address);
        assert!(!pc.is_natoma() || kept == KEPT, "1: RAM is write protected");
        pc.section(&section);
        set_area(pc, area, 3);
        pc.writel(address, KEPT);
        set_area(pc, area, 0);
        pc.section("ROM");
        pc.writel(address, REFUSED);
        // QEMU always has firmware, natoma here none unless it is asked for (-bios).
        pc.leave_out(true);
        assert!(![KEPT, REFUSED].contains(&pc.readl(address)), "0: RAM is hidden");
        pc.leave_out(false);
        pc.section(&section);
        set_area(pc, area, 1);
        assert_eq!(pc.readl(address), KEPT, "and has kept what it holds");
        set_area(pc, area, 0);
    }

    pc.section("SMRAM");
    assert_eq!(pc.pci_read(BRIDGE, SMRAM, 1), 0x02, "at reset");
    pc.pci_write(BRIDGE, SMRAM, 1, 0x42);
    pc.writel(0xa_8000, 0x0bad_cafe);
    assert_eq!(pc.readl(0xa_8000), 0x0bad_cafe, "D_OPEN shows RAM in the VGA window");
    pc.section("SMRAM closed");
    pc.pci_write(BRIDGE, SMRAM, 1, 0x02);
    let hidden = pc.readl(0xa_8000);
    assert!(!pc.is_natoma() || hidden == 0xffff_ffff, "without VGA nobody answers");
    pc.section("SMRAM opened again");
    pc.pci_write(BRIDGE, SMRAM, 1, 0x42);
    assert_eq!(pc.readl(0xa_8000), 0x0bad_cafe);
}
