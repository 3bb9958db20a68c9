use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{IrqProbe, shared};

/// Ports of a PC.
const MASTER_EVEN: u16 = 0x20;
const MASTER_ODD: u16 = 0x21;
const SLAVE_EVEN: u16 = 0xa0;
const SLAVE_ODD: u16 = 0xa1;

struct Rig {
    pic: I8259,
    intr: IrqProbe,
}

fn new() -> Rig {
    let (line, intr) = IrqLine::probed();
    Rig { pic: I8259::new(line), intr }
}

/// As a BIOS leaves it: vectors 08h and 70h, fully nested, 8086 mode, nothing masked.
fn rig() -> Rig {
    rig_with_icw4(0x01, 0x01)
}

fn rig_with_icw4(master: u8, slave: u8) -> Rig {
    let mut rig = new();
    for (port, values) in [(MASTER_EVEN, [0x11, 0x08, 0x04, master]), (SLAVE_EVEN, [0x11, 0x70, 0x02, slave])] {
        rig.out(port, values[0]);
        values[1..].iter().for_each(|value| rig.out(port + 1, *value));
    }
    rig
}

impl Rig {
    fn place(port: u16) -> (u16, u64) {
        match port {
            0x4d0 | 0x4d1 => (ELCR, (port - 0x4d0).into()),
            port => (u16::from(port >= SLAVE_EVEN), (port & 1).into()),
        }
    }

    fn out(&mut self, port: u16, value: u8) {
        let (region, offset) = Self::place(port);
        self.pic.write(region, offset, 1, value.into());
    }

    fn inb(&mut self, port: u16) -> u8 {
        let (region, offset) = Self::place(port);
        self.pic.read(region, offset, 1) as u8
    }

    fn pulse(&mut self, inputs: &[u8]) {
        for input in inputs {
            self.pic.set_input(*input, true);
            self.pic.set_input(*input, false);
        }
    }

    fn irr(&mut self, even: u16) -> u8 {
        self.out(even, 0x0a);
        self.inb(even)
    }

    fn isr(&mut self, even: u16) -> u8 {
        self.out(even, 0x0b);
        self.inb(even)
    }

    /// Takes an interrupt if there is one.
    fn take(&mut self) -> Option<u8> {
        assert_eq!(self.pic.is_pending(), self.intr.level());
        self.intr.level().then(|| self.pic.acknowledge())
    }
}

#[test]
fn keeps_the_contract() {
    contract::check(
        || {
            let (line, intr) = IrqLine::probed();
            Subject {
                device: shared(I8259::new(line)),
                regions: I8259::REGIONS.to_vec(),
                irqs: vec![intr],
                keep: Box::new(()),
            }
        },
        // QEMU 7.2, `i /b` on a stopped machine.
        &[0, 1, 2].map(|region| [0, 1].map(|offset| ResetValue { region, offset, size: 1, value: 0 })).concat(),
    );
}

#[test]
fn initialization_takes_the_words_that_icw1_announces() {
    for (icw1, words) in [(0x11, 3), (0x10, 2), (0x13, 2), (0x12, 1)] {
        let mut rig = new();
        rig.out(MASTER_ODD, 0xff);
        rig.out(MASTER_EVEN, icw1);
        assert_eq!(rig.inb(MASTER_ODD), 0x00, "{icw1:#x}: the masks are cleared");
        for word in [0x2f, 0x00, 0x01].into_iter().take(words) {
            rig.out(MASTER_ODD, word);
            assert_eq!(rig.inb(MASTER_ODD), 0x00, "{icw1:#x}");
        }
        rig.out(MASTER_ODD, 0x5a);
        assert_eq!(rig.inb(MASTER_ODD), 0x5a, "{icw1:#x}: OCW1 again");
        rig.out(MASTER_ODD, 0x00);
        rig.pulse(&[3]);
        assert_eq!(rig.take(), Some(0x2b), "T7 to T3 of ICW2");
    }
}

#[test]
fn an_icw1_forgets_requests_and_needs_new_edges() {
    let mut rig = rig();
    rig.pic.set_input(4, true);
    rig.out(MASTER_EVEN, 0x11);
    assert!(!rig.intr.level());
    assert_eq!(rig.irr(MASTER_EVEN), 0);
    rig.pulse(&[4]);
    assert_eq!(rig.irr(MASTER_EVEN), 0, "the line was high already");
    rig.pulse(&[4]);
    assert_eq!(rig.irr(MASTER_EVEN), 0x10);
}

#[test]
fn fully_nested_priorities() {
    let mut rig = rig();
    rig.pulse(&[5, 3, 14]);
    assert_eq!(rig.take(), Some(0x76), "the slave is input 2");
    assert_eq!([rig.isr(MASTER_EVEN), rig.isr(SLAVE_EVEN)], [0x04, 0x40]);
    assert_eq!(rig.take(), None, "3 and 5 are below");
    rig.pulse(&[1, 15, 9]);
    assert_eq!(rig.take(), Some(0x09), "1 is above");
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!(rig.take(), None, "a slave in service asks for no more without special fully nested mode");
    rig.out(SLAVE_EVEN, 0x20);
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!(rig.take(), Some(0x71));
    rig.out(SLAVE_EVEN, 0x61);
    rig.out(MASTER_EVEN, 0x62);
    assert_eq!(rig.take(), Some(0x77));
    rig.out(SLAVE_EVEN, 0x20);
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!([rig.take(), rig.take()], [Some(0x0b), None]);
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!([rig.take(), rig.take()], [Some(0x0d), None]);
}

