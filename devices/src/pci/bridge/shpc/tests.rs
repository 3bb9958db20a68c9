use super::*;

/// Cards in slots 2 and 31.
fn controller() -> Shpc {
    let mut shpc = Shpc::default();
    shpc.connect(1 << 2 | 1 << 31);
    shpc
}

/// Number of a slot's register.
fn slot(number: u8) -> u8 {
    8 + number
}

/// Writes the command register: code, target.
fn command(shpc: &mut Shpc, code: u32, target: u32) -> u32 {
    shpc.write(5, code | target << 8, 0xffff);
    shpc.read(5) >> 16
}

/// SHPC 1.0, section 4.9, and what QEMU 7.2's controller has.
#[test]
fn registers_after_reset() {
    let shpc = controller();
    let registers: Vec<_> = (0..9).map(|number| shpc.read(number)).collect();
    assert_eq!(registers, [0, 31, 0, 0xe001_011f, 0x0100_0000, 0, 0, 0, 0x0000_000f]);
    // Empty: disabled, indicator off, latch open, both presence pins high. With a card: enabled, indicator on.
    for number in 1..=31 {
        let expected = if [2, 31].contains(&number) { 0x7f00_0006 } else { 0x7f00_0d0f };
        assert_eq!(shpc.read(slot(number)), expected, "slot {number}");
    }
    assert_eq!((shpc.read(slot(32)), shpc.read(0xff)), (0, 0));
    assert_eq!(shpc.isolated(), !(1 << 2 | 1 << 31 | 1));
}

#[test]
fn a_slot_goes_through_its_states() {
    let mut shpc = controller();
    let state = |shpc: &Shpc| (shpc.read(slot(2)) & 0x3f, shpc.isolated() >> 2 & 1);
    // Attention indicator blinks, all else stays.
    assert_eq!((command(&mut shpc, 0x20, 2), state(&shpc)), (0, (0x26, 0)));
    assert_eq!(shpc.read(5), 0x0220);
    // From enabled to power only there is no way.
    assert_eq!((command(&mut shpc, 0x01, 2), state(&shpc)), (4, (0x26, 0)));
    // Disabled, both indicators off.
    assert_eq!((command(&mut shpc, 0x3f, 2), state(&shpc)), (0, (0x3f, 1)));
    // Power only, with the indicator blinking; then enabled.
    assert_eq!((command(&mut shpc, 0x09, 2), state(&shpc)), (0, (0x39, 1)));
    assert_eq!((command(&mut shpc, 0x06, 2), state(&shpc)), (0, (0x36, 0)));
}

#[test]
fn commands_that_can_not_be_done_say_why() {
    let mut shpc = controller();
    let before = shpc.save();
    // No slot 0; the latch of slot 3 is open; 66 MHz; codes that do not exist; slots are enabled already.
    for (code, target, status) in [
        (0x02, 0, 4),
        (0x02, 3, 2),
        (0x01, 3, 2),
        (0x41, 0, 8),
        (0x47, 0, 8),
        (0x4a, 0, 4),
        (0xff, 0, 4),
        (0x48, 0, 4),
        (0x49, 0, 4),
    ] {
        assert_eq!(command(&mut shpc, code, target), status, "{code:#x} {target}");
        assert_eq!(shpc.save().slots, before.slots, "{code:#x}");
    }
    // An error is that of the last command.
    assert_eq!(command(&mut shpc, 0x40, 0), 0);
}

#[test]
fn all_slots_at_once() {
    let mut shpc = controller();
    for target in [2, 31] {
        assert_eq!(command(&mut shpc, 0x0f, target), 0);
    }
    assert_eq!(command(&mut shpc, 0x48, 0), 0);
    assert_eq!((shpc.read(slot(2)) & 0xff, shpc.read(slot(3)) & 0xff), (0x05, 0x0f));
    assert_eq!(command(&mut shpc, 0x49, 0), 0);
    assert_eq!((shpc.read(slot(31)) & 0xff, shpc.read(slot(3)) & 0xff), (0x06, 0x0f));
}

