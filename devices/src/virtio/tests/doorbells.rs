//! Doorbells: where they are, who hears them, and what a driver is told while somebody looks all the time.

use super::*;
use crate::backend::disk::DiskClient;
use crate::base::Space::{Memory, Port};

fn bell(queue: u16, space: Space, address: u64, value: Option<u16>) -> Doorbell {
    Doorbell { queue, space, address, value }
}

#[test]
fn doorbells_are_where_the_bars_are() {
    let mut driver = Driver::new();
    assert_eq!(driver.function.doorbells(), []);
    driver.config_write(0x10, 4, 0xc000);
    driver.config_write(0x20, 4, 0xfe00_0000);
    assert_eq!(
        driver.function.doorbells(),
        [
            bell(0, Port, 0xc010, Some(0)),
            bell(1, Port, 0xc010, Some(1)),
            bell(0, Memory, 0xfe00_3000, None),
            bell(1, Memory, 0xfe00_3004, None),
        ]
    );
    driver.config_write(0x04, 2, 0x0005);
    assert_eq!(driver.function.doorbells().len(), 2);
    let [mut ring, _] = driver.start(0, 8);
    driver.request(&mut ring, 0, DATA, 0, 1);
    driver.function.ring(0);
    assert_eq!(driver.take_used(&mut ring, 3), Some((0, 513)), "rung by the board");
    driver.function.ring(7);
}

#[test]
fn doorbells_are_heard_while_a_driver_uses_them() {
    let mut driver = Driver::new();
    let heard = Arc::clone(&driver.heard);
    let heard = || lock(&heard.0).clone();
    driver.config_write(0x10, 4, 0xc000);
    driver.config_write(0x20, 4, 0xfe00_0000);
    assert_eq!(heard(), [], "no driver is ready");
    let of_virtio_1 = |base: u64| [bell(0, Memory, base + 0x3000, None), bell(1, Memory, base + 0x3004, None)];
    driver.start(0, 8);
    assert_eq!(heard(), of_virtio_1(0xfe00_0000));
    driver.config_write(0x20, 4, 0xfd00_0000);
    assert_eq!(heard(), of_virtio_1(0xfd00_0000));
    driver.config_write(0x04, 2, 0x0005);
    assert_eq!(heard(), [], "the window is closed");
    driver.config_write(0x04, 2, 0x0007);
    assert_eq!(heard(), of_virtio_1(0xfd00_0000));
    driver.status(0);
    assert_eq!(heard(), [], "the driver has gone");

    // A legacy driver.
    driver.set_port(0x12, 1, 0x07);
    assert_eq!(heard(), [bell(0, Port, 0xc010, Some(0)), bell(1, Port, 0xc010, Some(1))]);
    driver.config_write(0x04, 2, 0x0003);
    assert_eq!(heard(), [], "a function that does not master the bus has stopped");
}

/// Where the device says in a split ring or in the structure of a packed one that it need not be told.
fn hushed(driver: &Driver, ring: &Ring) -> bool {
    let flags: u16 = driver.peek(if driver.packed { ring.used + 2 } else { ring.used });
    flags == 1
}

#[test]
fn a_driver_need_not_tell_while_somebody_looks() {
    for features in [0, F_EVENT_IDX, F_PACKED, F_PACKED | F_EVENT_IDX] {
        let (mut driver, [mut ring, _]) = Driver::started(features, 8);
        let by_flag = features != F_EVENT_IDX;
        assert!(!driver.function.look(), "nothing is there");
        assert_eq!(hushed(&driver, &ring), by_flag, "{features:#x}");
        let id = driver.request(&mut ring, 0, DATA, 0, 1);
        assert!(driver.function.look());
        assert_eq!(driver.take_used(&mut ring, 3), Some((id, 513)), "{features:#x}");
        assert_eq!(hushed(&driver, &ring), by_flag, "{features:#x}");
        if features == F_EVENT_IDX {
            let wanted: u16 = driver.peek(ring.used + 4 + 8 * u64::from(ring.size));
            assert_eq!(wanted, 0, "the place that it has passed");
        }

        // What comes before the driver is told is not missed.
        let id = driver.request(&mut ring, 3, DATA, 0, 2);
        assert!(driver.function.listen());
        assert_eq!(driver.take_used(&mut ring, 3), Some((id, 513)));
        assert!(!hushed(&driver, &ring), "{features:#x}");
        if features == F_EVENT_IDX {
            let wanted: u16 = driver.peek(ring.used + 4 + 8 * u64::from(ring.size));
            assert_eq!(wanted, 2, "the next");
        }
        assert!(!driver.function.listen());
    }
}

#[test]
fn completions_are_found_without_a_bell() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    driver.disk.hold(true);
    driver.request(&mut ring, 0, DATA, 0, 1);
    assert!(driver.function.look());
    assert!(!driver.function.look(), "it is under way");
    driver.disk.release();
    assert!(driver.function.look());
    assert_eq!(driver.take_used(&mut ring, 3), Some((0, 513)));
}

/// A doorbell that was rung just before the machine stopped may not have been heard.
#[test]
fn a_machine_that_stops_has_been_heard() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    driver.request(&mut ring, 0, DATA, 0, 1);
    driver.function.drain_requests();
    assert_eq!(driver.take_used(&mut ring, 3), Some((0, 513)));
    // The loop hears it now.
    driver.function.ring(0);
    assert_eq!(driver.take_used(&mut ring, 3), None);
}

/// The flag that hushes a driver is in RAM, and in a saved state of it.
#[test]
fn a_restored_driver_is_told_to_tell() {
    let (mut driver, [ring, _]) = Driver::started(0, 8);
    driver.function.look();
    let saved = driver.function.save();
    driver.function.listen();
    driver.function.load(&saved).unwrap();
    driver.poke(ring.used, 1_u16);
    driver.function.resume_requests();
    assert!(!hushed(&driver, &ring));
}
