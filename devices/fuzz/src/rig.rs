//! A board with the device under test, and what drives it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use devices::backend::char::{CharEvent, ModemInputs};
use devices::base::{Inspector, Registers, Space, State, lock};
use devices::input::{KeyCode, MouseButton};
use natoma::cli::Request;
use natoma::command_line;
use natoma::config::MachineConfig;
use natoma::qtest::QtestMachine;

use crate::op::{CharInput, Op, PersonalInput, Size};
use crate::tamper::tamper;
use crate::targets::{IMAGE_SIZE, Target};

/// RAM of the board in bytes.
const RAM: u64 = 2 << 20;
/// Most deadlines that pass in one [`Op::Step`]; it ends early after them, so that fast timers don't take all the time there is.
const DEADLINES: u32 = 256;
/// Most migrations of one input: each needs another machine.
const MIGRATIONS: u32 = 3;
/// Configuration mechanism #1.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
/// What is in EAX when a guest calls VMware's port.
const VMPORT_MAGIC: u32 = 0x564d_5868;

/// A board on which one device is tested.
pub struct Rig {
    target: &'static Target,
    machine: QtestMachine,
    migrations: u32,
}

/// A file for drives, the same for all targets. It is never written to.
fn image() -> &'static PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let path = std::env::temp_dir().join("natoma-fuzz-image");
        // Other targets may be starting: it appears as a whole.
        let own = path.with_extension(std::process::id().to_string());
        std::fs::write(&own, vec![0x5a; IMAGE_SIZE]).expect("the host has room for temporary files");
        std::fs::rename(&own, &path).expect("a file of one's own can be renamed");
        path
    })
}

/// The board of a target, whose options are read once.
fn machine(target: &'static Target) -> QtestMachine {
    thread_local! {
        static CONFIGS: RefCell<BTreeMap<&'static str, MachineConfig>> = RefCell::default();
    }
    CONFIGS.with_borrow_mut(|configs| {
        let config = configs.entry(target.name).or_insert_with(|| configuration(target));
        QtestMachine::from_config(config).expect("the board of a target can be made")
    })
}

fn configuration(target: &Target) -> MachineConfig {
    let image = image().to_string_lossy();
    let fixed = ["-nodefaults", "-accel", "qtest", "-rtc", "clock=vm", "-m", "2"].map(str::to_owned);
    let options = target.options.iter().map(|option| option.replace("IMAGE", &image));
    let options = fixed.into_iter().chain(options).map(OsString::from);
    match command_line::parse(options).expect("the options of a target are right").request {
        Request::Run(config) => *config,
        Request::Print(_) | Request::Write { .. } => unreachable!("the options of a target ask for a machine"),
    }
}

impl Rig {
    /// The board of `target`.
    ///
    /// # Panics
    /// The host does not provide what it needs.
    #[must_use]
    pub fn new(target: &'static Target) -> Self {
        Self { target, machine: machine(target), migrations: 0 }
    }

    /// Lets all of it happen.
    ///
    /// # Panics
    /// A device does not keep its promises.
    pub fn run(mut self, ops: &[Op]) {
        for op in ops {
            self.perform(op);
        }
        for (_, device) in self.machine.board().devices() {
            lock(device).inspect(&mut Inspector::default());
        }
    }

    /// Loads a state of unknown origin into one of the devices.
    ///
    /// # Panics
    /// A refused state changed the device.
    pub fn load(&mut self, device: usize, state: &State) {
        let name = self.target.devices[device % self.target.devices.len()];
        let devices = self.machine.board().devices();
        let Some((_, device)) = devices.iter().find(|(other, _)| other == name) else { return };
        let mut device = lock(device);
        let before = device.save();
        if device.load(state).is_err() {
            assert_eq!(device.save(), before, "{name}: a refused state must change nothing");
        }
        drop(device);
        self.machine.board().pci.remap();
    }

    fn perform(&mut self, op: &Op) {
        match op {
            Op::Read { window, offset, size } => {
                if let Some((space, address)) = self.place(*window, *offset) {
                    self.read(space, address, *size);
                }
            }
            Op::Write { window, offset, size, value } => {
                if let Some((space, address)) = self.place(*window, *offset) {
                    self.write(space, address, &value.to_le_bytes()[..size.bytes()]);
                }
            }
            Op::Flood { window, offset, value, times } => {
                if let Some((space, address)) = self.place(*window, *offset) {
                    for time in 0..*times & 0x3ff {
                        self.write(space, address, &[value.wrapping_add(time as u8)]);
                    }
                }
            }
            Op::ConfigRead { function, offset, size } => {
                if self.select(*function, *offset) {
                    self.read(Space::Port, u64::from(CONFIG_DATA + u16::from(*offset & 3)), *size);
                }
            }
            Op::ConfigWrite { function, offset, size, value } => {
                if self.select(*function, *offset) {
                    let data = CONFIG_DATA + u16::from(*offset & 3);
                    self.write(Space::Port, data.into(), &value.to_le_bytes()[..size.bytes().min(4)]);
                }
            }
            Op::Memory { address, data } => self.machine.write_memory(u64::from(*address) % RAM, data),
            Op::Step { mantissa, exponent } => self.step(u64::from(*mantissa) << (exponent & 31)),
            Op::Char(input) => self.character(input),
            Op::Person(input) => self.person(input),
            Op::Reset => self.machine.system_reset(),
            Op::Migrate if self.migrations < MIGRATIONS => {
                self.migrations += 1;
                self.migrate();
            }
            Op::Migrate => {}
            Op::Tamper(tampering) => {
                let device = usize::from(tampering.place) % self.target.devices.len();
                if let Some(mut state) = self.machine.save(self.target.devices[device]) {
                    tamper(&mut state.data, tampering);
                    self.load(device, &state);
                }
            }
            Op::Call { command, argument, noise } => {
                if let Some((_, port)) = self.machine.board().register_port() {
                    let (noise, ebx) = (*noise, argument.value());
                    let ecx = noise & !0xff | u32::from(*command);
                    let mut registers = Registers { eax: VMPORT_MAGIC, ebx, ecx, edx: noise, esi: noise, edi: noise };
                    lock(&port).access(&mut registers);
                }
            }
        }
    }

