//! QMP: how a program controls a running machine.
//!
//! Messages are JSON texts, QEMU's by name and form (QEMU's `qmp-spec.txt`). A command that changes the machine is answered when
//! the change has happened; until then nothing that was sent behind it is looked at.

mod block;
mod catalogue;
mod commands;
mod error;
mod framing;
mod input;
mod machine;
mod request;
mod schema;
mod text;

use std::sync::Arc;

use devices::backend::char::{CharBackend, CharClient, CharEvent};
use serde_json::{Value, json};

use self::commands::{Answer, NEGOTIATE, NEGOTIATION};
use self::error::QmpError;
use self::framing::{Frame, Framing};
use self::request::Arguments;
use super::connection::Connection;
use super::{Control, Event};

/// Input that is taken before it is looked at, in bytes.
const INPUT: usize = 4096;
/// Output, in bytes, beyond which a client that does not read hears of no more events.
const BACKLOG: usize = 1 << 20;

/// One QMP monitor.
pub struct QmpMonitor {
    connection: Connection,
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
            connection: Connection::new(output, INPUT),
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
        if self.negotiated && self.connection.backlog() < BACKLOG {
            let drives = self.machine.drives().unwrap_or_default();
            self.send(&event.message(&drives));
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
        let mut text = if self.pretty { format!("{message:#}").into_bytes() } else { text::line(message) };
        text.extend(b"\r\n");
        self.connection.send(&text);
    }

    /// Looks at the input as far as possible.
    fn advance(&mut self) {
        while self.answer.is_none()
            && let Some(byte) = self.connection.next_byte()
        {
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
        self.connection.ask_for_input(self.answer.is_some());
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
        schema::check(NEGOTIATION, &arguments)?;
        let capabilities = arguments.optional_strings("enable")?;
        if let Some(name) = capabilities.first() {
            return Err(QmpError::generic(format!("QMP capability {name} not available")));
        }
        self.negotiated = true;
        Ok(Answer::Now(json!({})))
    }
}

impl CharClient for QmpMonitor {
    fn can_receive(&self) -> usize {
        self.connection.can_receive(self.answer.is_some())
    }

    fn receive(&mut self, data: &[u8]) {
        self.connection.receive(data);
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
                self.connection.clear();
                (self.framing, self.answer) = (Framing::default(), None);
                (self.open, self.negotiated) = (false, false);
            }
            CharEvent::Writable => {
                self.connection.flush();
                self.advance();
            }
            CharEvent::Break | CharEvent::ModemInputs(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
