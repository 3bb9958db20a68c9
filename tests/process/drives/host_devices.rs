//! Block devices of the host as disks: loop devices, over files that show what has become of what the guest wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::faults::refusal;
use super::images::Place;
use super::{KINDS, Machine, Request};

/// Bytes of a small file system.
const ROOM: u32 = 128 << 10;

/// A loop device.
struct Loop(String);

impl Loop {
    /// One over a file, with sectors of so many bytes. `None`, with a notice, where nobody may make one.
    fn over(file: &str, sector: u32) -> Option<Self> {
        let output =
            Command::new("losetup").args(["--find", "--show", "--sector-size", &sector.to_string(), file]).output();
        match output {
            Ok(output) if output.status.success() => {
                Some(Self(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()))
            }
            other => {
                eprintln!("SKIPPED: there is no loop device to be had, which takes root: {other:?}");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A file system in memory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// One with so many bytes. `None`, with a notice, where nobody may mount one.
    fn at(path: &Path, size: u32) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        match output {
            Ok(output) if output.status.success() => Some(Self(path.to_owned())),
            other => {
                eprintln!("SKIPPED: there is no file system to be mounted, which takes root: {other:?}");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The guest's sectors have 512 bytes whatever those of the device have.
#[test]
fn a_block_device_is_a_disk_whatever_its_sectors_are() {
    let place = Place::new();
    for sector in [512, 4096] {
        let image = place.raw("image", 1 << 20);
        let Some(device) = Loop::over(&image, sector) else { return };
        for (number, kind) in KINDS.iter().enumerate() {
            for (piece, cache) in
                ["cache=none,aio=io_uring", "cache=none,aio=threads", "cache=writeback"].into_iter().enumerate()
            {
                let context = format!("{cache}, sectors of {sector}, {:?}", kind.devices);
                let (mut machine, mut disk) = kind.start(&format!("file={},format=raw,{cache}", device.0));
                // Parts of the device's sectors, two of them at a time, whose other parts stay.
                let (first, value) = ((number * 3 + piece) as u32 * 32, (number * 3 + piece + 1) as u8);
                disk.succeed(&mut machine, Request::Write { sector: first, count: 24, value });
                disk.succeed(&mut machine, Request::Write { sector: first + 5, count: 6, value: 0xa5 });
                disk.succeed(&mut machine, Request::Flush);
                disk.check(&mut machine, first, 5, value);
                disk.check(&mut machine, first + 5, 6, 0xa5);
                disk.check(&mut machine, first + 11, 13, value);
                machine.quit();
                let contents = fs::read(&device.0).unwrap();
                let piece = &contents[first as usize * 512..][..32 * 512];
                let expected = [vec![value; 5 * 512], vec![0xa5; 6 * 512], vec![value; 13 * 512], vec![0; 8 * 512]];
                assert!(piece == expected.concat(), "{context}");
            }
        }
    }
}

/// What is in a CD drive is only read, so that machines can share it, and nobody may write to it meanwhile.
#[test]
fn a_cd_is_a_block_device_that_machines_share() {
    let place = Place::new();
    let Some(device) = Loop::over(&place.raw("image", 1 << 20), 512) else { return };
    let node = format!("driver=host_cdrom,node-name=n,read-only=on,filename={}", device.0);
    let machines = [
        Machine::start(&["-cdrom", &device.0]),
        Machine::start(&["-nodefaults", "-blockdev", &node, "-device", "ide-cd,drive=n"]),
    ];
    let drive = format!("file={},format=raw", device.0);
    let refused = refusal(&["-drive", &drive]);
    assert!(refused.contains("another process uses it") && refused.contains(&device.0), "{refused}");
    for machine in machines {
        let mut machine = machine;
        let drives = machine.command("query-block");
        let media: Vec<_> = drives.as_array().unwrap().iter().filter_map(|drive| drive.get("inserted")).collect();
        let expected = (&json!(true), &json!(1 << 20));
        assert_eq!((&media[0]["ro"], &media[0]["image"]["virtual-size"]), expected, "{drives}");
        machine.quit();
    }
}

/// What the host has taken into its cache it can't write: it says so once, to whoever syncs first.
#[test]
fn writes_that_the_host_has_lost_are_told_until_the_image_is_opened_anew() {
    let place = Place::new();
    let full = place.path("full");
    let Some(_mounted) = Tmpfs::at(&full, ROOM) else { return };
    for kind in &KINDS {
        // Larger than the file system that it is on, in which there is no room at all: the kernel takes a loop device's request for
        // done if part of it was.
        let image = full.join("image");
        fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        fs::write(full.join("rest"), vec![0; ROOM as usize + 1]).unwrap_err();
        let Some(device) = Loop::over(image.to_str().unwrap(), 512) else { return };
        for aio in ["aio=io_uring", "aio=threads"] {
            let drive = format!("file={},format=raw,cache=writeback,werror=stop,{aio}", device.0);
            let (mut machine, mut disk) = kind.start(&drive);
            for piece in 0..8 {
                disk.succeed(&mut machine, Request::Write { sector: piece * 128, count: 128, value: 7 });
            }
            disk.fail(&mut machine, Request::Flush);
            disk.fail(&mut machine, Request::Flush);
            machine.check_said("the host could not write what it had of an image in its cache");
            assert_eq!(machine.status(), "running", "{aio}, {:?}", kind.devices);
            machine.quit();
            // Room for the next one.
            let (mut machine, mut disk) = kind.start(&drive);
            disk.succeed(&mut machine, Request::Flush);
            machine.quit();
        }
        drop(device);
        fs::remove_file(image).unwrap();
    }
}
