//! The zero page, the command line, the initrd and the kernel in memory, by `Documentation/arch/x86/boot.rst` and
//! `zero-page.rst`.

use super::images::{BzImage, Elf, Load};
use super::*;
use crate::boot::Protocol;

const KERNEL: u64 = 0x100_0000;
const INIT_SIZE: u64 = 0x80_0000;

/// The zero page of a machine that has been loaded.
fn zero_page(entry: &Entry) -> u64 {
    match entry.state {
        EntryState::Long64 { rsi, .. } => rsi,
        EntryState::Prot32 { registers, .. } => registers.esi.into(),
    }
}

fn initrd(machine: &Machine, entry: &Entry) -> Range<u64> {
    let zp = zero_page(entry);
    let start = u64::from(machine.u32(zp + 0x218)) | u64::from(machine.u32(zp + 0x0c0)) << 32;
    let len = u64::from(machine.u32(zp + 0x21c)) | u64::from(machine.u32(zp + 0x0c4)) << 32;
    start..start + len
}

fn cmdline(machine: &Machine, entry: &Entry) -> String {
    machine.string(machine.u32(zero_page(entry) + 0x228).into())
}

/// Everything known to be in guest memory for a 64-bit entry, kernel excepted.
fn boot_data(machine: &Machine, entry: &Entry) -> Vec<(&'static str, Range<u64>)> {
    let EntryState::Long64 { rsp, rsi, cr3, .. } = entry.state else { panic!("{entry:?}") };
    let cmdline = u64::from(machine.u32(rsi + 0x228));
    let setup_data = machine.u64(rsi + 0x250);
    let mut ranges = vec![
        ("interrupt vectors and BIOS data", 0..0x1000),
        ("zero page", rsi..rsi + 4096),
        ("command line", cmdline..cmdline + machine.string(cmdline).len() as u64 + 1),
        ("random seed", setup_data..setup_data + 48),
        ("page tables", cr3..cr3 + 6 * 4096),
        ("descriptors", entry.gdt..entry.gdt + 0x30),
        ("stack", rsp - 1024..rsp),
    ];
    let initrd = initrd(machine, entry);
    if !initrd.is_empty() {
        ranges.push(("initrd", initrd));
    }
    ranges
}

fn assert_in_ram(machine: &Machine, ranges: &[(&str, Range<u64>)]) {
    for (name, range) in &ranges[1..] {
        let ram = |e: &&E820Entry| e.kind == E820Kind::Ram && e.addr <= range.start && range.end <= e.addr + e.size;
        assert!(machine.e820.iter().any(|e| ram(&e)), "{name} at {range:#x?} is not in RAM");
    }
}

#[test]
fn a_bzimage_is_loaded_where_it_prefers_to_be() {
    let machine = Machine::new(64);
    machine.scribble();
    let image = BzImage::default();
    let initrd_bytes: Vec<u8> = (0..123_457u32).map(|i| (i / 3) as u8).collect();
    let entry = machine.boot(image.build(), Some(&initrd_bytes), "console=ttyS0 root=/dev/sda1").unwrap();

    let EntryState::Long64 { rip, .. } = entry.state else { panic!("{entry:?}") };
    assert_eq!(rip, KERNEL + 0x200);
    assert_eq!(machine.bytes(KERNEL, image.code.len()), image.code);

    let zp = zero_page(&entry);
    let file = image.build();
    assert_eq!(machine.u8(zp + 0x1f1), 27, "setup_sects");
    assert_eq!(machine.u16(zp + 0x1f2), 1, "root_flags");
    assert_eq!(machine.bytes(zp + 0x1fe, 2), [0x55, 0xaa], "boot_flag");
    assert_eq!(machine.bytes(zp + 0x202, 4), *b"HdrS");
    assert_eq!(machine.u16(zp + 0x206), 0x20f, "version");
    assert_eq!(machine.u8(zp + 0x210), 0xff, "type_of_loader");
    assert_eq!(machine.u8(zp + 0x211), 0x81, "loadflags: LOADED_HIGH, CAN_USE_HEAP");
    assert_eq!(machine.u32(zp + 0x214), KERNEL as u32, "code32_start");
    assert_eq!(machine.u16(zp + 0x224), 0xde00, "heap_end_ptr");
    assert_eq!(machine.u16(zp + 0x1fa), 0xffff, "vid_mode");
    assert_eq!(machine.bytes(zp + 0x22c, 0x24), file[0x22c..0x250], "fields to read");
    assert_eq!(machine.u64(zp + 0x258), KERNEL, "pref_address");
    assert_eq!(machine.u32(zp + 0x260), INIT_SIZE as u32, "init_size");
    assert_eq!(cmdline(&machine, &entry), "console=ttyS0 root=/dev/sda1");

    let initrd = initrd(&machine, &entry);
    assert_eq!(machine.bytes(initrd.start, initrd_bytes.len()), initrd_bytes);
    assert_eq!(initrd.end - initrd.start, initrd_bytes.len() as u64);
    let top = 64 * MIB - TABLES;
    assert_eq!(initrd.start, (top - initrd_bytes.len() as u64) & !0xfff, "as high as possible, page aligned");

    let mut ranges = boot_data(&machine, &entry);
    ranges.push(("kernel", KERNEL..KERNEL + INIT_SIZE));
    assert_disjoint(&ranges);
    assert_in_ram(&machine, &ranges);
}

