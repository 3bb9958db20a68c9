//! What people see who name the wrong file, or the right one for a machine that is too small.

use std::fs;
use std::os::unix::net::UnixListener;

use vmm_sys_util::tempdir::TempDir;

use super::images::{BzImage, Elf, Load};
use super::*;

/// The error for a kernel, or one of loading it into `mib` MiB, without the part that all have.
fn refusal(kernel: impl Into<Vec<u8>>, mib: u64) -> String {
    let error = chain(&Machine::new(mib).boot(kernel.into(), None, "").unwrap_err());
    let problem = error.strip_prefix("cannot boot `-kernel kernel`: ");
    problem.unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// A file with `bytes` at `at`.
fn file(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; at];
    file.extend_from_slice(bytes);
    file.resize(0x4000, 0);
    file
}

#[test]
fn files_that_are_no_kernels_are_called_by_their_name() {
    assert_eq!(refusal([], 64), "the file is empty");
    assert_eq!(
        refusal(b"hello\n", 64),
        "it is not a kernel: neither a Linux bzImage, nor an ELF file, nor a multiboot image"
    );
    for (kernel, what) in [
        (file(0, b"\x1f\x8b\x08"), "gzip-compressed data; unpack it first"),
        (file(0, b"\xfd7zXZ\0"), "xz-compressed data; unpack it first"),
        (file(0, b"\x28\xb5\x2f\xfd"), "zstd-compressed data; unpack it first"),
        (file(0, b"070701"), "a cpio archive; an initramfs is given with `-initrd`"),
        (file(0x38, b"ARMd"), "a Linux kernel for 64-bit Arm; this machine needs a kernel built for x86"),
        (file(0, b"MZ"), "a program for UEFI or DOS"),
        (file(0, b"QFI\xfb"), "a qcow2 disk image"),
        (file(510, b"\x55\xaa"), "a disk image or boot sector"),
        (file(0, b"#!/bin/sh\n"), "a script"),
    ] {
        let refusal = refusal(kernel, 64);
        assert!(refusal.starts_with(&format!("it is {what}")), "{refusal}");
    }
}

#[test]
fn elf_files_that_cannot_be_booted_say_why() {
    let elf = || Elf::new64(0x20_0000, vec![Load::flat(0x20_0000, [0x90; 64])]);
    for (kernel, problem) in [
        (Elf { machine: 183, ..elf() }, "it is an ELF file for another machine (ARM 64-bit architecture (AARCH64))"),
        (
            Elf { machine: 21, big_endian: true, ..elf() },
            "it is an ELF file for another machine (64-bit PowerPC, big-endian)",
        ),
        (Elf { machine: 3, ..elf() }, "it is an ELF file for another machine"),
        (Elf { machine: 0xfedc, ..elf() }, "it is an ELF file for another machine (number 65244)"),
        (Elf { kind: 1, ..elf() }, "it is not an executable ELF file but: an object file or a kernel module"),
        (Elf { kind: 4, ..elf() }, "it is not an executable ELF file but: core file"),
        (Elf { interpreter: true, ..elf() }, "it is a program for an operating system"),
        (elf(), "it is an ELF file that says of no boot protocol"),
        (Elf { bits: 32, machine: 3, ..elf() }, "it is an ELF file that says of no boot protocol"),
        (elf().with_pvh_note(0x30_0000), "its entry point 0x300000 is in none of its segments"),
        (Elf { entry: 0x30_0000, ..elf().with_note(b"Linux\0", 1, b"") }, "its entry point 0x300000 is in none"),
        (Elf { loads: vec![], ..elf() }.with_pvh_note(0), "its ELF headers are damaged: there is nothing to load"),
        (Elf { loads: vec![], ..elf() }, "its ELF headers are damaged: there are no program headers"),
    ] {
        let refusal = refusal(kernel.build(), 64);
        assert!(refusal.starts_with(problem), "{refusal}");
    }
    let overlapping = vec![Load::flat(0x20_0000, [1; 64]), Load::flat(0x20_003f, [2; 64])];
    let overlapping = Elf::new64(0x20_0000, overlapping).with_pvh_note(0x20_0000);
    assert!(refusal(overlapping.build(), 64).contains("segments overlap"));
}

