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
                use_image(Memory::new(damaged));
            }
        }
    }
}

#[test]
fn an_image_whose_own_clusters_are_marked_as_free_is_not_written() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 4M");
    place.io("image", &["write -P 5 0 64k"]);
    let good = place.load("image").contents();
    let at = |at: usize| u64::from_be_bytes(good[at..at + 8].try_into().unwrap());
    let address = |entry: u64| (entry & 0x00ff_ffff_ffff_fe00) as usize;
    let (l1, reftable) = (at(40) as usize, at(48) as usize);
    let (l2, block) = (address(at(l1)), address(at(reftable)));
    let opened = |file: &[u8], read_only| open(Arc::new(Memory::new(file.to_vec())), None, read_only);
    opened(&good, false).unwrap();
    // A count has two bytes; without a block, which the table has 8 bytes for, there is none.
    let counts = [0, l1, reftable, block, l2].map(|offset| (block + (offset >> 16) * 2, 2));
    for place in counts.into_iter().chain([(reftable, 8)]) {
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
