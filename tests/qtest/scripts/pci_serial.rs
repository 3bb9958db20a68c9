//! QEMU's PCI serial cards: 16550A UARTs one after the other behind one BAR, and one interrupt.

use crate::Script;
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[
        "-device",
        "pci-serial,addr=4",
        "-device",
        "pci-serial-2x,addr=5",
        "-device",
        "pci-serial-4x,addr=6,prog_if=6",
    ],
    run: walk,
    differences: &[],
};

const BASE: u16 = 0xc000;

fn walk(pc: &mut dyn Pc) {
    for (slot, ports, id) in [(4, 1, 2), (5, 2, 3), (6, 4, 4_u32)] {
        let card = (slot, 0);
        pc.section("configuration space");
        assert_eq!(pc.pci_read(card, 0x00, 4), id << 16 | 0x1b36);
        for register in (0..=0xfc).step_by(4) {
            pc.pci_read(card, register, 4);
        }
        pc.section("size");
        pc.pci_write(card, 0x10, 4, 0xffff_ffff);
        assert_eq!(pc.pci_read(card, 0x10, 4), !(8 * u32::from(ports) - 1) | 1);
        pc.pci_write(card, 0x10, 4, BASE.into());
        pc.pci_write(card, 0x04, 2, 1);

        pc.section("registers");
        for port in 0..ports {
            let base = BASE + 8 * port;
            for register in 1..8 {
                pc.inb(base + register);
            }
            pc.outb(base + 7, 0x50 + port as u8);
        }
        for port in 0..ports {
            assert_eq!(pc.inb(BASE + 8 * port + 7), 0x50 + port as u8, "each has its own scratch register");
        }

        pc.section("interrupt");
        let last = BASE + 8 * (ports - 1);
        pc.outb(last + 4, 0x08);
        pc.outb(last + 1, 0x02);
        assert_eq!(pc.pci_read(card, 0x06, 2) & 8, 8, "the transmitter is empty");
        assert_eq!(pc.inb(last + 2) & 0x0f, 0x02);
        assert_eq!(pc.pci_read(card, 0x06, 2) & 8, 0, "reading the identification clears it");
        pc.pci_write(card, 0x04, 2, 0);
        assert_eq!(pc.inb(BASE + 5), 0xff);
    }
}
