//! The commands of the protocol.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Hardware, HardwareError, IrqChange};

/// Most bytes that one command reads, writes or fills.
const MOST_BYTES: usize = 16 << 20;

/// Longest line in bytes: a `write` of the most bytes.
pub const LONGEST_LINE: usize = 2 * MOST_BYTES + 256;

/// Bytes that `memset` writes at once.
const FILL_PIECE: usize = 4096;

/// Why a command is not carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("FAIL Unknown command '{0}'")]
    UnknownCommand(String),
    #[error("FAIL {command}: {what} is missing")]
    Missing { command: String, what: &'static str },
    #[error("FAIL {command}: '{text}' is no {what}")]
    NoNumber { command: String, what: &'static str, text: String },
    #[error("FAIL {command}: the size is at least 1 and at most {MOST_BYTES} bytes")]
    Size { command: String },
    #[error("FAIL {command}: the data are not in base64")]
    Base64 { command: String },
    /// As in QEMU.
    #[error("ERR invalid argument size")]
    ArgumentSize,
    /// As in QEMU, where it says that a module can't be loaded.
    #[error("FAIL")]
    NoModule,
    #[error("FAIL {0}")]
    Hardware(#[from] HardwareError),
}

/// Carries out the command in `line` and returns the answer, without the end of the line. Interrupts that it caused are to
/// be told before the answer.
pub fn execute(line: &str, hardware: &dyn Hardware) -> String {
    let mut words = line.split_ascii_whitespace();
    let command = words.next().unwrap_or_default();
    let arguments = Arguments { command, words };
    arguments.execute(hardware).unwrap_or_else(|failure| failure.to_string())
}

/// The lines that tell of interrupts, each with its end.
pub fn interrupts(changes: &[IrqChange]) -> String {
    changes.iter().fold(String::new(), |mut text, IrqChange { pin, level }| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "IRQ {} {pin}", if *level { "raise" } else { "lower" });
        text
    })
}

/// A command and what follows it.
struct Arguments<'a, W> {
    command: &'a str,
    words: W,
}

