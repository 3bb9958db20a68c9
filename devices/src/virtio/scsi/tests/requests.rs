//! Commands on request queues.

use super::*;
use crate::backend::disk::{DiskClient, Fault};

const READ_2: [u8; 10] = [0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0];

#[test]
fn the_configuration_is_qemus() {
    let mut driver = Driver::started();
    let words: Vec<_> = (0..36).step_by(4).map(|at| driver.config(at, 4)).collect();
    assert_eq!(words, [2, 14, 0xffff, 128, 16, 96, 32, 0x00ff_0000, 0x3fff]);
}

#[test]
fn commands_move_data_both_ways() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    let answer = driver.perform(DISK, &READ_2, 1024, WRITE);
    assert_eq!(answer, Answer { response: 0, status: 0, residual: 0, sense: vec![], written: 108 + 1024 });
    assert_eq!(driver.peek(DATA, 1024), driver.medium.contents()[9 * 512..11 * 512]);
    driver.poke(DATA, &[0x5a; 512]);
    let answer = driver.perform(DISK, &[0x2a, 0, 0, 0, 0, 20, 0, 0, 1, 0], 512, 0);
    assert_eq!((answer.status, answer.residual, answer.written), (0, 0, 108));
    assert_eq!(driver.medium.contents()[20 * 512..21 * 512], [0x5a; 512]);
    assert!(driver.pin.level());
}

#[test]
fn what_is_left_of_the_room_is_told() {
    let mut driver = Driver::started();
    let answer = driver.perform(DISK, &[0x12, 0, 0, 0, 255, 0], 1000, WRITE);
    assert_eq!((answer.response, answer.residual, answer.written), (0, 1000 - 36, 108 + 36));
    driver.attend(DISK);
    let answer = driver.perform(DISK, &[0x28, 0, 0, 0, 1, 0, 0, 0, 1, 0], 512, WRITE);
    assert_eq!((answer.status, answer.residual, answer.sense.len()), (2, 512, 18));
    assert_eq!((answer.sense[2], answer.sense[12]), (5, 0x21));
    driver.disk.spoil(0..512, Fault::Io);
    let answer = driver.perform(DISK, &[0x08, 0, 0, 0, 1, 0], 512, WRITE);
    assert_eq!((answer.status, answer.sense[2], answer.sense[12]), (2, 3, 0x11));
}

#[test]
fn commands_that_can_not_be_carried_out() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    assert_eq!(driver.perform(DISK, &READ_2, 1023, WRITE).response, 1, "too little room");
    assert_eq!(driver.perform(DISK, &READ_2, 1024, 0).response, 1, "the wrong way");
    assert_eq!(driver.perform([1, 9, 0x40, 0, 0, 0, 0, 0], &[0], 0, 0).response, 3, "no such target");
    assert_eq!(driver.perform([0, 0, 0x40, 0, 0, 0, 0, 0], &[0], 0, 0).response, 3, "no such bus");
    assert_eq!(driver.perform([1, 0, 0x80, 0, 0, 0, 0, 0], &[0], 0, 0).response, 3, "no such kind of address");
    let missing = driver.perform([1, 0, 0x40, 5, 0, 0, 0, 0], &[0], 0, 0);
    assert_eq!((missing.response, missing.status, missing.sense[12]), (0, 2, 0x25), "no such unit");
    assert_eq!(driver.perform([1, 0, 0, 0, 0, 0, 0, 0], &[0], 0, 0).status, 0, "peripheral addresses");
    let luns = driver.perform([0xc1, 1, 0, 0, 0, 0, 0, 0], &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64, WRITE);
    assert_eq!((luns.status, luns.residual), (0, 48));
    assert_eq!(driver.peek(DATA, 16), [&[0, 0, 0, 8, 0, 0, 0, 0][..], &DISK].concat());
    // Data in both directions.
    driver.submit(0, DISK, 1, &[0x00], 0, 0);
    driver.used(REQUEST).unwrap();
    let parts = [(HEADER, 51, 0), (DATA, 4, 0), (RESPONSE, 108, WRITE), (DATA, 4, WRITE)];
    driver.offer(REQUEST, 0, &parts);
    driver.used(REQUEST).unwrap();
    assert_eq!(driver.answer(0, 0).response, 9);
}

