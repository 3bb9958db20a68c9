//! Media and their errors, as programs see and change them. The answers are those of QEMU 7.2 to the same commands.

use std::fs::File;
use std::process::Command;

use serde_json::{Value, json};

use crate::qmp::{Client, bench, event};

/// What `query-block` says of the drive of a device.
fn of_device(qmp: &mut Client, device: &str) -> Value {
    let drives = qmp.execute("query-block")["return"].clone();
    let found = drives.as_array().unwrap().iter().find(|drive| drive["qdev"] == device);
    found.unwrap_or_else(|| panic!("{device}: {drives}")).clone()
}

/// A command, the event that it causes, and its answer.
fn moved(qmp: &mut Client, command: &str, arguments: &Value) -> (bool, Value) {
    let moved = qmp.call(command, arguments);
    assert_eq!((event(&moved), &moved["data"]["id"]), ("DEVICE_TRAY_MOVED", &json!("cd")), "{command}: {moved}");
    (moved["data"]["tray-open"].as_bool().unwrap(), qmp.message())
}

/// READ SECTORS of sector 9 of the master of the first IDE channel, and its status.
fn read_sector(qtest: &mut Client) -> String {
    for (port, value) in [(0x1f2, 1), (0x1f3, 9), (0x1f4, 0), (0x1f5, 0), (0x1f6, 0xe0), (0x1f7, 0x20)] {
        qtest.say(&format!("outb {port:#x} {value:#x}"));
        assert_eq!(qtest.hear(), "OK");
    }
    status(qtest)
}

fn status(qtest: &mut Client) -> String {
    qtest.say("inb 0x1f7");
    qtest.hear()
}

