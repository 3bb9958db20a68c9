//! Images that QEMU takes although not everything is right with them.

use std::fs;
use std::process::Command;

use super::images::{Place, check, has_tools};
use super::{KINDS, Request};

#[test]
fn an_image_whose_qemu_was_killed_with_lazy_refcounts_is_used_at_once() {
    if !has_tools() {
        return;
    }
    let place = Place::new();
    for kind in &KINDS {
        place.img("create -q -f qcow2 -o lazy_refcounts=on %/image 4M");
        let image = place.name("image");
        let mut command = Command::new("qemu-io");
        command.args(["-f", "qcow2", "-c", "write -P 9 64k 1M", "-c", "flush", "-c", "abort", &image]);
        assert!(!command.output().unwrap().status.success(), "it was to end without closing the image");
        let (mut machine, mut disk) = kind.start(&format!("file={image},format=qcow2"));
        machine.check_said("the image was not closed by who wrote it last; its reference counts are up to date again");
        disk.check(&mut machine, 128, 100, 9);
        disk.succeed(&mut machine, Request::Write { sector: 200, count: 100, value: 3 });
        disk.succeed(&mut machine, Request::Flush);
        machine.quit();
        check(&place.path("image"));
        let contents = place.contents("image");
        let found = [128, 199, 200, 299, 300, 2175, 2176].map(|sector| contents[sector * 512]);
        assert_eq!(found, [9, 9, 3, 3, 9, 9, 0], "{:?}", kind.devices);
    }
}

#[test]
fn a_file_that_ends_within_a_sector_is_a_disk_of_whole_ones() {
    let place = Place::new();
    for kind in &KINDS {
        for cache in ["cache=writeback", "cache=none", "cache=writeback,snapshot=on"] {
            let image = place.text("image", &"a".repeat(5000));
            let (mut machine, mut disk) = kind.start(&format!("file={image},format=raw,{cache}"));
            disk.check(&mut machine, 8, 1, b'a');
            disk.succeed(&mut machine, Request::Read { sector: 9, count: 1 });
            assert!(machine.is_filled(disk.data(0), 392, b'a') && machine.is_filled(disk.data(0) + 392, 120, 0));
            disk.fail(&mut machine, Request::Read { sector: 10, count: 1 });
            disk.succeed(&mut machine, Request::Write { sector: 9, count: 1, value: b'b' });
            disk.succeed(&mut machine, Request::Flush);
            disk.check(&mut machine, 9, 1, b'b');
            machine.quit();
            let contents = fs::read(image).unwrap();
            let expected = if cache.contains("snapshot") { (5000, b'a') } else { (5120, b'b') };
            assert_eq!((contents.len(), contents[contents.len() - 1]), expected, "{cache}, {:?}", kind.devices);
        }
    }
}
