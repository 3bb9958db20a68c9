//! What errors of the host lead to, on disks of each kind.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use nix::libc;

use super::images::{Place, check, has_tools};
use super::{KINDS, Machine, Outcome, Request};
use crate::tools::{Guard, natoma, read_until};

const READ: Request = Request::Read { sector: 16, count: 8 };
const WRITE: Request = Request::Write { sector: 16, count: 8, value: 0x5a };
/// errno.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What the user has asked for, what fails how, and what the guest learns of it: `None` if the machine stops.
const POLICIES: [(&str, Request, i32, Option<Outcome>); 10] = [
    ("werror=report", WRITE, EIO, Some(Outcome::Failed)),
    ("werror=report", WRITE, ENOSPC, Some(Outcome::Failed)),
    ("werror=ignore", WRITE, EIO, Some(Outcome::Done)),
    ("werror=stop", WRITE, EIO, None),
    ("werror=stop", Request::Flush, EIO, None),
    ("werror=enospc", WRITE, EIO, Some(Outcome::Failed)),
    ("werror=enospc", WRITE, ENOSPC, None),
    ("rerror=report", READ, EIO, Some(Outcome::Failed)),
    ("rerror=ignore", READ, EIO, Some(Outcome::Done)),
    ("rerror=stop", READ, EIO, None),
];

#[test]
fn an_error_leads_to_what_the_policy_says_and_a_machine_that_goes_on_makes_the_request_again() {
    let place = Place::new();
    for (policy, request, errno, learned) in POLICIES {
        let what = match request {
            Request::Read { .. } => "read",
            Request::Write { .. } => "write",
            Request::Flush => "flush",
        };
        let rules =
            format!("[inject-error]\niotype = \"{what}\"\nerrno = \"{errno}\"\nonce = \"on\"\nsector = \"{}\"\n", 16);
        // A flush is of no sector, and what natoma reads of a disk that starts is not of this one.
        let rules = if what == "flush" { rules.replace("sector = \"16\"\n", "") } else { rules };
        let rules = place.text("rules", &rules);
        for kind in &KINDS {
            let context = format!("{policy}, errno {errno}, {request:?}, {:?}", kind.devices);
            let image = place.raw("image", 1 << 20);
            // By workers, so that the error comes when nobody waits for it.
            let (mut machine, mut disk) =
                kind.start(&format!("file=blkdebug:{rules}:{image},format=raw,aio=threads,{policy}"));
            disk.begin(&mut machine, 0, request).unwrap();
            match learned {
                Some(learned) => {
                    let outcome = machine.look(|machine| disk.outcome(machine, 0)).unwrap();
                    assert_eq!(outcome, learned, "{context}: {}", machine.log());
                    machine.check_said(if learned == Outcome::Failed {
                        "; the guest is told"
                    } else {
                        "; the guest is not told"
                    });
                    assert_eq!(machine.status(), "running", "{context}");
                }
                None => {
                    machine.wait_stopped();
                    assert_eq!(disk.outcome(&mut machine, 0).unwrap(), None, "{context}");
                    machine.check_said("the machine stops, and tries again when it goes on");
                    machine.command("cont");
                    let outcome = machine.look(|machine| disk.outcome(machine, 0)).unwrap();
                    assert_eq!(outcome, Outcome::Done, "{context}: {}", machine.log());
                }
            }
            machine.check_said("drive 'd': ");
            // The rule is used up.
            disk.succeed(&mut machine, WRITE);
            disk.succeed(&mut machine, Request::Flush);
            disk.check(&mut machine, 16, 8, 0x5a);
            machine.quit();
            assert!(fs::read(&image).unwrap()[16 * 512..24 * 512].iter().all(|byte| *byte == 0x5a), "{context}");
        }
    }
}

/// Commands that are there before natoma is: what they make fail stops the machine, and its start does not make it again.
#[test]
fn what_fails_first_of_all_waits_until_the_machine_goes_on() {
    let place = Place::new();
    let rules = place.text("rules", "[inject-error]\niotype = \"flush\"\nonce = \"on\"\n");
    let drive = format!("if=ide,file=blkdebug:{rules}:{},format=raw,werror=stop", place.raw("image", 1 << 20));
    let (commands, mut ours) = io::pipe().unwrap();
    // FLUSH CACHE, and the status of a drive that is at it: BSY, DRDY, DSC.
    ours.write_all(b"outb 0x1f7 0xe7\ninb 0x1f7\n").unwrap();
    let mut command = natoma(&["-accel", "qtest", "-qtest", "stdio", "-qtest-log", "none", "-drive", &drive]);
    let mut natoma = Guard::start(command.stdin(commands).stdout(Stdio::piped()).stderr(Stdio::null()));
    let answers = BufReader::new(natoma.0.stdout.take().unwrap()).lines().take(2);
    assert_eq!(answers.collect::<io::Result<Vec<_>>>().unwrap(), ["OK", "OK 0x00d0"]);
}

