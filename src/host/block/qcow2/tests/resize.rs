//! Images that become longer or shorter.

use super::super::super::memory::Change;
use super::*;

fn resized(place: &Workplace, file: &Memory, expected: &[u8], what: &str) {
    fs::write(place.path("image"), file.contents()).unwrap();
    let report = place.img("check -f qcow2 %/image");
    assert!(report.contains("No errors"), "{what}: {report}");
    same(&place.contents("image"), expected, what);
}

#[test]
fn an_image_grows_and_shrinks_and_what_is_added_is_zero() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    // With small clusters the first-level table has to move; in the others there is room for it.
    for options in
        ["cluster_size=512", "cluster_size=512,compat=0.10", "cluster_size=4k,refcount_bits=1", "cluster_size=64k"]
    {
        place.img(&format!("create -q -f qcow2 -o {options} %/image 1M"));
        let file = Arc::new(place.load("image"));
        let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
        let mut expected = vec![7; 1 << 20];
        write_bytes(&image, 0, &mut expected.clone(), false).unwrap();
        for (len, at) in [(20 << 20, 20 << 20), (3_000_320, 2_900_000), (777_216, 700_000), (5 << 20, 4 << 20)] {
            image.resize(len as u64).unwrap();
            assert_eq!(image.len(), len as u64);
            expected.resize(len, 0);
            same(&bytes_of(&image), &expected, options);
            assert!(write_bytes(&image, len as u64, &mut [1; 512], false).is_err(), "there is its end");
            let at = at.min(len - 10_000);
            write_bytes(&image, at as u64, &mut [9; 10_000], false).unwrap();
            expected[at..at + 10_000].fill(9);
        }
        drop(image);
        resized(&place, &file, &expected, options);
    }
}

/// The other image is longer than what it is under.
#[test]
fn what_is_added_hides_the_backing_file() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    fs::write(place.path("base"), vec![5; 2 << 20]).unwrap();
    place.img("create -q -f qcow2 -F raw -b base %/image 1M");
    let file = Arc::new(place.load("image"));
    let base: Arc<dyn Node> = Arc::new(place.load("base").read_only());
    let image = open(Arc::clone(&file) as Arc<dyn Node>, Some(Arc::clone(&base)), false).unwrap();
    let mut expected = vec![5; 1 << 20];
    image.resize(4 << 20).unwrap();
    expected.resize(4 << 20, 0);
    same(&bytes_of(&image), &expected, "grown");
    image.resize(700_416).unwrap();
    image.resize(1 << 20).unwrap();
    expected.truncate(700_416);
    expected.resize(1 << 20, 0);
    same(&bytes_of(&image), &expected, "shrunk and grown");
    drop(image);
    resized(&place, &file, &expected, "on the disk");

    place.img("create -q -f qcow2 -o compat=0.10 -F raw -b base %/image 1M");
    let image = open(Arc::new(place.load("image")), Some(base), false).unwrap();
    assert!(image.resize(4 << 20).unwrap_err().to_string().contains("can't carry it out"));
    assert_eq!(image.len(), 1 << 20);
}

#[test]
fn lengths_that_an_image_can_not_have_are_refused_with_the_reason() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    for (options, snapshots, len, reason) in [
        ("cluster_size=512", false, (128 << 30) + 512, Some("bytes has 137438953472 at most")),
        ("compat=0.10", true, 2 << 20, Some("version 2 with snapshots")),
        ("compat=1.1", true, 512 << 10, Some("no image shorter")),
        ("compat=1.1", true, 2 << 20, None),
    ] {
        place.img(&format!("create -q -f qcow2 -o {options} %/image 1M"));
        if snapshots {
            place.img("snapshot -c s %/image");
        }
        let file = Arc::new(place.load("image"));
        let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
        let done = image.resize(len);
        let message = done.err().and_then(|error| match error {
            BlockError::Io(error) => Some(error.to_string()),
            _ => None,
        });
        match (reason, message) {
            (None, None) => {}
            (Some(reason), Some(message)) if message.contains(reason) => {}
            (_, message) => panic!("{options}: {message:?}"),
        }
        let expected = vec![0; image.len() as usize];
        drop(image);
        resized(&place, &file, &expected, options);
    }
    let image = open(Arc::new(place.load("image")), None, true).unwrap();
    assert!(matches!(image.resize(4 << 20), Err(BlockError::ReadOnly)));
}

/// A first-level table that moves is a new place for all that the image has.
#[test]
fn a_crash_while_an_image_grows_leaves_a_sound_one() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    let mut random = random();
    place.img("create -q -f qcow2 -o cluster_size=512 %/image 1M");
    let file = Arc::new(place.load("image").with_journal());
    let first = file.contents();
    let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
    write_bytes(&image, 0, &mut vec![7; 400_000], false).unwrap();
    image.flush().unwrap();
    let written = file.changes();
    image.resize(20 << 20).unwrap();
    let grown = file.changes();
    write_bytes(&image, 19 << 20, &mut vec![8; 4000], false).unwrap();
    drop(image);
    let journal = file.journal();
    let (mut killed, mut on_disk, mut flushed) = (first.clone(), first, 0);
    for (number, change) in journal.iter().enumerate() {
        change.apply(&mut killed);
        if *change == Change::Flush {
            journal[flushed..number].iter().for_each(|change| change.apply(&mut on_disk));
            flushed = number;
        }
        if number < written {
            continue;
        }
        // Of what the disk has not confirmed, any part may have got there.
        let mut lost = on_disk.clone();
        for change in &journal[flushed..=number] {
            if !matches!(change, Change::Write(..)) || random.next_u32().is_multiple_of(2) {
                change.apply(&mut lost);
            }
        }
        for (state, what) in [(&killed, "killed"), (&lost, "power lost")] {
            let path = place.path("crashed");
            fs::write(&path, state).unwrap();
            check(&path).unwrap_or_else(|report| panic!("{what} after {number}: {report}"));
            let image = open(Arc::new(Memory::new(state.clone())), None, true).unwrap();
            let allowed: &[u64] = if number < grown { &[1 << 20, 20 << 20] } else { &[20 << 20] };
            assert!(allowed.contains(&image.len()), "{what} after {number}: {} bytes", image.len());
            let mut bytes = vec![0; 400_000];
            read_bytes(&image, 0, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 7), "{what} after {number}: what was flushed is there");
        }
    }
}
