//! The board in the caller's own process: no processors, no KVM, virtual time.
//!
//! For tests and fuzz targets. A [`QtestMachine`] is made from options as on a command line and accessed as a driver accesses a
//! PC; resets and power-offs that an access causes have happened when it returns. All character devices are in memory.

mod client;
#[cfg(test)]
mod flaws;
mod inside;

pub use client::QmpClient;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use devices::backend::char::{CharBackend, CharClient, CharEvent, MemoryChar};
use devices::base::{GuestRam, lock};

use crate::cli::Request;
use crate::command_line;
use crate::config::{Accel, MachineConfig};
use crate::host::block::{AtOnceFor, Blocks};
use crate::host::chardev::CharPort;
use crate::host::{Backends, Drives};
use crate::machine::accel::qtest::Bench;
use crate::machine::mailbox::{Mailbox, Message, UserRequest};
use crate::machine::{Built, ExitStatus, Machine, Status, begin, ram};
use crate::monitor::qtest::{Hardware, HardwareError, IrqChange, execute, interrupts};

/// A machine that is driven by its owner.
pub struct QtestMachine {
    machine: Machine,
    bench: Bench,
    mailbox: Arc<Mailbox>,
    chars: BTreeMap<String, MemoryPort>,
    blocks: Arc<Blocks>,
    ended: Option<ExitStatus>,
    /// Dropped last: the machine uses it.
    _ram: OwnRam,
}

/// RAM that ends with its machine, of which a process may make any number.
struct OwnRam(GuestRam);

impl Drop for OwnRam {
    fn drop(&mut self) {
        if !ram::unmap(std::mem::take(&mut self.0)) {
            log::warn!("something outlives its machine: RAM stays mapped");
        }
    }
}

/// A character device in memory and who uses it.
#[derive(Clone, Default)]
struct MemoryPort {
    host: MemoryChar,
    client: Arc<Mutex<Option<Client>>>,
}

type Client = Arc<Mutex<dyn CharClient>>;

impl CharPort for MemoryPort {
    fn backend(&mut self) -> Box<dyn CharBackend> {
        Box::new(self.host.clone())
    }

    fn attach(&mut self, client: Client) {
        *lock(&self.client) = Some(client);
    }
}

/// Character devices in memory, made when the board asks for them, and images in files.
struct OwnBackends {
    chars: RefCell<BTreeMap<String, MemoryPort>>,
    blocks: Arc<Blocks>,
}

impl Drives for OwnBackends {
    fn blocks(&self) -> &Blocks {
        &self.blocks
    }
}

impl Backends for OwnBackends {
    fn char_port(&self, id: &str) -> Result<Box<dyn CharPort>> {
        Ok(Box::new(self.chars.borrow_mut().entry(id.to_owned()).or_default().clone()))
    }
}

impl QtestMachine {
    /// The machine of a command line, without the name of the program. `-accel qtest` is understood, and the date is that of
    /// virtual time (`-rtc clock=vm`).
    ///
    /// # Errors
    /// The options describe no machine, or one that can't be made.
    pub fn new<S: Into<OsString>>(options: impl IntoIterator<Item = S>) -> Result<Self> {
        let fixed = ["-accel", "qtest", "-rtc", "clock=vm"].map(OsString::from);
        let options = fixed.into_iter().chain(options.into_iter().map(Into::into));
        match command_line::parse(options)?.request {
            Request::Run(config) => Self::from_config(&config),
            Request::Print(_) | Request::Write { .. } => bail!("these options describe no machine"),
        }
    }

    /// The machine of a configuration, whose accelerator has to be qtest.
    ///
    /// # Errors
    /// The machine can't be made.
    pub fn from_config(config: &MachineConfig) -> Result<Self> {
        if config.platform.accel != Accel::Qtest {
            bail!("this machine has processors: use -accel qtest");
        }
        let mailbox = Arc::new(Mailbox::new().context("can't make an event descriptor")?);
        let backends =
            OwnBackends { chars: RefCell::default(), blocks: Arc::new(Blocks::open(config, AtOnceFor::All)?) };
        let Built { mut machine, bench } =
            begin(config).furnish(config, &backends).build(config, &mailbox, &backends)?;
        let bench = bench.context("a machine without processors has no bench")?;
        if !config.run.start_paused {
            machine.resume()?;
        }
        let chars = backends.chars.into_inner();
        let ram = OwnRam(GuestRam::clone(machine.space().slots.ram()));
        let machine = Self { machine, bench, mailbox, chars, blocks: backends.blocks, ended: None, _ram: ram };
        machine.chars.values().for_each(|port| port.event(CharEvent::Opened));
        Ok(machine)
    }

