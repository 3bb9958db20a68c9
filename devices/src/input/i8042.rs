//! Keyboard controller: an Intel 8042 with the firmware of the IBM PS/2, ports 60h and 64h of the PC.
//!
//! Follows the IBM PS/2 Technical Reference ("Keyboard and Auxiliary Device Controller"). Emulated: all its commands
//! but those below, the internal RAM, the output buffer with one interrupt for each of the two PS/2 ports, translation
//! of set 2 to set 1, the A20 gate and the reset output. A keyboard and a mouse are plugged in.
//!
//! As in QEMU: the command byte resets to 03h (interrupts on, translation off); IRQ 1 needs the keyboard interface
//! enabled; DDh and DFh close and open the A20 gate; the time-out and parity bits of the status are never set.
//!
//! Not emulated: the password (A4h answers "none installed"; A5h takes and drops one; A6h does nothing), the AT's
//! diagnostic dump (ACh) and the extensions of single manufacturers. They are logged.

use std::collections::VecDeque;
use std::sync::Arc;

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

use super::ps2::{Keyboard, Leds, Mouse, translate};
use super::{KeyCode, MouseButton};
use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, GuestLog, Inspector, IoDevice, IrqLine, Region, ResetCause, ResetKind,
    State, StateError, SystemControl, SystemRequest, TimerClient,
};

/// Commands, written to port 64h.
mod command {
    pub const READ_RAM: std::ops::RangeInclusive<u8> = 0x20..=0x3f;
    pub const WRITE_RAM: std::ops::RangeInclusive<u8> = 0x60..=0x7f;
    pub const TEST_PASSWORD: u8 = 0xa4;
    pub const LOAD_PASSWORD: u8 = 0xa5;
    pub const DISABLE_MOUSE: u8 = 0xa7;
    pub const ENABLE_MOUSE: u8 = 0xa8;
    pub const TEST_MOUSE: u8 = 0xa9;
    pub const SELF_TEST: u8 = 0xaa;
    pub const TEST_KEYBOARD: u8 = 0xab;
    pub const DISABLE_KEYBOARD: u8 = 0xad;
    pub const ENABLE_KEYBOARD: u8 = 0xae;
    pub const READ_INPUT_PORT: u8 = 0xc0;
    pub const POLL_INPUT_PORT_LOW: u8 = 0xc1;
    pub const POLL_INPUT_PORT_HIGH: u8 = 0xc2;
    pub const READ_OUTPUT_PORT: u8 = 0xd0;
    pub const WRITE_OUTPUT_PORT: u8 = 0xd1;
    pub const WRITE_KEYBOARD_BUFFER: u8 = 0xd2;
    pub const WRITE_MOUSE_BUFFER: u8 = 0xd3;
    pub const WRITE_MOUSE: u8 = 0xd4;
    pub const DISABLE_A20: u8 = 0xdd;
    pub const ENABLE_A20: u8 = 0xdf;
    pub const READ_TEST_INPUTS: u8 = 0xe0;
    pub const PULSE_OUTPUT_PORT: std::ops::RangeInclusive<u8> = 0xf0..=0xff;
}

const DATA: u16 = 0;
const COMMAND: u16 = 1;

const RAM_SIZE: usize = 32;
/// The bits of a RAM command that are the address.
const RAM_ADDRESS: u8 = 0x1f;

/// Answers that wait for the output buffer. One command gives at most one.
const MAX_REPLIES: usize = 16;

/// P17: the keyboard is not locked. The other jumpers of the AT's input port read as 0, as in QEMU.
const INPUT_PORT: u8 = 0x80;

/// Output port: P20 is the inverted reset.
const NOT_RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;
/// P24 and P25 drive the interrupt lines.
const KEYBOARD_FULL: u8 = 1 << 4;
const MOUSE_FULL: u8 = 1 << 5;
/// Everything high but the two interrupts.
const OUTPUT_PORT_RESET: u8 = !(KEYBOARD_FULL | MOUSE_FULL);

const SELF_TEST_PASSED: u8 = 0x55;
const INTERFACE_TEST_PASSED: u8 = 0x00;
const NO_PASSWORD: u8 = 0xf1;

