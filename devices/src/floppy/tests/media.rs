//! Media: formats, drives, change and protection.

use super::*;
use crate::base::{Device, ResetKind};

#[test]
fn the_size_of_an_image_tells_its_format() {
    for (kib, kind, sectors, cylinders, heads, rate) in [
        (160, DriveKind::Mb120, 8, 40, 1, 2),
        (180, DriveKind::Mb120, 9, 40, 1, 1),
        (320, DriveKind::Mb120, 8, 40, 2, 2),
        (360, DriveKind::Mb120, 9, 40, 2, 1),
        (720, DriveKind::Mb144, 9, 80, 2, 2),
        (1200, DriveKind::Mb120, 15, 80, 2, 0),
        (1440, DriveKind::Mb144, 18, 80, 2, 0),
        (1680, DriveKind::Mb144, 21, 80, 2, 0),
        (2880, DriveKind::Mb288, 36, 80, 2, 3),
    ] {
        assert_eq!(DriveKind::for_medium(kib * 1024), Some(kind), "{kib} KiB");
        let drive = FloppyDrive::new(kind, Some(Box::new(MemoryBlock::zeroed(kib as usize * 1024))));
        let geometry = drive.geometry().unwrap();
        assert_eq!((geometry.sectors, geometry.cylinders, geometry.heads), (sectors, cylinders, heads), "{kib} KiB");
        assert_eq!(geometry.rate, rate, "{kib} KiB");
    }
    assert_eq!(DriveKind::for_medium(512), None);
}

#[test]
fn each_format_reads_from_its_first_to_its_last_sector() {
    for kib in [160, 180, 320, 360, 720, 1200, 1440, 1680, 2880_u32] {
        let medium = MemoryBlock::new(numbered(kib * 2));
        let mut driver = Driver::with(&medium);
        let geometry = lock(&driver.fdc).drive(0).unwrap().geometry().unwrap();
        let step = if geometry.cylinders == 40 { 2 } else { 1 };
        let (last_cylinder, last_head) = (geometry.cylinders - 1, geometry.heads - 1);
        for (c, h, r, number) in [(0, 0, 1, 0), (last_cylinder, last_head, geometry.sectors, kib * 2 - 1)] {
            driver.seek(c * step);
            let command = [0x46, h << 2, c, h, r, 2, geometry.sectors, 0x1b, 0xff];
            let (result, data) = driver.transfer(&command, vec![0; 512], Direction::ToMemory);
            assert_eq!(result[..3], [h << 2, 0, 0], "{kib} KiB: {c} {h} {r}");
            assert_eq!(data, sector(number), "{kib} KiB: {c} {h} {r}");
        }
    }
}

/// QEMU users boot single sectors.
#[test]
fn a_small_image_is_the_beginning_of_a_medium() {
    let medium = Box::new(MemoryBlock::new(numbered(1)));
    let mut driver = Driver::new([Some(FloppyDrive::new(DriveKind::Mb144, Some(medium))), None]);
    driver.outb(CCR, 0);
    let (result, data) = driver.read([0, 0, 1], 512);
    assert_eq!((&result[..3], &data[..]), (&[0, 0, 0][..], &sector(0)[..]));
    assert_eq!(driver.read([0, 0, 2], 512).0, [0x40, 0x04, 0, 0, 0, 2, 2]);
}

#[test]
fn a_change_shows_until_the_heads_move_over_a_medium() {
    let (mut driver, medium) = Driver::numbered();
    assert_eq!(driver.inb(DIR), 0x80);
    driver.command(&[0x07, 0x00]);
    driver.wait(LATENCY);
    driver.run(&[0x08]);
    assert_eq!(driver.inb(DIR), 0x80, "the heads have not moved");
    driver.seek(1);
    assert_eq!(driver.inb(DIR), 0x00);

    assert!(lock(&driver.fdc).eject(0).is_some());
    assert!(lock(&driver.fdc).eject(0).is_none());
    driver.seek(0);
    driver.seek(1);
    assert_eq!(driver.inb(DIR), 0x80, "the drive is empty");
    assert_eq!(driver.run(&[0x46, 0, 1, 0, 1, 2, 18, 0x1b, 0xff])[..2], [0x40, 0x01]);

    assert!(lock(&driver.fdc).insert(0, Box::new(medium.clone())));
    assert!(!lock(&driver.fdc).insert(1, Box::new(medium)), "there is no drive B");
    assert_eq!(driver.inb(DIR), 0x80);
    driver.seek(0);
    assert_eq!(driver.inb(DIR), 0x00);
    driver.outb(DOR, 0x1d);
    assert_eq!(driver.inb(DIR), 0x00, "the line of another drive");
}

