//! A program at the other end of two pipes: what it printed and when, waiting for a text, and its end.
//!
//! Every wait has a deadline. A wait that fails shows the whole transcript, and the program never outlives the test.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a program that closed its output is asked whether it has ended.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// What the program printed so far, with line feeds alone as ends of lines.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    /// When the bytes before each offset were there, in ascending order.
    arrivals: Vec<(usize, Instant)>,
    ended: bool,
}

impl Output {
    /// The end of the first occurrence of a text at or after an offset.
    fn find(&self, text: &str, from: usize) -> Option<usize> {
        let position = self.bytes[from..].windows(text.len()).position(|window| window == text.as_bytes())?;
        Some(from + position + text.len())
    }

    /// When the byte before an offset arrived.
    fn arrival(&self, offset: usize) -> Instant {
        let index = self.arrivals.partition_point(|&(end, _)| end < offset);
        self.arrivals[index].1
    }
}

/// An [`Output`] that a thread fills.
#[derive(Default)]
struct Stream {
    output: Mutex<Output>,
    grown: Condvar,
}

impl Stream {
    fn read(mut source: impl Read + Send + 'static) -> Arc<Self> {
        let stream = Arc::new(Self::default());
        let filled = Arc::clone(&stream);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = source.read(&mut buffer).unwrap_or(0);
                let mut output = filled.lock();
                output.bytes.extend(buffer[..count].iter().filter(|&&byte| byte != b'\r'));
                let length = output.bytes.len();
                output.arrivals.push((length, Instant::now()));
                output.ended = count == 0;
                filled.grown.notify_all();
                if output.ended {
                    return;
                }
            }
        });
        stream
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the condition gives something, the output ends or the time is up.
    fn wait<T>(&self, limit: Duration, condition: impl Fn(&Output) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut output = self.lock();
        loop {
            if let Some(found) = condition(&output) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if output.ended || left.is_zero() {
                return None;
            }
            output = self.grown.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Every line with the time in seconds at which it was complete.
    fn timed_text(&self, start: Instant) -> String {
        let output = self.lock();
        let mut end = 0;
        let mut text = String::new();
        for line in output.bytes.split_inclusive(|&byte| byte == b'\n') {
            end += line.len();
            let time = output.arrival(end).saturating_duration_since(start).as_secs_f64();
            text.push_str(&format!("{time:7.2} {}", String::from_utf8_lossy(line)));
        }
        text
    }
}

/// A text that was waited for.
pub struct Found {
    /// What came before it, from the end of the last one found.
    pub before: String,
    /// When it was there.
    pub at: Instant,
}

/// A running program.
pub struct Console {
    name: String,
    child: Child,
    input: ChildStdin,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
    /// Where the next search begins.
    cursor: usize,
    started: Instant,
}

impl Console {
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let (Some(input), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three are pipes")
        };
        let (stdout, stderr) = (Stream::read(stdout), Stream::read(stderr));
        Self { name, child, input, stdout, stderr, cursor: 0, started }
    }

    /// When the program was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Waits for a text behind the last one found.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Found {
        let from = self.cursor;
        let Some((end, at)) = self.stdout.wait(limit, |output| {
            let end = output.find(text, from)?;
            Some((end, output.arrival(end)))
        }) else {
            self.fail(&format!("{text:?} did not come within {limit:?}"))
        };
        let before = String::from_utf8_lossy(&self.stdout.lock().bytes[from..end - text.len()]).into_owned();
        self.cursor = end;
        Found { before, at }
    }

    /// Types something.
    pub fn send(&mut self, text: &str) {
        if let Err(error) = self.input.write_all(text.as_bytes()) {
            self.fail(&format!("{text:?} could not be typed: {error}"));
        }
    }

    /// Waits for the program to end by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        if self.stdout.wait(limit, |output| output.ended.then_some(())).is_none() {
            self.fail(&format!("the program did not end within {limit:?}"));
        }
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if Instant::now() < deadline => thread::sleep(EXIT_POLL),
                Ok(None) => self.fail("the program closed its output and did not end"),
                Err(error) => self.fail(&format!("the program can't be waited for: {error}")),
            }
        }
    }

    /// What the program has to say on its standard error output.
    pub fn complaints(&self) -> String {
        self.stderr.text()
    }

    /// Ends the test with a message and all that is known of the program.
    pub fn fail(&self, message: &str) -> ! {
        panic!(
            "{message}\n--- {}, after {:.1} s\n--- standard error output\n{}\n--- standard output\n{}\n---",
            self.name,
            self.started.elapsed().as_secs_f64(),
            self.complaints(),
            self.stdout.timed_text(self.started)
        )
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Both fail if the program has already been waited for, as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn texts_are_found_one_after_the_other() {
    let mut console =
        Console::start(Command::new("sh").args(["-c", "printf 'one two one\\r\\n'; read x; echo \"<$x>\""]));
    let limit = Duration::from_secs(10);
    console.expect("one", limit);
    assert_eq!(console.expect("one", limit).before, " two ");
    console.send("three\n");
    let found = console.expect(">", limit);
    assert_eq!(found.before, "\n<three");
    assert!(found.at >= console.started());
    assert!(console.wait(limit).success());
    assert_eq!(console.stdout.text(), "one two one\n<three>\n");
}

#[test]
#[should_panic(expected = "\"never\" did not come")]
fn a_program_that_ends_is_not_waited_for() {
    Console::start(Command::new("sh").args(["-c", "echo ever"])).expect("never", Duration::from_secs(3600));
}

#[test]
#[should_panic(expected = "this is the transcript")]
fn a_text_that_does_not_come_shows_the_transcript() {
    let script = "echo this is the transcript; exec sleep 3600";
    Console::start(Command::new("sh").args(["-c", script])).expect("never", Duration::from_millis(300));
}
