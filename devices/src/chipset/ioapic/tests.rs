use std::sync::Mutex;

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::msi::MsiSink;
use crate::base::{lock, shared};

/// Remembers what the chip says.
#[derive(Default)]
struct Apics {
    messages: Mutex<Vec<Msi>>,
    watched: Mutex<Vec<(u8, Option<Msi>)>>,
}

impl MsiSink for Apics {
    fn send(&self, message: Msi) -> Delivery {
        lock(&self.messages).push(message);
        Delivery::Delivered
    }
}

impl ApicBus for Apics {
    fn watch_end(&self, pin: u8, message: Option<Msi>) {
        lock(&self.watched).push((pin, message));
    }
}

struct Rig {
    apics: Arc<Apics>,
    chip: Ioapic,
}

fn rig() -> Rig {
    let apics = Arc::<Apics>::default();
    Rig { chip: Ioapic::new(Arc::clone(&apics) as _), apics }
}

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;
const LOW: u32 = 1 << 13;
const LOGICAL: u32 = 1 << 11;

impl Rig {
    fn select(&mut self, index: u8) {
        self.chip.write(0, 0x00, 4, index.into());
    }

    fn read(&mut self, index: u8) -> u32 {
        self.select(index);
        self.chip.read(0, 0x10, 4) as u32
    }

    fn write(&mut self, index: u8, value: u32) {
        self.select(index);
        self.chip.write(0, 0x10, 4, value.into());
    }

    fn program(&mut self, pin: u8, low: u32, high: u32) {
        self.write(0x11 + 2 * pin, high);
        self.write(0x10 + 2 * pin, low);
    }

    fn take(&self) -> Vec<Msi> {
        std::mem::take(&mut *lock(&self.apics.messages))
    }

    /// How many messages came since the last time.
    fn count(&self) -> usize {
        self.take().len()
    }
}

#[test]
fn keeps_the_contract() {
    contract::check(
        || {
            let Rig { chip, apics } = rig();
            Subject { device: shared(chip), regions: vec![Ioapic::REGION], irqs: Vec::new(), keep: Box::new(apics) }
        },
        &[0, 0x10, 0x40].map(|offset| ResetValue { region: 0, offset, size: 4, value: 0 }),
    );
}

#[test]
fn registers_at_reset_are_the_data_sheets() {
    let mut rig = rig();
    assert_eq!(rig.read(0), 0);
    assert_eq!(rig.read(1), 0x0017_0020);
    assert_eq!(rig.read(2), 0);
    for pin in 0..24 {
        assert_eq!([rig.read(0x10 + 2 * pin), rig.read(0x11 + 2 * pin)], [0x0001_0000, 0]);
    }
}

#[test]
fn only_what_exists_is_written() {
    let mut rig = rig();
    rig.write(0, u32::MAX);
    assert_eq!([rig.read(0), rig.read(2)], [0x0f00_0000, 0x0f00_0000]);
    rig.write(1, 0);
    rig.write(2, 0);
    assert_eq!([rig.read(1), rig.read(2)], [0x0017_0020, 0x0f00_0000]);
    rig.write(0x12, u32::MAX);
    rig.write(0x13, u32::MAX);
    assert_eq!([rig.read(0x12), rig.read(0x13)], [0x0001_afff, 0xfffe_0000]);
}

/// CVE-2013-1798: an index beyond the redirection table read kernel memory through KVM's model.
#[test]
fn an_index_beyond_the_table_reads_0_and_writes_nothing() {
    let mut rig = rig();
    let before = rig.chip.save().data["entries"].clone();
    for index in (0x03..=0x0f).chain(0x40..=0xff) {
        rig.write(index, u32::MAX);
        assert_eq!(rig.read(index), 0, "{index:#x}");
    }
    assert_eq!(rig.chip.save().data["entries"], before);
    assert_eq!(rig.chip.set_input(24, true), Delivery::Ignored);
    assert_eq!(rig.chip.set_input(255, true), Delivery::Ignored);
}

