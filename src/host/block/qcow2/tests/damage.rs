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
