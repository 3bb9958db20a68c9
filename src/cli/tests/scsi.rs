//! SCSI hosts, disks and CD drives.

use super::*;

const DRIVES: &str = "-nodefaults -drive if=none,id=a,file=/a -drive if=none,id=b,file=/b -drive if=none,id=c,file=/c";

fn host(function: VirtioScsi, id: Option<&str>) -> DeviceConfig {
    let device = PciDevice::new(PciFunction::VirtioScsi(Box::new(function)));
    DeviceConfig::Pci(PciDevice { id: id.map(str::to_owned), ..device })
}

#[test]
fn units_find_their_places_as_in_qemu() {
    let config = machine(&format!(
        "{DRIVES} -device virtio-scsi-pci,id=h -device virtio-scsi-pci -device scsi-hd,drive=a -device scsi-hd,drive=b \
         -device scsi-hd,drive=c,scsi-id=0 -device scsi-cd,lun=7 -device scsi-cd,bus=scsi.0,scsi-id=3,lun=300"
    ));
    let disk = |target, lun, drive: &str| {
        DeviceConfig::ScsiHd(Box::new(ScsiDrive::new("h.0", target, lun, Some(drive.into()))))
    };
    // A drive without a medium has a name for its media to come, which nobody is told.
    let cd = |bus, target, lun, drive: &str| {
        DeviceConfig::ScsiCd(Box::new(ScsiDrive::new(bus, target, lun, Some(drive.into()))))
    };
    let hosts = [host(VirtioScsi::new("h.0"), Some("h")), host(VirtioScsi::new("scsi.0"), None)];
    let units = [
        disk(0, 0, "a"),
        disk(1, 0, "b"),
        disk(0, 1, "c"),
        cd("h.0", 0, 7, "#h.0-cd0.7"),
        cd("scsi.0", 3, 300, "#scsi.0-cd3.300"),
    ];
    assert_eq!(config.devices, [&hosts[..], &units].concat());
}

#[test]
fn units_and_hosts_have_qemus_properties() {
    let config = machine(&format!(
        "{DRIVES} -device virtio-scsi-pci-non-transitional,num_queues=4,virtqueue_size=64,seg_max_adjust=off,max_sectors=1024,\
         cmd_per_lun=8,hotplug=off,param_change=off \
         -device scsi-hd,drive=a,id=d,serial=S,vendor=V,product=P,ver=1,device_id=I,wwn=1,port_wwn=2,port_index=3,bootindex=4,\
         removable=on,dpofua=on,rotation_rate=7200,logical_block_size=4k,physical_block_size=8k,min_io_size=8k,\
         opt_io_size=64k,discard_granularity=0,write-cache=off,cyls=10,heads=4,secs=32"
    ));
    let function = VirtioScsi {
        virtio: VirtioOptions {
            interface: VirtioInterface::NonTransitional,
            legacy: false,
            ..VirtioOptions::default()
        },
        queues: Some(4),
        queue_size: 64,
        seg_max_adjust: false,
        max_sectors: 1024,
        cmd_per_lun: 8,
        hotplug: false,
        param_change: false,
        ..VirtioScsi::new("scsi.0")
    };
    let text = |text: &str| Some(text.to_owned());
    let unit = ScsiDrive {
        id: text("d"),
        serial: text("S"),
        vendor: text("V"),
        product: text("P"),
        ver: text("1"),
        device_id: text("I"),
        wwn: Some(1),
        port_wwn: Some(2),
        port_index: 3,
        bootindex: Some(4),
        disk: ScsiDisk {
            removable: true,
            dpofua: true,
            rotation_rate: 7200,
            blocks: DiskBlocks {
                logical_block_size: 4096,
                physical_block_size: 8192,
                min_io_size: 8192,
                opt_io_size: 65536,
                discard_granularity: Some(0),
                write_cache: Some(false),
                geometry: Some((10, 4, 32)),
            },
        },
        ..ScsiDrive::new("scsi.0", 0, 0, text("a"))
    };
    assert_eq!(config.devices, [host(function, None), DeviceConfig::ScsiHd(Box::new(unit))]);
}

