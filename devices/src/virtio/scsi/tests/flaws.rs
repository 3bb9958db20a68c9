//! Publicly known flaws of QEMU's virtio-scsi: what each needed is done here.

use super::*;
use crate::base::Device;

/// A saved request named units, and had lengths, that were not checked.
#[test]
fn cve_2013_4542_requests_in_saved_states() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    driver.disk.hold(true);
    driver.submit(1, DISK, 77, &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0], 1024, WRITE);
    let saved = driver.function.save();
    let text = saved.data.to_string();
    let response = format!("\"response\":[[{},108]]", RESPONSE + 0x100);
    assert!(text.contains(&response), "{text}");
    for other in ["[[1114368,4]]", "[[1114368,4294967295]]", "[[18446744073709551615,108]]", "[]", "null"] {
        let mut bad = saved.clone();
        bad.data = serde_json::from_str(&text.replace(&response, &format!("\"response\":{other}"))).unwrap();
        assert!(Driver::new().function.load(&bad).is_err(), "{other}");
    }
    let mut bad = saved.clone();
    bad.data = serde_json::from_str(&text.replace("\"target\":0", "\"target\":200")).unwrap();
    assert!(Driver::new().function.load(&bad).is_err(), "a unit that is not there");
}

/// The driver was told of more bytes than had been written, and got what the process had left in them.
#[test]
fn cve_2024_8612_no_more_is_given_back_than_was_written() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    driver.poke(DATA, &[0xee; 4096]);
    // INQUIRY has 36 bytes to say, and READ of what is not on the disk none.
    let answer = driver.perform(DISK, &[0x12, 0, 0, 0, 36, 0], 4096, WRITE);
    assert_eq!((answer.written, answer.residual), (108 + 36, 4096 - 36));
    let answer = driver.perform(DISK, &[0x28, 0, 0x7f, 0, 0, 0, 0, 0, 8, 0], 4096, WRITE);
    assert_eq!((answer.status, answer.written, answer.residual), (2, 108, 4096));
    assert_eq!(driver.peek(DATA + 36, 4060), [0xee; 4060]);
}

/// Headers and responses that are too short, of any queue, made the process read and write what was not theirs, or end.
#[test]
fn requests_that_are_too_short() {
    for (queue, parts) in [
        (REQUEST, &[(HEADER, 50, 0), (RESPONSE, 108, WRITE)][..]),
        (REQUEST, &[(HEADER, 51, 0), (RESPONSE, 107, WRITE)]),
        (REQUEST, &[(HEADER, 51, 0)]),
        (REQUEST, &[(RESPONSE, 108, WRITE)]),
        (CONTROL, &[(HEADER, 3, 0), (RESPONSE, 5, WRITE)]),
        (CONTROL, &[(HEADER, 23, 0), (RESPONSE, 1, WRITE)]),
        (CONTROL, &[(HEADER, 24, 0)]),
    ] {
        let mut driver = Driver::started();
        driver.offer(queue, 0, parts);
        assert!(driver.needs_reset(), "{queue} {parts:?}");
        driver.start();
        driver.attend(DISK);
    }
    let mut driver = Driver::started();
    driver.offer(EVENT, 0, &[(RESPONSE, 15, WRITE)]);
    driver.resize(1024);
    assert!(driver.needs_reset());
}

/// Targets and units outside of those that there are found others, or nothing, behind the table.
#[test]
fn targets_and_units_of_any_number() {
    let mut driver = Driver::started();
    for target in 0..=255 {
        for [high, low] in [[0, 0], [0, 255], [0x40, 1], [0x7f, 0xff], [0x3f, 0xff], [0x80, 0], [0xc1, 1], [0xff, 0xff]]
        {
            let answer = driver.perform([1, target, high, low, 0, 0, 0, 0], &[0x12, 0, 0, 0, 36, 0], 36, WRITE);
            assert!(matches!(answer.response, 0 | 3), "{target} {high:#x} {low:#x}");
            driver.manage(5, [1, target, high, low, 0, 0, 0, 0], 0);
        }
    }
}