    /// An address in one of the windows that belong to the device and are there now, or a few bytes behind it.
    fn place(&self, window: u8, offset: u32) -> Option<(Space, u64)> {
        let mut windows = self.machine.windows();
        windows.retain(|(.., name)| self.target.windows.iter().any(|start| name.starts_with(start)));
        let (space, first, last, _) = windows.get(usize::from(window) % windows.len().max(1))?;
        let len = (last - first).saturating_add(1 + 4);
        Some((*space, first.saturating_add(u64::from(offset) % len)))
    }

    fn read(&mut self, space: Space, address: u64, size: Size) {
        let port = address as u16;
        match (space, size) {
            (Space::Memory, size) => self.machine.read_memory(address, &mut [0; 8][..size.bytes()]),
            (Space::Port, Size::Byte) => drop(self.machine.inb(port)),
            (Space::Port, Size::Word) => drop(self.machine.inw(port)),
            (Space::Port, Size::Dword | Size::Qword | Size::Odd) => drop(self.machine.inl(port)),
        }
    }

    fn write(&mut self, space: Space, address: u64, data: &[u8]) {
        let port = address as u16;
        match (space, data) {
            (Space::Memory, data) => self.machine.write_memory(address, data),
            (Space::Port, [byte]) => self.machine.outb(port, *byte),
            (Space::Port, [low, high]) => self.machine.outw(port, u16::from_le_bytes([*low, *high])),
            (Space::Port, [a, b, c, d, ..]) => self.machine.outl(port, u32::from_le_bytes([*a, *b, *c, *d])),
            (Space::Port, _) => {}
        }
    }

    /// Writes the address of a register of a function under test.
    fn select(&mut self, function: u8, offset: u8) -> bool {
        let mut functions = self.machine.board().pci.functions();
        functions.retain(|(_, name)| self.target.devices.contains(&name.as_str()));
        let Some((place, _)) = functions.get(usize::from(function) % functions.len().max(1)) else { return false };
        let place = u32::from(place.slot) << 11 | u32::from(place.function) << 8;
        self.machine.outl(CONFIG_ADDRESS, 1 << 31 | place | u32::from(offset & 0xfc));
        true
    }

    fn step(&mut self, ns: u64) {
        let target = self.machine.now().saturating_add(ns);
        for _ in 0..DEADLINES {
            match self.machine.next_deadline() {
                Some(deadline) if deadline <= target => {
                    let _ = self.machine.clock_step_next();
                }
                _ => {
                    let _ = self.machine.clock_step(target - self.machine.now());
                    return;
                }
            }
        }
    }

    fn character(&mut self, input: &CharInput) {
        const IDS: [&str; 3] = ["serial0", "c", "debugcon0"];
        for id in IDS {
            match input {
                CharInput::Receive(data) => drop(self.machine.send(id, data)),
                CharInput::Opened => self.machine.char_event(id, CharEvent::Opened),
                CharInput::Closed => self.machine.char_event(id, CharEvent::Closed),
                CharInput::Break => self.machine.char_event(id, CharEvent::Break),
                CharInput::Modem(bits) => {
                    let [cts, dsr, ri, dcd] = std::array::from_fn(|bit| bits >> bit & 1 != 0);
                    self.machine.char_event(id, CharEvent::ModemInputs(ModemInputs { cts, dsr, ri, dcd }));
                }
                CharInput::Room(room) => self.machine.limit_output(id, room.map(usize::from)),
            }
            let _ = self.machine.take_output(id);
        }
    }

    fn person(&mut self, input: &PersonalInput) {
        const BUTTONS: [MouseButton; 3] = [MouseButton::Left, MouseButton::Middle, MouseButton::Right];
        let (keyboard, pointer) = (self.machine.board().keyboard(), self.machine.board().pointer());
        match input {
            PersonalInput::Key(key, down) => {
                if let Some(keyboard) = keyboard {
                    lock(keyboard).key(KeyCode::ALL[usize::from(*key) % KeyCode::ALL.len()], *down);
                }
            }
            PersonalInput::Move(right, down) => pointer.move_by(*right, *down),
            PersonalInput::Point(x, y) => pointer.move_to(*x, *y),
            PersonalInput::Scroll(down, right) => pointer.scroll(*down, *right),
            PersonalInput::Button(button, down) => pointer.button(BUTTONS[usize::from(*button) % 3], *down),
            PersonalInput::Power => self.machine.press_power_button(),
        }
    }

    /// Loads the states of the devices under test into new ones at the same time of day.
    fn migrate(&self) {
        let mut twin = machine(self.target);
        let _ = twin.clock_step(self.machine.now());
        for name in self.target.devices {
            let Some(saved) = self.machine.save(name) else { continue };
            let devices = twin.board().devices();
            let (_, device) = devices.iter().find(|(other, _)| other == name).expect("the same board");
            let loaded = lock(device).load(&saved);
            assert!(loaded.is_ok(), "{name}: a saved state must load: {loaded:?}: {saved:?}");
            assert_eq!(lock(device).save(), saved, "{name}: save -> load -> save must be identical");
        }
    }
}
