//! The controller as drivers see it: through ports 60h and 64h.

use proptest::prelude::*;

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::system::Requests;
use crate::base::{IrqProbe, ManualClock, Shared, TimerQueue, lock, shared};

const NOTHING: [u8; 0] = [];
const OUTPUT_FULL: u8 = 0x01;
const MOUSE_DATA: u8 = 0x20;

struct Rig {
    device: Shared<I8042>,
    irq1: IrqProbe,
    irq12: IrqProbe,
    a20: IrqProbe,
    pressed: IrqProbe,
    requests: Arc<Requests>,
    queue: TimerQueue,
    clock: Arc<ManualClock>,
}

impl Rig {
    fn new() -> Self {
        let (manual, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock.clone());
        let timers = queue.timers();
        let owner = timers.owner();
        let ((keyboard_irq, irq1), (mouse_irq, irq12), (a20_line, a20)) =
            (IrqLine::probed(), IrqLine::probed(), IrqLine::probed());
        let (pressed_line, pressed) = IrqLine::probed();
        let lines = I8042Lines { keyboard_irq, mouse_irq, a20: a20_line, pressed: pressed_line };
        let requests = Arc::new(Requests::default());
        let device = shared(I8042::new(clock, timers, lines, Arc::clone(&requests) as Arc<dyn SystemControl>));
        queue.attach(owner, &device);
        Self { device, irq1, irq12, a20, pressed, requests, queue, clock: manual }
    }

    fn command(&self, byte: u8) {
        lock(&self.device).write(COMMAND, 0, 1, byte.into());
    }

    fn write(&self, byte: u8) {
        lock(&self.device).write(DATA, 0, 1, byte.into());
    }

    fn status(&self) -> u8 {
        lock(&self.device).read(COMMAND, 0, 1) as u8
    }

    fn read(&self) -> u8 {
        lock(&self.device).read(DATA, 0, 1) as u8
    }

    /// Reads until the output buffer stays empty; each byte with whether it is the mouse's.
    fn drain(&self) -> Vec<(u8, bool)> {
        let mut bytes = Vec::new();
        loop {
            let status = self.status();
            if status & OUTPUT_FULL == 0 {
                return bytes;
            }
            bytes.push((self.read(), status & MOUSE_DATA != 0));
        }
    }

    /// Sends a command with parameters and returns what the keyboard's side answers.
    fn ask(&self, command: u8, parameters: &[u8]) -> Vec<u8> {
        self.command(command);
        parameters.iter().for_each(|&byte| self.write(byte));
        let answer = self.drain();
        assert!(answer.iter().all(|&(_, from_mouse)| !from_mouse));
        answer.into_iter().map(|(byte, _)| byte).collect()
    }

    fn keyboard(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|&byte| self.write(byte));
        self.drain().into_iter().map(|(byte, _)| byte).collect()
    }

    fn mouse(&self, bytes: &[u8]) -> Vec<u8> {
        for &byte in bytes {
            self.command(0xd4);
            self.write(byte);
        }
        let answer = self.drain();
        assert!(answer.iter().all(|&(_, from_mouse)| from_mouse));
        answer.into_iter().map(|(byte, _)| byte).collect()
    }

    fn key(&self, key: KeyCode, down: bool) {
        lock(&self.device).key(key, down);
    }

    fn step(&self, ns: u64) {
        let now = self.queue.clock().now();
        self.queue.step(&self.clock, now + ns);
    }

    fn subject() -> Subject<I8042> {
        let rig = Self::new();
        Subject {
            device: rig.device,
            regions: vec![I8042::DATA_REGION, I8042::COMMAND_REGION],
            irqs: vec![rig.irq1, rig.irq12],
            keep: Box::new((rig.queue, rig.clock, rig.a20)),
        }
    }
}

#[test]
fn contract() {
    let value = |region, value| ResetValue { region, offset: 0, size: 1, value };
    contract::check(Rig::subject, &[value(COMMAND, 0x18), value(DATA, 0x00)]);
}

