//! Status and features (virtio 1.2, sections 2.1, 2.2 and 3.1), and the legacy interface.

use super::rings::legacy_ring;
use super::*;

#[test]
fn drivers_are_offered_what_their_interface_has() {
    let mut driver = Driver::new();
    // SEG_MAX, GEOMETRY, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES, as QEMU; and packed rings.
    assert_eq!(driver.offered(), 0x105_3000_7e54);
    assert_eq!(driver.port(0, 4), 0x7900_7e54);
    driver.set_common(0, 4, 2);
    assert_eq!(driver.common(4, 4), 0, "there are no more than 64");
    let rings = RingOptions {
        indirect_desc: false,
        event_idx: false,
        any_layout: false,
        notify_on_empty: false,
        packed: false,
        queue_reset: false,
    };
    let block = BlockOptions { config_wce: false, discard: false, write_zeroes: false, ..BlockOptions::default() };
    let mut bare = Driver::with(PciOptions { rings, ..PLAIN }, block, ErrorPolicy::default());
    assert_eq!((bare.offered(), bare.port(0, 4)), (0x1_0000_0654, 0x4000_0654));
    let mut legacy =
        Driver::with(PciOptions { modern: false, ..PLAIN }, BlockOptions::default(), ErrorPolicy::default());
    assert_eq!(legacy.port(0, 4), 0x7900_6e54);
}

#[test]
fn features_ok_stays_only_if_the_device_agrees() {
    let mut driver = Driver::new();
    for (features, agreed) in [
        (F_VERSION_1, true),
        (F_VERSION_1 | F_PACKED | F_RING_RESET, true),
        (0, true),
        // What was not offered: in the high half, in the low half, for legacy drivers only.
        (F_VERSION_1 | 1 << 33, false),
        (F_VERSION_1 | 1 << 7, false),
        (F_VERSION_1 | 1 << 27, false),
        // What only goes with virtio 1.
        (F_PACKED, false),
        (F_RING_RESET, false),
    ] {
        driver.status(0);
        driver.status(3);
        driver.accept(features);
        driver.status(0xb);
        assert_eq!(driver.common(0x14, 1), if agreed { 0xb } else { 3 }, "{features:#x}");
    }
    let mut modern =
        Driver::with(PciOptions { legacy: false, ..PLAIN }, BlockOptions::default(), ErrorPolicy::default());
    modern.status(3);
    modern.accept(0);
    modern.status(0xb);
    assert_eq!(modern.common(0x14, 1), 3, "a function without legacy interface insists on virtio 1");
}

#[test]
fn features_can_not_be_changed_afterwards() {
    let (mut driver, _) = Driver::started(F_EVENT_IDX, 8);
    driver.accept(0);
    driver.set_common(8, 4, 0);
    assert_eq!(driver.common(0xc, 4), F_EVENT_IDX as u32);
    driver.set_common(8, 4, 7);
    driver.set_common(0xc, 4, 0xffff_ffff);
    assert_eq!(driver.common(0xc, 4), 0, "there are no more than 64");
    driver.status(0);
    assert_eq!((driver.common(0xc, 4), driver.common(0x14, 1)), (0, 0));
}

#[test]
fn a_queue_is_the_drivers_until_it_is_enabled() {
    let mut driver = Driver::new();
    driver.status(3);
    driver.accept(F_VERSION_1);
    driver.status(0xb);
    driver.set_common(0x16, 2, 1);
    // Sizes: none, more than there are, fewer.
    for (written, read) in [(0, 16), (17, 16), (0xffff, 16), (8, 8), (32, 8)] {
        driver.set_common(0x18, 2, written);
        assert_eq!(driver.common(0x18, 2), read);
    }
    driver.set_common(0x20, 4, 0x1_0000);
    driver.set_common(0x24, 4, 0x12);
    assert_eq!([0x1c, 0x1e, 0x20, 0x24].map(|at| driver.common(at, 4)), [0, 1, 0x1_0000, 0x12]);
    driver.set_common(0x24, 4, 0);
    driver.set_common(0x1c, 2, 1);
    driver.set_common(0x18, 2, 4);
    driver.set_common(0x20, 4, 0);
    assert_eq!([0x18, 0x1c, 0x20].map(|at| driver.common(at, 4)), [8, 1, 0x1_0000], "enabled");
    // One that is not there.
    driver.set_common(0x16, 2, 2);
    driver.set_common(0x1c, 2, 1);
    assert_eq!([0x18, 0x1a, 0x1c].map(|at| driver.common(at, 2)), [0, 0xffff, 0]);
    assert!(!driver.needs_reset());
}

#[test]
fn nothing_happens_before_driver_ok() {
    let mut driver = Driver::new();
    driver.status(3);
    driver.accept(F_VERSION_1);
    driver.status(0xb);
    let mut ring = driver.enable(0, 8);
    driver.request(&mut ring, 0, DATA, 0, 1);
    driver.kick(0);
    assert_eq!(driver.take_used(&mut ring, 3), None);
    driver.status(0xf);
    assert_eq!(driver.take_used(&mut ring, 3), Some((0, 513)), "and then what is there is not forgotten");
}

