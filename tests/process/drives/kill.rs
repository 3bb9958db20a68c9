//! natoma is killed while a guest writes, again and again, at moments that nobody chose.
//!
//! The guest keeps a journal outside of the machine: what it may find in each sector of its disk, which a flush reduces to what was
//! written last.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::disk::Disk;
use super::images::{Place, has_tools};
use super::{Ide, Machine, Outcome, Request, SECTOR, Virtio};
use crate::tools::Random;

const KILLS: u64 = 100;
/// Bytes of the disk.
const LEN: u64 = 4 << 20;
/// Sectors of the part of the disk that one place of a queue writes to.
const PART: u32 = (LEN / SECTOR / 4) as u32;
/// What the images are like.
const OPTIONS: [&str; 4] = [
    "cluster_size=64k",
    "cluster_size=512,lazy_refcounts=on",
    "cluster_size=4k,refcount_bits=1",
    "cluster_size=16k,compat=0.10",
];

/// Values that may be found in each sector, the last one written last.
struct Journal(Vec<Vec<u8>>);

impl Journal {
    fn of(contents: &[u8]) -> Self {
        Self(contents.chunks(SECTOR as usize).map(|sector| vec![sector[0]]).collect())
    }

    fn write(&mut self, sector: u32, count: u8, value: u8) {
        for values in &mut self.0[sector as usize..sector as usize + usize::from(count)] {
            values.push(value);
        }
    }

    fn flush(&mut self) {
        for values in &mut self.0 {
            values.drain(..values.len() - 1);
        }
    }

    fn check(&self, contents: &[u8], context: &str) {
        for (number, (found, allowed)) in contents.chunks(SECTOR as usize).zip(&self.0).enumerate() {
            let fits = found.iter().all(|byte| *byte == found[0]) && allowed.contains(&found[0]);
            assert!(fits, "{context}: sector {number} begins with {}, not one of {allowed:?}", found[0]);
        }
    }
}

/// Writes until natoma is gone. Tells `killer` when as many flushes as it wants have come to their end.
fn use_disk(
    machine: &mut Machine,
    disk: &mut dyn Disk,
    journal: &mut Journal,
    random: &mut Random,
    killer: &Killer,
) -> io::Result<()> {
    for flushes in 0_u64.. {
        if flushes == killer.after {
            killer.ready.send(()).unwrap();
        }
        for _ in 0..random.below(4) {
            // Writes that are under way together go to different parts of the disk.
            let places = 1 + random.below(disk.places() as u64) as usize;
            for place in 0..places {
                let count = 1 + random.below(100) as u8;
                let sector = PART * place as u32 + random.below(u64::from(PART) - u64::from(count)) as u32;
                let value = 1 + random.below(255) as u8;
                journal.write(sector, count, value);
                disk.begin(machine, place, Request::Write { sector, count, value })?;
            }
            for place in 0..places {
                let outcome = machine.look(|machine| disk.outcome(machine, place))?;
                assert_eq!(outcome, Outcome::Done, "{}", machine.log());
            }
        }
        let flushed = disk.carry_out(machine, Request::Flush)?;
        assert_eq!(flushed, Outcome::Done, "{}", machine.log());
        journal.flush();
    }
    Ok(())
}

/// Kills a process a random time after it is told to be ready.
struct Killer {
    /// So many flushes.
    after: u64,
    ready: Sender<()>,
    thread: JoinHandle<()>,
}

impl Killer {
    fn of(process: u32, random: &mut Random) -> Self {
        let (ready, is_ready) = mpsc::channel();
        let moment = Duration::from_micros(random.below(5000));
        let thread = thread::spawn(move || {
            is_ready.recv().unwrap();
            thread::sleep(moment);
            kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL).unwrap();
        });
        Self { after: random.below(6), ready, thread }
    }
}

#[test]
fn kills_at_random_moments_leave_sound_images_with_everything_that_was_flushed() {
    if !has_tools() {
        return;
    }
    let place = Place::new();
    let seed = u64::from(std::process::id());
    let mut random = Random(seed | 1);
    let mut journal = Journal(Vec::new());
    for round in 0..KILLS {
        if round % 25 == 0 {
            // Over another image, of which some sectors stay visible.
            place.text("base", &"b".repeat(LEN as usize / 2));
            let options = OPTIONS[round as usize / 25];
            place.img(&format!("create -q -f qcow2 -F raw -b base -o {options} %/image {LEN}"));
            journal = Journal::of(&place.contents("image"));
        }
        let context = format!("seed {seed}, round {round}");
        let (device, ide) =
            if round % 4 == 0 { ("ide-hd,drive=d,bus=ide.0,unit=0", true) } else { (Virtio::DEVICE, false) };
        let drive = format!("if=none,id=d,file={},format=qcow2,aio=threads", place.name("image"));
        let mut machine = Machine::start(&["-drive", &drive, "-device", device]);
        let mut disk: Box<dyn Disk> = match ide {
            true => Box::new(Ide::new(&mut machine).unwrap()),
            false => Box::new(Virtio::new(&mut machine).unwrap()),
        };
        let killer = Killer::of(machine.natoma.0.id(), &mut random);
        use_disk(&mut machine, &mut *disk, &mut journal, &mut random, &killer).unwrap_err();
        killer.thread.join().unwrap();
        machine.natoma.wait();
        let contents = place.contents("image");
        journal.check(&contents, &context);
        // What a sector has is what it keeps until it is written again.
        journal = Journal::of(&contents);
    }
}