/// CVE-2020-13765: where a segment went was computed from where another one was, and lay outside of what was allocated.
#[test]
fn cve_2020_13765_segments_in_any_order_and_at_any_distance() {
    const KERNEL: u64 = 0x20_0000;
    let kernel = |phys, memsz| {
        let strange = Load { virt: KERNEL, phys, bytes: vec![2; 64], memsz };
        let loads = vec![strange, Load::flat(KERNEL, [1; 64])];
        Elf::new64(KERNEL, loads).with_pvh_note(KERNEL as u32).build()
    };
    let machine = Machine::new(64);
    for phys in [0x30_0001, 0x1f_ffc0, 0x10_0000, 64 * MIB - TABLES - 64] {
        machine.boot(kernel(phys, 64), None, "").unwrap();
        assert_eq!((machine.bytes(KERNEL, 64), machine.bytes(phys, 64)), (vec![1; 64], vec![2; 64]), "{phys:#x}");
    }
    for (phys, memsz) in [
        (KERNEL - 1, 64),
        (KERNEL + 63, 64),
        (64 * MIB - 32, 64),
        (64 * MIB, 64),
        (0x1_0000_0000, 64),
        (u64::MAX - 63, 64),
        (u64::MAX, 64),
        (0x30_0000, 63),
        (0x30_0000, u64::MAX),
        (0x30_0000, u64::MAX - 0x30_0000),
        (0x10_0000, 0x10_0001),
    ] {
        assert!(!refusal(kernel(phys, memsz), 64).is_empty(), "{phys:#x} {memsz:#x}");
    }
}

#[test]
fn truncated_files_say_how_much_is_missing() {
    let bzimage = BzImage::default().build();
    let elf = Elf::linux(vec![0x90; 4096]).build();
    let is_truncated = |file: &[u8], len: usize| {
        let refusal = refusal(&file[..len], 64);
        assert!(refusal.starts_with("the file is truncated"), "{len} of {} bytes: {refusal}", file.len());
        assert!(refusal.ends_with(&format!("it has {len}")), "{refusal}");
    };
    for len in [0x206, 0x260, 0x400, 28 * 512, 28 * 512 + 0x200, bzimage.len() - 16] {
        is_truncated(&bzimage, len);
    }
    for len in [4, 40, 63, 64, 231, 4000, elf.len() - 1] {
        is_truncated(&elf, len);
    }
}

#[test]
fn old_and_real_mode_kernels_are_refused_with_the_reason() {
    let bzimage = BzImage::default;
    assert_eq!(
        refusal(BzImage { version: 0x201, ..bzimage() }.build(), 64),
        "it follows Linux boot protocol 2.01; 2.02 (Linux 2.4) or later is needed"
    );
    assert_eq!(
        refusal(BzImage { loadflags: 0, ..bzimage() }.build(), 64),
        "it is a zImage, which must be started in real mode by a BIOS: add -bios bios-256k.bin, or build a bzImage"
    );
    assert_eq!(
        refusal(BzImage { code32_start: 0, ..bzimage() }.build(), 64),
        "it (6.1.0-test (someone@somewhere) #1) must be started in real mode by a BIOS: add -bios bios-256k.bin"
    );
    assert_eq!(
        refusal(BzImage { kernel_alignment: 3, ..bzimage() }.build(), 64),
        "its setup header is damaged: kernel_alignment is not a power of two"
    );
}

#[test]
fn a_machine_too_small_is_told_what_it_needs() {
    // 16 MiB + 8 MiB of init_size, and 128 KiB of tables behind it.
    let bzimage = BzImage::default().build();
    assert_eq!(refusal(&*bzimage, 24), "it needs guest memory up to 0x1800000: give the machine at least `-m 25M`");
    assert!(Machine::new(25).boot(bzimage.clone(), None, "").is_ok());

    let elf = Elf::linux(vec![0x90; 64]).build();
    assert_eq!(refusal(&*elf, 16), "it needs guest memory up to 0x1342345: give the machine at least `-m 20M`");
    assert!(Machine::new(20).boot(elf, None, "").is_ok());

    let error = Machine::new(25).boot(bzimage.clone(), Some(&vec![0; 16 << 20]), "").unwrap_err();
    assert_eq!(
        chain(&error),
        "cannot use `-initrd initrd`: it needs guest memory up to 0x2801000: give the machine at least `-m 41M`"
    );
    assert!(Machine::new(41).boot(bzimage, Some(&vec![0; 16 << 20]), "").is_ok());

    let nowhere = Elf::new64(0, vec![Load::flat(0xe000_0000, [0x90; 64])]).with_pvh_note(0xe000_0000);
    assert_eq!(
        refusal(nowhere.build(), 64),
        "it needs guest memory from 0xe0000000 to 0xe0000040, which is not free RAM on this machine; the image is linked for \
         a different memory map"
    );
    let on_tables = Elf::new64(0, vec![Load::flat(0xf_5000, [0x90; 64])]).with_pvh_note(0xf_5000);
    assert!(refusal(on_tables.build(), 64).contains("not free RAM"));
}

