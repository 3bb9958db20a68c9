//! Images of qemu-img's making read as qemu-img reads them, what natoma writes passes its check, and what natoma does not have
//! is refused.

mod chain;
mod crash;
mod damage;
mod faults;
mod kill;
mod kinds;
mod recount;
mod resize;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tempfile::TempDir;

use super::super::memory::Memory;
use super::super::node::{read_bytes, write_bytes};
use super::header::BackingFile;
use super::*;

/// Whether there is a qemu-img, or a word that there is none.
pub fn qemu_img_is_there() -> bool {
    let there = Command::new("qemu-img").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        println!("SKIPPED: there is no qemu-img (Debian: qemu-utils)");
    }
    there
}

/// Runs a tool of QEMU's with words, and `path` in place of each `%`.
fn run(directory: &Path, program: &str, words: &str) -> Output {
    let words = words.split_whitespace().map(|word| word.replace('%', directory.to_str().unwrap()));
    Command::new(program).args(words).output().unwrap()
}

fn qemu_img(directory: &Path, words: &str) -> String {
    let output = run(directory, "qemu-img", words);
    assert!(output.status.success(), "qemu-img {words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether an image is without errors other than lost clusters.
fn check(path: &Path) -> Result<(), String> {
    let output = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(path).output().unwrap();
    // 3: there are only leaks.
    match output.status.code() {
        Some(0 | 3) => Ok(()),
        _ => Err(format!("{output:?}")),
    }
}

struct Workplace {
    directory: TempDir,
}

impl Workplace {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn img(&self, words: &str) -> String {
        qemu_img(self.directory.path(), words)
    }

    /// What qemu-io does to an image.
    fn io(&self, image: &str, commands: &[&str]) {
        let mut command = Command::new("qemu-io");
        for text in commands {
            command.args(["-c", text]);
        }
        let output = command.args(["-f", "qcow2"]).arg(self.path(image)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn load(&self, name: &str) -> Memory {
        Memory::new(fs::read(self.path(name)).unwrap())
    }

    /// What qemu-img reads from it.
    fn contents(&self, name: &str) -> Vec<u8> {
        self.img(&format!("convert -O raw %/{name} %/contents.raw"));
        fs::read(self.path("contents.raw")).unwrap()
    }
}

fn open(file: Arc<dyn Node>, backing: Option<Arc<dyn Node>>, read_only: bool) -> Result<Qcow2> {
    let header = Header::load(&*file)?;
    Qcow2::open(file, &header, backing, read_only)
}

fn refusal(file: Memory, read_only: bool) -> String {
    match open(Arc::new(file), None, read_only) {
        Ok(_) => panic!("the image opens"),
        Err(error) => format!("{error:#}"),
    }
}

fn bytes_of(node: &dyn Node) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(node.len()).unwrap()];
    // In pieces that fit no clusters.
    for (number, piece) in bytes.chunks_mut(77_777).enumerate() {
        read_bytes(node, number as u64 * 77_777, piece).unwrap();
    }
    bytes
}

fn random() -> TestRng {
    TestRng::deterministic_rng(RngAlgorithm::ChaCha)
}

/// Whether all bytes are the same as the first one.
fn is_uniform(bytes: &[u8]) -> bool {
    // Compared as a whole, which is quicker than one by one.
    bytes[1..] == bytes[..bytes.len() - 1]
}

fn same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if found == expected {
        return;
    }
    let difference = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert_eq!(difference, None, "{what}: first difference");
}

#[test]
fn what_is_written_reads_back_and_passes_qemu_imgs_check() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    let mut random = random();
    for (options, len) in [
        ("cluster_size=512,compat=0.10", 1_000_000_u64),
        ("cluster_size=512,refcount_bits=1", 1_300_480),
        ("cluster_size=4k,refcount_bits=64", 3 << 20),
        ("cluster_size=64k,lazy_refcounts=on", 9 << 20),
        ("cluster_size=2M", 9 << 20),
    ] {
        let len = len & !511;
        place.img(&format!("create -q -f qcow2 -o {options} %/image {len}"));
        let file = Arc::new(place.load("image"));
        let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
        let mut expected = vec![0; usize::try_from(len).unwrap()];
        for round in 0..120 {
            let offset = random.next_u64() % len;
            let most = (len - offset).min(if round % 10 == 0 { 400_000 } else { 9_000 });
            let range = offset as usize..(offset + 1 + random.next_u64() % most) as usize;
            let length = range.len() as u64;
            match round % 7 {
                3 => {
                    image.write_zeroes(offset, length, round % 2 == 0).unwrap();
                    expected[range].fill(0);
                }
                5 => {
                    image.discard(offset, length).unwrap();
                    // Undefined until it is written.
                    write_bytes(&image, offset, &mut vec![round as u8; range.len()], false).unwrap();
                    expected[range].fill(round as u8);
                }
                _ => {
                    random.fill_bytes(&mut expected[range.clone()]);
                    write_bytes(&image, offset, &mut expected[range].to_vec(), round % 20 == 0).unwrap();
                }
            }
        }
        same(&bytes_of(&image), &expected, options);
        drop(image);
        fs::write(place.path("image"), file.contents()).unwrap();
        let report = place.img("check -f qcow2 %/image");
        assert!(report.contains("No errors"), "{options}: {report}");
        same(&place.contents("image"), &expected, options);
    }
}

