//! The devices under test.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use devices::backend::block::MemoryBlock;
use devices::backend::char::{CharBackend, CharClient, CharEvent, MemoryChar, ModemInputs};
use devices::base::{IrqInput, Region, lock};
use devices::chipset::hpet::{self, Hpet, LegacyReplacement};
use devices::chipset::i440fx::{I440fx, ShadowControl, ShadowMap};
use devices::chipset::piix3::{self, Piix3};
use devices::chipset::piix4_pm::{self, Piix4Pm, Resources};
use devices::chipset::pirq::PirqRouter;
use devices::chipset::port92::Port92;
use devices::chipset::rtc::{LostTicks, Rtc};
use devices::debug::{DebugExit, Debugcon, PostCode};
use devices::flash::cfi01::{self, ArrayWindow, Cfi01};
use devices::input::{I8042, I8042Lines, KeyCode, MouseButton};
use devices::pci::mechanism1::{self, ConfigMechanism1};
use devices::serial::Uart;

use crate::rig::Rig;

/// Every device, by the name of its target.
pub const ALL: &[(&str, fn(&mut Rig))] = &[
    ("rtc", rtc),
    ("hpet", hpet),
    ("uart", uart),
    ("i8042", i8042),
    ("piix4_pm", piix4_pm),
    ("piix3", piix3),
    ("i440fx", i440fx),
    ("pci_config", pci_config),
    ("debugcon", debugcon),
    ("debug_exit", debug_exit),
    ("port92", port92),
    ("post_code", post_code),
    ("cfi01", cfi01),
];

/// The real-time clock.
pub fn rtc(rig: &mut Rig) {
    /// 2026-11-21 and some hours.
    const EPOCH: i64 = 1_795_219_200_123_456_789;
    rig.put_timed(&[Rtc::REGION], |rig, timers| {
        Rtc::new(rig.clock(), timers, rig.irq(), EPOCH, &[0; 128], LostTicks::Slew)
    });
}

struct Nothing;

impl LegacyReplacement for Nothing {
    fn replace(&mut self, _on: bool) {}
}

impl ShadowControl for Nothing {
    fn apply(&mut self, _map: &ShadowMap) {}
}

/// The event timers.
pub fn hpet(rig: &mut Rig) {
    rig.put_timed(&[Hpet::REGION], |rig, timers| {
        let lines =
            hpet::Lines { legacy_0: rig.irq(), legacy_1: rig.irq(), routed: std::array::from_fn(|_| rig.irq()) };
        Hpet::new(rig.clock(), timers, lines, Box::new(Nothing))
    });
}

/// What can happen at the host's end of a character device.
#[derive(Arbitrary)]
enum CharInput {
    Receive(Vec<u8>),
    Opened,
    Closed,
    Break,
    Modem(u8),
    Room(Option<u8>),
}

fn char_input(client: &mut impl CharClient, host: &MemoryChar, data: &[u8]) {
    match CharInput::arbitrary(&mut Unstructured::new(data)) {
        Ok(CharInput::Receive(bytes)) => {
            let room = client.can_receive().min(bytes.len());
            client.receive(&bytes[..room]);
        }
        Ok(CharInput::Opened) => client.event(CharEvent::Opened),
        Ok(CharInput::Closed) => client.event(CharEvent::Closed),
        Ok(CharInput::Break) => client.event(CharEvent::Break),
        Ok(CharInput::Modem(bits)) => {
            let [cts, dsr, ri, dcd] = std::array::from_fn(|bit| bits >> bit & 1 != 0);
            client.event(CharEvent::ModemInputs(ModemInputs { cts, dsr, ri, dcd }));
        }
        Ok(CharInput::Room(room)) => {
            host.set_room(room.map(usize::from));
            client.event(CharEvent::Writable);
        }
        Err(_) => {}
    }
    let _ = host.take_output();
}

fn host() -> (MemoryChar, Box<dyn CharBackend>) {
    let host = MemoryChar::default();
    (host.clone(), Box::new(host))
}

/// The serial port.
pub fn uart(rig: &mut Rig) {
    let (host, backend) = host();
    let uart = rig.put_timed(&[Uart::REGION], |rig, timers| Uart::new(rig.clock(), timers, rig.irq(), backend));
    rig.on_input(move |data| char_input(&mut *lock(&uart), &host, data));
}

/// What a person does to keyboard and mouse.
#[derive(Arbitrary)]
enum PersonalInput {
    Key(u8, bool),
    Move(i32, i32),
    Scroll(i32, i32),
    Button(u8, bool),
}