    /// Reads `N` bytes (1, 2 or 4) from an I/O port.
    fn input<const N: usize>(&mut self, port: u16) -> [u8; N] {
        let mut data = [0; N];
        self.bench.read_port(port, &mut data);
        self.settle();
        data
    }

    fn output(&mut self, port: u16, data: &[u8]) {
        self.bench.write_port(port, data);
        self.settle();
    }

    /// Reads a byte from an I/O port.
    pub fn inb(&mut self, port: u16) -> u8 {
        u8::from_le_bytes(self.input(port))
    }

    /// Reads two bytes from an I/O port.
    pub fn inw(&mut self, port: u16) -> u16 {
        u16::from_le_bytes(self.input(port))
    }

    /// Reads four bytes from an I/O port.
    pub fn inl(&mut self, port: u16) -> u32 {
        u32::from_le_bytes(self.input(port))
    }

    /// Writes a byte to an I/O port.
    pub fn outb(&mut self, port: u16, value: u8) {
        self.output(port, &value.to_le_bytes());
    }

    /// Writes two bytes to an I/O port.
    pub fn outw(&mut self, port: u16, value: u16) {
        self.output(port, &value.to_le_bytes());
    }

    /// Writes four bytes to an I/O port.
    pub fn outl(&mut self, port: u16, value: u32) {
        self.output(port, &value.to_le_bytes());
    }

    /// Reads guest-physical memory. 1, 2, 4 and 8 bytes are one access, more are a sequence of them.
    pub fn read_memory(&mut self, address: u64, data: &mut [u8]) {
        self.bench.read_memory(address, data);
        self.settle();
    }

    /// Writes guest-physical memory. 1, 2, 4 and 8 bytes are one access, more are a sequence of them.
    pub fn write_memory(&mut self, address: u64, data: &[u8]) {
        self.bench.write_memory(address, data);
        self.settle();
    }

    /// The drives.
    #[cfg(test)]
    pub(crate) fn blocks(&self) -> &Arc<Blocks> {
        &self.blocks
    }

    /// Guest time in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.bench.now()
    }

    /// Moves guest time on by `ns` nanoseconds, timer by timer, and returns the new time.
    ///
    /// # Errors
    /// Millions of timers expire on the way.
    pub fn clock_step(&mut self, ns: u64) -> Result<u64> {
        let stepped = self.bench.step_to(self.now().saturating_add(ns));
        self.settle();
        stepped?;
        Ok(self.now())
    }

    /// Moves guest time on to the next deadline of a timer, if there is one, and returns the new time.
    ///
    /// # Errors
    /// Millions of timers expire at that time.
    pub fn clock_step_next(&mut self) -> Result<u64> {
        let stepped = self.bench.step_to(self.bench.next_deadline().unwrap_or_default());
        self.settle();
        stepped?;
        Ok(self.now())
    }

    /// Begins to watch the inputs of the device at a path: `ioapic`.
    ///
    /// # Errors
    /// There is no such device.
    pub fn intercept(&mut self, path: &str) -> Result<(), HardwareError> {
        self.bench.intercept(path, false)
    }

    /// Drives an input of the device at a path.
    ///
    /// # Errors
    /// There is no such device or input.
    pub fn set_input(&mut self, path: &str, name: &str, number: u32, level: bool) -> Result<(), HardwareError> {
        self.bench.set_input(path, name, number, level)
    }

    /// Carries out a line of the qtest protocol. Returns the lines it is answered with, each with its end; the last one is the
    /// answer proper.
    pub fn command(&mut self, line: &str) -> String {
        let answer = execute(line, &self.bench);
        self.settle();
        interrupts(&self.bench.take_interrupts()) + &answer + "\n"
    }

    /// The changes of the interrupt inputs since the last time.
    pub fn take_interrupts(&mut self) -> Vec<IrqChange> {
        self.bench.take_interrupts()
    }

    /// Gives input to the character device `id`, as far as whoever uses it has room. Returns the number of bytes taken.
    pub fn send(&mut self, id: &str, data: &[u8]) -> usize {
        let taken = self.chars.get(id).map_or(0, |port| port.send(data));
        self.settle();
        taken
    }

    /// Takes what was written to the character device `id`.
    pub fn take_output(&mut self, id: &str) -> Vec<u8> {
        self.chars.get(id).map(|port| port.host.take_output()).unwrap_or_default()
    }

    /// Whether the machine runs.
    #[must_use]
    pub fn status(&self) -> Status {
        self.machine.status()
    }

    /// How the process would have ended by now. The machine stays accessible.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// Resets the machine, as a user does.
    pub fn system_reset(&mut self) {
        self.ask(UserRequest::Reset);
    }

    /// Asks for something as a user does.
    pub fn ask(&mut self, request: UserRequest) {
        self.mailbox.post(Message::User(request));
        self.settle();
    }

    /// Sees to what an access has asked of the machine.
    fn settle(&mut self) {
        while let Some(message) = self.mailbox.take() {
            let handled = self.machine.handle(message);
            // Nobody is told.
            self.machine.take_events();
            match handled {
                Ok(status) => self.ended = self.ended.or(status),
                Err(error) => {
                    log::error!("{error:#}");
                    self.ended = Some(ExitStatus::FAILURE);
                }
            }
        }
    }
}

