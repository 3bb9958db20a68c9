//! A line that is being typed: echo, corrections, and the lines before it.

use std::collections::VecDeque;

/// Longest line in bytes, as in QEMU; what goes beyond it is not taken.
const LONGEST: usize = 4095;
/// Lines that can be recalled.
const HISTORY: usize = 64;

/// Where in an escape sequence of the terminal the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// Behind ESC.
    Begun,
    /// Behind ESC [ or ESC O.
    Sequence,
}

/// The line.
#[derive(Default)]
pub(super) struct Editor {
    line: Vec<u8>,
    history: VecDeque<Vec<u8>>,
    /// How many lines back the one shown is; 0: the new one.
    recalled: usize,
    escape: Escape,
    /// A line feed that follows is part of the same end of line.
    returned: bool,
}

impl Editor {
    /// Takes a byte; what is to be shown is appended to `echo`. Returns the line when it is complete.
    pub fn key(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<String> {
        let returned = std::mem::take(&mut self.returned);
        match (self.escape, byte) {
            (Escape::None, b'\r' | b'\n') => {
                if returned && byte == b'\n' {
                    return None;
                }
                self.returned = byte == b'\r';
                echo.extend(b"\r\n");
                return Some(self.complete());
            }
            (Escape::None, 0x1b) => self.escape = Escape::Begun,
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Sequence,
            // Numbers and separators; the letter ends the sequence.
            (Escape::Sequence, 0x20..=0x3f) => {}
            (Escape::Sequence, letter) => {
                self.escape = Escape::None;
                match letter {
                    b'A' => self.recall(self.recalled + 1, echo),
                    b'B' => self.recall(self.recalled.saturating_sub(1), echo),
                    _ => {}
                }
            }
            (Escape::Begun, _) => self.escape = Escape::None,
            // Ctrl-P and Ctrl-N.
            (Escape::None, 0x10) => self.recall(self.recalled + 1, echo),
            (Escape::None, 0x0e) => self.recall(self.recalled.saturating_sub(1), echo),
            // Backspace and delete.
            (Escape::None, 0x08 | 0x7f) => self.erase(1, echo),
            // Ctrl-U.
            (Escape::None, 0x15) => self.erase(usize::MAX, echo),
            // Ctrl-W.
            (Escape::None, 0x17) => {
                let text = self.line.trim_ascii_end();
                let kept = text.iter().rposition(|byte| *byte == b' ').map_or(0, |space| space + 1);
                let kept = String::from_utf8_lossy(&self.line[kept..]).chars().count();
                self.erase(kept, echo);
            }
            (Escape::None, 0x20..) if self.line.len() < LONGEST => {
                self.line.push(byte);
                echo.push(byte);
            }
            (Escape::None, _) => {}
        }
        None
    }

    /// What has been typed of the line so far.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    fn complete(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line).into_owned();
        if !line.trim_ascii().is_empty() && self.history.front() != Some(&line) {
            self.history.truncate(HISTORY - 1);
            self.history.push_front(line);
        }
        self.recalled = 0;
        text
    }

    /// Removes the last `count` characters.
    fn erase(&mut self, count: usize, echo: &mut Vec<u8>) {
        for _ in 0..count {
            // The bytes of a character behind its first one are 10xxxxxx in UTF-8.
            while self.line.last().is_some_and(|byte| byte & 0xc0 == 0x80) {
                self.line.pop();
            }
            if self.line.pop().is_none() {
                return;
            }
            echo.extend(b"\x08 \x08");
        }
    }

    /// Shows the line `back` lines ago in place of this one.
    fn recall(&mut self, back: usize, echo: &mut Vec<u8>) {
        let line = match back.checked_sub(1) {
            None => Vec::new(),
            Some(index) => match self.history.get(index) {
                Some(line) => line.clone(),
                None => return,
            },
        };
        self.erase(usize::MAX, echo);
        echo.extend(&line);
        self.line = line;
        self.recalled = back;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(keys: &[u8]) -> (Vec<String>, String) {
        let (mut editor, mut echo) = (Editor::default(), Vec::new());
        let lines = keys.iter().filter_map(|key| editor.key(*key, &mut echo)).collect();
        (lines, String::from_utf8(echo).unwrap())
    }

    #[test]
    fn lines_end_with_any_end_of_line() {
        assert_eq!(lines(b"a\rb\nc\r\nd\n\n").0, ["a", "b", "c", "d", ""]);
    }

    #[test]
    fn corrections() {
        assert_eq!(lines(b"qut\x08it\r"), (vec!["quit".into()], "qut\x08 \x08it\r\n".into()));
        assert_eq!(lines(b"\x7fx\x7f\x7fy\r").0, ["y"]);
        assert_eq!(lines(b"abc\x15d\r").0, ["d"]);
        assert_eq!(lines(b"info  kvm \x17x\r").0, ["info  x"]);
        // One character of two bytes is one step back.
        assert_eq!(lines("\u{e9}t\u{e9}\x7f\x7f\x7fhi\r".as_bytes()).0, ["hi"]);
        assert_eq!(lines(&[b'x'; 5000]).1.len(), LONGEST);
    }

    #[test]
    fn lines_are_recalled() {
        assert_eq!(lines(b"one\rtwo\r\x1b[A\r").0, ["one", "two", "two"]);
        assert_eq!(lines(b"one\rtwo\r\x10\x10\x10\r").0, ["one", "two", "one"]);
        assert_eq!(lines(b"one\r\x1bOA\x1bOB\r").0, ["one", ""]);
        assert_eq!(lines(b"one\rtw\x10\x0eo\x1b[3~\x1b[Cx\r").0, ["one", "ox"]);
    }
}
