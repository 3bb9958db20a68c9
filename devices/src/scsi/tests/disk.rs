//! Commands of disks (SBC-3, SPC-4), with the answers that QEMU 7.2 gives where it follows them.

use super::*;
use crate::backend::disk::{Fault, Operation};
use crate::ide::Geometry;

#[test]
fn what_the_disk_says_it_is() {
    let mut initiator = Initiator::new();
    let mut expected = vec![0x00, 0x00, 0x05, 0x12, 31, 0, 0, 0x12];
    expected.extend_from_slice(b"QEMU    QEMU HARDDISK   2.5+");
    assert_eq!(initiator.answer(DISK, &[0x12, 0, 0, 0, 255, 0]), expected);
    assert_eq!(initiator.answer(DISK, &[0x12, 0, 0, 0, 5, 0]), expected[..5]);
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0, 0, 255, 0]), [0, 0, 0, 6, 0, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0x80, 0, 255, 0]), *b"\0\x80\0\x06SER123");
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0x83, 0, 255, 0]), *b"\0\x83\0\x0a\x02\0\0\x06drive0");
    let limits = initiator.answer(DISK, &[0x12, 1, 0xb0, 0, 255, 0]);
    assert_eq!((limits.len(), &limits[..5]), (64, &[0, 0xb0, 0, 60, 1][..]));
    assert_eq!(limits[8..12], 0x3f_ffff_u32.to_be_bytes(), "longest transfer");
    assert_eq!(limits[20..32], [0, 0x20, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 8], "unmapping");
    assert_eq!(limits[36..44], 0x3f_ffff_u64.to_be_bytes(), "longest WRITE SAME");
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0xb1, 0, 255, 0])[..6], [0, 0xb1, 0, 60, 0, 0]);
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0xb2, 0, 255, 0]), [0, 0xb2, 0, 4, 0, 0xe0, 2, 0]);
    for refused in [[0x12, 1, 0x84, 0, 255, 0], [0x12, 0, 0x80, 0, 255, 0]] {
        assert_eq!(initiator.sense(DISK, &refused), [5, 0x24, 0]);
    }
}

#[test]
fn names_are_told_as_qemu_tells_them() {
    let (mut initiator, mut targets) = (Initiator::new(), Targets::default());
    let identity = Identity {
        device_id: "SER123".into(),
        wwn: Some(0x5000_c500_1234_5678),
        port_wwn: Some(0x5000_c500_1234_5679),
        port_index: 1,
        ..identity("QEMU HARDDISK")
    };
    let options = DiskOptions { rotation_rate: 7200, removable: true, ..DiskOptions::default() };
    let port = DiskPort::new(Some(Box::new(initiator.disk.clone())), ErrorPolicy::default(), Arc::new(Quiet));
    let place = UnitPlace { target: 0, lun: 0 };
    assert!(targets.add(place, LogicalUnit::disk(port, options, identity)).is_ok());
    initiator.targets = targets;
    let mut expected = b"\0\x83\0\x2a\x02\0\0\x06SER123".to_vec();
    expected.extend_from_slice(&[1, 3, 0, 8, 0x50, 0, 0xc5, 0, 0x12, 0x34, 0x56, 0x78]);
    expected.extend_from_slice(&[0x61, 0x93, 0, 8, 0x50, 0, 0xc5, 0, 0x12, 0x34, 0x56, 0x79]);
    expected.extend_from_slice(&[0x61, 0x94, 0, 4, 0, 0, 0, 1]);
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0x83, 0, 255, 0]), expected);
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0x00, 0, 255, 0])[4..6], [0, 0x83], "no serial number");
    assert_eq!(initiator.sense(DISK, &[0x12, 1, 0x80, 0, 255, 0]), [5, 0x24, 0]);
    assert_eq!(initiator.answer(DISK, &[0x12, 1, 0xb1, 0, 255, 0])[4..6], [0x1c, 0x20]);
    assert_eq!(initiator.answer(DISK, &[0x12, 0, 0, 0, 36, 0])[1], 0x80);
}

