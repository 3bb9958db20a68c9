//! NBD servers that go away and come back.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::{Machine, Outcome, Request, Virtio};
use crate::drives::disk::Disk;
use crate::drives::images::{Place, has_tools};
use crate::tools::{Guard, wait_until};

/// qemu-nbd with a raw image.
struct Server(Guard);

impl Server {
    fn start(socket: &Path, image: &str) -> Self {
        let mut command = Command::new("qemu-nbd");
        command.args(["-t", "-f", "raw", "-e", "2", "-k"]).arg(socket).arg(image);
        let server = Guard::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("a server", || UnixStream::connect(socket).is_ok());
        Self(server)
    }

    fn end(mut self, signal: Signal) {
        self.0.kill(signal);
        self.0.wait();
    }
}

/// A machine with a virtio disk of a format that is an export of the server at a socket.
fn machine(socket: &Path, format: &str) -> (Machine, Virtio) {
    let server = format!("file.driver=nbd,file.server.type=unix,file.server.path={}", socket.display());
    let drive = format!("if=none,id=d,{server},format={format}");
    let mut machine = Machine::start(&["-drive", &drive, "-device", Virtio::DEVICE]);
    let disk = Virtio::new(&mut machine).unwrap();
    (machine, disk)
}

fn setting() -> Option<(Place, PathBuf, String)> {
    has_tools().then(|| {
        let place = Place::new();
        let (socket, image) = (place.path("socket"), place.raw("image", 1 << 20));
        (place, socket, image)
    })
}

const fn write(sector: u32, value: u8) -> Request {
    Request::Write { sector, count: 8, value }
}

#[test]
fn a_server_that_goes_away_stops_the_machine_until_it_is_back_and_what_it_had_not_flushed_is_told() {
    let Some((_place, socket, image)) = setting() else { return };
    let server = Server::start(&socket, &image);
    let (mut machine, mut disk) = machine(&socket, "raw,werror=stop,rerror=stop");
    disk.succeed(&mut machine, write(0, 1));
    disk.succeed(&mut machine, Request::Flush);
    server.end(Signal::SIGKILL);
    disk.begin(&mut machine, 0, write(8, 2)).unwrap();
    machine.wait_stopped();
    // As long as there is no server, to go on is to stop again.
    machine.command("cont");
    machine.wait_stopped();
    let server = Server::start(&socket, &image);
    machine.command("cont");
    assert_eq!(machine.look(|machine| disk.outcome(machine, 0)).unwrap(), Outcome::Done);
    // Everything that the other server had was flushed.
    disk.succeed(&mut machine, Request::Flush);
    disk.succeed(&mut machine, write(16, 3));
    server.end(Signal::SIGKILL);
    let server = Server::start(&socket, &image);
    // If nobody has noticed yet that the first one is gone the machine stops once more.
    disk.begin(&mut machine, 0, Request::Read { sector: 0, count: 8 }).unwrap();
    let outcome = machine.look(|machine| {
        if machine.status() == "io-error" {
            machine.command("cont");
        }
        disk.outcome(machine, 0)
    });
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert!(machine.is_filled(disk.data(0), 4096, 1));
    // The policy would stop the machine, and the flush would end well when it goes on.
    disk.fail(&mut machine, Request::Flush);
    assert_eq!(machine.status(), "running");
    machine.check_said("writes that were not flushed may be lost");
    disk.succeed(&mut machine, write(16, 4));
    disk.succeed(&mut machine, Request::Flush);
    machine.quit();
    server.end(Signal::SIGTERM);
    let found = std::fs::read(image).unwrap();
    for (number, value) in [1, 2, 4].into_iter().enumerate() {
        assert!(found[number * 4096..][..4096].iter().all(|byte| *byte == value), "{value}");
    }
}

#[test]
fn a_server_that_does_not_answer_keeps_nobody_from_stopping_and_going_on() {
    let Some((place, socket, _)) = setting() else { return };
    // The image's file is what does not answer.
    place.img("create -q -f qcow2 %/image 1M");
    // An export does not grow.
    File::options().write(true).open(place.path("image")).unwrap().set_len(4 << 20).unwrap();
    let server = Server::start(&socket, &place.name("image"));
    let (mut machine, mut disk) = machine(&socket, "qcow2,werror=report");
    disk.succeed(&mut machine, write(0, 1));
    disk.succeed(&mut machine, Request::Flush);
    server.0.kill(Signal::SIGSTOP);
    disk.begin(&mut machine, 0, write(8, 2)).unwrap();
    machine.command("stop");
    machine.check_said("requests have not ended after 5s: the host does not answer");
    machine.check_said("tries again when it goes on");
    server.0.kill(Signal::SIGCONT);
    machine.command("cont");
    // The guest does not learn of it.
    assert_eq!(machine.look(|machine| disk.outcome(machine, 0)).unwrap(), Outcome::Done);
    disk.succeed(&mut machine, Request::Flush);
    disk.check(&mut machine, 8, 8, 2);
    machine.quit();
    server.end(Signal::SIGTERM);
    let found = place.contents("image");
    assert!(found[..4096].iter().all(|byte| *byte == 1) && found[4096..8192].iter().all(|byte| *byte == 2));
}

#[test]
fn a_server_that_does_not_answer_keeps_nobody_from_quitting() {
    let Some((_place, socket, image)) = setting() else { return };
    let server = Server::start(&socket, &image);
    let (mut machine, mut disk) = machine(&socket, "raw");
    server.0.kill(Signal::SIGSTOP);
    disk.begin(&mut machine, 1, write(16, 3)).unwrap();
    machine.quit();
    server.end(Signal::SIGKILL);
}

#[test]
fn requests_that_are_under_way_when_a_server_goes_are_made_again_when_it_is_back() {
    let Some((_place, socket, image)) = setting() else { return };
    let server = Server::start(&socket, &image);
    let (mut machine, mut disk) = machine(&socket, "raw,werror=report,file.reconnect-delay=600");
    disk.succeed(&mut machine, write(0, 1));
    disk.succeed(&mut machine, Request::Flush);
    server.0.kill(Signal::SIGSTOP);
    for place in 0..disk.places() {
        disk.begin(&mut machine, place, write(8 * place as u32, 0x10 + place as u8)).unwrap();
    }
    server.end(Signal::SIGKILL);
    let server = Server::start(&socket, &image);
    for place in 0..disk.places() {
        let outcome = machine.look(|machine| disk.outcome(machine, place)).unwrap();
        assert_eq!(outcome, Outcome::Done, "{}", machine.log());
    }
    // All that the first server had was flushed, and the second one has the rest.
    disk.succeed(&mut machine, Request::Flush);
    machine.quit();
    server.end(Signal::SIGKILL);
    let found = std::fs::read(image).unwrap();
    for place in 0..4 {
        assert!(found[place * 4096..][..4096].iter().all(|byte| usize::from(*byte) == 0x10 + place), "{place}");
    }
}
