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
    /// The processor through which memory and registers are seen.
    cpu: u32,
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
            cpu: 0,
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
            match commands::execute(&line, &*self.machine, &mut self.cpu) {
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
    use crate::config::WatchdogAction;
    use crate::monitor::double::Machine;
    use crate::monitor::{ActionChanges, Command};
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
        assert!(fixture.ask("ringbuf_read ring -1").contains("give a number of bytes"));
        assert!(fixture.ask("ringbuf_read other 1").contains("no ring buffer 'other'"));
    }

    #[test]
    fn the_hardware_can_be_looked_into() {
        let mut fixture = Fixture::new();
        for (command, answer) in [
            ("info qtree", "Devices\n"),
            ("info mtree", "Memory\n"),
            ("info roms", "Roms\n"),
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
            ("xp", "Error: unexpected end of expression\n"),
            (
                "x/2i $eip",
                "Dump(Dump { address: 65520, count: 2, size: 4, format: Instructions, processor: Some(0) })\n",
            ),
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
                "floppy0 Eject",
                "floppy0 Eject by force",
                r#"floppy0 Insert(Medium { path: "a.img", format: None, writing: Retain })"#,
                r#"floppy0 Insert(Medium { path: "a.img", format: Some("raw"), writing: Forbidden }) by force"#,
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

    /// The words of QEMU 7.2, where it has the same to say.
    #[test]
    fn the_machine_is_described() {
        let mut fixture = Fixture::new();
        for (command, answer) in [
            ("info memory_size_summary", "base memory: 1048576\nplugged memory: 0\n"),
            (
                "info memdev",
                "memory backend: pc.ram\n  size:  1048576\n  merge: true\n  dump: true\n  prealloc: false\n  share: false\n  \
                 reserve: true\n  policy: default\n  host nodes: \n\n",
            ),
            (
                "info numa",
                "2 nodes\nnode 0 cpus: 0\nnode 0 size: 0 MB\nnode 0 plugged: 0 MB\nnode 1 cpus: 1\nnode 1 size: 0 MB\nnode \
                 1 plugged: 0 MB\n",
            ),
            (
                "info block",
                "floppy0: [not inserted]\n    Attached to:      /machine/unattached/device[9]\n    Removable device: not \
                 locked, tray closed\n\na: [not inserted]\n    Attached to:      floppy\n    Removable \
                 device: not locked, tray closed\n\nide1-cd0: [not inserted]\n    Attached to:      cd\n    \
                 Removable device: not locked, tray closed\n",
            ),
            ("info hotpluggable-cpus", "Error: machine does not support hot-plugging CPUs\n"),
            ("info balloon", "Error: No balloon device has been activated\n"),
            ("info tlb", "Error: natoma does not walk page tables: use gva2gpa for an address\n"),
            ("info qom-tree", "/machine (pc-i440fx-7.2-machine)\n  /i440fx (container)\n    /ioapic (ioapic)\n"),
            ("info qom-tree ioapic", "/ioapic (ioapic)\n"),
            ("info qom-tree nope", "Error: Device 'nope' not found\n"),
            ("qom-list", "type (string)\nmachine (child<pc-i440fx-7.2-machine>)\n"),
            ("qom-get /machine type", "\"pc-i440fx-7.2-machine\"\n"),
            ("qom-get /machine nope", "Error: Property 'pc-i440fx-7.2-machine.nope' not found\n"),
            ("qom-set /machine type 3", "Error: Property 'pc-i440fx-7.2-machine.type' is not writable\n"),
            ("help info status", "info status               whether the machine runs\n"),
            ("help sum", "sum ADDRESS SIZE             calculate the BSD checksum of physical memory\n"),
            ("wavcapture a", "Error: wavcapture: natoma has no sound yet\n"),
            ("eject \"floppy0", "Error: unterminated string\n"),
        ] {
            assert_eq!(fixture.ask(command), answer, "{command}");
        }
        let pci = fixture.ask("info pci");
        assert!(pci.starts_with("  Bus  0, device   2, function 0:\n    PCI bridge: PCI device 1b36:0001\n"), "{pci}");
        let card = "  Bus  1, device   3, function 0:\n    Serial port: PCI device 1b36:0002\n      PCI subsystem 1af4:1100\n      \
                    IRQ 11, pin A\n      BAR0: I/O at 0xc000 [0xc007].\n      id \"card\"\n";
        assert!(pci.ends_with(card), "{pci}");
    }

    #[test]
    fn memory_ports_and_numbers_are_read_and_written() {
        let mut fixture = Fixture::new();
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (command, answer) in [
            ("print 0x10+3*(2)", "0x16\n"),
            ("p/c 65", "'A'\n"),
            ("p/o 8", "010\n"),
            ("p/d -1", "-1\n"),
            ("p/u -1", "18446744073709551615\n"),
            ("p $eip", "0xfff0\n"),
            ("p $zz", "Error: unknown register: 'zz'\n"),
            ("i /b 0x64", "portb[0x0064] = 0x64\n"),
            ("i/xh 0x64", "portw[0x0064] = 0x6464\n"),
            ("i 0x64", "portl[0x0064] = 0x64646464\n"),
            ("i/g 0x64", "Error: ports have 1, 2 or 4 bytes (b, h, w), not 8\n"),
            ("i/b 0x70.0xb", "portb[0x0071] = 0x71\n"),
            ("o/b 0x80 5", ""),
            ("o/h 0x80 0x1234", ""),
            ("sum 0 2", "00001\n"),
            // 3; turned right by a bit, 8001h, and 4; that turned right, C002h, and 5.
            ("sum 3 3", "49159\n"),
            ("sum 0x7fff 2", "Error: there is no memory at 0x7fff with 2 bytes: it ends at 0x8000\n"),
            ("gva2gpa 0x1000", "gpa: 0x101000\n"),
            ("gva2gpa 0x10000", "Unmapped\n"),
            (&format!("pmemsave 0x10 4 {path}"), ""),
            (&format!("memsave 0x7ffe 4 {path}.none"), "Error: Invalid addr 0x0000000000007ffe/size 4 specified\n"),
            (
                "pmemsave 0 1 /nonexistent/file",
                "Error: Could not open '/nonexistent/file': No such file or directory (os error 2)\n",
            ),
            ("cpu 2", "Error: invalid CPU index\n"),
            ("cpu 1", ""),
            ("p $eip", "0xfff1\n"),
            ("info cpus", "  CPU #0: thread_id=7\n* CPU #1: thread_id=8\n"),
            ("info lapic", "LocalApic(1)\n"),
            ("x/1xb 0", "Dump(Dump { address: 0, count: 1, size: 1, format: Hex, processor: Some(1) })\n"),
            ("chardev-send-break serial0", ""),
            ("chardev-send-break zz", "Error: Chardev 'zz' not found\n"),
        ] {
            assert_eq!(fixture.ask(command), answer, "{command}");
        }
        assert_eq!(std::fs::read(path).unwrap(), [0x10, 0x11, 0x12, 0x13]);
        assert_eq!(fixture.machine.done(), ["port 0x70 [b]", "port 0x80 [5]", "port 0x80 [34, 12]", "break"]);
        std::fs::remove_file(format!("{path}.none")).unwrap();
    }

    #[test]
    fn requests_that_can_not_be_met_are_refused() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.ask("system_wakeup"), "Error: Unable to wake up: guest is not in suspended state\n");
        *lock(&fixture.machine.status) = "shutdown";
        assert_eq!(fixture.ask("c"), "Error: Resetting the Virtual Machine is required\n");
        assert_eq!(fixture.ask("watchdog_action foo"), "Error: invalid parameter value: foo\n");
        assert_eq!(fixture.ask("stop now"), "Error: stop takes no arguments\n");
        assert!(lock(&fixture.machine.requests).is_empty());
        fixture.monitor.receive(b"watchdog_action inject-nmi\n");
        let changes = ActionChanges { watchdog: Some(WatchdogAction::InjectNmi), ..ActionChanges::default() };
        assert_eq!(*lock(&fixture.machine.requests), [Command::SetActions(changes)]);
    }

    #[test]
    fn unknown_words_meet_the_closest_known_one() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.ask("qiut"), "unknown command: 'qiut'; did you mean 'quit'?\n");
        assert_eq!(fixture.ask("info stauts"), "unknown item: 'stauts'; did you mean 'status'?\n");
        assert_eq!(fixture.ask("xyzzy"), "unknown command: 'xyzzy'\n");
        assert_eq!(fixture.ask("stop now"), "Error: stop takes no arguments\n");
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
