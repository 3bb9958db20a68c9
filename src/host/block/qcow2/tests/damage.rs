//! Images with damaged headers and tables: whatever is in them, nothing panics, hangs or takes memory without bound.

use proptest::prelude::Rng;

use super::*;

/// Does something of everything to an image, with errors as they come.
fn use_image(file: Memory) {
    let file = Arc::new(file.with_room_for(4 << 20));
    for read_only in [true, false] {
        let Ok(image) = open(Arc::clone(&file) as Arc<dyn Node>, None, read_only) else { continue };
        let len = image.len();
        let mut bytes = [0x5a; 3000];
        for offset in [0, 511, 40_000, len / 2, len.saturating_sub(3000)] {
            let _ = read_bytes(&image, offset, &mut bytes);
            let _ = write_bytes(&image, offset, &mut bytes, false);
            let _ = image.discard(offset, 2048);
            let _ = image.write_zeroes(offset, 1500, false);
        }
        let _ = image.flush();
    }
}

#[test]
fn damaged_images_give_errors() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    let mut random = random();
    for options in ["cluster_size=512", "cluster_size=512,compat=0.10", "cluster_size=4k,refcount_bits=1"] {
        place.img(&format!("create -q -f qcow2 -o {options} %/plain 200k"));
        place.io("plain", &["write -P 1 0 50k", "write -P 2 100k 10k", "write -z 120k 4k"]);
        place.img(&format!("convert -q -c -O qcow2 -o {options} %/plain %/image"));
        for name in ["plain", "image"] {
            let good = place.load(name).contents();
            let cluster = if options.contains("4k") { 4096 } else { 512 };
            for round in 0..150 {
                let mut damaged = good.clone();
                for _ in 0..1 + random.next_u64() % 3 {
                    // Mostly in the header and the tables, which come first.
                    let area = if round % 3 == 0 { 112 } else { (cluster * 6).min(damaged.len()) };
                    let at = (random.next_u64() as usize % area) & !7;
                    let value = match random.next_u64() % 5 {
                        0 => random.next_u64(),
                        1 => random.next_u64() % 64 * cluster as u64,
                        2 => (1 << 63) | (random.next_u64() % 64 * cluster as u64),
                        3 => (1 << 62) | (random.next_u64() >> 2),
                        _ => {
                            u64::from_be_bytes(damaged[at..at + 8].try_into().unwrap()) ^ 1 << (random.next_u64() % 64)
                        }
                    };
                    damaged[at..at + 8].copy_from_slice(&value.to_be_bytes());
                }
                // Some of version 3 were not closed.
                if round % 2 == 0 && damaged[7] == 3 {
                    damaged[FEATURES_BYTE as usize] |= 1;
                }
                use_image(Memory::new(damaged));
            }
        }
    }
}

/// Where the tables of an image are that has one of each.
struct Tables {
    l1: usize,
    l2: usize,
    reftable: usize,
    /// The refcount block.
    counts: usize,
}

impl Tables {
    fn of(image: &[u8]) -> Self {
        let offset = |at: usize| {
            let entry = u64::from_be_bytes(image[at..at + 8].try_into().unwrap());
            (entry & 0x00ff_ffff_ffff_fe00) as usize
        };
        let (l1, reftable) = (offset(40), offset(48));
        Self { l1, l2: offset(l1), reftable, counts: offset(reftable) }
    }
}

/// An image with a cluster of fives.
fn image_with_a_cluster() -> Vec<u8> {
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 4M");
    place.io("image", &["write -P 5 0 64k"]);
    place.load("image").contents()
}

#[test]
fn data_is_not_written_over_the_images_own_tables() {
    if !qemu_img_is_there() {
        return;
    }
    let good = image_with_a_cluster();
    let Tables { l1, l2, reftable, counts } = Tables::of(&good);
    for target in [l1, reftable, counts, l2] {
        let mut file = good.clone();
        file[l2..l2 + 8].copy_from_slice(&((1 << 63) | target as u64).to_be_bytes());
        let file = Arc::new(Memory::new(file));
        let image = open(Arc::clone(&file) as Arc<dyn Node>, None, false).unwrap();
        let before = file.contents();
        let error = write_bytes(&image, 512, &mut [0xaa; 512], false).unwrap_err();
        assert!(format!("{error:?}").contains("the image is damaged"), "{error:?}");
        assert!(file.contents() == before, "{target:#x}");
    }
}

#[test]
fn an_image_whose_own_clusters_are_marked_as_free_is_not_written() {
    if !qemu_img_is_there() {
        return;
    }
    let good = image_with_a_cluster();
    let Tables { l1, l2, reftable, counts } = Tables::of(&good);
    let opened = |file: &[u8], read_only| open(Arc::new(Memory::new(file.to_vec())), None, read_only);
    opened(&good, false).unwrap();
    // A count has two bytes; without a block, which the table has 8 bytes for, there is none.
    let entries = [0, l1, reftable, counts, l2].map(|offset| (counts + (offset >> 16) * 2, 2));
    for place in entries.into_iter().chain([(reftable, 8)]) {
        let mut file = good.clone();
        file[place.0..place.0 + place.1].fill(0);
        let refusal = opened(&file, false).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(
            refusal.contains("marked as free") && refusal.contains("qemu-img check -r all"),
            "{place:?}: {refusal}"
        );
        let mut found = [0; 512];
        read_bytes(&opened(&file, true).unwrap(), 0, &mut found).unwrap();
        assert_eq!(found, [5; 512]);
    }
}
