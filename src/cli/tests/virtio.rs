//! virtio disks.

use super::*;

fn disk(line: &str) -> VirtioBlk {
    let config = machine(&format!("-nodefaults -drive if=none,id=d,file=/i {line}"));
    match &config.devices[..] {
        [DeviceConfig::Pci(PciDevice { function: PciFunction::VirtioBlk(disk), .. })] => (**disk).clone(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_drive_of_virtio_is_a_disk_behind_all_other_devices() {
    let config = machine("-nodefaults -drive if=virtio,file=/i -drive if=virtio,file=/j,id=x -device i6300esb");
    let virtio = |id: &str| DeviceConfig::Pci(PciDevice::new(PciFunction::VirtioBlk(Box::new(VirtioBlk::new(id)))));
    let watchdog = DeviceConfig::Pci(PciDevice::new(PciFunction::I6300esb));
    assert_eq!(config.devices, [watchdog, virtio("virtio0"), virtio("x")]);
    let numbered = machine("-nodefaults -drive if=virtio,index=3,file=/i -drive if=virtio,file=/j,readonly=on");
    assert_eq!(numbered.drives.iter().map(|drive| drive.id.as_str()).collect::<Vec<_>>(), ["virtio3", "virtio0"]);
    let Some(Child::Node(medium)) = &numbered.drives[1].medium else { panic!("{:?}", numbered.drives[1]) };
    assert_eq!(medium.access, Access::ReadOnly);
}

#[test]
fn a_disk_has_qemus_properties() {
    assert_eq!(disk("-device virtio-blk-pci,drive=d"), VirtioBlk::new("d"));
    let full = disk(
        "-device virtio-blk-pci,drive=d,serial=S1,bootindex=2,num-queues=4,queue-size=128,vectors=0,packed=on,\
         event_idx=off,ioeventfd=off,indirect_desc=off,any_layout=off,notify_on_empty=off,queue_reset=off,page-per-vq=on,\
         disable-legacy=on,logical_block_size=4k,physical_block_size=8k,min_io_size=16k,opt_io_size=64k,write-cache=off,\
         config-wce=off,discard=off,discard_granularity=64k,max-discard-sectors=100,write-zeroes=off,\
         max-write-zeroes-sectors=200,cyls=10,heads=4,secs=32,seg-max-adjust=off",
    );
    let virtio = VirtioOptions {
        interface: VirtioInterface::Plain,
        legacy: false,
        modern: true,
        vectors: Some(0),
        page_per_vq: true,
        indirect_desc: false,
        event_idx: false,
        any_layout: false,
        notify_on_empty: false,
        packed: true,
        queue_reset: false,
        ioeventfd: false,
    };
    let expected = VirtioBlk {
        virtio,
        drive: "d".into(),
        io_thread: None,
        serial: "S1".into(),
        bootindex: Some(2),
        queues: Some(4),
        queue_size: 128,
        seg_max_adjust: false,
        blocks: DiskBlocks {
            logical_block_size: 4096,
            physical_block_size: 8192,
            min_io_size: 16384,
            opt_io_size: 65536,
            discard_granularity: Some(65536),
            write_cache: Some(false),
            geometry: Some((10, 4, 32)),
        },
        config_wce: false,
        discard: false,
        max_discard_sectors: 100,
        write_zeroes: false,
        max_write_zeroes_sectors: 200,
    };
    assert_eq!(full, expected);
    // The largest numbers mean the defaults, as in QEMU.
    let defaults = "vectors=4294967295,num-queues=65535,discard_granularity=4294967295,iommu_platform=off,ats=off";
    assert_eq!(disk(&format!("-device virtio-blk-pci,drive=d,{defaults}")), VirtioBlk::new("d"));
    assert_eq!(disk("-device virtio-blk-pci,drive=d,logical_block_size=4k").blocks.physical_block_size, 4096);
    assert_eq!(disk("-global virtio-blk-pci.queue-size=64 -device virtio-blk-pci,drive=d").queue_size, 64);
}

#[test]
fn the_name_of_a_disk_may_say_which_drivers_it_is_for() {
    for (name, legacy, modern) in [
        ("virtio-blk-pci-transitional", true, true),
        ("virtio-blk-pci-non-transitional", false, true),
        ("virtio-blk-pci,disable-legacy=auto", true, true),
        ("virtio-blk-pci,disable-modern=on", true, false),
    ] {
        let disk = disk(&format!("-device {name},drive=d"));
        assert_eq!((disk.virtio.legacy, disk.virtio.modern), (legacy, modern), "{name}");
        assert_eq!(disk.driver(), name.split(',').next().unwrap());
    }
    // QEMU's short names.
    assert_eq!(disk("-device virtio-blk,drive=d"), disk("-device virtio-blk-pci,drive=d"));
    let devices = |line| machine(line).devices;
    assert_eq!(devices("-device virtio-scsi,id=s"), devices("-device virtio-scsi-pci,id=s"));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    const DRIVE: &str = "-drive if=none,id=d,file=/i -device virtio-blk-pci,drive=d";
    let refused = |more: &str, why: &str| {
        let line = format!("{DRIVE},{more}");
        let error = error(&line);
        assert!(error.contains(why), "{line}: {error}");
    };
    refused("disable-legacy=on,disable-modern=on", "set either disable-legacy or disable-modern to off");
    refused("vectors=2049", "at most 2048 vectors");
    refused("queue-size=100", "queue-size has to be a power of two");
    refused("queue-size=2", "queue-size");
    refused("num-queues=0", "num-queues");
    refused("num-queues=2000", "num-queues is at most 1024");
    refused("logical_block_size=100", "logical_block_size has to be a power of two from 512 to 2M");
    refused("logical_block_size=4k,physical_block_size=512", "can't be more than physical_block_size");
    refused("min_io_size=100", "min_io_size is a multiple of logical_block_size (512)");
    refused("discard_granularity=100", "discard_granularity is a multiple");
    refused("cyls=4", "cyls, heads and secs have to be given together");
    refused("iommu_platform=on", "natoma has no IOMMU");
    refused("ats=on", "natoma has no IOMMU");
    refused("scsi=on", "use virtio-scsi");
    for (line, why) in [
        ("-device virtio-blk-pci", "'drive' is missing"),
        ("-device virtio-blk-pci,drive=x", "there is no drive 'x'"),
        ("-drive if=virtio", "a disk needs contents"),
        ("-drive if=virtio,index=1,file=/i -drive if=virtio,index=1,file=/j", "if=virtio,index=1"),
        ("-drive if=virtio,unit=1,file=/i", "a virtio disk has a bus of its own"),
        (
            "-drive if=none,id=d,file=/i -device virtio-blk-pci-transitional,drive=d,disable-modern=on",
            "leave disable-legacy and disable-modern out",
        ),
    ] {
        let error = error(line);
        assert!(error.contains(why), "{line}: {error}");
    }
}

#[test]
fn a_thread_serves_a_disk() {
    let line = "-nodefaults -object iothread,id=t -object iothread,id=u,poll-max-ns=0,poll-grow=3,poll-shrink=4,aio-max-batch=5 \
                -object memory-backend-ram,id=m,size=1M -drive if=none,id=d,file=/i -device virtio-blk-pci,drive=d,iothread=u";
    let config = machine(line);
    let [DeviceConfig::Pci(device)] = &config.devices[..] else { panic!("{:?}", config.devices) };
    assert_eq!(device.io_thread(), Some("u"));
    let u = IoThread { id: "u".into(), poll_max_ns: 0, poll_grow: 3, poll_shrink: 4, aio_max_batch: 5 };
    assert_eq!(config.io_threads, [IoThread::new("t"), u]);
    assert_eq!(config.memory.spare.len(), 1);

    const DISK: &str = "-drive if=none,id=d,file=/i -device virtio-blk-pci,drive=d";
    for (line, why) in [
        (format!("{DISK},iothread=t"), "iothread=t: there is no such thread: define it with -object iothread,id=t"),
        (format!("-object memory-backend-ram,id=t,size=1M {DISK},iothread=t"), "iothread=t: there is no such thread"),
        (format!("-object iothread,id=t {DISK},iothread=t,ioeventfd=off"), "a thread hears of a queue by ioeventfd"),
        ("-object iothread".into(), "'id' is missing"),
        ("-object iothread,id=t,size=1M".into(), "size"),
        (
            "-object iothread,id=t -object memory-backend-ram,id=t,size=1M".into(),
            "there are two objects with the id 't'",
        ),
        ("-object iothread,id=t,thread-pool-max=3".into(), "a drive has 64 workers at most"),
    ] {
        let error = error(&line);
        assert!(error.contains(why), "{line}: {error}");
    }
}
