//! The human monitor: a prompt at which a person types commands.
//!
//! The prompt and the names of commands are QEMU's, which scripts rely on. A command that changes the machine is
//! answered when the change has happened: until then nothing that was typed behind it is looked at.

use std::sync::Arc;

use devices::backend::char::{CharBackend, CharClient, CharEvent};

use super::Control;
use super::commands::{self, Outcome};
use super::connection::Connection;
use super::editor::Editor;

const PROMPT: &[u8] = b"(qemu) ";
/// Input that is taken before it is looked at.
const INPUT: usize = 1024;

/// One human monitor.
pub struct HumanMonitor {
    connection: Connection,
    editor: Editor,
    machine: Arc<dyn Control>,
    /// It shares its character device: whoever opens it comes back to the same monitor.
    shared: bool,
    greeted: bool,
    /// A command waits for the machine.
    busy: bool,
}

impl HumanMonitor {
    /// A monitor of `machine` that writes to `output`; `shared` if that is a multiplexer.
    #[must_use]
    pub fn new(output: Box<dyn CharBackend>, machine: Arc<dyn Control>, shared: bool) -> Self {
        Self {
            connection: Connection::new(output, INPUT),
            editor: Editor::default(),
            machine,
            shared,
            greeted: false,
            busy: false,
        }
    }

    /// The main loop has seen to all requests.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.busy) {
            self.say(PROMPT);
            self.advance();
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.connection.send(bytes);
    }

    /// Looks at what was typed as far as possible.
    fn advance(&mut self) {
        while !self.busy
            && let Some(byte) = self.connection.next_byte()
        {
            let mut echo = Vec::new();
            let line = self.editor.key(byte, &mut echo);
            self.say(&echo);
            let Some(line) = line else { continue };
            match commands::execute(&line, &*self.machine) {
                Outcome::Text(text) => {
                    self.say(text.replace('\n', "\r\n").as_bytes());
                    self.say(PROMPT);
                }
                Outcome::Requested => self.busy = true,
            }
        }
        self.connection.ask_for_input(self.busy);
    }

    /// Somebody is there: the first time for them, or again.
    fn greet(&mut self) {
        if !self.shared || !self.greeted {
            self.greeted = true;
            self.say(
                format!("natoma {} monitor - type 'help' for more information\r\n", env!("CARGO_PKG_VERSION"))
                    .as_bytes(),
            );
        }
        self.say(PROMPT);
        let line = self.editor.line().to_vec();
        self.say(&line);
    }
}

impl CharClient for HumanMonitor {
    fn can_receive(&self) -> usize {
        self.connection.can_receive(self.busy)
    }

    fn receive(&mut self, data: &[u8]) {
        self.connection.receive(data);
        self.advance();
    }