/// The largest file that a process may write, in bytes.
fn limit_files(machine: &Machine, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    let pid = machine.natoma.0.id().cast_signed();
    // SAFETY: the kernel reads one structure, and there is no other to be filled.
    assert_eq!(unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) }, 0);
}

/// The default policy, and images that grow.
#[test]
fn a_host_without_room_stops_the_machine_until_there_is_room() {
    if !has_tools() {
        return;
    }
    let place = Place::new();
    for (format, aio) in [("raw", "aio=io_uring"), ("raw", "aio=threads"), ("qcow2", "aio=threads")] {
        for kind in &KINDS {
            place.img(&format!("create -q -f {format} %/image 4M"));
            let (mut machine, mut disk) = kind.start(&format!("file={},format={format},{aio}", place.name("image")));
            disk.succeed(&mut machine, Request::Write { sector: 0, count: 64, value: 1 });
            disk.succeed(&mut machine, Request::Flush);
            limit_files(&machine, 2 << 20);
            let mut written = 64;
            let write = |sector: u32| Request::Write { sector, count: 64, value: (sector / 64 + 1) as u8 };
            loop {
                disk.begin(&mut machine, 0, write(written)).unwrap();
                let outcome = machine.look(|machine| {
                    let outcome = disk.outcome(machine, 0)?;
                    Ok(match outcome {
                        Some(outcome) => Some(Some(outcome)),
                        None => (machine.status() == "io-error").then_some(None),
                    })
                });
                match outcome.unwrap() {
                    Some(outcome) => assert_eq!(outcome, Outcome::Done, "{format}: {}", machine.log()),
                    None => break,
                }
                written += 64;
            }
            machine.check_said("the host's storage is full; the machine stops");
            machine.command("cont");
            machine.look(|machine| Ok((machine.status() == "io-error").then_some(()))).unwrap();
            limit_files(&machine, libc::RLIM_INFINITY);
            machine.command("cont");
            let outcome = machine.look(|machine| disk.outcome(machine, 0)).unwrap();
            assert_eq!(outcome, Outcome::Done, "{format}: {}", machine.log());
            for sector in (written + 64..4 << 11).step_by(64) {
                disk.succeed(&mut machine, write(sector));
            }
            disk.succeed(&mut machine, Request::Flush);
            machine.quit();
            let contents =
                if format == "raw" { fs::read(place.path("image")).unwrap() } else { place.contents("image") };
            for (number, piece) in contents.chunks(64 * 512).enumerate() {
                assert!(
                    piece.iter().all(|byte| *byte == (number + 1) as u8),
                    "{format}, {:?}: piece {number}",
                    kind.devices
                );
            }
        }
    }
}

#[test]
fn an_image_that_is_cut_off_fails_where_it_is_missing_and_goes_on_when_it_is_back() {
    let place = Place::new();
    for kind in &KINDS {
        for aio in ["aio=io_uring", "aio=threads"] {
            let image = place.raw("image", 1 << 20);
            let (mut machine, mut disk) = kind.start(&format!("file={image},format=raw,rerror=stop,{aio}"));
            let file = File::options().write(true).open(&image).unwrap();
            file.set_len(8192).unwrap();
            disk.begin(&mut machine, 0, READ).unwrap();
            machine.wait_stopped();
            machine.check_said("Read at 0x2000 failed");
            file.set_len(1 << 20).unwrap();
            machine.command("cont");
            assert_eq!(machine.look(|machine| disk.outcome(machine, 0)).unwrap(), Outcome::Done);
            disk.check(&mut machine, 0, 8, 0);
            machine.quit();
        }
    }
    // One that was cut off before is refused, as far as that can be seen.
    if has_tools() {
        place.img("create -q -f qcow2 %/image 1M");
        File::options().write(true).open(place.path("image")).unwrap().set_len(70_000).unwrap();
        let refused = refusal(&["-drive", &format!("file={},format=qcow2", place.name("image"))]);
        assert!(refused.contains("cut off"), "{refused}");
    }
}

