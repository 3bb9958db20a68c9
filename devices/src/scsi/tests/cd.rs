//! A CD drive among SCSI units; its commands are tested with ATAPI's.

use super::*;
use crate::backend::disk::{Completion, DiskBackend, Fault, Request};
use crate::scsi::{CdDrive, MediumError, Tray};

#[test]
fn what_the_drive_says_it_is() {
    let mut initiator = Initiator::new();
    let mut expected = vec![0x05, 0x80, 0x05, 0x12, 31, 0, 0, 0x12];
    expected.extend_from_slice(b"QEMU    QEMU CD-ROM     2.5+");
    assert_eq!(initiator.answer(CD, &[0x12, 0, 0, 0, 36, 0]), expected);
    assert_eq!(initiator.answer(CD, &[0x12, 1, 0, 0, 255, 0]), [5, 0, 0, 2, 0, 0x83]);
    assert_eq!(initiator.sense(CD, &[0x12, 1, 0xb0, 0, 255, 0]), [5, 0x24, 0]);
    assert_eq!(initiator.answer(CD, &[0x25]), [0, 0, 0, 199, 0, 0, 8, 0]);
}

#[test]
fn blocks_go_to_ram_plain_and_raw() {
    let mut initiator = Initiator::new();
    assert_eq!(initiator.answer(CD, &[0x28, 0, 0, 0, 0, 3, 0, 0, 5, 0]), blocks(12..32));
    assert_eq!(initiator.answer(CD, &[0xa8, 0, 0, 0, 0, 199, 0, 0, 0, 1, 0, 0]), blocks(796..800));
    let raw = initiator.answer(CD, &[0xbe, 0, 0, 0, 0, 100, 0, 0, 50, 0xf8, 0, 0]);
    assert_eq!(raw.len(), 50 * 2352);
    for (at, sector) in raw.chunks_exact(2352).enumerate() {
        let first = 4 * (100 + at as u32);
        assert!(sector[16..2064] == blocks(first..first + 4), "sector {at}");
    }
    assert_eq!(
        initiator.start(CD, &[0xbe, 0, 0, 0, 0, 0, 0, 0, 2, 0xf8, 0, 0], &[], 2 * 2352 - 1),
        Some(Reply::Overrun)
    );
    initiator.cd.spoil(60 * 2048..61 * 2048, Fault::Io);
    assert_eq!(initiator.sense(CD, &[0xbe, 0, 0, 0, 0, 10, 0, 0, 60, 0xf8, 0, 0]), [3, 0x11, 0]);
    assert_eq!(initiator.sense(CD, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]), [5, 0x20, 0], "it can't be written");
}

#[test]
fn mode_parameters_in_both_lengths() {
    let mut initiator = Initiator::new();
    let page = initiator.answer(CD, &[0x1a, 0, 0x01, 0, 255, 0]);
    assert_eq!(page, [11, 1, 0, 0, 1, 6, 0, 5, 0, 0, 0, 0]);
    let list = [0, 0, 0, 0, 1, 6, 0x20, 9, 0, 0, 0, 0];
    assert_eq!(initiator.end(CD, &[0x15, 0x10, 0, 0, 12, 0], &list, 0).moved, 12);
    assert_eq!(initiator.answer(CD, &[0x5a, 0, 0x01, 0, 0, 0, 0, 0, 255, 0])[8..12], [1, 6, 0x20, 9]);
    assert_eq!(initiator.sense_with(CD, &[0x15, 0x10, 0, 0, 12, 0], &[0xff; 12]), [5, 0x1a, 0]);
}