/// The command byte, byte 0 of the RAM.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
struct CommandByte {
    keyboard_interrupt: bool,
    mouse_interrupt: bool,
    /// Shown in the status.
    system_flag: bool,
    /// The AT's override of the keyboard lock; reserved on the PS/2.
    ignore_lock: bool,
    disable_keyboard: bool,
    disable_mouse: bool,
    /// Set 2 to set 1.
    translate: bool,
    reserved: bool,
}

impl CommandByte {
    const RESET: Self = Self::new().with_keyboard_interrupt(true).with_mouse_interrupt(true);
}

/// The status register, port 64h.
#[bitfield(u8)]
struct Status {
    output_full: bool,
    /// Never set: bytes are taken at once.
    input_full: bool,
    system_flag: bool,
    /// The last write went to port 64h.
    command: bool,
    /// The keyboard is not locked.
    not_inhibited: bool,
    /// The output buffer's contents are the mouse's.
    mouse_data: bool,
    time_out: bool,
    parity_error: bool,
}

/// Where a byte in the output buffer comes from: decides the interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    Keyboard,
    Mouse,
}

/// A half of the input port that shows in the high half of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Poll {
    Low,
    High,
}

/// The wires of the controller.
pub struct I8042Lines {
    /// IRQ 1.
    pub keyboard_irq: IrqLine,
    /// IRQ 12.
    pub mouse_irq: IrqLine,
    /// High while address line 20 may be driven. High after reset.
    pub a20: IrqLine,
    /// Pulsed when a key or a mouse button is pressed, whatever the guest has made of keyboard and mouse: what wakes a machine
    /// that sleeps.
    pub pressed: IrqLine,
}

/// The controller with its keyboard and mouse.
pub struct I8042 {
    clock: Clock,
    timers: DeviceTimers,
    lines: I8042Lines,
    system: Arc<dyn SystemControl>,
    log: GuestLog,
    /// Deadline of the mouse's next report as armed in the queue.
    armed: Option<u64>,
    keyboard: Keyboard,
    mouse: Mouse,

    command_byte: CommandByte,
    /// RAM beyond the command byte; its byte 0 is not used.
    ram: [u8; RAM_SIZE],
    /// Bits 4 and 5 are the state of the output buffer.
    output_port: u8,
    system_flag: bool,
    /// The last write went to port 64h.
    command_last: bool,
    poll: Option<Poll>,
    /// A command that waits for its parameter.
    awaiting: Option<u8>,
    /// The output buffer, which keeps its contents when it has been read.
    output: u8,
    full: Option<Source>,
    /// The controller's own answers go before bytes of the devices.
    replies: VecDeque<(u8, Source)>,
}

impl I8042 {
    /// Port 60h.
    pub const DATA_REGION: Region = Region::ports(DATA, "i8042-data", 1, AccessRule::BYTE);
    /// Port 64h.
    pub const COMMAND_REGION: Region = Region::ports(COMMAND, "i8042-cmd", 1, AccessRule::BYTE);

    /// A controller in its reset state, with keyboard and mouse. `timers` must be attached to it by the board.
    pub fn new(clock: Clock, timers: DeviceTimers, lines: I8042Lines, system: Arc<dyn SystemControl>) -> Self {
        let mut controller = Self {
            clock,
            timers,
            lines,
            system,
            log: GuestLog::default(),
            armed: None,
            keyboard: Keyboard::new(),
            mouse: Mouse::new(),
            command_byte: CommandByte::RESET,
            ram: [0; RAM_SIZE],
            output_port: OUTPUT_PORT_RESET,
            system_flag: false,
            command_last: true,
            poll: None,
            awaiting: None,
            output: 0,
            full: None,
            replies: VecDeque::new(),
        };
        controller.settle();
        controller
    }

    /// A key goes down (again, for a repetition) or up.
    pub fn key(&mut self, key: KeyCode, down: bool) {
        self.keyboard.key(key, down, self.clock.now());
        self.settle();
        if down {
            self.lines.pressed.pulse();
        }
    }

