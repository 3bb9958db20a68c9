//! INTx with the ISR status, and MSI-X.

use super::*;

const ID: [(u64, u32, u16); 1] = [(DATA + 0x1000, 20, WRITE)];

fn vector(driver: &mut Driver, number: u64, data: u32) {
    driver.set_msix(16 * number, 0xfee0_0000);
    driver.set_msix(16 * number + 8, data);
    driver.set_msix(16 * number + 12, 0);
}

#[test]
fn the_pin_is_asserted_until_the_isr_status_is_read() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    driver.perform(&mut ring, 8, 0, &ID);
    assert!(driver.pin.level());
    assert_eq!((driver.isr(), driver.pin.level(), driver.isr()), (1, false, 0));
    driver.perform(&mut ring, 8, 0, &ID);
    driver.config_write(0x04, 2, 0x0407);
    assert_eq!((driver.pin.level(), driver.config_read(0x06, 2) & 8), (false, 8), "Interrupt Disable");
    driver.config_write(0x04, 2, 0x0007);
    assert!(driver.pin.level());
    assert_eq!((driver.port(0x13, 1), driver.pin.level()), (1, false), "by the legacy interface");
    driver.perform(&mut ring, 8, 0, &ID);
    driver.status(0);
    assert_eq!((driver.pin.level(), driver.isr()), (false, 0), "a reset takes it back");
}

#[test]
fn each_queue_has_the_vector_that_the_driver_gave_it() {
    let (mut driver, [mut first, mut second]) = Driver::started(0, 8);
    driver.config_write(0x9a, 2, 0x8000);
    for (number, data) in [(0, 0x40), (1, 0x41), (2, 0x42)] {
        vector(&mut driver, number, data);
    }
    for (queue, chosen) in [(0, 1), (1, 2)] {
        driver.set_common(0x16, 2, queue);
        driver.set_common(0x1a, 2, chosen);
        assert_eq!(driver.common(0x1a, 2), chosen);
    }
    driver.perform(&mut first, 8, 0, &ID);
    driver.perform(&mut second, 8, 0, &ID);
    assert_eq!((driver.take_messages(), driver.pin.level()), (vec![0x41, 0x42], false));
    // There is no vector 3: the driver can see that.
    driver.set_common(0x1a, 2, 3);
    driver.set_common(0x10, 2, 0xfffe);
    assert_eq!((driver.common(0x1a, 2), driver.common(0x10, 2)), (0xffff, 0xffff));
    driver.perform(&mut second, 8, 0, &ID);
    assert_eq!(driver.take_messages(), Vec::<u32>::new());
    // Masked, it waits.
    driver.set_msix(16 + 12, 1);
    driver.perform(&mut first, 8, 0, &ID);
    assert_eq!((driver.take_messages(), driver.pending_messages()), (vec![], 2));
    driver.set_msix(16 + 12, 0);
    assert_eq!((driver.take_messages(), driver.pending_messages()), (vec![0x41], 0));
    driver.config_write(0x9a, 2, 0xc000);
    driver.perform(&mut first, 8, 0, &ID);
    assert_eq!(driver.take_messages(), Vec::<u32>::new());
    driver.config_write(0x9a, 2, 0x8000);
    assert_eq!(driver.take_messages(), [0x41]);
    // A reset by the driver takes vectors and what is pending away, and leaves the table.
    driver.set_msix(16 + 12, 1);
    driver.perform(&mut first, 8, 0, &ID);
    driver.status(0);
    driver.set_common(0x16, 2, 0);
    assert_eq!((driver.pending_messages(), driver.common(0x1a, 2)), (0, 0xffff));
    driver.set_msix(16 + 12, 0);
    assert_eq!(driver.take_messages(), Vec::<u32>::new());
}

#[test]
fn a_broken_queue_is_told_by_the_vector_of_the_configuration() {
    let (mut driver, [mut ring, _]) = Driver::started(0, 8);
    driver.config_write(0x9a, 2, 0x8000);
    vector(&mut driver, 0, 0x40);
    driver.set_common(0x10, 2, 0);
    let generation = driver.common(0x15, 1);
    driver.offer(&mut ring, 0, &[(RAM, 16, 0)]);
    driver.kick(0);
    assert_eq!((driver.common(0x14, 1), driver.take_messages()), (0x4f, vec![0x40]));
    assert_eq!(driver.common(0x15, 1), generation + 1);
    // The bit is the device's to clear, by a reset.
    driver.status(0xf);
    assert!(driver.needs_reset());
    driver.status(0);
    assert!(!driver.needs_reset());
}

#[test]
fn a_function_without_vectors_interrupts_by_its_pin() {
    let block = BlockOptions { queues: 2, queue_size: 16, ..BlockOptions::default() };
    let mut driver = Driver::with(PciOptions { vectors: 0, ..PLAIN }, block, ErrorPolicy::default());
    driver.set_common(0x10, 2, 0);
    assert_eq!((driver.common(0x10, 2), driver.regions().len()), (0xffff, 2));
    let [mut ring, _] = driver.start(0, 8);
    driver.perform(&mut ring, 8, 0, &ID);
    assert!(driver.pin.level());
}
