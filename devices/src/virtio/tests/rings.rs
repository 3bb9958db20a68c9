//! The two formats of rings.

use super::*;

/// Reads and writes far more often than the rings have entries, in both formats.
#[test]
fn rings_wrap_around() {
    for features in [0, F_EVENT_IDX, F_PACKED, F_PACKED | F_EVENT_IDX] {
        // A packed ring need not be a power of two.
        let size = if features & F_PACKED != 0 { 7 } else { 8 };
        let (mut driver, [mut ring, _]) = Driver::started(features, size);
        // The indices of a split ring have 16 bits.
        let rounds = if features == F_EVENT_IDX { 0x1_0100 } else { 2000 };
        for round in 0..rounds {
            let sector = round % SECTORS as u64;
            if round % 7 == 3 {
                driver.poke(DATA + 0x1000, round);
                assert_eq!(driver.perform(&mut ring, 1, sector, &[(DATA + 0x1000, 512, 0)]), 0);
            } else if round % 1000 < 2 {
                assert_eq!(driver.perform(&mut ring, 0, sector, &[(DATA + 0x1000, 512, WRITE)]), 0);
                let medium = driver.medium.contents();
                assert_eq!(driver.bytes(DATA + 0x1000, 512), medium[sector as usize * 512..][..512], "round {round}");
            } else {
                assert_eq!(driver.perform(&mut ring, 8, 0, &[(DATA + 0x1000, 20, WRITE)]), 0);
            }
        }
        assert!(!driver.needs_reset());
    }
}

#[test]
fn several_chains_are_used_in_any_order() {
    for features in [0, F_PACKED] {
        let (mut driver, [mut ring, _]) = Driver::started(features, 16);
        driver.disk.hold(true);
        let names = [0, 3, 6].map(|head| {
            let at = DATA + 0x4000 * u64::from(head);
            driver.request(&mut ring, head, at, 0, u64::from(head))
        });
        driver.kick(0);
        assert_eq!((driver.disk.waiting(), driver.take_used(&mut ring, 3)), (3, None));
        // One that is done at once overtakes them.
        let parts = [(DATA + 0x3_0000, 16, 0), (DATA + 0x3_1000, 20, WRITE), (DATA + 0x3_0800, 1, WRITE)];
        driver.header(DATA + 0x3_0000, 8, 0);
        let id = driver.offer(&mut ring, 9, &parts);
        driver.kick(0);
        assert_eq!(driver.take_used(&mut ring, 3), Some((id, 21)));
        driver.disk.release();
        crate::backend::disk::DiskClient::requests_completed(&mut driver.function);
        let used: Vec<_> = (0..3).filter_map(|_| driver.take_used(&mut ring, 3)).collect();
        assert_eq!(used, names.map(|name| (name, 513)));
        assert_eq!(driver.take_used(&mut ring, 3), None);
        let medium = driver.medium.contents();
        assert_eq!(driver.bytes(DATA + 0x4000 * 6 + 0x1000, 512), medium[6 * 512..][..512]);
    }
}

#[test]
fn a_table_of_descriptors_is_as_good_as_a_chain() {
    let table = DATA + 0x9000;
    for packed in [0, F_PACKED] {
        let (mut driver, [mut ring, _]) = Driver::started(F_INDIRECT | packed, 4);
        let more = if packed == 0 { NEXT } else { 0 };
        driver.header(DATA, 0, 3);
        let parts =
            [(DATA, 16, 0), (DATA + 0x1000, 512, WRITE), (DATA + 0x2000, 1024, WRITE), (DATA + 0x800, 1, WRITE)];
        for (index, (address, len, flags)) in (0..).zip(parts) {
            let flags = if index < 3 { flags | more } else { flags };
            let (third, fourth) = if packed == 0 { (flags, index + 1) } else { (0, flags) };
            driver.describe(table, index, address, len, third, fourth);
        }
        let id = driver.offer(&mut ring, 1, &[(table, 64, INDIRECT)]);
        driver.kick(0);
        assert_eq!(driver.take_used(&mut ring, 1), Some((id, 1537)));
        let medium = driver.medium.contents();
        assert_eq!(driver.bytes(DATA + 0x1000, 512), medium[3 * 512..][..512]);
        assert_eq!(driver.bytes(DATA + 0x2000, 1024), medium[4 * 512..][..1024]);
    }
}

