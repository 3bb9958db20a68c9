//! A client of the qtest protocol, and the processes at its other end.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::pc::Pc;

/// No command takes this long on the slowest of machines, nor does a process to start.
const LIMIT: Duration = Duration::from_secs(60);
/// The QEMU whose machine is the reference: how it tells its version.
const QEMU_VERSION: &str = "QEMU emulator version 7.2.";

/// A process that is driven by the protocol on its standard input and output, and ends with this value.
pub struct Process {
    child: Child,
    /// The other end of both. Pipes would let nobody wait for a limited time.
    stream: BufReader<UnixStream>,
    /// Bit n is the level of interrupt input n.
    levels: u32,
    intercepts: bool,
    is_natoma: bool,
}

impl Process {
    /// natoma with these options; `NATOMA_BIN` names another natoma.
    pub fn natoma(options: &[&str]) -> Self {
        let program = env::var("NATOMA_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_natoma").into());
        Self::spawn(Command::new(program).args(["-accel", "qtest"]).args(options), true)
    }

    /// The QEMU whose answers are recorded, with these options; `None`, loudly, where there is none.
    pub fn qemu(options: &[&str]) -> Option<Self> {
        let program = "qemu-system-x86_64";
        let Ok(version) = Command::new(program).arg("--version").stdin(Stdio::null()).output() else {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        };
        let version = String::from_utf8_lossy(&version.stdout);
        if !version.starts_with(QEMU_VERSION) {
            eprintln!("SKIPPED: {program} is not the version whose answers are recorded, {QEMU_VERSION}");
            return None;
        }
        // Debian's is built without qtest: a machine that does not start serves too, but time stands still there.
        Some(Self::spawn(Command::new(program).args(["-accel", "tcg", "-S"]).args(options), false))
    }

    fn spawn(command: &mut Command, is_natoma: bool) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let [input, output] = [theirs.try_clone().unwrap(), theirs].map(|end| Stdio::from(OwnedFd::from(end)));
        let command = command.args(["-qtest", "stdio", "-qtest-log", "none"]).stdin(input).stdout(output);
        let child = command.spawn().unwrap();
        // The command keeps their end open: the end of the process would not be seen.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let stream = BufReader::new(stream);
        Self { child, stream, levels: 0, intercepts: false, is_natoma }
    }

    /// Sends a command and returns its answer. Interrupts that are told before it are noted.
    pub fn command(&mut self, command: &str) -> String {
        writeln!(self.stream.get_mut(), "{command}").unwrap_or_else(|error| panic!("{command}: {error}"));
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line);
            let length = read.unwrap_or_else(|error| panic!("{command}: no answer, waited up to {LIMIT:?}: {error}"));
            assert!(length > 0, "the process ended at: {command}");
            let line = line.trim_end();
            let Some(interrupt) = line.strip_prefix("IRQ ") else { return line.to_owned() };
            let (change, number) = interrupt.split_once(' ').unwrap();
            let bit = 1 << number.parse::<u32>().unwrap();
            self.levels = if change == "raise" { self.levels | bit } else { self.levels & !bit };
        }
    }

    fn ok(&mut self, command: &str) -> String {
        let answer = self.command(command);
        let value = answer.strip_prefix("OK").unwrap_or_else(|| panic!("{command}: {answer}"));
        value.trim_start().to_owned()
    }

    fn value(&mut self, command: &str) -> u64 {
        let answer = self.ok(command);
        u64::from_str_radix(answer.trim_start_matches("0x"), 16).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The letter that commands have for a size, if they have one.
fn letter(size: usize) -> Option<char> {
    [(1, 'b'), (2, 'w'), (4, 'l'), (8, 'q')].into_iter().find(|(of, _)| *of == size).map(|(_, letter)| letter)
}

impl Pc for Process {
    fn input(&mut self, port: u16, size: usize) -> u32 {
        self.value(&format!("in{} {port:#x}", letter(size).unwrap())) as u32
    }

    fn output(&mut self, port: u16, size: usize, value: u32) {
        self.ok(&format!("out{} {port:#x} {value:#x}", letter(size).unwrap()));
    }

    fn read(&mut self, address: u64, data: &mut [u8]) {
        match letter(data.len()) {
            Some(letter) => {
                let value = self.value(&format!("read{letter} {address:#x}")).to_le_bytes();
                data.copy_from_slice(&value[..data.len()]);
            }
            None => {
                let text = self.ok(&format!("read {address:#x} {:#x}", data.len()));
                let digits = text.trim_start_matches("0x");
                for (at, byte) in data.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
                }
            }
        }
    }

    fn write(&mut self, address: u64, data: &[u8]) {
        let number = data.iter().rev().fold(String::from("0x"), |text, byte| text + &format!("{byte:02x}"));
        let string = data.iter().fold(String::from("0x"), |text, byte| text + &format!("{byte:02x}"));
        match letter(data.len()) {
            Some(letter) => self.ok(&format!("write{letter} {address:#x} {number}")),
            None => self.ok(&format!("write {address:#x} {:#x} {string}", data.len())),
        };
    }

    fn is_natoma(&self) -> bool {
        self.is_natoma
    }

    fn has_clock(&self) -> bool {
        self.is_natoma
    }

    fn clock_step(&mut self, ns: u64) {
        self.ok(&format!("clock_step {ns}"));
    }

    fn irq(&mut self, gsi: u32) -> bool {
        if !self.intercepts {
            self.ok("irq_intercept_in ioapic");
            self.intercepts = true;
        }
        self.levels >> gsi & 1 != 0
    }
}
