//! Publicly known flaws of QEMU's model of the same devices, and their kin: what a hostile driver does has to be an error
//! of the driver.

use super::*;

const BUFFER: u64 = DATA + 0x1000;

/// Makes one chain available by hand: the driver breaks a rule with it, so that the device needs a reset and touches nothing.
fn breaks(features: u64, prepare: impl FnOnce(&mut Driver, &mut Ring)) {
    let (mut driver, [mut ring, _]) = Driver::started(features, 8);
    let before = driver.medium.contents();
    driver.header(DATA, 0, 0);
    prepare(&mut driver, &mut ring);
    driver.kick(0);
    assert!(driver.needs_reset());
    assert_eq!((driver.take_used(&mut ring, 1), driver.medium.contents() == before), (None, true));
    // It does nothing more, but can be reset and used again.
    driver.request(&mut ring, 0, DATA, 0, 0);
    driver.kick(0);
    assert_eq!(driver.take_used(&mut ring, 1), None);
    let [mut ring, _] = driver.start(features, 8);
    assert_eq!(driver.perform(&mut ring, 0, 0, &[(BUFFER, 512, WRITE)]), 0);
}

/// Loops without end: of descriptors, in a ring, in a table, and of tables.
#[test]
fn loops_of_descriptors_end() {
    breaks(0, |driver, ring| {
        driver.describe(ring.descriptors, 0, DATA, 16, NEXT, 1);
        driver.describe(ring.descriptors, 1, BUFFER, 512, NEXT | WRITE, 1);
        driver.make_available(ring, 0);
    });
    breaks(F_INDIRECT, |driver, ring| {
        driver.describe(BUFFER, 0, DATA, 16, NEXT, 0);
        driver.offer(ring, 0, &[(BUFFER, 16, INDIRECT)]);
    });
    breaks(F_INDIRECT, |driver, ring| {
        driver.describe(BUFFER, 0, BUFFER, 16, INDIRECT, 0);
        driver.offer(ring, 0, &[(BUFFER, 16, INDIRECT)]);
    });
    // All entries of a packed ring in one chain that goes on.
    breaks(F_PACKED, |driver, ring| {
        for index in (0..8).rev() {
            driver.describe(ring.descriptors, index, DATA, 16, 0, NEXT | 1 << 7);
        }
    });
    breaks(F_PACKED | F_INDIRECT, |driver, ring| {
        driver.describe(BUFFER, 0, BUFFER, 16, 0, INDIRECT);
        driver.offer(ring, 0, &[(BUFFER, 16, INDIRECT)]);
    });
}

/// CVE-2011-2212: a table with more descriptors than there is room for, here 1025 of them, and one of almost 4 GiB.
#[test]
fn cve_2011_2212_tables_are_not_longer_than_any_chain() {
    for packed in [0, F_PACKED] {
        breaks(F_INDIRECT | packed, |driver, ring| {
            for index in 0..1025_u16 {
                let (third, fourth) = if packed == 0 { (NEXT, index + 1) } else { (0, 0) };
                driver.describe(DATA + 0x8000, index, DATA, 16, third, fourth);
            }
            driver.offer(ring, 0, &[(DATA + 0x8000, 16 * 1025, INDIRECT)]);
        });
        breaks(F_INDIRECT | packed, |driver, ring| {
            driver.offer(ring, 0, &[(BUFFER, 0xffff_fff0, INDIRECT)]);
        });
    }
}

/// A table that is no whole number of descriptors, or none, or was not agreed on, or is in the middle of a chain.
#[test]
fn tables_are_tables() {
    for packed in [0, F_PACKED] {
        for len in [0, 15, 17, 31] {
            breaks(F_INDIRECT | packed, |driver, ring| {
                driver.offer(ring, 0, &[(BUFFER, len, INDIRECT)]);
            });
        }
        breaks(packed, |driver, ring| {
            driver.offer(ring, 0, &[(BUFFER, 16, INDIRECT)]);
        });
        breaks(F_INDIRECT | packed, |driver, ring| {
            driver.offer(ring, 0, &[(RAM - 16, 32, INDIRECT)]);
        });
    }
    breaks(F_PACKED | F_INDIRECT, |driver, ring| {
        driver.offer(ring, 0, &[(DATA, 16, 0), (BUFFER, 16, INDIRECT)]);
    });
}

/// CVE-2011-1750: reads and writes of sizes that are no number of sectors ran over a buffer.
#[test]
fn cve_2011_1750_odd_sizes_are_errors() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    let before = driver.medium.contents();
    for (kind, flags) in [(0, WRITE), (1, 0)] {
        for len in [1, 511, 513, 1023] {
            assert_eq!(driver.perform(&mut ring, kind, 1, &[(BUFFER, len, flags)]), 1, "{len}");
        }
    }
    assert!(driver.medium.contents() == before);
}

