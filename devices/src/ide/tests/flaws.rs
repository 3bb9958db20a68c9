//! Publicly known flaws of QEMU's models of ATA disks, CD drives and the bus master: what each needed is done here.

use super::*;
use crate::backend::disk::{DiskClient, Fault, Operation};

const EOT: u32 = 1 << 31;

/// START STOP UNIT and other commands were completed while a block of data was still being transferred, whose end then
/// lay behind the buffer.
#[test]
fn cve_2015_5154_data_that_goes_on_after_its_command() {
    let driver = Driver::new();
    driver.packet(0xfffe, false, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
    driver.read_data(SECONDARY, 2046);
    driver.outb(SECONDARY, 7, 0xa0);
    assert_eq!(driver.status(SECONDARY), 0x58, "the block is not done");
    driver.read_data(SECONDARY, 2);
    assert_eq!(driver.status(SECONDARY), 0x50);
    for _ in 0..5000 {
        assert_eq!(driver.inw(SECONDARY), 0);
        driver.outl(SECONDARY, u32::MAX);
    }
    driver.packet(0xfffe, false, &[0x1b, 0, 0, 0, 1]);
    assert_eq!(driver.inw(SECONDARY), 0);
}

/// SMART EXECUTE OFFLINE counted its log's entries past the end.
#[test]
fn cve_2014_2894_self_tests_without_number() {
    let driver = Driver::new();
    for _ in 0..300 {
        driver.command(0xb0, 0xd4, 0, 0x00c2_4f01);
        assert_eq!(driver.status(PRIMARY), 0x50);
    }
    driver.command(0xb0, 0xd5, 1, 0x00c2_4f06);
    assert_eq!(driver.read_data(PRIMARY, 512)[508], 21);
}

/// Commands that a CD drive does not have reached code for disks and divided by zero.
#[test]
fn cve_2015_6855_commands_of_disks_for_a_cd_drive() {
    let driver = Driver::new();
    for opcode in 0..=0xff {
        for (register, value) in [(1, 0xff), (2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff), (6, 0xef)] {
            driver.outb(SECONDARY, register, value);
        }
        driver.outb(SECONDARY, 7, opcode);
        driver.read_data(SECONDARY, 1024);
        driver.write_data(SECONDARY, &[0xff; 1024]);
        assert_eq!(driver.status(SECONDARY) & 0x88, 0, "{opcode:#x} ends");
    }
}

/// The caches of a CD drive were flushed to a medium that was not there, by way of a null pointer.
#[test]
fn cve_2017_12809_flush_without_a_medium() {
    let driver = Driver::new();
    lock(&driver.ide).with_cd(Place { channel: 1, unit: 0 }, |cd| cd.eject(true)).unwrap().unwrap();
    for opcode in [0xe7, 0xea] {
        driver.outb(SECONDARY, 6, 0xa0);
        driver.outb(SECONDARY, 7, opcode);
        driver.completed();
        assert_eq!(driver.status(SECONDARY) & 0x88, 0, "{opcode:#x} ends");
    }
    assert_eq!(driver.refusal(&[0x35]), [5, 0x20, 0], "SYNCHRONIZE CACHE is for drives that write");
}

/// A read of block FFFFFFFFh was taken for an answer that is not read from the medium, and ran out of its buffer.
#[test]
fn cve_2020_29443_the_block_minus_1() {
    let driver = Driver::new();
    for packet in [
        &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1][..],
        &[0xa8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xbe, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0xf8],
    ] {
        assert_eq!(driver.refusal(packet), [5, 0x21, 0]);
    }
}

/// A transfer of some bytes but no whole sector, by way of a table with short regions, failed an assertion.
#[test]
fn cve_2019_20175_tables_that_are_no_multiple_of_a_sector() {
    for bytes in [2, 510, 514, 1022] {
        let driver = Driver::new();
        for opcode in [0xc8, 0xca] {
            driver.command(opcode, 0, 4, 0);
            driver.start_master(PRIMARY, &[(DATA as u32, bytes | EOT)], opcode == 0xc8);
            assert_eq!((driver.master_read(PRIMARY, 2), driver.status(PRIMARY)), (0x00, 0x58), "{bytes} bytes");
            driver.control(PRIMARY, 0x04);
            driver.control(PRIMARY, 0x00);
        }
    }
}