#[test]
fn an_image_over_another_shows_it_where_it_has_nothing_itself() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    // The backing file is the shorter one.
    fs::write(place.path("base"), (0..1_000_448_u32).map(|n| (n / 512) as u8).collect::<Vec<_>>()).unwrap();
    place.img("create -q -f qcow2 -F raw -b base %/image 2M");
    place.io("image", &["write -P 200 10k 3", "write -P 201 900k 200k", "write -z 128k 64k"]);
    let expected = place.contents("image");
    let (file, base) = (Arc::new(place.load("image")), Arc::new(place.load("base").read_only()));
    let header = Header::load(&*file).unwrap();
    assert_eq!(header.backing, Some(BackingFile { name: "base".into(), format: Some("raw".into()) }));
    let image = open(Arc::clone(&file) as Arc<dyn Node>, Some(base), false).unwrap();
    same(&bytes_of(&image), &expected, "before");
    // What surrounds a first write comes from the backing file.
    write_bytes(&image, 300_001, &mut [7; 5], false).unwrap();
    let mut expected = expected;
    expected[300_001..300_006].fill(7);
    same(&bytes_of(&image), &expected, "after");
    drop(image);
    fs::write(place.path("image"), file.contents()).unwrap();
    place.img("check -q -f qcow2 %/image");
    same(&place.contents("image"), &expected, "on the disk");
}

#[test]
fn writing_to_an_image_with_snapshots_leaves_these_as_they_were() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 4M");
    place.io("image", &["write -P 1 0 2M"]);
    place.img("snapshot -c before %/image");
    let before = place.contents("image");
    let file = Arc::new(place.load("image"));
    let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
    write_bytes(&image, 100_000, &mut vec![2; 700_000], false).unwrap();
    image.discard(1 << 20, 512 << 10).unwrap();
    drop(image);
    fs::write(place.path("image"), file.contents()).unwrap();
    place.img("check -q -f qcow2 %/image");
    let mut expected = before.clone();
    expected[100_000..800_000].fill(2);
    expected[1 << 20..(1 << 20) + (512 << 10)].fill(0);
    same(&place.contents("image"), &expected, "the current state");
    place.img("snapshot -a before %/image");
    same(&place.contents("image"), &before, "the snapshot");
}

#[test]
fn a_full_host_is_told_and_the_image_goes_on_when_there_is_room() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 64M");
    let file = place.load("image");
    let room = file.len() + (2 << 20);
    let file = Arc::new(file.with_room_for(room));
    let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
    let mut written = 0;
    let error = loop {
        match write_bytes(&image, written, &mut vec![9; 1 << 16], false) {
            Ok(()) => written += 1 << 16,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, BlockError::NoSpace), "{error:?}");
    assert!(written >= 1 << 20);
    image.flush().unwrap();
    let mut found = vec![0; written as usize];
    read_bytes(&image, 0, &mut found).unwrap();
    assert!(found.iter().all(|byte| *byte == 9));
    drop(image);
    fs::write(place.path("image"), file.contents()).unwrap();
    check(&place.path("image")).unwrap();
    let image = open(Arc::new(place.load("image")), None, false).unwrap();
    write_bytes(&image, written, &mut vec![9; 1 << 16], false).unwrap();
}

/// A change of a header's bytes.
type Damage = (usize, &'static [u8], &'static str);

