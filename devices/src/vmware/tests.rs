//! Expected values are those of QEMU 7.2's devices and of the protocol that the drivers speak.

use super::mouse::QUEUE_SIZE;
use super::port::command;
use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{Caller, Device, Inspector, IoDevice, RegisterPort, Registers, ResetKind, shared};
use crate::input::MouseButton;

const MAGIC: u32 = 0x564d_5868;
const READ_ID: u32 = 0x4541_4552;
const DISABLE: u32 = 0xf5;
const RELATIVE: u32 = 0x4c45_5252;
const ABSOLUTE: u32 = 0x5342_4152;

const UUID: [u8; 16] = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];

struct Processor {
    registers: Registers,
    tsc_hz: Option<u64>,
    x2apic: bool,
}

impl Caller for Processor {
    fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn tsc_hz(&self) -> Option<u64> {
        self.tsc_hz
    }

    fn has_x2apic(&self) -> bool {
        self.x2apic
    }
}

fn port() -> VmPort {
    VmPort::new(Identity { uuid: UUID, ram_size: 0x1_4000_0000 }, true)
}

fn call_with(port: &mut VmPort, registers: Registers) -> Registers {
    let mut processor = Processor { registers, tsc_hz: Some(0x1_2345_6789), x2apic: true };
    port.access(&mut processor);
    processor.registers
}

/// A call with `argument` in EBX.
fn call(port: &mut VmPort, command: u8, argument: u32) -> Registers {
    call_with(port, Registers { eax: MAGIC, ebx: argument, ecx: command.into(), edx: 0x5658, esi: 5, edi: 6 })
}

fn status(port: &mut VmPort) -> u32 {
    call(port, command::VMMOUSE_STATUS, 0).eax
}

fn operate(port: &mut VmPort, operation: u32) {
    let after = call(port, command::VMMOUSE_COMMAND, operation);
    assert_eq!(after.eax, MAGIC, "a command leaves EAX as it was");
}

fn mouse(port: &mut VmPort) -> &mut VmMouse {
    port.mouse().expect("this port has a mouse")
}

/// As Linux's driver does: read the ID, make it absolute.
fn enabled() -> VmPort {
    let mut port = port();
    operate(&mut port, READ_ID);
    assert_eq!(status(&mut port), 1);
    assert_eq!(call(&mut port, command::VMMOUSE_DATA, 1).eax, 0x3442_554a);
    operate(&mut port, ABSOLUTE);
    port
}

/// An event of four words.
fn event(port: &mut VmPort) -> [u32; 4] {
    let Registers { eax, ebx, ecx, edx, .. } = call(port, command::VMMOUSE_DATA, 4);
    [eax, ebx, ecx, edx]
}

#[test]
fn contract() {
    let subject =
        || Subject { device: shared(enabled()), regions: vec![VmPort::REGION], irqs: Vec::new(), keep: Box::new(()) };
    contract::check(subject, &[ResetValue { region: 0, offset: 0, size: 1, value: 0xff }]);
}

#[test]
fn the_port_tells_what_it_is() {
    let mut port = port();
    let version = call(&mut port, command::GET_VERSION, 0);
    assert_eq!(version, Registers { eax: 6, ebx: MAGIC, ecx: 2, edx: 0x5658, esi: 5, edi: 6 });
    let uuid = call(&mut port, command::GET_BIOS_UUID, 0);
    let words = [0x3322_1100, 0x7766_5544, 0xbbaa_9988, 0xffee_ddcc];
    assert_eq!([uuid.eax, uuid.ebx, uuid.ecx, uuid.edx], words);
    let ram = call(&mut port, command::GET_RAM_SIZE, 0);
    assert_eq!((ram.eax, ram.ebx), (0x4000_0000, 0x1177));
}

#[test]
fn frequencies_and_features_are_the_processors() {
    let mut port = port();
    let hz = call(&mut port, command::GET_HZ, 0);
    assert_eq!((hz.eax, hz.ebx, hz.ecx), (0x2345_6789, 1, 1_000_000_000));
    assert_eq!(call(&mut port, command::GET_VCPU_INFO, 0).eax, 1 << 3);

    let registers = Registers { eax: MAGIC, ecx: command::GET_HZ.into(), ..Registers::default() };
    let mut processor = Processor { registers, tsc_hz: None, x2apic: false };
    port.access(&mut processor);
    assert_eq!((processor.registers.eax, processor.registers.ebx), (MAGIC, u32::MAX));
    processor.registers = Registers { eax: MAGIC, ecx: command::GET_VCPU_INFO.into(), ..Registers::default() };
    port.access(&mut processor);
    assert_eq!(processor.registers.eax, 0);
}

