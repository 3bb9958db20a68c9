//! A multiplexer: several users share one character device, a serial port and the monitor as a rule.
//!
//! Everybody's output appears; what is typed goes to the one in focus. Ctrl-A followed by a key is for the multiplexer
//! itself, with the keys of QEMU 7.2. A user learns that it is in focus by [`CharEvent::Opened`], and that it is no more
//! by [`CharEvent::Closed`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use devices::backend::char::{CharBackend, CharClient, CharEvent, LineParameters};
use devices::base::lock;

use super::Quit;
use super::driver::{Fed, Sink, Source};

/// Ctrl-A.
const ESCAPE: u8 = 1;
/// Input that is kept for a user that has no room, as in QEMU: keys for the multiplexer behind it are still seen.
const BACKLOG: usize = 32;

const HELP: &str = "\r\n\
Ctrl-A h       this help\r\n\
Ctrl-A x       end natoma\r\n\
Ctrl-A s       save disks (not supported yet: there are none)\r\n\
Ctrl-A t       switch time stamps on or off\r\n\
Ctrl-A b       send a break\r\n\
Ctrl-A c       switch between console and monitor\r\n\
Ctrl-A Ctrl-A  send Ctrl-A\r\n";

/// Output of all users.
struct Output {
    backend: Box<dyn CharBackend>,
    /// When time stamps were switched on.
    stamps: Option<Instant>,
    /// The next character begins a line.
    line_start: bool,
    /// The rest of a time stamp that was not taken.
    pending: Vec<u8>,
}

impl Output {
    fn write(&mut self, data: &[u8]) -> usize {
        if self.stamps.is_none() {
            return self.backend.write(data);
        }
        for (index, &byte) in data.iter().enumerate() {
            if let (true, Some(start)) = (self.line_start, self.stamps) {
                let (seconds, millis) = (start.elapsed().as_secs(), start.elapsed().subsec_millis());
                let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                self.pending = format!("[{hours:02}:{minutes:02}:{seconds:02}.{millis:03}] ").into_bytes();
                self.line_start = false;
            }
            while !self.pending.is_empty() {
                match self.backend.write(&self.pending) {
                    0 => return index,
                    count => drop(self.pending.drain(..count)),
                }
            }
            if self.backend.write(&[byte]) == 0 {
                return index;
            }
            self.line_start = byte == b'\n';
        }
        data.len()
    }
}

/// One of those who share.
struct User {
    client: Arc<Mutex<dyn CharClient>>,
    /// Input it has had no room for.
    backlog: VecDeque<u8>,
}

impl User {
    /// Gives it as much of its input as it has room for.
    fn deliver(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let mut client = lock(&self.client);
        while !self.backlog.is_empty() {
            let room = client.can_receive();
            let front = self.backlog.as_slices().0;
            let front = front[..front.len().min(room)].to_vec();
            if front.is_empty() {
                return;
            }
            client.receive(&front);
            self.backlog.drain(..front.len());
        }
    }
}

/// The multiplexer: input of the main loop goes in, that of the users comes out.
pub(super) struct Mux {
    output: Arc<Mutex<Output>>,
    users: Vec<User>,
    /// Whose turn it is.
    focus: usize,
    /// Ctrl-A was the last key.
    escaped: bool,
    quit: Arc<Quit>,
}

impl Mux {
    /// A multiplexer in front of `backend`; `quit` is what Ctrl-A x does.
    pub fn new(backend: Box<dyn CharBackend>, quit: Arc<Quit>) -> Self {
        let output = Output { backend, stamps: None, line_start: true, pending: Vec::new() };
        Self { output: Arc::new(Mutex::new(output)), users: Vec::new(), focus: 0, escaped: false, quit }
    }

    /// A user's end for output.
    pub fn backend(&self) -> Box<dyn CharBackend> {
        Box::new(MuxBackend(Arc::clone(&self.output)))
    }

    /// Adds a user. The one that is added last is in focus first.
    pub fn attach(&mut self, client: Arc<Mutex<dyn CharClient>>) {
        self.focus = self.users.len();
        self.users.push(User { client, backlog: VecDeque::new() });
    }

