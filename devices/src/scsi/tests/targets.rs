//! Addresses, units that are not there, attentions, and commands that are given up.

use super::*;
use crate::backend::disk::Operation;
use crate::scsi::UnitReset;

fn unit(target: u8, lun: u16) -> Address {
    Address::Unit(UnitPlace { target, lun })
}

fn add(initiator: &mut Initiator, target: u8, lun: u16) {
    let port = DiskPort::new(Some(Box::new(initiator.disk.clone())), ErrorPolicy::default(), Arc::new(Quiet));
    let disk = LogicalUnit::disk(port, DiskOptions::default(), identity("QEMU HARDDISK"));
    assert!(initiator.targets.add(UnitPlace { target, lun }, disk).is_ok());
}

#[test]
fn logical_unit_numbers() {
    assert_eq!(Address::of_lun(3, [0x00, 0x05]), Some(unit(3, 5)), "peripheral");
    assert_eq!(Address::of_lun(3, [0x01, 0x05]), None, "of another bus");
    assert_eq!(Address::of_lun(3, [0x40, 0x05]), Some(unit(3, 5)), "flat");
    assert_eq!(Address::of_lun(3, [0x7f, 0xff]), Some(unit(3, 0x3fff)));
    assert_eq!(Address::of_lun(3, [0x80, 0x05]), None, "logical unit addressing");
    assert_eq!(Address::of_lun(3, [0xc1, 0x01]), Some(Address::ReportLuns(Some(3))));
    assert_eq!(Address::of_lun(3, [0xc1, 0x02]), None);
}