#[test]
fn answers_are_those_of_the_reference_machine() {
    // Taken from QEMU 7.2's pc, but for the command bit of the status, which there stays set after a data write, and
    // for A4h and E0h, which it does not know.
    let rig = Rig::new();
    assert_eq!(rig.status(), 0x18);
    rig.command(0x20);
    assert_eq!((rig.status(), rig.read(), rig.status()), (0x19, 0x03, 0x18));
    assert_eq!(rig.ask(0xd0, &[]), [0xcf]);
    assert_eq!(rig.ask(0xc0, &[]), [0x80]);
    assert_eq!(rig.ask(0xa9, &[]), [0x00]);
    assert_eq!(rig.ask(0xab, &[]), [0x00]);
    assert_eq!(rig.ask(0xa4, &[]), [0xf1]);
    assert_eq!(rig.ask(0xe0, &[]), [0x03]);
    rig.command(0xaa);
    assert_eq!((rig.status(), rig.read(), rig.status()), (0x1d, 0x55, 0x1c));
    rig.write(0xf2);
    assert_eq!((rig.status(), rig.read(), rig.read(), rig.read()), (0x15, 0xfa, 0xab, 0x83));
    assert_eq!(rig.read(), 0x83, "an empty buffer keeps its contents");
    assert_eq!(rig.status(), 0x14);
    rig.command(0xd4);
    assert_eq!(rig.status(), 0x1c);
    rig.write(0xff);
    assert_eq!(rig.status(), 0x35);
    assert_eq!((rig.read(), rig.read(), rig.read()), (0xfa, 0xaa, 0x00));
    assert_eq!(rig.mouse(&[0xe9]), [0xfa, 0x00, 0x02, 0x64]);
}

#[test]
fn the_command_byte_is_ram_and_the_rest_of_the_ram_too() {
    let rig = Rig::new();
    assert_eq!(rig.ask(0x60, &[0x47]), NOTHING);
    assert_eq!(rig.ask(0x20, &[]), [0x47]);
    assert_eq!(rig.status() & 0x04, 0x04, "the system flag shows in the status");
    rig.ask(0x60, &[0x43]);
    assert_eq!(rig.status() & 0x04, 0x00);
    for address in 1..32 {
        rig.ask(0x60 + address, &[0xa0 + address]);
    }
    for address in 1..32 {
        assert_eq!(rig.ask(0x20 + address, &[]), [0xa0 + address]);
    }
    assert_eq!(rig.ask(0x20, &[]), [0x43]);
}

#[test]
fn interfaces_are_disabled_and_enabled_in_the_command_byte() {
    let rig = Rig::new();
    for (command, expected) in [(0xad, 0x13), (0xa7, 0x33), (0xae, 0x23), (0xa8, 0x03)] {
        rig.command(command);
        assert_eq!(rig.ask(0x20, &[]), [expected], "{command:x}");
    }
    rig.ask(0x60, &[0x33]);
    assert_eq!(rig.ask(0xe0, &[]), [0x00]);
    rig.keyboard(&[0xf4]);
    assert_eq!(rig.ask(0x20, &[]), [0x23], "talking to the keyboard enables it");
    rig.mouse(&[0xf5]);
    assert_eq!(rig.ask(0x20, &[]), [0x03], "talking to the mouse enables it");
}

#[test]
fn a_disabled_keyboard_keeps_its_strokes() {
    let rig = Rig::new();
    rig.command(0xad);
    rig.key(KeyCode::A, true);
    assert_eq!(rig.status() & OUTPUT_FULL, 0);
    rig.command(0xae);
    assert_eq!(rig.drain(), [(0x1c, false)]);
}

#[test]
fn key_strokes_interrupt_one_by_one() {
    let rig = Rig::new();
    rig.key(KeyCode::A, true);
    rig.key(KeyCode::A, false);
    assert!(rig.irq1.level());
    assert_eq!(rig.ask(0xd0, &[])[0], 0x1c, "the stroke is first in the buffer");
    let rig = Rig::new();
    rig.key(KeyCode::A, true);
    rig.key(KeyCode::A, false);
    for byte in [0x1c, 0xf0, 0x1c] {
        assert_eq!((rig.irq1.level(), rig.irq12.level(), rig.read()), (true, false, byte));
    }
    assert!(!rig.irq1.level());
    assert_eq!(rig.irq1.rising_edges(), 3);
}

