//! Images that QEMU has left with counts that are not up to date.

use super::super::super::memory::Change;
use super::super::super::testing::{Image, open_node};
use super::super::recount::recount;
use super::*;

/// Has qemu-io write to an image, and end without closing it.
fn write_and_abort(path: &Path, commands: &[&str]) {
    let mut command = Command::new("qemu-io");
    for text in commands {
        command.args(["-c", text]);
    }
    command.args(["-c", "flush", "-c", "abort", "-f", "qcow2"]).arg(path);
    assert!(!command.output().unwrap().status.success(), "it was to end without closing the image");
}

fn is_dirty(image: &[u8]) -> bool {
    image[FEATURES_BYTE as usize] & 1 != 0
}

/// An image of each kind, whose counts are out of date, is as good as one that `qemu-img check -r all` has repaired.
#[test]
fn counts_that_are_out_of_date_become_what_qemu_img_makes_of_them() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    for (bits, kind) in
        ["1", "2", "4", "8", "16", "32", "64"].into_iter().zip(["64k", "4k", "512", "2M", "1k", "64k", "8k"])
    {
        let what = format!("{kind} clusters, counts of {bits} bits");
        place.img("create -q -f qcow2 %/plain 8M");
        place.io("plain", &["write -P 7 1M 200k", "write -P 8 5M 64k"]);
        let options = format!("lazy_refcounts=on,cluster_size={kind},refcount_bits={bits}");
        // Compressed clusters share one of the file, which takes counts of some width.
        let compressed = if ["1", "2", "4"].contains(&bits) { "" } else { "-c" };
        place.img(&format!("convert -q {compressed} -O qcow2 -o {options} %/plain %/image"));
        if bits != "1" {
            place.img("snapshot -c first %/image");
            place.io("image", &["write -P 4 2M 100k"]);
            place.img("snapshot -c second %/image");
        }
        // New clusters, copies of shared and of compressed ones, and some that are given up.
        let commands =
            ["write -P 9 64k 1M", "write -P 5 1060k 3k", "discard 2M 64k", "write -z -u 5M 64k", "write -P 6 7M 4k"];
        write_and_abort(&place.path("image"), &commands);
        let image = place.load("image").contents();
        assert!(is_dirty(&image), "{what}");
        fs::copy(place.path("image"), place.path("repaired")).unwrap();
        place.img("check -q -r all %/repaired");
        let expected = place.contents("repaired");
        same(&bytes_of(&open(Arc::new(place.load("image")), None, true).unwrap()), &expected, &what);

        let file = Arc::new(Memory::new(image));
        let opened = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
        assert!(!is_dirty(&file.contents()), "{what}");
        same(&bytes_of(&opened), &expected, &what);
        fs::write(place.path("image"), file.contents()).unwrap();
        // Without leaks, too.
        place.img("check -q %/image");
        write_bytes(&opened, 1 << 20, &mut vec![3; 3 << 20], true).unwrap();
        drop(opened);
        fs::write(place.path("image"), file.contents()).unwrap();
        place.img("check -q %/image");
        let mut expected = expected;
        expected[1 << 20..4 << 20].fill(3);
        same(&place.contents("image"), &expected, &what);
        if bits != "1" {
            place.img("convert -l snapshot.name=first -O raw %/image %/contents.raw");
            same(&fs::read(place.path("contents.raw")).unwrap(), &place.contents("plain"), &what);
        }
    }
}

