//! Commands of disks.

use super::*;
use crate::backend::disk::{DiskClient, Fault, Operation};

#[test]
fn sectors_are_read_one_at_a_time_each_with_an_interrupt() {
    let driver = Driver::new();
    driver.command(0x20, 0, 3, 100);
    for number in 100..103 {
        assert_eq!(driver.status(PRIMARY), 0x58);
        assert!(driver.interrupt(PRIMARY));
        assert_eq!(driver.read_data(PRIMARY, 512), sector(number));
    }
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0x50, false), "whoever has read it all knows");
    assert_eq!((driver.lba(), driver.inb(PRIMARY, 2)), (102, 0));
    assert_eq!(driver.inw(PRIMARY), 0, "there is no more");
}

#[test]
fn sectors_are_written_and_the_first_is_asked_for_without_an_interrupt() {
    let driver = Driver::new();
    driver.command(0x30, 0, 2, 7);
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0x58, false));
    driver.write_data(PRIMARY, &[0xaa; 512]);
    assert!(driver.interrupt(PRIMARY));
    assert_eq!(driver.status(PRIMARY), 0x58);
    driver.write_data(PRIMARY, &[0xbb; 512]);
    assert!(driver.interrupt(PRIMARY));
    assert_eq!(driver.status(PRIMARY), 0x50);
    let expected = [sector(6), vec![0xaa; 512], vec![0xbb; 512], sector(9)].concat();
    assert_eq!(driver.medium.contents()[6 * 512..10 * 512], expected);
}

#[test]
fn multiple_sectors_pass_in_blocks() {
    let driver = Driver::new();
    driver.command(0xc6, 0, 4, 0);
    assert!(driver.interrupt(PRIMARY));
    driver.command(0xc4, 0, 6, 10);
    assert_eq!(driver.read_data(PRIMARY, 2048), sectors(10..14));
    assert!(driver.interrupt(PRIMARY));
    assert_eq!(driver.read_data(PRIMARY, 1024), sectors(14..16));
    assert_eq!(driver.status(PRIMARY), 0x50);
    driver.command_ext(0x39, 5, 20);
    driver.write_data(PRIMARY, &[1; 2048]);
    assert!(driver.interrupt(PRIMARY));
    driver.write_data(PRIMARY, &[2; 512]);
    assert_eq!(driver.status(PRIMARY), 0x50);
    assert_eq!(driver.medium.contents()[20 * 512..25 * 512], [vec![1; 2048], vec![2; 512]].concat());
    for bad in [3, 17, 32, 0x80] {
        driver.command(0xc6, 0, bad, 0);
        assert_eq!(driver.error(), 0x04, "{bad} sectors");
    }
    driver.command(0xc6, 0, 0, 0);
    driver.command(0xc4, 0, 1, 0);
    assert_eq!(driver.error(), 0x04, "they are off");
}

#[test]
fn addresses_of_48_bits_and_counts_of_0() {
    let driver = Driver::new();
    driver.command_ext(0x24, 1, 4095);
    assert_eq!(driver.read_data(PRIMARY, 512), sector(4095));
    driver.command_ext(0x24, 1, 1 << 40);
    assert_eq!(driver.error(), 0x10, "IDNF");
    driver.command(0x40, 0, 0, 0);
    assert_eq!(driver.status(PRIMARY), 0x50);
    assert_eq!(driver.disk.take_log().last(), Some(&(Operation::Read, 0, 256 * 512)));
    driver.command_ext(0x42, 0, 0);
    assert_eq!(driver.error(), 0x10, "65536 sectors are more than there are");
    driver.control(PRIMARY, 0x00);
    let lba = driver.lba();
    driver.control(PRIMARY, 0x80);
    assert_eq!((lba, [3, 4, 5].map(|at| driver.inb(PRIMARY, at))), (4096, [0, 0, 0]));
}