#[test]
fn the_window_repeats_and_wants_whole_registers() {
    let mut rig = rig();
    rig.chip.write(0, 0x300, 1, 0x01);
    assert_eq!(rig.chip.read(0, 0x310, 4), 0x0017_0020);
    assert_eq!(rig.chip.read(0, 0x10, 2), 0);
    rig.chip.write(0, 0x00, 4, 0);
    rig.chip.write(0, 0x10, 1, 0xff);
    assert_eq!(rig.chip.read(0, 0x10, 4), 0);
    assert_eq!(rig.chip.read(0, 0x20, 4), 0);
}

#[test]
fn edges_are_sent_once_and_lost_while_masked() {
    let mut rig = rig();
    rig.program(4, 0x31 | MASKED, 0x0300_0000);
    assert_eq!(rig.chip.set_input(4, true), Delivery::Ignored);
    rig.program(4, 0x31, 0x0300_0000);
    assert_eq!(rig.count(), 0, "an edge on a masked pin is not held");
    rig.chip.set_input(4, false);
    assert_eq!(rig.chip.set_input(4, true), Delivery::Delivered);
    assert_eq!(rig.chip.set_input(4, true), Delivery::Ignored);
    assert_eq!(rig.take(), [Msi { address: 0xfee0_3000, data: 0x31 }]);
    assert_eq!(rig.read(0x18), 0x31, "no remote IRR");
}

#[test]
fn levels_are_sent_again_until_they_are_low_at_their_end() {
    let mut rig = rig();
    rig.program(10, 0x5a | LEVEL, 0);
    assert_eq!(rig.chip.set_input(10, true), Delivery::Delivered);
    assert_eq!(rig.take(), [Msi { address: 0xfee0_0000, data: 0xc05a }]);
    assert_eq!(rig.read(0x24), 0x5a | LEVEL | REMOTE_IRR);
    rig.chip.set_input(10, false);
    assert_eq!(rig.chip.set_input(10, true), Delivery::Coalesced);
    assert_eq!(rig.count(), 0);
    rig.chip.end_of_interrupt(0x5b);
    assert_eq!(rig.count(), 0, "another vector");
    rig.chip.end_of_interrupt(0x5a);
    assert_eq!(rig.count(), 1, "it is high again");
    rig.chip.set_input(10, false);
    rig.chip.end_of_interrupt(0x5a);
    assert_eq!(rig.count(), 0);
    assert_eq!(rig.read(0x24), 0x5a | LEVEL);
}

#[test]
fn a_masked_level_waits_for_its_mask() {
    let mut rig = rig();
    rig.program(11, 0x60 | LEVEL | MASKED, 0);
    assert_eq!(rig.chip.set_input(11, true), Delivery::Ignored);
    rig.program(11, 0x60 | LEVEL, 0);
    assert_eq!(rig.count(), 1);
    rig.program(11, 0x60 | LEVEL | MASKED, 0);
    rig.chip.end_of_interrupt(0x60);
    assert_eq!((rig.count(), rig.read(0x26)), (0, 0x60 | LEVEL | MASKED), "ended while masked");
    rig.program(11, 0x60 | LEVEL, 0);
    assert_eq!(rig.count(), 1);
}

#[test]
fn changing_to_edge_clears_remote_irr() {
    let mut rig = rig();
    rig.program(5, 0x40 | LEVEL, 0);
    rig.chip.set_input(5, true);
    rig.program(5, 0x40, 0);
    assert_eq!(rig.read(0x1a), 0x40);
    rig.program(5, 0x40 | LEVEL, 0);
    assert_eq!(rig.count(), 2, "Linux resets a stuck pin this way");
}