#[test]
fn a_protected_medium_is_not_written() {
    let (mut driver, medium) = Driver::numbered();
    medium.set_read_only(true);
    assert_eq!(driver.run(&[0x04, 0x00]), [0x78]);
    for command in [[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], [0x49, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]] {
        let (result, _) = driver.transfer(&command, vec![1; 512], Direction::FromMemory);
        assert_eq!(result, [0x40, 0x02, 0, 0, 0, 1, 2]);
    }
    let (result, _) = driver.transfer(&[0x4d, 0, 2, 18, 0x1b, 0xf6], vec![0, 0, 1, 2], Direction::FromMemory);
    assert_eq!(result[..2], [0x40, 0x02]);
    assert_eq!(medium.contents(), numbered(2880));
}

#[test]
fn errors_of_the_host_are_errors_of_the_medium() {
    let (mut driver, medium) = Driver::numbered();
    medium.set_broken(true);
    assert_eq!(driver.read([0, 0, 3], 512).0, [0x40, 0x20, 0x20, 0, 0, 3, 2]);
    let (result, _) = driver.transfer(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], vec![1; 512], Direction::FromMemory);
    assert_eq!(result[..2], [0x40, 0x02]);
    medium.set_broken(false);
    assert_eq!(driver.read([0, 0, 3], 512).0[..3], [0, 0, 0]);
}

/// Writes a sector of drive A.
fn write(driver: &mut Driver) {
    driver.dma.program(vec![1; 512], Direction::FromMemory);
    driver.command(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    driver.wait(LATENCY);
    assert_eq!(driver.result()[..3], [0, 0, 0]);
}

/// A flush takes the time of the host's disk, in which the machine does nothing else.
#[test]
fn commands_do_not_wait_for_the_hosts_disk() {
    let (mut driver, medium) = Driver::numbered();
    for _ in 0..10 {
        write(&mut driver);
        driver.wait(900_000_000);
    }
    assert_eq!(medium.flushes(), 0);
    driver.wait(100_000_000);
    assert_eq!(medium.flushes(), 1, "a second after the last write");
    driver.wait(60_000_000_000);
    driver.read([0, 0, 1], 512);
    driver.wait(60_000_000_000);
    assert_eq!(medium.flushes(), 1, "nothing was written since");
}

#[test]
fn what_is_written_is_safe_when_the_motor_stops_the_medium_leaves_or_the_machine_does() {
    let (mut driver, medium) = Driver::numbered();
    driver.outb(DOR, 0x1c);
    write(&mut driver);
    driver.outb(DOR, 0x3c);
    assert_eq!(medium.flushes(), 0, "the other motor starts");
    driver.outb(DOR, 0x0c);
    assert_eq!(medium.flushes(), 1, "the motors stop");
    write(&mut driver);
    lock(&driver.fdc).reset(ResetKind::System);
    assert_eq!(medium.flushes(), 2);
    driver.outb(CCR, 0);
    driver.command(&[0x03, 0xdf, 0x02]);
    write(&mut driver);
    drop(lock(&driver.fdc).eject(0));
    assert_eq!(medium.flushes(), 3);
    lock(&driver.fdc).insert(0, Box::new(medium.clone()));
    write(&mut driver);
    lock(&driver.fdc).insert(0, Box::new(medium.clone()));
    assert_eq!(medium.flushes(), 4);
    write(&mut driver);
    drop(driver);
    assert_eq!(medium.flushes(), 5);
}

#[test]
fn a_sector_written_by_the_processor_is_safe_although_its_command_never_ends() {
    let (mut driver, medium) = Driver::numbered();
    driver.command(&[0x03, 0xdf, 0x03]);
    driver.command(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    driver.wait(LATENCY);
    (0..600).for_each(|_| driver.outb(FIFO, 7));
    driver.wait(LONG);
    assert_eq!((driver.inb(MSR), medium.flushes()), (0xb0, 1));
}
