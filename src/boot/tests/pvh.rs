//! `hvm_start_info` and which kernels get it, by Xen's `start_info.h` and `pvh.pandoc`.

use super::images::{Elf, Load, note};
use super::*;
use crate::boot::Protocol;

const KERNEL: u64 = 0x20_0000;

fn kernel() -> Elf {
    let loads = vec![Load { virt: KERNEL, phys: KERNEL, bytes: vec![0x90; 0x1800], memsz: 0x5000 }];
    Elf::new64(KERNEL, loads)
}

fn start_info(entry: &Entry) -> u64 {
    match entry.state {
        EntryState::Prot32 { registers, .. } => registers.ebx.into(),
        EntryState::Long64 { .. } => panic!("{entry:?}"),
    }
}

#[test]
fn start_info_describes_the_machine() {
    let machine = Machine::new(64);
    machine.scribble();
    let initrd_bytes = vec![0x42; 9000];
    let entry = machine.boot(kernel().with_pvh_note(0x20_0010).build(), Some(&initrd_bytes), "console=ttyS0").unwrap();
    let EntryState::Prot32 { eip, .. } = entry.state else { panic!("{entry:?}") };
    assert_eq!(eip, 0x20_0010);
    assert_eq!(machine.bytes(KERNEL, 0x1800), vec![0x90; 0x1800]);
    assert_eq!(machine.bytes(KERNEL + 0x1800, 0x3800), vec![0; 0x3800], "BSS");

    let info = start_info(&entry);
    assert_eq!(machine.u32(info), 0x336e_c578, "magic");
    assert_eq!(machine.u32(info + 4), 1, "version");
    assert_eq!(machine.u32(info + 8), 0, "flags");
    assert_eq!(machine.u32(info + 12), 1, "nr_modules");
    let modlist = machine.u64(info + 16);
    let cmdline = machine.u64(info + 24);
    assert_eq!(machine.string(cmdline), "console=ttyS0");
    assert_eq!(machine.u64(info + 32), RSDP, "rsdp_paddr");
    let memmap = machine.u64(info + 40);
    assert_eq!(machine.u32(info + 48), 6, "memmap_entries");
    for (i, expected) in machine.e820.iter().enumerate() {
        let at = memmap + 24 * i as u64;
        let found = (machine.u64(at), machine.u64(at + 8), machine.u32(at + 16), machine.u32(at + 20));
        assert_eq!(found, (expected.addr, expected.size, expected.kind as u32, 0));
    }
    let initrd = machine.u64(modlist);
    assert_eq!(machine.u64(modlist + 8), 9000);
    assert_eq!((machine.u64(modlist + 16), machine.u64(modlist + 24)), (0, 0));
    assert_eq!(machine.bytes(initrd, 9000), initrd_bytes);
    assert_eq!(initrd, (64 * MIB - TABLES - 9000) & !0xfff);

    assert_disjoint(&[
        ("interrupt vectors and BIOS data", 0..0x1000),
        ("kernel", KERNEL..KERNEL + 0x5000),
        ("start info", info..info + 56),
        ("modules", modlist..modlist + 32),
        ("command line", cmdline..cmdline + 14),
        ("memory map", memmap..memmap + 6 * 24),
        ("initrd", initrd..initrd + 9000),
        ("descriptors", entry.gdt..entry.gdt + 0x30),
    ]);
}

#[test]
fn without_initrd_and_acpi_there_are_no_modules_and_no_rsdp() {
    let machine = Machine::new(64);
    let mut boot =
        DirectBoot::new(Image::from_bytes("kernel", kernel().with_pvh_note(0x20_0000).build()), b"").unwrap();
    assert_eq!(boot.protocol(), Protocol::Pvh);
    let entry = boot.load(&machine.mem, &Platform { rsdp: None, ..machine.platform() }).unwrap();
    let info = start_info(&entry);
    assert_eq!((machine.u32(info + 12), machine.u64(info + 16)), (0, 0));
    assert_eq!(machine.u64(info + 32), 0);
    assert_eq!(machine.string(machine.u64(info + 24)), "");
}

#[test]
fn a_32_bit_kernel_with_the_note_is_entered_too() {
    let kernel = Elf { bits: 32, machine: 3, ..kernel() }.with_pvh_note(0x20_0004);
    let entry = Machine::new(64).boot(kernel.build(), None, "").unwrap();
    assert!(matches!(entry.state, EntryState::Prot32 { eip: 0x20_0004, .. }));
}

#[test]
fn the_note_is_found_among_others() {
    let mut notes = note(b"GNU\0", 3, &[1; 20]);
    notes.extend(note(b"", 5, b""));
    notes.extend(note(b"Xen\0", 6, b"linux\0"));
    notes.extend(note(b"Xen\0", 18, &0x20_0008u64.to_le_bytes()));
    notes.extend(note(b"Xen\0", 5, &[0; 4]));
    let damaged = [0xff; 40].to_vec();
    let kernel = Elf { notes: vec![damaged, notes, note(b"GNU\0", 1, &[0; 16])], ..kernel() };
    let entry = Machine::new(64).boot(kernel.build(), None, "").unwrap();
    assert!(matches!(entry.state, EntryState::Prot32 { eip: 0x20_0008, .. }));
}

#[test]
fn the_note_is_found_behind_padding_in_a_segment_aligned_to_8_bytes() {
    let mut notes = note(b"Xen\0", 6, &[1; 4]);
    assert_eq!(notes.len() % 8, 4);
    notes.extend([0; 4]);
    notes.extend(note(b"Xen\0", 5, &[2; 4]));
    // The next note of the same section, packed.
    notes.extend(note(b"Xen\0", 18, &0x20_0008u32.to_le_bytes()));
    let kernel = Elf { notes: vec![notes], notes_align: 8, ..kernel() };
    let entry = Machine::new(64).boot(kernel.build(), None, "").unwrap();
    assert!(matches!(entry.state, EntryState::Prot32 { eip: 0x20_0008, .. }));
}

#[test]
fn a_note_of_another_owner_does_not_count() {
    let kernel = kernel().with_note(b"Zen\0", 18, &0x20_0000u32.to_le_bytes());
    let error = DirectBoot::new(Image::from_bytes("kernel", kernel.build()), b"").unwrap_err();
    assert!(chain(&error).contains("no PVH note"), "{}", chain(&error));
}
