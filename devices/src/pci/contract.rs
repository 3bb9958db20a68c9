//! The test that every PCI function passes, beside that of all devices: what PCI promises of configuration space.

use std::sync::Arc;

use super::config::reg;
use super::{PciAddress, PciBus, PciFunction};
use crate::base::contract::{Random, Subject};
use crate::base::{Bus, Delivery, IrqInput, IrqSink, ResetKind, Space, lock};

/// Where the function is put.
const PLACE: PciAddress = PciAddress::slot(3);
/// Random writes.
const WRITES: u32 = 5000;
/// Of which so many are followed by a look at everything.
const LOOKS: u32 = 100;

/// Interrupts that nobody takes.
struct Nobody;

impl IrqSink for Nobody {
    fn set_level(&self, _pin: u32, _level: bool) -> Delivery {
        Delivery::Ignored
    }
}

/// A function alone on a bus.
struct Seated<F> {
    subject: Subject<F>,
    ports: Arc<Bus>,
    memory: Arc<Bus>,
    pci: PciBus,
}

impl<F: PciFunction + 'static> Seated<F> {
    fn new(subject: Subject<F>) -> Self {
        let (ports, memory) = (Arc::new(Bus::new(Space::Port)), Arc::new(Bus::new(Space::Memory)));
        let intx = std::array::from_fn(|wire| IrqInput::new(Arc::new(Nobody), wire as u32));
        let pci = PciBus::new(Arc::clone(&ports), Arc::clone(&memory), intx);
        pci.insert(PLACE, "subject", Arc::clone(&subject.device)).expect("the bus is empty");
        Self { subject, ports, memory, pci }
    }

    fn read(&self, offset: u8, size: u8) -> u32 {
        self.pci.config_read(PLACE, offset, size)
    }

    fn write(&self, offset: u8, size: u8, value: u32) {
        self.pci.config_write(PLACE, offset, size, value);
    }

    /// All of configuration space.
    fn registers(&self) -> Vec<u32> {
        (0..=u8::MAX).step_by(4).map(|offset| self.read(offset, 4)).collect()
    }

    /// What decodes where.
    fn windows(&self) -> Vec<(u64, u64, &'static str)> {
        self.ports.ranges().into_iter().chain(self.memory.ranges()).collect()
    }

    fn is_bridge(&self) -> bool {
        self.read(reg::HEADER_TYPE, 1) & 0x7f == 1
    }

    /// The offsets of the base address registers, the expansion ROM's among them.
    fn base_registers(&self) -> Vec<u8> {
        let (count, rom) = if self.is_bridge() { (2, 0x38) } else { (6, reg::ROM_BASE) };
        (0..count).map(|index| reg::BAR0 + 4 * index).chain([rom]).collect()
    }
}

impl<F> Drop for Seated<F> {
    /// Devices on the buses lead back to them.
    fn drop(&mut self) {
        self.ports.clear();
        self.memory.clear();
    }
}

/// Checks what the PCI Local Bus Specification (2.1, chapter 6) says of configuration space: identification and capabilities do not
/// change, base address registers tell their size and decode where and when they should, status bits are cleared by writing
/// ones. Then that after any writes a twin that is given the saved state is the same to its guest, and that a reset
/// undoes them all.
///
/// `make` builds the same function anew each time.
///
/// # Panics
/// The function breaks the contract.
pub fn check<F: PciFunction + 'static>(make: impl Fn() -> Subject<F>) {
    check_header(&Seated::new(make()));
    check_base_registers(&Seated::new(make()));
    check_any_writes(&make);
}

/// Registers that are read only: offset and size.
fn fixed(bridge: bool) -> &'static [(u8, u8)] {
    match bridge {
        // Ids, revision and class, header type, capabilities, interrupt pin.
        true => &[(0x00, 4), (0x08, 4), (0x0e, 1), (0x34, 1), (0x3d, 1)],
        // And subsystem ids, minimum grant and maximum latency.
        false => &[(0x00, 4), (0x08, 4), (0x0e, 1), (0x2c, 4), (0x34, 1), (0x3d, 1), (0x3e, 1), (0x3f, 1)],
    }
}

fn check_header<F: PciFunction + 'static>(seated: &Seated<F>) {
    assert_ne!(seated.read(0x00, 2), 0xffff, "no vendor");
    assert!(matches!(seated.read(reg::HEADER_TYPE, 1) & 0x7f, 0 | 1), "a header that is not known");
    assert!(seated.read(0x3d, 1) <= 4, "interrupt pin");
    check_capabilities(seated);

    let before: Vec<_> = fixed(seated.is_bridge()).iter().map(|(offset, size)| seated.read(*offset, *size)).collect();
    let status = seated.read(reg::STATUS, 2);
    for value in [u32::MAX, 0] {
        for offset in (0..0x40).step_by(4) {
            seated.write(offset, 4, value);
        }
        for ((offset, size), before) in fixed(seated.is_bridge()).iter().zip(&before) {
            assert_eq!(seated.read(*offset, *size), *before, "{offset:#x} is read only");
        }
        // Nothing has happened that a status bit could tell of: the others are read only, but for the state of INTx.
        assert_eq!((seated.read(reg::STATUS, 2) ^ status) & !0xf908, 0, "status");
    }
    check_capabilities(seated);
}