#[test]
fn headers_that_can_not_be_used_are_refused_with_the_reason() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 1G");
    let good = place.load("image").contents();
    let damages: &[Damage] = &[
        (0, b"QFI\xfc", "no qcow2 image"),
        (4, &[0, 0, 0, 4], "version 4"),
        (8, &[0xff; 8], "backing file is not in the first cluster"),
        (8, &[0, 0, 0, 0, 0, 0, 0xff, 0xf0, 0, 0, 0, 17], "backing file is not in the first cluster"),
        (20, &[0, 0, 0, 8], "2^8 bytes"),
        (20, &[0, 0, 0, 22], "2^22 bytes"),
        (20, &[0xff; 4], "2^4294967295 bytes"),
        (24, &[0xff; 8], "does not cover"),
        (24, &[0, 0, 0, 0x80, 0, 0, 0, 0], "does not cover"),
        (32, &[0, 0, 0, 1], "encrypted by the method 'aes'"),
        (32, &[0, 0, 0, 2], "encrypted with LUKS"),
        (32, &[0, 0, 0, 3], "unknown method, 3"),
        (36, &[0, 0, 0, 1], "does not cover"),
        (36, &[0xff; 4], "first-level table has 34359738360 bytes"),
        (40, &[0, 0, 0, 0, 0, 3, 0, 1], "begins within a cluster"),
        (40, &[0, 0, 0, 1, 0, 0, 0, 0], "cut off"),
        (40, &[0; 8], "in the header"),
        (48, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], "no end"),
        (56, &[0; 4], "no refcount table"),
        (56, &[0, 1, 0, 0], "8388608 is the most"),
        (60, &[0, 2, 0, 0], "131072 snapshots"),
        (72, &[0, 0, 0, 0, 0, 0, 0, 3], "marked as damaged"),
        (72, &[0, 0, 0, 0, 0, 0, 0, 4], "file of its own"),
        (72, &[0, 0, 0, 0, 0, 0, 0, 8], "unknown method, 0"),
        (72, &[0, 0, 0, 0, 0, 0, 0, 16], "extended_l2"),
        (72, &[0, 0, 0, 0, 0, 0, 0, 32], "incompatible bits 0x20"),
        (96, &[0, 0, 0, 7], "2^7 bits"),
        (100, &[0, 0, 0, 96], "96 bytes"),
        (100, &[0, 1, 0, 8], "65544 bytes"),
        (104, &[1], "unknown method, 1"),
    ];
    for (at, bytes, reason) in damages {
        let mut image = good.clone();
        image[*at..at + bytes.len()].copy_from_slice(bytes);
        let message = refusal(Memory::new(image), false);
        assert!(message.contains(reason), "{at}: {message}");
    }
    for len in [0, 71, 72, 200, 0x10_000, 0x20_000] {
        assert!(!refusal(Memory::new(good[..len].to_vec()), false).is_empty());
    }
}

#[test]
fn what_natoma_does_not_have_is_refused_as_qemu_img_makes_it_and_may_be_read_where_that_is_safe() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    for (options, reason) in
        [("compression_type=zstd", "zstd"), ("extended_l2=on", "extended_l2"), ("data_file=%/data", "file of its own")]
    {
        place.img(&format!("create -q -f qcow2 -o {options} %/image 1M"));
        let message = refusal(place.load("image"), false);
        assert!(message.contains(reason) && message.contains("qemu-img convert"), "{message}");
    }
    place.img("create -q -f qcow2 %/image 1M");
    place.io("image", &["write -P 5 4096 512"]);
    let mut marked = place.load("image").contents();
    marked[79] = 3;
    let image = open(Arc::new(Memory::new(marked)), None, true).unwrap();
    let mut found = [0; 514];
    read_bytes(&image, 4095, &mut found).unwrap();
    assert_eq!((found[0], found[1], found[512], found[513]), (0, 5, 5, 0));
    assert!(matches!(write_bytes(&image, 0, &mut [0], false), Err(BlockError::ReadOnly)));
}

#[test]
fn data_that_is_not_in_the_file_any_more_is_an_error_not_zeroes() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 4M");
    place.io("image", &["write -P 5 0 4M"]);
    let mut file = place.load("image").contents();
    file.truncate(file.len() - (1 << 20));
    let image = open(Arc::new(Memory::new(file)), None, false).unwrap();
    let mut found = [0; 512];
    read_bytes(&image, 0, &mut found).unwrap();
    assert_eq!(found, [5; 512]);
    assert!(matches!(read_bytes(&image, (4 << 20) - 512, &mut found), Err(BlockError::Io(_))));
}