#[test]
fn the_zero_page_describes_the_machine_and_no_bios() {
    let machine = Machine::new(64);
    machine.scribble();
    let entry = machine.boot(BzImage::default().build(), None, "").unwrap();
    let zp = zero_page(&entry);

    assert_eq!(machine.u64(zp + 0x070), RSDP, "acpi_rsdp_addr");
    assert_eq!(machine.u8(zp + 0x1e8), 6, "e820_entries");
    for (i, expected) in machine.e820.iter().enumerate() {
        let at = zp + 0x2d0 + 20 * i as u64;
        let found = (machine.u64(at), machine.u64(at + 8), machine.u32(at + 16));
        assert_eq!(found, (expected.addr, expected.size, expected.kind as u32));
    }
    assert_eq!(machine.u32(zp + 0x1e0), 63 * 1024 - 128, "alt_mem_k");
    assert_eq!(machine.u16(zp + 0x002), 63 * 1024 - 128, "ext_mem_k");

    let node = machine.u64(zp + 0x250);
    assert_eq!(machine.u64(node), 0, "setup_data: last node");
    assert_eq!((machine.u32(node + 8), machine.u32(node + 12)), (9, 32), "SETUP_RNG_SEED");
    assert_eq!(machine.bytes(node + 16, 32), SEED);

    for (what, range) in [
        ("screen_info before ext_mem_k", 0x000..0x002),
        ("screen_info, apm_bios_info", 0x004..0x058),
        ("tboot_addr, ist_info", 0x058..0x070),
        ("hd0_info, hd1_info", 0x080..0x0a0),
        ("sys_desc_table, olpc_ofw_header, ext_ramdisk", 0x0a0..0x0cc),
        ("cc_blob_address, edid_info, efi_info", 0x13c..0x1e0),
        ("EDD, keyboard, secure boot, sentinel", 0x1e9..0x1f1),
        ("ramdisk", 0x218..0x220),
        ("after the setup header", 0x26c..0x2d0),
        ("unused e820 entries, EDD", 0x2d0 + 6 * 20..0x1000),
    ] {
        let bytes = machine.bytes(zp + range.start, (range.end - range.start) as usize);
        assert!(bytes.iter().all(|&b| b == 0), "{what}: {bytes:x?}");
    }
}

#[test]
fn without_acpi_or_seed_the_kernel_is_told_of_neither() {
    let machine = Machine::new(64);
    let mut boot = DirectBoot::new(Image::from_bytes("kernel", BzImage::default().build()), b"").unwrap();
    let platform = Platform { rsdp: None, rng_seed: None, ..machine.platform() };
    let entry = boot.load(&machine.mem, &platform).unwrap();
    assert_eq!(machine.u64(zero_page(&entry) + 0x070), 0);
    assert_eq!(machine.u64(zero_page(&entry) + 0x250), 0);
}

#[test]
fn a_kernel_of_2003_gets_what_it_knows() {
    let machine = Machine::new(1024);
    let image = BzImage::linux_2_4();
    let entry = machine.boot(image.build(), Some(&[7; 5000]), "root=/dev/hda1").unwrap();
    let EntryState::Prot32 { eip, .. } = entry.state else { panic!("{entry:?}") };
    assert_eq!(eip, 0x10_0000);
    assert_eq!(machine.bytes(0x10_0000, image.code.len()), image.code);
    let zp = zero_page(&entry);
    assert_eq!(machine.bytes(zp + 0x230, 0x290 - 0x230), [0; 0x60], "after the end of its shorter header");
    assert_eq!(machine.u16(zp + 0x002), 0xffff, "ext_mem_k");
    let initrd = initrd(&machine, &entry);
    assert_eq!(initrd, 0x37ff_e000..0x37ff_e000 + 5000, "below its initrd_addr_max");
}

