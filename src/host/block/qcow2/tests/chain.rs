//! Images over images, each of another kind and with something of its own.

use super::super::super::testing::{Image, open_node};
use super::*;
use crate::config::Access;

/// Three images, the lowest one over a raw file. Each is longer than what it is over.
fn chain(place: &Workplace) {
    fs::write(place.path("base"), (0..1_500_160_u32).map(|n| (n >> 9) as u8 | 1).collect::<Vec<_>>()).unwrap();
    place.img("create -q -f qcow2 -o compat=0.10,cluster_size=4k -F raw -b base %/low 2M");
    place.io("low", &["write -P 11 100k 50k", "write -P 12 1400k 200k", "write -c -P 13 256k 64k"]);
    place.img("create -q -f qcow2 -o cluster_size=512,refcount_bits=1 -F qcow2 -b low %/middle 3M");
    place.io("middle", &["write -P 21 120k 10k", "write -z 1M 64k", "write -P 22 2040k 16k", "discard 300k 4k"]);
    place.img("create -q -f qcow2 -o cluster_size=2M,lazy_refcounts=on -F qcow2 -b middle %/top 5M");
    place.io("top", &["write -P 31 4M 100k"]);
}

#[test]
fn a_chain_of_images_reads_as_in_qemu_img() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    chain(&place);
    for name in ["low", "middle", "top"] {
        let expected = place.contents(name);
        for (format, access) in [(None, Access::ReadOnly), (Some("qcow2"), Access::ReadWrite)] {
            let image = open_node(&Image { format, access, ..Image::new(place.path(name)) }).unwrap();
            same(&bytes_of(&*image), &expected, name);
        }
        let image = open_node(&Image { snapshot: true, ..Image::new(place.path(name)) }).unwrap();
        same(&bytes_of(&*image), &expected, name);
    }
}

#[test]
fn writing_to_the_top_of_a_chain_leaves_what_is_below_as_it_was() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    chain(&place);
    let below = || ["base", "low", "middle"].map(|name| fs::read(place.path(name)).unwrap());
    let before = below();
    // Also one whose clusters are smaller than those below.
    place.img("create -q -f qcow2 -o cluster_size=1k -F qcow2 -b top %/highest");
    for name in ["top", "highest"] {
        let mut expected = place.contents(name);
        let image = open_node(&Image { format: Some("qcow2"), ..Image::new(place.path(name)) }).unwrap();
        for (number, (offset, len)) in
            [(0, 1), (1_500_000, 1000), (2_097_151, 2), (122_000, 200_000), (expected.len() - 512, 512)]
                .into_iter()
                .enumerate()
        {
            write_bytes(&*image, offset as u64, &mut vec![0xc0 + number as u8; len], false).unwrap();
            expected[offset..offset + len].fill(0xc0 + number as u8);
        }
        image.write_zeroes(1 << 20, 700_416, true).unwrap();
        expected[1 << 20..(1 << 20) + 700_416].fill(0);
        same(&bytes_of(&*image), &expected, name);
        image.flush().unwrap();
        drop(image);
        check(&place.path(name)).unwrap();
        same(&place.contents(name), &expected, name);
    }
    assert!(below() == before);
}
