//! The device's end: errors by policy, what is kept, and what survives saving.

use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::backend::block::MemoryBlock;
use crate::base::{BusMaster, Dma, lock};

#[derive(Default)]
struct Reports(Mutex<Vec<(Operation, u64, ErrorAction)>>);

impl ErrorReporter for Reports {
    fn disk_error(&self, report: &ErrorReport<'_>) {
        lock(&self.0).push((report.operation, report.offset, report.action));
    }
}

const WRITE: Operation = Operation::Write { durable: false };

fn connected(policy: ErrorPolicy) -> (DiskPort, ScriptedDisk, MemoryBlock, Arc<Reports>) {
    let medium = MemoryBlock::zeroed(4096);
    let disk = ScriptedDisk::new(medium.clone());
    let reports = Arc::new(Reports::default());
    (DiskPort::new(Some(Box::new(disk.clone())), policy, reports.clone()), disk, medium, reports)
}

fn dma() -> Dma {
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
    Dma::new(Arc::new(ram), BusMaster::always())
}

fn bytes(data: &[u8]) -> Payload {
    Payload::Bytes(data.into())
}

#[test]
fn data_goes_to_and_from_guest_ram_and_a_durable_write_is_flushed() {
    let (mut port, _, medium, _) = connected(ErrorPolicy::default());
    let dma = dma();
    dma.write(0x100, b"guest").unwrap();
    let buffer = dma.buffer(vec![(0x100, 3), (0x103, 2)]).unwrap();
    port.submit(Operation::Write { durable: true }, 10, 5, Payload::Guest(buffer));
    assert!(port.completed().unwrap().result.unwrap().is_empty());
    assert_eq!((&medium.contents()[10..15], medium.flushes()), (&b"guest"[..], 1));
    let id = port.submit(Operation::Read, 12, 3, Payload::None);
    let done = port.completed().unwrap();
    assert_eq!((done.id, done.result.unwrap()), (id, b"est".to_vec()));
    port.submit(Operation::Read, 8, 4, Payload::Guest(dma.buffer(vec![(0x200, 4)]).unwrap()));
    port.completed().unwrap().result.unwrap();
    let mut data = [0; 4];
    dma.read(0x200, &mut data).unwrap();
    assert_eq!(data, *b"\0\0gu");
    port.submit(Operation::WriteZeroes { may_unmap: true }, 11, 2, Payload::None);
    port.completed().unwrap().result.unwrap();
    assert_eq!(&medium.contents()[10..15], b"g\0\0st");
    assert!(port.completed().is_none() && !port.is_busy());
}

#[test]
fn each_policy_does_what_it_says() {
    use ErrorAction::{Ignore, Report, Stop};
    for (policy, fault, action) in [
        (OnError::Report, Fault::Io, Report),
        (OnError::Ignore, Fault::Io, Ignore),
        (OnError::Stop, Fault::Io, Stop),
        (OnError::Enospc, Fault::Io, Report),
        (OnError::Enospc, Fault::NoSpace, Stop),
        (OnError::Stop, Fault::NoSpace, Stop),
    ] {
        for operation in [Operation::Read, WRITE] {
            let (mut port, disk, _, reports) = connected(ErrorPolicy { read: policy, write: policy });
            disk.spoil(0..512, fault);
            let payload = if operation == Operation::Read { Payload::None } else { bytes(&[1; 512]) };
            port.submit(operation, 0, 512, payload);
            let done = port.completed();
            assert_eq!(*lock(&reports.0), [(operation, 0, action)], "{policy:?}");
            match action {
                Report => assert!(done.unwrap().result.is_err()),
                Ignore => {
                    let len = if operation == Operation::Read { 512 } else { 0 };
                    assert_eq!(done.unwrap().result.unwrap(), vec![0; len]);
                }
                Stop => assert!(done.is_none() && !port.is_busy() && port.pending().count() == 1),
            }
        }
    }
}