#[test]
fn capacities() {
    let mut initiator = Initiator::new();
    assert_eq!(initiator.answer(DISK, &[0x25]), [0, 0, 0x0f, 0xff, 0, 0, 2, 0]);
    assert_eq!(initiator.answer(DISK, &[0x25, 0, 0, 0, 0, 9, 0, 0, 1, 0]), [0, 0, 0x0f, 0xff, 0, 0, 2, 0], "PMI");
    assert_eq!(initiator.sense(DISK, &[0x25, 0, 0, 0, 0, 9, 0, 0, 0, 0]), [5, 0x24, 0]);
    let long =
        |initiator: &mut Initiator| initiator.answer(DISK, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
    let data = long(&mut initiator);
    assert_eq!((data.len(), &data[..16]), (32, &[0, 0, 0, 0, 0, 0, 0x0f, 0xff, 0, 0, 2, 0, 0, 0, 0x80, 0][..]));
    let options = DiskOptions { physical_block: 4096, discard_granularity: 0, ..DiskOptions::default() };
    let mut initiator = Initiator::with(options, OnError::Report);
    assert_eq!(long(&mut initiator)[12..16], [0, 3, 0, 0]);
    assert_eq!(initiator.sense(DISK, &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]), [5, 0x24, 0]);
    let large = DiskOptions { block: 4096, physical_block: 4096, ..DiskOptions::default() };
    let mut initiator = Initiator::with(large, OnError::Report);
    assert_eq!(initiator.answer(DISK, &[0x25]), [0, 0, 0x01, 0xff, 0, 0, 0x10, 0]);
    assert_eq!(initiator.answer(DISK, &[0x28, 0, 0, 0, 0, 2, 0, 0, 1, 0]), blocks(16..24));
}

