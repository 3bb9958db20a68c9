//! Requests that take time, fail, are kept, and move with the state.

use super::*;
use crate::backend::disk::{DiskClient, Fault};

fn stop() -> ErrorPolicy {
    ErrorPolicy { read: OnError::Stop, write: OnError::Stop }
}

#[test]
fn a_device_is_busy_while_its_request_is_under_way() {
    let driver = Driver::new();
    driver.disk.hold(true);
    driver.command(0x20, 0, 1, 5);
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0xd0, false));
    driver.outb(PRIMARY, 3, 99);
    driver.outb(PRIMARY, 7, 0xec);
    assert_eq!(driver.lba(), 5, "nothing is taken meanwhile");
    driver.disk.release();
    driver.completed();
    assert!(driver.interrupt(PRIMARY));
    assert_eq!(driver.read_data(PRIMARY, 512), sector(5));
}

#[test]
fn draining_waits_for_whole_commands_of_the_bus_master() {
    let driver = Driver::new();
    driver.disk.hold(true);
    driver.start_master(PRIMARY, &[(DATA as u32, 0x8000_0000)], true);
    driver.command(0xc8, 0, 128, 0);
    lock(&driver.ide).drain_requests();
    assert_eq!((driver.status(PRIMARY), driver.ram(DATA, 65536)), (0x50, sectors(0..128)));
}

#[test]
fn an_error_stops_the_machine_and_the_request_is_made_again() {
    let driver = Driver::with_policy(stop());
    driver.disk.spoil(0..512, Fault::NoSpace);
    driver.command(0x30, 0, 1, 0);
    driver.write_data(PRIMARY, &[7; 512]);
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0xd0, false));
    assert_eq!(*lock(&driver.errors.0), [ErrorAction::Stop]);
    lock(&driver.ide).drain_requests();
    driver.disk.mend();
    lock(&driver.ide).resume_requests();
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0x50, true));
    assert_eq!(driver.medium.contents()[..512], [7; 512]);
}

#[test]
fn what_is_not_done_is_done_where_the_state_is_loaded() {
    let driver = Driver::new();
    driver.disk.hold(true);
    driver.command(0x30, 0, 2, 8);
    driver.write_data(PRIMARY, &[0x11; 512]);
    driver.cd.hold(true);
    driver.packet(0xfffe, false, &[0x28, 0, 0, 0, 0, 1, 0, 0, 1]);
    let saved = lock(&driver.ide).save();

    let twin = Driver::new();
    lock(&twin.ide).load(&saved).unwrap();
    assert_eq!(lock(&twin.ide).save(), saved);
    assert_eq!([twin.status(PRIMARY), twin.status(SECONDARY)], [0xd0, 0xd0]);
    lock(&twin.ide).resume_requests();
    assert_eq!([twin.status(PRIMARY), twin.status(SECONDARY)], [0x58, 0x58]);
    twin.write_data(PRIMARY, &[0x22; 512]);
    assert_eq!(twin.medium.contents()[8 * 512..10 * 512], [vec![0x11; 512], vec![0x22; 512]].concat());
    assert_eq!(twin.read_data(SECONDARY, 2048), sectors(4..8));
    assert_eq!(driver.medium.contents()[8 * 512..10 * 512], sectors(8..10), "and not here");
}

#[test]
fn a_saved_command_can_only_be_what_a_command_can_be() {
    let driver = Driver::new();
    driver.disk.hold(true);
    driver.start_master(PRIMARY, &[(DATA as u32, 0x8000_0400)], true);
    driver.command(0xc8, 0, 2, 4094);
    let saved = lock(&driver.ide).save();
    let twin = Driver::new();
    lock(&twin.ide).load(&saved).unwrap();
    let drive = "/channels/0/drives/0";
    let requests = format!("{drive}/unit/disk/requests/pending/0");
    let job = format!("{drive}/unit/disk/memory/job/sectors");
    for (field, value) in [
        (format!("{requests}/offset"), 4095 * 512),
        (format!("{requests}/len"), 512),
        (format!("{job}/piece"), 3),
        (format!("{job}/left"), 0),
        (format!("{job}/next"), 1),
        (format!("{job}/left"), 257),
        (format!("{drive}/file/status"), 0x50),
        (format!("{drive}/unit/disk/memory/multiple"), 32),
        (format!("{drive}/unit/disk/memory/geometry/heads"), 0),
        (format!("{drive}/unit/disk/memory/area/sectors"), 4097),
        ("/channels/0/control".into(), 4),
        ("/channels/0/master/table".into(), 1),
    ] {
        let mut bad = saved.clone();
        *bad.data.pointer_mut(&field).unwrap_or_else(|| panic!("{field}: {}", saved.data)) = value.into();
        let before = lock(&twin.ide).save();
        assert!(lock(&twin.ide).load(&bad).is_err(), "{field} = {value}");
        assert_eq!(lock(&twin.ide).save(), before, "{field}");
    }
}

#[test]
fn a_saved_block_of_data_is_one_of_its_command() {
    let check = |opcode, pointer: &str, value: serde_json::Value| {
        let driver = Driver::new();
        driver.command(opcode, 0, 1, 8);
        let mut saved = lock(&driver.ide).save();
        let twin = Driver::new();
        lock(&twin.ide).load(&saved).unwrap();
        *saved.data.pointer_mut(pointer).expect(pointer) = value;
        assert!(lock(&twin.ide).load(&saved).is_err(), "{opcode:#x}: {pointer}");
    };
    let (data, to_host) = ("/channels/0/drives/0/phase/pio/data", "/channels/0/drives/0/phase/pio/to_host");
    // WRITE SECTOR(S), WRITE BUFFER.
    for opcode in [0x30, 0xe8] {
        check(opcode, data, vec![0; 1024].into());
        check(opcode, to_host, true.into());
    }
    // READ SECTOR(S), IDENTIFY DEVICE.
    for opcode in [0x20, 0xec] {
        check(opcode, to_host, false.into());
    }
    // READ DMA, of which nothing is left.
    check(0xc8, "/channels/0/drives/0/unit/disk/memory/job/sectors/left", 0.into());
}