/// The keyboard controller with keyboard and mouse.
pub fn i8042(rig: &mut Rig) {
    let controller = rig.put_timed(&[I8042::DATA_REGION, I8042::COMMAND_REGION], |rig, timers| {
        let lines = I8042Lines { keyboard_irq: rig.irq(), mouse_irq: rig.irq(), a20: rig.irq() };
        I8042::new(rig.clock(), timers, lines, rig.system())
    });
    rig.on_input(move |data| {
        let mut controller = lock(&controller);
        match PersonalInput::arbitrary(&mut Unstructured::new(data)) {
            Ok(PersonalInput::Key(key, down)) => {
                controller.key(KeyCode::ALL[usize::from(key) % KeyCode::ALL.len()], down);
            }
            Ok(PersonalInput::Move(right, down)) => controller.move_by(right, down),
            Ok(PersonalInput::Scroll(down, right)) => controller.scroll(down, right),
            Ok(PersonalInput::Button(button, down)) => {
                const BUTTONS: [MouseButton; 3] = [MouseButton::Left, MouseButton::Middle, MouseButton::Right];
                controller.button(BUTTONS[usize::from(button) % BUTTONS.len()], down);
            }
            Err(_) => {}
        }
    });
}

/// Power management.
pub fn piix4_pm(rig: &mut Rig) {
    let windows = [piix4_pm::GPE0, piix4_pm::APM];
    let power = rig.put_timed(&windows, |rig, timers| {
        Piix4Pm::new(rig.clock(), timers, rig.irq(), rig.system(), Resources { lpt: true, com1: true, com2: true })
    });
    rig.seat(&power);
    rig.on_input(move |data| match data.first() {
        Some(0) | None => lock(&power).press_power_button(),
        Some(number) => lock(&power).raise_gpe(*number),
    });
}

/// The PCI-to-ISA bridge with the interrupt router.
pub fn piix3(rig: &mut Rig) {
    let router = PirqRouter::new(std::array::from_fn(|_| Some(IrqInput::new(rig.interrupts(), 0))));
    let wires = router.inputs().map(|input| input.line("wire"));
    let bridge = rig.put(Piix3::new(router, rig.system()), &[piix3::RCR]);
    rig.seat(&bridge);
    rig.on_input(move |data| {
        if let [wire, level, ..] = data {
            wires[usize::from(*wire) % wires.len()].set(*level & 1 != 0);
        }
    });
}

/// The host bridge.
pub fn i440fx(rig: &mut Rig) {
    let bridge = rig.put(I440fx::new(128 << 20, Box::new(Nothing)), &[]);
    rig.seat(&bridge);
}

/// Configuration mechanism #1, with a host bridge behind it.
pub fn pci_config(rig: &mut Rig) {
    let bridge = rig.put(I440fx::new(128 << 20, Box::new(Nothing)), &[]);
    rig.seat(&bridge);
    let bus = Arc::clone(&rig.pci);
    rig.put(ConfigMechanism1::new(bus), &mechanism1::REGIONS);
}

/// The debug console.
pub fn debugcon(rig: &mut Rig) {
    let (host, backend) = host();
    let console = rig.put(Debugcon::new(Debugcon::READBACK, backend), &[Debugcon::REGION]);
    rig.on_input(move |data| char_input(&mut *lock(&console), &host, data));
}

/// The way out.
pub fn debug_exit(rig: &mut Rig) {
    let windows: [Region; 2] = [DebugExit::region(2), DebugExit::region(4)];
    rig.put(DebugExit::new(rig.system()), &windows);
}

/// Fast reset and A20.
pub fn port92(rig: &mut Rig) {
    rig.put(Port92::new(rig.irq(), rig.system()), &[Port92::REGION]);
}

/// The POST code display.
pub fn post_code(rig: &mut Rig) {
    rig.put(PostCode::default(), &[PostCode::REGION]);
}

impl ArrayWindow for Nothing {
    fn show_array(&mut self, _shown: bool) {}
}

/// A flash chip of four blocks.
pub fn cfi01(rig: &mut Rig) {
    let mut medium = MemoryBlock::zeroed(4 * 4096);
    let array = cfi01::read_array(&mut medium).expect("the host has some memory");
    let chip = Cfi01::new(array, Box::new(medium.clone()), Box::new(Nothing));
    let region = chip.region();
    rig.put(chip, &[region]);
    rig.on_input(move |data| match data {
        [0, protected, ..] => medium.set_read_only(*protected & 1 != 0),
        [1, broken, ..] => medium.set_broken(*broken & 1 != 0),
        _ => {}
    });
}