    fn key(&mut self, byte: u8) {
        match (std::mem::take(&mut self.escaped), byte) {
            (false, ESCAPE) => self.escaped = true,
            (false, _) | (true, ESCAPE) => {
                if let Some(user) = self.users.get_mut(self.focus) {
                    user.backlog.push_back(byte);
                }
            }
            (true, b'h' | b'?') => self.say(HELP),
            (true, b'x') => {
                self.say("\r\nnatoma: ended by Ctrl-A x\r\n");
                (self.quit)();
            }
            (true, b's') => self.say("\r\nnatoma: there are no disks to save yet\r\n"),
            (true, b'b') => self.tell_focus(CharEvent::Break),
            (true, b'c') => {
                self.tell_focus(CharEvent::Closed);
                self.focus = (self.focus + 1) % self.users.len().max(1);
                self.tell_focus(CharEvent::Opened);
            }
            (true, b't') => {
                let mut output = lock(&self.output);
                output.stamps = output.stamps.is_none().then(Instant::now);
                output.line_start = false;
            }
            (true, _) => {}
        }
    }

    /// What does not fit is lost: nobody is watching then.
    fn say(&self, text: &str) {
        lock(&self.output).backend.write(text.as_bytes());
    }

    fn tell_focus(&mut self, event: CharEvent) {
        if let Some(user) = self.users.get(self.focus) {
            lock(&user.client).event(event);
        }
    }
}

impl Sink for Arc<Mutex<Mux>> {
    fn feed(&mut self, source: &mut Source<'_>) -> Fed {
        // Only the main loop takes this lock once the machine runs: it does not stand in the way of devices.
        lock(self).feed(source)
    }

    fn event(&mut self, event: CharEvent) {
        lock(self).event(event);
    }
}

impl Mux {
    fn feed(&mut self, source: &mut Source<'_>) -> Fed {
        self.users.iter_mut().for_each(User::deliver);
        let room = self.users.get(self.focus).map_or(0, |user| BACKLOG.saturating_sub(user.backlog.len()));
        if room == 0 {
            return Fed::NoRoom;
        }
        let mut buffer = [0; BACKLOG];
        let count = source(&mut buffer[..room]);
        for &byte in &buffer[..count] {
            self.key(byte);
        }
        self.users.iter_mut().for_each(User::deliver);
        match self.users.iter().all(|user| user.backlog.is_empty()) {
            true => Fed::All,
            false => Fed::Some,
        }
    }

    fn event(&mut self, event: CharEvent) {
        match event {
            CharEvent::Writable | CharEvent::ModemInputs(_) => {
                self.users.iter().for_each(|user| lock(&user.client).event(event));
            }
            CharEvent::Opened | CharEvent::Closed | CharEvent::Break => self.tell_focus(event),
        }
    }
}

/// A user's end for output.
struct MuxBackend(Arc<Mutex<Output>>);

impl CharBackend for MuxBackend {
    fn write(&mut self, data: &[u8]) -> usize {
        lock(&self.0).write(data)
    }

    fn input_wanted(&mut self) {
        lock(&self.0).backend.input_wanted();
    }

    fn set_line(&mut self, parameters: LineParameters) {
        lock(&self.0).backend.set_line(parameters);
    }

    fn set_break(&mut self, on: bool) {
        lock(&self.0).backend.set_break(on);
    }