#[test]
fn cylinders_heads_and_sectors_as_they_were_set() {
    let driver = Driver::new();
    // 8 heads, 32 sectors.
    for (register, value) in [(2, 32), (6, 0xa7), (7, 0x91)] {
        driver.outb(PRIMARY, register, value);
    }
    assert_eq!(driver.status(PRIMARY), 0x50);
    let words = driver.identify();
    assert_eq!((words[54], words[55], words[56], words[57], words[58]), (16, 8, 32, 4096, 0));
    let read = |cylinder: u8, head: u8, sector: u8, count: u8| {
        for (register, value) in [(2, count), (3, sector), (4, cylinder), (5, 0), (6, 0xa0 | head), (7, 0x20)] {
            driver.outb(PRIMARY, register, value);
        }
    };
    read(3, 5, 31, 3);
    let first = (3 * 8 + 5) * 32 + 30;
    assert_eq!(driver.read_data(PRIMARY, 1536), sectors(first..first + 3));
    assert_eq!([3, 4, 6].map(|at| driver.inb(PRIMARY, at)), [1, 3, 0xa6], "on the next head");
    for (cylinder, head, sector) in [(16, 0, 1), (0, 8, 1), (0, 0, 0), (0, 0, 33)] {
        read(cylinder, head, sector, 1);
        assert_eq!(driver.error(), 0x10, "{cylinder}/{head}/{sector}");
    }
    for (register, value) in [(2, 0), (6, 0xa0), (7, 0x91)] {
        driver.outb(PRIMARY, register, value);
    }
    assert_eq!(driver.error(), 0x04, "no sectors");
}

/// What QEMU 7.2 says, and what this drive can do besides.
#[test]
fn the_identification_tells_what_the_drive_can_do() {
    let driver = Driver::new();
    let words = driver.identify();
    let expected = [
        (0, 0x0040),
        (1, 4),
        (3, 16),
        (6, 63),
        (47, 0x8010),
        (48, 1),
        (53, 7),
        (59, 0x110),
        (60, 4096),
        (61, 0),
        (62, 7),
        (63, 7),
        (64, 3),
        (65, 120),
        (80, 0xf0),
        (81, 0x16),
        (82, 0x7469),
        (83, 0x7400),
        (84, 0x4102),
        (85, 0x7469),
        (86, 0x3400),
        (87, 0x4102),
        (88, 0x203f),
        (93, 0x6001),
        (100, 4096),
        (101, 0),
        (106, 0x6000),
        (108, 0x5000),
        (109, 0xc500),
        (110, 0x1234),
        (111, 0x5678),
        (169, 1),
        (217, 0),
    ];
    for (at, value) in expected {
        assert_eq!(words[at], value, "word {at}");
    }
    let text =
        |at: usize, len: usize| words[at..at + len].iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    assert_eq!(text(10, 10), b"QM00001             ");
    assert_eq!(text(23, 4), b"2.5+    ");
    assert_eq!(text(27, 20), b"QEMU HARDDISK                           ");
}

/// ATA8-ACS, word 106: bits 3:0 are the power of two of logical sectors in a physical one.
#[test]
fn the_identification_tells_the_size_of_physical_sectors() {
    for (bytes, word) in [(512, 0x6000), (1024, 0x6001), (4096, 0x6003), (2 << 20, 0x600c)] {
        let policy = ErrorPolicy { read: OnError::Report, write: OnError::Report };
        let driver = Driver::with(policy, |usual| Identity { physical_sector: bytes, ..usual });
        assert_eq!(driver.identify()[106], word, "{bytes} bytes");
    }
}

#[test]
fn transfer_modes_and_the_write_cache_are_features() {
    let driver = Driver::new();
    for (code, words) in [(0x22, [0x07, 0x407, 0x3f]), (0x44, [0x07, 0x07, 0x103f]), (0x10, [0x107, 0x07, 0x3f])] {
        driver.command(0xef, 0x03, code, 0);
        assert!(driver.interrupt(PRIMARY));
        let identified = driver.identify();
        assert_eq!([62, 63, 88].map(|at| identified[at]), words, "mode {code:#x}");
    }
    for bad in [0x02, 0x0d, 0x13, 0x23, 0x46, 0x80] {
        driver.command(0xef, 0x03, bad, 0);
        assert_eq!(driver.error(), 0x04, "mode {bad:#x}");
    }
    driver.command(0xef, 0x99, 0, 0);
    assert_eq!(driver.error(), 0x04);
    let write = |driver: &Driver| {
        driver.command(0x30, 0, 1, 0);
        driver.write_data(PRIMARY, &[0; 512]);
    };
    driver.disk.take_log().clear();
    driver.command(0xef, 0x82, 0, 0);
    write(&driver);
    assert_eq!(
        driver.disk.take_log(),
        [(Operation::Flush, 0, 0), (Operation::Write { durable: true }, 0, 512)],
        "switching the cache off empties it"
    );
    assert_eq!(driver.identify()[85] & 0x20, 0);
    driver.command(0xef, 0x02, 0, 0);
    write(&driver);
    driver.command(0xea, 0, 0, 0);
    assert_eq!(driver.disk.take_log(), [(Operation::Write { durable: false }, 0, 512), (Operation::Flush, 0, 0)]);
    assert!(driver.interrupt(PRIMARY));
}

