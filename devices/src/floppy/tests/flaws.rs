//! Publicly known flaws of QEMU's model: what brought it down must do nothing here.

use super::*;
use crate::base::Device;
use proptest::prelude::*;

/// Writes bytes into the FIFO whether the controller wants them or not.
fn flood(driver: &mut Driver, bytes: impl IntoIterator<Item = u8>) {
    for byte in bytes {
        driver.outb(FIFO, byte);
    }
}

/// The controller still works: reset it, and read a sector.
fn check(mut driver: Driver) {
    driver.outb(DOR, 0x18);
    driver.outb(DOR, 0x1c);
    driver.wait(LONG);
    (0..4).for_each(|_| drop(driver.run(&[0x08])));
    driver.command(&[0x03, 0xdf, 0x02]);
    driver.outb(CCR, 0);
    // Recalibrate gives up after 79 steps, which is not enough for a head that was sent far out.
    for _ in 0..4 {
        driver.command(&[0x07, 0]);
        driver.wait(LONG);
        driver.run(&[0x08]);
    }
    assert_eq!(driver.read([0, 0, 1], 512).0[..2], [0, 0]);
}

/// VENOM: after READ ID, while it waited for its timer, and after DRIVE SPECIFICATION the index into the FIFO was not
/// reset, and further bytes went past its end.
#[test]
fn cve_2015_3456_venom() {
    let (mut driver, _) = Driver::numbered();
    driver.outb(FIFO, 0x0a);
    flood(&mut driver, std::iter::repeat_n(0x42, 100_000));
    driver.wait(LONG);
    flood(&mut driver, std::iter::repeat_n(0x42, 100_000));
    check(driver);

    let (mut driver, _) = Driver::numbered();
    driver.outb(FIFO, 0x8e);
    flood(&mut driver, std::iter::repeat_n(0x00, 100_000));
    check(driver);

    let (mut driver, _) = Driver::numbered();
    for done in [0x80, 0xc0, 0x40] {
        flood(&mut driver, [0x8e, 0x00, 0x00, 0x00, 0x00, done]);
        flood(&mut driver, std::iter::repeat_n(done, 10_000));
    }
    check(driver);
}

/// A transfer by the processor to a drive that DOR selected without there being one dereferenced a null pointer.
#[test]
fn cve_2021_20196_drive_without_medium() {
    let medium = MemoryBlock::new(numbered(2880));
    for [unit, dor] in [[1, 0x1d], [2, 0x1e], [3, 0x1f], [0, 0x1d]] {
        for code in [0x45, 0x46, 0x42, 0x51, 0x4d, 0xc6] {
            let mut driver = Driver::with(&medium);
            driver.command(&[0x03, 0xdf, 0x03]);
            driver.outb(DOR, dor);
            flood(&mut driver, [code, unit, 0, 0, 1, 2, 18, 0x1b, 0xff]);
            driver.wait(LATENCY);
            for _ in 0..600 {
                driver.inb(FIFO);
                driver.outb(FIFO, 0);
            }
            driver.outb(DOR, 0x1c);
            check(driver);
        }
    }
}