/// CVE-2016-5403: chains are taken without end, with memory for each, as none is given back.
#[test]
fn cve_2016_5403_no_more_chains_are_under_way_than_the_ring_has_entries() {
    for packed in [0, F_PACKED] {
        let (mut driver, [mut ring, _]) = Driver::started(packed, 8);
        driver.disk.hold(true);
        driver.header(DATA, 4, 0);
        for round in 0..100 {
            // The same two descriptors again and again, or what the device has not given back in a packed ring.
            driver.offer(&mut ring, 0, &[(DATA, 16, 0), (DATA + 0x800, 1, WRITE)]);
            driver.kick(0);
            assert!(driver.disk.waiting() <= 8, "round {round}");
        }
        assert!(driver.needs_reset());
    }
}

/// CVE-2011-2512: the number of a queue that is notified was taken for a signed one, and is none of a queue.
#[test]
fn cve_2011_2512_queues_that_are_not_there_are_notified() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    for number in [2, 3, 0x7fff, 0x8000, 0xfffe, 0xffff] {
        driver.set_port(0x10, 2, number);
        driver.function.write(MODERN, 0x3000, 2, number.into());
        driver.function.write(MODERN, 0x3000 + 4 * u64::from(number % 0x400), 2, number.into());
    }
    assert!(!driver.needs_reset());
    assert_eq!(driver.perform(&mut ring, 0, 0, &[(BUFFER, 512, WRITE)]), 0);
}

/// CVE-2026-48914: the answer to a SCSI command was written without a look at the room for it. There are no such commands here.
#[test]
fn cve_2026_48914_scsi_commands_write_nothing() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    driver.ram.write_slice(&[0x5a; 0x400], GuestAddress(BUFFER)).unwrap();
    for kind in [2, 3] {
        for parts in [
            &[][..],
            &[(BUFFER, 6, 0)],
            &[(BUFFER, 6, 0), (BUFFER + 0x100, 1, WRITE)],
            &[(BUFFER, 6, 0), (BUFFER + 0x100, 512, WRITE), (BUFFER + 0x300, 96, WRITE), (BUFFER + 0x380, 16, WRITE)],
        ] {
            assert_eq!(driver.perform(&mut ring, kind, 0, parts), 2, "unsupported");
            assert!(driver.bytes(BUFFER, 0x400).iter().all(|byte| *byte == 0x5a));
        }
    }
}

/// Indices and numbers that point out of their tables.
#[test]
fn numbers_point_into_their_tables() {
    breaks(0, |driver, ring| driver.make_available(ring, 8));
    breaks(0, |driver, ring| driver.make_available(ring, 0xffff));
    breaks(0, |driver, ring| {
        driver.describe(ring.descriptors, 0, DATA, 16, NEXT, 8);
        driver.make_available(ring, 0);
    });
    breaks(F_INDIRECT, |driver, ring| {
        driver.describe(BUFFER, 0, DATA, 16, NEXT, 1);
        driver.offer(ring, 0, &[(BUFFER, 16, INDIRECT)]);
    });
    // The index jumps by more than there are entries.
    for jump in [9, 0x8000, 0xffff] {
        breaks(0, |driver, ring| driver.poke(ring.available + 2, jump as u16));
    }
}

/// CVE-2016-7422: a buffer of a large length could not be mapped, and was used. Here are some that leave RAM, by one byte and by 64
/// bits.
#[test]
fn cve_2016_7422_buffers_are_in_ram() {
    for (address, len) in [(RAM, 1), (RAM - 1, 2), (RAM - 16, 0xffff_ffff), (u64::MAX, 1), (u64::MAX - 7, 16)] {
        for packed in [0, F_PACKED] {
            breaks(packed, |driver, ring| {
                driver.offer(ring, 0, &[(DATA, 16, 0), (address, len, WRITE), (DATA + 0x800, 1, WRITE)]);
            });
            breaks(packed, |driver, ring| {
                driver.offer(ring, 0, &[(address, len, 0), (DATA + 0x800, 1, WRITE)]);
            });
        }
    }
}

/// CVE-2016-6490: a descriptor without bytes sent QEMU into a loop.
#[test]
fn cve_2016_6490_descriptors_have_bytes() {
    for packed in [0, F_PACKED] {
        breaks(packed, |driver, ring| {
            driver.offer(ring, 0, &[(DATA, 16, 0), (BUFFER, 0, WRITE), (DATA + 0x800, 1, WRITE)]);
        });
        breaks(packed, |driver, ring| {
            driver.offer(ring, 0, &[(DATA, 0, 0), (DATA + 0x800, 1, WRITE)]);
        });
    }
}

