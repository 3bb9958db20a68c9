//! The controller as a driver sees it. What QEMU 7.2 answers to the same accesses is in the comments where it differs.

use super::*;

const STS: u64 = 0;
const CNT: u64 = 2;
const CMD: u64 = 3;
const ADD: u64 = 4;
const D0: u64 = 5;
const D1: u64 = 6;
const BLK: u64 = 7;

const QUICK: u8 = 0;
const BYTE: u8 = 1;
const BYTE_DATA: u8 = 2;
const WORD_DATA: u8 = 3;
const PROCESS_CALL: u8 = 4;
const BLOCK_DATA: u8 = 5;

const WRITE: u8 = 0xa0;
const READ: u8 = 0xa1;

/// Starts a transaction, polls as a driver does, and returns the final status.
fn run(smbus: &mut Smbus, address: u8, protocol: u8, command: u8, data: [u8; 2]) -> u8 {
    smbus.write(STS, 0xff);
    for (register, value) in [(ADD, address), (CMD, command), (D0, data[0]), (D1, data[1])] {
        smbus.write(register, value);
    }
    smbus.write(CNT, 0x40 | protocol << 2);
    assert_eq!(smbus.read(STS), 0x01, "busy once");
    smbus.read(STS)
}

#[test]
fn every_protocol_reaches_an_eeprom() {
    let mut smbus = Smbus::default();
    for protocol in [QUICK, BYTE, BYTE_DATA, WORD_DATA, BLOCK_DATA] {
        assert_eq!(run(&mut smbus, READ, protocol, 0, [0, 0]), 0x02, "{protocol}");
        assert_eq!((smbus.read(D0), smbus.read(D1)), (0, 0), "blank");
    }
    assert_eq!(run(&mut smbus, WRITE, BYTE_DATA, 0x10, [0x42, 0]), 0x02);
    assert_eq!(run(&mut smbus, READ, BYTE_DATA, 0x10, [0, 0]), 0x02);
    assert_eq!(smbus.read(D0), 0x42);
    run(&mut smbus, WRITE, WORD_DATA, 0x20, [0x11, 0x22]);
    run(&mut smbus, READ, WORD_DATA, 0x20, [0, 0]);
    assert_eq!((smbus.read(D0), smbus.read(D1)), (0x11, 0x22));
    // Send byte sets the address; receive byte goes on from there.
    run(&mut smbus, WRITE, BYTE, 0x20, [0, 0]);
    for expected in [0x11, 0x22, 0] {
        run(&mut smbus, READ, BYTE, 0, [0xff, 0]);
        assert_eq!(smbus.read(D0), expected);
    }
    // Process call (QEMU: a device error): what follows the written word is read.
    run(&mut smbus, WRITE, WORD_DATA, 0x32, [0xaa, 0xbb]);
    assert_eq!(run(&mut smbus, WRITE, PROCESS_CALL, 0x30, [1, 2]), 0x02);
    assert_eq!((smbus.read(D0), smbus.read(D1)), (0xaa, 0xbb));
}

#[test]
fn blocks_go_through_the_buffer() {
    let mut smbus = Smbus::default();
    smbus.read(CNT);
    for byte in [7, 8, 9] {
        smbus.write(BLK, byte);
    }
    assert_eq!(run(&mut smbus, WRITE, BLOCK_DATA, 0x40, [3, 0]), 0x02);
    smbus.read(CNT);
    for _ in 0..32 {
        smbus.write(BLK, 0);
    }
    assert_eq!(run(&mut smbus, READ, BLOCK_DATA, 0x40, [0, 0]), 0x02);
    assert_eq!(smbus.read(D0), 3);
    smbus.read(CNT);
    assert_eq!([smbus.read(BLK), smbus.read(BLK), smbus.read(BLK), smbus.read(BLK)], [7, 8, 9, 0]);
    // Counts that the bus does not have.
    for count in [0, 33, 255] {
        assert_eq!(run(&mut smbus, WRITE, BLOCK_DATA, 0x40, [count, 0]), 0x04, "{count}");
    }
    run(&mut smbus, WRITE, BYTE_DATA, 0x40, [33, 0]);
    assert_eq!(run(&mut smbus, READ, BLOCK_DATA, 0x40, [0, 0]), 0x04);
}