/// As on a real PC: the guest is told when it reads it.
#[test]
fn a_disk_whose_first_sector_can_t_be_read_starts() {
    let place = Place::new();
    let image = place.raw("image", 1 << 20);
    let rules = "[inject-error]\niotype = \"read\"\nerrno = \"5\"\nsector = \"0\"\n";
    let rules = place.text("rules", rules);
    for kind in &KINDS {
        let (mut machine, mut disk) = kind.start(&format!("file=blkdebug:{rules}:{image},format=raw"));
        machine.check_said("the first sector of a disk can't be read, so that its geometry follows from its size");
        disk.fail(&mut machine, Request::Read { sector: 0, count: 1 });
        disk.check(&mut machine, 1, 8, 0);
        machine.quit();
    }
}

#[test]
fn a_file_that_has_lost_its_name_is_used_to_the_end() {
    let place = Place::new();
    let (image, other) = (place.raw("image", 1 << 20), place.path("other"));
    // Another name shows what becomes of it.
    fs::hard_link(&image, &other).unwrap();
    let (mut machine, mut disk) = KINDS[1].start(&format!("file={image},format=raw"));
    fs::remove_file(&image).unwrap();
    disk.succeed(&mut machine, WRITE);
    disk.succeed(&mut machine, Request::Flush);
    disk.check(&mut machine, 16, 8, 0x5a);
    machine.quit();
    assert!(fs::read(other).unwrap()[16 * 512..24 * 512].iter().all(|byte| *byte == 0x5a));
    let refused = refusal(&["-drive", &format!("file={image},format=raw")]);
    assert!(refused.contains("No such file or directory") && refused.contains(&image), "{refused}");
}

/// What natoma says of a machine that can't start.
pub fn refusal(options: &[&str]) -> String {
    message(&natoma(&["-accel", "qtest"]).args(options).output().unwrap())
}

fn message(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// A process that has to respect who may do what with a file, whoever runs the tests.
fn without_privileges(command: &mut Command) -> &mut Command {
    let give_up = || {
        const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
        // SAFETY: the call takes numbers only. Where there is nothing to give up it fails.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) };
        Ok(())
    };
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(give_up) }
}

#[test]
fn a_file_that_may_not_be_written_is_told_with_what_helps() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let image = place.raw("image", 1 << 20);
    fs::set_permissions(&image, fs::Permissions::from_mode(0o400)).unwrap();
    let run = |options: &[&str]| {
        let mut command = natoma(&["-accel", "qtest"]);
        message(&without_privileges(command.args(options)).output().unwrap())
    };
    let refused = run(&["-drive", &format!("if=ide,file={image},format=raw")]);
    for part in [&image, "Permission denied", "read-only=on", "snapshot=on"] {
        assert!(refused.contains(part), "no {part:?} in {refused}");
    }
    // What was advised starts, and the changes of a snapshot have to go somewhere.
    fs::create_dir(place.path("closed")).unwrap();
    fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let mut command = natoma(&["-accel", "qtest", "-drive", &format!("file={image},format=raw,snapshot=on")]);
    let refused = message(&without_privileges(command.env("TMPDIR", place.path("closed"))).output().unwrap());
    for part in ["snapshot=on", "temporary file", "TMPDIR"] {
        assert!(refused.contains(part), "no {part:?} in {refused}");
    }
    let (mut machine, mut disk) = KINDS[1].start(&format!("file={image},format=raw,readonly=on"));
    disk.succeed(&mut machine, READ);
    disk.fail(&mut machine, WRITE);
    assert_eq!(machine.status(), "running", "the guest's own mistake");
    machine.quit();
}

/// Locks keep natoma, another natoma, and QEMU's tools from each other's images.
#[test]
fn an_image_has_one_user_whoever_it_is() {
    if !has_tools() {
        return;
    }
    let place = Place::new();
    place.img("create -q -f qcow2 %/image 1M");
    let image = place.name("image");
    let drive = format!("file={image},format=qcow2");
    let (machine, _disk) = KINDS[1].start(&drive);
    let refused = refusal(&["-drive", &drive]);
    assert!(refused.contains("another process uses it") && refused.contains(&image), "{refused}");
    let tool = |program: &str, words: &[&str]| Command::new(program).args(words).arg(&image).output().unwrap();
    for (program, words) in
        [("qemu-img", &["check"][..]), ("qemu-img", &["info"]), ("qemu-io", &["-f", "qcow2", "-c", "write 0 512"])]
    {
        let output = tool(program, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("lock"), "{program} {words:?}: {said}");
    }
    machine.quit();
    check(&place.path("image"));

    // qemu-io has opened the image when it answers.
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2", &image]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut other = Guard::start(&mut command);
    other.0.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
    read_until(other.0.stdout.as_mut().unwrap(), "1 MiB");
    assert!(refusal(&["-drive", &drive]).contains("another process uses it"));
    drop(other);
    let (machine, _disk) = KINDS[1].start(&drive);
    machine.quit();
}