#[test]
fn masks_hold_requests_back() {
    let mut rig = rig();
    rig.out(MASTER_ODD, 0x08);
    rig.pulse(&[3]);
    assert_eq!((rig.irr(MASTER_EVEN), rig.take()), (0x08, None));
    rig.out(MASTER_ODD, 0x00);
    assert_eq!(rig.take(), Some(0x0b));
}

#[test]
fn what_becomes_of_a_request_is_told() {
    let mut rig = rig();
    assert_eq!(rig.pic.set_input(3, true), Delivery::Delivered);
    assert_eq!(rig.pic.set_input(3, true), Delivery::Ignored, "no edge");
    rig.pic.set_input(3, false);
    assert_eq!(rig.pic.set_input(3, true), Delivery::Coalesced);
    rig.out(SLAVE_ODD, 0x01);
    assert_eq!(rig.pic.set_input(8, true), Delivery::Ignored);
    assert_eq!(rig.pic.set_input(2, true), Delivery::Ignored, "the cascade is no input");
    assert_eq!(rig.pic.set_input(16, true), Delivery::Ignored);
}

#[test]
fn an_edge_stays_and_a_level_does_not() {
    let mut rig = rig();
    rig.out(0x4d1, 0x0c);
    rig.pic.set_input(10, true);
    assert_eq!(rig.irr(SLAVE_EVEN), 0x04);
    rig.pic.set_input(10, false);
    assert_eq!(rig.irr(SLAVE_EVEN), 0x00);
    // The master has latched the cascade: as QEMU and KVM, the spurious interrupt of the slave.
    assert_eq!(rig.take(), Some(0x77));
    assert_eq!([rig.isr(MASTER_EVEN), rig.isr(SLAVE_EVEN)], [0x04, 0x00], "only the master is in service");
    rig.out(MASTER_EVEN, 0x20);

    rig.pic.set_input(10, true);
    assert_eq!(rig.take(), Some(0x72));
    assert_eq!(rig.irr(SLAVE_EVEN), 0x04, "acknowledging does not take back a level");
    rig.out(SLAVE_EVEN, 0x20);
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!(rig.take(), Some(0x72), "it is still high");
    rig.pic.set_input(10, false);
    rig.out(SLAVE_EVEN, 0x20);
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!(rig.take(), None);
}

#[test]
fn an_acknowledged_nothing_is_vector_7() {
    let mut rig = rig();
    assert_eq!(rig.pic.acknowledge(), 0x0f);
    assert_eq!(rig.isr(MASTER_EVEN), 0, "nothing is in service");
}

#[test]
fn elcr_has_the_bits_of_a_pc_and_takes_effect_at_once() {
    let mut rig = rig();
    rig.out(0x4d0, 0xff);
    rig.out(0x4d1, 0xff);
    assert_eq!([rig.inb(0x4d0), rig.inb(0x4d1)], [0xf8, 0xde]);
    rig.out(0x4d0, 0x00);
    rig.pulse(&[5]);
    rig.out(0x4d0, 0x20);
    assert_eq!(rig.take(), None, "a level-triggered input requests what its line says");
    rig.out(MASTER_EVEN, 0x11);
    assert_eq!(rig.inb(0x4d0), 0x20, "initialization leaves ELCR alone");
    rig.pic.reset(ResetKind::System);
    assert_eq!([rig.inb(0x4d0), rig.inb(0x4d1)], [0, 0]);
}

#[test]
fn rotation_makes_the_served_level_the_lowest() {
    let mut rig = rig();
    rig.pulse(&[4, 6]);
    assert_eq!(rig.take(), Some(0x0c));
    rig.out(MASTER_EVEN, 0xa0);
    assert_eq!(rig.take(), Some(0x0e));
    rig.pulse(&[4, 7]);
    assert_eq!(rig.take(), None, "5, 6, 7, 0, ... 4");
    rig.out(MASTER_EVEN, 0xe6);
    assert_eq!(rig.take(), Some(0x0f), "7, 0, ... 6");
    rig.out(MASTER_EVEN, 0x67);
    assert_eq!(rig.take(), Some(0x0c));
    rig.out(MASTER_EVEN, 0x20);
    // Set priority without an end of interrupt.
    rig.out(MASTER_EVEN, 0xc3);
    rig.pulse(&[3, 5]);
    assert_eq!(rig.take(), Some(0x0d));
    rig.out(MASTER_EVEN, 0x40);
    assert_eq!(rig.isr(MASTER_EVEN), 0x20, "010 is no operation");
}