#[test]
fn media_come_and_go() {
    let mut initiator = Initiator::new();
    fn by_hand<R>(initiator: &mut Initiator, what: impl FnOnce(&mut CdDrive) -> R) -> R {
        initiator.targets.unit(UnitPlace { target: 1, lun: 0 }).unwrap().with_cd(what).unwrap()
    }
    initiator.answer(CD, &[0x1e, 0, 0, 0, 1, 0]);
    assert_eq!(by_hand(&mut initiator, |cd| cd.open_tray(false)), Err(MediumError::Locked));
    assert!(matches!(by_hand(&mut initiator, CdDrive::take_medium), Err(MediumError::TrayClosed)));
    assert_eq!(initiator.answer(CD, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0])[4..6], [1, 2], "the user wants it");
    initiator.cd.hold(true);
    assert_eq!(initiator.start(CD, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[], 2048), Some(Reply::Pending));
    by_hand(&mut initiator, |cd| cd.open_tray(true)).unwrap();
    assert_eq!(initiator.targets.poll(), None, "the medium is still there");
    assert!(by_hand(&mut initiator, CdDrive::take_medium).unwrap().is_some());
    assert_eq!(by_hand(&mut initiator, |cd| cd.tray()), Tray { open: true, locked: false });
    let end = initiator.targets.poll().unwrap();
    assert_eq!((end.name, triple(end.sense.unwrap())), (initiator.next, [6, 0x28, 0]));
    assert_eq!(initiator.sense(CD, &[0x00]), [2, 0x3a, 2]);
    let other = ScriptedDisk::new(MemoryBlock::new(blocks(1000..1040)));
    assert!(by_hand(&mut initiator, |cd| cd.load_medium(Box::new(other))).unwrap().is_none());
    assert_eq!(initiator.sense(CD, &[0x00]), [2, 0x3a, 2], "the tray is open");
    by_hand(&mut initiator, CdDrive::close_tray);
    assert_eq!(initiator.answer(CD, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0])[4..6], [2, 2], "told before the attention");
    assert_eq!(initiator.sense(CD, &[0x25]), [6, 0x28, 0]);
    assert_eq!(initiator.answer(CD, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), blocks(1000..1004));
    let disk = initiator.targets.unit(UnitPlace { target: 0, lun: 0 }).unwrap();
    assert!(disk.with_cd(|_| ()).is_none(), "a disk stays");
}

/// A medium that nobody reads.
struct Large(u64);

impl DiskBackend for Large {
    fn len(&self) -> u64 {
        self.0
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn submit(&mut self, request: Request) {
        panic!("{request:?}");
    }

    fn completed(&mut self) -> Option<Completion> {
        None
    }

    fn drain(&mut self) {}

    fn cancel(&mut self) {}
}

/// MMC-3, 6.24 (READ DVD STRUCTURE) and 5.2.3.4 (profiles): what has more blocks than a CD is a DVD-ROM of one layer.
#[test]
fn a_medium_that_is_too_large_for_a_cd_is_a_dvd() {
    const BLOCKS: u64 = 2_295_104;
    let mut initiator = Initiator::new();
    let structure = |format: u8| [0xad, 0, 0, 0, 0, 0, 0, format, 0x10, 0, 0, 0];
    let profile = |initiator: &mut Initiator| initiator.answer(CD, &[0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0])[6..].to_vec();
    assert_eq!(profile(&mut initiator), [0x00, 0x08], "CD-ROM");
    let list = [0x00, 0x0e, 0, 0, 0x00, 0x40, 0x08, 0x04, 0x01, 0x40, 0x00, 0x08, 0x04, 0x40, 0x08, 0x04];
    assert_eq!(initiator.answer(CD, &structure(0xff)), list, "what there can be, whatever the medium");

    let unit = initiator.targets.unit(UnitPlace { target: 1, lun: 0 }).unwrap();
    unit.with_cd(|cd| cd.open_tray(true)).unwrap().unwrap();
    assert_eq!(initiator.sense(CD, &structure(0x00)), [2, 0x3a, 2]);
    let unit = initiator.targets.unit(UnitPlace { target: 1, lun: 0 }).unwrap();
    unit.with_cd(|cd| cd.insert(Box::new(Large(BLOCKS * 2048)))).unwrap();
    assert_eq!(initiator.sense(CD, &[0x00]), [6, 0x28, 0]);
    assert_eq!(profile(&mut initiator), [0x00, 0x10], "DVD-ROM");
    assert_eq!(initiator.answer(CD, &[0x25]), [0x00, 0x23, 0x05, 0x3f, 0, 0, 8, 0]);
    let physical = initiator.answer(CD, &structure(0x00));
    assert_eq!((physical.len(), &physical[..4]), (0x804, &[0x08, 0x02, 0, 0][..]));
    // DVD-ROM version 1; 120 mm, no maximum rate; one layer, embossed; densities; first and last sector, of 30000h on.
    assert_eq!(physical[4..16], [0x01, 0x0f, 0x01, 0x00, 0, 0x03, 0x00, 0x00, 0, 0x26, 0x05, 0x3f]);
    assert_eq!(initiator.answer(CD, &structure(0x01)), [0, 6, 0, 0, 0, 0, 0, 0], "no copyright protection");
    let manufacturer = initiator.answer(CD, &structure(0x04));
    assert_eq!((manufacturer.len(), &manufacturer[..2]), (0x804, &[0x08, 0x02][..]));
    assert_eq!(initiator.sense(CD, &structure(0x02)), [5, 0x24, 0]);
}
