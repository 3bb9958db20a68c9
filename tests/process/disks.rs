//! Disks whose queues are served beside the processors. The guest is the one of the benchmarks (`tests/guest`, program `disk`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::drives::{Disk, Machine, Outcome, Request, Scsi};
use crate::qmp::Client;
use crate::tools::{Guard, has_kvm, natoma, wait_until};

/// Bytes of the image, and what they are at first.
const SIZE: usize = 4 << 20;
const FILL: u8 = 0x5a;
/// How often a machine is stopped. A guest that looks all the time and a loop that serves it take turns on a busy host: few requests
/// take long enough.
const STOPS: usize = 50;

/// Who serves the queues: the main loop, a thread, or the processors.
const SERVERS: [&[&str]; 4] = [
    &["-device", "virtio-blk-pci,drive=d"],
    &["-object", "iothread,id=io", "-device", "virtio-blk-pci,drive=d,iothread=io"],
    &["-object", "iothread,id=io,poll-max-ns=0", "-device", "virtio-blk-pci,drive=d,iothread=io"],
    &["-device", "virtio-blk-pci,drive=d,ioeventfd=off"],
];

/// An image and what a guest prints.
struct Scene {
    _directory: TempDir,
    image: PathBuf,
    console: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (image, console) = (directory.path().join("image"), directory.path().join("console"));
        fs::write(&image, vec![FILL; SIZE]).unwrap();
        Self { _directory: directory, image, console }
    }

    /// natoma with a guest that does this to the disk.
    fn natoma(&self, server: &[&str], work: &str) -> Command {
        let mut command = natoma(server);
        command.args(["-kernel", env!("NATOMA_GUEST_DISK"), "-append", &format!("virtio {work}")]);
        command.arg("-serial").arg(format!("file:{}", self.console.display()));
        command.arg("-drive").arg(format!("if=none,id=d,format=raw,file={}", self.image.display()));
        command
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }
}

#[test]
fn queues_are_served_by_whoever_is_to() {
    if !has_kvm() {
        return;
    }
    for server in SERVERS {
        let scene = Scene::new();
        let half = SIZE / 2;
        // The guest writes zeroes.
        let work = format!("write sequential count={} size=8192 depth=16", half / 8192);
        let mut natoma = Guard::start(&mut scene.natoma(server, &work));
        assert_eq!(natoma.wait().code(), Some(0), "{server:?}: {}", scene.printed());
        assert!(scene.printed().contains("disk count=256 size=8192"), "{server:?}: {}", scene.printed());
        let image = fs::read(&scene.image).unwrap();
        assert!(image[..half].iter().all(|byte| *byte == 0), "{server:?}: what was written is there");
        assert!(image[half..].iter().all(|byte| *byte == FILL), "{server:?}: and nothing else");
    }
}

/// An answer, whatever events come before it.
fn answer(qmp: &mut Client, command: &str) -> Value {
    qmp.say(&json!({ "execute": command }).to_string());
    loop {
        let message = qmp.message();
        if message.get("event").is_none() {
            return message;
        }
    }
}

