//! Images of all kinds that qemu-img makes.

use super::super::super::testing::{Image, open_node};
use super::*;
use crate::config::Access;

/// Bits of an offset within the smallest cluster and the largest one.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

#[test]
fn images_with_clusters_of_all_sizes_and_kinds_read_as_in_qemu_img() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    for bits in CLUSTER_BITS {
        for compat in ["0.10", "1.1"] {
            // Version 2 has no widths, of which there are seven.
            let width = if compat == "1.1" { format!(",refcount_bits={}", 1 << (bits % 7)) } else { String::new() };
            let kind = format!("compat={compat},cluster_size={}{width}", 1 << bits);
            place.img(&format!("create -q -f qcow2 -o {kind} %/image 5M"));
            place.io(
                "image",
                &["write -P 17 1000k 300k", "write -P 99 3M 1", "write -z 1100k 64k", "write -P 3 5242368 512"],
            );
            let expected = place.contents("image");
            same(&bytes_of(&open(Arc::new(place.load("image")), None, true).unwrap()), &expected, &kind);
            place.img(&format!("convert -q -c -O qcow2 -o {kind} %/image %/compressed"));
            let compressed = open(Arc::new(place.load("compressed")), None, true).unwrap();
            same(&bytes_of(&compressed), &expected, &format!("{kind}, compressed"));
        }
    }
    place.img("create -q -f qcow2 -o preallocation=metadata %/allocated 3M");
    let expected = place.contents("allocated");
    same(&bytes_of(&open(Arc::new(place.load("allocated")), None, false).unwrap()), &expected, "preallocated");
}

#[test]
fn a_compressed_image_is_written_like_others() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    fs::write(place.path("raw"), (0..2_u32 << 20).map(|n| (n >> 11) as u8).collect::<Vec<_>>()).unwrap();
    for options in ["cluster_size=4k", "cluster_size=64k,compat=0.10"] {
        place.img(&format!("convert -q -c -f raw -O qcow2 -o {options} %/raw %/image"));
        let mut expected = place.contents("image");
        let file = Arc::new(place.load("image"));
        let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
        for (offset, len) in [(0, 512), (70_000, 3), (500_000, 200_000), ((2 << 20) - 512, 512)] {
            write_bytes(&image, offset as u64, &mut vec![0xd7; len], false).unwrap();
            expected[offset..offset + len].fill(0xd7);
        }
        image.write_zeroes(1 << 20, 100_352, true).unwrap();
        expected[1 << 20..(1 << 20) + 100_352].fill(0);
        same(&bytes_of(&image), &expected, options);
        drop(image);
        fs::write(place.path("image"), file.contents()).unwrap();
        check(&place.path("image")).unwrap();
        same(&place.contents("image"), &expected, options);
    }
}

/// The current state is the guest's; the snapshots stay for qemu-img.
#[test]
fn an_image_with_internal_snapshots_shows_its_current_state() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 -o cluster_size=4k %/image 3M");
    for (number, name) in ["first", "second", "third"].into_iter().enumerate() {
        place.io("image", &[&format!("write -P {} {}k 500k", number + 1, number * 300)]);
        place.img(&format!("snapshot -c {name} %/image"));
    }
    place.io("image", &["write -P 77 100k 10k"]);
    let expected = place.contents("image");
    for read_only in [true, false] {
        let image = open(Arc::new(place.load("image")), None, read_only).unwrap();
        same(&bytes_of(&image), &expected, "the current state");
    }
    let image = open_node(&Image::new(place.path("image"))).unwrap();
    write_bytes(&*image, 0, &mut vec![5; 2 << 20], false).unwrap();
    drop(image);
    place.img("check -q %/image");
    for (name, byte) in [("first", 1), ("second", 2), ("third", 3)] {
        place.img(&format!("convert -l snapshot.name={name} -O raw %/image %/contents.raw"));
        let contents = fs::read(place.path("contents.raw")).unwrap();
        let end = (byte - 1) * 300 * 1024 + 500 * 1024;
        assert!((contents[end - 1], contents[end]) == (byte as u8, 0) && contents[0] == 1, "{name}");
    }
}

/// By what makes them known: the magic of a LUKS container, and a qcow2 header's method of encryption. (qemu-img measures how quick
/// the host is before it makes such an image, and gives up on a busy one.)
#[test]
fn encrypted_images_are_refused_with_what_to_do() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    let mut container = b"LUKS\xba\xbe\0\x01aes".to_vec();
    container.resize(1 << 20, 0);
    fs::write(place.path("container"), container).unwrap();
    place.img("create -q -f qcow2 %/image 1M");
    let mut image = fs::read(place.path("image")).unwrap();
    image[32..36].copy_from_slice(&2_u32.to_be_bytes());
    fs::write(place.path("image"), image).unwrap();
    for (name, format) in [("container", None), ("image", None), ("image", Some("qcow2"))] {
        for access in [Access::ReadWrite, Access::ReadOnly] {
            let refused = open_node(&Image { format, access, ..Image::new(place.path(name)) }).err();
            let message = refused.map(|error| format!("{error:#}")).unwrap_or_default();
            for part in ["encrypted with LUKS", "which natoma does not have", "qemu-img convert --object secret"] {
                assert!(message.contains(part), "no {part:?} in {message:?}");
            }
        }
    }
}
