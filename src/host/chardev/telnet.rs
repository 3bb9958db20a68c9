//! The telnet protocol on the bytes of a character device (RFC 854, 855, 856, 857, 858).
//!
//! natoma echoes (the guest does), suppresses go-ahead and sends binary, and asks the client to send binary: with
//! these a client sends every character as it is typed. Every other option is refused.

use devices::backend::char::CharEvent;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
/// Are you there?
const AYT: u8 = 246;
const BREAK: u8 = 243;
const SE: u8 = 240;

const BINARY: u8 = 0;
const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;

const CR: u8 = b'\r';

/// Where in the protocol the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Data,
    /// Behind a CR that was data.
    Return,
    Command,
    /// Behind WILL, WONT, DO or DONT.
    Option(u8),
    Subnegotiation,
    SubnegotiationCommand,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Telnet {
    position: Position,
    /// The client agreed to send binary: a CR is just a CR.
    binary: bool,
}

impl Telnet {
    /// A new connection, and what is said first on it.
    pub fn new() -> (Self, Vec<u8>) {
        let greeting = [
            IAC,
            WILL,
            ECHO,
            IAC,
            WILL,
            SUPPRESS_GO_AHEAD,
            IAC,
            WILL,
            BINARY,
            IAC,
            DO,
            BINARY,
            IAC,
            DO,
            SUPPRESS_GO_AHEAD,
        ];
        (Self { position: Position::Data, binary: false }, greeting.into())
    }

    /// Appends data as it is sent: the byte 255 is doubled.
    pub fn encode(data: &[u8], out: &mut Vec<u8>) {
        for &byte in data {
            out.push(byte);
            if byte == IAC {
                out.push(IAC);
            }
        }
    }

    /// Reduces the first `count` bytes of `buffer` to the data in them and returns their number. Answers are appended
    /// to `answers`.
    pub fn decode(
        &mut self,
        buffer: &mut [u8],
        count: usize,
        answers: &mut Vec<u8>,
        events: &mut Vec<CharEvent>,
    ) -> usize {
        let mut kept = 0;
        for index in 0..count {
            if let Some(data) = self.take(buffer[index], answers, events) {
                buffer[kept] = data;
                kept += 1;
            }
        }
        kept
    }

    fn take(&mut self, byte: u8, answers: &mut Vec<u8>, events: &mut Vec<CharEvent>) -> Option<u8> {
        let (position, data) = match (self.position, byte) {
            (Position::Data | Position::Return, IAC) => (Position::Command, None),
            // A client in its default mode sends a lone CR as CR NUL.
            (Position::Return, 0) => (Position::Data, None),
            (Position::Data | Position::Return, CR) if !self.binary => (Position::Return, Some(CR)),
            (Position::Data | Position::Return, _) => (Position::Data, Some(byte)),
            (Position::Command, IAC) => (Position::Data, Some(IAC)),
            (Position::Command, WILL | WONT | DO | DONT) => (Position::Option(byte), None),
            (Position::Command, SB) => (Position::Subnegotiation, None),
            (Position::Command, command) => {
                match command {
                    BREAK => events.push(CharEvent::Break),
                    AYT => answers.extend(b"\r\n[yes]\r\n"),
                    // NOP, data mark, interrupt process, abort output, erase character or line, go ahead: a
                    // serial line has nothing like them.
                    _ => {}
                }
                (Position::Data, None)
            }
            (Position::Option(verb), option) => {
                self.negotiate(verb, option, answers);
                (Position::Data, None)
            }
            (Position::Subnegotiation, IAC) => (Position::SubnegotiationCommand, None),
            (Position::SubnegotiationCommand, SE) => (Position::Data, None),
            (Position::Subnegotiation | Position::SubnegotiationCommand, _) => (Position::Subnegotiation, None),
        };
        self.position = position;
        data
    }

    /// Only requests for what we did not propose are answered: agreement to a proposal ends a negotiation.
    fn negotiate(&mut self, verb: u8, option: u8, answers: &mut Vec<u8>) {
        match (verb, option) {
            (WILL, BINARY) => self.binary = true,
            (WONT, BINARY) => self.binary = false,
            (DO, ECHO | SUPPRESS_GO_AHEAD | BINARY) | (WILL, SUPPRESS_GO_AHEAD) => {}
            (DO, _) => answers.extend([IAC, WONT, option]),
            (WILL, _) => answers.extend([IAC, DONT, option]),
            // A refusal needs no answer.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, answers and events of some input, given in pieces of each size from 1 to all.
    fn decode(input: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<CharEvent>) {
        let mut results = (1..=input.len()).map(|size| {
            let (mut telnet, _) = Telnet::new();
            let (mut data, mut answers, mut events) = (Vec::new(), Vec::new(), Vec::new());
            for piece in input.chunks(size) {
                let mut buffer = piece.to_vec();
                let kept = telnet.decode(&mut buffer, piece.len(), &mut answers, &mut events);
                data.extend(&buffer[..kept]);
            }
            (data, answers, events)
        });
        let first = results.next().unwrap();
        results.for_each(|other| assert_eq!(other, first));
        first
    }

    #[test]
    fn the_greeting_is_character_mode() {
        // RFC 857 ECHO is 1, RFC 858 SUPPRESS-GO-AHEAD is 3, RFC 856 TRANSMIT-BINARY is 0.
        assert!(Telnet::new().1.starts_with(b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00"));
    }

    #[test]
    fn the_byte_255_is_doubled_both_ways() {
        let mut out = Vec::new();
        Telnet::encode(b"a\xffb", &mut out);
        assert_eq!(out, b"a\xff\xffb");
        assert_eq!(decode(b"a\xff\xffb").0, b"a\xffb");
    }

    #[test]
    fn options_are_refused_unless_proposed() {
        // DO TERMINAL-SPEED, WILL NAWS; agreement to what was proposed.
        let (data, answers, _) = decode(b"x\xff\xfd\x20\xff\xfb\x1f\xff\xfd\x01\xff\xfd\x03\xff\xfb\x00\xff\xfe\x05y");
        assert_eq!(data, b"xy");
        assert_eq!(answers, b"\xff\xfc\x20\xff\xfe\x1f");
    }

    #[test]
    fn commands_are_no_data() {
        let (data, answers, events) = decode(b"a\xff\xf3b\xff\xf1c\xff\xf6d");
        assert_eq!(data, b"abcd");
        assert_eq!(answers, b"\r\n[yes]\r\n");
        assert_eq!(events, [CharEvent::Break]);
        // A subnegotiation with a doubled 255 in it.
        assert_eq!(decode(b"a\xff\xfa\x1f\x00\xff\xff\x00\x18\xff\xf0b").0, b"ab");
    }

    #[test]
    fn a_return_is_followed_by_nul_until_the_client_sends_binary() {
        assert_eq!(decode(b"a\r\0b\r\nc\0").0, b"a\rb\r\nc\0");
        assert_eq!(decode(b"\xff\xfb\x00a\r\0b").0, b"a\r\0b");
    }
}