impl<'a, W: Iterator<Item = &'a str>> Arguments<'a, W> {
    fn execute(mut self, hardware: &dyn Hardware) -> Result<String, Failure> {
        let ok = || Ok("OK".to_owned());
        match self.command {
            "inb" => self.input::<1>(hardware),
            "inw" => self.input::<2>(hardware),
            "inl" => self.input::<4>(hardware),
            "outb" => self.output(1, hardware),
            "outw" => self.output(2, hardware),
            "outl" => self.output(4, hardware),
            "readb" => self.load::<1>(hardware),
            "readw" => self.load::<2>(hardware),
            "readl" => self.load::<4>(hardware),
            "readq" => self.load::<8>(hardware),
            "writeb" => self.store(1, hardware),
            "writew" => self.store(2, hardware),
            "writel" => self.store(4, hardware),
            "writeq" => self.store(8, hardware),
            "read" => {
                let data = self.read(1, hardware)?;
                Ok(data.iter().fold("OK 0x".to_owned(), |mut text, byte| {
                    // Writing to a String can't fail.
                    let _ = write!(text, "{byte:02x}");
                    text
                }))
            }
            "b64read" => Ok(format!("OK {}", BASE64.encode(self.read(0, hardware)?))),
            "write" => {
                let (address, size) = (self.number("address")?, self.size(0)?);
                let text = self.word("data")?;
                let digits =
                    text.as_bytes().get(2..).filter(|digits| !digits.is_empty()).ok_or(Failure::ArgumentSize)?;
                let digit = |at: usize| digits.get(at).and_then(|digit| char::from(*digit).to_digit(16)).unwrap_or(0);
                // What is missing at the end is zero.
                let data: Vec<_> = (0..size).map(|at| (digit(2 * at) << 4 | digit(2 * at + 1)) as u8).collect();
                hardware.write_memory(address, &data);
                ok()
            }
            "b64write" => {
                let (address, size) = (self.number("address")?, self.size(0)?);
                let data = BASE64.decode(self.words.next().unwrap_or_default());
                let data = data.map_err(|_| Failure::Base64 { command: self.command.into() })?;
                // Told and found size may differ: the lesser counts.
                hardware.write_memory(address, &data[..data.len().min(size)]);
                ok()
            }
            "memset" => {
                let (address, size, value) = (self.number("address")?, self.size(0)?, self.number("value")?);
                let piece = [value as u8; FILL_PIECE];
                for done in (0..size).step_by(FILL_PIECE) {
                    hardware.write_memory(address.wrapping_add(done as u64), &piece[..FILL_PIECE.min(size - done)]);
                }
                ok()
            }
            "endianness" => Ok("OK little".into()),
            "clock_step" => {
                let target = match self.words.next() {
                    Some(text) => hardware.now().saturating_add(self.parse("number of nanoseconds", text)?),
                    None => hardware.next_deadline().unwrap_or_default(),
                };
                hardware.step_to(target)?;
                Ok(format!("OK {}", hardware.now()))
            }
            "clock_set" => {
                hardware.step_to(self.number("time")?)?;
                Ok(format!("OK {}", hardware.now()))
            }
            "irq_intercept_in" | "irq_intercept_out" => {
                hardware.intercept(self.word("path")?, self.command.ends_with("out"))?;
                ok()
            }
            "set_irq_in" => {
                let (path, name) = (self.word("path")?, self.word("name")?);
                let (number, level) = (self.number("number")?, self.number("level")?);
                let missing = || HardwareError::NoSuchInput { name: name.into(), number: u32::MAX };
                hardware.set_input(path, name, u32::try_from(number).map_err(|_| missing())?, level != 0)?;
                ok()
            }
            // Everything is built in, and no module has another name.
            "module_load" => {
                let _ = (self.word("prefix")?, self.word("name")?);
                Err(Failure::NoModule)
            }
            other => Err(Failure::UnknownCommand(other.to_owned())),
        }
    }

    fn word(&mut self, what: &'static str) -> Result<&'a str, Failure> {
        self.words.next().ok_or_else(|| Failure::Missing { command: self.command.into(), what })
    }

    fn number(&mut self, what: &'static str) -> Result<u64, Failure> {
        let text = self.word(what)?;
        self.parse(what, text)
    }

    /// A number in the notation of C: hexadecimal, octal or decimal; negative ones wrap.
    fn parse(&self, what: &'static str, text: &str) -> Result<u64, Failure> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
            None => (digits, 10),
        };
        let value = Some(digits)
            .filter(|digits| !digits.starts_with('+'))
            .and_then(|digits| u64::from_str_radix(digits, radix).ok())
            .ok_or_else(|| Failure::NoNumber { command: self.command.into(), what, text: text.into() })?;
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    fn port(&mut self) -> Result<u16, Failure> {
        let text = self.word("port")?;
        let port = self.parse("port", text)?;
        u16::try_from(port).map_err(|_| Failure::NoNumber {
            command: self.command.into(),
            what: "port",
            text: text.into(),
        })
    }

    /// A number of bytes, at least `least`.
    fn size(&mut self, least: usize) -> Result<usize, Failure> {
        let size = self.number("size")?;
        let size = usize::try_from(size).ok().filter(|size| (least..=MOST_BYTES).contains(size));
        size.ok_or_else(|| Failure::Size { command: self.command.into() })
    }

    fn input<const N: usize>(&mut self, hardware: &dyn Hardware) -> Result<String, Failure> {
        let mut data = [0; N];
        hardware.read_port(self.port()?, &mut data);
        Ok(format!("OK 0x{:04x}", number(&data)))
    }

    fn output(&mut self, size: usize, hardware: &dyn Hardware) -> Result<String, Failure> {
        let (port, value) = (self.port()?, self.number("value")?);
        hardware.write_port(port, &value.to_le_bytes()[..size]);
        Ok("OK".into())
    }

    fn load<const N: usize>(&mut self, hardware: &dyn Hardware) -> Result<String, Failure> {
        let mut data = [0; N];
        hardware.read_memory(self.number("address")?, &mut data);
        Ok(format!("OK 0x{:016x}", number(&data)))
    }

    fn store(&mut self, size: usize, hardware: &dyn Hardware) -> Result<String, Failure> {
        let (address, value) = (self.number("address")?, self.number("value")?);
        hardware.write_memory(address, &value.to_le_bytes()[..size]);
        Ok("OK".into())
    }

    fn read(&mut self, least: usize, hardware: &dyn Hardware) -> Result<Vec<u8>, Failure> {
        let (address, size) = (self.number("address")?, self.size(least)?);
        let mut data = vec![0; size];
        hardware.read_memory(address, &mut data);
        Ok(data)
    }
}

/// Up to 8 bytes, the first is the least significant.
fn number(data: &[u8]) -> u64 {
    data.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