/// QEMU's model once used the block index without a limit (fixed in 3.1, "i2c: pm_smbus: check smb_index before block
/// transfer write"): a driver that wrote on and on left the buffer.
#[test]
fn the_block_index_never_leaves_the_buffer() {
    let mut smbus = Smbus::default();
    for round in 0..1000 {
        smbus.write(BLK, round as u8);
        let _ = smbus.read(BLK);
    }
    assert!(Smbus::load(smbus.save()).is_ok_and(|loaded| loaded == smbus));
    let mut state = smbus.save();
    state.block_index = 32;
    assert!(Smbus::load(state).is_err());
}

/// States that are stored read on after a field is renamed in the program.
#[test]
fn the_saved_form_has_these_names() {
    let saved = serde_json::to_value(Smbus::default().save()).unwrap();
    let fields: Vec<_> = saved.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "block",
        "block_index",
        "eeproms",
        "hstadd",
        "hstcmd",
        "hstcnt",
        "hstdat",
        "hststs",
        "shdwcmd",
        "slvcnt",
        "slvevt",
    ];
    assert_eq!(fields, expected);
    assert_eq!(saved["eeproms"][7], serde_json::json!({ "contents": [], "address": 0 }));
}

#[test]
fn absent_devices_and_reserved_protocols_are_device_errors() {
    let mut smbus = Smbus::default();
    for address in [0x00, 0x91, 0x9f, 0xb0, 0xff] {
        for protocol in 0..8 {
            assert_eq!(run(&mut smbus, address, protocol, 0, [0, 0]), 0x04, "{address:#x} {protocol}");
        }
    }
    for protocol in [6, 7] {
        assert_eq!(run(&mut smbus, READ, protocol, 0, [0, 0]), 0x04, "{protocol}");
    }
    for address in (0xa0..0xb0).step_by(2) {
        assert_eq!(run(&mut smbus, address, QUICK, 0, [0, 0]), 0x02);
    }
}

#[test]
fn with_the_interrupt_on_a_transaction_is_done_at_once() {
    let mut smbus = Smbus::default();
    smbus.write(ADD, READ);
    smbus.write(CNT, 0x49);
    assert!(smbus.interrupt());
    assert_eq!((smbus.read(STS), smbus.read(CNT)), (0x02, 0x09));
    smbus.write(STS, 0x02);
    assert!(!smbus.interrupt());
    assert_eq!(smbus.read(STS), 0);
}

#[test]
fn kill_ends_a_transaction_as_failed() {
    let mut smbus = Smbus::default();
    smbus.write(ADD, READ);
    smbus.write(CNT, 0x48);
    smbus.write(CNT, 0x0a);
    assert_eq!((smbus.read(STS), smbus.read(STS)), (0x10, 0x10));
    smbus.write(STS, 0x10);
    smbus.write(CNT, 0x02);
    assert_eq!(smbus.read(STS), 0, "nothing to kill");
}

#[test]
fn registers_at_reset_are_qemus_and_the_slave_side_is_storage() {
    let mut smbus = Smbus::default();
    for offset in 0..64 {
        assert_eq!(smbus.read(offset), if offset == 0x0d { 0x02 } else { 0 }, "{offset:#x}");
        smbus.write(offset, 0xff);
    }
    assert_eq!([0x01, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0f].map(|at| smbus.read(at)), [0, 0x0f, 0xff, 0xff, 0xff, 0, 0]);
    smbus.reset();
    assert_eq!(smbus, Smbus::default());
}