#[test]
fn what_is_read_comes_before_what_is_written() {
    for packed in [0, F_PACKED] {
        breaks(packed, |driver, ring| {
            driver.offer(ring, 0, &[(DATA, 16, 0), (DATA + 0x800, 1, WRITE), (BUFFER, 512, 0)]);
        });
    }
}

/// The header is read and the status is written only where there is room for all of it.
#[test]
fn requests_without_room_for_header_or_status_are_not_begun() {
    for packed in [0, F_PACKED] {
        breaks(packed, |driver, ring| {
            driver.offer(ring, 0, &[(DATA, 15, 0), (DATA + 0x800, 1, WRITE)]);
        });
        breaks(packed, |driver, ring| {
            driver.offer(ring, 0, &[(DATA + 0x800, 1, WRITE)]);
        });
        breaks(packed, |driver, ring| {
            driver.offer(ring, 0, &[(DATA, 16, 0), (BUFFER, 512, 0)]);
        });
        breaks(packed, |driver, ring| {
            driver.header(DATA, 13, 0);
            driver.offer(ring, 0, &[(DATA, 31, 0), (DATA + 0x800, 1, WRITE)]);
        });
    }
}

/// Rings and buffers lie over each other: a transfer changes the ring that it came from.
#[test]
fn rings_and_buffers_may_overlap() {
    for features in [F_EVENT_IDX, F_PACKED | F_EVENT_IDX] {
        let (mut driver, [mut ring, _]) = Driver::started(features, 8);
        // A read of the disk over the rings themselves: whatever they hold then, this ends.
        for sector in 0..64 {
            let target = [ring.descriptors, ring.available, ring.used][sector as usize % 3];
            driver.header(DATA, 0, sector);
            driver.offer(&mut ring, 0, &[(DATA, 16, 0), (target, 512, WRITE), (DATA + 0x800, 1, WRITE)]);
            driver.kick(0);
            driver.kick(1);
            if driver.needs_reset() {
                [ring, _] = driver.start(features, 8);
            }
            ring = driver.enable_again(ring, features);
        }
    }
}

impl Driver {
    /// A fresh start on the same queue.
    fn enable_again(&mut self, ring: Ring, features: u64) -> Ring {
        let [first, second] = self.start(features, ring.size);
        if ring.number == 0 { first } else { second }
    }
}

/// A ring that is not where rings can be, or has a size that none has.
#[test]
fn rings_are_in_ram_and_aligned() {
    for (register, address) in [
        (0x20, RAM),
        (0x20, u64::MAX - 15),
        (0x28, RAM),
        (0x28, 0x1_4001),
        (0x30, RAM),
        (0x30, 0x1_5001),
        (0x30, u64::MAX - 0xfff),
    ] {
        for packed in [0, F_PACKED] {
            let mut driver = Driver::new();
            driver.packed = packed != 0;
            driver.status(3);
            driver.accept(F_VERSION_1 | F_EVENT_IDX | packed);
            driver.status(0xb);
            let mut ring = driver.enable(1, 8);
            // The same with one area elsewhere, on the other queue.
            driver.set_common(0x16, 2, 0);
            driver.set_common(0x18, 2, 8);
            for (at, usual) in [(0x20, ring.descriptors), (0x28, ring.available), (0x30, ring.used)] {
                let address = if at == register { address } else { usual };
                driver.set_common(at, 4, address as u32);
                driver.set_common(at + 4, 4, (address >> 32) as u32);
            }
            driver.set_common(0x1c, 2, 1);
            driver.status(0xf);
            driver.request(&mut ring, 0, DATA, 0, 0);
            driver.kick(0);
            assert!(driver.needs_reset(), "{register:#x} at {address:#x}, {packed:#x}");
        }
    }
    let mut driver = Driver::new();
    driver.status(3);
    driver.accept(F_VERSION_1);
    driver.status(0xb);
    driver.set_common(0x18, 2, 12);
    driver.set_common(0x1c, 2, 1);
    assert_eq!((driver.needs_reset(), driver.common(0x1c, 2)), (true, 0), "a split ring of 12 entries");
}

/// CVE-2013-2016: accesses at the end of the configuration reached behind it. Here are registers that are accessed by other widths,
/// or that are not there.
#[test]
fn cve_2013_2016_any_access_to_the_configuration_is_survived() {
    let mut driver = Driver::new();
    for offset in 0..0x80 {
        for size in [1, 2, 4] {
            driver.device_config(offset, size);
            driver.set_device_config(offset, size, 0xffff_ffff);
            driver.set_common(offset, size, 0xffff_ffff);
            driver.common(offset, size);
        }
    }
    for offset in [0xffe, 0x1ffe, 0x2ffe, 0x3ffc] {
        driver.common(offset, 4);
        driver.set_common(offset, 4, 0);
    }
}
