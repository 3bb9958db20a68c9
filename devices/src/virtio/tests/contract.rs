//! The contract of devices, configuration space, and saved states.

use super::*;
use crate::backend::disk::{DiskClient, Fault, OnError};
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{Device, ResetKind, shared};

#[test]
fn keeps_the_contract() {
    let make = || {
        let driver = Driver::new();
        let regions = driver.regions();
        let Driver { function, pin, ram, .. } = driver;
        Subject { device: shared(function), regions, irqs: vec![pin], keep: Box::new(ram) }
    };
    let value = |region, offset, size, value| ResetValue { region, offset, size, value };
    let reset = [
        // virtio 1.2, 4.1.4.3: nothing is negotiated, nothing enabled, no vectors.
        value(MODERN, 0x0c, 4, 0),
        value(MODERN, 0x10, 2, 0xffff),
        value(MODERN, 0x12, 2, 2),
        value(MODERN, 0x14, 1, 0),
        value(MODERN, 0x15, 1, 0),
        value(MODERN, 0x18, 2, 16),
        value(MODERN, 0x1a, 2, 0xffff),
        value(MODERN, 0x1c, 2, 0),
        value(MODERN, 0x20, 4, 0),
        value(MODERN, 0x1000, 1, 0),
        value(LEGACY, 0x12, 1, 0),
        value(LEGACY, 0x08, 4, 0),
        value(MSIX, 0x0c, 4, 1),
    ];
    contract::check(make, &reset);
    crate::pci::contract::check(make);
}

/// What QEMU 7.2 has for the same options.
#[test]
fn configuration_space_is_qemus() {
    let words = |driver: &mut Driver, at: &[u8]| Vec::from_iter(at.iter().map(|at| driver.config_read(*at, 4)));
    let header = [0x00, 0x08, 0x10, 0x14, 0x20, 0x2c, 0x34];
    let caps: Vec<u8> = (0x40..0x98).step_by(4).collect();
    let mut driver = Driver::new();
    assert_eq!(
        words(&mut driver, &header),
        [0x1001_1af4, 0x0100_0000, 1, 0, 0xc, 0x0002_1af4, 0x98],
        "a transitional function"
    );
    assert_eq!(
        words(&mut driver, &caps),
        [
            0x0110_0009,
            4,
            0,
            0x1000, //
            0x0310_4009,
            4,
            0x1000,
            0x1000, //
            0x0410_5009,
            4,
            0x2000,
            0x1000, //
            0x0214_6009,
            4,
            0x3000,
            0x1000,
            4, //
            0x0514_7009,
            0,
            0,
            0,
            0
        ]
    );
    assert_eq!(words(&mut driver, &[0x98, 0x9c, 0xa0]), [0x0002_8411, 1, 0x801]);
    let lens: Vec<_> = driver.regions().iter().map(|region| region.len).collect();
    assert_eq!(lens, [0x80, 0x1000, 0x4000]);

    let mut modern =
        Driver::with(PciOptions { legacy: false, ..PLAIN }, BlockOptions::default(), ErrorPolicy::default());
    assert_eq!(words(&mut modern, &header), [0x1042_1af4, 0x0100_0001, 0, 0, 0xc, 0x1100_1af4, 0x98]);
    let mut legacy =
        Driver::with(PciOptions { modern: false, ..PLAIN }, BlockOptions::default(), ErrorPolicy::default());
    assert_eq!(words(&mut legacy, &header), [0x1001_1af4, 0x0100_0000, 1, 0, 0, 0x0002_1af4, 0x40]);
    let paged = PciOptions { page_per_vq: true, vectors: 0, ..PLAIN };
    let mut paged = Driver::with(paged, BlockOptions::default(), ErrorPolicy::default());
    assert_eq!(words(&mut paged, &[0x34, 0x74, 0x78, 0x7c, 0x80]), [0x84, 4, 0x3000, 0x40_0000, 0x1000]);
    assert_eq!(paged.regions().last().unwrap().len, 0x80_0000);
}

/// virtio 1.2, 4.1.4.9: registers are reached before the BARs are.
#[test]
fn the_bars_can_be_reached_through_configuration_space() {
    let mut driver = Driver::new();
    let choose = |driver: &mut Driver, bar: u32, offset: u32, len: u32| {
        driver.config_write(0x88, 1, bar);
        driver.config_write(0x8c, 4, offset);
        driver.config_write(0x90, 4, len);
    };
    choose(&mut driver, 4, 0x12, 2);
    assert_eq!(driver.config_read(0x94, 2), 2, "num_queues");
    choose(&mut driver, 4, 0x14, 1);
    driver.config_write(0x94, 1, 3);
    assert_eq!(driver.common(0x14, 1), 3, "device_status");
    choose(&mut driver, 0, 0x12, 1);
    assert_eq!(driver.config_read(0x94, 1), 3, "by the legacy interface");
    choose(&mut driver, 1, 0x0c, 4);
    assert_eq!(driver.config_read(0x94, 4), 1, "a masked vector");
    // What can't be is left alone: no such BAR, no such length, not aligned, behind the end.
    driver.config_write(0x94, 4, 0x1234_5678);
    for (bar, offset, len) in [(2, 0, 4), (4, 0x14, 3), (4, 0x13, 2), (4, 0x3ffe, 4), (4, 0xffff_fffe, 2), (1, 0, 1)] {
        choose(&mut driver, bar, offset, len);
        assert_eq!(driver.config_read(0x94, 4), 0x1234_5678, "{bar} {offset:#x} {len}");
    }
}