#[test]
fn reads_of_all_lengths() {
    let mut initiator = Initiator::new();
    assert_eq!(initiator.answer(DISK, &[0x08, 0, 0, 7, 2, 0]), blocks(7..9));
    assert_eq!(initiator.answer(DISK, &[0x08, 0, 0, 0, 0, 0]), blocks(0..256), "0 means 256");
    assert_eq!(initiator.answer(DISK, &[0x28, 0, 0, 0, 0x0f, 0xff, 0, 0, 1, 0]), blocks(4095..4096));
    assert_eq!(initiator.answer(DISK, &[0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0]), blocks(3..5));
    assert_eq!(initiator.answer(DISK, &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0]), blocks(3..5));
    assert!(initiator.answer(DISK, &[0x28, 0, 0, 0, 0, 5, 0, 0, 0, 0]).is_empty());
    for behind in [
        &[0x28, 0, 0, 0, 0x0f, 0xff, 0, 0, 2, 0][..],
        &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0],
        &[0x28, 0, 0, 0, 0x10, 0x01, 0, 0, 0, 0],
        &[0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0],
        &[0x2b, 0, 0, 0, 0x10, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(initiator.sense(DISK, behind), [5, 0x21, 0], "{behind:02x?}");
    }
    assert_eq!(initiator.sense(DISK, &[0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0]), [5, 0x24, 0], "no protection information");
    let _ = initiator.disk.take_log();
    initiator.answer(DISK, &[0x28, 0x08, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(initiator.disk.take_log(), [(Operation::Flush, 0, 0), (Operation::Read, 0, 512)], "FUA");
}

#[test]
fn writes_of_all_lengths() {
    let mut initiator = Initiator::new();
    let mut expected = blocks(0..BLOCKS);
    let mut at = 10_u8;
    for cdb in [
        &[0x0a, 0, 0, 0, 2, 0][..],
        &[0x2a, 0, 0, 0, 0, 0, 0, 0, 2, 0],
        &[0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
        &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
        &[0x2e, 2, 0, 0, 0, 0, 0, 0, 2, 0],
        &[0xae, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
        &[0x8e, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
    ] {
        let mut cdb = cdb.to_vec();
        let lba = match cdb.len() {
            6 => 3,
            16 => 9,
            _ => 5,
        };
        cdb[lba] = at;
        let data = blocks(0x100 + u32::from(at)..0x102 + u32::from(at));
        assert_eq!(initiator.give(&cdb, &data), 1024);
        expected[usize::from(at) * 512..][..1024].copy_from_slice(&data);
        at += 2;
    }
    assert!(initiator.medium.contents() == expected);
    let _ = initiator.disk.take_log();
    initiator.give(&[0x2a, 0x08, 0, 0, 0, 1, 0, 0, 1, 0], &block(1));
    initiator.give(&[0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0], &block(1));
    let write = |durable| (Operation::Write { durable }, 512, 512);
    assert_eq!(initiator.disk.take_log(), [write(true), write(false)]);
    initiator.medium.set_read_only(true);
    for cdb in [&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0][..], &[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0]] {
        assert_eq!(initiator.sense(DISK, cdb), [7, 0x27, 0]);
    }
    assert_eq!(initiator.answer(DISK, &[0x1a, 8, 8, 0, 255, 0])[2], 0x80);
}

#[test]
fn commands_whose_data_does_not_fit_are_not_begun() {
    let mut initiator = Initiator::new();
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    let write = [0x2a, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    assert_eq!(initiator.start(DISK, &read, &[], 1023), Some(Reply::Overrun));
    assert_eq!(initiator.start(DISK, &write, &[1; 1023], 0), Some(Reply::Overrun));
    assert_eq!(initiator.start(DISK, &write, &[], 1024), Some(Reply::Overrun), "the wrong way");
    assert_eq!(initiator.start(DISK, &[0x12, 0, 0, 0, 255, 0], &[], 36), Some(Reply::Overrun));
    assert!(initiator.disk.take_log().is_empty());
}

#[test]
fn verification() {
    let mut initiator = Initiator::new();
    assert_eq!(initiator.give(&[0x2f, 0, 0, 0, 0, 4, 0, 0, 4, 0], &[]), 0);
    assert_eq!(initiator.give(&[0x2f, 2, 0, 0, 0, 4, 0, 0, 2, 0], &blocks(4..6)), 1024);
    let mut other = blocks(4..6);
    other[700] ^= 1;
    let end = initiator.end(DISK, &[0xaf, 2, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0], &other, 0);
    let sense = end.sense.unwrap();
    assert_eq!((triple(sense), &sense.data()[..7]), ([14, 0x1d, 0], &[0xf0, 0, 14, 0, 0, 2, 0xbc][..]));
    assert_eq!(sense.descriptors(), [0x72, 14, 0x1d, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 0, 0, 0, 2, 0xbc]);
    let one = [0x8f, 6, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0];
    assert_eq!(initiator.sense_with(DISK, &one, &block(4)), [14, 0x1d, 0], "block 5 is another one");
    initiator.give(&[0x2a, 0, 0, 0, 0, 5, 0, 0, 1, 0], &block(4));
    assert_eq!(initiator.give(&one, &block(4)), 512);
    assert_eq!(initiator.sense(DISK, &[0x2f, 4, 0, 0, 0, 4, 0, 0, 4, 0]), [5, 0x24, 0]);
    initiator.disk.spoil(6 * 512..7 * 512, Fault::Io);
    assert_eq!(initiator.sense(DISK, &[0x2f, 0, 0, 0, 0, 4, 0, 0, 4, 0]), [3, 0x11, 0]);
}

#[test]
fn blocks_that_become_alike() {
    let mut initiator = Initiator::new();
    let _ = initiator.disk.take_log();
    assert_eq!(initiator.give(&[0x41, 0, 0, 0, 0, 8, 0, 0, 3, 0], &block(77)), 512);
    assert_eq!(initiator.medium.contents()[8 * 512..11 * 512], block(77).repeat(3));
    assert_eq!(initiator.disk.take_log(), [(Operation::Write { durable: false }, 4096, 1536)]);
    initiator.give(&[0x93, 8, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8, 0, 0], &block(0));
    initiator.give(&[0x93, 9, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 8, 0, 0], &[]);
    initiator.give(&[0x41, 0, 0, 0, 0, 32, 0, 0, 8, 0], &block(0));
    let zero = |may_unmap, block: u64| (Operation::WriteZeroes { may_unmap }, block * 512, 4096);
    assert_eq!(initiator.disk.take_log(), [zero(true, 16), zero(true, 24), zero(false, 32)]);
    assert_eq!(initiator.medium.contents()[16 * 512..40 * 512], vec![0; 24 * 512]);
    for (cdb, sense) in [
        (&[0x41, 0, 0, 0, 0, 8, 0, 0, 0, 0][..], [5, 0x24, 0]),
        (&[0x41, 0x02, 0, 0, 0, 8, 0, 0, 1, 0], [5, 0x24, 0]),
        (&[0x41, 0x01, 0, 0, 0, 8, 0, 0, 1, 0], [5, 0x24, 0]),
        (&[0x93, 0x10, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0], [5, 0x24, 0]),
        (&[0x41, 0, 0, 0, 0x0f, 0xff, 0, 0, 2, 0], [5, 0x21, 0]),
    ] {
        assert_eq!(initiator.sense(DISK, cdb), sense, "{cdb:02x?}");
    }
}

#[test]
fn blocks_that_are_given_up() {
    let mut initiator = Initiator::new();
    let list = |descriptors: &[(u64, u32)]| {
        let len = 16 * descriptors.len() as u16;
        let body = descriptors
            .iter()
            .flat_map(|(lba, count)| [&lba.to_be_bytes()[..], &count.to_be_bytes(), &[0; 4]].concat());
        let head = [&(len + 6).to_be_bytes()[..], &len.to_be_bytes(), &[0; 4]].concat();
        [head, body.collect()].concat()
    };
    let unmap = |len: usize| [0x42, 0, 0, 0, 0, 0, 0, (len >> 8) as u8, len as u8, 0];
    let _ = initiator.disk.take_log();
    let three = list(&[(8, 8), (100, 0), (4000, 96)]);
    initiator.give(&unmap(three.len()), &three);
    assert_eq!(
        initiator.disk.take_log(),
        [(Operation::Discard, 8 * 512, 4096), (Operation::Discard, 4000 * 512, 96 * 512)]
    );
    assert_eq!(initiator.give(&unmap(0), &[]), 0);
    let behind = list(&[(8, 8), (4090, 7)]);
    assert_eq!(initiator.sense_with(DISK, &unmap(behind.len()), &behind), [5, 0x21, 0]);
    for (bad, why) in [(&[0; 4][..], "no whole header"), (&[0, 40, 0, 32, 0, 0, 0, 0], "more than there is")] {
        assert_eq!(initiator.sense_with(DISK, &unmap(bad.len()), bad), [5, 0x1a, 0], "{why}");
    }
    let many = list(&vec![(0, 1); 256]);
    assert_eq!(initiator.sense_with(DISK, &unmap(many.len()), &many), [5, 0x26, 0]);
    let anchored = [0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0];
    assert_eq!(initiator.sense_with(DISK, &anchored, &list(&[(0, 1)])), [5, 0x24, 0]);
    assert!(initiator.disk.take_log().is_empty(), "nothing of a list with a mistake is done");
}

#[test]
fn mode_pages() {
    let options = DiskOptions { geometry: Geometry::for_size(131_072), ..DiskOptions::default() };
    let mut initiator = Initiator::with(options, OnError::Report);
    // QEMU 7.2's for a disk of 64 MiB but for the number of blocks.
    let rigid =
        [4, 0x16, 0, 0, 0x82, 0x10, 0, 0, 0x82, 0, 0, 0x82, 0, 0xc8, 0xff, 0xff, 0xff, 0, 0, 0, 0x15, 0x18, 0, 0];
    let mut flexible = vec![5, 0x1e, 0x13, 0x88, 0x10, 0x3f, 2, 0, 0, 0x82, 0, 0x82, 0, 0x82, 0, 1, 1, 0, 1, 1, 1];
    flexible.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x15, 0x18, 0, 0]);
    let recovery = [1, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let caching = [&[8, 0x12, 4][..], &[0; 17]].concat();
    let all = [&recovery[..], &rigid, &flexible, &caching].concat();
    let short = [&[0x63, 0, 0, 8, 0, 0, 0x10, 0, 0, 0, 2, 0][..], &all].concat();
    assert_eq!(initiator.answer(DISK, &[0x1a, 0, 0x3f, 0, 255, 0]), short);
    let long = [&[0, 0x5e, 0, 0, 0, 0, 0, 0][..], &all].concat();
    assert_eq!(initiator.answer(DISK, &[0x5a, 8, 0x3f, 0xff, 0, 0, 0, 0, 255, 0]), long);
    assert_eq!(
        initiator.answer(DISK, &[0x1a, 8, 0x48, 0, 255, 0]),
        [&[23, 0, 0, 0, 8, 0x12, 4][..], &[0; 17]].concat()
    );
    assert_eq!(initiator.answer(DISK, &[0x1a, 8, 0x44, 0, 255, 0])[4..], [&[4, 0x16][..], &[0; 22]].concat());
    for (cdb, sense) in
        [([0x1a, 8, 0xc8, 0, 255, 0], 0x39), ([0x1a, 8, 0x2a, 0, 255, 0], 0x24), ([0x1a, 8, 8, 1, 255, 0], 0x24)]
    {
        assert_eq!(initiator.sense(DISK, &cdb), [5, sense, 0]);
    }
}

#[test]
fn the_write_cache_can_be_switched() {
    let mut initiator = Initiator::new();
    let select = |flags: u8| [&[0, 0, 0, 0, 8, 0x12, flags][..], &[0; 17]].concat();
    let _ = initiator.disk.take_log();
    assert_eq!(initiator.give(&[0x15, 0x10, 0, 0, 24, 0], &select(0)), 24);
    assert_eq!(initiator.answer(DISK, &[0x1a, 8, 8, 0, 255, 0])[6], 0);
    assert_eq!(initiator.answer(DISK, &[0x1a, 8, 0x88, 0, 255, 0])[6], 4, "the default");
    initiator.give(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &block(0));
    initiator.give(&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0], &block(0));
    let log = initiator.disk.take_log();
    let zero = (Operation::WriteZeroes { may_unmap: false }, 0, 512);
    let flush = (Operation::Flush, 0, 0);
    assert_eq!(log, [flush, (Operation::Write { durable: true }, 0, 512), zero, flush]);
    let long = [&[0; 8][..], &select(4)[4..]].concat();
    initiator.give(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 28, 0], &long);
    assert_eq!(initiator.answer(DISK, &[0x1a, 8, 8, 0, 255, 0])[6], 4);
    for (cdb, list, sense) in [
        ([0x15, 0x10, 0, 0, 24, 0], select(1), 0x26),
        ([0x15, 0x10, 0, 0, 23, 0], select(0), 0x1a),
        ([0x15, 0x10, 0, 0, 3, 0], select(0), 0x1a),
        ([0x15, 0x11, 0, 0, 24, 0], select(0), 0x24),
        ([0x15, 0x00, 0, 0, 24, 0], select(0), 0x24),
        ([0x15, 0x10, 0, 0, 24, 0], [&[0, 0, 0, 200][..], &select(0)[4..]].concat(), 0x1a),
    ] {
        assert_eq!(initiator.sense_with(DISK, &cdb, &list), [5, sense, 0], "{cdb:02x?}");
        assert_eq!(initiator.answer(DISK, &[0x1a, 8, 8, 0, 255, 0])[6], 4, "nothing has changed");
    }
}

#[test]
fn what_is_accepted_without_effect_and_what_is_not_known() {
    let mut initiator = Initiator::new();
    for cdb in [
        &[0x00][..],
        &[0x1b, 0, 0, 0, 0, 0],
        &[0x1e, 0, 0, 0, 1, 0],
        &[0x16, 0, 0, 0, 0, 0],
        &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x1d, 4, 0, 0, 0, 0],
        &[0x04, 0, 0, 0, 0, 0],
        &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert!(initiator.answer(DISK, cdb).is_empty(), "{cdb:02x?}");
    }
    for (cdb, sense) in [
        (&[0x16, 1, 0, 0, 0, 0][..], [5, 0x24, 0]),
        (&[0x04, 0x10, 0, 0, 0, 0], [5, 0x24, 0]),
        (&[0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0], [5, 0x20, 0]),
        (&[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], [5, 0x20, 0]),
        (&[0xff], [5, 0x20, 0]),
    ] {
        assert_eq!(initiator.sense(DISK, cdb), sense, "{cdb:02x?}");
    }
    assert_eq!(initiator.disk.take_log(), [(Operation::Flush, 0, 0); 2]);
}