/// As with QEMU's cache=writethrough.
#[test]
fn the_write_cache_may_be_off_after_power_on() {
    let driver = Driver::with(ErrorPolicy { read: OnError::Report, write: OnError::Report }, |usual| Identity {
        write_cache: false,
        ..usual
    });
    let is_on = |driver: &Driver| driver.identify()[85] & 0x20 != 0;
    assert!(!is_on(&driver));
    driver.command(0x30, 0, 1, 0);
    driver.write_data(PRIMARY, &[0; 512]);
    assert_eq!(driver.disk.take_log(), [(Operation::Write { durable: true }, 0, 512)]);
    driver.command(0xef, 0x02, 0, 0);
    assert!(is_on(&driver));
    lock(&driver.ide).reset(ResetKind::System);
    assert!(!is_on(&driver));
}

#[test]
fn bad_sectors_are_told_by_their_number() {
    let driver = Driver::new();
    driver.disk.spoil(52 * 512..53 * 512, Fault::Io);
    driver.command(0x20, 0, 4, 50);
    driver.read_data(PRIMARY, 1024);
    assert_eq!((driver.error(), driver.lba(), driver.inb(PRIMARY, 2)), (0x40, 52, 2), "UNC");
    driver.command(0x30, 0, 4, 52);
    driver.write_data(PRIMARY, &[0; 512]);
    assert_eq!((driver.error(), driver.lba()), (0x04, 52), "a write is aborted");
    driver.disk.spoil_flushes(Some(Fault::Io));
    driver.command(0xe7, 0, 0, 0);
    assert_eq!(driver.error(), 0x04, "a flush that failed is never a success");
    driver.command(0x20, 0, 2, SECTORS - 1);
    driver.read_data(PRIMARY, 512);
    assert_eq!((driver.error(), driver.lba(), driver.inb(PRIMARY, 2)), (0x10, SECTORS, 1), "behind the last one");
}

#[test]
fn the_host_protected_area_hides_the_end_of_the_disk() {
    let driver = Driver::new();
    driver.command(0xf9, 0, 0, 2047);
    assert_eq!(driver.error(), 0x04, "not without READ NATIVE MAX ADDRESS");
    driver.command(0xf8, 0, 0, 0);
    assert_eq!(driver.lba(), 4095);
    driver.command(0xf9, 0, 0, 2047);
    assert_eq!(driver.status(PRIMARY), 0x50);
    assert_eq!((driver.identify()[60], driver.identify()[100]), (2048, 2048));
    driver.command(0x20, 0, 1, 2048);
    assert_eq!(driver.error(), 0x10);
    driver.command_ext(0x27, 0, 0);
    assert_eq!(driver.lba() & 0xff_ffff, 4095, "the native size stays");
    driver.command_ext(0x37, 0, 4096);
    assert_eq!(driver.error(), 0x10, "more than there is");
    lock(&driver.ide).reset(ResetKind::System);
    assert_eq!(driver.identify()[60], 4096, "it was set until the next reset");
    driver.command_ext(0x27, 0, 0);
    driver.command_ext(0x37, 1, 1023);
    lock(&driver.ide).reset(ResetKind::System);
    assert_eq!(driver.identify()[60], 1024, "for good");
    driver.command(0xf8, 0, 0, 0);
    driver.command(0xf9, 0, 1, 4095);
    assert_eq!(driver.error(), 0x10, "which can be done once");
}

#[test]
fn power_modes_and_the_standby_timer() {
    let driver = Driver::new();
    let mode = |driver: &Driver| {
        driver.command(0xe5, 0, 0, 0);
        driver.inb(PRIMARY, 2)
    };
    assert_eq!(mode(&driver), 0xff);
    driver.command(0xe0, 0, 0, 0);
    assert_eq!((mode(&driver), driver.disk.take_log()), (0x00, vec![(Operation::Flush, 0, 0)]));
    driver.command(0x40, 0, 1, 0);
    assert_eq!(mode(&driver), 0xff, "an access wakes it");
    // 2 * 5 seconds.
    driver.command(0xe3, 0, 2, 0);
    driver.clock.set(9_999_999_999);
    assert_eq!(mode(&driver), 0xff);
    driver.clock.set(10_000_000_000);
    assert_eq!(mode(&driver), 0x00);
    driver.command(0xe6, 0, 0, 0);
    driver.command(0xec, 0, 0, 0);
    assert_eq!(driver.error(), 0x04, "asleep");
    driver.control(PRIMARY, 0x04);
    driver.control(PRIMARY, 0x00);
    assert_eq!(mode(&driver), 0x00, "a reset wakes it to standby");
}

