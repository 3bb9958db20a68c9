//! Block nodes as programs define and change them: command lines and commands of libvirt's kind. The answers are those of
//! QEMU 7.2 to the same commands.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::qmp::{Client, bench, event};
use crate::tools::natoma;

const SIZE: u64 = 1 << 20;

fn image(path: &Path) -> &str {
    File::create(path).unwrap().set_len(SIZE).unwrap();
    path.to_str().unwrap()
}

fn refused(qmp: &mut Client, command: &str, arguments: &Value) -> String {
    let answer = qmp.call(command, arguments);
    answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{command} {arguments}: {answer}")).to_owned()
}

/// What `query-block` says of the drive of a device.
fn of_device(qmp: &mut Client, device: &str) -> Value {
    let drives = qmp.execute("query-block")["return"].clone();
    let found = drives.as_array().unwrap().iter().find(|drive| drive["qdev"] == device);
    found.unwrap_or_else(|| panic!("{device}: {drives}")).clone()
}

#[test]
fn a_command_line_of_libvirts_kind_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, cd) = (directory.path().join("disk.img"), directory.path().join("cd.iso"));
    let (disk, cd) = (image(&disk), image(&cd));
    let storage = json!({
        "driver": "file", "filename": disk, "node-name": "libvirt-1-storage", "auto-read-only": true, "discard": "unmap",
        "cache": { "direct": false, "no-flush": false },
    });
    let format = json!({
        "node-name": "libvirt-1-format", "read-only": false, "discard": "unmap", "detect-zeroes": "unmap",
        "cache": { "direct": false, "no-flush": false }, "driver": "raw", "file": "libvirt-1-storage",
    });
    let (mut natoma, _qtest, mut qmp) = bench(&[
        "-blockdev",
        &storage.to_string(),
        "-blockdev",
        &format.to_string(),
        "-device",
        "virtio-blk-pci,bus=pci.0,addr=0x4,drive=libvirt-1-format,id=virtio-disk0,bootindex=1,write-cache=on",
        "-device",
        "ide-cd,bus=ide.0,unit=0,id=ide0-0-0",
    ]);
    let found = of_device(&mut qmp, "/machine/peripheral/virtio-disk0/virtio-backend");
    assert_eq!((&found["device"], &found["io-status"], &found["removable"]), (&json!(""), &json!("ok"), &json!(false)));
    let inserted = &found["inserted"];
    assert_eq!((&inserted["node-name"], &inserted["file"]), (&json!("libvirt-1-format"), &json!(disk)));
    assert_eq!(
        (&inserted["drv"], &inserted["detect_zeroes"], &inserted["ro"]),
        (&json!("raw"), &json!("unmap"), &json!(false))
    );
    let nodes = qmp.call("query-named-block-nodes", &json!({ "flat": true }));
    let names: Vec<_> =
        nodes["return"].as_array().unwrap().iter().map(|node| (&node["node-name"], &node["drv"])).collect();
    assert_eq!(names, [(&json!("libvirt-1-format"), &json!("raw")), (&json!("libvirt-1-storage"), &json!("file"))]);

    // A node comes, is used, and goes.
    let node = json!({ "driver": "file", "node-name": "iso", "filename": cd, "read-only": true });
    qmp.done("blockdev-add", &node);
    assert_eq!(refused(&mut qmp, "blockdev-add", &node), "Duplicate nodes with node-name='iso'");
    let medium = json!({ "id": "ide0-0-0", "node-name": "iso" });
    assert_eq!(refused(&mut qmp, "blockdev-insert-medium", &medium), "Tray of the device is not open");
    qmp.say(r#"{"execute":"blockdev-open-tray","arguments":{"id":"ide0-0-0"}}"#);
    let moved = qmp.message();
    assert_eq!((event(&moved), &moved["data"]["tray-open"]), ("DEVICE_TRAY_MOVED", &json!(true)));
    assert_eq!(qmp.message(), json!({ "return": {} }));
    qmp.done("blockdev-insert-medium", &medium);
    assert_eq!(of_device(&mut qmp, "ide0-0-0")["inserted"]["node-name"], "iso");
    let in_use = refused(&mut qmp, "blockdev-del", &json!({ "node-name": "iso" }));
    assert!(in_use.starts_with("Node iso is in use"), "{in_use}");
    let in_use = refused(&mut qmp, "blockdev-del", &json!({ "node-name": "libvirt-1-storage" }));
    assert!(in_use.starts_with("Node libvirt-1-storage is in use"), "{in_use}");
    qmp.done("blockdev-remove-medium", &json!({ "id": "ide0-0-0" }));
    qmp.done("blockdev-del", &json!({ "node-name": "iso" }));
    let missing = json!({ "id": "ide0-0-0", "node-name": "iso" });
    assert_eq!(refused(&mut qmp, "blockdev-insert-medium", &missing), "Node 'iso' not found");
    let missing =
        refused(&mut qmp, "blockdev-add", &json!({ "driver": "file", "node-name": "x", "filename": "/no/such/file" }));
    assert!(missing.contains("/no/such/file") && missing.contains("No such file or directory"), "{missing}");

    // Sizes are rounded up to whole sectors.
    qmp.done("block_resize", &json!({ "node-name": "libvirt-1-format", "size": 2_000_001 }));
    assert_eq!(fs::metadata(disk).unwrap().len(), 2_000_384);
    let found = of_device(&mut qmp, "/machine/peripheral/virtio-disk0/virtio-backend");
    assert_eq!(found["inserted"]["image"]["virtual-size"], 2_000_384);
    for (arguments, answer) in [
        (json!({ "node-name": "nope", "size": 512 }), "Cannot find device='' nor node-name='nope'"),
        (json!({ "device": "nope", "size": 512 }), "Cannot find device='nope' nor node-name=''"),
        (json!({ "size": 512 }), "Cannot find device='' nor node-name=''"),
        (json!({ "node-name": "libvirt-1-format", "size": -1 }), "Parameter 'size' expects a >0 size"),
    ] {
        assert_eq!(refused(&mut qmp, "block_resize", &arguments), answer, "{arguments}");
    }

    let limits = |bps: u64, bps_rd: u64| {
        json!({
            "id": "/machine/peripheral/virtio-disk0/virtio-backend", "bps": bps, "bps_rd": bps_rd, "bps_wr": 0, "iops": 100,
            "iops_rd": 0, "iops_wr": 0, "iops_max": 200, "iops_max_length": 3,
        })
    };
    qmp.done("block_set_io_throttle", &limits(5000, 0));
    let inserted = of_device(&mut qmp, "/machine/peripheral/virtio-disk0/virtio-backend")["inserted"].clone();
    assert_eq!(
        (&inserted["bps"], &inserted["iops"], &inserted["iops_max"], &inserted["iops_max_length"]),
        (&json!(5000), &json!(100), &json!(200), &json!(3))
    );
    assert!(refused(&mut qmp, "block_set_io_throttle", &limits(5000, 1)).contains("both directions"));

    let stats = qmp.execute("query-blockstats");
    let of_disk = stats["return"].as_array().unwrap().iter().find(|drive| drive["node-name"] == "libvirt-1-format");
    assert!(of_disk.unwrap()["stats"]["rd_operations"].is_u64(), "{stats}");
    let text = qmp.call("human-monitor-command", &json!({ "command-line": "info block -n" }));
    assert!(text["return"].as_str().unwrap().contains("libvirt-1-storage: "), "{text}");
    qmp.say(r#"{"execute":"quit"}"#);
    assert!(natoma.wait().success());
}

/// What ends natoma at the start says why, in QEMU's words where it has some.
#[test]
fn nodes_that_can_t_be_are_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let path = image(&path);
    let file = format!("driver=file,node-name=f,filename={path}");
    let raw = "driver=raw,node-name=r,file=f";
    let qcow2 = format!("driver=qcow2,node-name=q,file.driver=file,file.filename={path}");
    let part = format!("driver=raw,node-name=p,offset=1024,size=2097152,file.driver=file,file.filename={path}");
    let throttled = "driver=throttle,node-name=t,throttle-group=g,file.driver=null-co";
    let device = |node: &str| format!("virtio-blk-pci,drive={node}");
    let (of_r, of_f) = (device("r"), device("f"));
    for (options, reason) in [
        (
            vec!["-blockdev", &file, "-blockdev", raw, "-device", &of_r, "-device", &of_r],
            "Permission conflict on node 'r': permissions 'write' are both required by",
        ),
        (
            vec!["-blockdev", &file, "-blockdev", raw, "-device", &of_r, "-device", &of_f],
            "Permission conflict on node 'f': permissions 'write' are both required by",
        ),
        (vec!["-blockdev", &qcow2], "it is no qcow2 image"),
        (vec!["-blockdev", &part], "has to be smaller or equal to the actual size of the containing file (1048576)"),
        (vec!["-blockdev", throttled], "Throttle group 'g' does not exist"),
        (vec!["-blockdev", "driver=host_device,node-name=h,filename=Cargo.toml"], "'host_device' driver requires"),
        (vec!["-blockdev", "driver=file,node-name=h,filename=/no/such"], "No such file or directory"),
    ] {
        let output = natoma(&["-accel", "qtest"]).args(&options).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(reason), "{options:?}: {text}");
    }
}

