//! The words are those of QEMU 7.2 to the same messages.

use devices::backend::char::MemoryChar;
use devices::base::lock;

use super::*;
use crate::config::{PanicAction, RebootAction, WatchdogAction};
use crate::monitor::double::Machine;
use crate::monitor::{ActionChanges, Cause, Command};

struct Fixture {
    host: MemoryChar,
    machine: Arc<Machine>,
    monitor: QmpMonitor,
}

impl Fixture {
    /// A client that has seen the greeting.
    fn new() -> Self {
        let machine = Arc::new(Machine::default());
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
        json!("bmV3ZXN0IG91")
    );
}

/// The forms are those of QEMU's answers (docs/interop/qemu-qmp-ref).
#[test]
fn those_who_look_for_abilities_find_them() {
    let mut fixture = Fixture::ready();
    let schema = fixture.returned("query-qmp-schema");
    let find = |name: &str| schema.as_array().unwrap().iter().find(|entity| entity["name"] == name).unwrap();
    for command in fixture.returned("query-commands").as_array().unwrap() {
        assert_eq!(find(command["name"].as_str().unwrap())["meta-type"], "command");
    }
    assert_eq!(find("RESET")["meta-type"], "event");
    let members = &find(find("qom-get")["arg-type"].as_str().unwrap())["members"];
    assert_eq!(*members, json!([{ "name": "path", "type": "str" }, { "name": "property", "type": "str" }]));

    let options = json!([{
        "option": "machine",
        "parameters": [{ "name": "iobase", "type": "number", "help": "its first port" }],
    }]);
    assert_eq!(fixture.returned("query-command-line-options"), options);
    let ask = |fixture: &mut Fixture, option: &str| {
        fixture.ask(&format!(r#"{{"execute":"query-command-line-options","arguments":{{"option":"{option}"}}}}"#))
    };
    assert_eq!(ask(&mut fixture, "machine")["return"], options);
    assert_eq!(ask(&mut fixture, "none"), generic("invalid option name: none"));

    let models = fixture.returned("query-cpu-definitions");
    assert_eq!(
        models[1],
        json!({
            "name": "qemu64", "typename": "qemu64-x86_64-cpu", "static": false, "migration-safe": true,
            "deprecated": false, "unavailable-features": ["svm"], "alias-of": "qemu64-v1",
        })
    );
    assert_eq!(models[0]["migration-safe"], false);
    let mut expand = |model: &str| {
        fixture.ask(&format!(
            r#"{{"execute":"query-cpu-model-expansion","arguments":{{"type":"static","model":{model}}}}}"#
        ))
    };
    assert_eq!(
        expand(r#"{"name":"host","props":{"avx":false}}"#)["return"],
        json!({ "model": { "name": "host", "props": { "avx": false, "svm": false } } })
    );
    assert_eq!(expand(r#"{"name":"i386"}"#), generic("there is no CPU model 'i386'"));
    assert_eq!(expand("{}"), generic("Parameter 'model.name' is missing"));
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
    let nothing = Command::SetActions(ActionChanges::default());
    assert_eq!(
        requests,
        [Command::Continue, Command::Nmi, Command::Quit, nothing, Command::Stop, Command::PowerButton, Command::Reset],
        "in the order of the table; the machine does not sleep"
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
fn a_string_without_an_end_is_told_at_once_and_the_next_line_is_served() {
    let mut fixture = Fixture::ready();
    let answer = fixture.ask(r#"{"execute":"query-name}"#);
    assert!(answer["error"]["desc"].as_str().unwrap().starts_with("JSON parse error, "), "{answer}");
    assert_eq!(fixture.returned("query-name"), json!({ "name": "guest" }));
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

#[test]
fn keys_are_typed_as_combinations() {
    let mut fixture = Fixture::ready();
    let mut send = |arguments: &str| fixture.ask(&format!(r#"{{"execute":"send-key","arguments":{arguments}}}"#));
    let keys = r#"[{"type":"qcode","data":"ctrl"},{"type":"number","data":211}]"#;
    assert_eq!(send(&format!(r#"{{"keys":{keys}}}"#)), json!({ "return": {} }));
    assert_eq!(send(&format!(r#"{{"keys":{keys},"hold-time":100}}"#)), json!({ "return": {} }));
    for (arguments, description) in [
        ("{}", "Parameter 'keys' is missing"),
        (r#"{"keys":[5]}"#, "Invalid parameter type for 'keys[0]', expected: object"),
        (r#"{"keys":[{"type":"qcode","data":"foo"}]}"#, "Parameter 'data' does not accept value 'foo'"),
        (r#"{"keys":[{"type":"x","data":30}]}"#, "Parameter 'type' does not accept value 'x'"),
        (r#"{"keys":[{"type":"number","data":255}]}"#, "no key has the number 0xff"),
        (r#"{"keys":[{"type":"number","data":1,"x":1}]}"#, "Parameter 'keys[0].x' is unexpected"),
        (r#"{"keys":[],"hold-time":"x"}"#, "Invalid parameter type for 'hold-time', expected: integer"),
    ] {
        assert_eq!(send(arguments), generic(description), "{arguments}");
    }
    assert_eq!(fixture.machine.done(), ["[CtrlLeft, Delete] 10ms", "[CtrlLeft, Delete] 100ms"]);
    *lock(&fixture.machine.status) = "paused";
    assert_eq!(fixture.ask(r#"{"execute":"send-key","arguments":{"keys":[]}}"#), generic("VM not running"));
}

#[test]
fn events_of_keyboard_and_mouse_are_passed_on() {
    let mut fixture = Fixture::ready();
    let mut send =
        |arguments: &str| fixture.ask(&format!(r#"{{"execute":"input-send-event","arguments":{arguments}}}"#));
    let events = [
        r#"{"type":"key","data":{"down":true,"key":{"type":"qcode","data":"a"}}}"#,
        r#"{"type":"key","data":{"down":false,"key":{"type":"number","data":30}}}"#,
        r#"{"type":"btn","data":{"down":true,"button":"side"}}"#,
        r#"{"type":"btn","data":{"down":true,"button":"wheel-up"}}"#,
        r#"{"type":"btn","data":{"down":false,"button":"wheel-up"}}"#,
        r#"{"type":"rel","data":{"axis":"x","value":-5}}"#,
        r#"{"type":"abs","data":{"axis":"y","value":99999}}"#,
    ];
    assert_eq!(send(&format!(r#"{{"events":[{}]}}"#, events.join(","))), json!({ "return": {} }));
    for (arguments, description) in [
        ("{}", "Parameter 'events' is missing"),
        (r#"{"events":5}"#, "Invalid parameter type for 'events', expected: array"),
        (r#"{"events":[{"type":"mtt","data":{}}]}"#, "Parameter 'type' does not accept value 'mtt'"),
        (r#"{"events":[{"type":"key","data":{"down":true}}]}"#, "Parameter 'events[0].data.key' is missing"),
        (r#"{"events":[{"type":"rel","data":{"axis":"z","value":5}}]}"#, "Parameter 'axis' does not accept value 'z'"),
        (
            r#"{"events":[{"type":"rel","data":{"axis":"x","value":5.5}}]}"#,
            "Invalid parameter type for 'events[0].data.value', expected: integer",
        ),
        (
            r#"{"events":[{"type":"rel","data":{"axis":"x","value":5,"z":1}}]}"#,
            "Parameter 'events[0].data.z' is unexpected",
        ),
        (
            r#"{"events":[{"type":"btn","data":{"down":true,"button":"foo"}}]}"#,
            "Parameter 'button' does not accept value 'foo'",
        ),
    ] {
        assert_eq!(send(arguments), generic(description), "{arguments}");
    }
    assert_eq!(send(r#"{"device":"foo","events":[]}"#), error("DeviceNotFound", "Device 'foo' not found"));
    assert_eq!(
        fixture.machine.done(),
        [
            "[Key(A, true), Key(A, false), Button(Side, true), Wheel { down: -1, right: 0 }, Move(X, -5), Position(Y, 32767)]"
        ]
    );
    assert_eq!(
        fixture.returned("query-mice"),
        json!([
            { "name": "one", "index": 2, "current": false, "absolute": false },
            { "name": "two", "index": 3, "current": true, "absolute": true },
        ])
    );
}

#[test]
fn requests_that_can_not_be_met_are_refused() {
    let mut fixture = Fixture::ready();
    assert_eq!(
        fixture.ask(r#"{"execute":"system_wakeup"}"#),
        generic("Unable to wake up: guest is not in suspended state")
    );
    *lock(&fixture.machine.status) = "shutdown";
    assert_eq!(fixture.ask(r#"{"execute":"cont"}"#), generic("Resetting the Virtual Machine is required"));
    assert!(lock(&fixture.machine.requests).is_empty());
}

#[test]
fn actions_are_changed_one_by_one() {
    let mut fixture = Fixture::ready();
    for (text, description) in [
        (r#"{"execute":"set-action","arguments":{"reboot":"foo"}}"#, "Parameter 'reboot' does not accept value 'foo'"),
        (r#"{"execute":"set-action","arguments":{"panic":"run"}}"#, "Parameter 'panic' does not accept value 'run'"),
        (r#"{"execute":"watchdog-set-action"}"#, "Parameter 'action' is missing"),
        (
            r#"{"execute":"watchdog-set-action","arguments":{"action":"foo"}}"#,
            "Parameter 'action' does not accept value 'foo'",
        ),
    ] {
        assert_eq!(fixture.ask(text), generic(description), "{text}");
    }
    for text in [
        r#"{"execute":"set-action","arguments":{"reboot":"shutdown","panic":"exit-failure"}}"#,
        r#"{"execute":"watchdog-set-action","arguments":{"action":"pause"}}"#,
    ] {
        fixture.monitor.receive(text.as_bytes());
        fixture.monitor.settle();
        assert_eq!(fixture.output(), "{\"return\": {}}\r\n");
    }
    let none = ActionChanges::default();
    assert_eq!(
        *lock(&fixture.machine.requests),
        [
            Command::SetActions(ActionChanges {
                reboot: Some(RebootAction::Shutdown),
                panic: Some(PanicAction::ExitFailure),
                ..none
            }),
            Command::SetActions(ActionChanges { watchdog: Some(WatchdogAction::Pause), ..none }),
        ]
    );
}

#[test]
fn media_are_changed_by_drive_or_device() {
    let mut fixture = Fixture::ready();
    for (command, arguments, description) in [
        ("eject", "{}", "Need exactly one of 'device' and 'id'"),
        ("eject", r#"{"device":"a","id":"b"}"#, "Need exactly one of 'device' and 'id'"),
        (
            "blockdev-change-medium",
            r#"{"device":"a","filename":"f","read-only-mode":"x"}"#,
            "Parameter 'read-only-mode' does not accept value 'x'",
        ),
    ] {
        let text = format!(r#"{{"execute":"{command}","arguments":{arguments}}}"#);
        assert_eq!(fixture.ask(&text), generic(description), "{text}");
    }
    let nope = error("DeviceNotFound", "Device 'nope' not found");
    assert_eq!(fixture.ask(r#"{"execute":"eject","arguments":{"device":"nope"}}"#), nope);
    assert_eq!(fixture.ask(r#"{"execute":"eject","arguments":{"id":"nope"}}"#), nope);
    for arguments in [
        r#"{"execute":"eject","arguments":{"device":"floppy0","force":true}}"#,
        r#"{"execute":"eject","arguments":{"id":"floppy"}}"#,
        r#"{"execute":"blockdev-change-medium","arguments":{"device":"a","filename":"f","read-only-mode":"read-only"}}"#,
        r#"{"execute":"blockdev-change-medium","arguments":{"id":"/machine/unattached/device[9]","filename":"f","format":"raw"}}"#,
        r#"{"execute":"blockdev-open-tray","arguments":{"id":"floppy","force":true}}"#,
        r#"{"execute":"blockdev-close-tray","arguments":{"device":"a"}}"#,
        r#"{"execute":"blockdev-remove-medium","arguments":{"id":"floppy"}}"#,
    ] {
        fixture.monitor.receive(format!("{arguments}\n").as_bytes());
        fixture.monitor.settle();
        assert_eq!(fixture.output(), "{\"return\": {}}\r\n", "{arguments}");
    }
    assert_eq!(
        fixture.machine.done(),
        [
            "floppy0 Eject by force",
            "a Eject",
            r#"a Insert(Medium { path: "f", format: None, writing: Forbidden })"#,
            r#"floppy0 Insert(Medium { path: "f", format: Some("raw"), writing: Retain })"#,
            "a OpenTray by force",
            "a CloseTray",
            "a Remove",
        ]
    );
    assert_eq!(fixture.returned("query-block")[1]["qdev"], "floppy");
}

/// The members of QEMU 7.2's answers.
#[test]
fn the_hardware_is_described() {
    let mut fixture = Fixture::ready();
    let pci = fixture.returned("query-pci");
    let bridge = &pci[0]["devices"][0];
    assert_eq!(
        bridge["regions"],
        json!([{ "prefetch": false, "mem_type_64": true, "bar": 0, "size": 256, "address": -1, "type": "memory" }])
    );
    assert_eq!(bridge["class_info"], json!({ "class": 1540, "desc": "PCI bridge" }));
    assert_eq!(bridge["id"], json!({ "device": 1, "vendor": 6966 }));
    assert_eq!(bridge["pci_bridge"]["bus"]["io_range"], json!({ "base": 0xc000, "limit": 0xcfff }));
    let card = &bridge["pci_bridge"]["devices"][0];
    assert_eq!(
        (&card["bus"], &card["slot"], &card["irq"], &card["irq_pin"]),
        (&json!(1), &json!(3), &json!(11), &json!(1))
    );
    assert_eq!(card["regions"], json!([{ "bar": 0, "size": 8, "address": 0xc000, "type": "io" }]));
    assert_eq!(
        fixture.returned("query-memdev"),
        json!([{
            "share": false, "reserve": true, "prealloc": false, "host-nodes": [], "size": 1 << 20, "merge": true, "dump": true,
            "policy": "default", "id": "pc.ram",
        }])
    );
    assert_eq!(
        fixture.returned("query-iothreads"),
        json!([{
            "id": "iothread0", "thread-id": 1234, "poll-max-ns": 32768, "poll-grow": 3, "poll-shrink": 0, "aio-max-batch": 0,
        }])
    );
    assert_eq!(
        fixture.ask(r#"{"execute":"human-monitor-command","arguments":{"command-line":"info iothreads"}}"#),
        json!({ "return":
            "iothread0:\r\n  thread_id=1234\r\n  poll-max-ns=32768\r\n  poll-grow=3\r\n  poll-shrink=0\r\n  \
             aio-max-batch=0\r\n"
        })
    );
    assert_eq!(
        fixture.ask(r#"{"execute":"query-hotpluggable-cpus"}"#),
        generic("machine does not support hot-plugging CPUs")
    );
}

#[test]
fn commands_of_people_look_through_the_cpu_that_is_named() {
    let mut fixture = Fixture::ready();
    let mut ask = |cpu: u32| {
        fixture.ask(&format!(
            r#"{{"execute":"human-monitor-command","arguments":{{"command-line":"print $eip","cpu-index":{cpu}}}}}"#
        ))
    };
    assert_eq!(ask(1), json!({ "return": "0xfff1\r\n" }));
    assert_eq!(ask(2), generic("Parameter 'cpu-index' expects a CPU number"));
}

#[test]
fn memory_is_saved_and_breaks_are_sent() {
    let mut fixture = Fixture::ready();
    let file = tempfile::NamedTempFile::new().unwrap();
    let arguments = json!({ "val": 0x7ffe, "size": 2, "filename": file.path() });
    for command in ["memsave", "pmemsave"] {
        let text = json!({ "execute": command, "arguments": arguments }).to_string();
        assert_eq!(fixture.ask(&text), json!({ "return": {} }), "{text}");
        assert_eq!(std::fs::read(&file).unwrap(), [0xfe, 0xff]);
    }
    let negative = r#"{"execute":"memsave","arguments":{"val":0,"size":-5,"filename":"x"}}"#;
    assert_eq!(fixture.ask(negative), generic("Invalid parameter type for 'size', expected: integer"));
    let text = r#"{"execute":"memsave","arguments":{"val":0,"size":1,"filename":"x","cpu-index":7}}"#;
    assert_eq!(fixture.ask(text), generic("Parameter 'cpu-index' expects a CPU number"));
    assert_eq!(
        fixture.ask(r#"{"execute":"chardev-send-break","arguments":{"id":"serial0"}}"#),
        json!({ "return": {} })
    );
    for (command, id, description) in [
        ("chardev-send-break", "zz", "Chardev 'zz' not found"),
        ("chardev-remove", "zz", "Chardev 'zz' not found"),
        ("chardev-remove", "serial0", "Chardev 'serial0' is busy: it belongs to its device or monitor to the end"),
    ] {
        let text = format!(r#"{{"execute":"{command}","arguments":{{"id":"{id}"}}}}"#);
        assert_eq!(fixture.ask(&text), generic(description));
    }
    assert_eq!(
        fixture.ask(r#"{"execute":"qom-set","arguments":{"path":"/machine","property":"type","value":1}}"#),
        generic("Property 'pc-i440fx-7.2-machine.type' is not writable")
    );
}
