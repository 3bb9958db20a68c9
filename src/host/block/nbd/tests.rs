//! Against qemu-nbd, and against servers that misbehave.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::super::node::{read_bytes, write_bytes};
use super::*;
use crate::config::NbdServer;

fn config(socket: &Path, export: &str) -> NbdConfig {
    NbdConfig { server: NbdServer::Unix(socket.to_owned()), export: export.into(), reconnect_delay: 0 }
}

/// A server of the file `image` in a directory. It ends with the test.
struct Server(Child);

impl Server {
    /// Starts one, and waits until it listens.
    fn start(directory: &Path, words: &[&str]) -> Option<Self> {
        let socket = directory.join("socket");
        let mut command = Process::new("qemu-nbd");
        command.args(["-t", "-f", "raw", "-k"]).arg(&socket).args(words).arg(directory.join("image"));
        let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            println!("SKIPPED: there is no qemu-nbd (Debian: qemu-utils)");
            return None;
        };
        let mut server = Self(child);
        while UnixStream::connect(&socket).is_err() {
            assert!(server.0.try_wait().unwrap().is_none(), "{command:?} ends");
            thread::sleep(Duration::from_millis(2));
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn an_export_of_qemu_nbd_is_read_and_written() {
    let directory = TempDir::new().unwrap();
    let contents: Vec<u8> = (0..3_u32 << 20).map(|n| (n >> 9) as u8).collect();
    fs::write(directory.path().join("image"), &contents).unwrap();
    let Some(server) = Server::start(directory.path(), &["-x", "disk"]) else { return };
    let socket = directory.path().join("socket");
    let refusal = |export: &str| format!("{:#}", Nbd::open(config(&socket, export), false).err().unwrap());
    assert!(refusal("other").contains("no such export"), "{}", refusal("other"));
    let disk = Nbd::open(config(&socket, "disk"), false).unwrap();
    assert_eq!(disk.len(), 3 << 20);
    let mut found = vec![0; contents.len()];
    read_bytes(&disk, 0, &mut found).unwrap();
    assert!(found == contents);
    // Several threads at once.
    thread::scope(|scope| {
        for number in 0..4_u8 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..20_u64 {
                    let at = (u64::from(number) * 20 + round) * 5000;
                    write_bytes(disk, at, &mut [number + 1; 5000], round % 5 == 0).unwrap();
                    let mut found = [0; 5000];
                    read_bytes(disk, at, &mut found).unwrap();
                    assert!(found == [number + 1; 5000]);
                }
            });
        }
    });
    disk.write_zeroes(1 << 20, 1 << 16, true).unwrap();
    disk.discard(2 << 20, 1 << 16).unwrap();
    disk.flush().unwrap();
    drop(disk);
    drop(server);
    let image = fs::read(directory.path().join("image")).unwrap();
    for number in 0..4 {
        assert!(image[number * 100_000..(number + 1) * 100_000].iter().all(|byte| usize::from(*byte) == number + 1));
    }
    assert!(image[1 << 20..(1 << 20) + (1 << 16)].iter().all(|byte| *byte == 0));
}

#[test]
fn a_server_that_goes_away_gives_errors_until_it_is_back_and_lost_writes_are_told() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("image"), vec![1; 1 << 20]).unwrap();
    let Some(server) = Server::start(directory.path(), &[]) else { return };
    let disk = Nbd::open(config(&directory.path().join("socket"), ""), false).unwrap();
    write_bytes(&disk, 0, &mut [2; 512], false).unwrap();
    drop(server);
    assert!(matches!(read_bytes(&disk, 0, &mut [0; 512]), Err(BlockError::Io(_))));
    assert!(matches!(disk.flush(), Err(BlockError::Io(_))));
    let server = Server::start(directory.path(), &[]).unwrap();
    let mut found = [0; 512];
    read_bytes(&disk, 0, &mut found).unwrap();
    assert_eq!(found, [2; 512]);
    assert!(matches!(disk.flush(), Err(BlockError::Lost(_))));
    disk.flush().unwrap();
    // The server takes one client at a time.
    drop(disk);

    // With a delay the request waits for the server.
    let patient = NbdConfig { reconnect_delay: 600, ..config(&directory.path().join("socket"), "") };
    let disk = Nbd::open(patient, false).unwrap();
    drop(server);
    thread::scope(|scope| {
        let request = scope.spawn(|| read_bytes(&disk, 512, &mut [0; 512]).is_ok());
        while lock(&disk.connection).is_some() {
            thread::yield_now();
        }
        let _server = Server::start(directory.path(), &[]).unwrap();
        assert!(request.join().unwrap());
    });
}

/// Whether a flush can be believed.
#[test]
fn a_flush_tells_of_changes_that_another_connection_made_and_did_not_flush() {
    let mut unflushed = Unflushed::default();
    let begin = |unflushed: &Unflushed| (unflushed.changes, unflushed.losses);
    unflushed.changed(0);
    let (changes, losses) = begin(&unflushed);
    // One that is made while the flush is under way may not be flushed.
    unflushed.changed(0);
    assert!(unflushed.flushed(0, changes, losses));
    // The connection is lost. Two flushes are under way when the next one has been made.
    let (changes, losses) = begin(&unflushed);
    unflushed.changed(1);
    assert!(!unflushed.flushed(1, changes, losses));
    assert!(!unflushed.flushed(1, changes, losses));
    // It has been told; what the second connection changed is not lost.
    let (changes, losses) = begin(&unflushed);
    assert!(unflushed.flushed(1, changes, losses));
    // Nothing was left to be flushed when this one was lost.
    let (changes, losses) = begin(&unflushed);
    assert!(unflushed.flushed(2, changes, losses));
}