    /// The mouse moves by counts to the right and downwards.
    pub fn move_by(&mut self, right: i32, down: i32) {
        self.mouse.move_by(right, down);
        self.settle();
    }

    /// The wheels turn by clicks, towards the user and to the right.
    pub fn scroll(&mut self, down: i32, right: i32) {
        self.mouse.scroll(down, right);
        self.settle();
    }

    /// A mouse button goes down or up.
    pub fn button(&mut self, button: MouseButton, down: bool) {
        self.mouse.button(button, down);
        self.settle();
        if down {
            self.lines.pressed.pulse();
        }
    }

    /// The lights of the keyboard.
    #[must_use]
    pub fn leds(&self) -> Leds {
        self.keyboard.leds()
    }

    fn status(&self) -> Status {
        let status = Status::new()
            .with_output_full(self.full.is_some())
            .with_system_flag(self.system_flag)
            .with_command(self.command_last)
            .with_not_inhibited(true)
            .with_mouse_data(self.full == Some(Source::Mouse));
        let polled = match self.poll {
            None => return status,
            Some(Poll::Low) => INPUT_PORT << 4,
            Some(Poll::High) => INPUT_PORT & 0xf0,
        };
        Status::from(u8::from(status) & 0x0f | polled)
    }

    fn output_port(&self) -> u8 {
        let full = match self.full {
            None => 0,
            Some(Source::Keyboard) => KEYBOARD_FULL,
            Some(Source::Mouse) => MOUSE_FULL,
        };
        self.output_port & OUTPUT_PORT_RESET | full
    }

    /// Fills the output buffer if it is free and drives all outputs.
    fn settle(&mut self) {
        if self.full.is_none()
            && let Some((byte, source)) = self.next_output()
        {
            self.output = byte;
            self.full = Some(source);
        }
        let mode = self.command_byte;
        let keyboard_irq = mode.keyboard_interrupt() && !mode.disable_keyboard();
        self.lines.keyboard_irq.set(keyboard_irq && self.full == Some(Source::Keyboard));
        self.lines.mouse_irq.set(mode.mouse_interrupt() && self.full == Some(Source::Mouse));
        self.lines.a20.set(self.output_port & A20 != 0);
        // What waits for the buffer is fetched when it is read; only a report that is not due needs to be woken.
        let deadline = self.mouse.wakes_at().filter(|_| self.full.is_none() && !mode.disable_mouse());
        if self.armed != deadline {
            self.timers.set(0, deadline);
            self.armed = deadline;
        }
    }

