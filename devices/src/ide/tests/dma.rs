//! The bus master: tables of all kinds, and the status that they lead to.

use super::*;
use crate::backend::disk::{DiskClient, Operation};

/// End of table.
const EOT: u32 = 1 << 31;
const AT: u32 = DATA as u32;

/// Intel 290550, 2.7.2: interrupt and active bits for a table that is as long as the transfer, longer and shorter.
#[test]
fn the_status_tells_how_table_and_transfer_compare() {
    for (bytes, status, transferred) in [(1024, 0x04, 1024), (2048, 0x05, 1024), (512, 0x00, 512)] {
        let driver = Driver::new();
        driver.start_master(PRIMARY, &[(AT, bytes | EOT)], true);
        assert_eq!(driver.master_read(PRIMARY, 2), 0x01, "it waits for the device");
        driver.command(0xc8, 0, 2, 30);
        assert_eq!(driver.master_read(PRIMARY, 2), status, "a table of {bytes} bytes");
        assert_eq!(driver.irqs[0].level(), status & 4 != 0);
        assert_eq!(driver.ram(DATA, transferred), sectors(30..32)[..transferred]);
        assert_eq!(driver.ram(DATA + transferred as u64, 4), [0; 4]);
        driver.master_write(PRIMARY, 0, 0x00);
        assert_eq!(driver.master_read(PRIMARY, 2) & 1, 0);
    }
}

#[test]
fn either_side_may_begin() {
    let driver = Driver::new();
    driver.command(0xc8, 0, 1, 9);
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0x58, false));
    driver.start_master(PRIMARY, &[(AT, 512 | EOT)], true);
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0x50, true));
    assert_eq!(driver.ram(DATA, 512), sector(9));
}

#[test]
fn regions_of_odd_sizes_are_one_stream() {
    let driver = Driver::new();
    // The low bits of addresses and sizes do not count; 0 stands for 64 KiB.
    let regions = [(AT + 1, 7), (AT + 0x100, 0), (AT + 0x2_0000, 0xffff_fffe)];
    driver.start_master(PRIMARY, &regions, true);
    driver.command_ext(0x25, 256, 0);
    assert_eq!(driver.master_read(PRIMARY, 2), 0x05);
    let stream =
        [driver.ram(DATA, 6), driver.ram(DATA + 0x100, 0x1_0000), driver.ram(DATA + 0x2_0000, 0xfffa)].concat();
    assert_eq!(stream[..], sectors(0..256)[..stream.len()]);
}

#[test]
fn writes_come_from_ram_and_only_whole_sectors() {
    let driver = Driver::new();
    driver.ram.write_slice(&[0xcd; 1500], GuestAddress(DATA)).unwrap();
    driver.command(0xca, 0, 2, 40);
    driver.start_master(PRIMARY, &[(AT, 1024 | EOT)], false);
    assert_eq!(driver.master_read(PRIMARY, 2), 0x04);
    driver.command_ext(0x35, 4, 50);
    driver.start_master(PRIMARY, &[(AT, 1500 | EOT)], false);
    assert_eq!((driver.master_read(PRIMARY, 2), driver.status(PRIMARY)), (0x00, 0x58), "the table was too short");
    let contents = driver.medium.contents();
    assert_eq!(contents[40 * 512..42 * 512], [0xcd; 1024]);
    assert_eq!(contents[50 * 512..53 * 512], [vec![0xcd; 1024], sector(52)].concat());
    driver.start_master(PRIMARY, &[(AT, 1024 | EOT)], false);
    assert_eq!(driver.master_read(PRIMARY, 2), 0x04, "another table ends it");
}

#[test]
fn addresses_that_lead_nowhere_are_errors_of_the_bus_master() {
    let driver = Driver::new();
    driver.command(0xc8, 0, 1, 0);
    driver.start_master(PRIMARY, &[(RAM as u32, 512 | EOT)], true);
    assert_eq!((driver.master_read(PRIMARY, 2), driver.irqs[0].level()), (0x02, false));
    driver.master_write(PRIMARY, 0, 0);
    lock(&driver.ide).write(4, 4, 4, 0xffff_fffc);
    driver.master_write(PRIMARY, 0, 0x09);
    assert_eq!(driver.master_read(PRIMARY, 2), 0x02, "nor is there a table");
    assert_eq!(driver.status(PRIMARY), 0x58);
    driver.control(PRIMARY, 0x04);
    driver.control(PRIMARY, 0x00);
    assert_eq!(driver.status(PRIMARY), 0x50);
}

