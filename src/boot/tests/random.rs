//! Images that nobody built: random ones, and good ones with random damage. They may be loaded or refused, but nothing may
//! panic, take long, or write outside of RAM.

use proptest::prelude::*;

use super::images::{BzImage, Elf, Load, multiboot_header};
use super::*;

/// One good image of each kind.
fn good() -> Vec<Vec<u8>> {
    let mut multiboot = multiboot_header(3, None);
    multiboot.resize(0x200, 0x90);
    let mut flat = multiboot_header(1 << 16, Some([0x20_0000, 0x20_0000, 0x20_0400, 0x20_1000, 0x20_0000]));
    flat.resize(0x400, 0x90);
    vec![
        BzImage { setup_sects: 4, code: vec![0x90; 0x400], ..BzImage::default() }.build(),
        BzImage { setup_sects: 4, code: vec![0x90; 0x400], ..BzImage::linux_2_4() }.build(),
        Elf::linux(vec![0x90; 0x100]).build(),
        Elf::new64(0, vec![Load::flat(0x20_0000, [0x90; 0x100])]).with_pvh_note(0x20_0000).build(),
        Elf::new32(0, vec![Load::flat(0x20_0000, [0x90; 0x100])]).with_pvh_note(0x20_0000).build(),
        Elf::new32(0x10_0020, vec![Load::flat(0x10_0000, multiboot)]).build(),
        flat,
    ]
}

/// Bytes at places where they hurt: field boundaries of headers, and anywhere.
fn damage() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    let place = prop_oneof![0usize..0x300, 0x1f0usize..0x270, 0usize..0x1000];
    let extreme = prop_oneof![
        any::<u64>(),
        (0u32..64).prop_map(|n| 1 << n),
        (0u32..64).prop_map(|n| u64::MAX >> n),
        (0u64..0x40).prop_map(|n| n.wrapping_sub(0x20)),
        (0u64..0x500).prop_map(|n| n << 16),
    ];
    let value = (extreme, 1usize..=8).prop_map(|(value, len)| value.to_le_bytes()[..len].to_vec());
    prop::collection::vec((place, value), 0..8)
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(good()), damage(), prop::option::of(0usize..0x1000)).prop_map(|(mut image, damage, cut)| {
        for (at, bytes) in damage {
            for (to, from) in image.iter_mut().skip(at).zip(bytes) {
                *to = from;
            }
        }
        image.truncate(cut.unwrap_or(usize::MAX));
        image
    })
}

/// Loads an image into a small machine whose reserved memory must stay as it is.
fn try_load(image: Vec<u8>, initrd: Option<Vec<u8>>, cmdline: Vec<u8>, clear: bool) -> Result<(), TestCaseError> {
    let mut machine = Machine::new(24);
    machine.reserved.push(0x5000..0x6000);
    let untouchable = [0x5000..0x6000, 0x9_fc00..0x10_0000, 24 * MIB - TABLES..24 * MIB];
    for range in &untouchable {
        let marks = vec![0x5a; (range.end - range.start) as usize];
        machine.mem.write_slice(&marks, GuestAddress(range.start)).unwrap();
    }
    let Ok(mut boot) = DirectBoot::new(Image::from_bytes("kernel", image), &cmdline) else { return Ok(()) };
    if let Some(initrd) = initrd {
        boot = boot.with_initrd(Image::from_bytes("initrd", initrd));
    }
    let loaded = boot.load(&machine.mem, &Platform { ram_is_clear: clear, ..machine.platform() });
    for range in &untouchable {
        let len = (range.end - range.start) as usize;
        prop_assert_eq!(machine.bytes(range.start, len), vec![0x5a; len], "{:x?}", range);
    }
    if let Ok(entry) = loaded {
        let (ip, sp) = match entry.state {
            EntryState::Long64 { rip, rsp, .. } => (rip, rsp),
            EntryState::Prot32 { eip, esp, .. } => (eip.into(), esp.into()),
        };
        for addr in [ip, sp - 1, entry.gdt, entry.gdt + 0x2f] {
            prop_assert!(
                machine.e820.iter().any(|e| e.kind == E820Kind::Ram && e.range().contains(&addr)),
                "{:#x}",
                addr
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_images_are_loaded_or_refused(
        image in damaged(),
        initrd in prop::option::of((0usize..0x20_0000).prop_map(|len| vec![0x77; len])),
        cmdline in prop_oneof!["[ -~]{0,100}", "(mem|vga)=[0-9a-fxKMG]{0,20}"],
        clear in any::<bool>(),
    ) {
        try_load(image, initrd, cmdline.into_bytes(), clear)?;
    }

    #[test]
    fn random_bytes_are_refused(
        head in prop::sample::select(vec![&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01", b"MZ"]),
        tail in prop::collection::vec(any::<u8>(), 0..0x1000),
    ) {
        let image = Image::from_bytes("kernel", [head, &tail].concat());
        prop_assert!(DirectBoot::new(image, b"").is_err());
    }

    #[test]
    fn long_command_lines_are_passed_on_or_refused(len in 0usize..0x2_0000, kernel in prop::sample::select(good())) {
        try_load(kernel, None, vec![b'x'; len], true)?;
    }
}
