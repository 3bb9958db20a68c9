//! Writes that somebody holds back.

use super::*;
use crate::ide::LateWrites;

/// Notes what may be late.
#[derive(Default)]
struct Buffer(Mutex<Vec<Vec<LateWrites>>>);

impl Buffer {
    /// What it was told since the last time.
    fn told(&self) -> Vec<Vec<LateWrites>> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl WriteBuffer for Buffer {
    fn may_be_late(&self, writes: &[LateWrites]) {
        lock(&self.0).push(writes.to_vec());
    }
}

/// All registers of the command block but data and command.
fn command(channel: usize) -> LateWrites {
    LateWrites::Command { channel, registers: 1..7 }
}

/// Status and table of a channel's half of the bus master.
fn master(base: u16) -> [LateWrites; 2] {
    [LateWrites::Ports(base + 2..base + 3), LateWrites::Ports(base + 4..base + 8)]
}

#[test]
fn a_guest_that_gives_commands_has_its_writes_before_them_held_back() {
    let buffer = Arc::new(Buffer::default());
    let driver = Driver::with_buffer(buffer.clone());
    let config = |offset: u8, size: u8, value: u32| {
        let mut ide = lock(&driver.ide);
        ide.config_mut().write(offset, size, value);
        ide.config_written(offset, size);
    };
    config(0x04, 2, 0x0000);
    // A boot that looks for disks gives a few commands: it is not worth it.
    (0..15).for_each(|_| drop(driver.identify()));
    assert_eq!(buffer.told(), [] as [Vec<LateWrites>; 0]);
    driver.identify();
    assert_eq!(buffer.told(), [vec![command(0)]]);
    // The bus master's registers move.
    config(0x20, 4, 0xc001);
    config(0x04, 2, 0x0005);
    let [status, table] = master(0xc000);
    assert_eq!(buffer.told(), [vec![command(0), status.clone(), table.clone()]]);
    for _ in 0..300 {
        driver.identify();
        driver.packet(0, false, &[0]);
    }
    let [status_1, table_1] = master(0xc008);
    assert_eq!(buffer.told(), [vec![command(0), status, table, command(1), status_1, table_1]]);
    config(0x20, 4, 0xd001);
    let [[status, table], [status_1, table_1]] = [0xd000, 0xd008].map(master);
    assert_eq!(buffer.told(), [vec![command(0), status, table, command(1), status_1, table_1]]);
    lock(&driver.ide).reset(ResetKind::System);
    assert_eq!(buffer.told(), [vec![command(0), command(1)]]);
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
    assert_eq!(buffer.told(), [] as [Vec<LateWrites>; 0]);
}