/// Whatever of it has reached the disk when it ends, the mark goes last, and who comes next starts again.
#[test]
fn an_interrupted_recount_is_made_again() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 -o lazy_refcounts=on,cluster_size=1k %/image 4M");
    place.io("image", &["write -P 1 0 1M"]);
    place.img("snapshot -c first %/image");
    write_and_abort(&place.path("image"), &["write -P 9 64k 3M"]);
    let mut image = place.load("image").contents();
    // As if a snapshot had just been deleted: the first tables seem to have others that use them.
    let (l1, entries) = (u64::from_be_bytes(image[40..48].try_into().unwrap()) as usize, 20);
    for entry in image[l1..l1 + entries * 8].chunks_mut(8) {
        entry[0] &= !0x80;
    }
    let file = Arc::new(Memory::new(image.clone()).with_journal());
    let header = Header::load(&*file).unwrap();
    recount(&*file, &header).unwrap();
    let changes = file.journal();
    assert!(changes.len() > 4, "counts, flags, and the mark: {}", changes.len());
    for last in 0..changes.len() {
        // Of what was not flushed, only the last one.
        let flushed = changes[..last].iter().rposition(|change| *change == Change::Flush).unwrap_or(0);
        let mut bytes = image.clone();
        changes[..flushed].iter().chain(&changes[last..=last]).for_each(|change| change.apply(&mut bytes));
        let file = Arc::new(Memory::new(bytes));
        drop(open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap());
        fs::write(place.path("image"), file.contents()).unwrap();
        place.img("check -q %/image");
    }
}

/// What is to be changed of an image, and what is said then.
#[test]
fn links_that_make_no_sense_are_left_to_qemu_img() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 -o lazy_refcounts=on %/image 4M");
    place.io("image", &["write -P 1 0 128k"]);
    place.img("snapshot -c first %/image");
    write_and_abort(&place.path("image"), &["write -P 9 64k 1M"]);
    let good = place.load("image").contents();
    let number = |at: usize| u64::from_be_bytes(good[at..at + 8].try_into().unwrap());
    let offset = |entry: u64| (entry & 0x00ff_ffff_ffff_fe00) as usize;
    let (l1, reftable, snapshots) = (number(40) as usize, number(48) as usize, number(64) as usize);
    let (l2, counts) = (offset(number(l1)), offset(number(reftable)));
    let link = |target: usize| (1 << 63) | target as u64;
    let cases = [
        (l2, link(l1), "a link leads to a table of the image"),
        (l2, link(counts), "a link leads to a table of the image"),
        (l2, link(l2), "a link leads to a table of the image"),
        (l2, link(0x100_0000), "past the end of the file"),
        (l2, link(0x1200), "a link leads into a cluster"),
        (l2, link(0x10000) | 4, "an entry of an L2 table"),
        (l2, 3 << 62 | 0x10000, "a link to compressed data"),
        (l1, link(0x1200), "a table begins within a cluster"),
        (l1, link(0x10000) | 1, "an entry of an L1 table"),
        (reftable, 0, "a cluster in use is not counted anywhere"),
        (snapshots, 0x100_0000, "past the end of the file"),
        (snapshots + 8, u64::MAX, "the L1 tables of its snapshots"),
        (88, 1, "it has bitmaps"),
    ];
    for (at, value, reason) in cases {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
        let file = Arc::new(Memory::new(bytes.clone()));
        let refused = open(Arc::clone(&file) as Arc<dyn Node>, None, false).err();
        let message = refused.map(|error| format!("{error:#}")).unwrap_or_default();
        for part in [reason, "lazy_refcounts", "qemu-img check -r all"] {
            assert!(message.contains(part), "{value:#x} at {at:#x}: no {part:?} in {message:?}");
        }
        assert!(file.contents() == bytes, "{value:#x} at {at:#x}: it was changed");
    }
}

/// By the front door: who only reads leaves the image as it is.
#[test]
fn only_who_writes_brings_counts_up_to_date() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 -o lazy_refcounts=on %/image 4M");
    write_and_abort(&place.path("image"), &["write -P 9 64k 1M"]);
    let before = place.load("image").contents();
    let access = crate::config::Access::ReadOnly;
    drop(open_node(&Image { access, ..Image::new(place.path("image")) }).unwrap());
    assert!(place.load("image").contents() == before);
    drop(open_node(&Image::new(place.path("image"))).unwrap());
    place.img("check -q %/image");
}
