//! The words are those of QEMU 7.2 to the same messages.

use std::sync::Mutex;

use devices::backend::char::MemoryChar;
use devices::base::lock;

use super::*;
use crate::config::{DeviceProperty, DeviceType};
use crate::monitor::qom::Qom;
use crate::monitor::{Cause, Command, Cpu, Medium, View};

struct Machine {
    requests: Mutex<Vec<Command>>,
    chardevs: Vec<(String, String)>,
    qom: Qom,
    devices: Vec<DeviceType>,
}

impl Control for Machine {
    fn request(&self, command: Command) {
        lock(&self.requests).push(command);
    }

    fn status(&self) -> &'static str {
        "running"
    }

    fn name(&self) -> Option<&str> {
        Some("guest")
    }

    fn uuid(&self) -> String {
        "550e8400-e29b-41d4-a716-446655440000".into()
    }

    fn cpus(&self) -> u32 {
        1
    }

    fn cpu_list(&self) -> Vec<Cpu> {
        vec![Cpu { thread_id: 7, socket: 0, core: 0, thread: 0 }]
    }

    fn view(&self, view: View) -> anyhow::Result<String> {
        Ok(format!("{view:?}\n"))
    }

    fn change_medium(&self, drive: &str, medium: Option<Medium>) -> anyhow::Result<()> {
        match drive {
            "floppy0" => Ok(()),
            other => anyhow::bail!("Device '{other}' not found{}", if medium.is_some() { "!" } else { "" }),
        }
    }

    fn set_boot_order(&self, _order: &str) -> anyhow::Result<()> {
        Ok(())
    }

    fn move_mouse(&self, right: i32, down: i32, wheel: i32) -> anyhow::Result<()> {
        anyhow::bail!("moved by {right} {down} {wheel}")
    }

    fn press_buttons(&self, buttons: u8) -> anyhow::Result<()> {
        anyhow::bail!("pressed {buttons}")
    }

    fn uses_kvm(&self) -> bool {
        false
    }

    fn memory_size(&self) -> u64 {
        1 << 20
    }

    fn qom(&self) -> &Qom {
        &self.qom
    }

    fn device_types(&self) -> &[DeviceType] {
        &self.devices
    }

    fn chardevs(&self) -> &[(String, String)] {
        &self.chardevs
    }

    fn read_ringbuf(&self, id: &str, _count: usize) -> Option<Vec<u8>> {
        (id == "ring").then(|| b"abc".to_vec())
    }
}

struct Fixture {
    host: MemoryChar,
    machine: Arc<Machine>,
    monitor: QmpMonitor,
}

impl Fixture {
    /// A client that has seen the greeting.
    fn new() -> Self {
        let mut qom = Qom::default();
        qom.add("/machine", "pc-i440fx-7.2-machine", []);
        qom.add("/machine/i440fx/ioapic", "ioapic", []);
        let property = DeviceProperty { name: "iobase", kind: "uint32", description: "its first port" };
        let devices = vec![DeviceType { name: "isa-debug-exit", properties: vec![property] }];
        let chardevs = vec![("serial0".into(), "null".into())];
        let machine = Arc::new(Machine { requests: Mutex::default(), chardevs, qom, devices });
        let host = MemoryChar::default();
        let mut monitor = QmpMonitor::new(Box::new(host.clone()), machine.clone(), false);
        CharClient::event(&mut monitor, CharEvent::Opened);
        let fixture = Self { host, machine, monitor };
        let greeting: Value = serde_json::from_str(&fixture.output()).unwrap();
        assert_eq!(greeting["QMP"]["version"]["qemu"], json!({ "major": 7, "minor": 2, "micro": 0 }));
        assert_eq!(greeting["QMP"]["capabilities"], json!([]));
        fixture
    }

