//! A machine without processors, and everybody who talks to it.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, Write};
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::qmp::{Client, connect};
use crate::tools::{Guard, LIMIT, natoma};

pub struct Machine {
    pub natoma: Guard,
    qtest: Client,
    qmp: Client,
    /// What has happened and nobody has asked for yet.
    events: VecDeque<Value>,
    log: NamedTempFile,
}

impl Machine {
    pub fn start(options: &[&str]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut command = natoma(&["-accel", "qtest", "-qtest-log", "none"]);
        command.args(options).stderr(Stdio::from(log.reopen().unwrap()));
        let (natoma, qtest, qmp) = connect(&mut command);
        Self { natoma, qtest, qmp, events: VecDeque::new(), log }
    }

    /// What natoma has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    /// Checks that natoma has said something.
    pub fn check_said(&self, text: &str) {
        let log = self.log();
        assert!(log.contains(text), "no {text:?} in {log}");
    }

    /// A command of the qtest protocol, and its answer. An error if natoma has ended.
    pub fn ask(&mut self, command: &str) -> io::Result<u64> {
        let stream = &mut self.qtest.0;
        // In one piece, so that natoma gets all of it or nothing.
        stream.get_mut().write_all(format!("{command}\n").as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = line.trim_end().strip_prefix("OK").unwrap_or_else(|| panic!("{command}: {line}"));
        Ok(u64::from_str_radix(answer.trim().trim_start_matches("0x"), 16).unwrap_or_default())
    }

    /// Replaces bytes of RAM.
    pub fn write(&mut self, address: u64, data: &[u8]) -> io::Result<()> {
        let digits = data.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        self.ask(&format!("write {address:#x} {:#x} 0x{digits}", data.len())).map(drop)
    }

    /// Whether all bytes of a range of RAM have this value.
    pub fn is_filled(&mut self, address: u64, len: u64, value: u8) -> bool {
        self.qtest.say(&format!("read {address:#x} {len:#x}"));
        let mut line = String::new();
        self.qtest.0.read_line(&mut line).unwrap();
        let digits = line.trim_end().strip_prefix("OK 0x").unwrap();
        digits == format!("{value:02x}").repeat(len as usize)
    }

    /// Writes a double word of the configuration space of a function on bus 0.
    pub fn configure(&mut self, slot: u32, function: u32, register: u32, value: u32) -> io::Result<()> {
        self.ask(&format!("outl 0xcf8 {:#x}", 1 << 31 | slot << 11 | function << 8 | register))?;
        self.ask(&format!("outl 0xcfc {value:#x}")).map(drop)
    }

    /// A command of QMP and what it returns.
    pub fn command(&mut self, command: &str) -> Value {
        self.call(command, &json!({}))
    }

    /// The same with arguments.
    pub fn call(&mut self, command: &str, arguments: &Value) -> Value {
        self.qmp.say(&json!({ "execute": command, "arguments": arguments }).to_string());
        loop {
            let mut message = self.qmp.message();
            if message.get("event").is_some() {
                self.events.push_back(message);
                continue;
            }
            assert!(message.get("error").is_none(), "{command}: {message}");
            return message["return"].take();
        }
    }

    /// Waits for an event.
    pub fn wait_for(&mut self, name: &str) {
        loop {
            let event = self.events.pop_front().unwrap_or_else(|| self.qmp.message());
            if event["event"] == name {
                return;
            }
        }
    }

    /// How the machine is.
    pub fn status(&mut self) -> String {
        self.command("query-status")["status"].as_str().unwrap().to_owned()
    }

    /// Waits until an error has stopped the machine.
    pub fn wait_stopped(&mut self) {
        self.wait_for("STOP");
        assert_eq!(self.status(), "io-error", "{}", self.log());
    }

    /// Ends natoma.
    pub fn quit(mut self) {
        self.command("quit");
        assert_eq!(self.natoma.wait().code(), Some(0), "{}", self.log());
    }

    /// Looks until there is something. Requests may be carried out beside the main loop, which tells nobody.
    pub fn look<T>(&mut self, mut look: impl FnMut(&mut Self) -> io::Result<Option<T>>) -> io::Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            assert!(start.elapsed() < LIMIT, "no answer of a disk\n{}", self.log());
        }
    }
}