#[test]
fn a_queue_goes_on_in_another_machine_with_what_was_under_way() {
    for features in [0, F_PACKED | F_EVENT_IDX] {
        let (mut driver, [mut ring, _]) = Driver::started(features, 16);
        driver.perform(&mut ring, 1, 5, &[(DATA + 0x1000, 512, 0)]);
        driver.disk.hold(true);
        let name = driver.request(&mut ring, 3, DATA, 0, 7);
        driver.kick(0);
        let saved = driver.function.save();
        let mut other = Driver::new();
        let contents = driver.bytes(0, RAM as usize);
        other.ram.write_slice(&contents, GuestAddress(0)).unwrap();
        other.packed = driver.packed;
        other.function.load(&saved).unwrap();
        assert_eq!(other.function.save(), saved);
        other.function.resume_requests();
        assert_eq!(other.take_used(&mut ring, 3), Some((name, 513)));
        assert_eq!(other.bytes(DATA + 0x1000, 512), other.medium.contents()[7 * 512..][..512]);
        assert_eq!(other.perform(&mut ring, 0, 1, &[(DATA + 0x1000, 512, WRITE)]), 0);
    }
}

/// Numbers of queues and their entries, lengths and addresses in a saved state were not checked (CVE-2013-4151, CVE-2013-4535,
/// CVE-2013-6399, CVE-2014-0182).
#[test]
fn cve_2013_4151_cve_2013_4535_cve_2013_6399_and_cve_2014_0182_states_that_can_not_be() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 16);
    driver.disk.hold(true);
    driver.request(&mut ring, 3, DATA, 0, 7);
    driver.kick(0);
    let good = driver.function.save();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut state = good.clone();
        change(&mut state.data);
        assert_ne!(state, good);
        let mut other = Driver::new();
        let before = other.function.save();
        assert!(other.function.load(&state).is_err(), "{:?}", state.data);
        assert_eq!(other.function.save(), before);
    };
    refused(&|data| data["queues"][0]["area"]["size"] = 32.into());
    refused(&|data| data["queues"][0]["area"]["size"] = 12.into());
    refused(&|data| data["queues"][0]["area"]["size"] = 0.into());
    refused(&|data| data["queues"][0]["vector"] = 3.into());
    refused(&|data| data["queues"][0]["ring"]["split"]["next"] = 900.into());
    refused(&|data| data["accepted"] = (F_PACKED | F_VERSION_1).into());
    refused(&|data| data["config_vector"] = 9.into());
    refused(&|data| data["isr"] = 4.into());
    refused(&|data| data["msix"] = serde_json::Value::Null);
    refused(&|data| data["queues"].as_array_mut().unwrap().truncate(1));
    refused(&|data| data["device"]["data"]["pending"] = serde_json::json!([]));
    refused(&|data| data["device"]["data"]["pending"][0]["status"] = serde_json::json!([[RAM, 1]]));
    refused(&|data| data["device"]["data"]["pending"][0]["chain"]["queue"] = 2.into());
}

#[test]
fn a_reset_of_the_machine_forgets_driver_and_requests() {
    let policy = ErrorPolicy { read: OnError::Stop, write: OnError::Stop };
    let mut driver = Driver::with(PLAIN, BlockOptions { queues: 2, queue_size: 16, ..BlockOptions::default() }, policy);
    let new = driver.function.save();
    let [mut ring, _] = driver.start(0, 16);
    driver.disk.spoil(0..512, Fault::Io);
    driver.request(&mut ring, 0, DATA, 0, 0);
    driver.kick(0);
    driver.function.reset(ResetKind::System);
    driver.config_write(0x04, 2, 0x0007);
    driver.disk.mend();
    driver.function.resume_requests();
    assert_eq!(driver.take_used(&mut ring, 3), None);
    let (mut now, mut before) = (driver.function.save(), new);
    // Names of requests go on.
    now.data["device"]["data"]["port"].take();
    before.data["device"]["data"]["port"].take();
    assert_eq!(now, before);
}
