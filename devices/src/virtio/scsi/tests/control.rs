//! Task management, and subscriptions.

use super::*;

fn hold(driver: &mut Driver) {
    driver.attend(DISK);
    driver.disk.hold(true);
    for slot in [1, 2] {
        driver.submit(slot, DISK, u64::MAX - u64::from(slot), &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0], 1024, WRITE);
    }
    assert_eq!(driver.used(REQUEST), None);
}

#[test]
fn one_command_is_aborted() {
    let mut driver = Driver::started();
    hold(&mut driver);
    assert_eq!(driver.manage(6, DISK, u64::MAX - 1), 10, "it is there");
    assert_eq!(driver.manage(0, DISK, 5), 0, "no such command");
    assert_eq!(driver.manage(0, DISK, u64::MAX - 1), 0);
    let mut ended = [driver.used(REQUEST).unwrap(), driver.used(REQUEST).unwrap()].map(|(head, _)| head);
    ended.sort_unstable();
    assert_eq!(ended, [4, 8], "the other one was done before the abort was");
    assert_eq!((driver.answer(1, 0).response, driver.answer(2, 0).response), (2, 0));
    assert_eq!(driver.manage(6, DISK, u64::MAX - 1), 0, "it is gone");
}

#[test]
fn all_commands_of_a_unit_are_given_up() {
    for (function, response, attention) in [(1, 2, None), (3, 2, None), (5, 4, Some(3)), (4, 4, Some(7))] {
        let mut driver = Driver::started();
        hold(&mut driver);
        assert_eq!(driver.manage(7, DISK, 0), 10, "there are commands");
        assert_eq!(driver.manage(function, DISK, 0), 0);
        assert!(driver.used(REQUEST).is_some() && driver.used(REQUEST).is_some());
        assert_eq!([1, 2].map(|slot| driver.answer(slot, 0).response), [response; 2], "function {function}");
        assert_eq!((driver.manage(7, DISK, 0), driver.disk.waiting()), (0, 0));
        driver.disk.hold(false);
        let next = driver.perform(DISK, &[0x00], 0, 0);
        assert_eq!(next.sense.get(13).copied(), attention);
    }
}

#[test]
fn functions_that_are_refused() {
    let mut driver = Driver::started();
    let (no_target, no_unit) = ([1, 9, 0x40, 0, 0, 0, 0, 0], [1, 0, 0x40, 9, 0, 0, 0, 0]);
    assert_eq!(driver.manage(5, no_target, 0), 3);
    assert_eq!(driver.manage(5, [0; 8], 0), 3);
    assert_eq!(driver.manage(5, no_unit, 0), 12);
    assert_eq!(driver.manage(4, no_unit, 0), 0, "a nexus is a target's");
    for function in [2, 8, u32::MAX] {
        assert_eq!(driver.manage(function, DISK, 0), 11);
    }
}

#[test]
fn there_is_nothing_to_subscribe_to() {
    let mut driver = Driver::started();
    for kind in [1_u32, 2] {
        driver.poke(HEADER, &[&kind.to_le_bytes()[..], &DISK, &0x7e_u32.to_le_bytes()].concat());
        driver.poke(RESPONSE, &[0xee; 5]);
        driver.offer(CONTROL, 0, &[(HEADER, 16, 0), (RESPONSE, 5, WRITE)]);
        assert_eq!((driver.used(CONTROL), driver.peek(RESPONSE, 5)), (Some((0, 5)), vec![0; 5]));
    }
    driver.poke(HEADER, &99_u32.to_le_bytes());
    driver.offer(CONTROL, 0, &[(HEADER, 4, 0), (RESPONSE, 5, WRITE)]);
    assert_eq!(driver.used(CONTROL), Some((0, 0)), "an unknown request");
}
