//! Disks and CD drives of the IDE controller.

use super::*;

fn disk(place: usize, drive: &str) -> DeviceConfig {
    DeviceConfig::IdeHd(IdeDrive::new(place, Some(drive.into())))
}

fn cd(place: usize, drive: &str) -> DeviceConfig {
    DeviceConfig::IdeCd(IdeDrive::new(place, Some(drive.into())))
}

/// Ids and places as QEMU gives them.
#[test]
fn drives_take_the_places_that_they_name_or_the_first_free_ones() {
    for (line, devices) in [
        ("/i", vec![disk(0, "ide0-hd0"), cd(2, "ide1-cd0")]),
        ("-hdb /i -hdd /j", vec![disk(1, "ide0-hd1"), disk(3, "ide1-hd1"), cd(2, "ide1-cd0")]),
        ("-hdc /i", vec![disk(2, "ide1-hd0")]),
        ("-cdrom /i", vec![cd(2, "ide1-cd0")]),
        ("-nodefaults -drive file=/i -drive file=/j,media=cdrom", vec![disk(0, "ide0-hd0"), cd(1, "ide0-cd1")]),
        ("-nodefaults -drive if=ide,bus=1,file=/i", vec![disk(2, "ide1-hd0")]),
        ("-nodefaults -drive bus=1,unit=1,file=/i,id=x", vec![disk(3, "x")]),
        ("-nodefaults -drive unit=1,media=cdrom", vec![cd(1, "ide0-cd1")]),
        ("-nodefaults -drive index=3,file=/i -drive file=/j", vec![disk(3, "ide1-hd1"), disk(0, "ide0-hd0")]),
        ("-device ide-cd", vec![]),
    ] {
        assert_eq!(machine(line).ide, devices, "{line}");
    }
    let image = |line: &str| match machine(line).drives[0].medium.clone() {
        Some(Child::Node(node)) => *node,
        other => panic!("{other:?}"),
    };
    assert_eq!(image("-hda /i").access, Access::ReadWrite);
    assert_eq!(image("-cdrom /i").access, Access::ReadOnly);
    assert_eq!(image("-drive if=none,media=cdrom,file=/i,id=d").access, Access::ReadOnly);
    assert!(matches!(image("-snapshot /i").driver, NodeDriver::Overlay { .. }));
}

#[test]
fn devices_have_names_numbers_and_a_place_in_the_boot_order() {
    let config = machine(
        "-nodefaults -drive if=none,id=d,file=/i,rerror=stop,werror=ignore -device \
         ide-hd,drive=d,bus=ide.1,unit=1,serial=S1,model=M,ver=V,wwn=0x5000,bootindex=3,rotation_rate=1,id=disk0 \
         -device ide-cd,unit=1",
    );
    let drive = IdeDrive {
        id: Some("disk0".into()),
        serial: Some("S1".into()),
        model: Some("M".into()),
        version: Some("V".into()),
        wwn: Some(0x5000),
        bootindex: Some(3),
        rotation_rate: 1,
        ..IdeDrive::new(3, Some("d".into()))
    };
    assert_eq!(
        config.devices,
        [DeviceConfig::IdeHd(drive), DeviceConfig::IdeCd(IdeDrive::new(1, Some("ide0-cd1".into())))]
    );
    assert_eq!((config.drives[0].on_read_error, config.drives[0].on_write_error), (OnError::Stop, OnError::Ignore));
    let config = machine(
        "-nodefaults -drive if=none,id=d,file=/i,rerror=stop,werror=ignore -blockdev null-co,node-name=n -global \
         ide-hd.werror=stop -device ide-hd,drive=d,rerror=auto -device ide-cd,drive=n,rerror=enospc,werror=report",
    );
    let policies: Vec<_> = config.drives.iter().map(|drive| (drive.on_read_error, drive.on_write_error)).collect();
    assert_eq!(
        policies,
        [(OnError::Stop, OnError::Stop), (OnError::Enospc, OnError::Report)],
        "those of devices count"
    );
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    check_errors(&[
        (
            "-hda a -hdb b -hdc c -hdd d -drive file=e",
            "-drive file=e: the IDE controller has places for four devices, and all are taken: leave one out",
        ),
        ("-drive file=e,index=4", "-drive file=e,index=4: if=ide has 4 places, index 0 to 3 on 2 buses"),
        ("-hdc c -cdrom d", "-cdrom d: there already is a drive with if=ide,index=2 (bus 1, unit 0)"),
        ("-drive file=e,index=1,unit=1", "-drive file=e,index=1,unit=1: index says bus and unit"),
        ("-drive if=ide", "-drive if=ide: a disk needs contents: give file=PATH"),
        ("-drive file=e,readonly=on", "-drive file=e,readonly=on: an IDE disk can't be write protected"),
        ("-drive file=e,media=cdrom,readonly=off", "-drive file=e,media=cdrom,readonly=off: a CD can't be written"),
        ("-drive if=floppy,media=cdrom", "-drive if=floppy,media=cdrom: media=cdrom: if=floppy has no CD drives"),
        ("-drive if=floppy,rerror=stop", "-drive if=floppy,rerror=stop: rerror and werror are for disks"),
        ("-drive if=floppy,bus=1", "-drive if=floppy,bus=1: if=floppy has one bus, 0"),
        ("-drive file=e,rerror=enospc", "-drive file=e,rerror=enospc: rerror=enospc: expected"),
        ("-device ide-hd", "-device ide-hd: 'drive' is missing: give drive=ID"),
        ("-device ide-hd,drive=x", "-device ide-hd,drive=x: there is no drive 'x': define it"),
        (
            "-device ide-cd,serial=123456789012345678901",
            "-device ide-cd,serial=123456789012345678901: serial has at most 20",
        ),
        (
            "-hda a -device ide-cd,bus=ide.0,unit=0",
            "-device ide-cd,bus=ide.0,unit=0: there already is a drive with if=ide,index=0",
        ),
        (
            "-hda a -hdb b -hdc c -hdd d -device ide-cd",
            "-device ide-cd: the IDE controller has places for four devices, and all are taken: leave one out",
        ),
        ("-device ide-cd,bus=ide.2", "-device ide-cd,bus=ide.2: "),
        ("-device ide-cf,drive=x", "-device ide-cf,drive=x: "),
    ]);
}