/// Two devices write to one image, and two machines.
#[test]
fn an_image_is_shared_by_those_who_bear_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = format!("driver=file,node-name=f,filename={}", image(&path));
    let machine = |device: &str| {
        ["-blockdev", &file, "-blockdev", "driver=raw,node-name=r,file=f", "-device", device, "-device", device]
            .map(str::to_owned)
    };
    let bears = machine("virtio-blk-pci,drive=r,share-rw=on");
    let (mut first, _qtest, mut qmp) = bench(&bears.each_ref().map(String::as_str));
    let (mut second, _qtest, mut other) = bench(&bears.each_ref().map(String::as_str));
    let one = &bears[..6];
    let alone = one.iter().map(|word| word.replace(",share-rw=on", ""));
    let output = natoma(&["-accel", "qtest"]).args(alone).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("another process uses it"), "{text}");
    let output = natoma(&["-accel", "qtest"]).args(machine("virtio-blk-pci,drive=r")).output().unwrap();
    assert!(!output.status.success());
    for qmp in [&mut qmp, &mut other] {
        qmp.say(r#"{"execute":"quit"}"#);
    }
    assert!(first.wait().success() && second.wait().success());
}

/// An image over others says so, however deep they are.
#[test]
fn a_chain_of_images_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (base, top) = (directory.path().join("base.raw"), directory.path().join("top.qcow2"));
    let base = image(&base);
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw"]).arg(&top);
    if !create.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no qemu-img (Debian: qemu-utils)");
        return;
    }
    let drive = format!("if=virtio,id=d,format=qcow2,file={},throttling.iops-total=7", top.display());
    let (mut natoma, _qtest, mut qmp) = bench(&["-drive", &drive]);
    let drives = qmp.execute("query-block");
    let inserted = &drives["return"][0]["inserted"];
    assert_eq!((&inserted["drv"], &inserted["backing_file"]), (&json!("qcow2"), &json!("base.raw")), "{drives}");
    assert_eq!(
        (&inserted["backing_file_depth"], &inserted["iops"], &inserted["group"]),
        (&json!(1), &json!(7), &json!("d"))
    );
    let image = &inserted["image"];
    assert_eq!((&image["backing-image"]["filename"], &image["virtual-size"]), (&json!(base), &json!(SIZE)));
    assert_eq!((&image["cluster-size"], &image["full-backing-filename"]), (&json!(65536), &json!(base)));
    let chain = qmp.execute("query-named-block-nodes");
    let drivers: Vec<_> =
        chain["return"].as_array().unwrap().iter().map(|node| node["drv"].as_str().unwrap()).collect();
    assert_eq!(drivers, ["qcow2", "raw", "file", "file"]);
    // Of nodes it is told how far they were written, and what of files was discarded.
    let stats = qmp.execute("query-blockstats");
    let of_drive = &stats["return"][0];
    let discards = json!({ "driver": "file", "discard-nb-ok": 0, "discard-nb-failed": 0, "discard-bytes-ok": 0 });
    for (node, bottom) in [(of_drive, &of_drive["parent"]), (&of_drive["backing"], &of_drive["backing"]["parent"])] {
        assert_eq!((&node["driver-specific"], &bottom["driver-specific"]), (&Value::Null, &discards), "{stats}");
        assert_eq!(bottom["stats"]["account_failed"], false);
    }
    assert_eq!((&of_drive["stats"]["account_failed"], &of_drive["backing"]["backing"]), (&json!(true), &Value::Null));
    let nodes = qmp.call("query-blockstats", &json!({ "query-nodes": true }));
    let has =
        |name: &str| nodes["return"].as_array().unwrap().iter().map(|node| !node[name].is_null()).collect::<Vec<_>>();
    assert_eq!(has("parent"), [false, false, true, true], "{nodes}");
    assert_eq!(has("backing"), [false; 4]);
    let text = qmp.call("human-monitor-command", &json!({ "command-line": "info block -v d" }));
    let text = text["return"].as_str().unwrap();
    assert!(
        text.contains("    Backing file:     base.raw (chain depth: 1)\r\n") && text.contains("Images:\r\n"),
        "{text}"
    );
    qmp.say(r#"{"execute":"quit"}"#);
    assert!(natoma.wait().success());
}
