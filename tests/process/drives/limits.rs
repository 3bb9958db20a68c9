//! Limits of drives, and disks that grow, while requests are under way.

use serde_json::json;

use super::disk::Disk;
use super::images::Place;
use super::{Ide, Machine, Outcome, Request, Virtio};

const fn write(sector: u32, value: u8) -> Request {
    Request::Write { sector, count: 8, value }
}

/// Two disks of one group that may do a byte in a second: after the first request everything else waits for hours.
fn limited(place: &Place) -> (Machine, Virtio, Ide) {
    let drive = |id: &str| {
        let image = place.raw(id, 1 << 20);
        format!("if=none,id={id},file={image},format=raw,aio=threads,throttling.group=g,throttling.bps-total=1")
    };
    let mut machine = Machine::start(&[
        "-drive",
        &drive("d"),
        "-device",
        Virtio::DEVICE,
        "-drive",
        &drive("e"),
        "-device",
        "ide-hd,drive=e,bus=ide.0,unit=0",
    ]);
    let (mut virtio, ide) = (Virtio::new(&mut machine).unwrap(), Ide::new(&mut machine).unwrap());
    virtio.succeed(&mut machine, write(0, 1));
    (machine, virtio, ide)
}

/// Begins as many requests as there can be, and checks that they wait.
fn fill(machine: &mut Machine, disk: &mut dyn Disk, value: u8) {
    for place in 0..disk.places() {
        disk.begin(machine, place, write(8 * place as u32, value)).unwrap();
    }
    for place in 0..disk.places() {
        assert_eq!(disk.outcome(machine, place).unwrap(), None);
    }
}

/// Checks that all of them end.
fn finish(machine: &mut Machine, disk: &mut dyn Disk) {
    for place in 0..disk.places() {
        assert_eq!(machine.look(|machine| disk.outcome(machine, place)).unwrap(), Outcome::Done);
    }
}

fn all(place: &Place, image: &str, len: usize, value: u8) -> bool {
    std::fs::read(place.path(image)).unwrap()[..len].iter().all(|byte| *byte == value)
}

#[test]
fn who_stops_or_quits_does_not_wait_for_the_limits_of_a_group() {
    let place = Place::new();
    let (mut machine, mut virtio, mut ide) = limited(&place);
    fill(&mut machine, &mut virtio, 2);
    fill(&mut machine, &mut ide, 3);
    // Nothing is lost, and nothing is under way when the machine stands.
    machine.command("stop");
    assert!(all(&place, "d", 4 * 4096, 2) && all(&place, "e", 4096, 3));
    machine.command("cont");
    finish(&mut machine, &mut virtio);
    finish(&mut machine, &mut ide);
    // The limits are what they were.
    fill(&mut machine, &mut virtio, 4);
    fill(&mut machine, &mut ide, 5);
    machine.quit();
    assert!(all(&place, "d", 4 * 4096, 4) && all(&place, "e", 4096, 5));
}

#[test]
fn limits_that_change_concern_what_waits_already() {
    let place = Place::new();
    let (mut machine, mut virtio, mut ide) = limited(&place);
    fill(&mut machine, &mut virtio, 2);
    fill(&mut machine, &mut ide, 3);
    let limits = |device: &str, bps: u64, group: Option<&str>| {
        let mut arguments =
            json!({ "device": device, "bps": bps, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
        if let Some(group) = group {
            arguments["group"] = group.into();
        }
        arguments
    };
    // One drive leaves its group, and what the other one has to do goes on waiting.
    machine.call("block_set_io_throttle", &limits("d", 0, None));
    finish(&mut machine, &mut virtio);
    assert_eq!(ide.outcome(&mut machine, 0).unwrap(), None);
    machine.call("block_set_io_throttle", &limits("e", 1 << 30, Some("g")));
    finish(&mut machine, &mut ide);
    machine.quit();
    assert!(all(&place, "d", 4 * 4096, 2) && all(&place, "e", 4096, 3));
}

#[test]
fn a_disk_that_grows_can_be_used_to_its_new_end_while_requests_are_under_way() {
    let place = Place::new();
    let image = place.raw("image", 1 << 20);
    let drive = format!("if=none,id=d,file={image},format=raw,aio=threads");
    let mut machine = Machine::start(&["-drive", &drive, "-device", Virtio::DEVICE]);
    let mut disk = Virtio::new(&mut machine).unwrap();
    assert_eq!(disk.sectors(&mut machine).unwrap(), 2048);
    disk.fail(&mut machine, write(4088, 1));
    for round in 1..=20 {
        for place in 0..disk.places() {
            disk.begin(&mut machine, place, write(8 * place as u32, round)).unwrap();
        }
        let len = (1 + u64::from(round)) << 20;
        machine.call("block_resize", &json!({ "device": "d", "size": len }));
        finish(&mut machine, &mut disk);
        let sectors = disk.sectors(&mut machine).unwrap();
        assert_eq!(sectors, len / 512);
        disk.succeed(&mut machine, write(sectors as u32 - 8, round));
        disk.fail(&mut machine, write(sectors as u32 - 7, round));
    }
    disk.succeed(&mut machine, Request::Flush);
    machine.quit();
    let found = std::fs::read(image).unwrap();
    assert_eq!(found.len(), 21 << 20);
    assert!(found[..4 * 4096].iter().chain(&found[(21 << 20) - 4096..]).all(|byte| *byte == 20));
}
