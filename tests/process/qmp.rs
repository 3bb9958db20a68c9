//! QMP and the qtest protocol on sockets, as programs use them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::tools::{Guard, LIMIT, has_kvm, natoma, wait_until};

/// A line-wise conversation.
pub struct Client(pub BufReader<UnixStream>);

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Connects once there is a server.
    pub fn connect(path: &Path) -> Self {
        let mut stream = None;
        wait_until("a server", || {
            stream = UnixStream::connect(path).ok();
            stream.is_some()
        });
        Self::new(stream.unwrap())
    }

    /// Waits for a client of natoma's kind.
    fn accept(listener: &UnixListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let mut stream = None;
        wait_until("natoma's connection", || {
            stream = listener.accept().ok();
            stream.is_some()
        });
        Self::new(stream.unwrap().0)
    }

    pub fn say(&mut self, text: &str) {
        // In one piece: natoma may have ended before a second one.
        self.0.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn message(&mut self) -> Value {
        let line = self.hear();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    pub fn execute(&mut self, command: &str) -> Value {
        self.say(&format!(r#"{{"execute":"{command}"}}"#));
        self.message()
    }

    pub fn call(&mut self, command: &str, arguments: &Value) -> Value {
        self.say(&json!({ "execute": command, "arguments": arguments }).to_string());
        self.message()
    }

    /// A command that has nothing to tell.
    pub fn done(&mut self, command: &str, arguments: &Value) {
        assert_eq!(self.call(command, arguments), json!({ "return": {} }), "{command} {arguments}");
    }

    /// The greeting and the negotiation.
    pub fn negotiate(&mut self) {
        assert!(self.message()["QMP"]["version"]["qemu"]["major"].is_u64());
        assert_eq!(self.execute("qmp_capabilities"), json!({ "return": {} }));
    }
}

pub fn event(message: &Value) -> &str {
    message["event"].as_str().unwrap_or_else(|| panic!("no event: {message}"))
}

/// What QEMU's `libqtest` does: it listens, natoma connects with both protocols, and the handshakes are made.
#[test]
fn a_client_of_libqtests_kind_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let (qtest_path, qmp_path) = (directory.path().join("qtest"), directory.path().join("qmp"));
    let listeners = [&qtest_path, &qmp_path].map(|path| UnixListener::bind(path).unwrap());
    let qtest = format!("unix:{}", qtest_path.display());
    let chardev = format!("socket,path={},id=char0", qmp_path.display());
    let mut command = natoma(&["-qtest", &qtest, "-qtest-log", "/dev/null", "-chardev", &chardev]);
    command.args(["-mon", "chardev=char0,mode=control", "-accel", "qtest"]);
    let mut natoma = Guard::start(&mut command);
    let [mut qtest, mut qmp] = listeners.each_ref().map(Client::accept);
    qmp.negotiate();

    qtest.say("endianness");
    assert_eq!(qtest.hear(), "OK little");
    qtest.say("irq_intercept_in ioapic");
    assert_eq!(qtest.hear(), "OK");
    qtest.say("set_irq_in ioapic unnamed-gpio-in 5 1");
    assert_eq!([qtest.hear(), qtest.hear()], ["IRQ raise 5", "OK"]);
    qtest.say("clock_step 1000");
    assert_eq!(qtest.hear(), "OK 1000");

    // A reset that the guest causes, and one by the monitor.
    qtest.say("outb 0xcf9 0x06");
    assert_eq!(qtest.hear(), "OK");
    let reset = qmp.message();
    assert_eq!((event(&reset), &reset["data"]["reason"]), ("RESET", &json!("guest-reset")));
    qmp.say(r#"{"execute":"system_reset","id":"r"}"#);
    let reset = qmp.message();
    assert_eq!((event(&reset), &reset["data"]["reason"]), ("RESET", &json!("host-qmp-system-reset")));
    assert_eq!(qmp.message(), json!({ "id": "r", "return": {} }));

    let types = qmp.execute("qom-list-types");
    assert!(types["return"].as_array().unwrap().iter().any(|device| device["name"] == "isa-debug-exit"));
    qmp.say(r#"{"execute":"qom-list","arguments":{"path":"/machine/unattached"}}"#);
    let parts = qmp.message();
    let has = |kind: &str| parts["return"].as_array().unwrap().iter().any(|part| part["type"] == kind);
    for kind in ["child<PIIX3>", "child<PIIX4_PM>", "child<hpet>", "child<mc146818rtc>", "child<qemu64-x86_64-cpu>"] {
        assert!(has(kind), "{kind}: {parts}");
    }

    qmp.say(r#"{"execute":"quit"}"#);
    let shutdown = qmp.message();
    assert_eq!((event(&shutdown), &shutdown["data"]["reason"]), ("SHUTDOWN", &json!("host-qmp-quit")));
    assert_eq!(qmp.message(), json!({ "return": {} }));
    assert_eq!(natoma.wait().code(), Some(0));
}

/// A machine without processors, and a client of each protocol.
pub fn bench(options: &[&str]) -> (Guard, Client, Client) {
    connect(natoma(&["-accel", "qtest"]).args(options))
}

/// The same, of a command that has everything else.
pub fn connect(command: &mut Command) -> (Guard, Client, Client) {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["qtest", "qmp"].map(|name| directory.path().join(name));
    let listeners = paths.each_ref().map(|path| UnixListener::bind(path).unwrap());
    let [qtest, qmp] = paths.each_ref().map(|path| format!("unix:{}", path.display()));
    let natoma = Guard::start(command.args(["-qtest", &qtest, "-qmp", &qmp]));
    let [qtest, mut qmp] = listeners.map(|listener| Client::new(listener.accept().unwrap().0));
    qmp.negotiate();
    (natoma, qtest, qmp)
}

/// What monitors tell of a machine, and do to it, arrives at its devices.
#[test]
fn drives_memory_and_ports_are_reached_through_the_monitors() {
    let directory = tempfile::tempdir().unwrap();
    let (image, saved) = (directory.path().join("my disk.img"), directory.path().join("saved"));
    std::fs::File::create(&image).unwrap().set_len(1440 << 10).unwrap();
    let (mut natoma, mut qtest, mut qmp) = bench(&["-drive", "if=floppy,id=floppy0"]);
    let floppy = |qmp: &mut Client| qmp.execute("query-block")["return"][0].clone();
    assert_eq!(floppy(&mut qmp)["inserted"], Value::Null);
    let mut monitor = |line: &str| {
        let answer = qmp.call("human-monitor-command", &json!({ "command-line": line }));
        answer["return"].as_str().unwrap_or_else(|| panic!("{line}: {answer}")).to_owned()
    };
    assert_eq!(monitor(&format!("change floppy0 \"{}\" raw read-only", image.display())), "");
    assert!(monitor("info block").contains("my disk.img (raw, read-only)\r\n"));

    qtest.say("write 0x1000 0x4 0xf3f4cc90");
    assert_eq!(qtest.hear(), "OK");
    let instructions = monitor("xp/3i 0x1000");
    let words: Vec<Vec<_>> = instructions.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words,
        [&["0x00001000:", "f3", "f4", "hlt"][..], &["0x00001002:", "cc", "int3"], &["0x00001003:", "90", "nop"]]
    );
    assert_eq!(monitor("o/b 0x70 0x0f"), "");
    assert_eq!(monitor("i/b 0x71"), "portb[0x0071] = 0x00\r\n");
    assert_eq!(monitor("p $eip"), "Error: this machine has no processors\r\n");
    assert!(monitor("info qom-tree").starts_with("/machine (pc-i440fx-7.2-machine)\r\n  /fw_cfg ("));

    let inserted = &floppy(&mut qmp)["inserted"];
    assert_eq!((&inserted["ro"], &inserted["image"]["virtual-size"]), (&json!(true), &json!(1440 << 10)));
    qmp.done("eject", &json!({ "device": "floppy0" }));
    assert_eq!(floppy(&mut qmp)["inserted"], Value::Null);
    qmp.done("pmemsave", &json!({ "val": 0x1000, "size": 4, "filename": saved }));
    assert_eq!(std::fs::read(saved).unwrap(), [0xf3, 0xf4, 0xcc, 0x90]);
    assert_eq!(qmp.execute("query-pci")["return"][0]["devices"][0]["id"]["device"], 0x1237);
    let cont =
        json!({ "error": { "class": "GenericError", "desc": "Unable to wake up: guest is not in suspended state" } });
    assert_eq!(qmp.execute("system_wakeup"), cont);

    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn a_tray_that_moves_is_told_before_the_answer() {
    let (mut natoma, _qtest, mut qmp) = bench(&["-drive", "index=2,media=cdrom"]);
    for (command, open) in [("blockdev-open-tray", true), ("blockdev-close-tray", false)] {
        qmp.say(&format!(r#"{{"execute":"{command}","arguments":{{"device":"ide1-cd0"}}}}"#));
        let moved = qmp.message();
        assert_eq!(event(&moved), "DEVICE_TRAY_MOVED");
        assert_eq!((&moved["data"]["device"], &moved["data"]["tray-open"]), (&json!("ide1-cd0"), &json!(open)));
        assert_eq!(qmp.message(), json!({ "return": {} }));
        // The device that has the drive, as query-block names it.
        let drives = qmp.execute("query-block");
        let cd = drives["return"].as_array().unwrap().iter().find(|drive| drive["device"] == "ide1-cd0").unwrap();
        assert_eq!((&cd["qdev"], &cd["tray_open"]), (&moved["data"]["id"], &json!(open)));
    }
    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

/// What a guest sees of keys and mice at the keyboard controller's ports 60h and 64h, in all sets of scan codes.
#[test]
fn keys_and_mouse_of_a_client_reach_the_guest() {
    const OBF: u64 = 0x01;
    let (mut natoma, mut qtest, mut qmp) = bench(&[]);
    let mut guest = |command: &str| {
        qtest.say(command);
        let answer = qtest.hear();
        let value = answer.strip_prefix("OK").unwrap_or_else(|| panic!("{command}: {answer}")).trim();
        u64::from_str_radix(value.trim_start_matches("0x"), 16).unwrap_or_default()
    };
    let key = |name: &str| json!({ "keys": [{ "type": "qcode", "data": name }], "hold-time": 20 });
    let bytes = |guest: &mut dyn FnMut(&str) -> u64| {
        let mut bytes = Vec::new();
        while guest("inb 0x64") & OBF != 0 {
            bytes.push(guest("inb 0x60"));
        }
        bytes
    };
    let write = |guest: &mut dyn FnMut(&str) -> u64, port: &str, value: u8| {
        guest(&format!("outb {port} {value:#x}"));
    };

    // Set 1: the controller translates what the keyboard sends. The release comes when the time is up.
    write(&mut guest, "0x64", 0x60);
    write(&mut guest, "0x60", 0x41);
    qmp.done("send-key", &key("a"));
    assert_eq!(bytes(&mut guest), [0x1e]);
    guest("clock_step 19999999");
    assert_eq!(bytes(&mut guest), [0; 0]);
    guest("clock_step 1");
    assert_eq!(bytes(&mut guest), [0x9e]);
    // The next stroke has the same distance.
    guest("clock_step 20000000");
    let answer = qmp.call("human-monitor-command", &json!({ "command-line": "sendkey ctrl-alt-delete 30" }));
    assert_eq!(answer, json!({ "return": "" }));
    let mut seen = bytes(&mut guest);
    for _ in 0..5 {
        guest("clock_step 30000000");
        seen.extend(bytes(&mut guest));
    }
    assert_eq!(seen, [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]);
    guest("clock_step 30000000");

    // Set 2, as it is without translation.
    write(&mut guest, "0x64", 0x60);
    write(&mut guest, "0x60", 0x01);
    qmp.done("send-key", &key("kp_enter"));
    assert_eq!(bytes(&mut guest), [0xe0, 0x5a]);
    guest("clock_step 20000000");
    assert_eq!(bytes(&mut guest), [0xe0, 0xf0, 0x5a]);
    guest("clock_step 20000000");

    // Set 3, where Ctrl has a code of its own and reports its release.
    for byte in [0xf0, 3] {
        write(&mut guest, "0x60", byte);
        assert_eq!(bytes(&mut guest), [0xfa]);
    }
    let event = |down: bool| json!({ "events": [{ "type": "key", "data": { "down": down, "key": { "type": "number", "data": 0x1d } } }] });
    qmp.done("input-send-event", &event(true));
    assert_eq!(bytes(&mut guest), [0x11]);
    qmp.done("input-send-event", &event(false));
    assert_eq!(bytes(&mut guest), [0xf0, 0x11]);

    // The mouse reports once it is told to; both directions are one packet, y counts upwards.
    write(&mut guest, "0x64", 0xd4);
    write(&mut guest, "0x60", 0xf4);
    assert_eq!(bytes(&mut guest), [0xfa]);
    let movement = |axis: &str, value: i32| json!({ "type": "rel", "data": { "axis": axis, "value": value } });
    let press = json!({ "type": "btn", "data": { "down": true, "button": "right" } });
    qmp.done("input-send-event", &json!({ "events": [movement("x", 5), movement("y", 3)] }));
    assert_eq!(bytes(&mut guest), [0x28, 5, 0xfd]);
    guest("clock_step 100000000");
    qmp.done("input-send-event", &json!({ "events": [press] }));
    guest("clock_step 100000000");
    assert_eq!(bytes(&mut guest), [0x0a, 0, 0]);

    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn several_clients_hear_of_what_one_of_them_does() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    let mut command = natoma(&["-accel", "qtest"]);
    for path in &paths {
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", path.display()));
    }
    let mut natoma = Guard::start(&mut command);
    let [mut first, mut second] = paths.each_ref().map(|path| Client::connect(path));
    first.negotiate();
    second.negotiate();
    first.say(r#"{"execute":"stop"}"#);
    assert_eq!((event(&first.message()), event(&second.message())), ("STOP", "STOP"));
    assert_eq!(first.message(), json!({ "return": {} }));
    assert_eq!(second.execute("query-status")["return"]["status"], "paused");
    second.say("}{ what is this");
    assert_eq!(second.message()["error"]["class"], "GenericError");

    // A client that goes makes room for the next.
    drop(first);
    let mut first = Client::connect(&paths[0]);
    first.negotiate();
    first.say(r#"{"execute":"cont"}"#);
    assert_eq!(event(&first.message()), "RESUME");
    assert_eq!(first.message(), json!({ "return": {} }));
    first.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn threads_of_processors_are_told_and_a_guest_is_stopped() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp");
    let mut command = natoma(&["-smp", "2", "-S", "-uuid", "550e8400-e29b-41d4-a716-446655440000"]);
    command.args(["-name", "debug-threads=on"]).arg("-qmp").arg(format!("unix:{},server=on,wait=off", path.display()));
    let mut natoma = Guard::start(&mut command);
    let mut qmp = Client::connect(&path);
    qmp.negotiate();
    assert_eq!(qmp.execute("query-kvm")["return"], json!({ "enabled": true, "present": true }));
    assert_eq!(qmp.execute("query-uuid")["return"]["UUID"], "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!(qmp.execute("query-status")["return"]["status"], "prelaunch");
    let cpus = qmp.execute("query-cpus-fast");
    for (index, cpu) in cpus["return"].as_array().unwrap().iter().enumerate() {
        let name = format!("/proc/{}/task/{}/comm", natoma.0.id(), cpu["thread-id"]);
        assert_eq!(std::fs::read_to_string(name).unwrap(), format!("CPU {index}/KVM\n"));
    }
    assert_eq!(cpus["return"].as_array().unwrap().len(), 2);
    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn threads_have_the_name_of_the_process_unless_they_are_to_be_told_apart() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp");
    let mut command = natoma(&["-smp", "2", "-S", "-name", "guest=a,process=vm-a"]);
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", path.display()));
    let mut natoma = Guard::start(&mut command);
    let mut qmp = Client::connect(&path);
    qmp.negotiate();
    let cpus = qmp.execute("query-cpus-fast");
    let threads: Vec<_> = cpus["return"].as_array().unwrap().iter().map(|cpu| cpu["thread-id"].as_u64()).collect();
    assert!(threads.len() == 2 && threads[0] != threads[1], "{threads:?}");
    for thread in threads {
        let name = format!("/proc/{}/task/{}/comm", natoma.0.id(), thread.unwrap());
        assert_eq!(std::fs::read_to_string(name).unwrap(), "vm-a\n");
    }
    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn what_means_nothing_to_the_machine_is_refused_in_qemus_words() {
    let directory = tempfile::tempdir().unwrap();
    let (qtest_path, qmp_path) = (directory.path().join("qtest"), directory.path().join("qmp"));
    let listener = UnixListener::bind(&qtest_path).unwrap();
    let mut command = natoma(&["-accel", "qtest", "-qtest-log", "none", "-no-shutdown"]);
    command.arg("-qtest").arg(format!("unix:{}", qtest_path.display()));
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", qmp_path.display()));
    let mut natoma = Guard::start(&mut command);
    let mut qtest = Client::accept(&listener);
    let mut qmp = Client::connect(&qmp_path);
    qmp.negotiate();
    let refused = |answer: Value| answer["error"]["desc"].as_str().map(str::to_owned);
    let answer = qmp.execute("system_wakeup");
    assert_eq!(refused(answer).as_deref(), Some("Unable to wake up: guest is not in suspended state"));
    // The guest powers off: registers of the power management function to 600h, and S5.
    for access in ["l 0xcf8 0x80000b40", "l 0xcfc 0x601", "l 0xcf8 0x80000b80", "l 0xcfc 1", "w 0x604 0x2000"] {
        qtest.say(&format!("out{access}"));
        assert_eq!(qtest.hear(), "OK");
    }
    assert_eq!([qmp.message(), qmp.message()].each_ref().map(event), ["SHUTDOWN", "STOP"]);
    let answer = qmp.execute("cont");
    assert_eq!(refused(answer).as_deref(), Some("Resetting the Virtual Machine is required"));
    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

/// As management software looks for a model that this host can run.
#[test]
fn models_of_processors_are_told_with_what_this_host_lacks() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp");
    let qmp = format!("unix:{},server=on,wait=off", path.display());
    let mut natoma = Guard::start(&mut natoma(&["-nodefaults", "-S", "-display", "none", "-qmp", &qmp]));
    let mut client = Client::connect(&path);
    client.negotiate();
    let models = client.execute("query-cpu-definitions");
    let model = |name: &str| {
        let models = models["return"].as_array().unwrap();
        models.iter().find(|model| model["name"] == name).unwrap_or_else(|| panic!("{name} in {models:?}"))
    };
    assert_eq!(model("host")["unavailable-features"], json!([]));
    assert_eq!(model("EPYC")["alias-of"], "EPYC-v1");
    // No processor has what AMD's and what Intel's alone have: their SSE4a and their transactions.
    let missing = |name: &str, feature: &str| {
        model(name)["unavailable-features"].as_array().unwrap().iter().any(|missing| missing == feature)
    };
    assert!(missing("Skylake-Client", "hle") || missing("EPYC", "sse4a"));

    let features = |client: &mut Client, model: Value| {
        client.call("query-cpu-model-expansion", &json!({ "type": "full", "model": model }))["return"]["model"].clone()
    };
    let host = features(&mut client, json!({ "name": "host" }));
    assert_eq!(
        (&host["name"], &host["props"]["fpu"], &host["props"]["lm"]),
        (&json!("host"), &json!(true), &json!(true))
    );
    let changed = features(&mut client, json!({ "name": "host", "props": { "invtsc": false, "x2apic": "off" } }));
    assert_eq!(changed["props"]["x2apic"], false);
    client.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}