#[test]
fn interrupts_follow_their_enables() {
    let rig = Rig::new();
    rig.ask(0x60, &[0x00]);
    rig.key(KeyCode::A, true);
    assert!(!rig.irq1.level());
    rig.command(0x60);
    rig.write(0x01);
    assert!(rig.irq1.level(), "enabling with a full buffer");
    rig.command(0xad);
    assert!(!rig.irq1.level());
    rig.drain();
    rig.command(0xd3);
    rig.write(0x55);
    assert!(!rig.irq12.level());
    rig.command(0x60);
    rig.write(0x02);
    assert!(rig.irq12.level());
    assert_eq!(rig.drain(), [(0x55, true)]);
}

#[test]
fn translation_makes_set_1() {
    let rig = Rig::new();
    rig.ask(0x60, &[0x41]);
    for (key, down, codes) in [
        (KeyCode::A, true, &[0x1e][..]),
        (KeyCode::A, false, &[0x9e]),
        (KeyCode::F7, true, &[0x41]),
        (KeyCode::F7, false, &[0xc1]),
        (KeyCode::Right, true, &[0xe0, 0x4d]),
        (KeyCode::Right, false, &[0xe0, 0xcd]),
        (KeyCode::Pause, true, &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]),
        (KeyCode::Print, true, &[0xe0, 0x2a, 0xe0, 0x37]),
        (KeyCode::Print, false, &[0xe0, 0xb7, 0xe0, 0xaa]),
    ] {
        rig.key(key, down);
        let bytes: Vec<_> = rig.drain().into_iter().map(|(byte, _)| byte).collect();
        assert_eq!(bytes, codes, "{key:?} {down}");
    }
    // Answers go through it as well; these are the values known from real machines.
    assert_eq!(rig.keyboard(&[0xf2]), [0xfa, 0xab, 0x41]);
    assert_eq!(rig.keyboard(&[0xf0, 0x00]), [0xfa, 0xfa, 0x41]);
    assert_eq!(rig.keyboard(&[0xff]), [0xfa, 0xaa]);
}

#[test]
fn buffers_can_be_written_by_the_host() {
    let rig = Rig::new();
    rig.command(0xd2);
    rig.write(0x77);
    assert!(rig.irq1.level());
    assert_eq!(rig.drain(), [(0x77, false)]);
    rig.command(0xd3);
    rig.write(0x88);
    assert!(rig.irq12.level());
    assert_eq!(rig.drain(), [(0x88, true)]);
}

#[test]
fn linux_probes_the_mouse_port() {
    // The order of Linux's i8042 driver: loop a byte back, look for a multiplexer, disable and enable the port, and
    // check that a looped byte interrupts.
    let rig = Rig::new();
    rig.ask(0x60, &[0x30]);
    rig.command(0xd3);
    rig.write(0x5a);
    assert_eq!(rig.drain(), [(0x5a, true)]);
    for byte in [0xf0, 0x56, 0xa4] {
        rig.command(0xd3);
        rig.write(byte);
        assert_eq!(rig.drain(), [(byte, true)], "echoed unchanged: no active multiplexer");
    }
    rig.command(0xa7);
    assert_eq!(rig.ask(0x20, &[])[0] & 0x20, 0x20);
    rig.command(0xa8);
    assert_eq!(rig.ask(0x20, &[])[0] & 0x20, 0x00);
    rig.ask(0x60, &[0x12]);
    rig.command(0xd3);
    rig.write(0xa5);
    assert!(rig.irq12.level());
    assert_eq!(rig.drain(), [(0xa5, true)]);
}

#[test]
fn the_mouse_reports_at_its_sampling_rate() {
    let rig = Rig::new();
    assert_eq!(rig.mouse(&[0xf4]), [0xfa]);
    let edges = rig.irq12.rising_edges();
    lock(&rig.device).move_by(1, 0);
    lock(&rig.device).move_by(1, 0);
    lock(&rig.device).button(MouseButton::Right, true);
    assert_eq!(rig.drain(), [(0x08, true), (1, true), (0, true)]);
    assert_eq!(rig.queue.next_deadline(), Some(10_000_000));
    rig.step(10_000_000);
    assert!(rig.irq12.level());
    assert_eq!(rig.drain(), [(0x08, true), (1, true), (0, true)]);
    rig.step(10_000_000);
    assert_eq!(rig.drain(), [(0x0a, true), (0, true), (0, true)]);
    assert_eq!(rig.queue.next_deadline(), None);
    assert_eq!(rig.irq12.rising_edges() - edges, 9);
    lock(&rig.device).scroll(1, 0);
    rig.step(10_000_000);
    assert_eq!(rig.drain(), [(0x0a, true), (0, true), (0, true)], "a mouse without a wheel");
}