#[test]
fn the_completion_of_a_command_interrupts() {
    let mut shpc = controller();
    command(&mut shpc, 0x40, 0);
    assert_eq!((shpc.read(8), shpc.read(6), shpc.interrupts()), (0x1_000f, 0, false));
    // Not masked by itself, but still the whole controller.
    shpc.write(8, 0x0b, 0xff);
    assert_eq!((shpc.read(8), shpc.read(6), shpc.interrupts()), (0x1_000b, 1, false));
    shpc.write(8, 0x0a, 0xff);
    assert!(shpc.interrupts());
    shpc.write(8, 0x1_0000, 0xff_0000);
    assert_eq!((shpc.read(8), shpc.interrupts()), (0x000a, false));
}

#[test]
fn events_of_slots_interrupt_and_report_errors_as_they_are_unmasked() {
    let mut shpc = controller();
    let mut saved = shpc.save();
    saved.slots[1].latch = 0x1f;
    saved.serr_interrupt = 0x2_0000;
    shpc.load(&saved).unwrap();
    assert_eq!((shpc.read(6), shpc.read(7)), (0, 1), "the arbiter's is not masked");
    // Each event has its mask.
    for event in 0..5 {
        shpc.write(slot(2), (0x7f & !(1 << event)) << 24, 0xff00_0000);
        assert_eq!((shpc.read(6), shpc.interrupts()), (1 << 2, true), "{event}");
    }
    // The latch, then a fault of the power supply.
    for mask in [0x5f, 0x3f] {
        shpc.write(slot(2), mask << 24, 0xff00_0000);
        assert_eq!((shpc.read(6), shpc.read(7)), (0, 1 << 2 | 1), "{mask:#x}");
    }
    shpc.write(slot(2), 0x08 << 16, 0x00ff_0000);
    assert_eq!(shpc.read(slot(2)) >> 16, 0x3f17);
    shpc.write(slot(2), 0x1f << 16, 0x00ff_0000);
    shpc.write(8, 0x2_0000, 0xff_0000);
    assert_eq!((shpc.read(6), shpc.read(7)), (0, 0));
}

#[test]
fn read_only_registers_stay() {
    let mut shpc = controller();
    let before: Vec<_> = (0..=255).map(|number| shpc.read(number)).collect();
    for number in (0..=4).chain([6, 7]).chain(40..=255) {
        shpc.write(number, u32::MAX, u32::MAX);
    }
    for number in 1..=31 {
        shpc.write(slot(number), u32::MAX, u32::MAX);
    }
    // Reserved bits of command, target and status.
    shpc.write(5, 0xffff_e000, 0xffff_ff00);
    let after: Vec<_> = (0..=255).map(|number| shpc.read(number)).collect();
    assert_eq!(after[5], 0x0004_0000, "there is no slot 0");
    assert_eq!((&after[..5], &after[6..8], &after[9..]), (&before[..5], &before[6..8], &before[9..]));
}

#[test]
fn a_state_that_can_not_be_is_refused() {
    let mut shpc = controller();
    let good = shpc.save();
    let bad = |change: fn(&mut ShpcState)| {
        let mut state = good.clone();
        change(&mut state);
        state
    };
    let changes: [fn(&mut ShpcState); 10] = [
        |state| state.slots.truncate(30),
        |state| state.slots[1].state = 0,
        |state| state.slots[1].state = 4,
        // Powered, with the latch open.
        |state| state.slots[0].state = 2,
        |state| state.slots[1].power_led = 4,
        |state| state.slots[1].attention_led = 4,
        |state| state.slots[1].latch = 0x20,
        |state| state.slots[1].masks = 0x80,
        |state| state.target = 0x20,
        |state| state.serr_interrupt = 0x10,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert!(shpc.load(&bad(change)).is_err(), "change {number}");
        assert_eq!(shpc.save(), good);
    }
    assert!(shpc.load(&bad(|state| state.status = 1)).is_err());
    shpc.load(&bad(|state| state.status = 0x0e)).unwrap();
    let mut report = Inspector::default();
    shpc.inspect(&mut report);
    assert_eq!(report.items().len(), 6);
}
