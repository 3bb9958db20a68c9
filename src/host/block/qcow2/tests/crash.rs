//! What a crash leaves of an image: all states that a kill or a loss of power can leave are made from the journal of the file.

use std::thread;

use proptest::prelude::Rng;

use super::super::super::memory::Change;
use super::*;

/// What the guest may find in each sector after a crash.
#[derive(Clone)]
struct Sectors(Vec<Vec<u8>>);

const SECTOR: u64 = 512;

impl Sectors {
    fn new(len: u64) -> Self {
        Self(vec![vec![0]; (len / SECTOR) as usize])
    }

    /// A write of `value` that is not flushed.
    fn write(&mut self, first: u64, count: u64, value: u8) {
        for sector in &mut self.0[first as usize..(first + count) as usize] {
            sector.push(value);
        }
    }

    /// Only the latest can be found from now on.
    fn flush(&mut self) {
        for sector in &mut self.0 {
            sector.drain(..sector.len() - 1);
        }
    }
}

/// What was done to an image, and what may be found after each change of its file.
struct History {
    first: Vec<u8>,
    journal: Vec<Change>,
    /// What may be found once so many changes have been made.
    found: Vec<(usize, Sectors)>,
}

impl History {
    fn after(&self, changes: usize) -> &Sectors {
        // A change is made on behalf of a request that is noted before.
        let (_, sectors) = self.found.iter().rfind(|(from, _)| *from <= changes).unwrap();
        sectors
    }
}

/// Writes at random, with flushes and discards.
fn make_history(place: &Workplace, options: &str, len: u64, requests: usize, random: &mut TestRng) -> History {
    place.img(&format!("create -q -f qcow2 -o {options} %/image {len}"));
    let file = Arc::new(place.load("image").with_journal());
    let first = file.contents();
    let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
    let mut sectors = Sectors::new(len);
    let mut found = vec![(0, sectors.clone())];
    for request in 0..requests {
        let start = random.next_u64() % (len / SECTOR);
        let count = (1 + random.next_u64() % 100).min(len / SECTOR - start);
        let value = 1 + (request % 255) as u8;
        match random.next_u64() % 8 {
            0 => {
                image.flush().unwrap();
                sectors.flush();
            }
            1 => {
                sectors.write(start, count, 0);
                found.push((file.changes(), sectors.clone()));
                image.write_zeroes(start * SECTOR, count * SECTOR, true).unwrap();
            }
            _ => {
                sectors.write(start, count, value);
                found.push((file.changes(), sectors.clone()));
                write_bytes(&image, start * SECTOR, &mut vec![value; (count * SECTOR) as usize], false).unwrap();
            }
        }
        found.push((file.changes(), sectors.clone()));
    }
    drop(image);
    History { first, journal: file.journal(), found }
}

/// Tests images of all kinds, one beside the other.
fn for_each_kind(test: impl Fn(&Workplace, History, &mut TestRng, &str) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for (number, (options, len)) in KINDS.into_iter().enumerate() {
            scope.spawn(move || {
                let (place, mut random) = (Workplace::new(), random());
                // Another history for each.
                (0..number).for_each(|_| _ = random.next_u64());
                let history = make_history(&place, options, len, 60, &mut random);
                test(&place, history, &mut random, options);
            });
        }
    });
}

/// Checks the state that a crash leaves.
fn check_state(place: &Workplace, state: &[u8], sectors: &Sectors, what: &str) {
    let path = place.path("crashed");
    fs::write(&path, state).unwrap();
    check(&path).unwrap_or_else(|report| panic!("{what}: {report}"));
    let image = open(Arc::new(Memory::new(state.to_vec())), None, true).unwrap();
    let bytes = bytes_of(&image);
    for (number, (found, allowed)) in bytes.chunks(SECTOR as usize).zip(&sectors.0).enumerate() {
        assert!(is_uniform(found), "{what}: sector {number} is mixed");
        assert!(allowed.contains(&found[0]), "{what}: sector {number} has {}, not one of {allowed:?}", found[0]);
    }
}

const KINDS: [(&str, u64); 4] = [
    ("cluster_size=512", 400 << 10),
    ("cluster_size=1k,compat=0.10", 800 << 10),
    ("cluster_size=4k,refcount_bits=1", 3 << 20),
    ("cluster_size=64k", 4 << 20),
];

#[test]
fn a_kill_at_any_moment_leaves_a_sound_image_with_everything_that_was_flushed() {
    if !qemu_img_is_there() {
        return;
    }
    for_each_kind(|place, history, random, options| {
        let mut state = history.first.clone();
        let step = history.journal.len().div_ceil(25).max(1);
        let offset = random.next_u64() as usize % step;
        for (number, change) in history.journal.iter().enumerate() {
            change.apply(&mut state);
            if number % step == offset {
                check_state(place, &state, history.after(number), &format!("{options}, killed after {number}"));
            }
        }
    });
}

#[test]
fn a_loss_of_power_leaves_a_sound_image_with_everything_that_was_flushed() {
    if !qemu_img_is_there() {
        return;
    }
    for_each_kind(|place, history, random, options| {
        let (mut on_disk, mut flushed) = (history.first.clone(), 0);
        let step = history.journal.len().div_ceil(25).max(1);
        for number in 0..history.journal.len() {
            if history.journal[number] == Change::Flush {
                for change in &history.journal[flushed..number] {
                    change.apply(&mut on_disk);
                }
                flushed = number;
            }
            if number % step != 0 {
                continue;
            }
            // Of what the disk has not confirmed, any part may have got there.
            let mut state = on_disk.clone();
            for change in &history.journal[flushed..number] {
                match change {
                    Change::Write(..) if random.next_u32().is_multiple_of(2) => {}
                    change => change.apply(&mut state),
                }
            }
            check_state(place, &state, history.after(number), &format!("{options}, power lost after {number}"));
        }
    });
}