impl MemoryPort {
    fn event(&self, event: CharEvent) {
        if let Some(client) = &*lock(&self.client) {
            lock(client).event(event);
        }
    }

    fn send(&self, data: &[u8]) -> usize {
        let Some(client) = &*lock(&self.client) else { return 0 };
        let mut client = lock(client);
        let taken = &data[..data.len().min(client.can_receive())];
        if !taken.is_empty() {
            client.receive(taken);
        }
        taken.len()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::kvm::vcpu::VcpuEvents;

    fn machine(options: &[&str]) -> QtestMachine {
        QtestMachine::new(["-nodefaults"].iter().chain(options)).unwrap()
    }

    #[test]
    fn memory_is_what_a_processor_sees() {
        let mut pc = machine(&["-m", "16"]);
        pc.write_memory(0x1000, b"RAM");
        let mut data = [0; 3];
        pc.read_memory(0x1000, &mut data);
        assert_eq!(&data, b"RAM");
        // PAM0 (intel 290549, 3.2.12): F0000h-FFFFFh is not RAM at reset; 3 in bits 5:4 makes it so, 1 write protects.
        let mut byte = [0; 1];
        pc.write_memory(0xf_0000, &[0x5a]);
        pc.outl(0xcf8, 0x8000_0058);
        pc.outb(0xcfd, 0x30);
        pc.read_memory(0xf_0000, &mut byte);
        assert_eq!(byte, [0]);
        pc.write_memory(0xf_0000, &[0x5a]);
        pc.outb(0xcfd, 0x10);
        pc.write_memory(0xf_0000, &[0xa5]);
        pc.read_memory(0xf_0000, &mut byte);
        assert_eq!(byte, [0x5a]);
    }

    #[test]
    fn time_is_virtual_and_interrupts_are_seen() {
        let mut pc = machine(&[]);
        pc.intercept("ioapic").unwrap();
        // RTC: periodic interrupt at 1024 Hz, which is 976562.5 ns (MC146818, rate select 6).
        for (register, value) in [(0x0a, 0x26), (0x0b, 0x42)] {
            pc.outb(0x70, register);
            pc.outb(0x71, value);
        }
        assert_eq!(pc.take_interrupts(), []);
        pc.clock_step(1_000_000).unwrap();
        assert_eq!(pc.take_interrupts(), [IrqChange { pin: 8, level: true }]);
        pc.outb(0x70, 0x0c);
        assert_eq!(pc.inb(0x71) & 0xf0, 0xc0);
        assert_eq!(pc.take_interrupts(), [IrqChange { pin: 8, level: false }]);
    }

    #[test]
    fn an_input_of_the_ioapic_is_driven_alone() {
        let mut pc = machine(&[]);
        pc.intercept("ioapic").unwrap();
        // 8259 (OCW3): read the interrupt request register.
        pc.outb(0x20, 0x0a);
        // I/O APIC: entries of inputs 5 and 2 level triggered, vectors 45h and 42h; remote IRR is bit 14.
        let select =
            |pc: &mut QtestMachine, register: u8| pc.write_memory(0xfec0_0000, &u32::from(register).to_le_bytes());
        let entry = |pc: &mut QtestMachine, input: u8| {
            let mut low = [0; 4];
            select(pc, 0x10 + 2 * input);
            pc.read_memory(0xfec0_0010, &mut low);
            u32::from_le_bytes(low)
        };
        for input in [5, 2] {
            select(&mut pc, 0x10 + 2 * input);
            pc.write_memory(0xfec0_0010, &(0x8040 | u32::from(input)).to_le_bytes());
        }
        pc.set_input("ioapic", "unnamed-gpio-in", 5, true).unwrap();
        assert_eq!(pc.take_interrupts(), [IrqChange { pin: 5, level: true }]);
        assert_eq!((entry(&mut pc, 5), pc.inb(0x20) & 0x20), (0xc045, 0), "not the 8259's input");
        // Input 0 is the timer's, which arrives at 2.
        pc.set_input("ioapic", "unnamed-gpio-in", 0, true).unwrap();
        assert_eq!((entry(&mut pc, 2), pc.inb(0x20) & 1), (0xc042, 0));
        assert!(pc.set_input("ioapic", "unnamed-gpio-in", 24, true).is_err());
    }

    #[test]
    fn interrupts_that_nobody_asks_for_do_not_pile_up() {
        let mut pc = machine(&[]);
        pc.intercept("ioapic").unwrap();
        for change in 0..300_001 {
            pc.set_input("ioapic", "unnamed-gpio-in", 5, change % 2 == 0).unwrap();
        }
        pc.set_input("ioapic", "unnamed-gpio-in", 6, true).unwrap();
        let changes = pc.take_interrupts();
        assert!(changes.len() <= 0x4_0000 + 24, "{}", changes.len());
        let last = |pin| changes.iter().rfind(|change| change.pin == pin).map(|change| change.level);
        assert_eq!((last(5), last(6)), (Some(true), Some(true)));
    }

    #[test]
    fn a_reset_has_happened_when_the_access_that_caused_it_returns() {
        let mut pc = machine(&[]);
        pc.outl(0xcf8, 0x8000_0058);
        pc.outb(0xcfd, 0x30);
        pc.outb(0x92, 0x01);
        pc.outl(0xcf8, 0x8000_0058);
        assert_eq!(pc.inb(0xcfd), 0);
        assert_eq!((pc.status(), pc.ended()), (Status::Running, None));
    }

    #[test]
    fn characters_pass_through_memory() {
        let mut pc = machine(&["-serial", "null"]);
        pc.outb(0x3f8, b'x');
        pc.clock_step(10_000_000).unwrap();
        assert_eq!(pc.take_output("serial0"), b"x");
        assert_eq!(pc.send("serial0", b"y"), 1);
        assert_eq!(pc.inb(0x3f8), b'y');
    }

    #[test]
    fn ram_ends_with_its_machine() {
        let devices =
            ["-serial", "null", "-device", "pci-bridge,chassis_nr=1,id=b", "-device", "i6300esb,bus=b,addr=1"];
        let pc = machine(&devices);
        let ram = Arc::downgrade(pc.space().slots.ram());
        assert!(ram.upgrade().is_some());
        drop(pc);
        assert!(ram.upgrade().is_none(), "somebody else has it, so that it can't be unmapped");
    }

    #[test]
    fn a_file_of_the_users_that_the_machine_has_names_its_option() {
        for name in ["etc/acpi/tables", "bootorder", "etc/e820"] {
            let option = format!("name={name},string=x");
            let error = QtestMachine::new(["-fw_cfg", &option]).err().unwrap();
            assert!(format!("{error:#}").starts_with(&format!("-fw_cfg name={name}: ")), "{error:#}");
        }
    }

    #[test]
    fn an_endless_step_ends() {
        let mut pc = machine(&[]);
        // The PIT would go on for ever: in mode 0 it waits for a count.
        pc.outb(0x43, 0x30);
        for (register, value) in [(0x0a, 0x23), (0x0b, 0x42)] {
            pc.outb(0x70, register);
            pc.outb(0x71, value);
        }
        // The periodic flag has to be read each time for the next interrupt, so that nothing is armed behind it.
        assert!(pc.clock_step(u64::MAX).is_ok());
        // Devices still do what takes time: the floppy controller leaves its reset, the RTC is about to count.
        pc.outb(0x3f2, 0x08);
        pc.outb(0x3f2, 0x0c);
        pc.outb(0x70, 0x0a);
        assert_eq!(pc.inb(0x71) & 0x7f, 0x23);
        assert!(pc.clock_step(u64::MAX).is_ok());
    }

    /// What becomes of it is the same whatever runs the processors, and KVM refuses none that can be asked for here.
    #[test]
    fn a_processor_that_can_t_be_set_up_is_an_error_that_names_the_option() {
        let mut pc = machine(&[]);
        pc.mailbox.set_up_failed(3, anyhow!("KVM refuses"));
        let error = pc.machine.handle(pc.mailbox.take().unwrap()).unwrap_err();
        assert_eq!(format!("{error:#}"), "-accel kvm: CPU 3 can't be set up: KVM refuses");
    }

    #[test]
    fn processors_are_refused() {
        let error = QtestMachine::from_config(&MachineConfig::default()).err().unwrap();
        assert_eq!(error.to_string(), "this machine has processors: use -accel qtest");
    }
}
