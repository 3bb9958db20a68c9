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
    spoil(&|data| data["reports"] = 4.into());
    for (register, value) in [("tdr", 0x04), ("dsr", 0x80), ("config", 0x80), ("perpendicular", 0x40)] {
        spoil(&|data| data[register] = value.into());
    }
    spoil(&|data| data["specifications"][1] = 0x20.into());
    // Not so soon.
    spoil(&|data| data["polling_due"] = (LATENCY + 1).into());
    spoil(&|data| data["seeks"][1] = serde_json::json!({ "due": LATENCY + 1, "st0": 0x21 }));
    // A seek of another drive, one that has not ended, one that has and has not.
    spoil(&|data| data["seeks"][1] = serde_json::json!({ "due": 1, "st0": 0x22 }));
    spoil(&|data| data["seek_results"][1] = 0x01.into());
    spoil(&|data| {
        data["seeks"][1] = serde_json::json!({ "due": 1, "st0": 0x21 });
        data["seek_results"][1] = 0x21.into();
    });
    // Something goes on in a controller that is held in reset.
    spoil(&|data| {
        data["dor"] = 0x18.into();
        data["polling_due"] = 1.into();
    });
    for interrupt in ["polled", "result", "data"] {
        spoil(&|data| data["interrupts"][interrupt] = true.into());
    }
    spoil(&|data| data["drives"][0]["rotation"] = 19.into());
    spoil(&|data| data["drives"][0]["cylinder"] = 85.into());
    spoil(&|data| data["drives"][0]["deleted"] = serde_json::json!([2880]));
    spoil(&|data| data["drives"][0] = serde_json::Value::Null);
    let phases = [
        // More than any command has.
        serde_json::json!({ "Command": { "bytes": vec![0x4e; 17] } }),
        serde_json::json!({ "Command": { "bytes": [0x08] } }),
        serde_json::json!({ "ReadId": { "due": 0, "drive": 4, "head": 0, "mfm": true } }),
        serde_json::json!({ "ReadId": { "due": 200_000_001, "drive": 0, "head": 0, "mfm": true } }),
        // DRIVE SPECIFICATION ends after six bytes, or one with DONE.
        serde_json::json!({ "Command": { "bytes": [0x8e, 0, 0, 0, 0, 0, 0] } }),
        serde_json::json!({ "Command": { "bytes": [0x8e, 0x80, 0] } }),
        serde_json::json!({ "Result": { "bytes": [1, 2], "given": 2 } }),
        serde_json::json!({ "Result": { "bytes": vec![0; 17], "given": 0 } }),
    ];
    for phase in phases {
        spoil(&|data| data["phase"] = phase.clone());
    }
}

#[test]
fn an_impossible_transfer_is_refused() {
    let (mut driver, _) = Driver::numbered();
    let spoil = |driver: &Driver, phase: &str, changes: &[(&str, serde_json::Value)]| {
        let saved = lock(&driver.fdc).save();
        for (field, value) in changes {
            let mut bad = saved.clone();
            match bad.data["phase"][phase]["transfer"].get_mut(field) {
                Some(place) => *place = value.clone(),
                None => bad.data["phase"][phase][field] = value.clone(),
            }
            assert!(lock(&driver.fdc).load(&bad).is_err(), "{phase}: {field} {value}");
            assert_eq!(lock(&driver.fdc).save(), saved);
        }
    };
    let common = |left: Option<u8>| {
        [
            ("drive", 4.into()),
            ("head", 2.into()),
            ("index", 0.into()),
            ("st1", 0x80.into()),
            ("st2", 0x10.into()),
            ("left", left.into()),
            ("skip", true.into()),
        ]
    };
    // FORMAT by the processor.
    driver.command(&[0x03, 0xdf, 0x03]);
    driver.command(&[0x4d, 0, 2, 18, 0x54, 0xf6]);
    let starting = [("due", (LATENCY + 1).into()), ("buffer", vec![0; 4].into()), ("passed", 1.into())];
    spoil(&driver, "Starting", &starting);
    spoil(&driver, "Starting", &common(None));
    driver.wait(LATENCY);
    driver.outb(FIFO, 0);
    spoil(&driver, "Transferring", &common(None));
    // No sector to go would be 256 of them after the next.
    let transferring = [
        ("left", 0.into()),
        ("passed", 4.into()),
        ("buffer", vec![0; 512].into()),
        ("pio", false.into()),
        ("multi_track", true.into()),
    ];
    spoil(&driver, "Transferring", &transferring);

    // A read by DMA that waits for its channel.
    let (mut driver, _) = Driver::numbered();
    driver.command(&[0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    driver.wait(LATENCY);
    let requesting = [
        ("left", 1.into()),
        ("until", (LATENCY + 200_000_001).into()),
        ("due", (LATENCY + 200_000_001).into()),
        ("buffer", vec![0; 511].into()),
        ("passed", 1.into()),
        ("pio", true.into()),
        ("operation", "Verify".into()),
    ];
    spoil(&driver, "Requesting", &requesting);
}

#[test]
fn a_transfer_that_waits_for_its_channel_goes_on_in_a_twin() {
    let (mut driver, medium) = Driver::numbered();
    driver.command(&[0x46, 0, 0, 0, 3, 2, 18, 0x1b, 0xff]);
    driver.wait(LATENCY + 5_300_000);
    let saved = lock(&driver.fdc).save();
    let mut twin = Driver::with(&medium);
    twin.wait(driver.now());
    lock(&twin.fdc).load(&saved).unwrap();
    assert_eq!(lock(&twin.fdc).save(), saved);
    assert!(twin.dma.with(|dma| dma.requested));
    twin.dma.program(vec![0; 512], Direction::ToMemory);
    twin.wait(1_000_000);
    assert_eq!(twin.result(), [0, 0, 0, 0, 0, 4, 2]);
    assert_eq!(twin.dma.with(|dma| dma.memory.clone()), sector(2));
}