#[test]
fn smart_tells_that_all_is_well() {
    let driver = Driver::new();
    let key = 0x00c2_4f00;
    driver.command(0xb0, 0xda, 0, 0);
    assert_eq!(driver.error(), 0x04, "not without the key");
    driver.command(0xb0, 0xda, 0, key);
    assert_eq!([4, 5, 7].map(|at| driver.inb(PRIMARY, at)), [0x4f, 0xc2, 0x50]);
    driver.command(0xb0, 0xd4, 0, key | 0x01);
    for (feature, low) in [(0xd0, 0), (0xd1, 0), (0xd5, 1), (0xd5, 6)] {
        driver.command(0xb0, feature, 1, key | low);
        let data = driver.read_data(PRIMARY, 512);
        let sum = data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!((sum, data[0]), (0, 1), "{feature:#x}, log {low}");
        if low == 6 {
            assert_eq!((data[2], data[508]), (1, 1), "the test that was made");
        }
    }
    driver.command(0xb0, 0xd9, 0, key);
    assert_eq!(driver.identify()[85] & 1, 0);
    driver.command(0xb0, 0xd0, 0, key);
    assert_eq!(driver.error(), 0x04, "it is off");
    driver.command(0xb0, 0xd8, 0, key);
    assert_eq!(driver.status(PRIMARY), 0x50);
}

#[test]
fn what_a_disk_does_not_know_is_aborted() {
    let driver = Driver::new();
    // NOP, READ LONG, READ DMA QUEUED, READ LOG EXT, FORMAT TRACK, CONFIGURATION, MEDIA LOCK, SECURITY x 6, PACKET.
    for opcode in [0x00, 0x08, 0x22, 0x26, 0x2f, 0x50, 0xa0, 0xa1, 0xb1, 0xc7, 0xde, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6]
    {
        driver.command(opcode, 0, 1, 0);
        assert_eq!((driver.error(), driver.interrupt(PRIMARY)), (0x04, true), "{opcode:#x}");
    }
    for opcode in [0x10, 0x1f, 0x70, 0x7f, 0xe1, 0x95] {
        driver.command(opcode, 0, 1, 0);
        assert_eq!((driver.status(PRIMARY), driver.interrupt(PRIMARY)), (0x50, true), "{opcode:#x}");
    }
}

#[test]
fn the_buffer_keeps_what_was_written() {
    let driver = Driver::new();
    driver.command(0xe8, 0, 0, 0);
    driver.write_data(PRIMARY, &sector(77));
    assert!(driver.interrupt(PRIMARY));
    driver.command(0xe4, 0, 0, 0);
    assert_eq!(driver.read_data(PRIMARY, 512), sector(77));
}

/// ATA/ATAPI-7, 6.54: the subcommands that change something or tell of more than health, and what is none.
#[test]
fn smart_does_as_it_is_told_and_refuses_the_rest() {
    const KEY: u32 = 0x00c2_4f00;
    let driver = Driver::new();
    let smart = |feature: u8, count: u8, low: u32| {
        driver.command(0xb0, feature, count, KEY | low);
        driver.status(PRIMARY)
    };
    let sector = |feature, low| {
        assert_eq!(smart(feature, 1, low), 0x58, "{feature:#x} {low:#x}");
        driver.read_data(PRIMARY, 512)
    };
    let sum = |data: &[u8]| data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    // Attributes are saved by themselves, or not.
    for (count, autosave) in [(0x00, 0x00), (0xf1, 0x80)] {
        assert_eq!(smart(0xd2, count, 0), 0x50);
        assert_eq!(sector(0xd0, 0)[362] & 0x80, autosave);
    }
    assert_eq!(smart(0xd3, 0, 0), 0x50, "they can be saved now");
    // Thresholds are those of the same attributes.
    let (values, thresholds) = (sector(0xd0, 0), sector(0xd1, 0));
    assert_eq!((sum(&values), sum(&thresholds)), (0, 0));
    for at in (2..362).step_by(12) {
        assert_eq!(values[at], thresholds[at], "attribute at {at}");
        assert!(values[at] == 0 || values[at + 3] > thresholds[at + 1], "attribute {} is well", values[at]);
    }
    // Logs: the directory, with a sector each of the two that there are; no errors; a short test that has ended well.
    let directory = sector(0xd5, 0x00);
    let listed: Vec<_> = (1..256).filter(|log| directory[2 * log] != 0).collect();
    assert_eq!((directory[0], listed), (1, vec![1, 6]));
    assert_eq!(sector(0xd5, 0x01)[1], 0, "no entry of an error");
    for kind in [0x00, 0x7f, 0x81] {
        assert_eq!(smart(0xd4, 0, kind), 0x50, "test {kind:#x}");
    }
    let tests = sector(0xd5, 0x06);
    assert_eq!((tests[2], tests[3], tests[508], sum(&tests)), (0x81, 0, 1, 0), "one of them is a test");
    for (feature, count, low) in [(0xd2, 0x01, 0), (0xd4, 0, 0x03), (0xd5, 1, 0x55), (0xd5, 2, 0x01), (0xdf, 0, 0)] {
        smart(feature, count, low);
        assert_eq!(driver.error(), 0x04, "{feature:#x} {count:#x} {low:#x}");
    }
}