/// The list ends, is where devices may have registers, and is announced.
fn check_capabilities<F: PciFunction + 'static>(seated: &Seated<F>) {
    const ANNOUNCED: u32 = 1 << 4;
    let mut next = seated.read(0x34, 1);
    assert_eq!(seated.read(reg::STATUS, 2) & ANNOUNCED != 0, next != 0, "the capabilities bit of STATUS");
    for _ in 0..48 {
        if next == 0 {
            return;
        }
        assert!(next >= 0x40 && next.is_multiple_of(4), "a capability at {next:#x}");
        next = seated.read(next as u8 + 1, 1);
    }
    panic!("the list of capabilities has no end");
}

fn check_base_registers<F: PciFunction + 'static>(seated: &Seated<F>) {
    let own = seated.windows();
    // Where windows of 32 and of 64 bits are put.
    let (mut narrow, mut wide) = (0x4000_0000_u64, 1_u64 << 48);
    let mut registers = seated.base_registers().into_iter();
    while let Some(offset) = registers.next() {
        let reset = seated.read(offset, 4);
        seated.write(offset, 4, u32::MAX);
        let sized = seated.read(offset, 4);
        if sized == 0 {
            continue;
        }
        let rom = offset == 0x38 || offset == reg::ROM_BASE;
        let io = !rom && sized & 1 != 0;
        let (flags, least) = match (rom, io) {
            (true, _) => (0x7ff, 0x800),
            (_, true) => (0b11, 4),
            _ => (0xf, 16),
        };
        assert_eq!(sized & flags & !1, reset & flags & !1, "{offset:#x}: the lowest bits tell what it is");
        let high =
            (!rom && !io && sized & 0b110 == 0b100).then(|| registers.next().expect("64 bits take two registers"));
        let upper = high.map_or(u32::MAX, |high| {
            seated.write(high, 4, u32::MAX);
            seated.read(high, 4)
        });
        let mask = u64::from(upper) << 32 | u64::from(sized & !flags);
        let size = mask & mask.wrapping_neg();
        assert!(size >= least, "{offset:#x}: a window of {size} bytes");
        assert!(!io || size <= 0x100, "{offset:#x}: {size} ports, more than 256");
        // Ports have 16 bits; whether their registers have more is the function's choice.
        let decoded = if io { 0xffff } else { u64::MAX };
        assert_eq!(mask & decoded, (!(size - 1)) & decoded, "{offset:#x}: its size is no power of two");

        // Where it is put it decodes, while the command register says so.
        let next = if high.is_some() { &mut wide } else { &mut narrow };
        let base = if io { 0xd000 } else { next.next_multiple_of(size) };
        *next = base.max(*next) + size;
        seated.write(offset, 4, base as u32 | u32::from(rom));
        if let Some(high) = high {
            seated.write(high, 4, (base >> 32) as u32);
        }
        let last = base + size - 1;
        let decodes = || seated.windows().iter().any(|(first, end, _)| *first >= base && *end <= last);
        for (command, expected) in [(0, false), (if io { 0b01 } else { 0b10 }, true), (0, false)] {
            seated.write(reg::COMMAND, 2, command);
            // A command register that can't be written stays as it is.
            if seated.read(reg::COMMAND, 2) & 0b11 == command {
                assert_eq!(decodes(), expected, "{offset:#x} at {base:#x} with command {command:#x}");
            }
        }
        for register in [Some(offset), high].into_iter().flatten() {
            seated.write(register, 4, 0);
        }
    }
    assert_eq!(seated.windows(), own, "all that was put somewhere is gone");
}

fn check_any_writes<F: PciFunction + 'static>(make: &impl Fn() -> Subject<F>) {
    let seated = Seated::new(make());
    let mut random = Random::default();
    for round in 0..WRITES {
        let dice = random.next();
        let size = 1_u8 << (dice & 3).min(2);
        let mut value = (dice >> 32) as u32;
        if dice & 0x80 != 0 {
            // Addresses as a guest would choose them are more often valid.
            value &= 0x0000_fff3;
        }
        seated.write((dice >> 8) as u8 & !(size - 1), size, value);
        if round % (WRITES / LOOKS) == 0 {
            let saved = lock(&seated.subject.device).save();
            let twin = Seated::new(make());
            lock(&twin.subject.device).load(&saved).expect("a saved state loads");
            twin.pci.remap();
            assert_eq!(lock(&twin.subject.device).save(), saved, "round {round}");
            assert_eq!(twin.registers(), seated.registers(), "round {round}");
            assert_eq!(twin.windows(), seated.windows(), "round {round}");
        }
    }
    let fresh = Seated::new(make());
    for seated in [&seated, &fresh] {
        seated.pci.reset(ResetKind::PowerOn);
    }
    assert_eq!((seated.registers(), seated.windows()), (fresh.registers(), fresh.windows()), "after reset");
}
