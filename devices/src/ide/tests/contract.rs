//! The contract of devices, the values after a reset, and both devices of a channel.

use super::*;
use crate::base::contract::{self, ResetValue, Subject};

#[test]
fn keeps_the_contract() {
    let make = || {
        let Driver { ide, irqs, ram, clock, .. } = Driver::new();
        let regions = [PiixIde::REGIONS.concat(), vec![PiixIde::MASTER]].concat();
        Subject { device: ide, regions, irqs: irqs.into(), keep: Box::new((ram, clock)) }
    };
    let value = |region, offset, value| ResetValue { region, offset, size: 1, value };
    let reset = [
        // ATA/ATAPI-6, 9.12: the signatures.
        value(0, 1, 0x01),
        value(0, 2, 0x01),
        value(0, 3, 0x01),
        value(0, 4, 0x00),
        value(0, 5, 0x00),
        value(0, 6, 0xa0),
        value(0, 7, 0x50),
        value(1, 0, 0x50),
        value(2, 4, 0x14),
        value(2, 5, 0xeb),
        value(2, 7, 0x00),
        // Intel 290550, 2.7.
        value(4, 0, 0x00),
        value(4, 2, 0x00),
        value(4, 4, 0x00),
        value(4, 8, 0x00),
    ];
    contract::check(make, &reset);
    crate::pci::contract::check(make);
}

#[test]
fn config_space_is_qemus() {
    let driver = Driver::new();
    lock(&driver.ide).reset(ResetKind::System);
    let ide = lock(&driver.ide);
    let config = ide.config();
    assert_eq!([0x00, 0x04, 0x08, 0x20].map(|at| config.read_u32(at)), [0x7010_8086, 0x0280_0000, 0x0101_8000, 1]);
    assert_eq!((config.read_u32(0x2c), config.read_u32(0x3c), config.read_u32(0x40)), (0x1100_1af4, 0, 0));
}

#[test]
fn a_drive_that_is_not_there_has_no_status() {
    let driver = Driver::new();
    driver.outb(PRIMARY, 6, 0xb0);
    // As QEMU 7.2 answers.
    let registers = [1, 2, 3, 4, 5, 6, 7].map(|register| driver.inb(PRIMARY, register));
    assert_eq!(registers, [0x00, 0x01, 0x01, 0xff, 0xff, 0xb0, 0x00]);
    driver.outb(PRIMARY, 7, 0xec);
    assert_eq!((driver.status(PRIMARY), driver.irqs[0].level()), (0, false), "and takes no commands");
    driver.outb(PRIMARY, 6, 0xa0);
    assert_eq!(driver.status(PRIMARY), 0x50);
}

#[test]
fn a_software_reset_keeps_devices_busy_until_it_ends() {
    let driver = Driver::new();
    driver.command(0x20, 0, 1, 5);
    driver.control(PRIMARY, 0x04);
    assert_eq!(driver.status(PRIMARY), 0x80);
    assert!(!driver.irqs[0].level(), "what was under way is gone");
    driver.command(0xec, 0, 0, 0);
    assert_eq!(driver.status(PRIMARY), 0x80, "no command is taken");
    driver.control(PRIMARY, 0x00);
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|at| driver.inb(PRIMARY, at)), [1, 1, 1, 0, 0, 0xa0, 0x50]);
    driver.control(SECONDARY, 0x04);
    driver.control(SECONDARY, 0x00);
    assert_eq!([1, 2, 3, 4, 5, 7].map(|at| driver.inb(SECONDARY, at)), [1, 1, 1, 0x14, 0xeb, 0x00]);
}

#[test]
fn diagnostics_end_with_an_interrupt_of_device_0() {
    let driver = Driver::new();
    driver.outb(PRIMARY, 6, 0xb0);
    driver.outb(PRIMARY, 7, 0x90);
    assert_eq!([1, 2, 3, 4, 5, 6].map(|at| driver.inb(PRIMARY, at)), [1, 1, 1, 0, 0, 0xa0]);
    assert!(driver.interrupt(PRIMARY));
}

#[test]
fn nien_keeps_the_interrupt_from_the_bus_and_the_master() {
    let driver = Driver::new();
    driver.control(PRIMARY, 0x02);
    driver.command(0x10, 0, 0, 0);
    assert_eq!((driver.irqs[0].level(), driver.master_read(PRIMARY, 2)), (false, 0x00));
    driver.control(PRIMARY, 0x00);
    assert_eq!((driver.irqs[0].level(), driver.master_read(PRIMARY, 2)), (true, 0x04));
    driver.status(PRIMARY);
    assert!(driver.irqs[0].level(), "the alternate status leaves it");
    assert!(driver.interrupt(PRIMARY));
    assert_eq!(driver.master_read(PRIMARY, 2), 0x04, "the bus master remembers");
    driver.master_write(PRIMARY, 2, 0x64);
    assert_eq!(driver.master_read(PRIMARY, 2), 0x60);
    driver.command(0x10, 0, 0, 0);
    driver.outb(PRIMARY, 6, 0xb0);
    assert!(!driver.irqs[0].level(), "only the selected device interrupts");
    driver.outb(PRIMARY, 6, 0xa0);
    assert!(driver.irqs[0].level());
}

#[test]
fn each_command_interrupts_anew() {
    let driver = Driver::new();
    for edges in 1..4 {
        driver.master_write(PRIMARY, 2, 0x04);
        driver.command(0x10, 0, 0, 0);
        assert_eq!(
            (driver.irqs[0].rising_edges(), driver.master_read(PRIMARY, 2)),
            (edges, 0x04),
            "nobody reads the status"
        );
    }
}

#[test]
fn the_upper_halves_are_read_with_hob() {
    let driver = Driver::new();
    driver.outb(PRIMARY, 2, 0x12);
    driver.outb(PRIMARY, 2, 0x34);
    assert_eq!(driver.inb(PRIMARY, 2), 0x34);
    driver.control(PRIMARY, 0x80);
    assert_eq!(driver.inb(PRIMARY, 2), 0x12);
    driver.outb(PRIMARY, 3, 0);
    assert_eq!(driver.inb(PRIMARY, 2), 0x34, "a write clears HOB");
}
