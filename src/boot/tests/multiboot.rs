//! The multiboot information structure, modules and image layouts, by the Multiboot Specification 0.6.96; where it leaves
//! a choice, what a kernel sees under QEMU 7.2.

use super::images::{Elf, Load, multiboot_header};
use super::*;
use crate::boot::Protocol;

const KERNEL: u64 = 0x10_0000;

fn elf_kernel(flags: u32) -> Elf {
    let mut image = multiboot_header(flags, None);
    image.resize(0x1234, 0x90);
    Elf::new32(KERNEL + 12, vec![Load { virt: KERNEL, phys: KERNEL, bytes: image, memsz: 0x3000 }])
}

/// The information structure of a machine that has been loaded.
fn info(entry: &Entry) -> u64 {
    match entry.state {
        EntryState::Prot32 { registers, .. } => {
            assert_eq!(registers.eax, 0x2bad_b002);
            registers.ebx.into()
        }
        EntryState::Long64 { .. } => panic!("{entry:?}"),
    }
}

#[test]
fn the_information_structure_describes_the_machine() {
    let machine = Machine::new(64);
    machine.scribble();
    let entry = machine.boot(elf_kernel(3).build(), None, "a=1 b").unwrap();
    assert_eq!(machine.bytes(KERNEL + 0x1234, 0x3000 - 0x1234), vec![0; 0x3000 - 0x1234], "BSS");

    let info = info(&entry);
    assert_eq!(machine.u32(info), 0x24f, "memory, boot device, command line, modules, memory map, loader name");
    assert_eq!(machine.u32(info + 4), 639, "mem_lower");
    assert_eq!(machine.u32(info + 8), 63 * 1024 - 128, "mem_upper");
    assert_eq!(machine.u32(info + 12), 0x8000_ffff, "boot_device");
    let cmdline = machine.u32(info + 16).into();
    assert_eq!(machine.string(cmdline), "kernel a=1 b");
    assert_eq!(machine.u32(info + 20), 0, "mods_count");
    assert_eq!(machine.bytes(info + 28, 16), [0; 16], "syms");
    let (len, map) = (machine.u32(info + 44), machine.u32(info + 48).into());
    assert_eq!(len, 6 * 24);
    for (i, expected) in machine.e820.iter().enumerate() {
        let at = map + 24 * i as u64;
        let found = (machine.u32(at), machine.u64(at + 4), machine.u64(at + 12), machine.u32(at + 20));
        assert_eq!(found, (20, expected.addr, expected.size, expected.kind as u32));
    }
    assert_eq!(machine.bytes(info + 52, 12), [0; 12], "drives, config_table");
    let name = machine.u32(info + 64).into();
    assert_eq!(machine.string(name), "natoma");
    assert_eq!(machine.bytes(info + 68, 20), [0; 20], "apm_table, vbe");

    assert_disjoint(&[
        ("interrupt vectors and BIOS data", 0..0x1000),
        ("kernel", KERNEL..KERNEL + 0x3000),
        ("information", info..info + 88),
        ("command line", cmdline..cmdline + 13),
        ("memory map", map..map + 6 * 24),
        ("loader name", name..name + 7),
        ("descriptors", entry.gdt..entry.gdt + 0x30),
    ]);
}

#[test]
fn modules_follow_the_kernel_in_order_with_their_arguments() {
    let dir = vmm_sys_util::tempdir::TempDir::new().unwrap();
    let path = |name: &str| dir.as_path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("kernel"), elf_kernel(0).build()).unwrap();
    std::fs::write(path("one"), [1; 5000]).unwrap();
    std::fs::write(path("two,2"), []).unwrap();
    std::fs::write(path("three"), [3; 10]).unwrap();
    let list = format!("{} root=x y,{},{}", path("one"), path("two,,2"), path("three"));

    let machine = Machine::new(64);
    let kernel = path("kernel");
    let mut boot = DirectBoot::open(kernel.as_ref(), Some(list.as_ref()), b"", 64 * MIB).unwrap();
    let entry = machine.load(&mut boot).unwrap();
    let info = info(&entry);
    assert_eq!(machine.string(machine.u32(info + 16).into()), kernel + " ");
    assert_eq!(machine.u32(info + 20), 3, "mods_count");
    let mods = u64::from(machine.u32(info + 24));
    let found: Vec<_> = (0..3)
        .map(|i| {
            let field = |n: u64| u64::from(machine.u32(mods + 16 * i + 4 * n));
            assert_eq!(field(3), 0);
            (field(0)..field(1), machine.string(field(2)))
        })
        .collect();
    assert_eq!(
        found,
        [
            (0x10_3000..0x10_3000 + 5000, format!("{} root=x y", path("one"))),
            (0x10_5000..0x10_5000, path("two,2")),
            (0x10_6000..0x10_6000 + 10, path("three")),
        ]
    );
    assert_eq!(machine.bytes(0x10_3000, 5000), [1; 5000]);
    assert_eq!(machine.bytes(0x10_6000, 10), [3; 10]);
}