/// The medium goes while a command writes to it by PIO (CVE-2020-25741: a null pointer in the write).
#[test]
fn cve_2020_25741_medium_gone_during_a_write() {
    let (mut driver, medium) = Driver::numbered();
    driver.command(&[0x03, 0xdf, 0x03]);
    driver.command(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    driver.wait(LATENCY);
    flood(&mut driver, std::iter::repeat_n(1, 100));
    lock(&driver.fdc).eject(0);
    flood(&mut driver, std::iter::repeat_n(1, 412));
    assert_eq!(driver.result()[..2], [0x40, 0x01]);
    assert_eq!(medium.contents(), numbered(2880));
    lock(&driver.fdc).insert(0, Box::new(medium));
    check(driver);
}

/// A read by DMA with a size code that makes a sector larger than the buffer leaked the memory behind it.
#[test]
fn cve_2021_3507_read_longer_than_the_buffer() {
    let (mut driver, _) = Driver::numbered();
    for n in 0..=255 {
        for eot in [0, 1, 255] {
            for code in [0x46, 0xe6, 0x42] {
                let command = [code, 0, 0, 0, 1, n, eot, 0x1b, 0xff];
                let (_, data) = driver.transfer(&command, vec![0xee; 0x6000], Direction::ToMemory);
                let (sectors, _) = data.as_chunks::<512>();
                let of_cylinder = |data: &[u8; 512]| (0..36).any(|number| *data == sector(number));
                let ours = sectors.iter().all(|data| *data == [0xee; 512] || of_cylinder(data));
                assert!(ours, "only what is on the medium: {command:x?}");
            }
        }
    }
    check(driver);
}

/// A DMA channel of another length than the command (the report of CVE-2021-3507 was found so).
#[test]
fn any_length_of_dma_goes_with_any_command() {
    let (mut driver, medium) = Driver::numbered();
    for len in [0, 1, 3, 4, 5, 511, 513, 515, 516, 517, 70_000] {
        for code in [0x46, 0x45, 0x42, 0x51, 0x59, 0x5d, 0x4c, 0x49, 0x56] {
            for direction in [Direction::ToMemory, Direction::FromMemory, Direction::Verify, Direction::Masked] {
                driver.transfer(&[code, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], vec![0; len], direction);
                assert_eq!(driver.inb(MSR), 0x80);
            }
        }
    }
    assert_eq!(medium.contents()[18 * 512..], numbered(2880)[18 * 512..], "only the track may have been written");
    check(driver);
}

/// The bytes of a command, whole or not.
fn any_command() -> impl Strategy<Value = Vec<u8>> {
    const CODES: [u8; 31] = [
        0x46, 0x66, 0xc6, 0x4c, 0x45, 0xc5, 0x49, 0x42, 0x56, 0xd6, 0x51, 0x59, 0x5d, 0x4d, 0xed, 0x4a, 0x03, 0x04,
        0x07, 0x08, 0x0e, 0x0f, 0x8f, 0xcf, 0x12, 0x13, 0x2e, 0x4e, 0x8e, 0x94, 0x33,
    ];
    let parameter = prop_oneof![4 => 0..20_u8, 1 => any::<u8>()];
    (prop::sample::select(&CODES[..]), prop::collection::vec(parameter, 0..17))
        .prop_map(|(code, parameters)| [vec![code], parameters].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any accesses, with time passing between them.
    #[test]
    fn any_accesses_are_survived(accesses in prop::collection::vec((0..7_u16, any::<u8>(), 0..4_u8), 1..400)) {
        let (mut driver, _) = Driver::numbered();
        driver.dma.program(vec![0; 4000], Direction::FromMemory);
        for (port, value, kind) in accesses {
            let port = [SRB, DOR, TDR, MSR, FIFO, FIFO, DIR][usize::from(port)];
            match kind {
                0 => drop(driver.inb(port)),
                1 | 2 => driver.outb(port, value),
                _ => driver.wait(u64::from(value) * 1000),
            }
        }
        check(driver);
    }

    /// What checks a saved state knows everything that a guest can bring about.
    #[test]
    fn every_state_on_the_way_is_one_that_loads(
        commands in prop::collection::vec((any_command(), 0..3_u8, 0..600_u16), 1..8),
        specify in 2..4_u8,
    ) {
        let (mut driver, medium) = Driver::numbered();
        driver.command(&[0x03, 0xdf, specify]);
        for (bytes, wait, fifo) in commands {
            driver.dma.program(vec![1; usize::from(fifo)], [Direction::ToMemory, Direction::FromMemory][usize::from(fifo & 1)]);
            flood(&mut driver, bytes);
            for step in 0..=fifo {
                if step == 0 {
                    driver.wait([0, LATENCY, LONG][usize::from(wait)]);
                } else if driver.inb(MSR) & 0x40 != 0 {
                    driver.inb(FIFO);
                } else if driver.inb(MSR) & 0x20 != 0 {
                    driver.outb(FIFO, step as u8);
                }
                if step % 64 > 2 {
                    continue;
                }
                let saved = lock(&driver.fdc).save();
                let mut twin = Driver::with(&medium);
                twin.wait(driver.now());
                lock(&twin.fdc).load(&saved).unwrap();
                assert_eq!(lock(&twin.fdc).save(), saved);
            }
        }
    }
}