#[test]
fn drives_are_units_of_a_host_that_is_there_for_them() {
    let config = machine(
        "-nodefaults -drive if=scsi,file=/a -drive if=scsi,media=cdrom,index=5 -drive if=scsi,file=/c,readonly=on,id=c \
         -device virtio-scsi-pci -device scsi-cd -global virtio-scsi-pci.num_queues=2 -global scsi-hd.vendor=V",
    );
    let with_queues = |bus| host(VirtioScsi { queues: Some(2), ..VirtioScsi::new(bus) }, None);
    let disk = |target, drive: &str| {
        let unit = ScsiDrive::new("#scsi.0", target, 0, Some(drive.to_owned()));
        DeviceConfig::ScsiHd(Box::new(ScsiDrive { vendor: Some("V".into()), ..unit }))
    };
    let cd = |bus, target, drive: &str| {
        DeviceConfig::ScsiCd(Box::new(ScsiDrive::new(bus, target, 0, Some(drive.to_owned()))))
    };
    let expected = [
        with_queues("scsi.0"),
        cd("scsi.0", 0, "#scsi.0-cd0.0"),
        with_queues("#scsi.0"),
        disk(0, "scsi0-hd0"),
        cd("#scsi.0", 5, "scsi0-cd5"),
        disk(1, "c"),
    ];
    assert_eq!(config.devices, expected);
    let access = |id: &str| match &config.drives.iter().find(|drive| drive.id == id).unwrap().medium {
        Some(Child::Node(node)) => Some(node.access),
        _ => None,
    };
    assert_eq!(["scsi0-hd0", "scsi0-cd5", "c"].map(access), [Some(Access::Auto), None, Some(Access::ReadOnly)]);
}

#[test]
fn texts_that_are_too_long_are_cut_off_as_by_qemu() {
    let serial = "01234567890123456789012345678901234567890123456789";
    let line = format!(
        "-nodefaults -device virtio-scsi,id=s -drive if=none,id=d,file=/d -device scsi-cd,serial={serial},vendor=123456789 \
         -device virtio-blk,drive=d,serial={serial} -device ide-cd,serial={serial},model={serial},ver=123456789"
    );
    let command_line = command_line(&line).unwrap();
    let Request::Run(config) = command_line.request else { panic!("it is a machine") };
    let [_, DeviceConfig::ScsiCd(scsi), DeviceConfig::Pci(disk), DeviceConfig::IdeCd(ide)] = &config.devices[..] else {
        panic!("{:?}", config.devices)
    };
    let PciFunction::VirtioBlk(disk) = &disk.function else { panic!("{disk:?}") };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    assert_eq!((text(&scsi.serial), text(&scsi.vendor)), (serial[..36].to_owned(), "12345678".to_owned()));
    assert_eq!(text(&scsi.device_id), serial, "there is room for all of it");
    assert_eq!(disk.serial, serial[..20]);
    assert_eq!([text(&ide.serial), text(&ide.model), text(&ide.version)], [&serial[..20], &serial[..40], "12345678"]);
    assert_eq!(command_line.warnings.len(), 6, "{:?}", command_line.warnings);
    let expected = format!(
        "-device virtio-blk,drive=d,serial={serial}: serial has at most 20 characters: the guest sees '01234567890123456789'"
    );
    assert!(command_line.warnings.contains(&expected), "{:?}", command_line.warnings);
}

#[test]
fn mistakes_are_told() {
    let with_host = "-device virtio-scsi-pci,id=s -device scsi-cd,scsi-id=1,lun=2";
    for (line, message) in [
        ("-device scsi-cd", "there is no SCSI host before it: give -device virtio-scsi-pci first"),
        ("-device virtio-scsi-pci -device scsi-hd", "'drive' is missing"),
        ("HOST -device scsi-cd,bus=t.0", "there is no SCSI bus 't.0' before it"),
        ("HOST -device scsi-cd,scsi-id=1,lun=2", "there already is a scsi-cd with scsi-id=1,lun=2 on 's.0'"),
        ("HOST -device scsi-hd,drive=a,logical_block_size=256", "logical_block_size has to be a power of two"),
        ("HOST -device scsi-hd,drive=a,logical_block_size=4k,physical_block_size=512", "can't be more than physical"),
        ("-device virtio-scsi-pci,num_queues=1022", "num_queues is at most 1021"),
        ("-device virtio-scsi-pci,virtqueue_size=100", "virtqueue_size has to be a power of two"),
        ("-device scsi-disk", "use scsi-hd for a disk, and scsi-cd for a CD drive"),
        (
            "-drive if=scsi,index=3,file=/i -drive if=scsi,unit=3,file=/j",
            "there already is a drive with if=scsi,index=3",
        ),
    ] {
        let line = line.replace("HOST", with_host);
        let error = error(&format!("{DRIVES} {line}"));
        assert!(error.contains(message), "{line}: {error}");
    }
}
