//! Character devices in a main loop of the test's own, with the test as device and as the other side.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use devices::backend::char::{CharBackend, CharClient, CharEvent};
use devices::base::lock;
use event_manager::{EventManager, SubscriberOps};

use super::*;
use crate::config::SocketAddress;

/// A device that keeps what it is given, as far as it has room.
#[derive(Default)]
struct Recorder {
    room: usize,
    received: Vec<u8>,
    events: Vec<CharEvent>,
}

impl CharClient for Recorder {
    fn can_receive(&self) -> usize {
        self.room
    }

    fn receive(&mut self, data: &[u8]) {
        self.room = self.room.checked_sub(data.len()).expect("more than there is room for");
        self.received.extend(data);
    }

    fn event(&mut self, event: CharEvent) {
        self.events.push(event);
    }
}

/// No signal ever comes.
struct Quiet(UnixStream);

impl AsFd for Quiet {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Interrupt for Quiet {
    fn interrupted(&mut self) -> bool {
        true
    }
}

struct Fixture {
    events: EventManager<Subscriber>,
    device: Arc<Mutex<Recorder>>,
    backend: Box<dyn CharBackend>,
    /// Files last as long.
    chardevs: Chardevs,
}

impl Fixture {
    fn new(backend: ChardevBackend, room: usize) -> Self {
        let config = Chardev { id: "c".into(), option: None, backend, mux: false, logfile: None, logappend: false };
        let quit: Arc<Quit> = Arc::new(|| ());
        let (quiet, _other) = UnixStream::pair().unwrap();
        let chardevs = Chardevs::open(&[config], &mut Quiet(quiet), &quit).unwrap();
        let mut port = chardevs.port("c").unwrap();
        let device = Arc::new(Mutex::new(Recorder { room, ..Recorder::default() }));
        let backend = port.backend();
        port.attach(device.clone());
        let mut events = EventManager::new().unwrap();
        for subscriber in chardevs.subscribers() {
            events.add_subscriber(subscriber);
        }
        Self { events, device, backend, chardevs }
    }

    /// Runs the main loop until nothing is left to do; the number of rounds.
    fn run(&mut self) -> usize {
        let mut rounds = 0;
        while self.events.run_with_timeout(20).unwrap() != 0 {
            rounds += 1;
            assert!(rounds < 10_000, "the main loop spins");
        }
        rounds
    }

    fn received(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.device).received)
    }

    fn give_room(&mut self, room: usize) {
        lock(&self.device).room = room;
        self.backend.input_wanted();
    }
}

fn unix_server(directory: &Path) -> (ChardevBackend, PathBuf) {
    let path = directory.join("socket");
    let address = SocketAddress::Unix { path: path.to_str().unwrap().into(), abstract_name: false, tight: true };
    let backend = ChardevBackend::Socket {
        address,
        server: true,
        wait: false,
        nodelay: false,
        telnet: false,
        reconnect_seconds: 0,
    };
    (backend, path)
}

#[test]
fn input_waits_for_room_and_is_not_polled() {
    let directory = tempfile::tempdir().unwrap();
    let (backend, path) = unix_server(directory.path());
    let mut fixture = Fixture::new(backend, 3);
    let mut peer = UnixStream::connect(path).unwrap();
    peer.write_all(b"abcdefgh").unwrap();
    fixture.run();
    assert_eq!(fixture.received(), b"abc");
    // The rest is there, and nothing happens.
    assert_eq!(fixture.run(), 0);
    fixture.give_room(2);
    fixture.run();
    assert_eq!(fixture.received(), b"de");
    // A peer that leaves takes nothing away.
    drop(peer);
    assert_eq!(fixture.run(), 0);
    fixture.give_room(100);
    fixture.run();
    assert_eq!(fixture.received(), b"fgh");
    assert_eq!(lock(&fixture.device).events, [CharEvent::Opened, CharEvent::Closed]);
    assert_eq!(fixture.run(), 0);
}

#[test]
fn output_that_does_not_fit_is_refused_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let (backend, path) = unix_server(directory.path());
    let mut fixture = Fixture::new(backend, 1);
    // Nobody is there: it vanishes.
    assert_eq!(fixture.backend.write(b"lost"), 4);
    let mut peer = UnixStream::connect(&path).unwrap();
    fixture.run();
    let mut written = 0;
    loop {
        let count = fixture.backend.write(&[b'x'; 1000]);
        written += count;
        if count < 1000 {
            break;
        }
    }
    assert_eq!(fixture.backend.write(b"x"), 0);
    fixture.run();
    assert_eq!(lock(&fixture.device).events, [CharEvent::Opened]);
    let mut all = vec![0; written];
    peer.read_exact(&mut all).unwrap();
    fixture.run();
    assert_eq!(lock(&fixture.device).events, [CharEvent::Opened, CharEvent::Writable]);
    assert_eq!(fixture.backend.write(b"y"), 1);
    // A peer that leaves while output waits for it frees the device.
    while fixture.backend.write(&[b'x'; 1000]) != 0 {}
    drop(peer);
    fixture.run();
    assert!(lock(&fixture.device).events[2..].contains(&CharEvent::Writable));
    assert!(lock(&fixture.device).events[2..].contains(&CharEvent::Closed));
    assert_eq!(fixture.backend.write(b"lost"), 4);
    let mut next = UnixStream::connect(&path).unwrap();
    fixture.run();
    assert_eq!(fixture.backend.write(b"new"), 3);
    let mut start = [0; 3];
    next.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"new");
}

