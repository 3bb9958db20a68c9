//! The block device (virtio 1.2, section 5.2).

use super::*;
use crate::backend::disk::{DiskClient, Fault, OnError, Operation};

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
const BUFFER: u64 = DATA + 0x1000;

fn disk(block: BlockOptions) -> (Driver, Ring) {
    let mut driver = Driver::with(PLAIN, BlockOptions { queues: 2, queue_size: 16, ..block }, ErrorPolicy::default());
    let [ring, _] = driver.start(F_FLUSH | F_CONFIG_WCE, 16);
    (driver, ring)
}

fn plain() -> (Driver, Ring) {
    disk(BlockOptions::default())
}

/// As QEMU 7.2 shows the same disk, but for the size of queues.
#[test]
fn the_configuration_is_qemus() {
    let words = |driver: &mut Driver| Vec::from_iter((0..14).map(|word| driver.device_config(4 * word, 4)));
    let block = BlockOptions { geometry: (20, 16, 63), queues: 4, queue_size: 256, ..BlockOptions::default() };
    let mut driver = Driver::with(PLAIN, block.clone(), ErrorPolicy::default());
    let most = 0x3f_ffff;
    assert_eq!(words(&mut driver), [2048, 0, 0, 0xfe, 0x3f10_0014, 0x200, 0, 0, 0x4_0001, most, 1, 1, most, 1]);
    assert_eq!((driver.device_config(56, 1), driver.device_config(57, 1)), (1, 0xffff_ffff), "and no more");
    let block = BlockOptions {
        logical_block_size: 4096,
        physical_block_size: 8192,
        min_io_size: 16384,
        opt_io_size: 65536,
        discard_granularity: 4096,
        ..block
    };
    let mut driver = Driver::with(PLAIN, block.clone(), ErrorPolicy::default());
    assert_eq!(
        words(&mut driver),
        [2048, 0, 0, 0xfe, 0x3810_0014, 0x1000, 0x4_0001, 0x10, 0x4_0001, most, 1, 8, most, 1]
    );
    let block =
        BlockOptions { discard: false, write_zeroes: false, write_cache: false, seg_max_adjust: false, ..block };
    let mut driver = Driver::with(PLAIN, block, ErrorPolicy::default());
    assert_eq!((driver.device_config(12, 4), driver.device_config(32, 4)), (126, 0x4_0000));
    assert_eq!(driver.device_config(36, 4), 0xffff_ffff);
}

#[test]
fn sectors_are_read_and_written_in_any_pieces() {
    let (mut driver, mut ring) = plain();
    let pieces = [(BUFFER, 512, WRITE), (BUFFER + 0x600, 100, WRITE), (BUFFER + 0x800, 412, WRITE)];
    assert_eq!(driver.perform(&mut ring, 0, 9, &pieces), OK);
    let read = [driver.bytes(BUFFER, 512), driver.bytes(BUFFER + 0x600, 100), driver.bytes(BUFFER + 0x800, 412)];
    assert_eq!(read.concat(), driver.medium.contents()[9 * 512..11 * 512]);
    let pieces = [(BUFFER + 0x600, 100, 0), (BUFFER, 412, 0)];
    assert_eq!(driver.perform(&mut ring, 1, 20, &pieces), OK);
    let written = [driver.bytes(BUFFER + 0x600, 100), driver.bytes(BUFFER, 412)].concat();
    assert_eq!(driver.medium.contents()[20 * 512..21 * 512], written);
    assert_eq!(driver.perform(&mut ring, 0, 0, &[]), OK, "nothing is read");
}