#[test]
fn a20_follows_the_output_port() {
    let rig = Rig::new();
    assert!(rig.a20.level());
    rig.ask(0xd1, &[0xdd]);
    assert!(!rig.a20.level());
    assert_eq!(rig.ask(0xd0, &[]), [0xcd]);
    rig.command(0xdf);
    assert!(rig.a20.level());
    rig.command(0xdd);
    assert!(!rig.a20.level());
    lock(&rig.device).reset(ResetKind::System);
    assert!(rig.a20.level());
    assert!(lock(&rig.requests.0).is_empty());
}

#[test]
fn the_output_port_shows_the_buffer() {
    let rig = Rig::new();
    rig.command(0xd2);
    rig.write(0x11);
    rig.command(0xd0);
    assert_eq!(rig.drain(), [(0x11, false), (0xdf, false)]);
    rig.command(0xd3);
    rig.write(0x11);
    rig.command(0xd0);
    assert_eq!(rig.drain(), [(0x11, true), (0xef, false)]);
}

#[test]
fn reset_is_pulsed_or_written() {
    let reset = SystemRequest::Reset(ResetCause::KeyboardController);
    for byte in 0xf0..=0xff {
        let rig = Rig::new();
        rig.command(byte);
        let expected = if byte & 1 == 0 { vec![reset] } else { vec![] };
        assert_eq!(*lock(&rig.requests.0), expected, "{byte:x}");
    }
    let rig = Rig::new();
    rig.ask(0xd1, &[0xfe]);
    assert_eq!(*lock(&rig.requests.0), [reset]);
}

#[test]
fn polling_shows_the_input_port_until_the_next_write() {
    let rig = Rig::new();
    rig.command(0xc2);
    assert_eq!(rig.status(), 0x88);
    rig.command(0xc1);
    assert_eq!(rig.status(), 0x08);
    rig.command(0xae);
    assert_eq!(rig.status(), 0x18);
}

#[test]
fn a_password_is_taken_and_dropped() {
    let rig = Rig::new();
    assert_eq!(rig.ask(0xa5, &[0x1e, 0x30, 0x00]), NOTHING);
    assert_eq!(rig.ask(0xa4, &[]), [0xf1]);
    assert_eq!(rig.keyboard(&[0xee]), [0xee], "the keyboard has seen none of it");
}

#[test]
fn unknown_commands_are_ignored_and_counted() {
    let rig = Rig::new();
    for byte in [0x00, 0x1f, 0x40, 0x80, 0xa1, 0xac, 0xb0, 0xca, 0xde, 0xef] {
        assert_eq!(rig.ask(byte, &[]), NOTHING, "{byte:x}");
    }
    assert_eq!(lock(&rig.device).log.count(), 10);
}

#[test]
fn leds_can_be_seen() {
    let rig = Rig::new();
    rig.keyboard(&[0xed, 0x04]);
    assert!(lock(&rig.device).leds().caps_lock);
}

#[test]
fn reset_forgets_everything() {
    let rig = Rig::new();
    rig.ask(0x60, &[0x77]);
    rig.keyboard(&[0xf0, 0x03]);
    rig.mouse(&[0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf4]);
    lock(&rig.device).move_by(5, 5);
    rig.command(0xd3);
    lock(&rig.device).reset(ResetKind::System);
    assert_eq!((rig.status(), rig.read()), (0x18, 0x00));
    assert_eq!(rig.ask(0x20, &[]), [0x03]);
    assert_eq!(rig.keyboard(&[0xf0, 0x00]), [0xfa, 0xfa, 0x02]);
    assert_eq!(rig.mouse(&[0xf2]), [0xfa, 0x00]);
}

#[test]
fn state_travels_in_the_middle_of_everything() {
    let rig = Rig::new();
    rig.ask(0x60, &[0x43]);
    rig.mouse(&[0xf4]);
    lock(&rig.device).move_by(300, 0);
    rig.key(KeyCode::ShiftLeft, true);
    rig.write(0xed);
    rig.command(0x75);
    let state = lock(&rig.device).save();

    let twin = Rig::new();
    lock(&twin.device).load(&state).expect("loads");
    assert!(twin.irq12.level());
    twin.write(0x99);
    twin.write(0x02);
    let mouse_byte = |byte| (byte, true);
    assert_eq!(twin.drain()[0], mouse_byte(0x08));
    twin.step(10_000_000);
    assert_eq!(twin.drain(), [0x08, 45, 0].map(mouse_byte));
    assert_eq!(twin.ask(0x35, &[]), [0x99]);
    twin.key(KeyCode::ShiftLeft, false);
    assert_eq!(twin.drain(), [(0xaa, false)]);
    assert!(lock(&twin.device).leds().num_lock);
}