/// A request whose doorbell nobody has heard when the machine stops is not lost, and none is done while it stands.
#[test]
fn a_machine_that_stops_and_goes_on_loses_no_request() {
    if !has_kvm() {
        return;
    }
    for server in &SERVERS[..2] {
        let scene = Scene::new();
        let path = scene.image.with_file_name("qmp");
        let mut command = scene.natoma(server, "read random count=300 size=4096 depth=2");
        command.args(["-no-shutdown", "-qmp"]).arg(format!("unix:{},server=on,wait=off", path.display()));
        let mut natoma = Guard::start(&mut command);
        let mut qmp = Client::connect(&path);
        qmp.negotiate();
        // It is over when the guest has powered off.
        let ended = |qmp: &mut Client| answer(qmp, "query-status")["return"]["status"] == "shutdown";
        for _ in 0..STOPS {
            answer(&mut qmp, "stop");
            if ended(&mut qmp) {
                break;
            }
            answer(&mut qmp, "cont");
        }
        wait_until("300 requests", || ended(&mut qmp));
        assert!(scene.printed().contains("disk count=300"), "{server:?}: {}", scene.printed());
        qmp.say(r#"{"execute":"quit"}"#);
        assert_eq!(natoma.wait().code(), Some(0));
    }
}

#[test]
fn threads_that_serve_queues_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp");
    let mut command = natoma(&["-accel", "qtest", "-name", "debug-threads=on"]);
    command.args(["-object", "iothread,id=a", "-object", "iothread,id=b,poll-max-ns=5"]);
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", path.display()));
    let mut natoma = Guard::start(&mut command);
    let mut qmp = Client::connect(&path);
    qmp.negotiate();
    let threads = answer(&mut qmp, "query-iothreads")["return"].clone();
    let seen: Vec<_> =
        threads.as_array().unwrap().iter().map(|thread| (&thread["id"], &thread["poll-max-ns"])).collect();
    assert_eq!(seen, [(&json!("a"), &json!(32768)), (&json!("b"), &json!(5))]);
    for thread in threads.as_array().unwrap() {
        let name = format!("/proc/{}/task/{}/comm", natoma.0.id(), thread["thread-id"]);
        let name = fs::read_to_string(Path::new(&name)).unwrap();
        assert_eq!(name, format!("IO {}\n", thread["id"].as_str().unwrap()));
    }
    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

/// How often a thread has gone to sleep, which it does whenever it has seen to what it was woken for.
fn sleeps(natoma: &Guard, thread: &Value) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/task/{thread}/status", natoma.0.id())).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

/// A drive that has been empty at the start is no exception.
#[test]
fn a_cd_that_comes_later_is_served_by_the_thread_of_its_controller() {
    const READS: u8 = 20;
    let image = tempfile::NamedTempFile::new().unwrap();
    fs::write(&image, vec![FILL; SIZE]).unwrap();
    let host = "virtio-scsi-pci,addr=4,num_queues=1,iothread=io";
    // One that does not look by itself: it does something only if it is woken.
    let thread = "iothread,id=io,poll-max-ns=0";
    let mut machine = Machine::start(&["-object", thread, "-device", host, "-device", "scsi-cd,id=cd"]);
    let mut cd = Scsi::cd(&mut machine).unwrap();
    let block = |number: u8| Request::Read { sector: (number * Scsi::CD_BLOCK).into(), count: Scsi::CD_BLOCK };
    cd.fail(&mut machine, block(0));

    // By workers, so that requests end beside whoever makes them.
    let file = json!({ "driver": "file", "filename": image.path(), "aio": "threads" });
    let node = json!({ "driver": "raw", "node-name": "iso", "read-only": true, "file": file });
    machine.call("blockdev-add", &node);
    machine.call("blockdev-open-tray", &json!({ "id": "cd" }));
    machine.call("blockdev-insert-medium", &json!({ "id": "cd", "node-name": "iso" }));
    machine.call("blockdev-close-tray", &json!({ "id": "cd" }));
    // It is told of the new medium.
    cd.fail(&mut machine, block(0));

    let thread = machine.command("query-iothreads")[0]["thread-id"].clone();
    let before = sleeps(&machine.natoma, &thread);
    for number in 0..READS {
        cd.check(&mut machine, (number * Scsi::CD_BLOCK).into(), Scsi::CD_BLOCK, FILL);
    }
    // Once it may have been on its way to its first sleep.
    let woken = sleeps(&machine.natoma, &thread) - before;
    assert!(woken > 1, "woken {woken} times for {READS} requests");

    // Nothing goes on without it: the medium is there whenever the machine is stopped, reset and let go on.
    cd.begin(&mut machine, 0, block(0)).unwrap();
    machine.command("stop");
    assert_eq!(cd.outcome(&mut machine, 0).unwrap(), Some(Outcome::Done), "a machine that stops waits for it");
    machine.command("cont");
    cd.begin(&mut machine, 0, block(0)).unwrap();
    machine.command("system_reset");
    machine.wait_for("RESET");
    let mut cd = Scsi::cd(&mut machine).unwrap();
    cd.check(&mut machine, 0, Scsi::CD_BLOCK, FILL);
    cd.begin(&mut machine, 0, block(0)).unwrap();
    machine.quit();
}
