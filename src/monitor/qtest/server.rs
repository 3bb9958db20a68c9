//! The protocol on a character device.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use devices::backend::char::{CharBackend, CharClient, CharEvent};

use super::Hardware;
use super::protocol::{LONGEST_LINE, execute, interrupts};
use crate::monitor::connection::Connection;

/// Input that is taken before it is looked at, in bytes.
const INPUT: usize = 64 << 10;

/// Output, in bytes, beyond which a client that does not read is told of no more interrupts.
const BACKLOG: usize = 1 << 20;

/// Where the conversation is written, with the time since the start: `-qtest-log`.
pub struct QtestLog {
    sink: Option<Box<dyn Write + Send>>,
    start: Instant,
}

impl QtestLog {
    /// A log to a file, or to standard error; `none` is no log.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let sink: Option<Box<dyn Write + Send>> = match path {
            None => Some(Box::new(io::stderr())),
            Some(path) if path.as_os_str() == "none" || path == Path::new("/dev/null") => None,
            Some(path) => Some(Box::new(File::create(path)?)),
        };
        Ok(Self { sink, start: Instant::now() })
    }

    fn write(&mut self, kind: char, text: &str) {
        let Some(sink) = &mut self.sink else { return };
        let since = self.start.elapsed();
        let line = format!("[{kind} +{}.{:06}] {text}\n", since.as_secs(), since.subsec_micros());
        if let Err(error) = sink.write_all(line.as_bytes()) {
            log::warn!("-qtest-log: the log can't be written and ends here: {error}");
            self.sink = None;
        }
    }
}

/// One end of a conversation.
pub struct QtestServer {
    connection: Connection,
    line: Vec<u8>,
    /// The line is too long: what follows is skipped to its end.
    overlong: bool,
    hardware: Box<dyn Hardware>,
    /// An answer that waits for the main loop to do what its command has caused.
    answer: Option<String>,
    log: QtestLog,
}

impl QtestServer {
    /// A server that drives `hardware` and answers to `output`.
    #[must_use]
    pub fn new(output: Box<dyn CharBackend>, hardware: Box<dyn Hardware>, log: QtestLog) -> Self {
        Self {
            connection: Connection::new(output, INPUT),
            line: Vec::new(),
            overlong: false,
            hardware,
            answer: None,
            log,
        }
    }

    /// The main loop has seen to all that was asked of it.
    pub fn settle(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.answer(&answer);
            self.advance();
        } else {
            self.tell_interrupts();
        }
    }

    fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.log.write('S', line);
        }
        self.connection.send(text.as_bytes());
    }

    fn tell_interrupts(&mut self) {
        if self.connection.backlog() >= BACKLOG {
            return;
        }
        let changes = self.hardware.take_interrupts();
        if !changes.is_empty() {
            self.say(&interrupts(&changes));
        }
    }

    fn answer(&mut self, answer: &str) {
        self.tell_interrupts();
        self.say(&format!("{answer}\n"));
    }

    /// Looks at the input as far as possible.
    fn advance(&mut self) {
        while self.answer.is_none()
            && let Some(byte) = self.connection.next_byte()
        {
            if byte != b'\n' {
                self.overlong |= self.line.len() == LONGEST_LINE;
                if !self.overlong {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.overlong) {
                self.answer(&format!("FAIL a line has at most {LONGEST_LINE} bytes"));
                continue;
            }
            let line = String::from_utf8_lossy(&line);
            self.log.write('R', &line);
            let answer = execute(&line, &*self.hardware);
            match self.hardware.is_settled() {
                true => self.answer(&answer),
                false => self.answer = Some(answer),
            }
        }
        self.connection.ask_for_input(self.answer.is_some());
    }
}

impl CharClient for QtestServer {
    fn can_receive(&self) -> usize {
        self.connection.can_receive(self.answer.is_some())
    }

    fn receive(&mut self, data: &[u8]) {
        self.connection.receive(data);
        self.advance();
    }

    fn event(&mut self, event: CharEvent) {
        match event {
            CharEvent::Opened => self.log.write('I', "OPENED"),
            CharEvent::Closed => {
                self.log.write('I', "CLOSED");
                // The next one starts afresh.
                self.connection.clear();
                self.line.clear();
                self.overlong = false;
            }
            CharEvent::Writable => {
                self.connection.flush();
                self.advance();
            }
            CharEvent::Break | CharEvent::ModemInputs(_) => {}
        }
    }
}
