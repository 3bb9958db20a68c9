//! Images in files: reading, writing, locks, and what is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use devices::backend::block::BlockError;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::testing::{Image, open, open_node};
use super::*;
use crate::config::{Access, CacheMode, DetectZeroes, Locking};

fn image(path: &Path) -> Image {
    Image { format: Some("raw"), ..Image::new(path) }
}

fn file(directory: &TempDir, contents: &[u8]) -> PathBuf {
    let path = directory.path().join("image");
    fs::write(&path, contents).unwrap();
    path
}

fn refusal(image: &Image) -> String {
    match open(image) {
        Ok(_) => panic!("{image:?} opens"),
        Err(error) => format!("{error:#}"),
    }
}

fn read(medium: &mut Box<dyn BlockBackend>, offset: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    medium.read_at(offset, &mut data).unwrap();
    data
}

#[test]
fn what_is_written_is_in_the_file_and_nothing_beyond_its_end() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, &[1; 1024]);
    for cache in
        [CacheMode::WRITEBACK, CacheMode::WRITETHROUGH, CacheMode::NONE, CacheMode::DIRECTSYNC, CacheMode::UNSAFE]
    {
        let mut medium = match open(&Image { cache, ..image(&path) }) {
            Ok(medium) => medium,
            Err(error) if cache.direct => {
                eprintln!("SKIPPED: {error:#}");
                continue;
            }
            Err(error) => panic!("{error:#}"),
        };
        assert_eq!((medium.len(), medium.is_read_only()), (1024, false));
        medium.write_at(1020, b"tail").unwrap();
        medium.flush().unwrap();
        assert_eq!(read(&mut medium, 1018, 6), b"\x01\x01tail");
        assert!(matches!(medium.write_at(1021, b"tail"), Err(BlockError::OutOfRange { .. })));
        assert!(matches!(medium.read_at(1024, &mut [0]), Err(BlockError::OutOfRange { .. })));
    }
    assert_eq!(fs::read(&path).unwrap()[1018..], *b"\x01\x01tail");
}

#[test]
fn a_snapshot_shows_its_writes_and_leaves_the_image_alone() {
    let directory = TempDir::new().unwrap();
    let contents: Vec<u8> = (0..0x28200_u32).map(|n| (n >> 9) as u8).collect();
    let path = file(&directory, &contents);
    let mut medium = open(&Image { snapshot: true, ..image(&path) }).unwrap();
    let mut expected = contents.clone();
    for (offset, len) in [(0, 1), (0xfffe, 4), (0x1_0000, 0x1_0000), (0x281ff, 1), (0x27fff, 0x200)] {
        let data = vec![0xa5; len];
        medium.write_at(offset, &data).unwrap();
        expected[offset as usize..][..len].copy_from_slice(&data);
        assert_eq!(read(&mut medium, 0, expected.len()), expected, "after {len:#x} bytes at {offset:#x}");
    }
    medium.flush().unwrap();
    assert_eq!(fs::read(&path).unwrap(), contents);
    // Two snapshots of one image do not disturb each other.
    let mut other = open(&Image { snapshot: true, ..image(&path) }).unwrap();
    assert_eq!(read(&mut other, 0, contents.len()), contents);
    assert!(open(&image(&path)).is_err(), "but a writer would disturb them");
}

#[test]
fn a_second_writer_is_refused_and_readers_share() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, &[0; 512]);
    let read_only = Image { access: Access::ReadOnly, ..image(&path) };
    let writer = open(&image(&path)).unwrap();
    for second in [&image(&path), &read_only] {
        let message = refusal(second);
        assert!(message.contains(&*path.to_string_lossy()) && message.contains("another process"), "{message}");
    }
    open(&Image { locking: Locking::Off, ..image(&path) }).unwrap();
    drop(writer);
    let readers = [open(&read_only).unwrap(), open(&read_only).unwrap()];
    refusal(&image(&path));
    drop(readers);
    open(&image(&path)).unwrap();
}

#[test]
fn a_read_only_image_is_not_written() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, &[3; 512]);
    for snapshot in [false, true] {
        let mut medium = open(&Image { access: Access::ReadOnly, snapshot, ..image(&path) }).unwrap();
        assert!(medium.is_read_only());
        assert!(matches!(medium.write_at(0, &[0]), Err(BlockError::ReadOnly)));
        medium.flush().unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), [3; 512]);
}

#[test]
fn what_is_no_image_is_refused_with_the_reason() {
    let directory = TempDir::new().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let readable = |path: &Path| Image { access: Access::Auto, ..image(path) };
    for (path, reason) in [
        (directory.path().join("missing"), "No such file"),
        (fifo, "neither a file nor a block device"),
        (PathBuf::from("/dev/null"), "neither a file nor a block device"),
        (file(&directory, b""), "empty"),
    ] {
        let message = refusal(&readable(&path));
        assert!(message.contains(reason) && message.contains(&*path.to_string_lossy()), "{message}");
    }
    let read_only = Image { access: Access::ReadOnly, ..image(directory.path()) };
    assert!(refusal(&read_only).contains("directory"));
}