/// virtio 1.2, 5.2.6.4: legacy drivers without ANY_LAYOUT aside, header and data may share a descriptor, as may data and status.
#[test]
fn header_data_and_status_may_share_descriptors() {
    let (mut driver, mut ring) = plain();
    driver.header(BUFFER, 1, 3);
    driver.ram.write_slice(&[0xa5; 512], GuestAddress(BUFFER + 16)).unwrap();
    driver.offer(&mut ring, 0, &[(BUFFER, 7, 0), (BUFFER + 7, 521, 0), (DATA, 1, WRITE)]);
    driver.kick(0);
    assert_eq!((driver.take_used(&mut ring, 3), driver.peek::<u8>(DATA)), (Some((0, 1)), OK));
    assert_eq!(driver.medium.contents()[3 * 512..4 * 512], [0xa5; 512]);
    driver.header(DATA, 0, 3);
    driver.poke(BUFFER + 512, 0xff_u8);
    driver.offer(&mut ring, 4, &[(DATA, 16, 0), (BUFFER, 513, WRITE)]);
    driver.kick(0);
    assert_eq!((driver.take_used(&mut ring, 2), driver.peek::<u8>(BUFFER + 512)), (Some((4, 513)), OK));
    assert_eq!(driver.bytes(BUFFER, 512), [0xa5; 512]);
}

#[test]
fn what_is_not_on_the_disk_is_an_error() {
    let (mut driver, mut ring) = plain();
    let last = SECTORS as u64 - 1;
    for (sector, len, status) in [
        (last, 512, OK),
        (last, 1024, IOERR),
        (last + 1, 512, IOERR),
        (1 << 55, 512, IOERR),
        (u64::MAX, 512, IOERR),
        (0, 511, IOERR),
        (0, 513, IOERR),
    ] {
        for (kind, flags) in [(0, WRITE), (1, 0)] {
            let before = driver.medium.contents();
            assert_eq!(driver.perform(&mut ring, kind, sector, &[(BUFFER, len, flags)]), status, "{sector} {len}");
            assert!(status == OK || driver.medium.contents() == before);
        }
    }
    let (mut driver, mut ring) = disk(BlockOptions { logical_block_size: 4096, ..BlockOptions::default() });
    for (sector, len, status) in [(8, 4096, OK), (8, 512, IOERR), (1, 4096, IOERR)] {
        assert_eq!(driver.perform(&mut ring, 0, sector, &[(BUFFER, len, WRITE)]), status, "{sector} {len}");
    }
}

#[test]
fn the_serial_number_is_cut_and_ended_as_drivers_expect() {
    for (serial, room, id) in [
        ("S1", 20, &b"S1\0~"[..]),
        ("S1", 2, b"S1~"),
        ("", 20, b"\0~"),
        ("0123456789abcdefghij", 20, b"0123456789abcdefghij~"),
        ("0123456789abcdefghij", 24, b"0123456789abcdefghij~"),
    ] {
        let (mut driver, mut ring) = disk(BlockOptions { serial: serial.into(), ..BlockOptions::default() });
        driver.ram.write_slice(&[b'~'; 32], GuestAddress(BUFFER)).unwrap();
        assert_eq!(driver.perform(&mut ring, 8, 0, &[(BUFFER, room, WRITE)]), OK);
        assert_eq!(driver.bytes(BUFFER, id.len()), id, "{serial} {room}");
    }
}

#[test]
fn writes_are_flushed_as_the_cache_is_set() {
    let write = |driver: &mut Driver, ring: &mut Ring| {
        assert_eq!(driver.perform(ring, 1, 1, &[(BUFFER, 512, 0)]), OK);
        driver.disk.take_log()
    };
    let durable = |durable| vec![(Operation::Write { durable }, 512, 512)];
    let (mut driver, mut ring) = plain();
    assert_eq!(write(&mut driver, &mut ring), durable(false));
    assert_eq!(driver.perform(&mut ring, 4, 0, &[]), OK);
    assert_eq!(driver.disk.take_log(), [(Operation::Flush, 0, 0)]);
    // The driver switches it off, and on.
    driver.set_device_config(32, 1, 0);
    assert_eq!((driver.device_config(32, 1), write(&mut driver, &mut ring)), (0, durable(true)));
    driver.set_device_config(32, 1, 1);
    assert_eq!(write(&mut driver, &mut ring), durable(false));
    driver.set_device_config(32, 1, 0);
    // A reset brings it back as it was.
    driver.status(0);
    assert_eq!(driver.device_config(32, 1), 1);
    // A driver that has not agreed to switch it does not.
    let [mut ring, _] = driver.start(F_FLUSH, 16);
    driver.set_device_config(32, 1, 0);
    assert_eq!((driver.device_config(32, 1), write(&mut driver, &mut ring)), (1, durable(false)));
    // One that can't flush does not know that there is a cache.
    let [mut ring, _] = driver.start(0, 16);
    assert_eq!(write(&mut driver, &mut ring), durable(true));
    let (mut driver, mut ring) = disk(BlockOptions { write_cache: false, ..BlockOptions::default() });
    assert_eq!(write(&mut driver, &mut ring), durable(true));
}