#[test]
fn claims_of_enormous_size_cost_nothing() {
    let mut elf = Elf::linux(vec![0x90; 64]);
    elf.loads[2].memsz = 1 << 60;
    assert!(refusal(elf.build(), 64).contains("not free RAM"));
    elf.loads[2].memsz = u64::MAX;
    assert!(refusal(elf.build(), 64).contains("wraps around"));
    let bzimage = BzImage { init_size: u32::MAX, pref_address: u64::MAX - 5, ..BzImage::default() };
    assert!(refusal(bzimage.build(), 64).contains("not free RAM"));
}

#[test]
fn files_that_cannot_be_opened_are_named_with_their_option() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.as_path().join(name);
    fs::write(path("kernel"), BzImage::default().build()).unwrap();
    fs::write(path("empty"), []).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    let open = |kernel: &str, initrd: Option<&str>| {
        let initrd = initrd.map(|name| path(name).into_os_string());
        let error = DirectBoot::open(&path(kernel), initrd.as_deref(), b"", 1 << 20).unwrap_err();
        chain(&error).replace(&format!("{}/", dir.as_path().display()), "")
    };
    assert_eq!(
        open("missing", None),
        "cannot boot `-kernel missing`: cannot open it: No such file or directory (os error 2)"
    );
    assert_eq!(open(".", None), "cannot boot `-kernel .`: it is a directory; name the file");
    assert_eq!(open("empty", None), "cannot boot `-kernel empty`: the file is empty");
    assert!(open("socket", None).starts_with("cannot boot `-kernel socket`: cannot open it: "));
    assert_eq!(
        open("kernel", Some("missing,1")),
        "cannot use `-initrd missing,1`: cannot open it: No such file or directory (os error 2)"
    );
    assert_eq!(open("kernel", Some(".")), "cannot use `-initrd .`: it is a directory; name the file");
}

#[test]
fn a_pipe_is_read_to_its_end_but_not_for_ever() {
    let error = DirectBoot::open("/dev/zero".as_ref(), None, b"", 1 << 20).unwrap_err();
    assert_eq!(
        chain(&error),
        "cannot boot `-kernel /dev/zero`: it is a pipe or device that gives more than the 1048576 bytes of guest memory; \
         name a regular file"
    );

    let kernel = BzImage::default();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let bytes = kernel.build();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes));
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut boot = DirectBoot::open(path.as_ref(), None, b"", 64 << 20).unwrap();
    feeder.join().unwrap().unwrap();
    let machine = Machine::new(64);
    for _start in ["first", "after a reset"] {
        machine.scribble();
        machine.load(&mut boot).unwrap();
        assert_eq!(machine.bytes(0x100_0000, kernel.code.len()), kernel.code);
    }
    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
}

#[test]
fn a_file_is_kept_open_for_resets() {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("vmlinux");
    fs::write(&path, Elf::linux(vec![0x77; 4096]).build()).unwrap();
    let mut boot = DirectBoot::open(&path, None, b"", 64 << 20).unwrap();
    fs::rename(&path, path.with_extension("old")).unwrap();
    let machine = Machine::new(64);
    machine.load(&mut boot).unwrap();
    assert_eq!(machine.bytes(0x100_0000, 4096), vec![0x77; 4096]);

    fs::File::options().write(true).open(path.with_extension("old")).unwrap().set_len(300).unwrap();
    let error = chain(&machine.load(&mut boot).unwrap_err());
    assert!(error.contains("became shorter while it was in use"), "{error}");
}

#[test]
fn a_command_line_cannot_contain_a_zero_byte() {
    let kernel = Image::from_bytes("kernel", BzImage::default().build());
    let error = DirectBoot::new(kernel, b"a\0b").unwrap_err();
    assert_eq!(chain(&error), "cannot pass on the kernel command line of `-append`: it contains a zero byte");
}

#[test]
fn a_memory_map_without_the_memory_is_reported() {
    let mut machine = Machine::new(32);
    machine.e820[3].size += 64 * MIB;
    machine.e820.remove(4);
    let refusal = chain(&machine.boot(BzImage::default().build(), Some(&[1; 100]), "").unwrap_err());
    assert!(refusal.contains("although the memory map has RAM there"), "{refusal}");
}

#[test]
fn a_memory_map_longer_than_the_zero_page_is_refused() {
    let mut machine = Machine::new(64);
    let filler = |i: u64| E820Entry::new(0xf000_0000 + i * 0x2000, 0x1000, E820Kind::Reserved);
    machine.e820.extend((0..122).map(filler));
    assert!(machine.boot(BzImage::default().build(), None, "").is_ok());
    machine.e820.push(filler(122));
    let error = machine.boot(BzImage::default().build(), None, "").unwrap_err();
    assert_eq!(chain(&error), "the memory map has 129 entries, of which Linux takes at most 128");
}
