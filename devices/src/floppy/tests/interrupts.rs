//! Resets, interrupts, seeks and the drives' signals.

use super::*;

#[test]
fn a_reset_by_dor_reports_four_drives() {
    let (mut driver, _) = Driver::numbered();
    driver.outb(DOR, 0x18);
    assert_eq!(driver.inb(MSR), 0, "held in reset");
    driver.outb(FIFO, 0x10);
    driver.outb(DOR, 0x1c);
    assert_eq!(driver.inb(MSR), 0x80, "no command has begun");
    assert!(!driver.irq.level());
    driver.wait(LATENCY);
    assert!(driver.irq.level());
    assert_eq!(driver.run(&[0x08]), [0xc0, 0]);
    assert!(!driver.irq.level(), "the first report acknowledges");
    for drive in 1..4 {
        assert_eq!(driver.run(&[0x08]), [0xc0 | drive, 0]);
    }
    assert_eq!(driver.run(&[0x08]), [0x80]);
    assert_eq!(driver.irq.rising_edges(), 1);
}

#[test]
fn the_reset_of_dsr_clears_itself_and_ends_with_an_interrupt_even_without_polling() {
    let (mut driver, _) = Driver::numbered();
    driver.outb(DSR, 0x80);
    driver.wait(LATENCY);
    assert_eq!(driver.inb(MSR), 0x80);
    assert!(driver.irq.level());
    assert_eq!(driver.run(&[0x08]), [0xc0, 0]);
    driver.command(&[0x13, 0, 0x10, 0]);
    driver.outb(DSR, 0x80);
    driver.wait(LATENCY);
    assert!(driver.irq.level());
    assert_eq!(driver.run(&[0x08]), [0xc0, 0]);
    assert!(!driver.irq.level());
}

#[test]
fn a_reset_ends_a_transfer() {
    let (mut driver, medium) = Driver::numbered();
    driver.command(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    assert_eq!(driver.inb(MSR), 0x10);
    driver.outb(DOR, 0x18);
    driver.outb(DOR, 0x1c);
    driver.wait(LONG);
    assert_eq!(driver.inb(MSR), 0x80);
    assert_eq!(medium.contents()[..512], sector(0));
}

#[test]
fn the_gate_of_dor_holds_the_interrupt_back() {
    let (mut driver, _) = Driver::numbered();
    driver.outb(DOR, 0x14);
    driver.command(&[0x07, 0]);
    driver.wait(LATENCY);
    assert!(!driver.irq.level());
    driver.outb(DOR, 0x1c);
    assert!(driver.irq.level());
}

#[test]
fn a_seek_is_busy_until_it_is_sensed() {
    let (mut driver, _) = Driver::numbered();
    driver.command(&[0x0f, 0x04, 40]);
    assert_eq!(driver.inb(MSR), 0x81);
    driver.wait(LATENCY - 1);
    assert!(!driver.irq.level());
    driver.wait(1);
    assert!(driver.irq.level());
    assert_eq!(driver.inb(MSR), 0x81);
    assert_eq!(driver.run(&[0x08]), [0x24, 40], "the head of the command is in ST0");
    assert_eq!(driver.inb(MSR), 0x80);
    assert_eq!(driver.run(&[0x04, 0x00]), [0x28]);
    driver.command(&[0x07, 0x00]);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x08]), [0x20, 0]);
    assert_eq!(driver.run(&[0x04, 0x04]), [0x3c]);
}

#[test]
fn two_drives_seek_at_the_same_time() {
    let drive = || Some(FloppyDrive::new(DriveKind::Mb144, None));
    let mut driver = Driver::new([drive(), drive()]);
    driver.command(&[0x0f, 0x00, 10]);
    driver.command(&[0x0f, 0x01, 20]);
    assert_eq!(driver.inb(MSR), 0x83);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x08]), [0x20, 10]);
    assert!(driver.irq.level(), "the second one");
    assert_eq!(driver.irq.rising_edges(), 2);
    assert_eq!(driver.run(&[0x08]), [0x21, 20]);
    assert!(!driver.irq.level());
    assert_eq!(driver.run(&[0x08]), [0x80]);
}

#[test]
fn relative_seeks_go_both_ways_and_recalibrate_has_79_steps() {
    let (mut driver, _) = Driver::numbered();
    driver.seek(5);
    driver.command(&[0xcf, 0x00, 3]);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x08]), [0x20, 8]);
    driver.command(&[0x8f, 0x00, 2]);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x08]), [0x20, 6]);
    driver.seek(82);
    for st0 in [0x70, 0x20] {
        driver.command(&[0x07, 0x00]);
        driver.wait(LATENCY);
        assert_eq!(driver.run(&[0x08]), [st0, 0]);
    }
}

/// Data sheet of the 82077AA, "Relative Seek": the heads move whatever the present cylinder number says, which overflows.
#[test]
fn relative_seeks_begin_where_the_heads_are() {
    let (mut driver, _) = Driver::numbered();
    let mut step = |command: &[u8]| {
        driver.command(command);
        driver.wait(LATENCY);
        let result = driver.run(&[0x08]);
        (result, lock(&driver.fdc).drive(0).unwrap().cylinder)
    };
    assert_eq!(step(&[0x0f, 0x00, 84]), (vec![0x20, 84], 84));
    assert_eq!(step(&[0x07, 0x00]), (vec![0x70, 0], 5), "79 steps");
    assert_eq!(step(&[0xcf, 0x00, 1]), (vec![0x20, 1], 6));
    assert_eq!(step(&[0x8f, 0x00, 3]), (vec![0x20, 254], 3));
    assert_eq!(step(&[0x8f, 0x00, 3]), (vec![0x20, 251], 0), "just to track 0");
    assert_eq!(step(&[0xcf, 0x00, 2]), (vec![0x20, 253], 2));
    assert_eq!(step(&[0x8f, 0x04, 5]), (vec![0x74, 248], 0), "beyond it: EC");
    assert_eq!(step(&[0xcf, 0x00, 20]), (vec![0x20, 12], 20));
}

/// Nothing tells when the heads of a drive that does not exist are over track 0.
#[test]
fn an_absent_drive_seeks_and_does_not_recalibrate() {
    let (mut driver, _) = Driver::numbered();
    driver.command(&[0x0f, 0x03, 7]);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x08]), [0x23, 7]);
    driver.command(&[0x07, 0x01]);
    driver.wait(LATENCY);
    assert_eq!(driver.run(&[0x08]), [0x71, 0]);
    assert_eq!(driver.run(&[0x04, 0x01]), [0x29]);
    driver.outb(DOR, 0x1d);
    assert_eq!(driver.inb(DIR), 0);
}

#[test]
fn status_register_b_shows_the_selected_drive_its_motor_and_traffic() {
    let (mut driver, _) = Driver::numbered();
    assert_eq!(driver.inb(SRB), 0xc1);
    driver.outb(DOR, 0x2d);
    assert_eq!(driver.inb(SRB), 0xe2);
    driver.outb(DOR, 0x1c);
    driver.read([0, 0, 1], 512);
    assert_eq!(driver.inb(SRB), 0xc9);
    driver.transfer(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], vec![1; 512], Direction::FromMemory);
    assert_eq!(driver.inb(SRB), 0xd9);
    driver.outb(TDR, 0xff);
    assert_eq!(driver.inb(TDR), 0x03);
    driver.outb(SRB, 0);
    assert_eq!(driver.inb(SRB), 0xd9);
}