/// A table without a whole sector was taken for one that is still being worked on, again and again without end.
#[test]
fn cve_2014_9718_tables_without_a_whole_sector() {
    for regions in [1, 2, 255] {
        let driver = Driver::new();
        let region = |at: u32| (DATA as u32 + 2 * at, 2 | if at + 1 == regions { EOT } else { 0 });
        let table: Vec<_> = (0..regions).map(region).collect();
        for opcode in [0xc8, 0xca] {
            driver.command(opcode, 0, 4, 0);
            driver.start_master(PRIMARY, &table, opcode == 0xc8);
            assert_eq!((driver.master_read(PRIMARY, 2), driver.status(PRIMARY)), (0x00, 0x58), "{regions} regions");
            driver.control(PRIMARY, 0x04);
            driver.control(PRIMARY, 0x00);
        }
    }
}

/// A reset while a request waited to be made again made it with address 0: the first sector was overwritten.
#[test]
fn cve_2023_5088_reset_while_a_request_is_kept() {
    for by_software in [true, false] {
        let driver = Driver::with_policy(ErrorPolicy { read: OnError::Stop, write: OnError::Stop });
        driver.ram.write_slice(&[0xee; 512], GuestAddress(DATA)).unwrap();
        driver.disk.spoil(100 * 512..101 * 512, Fault::NoSpace);
        driver.command(0xca, 0, 1, 100);
        driver.start_master(PRIMARY, &[(DATA as u32, 512 | EOT)], false);
        assert_eq!(*lock(&driver.errors.0), [ErrorAction::Stop]);
        match by_software {
            true => driver.control(PRIMARY, 0x04),
            false => lock(&driver.ide).reset(ResetKind::System),
        }
        driver.disk.mend();
        let _ = driver.disk.take_log();
        lock(&driver.ide).resume_requests();
        assert!(driver.disk.take_log().is_empty(), "nothing is made again");
        assert_eq!(driver.medium.contents(), sectors(0..SECTORS));
    }
}

/// A reset while a transfer was under way left its completion to a device that knew nothing of it.
#[test]
fn reset_while_a_transfer_is_under_way() {
    let driver = Driver::new();
    driver.disk.hold(true);
    driver.command(0xc8, 0, 1, 0);
    driver.start_master(PRIMARY, &[(DATA as u32, 512 | EOT)], true);
    driver.control(PRIMARY, 0x04);
    driver.control(PRIMARY, 0x00);
    driver.disk.release();
    driver.completed();
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level(), driver.ram(DATA, 4)), (0x50, false, vec![0; 4]));
}

/// A drive that is not there was given commands, whose code used its missing medium.
#[test]
fn cve_2020_25743_commands_to_a_drive_that_is_not_there() {
    let driver = Driver::new();
    for channel in [PRIMARY, SECONDARY] {
        for opcode in 0..=0xff {
            driver.outb(channel, 6, 0xb0);
            driver.outb(channel, 7, opcode);
            driver.inw(channel);
            driver.outl(channel, 0);
            driver.master_write(channel, 0, 0x01);
            driver.master_write(channel, 0, 0x00);
            driver.outb(channel, 6, 0xb0);
            assert_eq!(driver.status(channel) & 0x88, 0, "{opcode:#x}");
        }
    }
}

/// A byte count limit of 0, or of 1, made no progress: the host's transfer never ended.
#[test]
fn byte_count_limits_without_progress() {
    let driver = Driver::new();
    for limit in [1, 2, 3] {
        let blocks = driver.answer_in_blocks(limit, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(blocks.concat(), sectors(0..4));
    }
}

/// Positions in a saved state that lie outside of the buffer.
#[test]
fn saved_positions_outside_of_the_data() {
    let driver = Driver::new();
    driver.command(0xec, 0, 0, 0);
    let saved = lock(&driver.ide).save();
    let data = "/channels/0/drives/0/phase/pio";
    for (field, value) in [("at", serde_json::json!(512)), ("at", u32::MAX.into()), ("data", serde_json::json!([]))] {
        let mut bad = saved.clone();
        *bad.data.pointer_mut(&format!("{data}/{field}")).unwrap() = value;
        assert!(lock(&driver.ide).load(&bad).is_err(), "{field}");
    }
}

/// Requests behind the end of the disk, of any kind, are refused before they reach the medium.
#[test]
fn requests_behind_the_end_of_the_disk() {
    let driver = Driver::new();
    for opcode in [0x24, 0x25, 0x29, 0x34, 0x35, 0x39, 0x42] {
        for lba in [u64::from(SECTORS), (1 << 48) - 1] {
            driver.command_ext(opcode, 0xffff, lba);
            assert_eq!(driver.error(), 0x10, "{opcode:#x}");
        }
    }
    assert!(driver.disk.take_log().iter().all(|(operation, ..)| *operation == Operation::Flush));
}