/// A guest that may write to an image of unknown format could turn it into one that names files of the host.
#[test]
fn cve_2008_2004_an_image_of_unstated_format_does_not_change_its_looks() {
    let directory = TempDir::new().unwrap();
    let mut contents = [0; 1024];
    let path = file(&directory, &contents);
    let unstated = Image::new(&path);
    let mut medium = open(&unstated).unwrap();
    medium.write_at(0, b"QFI").unwrap();
    assert!(matches!(medium.write_at(3, &[0xfb, 0, 0, 0, 3]), Err(BlockError::Io(_))));
    medium.write_at(512, b"QFI\xfb\0\0\0\x03").unwrap();
    drop(medium);
    let mut stated = open(&image(&path)).unwrap();
    stated.write_at(3, &[0xfb, 0, 0, 0, 3]).unwrap();
    drop(stated);
    let message = refusal(&unstated);
    assert!(message.contains("clusters"), "it is taken for a qcow2 image, a damaged one: {message}");

    contents[0x40..0x44].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
    fs::write(&path, contents).unwrap();
    let message = refusal(&unstated);
    assert!(message.contains("vdi format") && message.contains("format=raw"), "{message}");
    for (magic, name) in
        [(&b"LUKS\xba\xbe"[..], "LUKS"), (b"QED\0", "qed"), (b"vhdxfile", "vhdx"), (b"QFI\xfb\0\0\0\x01", "qcow")]
    {
        contents = [0; 1024];
        contents[..magic.len()].copy_from_slice(magic);
        fs::write(&path, contents).unwrap();
        let message = refusal(&unstated);
        assert!(message.contains(name) && message.contains("qemu-img convert"), "{message}");
    }
}

#[test]
fn an_image_that_shrinks_gives_errors_instead_of_zeroes() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, &[1; 1024]);
    let mut medium = open(&image(&path)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(512).unwrap();
    assert!(matches!(medium.read_at(512, &mut [0; 512]), Err(BlockError::Io(_))));
    assert_eq!(read(&mut medium, 0, 512), [1; 512]);
}

/// Advice on how to open a file is given where it would help.
#[test]
fn what_can_t_be_opened_says_why() {
    let directory = TempDir::new().unwrap();
    for access in [Access::ReadOnly, Access::ReadWrite, Access::Auto] {
        let message = refusal(&Image { access, ..image(directory.path()) });
        assert!(message.contains("it is a directory: name a file"), "{message}");
        let message = refusal(&Image { access, ..image(&directory.path().join("absent")) });
        assert!(message.ends_with("absent: No such file or directory (os error 2)"), "{message}");
    }
}

/// Images of qemu-img's, by their names on the disk.
#[test]
fn an_image_opens_with_the_chain_of_images_that_it_is_made_over() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let img = |words: &str| {
        let words = words.split_whitespace().map(|word| word.replace('%', directory.path().to_str().unwrap()));
        std::process::Command::new("qemu-img").args(words).status().is_ok_and(|status| status.success())
    };
    let contents: Vec<u8> = (0..1_u32 << 20).map(|n| (n >> 9) as u8).collect();
    fs::create_dir(at("bases")).unwrap();
    fs::write(at("bases/base.raw"), &contents).unwrap();
    if !img("create -q -f qcow2 -F raw -b base.raw %/bases/middle.qcow2") {
        println!("SKIPPED: there is no qemu-img (Debian: qemu-utils)");
        return;
    }
    assert!(img("create -q -f qcow2 -F qcow2 -b bases/middle.qcow2 %/top.qcow2"));
    let top = at("top.qcow2");
    for image in [Image::new(&top), Image { format: Some("qcow2"), ..Image::new(&top) }] {
        let mut medium = open(&image).unwrap();
        assert_eq!((medium.len(), medium.is_read_only()), (1 << 20, false));
        assert!(read(&mut medium, 512, 69_000) == contents[512..69_512]);
        medium.write_at(70_000, b"new").unwrap();
        medium.flush().unwrap();
        // The lower images are in use too, for reading.
        let message = refusal(&Image { format: Some("raw"), ..Image::new(at("bases/base.raw")) });
        assert!(message.contains("another process uses it"), "{message}");
        drop(medium);
        assert_eq!(read(&mut open(&Image { access: Access::ReadOnly, ..image }).unwrap(), 69_999, 5)[1..4], *b"new");
    }
    assert!(fs::read(at("bases/base.raw")).unwrap() == contents);
    assert!(img("compare -s -f raw -F qcow2 %/bases/base.raw %/bases/middle.qcow2"));
    assert!(img("check -q %/top.qcow2"));
    // Over a snapshot the image stays as it is.
    let before = fs::read(&top).unwrap();
    open(&Image { snapshot: true, ..Image::new(&top) }).unwrap().write_at(0, &[1]).unwrap();
    assert!(fs::read(&top).unwrap() == before);

    // Chains that don't end, and names that are no files.
    assert!(img("create -q -f qcow2 -u -F qcow2 -b loop.qcow2 %/loop.qcow2 1M"));
    let message = refusal(&Image { access: Access::ReadOnly, ..Image::new(at("loop.qcow2")) });
    assert!(message.contains("does one refer to itself?"), "{message:.300}");
    for (backing, format, reason) in [
        ("ssh://host/x", "raw", "qemu-img rebase"),
        ("missing", "raw", "its backing file missing can't be used: No such file"),
        ("bases/base.raw", "vdi", "vdi format"),
        ("bases/base.raw", "qcow2", "no qcow2 image"),
    ] {
        assert!(img(&format!("create -q -f qcow2 -u -F {format} -b {backing} %/odd.qcow2 1M")));
        let message = refusal(&Image::new(at("odd.qcow2")));
        assert!(message.contains(reason), "{message}");
    }
}