    fn next_output(&mut self) -> Option<(u8, Source)> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        if !self.command_byte.disable_keyboard()
            && let Some(byte) = self.next_from_keyboard()
        {
            return Some((byte, Source::Keyboard));
        }
        if self.command_byte.disable_mouse() {
            return None;
        }
        Some((self.mouse.next_byte(self.clock.now())?, Source::Mouse))
    }

    fn next_from_keyboard(&mut self) -> Option<u8> {
        let byte = self.keyboard.next_byte()?;
        if !self.command_byte.translate() {
            return Some(byte);
        }
        // The break prefix becomes bit 7 of the code that follows. The keyboard queues both together.
        if byte == 0xf0 { Some(translate(self.keyboard.next_byte()?) | 0x80) } else { Some(translate(byte)) }
    }

    fn reply(&mut self, byte: u8, source: Source) {
        if self.replies.len() < MAX_REPLIES {
            self.replies.push_back((byte, source));
        } else {
            self.log.warn("i8042", format_args!("the driver does not read the answers to its commands"));
        }
    }

    fn answer(&mut self, byte: u8) {
        self.reply(byte, Source::Keyboard);
    }

    fn set_command_byte(&mut self, value: u8) {
        self.command_byte = value.into();
        self.system_flag = self.command_byte.system_flag();
    }

    fn set_output_port(&mut self, value: u8) {
        self.output_port = value;
        if value & NOT_RESET == 0 {
            self.request_reset();
        }
    }

    fn request_reset(&self) {
        self.system.request(SystemRequest::Reset(ResetCause::KeyboardController));
    }

    fn command(&mut self, byte: u8) {
        self.command_last = true;
        self.poll = None;
        self.awaiting = None;
        if command::READ_RAM.contains(&byte) {
            let value = match byte & RAM_ADDRESS {
                0 => self.command_byte.into(),
                address => self.ram[usize::from(address)],
            };
            return self.answer(value);
        }
        if command::WRITE_RAM.contains(&byte) {
            self.awaiting = Some(byte);
            return;
        }
        if command::PULSE_OUTPUT_PORT.contains(&byte) {
            // The bits that are 0 go low for 6 us. A20 so briefly closed is nothing that software can see.
            if byte & NOT_RESET == 0 {
                self.request_reset();
            }
            return;
        }
        match byte {
            command::TEST_PASSWORD => self.answer(NO_PASSWORD),
            command::LOAD_PASSWORD => {
                self.log.warn("i8042", format_args!("passwords are not supported"));
                self.awaiting = Some(byte);
            }
            command::DISABLE_MOUSE => self.command_byte.set_disable_mouse(true),
            command::ENABLE_MOUSE => self.command_byte.set_disable_mouse(false),
            command::TEST_MOUSE | command::TEST_KEYBOARD => self.answer(INTERFACE_TEST_PASSED),
            command::SELF_TEST => {
                self.system_flag = true;
                self.answer(SELF_TEST_PASSED);
            }
            command::DISABLE_KEYBOARD => self.command_byte.set_disable_keyboard(true),
            command::ENABLE_KEYBOARD => self.command_byte.set_disable_keyboard(false),
            command::READ_INPUT_PORT => self.answer(INPUT_PORT),
            command::POLL_INPUT_PORT_LOW => self.poll = Some(Poll::Low),
            command::POLL_INPUT_PORT_HIGH => self.poll = Some(Poll::High),
            command::READ_OUTPUT_PORT => self.answer(self.output_port()),
            command::WRITE_OUTPUT_PORT
            | command::WRITE_KEYBOARD_BUFFER
            | command::WRITE_MOUSE_BUFFER
            | command::WRITE_MOUSE => self.awaiting = Some(byte),
            command::DISABLE_A20 => self.output_port &= !A20,
            command::ENABLE_A20 => self.output_port |= A20,
            command::READ_TEST_INPUTS => {
                // T0 and T1 are the clock lines of the two ports, which a disabled interface holds down.
                let mode = self.command_byte;
                self.answer(u8::from(!mode.disable_keyboard()) | u8::from(!mode.disable_mouse()) << 1);
            }
            _ => self.log.warn("i8042", format_args!("command {byte:#04x} is not supported")),
        }
    }

    fn data(&mut self, byte: u8) {
        self.command_last = false;
        self.poll = None;
        match self.awaiting.take() {
            None => {
                // Talking to a device turns its interface on.
                self.command_byte.set_disable_keyboard(false);
                self.keyboard.write(byte);
            }
            Some(command::LOAD_PASSWORD) if byte != 0 => self.awaiting = Some(command::LOAD_PASSWORD),
            Some(command::LOAD_PASSWORD) => {}
            Some(command::WRITE_OUTPUT_PORT) => self.set_output_port(byte),
            Some(command::WRITE_KEYBOARD_BUFFER) => self.reply(byte, Source::Keyboard),
            Some(command::WRITE_MOUSE_BUFFER) => self.reply(byte, Source::Mouse),
            Some(command::WRITE_MOUSE) => {
                self.command_byte.set_disable_mouse(false);
                self.mouse.write(byte);
            }
            Some(command) => match command & RAM_ADDRESS {
                0 => self.set_command_byte(byte),
                address => self.ram[usize::from(address)] = byte,
            },
        }
    }
}

fn takes_parameter(command: u8) -> bool {
    matches!(
        command,
        command::LOAD_PASSWORD
            | command::WRITE_OUTPUT_PORT
            | command::WRITE_KEYBOARD_BUFFER
            | command::WRITE_MOUSE_BUFFER
            | command::WRITE_MOUSE
    ) || command::WRITE_RAM.contains(&command)
}

