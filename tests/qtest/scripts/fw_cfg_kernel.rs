//! fw_cfg: the items by which firmware's option ROM starts the kernel of `-kernel` (QEMU's docs/specs/fw_cfg; Linux,
//! Documentation/arch/x86/boot.rst).

use std::io::Write;
use std::sync::LazyLock;

use tempfile::NamedTempFile;

use crate::Script;
use crate::pc::Pc;

/// `-kernel` with firmware, which does nothing.
pub const SCRIPT: Script = Script {
    options: &[
        "-m",
        "64",
        "-bios",
        "FIRMWARE",
        "-kernel",
        "KERNEL",
        "-initrd",
        "INITRD",
        "-append",
        "root=/dev/fd0 quiet",
    ],
    run: walk,
    differences: &[],
};

/// Sectors of real-mode code behind the boot sector.
const SETUP_SECTORS: u8 = 2;
/// Bytes of protected-mode code.
const CODE: usize = 5000;

fn file(contents: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file
}

/// What stands for the path of a file in an option.
pub fn placeholder(option: &str) -> Option<&'static str> {
    static KERNEL: LazyLock<NamedTempFile> = LazyLock::new(|| file(&kernel()));
    static INITRD: LazyLock<NamedTempFile> = LazyLock::new(|| file(&[0x49; 4321]));
    static FIRMWARE: LazyLock<NamedTempFile> = LazyLock::new(|| file(&vec![0xf4; 0x1_0000]));
    let file = match option {
        "KERNEL" => &KERNEL,
        "INITRD" => &INITRD,
        "FIRMWARE" => &FIRMWARE,
        _ => return None,
    };
    file.path().to_str()
}

/// A kernel that is loaded high, of protocol 2.6: the setup header (boot.rst, "The Real-Mode Kernel Header"), and bytes that count.
fn kernel() -> Vec<u8> {
    let setup = 512 * (usize::from(SETUP_SECTORS) + 1);
    let mut image: Vec<u8> = (0..setup + CODE).map(|at| (at ^ at >> 8) as u8).collect();
    image[0x1f1..0x268].fill(0);
    for (at, bytes) in [
        (0x1f1, &[SETUP_SECTORS][..]),
        (0x1f4, &((CODE / 16) as u32).to_le_bytes()),
        (0x1fe, &[0x55, 0xaa]),
        (0x200, &[0xeb, 0x66]),
        (0x202, b"HdrS"),
        (0x206, &[0x06, 0x02]),
        (0x211, &[1]),
        (0x214, &[0, 0, 0x10, 0]),
        (0x22c, &[0xff, 0xff, 0xff, 0x7f]),
        (0x238, &[0xff, 0x07, 0, 0]),
    ] {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    image
}

/// Reads the first bytes of an item.
fn item(pc: &mut dyn Pc, key: u16, len: usize) -> Vec<u8> {
    pc.outw(0x510, key);
    (0..len).map(|_| pc.inb(0x511)).collect()
}

fn walk(pc: &mut dyn Pc) {
    pc.section("numbers");
    // Address, size and entry of the kernel, of the initrd, the command line and the setup code.
    for key in [0x07, 0x08, 0x10, 0x0a, 0x0b, 0x13, 0x14, 0x16, 0x17] {
        item(pc, key, 5);
    }
    assert_eq!(item(pc, 0x08, 4), (CODE as u32).to_le_bytes());
    assert_eq!(item(pc, 0x17, 4), 1536_u32.to_le_bytes());

    pc.section("setup code");
    let setup = item(pc, 0x18, 1537);
    assert_eq!((setup[0x210], setup[0x211] & 0x80), (0xb0, 0x80), "QEMU's loader, and there is a heap");
    pc.section("protected-mode code");
    item(pc, 0x11, 64);
    pc.section("command line");
    let line = item(pc, 0x15, 24);
    assert_eq!(&line[..21], b"root=/dev/fd0 quiet\0\0");
    pc.section("initrd");
    assert_eq!(item(pc, 0x12, 32), [0x49; 32]);
}