/// A server that takes requests and says nothing any more, until it is asked by another connection.
#[test]
fn a_server_that_does_not_answer_is_given_up_by_those_who_can_not_wait() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("image"), vec![1; 1 << 20]).unwrap();
    let Some(server) = Server::start(directory.path(), &["-e", "2"]) else { return };
    let disk = Nbd::open(config(&directory.path().join("socket"), ""), false).unwrap();
    write_bytes(&disk, 0, &mut [2; 512], false).unwrap();
    disk.flush().unwrap();
    let pid = Pid::from_raw(server.0.id().try_into().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    thread::scope(|scope| {
        let request = scope.spawn(|| write_bytes(&disk, 512, &mut [3; 512], false));
        let connection = lock(&disk.connection).clone().unwrap();
        while connection.waiting() == 0 {
            thread::yield_now();
        }
        disk.hurry(true);
        disk.give_up();
        assert!(matches!(request.join().unwrap(), Err(BlockError::GivenUp(_))));
        // Nobody asks it again while there is a hurry.
        assert!(matches!(read_bytes(&disk, 0, &mut [0; 512]), Err(BlockError::GivenUp(_))));
        disk.hurry(false);
    });
    kill(pid, Signal::SIGCONT).unwrap();
    write_bytes(&disk, 512, &mut [3; 512], false).unwrap();
    // What the server had before was flushed, and the other write has been made again.
    disk.flush().unwrap();
    let mut found = [0; 1024];
    read_bytes(&disk, 0, &mut found).unwrap();
    assert_eq!(found, [[2; 512], [3; 512]].concat()[..]);
}

/// What comes of a server that says this, whatever it is asked.
fn negotiated(script: &[u8]) -> Result<Export> {
    negotiate(script, io::sink(), "")
}

/// A greeting, and answers to `GO`: kind and data.
fn script(answers: &[(u32, &[u8])]) -> Vec<u8> {
    let mut script = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    for (kind, data) in answers {
        script.extend_from_slice(&0x3_e889_0455_65a9_u64.to_be_bytes());
        script.extend_from_slice(&7_u32.to_be_bytes());
        script.extend_from_slice(&kind.to_be_bytes());
        script.extend_from_slice(&(data.len() as u32).to_be_bytes());
        script.extend_from_slice(data);
    }
    script
}

#[test]
fn servers_that_make_no_sense_are_refused_with_the_reason() {
    // A byte more than whole sectors.
    let export: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 16, 1, 0, 0x7d];
    let good = script(&[(3, export), (3, &[0, 3, 0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0]), (1, &[])]);
    assert_eq!(negotiated(&good).unwrap(), Export { len: 4096, flags: 0x7d });
    for cut in 0..good.len() {
        assert!(negotiated(&good[..cut]).is_err(), "cut at {cut}");
    }
    let mut old = script(&[(0x8000_0001, b"")]);
    old.extend_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 1]);
    assert_eq!(negotiated(&old).unwrap(), Export { len: 512, flags: 1 });
    for (script, reason) in [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), "does not greet"),
        (b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53".to_vec(), "oldstyle"),
        (b"NBDMAGICIHAVEOPT\0\0".to_vec(), "unfixed newstyle"),
        (script(&[(0x8000_0005, b"")]), "TLS"),
        (
            script(&[(0x8000_0006, b"no export 'x'")]),
            "no such export: 'qemu-img info' or 'nbdinfo --list' show what it has (no export 'x')",
        ),
        (script(&[(1, &[])]), "tells nothing"),
        (script(&[(3, &export[..11])]), "wrong length"),
        (script(&[(3, &[0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0])]), "claims to have"),
        (script(&[(3, &[0, 3, 0, 0, 16, 0, 0, 0, 16, 0, 2, 0, 0, 0])]), "blocks of 4096 bytes"),
        (script(&[(3, &[0, 9][..]); 100]), "come to an end"),
    ] {
        let error = format!("{:#}", negotiated(&script).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_reply_that_was_not_asked_for_ends_the_connection() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let export: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 1];
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&script(&[(3, export), (1, &[])])).unwrap();
        // The client's flags and its option, then a request, which another one's reply answers.
        let mut sent = [0; 4 + 16 + 8 + 28];
        stream.read_exact(&mut sent).unwrap();
        assert_eq!(sent[28..32], REQUEST);
        stream.write_all(&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]).unwrap();
        let _ = stream.read(&mut sent);
    });
    let disk = Nbd::open(config(&socket, ""), true).unwrap();
    assert!(matches!(read_bytes(&disk, 0, &mut [0; 512]), Err(BlockError::Io(_))));
    drop(disk);
    server.join().unwrap();
}

const REQUEST: [u8; 4] = [0x25, 0x60, 0x95, 0x13];
