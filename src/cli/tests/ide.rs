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
    assert_eq!(image("-drive if=virtio,media=cdrom,file=/i").access, Access::ReadOnly);
    assert!(matches!(image("-snapshot /i").driver, NodeDriver::Overlay { .. }));
}

#[test]
fn devices_have_names_numbers_and_a_place_in_the_boot_order() {
    let config = machine(
        "-nodefaults -drive if=none,id=d,file=/i,rerror=stop,werror=ignore -device \
         ide-hd,drive=d,bus=ide.1,unit=1,serial=S1,model=M,ver=V,wwn=0x5000,bootindex=3,rotation_rate=1,\
         write-cache=off,id=disk0 \
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
        write_cache: Some(false),
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
fn the_geometry_of_a_disk_can_be_stated() {
    let config = machine(
        "-nodefaults -drive if=none,id=d,file=/i -device ide-hd,drive=d,cyls=615,heads=4,secs=17,bios-chs-trans=rechs",
    );
    let [DeviceConfig::IdeHd(disk)] = &config.devices[..] else { panic!("{:?}", config.devices) };
    assert_eq!((disk.cyls, disk.heads, disk.secs, disk.translation), (615, 4, 17, Some(ChsTranslation::Rechs)));
    let device = "-drive if=none,id=d,file=/i -device ide-hd,drive=d";
    check_errors(&[
        (&format!("{device},cyls=3"), "-device ide-hd,drive=d,cyls=3: cyls, heads and secs have to be given together"),
        (
            &format!("{device},cyls=3,heads=17,secs=9"),
            "-device ide-hd,drive=d,cyls=3,heads=17,secs=9: an IDE disk has 16 heads at most",
        ),
    ]);
}

#[test]
fn devices_of_drives_have_the_properties_of_global() {
    let config = machine(
        "-hda /i -drive if=virtio,file=/j,format=raw -global ide-hd.serial=S -global ide-hd.werror=stop -global ide-cd.model=M \
         -global virtio-blk-pci.queue-size=64 -global virtio-blk-pci.share-rw=on",
    );
    let disk = IdeDrive { serial: Some("S".into()), ..IdeDrive::new(0, Some("ide0-hd0".into())) };
    let cd = IdeDrive { model: Some("M".into()), ..IdeDrive::new(2, Some("ide1-cd0".into())) };
    assert_eq!(config.ide, [DeviceConfig::IdeHd(disk), DeviceConfig::IdeCd(cd)]);
    let virtio = VirtioBlk { queue_size: 64, ..VirtioBlk::new("virtio0") };
    let virtio = PciDevice::new(PciFunction::VirtioBlk(Box::new(virtio)));
    assert!(config.devices.contains(&DeviceConfig::Pci(virtio)), "{:?}", config.devices);
    let drives: Vec<_> =
        config.drives.iter().map(|drive| (drive.id.as_str(), drive.on_write_error, drive.share_rw)).take(2).collect();
    assert_eq!(drives, [("ide0-hd0", OnError::Stop, false), ("virtio0", OnError::Enospc, true)]);
    check_errors(&[("-hda /i -global ide-hd.cyls=3", "-global: cyls, heads and secs have to be given together")]);
}

#[test]
fn what_drive_leaves_to_devices_is_refused_with_the_place_for_it() {
    check_errors(&[
        (
            "-drive if=virtio,media=cdrom,file=/i,readonly=off",
            "-drive if=virtio,media=cdrom,file=/i,readonly=off: a CD can't be written",
        ),
        ("-drive file=/i,serial=A", "-drive file=/i,serial=A: serial=A is not supported yet; give it to the device:"),
        (
            "-drive file=/i,trans=lba",
            "-drive file=/i,trans=lba: trans=lba is not supported yet; give it to the device:",
        ),
        (
            "-drive file=/i,copy-on-read=on",
            "-drive file=/i,copy-on-read=on: copy-on-read=on is not supported yet; what is read",
        ),
        (
            "-drive if=virtio,file=/i,force-share=on",
            "-drive if=virtio,file=/i,force-share=on: force-share=on can only be used",
        ),
    ]);
    let of_cd = |device: &str, keys: &str| {
        let config = machine(&format!(
            "-nodefaults -device virtio-scsi-pci -drive if=none,id=d,file=/i{keys} -device {device},drive=d"
        ));
        match &config.drives[0].medium {
            Some(Child::Node(node)) => match &node.driver {
                NodeDriver::Probed { file: Child::Node(file) } => (node.access, file.access),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    for cd in ["ide-cd", "scsi-cd"] {
        assert_eq!(of_cd(cd, ""), (Access::ReadOnly, Access::ReadOnly), "it is only read");
        assert_eq!(of_cd(cd, ",readonly=off"), (Access::ReadWrite, Access::ReadWrite), "the user says otherwise");
    }
    assert_eq!(of_cd("scsi-hd", "").0, Access::Auto);
    let access = |keys: &str| {
        let config = machine(&format!("-drive if=virtio,format=raw,file=/i,{keys}"));
        match &config.drives[0].medium {
            Some(Child::Node(node)) => (node.access, node.force_share),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(access("auto-read-only=on"), (Access::Auto, false));
    assert_eq!(access("auto-read-only=off"), (Access::ReadWrite, false));
    assert_eq!(access("force-share=on,readonly=on").0, Access::ReadOnly);
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
        ("-device ide-cd,serial=ä", "-device ide-cd,serial=ä: serial=ä: expected ASCII characters"),
        ("-device ide-hd,drive=x,physical_block_size=1000", "-device ide-hd,drive=x,physical_block_size=1000: "),
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

#[test]
fn physical_sectors_have_a_size() {
    let config = machine("-drive if=none,id=d,file=/d -device ide-hd,drive=d,physical_block_size=4k");
    let disk = IdeDrive { physical_block_size: 4096, ..IdeDrive::new(0, Some("d".into())) };
    assert_eq!(config.devices, [DeviceConfig::IdeHd(disk)]);
    let config = machine("-global ide-hd.physical_block_size=8192 -hda /d");
    let sizes = config.ide.iter().filter_map(|device| match device {
        DeviceConfig::IdeHd(disk) => Some(disk.physical_block_size),
        _ => None,
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [8192]);
}