#[test]
fn a_file_is_input_as_far_as_there_is_room_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let [input, output] = ["in", "out"].map(|name| directory.path().join(name));
    std::fs::write(&input, b"0123456789").unwrap();
    let backend = ChardevBackend::File { path: output.clone(), append: false, input_path: Some(input) };
    let mut fixture = Fixture::new(backend, 4);
    fixture.run();
    assert_eq!(fixture.received(), b"0123");
    fixture.give_room(100);
    fixture.run();
    assert_eq!(fixture.received(), b"456789");
    assert_eq!(lock(&fixture.device).events, [CharEvent::Opened, CharEvent::Closed]);
    assert_eq!(fixture.run(), 0);
    assert_eq!(fixture.backend.write(b"out"), 3);
    assert_eq!(std::fs::read(&output).unwrap(), b"out");
}

#[test]
fn an_endless_file_leaves_the_main_loop_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let backend = ChardevBackend::File { path, append: false, input_path: Some("/dev/zero".into()) };
    let mut fixture = Fixture::new(backend, 1 << 20);
    // Each round is bounded, and the next one comes by itself.
    assert_eq!(fixture.events.run_with_timeout(1000).unwrap(), 1);
    let after_one = lock(&fixture.device).received.len();
    assert!(after_one > 0 && after_one < 1 << 20, "{after_one}");
    fixture.run();
    assert_eq!(lock(&fixture.device).received.len(), 1 << 20);
}

#[test]
fn a_pseudo_terminal_comes_and_goes() {
    let mut fixture = Fixture::new(ChardevBackend::Pty { path: None }, 1000);
    fixture.run();
    assert_eq!(fixture.backend.write(b"lost"), 4);
    let name = fixture.chardevs.descriptions()[0].1.strip_prefix("pty:").unwrap().to_owned();
    for round in 1..=3 {
        let mut terminal = std::fs::OpenOptions::new().read(true).write(true).open(&name).unwrap();
        fixture.run();
        assert_eq!(fixture.backend.write(b"guest\r\n"), 7);
        let mut text = [0; 7];
        terminal.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"guest\r\n");
        terminal.write_all(b"\x03typed\r").unwrap();
        fixture.run();
        assert_eq!(fixture.received(), b"\x03typed\r");
        drop(terminal);
        fixture.run();
        assert_eq!(lock(&fixture.device).events, [CharEvent::Opened, CharEvent::Closed].repeat(round));
        assert_eq!(fixture.run(), 0);
    }
}

#[test]
fn a_client_that_loses_its_server_tries_again() {
    let directory = tempfile::tempdir().unwrap();
    let (backend, path) = unix_server(directory.path());
    let ChardevBackend::Socket { address, .. } = backend else { unreachable!() };
    let backend = ChardevBackend::Socket {
        address,
        server: false,
        wait: false,
        nodelay: false,
        telnet: true,
        reconnect_seconds: 1,
    };
    let mut fixture = Fixture::new(backend, 100);
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    for _ in 0..2 {
        listener.set_nonblocking(true).unwrap();
        let mut server = loop {
            fixture.events.run_with_timeout(10).unwrap();
            if let Ok((server, _)) = listener.accept() {
                break server;
            }
        };
        server.set_nonblocking(false).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        server.write_all(b"a\xff\xffb\xff\xf3").unwrap();
        while lock(&fixture.device).received.len() < 3 {
            fixture.events.run_with_timeout(1000).unwrap();
        }
        assert_eq!(fixture.received(), b"a\xffb");
        fixture.run();
        assert_eq!(fixture.backend.write(b"x\xffy"), 3);
        let mut text = [0; 19];
        server.read_exact(&mut text).unwrap();
        assert_eq!(&text[15..], b"x\xff\xffy");
        assert!(lock(&fixture.device).events.contains(&CharEvent::Break));
    }
}

#[test]
fn a_ring_buffer_is_read_by_its_name() {
    let mut fixture = Fixture::new(ChardevBackend::Ringbuf { size: 4 }, 0);
    fixture.run();
    assert_eq!(fixture.backend.write(b"abcdef"), 6);
    let rings = fixture.chardevs.ringbufs();
    assert_eq!(rings.read("c", 3).as_deref(), Some(&b"cde"[..]));
    assert_eq!(rings.read("d", 3), None);
}

#[test]
fn messages_name_the_option_that_asked_for_the_device() {
    let of = |option: Option<&str>, id: &str| {
        let backend = ChardevBackend::Pipe { path: "p".into() };
        let option = option.map(str::to_owned);
        label(&Chardev { id: id.into(), option, backend, mux: false, logfile: None, logappend: false })
    };
    assert_eq!(of(Some("serial"), "serial0"), "-serial pipe:p");
    assert_eq!(of(Some("qmp-pretty"), "qmp-pretty1"), "-qmp-pretty pipe:p");
    assert_eq!(of(None, "serial0"), "-chardev id=serial0 (pipe:p)");
}