#[test]
fn a_relocatable_kernel_goes_higher_when_its_place_is_taken() {
    let mut machine = Machine::new(64);
    machine.reserved.push(0x123_4000..0x123_5000);
    let entry = machine.boot(BzImage::default().build(), None, "").unwrap();
    let EntryState::Long64 { rip, .. } = entry.state else { panic!("{entry:?}") };
    assert_eq!(rip, 0x140_0200, "the next multiple of kernel_alignment above what is taken");
    assert_eq!(machine.u32(zero_page(&entry) + 0x214), 0x140_0000);
}

#[test]
fn a_fixed_kernel_is_loaded_low_and_unpacks_to_its_place() {
    let image = BzImage { relocatable: 0, ..BzImage::default() };
    let machine = Machine::new(32);
    let entry = machine.boot(image.build(), None, "").unwrap();
    let EntryState::Long64 { rip, .. } = entry.state else { panic!("{entry:?}") };
    assert_eq!(rip, 0x10_0200);
    let error = machine.boot(image.build(), Some(&vec![0; 16 << 20]), "").unwrap_err();
    assert!(chain(&error).contains("-m 41M"), "{}", chain(&error));
}

#[test]
fn the_initrd_stays_above_the_memory_the_kernel_unpacks_into() {
    let machine = Machine::new(32);
    let room = 32 * MIB - TABLES - (KERNEL + INIT_SIZE);
    let entry = machine.boot(BzImage::default().build(), Some(&vec![1; room as usize]), "").unwrap();
    assert_eq!(initrd(&machine, &entry).start, KERNEL + INIT_SIZE);
    // One byte more goes below the kernel, where there is more room.
    let entry = machine.boot(BzImage::default().build(), Some(&vec![1; room as usize + 1]), "").unwrap();
    assert!(initrd(&machine, &entry).end <= KERNEL);
}

#[test]
fn the_initrd_obeys_the_kernels_limit_and_that_of_mem() {
    let mut image = BzImage { initrd_addr_max: 0x2ff_ffff, xloadflags: 1, ..BzImage::default() };
    let machine = Machine::new(64);
    let end = |image: &BzImage, cmdline: &str| {
        let entry = machine.boot(image.build(), Some(&[1; 4096]), cmdline).unwrap();
        initrd(&machine, &entry).end
    };
    assert_eq!(end(&image, ""), 0x300_0000);
    assert_eq!(end(&image, "mem=40M"), 40 * MIB);
    // A kernel that can be loaded above 4 GiB has no limit of its own.
    image.xloadflags = 0b11;
    assert_eq!(end(&image, ""), 64 * MIB - TABLES);
}

#[test]
fn an_initrd_too_large_for_low_memory_goes_above_4_gib() {
    let machine = Machine::with_high_ram(64, 64);
    let big = vec![3; 50 << 20];
    let entry = machine.boot(BzImage::default().build(), Some(&big), "").unwrap();
    let initrd = initrd(&machine, &entry);
    assert_eq!(initrd, (1 << 32) + (14 << 20)..(1 << 32) + (64 << 20));
    assert_eq!(machine.u8(initrd.end - 1), 3);

    let low_only = BzImage { xloadflags: 1, ..BzImage::default() };
    let error = machine.boot(low_only.build(), Some(&big), "").unwrap_err();
    assert!(chain(&error).contains("`-initrd initrd`"), "{}", chain(&error));
}

#[test]
fn an_empty_initrd_is_none() {
    let machine = Machine::new(64);
    let entry = machine.boot(BzImage::default().build(), Some(&[]), "").unwrap();
    assert_eq!(initrd(&machine, &entry), 0..0);
}

