//! QMP: how a program controls a running machine.
//!
//! Messages are JSON texts, QEMU's by name and form (QEMU's `qmp-spec.txt`). A command that changes the machine is answered when
//! the change has happened; until then nothing that was sent behind it is looked at.

mod commands;
mod error;
mod framing;
mod request;
mod text;

use std::collections::VecDeque;
use std::sync::Arc;

use devices::backend::char::{CharBackend, CharClient, CharEvent};
use serde_json::{Value, json};

use self::commands::{Answer, NEGOTIATE};
use self::error::QmpError;
use self::framing::{Frame, Framing};
use self::request::Arguments;
use super::{Control, Event};

/// Input that is taken before it is looked at, in bytes.
const INPUT: usize = 4096;
/// Output, in bytes, beyond which a client that does not read hears of no more events.
const BACKLOG: usize = 1 << 20;

/// One QMP monitor.
pub struct QmpMonitor {
    output: Box<dyn CharBackend>,
    /// Output that the host has not taken yet. No command is looked at while there is some.
    pending: VecDeque<u8>,
    input: VecDeque<u8>,
    framing: Framing,
    machine: Arc<dyn Control>,
    /// Messages are written for people to read.
    pretty: bool,
    /// Somebody is there.
    open: bool,
    /// The client has said what it can do.
    negotiated: bool,
    /// The answer that waits for the machine.
    answer: Option<Value>,
}

impl QmpMonitor {
    /// A monitor of `machine` that writes to `output`; `pretty` indents its messages.
    #[must_use]
    pub fn new(output: Box<dyn CharBackend>, machine: Arc<dyn Control>, pretty: bool) -> Self {
        Self {
            output,
            pending: VecDeque::new(),
            input: VecDeque::new(),
            framing: Framing::default(),
            machine,
            pretty,
            open: false,
            negotiated: false,
            answer: None,
        }
    }

    /// Tells the client what happened.
    pub fn event(&mut self, event: Event) {
        if self.negotiated && self.pending.len() < BACKLOG {
            self.send(&event.message());
        }
    }

    /// The main loop has seen to all requests.
    pub fn settle(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.send(&answer);
            self.advance();
        }
    }

    fn send(&mut self, message: &Value) {
        let text = if self.pretty { format!("{message:#}").into_bytes() } else { text::line(message) };
        self.pending.extend(text);
        self.pending.extend(b"\r\n");
        self.flush();
    }

    fn flush(&mut self) {
        while !self.pending.is_empty() {
            let (front, _) = self.pending.as_slices();
            match self.output.write(front) {
                0 => return,
                count => drop(self.pending.drain(..count)),
            }
        }
    }

    /// Looks at the input as far as possible.
    fn advance(&mut self) {
        while self.answer.is_none() && self.pending.is_empty() {
            let Some(byte) = self.input.pop_front() else { break };
            match self.framing.byte(byte) {
                None => {}
                Some(Frame::TooLong) => {
                    let error = QmpError::generic(format!(
                        "JSON token size limit exceeded: at most {} bytes",
                        framing::LONGEST
                    ));
                    self.send(&json!({ "error": error.message() }));
                }
                Some(Frame::Text(text)) => self.execute(&text),
            }
        }
        if self.can_receive() > 0 {
            self.output.input_wanted();
        }
    }

    fn execute(&mut self, text: &[u8]) {
        let (id, request) = request::parse(text);
        let outcome = request.and_then(|request| match (request.command.as_str(), self.negotiated) {
            (NEGOTIATE, false) => self.negotiate(request.arguments),
            (NEGOTIATE, true) => {
                Err(QmpError::command_not_found("Capabilities negotiation is already complete, command ignored"))
            }
            (_, false) => {
                Err(QmpError::command_not_found(format!("Expecting capabilities negotiation with '{NEGOTIATE}'")))
            }
            (name, true) => commands::execute(name, request.arguments, &*self.machine),
        });
        let message = |key: &str, value: Value| {
            let mut message = json!({ key: value });
            if let Some(id) = id {
                message["id"] = id;
            }
            message
        };
        match outcome {
            Ok(Answer::Now(value)) => self.send(&message("return", value)),
            Ok(Answer::Settled(value)) => self.answer = Some(message("return", value)),
            Err(error) => self.send(&message("error", error.message())),
        }
    }

    fn negotiate(&mut self, mut arguments: Arguments) -> Result<Answer, QmpError> {
        let capabilities = arguments.optional_strings("enable")?;
        arguments.end()?;
        if let Some(name) = capabilities.first() {
            return Err(QmpError::generic(format!("QMP capability {name} not available")));
        }
        self.negotiated = true;
        Ok(Answer::Now(json!({})))
    }
}

impl CharClient for QmpMonitor {
    fn can_receive(&self) -> usize {
        match self.answer.is_some() || !self.pending.is_empty() {
            true => 0,
            false => INPUT.saturating_sub(self.input.len()),
        }
    }

    fn receive(&mut self, data: &[u8]) {
        self.input.extend(data);
        self.advance();
    }

    fn event(&mut self, event: CharEvent) {
        match event {
            // The end of a multiplexer is told twice that it is open.
            CharEvent::Opened if self.open => {}
            CharEvent::Opened => {
                self.open = true;
                self.send(&json!({ "QMP": { "version": commands::version(), "capabilities": [] } }));
            }
            CharEvent::Closed => {
                // The next one starts afresh.
                self.input.clear();
                self.pending.clear();
                (self.framing, self.answer) = (Framing::default(), None);
                (self.open, self.negotiated) = (false, false);
            }
            CharEvent::Writable => {
                self.flush();
                self.advance();
            }
            CharEvent::Break | CharEvent::ModemInputs(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