#[test]
fn a_removable_disk_is_ejected_unless_it_is_locked() {
    let mut initiator = Initiator::with(DiskOptions { removable: true, ..DiskOptions::default() }, OnError::Report);
    initiator.answer(DISK, &[0x1e, 0, 0, 0, 1, 0]);
    assert_eq!(initiator.sense(DISK, &[0x1b, 0, 0, 0, 2, 0]), [5, 0x53, 2]);
    initiator.answer(DISK, &[0x1e, 0, 0, 0, 0, 0]);
    initiator.answer(DISK, &[0x1b, 0, 0, 0, 2, 0]);
    for cdb in [&[0x00][..], &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0x25]] {
        assert_eq!(initiator.sense(DISK, cdb), [2, 0x3a, 0]);
    }
    initiator.answer(DISK, &[0x1b, 0, 0, 0, 3, 0]);
    assert_eq!(initiator.answer(DISK, &[0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0]), block(3));
}

#[test]
fn errors_of_the_host() {
    let mut initiator = Initiator::new();
    initiator.disk.spoil(100 * 512..101 * 512, Fault::Io);
    initiator.disk.spoil(200 * 512..201 * 512, Fault::NoSpace);
    let end = initiator.end(DISK, &[0x28, 0, 0, 0, 0, 99, 0, 0, 4, 0], &[], 4096);
    let sense = end.sense.unwrap();
    assert_eq!((end.moved, triple(sense), &sense.data()[..7]), (0, [3, 0x11, 0], &[0xf0, 0, 3, 0, 0, 0, 99][..]));
    assert_eq!(initiator.sense(DISK, &[0x2a, 0, 0, 0, 0, 100, 0, 0, 1, 0]), [3, 0x0c, 0]);
    assert_eq!(initiator.sense(DISK, &[0x2a, 0, 0, 0, 0, 200, 0, 0, 1, 0]), [7, 0x27, 7]);
    initiator.disk.spoil_flushes(Some(Fault::Io));
    assert_eq!(initiator.sense(DISK, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [3, 0x0c, 0]);
}
