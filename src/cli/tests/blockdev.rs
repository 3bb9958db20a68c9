//! `-blockdev` and groups of limits.

use super::*;

#[test]
fn nodes_are_named_by_devices_and_by_each_other() {
    let config = machine(
        "-nodefaults -blockdev driver=file,node-name=f,filename=/i -blockdev raw,node-name=r,file=f,read-only=on \
         -blockdev driver=qcow2,node-name=q,file.driver=file,file.filename=/q,file.node-name=qf,backing=r \
         -device virtio-blk-pci,drive=q -device ide-cd,drive=r,id=a -device ide-cd,drive=r",
    );
    let names: Vec<_> = config.nodes.iter().filter_map(|node| node.name.as_deref()).collect();
    assert_eq!(names, ["f", "r", "q"]);
    // Each device has a drive of its own, without a name.
    let name = |name: &str| Child::Name(name.into());
    assert_eq!(
        config.drives,
        [Drive::new("#q", Some(name("q"))), Drive::new("#r", Some(name("r"))), Drive::new("#r.2", Some(name("r")))]
    );
    assert!(config.drives.iter().all(|drive| drive.name().is_none()));
    let drives: Vec<_> = config.devices.clone().iter_mut().filter_map(|device| device.drive_mut().cloned()).collect();
    assert_eq!(drives, ["#q", "#r", "#r.2"]);
    let json = machine(r#"-blockdev {"driver":"null-co","node-name":"n","size":512}"#);
    assert!(matches!(json.nodes[0].driver, NodeDriver::Null(NullConfig { size: 512, .. })));

    check_errors(&[
        (
            "-blockdev driver=raw,node-name=r,file=f",
            "-blockdev driver=raw,node-name=r,file=f: Cannot find device='f' nor node-name='f'",
        ),
        (
            "-blockdev null-co,node-name=n -blockdev null-co,node-name=n",
            "-blockdev null-co,node-name=n: Duplicate nodes with node-name='n'",
        ),
        ("-blockdev null-co,node-name=n -drive if=none,id=n", "-drive if=none,id=n: there is a node with the name 'n'"),
        ("-blockdev null-co,node-name", "-blockdev null-co,node-name: Expected '=' after parameter 'node-name'"),
        ("-device virtio-blk-pci,drive=n", "-device virtio-blk-pci,drive=n: there is no drive 'n': define it"),
        ("-drive file=/i,node-name=1", "-drive file=/i,node-name=1: Invalid node-name: '1'"),
        ("-drive file=/i,file.driver=raw,file.bogus=1", "-drive file=/i,file.driver=raw,file.bogus=1: "),
        (
            "-drive file=/i,format=raw,driver=raw",
            "-drive file=/i,format=raw,driver=raw: format and driver mean the same here",
        ),
    ]);
}

#[test]
fn limits_are_shared_by_name() {
    let config = machine(
        "-object throttle-group,id=g,x-bps-total=1M,limits.iops-read=5,limits.iops-read-max=50,x-iops-read-max-length=2,x-iops-size=4k \
         -blockdev null-co,node-name=n -blockdev throttle,node-name=t,throttle-group=g,file=n",
    );
    let limits = &config.throttle_groups[0].limits;
    assert_eq!(
        (config.throttle_groups[0].id.as_str(), limits.bps_total.average, limits.iops_size),
        ("g", 1 << 20, 4096)
    );
    assert_eq!(limits.iops_read, Limit { average: 5, max: 50, max_length: 2 });
    check_errors(&[
        ("-object throttle-group,x-bps-total=1", "-object throttle-group,x-bps-total=1: 'id' is missing"),
        (
            "-object throttle-group,id=g,x-bps-total=1,x-bps-read=1",
            "-object throttle-group,id=g,x-bps-total=1,x-bps-read=1: throttling: bps-total is for both directions",
        ),
        (
            "-object throttle-group,id=g,limits.bps=1",
            "-object throttle-group,id=g,limits.bps=1: there is no parameter 'limits.bps'",
        ),
    ]);
}

#[test]
fn files_are_shared_if_all_devices_that_use_them_bear_it() {
    let shared = |line: &str| {
        let config = machine(&format!("-nodefaults {line}"));
        config
            .nodes
            .iter()
            .chain(config.drives.iter().filter_map(|drive| match &drive.medium {
                Some(Child::Node(node)) => Some(&**node),
                _ => None,
            }))
            .filter_map(|node| match &node.driver {
                NodeDriver::File(file) => Some(file.share_rw),
                NodeDriver::Raw { file: Child::Node(node), .. } => match &node.driver {
                    NodeDriver::File(file) => Some(file.share_rw),
                    _ => None,
                },
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let nodes = "-blockdev file,node-name=f,filename=/f -blockdev raw,node-name=r,file=f";
    let (bears, not) = ("-device virtio-blk-pci,drive=r,share-rw=on", "-device virtio-blk-pci,drive=r");
    assert_eq!(shared(&format!("{nodes} {bears} {bears}")), [true]);
    assert_eq!(shared(&format!("{nodes} {bears} {not}")), [false]);
    assert_eq!(shared(nodes), [false]);
    let nested = "-blockdev raw,node-name=r,file.driver=file,file.node-name=f,file.filename=/f";
    assert_eq!(shared(&format!("{nested} -device virtio-blk-pci,drive=f,share-rw=on")), [true]);
    let image = "-blockdev file,node-name=f,filename=/f -blockdev qcow2,node-name=r,file=f";
    assert_eq!(shared(&format!("{image} {bears}")), [false], "an image is not");
    let drive = "-drive if=none,id=r,file=/f";
    assert_eq!(shared(&format!("{drive},format=raw {bears}")), [true]);
    check_errors(&[(
        &format!("{drive} {bears}"),
        "-device virtio-blk-pci,drive=r,share-rw=on: share-rw=on: an image whose format has to be found out is not shared: add \
         format=raw to drive 'r'",
    )]);
}