#[test]
fn a_reset_ends_everything_that_is_under_way() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    driver.disk.hold(true);
    driver.request(&mut ring, 0, DATA, 0, 1);
    driver.kick(0);
    driver.poke(DATA + 0x1000, 0x5a_u8);
    driver.status(0);
    assert_eq!((driver.common(0x14, 1), driver.disk.waiting()), (0, 0));
    driver.disk.release();
    crate::backend::disk::DiskClient::requests_completed(&mut driver.function);
    assert_eq!((driver.take_used(&mut ring, 3), driver.peek::<u8>(DATA + 0x1000)), (None, 0x5a));
    driver.disk.hold(false);
    let [mut ring, _] = driver.start(0, 8);
    assert_eq!(driver.perform(&mut ring, 0, 1, &[(DATA + 0x1000, 512, WRITE)]), 0, "and it starts anew");
}

/// virtio 1.2, 2.6.1: one queue goes, the other one does not notice, and it comes back with another size.
#[test]
fn a_queue_is_reset_alone_and_comes_back_with_another_size() {
    for packed in [0, F_PACKED] {
        let (mut driver, [mut first, mut second]) = Driver::started(F_RING_RESET | packed, 16);
        driver.perform(&mut first, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
        driver.perform(&mut second, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
        driver.set_common(0x16, 2, 0);
        driver.set_common(0x3a, 2, 1);
        assert_eq!([0x18, 0x1c, 0x20, 0x3a].map(|at| driver.common(at, 2)), [16, 0, 0, 0]);
        driver.request(&mut first, 0, DATA, 0, 1);
        driver.kick(0);
        assert_eq!(driver.take_used(&mut first, 3), None);
        assert_eq!(driver.perform(&mut second, 0, 1, &[(DATA + 0x1000, 512, WRITE)]), 0);
        let mut first = driver.enable(0, 4);
        assert_eq!(driver.perform(&mut first, 0, 1, &[(DATA + 0x1000, 512, WRITE)]), 0);
    }
    let (mut driver, [mut ring, _]) = Driver::started(0, 16);
    driver.set_common(0x16, 2, 0);
    driver.set_common(0x3a, 2, 1);
    assert_eq!(driver.common(0x1c, 2), 1, "not agreed on");
    driver.perform(&mut ring, 8, 0, &[(DATA + 0x1000, 20, WRITE)]);
}

#[test]
fn a_legacy_driver_has_ports() {
    let mut driver = Driver::new();
    assert_eq!([0x04, 0x08, 0x0c].map(|at| driver.port(at, 4)), [0, 0, 16]);
    assert_eq!((driver.port(0x10, 2), driver.port(0x01, 1)), (0xffff_ffff, 0xffff_ffff), "no registers, as in QEMU");
    assert_eq!((driver.port(0x14, 4), driver.port(0x14 + 20, 4)), (SECTORS as u32, 512), "its configuration");
    // With MSI-X two registers come before it.
    driver.config_write(0x9a, 2, 0x8000);
    assert_eq!((driver.port(0x14, 2), driver.port(0x18, 4)), (0xffff, SECTORS as u32));
    driver.config_write(0x9a, 2, 0);
    let mut ring = legacy_ring(&mut driver, 0);
    assert_eq!((driver.port(0x08, 4), driver.port(0x12, 1)), (0x10, 7));
    driver.request(&mut ring, 0, DATA, 0, 1);
    driver.set_port(0x10, 2, 0);
    assert_eq!((driver.take_used(&mut ring, 3), driver.port(0x13, 1)), (Some((0, 513)), 1));
    // Page 0 is a reset.
    driver.set_port(0x08, 4, 0);
    assert_eq!([0x08, 0x12].map(|at| driver.port(at, 1)), [0, 0]);
}

/// As QEMU has it for drivers of their time: one that accepts everything has not looked, one forgets Bus Master Enable, and some
/// use queues before they say DRIVER_OK.
#[test]
fn legacy_drivers_may_be_careless() {
    let mut driver = Driver::new();
    driver.config_write(0x04, 2, 0x0003);
    driver.set_port(0x12, 1, 1);
    driver.set_port(0x12, 1, 3);
    assert_eq!(driver.config_read(0x04, 2), 0x0007);
    let all = driver.port(0, 4);
    driver.set_port(0x04, 4, all);
    assert_eq!(driver.port(0x04, 4), 0);
    driver.set_port(0x08, 4, 0x10);
    let available = 0x1_0000 + 16 * 16;
    let mut ring =
        Ring { size: 16, descriptors: 0x1_0000, available, used: 0x1_1000, next_wrap: true, ..Ring::default() };
    driver.request(&mut ring, 0, DATA, 0, 1);
    driver.set_port(0x10, 2, 0);
    assert_eq!(driver.take_used(&mut ring, 3), Some((0, 513)));
}

#[test]
fn without_bus_master_enable_the_device_stops() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    driver.config_write(0x04, 2, 0x0003);
    driver.request(&mut ring, 0, DATA, 0, 1);
    driver.kick(0);
    assert_eq!((driver.common(0x14, 1), driver.take_used(&mut ring, 3)), (0xb, None));
    driver.config_write(0x04, 2, 0x0007);
    driver.status(0xf);
    assert_eq!(driver.take_used(&mut ring, 3), Some((0, 513)));
}
