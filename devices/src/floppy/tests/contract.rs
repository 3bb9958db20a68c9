//! The contract of devices, and registers after a reset.

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{Device, State};

fn make() -> Subject<Fdc> {
    let drive = FloppyDrive::new(DriveKind::Mb144, Some(Box::new(MemoryBlock::zeroed(1_474_560))));
    let driver = Driver::new([Some(drive), Some(FloppyDrive::new(DriveKind::Mb288, None))]);
    Subject {
        device: driver.fdc.clone(),
        regions: vec![Fdc::REGION, Fdc::DIR_REGION],
        irqs: vec![driver.irq],
        keep: Box::new((driver.queue, driver.clock)),
    }
}

/// The values are those of QEMU 7.2 with a medium in drive A.
#[test]
fn the_contract_holds() {
    let value = |region, offset, value| ResetValue { region, offset, size: 1, value };
    contract::check(
        make,
        &[value(0, 0, 0xc0), value(0, 1, 0x0c), value(0, 2, 0x00), value(0, 3, 0x80), value(0, 4, 0)],
    );
}

#[test]
fn a_transfer_survives_saving_at_every_byte() {
    let (mut driver, medium) = Driver::numbered();
    driver.command(&[0x03, 0xdf, 0x03]);
    driver.command(&[0x46, 0, 0, 0, 2, 2, 3, 0x1b, 0xff]);
    driver.wait(LATENCY);
    for at in 0..1024_u32 {
        let saved = lock(&driver.fdc).save();
        let mut twin = Driver::with(&medium);
        twin.wait(driver.now());
        lock(&twin.fdc).load(&saved).unwrap();
        assert_eq!(lock(&twin.fdc).save(), saved);
        assert_eq!(twin.irq.level(), driver.irq.level());
        driver = twin;
        assert_eq!(driver.inb(FIFO), sector(1 + at / 512)[at as usize % 512], "byte {at}");
    }
    assert_eq!(driver.result(), [0x40, 0x80, 0, 1, 0, 1, 2]);
}

#[test]
fn an_impossible_state_is_refused() {
    let (driver, _) = Driver::numbered();
    let saved = lock(&driver.fdc).save();
    let spoil = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut data = saved.data.clone();
        change(&mut data);
        let refused = lock(&driver.fdc).load(&State { version: saved.version, data: data.clone() });
        assert!(refused.is_err(), "{data}");
        assert_eq!(lock(&driver.fdc).save(), saved);
    };
    spoil(&|data| data["reports"] = 5.into());
    spoil(&|data| data["drives"][0]["cylinder"] = 85.into());
    spoil(&|data| data["drives"][0]["deleted"] = serde_json::json!([2880]));
    spoil(&|data| data["drives"][0] = serde_json::Value::Null);
    let phases = [
        // More than any command has.
        serde_json::json!({ "Command": { "bytes": vec![0x4e; 17] } }),
        serde_json::json!({ "Command": { "bytes": [0x08] } }),
        serde_json::json!({ "ReadId": { "due": 0, "drive": 4, "head": 0, "mfm": true } }),
        serde_json::json!({ "Result": { "bytes": [1, 2], "given": 2 } }),
        serde_json::json!({ "Result": { "bytes": vec![0; 17], "given": 0 } }),
    ];
    for phase in phases {
        spoil(&|data| data["phase"] = phase.clone());
    }
}
