//! A client of QMP, for what is done to a machine while its guest runs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::guest::COMMAND_LIMIT;

pub struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Connects to a natoma that listens: one whose guest has started.
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(COMMAND_LIMIT)).unwrap();
        let mut qmp = Self(BufReader::new(stream));
        assert!(qmp.message()["QMP"].is_object());
        qmp.run("qmp_capabilities", &json!({}));
        qmp
    }

    fn message(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Runs a command and returns what it answers, whatever events come before that.
    fn call(&mut self, command: &str, arguments: &Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        self.0.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        loop {
            let message = self.message();
            if message.get("event").is_none() {
                return message;
            }
        }
    }

    /// Runs a command that has nothing to tell.
    pub fn run(&mut self, command: &str, arguments: &Value) {
        assert_eq!(self.call(command, arguments), json!({ "return": {} }), "{command} {arguments}");
    }
}
