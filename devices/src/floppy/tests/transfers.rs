//! Commands that work on sectors.

use super::*;

/// WRITE DATA to drive A, head 0, from sector `r` on.
fn write(r: u8) -> [u8; 9] {
    [0x45, 0, 0, 0, r, 2, 18, 0x1b, 0xff]
}

#[test]
fn terminal_count_ends_a_read_with_the_id_of_the_next_sector() {
    let (mut driver, _) = Driver::numbered();
    let (result, data) = driver.read([0, 0, 2], 1024);
    assert_eq!(result, [0, 0, 0, 0, 0, 4, 2]);
    assert_eq!(data, [sector(1), sector(2)].concat());
    assert!(!driver.dma.with(|dma| dma.requested));
    // In the middle of a sector: the rest of it is passed over.
    let (result, data) = driver.read([0, 0, 5], 700);
    assert_eq!(result, [0, 0, 0, 0, 0, 7, 2]);
    assert_eq!(data, [sector(4), sector(5)].concat()[..700]);
    // At the end of the track.
    assert_eq!(driver.read([0, 0, 18], 512).0, [0, 0, 0, 1, 0, 1, 2]);
}

/// The result phase table of the data sheet.
#[test]
fn multi_track_goes_on_with_the_other_head() {
    let (mut driver, _) = Driver::numbered();
    let read = |head: u8, r| [0xc6, head << 2, 0, head, r, 2, 18, 0x1b, 0xff];
    let (result, data) = driver.transfer(&read(0, 17), vec![0; 4 * 512], Direction::ToMemory);
    assert_eq!(result, [0x04, 0, 0, 0, 1, 3, 2]);
    assert_eq!(data, [sector(16), sector(17), sector(18), sector(19)].concat());
    assert_eq!(driver.transfer(&read(0, 18), vec![0; 512], Direction::ToMemory).0, [0x04, 0, 0, 0, 1, 1, 2]);
    assert_eq!(driver.transfer(&read(1, 18), vec![0; 512], Direction::ToMemory).0, [0x04, 0, 0, 1, 0, 1, 2]);
    // Both tracks, and the host wants more.
    let (result, data) = driver.transfer(&read(0, 1), vec![0; 37 * 512], Direction::ToMemory);
    assert_eq!(result, [0x44, 0x80, 0, 1, 0, 1, 2]);
    assert_eq!(data[..36 * 512], numbered(36));
}

#[test]
fn the_end_of_the_cylinder_without_terminal_count_is_abnormal() {
    let (mut driver, _) = Driver::numbered();
    let (result, data) = driver.read([0, 0, 17], 3 * 512);
    assert_eq!(result, [0x40, 0x80, 0, 1, 0, 1, 2]);
    assert_eq!(data, [sector(16), sector(17), [0xee; 512]].concat());
}

#[test]
fn a_host_that_is_not_there_is_an_overrun() {
    let (mut driver, medium) = Driver::numbered();
    driver.dma.program(Vec::new(), Direction::Masked);
    assert_eq!(driver.run(&[0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff])[..3], [0x40, 0x10, 0]);
    assert_eq!(driver.run(&write(1))[..3], [0x40, 0x10, 0]);
    driver.outb(DOR, 0x14);
    assert_eq!(driver.read([0, 0, 1], 512).0[..3], [0x40, 0x10, 0], "the gate is closed");
    assert_eq!(medium.contents(), numbered(2880));
}

/// A driver may send the command first, or be interrupted between the command and the unmasking of the channel.
#[test]
fn a_dma_channel_that_is_programmed_late_is_waited_for() {
    let (mut driver, medium) = Driver::numbered();
    for (code, direction, expected) in
        [(0x46, Direction::ToMemory, sector(4).to_vec()), (0x45, Direction::FromMemory, vec![9; 512])]
    {
        driver.dma.program(Vec::new(), Direction::Masked);
        driver.command(&[code, 0, 0, 0, 5, 2, 18, 0x1b, 0xff]);
        driver.wait(150_000_000);
        assert_eq!(driver.inb(MSR), 0x10, "under way");
        assert!(driver.dma.with(|dma| dma.requested));
        driver.dma.program(vec![9; 512], direction);
        driver.wait(1_000_000);
        assert_eq!(driver.result(), [0, 0, 0, 0, 0, 6, 2]);
        assert_eq!(driver.dma.with(|dma| (dma.memory.clone(), dma.requested)), (expected, false));
    }
    assert_eq!(medium.contents()[4 * 512..5 * 512], [9; 512]);
    // For one revolution.
    driver.dma.program(Vec::new(), Direction::Masked);
    driver.command(&[0x46, 0, 0, 0, 5, 2, 18, 0x1b, 0xff]);
    driver.wait(LATENCY + 199_999_999);
    assert!(!driver.irq.level());
    driver.wait(1);
    assert_eq!(driver.result()[..3], [0x40, 0x10, 0]);
}