/// ATA has nothing that tells of it: a driver that asks again finds it.
#[test]
fn a_medium_of_another_length_is_told_to_those_who_ask() {
    let driver = Driver::new();
    driver.medium.set_len(8192 * 512);
    lock(&driver.ide).medium_resized();
    assert_eq!((driver.identify()[60], driver.identify()[100]), (8192, 8192));
    driver.command(0xf8, 0, 0, 0);
    assert_eq!(driver.lba(), 8191);
    driver.medium.set_len(1024 * 512);
    lock(&driver.ide).medium_resized();
    assert_eq!((driver.identify()[60], driver.identify()[100]), (1024, 1024));
    driver.command(0x20, 0, 1, 1024);
    assert_eq!(driver.error(), 0x10, "behind the end");
}

/// ATA/ATAPI-6, 6.10: until the next reset by hardware, or for good.
#[test]
fn what_is_hidden_stays_hidden_when_the_disk_changes_its_length() {
    let hide = |driver: &Driver, last: u32, for_good: u8| {
        driver.command(0xf8, 0, 0, 0);
        driver.command(0xf9, 0, for_good, last);
        assert_eq!(driver.identify()[60], last as u16 + 1);
    };
    let resized = |driver: &Driver, sectors: usize| {
        driver.medium.set_len(sectors * 512);
        lock(&driver.ide).medium_resized();
        driver.identify()[60]
    };
    let reset = |driver: &Driver| {
        lock(&driver.ide).reset(ResetKind::System);
        driver.identify()[60]
    };
    let driver = Driver::new();
    hide(&driver, 2047, 0);
    assert_eq!((resized(&driver, 8192), reset(&driver)), (2048, 8192), "until the next reset");
    hide(&driver, 2047, 0);
    assert_eq!((resized(&driver, 1024), reset(&driver)), (1024, 1024), "there is no more");
    let driver = Driver::new();
    hide(&driver, 1023, 1);
    assert_eq!((resized(&driver, 8192), reset(&driver)), (1024, 1024), "for good");
    hide(&driver, 4095, 0);
    assert_eq!((resized(&driver, 16384), reset(&driver)), (4096, 1024), "shown until the next reset");
    assert_eq!(resized(&driver, 512), 512);
}

/// ATA/ATAPI-6, 8.46: look-ahead, modes of PIO, and whether a reset by software makes the features what they were at first.
#[test]
fn features_last_until_a_reset_reverts_them() {
    let driver = Driver::new();
    let set = |feature, count| {
        driver.command(0xef, feature, count, 0);
        assert_eq!((driver.status(PRIMARY), driver.interrupt(PRIMARY)), (0x50, true), "{feature:#x} {count:#x}");
    };
    // Look-ahead and write cache, of the features that are on.
    let on = || driver.identify()[85] & 0x60;
    let after_reset = || {
        driver.control(PRIMARY, 0x04);
        driver.control(PRIMARY, 0x00);
        on()
    };
    assert_eq!(on(), 0x60);
    set(0x55, 0);
    assert_eq!(on(), 0x20);
    set(0xaa, 0);
    assert_eq!(on(), 0x60);
    // The default with flow control and without, and the modes 0 to 4: all are as fast as any.
    let before = driver.identify();
    for mode in [0x00, 0x01, 0x08, 0x0c] {
        set(0x03, mode);
        assert_eq!(driver.identify(), before);
    }
    for (reverting, kept) in [(0x66, 0x00), (0xcc, 0x60), (0x66, 0x00)] {
        set(reverting, 0);
        set(0x55, 0);
        set(0x82, 0);
        set(reverting, 0);
        assert_eq!((on(), after_reset()), (0x00, kept), "{reverting:#x}");
        set(0xaa, 0);
        set(0x02, 0);
    }
}
