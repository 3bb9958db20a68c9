//! A connection: the bytes of a character device on their way to and from the host.

use std::io::{self, ErrorKind};

use devices::backend::char::{CharEvent, LineParameters};

use super::telnet::Telnet;
use super::tty::SerialLine;
use crate::host::channel::Channel;

/// Largest piece of output that is encoded for telnet at once.
const TELNET_PIECE: usize = 512;

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// This many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// There will be no more.
    End,
}

/// Where the bytes of a character device go to and come from while somebody is there.
#[derive(Default)]
pub(super) struct Connection {
    pub input: Option<Channel>,
    pub output: Option<Channel>,
    telnet: Option<Telnet>,
    /// Encoded output that the host has not taken yet: the rest of at most one piece, and answers to the client.
    pending: Vec<u8>,
    line: Option<SerialLine>,
}

impl Connection {
    pub fn new(input: Option<Channel>, output: Option<Channel>) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// A connection that speaks telnet.
    pub fn with_telnet(mut self) -> Self {
        let (telnet, greeting) = Telnet::new();
        self.telnet = Some(telnet);
        self.pending = greeting;
        self
    }

    /// A connection by a serial line of the host.
    pub fn with_line(mut self, line: SerialLine) -> Self {
        self.line = Some(line);
        self
    }

    /// Whether there is something to be written beside what the device writes.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes what the host takes now.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.flush()? {
            return Ok(0);
        }
        let Some(output) = &self.output else { return Ok(data.len()) };
        if self.telnet.is_some() {
            let piece = &data[..data.len().min(TELNET_PIECE)];
            Telnet::encode(piece, &mut self.pending);
            self.flush()?;
            return Ok(piece.len());
        }
        match output.write(data) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// Writes what is pending; whether nothing is left.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn flush(&mut self) -> io::Result<bool> {
        while !self.pending.is_empty() {
            let Some(output) = &self.output else { break };
            match output.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        Ok(true)
    }

    /// Reads what is there into `buffer`. What arrives beside bytes is added to `events`.
    pub fn read(&mut self, buffer: &mut [u8], events: &mut Vec<CharEvent>) -> Input {
        let Some(input) = &self.input else { return Input::End };
        // A client that asks without reading our answers is not listened to.
        if self.pending.len() > TELNET_PIECE * 2 {
            return Input::Nothing;
        }
        let count = match input.read(buffer) {
            Ok(0) => return Input::End,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Input::Nothing,
            Err(_) => return Input::End,
        };
        let Some(telnet) = &mut self.telnet else { return Input::Bytes(count) };
        Input::Bytes(telnet.decode(buffer, count, &mut self.pending, events))
    }

    pub fn set_line(&self, parameters: LineParameters) {
        if let Some(line) = &self.line {
            line.set_parameters(parameters);
        }
    }

    pub fn set_break(&self, on: bool) {
        if let Some(line) = &self.line {
            line.set_break(on);
        }
    }

    pub fn set_modem_outputs(&self, dtr: bool, rts: bool) {
        if let Some(line) = &self.line {
            line.set_modem_outputs(dtr, rts);
        }
    }

    /// The parts that have to be closed when nothing watches them any more.
    pub fn into_channels(self) -> impl Iterator<Item = Channel> {
        self.input.into_iter().chain(self.output)
    }
}