#[test]
fn sectors_that_are_not_there_are_not_found() {
    let (mut driver, _) = Driver::numbered();
    for (command, st1, st2) in [
        ([0x46, 0, 0, 0, 19, 2, 30, 0x1b, 0xff], 0x04, 0x00),
        ([0x46, 0, 0, 0, 0, 2, 18, 0x1b, 0xff], 0x04, 0x00),
        ([0x46, 0, 0, 0, 1, 3, 18, 0x1b, 0xff], 0x04, 0x00),
        ([0x46, 0, 0, 1, 1, 2, 18, 0x1b, 0xff], 0x04, 0x00),
        ([0x46, 0, 9, 0, 1, 2, 18, 0x1b, 0xff], 0x04, 0x10),
        ([0x06, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], 0x01, 0x00),
        ([0x46, 1, 0, 0, 1, 2, 18, 0x1b, 0xff], 0x01, 0x00),
        ([0x46, 3, 0, 0, 1, 2, 18, 0x1b, 0xff], 0x01, 0x00),
    ] {
        let (result, _) = driver.transfer(&command, vec![0; 512], Direction::ToMemory);
        assert_eq!(result, [&[0x40 | command[1], st1, st2], &command[2..6]].concat(), "{command:x?}");
    }
    driver.outb(CCR, 2);
    assert_eq!(driver.read([0, 0, 1], 512).0[..3], [0x40, 0x01, 0], "the wrong data rate");
    driver.outb(DSR, 0x00);
    assert_eq!(driver.read([0, 0, 1], 512).0[..3], [0, 0, 0], "DSR has the rate as well");
}

#[test]
fn the_heads_have_to_be_moved_unless_the_seek_is_implied() {
    let (mut driver, _) = Driver::numbered();
    assert_eq!(driver.read([5, 1, 2], 512).0[..3], [0x44, 0x04, 0x10]);
    driver.command(&[0x13, 0, 0x40, 0]);
    let (result, data) = driver.read([5, 1, 2], 512);
    assert_eq!(result[..3], [0x04, 0, 0]);
    assert_eq!(data, sector(5 * 36 + 18 + 1));
    assert_eq!(driver.run(&[0x0e])[0], 5);
}

#[test]
fn writes_reach_the_medium_and_terminal_count_fills_the_sector_with_zeroes() {
    let (mut driver, medium) = Driver::numbered();
    let data: Vec<u8> = (0..700_u32).map(|n| n as u8 | 1).collect();
    let (result, _) = driver.transfer(&write(3), data.clone(), Direction::FromMemory);
    assert_eq!(result, [0, 0, 0, 0, 0, 5, 2]);
    let mut expected = numbered(2880);
    expected[1024..2048].fill(0);
    expected[1024..1724].copy_from_slice(&data);
    assert_eq!(medium.contents(), expected);
}

