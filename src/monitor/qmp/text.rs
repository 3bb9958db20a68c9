//! JSON with the spaces that QEMU puts behind commas and colons, which scripts that look for a text rely on.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// A message in one line, without its end.
pub fn line(message: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    // Nothing can fail: a value is always JSON, and memory takes it.
    let _ = message.serialize(&mut Serializer::with_formatter(&mut text, Spaced));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spaces_are_qemus() {
        let message = json!({ "return": { "list": [1, "a,b:c", {}], "x": null } });
        assert_eq!(line(&message), br#"{"return": {"list": [1, "a,b:c", {}], "x": null}}"#);
    }
}
