//! Commands that set up and tell, and codes that are none.

use super::*;
use crate::base::{Device, ResetKind};

#[test]
fn the_chip_says_what_it_is() {
    let (mut driver, _) = Driver::numbered();
    assert_eq!(driver.run(&[0x10]), [0x90]);
    assert_eq!(driver.run(&[0x18]), [0x41]);
    assert_eq!(driver.run(&[0x17, 0x02]), [0x02]);
}

/// The codes of the data sheet's table; all others answer 80h at once.
#[test]
fn every_other_code_is_invalid() {
    let with_options = |code: u8, options: u8| (0..=255_u8).filter(move |byte| byte & !options == code);
    let mut valid: Vec<u8> =
        vec![0x03, 0x04, 0x07, 0x08, 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x14, 0x94, 0x17, 0x18, 0x2e, 0x33, 0x4e, 0x8e];
    for (code, options) in [
        (0x06, 0xe0),
        (0x0c, 0xe0),
        (0x16, 0xe0),
        (0x11, 0xe0),
        (0x19, 0xe0),
        (0x1d, 0xe0),
        (0x05, 0xc0),
        (0x09, 0xc0),
        (0x02, 0x40),
        (0x0a, 0x40),
        (0x0d, 0x40),
        (0xad, 0x40),
        (0x8f, 0x40),
    ] {
        valid.extend(with_options(code, options));
    }
    for code in (0..=255).filter(|code| !valid.contains(code)) {
        let mut driver = Driver::new([None, None]);
        driver.outb(FIFO, code);
        assert_eq!(driver.inb(MSR), 0xd0, "{code:#x}");
        assert_eq!(driver.result(), [0x80], "{code:#x}");
        assert!(!driver.irq.level(), "an invalid command raises no interrupt");
    }
}

#[test]
fn dumpreg_shows_what_was_set_up() {
    let (mut driver, _) = Driver::numbered();
    assert_eq!(driver.run(&[0x0e]), [0, 0, 0, 0, 0xdf, 0x02, 0, 0, 0x20, 0]);
    driver.command(&[0x13, 0x00, 0x57, 0x20]);
    driver.command(&[0x12, 0x80 | 0x3c | 0x03]);
    driver.seek(33);
    driver.read([33, 0, 1], 512);
    assert_eq!(driver.run(&[0x0e]), [33, 0, 0, 0, 0xdf, 0x02, 18, 0x3f, 0x57, 0x20]);
    // Without OW the bits of the drives stay.
    driver.command(&[0x12, 0x05]);
    assert_eq!(driver.run(&[0x0e])[7], 0x3d);
}

#[test]
fn a_lock_keeps_the_fifo_over_a_reset_by_software_only() {
    let (mut driver, _) = Driver::numbered();
    driver.command(&[0x13, 0x00, 0x57, 0x20]);
    assert_eq!(driver.run(&[0x94]), [0x10]);
    driver.command(&[0x12, 0x83]);
    driver.outb(DSR, 0x80);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x0e])[7..], [0x80, 0x57, 0x20], "GAP and WGATE are cleared");
    assert_eq!(driver.run(&[0x14]), [0x00]);
    driver.outb(DSR, 0x80);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x0e])[7..], [0x00, 0x70, 0x00], "EIS and POLL stay");
    lock(&driver.fdc).reset(ResetKind::System);
    assert_eq!(driver.run(&[0x0e]), [0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0]);
}

#[test]
fn what_save_gives_restore_takes() {
    let (mut driver, _) = Driver::numbered();
    driver.command(&[0x13, 0x00, 0x57, 0x20]);
    driver.command(&[0x33, 0x01]);
    driver.outb(DSR, 0x15);
    driver.run(&[0x94]);
    driver.seek(9);
    let saved = driver.run(&[0x2e]);
    assert_eq!(saved, [0x15, 1, 9, 0, 0, 0, 0xdf, 2, 0, 0x80, 0x57, 0x20, 0, 0, 0, 0]);
    lock(&driver.fdc).reset(ResetKind::PowerOn);
    driver.command(&[&[0x4e], &saved[..]].concat());
    assert_eq!(driver.inb(MSR), 0x80);
    assert_eq!(driver.run(&[0x2e]), saved);
}

#[test]
fn drive_specifications_end_with_done() {
    let (mut driver, _) = Driver::numbered();
    assert_eq!(driver.run(&[0x8e, 0x15, 0x32, 0x80]), [0x15, 0x12, 0, 0]);
    assert_eq!(driver.run(&[0x8e, 0x43, 0x64, 0x01, 0x22, 0xc0]), [] as [u8; 0]);
    assert_eq!(driver.run(&[0x8e, 0x80]), [0x01, 0x02, 0x03, 0x04]);
}

#[test]
fn read_id_shows_one_sector_after_the_other() {
    let (mut driver, _) = Driver::numbered();
    driver.seek(12);
    for turn in 0..3 {
        for r in 1..=18 {
            driver.command(&[0x4a, 0x04]);
            assert_eq!(driver.inb(MSR), 0x10);
            // 18 sectors in a fifth of a second.
            driver.wait(11_111_112);
            assert!(driver.irq.level());
            assert_eq!(driver.result(), [0x04, 0, 0, 12, 1, r, 2], "turn {turn}");
        }
    }
    driver.outb(CCR, 2);
    assert_eq!(driver.run(&[0x4a, 0x00]), [0x40, 0x01, 0, 0, 0, 0, 0], "the wrong data rate");
    driver.outb(CCR, 0);
    assert_eq!(driver.run(&[0x0a, 0x00])[..2], [0x40, 0x01], "single density");
    assert_eq!(driver.run(&[0x4a, 0x01])[..2], [0x41, 0x01], "no drive");
    driver.seek(80);
    assert_eq!(driver.run(&[0x4a, 0x00])[..2], [0x40, 0x01], "nothing was ever recorded there");
}