#[test]
fn units_are_listed() {
    let mut initiator = Initiator::new();
    add(&mut initiator, 0, 0x123);
    add(&mut initiator, 0, 3);
    let report = [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let mut expected = vec![0, 0, 0, 24, 0, 0, 0, 0];
    for [high, low] in [[0, 0], [0, 3], [0x41, 0x23]] {
        expected.extend_from_slice(&[high, low, 0, 0, 0, 0, 0, 0]);
    }
    assert_eq!(initiator.answer(DISK, &report), expected);
    assert_eq!(initiator.answer(unit(0, 3), &report), expected);
    assert_eq!(initiator.answer(Address::ReportLuns(Some(0)), &report), expected);
    let all = initiator.answer(Address::ReportLuns(None), &report);
    assert_eq!(
        (all.len(), &all[8..16], &all[32..40]),
        (40, &[1, 0, 0x40, 0, 0, 0, 0, 0][..], &[1, 1, 0x40, 0, 0, 0, 0, 0][..])
    );
    let well_known = initiator.answer(DISK, &[0xa0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(well_known, [0, 0, 0, 8, 0, 0, 0, 0, 0xc1, 1, 0, 0, 0, 0, 0, 0]);
    let cut = initiator.answer(DISK, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
    assert_eq!(cut, expected[..16]);
    for refused in [[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0], [0xa0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0]] {
        assert_eq!(initiator.sense(DISK, &refused), [5, 0x24, 0]);
    }
}

#[test]
fn units_that_are_not_there() {
    let mut initiator = Initiator::new();
    assert_eq!(initiator.start(unit(9, 0), &[0x12, 0, 0, 0, 36, 0], &[], 36), None, "no such target");
    assert_eq!(initiator.answer(unit(0, 1), &[0x12, 0, 0, 0, 36, 0]), [&[0x7f][..], &[0; 35]].concat());
    assert_eq!(initiator.sense(unit(0, 1), &[0x00]), [5, 0x25, 0]);
    assert_eq!(initiator.sense(unit(0, 1), &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]), [5, 0x25, 0]);
    assert_eq!(initiator.answer(unit(0, 1), &[0x03, 0, 0, 0, 18, 0])[12], 0x25);
    // A target without a unit 0 lists those that it has.
    add(&mut initiator, 4, 2);
    let inquiry = initiator.answer(unit(4, 0), &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!(
        (&inquiry[..8], &inquiry[8..]),
        (&[0x3f, 0, 5, 0x12, 31, 0, 0, 0x12][..], &b"QEMU    QEMU TARGET     2.5+"[..])
    );
    let luns = initiator.answer(unit(4, 0), &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(luns[8..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    let well_known = Address::ReportLuns(Some(4));
    assert_eq!(initiator.answer(well_known, &[0x12, 0, 0, 0, 36, 0])[0], 0x1e);
    assert!(initiator.answer(well_known, &[0x00]).is_empty());
    assert_eq!(initiator.sense(well_known, &[0x25]), [5, 0x20, 0]);
}

#[test]
fn attentions_are_told_once_and_first() {
    let mut initiator = Initiator::new();
    initiator.targets.reset(UnitReset::Unit);
    assert_eq!(initiator.answer(DISK, &[0x12, 0, 0, 0, 36, 0])[0], 0, "INQUIRY does not tell");
    assert!(!initiator.answer(DISK, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).is_empty(), "nor REPORT LUNS");
    assert_eq!(initiator.sense(DISK, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), [6, 0x29, 3]);
    assert!(initiator.answer(DISK, &[0x00]).is_empty());
    let disk = initiator.targets.unit(UnitPlace { target: 0, lun: 0 }).unwrap();
    assert_eq!(disk.resized(), None, "it has its old length");
    initiator.medium.set_len(512);
    let disk = initiator.targets.unit(UnitPlace { target: 0, lun: 0 }).unwrap();
    assert_eq!(disk.resized().map(triple), Some([6, 0x2a, 9]));
    assert_eq!(disk.resized(), None, "told once");
    let sense = initiator.answer(DISK, &[0x03, 0, 0, 0, 18, 0]);
    assert_eq!((sense[2], sense[12], sense[13]), (6, 0x2a, 9), "REQUEST SENSE tells it");
    assert_eq!(initiator.answer(DISK, &[0x03, 1, 0, 0, 252, 0]), [0x72, 0, 0, 0, 0, 0, 0, 0]);
    add(&mut initiator, 0, 1);
    assert_eq!(initiator.sense(DISK, &[0x00]), [6, 0x3f, 0x0e]);
    assert!(initiator.targets.remove(UnitPlace { target: 0, lun: 1 }).is_some());
    assert_eq!(initiator.sense(DISK, &[0x00]), [6, 0x3f, 0x0e]);
    initiator.targets.reset(UnitReset::Nexus);
    assert_eq!(initiator.sense(CD, &[0x00]), [6, 0x29, 7]);
}

#[test]
fn commands_are_given_up() {
    let mut initiator = Initiator::new();
    initiator.disk.hold(true);
    let read = |initiator: &mut Initiator, at: u8| {
        let reply = initiator.start(DISK, &[0x28, 0, 0, 0, 0, at, 0, 0, 1, 0], &[], 512);
        assert_eq!(reply, Some(Reply::Pending));
        initiator.next
    };
    let [first, second] = [1, 2].map(|at| read(&mut initiator, at));
    let place = UnitPlace { target: 0, lun: 0 };
    let disk = initiator.targets.unit(place).unwrap();
    assert!(disk.abort(first) && !disk.abort(first));
    assert_eq!(initiator.targets.poll().map(|end| end.name), Some(second), "the other one ends");
    let third = read(&mut initiator, 3);
    assert_eq!(initiator.targets.unit(place).unwrap().reset(UnitReset::Unit), [third]);
    assert_eq!((initiator.targets.poll(), initiator.disk.waiting()), (None, 0));
}

#[test]
fn commands_of_several_requests_go_on_where_an_error_has_stopped_them() {
    let mut initiator = Initiator::with(DiskOptions::default(), OnError::Stop);
    initiator.disk.spoil_flushes(Some(crate::backend::disk::Fault::Io));
    let _ = initiator.disk.take_log();
    assert_eq!(initiator.start(DISK, &[0x28, 8, 0, 0, 0, 7, 0, 0, 1, 0], &[], 512), Some(Reply::Pending));
    assert_eq!(initiator.targets.poll(), None, "the machine stops");
    initiator.disk.mend();
    initiator.targets.resume();
    let end = initiator.targets.poll().unwrap();
    assert_eq!((end.sense, initiator.received(end.moved)), (None, block(7)));
    let flush = (Operation::Flush, 0, 0);
    assert_eq!(initiator.disk.take_log(), [flush, flush, (Operation::Read, 7 * 512, 512)]);
}