#[test]
fn nothing_moves_while_bus_mastering_is_off() {
    let driver = Driver::new();
    let config_write = |command: u32| {
        let mut ide = lock(&driver.ide);
        ide.config_mut().write(4, 2, command);
        ide.config_written(4, 2);
    };
    config_write(0x0001);
    driver.command(0xc8, 0, 1, 3);
    driver.start_master(PRIMARY, &[(AT, 512 | EOT)], true);
    assert_eq!((driver.master_read(PRIMARY, 2), driver.ram(DATA, 4)), (0x01, vec![0; 4]));
    config_write(0x0005);
    assert_eq!((driver.master_read(PRIMARY, 2), driver.ram(DATA, 512)), (0x04, sector(3)));
}

/// A table without an end ends within 64 KiB.
#[test]
fn a_table_without_an_end_is_left() {
    let driver = Driver::new();
    let entries: Vec<u8> = (0..0x2000).flat_map(|_| [AT.to_le_bytes(), 2_u32.to_le_bytes()].concat()).collect();
    driver.ram.write_slice(&entries, GuestAddress(0x4_0000)).unwrap();
    lock(&driver.ide).write(4, 4, 4, 0x4_0000);
    driver.master_write(PRIMARY, 0, 0x09);
    driver.command_ext(0x25, 64, 0);
    assert_eq!(driver.master_read(PRIMARY, 2), 0x00, "16 KiB fit");
    assert_eq!(driver.disk.take_log(), [(Operation::Read, 0, 0x4000)]);
}

#[test]
fn stopping_the_bus_master_waits_for_what_is_under_way() {
    let driver = Driver::new();
    driver.disk.hold(true);
    driver.command(0xc8, 0, 1, 3);
    driver.start_master(PRIMARY, &[(AT, 512 | EOT)], true);
    assert_eq!((driver.status(PRIMARY), driver.master_read(PRIMARY, 2)), (0xd0, 0x01));
    driver.master_write(PRIMARY, 0, 0x00);
    assert_eq!(driver.disk.waiting(), 0);
    assert_eq!((driver.status(PRIMARY), driver.ram(DATA, 512)), (0x50, sector(3)));
}

/// DATA SET MANAGEMENT with one block of ranges, and this in the features register.
fn trim(driver: &Driver, feature: u8) {
    driver.outb(PRIMARY, 1, feature);
    driver.command_ext(0x06, 1, 0);
}

#[test]
fn trim_gives_up_the_blocks_that_the_list_names() {
    let driver = Driver::new();
    let mut list = [0; 512];
    for (entry, (first, count)) in list.chunks_exact_mut(8).zip([(100_u64, 8_u64), (0, 0), (4095, 1)]) {
        entry.copy_from_slice(&(first | count << 48).to_le_bytes());
    }
    driver.ram.write_slice(&list, GuestAddress(DATA)).unwrap();
    trim(&driver, 1);
    driver.start_master(PRIMARY, &[(AT, 512 | EOT)], false);
    assert_eq!((driver.status(PRIMARY), driver.master_read(PRIMARY, 2)), (0x50, 0x04));
    let discarded = [(Operation::Discard, 100 * 512, 8 * 512), (Operation::Discard, 4095 * 512, 512)];
    assert_eq!(driver.disk.take_log(), discarded);
    driver.ram.write_slice(&(4095_u64 | 2 << 48).to_le_bytes(), GuestAddress(DATA)).unwrap();
    trim(&driver, 1);
    driver.start_master(PRIMARY, &[(AT, 512 | EOT)], false);
    assert_eq!(driver.error(), 0x10, "behind the last sector");
    trim(&driver, 0);
    assert_eq!(driver.error(), 0x04, "no other data set management");
}