/// CVE-2020-27152: KVM's model sent an interrupt whose input stayed high again and again from within its own end, once the
/// pin had been changed to edges meanwhile.
#[test]
fn cve_2020_27152_the_end_of_an_interrupt_that_does_not_end() {
    let mut rig = rig();
    rig.program(10, 0x5a | LEVEL, 0);
    rig.chip.set_input(10, true);
    for _ in 0..3 {
        assert_eq!(rig.take().len(), 1, "once for each end");
        rig.chip.end_of_interrupt(0x5a);
    }
    rig.take();
    rig.program(10, 0x5a, 0);
    rig.chip.end_of_interrupt(0x5a);
    assert_eq!(rig.count(), 0, "edges have no end, and there was none");
}

/// KVM's model took note of who was sent the RTC's interrupt in a table that was shorter than the numbers of processors.
#[test]
fn cve_2016_9777_destinations_that_are_not_there() {
    const RTC: u8 = 8;
    let mut rig = rig();
    for destination in 0..=0xff_u32 {
        for mode in [0, LOGICAL, LEVEL, LEVEL | LOGICAL | LOW] {
            rig.program(RTC, 0x48 | mode, destination << 24);
            assert_eq!(rig.chip.set_input(RTC, true), Delivery::Delivered);
            let [message] = rig.take()[..] else { panic!("one message to {destination:#x}") };
            assert_eq!(message.address & 0xf_f000, u64::from(destination) << 12);
            rig.chip.set_input(RTC, false);
            rig.chip.end_of_interrupt(0x48);
        }
    }
}

#[test]
fn the_eoi_register_ends_an_interrupt() {
    let mut rig = rig();
    rig.program(9, 0x49 | LEVEL, 0);
    rig.chip.set_input(9, true);
    rig.chip.write(0, 0x40, 2, 0x49);
    assert_eq!(rig.count(), 1);
    rig.chip.write(0, 0x40, 4, 0x49);
    assert_eq!(rig.count(), 1);
}

#[test]
fn messages_carry_modes_and_destinations() {
    for (low, high, address, data) in [
        (0x21 | LOGICAL, 0x0f00_0000, 0xfee0_f004_u64, 0x0021_u32),
        (0x22 | 1 << 8 | LOGICAL, 0xff00_0000, 0xfeef_f004, 0x0122),
        (0x200, 0, 0xfee0_0000, 0x0200),
        (0x400 | LEVEL, 0x0100_0000, 0xfee0_1000, 0x0400),
        (0x500, 0x0100_0000, 0xfee0_1000, 0x0500),
        (0x700 | LEVEL, 0, 0xfee0_0000, 0x0700),
        (0x34, 0x0102_0000, 0xfee0_1020, 0x0034),
        (0x33 | LOW, 0, 0xfee0_0000, 0x0033),
    ] {
        let mut rig = rig();
        rig.program(1, low, high);
        rig.chip.set_input(1, true);
        assert_eq!(rig.take(), [Msi { address, data }], "{low:#x}");
        assert_eq!(rig.read(0x12), low, "only fixed and lowest priority can be level triggered");
    }
}

#[test]
fn the_bus_knows_the_levels_whose_ends_matter() {
    let mut rig = rig();
    let watched = |rig: &Rig| std::mem::take(&mut *lock(&rig.apics.watched));
    let message = Msi { address: 0xfee0_0000, data: 0xc045 };
    rig.program(5, 0x45 | LEVEL | MASKED, 0);
    rig.program(6, 0x46, 0);
    assert_eq!(watched(&rig), []);
    rig.program(5, 0x45 | LEVEL, 0);
    assert_eq!(watched(&rig), [(5, Some(message))]);
    rig.program(5, 0x45 | LEVEL, 0);
    assert_eq!(watched(&rig), []);
    let saved = rig.chip.save();
    rig.chip.reset(ResetKind::System);
    assert_eq!(watched(&rig), [(5, None)]);
    rig.chip.load(&saved).unwrap();
    assert_eq!(watched(&rig), [(5, Some(message))]);
    assert_eq!(rig.count(), 0, "loading sends nothing");
}