#[test]
fn impossible_states_are_refused() {
    let rig = Rig::new();
    let good = lock(&rig.device).save();
    let set = |path: &str, value: serde_json::Value| {
        let mut bad = good.clone();
        *bad.data.pointer_mut(path).expect(path) = value;
        bad
    };
    for (path, value) in [
        ("/awaiting", serde_json::json!(0xaa)),
        ("/replies", serde_json::json!(vec![(0, "Keyboard"); 17])),
        ("/ram", serde_json::json!([0])),
        ("/keyboard/set", serde_json::json!(4)),
        ("/keyboard/awaiting", serde_json::json!(0xff)),
        ("/keyboard/typematic", serde_json::json!(0x80)),
        ("/keyboard/key_types", serde_json::json!([0])),
        ("/keyboard/pressed", serde_json::json!(["a", "a"])),
        ("/keyboard/pressed", serde_json::json!(["no such key"])),
        ("/keyboard/output/data", serde_json::json!(vec![0; 18])),
        ("/mouse/rate", serde_json::json!(0)),
        ("/mouse/awaiting", serde_json::json!(0xff)),
        ("/mouse/buttons", serde_json::json!(0x20)),
        ("/mouse/output/replies", serde_json::json!(vec![0; 65])),
        ("/mouse/last_packet", serde_json::json!(vec![0; 65])),
        (
            "/mouse/motions",
            serde_json::json!([{ "x": i32::MIN, "y": 0, "wheel": 0, "horizontal_wheel": 0, "buttons": 0 }]),
        ),
    ] {
        let error = lock(&rig.device).load(&set(path, value)).expect_err(path);
        assert!(!error.to_string().is_empty());
        assert_eq!(lock(&rig.device).save(), good);
    }
}

#[test]
fn presses_are_told_even_of_a_keyboard_that_is_off() {
    let rig = Rig::new();
    rig.command(0xad);
    rig.key(KeyCode::A, true);
    rig.key(KeyCode::A, false);
    assert_eq!((rig.pressed.rising_edges(), rig.pressed.level(), rig.irq1.level()), (1, false, false));
    lock(&rig.device).move_by(3, 4);
    lock(&rig.device).button(MouseButton::Left, true);
    lock(&rig.device).button(MouseButton::Left, false);
    assert_eq!(rig.pressed.rising_edges(), 2);
}

proptest! {
    /// Whatever the driver and the user do: interrupt lines match the status, and what is saved loads.
    #[test]
    fn lines_and_status_agree(steps in prop::collection::vec((0..8u8, any::<u8>()), 0..200)) {
        let rig = Rig::new();
        for (step, value) in steps {
            match step {
                0 => rig.command(value),
                1 => rig.write(value),
                2 => drop(rig.read()),
                3 => {
                    let key = KeyCode::ALL[usize::from(value) % KeyCode::ALL.len()];
                    rig.key(key, value & 0x80 == 0);
                }
                4 => lock(&rig.device).move_by(i32::from(value) * 3 - 300, i32::from(value)),
                5 => lock(&rig.device).scroll(i32::from(value as i8), i32::from(value & 1)),
                6 => lock(&rig.device).button(MouseButton::Left, value & 1 != 0),
                _ => rig.step(u64::from(value) << 17),
            }
            prop_assert!(!(rig.irq1.level() && rig.irq12.level()));
            let device = lock(&rig.device);
            if rig.irq1.level() || rig.irq12.level() {
                prop_assert!(device.full.is_some());
            }
        }
        let state = lock(&rig.device).save();
        let twin = Rig::new();
        twin.step(rig.queue.clock().now());
        lock(&twin.device).load(&state).expect("a reachable state loads");
        prop_assert_eq!(lock(&twin.device).save(), state);
        prop_assert_eq!(twin.irq1.level(), rig.irq1.level());
        prop_assert_eq!(twin.irq12.level(), rig.irq12.level());
    }
}
