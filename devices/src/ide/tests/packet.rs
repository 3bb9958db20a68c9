//! The CD/DVD drive: packet commands, their answers in blocks, the tray, and media.

use super::*;
use crate::backend::disk::Fault;
use crate::scsi::{CdDrive, MediumError};

const DRIVE: Place = Place { channel: 1, unit: 0 };

#[test]
fn a_packet_device_tells_what_it_is_by_refusing() {
    let driver = Driver::new();
    for opcode in [0xec, 0x20] {
        driver.outb(SECONDARY, 7, opcode);
        assert_eq!([1, 2, 3, 4, 5, 7].map(|at| driver.inb(SECONDARY, at)), [0x04, 1, 1, 0x14, 0xeb, 0x41]);
    }
    driver.outb(SECONDARY, 7, 0xa1);
    let data = driver.read_data(SECONDARY, 512);
    assert_eq!((data[0], data[1]), (0xc0, 0x85));
    assert_eq!(driver.status(SECONDARY), 0x50);
    driver.outb(SECONDARY, 7, 0x08);
    assert_eq!([1, 4, 5, 7].map(|at| driver.inb(SECONDARY, at)), [0x01, 0x14, 0xeb, 0x00], "DEVICE RESET");
}

#[test]
fn answers_are_cut_to_the_hosts_limits() {
    let driver = Driver::new();
    let blocks = driver.answer_in_blocks(10, &[0x12, 0, 0, 0, 36]);
    assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10, 6]);
    assert_eq!(blocks.concat()[..8], [0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0]);
    let blocks = driver.answer_in_blocks(7, &[0x12, 0, 0, 0, 19]);
    assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6, 7], "only the last one is odd");
    assert_eq!(driver.answer(&[0x12, 0, 0, 0, 5]).len(), 5);
    assert!(driver.answer(&[0x12, 0, 0, 0, 0]).is_empty());
    driver.packet(0, false, &[0x12, 0, 0, 0, 36]);
    assert_eq!((driver.status(SECONDARY), driver.inb(SECONDARY, 1)), (0x41, 0x04), "no room at all");
}

#[test]
fn blocks_are_read_across_their_borders() {
    let driver = Driver::new();
    let blocks = driver.answer_in_blocks(0xfffe, &[0x28, 0, 0, 0, 0, 16, 0, 0, 40]);
    assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [65534, 40 * 2048 - 65534]);
    assert_eq!(blocks.concat(), sectors(64..224));
    let blocks = driver.answer_in_blocks(2048, &[0xa8, 0, 0, 0, 0, 199, 0, 0, 0, 1]);
    assert_eq!(blocks, [sectors(796..800)]);
    assert_eq!(driver.refusal(&[0x28, 0, 0, 0, 0, 199, 0, 0, 2]), [5, 0x21, 0]);
    assert_eq!(driver.refusal(&[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff]), [5, 0x21, 0]);
    assert!(driver.answer(&[0x28, 0, 0, 0, 0, 5, 0, 0, 0]).is_empty(), "nothing is asked for");
    driver.cd.spoil(7 * 2048..8 * 2048, Fault::Io);
    assert_eq!(driver.refusal(&[0x28, 0, 0, 0, 0, 7, 0, 0, 1]), [3, 0x11, 0]);
}

/// Answers as QEMU 7.2 gives them for a CD of 10240 blocks, with the numbers of this one.
#[test]
fn the_table_of_contents_has_one_track() {
    let driver = Driver::new();
    assert_eq!(driver.answer(&[0x25]), [0, 0, 0, 199, 0, 0, 8, 0]);
    let track = [0, 0x14, 1, 0, 0, 0, 0, 0];
    let lead_out = [0, 0x16, 0xaa, 0, 0, 0, 0, 200];
    let toc = |packet: &[u8]| driver.answer(packet);
    assert_eq!(toc(&[0x43, 0, 0, 0, 0, 0, 0, 0, 100]), [&[0, 18, 1, 1], &track[..], &lead_out].concat());
    assert_eq!(toc(&[0x43, 0, 0, 0, 0, 0, 0xaa, 0, 100]), [&[0, 10, 1, 1], &lead_out[..]].concat());
    assert_eq!(toc(&[0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100])[8..], [0, 0, 4, 50], "200 + 150 frames");
    assert_eq!(toc(&[0x43, 0, 1, 0, 0, 0, 0, 0, 100]), [&[0, 10, 1, 1], &track[..]].concat());
    assert_eq!(toc(&[0x43, 0, 0, 0, 0, 0, 0, 0, 100, 0x40]), [&[0, 10, 1, 1], &track[..]].concat(), "as in SFF-8020");
    let raw = toc(&[0x43, 2, 2, 0, 0, 0, 0, 0, 100]);
    assert_eq!((raw.len(), raw[7], raw[18], raw[29], raw[40]), (48, 0xa0, 0xa1, 0xa2, 1));
    assert_eq!(raw[34..37], [0, 4, 50]);
    assert_eq!(toc(&[0x43, 0, 0, 0, 0, 0, 0, 0, 4]), [0, 18, 1, 1]);
    for bad in [&[0x43, 0, 0, 0, 0, 0, 2, 0, 100][..], &[0x43, 0, 3, 0, 0, 0, 0, 0, 100]] {
        assert_eq!(driver.refusal(bad), [5, 0x24, 0]);
    }
}