#[test]
fn automatic_end_of_interrupt_with_and_without_rotation() {
    let mut rig = rig_with_icw4(0x03, 0x03);
    rig.pulse(&[4, 6]);
    assert_eq!([rig.take(), rig.take(), rig.take()], [Some(0x0c), Some(0x0e), None]);
    rig.out(MASTER_EVEN, 0x80);
    rig.pulse(&[4]);
    assert_eq!(rig.take(), Some(0x0c));
    rig.pulse(&[4, 6]);
    assert_eq!([rig.take(), rig.take()], [Some(0x0e), Some(0x0c)], "4 went to the end");
    rig.out(MASTER_EVEN, 0x00);
    rig.out(MASTER_EVEN, 0xc7);
    rig.pulse(&[4]);
    rig.take();
    rig.pulse(&[4, 6]);
    assert_eq!([rig.take(), rig.take()], [Some(0x0c), Some(0x0e)]);
    rig.pulse(&[9, 12]);
    assert_eq!([rig.take(), rig.take(), rig.take()], [Some(0x71), Some(0x74), None], "two edges of the cascade");
}

#[test]
fn special_mask_mode_lets_lower_levels_in() {
    let mut rig = rig();
    rig.pulse(&[3]);
    rig.take();
    rig.pulse(&[5]);
    assert_eq!(rig.take(), None);
    rig.out(MASTER_ODD, 0x08);
    assert_eq!(rig.take(), None);
    rig.out(MASTER_EVEN, 0x68);
    assert_eq!(rig.take(), Some(0x0d));
    assert_eq!(rig.isr(MASTER_EVEN), 0x28);
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!(rig.isr(MASTER_EVEN), 0x08, "a masked level is not ended unspecifically");
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!(rig.isr(MASTER_EVEN), 0x08);
    rig.out(MASTER_EVEN, 0x48);
    rig.pulse(&[5]);
    assert_eq!(rig.take(), None, "back to nested mode");
    rig.out(MASTER_EVEN, 0x63);
    assert_eq!(rig.take(), Some(0x0d));
}

#[test]
fn special_fully_nested_mode_lets_a_slave_nest() {
    let mut rig = rig_with_icw4(0x11, 0x01);
    rig.pulse(&[12]);
    assert_eq!(rig.take(), Some(0x74));
    rig.pulse(&[14]);
    assert_eq!(rig.take(), None);
    rig.pulse(&[9]);
    assert_eq!(rig.take(), Some(0x71));
    assert_eq!(rig.isr(SLAVE_EVEN), 0x12);
    rig.pulse(&[3]);
    assert_eq!(rig.take(), None, "inputs below the slave still wait");
}

#[test]
fn a_poll_acknowledges_on_the_next_read() {
    let mut rig = rig();
    rig.out(MASTER_EVEN, 0x0c);
    assert_eq!(rig.inb(MASTER_EVEN), 0x00, "no interrupt");
    rig.pulse(&[6, 11, 12]);
    rig.out(MASTER_EVEN, 0x0c);
    assert_eq!(rig.inb(MASTER_ODD), 0x82, "either port");
    assert_eq!(rig.isr(MASTER_EVEN), 0x04);
    rig.out(SLAVE_EVEN, 0x0c);
    assert_eq!(rig.inb(SLAVE_EVEN), 0x83);
    assert_eq!(rig.isr(SLAVE_EVEN), 0x08);
    rig.out(SLAVE_EVEN, 0x20);
    rig.out(MASTER_EVEN, 0x20);
    assert_eq!(rig.take(), Some(0x74));
}

#[test]
fn a_loaded_state_makes_no_edge_and_must_be_possible() {
    let mut rig = rig();
    rig.out(0x4d0, 0x20);
    rig.pic.set_input(5, true);
    rig.pulse(&[9]);
    let saved = rig.pic.save();
    let mut twin = new();
    twin.pic.load(&saved).unwrap();
    assert_eq!([twin.take(), twin.take()], [Some(0x71), None]);
    for (field, value) in
        [("expected_icw", 1), ("highest", 8), ("vector_base", 9), ("elcr", 0x01), ("irr", 0x04), ("isr", 0x100)]
    {
        let mut bad = saved.clone();
        bad.data["chips"][0][field] = value.into();
        assert!(twin.pic.load(&bad).is_err(), "{field}");
    }
    // A chip that waits for a word that its ICW1 has ruled out would swallow the next mask.
    for (icw, announced) in [(3, "single"), (4, "icw4_needed")] {
        let mut bad = saved.clone();
        bad.data["chips"][0]["expected_icw"] = icw.into();
        bad.data["chips"][0][announced] = (icw == 3).into();
        assert!(twin.pic.load(&bad).is_err(), "ICW{icw}");
        bad.data["chips"][0][announced] = (icw != 3).into();
        assert!(twin.pic.load(&bad).is_ok(), "ICW{icw}");
    }
    let mut bad = saved;
    bad.data["slave_int"] = false.into();
    assert!(twin.pic.load(&bad).is_err());
}
