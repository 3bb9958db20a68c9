//! The contract of devices, and saved states.

use super::*;
use crate::backend::disk::{DiskClient, Fault};
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{Device, shared};

#[test]
fn keeps_the_contract() {
    let make = || {
        let Driver { function, pin, ram, .. } = Driver::new();
        let regions = (0..6).filter_map(|bar| function.config().bar(bar)).map(|bar| bar.region).collect();
        Subject { device: shared(function), regions, irqs: vec![pin], keep: Box::new(ram) }
    };
    let value = |offset, size, value| ResetValue { region: MODERN, offset, size, value };
    let reset = [value(0x12, 2, 4), value(0x14, 1, 0), value(0x18, 2, 16), value(0x2014, 4, 96), value(0x2018, 4, 32)];
    contract::check(make, &reset);
}

#[test]
fn configuration_space_is_qemus() {
    let driver = Driver::new();
    let config = driver.function.config();
    assert_eq!([0x00, 0x08, 0x2c].map(|at| config.read_u32(at)), [0x1004_1af4, 0x0100_0000, 0x0008_1af4]);
}

#[test]
fn commands_under_way_are_saved_and_made_again() {
    let mut driver = Driver::with(OnError::Stop);
    driver.start();
    driver.attend(DISK);
    driver.disk.spoil(0..512, Fault::Io);
    driver.submit(1, DISK, 77, &[0x08, 0, 0, 0, 1, 0], 512, WRITE);
    let saved = driver.function.save();
    let mut twin = Driver::with(OnError::Stop);
    twin.poke(0, &driver.peek(0, RAM));
    (twin.next, twin.seen) = (driver.next, driver.seen);
    twin.function.load(&saved).unwrap();
    assert_eq!(twin.function.save(), saved);
    twin.function.resume_requests();
    assert_eq!((twin.used(REQUEST), twin.answer(1, 0).status), (Some((4, 108 + 512)), 0));
    let text = saved.data.to_string();
    for (from, to) in [
        ("\"tag\":77", "\"tag\":-1"),
        ("\"queue\":2", "\"queue\":0"),
        ("\"queue\":2", "\"queue\":9"),
        ("\"cdb_size\":32", "\"cdb_size\":256"),
        ("\"next_name\":2", "\"next_name\":1"),
        ("\"next_name\":2", "\"next_name\":18446744073709551615"),
        ("\"name\":1,\"place\"", "\"name\":0,\"place\""),
    ] {
        assert!(text.contains(from), "{from}: {text}");
        let mut bad = saved.clone();
        bad.data = serde_json::from_str(&text.replace(from, to)).unwrap();
        assert!(twin.function.load(&bad).is_err(), "{to}");
    }
}
