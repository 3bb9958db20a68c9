//! Tests of the parallel port.

use super::*;
use crate::backend::char::MemoryChar;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{IrqProbe, shared};

const SELECTED: u8 = 0x0c;
const STROBE: u8 = 0x0d;

struct Port {
    device: Parallel,
    irq: IrqProbe,
    host: MemoryChar,
}

impl Port {
    fn new() -> Self {
        let (line, irq) = IrqLine::probed();
        let host = MemoryChar::default();
        Self { device: Parallel::new(line, Box::new(host.clone())), irq, host }
    }

    fn inb(&mut self, offset: u64) -> u8 {
        self.device.read(0, offset, 1) as u8
    }

    fn outb(&mut self, offset: u64, value: u8) {
        self.device.write(0, offset, 1, value.into());
    }

    /// Sends a byte as a driver does, and waits for the acknowledgement.
    fn print(&mut self, byte: u8, control: u8) {
        self.outb(DATA, byte);
        self.outb(CONTROL, control | STROBE);
        self.outb(CONTROL, control | SELECTED);
    }
}

/// The values are those of QEMU 7.2.
#[test]
fn contract() {
    let value = |offset, value| ResetValue { region: 0, offset, size: 1, value };
    contract::check(
        || {
            let (line, irq) = IrqLine::probed();
            let device = shared(Parallel::new(line, Box::new(MemoryChar::default())));
            Subject { device, regions: vec![Parallel::REGION], irqs: vec![irq], keep: Box::new(()) }
        },
        &[value(DATA, 0xff), value(STATUS, 0xd9), value(CONTROL, 0xcc), value(3, 0xff), value(7, 0xff)],
    );
}

#[test]
fn a_byte_is_taken_at_the_edge_of_the_strobe() {
    let mut port = Port::new();
    port.print(b'a', 0);
    port.outb(CONTROL, STROBE);
    port.outb(CONTROL, STROBE);
    port.outb(DATA, b'x');
    assert_eq!(port.inb(DATA), b'x');
    assert_eq!(port.host.take_output(), b"aa");
    // Not selected, or in reset.
    port.outb(CONTROL, 0x04);
    port.outb(CONTROL, 0x05);
    port.outb(CONTROL, 0x09);
    assert_eq!(port.host.take_output(), b"");
    assert_eq!(port.inb(CONTROL), 0xc9);
}

/// What a driver that polls sees after a byte under QEMU 7.2.
#[test]
fn the_printer_acknowledges_with_a_pulse() {
    let mut port = Port::new();
    port.outb(CONTROL, 0x08);
    assert_eq!(port.inb(STATUS), 0xd8, "reset");
    port.outb(CONTROL, STROBE);
    assert_eq!([port.inb(STATUS), port.inb(STATUS)], [0x58, 0x58], "busy while the strobe lasts");
    port.outb(CONTROL, SELECTED);
    assert_eq!([(); 4].map(|()| port.inb(STATUS)), [0x58, 0x18, 0xd8, 0xd8]);
}

#[test]
fn a_slow_host_keeps_the_printer_busy() {
    let mut port = Port::new();
    port.host.set_room(Some(0));
    port.print(b'a', 0x10);
    assert_eq!([(); 3].map(|()| port.inb(STATUS)), [0x59; 3]);
    assert!(!port.irq.level());
    port.host.set_room(None);
    port.device.event(CharEvent::Writable);
    assert!(port.irq.level());
    assert_eq!(port.host.take_output(), b"a");
    assert_eq!([(); 3].map(|()| port.inb(STATUS)), [0x59, 0x19, 0xd9]);

    port.host.set_room(Some(0));
    port.print(b'b', 0);
    port.outb(CONTROL, 0x08);
    port.host.set_room(None);
    port.device.event(CharEvent::Writable);
    assert_eq!(port.host.take_output(), b"", "a reset printer has forgotten it");
}

#[test]
fn the_interrupt_lasts_until_the_status_is_read() {
    let mut port = Port::new();
    port.print(b'a', 0);
    port.outb(CONTROL, 0x1c);
    assert!(!port.irq.level(), "nothing was sent since it is enabled");
    port.print(b'b', 0x10);
    assert!(port.irq.level());
    port.inb(STATUS);
    assert!(!port.irq.level());
    port.print(b'c', 0x10);
    port.device.reset(ResetKind::System);
    assert!(!port.irq.level());
    assert_eq!(port.irq.rising_edges(), 2);
}

#[test]
fn the_lines_float_when_they_are_inputs() {
    let mut port = Port::new();
    port.outb(DATA, 0x5a);
    port.outb(CONTROL, 0x2c);
    assert_eq!(port.inb(DATA), 0xff);
    port.outb(CONTROL, 0x0c);
    assert_eq!(port.inb(DATA), 0x5a);
    for offset in 3..8 {
        port.outb(offset, 0);
        assert_eq!(port.inb(offset), 0xff);
    }
    port.outb(STATUS, 0);
    assert_eq!(port.inb(STATUS), 0xd9);
    port.device.receive(b"x");
    assert_eq!(port.device.can_receive(), 0);
}

#[test]
fn a_waiting_byte_is_saved_and_an_impossible_control_refused() {
    let mut port = Port::new();
    port.host.set_room(Some(0));
    port.print(b'a', 0);
    let saved = port.device.save();
    let mut twin = Port::new();
    twin.device.load(&saved).unwrap();
    assert_eq!(twin.host.take_output(), b"a");
    // Bits that the register does not have, an error, no paper, off line.
    for (field, value) in [("control", 0x00), ("status", 0xdb), ("status", 0xd1), ("status", 0xf9), ("status", 0xc9)] {
        let mut bad = saved.clone();
        bad.data[field] = value.into();
        assert!(twin.device.load(&bad).is_err(), "{field} {value:#x}");
    }
}