#[test]
fn the_processor_transfers_byte_by_byte_in_bursts_of_the_fifo() {
    let (mut driver, medium) = Driver::numbered();
    driver.command(&[0x03, 0xdf, 0x03]);
    // EFIFO off means that the FIFO is on; threshold 12, bursts of 4.
    driver.command(&[0x13, 0, 0x0c, 0]);
    let mut data = Vec::new();
    driver.command(&[0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff]);
    assert_eq!(driver.inb(MSR), 0x30);
    driver.wait(LATENCY);
    let before = driver.irq.rising_edges();
    while driver.inb(MSR) == 0xf0 {
        data.push(driver.inb(FIFO));
    }
    assert_eq!(data, sector(17));
    // One more than the first of each burst: that of the result.
    assert_eq!(driver.irq.rising_edges() - before, 128);
    assert!(driver.irq.level());
    assert_eq!(driver.result(), [0x40, 0x80, 0, 1, 0, 1, 2]);
    assert!(!driver.irq.level());

    driver.command(&[0x45, 0, 0, 0, 17, 2, 18, 0x1b, 0xff]);
    driver.wait(LATENCY);
    for byte in 0..1024_u32 {
        assert_eq!(driver.inb(MSR), 0xb0, "byte {byte}");
        assert_eq!(driver.irq.level(), byte % 4 == 0, "byte {byte}");
        driver.outb(FIFO, byte as u8);
    }
    assert_eq!(driver.result(), [0x40, 0x80, 0, 1, 0, 1, 2]);
    let expected: Vec<u8> = (0..1024_u32).map(|byte| byte as u8).collect();
    assert_eq!(medium.contents()[16 * 512..18 * 512], expected);
}

#[test]
fn marks_of_deleted_data_are_kept_found_and_skipped() {
    let (mut driver, _) = Driver::numbered();
    let deleted = [0x49, 0, 0, 0, 2, 2, 18, 0x1b, 0xff];
    driver.transfer(&deleted, vec![7; 512], Direction::FromMemory);
    // READ DATA reads it, says so, and stops.
    let (result, data) = driver.read([0, 0, 1], 3 * 512);
    assert_eq!(result, [0, 0, 0x40, 0, 0, 3, 2]);
    assert_eq!(data, [sector(0), [7; 512], [0xee; 512]].concat());
    // With SK it passes over it.
    let skip = [0x66, 0, 0, 0, 1, 2, 18, 0x1b, 0xff];
    let (result, data) = driver.transfer(&skip, vec![0; 1024], Direction::ToMemory);
    assert_eq!(result, [0, 0, 0x40, 0, 0, 4, 2]);
    assert_eq!(data, [sector(0), sector(2)].concat());
    // READ DELETED DATA is the other way round.
    let (result, data) =
        driver.transfer(&[0x4c, 0, 0, 0, 2, 2, 18, 0x1b, 0xff], vec![0xee; 3 * 512], Direction::ToMemory);
    assert_eq!(result, [0, 0, 0x40, 0, 0, 4, 2]);
    assert_eq!(data, [[7; 512], sector(2), [0xee; 512]].concat());
    let (result, data) = driver.transfer(&[0x6c, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], vec![0xee; 1024], Direction::ToMemory);
    assert_eq!(result, [0x40, 0x80, 0x40, 1, 0, 1, 2]);
    assert_eq!(data[..512], [7; 512]);
    // Written again it is ordinary data.
    driver.transfer(&write(2), vec![8; 512], Direction::FromMemory);
    assert_eq!(driver.read([0, 0, 2], 512).0, [0, 0, 0, 0, 0, 3, 2]);
}

#[test]
fn read_track_reads_from_the_index_whatever_the_ids_are() {
    let (mut driver, _) = Driver::numbered();
    driver.seek(3);
    let command = [0x42, 4, 3, 1, 1, 2, 4, 0x1b, 0xff];
    let (result, data) = driver.transfer(&command, vec![0; 4 * 512], Direction::ToMemory);
    assert_eq!(result[..3], [0x04, 0, 0]);
    assert_eq!(data, (126..130).flat_map(sector).collect::<Vec<_>>());
    let other_id = [0x42, 4, 7, 1, 9, 2, 4, 0x1b, 0xff];
    let (result, data) = driver.transfer(&other_id, vec![0; 4 * 512], Direction::ToMemory);
    assert_eq!(result[..3], [0x04, 0x04, 0]);
    assert_eq!(data, (126..130).flat_map(sector).collect::<Vec<_>>());
    let (result, _) = driver.transfer(&command, vec![0; 9 * 512], Direction::ToMemory);
    assert_eq!(result[..3], [0x44, 0x80, 0], "EOT sectors have been read");
    let all = [0x42, 4, 3, 1, 1, 2, 30, 0x1b, 0xff];
    let (result, _) = driver.transfer(&all, vec![0; 30 * 512], Direction::ToMemory);
    assert_eq!(result[..3], [0x44, 0x05, 0], "a track has 18");
}