#[test]
fn the_command_line_may_be_as_long_as_the_kernel_says() {
    let machine = Machine::new(64);
    let longest = "x".repeat(2047);
    for kernel in [BzImage::default().build(), Elf::linux(vec![0x90; 64]).build()] {
        let entry = machine.boot(kernel.clone(), None, &longest).unwrap();
        assert_eq!(cmdline(&machine, &entry), longest);
        let error = machine.boot(kernel, None, &(longest.clone() + "x")).unwrap_err();
        assert!(matches!(error, LoadError::CommandLine(_)));
    }
    let old = BzImage { version: 0x205, ..BzImage::default() };
    machine.boot(old.build(), None, &longest[..255]).unwrap();
    let error = machine.boot(old.build(), None, &longest[..256]).unwrap_err();
    assert_eq!(
        chain(&error),
        "cannot pass on the kernel command line of `-append`: it is 256 bytes long, and this kernel takes at most 255; make \
         it shorter"
    );
}

#[test]
fn a_vmlinux_is_entered_in_long_mode_even_if_it_has_a_pvh_note() {
    let text: Vec<u8> = (0..0x1000u32).map(|i| i as u8).collect();
    let plain = Elf::linux(text.clone());
    let with_notes = plain.clone().with_note(b"Linux\0", 0x100, b"").with_pvh_note(0x100_0800);
    for kernel in [plain, with_notes] {
        let machine = Machine::new(64);
        machine.scribble();
        let mut boot = DirectBoot::new(Image::from_bytes("vmlinux", kernel.build()), b"quiet vga=0x317").unwrap();
        assert_eq!(boot.protocol(), Protocol::Linux64);
        boot = boot.with_initrd(Image::from_bytes("initrd", vec![9; 10_000]));
        let entry = machine.load(&mut boot).unwrap();

        let EntryState::Long64 { rip, .. } = entry.state else { panic!("{entry:?}") };
        assert_eq!(rip, 0x100_0000);
        assert_eq!(machine.bytes(0x100_0000, text.len()), text);
        assert_eq!(machine.bytes(0x120_0000, 0x1000), vec![0xcc; 0x1000]);
        assert_eq!(machine.bytes(0x120_1000, 0x2000), vec![0; 0x2000], "BSS");
        assert_eq!(machine.bytes(0x132_0000, 0x2_2345), vec![0; 0x2_2345], "BSS");
        assert_eq!(machine.u8(0x134_2345), 0xa5, "the first byte after BSS");

        let zp = zero_page(&entry);
        assert_eq!(machine.bytes(zp + 0x1fe, 2), [0x55, 0xaa], "boot_flag");
        assert_eq!(machine.bytes(zp + 0x202, 4), *b"HdrS");
        assert!(machine.u16(zp + 0x206) >= 0x209, "a version that has setup_data");
        assert_eq!(machine.u8(zp + 0x210), 0xff, "type_of_loader");
        assert_eq!(machine.u16(zp + 0x1fa), 0x317, "vid_mode");
        assert_eq!(machine.u64(zp + 0x070), RSDP);
        assert_eq!(cmdline(&machine, &entry), "quiet vga=0x317");
        let ranges = boot_data(&machine, &entry);
        assert_eq!(ranges.last().unwrap().0, "initrd");
        assert_disjoint(&[ranges.clone(), vec![("kernel", 0x100_0000..0x134_2345)]].concat());
        assert_in_ram(&machine, &ranges);
    }
}

#[test]
fn a_second_load_after_the_guest_has_run_gives_the_same() {
    let machine = Machine::new(64);
    let kernel = Image::from_bytes("vmlinux", Elf::linux(vec![0x90; 4096]).build());
    let mut boot = DirectBoot::new(kernel, b"a b c").unwrap().with_initrd(Image::from_bytes("i", vec![1; 5000]));
    let first = machine.load(&mut boot).unwrap();
    let page = machine.bytes(zero_page(&first), 4096);
    machine.scribble();
    let second = machine.load(&mut boot).unwrap();
    assert_eq!(first, second);
    assert_eq!(machine.bytes(zero_page(&second), 4096), page);
    assert_eq!(machine.bytes(0x130_0000 + 0x2_0000, 0x2_2345), vec![0; 0x2_2345]);
}

#[test]
fn boot_data_gives_way_to_a_kernel_in_conventional_memory() {
    let mut kernel = Elf::linux(vec![0x90; 64]);
    kernel.loads.push(Load::flat(0x1000, vec![0xee; 0x9_0000]));
    let machine = Machine::new(64);
    let entry = machine.boot(kernel.build(), Some(&[1; 4096]), "x").unwrap();
    let ranges = boot_data(&machine, &entry);
    assert_disjoint(&[ranges.clone(), vec![("low segment", 0x1000..0x9_1000)]].concat());
    assert_in_ram(&machine, &ranges);
}