#[test]
fn any_layout_of_descriptors_will_do() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    let header = [&DISK[..], &[0; 11], &READ_2].concat();
    driver.poke(HEADER, &[header, vec![0; 22]].concat());
    let parts =
        [(HEADER, 10, 0), (HEADER + 10, 41, 0), (RESPONSE, 5, WRITE), (RESPONSE + 5, 203, WRITE), (DATA, 924, WRITE)];
    driver.offer(REQUEST, 0, &parts);
    assert_eq!(driver.used(REQUEST), Some((0, 108 + 1024)));
    let data = [driver.peek(RESPONSE + 108, 100), driver.peek(DATA, 924)].concat();
    assert_eq!(data, driver.medium.contents()[9 * 512..11 * 512]);
}

#[test]
fn the_driver_chooses_the_sizes_of_commands_and_sense_data() {
    let mut driver = Driver::started();
    driver.set_config(20, 8);
    driver.set_config(24, 16);
    (driver.sense_size, driver.cdb_size) = (8, 16);
    let answer = driver.perform(DISK, &[0x00], 0, 0);
    assert_eq!((answer.sense.len(), answer.written), (8, 20));
    driver.set_config(0, 99);
    assert_eq!((driver.config(0, 4), driver.config(20, 4), driver.config(24, 1)), (2, 8, 16), "nothing else changes");
    driver.start();
    assert_eq!((driver.config(20, 4), driver.config(24, 4)), (96, 32), "a reset takes them back");
    for (at, value) in [(20, 0x1_0000), (24, 256)] {
        driver.start();
        driver.set_config(at, value);
        assert!(driver.needs_reset(), "{value}");
    }
}

#[test]
fn commands_end_in_any_order_and_on_their_own_queue() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    driver.disk.hold(true);
    driver.submit(1, DISK, 1, &READ_2, 1024, WRITE);
    driver.submit(2, DISK, 2, &[0x12, 0, 0, 0, 36, 0], 36, WRITE);
    assert_eq!((driver.used(REQUEST), driver.used(REQUEST)), (Some((8, 144)), None));
    driver.disk.release();
    driver.function.requests_completed();
    assert_eq!(driver.used(REQUEST), Some((4, 1132)));
}

#[test]
fn errors_that_stop_the_machine_keep_commands() {
    let mut driver = Driver::with(OnError::Stop);
    driver.start();
    driver.attend(DISK);
    driver.disk.spoil(0..512, Fault::NoSpace);
    driver.submit(0, DISK, 1, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, 0);
    assert_eq!(driver.used(REQUEST), None);
    driver.function.drain_requests();
    driver.disk.mend();
    driver.function.resume_requests();
    assert_eq!((driver.used(REQUEST), driver.answer(0, 0).status), (Some((0, 108)), 0));
}

#[test]
fn a_reset_forgets_commands_and_is_told() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    driver.disk.hold(true);
    driver.submit(0, DISK, 1, &READ_2, 1024, WRITE);
    driver.set_common(0x14, 1, 0);
    driver.disk.release();
    driver.function.requests_completed();
    driver.start();
    driver.disk.hold(false);
    assert_eq!(driver.used(REQUEST), None);
    driver.attend(DISK);
    assert_eq!(driver.perform(DISK, &READ_2, 1024, WRITE).status, 0);
}

#[test]
fn a_queue_that_is_reset_alone_gives_up_its_commands() {
    let mut driver = Driver::with(OnError::Stop);
    driver.start();
    driver.attend(DISK);
    driver.disk.spoil(0..512, Fault::Io);
    driver.submit(0, DISK, 1, &[0x08, 0, 0, 0, 1, 0], 512, WRITE);
    driver.set_common(0x16, 2, REQUEST.into());
    driver.set_common(0x3a, 2, 1);
    driver.disk.mend();
    let _ = driver.disk.take_log();
    driver.function.resume_requests();
    assert!(driver.disk.take_log().is_empty(), "nothing is made again");
}