    fn event(&mut self, event: CharEvent) {
        match event {
            CharEvent::Opened => self.greet(),
            CharEvent::Closed if !self.shared => {
                // The next one starts afresh.
                self.editor = Editor::default();
                self.connection.clear();
            }
            CharEvent::Writable => {
                self.connection.flush();
                self.advance();
            }
            CharEvent::Closed | CharEvent::Break | CharEvent::ModemInputs(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Command;
    use crate::monitor::double::Machine;
    use devices::backend::char::MemoryChar;
    use devices::base::lock;

    struct Fixture {
        host: MemoryChar,
        machine: Arc<Machine>,
        monitor: HumanMonitor,
    }

    impl Fixture {
        fn new() -> Self {
            let host = MemoryChar::default();
            let machine = Arc::new(Machine::default());
            let monitor = HumanMonitor::new(Box::new(host.clone()), machine.clone(), false);
            Self { host, machine, monitor }
        }

        fn output(&self) -> String {
            String::from_utf8(self.host.take_output()).unwrap()
        }

        /// The answer to a command, without its echo and the prompt.
        fn ask(&mut self, command: &str) -> String {
            self.monitor.receive(format!("{command}\n").as_bytes());
            let output = self.output();
            let output = output.strip_prefix(&format!("{command}\r\n")).expect("an echo").to_owned();
            output.strip_suffix("(qemu) ").expect("a prompt").replace("\r\n", "\n")
        }
    }

    #[test]
    fn a_person_is_greeted_and_answered() {
        let mut fixture = Fixture::new();
        fixture.monitor.event(CharEvent::Opened);
        let greeting = fixture.output();
        assert!(greeting.contains("monitor") && greeting.ends_with("\r\n(qemu) "), "{greeting:?}");
        assert_eq!(fixture.ask("info status"), "VM status: running\n");
        *lock(&fixture.machine.status) = "prelaunch";
        assert_eq!(fixture.ask("info status"), "VM status: paused (prelaunch)\n");
        assert_eq!(fixture.ask("info name"), "guest\n");
        assert_eq!(fixture.ask("info chardev"), "serial0: filename=null\n");
        assert_eq!(fixture.ask("info kvm"), "kvm support: disabled\n");
        assert_eq!(fixture.ask("ringbuf_read ring 6"), "newest\n");
        assert_eq!(fixture.ask(""), "");
        assert!(fixture.ask("help").contains("system_powerdown"));
        assert!(fixture.ask("ringbuf_read ring -1").contains("no number"));
        assert!(fixture.ask("ringbuf_read other 1").contains("no ring buffer 'other'"));
    }

    #[test]
    fn the_hardware_can_be_looked_into() {
        let mut fixture = Fixture::new();
        for (command, answer) in [
            ("info pci", "Pci\n"),
            ("info qtree", "Devices\n"),
            ("info mtree", "Memory\n"),
            ("info roms", "Roms\n"),
            ("info block", "Media\n"),
            ("info irq", "InterruptCounts\n"),
            ("info pic", "InterruptControllers\n"),
            ("info lapic", "LocalApic(0)\n"),
            ("info lapic 1", "LocalApic(1)\n"),
            ("info registers", "\nCPU#0\nRegisters(0)\n"),
            ("info registers 1", "\nCPU#1\nRegisters(1)\n"),
            ("info registers -a", "\nCPU#0\nRegisters(0)\n\nCPU#1\nRegisters(1)\n"),
            ("info registers x", "Error: 'x' is no number of a CPU: invalid digit found in string\n"),
            ("xp/2xb 16", "Dump(Dump { address: 16, count: 2, size: 1, format: Hex, processor: None })\n"),
            ("x /2dg 0x10", "Dump(Dump { address: 16, count: 2, size: 8, format: Signed, processor: Some(0) })\n"),
            ("xp", "Error: give an address\n"),
        ] {
            assert_eq!(fixture.ask(command), answer, "{command}");
        }
    }

    #[test]
    fn media_boot_order_and_mouse_are_changed_by_hand() {
        let mut fixture = Fixture::new();
        for (command, answer) in [
            ("eject floppy0", ""),
            ("eject -f floppy0", ""),
            ("eject cd", "Error: Device 'cd' not found\n"),
            ("change floppy0 a.img", ""),
            ("change -f floppy0 a.img raw read-only", ""),
            ("change cd a.img", "Error: Device 'cd' not found\n"),
            ("boot_set dan", "boot device list now set to dan\n"),
            ("mouse_move 3 -4", ""),
            ("mouse_move 0 0 1", ""),
            ("mouse_button 5", ""),
            ("mouse_button 8", "Error: '8' is no state of three buttons\n"),
            ("mouse_set 2", ""),
            ("info mice", "  Mouse #2: one\n* Mouse #3: two (absolute)\n"),
            ("sendkey ctrl-alt-delete", ""),
            ("sendkey a 100", ""),
            ("sendkey foo-a", "Error: invalid parameter: foo\n"),
        ] {
            assert_eq!(fixture.ask(command), answer, "{command}");
        }
        assert_eq!(
            fixture.machine.done(),
            [
                "None",
                "None",
                r#"Some(Medium { path: "a.img", raw: false, writing: Retain })"#,
                r#"Some(Medium { path: "a.img", raw: true, writing: Forbidden })"#,
                "boot order dan",
                "[Move(X, 3), Move(Y, -4)]",
                "[Move(X, 0), Move(Y, 0), Wheel { down: -1, right: 0 }]",
                "[Button(Left, true), Button(Middle, false), Button(Right, true)]",
                "mouse 2",
                "[CtrlLeft, AltLeft, Delete] 10ms",
                "[A] 100ms",
            ]
        );
        *lock(&fixture.machine.status) = "paused";
        assert_eq!(fixture.ask("sendkey a"), "Error: VM not running\n");
        for incomplete in [
            "eject",
            "change floppy0",
            "boot_set",
            "mouse_move 1",
            "mouse_button",
            "mouse_move a b",
            "mouse_set",
            "sendkey",
        ] {
            assert!(!fixture.ask(incomplete).is_empty(), "{incomplete}");
        }
        fixture.monitor.receive(b"nmi\n");
        assert_eq!(*lock(&fixture.machine.requests), [Command::Nmi]);
    }

    #[test]
    fn unknown_words_meet_the_closest_known_one() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.ask("qiut"), "unknown command: 'qiut'; did you mean 'quit'?\n");
        assert_eq!(fixture.ask("info stauts"), "unknown item: 'stauts'; did you mean 'status'?\n");
        assert_eq!(fixture.ask("xyzzy"), "unknown command: 'xyzzy'\n");
        assert_eq!(fixture.ask("stop now"), "stop: takes no arguments\n");
    }

    #[test]
    fn what_follows_a_request_waits_for_it() {
        let mut fixture = Fixture::new();
        fixture.monitor.receive(b"stop\ninfo status\n");
        assert_eq!(fixture.output(), "stop\r\n");
        assert_eq!(fixture.monitor.can_receive(), 0);
        assert_eq!(*lock(&fixture.machine.requests), [Command::Stop]);
        *lock(&fixture.machine.status) = "paused";
        fixture.monitor.settle();
        assert_eq!(fixture.output(), "(qemu) info status\r\nVM status: paused\r\n(qemu) ");
        assert!(fixture.monitor.can_receive() > 0 && fixture.host.times_wanted() > 0);
    }

    #[test]
    fn a_reader_that_stops_reading_stops_the_monitor() {
        let mut fixture = Fixture::new();
        fixture.host.set_room(Some(3));
        fixture.monitor.receive(b"help\nquit\n");
        assert_eq!(fixture.monitor.can_receive(), 0);
        assert!(lock(&fixture.machine.requests).is_empty());
        fixture.host.set_room(None);
        fixture.monitor.event(CharEvent::Writable);
        assert_eq!(*lock(&fixture.machine.requests), [Command::Quit]);
    }
}