#[test]
fn what_has_stopped_the_machine_is_told_until_it_goes_on() {
    let faulty = "driver=blkdebug,node-name=n,image.driver=null-co,image.size=1M,image.read-zeroes=on,\
                  inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector=9,inject-error.0.once=on";
    let disk = "ide-hd,drive=n,id=hd,rerror=stop";
    let (mut natoma, mut qtest, mut qmp) = bench(&["-blockdev", faulty, "-device", disk]);
    assert_eq!(of_device(&mut qmp, "hd")["io-status"], "ok");
    qmp.done("cont", &json!({}));
    assert_eq!(read_sector(&mut qtest), "OK 0x00d0", "busy");
    let error = qmp.message();
    assert_eq!(event(&error), "BLOCK_IO_ERROR");
    assert_eq!((&error["data"]["action"], &error["data"]["operation"]), (&json!("stop"), &json!("read")));
    assert_eq!(event(&qmp.message()), "STOP");
    assert_eq!(qmp.execute("query-status")["return"]["status"], "io-error");
    assert_eq!(of_device(&mut qmp, "hd")["io-status"], "failed");
    let resumed = qmp.execute("cont");
    assert_eq!((event(&resumed), qmp.message()), ("RESUME", json!({ "return": {} })));
    assert_eq!(of_device(&mut qmp, "hd")["io-status"], "ok");
    assert_eq!(status(&mut qtest), "OK 0x0058", "it has been read the second time");
    qmp.say(r#"{"execute":"quit"}"#);
    assert!(natoma.wait().success());
}

#[test]
fn errors_that_never_stop_the_machine_have_no_status() {
    let node = "driver=null-co,node-name=n,size=1M,read-zeroes=on";
    for (policy, status) in
        [("", json!("ok")), (",werror=report", Value::Null), (",werror=report,rerror=stop", json!("ok"))]
    {
        let disk = format!("ide-hd,drive=n,id=hd{policy}");
        let (mut natoma, _qtest, mut qmp) = bench(&["-blockdev", node, "-device", &disk]);
        assert_eq!(of_device(&mut qmp, "hd")["io-status"], status, "{policy}");
        qmp.say(r#"{"execute":"quit"}"#);
        assert!(natoma.wait().success());
    }
}

#[test]
fn media_of_scsi_cd_drives_are_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.iso");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let node = "driver=null-co,node-name=iso,size=2M,read-only=on";
    let devices = ["-device", "virtio-scsi-pci", "-device", "scsi-cd,id=cd", "-blockdev", node];
    let (mut natoma, _qtest, mut qmp) = bench(&devices);
    let cd = json!({ "id": "cd" });
    let found = of_device(&mut qmp, "cd");
    assert_eq!(
        found,
        json!({
            "device": "", "qdev": "cd", "io-status": "ok", "locked": false, "removable": true, "tray_open": false, "type": "unknown",
        })
    );
    // From an empty drive with its tray closed to one with a medium, step by step.
    let medium = json!({ "id": "cd", "node-name": "iso" });
    assert_eq!(qmp.call("blockdev-insert-medium", &medium)["error"]["desc"], "Tray of the device is not open");
    assert_eq!(moved(&mut qmp, "blockdev-open-tray", &cd), (true, json!({ "return": {} })));
    qmp.done("blockdev-insert-medium", &medium);
    assert_eq!(of_device(&mut qmp, "cd")["tray_open"], true);
    assert_eq!(moved(&mut qmp, "blockdev-close-tray", &cd), (false, json!({ "return": {} })));
    let found = of_device(&mut qmp, "cd");
    assert_eq!((&found["tray_open"], &found["inserted"]["node-name"]), (&json!(false), &json!("iso")));
    assert_eq!(qmp.call("blockdev-remove-medium", &cd)["error"]["desc"], "Tray of device 'cd' is not open");
    // A medium by its name: the tray opens and closes around it.
    let change = json!({ "id": "cd", "filename": path, "format": "raw" });
    let (open, closed) = moved(&mut qmp, "blockdev-change-medium", &change);
    assert_eq!((open, event(&closed), &closed["data"]["tray-open"]), (true, "DEVICE_TRAY_MOVED", &json!(false)));
    assert_eq!(qmp.message(), json!({ "return": {} }));
    assert_eq!(of_device(&mut qmp, "cd")["inserted"]["file"], json!(path));
    qmp.done("blockdev-del", &json!({ "node-name": "iso" }));
    assert_eq!(moved(&mut qmp, "eject", &cd), (true, json!({ "return": {} })));
    assert_eq!(of_device(&mut qmp, "cd")["inserted"], Value::Null);
    let text = qmp.call("human-monitor-command", &json!({ "command-line": "info block cd" }));
    assert!(text["return"].as_str().unwrap().starts_with("cd: [not inserted]\r\n"), "{text}");
    qmp.say(r#"{"execute":"quit"}"#);
    assert!(natoma.wait().success());
}

/// From that programs know how much room an image needs.
#[test]
fn how_far_the_file_of_an_image_was_written_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.qcow2");
    if !Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&path)
        .arg("1M")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("SKIPPED: there is no qemu-img (Debian: qemu-utils)");
        return;
    }
    let drive = format!("format=qcow2,id=d,file={}", path.display());
    let (mut natoma, mut qtest, mut qmp) = bench(&["-drive", &drive]);
    let highest =
        |qmp: &mut Client| qmp.execute("query-blockstats")["return"][0]["parent"]["stats"]["wr_highest_offset"].clone();
    assert_eq!(highest(&mut qmp), 0);
    // WRITE SECTORS: a cluster of data behind those of the empty image, which are the header and three tables.
    let mut lines: Vec<_> = [(0x1f2, 1), (0x1f3, 9), (0x1f4, 0), (0x1f5, 0), (0x1f6, 0xe0), (0x1f7, 0x30)]
        .map(|(port, value)| format!("outb {port:#x} {value:#x}"))
        .to_vec();
    lines.extend((0..256).map(|_| "outw 0x1f0 0x5a5a".to_owned()));
    for line in lines {
        qtest.say(&line);
        assert_eq!(qtest.hear(), "OK");
    }
    assert_eq!(status(&mut qtest), "OK 0x0050");
    assert!(highest(&mut qmp).as_u64().unwrap() > 4 * 65536);
    qmp.say(r#"{"execute":"quit"}"#);
    assert!(natoma.wait().success());
}

/// The driver of a virtio SCSI host in slot 5, by its legacy interface, as far as commands without an answer of length go.
struct Scsi<'a> {
    qtest: &'a mut Client,
    done: u16,
}

/// BAR 0, and in RAM a queue of 256 entries, and a request with its response and data.
const IO: u16 = 0xc000;
const QUEUE: u64 = 0x10_0000;
const HEADER: u64 = 0x11_0000;
const RESPONSE: u64 = 0x12_0000;
const DATA: u64 = 0x13_0000;
const ROOM: usize = 64;

impl<'a> Scsi<'a> {
    fn new(qtest: &'a mut Client) -> Self {
        let mut scsi = Self { qtest, done: 0 };
        for line in [
            "outl 0xcf8 0x80002810".into(),
            format!("outl 0xcfc {IO:#x}"),
            "outl 0xcf8 0x80002804".into(),
            "outw 0xcfc 5".into(),
            format!("outb {:#x} 1", IO + 18),
            format!("outb {:#x} 3", IO + 18),
            format!("outw {:#x} 2", IO + 14),
            format!("outl {:#x} {:#x}", IO + 8, QUEUE >> 12),
            format!("outb {:#x} 7", IO + 18),
        ] {
            scsi.ok(&line);
        }
        scsi
    }