    fn set_modem_outputs(&mut self, dtr: bool, rts: bool) {
        lock(&self.0).backend.set_modem_outputs(dtr, rts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::backend::char::MemoryChar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A user that keeps what it is given, as far as it has room.
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

    struct Fixture {
        mux: Mux,
        host: MemoryChar,
        users: [Arc<Mutex<Recorder>>; 2],
        quits: Arc<AtomicUsize>,
    }

    impl Fixture {
        fn new() -> Self {
            let host = MemoryChar::default();
            let quits = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&quits);
            let quit = move || {
                counter.fetch_add(1, Ordering::SeqCst);
            };
            let mut mux = Mux::new(Box::new(host.clone()), Arc::new(quit));
            let users = [(); 2].map(|()| Arc::new(Mutex::new(Recorder { room: 1000, ..Recorder::default() })));
            for user in &users {
                mux.attach(user.clone());
            }
            Self { mux, host, users, quits }
        }

        /// Types until all is taken or there is no room; returns what was not taken.
        fn type_keys<'a>(&mut self, mut keys: &'a [u8]) -> (&'a [u8], Fed) {
            loop {
                let fed = self.mux.feed(&mut |buffer| {
                    let count = buffer.len().min(keys.len());
                    buffer[..count].copy_from_slice(&keys[..count]);
                    keys = &keys[count..];
                    count
                });
                if keys.is_empty() || matches!(fed, Fed::NoRoom) {
                    return (keys, fed);
                }
            }
        }

        fn received(&self) -> [Vec<u8>; 2] {
            self.users.each_ref().map(|user| std::mem::take(&mut lock(user).received))
        }

        fn output(&self) -> String {
            String::from_utf8(self.host.take_output()).unwrap()
        }
    }

    #[test]
    fn keys_go_to_the_one_in_focus() {
        let mut mux = Fixture::new();
        mux.type_keys(b"one\x01ctwo\x01cthree");
        assert_eq!(mux.received(), [b"two".to_vec(), b"onethree".to_vec()]);
        assert_eq!(lock(&mux.users[0]).events, [CharEvent::Opened, CharEvent::Closed]);
        assert_eq!(lock(&mux.users[1]).events, [CharEvent::Closed, CharEvent::Opened]);
    }

    #[test]
    fn escape_keys_do_what_qemu_s_do() {
        let mut mux = Fixture::new();
        mux.type_keys(b"a\x01\x01b\x01zc");
        assert_eq!(mux.received()[1], b"a\x01bc");
        mux.type_keys(b"\x01b");
        assert_eq!(lock(&mux.users[1]).events, [CharEvent::Break]);
        assert!(mux.output().is_empty());
        mux.type_keys(b"\x01h");
        assert!(mux.output().contains("Ctrl-A x"));
        mux.type_keys(b"\x01s");
        assert!(mux.output().contains("disks"));
        assert_eq!(mux.quits.load(Ordering::SeqCst), 0);
        mux.type_keys(b"\x01");
        mux.type_keys(b"x");
        assert_eq!(mux.quits.load(Ordering::SeqCst), 1);
        assert_eq!(mux.received()[1], b"");
    }

    #[test]
    fn a_guest_that_does_not_read_leaves_room_for_escape_keys() {
        let mut mux = Fixture::new();
        lock(&mux.users[1]).room = 2;
        let (rest, fed) = mux.type_keys(b"0123456789\x01c");
        assert!(rest.is_empty() && matches!(fed, Fed::Some));
        assert_eq!(mux.received()[1], b"01");
        mux.type_keys(b"monitor\x01c");
        assert_eq!(mux.received()[0], b"monitor");
        lock(&mux.users[1]).room = 100;
        assert!(matches!(mux.type_keys(b"").1, Fed::All));
        assert_eq!(mux.received()[1], b"23456789");

        lock(&mux.users[1]).room = 0;
        let (rest, fed) = mux.type_keys(&[b'x'; 100]);
        assert_eq!((rest.len(), matches!(fed, Fed::NoRoom)), (100 - BACKLOG, true));
    }

    #[test]
    fn time_stamps_begin_each_line_and_survive_a_full_host() {
        let mut mux = Fixture::new();
        let mut port = mux.mux.backend();
        mux.type_keys(b"\x01t");
        let mut text: &[u8] = b"rest\nline\n";
        let mut output = String::new();
        while !text.is_empty() {
            mux.host.set_room(Some(3));
            text = &text[port.write(text)..];
            output += &mux.output();
        }
        let (first, second) = output.split_once('\n').unwrap();
        assert_eq!(first, "rest");
        let (stamp, line) = second.split_once("] ").unwrap();
        assert_eq!((stamp.len(), line), ("[00:00:00.000".len(), "line\n"));
        mux.host.set_room(None);
        mux.type_keys(b"\x01t");
        port.write(b"a\nb");
        assert_eq!(mux.output(), "a\nb");
    }
}