impl IoDevice for I8042 {
    fn read(&mut self, region: u16, _offset: u64, _size: u8) -> u64 {
        if region == COMMAND {
            return u8::from(self.status()).into();
        }
        let byte = self.output;
        if self.full.take().is_some() {
            // The line drops even if the next byte follows at once: drivers of edge-triggered interrupts count on it.
            self.lines.keyboard_irq.set(false);
            self.lines.mouse_irq.set(false);
            self.settle();
        }
        byte.into()
    }

    fn write(&mut self, region: u16, _offset: u64, _size: u8, value: u64) {
        let [byte, ..] = value.to_le_bytes();
        if region == COMMAND {
            self.command(byte);
        } else {
            self.data(byte);
        }
        self.settle();
    }
}

impl TimerClient for I8042 {
    fn timer_expired(&mut self, _timer: u32) {
        self.armed = None;
        self.settle();
    }
}

mod state {
    use std::collections::VecDeque;

    use serde::{Deserialize, Serialize};

    use super::{Poll, Source};
    use crate::input::ps2::{KeyboardState, MouseState};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub command_byte: u8,
        pub ram: [u8; super::RAM_SIZE],
        pub output_port: u8,
        pub system_flag: bool,
        pub command_last: bool,
        pub poll: Option<Poll>,
        pub awaiting: Option<u8>,
        pub output: u8,
        pub full: Option<Source>,
        pub replies: VecDeque<(u8, Source)>,
        pub keyboard: KeyboardState,
        pub mouse: MouseState,
    }
}

impl Device for I8042 {
    fn name(&self) -> &'static str {
        "i8042"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.keyboard.reset();
        self.mouse.reset();
        self.command_byte = CommandByte::RESET;
        self.ram = [0; RAM_SIZE];
        self.output_port = OUTPUT_PORT_RESET;
        self.system_flag = false;
        self.command_last = true;
        self.poll = None;
        self.awaiting = None;
        self.output = 0;
        self.full = None;
        self.replies.clear();
        self.settle();
    }

    fn save(&self) -> State {
        let Self {
            clock: _,
            timers: _,
            lines: _,
            system: _,
            log: _,
            armed: _,
            keyboard,
            mouse,
            command_byte,
            ram,
            output_port,
            system_flag,
            command_last,
            poll,
            awaiting,
            output,
            full,
            replies,
        } = self;
        State::of(
            state::VERSION,
            &state::V1 {
                command_byte: (*command_byte).into(),
                ram: *ram,
                output_port: *output_port,
                system_flag: *system_flag,
                command_last: *command_last,
                poll: *poll,
                awaiting: *awaiting,
                output: *output,
                full: *full,
                replies: replies.clone(),
                keyboard: keyboard.save(),
                mouse: mouse.save(),
            },
        )
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state: state::V1 = state.decode(state::VERSION)?;
        if !state.awaiting.is_none_or(takes_parameter) {
            return Err(StateError::invalid("awaiting", "not a command with a parameter"));
        }
        if state.replies.len() > MAX_REPLIES {
            return Err(StateError::invalid("replies", "more answers than the controller keeps"));
        }
        let keyboard = Keyboard::restore(state.keyboard)?;
        let mouse = Mouse::restore(state.mouse)?;

        self.keyboard = keyboard;
        self.mouse = mouse;
        self.command_byte = state.command_byte.into();
        self.ram = state.ram;
        self.output_port = state.output_port;
        self.system_flag = state.system_flag;
        self.command_last = state.command_last;
        self.poll = state.poll;
        self.awaiting = state.awaiting;
        self.output = state.output;
        self.full = state.full;
        self.replies = state.replies;
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("status", u8::from(self.status()), 8);
        out.register("command byte", u8::from(self.command_byte), 8);
        out.register("output buffer", self.output, 8);
        out.register("output port", self.output_port(), 8);
        out.flag("IRQ 1", self.lines.keyboard_irq.level());
        out.flag("IRQ 12", self.lines.mouse_irq.level());
        out.flag("A20", self.lines.a20.level());
        self.keyboard.inspect(out);
        self.mouse.inspect(out);
    }
}

#[cfg(test)]
#[path = "i8042_tests.rs"]
mod tests;
