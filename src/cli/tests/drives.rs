//! Drives: floppies, flash chips, and images for devices.

use super::*;

#[test]
fn drives_become_floppies_flash_chips_or_what_devices_ask_for() {
    let image = |access, driver: fn(Child) -> NodeDriver| {
        let file = FileConfig::new("/i", FileKind::Any);
        let file = NodeConfig { access, discard: true, ..NodeConfig::new(NodeDriver::File(file)) };
        NodeConfig { access, ..NodeConfig::new(driver(file.into())) }
    };
    let probed = |file| NodeDriver::Probed { file };
    let raw = |file| NodeDriver::Raw { file, offset: 0, size: None };
    let drive = |id: &str, image: &NodeConfig| Drive::new(id, Some(image.clone().into()));
    let auto = image(Access::Auto, probed);

    let config = machine("-fdb /i -global isa-fdc.fdtypeB=144 -global isa-fdc.fallback=120");
    assert_eq!(config.drives, [drive("floppy1", &auto), Drive::new("floppy0", None), Drive::new("ide1-cd0", None)]);
    assert_eq!(config.fdc.drives, [floppy("floppy0", FloppyKind::Auto), floppy("floppy1", FloppyKind::Mb144)]);
    assert_eq!(config.fdc.fallback, FloppyKind::Mb120);

    let config = machine(
        "-nodefaults -drive if=floppy,file=/i,format=raw,id=a,readonly=on -drive file=file:/i,if=floppy -snapshot",
    );
    let snapshot = |access, image: NodeConfig| {
        let file = image.into();
        NodeConfig { access, ..NodeConfig::new(NodeDriver::Overlay { file }) }
    };
    assert_eq!(
        config.drives,
        [
            drive("a", &snapshot(Access::ReadOnly, image(Access::ReadOnly, raw))),
            drive("floppy1", &snapshot(Access::ReadWrite, image(Access::ReadOnly, probed)))
        ]
    );

    let config = machine(
        "-drive if=pflash,file=/i,unit=1,cache=unsafe,file.locking=off -drive if=pflash,file=/i,readonly=on,cache=writethrough",
    );
    assert_eq!(config.pflash, [Some("pflash0".into()), Some("pflash1".into())]);
    let modes = config.drives[..2].iter().map(|drive| match &drive.medium {
        Some(Child::Node(node)) => match &node.driver {
            NodeDriver::Probed { file: Child::Node(file) } => match &file.driver {
                NodeDriver::File(config) => {
                    ((node.access, file.access), drive.write_back, file.no_flush, config.locking)
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    let modes: Vec<_> = modes.collect();
    let both = |access| (access, access);
    assert_eq!(modes[0], (both(Access::ReadWrite), true, true, Locking::Off));
    assert_eq!(modes[1], (both(Access::ReadOnly), false, false, Locking::Auto));

    let config = machine("-pflash /a -drive if=none,file=/i,id=vars -machine pflash1=vars,max-fw-size=16M");
    assert_eq!(config.pflash, [Some("pflash0".into()), Some("vars".into())]);
    assert_eq!(config.platform.max_firmware_size, 16 << 20);
    let both = command_line("-bios b -pflash /a").unwrap().warnings;
    assert_eq!(both, ["-bios b: not used, as the firmware in the first flash chip is started"]);

    let config =
        machine("-drive if=none,id=d,file=/i -device floppy,drive=d,unit=1,id=b -device floppy,drive-type=144");
    let device = |id: Option<&str>, unit, drive: Option<&str>, kind| {
        let [id, drive] = [id, drive].map(|text| text.map(str::to_owned));
        DeviceConfig::Floppy(FloppyDevice { id, unit, drive, kind })
    };
    assert_eq!(
        config.devices,
        [device(Some("b"), 1, Some("d"), FloppyKind::Auto), device(None, 0, Some("floppy0"), FloppyKind::Mb144)]
    );
    assert_eq!(config.fdc, FdcConfig::default());

    check_errors(&[
        ("-drive if=scsi", "-drive if=scsi: a disk needs contents: give file=PATH"),
        ("-drive if=scsi,index=256,file=/i", "-drive if=scsi,index=256,file=/i: "),
        ("-drive if=scsi,bus=1,file=/i", "-drive if=scsi,bus=1,file=/i: if=scsi has one bus, 0"),
        ("-drive if=flopy", "-drive if=flopy: there is no interface 'flopy'; did you mean 'floppy'?"),
        (
            "-drive if=floppy,format=qed,file=/i",
            "-drive if=floppy,format=qed,file=/i: format=qed is not supported; convert",
        ),
        ("-drive if=floppy,format=row,file=/i", "-drive if=floppy,format=row,file=/i: there is no format 'row'"),
        (
            "-drive aio=native,file=/i",
            "-drive aio=native,file=/i: aio=native goes past the host's cache: add cache.direct=on",
        ),
        ("-drive if=floppy,format=qed", "-drive if=floppy,format=qed: format=qed is not supported"),
        (
            "-drive if=floppy,readonly=off,read-only=on,file=/i",
            "-drive if=floppy,readonly=off,read-only=on,file=/i: readonly and read-only mean the same here",
        ),
        ("-drive if=floppy,aio=native", "-drive if=floppy,aio=native: "),
        ("-drive if=floppy,index=2", "-drive if=floppy,index=2: if=floppy has 2 places, index 0 to 1"),
        ("-drive if=floppy,index=1,unit=1", "-drive if=floppy,index=1,unit=1: index and unit mean the same"),
        (
            "-fda /i -drive if=floppy,index=0",
            "-drive if=floppy,index=0: there already is a drive with if=floppy,index=0",
        ),
        (
            "-fda fat:floppy:/tmp",
            "-fda fat:floppy:/tmp: natoma opens files and NBD exports only, and 'fat:' is not supported",
        ),
        ("-drive if=pflash", "-drive if=pflash: a flash chip needs contents: give file=PATH"),
        ("-pflash a -pflash b -pflash c", "-pflash c: if=pflash has 2 places, index 0 to 1"),
        ("-machine pflash0=x", "-machine pflash0=x: there is no drive 'x': define it"),
        (
            "-drive if=none,id=x -machine pflash0=x",
            "-machine pflash0=x: a flash chip needs contents: give file=PATH (drive 'x')",
        ),
        (
            "-pflash a -drive if=none,id=x,file=y -M pflash0=x",
            "-machine pflash0=x: pflash0 is in use by -drive if=pflash",
        ),
        ("-M max-fw-size=17M", "-machine max-fw-size=17M: max-fw-size is a size up to 16M"),
        ("-drive if=none,offset=1k,file=/i", "-drive if=none,offset=1k,file=/i: "),
        ("-drive if=none,driver=null-co,offset=1k", "-drive if=none,driver=null-co,offset=1k: "),
        ("-fda /i -drive if=none,id=floppy0", "-drive if=none,id=floppy0: there are two drives with the id 'floppy0'"),
        ("-device floppy,drive=x", "-device floppy,drive=x: there is no drive 'x': define it"),
        ("-fda /i -device floppy,drive=floppy0", "-device floppy,drive=floppy0: the drive 'floppy0' is in use"),
        ("-fda /i -device floppy,unit=0", "-device floppy,unit=0: there already is a floppy drive with unit 0"),
        ("-fda /i -fdb /i -device floppy", "-device floppy: the controller has two drives"),
    ]);
}

#[test]
fn a_drive_says_of_its_node_what_blockdev_says() {
    let node = |line: &str| {
        let mut config = machine(&format!("-nodefaults {line}"));
        config.drives.pop().and_then(|drive| drive.medium).unwrap_or_else(|| panic!("{line}: no medium"))
    };
    for (short, long) in [
        ("format=raw,file=/i,offset=1k,size=2k", "driver=raw,file.driver=file,file.filename=/i,offset=1024,size=2048"),
        (
            "driver=null-co,size=1G,read-zeroes=on",
            "file.driver=null-co,file.size=1073741824,file.read-zeroes=on,driver=raw",
        ),
        ("driver=nbd,server.type=unix,server.path=/s,export=e", "file=nbd+unix:///e?socket=/s,driver=raw"),
    ] {
        let (short, long) = (node(&format!("-drive if=none,{short}")), node(&format!("-drive if=none,{long}")));
        let is_that = match (&short, &long) {
            // A driver of its own is what the other has its format over.
            (Child::Node(short), Child::Node(long)) => match &long.driver {
                NodeDriver::Raw { file: Child::Node(file), offset: 0, size: None } => short.driver == file.driver,
                _ => short == long,
            },
            _ => false,
        };
        assert!(is_that, "{short:?} is not {long:?}");
    }
    let Child::Node(device) = node("-drive if=none,format=host_device,file=/dev/x") else { panic!("it has a name") };
    let NodeDriver::File(file) = &device.driver else { panic!("{device:?}") };
    assert_eq!((file.kind, &*file.path), (FileKind::Device, Path::new("/dev/x")));
    let Child::Node(node) = node("-drive if=none,format=raw,file=/i,detect-zeroes=unmap") else {
        panic!("it has a name")
    };
    assert_eq!(node.detect_zeroes, DetectZeroes::On, "nothing is given back without discard=unmap");
}

/// They say how much memory QEMU may take for the same.
#[test]
fn sizes_of_caches_change_nothing() {
    let plain = machine("-nodefaults -drive if=none,file=/i,format=qcow2").drives;
    let sizes = "l2-cache-size=1M,l2-cache-entry-size=4k,refcount-cache-size=1M,cache-size=2M,cache-clean-interval=60";
    assert_eq!(machine(&format!("-nodefaults -drive if=none,file=/i,format=qcow2,{sizes}")).drives, plain);
    let node = r#"-nodefaults -blockdev {"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"/i"}"#;
    assert_eq!(machine(&format!(r#"{node},"cache-size":65536}}"#)).nodes, machine(&format!("{node}}}")).nodes);
    let refused = error("-drive if=none,file=/i,format=qcow2,l2-cache-size=much");
    assert!(refused.contains("expected a size"), "{refused}");
}
