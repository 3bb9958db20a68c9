//! Units that come, go and change.

use super::*;

impl Driver {
    /// Gives the device a buffer for an event.
    fn wait_for_event(&mut self) {
        self.poke(RESPONSE, &[0xee; 16]);
        self.offer(EVENT, 0, &[(RESPONSE, 16, WRITE)]);
    }

    fn event(&mut self) -> Option<(u32, Vec<u8>, u32)> {
        self.used(EVENT).map(|(_, written)| {
            assert_eq!(written, 16);
            let bytes = self.peek(RESPONSE, 16);
            let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            (number(0), bytes[4..12].to_vec(), number(12))
        })
    }
}

#[test]
fn units_come_and_go() {
    let mut driver = Driver::started();
    driver.wait_for_event();
    let other = unit(&driver.disk, OnError::Report);
    driver.function.with_device(|scsi, side| scsi.attach(OTHER, other, side)).unwrap();
    let lun = [1, 7, 0x41, 0x23, 0, 0, 0, 0];
    assert_eq!(driver.event(), Some((1, lun.to_vec(), 1)), "scan again");
    driver.attend(lun);
    driver.disk.hold(true);
    driver.submit(1, lun, 1, &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0], 1024, WRITE);
    driver.wait_for_event();
    assert!(driver.function.with_device(|scsi, side| scsi.detach(OTHER, side)));
    assert_eq!((driver.event(), driver.answer(1, 0).response), (Some((1, lun.to_vec(), 2)), 3));
    assert!(!driver.function.with_device(|scsi, side| scsi.detach(OTHER, side)));
    driver.used(REQUEST).unwrap();
    driver.disk.hold(false);
    assert_eq!(driver.perform(lun, &[0x00], 0, 0).response, 3);
}

#[test]
fn events_without_a_buffer_are_told_later() {
    let mut driver = Driver::started();
    driver.attend(DISK);
    driver.resize(1024);
    driver.resize(2048);
    driver.wait_for_event();
    assert_eq!(driver.event(), Some((1 << 31, vec![0; 8], 0)));
    driver.wait_for_event();
    assert_eq!(driver.event(), None);
    driver.function.medium_resized();
    assert_eq!(driver.event(), None, "the disk has the length that the driver knows");
    driver.resize(4096);
    assert_eq!(driver.event(), Some((3, vec![1, 0, 0, 0, 0, 0, 0, 0], 0x092a)), "the capacity has changed");
    // The next command is told too, once; then the disk says how long it is.
    let told = driver.perform(DISK, &[0x00], 0, 0);
    assert_eq!((told.status, &told.sense[2..3], &told.sense[12..14]), (2, &[6][..], &[0x2a, 9][..]));
    driver.perform(DISK, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, WRITE);
    assert_eq!(driver.peek(DATA, 4), [0, 0, 0, 7]);
}

#[test]
fn a_command_whose_medium_goes_is_given_back() {
    let mut driver = Driver::started();
    let port = DiskPort::new(Some(Box::new(driver.disk.clone())), ErrorPolicy::default(), Arc::new(Quiet));
    let drive = LogicalUnit::cd(port, identity("QEMU CD-ROM"));
    driver.function.with_device(|scsi, side| scsi.attach(OTHER, drive, side)).unwrap();
    let lun = [1, 7, 0x41, 0x23, 0, 0, 0, 0];
    driver.attend(lun);
    driver.disk.hold(true);
    driver.submit(1, lun, 1, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 2048, WRITE);
    assert_eq!(driver.used(REQUEST), None);
    assert!(driver.function.with_cd(OTHER, |cd| cd.eject(false)).unwrap().unwrap().is_some());
    let (head, written) = driver.used(REQUEST).unwrap();
    let answer = driver.answer(1, written);
    assert_eq!((head, answer.response, answer.status), (4, 0, 2));
    assert_eq!((answer.sense[2], answer.sense[12]), (6, 0x28), "the medium may have changed");
    assert!(driver.function.with_cd(PLACE, |_| ()).is_none(), "a disk has no tray");
}