/// To try again would make a loss look like a success, and to tell the guest of what can be tried again would be a loss.
#[test]
fn lost_writes_are_told_and_what_was_given_up_is_made_again() {
    use ErrorAction::{Ignore, Report, Stop};
    let error = || std::io::Error::from_raw_os_error(5);
    for (write, lost) in
        [(OnError::Report, Report), (OnError::Stop, Report), (OnError::Enospc, Report), (OnError::Ignore, Ignore)]
    {
        let policy = ErrorPolicy { write, ..ErrorPolicy::default() };
        assert_eq!(policy.action(Operation::Flush, &BlockError::Lost(error())), lost, "{write:?}");
        for operation in [Operation::Read, WRITE, Operation::Flush] {
            assert_eq!(policy.action(operation, &BlockError::GivenUp(error())), Stop, "{write:?}");
        }
    }
}

#[test]
fn the_guests_own_mistakes_never_stop_the_machine() {
    let (mut port, _, medium, _) = connected(ErrorPolicy { read: OnError::Stop, write: OnError::Stop });
    port.submit(Operation::Read, 4096, 1, Payload::None);
    assert!(port.completed().unwrap().result.is_err());
    medium.set_read_only(true);
    for operation in [Operation::Discard, Operation::WriteZeroes { may_unmap: false }, WRITE] {
        port.submit(operation, 0, 1, bytes(&[0]));
        assert!(matches!(port.completed().unwrap().result, Err(BlockError::ReadOnly)));
    }
}

#[test]
fn what_was_kept_is_done_when_the_machine_goes_on() {
    let (mut port, disk, medium, _) = connected(ErrorPolicy { write: OnError::Stop, ..ErrorPolicy::default() });
    disk.spoil(0..4096, Fault::NoSpace);
    port.submit(WRITE, 0, 2, bytes(b"ab"));
    port.submit(WRITE, 1, 2, bytes(b"cd"));
    assert!(port.completed().is_none());
    port.resume();
    assert!(port.completed().is_none(), "still no room");
    disk.mend();
    port.resume();
    assert_eq!([port.completed().unwrap().id, port.completed().unwrap().id], [0, 1]);
    assert_eq!(&medium.contents()[..3], b"acd");
}

#[test]
fn cancelled_requests_do_nothing_and_tell_nothing() {
    let (mut port, disk, medium, _) = connected(ErrorPolicy::default());
    disk.hold(true);
    port.submit(WRITE, 0, 2, bytes(b"ab"));
    assert!(port.is_busy());
    port.cancel();
    disk.release();
    assert!(port.completed().is_none() && !port.is_busy());
    assert_eq!(&medium.contents()[..2], b"\0\0");
}

#[test]
fn requests_that_are_not_done_move_with_the_state() {
    let (mut port, disk, ..) = connected(ErrorPolicy::default());
    let dma = dma();
    disk.hold(true);
    dma.write(0x80, b"ram").unwrap();
    port.submit(WRITE, 0, 2, bytes(b"ab"));
    port.submit(WRITE, 2, 3, Payload::Guest(dma.buffer(vec![(0x80, 3)]).unwrap()));
    port.submit(Operation::Read, 0, 8, Payload::None);
    let saved = port.save();

    let (mut twin, _, medium, _) = connected(ErrorPolicy::default());
    assert!(twin.check(&saved, 2, &dma).is_err(), "more than the device has");
    let requests = twin.check(&saved, 3, &dma).unwrap();
    twin.load(&saved, requests);
    assert_eq!(twin.save(), saved);
    assert!(twin.completed().is_none());
    twin.resume();
    assert_eq!([(); 3].map(|()| twin.completed().unwrap().id), [0, 1, 2]);
    assert_eq!(&medium.contents()[..6], b"abram\0");

    let text = serde_json::to_value(&saved).unwrap();
    for (field, value) in
        [("len", 4.into()), ("id", 9.into()), ("payload", serde_json::json!({"guest": [[0x3fff, 3]]}))]
    {
        let mut bad = text.clone();
        bad["pending"][1][field] = value;
        let bad: DiskPortState = serde_json::from_value(bad).unwrap();
        assert!(twin.check(&bad, 3, &dma).is_err(), "{field}");
    }
    for (pointer, value) in [("/next_id", u64::MAX), ("/next_id", 1 << 63), ("/pending/2/len", (2 << 20) + 1)] {
        let mut bad = text.clone();
        *bad.pointer_mut(pointer).unwrap() = value.into();
        let bad: DiskPortState = serde_json::from_value(bad).unwrap();
        assert!(twin.check(&bad, 3, &dma).is_err(), "{pointer}: {value}");
    }
}