#[test]
fn what_is_no_call_gives_ones_and_changes_nothing_else() {
    let mut port = port();
    let before = Registers { eax: MAGIC + 1, ebx: 1, ecx: command::GET_VERSION.into(), edx: 2, esi: 3, edi: 4 };
    assert_eq!(call_with(&mut port, before), Registers { eax: u32::MAX, ..before });
    for unknown in [0, 1, 11, 38, 42, 67, 69, 255] {
        let before = Registers { eax: MAGIC, ecx: unknown, ..before };
        assert_eq!(call_with(&mut port, before), Registers { eax: u32::MAX, ..before });
    }
    // The port looks at the low byte of the command only.
    assert_eq!(call_with(&mut port, Registers { eax: MAGIC, ecx: 0xffff_ff0a, ..before }).eax, 6);
}

#[test]
fn without_registers_there_are_no_calls() {
    let mut port = enabled();
    let before = port.save();
    port.write(0, 0, 1, 0x68);
    assert_eq!(port.read(0, 0, 1), 0xff);
    assert_eq!(port.save(), before);
}

#[test]
fn a_port_without_a_mouse_knows_none() {
    let mut port = VmPort::new(Identity { uuid: UUID, ram_size: 0 }, false);
    assert!(port.mouse().is_none());
    assert_eq!(status(&mut port), u32::MAX);
    assert_eq!(call(&mut port, command::GET_VERSION, 0).eax, 6);
    // Nor does it take the state of one that has a mouse, or the other way round.
    assert!(port.load(&enabled().save()).is_err());
    assert!(enabled().load(&port.save()).is_err());
}

#[test]
fn a_mouse_is_off_until_its_id_is_read() {
    let mut port = port();
    assert_eq!(status(&mut port), 0xffff_0000);
    assert!(!mouse(&mut port).move_to(1, 1) && !mouse(&mut port).move_by(1, 1));
    // To ask for positions does not enable it.
    operate(&mut port, ABSOLUTE);
    assert!(!mouse(&mut port).is_enabled());
    operate(&mut port, READ_ID);
    assert_eq!(status(&mut port), 1);
    assert!(mouse(&mut port).takes_movement() && !mouse(&mut port).takes_positions());
    operate(&mut port, DISABLE);
    assert_eq!(status(&mut port), 0xffff_0001);
}

#[test]
fn positions_are_doubled_and_movement_is_marked() {
    let mut port = enabled();
    assert!(mouse(&mut port).move_to(0x1234, 0x7fff));
    assert!(mouse(&mut port).button(MouseButton::Left, true));
    assert!(mouse(&mut port).scroll(-1));
    assert!(!mouse(&mut port).move_by(1, 1), "movement is the PS/2 mouse's");
    assert_eq!(status(&mut port), 12);
    assert_eq!(event(&mut port), [0, 0x2468, 0xfffe, 0]);
    assert_eq!(event(&mut port), [0x20, 0x2468, 0xfffe, 0]);
    assert_eq!(event(&mut port), [0x20, 0x2468, 0xfffe, u32::MAX]);

    operate(&mut port, RELATIVE);
    assert!(mouse(&mut port).move_by(-2, 3));
    assert!(mouse(&mut port).button(MouseButton::Right, true));
    assert!(mouse(&mut port).button(MouseButton::Middle, true));
    assert_eq!(event(&mut port), [0x1_0020, 0xffff_fffe, 3, 0]);
    assert_eq!(event(&mut port), [0x1_0030, 0, 0, 0]);
    assert_eq!(event(&mut port), [0x1_0038, 0, 0, 0]);
    assert!(mouse(&mut port).button(MouseButton::Left, false));
    assert_eq!(event(&mut port), [0x1_0018, 0, 0, 0]);
    // Nothing new, or nothing that can be told.
    assert!(!mouse(&mut port).button(MouseButton::Left, false));
    assert!(!mouse(&mut port).button(MouseButton::Side, true));
    assert!(!mouse(&mut port).move_to(1, 1));
    // A position beyond the edge is at the edge.
    operate(&mut port, ABSOLUTE);
    assert!(mouse(&mut port).move_to(0xffff, 0x8000));
    assert_eq!(event(&mut port), [0x18, 0xfffe, 0xfffe, 0]);
}

#[test]
fn up_to_six_words_are_read_at_once() {
    let mut port = enabled();
    for x in 1..=3 {
        mouse(&mut port).move_to(x, 0);
    }
    let six = call(&mut port, command::VMMOUSE_DATA, 6);
    assert_eq!(six, Registers { eax: 0, ebx: 2, ecx: 0, edx: 0, esi: 0, edi: 4 });
    let two = call(&mut port, command::VMMOUSE_DATA, 2);
    assert_eq!(two, Registers { eax: 0, ebx: 0, ecx: command::VMMOUSE_DATA.into(), edx: 0x5658, esi: 5, edi: 6 });
    assert_eq!(status(&mut port), 4);
}

