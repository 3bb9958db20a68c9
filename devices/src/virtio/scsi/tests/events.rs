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
    driver.function.with_device(|scsi, side| scsi.resized(PLACE, side));
    driver.function.with_device(|scsi, side| scsi.resized(PLACE, side));
    driver.wait_for_event();
    assert_eq!(driver.event(), Some((1 << 31, vec![0; 8], 0)));
    driver.wait_for_event();
    assert_eq!(driver.event(), None);
    driver.function.with_device(|scsi, side| scsi.resized(PLACE, side));
    assert_eq!(driver.event(), Some((3, vec![1, 0, 0, 0, 0, 0, 0, 0], 0x092a)), "the capacity has changed");
}