    /// A client that has done the handshake.
    fn ready() -> Self {
        let mut fixture = Self::new();
        assert_eq!(fixture.ask(r#"{"execute":"qmp_capabilities"}"#), json!({ "return": {} }));
        fixture
    }

    fn output(&self) -> String {
        String::from_utf8(self.host.take_output()).unwrap()
    }

    fn ask(&mut self, text: &str) -> Value {
        self.monitor.receive(format!("{text}\n").as_bytes());
        let output = self.output();
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{text}: {output:?}: {error}"))
    }

    fn returned(&mut self, command: &str) -> Value {
        let answer = self.ask(&format!(r#"{{"execute":"{command}"}}"#));
        answer.get("return").unwrap_or_else(|| panic!("{command}: {answer}")).clone()
    }
}

fn error(class: &str, description: &str) -> Value {
    json!({ "error": { "class": class, "desc": description } })
}

fn generic(description: &str) -> Value {
    error("GenericError", description)
}

#[test]
fn the_handshake_comes_first_and_once() {
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.ask(r#"{"execute":"query-status"}"#),
        error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'")
    );
    assert_eq!(
        fixture.ask(r#"{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}"#),
        generic("QMP capability oob not available")
    );
    assert_eq!(
        fixture.ask(r#"{"execute":"qmp_capabilities","arguments":{"foo":1}}"#),
        generic("Parameter 'foo' is unexpected")
    );
    assert_eq!(fixture.ask(r#"{"execute":"qmp_capabilities","id":[1]}"#), json!({ "return": {}, "id": [1] }));
    assert_eq!(
        fixture.ask(r#"{"execute":"qmp_capabilities"}"#),
        error("CommandNotFound", "Capabilities negotiation is already complete, command ignored")
    );
}

#[test]
fn what_is_no_request_is_refused_as_qemu_does() {
    let mut fixture = Fixture::ready();
    for (text, description) in [
        (r#"{"execute":5}"#, "QMP input member 'execute' must be a string"),
        (r#"{"exec":"foo"}"#, "QMP input member 'exec' is unexpected"),
        ("{}", "QMP input lacks member 'execute'"),
        ("[1]", "QMP input must be a JSON object"),
        ("5", "QMP input must be a JSON object"),
        (r#""a""#, "QMP input must be a JSON object"),
        (r#"{"execute":"query-status","foo":1}"#, "QMP input member 'foo' is unexpected"),
        (r#"{"execute":"query-status","arguments":5}"#, "QMP input member 'arguments' must be an object"),
        (r#"{"execute":"query-status","arguments":{"x":5}}"#, "Parameter 'x' is unexpected"),
        (r#"{"execute":"qom-list"}"#, "Parameter 'path' is missing"),
        (r#"{"execute":"qom-list","arguments":{"path":5}}"#, "Invalid parameter type for 'path', expected: string"),
        (r#"{"execute":"qom-list","arguments":{"path":"/machine","x":1}}"#, "Parameter 'x' is unexpected"),
        (
            r#"{"execute":"qom-get","arguments":{"path":"/machine","property":"nope"}}"#,
            "Property 'pc-i440fx-7.2-machine.nope' not found",
        ),
        (
            r#"{"execute":"device-list-properties","arguments":{"typename":"device"}}"#,
            "Parameter 'typename' expects a non-abstract device type",
        ),
        ("}", "JSON parse error, expecting value"),
        ("nope", "JSON parse error, invalid keyword 'nope'"),
    ] {
        assert_eq!(fixture.ask(text), generic(description), "{text}");
    }
    assert_eq!(fixture.ask(r#"{"execute":"foo"}"#), error("CommandNotFound", "The command foo has not been found"));
    for path in [r#"qom-list","arguments":{"path":"/nope"}"#, r#"qom-get","arguments":{"path":"/nope","property":"x"}"#]
    {
        assert_eq!(
            fixture.ask(&format!(r#"{{"execute":"{path}}}"#)),
            error("DeviceNotFound", "Device '/nope' not found")
        );
    }
    assert_eq!(
        fixture.ask(r#"{"execute":"query-status","id":"x","foo":1}"#)["id"],
        json!("x"),
        "an error has the id of its request"
    );
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    assert_eq!(fixture.ask(&deep)["error"]["class"], "GenericError");
    // And the client is still served.
    assert_eq!(fixture.returned("query-name"), json!({ "name": "guest" }));
}

#[test]
fn questions_are_answered() {
    let mut fixture = Fixture::ready();
    assert_eq!(fixture.returned("query-status"), json!({ "status": "running", "singlestep": false, "running": true }));
    assert_eq!(fixture.returned("query-kvm"), json!({ "enabled": false, "present": true }));
    assert_eq!(fixture.returned("query-uuid"), json!({ "UUID": "550e8400-e29b-41d4-a716-446655440000" }));
    assert_eq!(fixture.returned("query-cpus-fast")[0]["qom-path"], "/machine/unattached/device[0]");
    assert_eq!(fixture.returned("query-machines")[0]["alias"], "pc");
    assert_eq!(fixture.returned("query-chardev")[0]["label"], "serial0");
    let commands = fixture.returned("query-commands");
    assert!(commands.as_array().unwrap().contains(&json!({ "name": "qom-list" })));
    let ask = |fixture: &mut Fixture, text: &str| fixture.ask(text)["return"].clone();
    assert_eq!(
        ask(&mut fixture, r#"{"execute":"qom-get","arguments":{"path":"ioapic","property":"type"}}"#),
        json!("ioapic")
    );
    assert_eq!(
        ask(&mut fixture, r#"{"execute":"qom-list-types","arguments":{"implements":"isa-device"}}"#),
        json!([{ "name": "isa-debug-exit", "parent": "isa-device" }])
    );
    assert_eq!(
        ask(&mut fixture, r#"{"execute":"device-list-properties","arguments":{"typename":"isa-debug-exit"}}"#),
        json!([{ "name": "iobase", "type": "uint32", "description": "its first port" }])
    );
    assert_eq!(
        ask(&mut fixture, r#"{"execute":"human-monitor-command","arguments":{"command-line":"info status"}}"#),
        json!("VM status: running\r\n")
    );
    assert_eq!(
        ask(&mut fixture, r#"{"execute":"ringbuf-read","arguments":{"device":"ring","size":9,"format":"base64"}}"#),
        json!("YWJj")
    );
}

#[test]
fn every_command_of_the_table_answers() {
    let mut fixture = Fixture::ready();
    for name in fixture.returned("query-commands").as_array().unwrap() {
        let name = name["name"].as_str().unwrap();
        fixture.monitor.receive(format!(r#"{{"execute":"{name}"}}"#).as_bytes());
        fixture.monitor.settle();
        assert!(serde_json::from_str::<Value>(&fixture.output()).is_ok(), "{name}");
    }
    let requests = lock(&fixture.machine.requests).clone();
    assert_eq!(
        requests,
        [Command::Continue, Command::Quit, Command::Stop, Command::PowerButton, Command::Reset, Command::Wakeup],
        "in the order of the table"
    );
}

#[test]
fn a_request_is_answered_when_it_has_happened_and_after_its_event() {
    let mut fixture = Fixture::ready();
    fixture.monitor.receive(br#"{"execute":"system_reset","id":1}{"execute":"query-status","id":2}"#);
    assert_eq!((fixture.output().as_str(), fixture.monitor.can_receive()), ("", 0));
    assert_eq!(*lock(&fixture.machine.requests), [Command::Reset]);
    fixture.monitor.event(Event::Reset(Cause::MonitorReset));
    fixture.monitor.settle();
    let output = fixture.output();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["event"], &lines[0]["data"]["guest"]), (&json!("RESET"), &json!(false)));
    assert!(lines[0]["timestamp"]["seconds"].is_u64() && lines[0]["timestamp"]["microseconds"].is_u64());
    assert_eq!((&lines[1]["id"], &lines[2]["id"]), (&json!(1), &json!(2)));
}

#[test]
fn events_are_for_those_who_have_done_the_handshake() {
    let mut fixture = Fixture::new();
    fixture.monitor.event(Event::Stop);
    assert_eq!(fixture.output(), "");
    fixture.returned("qmp_capabilities");
    fixture.monitor.event(Event::Shutdown(Cause::GuestShutdown));
    let event: Value = serde_json::from_str(&fixture.output()).unwrap();
    assert_eq!(event["data"], json!({ "guest": true, "reason": "guest-shutdown" }));
    // The next client starts afresh.
    CharClient::event(&mut fixture.monitor, CharEvent::Closed);
    CharClient::event(&mut fixture.monitor, CharEvent::Opened);
    assert!(fixture.output().contains("QMP"));
    fixture.monitor.event(Event::Stop);
    assert_eq!(fixture.output(), "");
}

#[test]
fn a_client_that_does_not_read_costs_a_bounded_amount_of_memory() {
    let mut fixture = Fixture::ready();
    fixture.host.set_room(Some(0));
    for _ in 0..100_000 {
        fixture.monitor.event(Event::Resume);
    }
    assert!(fixture.monitor.connection.backlog() < BACKLOG + 1000);
    assert_eq!(fixture.monitor.can_receive(), 0);
    fixture.host.set_room(None);
    CharClient::event(&mut fixture.monitor, CharEvent::Writable);
    assert_eq!(fixture.monitor.connection.backlog(), 0);
}

#[test]
fn a_message_that_is_too_long_is_refused_and_the_next_is_served() {
    let mut fixture = Fixture::ready();
    let long = format!("{{\"execute\":\"{}\n", "x".repeat(framing::LONGEST));
    for piece in long.as_bytes().chunks(INPUT) {
        fixture.monitor.receive(piece);
    }
    assert!(fixture.output().contains("size limit exceeded"));
    assert_eq!(fixture.returned("query-name"), json!({ "name": "guest" }));
}
