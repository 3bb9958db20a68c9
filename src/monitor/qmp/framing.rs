//! Cuts the input of a QMP client into JSON texts.
//!
//! Messages follow each other without any separator that could be relied on. As in QEMU, strings may be in single quotes.

/// Longest message in bytes.
pub const LONGEST: usize = 1 << 20;

/// Something that a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text that may be JSON; strings are in double quotes.
    Text(Vec<u8>),
    /// A message that was too long. The rest of its line is dropped.
    TooLong,
}

/// Collects bytes to texts.
#[derive(Debug, Default)]
pub struct Framing {
    text: Vec<u8>,
    /// What closes the objects and lists that are open.
    closers: Vec<u8>,
    /// The quote that closes the string that is open.
    quote: Option<u8>,
    /// The last byte of a string was a backslash.
    escaped: bool,
    /// Everything up to the end of the line is dropped.
    skipping: bool,
}

impl Framing {
    /// Takes a byte; returns a frame if it is complete with it.
    pub fn byte(&mut self, byte: u8) -> Option<Frame> {
        if self.skipping {
            self.skipping = byte != b'\n';
            return None;
        }
        // A quotation mark in a string of apostrophes becomes two bytes.
        if self.text.len() >= LONGEST {
            *self = Self { skipping: byte != b'\n', ..Self::default() };
            return Some(Frame::TooLong);
        }
        if let Some(quote) = self.quote {
            return self.in_string(byte, quote);
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                // A lone word or number ends here.
                return if self.closers.is_empty() { self.finish() } else { self.push(byte) };
            }
            b'"' | b'\'' => {
                self.quote = Some(byte);
                self.text.push(b'"');
            }
            b'{' => self.open(byte, b'}'),
            b'[' => self.open(byte, b']'),
            b'}' | b']' => {
                self.text.push(byte);
                // What is closed without being open, or by another bracket, can only be a mistake.
                if self.closers.pop() != Some(byte) || self.closers.is_empty() {
                    return self.finish();
                }
            }
            _ => self.text.push(byte),
        }
        None
    }

    fn push(&mut self, byte: u8) -> Option<Frame> {
        self.text.push(byte);
        None
    }

    fn open(&mut self, byte: u8, closer: u8) {
        self.text.push(byte);
        self.closers.push(closer);
    }

    fn in_string(&mut self, byte: u8, quote: u8) -> Option<Frame> {
        match (std::mem::take(&mut self.escaped), byte) {
            // A string ends with its line at the latest, and with it the message: the parser will say what is wrong, and the
            // next line is a new start.
            (_, b'\n') => {
                self.text.push(byte);
                self.quote = None;
                return self.finish();
            }
            // JSON knows no escaped single quote.
            (true, b'\'') => {
                self.text.pop();
                self.text.push(byte);
            }
            (true, _) => self.text.push(byte),
            (false, b'\\') => {
                self.escaped = true;
                self.text.push(byte);
            }
            (false, _) if byte == quote => {
                self.quote = None;
                self.text.push(b'"');
            }
            (false, b'"') => self.text.extend(b"\\\""),
            (false, _) => self.text.push(byte),
        }
        None
    }

    fn finish(&mut self) -> Option<Frame> {
        self.closers.clear();
        let text = std::mem::take(&mut self.text);
        (!text.is_empty()).then_some(Frame::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &str) -> Vec<String> {
        let mut framing = Framing::default();
        input
            .bytes()
            .filter_map(|byte| framing.byte(byte))
            .map(|frame| match frame {
                Frame::Text(text) => String::from_utf8(text).unwrap(),
                Frame::TooLong => "too long".into(),
            })
            .collect()
    }

    #[test]
    fn texts_need_no_separator() {
        assert_eq!(texts(r#"{"a":1}{"b":[{}]} 5 true"#), [r#"{"a":1}"#, r#"{"b":[{}]}"#, "5"]);
        assert_eq!(texts("{\"a\":\n 1}\n\n"), ["{\"a\":\n 1}"]);
        assert_eq!(texts("}"), ["}"]);
        assert_eq!(texts("{]"), ["{]"]);
    }

    #[test]
    fn brackets_in_strings_do_not_count_and_quotes_may_be_single() {
        assert_eq!(texts(r#"{"}\"":"]"}"#), [r#"{"}\"":"]"}"#]);
        assert_eq!(texts(r"{'it\'s': '\\'}"), [r#"{"it's": "\\"}"#]);
        assert_eq!(texts(r#"{'a': 'say "x"'}"#), [r#"{"a": "say \"x\""}"#]);
    }

    #[test]
    fn a_line_ends_a_string_and_its_message() {
        let next = "{\"b\":1}";
        for broken in ["{\"a\":\"x}", "{\"a\":[{'x]}]}", "\"x", "{\"a\":\"x\\", "'\"\\'"] {
            let found = texts(&format!("{broken}\n{next}{next}"));
            assert_eq!((found.len(), &found[1..]), (3, &[next.to_owned(), next.to_owned()][..]), "{broken}");
        }
    }

    #[test]
    fn a_message_has_a_limit_and_the_next_line_is_a_new_start() {
        let long = format!("[{}\n{{}}", "1,".repeat(LONGEST));
        assert_eq!(texts(&long), ["too long", "{}"]);
        let long = format!("\"{}\n{{}}", "x".repeat(LONGEST * 2));
        assert_eq!(texts(&long), ["too long", "{}"]);
        // The quotation mark, two bytes in JSON, steps over the limit.
        let long = format!("'{}\"{}\n{{}}", "x".repeat(LONGEST - 2), "x".repeat(LONGEST));
        assert_eq!(texts(&long), ["too long", "{}"]);
    }
}