#[test]
fn a_driver_that_asks_for_too_much_disables_the_mouse() {
    for (waiting, words) in [(1_u32, 0), (2, 7), (1, 5), (0, 1), (1, u32::MAX)] {
        let mut port = enabled();
        for _ in 0..waiting {
            mouse(&mut port).move_to(1, 1);
        }
        let after = call(&mut port, command::VMMOUSE_DATA, words);
        assert_eq!((after.eax, after.ebx), (MAGIC, words));
        assert_eq!(status(&mut port), 0xffff_0000 + 4 * waiting);
        // Reading the ID enables it again, behind what still waits.
        operate(&mut port, READ_ID);
        assert_eq!(status(&mut port), 4 * waiting + 1);
    }
}

#[test]
fn a_full_queue_loses_what_is_new() {
    let mut port = enabled();
    for x in 0..256 {
        assert!(mouse(&mut port).move_to(x, 0));
    }
    assert_eq!(status(&mut port), QUEUE_SIZE as u32);
    assert!(!mouse(&mut port).move_to(1, 1) && !mouse(&mut port).scroll(1));
    // There is no room for the ID, and so it does not change anything.
    operate(&mut port, DISABLE);
    operate(&mut port, READ_ID);
    assert_eq!(status(&mut port), 0xffff_0000 | QUEUE_SIZE as u32);
    assert_eq!(call(&mut port, command::VMMOUSE_DATA, 1).eax, 0);
    operate(&mut port, READ_ID);
    assert_eq!(status(&mut port), QUEUE_SIZE as u32);
    // Three free words are too few.
    call(&mut port, command::VMMOUSE_DATA, 3);
    assert!(!mouse(&mut port).move_to(1, 1));
    call(&mut port, command::VMMOUSE_DATA, 1);
    assert!(mouse(&mut port).move_to(1, 1));
}

#[test]
fn a_reset_forgets_events_but_not_that_a_button_is_held() {
    let mut port = enabled();
    mouse(&mut port).button(MouseButton::Left, true);
    port.reset(ResetKind::System);
    assert_eq!(status(&mut port), 0xffff_0000);
    operate(&mut port, READ_ID);
    call(&mut port, command::VMMOUSE_DATA, 1);
    mouse(&mut port).move_by(1, 0);
    assert_eq!(event(&mut port), [0x1_0020, 1, 0, 0]);
}

#[test]
fn the_mouse_looks_at_sixteen_bits_of_the_command() {
    let mut port = enabled();
    let registers = Registers { eax: MAGIC, ecx: 0x0100 | u32::from(command::VMMOUSE_STATUS), ..Registers::default() };
    assert_eq!(call_with(&mut port, registers), registers);
    let registers = Registers { ecx: 0x1_0000 | u32::from(command::VMMOUSE_STATUS), ..registers };
    assert_eq!(call_with(&mut port, registers).eax, 0);
    // An operation that it does not know.
    operate(&mut port, 0x1234);
    assert!(mouse(&mut port).takes_positions());
}

#[test]
fn a_mouse_that_is_set_aside_hears_nothing_until_it_is_enabled_anew() {
    let mut port = enabled();
    mouse(&mut port).set_aside(true);
    assert!(!mouse(&mut port).move_to(1, 1) && !mouse(&mut port).scroll(1));
    assert!(!mouse(&mut port).button(MouseButton::Left, true));
    // Its driver finds it as it was.
    assert_eq!(status(&mut port), 0);
    mouse(&mut port).set_aside(false);
    assert!(mouse(&mut port).move_to(2, 3));
    assert_eq!(event(&mut port), [0x20, 4, 6, 0]);

    for operation in [READ_ID, DISABLE] {
        let mut port = enabled();
        mouse(&mut port).set_aside(true);
        operate(&mut port, operation);
        operate(&mut port, READ_ID);
        assert!(mouse(&mut port).takes_positions());
    }
    // One that is disabled can't be set aside.
    operate(&mut port, DISABLE);
    mouse(&mut port).set_aside(true);
    operate(&mut port, READ_ID);
    assert!(mouse(&mut port).is_in_use());
}

#[test]
fn states_that_no_mouse_reaches_are_refused() {
    let mut port = enabled();
    mouse(&mut port).move_to(3, 4);
    let good = port.save();
    for (field, bad) in [
        ("queue", serde_json::json!(vec![0; QUEUE_SIZE + 1])),
        ("buttons", 0x40.into()),
        ("position", serde_json::json!([0x8000, 0])),
        ("aside", true.into()),
    ] {
        let mut state = good.clone();
        state.data["mouse"]["enabled"] = (field != "aside").into();
        state.data["mouse"][field] = bad;
        let error = port.load(&state).expect_err(field).to_string();
        assert!(error.contains(field), "{error}");
        assert_eq!(port.save(), good);
    }
}

#[test]
fn it_can_be_looked_into() {
    let mut port = enabled();
    mouse(&mut port).move_to(1, 2);
    let mut report = Inspector::default();
    port.inspect(&mut report);
    let text = report.to_string();
    assert!(text.contains("first half of the UUID = 0x0011223344556677"), "{text}");
    assert!(text.contains("mouse absolute = on") && text.contains("mouse words waiting = 4"), "{text}");
}