#[test]
fn verify_needs_no_host() {
    let (mut driver, medium) = Driver::numbered();
    assert_eq!(driver.run(&[0x56, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]), [0, 0, 0, 1, 0, 1, 2]);
    // EC: the last parameter counts sectors.
    assert_eq!(driver.run(&[0xd6, 0x80, 0, 0, 10, 2, 18, 0x1b, 20]), [0x04, 0, 0, 0, 1, 12, 2]);
    assert_eq!(driver.run(&[0x56, 0x80, 0, 0, 10, 2, 18, 0x1b, 20])[..3], [0x40, 0x80, 0]);
    medium.set_broken(true);
    assert_eq!(driver.run(&[0x56, 0, 0, 0, 1, 2, 18, 0x1b, 0xff])[..3], [0x40, 0x20, 0x20]);
}

#[test]
fn scan_looks_for_equal_lower_and_higher_sectors() {
    let (mut driver, _) = Driver::numbered();
    let mut scan = |code: u8, r, step, host: Vec<u8>| {
        let command = [0x40 | code, 0, 0, 0, r, 2, 18, 0x1b, step];
        driver.transfer(&command, host, Direction::FromMemory).0
    };
    // The third sector is the one that is equal.
    let searched = sector(2).repeat(18);
    assert_eq!(scan(0x11, 1, 1, searched.clone()), [0, 0, 0x08, 0, 0, 4, 2]);
    assert_eq!(scan(0x11, 2, 2, searched.clone())[..3], [0x40, 0x80, 0x04], "sectors 2, 4 ... 18");
    assert_eq!(scan(0x11, 1, 2, searched), [0, 0, 0x08, 0, 0, 5, 2]);
    assert_eq!(scan(0x11, 1, 1, vec![0xff; 512 * 18])[..3], [0, 0, 0x08], "FFh stands for any byte");
    assert_eq!(scan(0x19, 1, 1, [9; 512].to_vec())[..3], [0, 0, 0x00], "lower");
    // Words 0001h, 0002h ...: not lower than 0001h everywhere before the second one.
    let low_byte = |byte| -> Vec<u8> { [byte, 0].repeat(256 * 18) };
    assert_eq!(scan(0x1d, 1, 1, low_byte(4)), [0, 0, 0x08, 0, 0, 6, 2], "higher or equal");
    assert_eq!(scan(0x1d, 7, 1, low_byte(4)), [0, 0, 0x00, 0, 0, 8, 2], "higher");
    assert_eq!(scan(0x11, 1, 1, vec![5; 512]), [0, 0, 0x04, 0, 0, 2, 2], "terminal count, nothing found");
}

#[test]
fn a_track_is_formatted_with_the_filler() {
    let (mut driver, medium) = Driver::numbered();
    driver.seek(2);
    let ids: Vec<u8> = (1..=18).flat_map(|r| [2, 1, r, 2]).collect();
    let (result, _) = driver.transfer(&[0x4d, 4, 2, 18, 0x54, 0xf6], ids, Direction::FromMemory);
    assert_eq!(result[..3], [0x04, 0, 0]);
    let mut expected = numbered(2880);
    expected[90 * 512..108 * 512].fill(0xf6);
    assert_eq!(medium.contents(), expected);
    assert_eq!(driver.run(&[0x0e])[6], 18);

    // What an image has no place for.
    for id in [[2, 1, 19, 2], [2, 1, 1, 3], [9, 1, 1, 2], [2, 0, 1, 2]] {
        let (result, _) = driver.transfer(&[0x4d, 4, 2, 1, 0x54, 0xf6], id.to_vec(), Direction::FromMemory);
        assert_eq!(result[..3], [0x44, 0x02, 0], "{id:?}");
    }
    assert_eq!(medium.contents(), expected);
}

#[test]
fn a_track_is_formatted_with_data() {
    let (mut driver, medium) = Driver::numbered();
    let unit = |r: u8| [&[0, 0, r, 2][..], &[r; 512]].concat();
    let host = [unit(4), unit(9)].concat();
    let (result, _) = driver.transfer(&[0xed, 0, 2, 2, 0x54, 0xf6], host, Direction::FromMemory);
    assert_eq!(result[..3], [0, 0, 0]);
    let mut expected = numbered(2880);
    expected[3 * 512..4 * 512].fill(4);
    expected[8 * 512..9 * 512].fill(9);
    assert_eq!(medium.contents(), expected);
}