/// A file whose header is 0x40 bytes into what is loaded, after `skip` bytes that are not.
fn flat(skip: usize, addresses: [u32; 5]) -> Vec<u8> {
    let mut file = vec![0xee; skip];
    file.extend([0x11; 0x40]);
    file.extend(multiboot_header(1 << 16, Some(addresses)));
    file.resize(skip + 0x1000, 0x22);
    file
}

#[test]
fn addresses_in_the_header_say_what_is_loaded() {
    let machine = Machine::new(64);
    machine.scribble();
    let file = flat(0x100, [0x20_0040, 0x20_0000, 0x20_0800, 0x20_2000, 0x20_0060]);
    let entry = machine.boot(file.clone(), None, "").unwrap();
    assert!(matches!(entry.state, EntryState::Prot32 { eip: 0x20_0060, .. }));
    assert_eq!(machine.bytes(0x20_0000, 0x800), file[0x100..0x900]);
    assert_eq!(machine.bytes(0x20_0800, 0x1800), vec![0; 0x1800], "BSS");
    assert_eq!(machine.u8(0x20_2000), 0xa5);

    // Without ends, all of the file and no BSS.
    machine.scribble();
    machine.boot(flat(0x100, [0x20_0040, 0x20_0000, 0, 0, 0x20_0000]), None, "").unwrap();
    assert_eq!(machine.bytes(0x20_0000, 0x40), [0x11; 0x40]);
    assert_eq!(machine.u8(0x20_0fff), 0x22);
    assert_eq!(machine.u8(0x20_1000), 0xa5);
}

#[test]
fn addresses_in_the_header_count_even_in_an_elf_file() {
    let mut kernel = elf_kernel(0);
    let header_at = 84; // one ELF header of 52 bytes, one program header of 32
    let addresses = [0x30_0000 + header_at, 0x30_0000, 0, 0, 0x30_0000];
    kernel.loads[0].bytes = multiboot_header(1 << 16, Some(addresses));
    let entry = Machine::new(64).boot(kernel.build(), None, "").unwrap();
    assert!(matches!(entry.state, EntryState::Prot32 { eip: 0x30_0000, .. }));
}

#[test]
fn addresses_that_contradict_each_other_are_refused() {
    for (addresses, problem) in [
        ([0x1f_ffff, 0x20_0000, 0, 0, 0x20_0000], "load_addr is above header_addr"),
        ([0x20_1000, 0x20_0000, 0, 0, 0x20_0000], "load_addr is before the start of the file"),
        ([0x20_0040, 0x20_0000, 0x1f_0000, 0, 0x20_0000], "load_end_addr is below load_addr"),
        ([0x20_0040, 0x20_0000, 0x20_0800, 0x20_07ff, 0x20_0000], "bss_end_addr is below load_end_addr"),
        ([0x20_0040, 0x20_0000, 0, 0, 0x40_0000], "entry_addr is outside of what is loaded"),
        ([0x20_0040, 0x20_0000, 0x20_2000, 0, 0x20_0000], "truncated"),
    ] {
        let image = Image::from_bytes("kernel", flat(0, addresses));
        let error = chain(&DirectBoot::new(image, b"").unwrap_err());
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_header_is_found_in_the_first_8_kib_only() {
    let at = |offset: usize| {
        let mut file = vec![0; offset];
        file.extend(multiboot_header(1 << 16, Some([0x20_0000 + offset as u32, 0x20_0000, 0, 0, 0x20_0000])));
        file.resize(0x3000, 0);
        DirectBoot::new(Image::from_bytes("kernel", file), b"").is_ok()
    };
    assert!(at(8192 - 32));
    assert!(!at(8192 - 28));
    assert!(!at(0x102), "aligned to 4 bytes");
    assert!(!at(8192));
}

#[test]
fn unknown_requirements_are_refused_and_unknown_options_are_not() {
    let new = |flags| DirectBoot::new(Image::from_bytes("kernel", elf_kernel(flags).build()), b"");
    assert!(chain(&new(1 << 5).unwrap_err()).contains("0x0020"));
    assert!(new(1 << 20).is_ok());
    assert!(new(0b111).is_ok(), "a video mode is asked for, and there is a warning");
}

#[test]
fn a_64_bit_elf_file_is_multiboot_unless_it_has_a_pvh_note() {
    let kernel = Elf { bits: 64, machine: 62, ..elf_kernel(0) };
    let protocol = |kernel: &Elf| DirectBoot::new(Image::from_bytes("kernel", kernel.build()), b"").unwrap().protocol();
    assert_eq!(protocol(&kernel), Protocol::Multiboot);
    let kernel = kernel.with_pvh_note(KERNEL as u32);
    assert_eq!(protocol(&kernel), Protocol::Pvh);
    let kernel = Elf { bits: 32, machine: 3, ..kernel };
    assert_eq!(protocol(&kernel), Protocol::Multiboot);
}

#[test]
fn a_virtual_entry_point_is_made_physical() {
    let mut kernel = elf_kernel(0);
    kernel.loads[0].virt = 0xc010_0000;
    kernel.entry = 0xc010_000c;
    let entry = Machine::new(64).boot(kernel.build(), None, "").unwrap();
    assert!(matches!(entry.state, EntryState::Prot32 { eip: 0x10_000c, .. }));
}