#[test]
fn raw_sectors_have_headers() {
    let driver = Driver::new();
    let raw = driver.answer(&[0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0xf8]);
    assert_eq!((raw.len(), &raw[12..16]), (2352, &[0, 2, 3, 1][..]));
    assert_eq!(raw[16..2064], sectors(12..16));
    assert_eq!(driver.answer(&[0xbe, 0x08, 0, 0, 0, 3, 0, 0, 1, 0x10]), sectors(12..16));
    assert!(driver.answer(&[0xbe, 0, 0, 0, 0, 3, 0, 0, 1]).is_empty());
    assert_eq!(driver.refusal(&[0xbe, 0x04, 0, 0, 0, 3, 0, 0, 1, 0x10]), [5, 0x64, 0], "no audio");
    assert_eq!(driver.refusal(&[0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0x12]), [5, 0x24, 0], "no error flags");
    assert_eq!(driver.refusal(&[0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0x10, 1]), [5, 0x24, 0], "no subchannels");
}

#[test]
fn what_the_drive_can_do() {
    let driver = Driver::new();
    let features = driver.answer(&[0x46, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(features[6..8], [0x00, 0x08], "a CD");
    assert_eq!(features[8..20], [0, 0, 3, 8, 0, 0x10, 0, 0, 0, 8, 1, 0]);
    assert_eq!(u32::from_be_bytes([features[0], features[1], features[2], features[3]]) as usize, features.len() - 4);
    assert_eq!(driver.answer(&[0x46, 2, 0, 0x1e, 0, 0, 0, 1, 0]).len(), 16);
    assert_eq!(driver.refusal(&[0x46, 3, 0, 0, 0, 0, 0, 1, 0]), [5, 0x24, 0]);
    let page = driver.answer(&[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 60]);
    assert_eq!(
        (page[1] as usize, page[2], page[8], page[9], page[14] & 0x29),
        (page.len() - 2, 0x01, 0x2a, 0x14, 0x29)
    );
    assert_eq!(driver.refusal(&[0x5a, 0, 0xc1, 0, 0, 0, 0, 0, 60]), [5, 0x39, 0]);
    assert_eq!(driver.refusal(&[0x5a, 0, 0x05, 0, 0, 0, 0, 0, 60]), [5, 0x24, 0]);
    assert_eq!(driver.answer(&[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]), [0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(driver.answer(&[0x51, 0, 0, 0, 0, 0, 0, 0, 40])[..8], [0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
    assert_eq!(driver.refusal(&[0xad, 0, 0, 0, 0, 0, 0, 0, 8, 0]), [5, 0x30, 2], "no DVD");
    assert_eq!(driver.answer(&[0xbb, 0, 0xff, 0xff]), [0; 0]);
    assert_eq!(driver.refusal(&[0xff]), [5, 0x20, 0]);
    assert_eq!(driver.answer(&[0x12, 1, 0x80, 0, 60])[..11], *b"\x05\x80\0\x14QM00003");
}

#[test]
fn mode_select_sets_what_can_be_set() {
    let driver = Driver::new();
    let select = |list: &[u8]| {
        driver.packet(0xfffe, false, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8]);
        assert_eq!((driver.status(SECONDARY), driver.inb(SECONDARY, 2)), (0x58, 0x00), "data from the host");
        driver.write_data(SECONDARY, list);
        driver.status(SECONDARY)
    };
    assert_eq!(select(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0x20, 9, 0, 0, 0, 0]), 0x50);
    assert_eq!(driver.answer(&[0x5a, 0, 0x01, 0, 0, 0, 0, 0, 60])[8..12], [1, 6, 0x20, 9]);
    assert_eq!(driver.answer(&[0x5a, 0, 0x81, 0, 0, 0, 0, 0, 60])[8..12], [1, 6, 0, 5], "the default");
    assert_eq!(select(&[0, 0, 0, 0, 0, 0, 0, 0, 0x2a, 2, 0, 0]), 0x41);
    assert_eq!(driver.sense(), [5, 0x26, 0]);
    assert_eq!(select(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 60, 0, 0]), 0x41);
    assert_eq!(driver.refusal(&[0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff]), [5, 0x1a, 0]);
}

fn by_hand<R>(driver: &Driver, what: impl FnOnce(&mut CdDrive) -> R) -> R {
    lock(&driver.ide).with_cd(DRIVE, what).unwrap()
}

#[test]
fn the_tray_opens_closes_and_can_be_locked() {
    let driver = Driver::new();
    let events = || driver.answer(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
    assert_eq!(events(), [0, 4, 4, 0x10, 0, 2, 0, 0], "a medium, and nothing new");
    driver.answer(&[0x1e, 0, 0, 0, 1]);
    assert_eq!(driver.refusal(&[0x1b, 0, 0, 0, 2]), [5, 0x53, 2]);
    assert!(matches!(by_hand(&driver, |cd| cd.eject(false)), Err(MediumError::Locked)));
    assert_eq!(events()[4..6], [1, 2], "the user wants it");
    driver.answer(&[0x1e, 0, 0, 0, 0]);
    driver.answer(&[0x1b, 0, 0, 0, 2]);
    assert_eq!(events()[4..6], [3, 1], "it is gone and the tray is open");
    assert_eq!(driver.refusal(&[0x00]), [2, 0x3a, 2]);
    assert_eq!(driver.refusal(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]), [2, 0x3a, 2]);
    driver.answer(&[0x1b, 0, 0, 0, 3]);
    assert_eq!(events()[4..6], [2, 2]);
    assert_eq!(driver.refusal(&[0x00]), [6, 0x28, 0], "told once");
    assert!(driver.answer(&[0x00]).is_empty());
    assert_eq!(driver.answer(&[0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8]), [0, 0, 0x80, 0x10], "no other class of events");
    assert_eq!(driver.refusal(&[0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8]), [5, 0x24, 0]);
}

#[test]
fn media_are_changed() {
    let driver = Driver::new();
    assert!(by_hand(&driver, |cd| cd.eject(false)).unwrap().is_some());
    assert_eq!(driver.refusal(&[0x00]), [2, 0x3a, 2]);
    let other = ScriptedDisk::new(MemoryBlock::new(sectors(1000..1040)));
    assert!(by_hand(&driver, |cd| cd.insert(Box::new(other))).is_none());
    assert_eq!(driver.refusal(&[0x25]), [6, 0x28, 0]);
    assert_eq!(driver.answer(&[0x25]), [0, 0, 0, 9, 0, 0, 8, 0]);
    assert_eq!(driver.answer(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]), sectors(1000..1004));
    let nowhere = Place { channel: 0, unit: 0 };
    assert!(lock(&driver.ide).with_cd(nowhere, |_| ()).is_none());
}

/// The guest is about to take one piece of the data when the medium goes, before the next one is read.
#[test]
fn a_medium_that_goes_between_two_pieces() {
    for replaced in [false, true] {
        let driver = Driver::new();
        driver.packet(2048, false, &[0x28, 0, 0, 0, 0, 0, 0, 0, 3]);
        by_hand(&driver, |cd| cd.eject(true)).unwrap();
        if replaced {
            let other = ScriptedDisk::new(MemoryBlock::new(sectors(0..4)));
            by_hand(&driver, |cd| cd.insert(Box::new(other)));
        }
        driver.read_data(SECONDARY, 2048);
        assert_eq!(driver.status(SECONDARY), 0x41, "replaced: {replaced}");
    }
}

#[test]
fn a_command_whose_medium_goes_fails() {
    let driver = Driver::new();
    driver.cd.hold(true);
    driver.packet(0xfffe, false, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(driver.status(SECONDARY), 0xd0);
    by_hand(&driver, |cd| cd.eject(true)).unwrap();
    assert_eq!(driver.status(SECONDARY), 0x41);
    driver.cd.release();
    driver.completed();
    assert_eq!(driver.status(SECONDARY), 0x41);
}
