//! Publicly known flaws of QEMU's scsi-disk and scsi-bus: what each needed is done here.

use super::*;

/// READ CAPACITY (16) of a CD drive wrote more than its buffer held.
#[test]
fn cve_2011_3346_read_capacity_with_any_allocation_length() {
    let mut initiator = Initiator::new();
    for len in [0, 1, 8, 31, 32, 33, 4096, 0xff_ffff, u32::MAX] {
        let mut cdb = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        cdb[10..14].copy_from_slice(&len.to_be_bytes());
        for address in [DISK, CD] {
            let reply = initiator.start(address, &cdb, &[], 4096).unwrap();
            match reply {
                Reply::Ended(end) => assert!(end.moved <= u64::from(len).min(32)),
                reply => assert!(len > 4096 && reply == Reply::Overrun),
            }
        }
    }
}

/// REPORT LUNS of a target with many units wrote them all into a small buffer.
#[test]
fn cve_2013_4344_report_luns_of_many_units_into_little_room() {
    let mut initiator = Initiator::new();
    for lun in 1..300 {
        let port = DiskPort::new(Some(Box::new(initiator.disk.clone())), ErrorPolicy::default(), Arc::new(Quiet));
        let disk = LogicalUnit::disk(port, DiskOptions::default(), identity("QEMU HARDDISK"));
        assert!(initiator.targets.add(UnitPlace { target: 0, lun }, disk).is_ok());
    }
    initiator.dma.write(INTO + 16, &[0xee; 64]).unwrap();
    let reply = initiator.start(DISK, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &[], 16);
    assert!(matches!(reply, Some(Reply::Ended(End { moved: 16, sense: None, .. }))));
    let data = initiator.received(80);
    assert_eq!((&data[..4], &data[16..]), (&(300_u32 * 8).to_be_bytes()[..], &[0xee; 64][..]));
}

/// The length of commands with reserved codes was not known, and their blocks were read from behind them.
#[test]
fn cve_2015_5158_commands_of_any_length() {
    let mut initiator = Initiator::new();
    for code in 0..=0xff {
        for len in 0..=32 {
            let mut cdb = vec![0xff; len];
            if let Some(first) = cdb.first_mut() {
                *first = code;
            }
            for address in [DISK, CD] {
                initiator.start(address, &cdb, &[], 0);
                while initiator.targets.poll().is_some() {}
            }
        }
    }
}

/// MODE SELECT with the page "all pages" looked for its length behind the table of pages.
#[test]
fn cve_2021_3930_mode_select_of_all_pages() {
    let mut initiator = Initiator::new();
    for code in (0..=0x3f).chain([0x7f, 0xbf, 0xff]) {
        let list = [&[0, 0, 0, 0, code, 10][..], &[0; 10]].concat();
        let sense = initiator.end(DISK, &[0x15, 0x10, 0, 0, 16, 0], &list, 0).sense.map(triple);
        let unchanged = [&[0, 0, 0, 0, 1, 10, 0x80][..], &[0; 9]].concat();
        assert_eq!(sense, Some([5, 0x26, 0]), "{code:#x}");
        assert_eq!(initiator.end(DISK, &[0x15, 0x10, 0, 0, 16, 0], &unchanged, 0).sense, None);
    }
}

/// A block descriptor of MODE SELECT made blocks of less than a sector, by which the next reset divided.
#[test]
fn cve_2023_42467_block_sizes_in_mode_select() {
    let mut initiator = Initiator::new();
    for size in [0_u32, 1, 256, 511, 1024, 0xff_ffff] {
        let list = [&[0, 0, 0, 8, 0, 0, 0x10, 0][..], &size.to_be_bytes()].concat();
        assert_eq!(initiator.sense_with(DISK, &[0x15, 0x10, 0, 0, 12, 0], &list), [5, 0x26, 0], "{size}");
    }
    let same = [0, 0, 0, 8, 0, 0, 0x10, 0, 0, 0, 2, 0];
    assert_eq!(initiator.give(&[0x15, 0x10, 0, 0, 12, 0], &same), 12);
    initiator.targets.reset(crate::scsi::UnitReset::Hard);
    assert_eq!(initiator.sense(DISK, &[0x00]), [6, 0x29, 0]);
    assert_eq!(initiator.answer(DISK, &[0x25])[4..], [0, 0, 2, 0]);
}

/// MODE SELECT made blocks larger than the data that a WRITE SAME had brought with it, so that what lay behind was written (QEMU's issue
/// 4365).
#[test]
fn qemu_issue_4365_larger_blocks_before_write_same() {
    let mut initiator = Initiator::new();
    let list = [0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0x10, 0, 0, 0, 0xfe, 0];
    assert_eq!(initiator.sense_with(DISK, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, 16, 0], &list), [5, 0x26, 0]);
    let write_same = [0x41, 0, 0, 0, 0, 8, 0, 0, 1, 0];
    assert_eq!(initiator.start(DISK, &write_same, &block(77)[..511], 0), Some(Reply::Overrun));
    assert_eq!(initiator.give(&write_same, &block(77)), 512);
    assert_eq!(initiator.medium.contents()[7 * 512..10 * 512], [block(7), block(77), block(9)].concat());
}
