//! Writes that somebody holds back.

use std::ops::Range;

use super::*;

/// Notes what may be held back.
#[derive(Default)]
struct Buffer(Mutex<Vec<(usize, Range<u64>)>>);

impl WriteBuffer for Buffer {
    fn hold_back(&self, channel: usize, registers: Range<u64>) {
        lock(&self.0).push((channel, registers));
    }
}

#[test]
fn a_guest_that_gives_commands_has_its_writes_before_them_held_back() {
    let buffer = Arc::new(Buffer::default());
    let driver = Driver::with_buffer(buffer.clone());
    // IDENTIFY is the command of a boot that looks for disks: a few of them are not worth it.
    for _ in 0..15 {
        driver.identify();
    }
    assert_eq!(*lock(&buffer.0), []);
    driver.identify();
    // All but data and command.
    assert_eq!(*lock(&buffer.0), [(0, 1..7)]);
    for _ in 0..300 {
        driver.identify();
        driver.packet(0, false, &[0]);
    }
    assert_eq!(*lock(&buffer.0), [(0, 1..7), (1, 1..7)]);
}

#[test]
fn where_no_drive_is_nothing_is_held_back() {
    let (buffer, ram) = (Arc::new(Buffer::default()), GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap());
    let lines = [IrqLine::detached(), IrqLine::detached()];
    let ide = PiixIde::new(Arc::new(ram), BusMaster::closed(), lines, Default::default());
    let mut ide = ide.buffered_by(buffer.clone());
    for _ in 0..100 {
        ide.write(2 * PRIMARY, 7, 1, 0xec);
    }
    assert_eq!(*lock(&buffer.0), []);
}