/// Two blocks of ranges, of which the first is under way.
#[test]
fn a_trim_moves_with_the_state() {
    let driver = Driver::new();
    let mut lists = [0; 1024];
    for (at, range) in [(0, 100_u64 | 8 << 48), (8, 200 | 1 << 48), (512, 300 | 2 << 48)] {
        lists[at..at + 8].copy_from_slice(&range.to_le_bytes());
    }
    driver.ram.write_slice(&lists, GuestAddress(DATA)).unwrap();
    driver.disk.hold(true);
    driver.outb(PRIMARY, 1, 1);
    driver.command_ext(0x06, 2, 0);
    driver.start_master(PRIMARY, &[(AT, 1024 | EOT)], false);
    assert_eq!((driver.status(PRIMARY), driver.disk.waiting()), (0xd0, 1));
    let saved = lock(&driver.ide).save();

    let twin = Driver::new();
    twin.ram.write_slice(&lists, GuestAddress(DATA)).unwrap();
    twin.ram.write_obj([AT, 1024 | EOT], GuestAddress(TABLE)).unwrap();
    let job = "/channels/0/drives/0/unit/disk/memory/job/trim";
    for (field, value) in [
        ("blocks", serde_json::json!(0x1_0001)),
        ("ranges", serde_json::json!([[200, 0]])),
        ("ranges", serde_json::json!(vec![(200, 1); 65])),
        ("current", serde_json::json!([1_u64 << 48, 8])),
    ] {
        let mut bad = saved.clone();
        *bad.data.pointer_mut(&format!("{job}/{field}")).unwrap() = value;
        assert!(lock(&twin.ide).load(&bad).is_err(), "{field}: {}", bad.data);
    }
    lock(&twin.ide).load(&saved).unwrap();
    assert_eq!(lock(&twin.ide).save(), saved);
    lock(&twin.ide).resume_requests();
    assert_eq!(twin.status(PRIMARY), 0x50);
    let discarded = [(100, 8), (200, 1), (300, 2)].map(|(first, count)| (Operation::Discard, first * 512, count * 512));
    assert_eq!(twin.disk.take_log(), discarded);
}

#[test]
fn packets_transfer_data_and_answers_by_dma() {
    let driver = Driver::new();
    driver.packet(0, true, &[0x12, 0, 0, 0, 36]);
    assert_eq!((driver.status(SECONDARY), driver.inb(SECONDARY, 2)), (0x58, 0x02));
    driver.start_master(SECONDARY, &[(AT, 36 | EOT)], true);
    assert_eq!((driver.status(SECONDARY), driver.master_read(SECONDARY, 2)), (0x50, 0x04));
    assert_eq!(driver.ram(DATA + 8, 20), b"QEMU    QEMU DVD-ROM");
    driver.packet(0, true, &[0x28, 0, 0, 0, 0, 20, 0, 0, 3]);
    driver.start_master(SECONDARY, &[(AT, 4096), (AT + 0x8000, 2048 | EOT)], true);
    assert_eq!((driver.status(SECONDARY), driver.master_read(SECONDARY, 2)), (0x50, 0x04));
    let data = [driver.ram(DATA, 4096), driver.ram(DATA + 0x8000, 2048)].concat();
    assert_eq!(data, sectors(80..92));
    // Raw sectors are cut out of what was read.
    driver.packet(0, true, &[0xbe, 0, 0, 0, 0, 20, 0, 0, 2, 0xf8]);
    driver.start_master(SECONDARY, &[(AT, 4704 | EOT)], true);
    assert_eq!((driver.status(SECONDARY), driver.master_read(SECONDARY, 2)), (0x50, 0x04));
    assert_eq!(driver.ram(DATA + 2352 + 16, 2048), sectors(84..88));
}

#[test]
fn parameters_of_packets_come_by_dma() {
    let driver = Driver::new();
    // MODE SELECT with the page of error recovery: nine times.
    let list = [0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0x20, 9, 0, 0, 0, 0];
    driver.ram.write_slice(&list, GuestAddress(DATA)).unwrap();
    let retries = || driver.answer(&[0x5a, 0, 0x01, 0, 0, 0, 0, 0, 60])[11];
    driver.packet(0, true, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, 16]);
    assert_eq!((driver.status(SECONDARY), driver.inb(SECONDARY, 2)), (0x58, 0x00), "data from the host");
    driver.start_master(SECONDARY, &[(AT, 16 | EOT)], false);
    assert_eq!((driver.status(SECONDARY), driver.master_read(SECONDARY, 2), retries()), (0x50, 0x04, 9));
    // The other direction, and too few bytes: nothing is taken.
    for (size, to_memory) in [(16, true), (8, false)] {
        let driver = Driver::new();
        driver.packet(0, true, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, 16]);
        driver.start_master(SECONDARY, &[(AT, size | EOT)], to_memory);
        assert_ne!(driver.status(SECONDARY), 0x50, "{size} bytes, to memory: {to_memory}");
        driver.control(SECONDARY, 0x04);
        driver.control(SECONDARY, 0x00);
        assert_eq!(driver.answer(&[0x5a, 0, 0x01, 0, 0, 0, 0, 0, 60])[11], 5, "the default");
    }
}