#[test]
fn blocks_are_discarded_and_zeroed() {
    let (mut driver, mut ring) = plain();
    let clear = |driver: &mut Driver, ring: &mut Ring, kind: u32, segment: (u64, u32, u32), len: u32| {
        driver.poke(BUFFER, segment.0);
        driver.poke(BUFFER + 8, segment.1);
        driver.poke(BUFFER + 12, segment.2);
        let status = driver.perform(ring, kind, 0, &[(BUFFER, len, 0)]);
        (status, driver.disk.take_log())
    };
    const DISCARD: u32 = 11;
    const ZERO: u32 = 13;
    let zeroes = |may_unmap| Operation::WriteZeroes { may_unmap };
    for (kind, segment, len, status, log) in [
        (DISCARD, (8, 4, 0), 16, OK, vec![(Operation::Discard, 8 * 512, 4 * 512)]),
        (DISCARD, (8, 0, 0), 16, OK, vec![]),
        (DISCARD, (8, 4, 1), 16, UNSUPP, vec![]),
        (ZERO, (2, 2, 0), 16, OK, vec![(zeroes(false), 1024, 1024)]),
        (ZERO, (2, 2, 1), 16, OK, vec![(zeroes(true), 1024, 1024)]),
        (ZERO, (2, 2, 2), 16, UNSUPP, vec![]),
        (ZERO, (SECTORS as u64, 1, 0), 16, IOERR, vec![]),
        (ZERO, (u64::MAX, 1, 0), 16, IOERR, vec![]),
        (DISCARD, (0, 0x40_0000, 0), 16, IOERR, vec![]),
        (DISCARD, (8, 4, 0), 32, UNSUPP, vec![]),
    ] {
        assert_eq!(clear(&mut driver, &mut ring, kind, segment, len), (status, log), "{kind} {segment:?}");
    }
    assert_eq!(driver.medium.contents()[1024..2048], [0; 1024]);
    // Without the cache zeroes have to be flushed.
    driver.set_device_config(32, 1, 0);
    let log = vec![(zeroes(false), 1024, 1024), (Operation::Flush, 0, 0)];
    assert_eq!(clear(&mut driver, &mut ring, ZERO, (2, 2, 0), 16), (OK, log));
    let limits = BlockOptions { discard: false, max_write_zeroes_sectors: 1, ..BlockOptions::default() };
    let (mut driver, mut ring) = disk(limits);
    assert_eq!(clear(&mut driver, &mut ring, DISCARD, (8, 4, 0), 16).0, UNSUPP);
    assert_eq!(clear(&mut driver, &mut ring, ZERO, (8, 2, 0), 16).0, IOERR);
    assert_eq!(clear(&mut driver, &mut ring, ZERO, (8, 1, 0), 16).0, OK);
}

#[test]
fn requests_that_are_not_offered_are_unsupported() {
    let (mut driver, mut ring) = plain();
    // SCSI commands (with CVE-2026-48914 QEMU wrote past their answers), secure erase, lifetime, zones, and what is none.
    for kind in [2, 3, 5, 10, 14, 16, 18, 0x7fff_ffff] {
        assert_eq!(driver.perform(&mut ring, kind, 0, &[(BUFFER, 64, WRITE)]), UNSUPP, "{kind}");
    }
    // Barriers are a flag, which nobody is offered.
    assert_eq!(driver.perform(&mut ring, 0x8000_0000, 0, &[(BUFFER, 512, WRITE)]), OK);
}

