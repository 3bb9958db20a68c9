//! QMP and the qtest protocol on sockets, as programs use them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde_json::{Value, json};

use crate::tools::{Guard, LIMIT, has_kvm, natoma, wait_until};

/// A line-wise conversation.
struct Client(BufReader<UnixStream>);

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Connects once there is a server.
    fn connect(path: &Path) -> Self {
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

    fn say(&mut self, text: &str) {
        writeln!(self.0.get_mut(), "{text}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn message(&mut self) -> Value {
        let line = self.hear();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn execute(&mut self, command: &str) -> Value {
        self.say(&format!(r#"{{"execute":"{command}"}}"#));
        self.message()
    }

    /// The greeting and the negotiation.
    fn negotiate(&mut self) {
        assert!(self.message()["QMP"]["version"]["qemu"]["major"].is_u64());
        assert_eq!(self.execute("qmp_capabilities"), json!({ "return": {} }));
    }
}

fn event(message: &Value) -> &str {
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
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", path.display()));
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