/// What Linux does around each interrupt that a thread serves must not cost a change of KVM's routes.
#[test]
fn masks_alone_tell_the_bus_nothing() {
    let mut rig = rig();
    let watched = |rig: &Rig| std::mem::take(&mut *lock(&rig.apics.watched));
    let message = |data: u32| Msi { address: 0xfee0_0000, data: 0xc000 | data };
    rig.program(5, 0x45 | LEVEL, 0);
    assert_eq!(watched(&rig), [(5, Some(message(0x45)))]);
    for _ in 0..3 {
        rig.chip.set_input(5, true);
        rig.program(5, 0x45 | LEVEL | MASKED, 0);
        rig.chip.set_input(5, false);
        rig.chip.end_of_interrupt(0x45);
        rig.program(5, 0x45 | LEVEL, 0);
    }
    assert_eq!((rig.count(), watched(&rig)), (3, Vec::new()));
}

/// The end of a vector that nobody waits for any more must not make KVM stop the processor for ever.
#[test]
fn a_pin_that_was_masked_in_service_is_forgotten_when_it_changes() {
    let message = |data: u32| Msi { address: 0xfee0_0000, data: 0xc000 | data };
    let masked_in_service = || {
        let mut rig = rig();
        rig.program(5, 0x45 | LEVEL, 0);
        rig.chip.set_input(5, true);
        rig.program(5, 0x45 | LEVEL | MASKED, 0);
        rig.chip.end_of_interrupt(0x45);
        rig
    };
    let last = |rig: &Rig| lock(&rig.apics.watched).last().copied();
    let mut rig = masked_in_service();
    rig.program(5, 0x46 | LEVEL | MASKED, 0);
    assert_eq!(last(&rig), Some((5, None)));
    rig.program(5, 0x46 | LEVEL, 0);
    assert_eq!(last(&rig), Some((5, Some(message(0x46)))));
    let mut rig = masked_in_service();
    rig.chip.reset(ResetKind::System);
    assert_eq!(last(&rig), Some((5, None)));
}

#[test]
fn a_loaded_chip_watches_what_is_masked_in_service() {
    let mut rig = rig();
    rig.program(5, 0x45 | LEVEL, 0);
    rig.chip.set_input(5, true);
    rig.program(5, 0x45 | LEVEL | MASKED, 0);
    let saved = rig.chip.save();
    let mut twin = self::rig();
    twin.chip.load(&saved).unwrap();
    assert_eq!(*lock(&twin.apics.watched), [(5, Some(Msi { address: 0xfee0_0000, data: 0xc045 }))]);
    twin.chip.end_of_interrupt(0x45);
    twin.program(5, 0x45 | LEVEL, 0);
    assert_eq!(twin.count(), 1, "it is still high");
}

#[test]
fn impossible_states_are_refused() {
    let mut rig = rig();
    let saved = rig.chip.save();
    for (field, value) in [("id", 0x10_u64), ("lines", 1 << 24)] {
        let mut bad = saved.clone();
        bad.data[field] = value.into();
        assert!(rig.chip.load(&bad).is_err(), "{field}");
    }
    for entry in [u64::from(REMOTE_IRR), 1 << 12, 1 << 17, 1 << 48] {
        let mut bad = saved.clone();
        bad.data["entries"][7] = entry.into();
        assert!(rig.chip.load(&bad).is_err(), "{entry:#x}");
    }
    // A level that is high and was not sent would never be.
    let mut bad = saved.clone();
    bad.data["entries"][7] = u64::from(LEVEL | 0x45).into();
    bad.data["lines"] = (1 << 7).into();
    assert!(rig.chip.load(&bad).is_err());
    bad.data["entries"][7] = u64::from(LEVEL | REMOTE_IRR | 0x45).into();
    assert!(rig.chip.load(&bad).is_ok());
}