#[test]
fn a_medium_that_can_not_be_written_is_not() {
    let mut driver = Driver::new();
    driver.medium.set_read_only(true);
    let block = BlockOptions { queues: 2, queue_size: 16, ..BlockOptions::default() };
    let port = DiskPort::new(Some(Box::new(driver.disk.clone())), ErrorPolicy::default(), Arc::new(Quiet));
    let before = driver.medium.contents();
    driver.function.with_device(|device, _| *device = VirtioBlock::new(port, block));
    assert_eq!(crate::virtio::VirtioDevice::features(driver.function.device()) & 1 << 5, 1 << 5, "VIRTIO_BLK_F_RO");
    let [mut ring, _] = driver.start(0, 16);
    assert_eq!(driver.perform(&mut ring, 0, 0, &[(BUFFER, 512, WRITE)]), OK);
    assert_eq!(driver.perform(&mut ring, 1, 0, &[(BUFFER, 512, 0)]), IOERR);
    driver.poke(BUFFER, [0_u64, 1]);
    for kind in [11, 13] {
        assert_eq!(driver.perform(&mut ring, kind, 0, &[(BUFFER, 16, 0)]), IOERR);
    }
    assert_eq!(driver.medium.contents(), before);
}

#[test]
fn the_guest_hears_of_errors_or_the_machine_tries_again() {
    let (mut driver, mut ring) = plain();
    driver.disk.spoil(512..1024, Fault::Io);
    assert_eq!(driver.perform(&mut ring, 0, 1, &[(BUFFER, 512, WRITE)]), IOERR);
    driver.disk.spoil_flushes(Some(Fault::Io));
    assert_eq!(driver.perform(&mut ring, 4, 0, &[]), IOERR);

    let policy = ErrorPolicy { read: OnError::Stop, write: OnError::Stop };
    let block = BlockOptions { queues: 2, queue_size: 16, ..BlockOptions::default() };
    let mut driver = Driver::with(PLAIN, block, policy);
    let [mut first, mut second] = driver.start(F_RING_RESET, 16);
    driver.disk.spoil(512..1024, Fault::NoSpace);
    let held = driver.request(&mut first, 0, DATA, 1, 1);
    let other = driver.request(&mut second, 0, DATA + 0x4000, 1, 1);
    driver.kick(0);
    driver.kick(1);
    assert_eq!((driver.take_used(&mut first, 3), driver.take_used(&mut second, 3)), (None, None));
    // The first queue is taken back: its write is not made again.
    driver.set_common(0x16, 2, 0);
    driver.set_common(0x3a, 2, 1);
    driver.disk.mend();
    let _ = driver.disk.take_log();
    driver.function.resume_requests();
    assert_eq!(driver.disk.take_log().len(), 1);
    assert_eq!((driver.take_used(&mut first, 3), driver.take_used(&mut second, 3)), (None, Some((other, 1))));
    assert_eq!(held, 0);
}

#[test]
fn what_is_under_way_can_be_waited_for() {
    let (mut driver, mut ring) = disk(BlockOptions { write_cache: false, ..BlockOptions::default() });
    driver.disk.hold(true);
    driver.poke(BUFFER, [0_u64, 1]);
    driver.header(DATA, 13, 0);
    driver.offer(&mut ring, 0, &[(DATA, 16, 0), (BUFFER, 16, 0), (DATA + 0x800, 1, WRITE)]);
    driver.kick(0);
    assert_eq!(driver.take_used(&mut ring, 3), None);
    driver.function.drain_requests();
    assert_eq!(driver.take_used(&mut ring, 3), Some((0, 1)), "with the flush that follows on the zeroes");
    assert_eq!(driver.disk.take_log().len(), 2);
}

/// Section 5.2.5.1: of another capacity the driver is told by a change of the configuration, once.
#[test]
fn a_medium_of_another_length_is_told() {
    let (mut driver, _ring) = plain();
    let generation = driver.common(0x15, 1);
    driver.function.medium_resized();
    assert_eq!((driver.isr(), driver.common(0x15, 1)), (0, generation), "it has its old length");
    driver.medium.set_len(4096 * 512);
    driver.function.medium_resized();
    assert!(driver.pin.level());
    // QEMU sets both bits.
    assert_eq!((driver.isr(), driver.device_config(0, 4)), (3, 4096));
    assert_ne!(driver.common(0x15, 1), generation);
    driver.function.medium_resized();
    assert_eq!(driver.isr(), 0);
}
