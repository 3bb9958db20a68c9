//! Kernels of the Multiboot Specification 0.6.96 as the tests of kvm-unit-tests are: they write to COM1, try devices that are
//! there for them, and end with a status.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::console::Console;
use crate::guest::program;

const LIMIT: Duration = Duration::from_secs(60);
/// Where the kernel is loaded.
const KERNEL: u32 = 0x40_0000;
/// What follows the multiboot header.
const ENTRY: usize = 12;

/// Prints the command line and the first module, and ends with the last digit of the command line as its value, or with 7fh
/// if it was not started as the specification says, or misses a device.
const CODE: [u8; 0x5d - ENTRY] = [
    0x3d, 0x02, 0xb0, 0xad, 0x2b, // cmp eax, 2badb002h
    0x75, 0x42, // jne fail
    0xf6, 0x03, 0x08, // test byte [ebx], 8: there are modules
    0x74, 0x3d, // jz fail
    0xba, 0xf8, 0x03, 0x00, 0x00, // mov edx, 3f8h
    0x8b, 0x73, 0x10, // mov esi, [ebx + 16]: the command line
    0xac, // line: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x05, // jz line_end
    0x88, 0xc1, // mov cl, al
    0xee, // out dx, al
    0xeb, 0xf6, // jmp line
    0xb0, 0x0a, // line_end: mov al, 10
    0xee, // out dx, al
    0x8b, 0x7b, 0x18, // mov edi, [ebx + 24]: the modules
    0x8b, 0x37, // mov esi, [edi]
    0x3b, 0x77, 0x04, // module: cmp esi, [edi + 4]
    0x73, 0x04, // jae module_end
    0xac, // lodsb
    0xee, // out dx, al
    0xeb, 0xf7, // jmp module
    0xb8, 0x78, 0x56, 0x34, 0x12, // module_end: mov eax, 12345678h
    0xe7, 0xe0, // out e0h, eax: the test device keeps it
    0x31, 0xc0, // xor eax, eax
    0xe5, 0xe0, // in eax, e0h
    0x3d, 0x78, 0x56, 0x34, 0x12, // cmp eax, 12345678h
    0x75, 0x08, // jne fail
    0x0f, 0xb6, 0xc1, // movzx eax, cl
    0x83, 0xe8, 0x30, // sub eax, '0'
    0xeb, 0x05, // jmp end
    0xb8, 0x7f, 0x00, 0x00, 0x00, // fail: mov eax, 7fh
    0xe7, 0xf4, // end: out f4h, eax
    0xf4, // hlt
];

/// A 32-bit ELF file with one segment: multiboot header and code.
fn kernel() -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const HEADERS: u32 = 52 + 32;
    let length = (ENTRY + CODE.len()) as u32;
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable for the 80386.
    file.extend([2u16, 3].iter().flat_map(|field| field.to_le_bytes()));
    let header = [1, KERNEL + ENTRY as u32, 52, 0, 0];
    file.extend(header.iter().flat_map(|field: &u32| field.to_le_bytes()));
    // Sizes of the headers, and one segment.
    file.extend([52u16, 32, 1, 40, 0, 0].iter().flat_map(|field| field.to_le_bytes()));
    let segment = [1, HEADERS, KERNEL, KERNEL, length, length, 7, 4];
    file.extend(segment.iter().flat_map(|field: &u32| field.to_le_bytes()));
    assert_eq!(file.len(), HEADERS as usize);
    let multiboot = [MAGIC, 0, MAGIC.wrapping_neg()];
    file.extend(multiboot.iter().flat_map(|field| field.to_le_bytes()));
    file.extend(CODE);
    file
}

/// Starts natoma as kvm-unit-tests starts its virtual machine.
fn start(kernel: &Path, module: &Path, append: &str) -> Console {
    let mut command = Command::new(program());
    command.args(["-no-reboot", "-nodefaults", "-display", "none", "-serial", "stdio", "-machine", "accel=kvm"]);
    command.args(["-device", "pc-testdev", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(module).args(["-smp", "1", "-append", append]);
    Console::start(&mut command)
}

#[test]
fn a_multiboot_test_ends_with_its_status() {
    if !Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: /dev/kvm does not exist on this host, so nothing can run in natoma");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [kernel_file, module] = ["kernel", "module"].map(|name| directory.path().join(name));
    fs::write(&kernel_file, kernel()).unwrap();
    fs::write(&module, "NR_CPUS=1\n").unwrap();
    for (append, status) in [("all 0", 1), ("some 1", 3), ("other 9", 19)] {
        let mut natoma = start(&kernel_file, &module, append);
        natoma.expect(&format!("{} {append}\nNR_CPUS=1\n", kernel_file.display()), LIMIT);
        assert_eq!(natoma.wait(LIMIT).code(), Some(status), "-append '{append}'");
    }
}
