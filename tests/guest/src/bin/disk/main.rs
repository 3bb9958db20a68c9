//! What the benchmarks of disks run: one kind of request, many times over, timed.
//!
//! The command line says what: `DISK OPERATION PATTERN [count=N] [size=BYTES] [depth=N]`.
//!
//! - DISK: `virtio` (the first virtio disk, by virtio 1 and one split ring), `ide-dma` or `ide-pio` (the master of the first IDE
//!   channel)
//! - OPERATION: `read` or `write`
//! - PATTERN: `random` or `sequential`, from the first byte on and again from there at the end
//! - `count`: number of requests; `size`: bytes of each, a multiple of 512; `depth`: how many are under way at a time (virtio)
//!
//! The guest does not wait for interrupts: it looks whether requests are done. It prints a line that begins with `disk begins` and
//! then one of `key=value`; then the machine is powered off.

#![no_std]
#![no_main]

mod ide;
mod virtio;

use guest::{exit, kvmclock::KvmClock, println, pvh};

guest::pvh_note!("pvh_start");
guest::program!(main);

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// What is to be done.
struct Work {
    write: bool,
    random: bool,
    count: u64,
    size: u64,
    depth: u64,
}

/// Where requests go, one after the other.
struct Places {
    random: bool,
    size: u64,
    /// How many places there are.
    places: u64,
    /// The last number of a random series, or the next place.
    state: u64,
}

impl Places {
    /// The places on a disk of `sectors` sectors.
    fn new(work: &Work, sectors: u64) -> Self {
        let places = sectors * SECTOR / work.size;
        if places == 0 {
            println!("disk: it has {sectors} sectors only");
            exit::fail();
        }
        let state = if work.random { 0x2545_f491_4f6c_dd1d } else { 0 };
        Self { random: work.random, size: work.size, places, state }
    }

    /// The first sector of the next request.
    fn next(&mut self) -> u64 {
        let place = if self.random {
            // Marsaglia's xorshift.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.state % self.places
        } else {
            let place = self.state % self.places;
            self.state = place + 1;
            place
        };
        place * (self.size / SECTOR)
    }
}

fn main() {
    let mut words = pvh::start_info().command_line().split_ascii_whitespace();
    let disk = words.next().unwrap_or_default();
    let mut work = Work { write: false, random: false, count: 1000, size: 4096, depth: 1 };
    for word in words {
        if work.set(word).is_none() {
            println!("disk: {word:?} is none of read, write, random, sequential, count=N, size=BYTES, depth=N");
            exit::fail();
        }
    }
    match disk {
        "virtio" => virtio::run(&work),
        "ide-dma" => ide::run(&work, true),
        "ide-pio" => ide::run(&work, false),
        _ => {
            println!("disk: {disk:?} is none of virtio, ide-dma, ide-pio");
            exit::fail();
        }
    }
}

/// Does the work once and prints how long it took.
fn time(work: &Work, what: impl FnOnce()) {
    let Some(clock) = KvmClock::find() else {
        println!("disk: there is no kvmclock to time it by");
        exit::fail();
    };
    println!("disk begins");
    let begin = clock.now();
    what();
    let nanoseconds = clock.now() - begin;
    println!("disk count={} size={} nanoseconds={nanoseconds}", work.count, work.size);
}

impl Work {
    /// Takes a word of the command line. `None` if it can't be understood.
    fn set(&mut self, word: &str) -> Option<()> {
        match word {
            "read" => self.write = false,
            "write" => self.write = true,
            "random" => self.random = true,
            "sequential" => self.random = false,
            _ => {
                let (key, number) = word.split_once('=')?;
                let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
                match key {
                    "count" => self.count = number,
                    "size" if number.is_multiple_of(SECTOR) && number <= 128 << 10 => self.size = number,
                    "depth" if number <= virtio::MOST_REQUESTS => self.depth = number,
                    _ => return None,
                }
            }
        }
        Some(())
    }
}