    fn ok(&mut self, line: &str) -> String {
        self.qtest.say(line);
        let answer = self.qtest.hear();
        answer.strip_prefix("OK").unwrap_or_else(|| panic!("{line}: {answer}")).trim().to_owned()
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        let text = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        self.ok(&format!("write {address:#x} {:#x} 0x{text}", bytes.len()));
    }

    fn read(&mut self, address: u64, len: usize) -> Vec<u8> {
        let text = self.ok(&format!("read {address:#x} {len:#x}"));
        let digits = text.trim_start_matches("0x");
        (0..len).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    /// Key, code and qualifier of the sense data of a command to a target, and what it has answered.
    fn command(&mut self, target: u8, cdb: &[u8]) -> ([u8; 3], Vec<u8>) {
        let mut header = [&[1, target, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], cdb].concat();
        header.resize(51, 0);
        self.write(HEADER, &header);
        self.write(RESPONSE, &[0; 108]);
        for (index, (address, len, flags)) in
            [(HEADER, 51, 1_u16), (RESPONSE, 108, 3), (DATA, ROOM, 2)].iter().enumerate()
        {
            let next = index as u16 + 1;
            let entry =
                [&address.to_le_bytes()[..], &(*len as u32).to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()];
            self.write(QUEUE + 16 * index as u64, &entry.concat());
        }
        self.write(QUEUE + 4096 + 4 + 2 * u64::from(self.done), &[0, 0]);
        self.done += 1;
        self.write(QUEUE + 4096 + 2, &self.done.to_le_bytes());
        self.ok(&format!("outw {:#x} 2", IO + 16));
        assert_eq!(self.read(QUEUE + 8192 + 2, 2), self.done.to_le_bytes(), "{cdb:02x?} ends");
        let response = self.read(RESPONSE, 12 + 18);
        assert_eq!(response[11], 0, "{cdb:02x?} reaches its unit");
        ([response[14], response[24], response[25]], self.read(DATA, ROOM))
    }
}

#[test]
fn scsi_units_tell_the_guest_what_is_done_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let disk = format!("if=none,id=d,format=raw,file={}", path.display());
    let (mut natoma, mut qtest, mut qmp) = bench(&[
        "-device",
        "virtio-scsi-pci,addr=5",
        "-drive",
        &disk,
        "-device",
        "scsi-hd,drive=d",
        "-blockdev",
        "driver=null-co,node-name=iso,size=2097152,read-only=on",
        "-device",
        "scsi-cd,drive=iso,id=cd",
    ]);
    let mut scsi = Scsi::new(&mut qtest);
    for target in [0, 1] {
        assert_eq!(scsi.command(target, &[0x00]).0, [6, 0x29, 0], "power-on");
    }
    // A longer disk.
    qmp.done("block_resize", &json!({ "device": "d", "size": 2 << 20 }));
    assert_eq!(scsi.command(0, &[0x00]).0, [6, 0x2a, 9], "the capacity has changed");
    assert_eq!(scsi.command(0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).1[..4], [0, 0, 0x0f, 0xff]);
    assert_eq!(scsi.command(1, &[0x00]).0, [0; 3]);
    // The guest keeps the tray closed (PREVENT ALLOW MEDIUM REMOVAL), is asked, and has no choice in the end.
    let cd = json!({ "id": "cd" });
    scsi.command(1, &[0x1e, 0, 0, 0, 1, 0]);
    assert_eq!(of_device(&mut qmp, "cd")["locked"], true);
    let locked = "Device 'cd' is locked and force was not specified, wait for tray to open and try again";
    assert_eq!(qmp.call("eject", &cd)["error"]["desc"], locked);
    qmp.done("blockdev-open-tray", &cd);
    let events = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];
    assert_eq!(scsi.command(1, &events).1[4..6], [1, 2], "the user wants the medium");
    let forced = json!({ "id": "cd", "force": true });
    assert_eq!(moved(&mut qmp, "blockdev-open-tray", &forced), (true, json!({ "return": {} })));
    assert_eq!(scsi.command(1, &[0x00]).0, [2, 0x3a, 2], "the tray is open");
    assert_eq!(moved(&mut qmp, "blockdev-close-tray", &cd), (false, json!({ "return": {} })));
    assert_eq!(scsi.command(1, &[0x00]).0, [6, 0x28, 0], "there may be another medium");
    // The guest opens it itself (START STOP UNIT).
    assert_eq!(scsi.command(1, &[0x1b, 0, 0, 0, 2, 0]).0, [0; 3]);
    let opened = qmp.message();
    assert_eq!((event(&opened), &opened["data"]["tray-open"]), ("DEVICE_TRAY_MOVED", &json!(true)));
    qmp.say(r#"{"execute":"quit"}"#);
    assert!(natoma.wait().success());
}