/// virtio 1.2, 2.7.7 and 2.7.10: interrupts as the driver wants them.
#[test]
fn a_split_ring_interrupts_when_the_driver_wants_it() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    let done = |driver: &mut Driver, ring: &mut Ring| {
        driver.perform(ring, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
        driver.isr()
    };
    assert_eq!(done(&mut driver, &mut ring), 1);
    driver.poke(ring.available, 1_u16);
    assert_eq!(done(&mut driver, &mut ring), 0, "VIRTQ_AVAIL_F_NO_INTERRUPT");
    let (mut driver, [mut ring, _]) = Driver::started(F_EVENT_IDX, 8);
    let used_event = ring.available + 4 + 2 * 8;
    for (event, interrupts) in [(0, [1, 0, 0]), (4, [0, 1, 0]), (8, [0, 0, 1])] {
        driver.poke(used_event, event as u16);
        assert_eq!([0; 3].map(|_| done(&mut driver, &mut ring)), interrupts, "after entry {event}");
    }
    // The flag has no say then.
    driver.poke(ring.available, 1_u16);
    driver.poke(used_event, 9_u16);
    assert_eq!(done(&mut driver, &mut ring), 1);
}

#[test]
fn the_device_says_where_in_a_split_ring_it_wants_to_be_told() {
    let (mut driver, [mut ring, _]) = Driver::started(F_EVENT_IDX, 8);
    let available_event = ring.used + 4 + 8 * 8;
    for round in 1..20_u16 {
        driver.perform(&mut ring, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
        assert_eq!(driver.peek::<u16>(available_event), round);
    }
}

/// virtio 1.2, 2.8.10: the driver's structure in the driver area, the device's in the device area.
#[test]
fn a_packed_ring_interrupts_when_the_driver_wants_it() {
    let (mut driver, [mut ring, _]) = Driver::started(F_PACKED | F_EVENT_IDX, 9);
    let done = |driver: &mut Driver, ring: &mut Ring| {
        driver.perform(ring, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
        driver.isr()
    };
    assert_eq!(done(&mut driver, &mut ring), 1);
    driver.poke(ring.available + 2, 1_u16);
    assert_eq!(done(&mut driver, &mut ring), 0, "RING_EVENT_FLAGS_DISABLE");
    // Three entries a chain: this one goes from 6 to the end, the next ones from 0 on with the other wrap counter.
    driver.poke(ring.available, 3_u16);
    driver.poke(ring.available + 2, 2_u16);
    assert_eq!([0; 3].map(|_| done(&mut driver, &mut ring)), [0, 0, 1], "entry 3 of the next round");
    driver.poke(ring.available, 8_u16);
    assert_eq!([0; 2].map(|_| done(&mut driver, &mut ring)), [1, 0], "entry 8 of this round");
    driver.poke(ring.available, 0x8000_u16 | 5);
    assert_eq!([0; 2].map(|_| done(&mut driver, &mut ring)), [1, 0], "entry 5 of the round after it");
    let wanted: (u16, u16) = (driver.peek(ring.used), driver.peek(ring.used + 2));
    let wrap = if ring.next_wrap { 0x8000 } else { 0 };
    assert_eq!(wanted, (wrap | ring.next, 2), "RING_EVENT_FLAGS_DESC");
}

#[test]
fn a_packed_ring_without_event_index_asks_for_every_kick() {
    let (mut driver, [mut ring, _]) = Driver::started(F_PACKED, 8);
    driver.poke(ring.used + 2, 1_u16);
    driver.perform(&mut ring, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
    assert_eq!(driver.peek::<u16>(ring.used + 2), 0, "RING_EVENT_FLAGS_ENABLE");
}

/// Legacy drivers may want an interrupt when everything they gave is used, whatever else they said.
#[test]
fn a_legacy_driver_is_told_when_a_queue_is_empty() {
    for (features, interrupts) in [(F_NOTIFY_ON_EMPTY, 1), (0, 0)] {
        let mut driver = Driver::new();
        let mut ring = legacy_ring(&mut driver, features);
        driver.poke(ring.available, 1_u16);
        driver.perform(&mut ring, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
        assert_eq!(driver.port(0x13, 1), interrupts);
    }
}

/// A queue by the legacy interface: one piece, the used ring on a page of its own.
pub fn legacy_ring(driver: &mut Driver, features: u64) -> Ring {
    driver.set_port(0x12, 1, 0);
    driver.set_port(0x12, 1, 3);
    driver.set_port(0x04, 4, features as u32);
    driver.set_port(0x0e, 2, 0);
    let size = driver.port(0x0c, 2) as u16;
    driver.set_port(0x08, 4, 0x10);
    driver.set_port(0x12, 1, 7);
    let descriptors = 0x1_0000;
    let available = descriptors + 16 * u64::from(size);
    let used = (available + 4 + 2 * u64::from(size)).next_multiple_of(0x1000);
    Ring { size, descriptors, available, used, next_wrap: true, seen_wrap: true, ..Ring::default() }
}
