//! PIIX3 ISA bridge (Intel 290550): identification, PIRQ routing registers, reset control.

use crate::Script;
use crate::pc::Pc;

pub const SCRIPT: Script = Script { options: &[], run: walk, differences: &[] };

const BRIDGE: (u8, u8) = (1, 0);
const PIRQRC: u8 = 0x60;
const RESET_CONTROL: u16 = 0xcf9;

fn walk(pc: &mut dyn Pc) {
    pc.section("identification");
    assert_eq!(pc.pci_read(BRIDGE, 0x00, 4), 0x7000_8086);
    assert_eq!(pc.pci_read(BRIDGE, 0x08, 4), 0x0601_0000, "ISA bridge");
    assert_eq!(pc.pci_read(BRIDGE, 0x0e, 1), 0x80, "multifunction");

    pc.section("configuration space");
    for register in (0..=0xfc).step_by(4) {
        pc.pci_read(BRIDGE, register, 4);
    }

    pc.section("PIRQ routing");
    for link in 0..4 {
        assert_eq!(pc.pci_read(BRIDGE, PIRQRC + link, 1), 0x80, "routed to none");
        pc.pci_write(BRIDGE, PIRQRC + link, 1, 0x0b);
        assert_eq!(pc.pci_read(BRIDGE, PIRQRC + link, 1), 0x0b);
    }
    assert_eq!(pc.pci_read(BRIDGE, PIRQRC, 4), 0x0b0b_0b0b);
    pc.pci_write(BRIDGE, PIRQRC, 4, 0x8080_8080);

    pc.section("reset control");
    assert_eq!(pc.inb(RESET_CONTROL), 0x00);
    pc.outb(RESET_CONTROL, 0x02);
    assert_eq!(pc.inb(RESET_CONTROL), 0x02, "hard reset is chosen, and not done");
    pc.pci_write(BRIDGE, PIRQRC, 1, 0x05);
    pc.outb(RESET_CONTROL, 0x06);
    assert_eq!(pc.pci_read(BRIDGE, PIRQRC, 1), 0x80, "done");
}
