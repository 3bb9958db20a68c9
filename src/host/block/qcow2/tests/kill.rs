//! A process that writes to an image is killed, again and again, at moments that nobody chose.

use std::env;
use std::io::{BufRead, BufReader, Write, stdout};
use std::process::{Child, Stdio};

use proptest::prelude::Rng;

use super::super::super::testing::{Image, open_node};
use super::*;

/// Names the image for the process that writes to it.
const IMAGE: &str = "NATOMA_TEST_IMAGE";
/// Seeds what it writes.
const SEED: &str = "NATOMA_TEST_SEED";
const SECTOR: u64 = 512;
const LEN: u64 = 4 << 20;

/// The process that writes until it is killed; a test only for [`kills_leave_a_sound_image_with_everything_that_was_flushed`].
#[test]
fn writer() {
    let Some(path) = env::var_os(IMAGE) else { return };
    let image = open_node(&Image { format: Some("qcow2"), ..Image::new(path) }).unwrap();
    let mut number: u64 = env::var(SEED).unwrap().parse().unwrap();
    let mut next = |bound: u64| {
        // Knuth's MMIX generator.
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % bound
    };
    let mut out = stdout();
    loop {
        let start = next(LEN / SECTOR);
        let count = (1 + next(200)).min(LEN / SECTOR - start);
        let value = 1 + next(250);
        // What is about to happen is told before; that it is safe, after.
        match next(10) {
            0 => {
                image.flush().unwrap();
                out.write_all(b"flushed\n").unwrap();
            }
            1 => {
                out.write_all(format!("write {start} {count} 0\n").as_bytes()).unwrap();
                image.write_zeroes(start * SECTOR, count * SECTOR, value % 2 == 0).unwrap();
            }
            _ => {
                out.write_all(format!("write {start} {count} {value}\n").as_bytes()).unwrap();
                write_bytes(&*image, start * SECTOR, &mut vec![value as u8; (count * SECTOR) as usize], false).unwrap();
            }
        }
    }
}

/// Ends it in any case.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes over what the writer told.
fn apply(line: &str, sectors: &mut [Vec<u8>]) {
    if line == "flushed" {
        for sector in sectors {
            sector.drain(..sector.len() - 1);
        }
    } else if let Some(numbers) = line.strip_prefix("write ") {
        let numbers: Vec<usize> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        for sector in &mut sectors[numbers[0]..numbers[0] + numbers[1]] {
            sector.push(numbers[2] as u8);
        }
    }
}

#[test]
fn kills_leave_a_sound_image_with_everything_that_was_flushed() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    let mut random = random();
    let path = place.path("image");
    let test = module_path!().split_once("::").unwrap().1.to_owned() + "::writer";
    // The tests of the whole program do it more often.
    for round in 0..24 {
        if round % 6 == 0 {
            let options =
                ["cluster_size=64k", "cluster_size=4k", "cluster_size=512", "cluster_size=16k,compat=0.10"][round / 6];
            place.img(&format!("create -q -f qcow2 -o {options} %/image {LEN}"));
        }
        let mut sectors: Vec<Vec<u8>> = bytes_of(&open(Arc::new(place.load("image")), None, true).unwrap())
            .chunks(512)
            .map(|sector| vec![sector[0]])
            .collect();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &test, "--nocapture"]).env(IMAGE, &path).env(SEED, round.to_string());
        let mut writer = Writer(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut lines = BufReader::new(writer.0.stdout.take().unwrap()).lines();
        for _ in 0..random.next_u64() % 60 {
            apply(&lines.next().unwrap().unwrap(), &mut sectors);
        }
        drop(writer);
        // A line gets into the pipe whole or not at all.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        for line in rest {
            apply(&line, &mut sectors);
        }
        check(&path).unwrap_or_else(|report| panic!("round {round}: {report}"));
        let bytes = bytes_of(&open(Arc::new(place.load("image")), None, true).unwrap());
        for (number, (found, allowed)) in bytes.chunks(SECTOR as usize).zip(&sectors).enumerate() {
            let fits = is_uniform(found) && allowed.contains(&found[0]);
            assert!(fits, "round {round}: sector {number} begins with {}, not one of {allowed:?}", found[0]);
        }
    }
}