/// Zeroes appear where they were asked for and nowhere else, however the host makes them.
#[test]
fn zeroes_are_made_and_holes_give_room_back() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, &vec![0xa5; 1 << 20]);
    let room = || fs::metadata(&path).unwrap().blocks();
    let before = room();
    let mut expected = vec![0xa5; 1 << 20];
    let node = open_node(&image(&path)).unwrap();
    for (offset, len, may_unmap) in
        [(512, 512, false), (0x1_0000, 0x1_2200, true), (0x8_0e00, 0x200, true), (0, 0, true)]
    {
        node.write_zeroes(offset, len, may_unmap).unwrap();
        expected[offset as usize..][..len as usize].fill(0);
        assert!(fs::read(&path).unwrap() == expected, "{len:#x} bytes at {offset:#x}");
    }
    assert!(room() < before, "a hole takes room");
    let before = room();
    node.discard(0xa_0000, 0x1_0000).unwrap();
    assert!(room() < before, "what is discarded takes room");
    assert!(matches!(node.write_zeroes((1 << 20) - 512, 1024, true), Err(BlockError::OutOfRange { .. })));
    assert!(matches!(node.discard(u64::MAX, 2), Err(BlockError::OutOfRange { .. })));
    drop(node);
    let read_only = open_node(&Image { access: Access::ReadOnly, ..image(&path) }).unwrap();
    assert!(matches!(read_only.write_zeroes(0, 512, true), Err(BlockError::ReadOnly)));
    assert!(matches!(read_only.discard(0, 512), Err(BlockError::ReadOnly)));
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
}

#[test]
fn writes_of_zeroes_are_noticed_and_take_no_room() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, &vec![0xa5; 1 << 20]);
    let room = || fs::metadata(&path).unwrap().blocks();
    let before = room();
    let mut medium = open(&Image { detect_zeroes: DetectZeroes::Unmap, ..image(&path) }).unwrap();
    medium.write_at(0x2_0000, &vec![0; 0x4_0000]).unwrap();
    let less = room();
    assert!(less < before, "zeroes take room");
    let mut data = vec![0; 0x1_0000];
    data[0xffff] = 1;
    medium.write_at(0x8_0000, &data).unwrap();
    assert_eq!(room(), less, "what is not all zeroes is written");
    let now = fs::read(&path).unwrap();
    assert!(now[0x2_0000..0x6_0000].iter().all(|byte| *byte == 0));
    assert_eq!((now[0x1_ffff], now[0x6_0000], now[0x8_fffe], now[0x8_ffff]), (0xa5, 0xa5, 0, 1));
}

#[test]
fn a_medium_grows_and_what_is_new_can_be_used() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, &[1; 1024]);
    let node = open_node(&image(&path)).unwrap();
    node.resize(2048).unwrap();
    assert_eq!((node.len(), fs::metadata(&path).unwrap().len()), (2048, 2048));
    node::write_bytes(&*node, 2047, &mut [7], true).unwrap();
    let mut end = [0; 2];
    node::read_bytes(&*node, 2046, &mut end).unwrap();
    assert_eq!(end, [0, 7]);
}

#[test]
fn the_locks_of_an_image_end_with_its_use_whoever_else_has_the_file_still_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    fs::write(&path, vec![0; 4096]).unwrap();
    let image = Image { format: Some("raw"), ..Image::new(&path) };
    let node = open_node(&image).unwrap();
    // As a process has it that is being started at this moment.
    let inherited = node.raw().unwrap().file.try_clone_to_owned().unwrap();
    assert!(format!("{:#}", open_node(&image).err().unwrap()).contains("another process uses it"));
    drop(node);
    open_node(&image).unwrap();
    drop(inherited);
}
