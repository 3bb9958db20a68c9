//! What a file is that is no kernel: so that the message says more than "not a kernel".

use super::KernelError;

const UNPACK: &str = "unpack it first; a bzImage or an uncompressed ELF kernel is needed";
const FOR_X86: &str = "this machine needs a kernel built for x86";
const NOT_A_DISK: &str = "`-kernel` needs the kernel itself, not the disk it is on";

/// Offset, bytes there, what it is, what to do. The first match counts.
const FORMATS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x1f\x8b", "gzip-compressed data", UNPACK),
    (0, b"\xfd7zXZ\0", "xz-compressed data", UNPACK),
    (0, b"BZh", "bzip2-compressed data", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed data", UNPACK),
    (0, b"\x04\x22\x4d\x18", "LZ4-compressed data", UNPACK),
    (0, b"\x02\x21\x4c\x18", "LZ4-compressed data", UNPACK),
    (0, b"\x5d\0\0", "LZMA-compressed data", UNPACK),
    (0, b"\x89LZO", "LZO-compressed data", UNPACK),
    (0, b"07070", "a cpio archive", "an initramfs is given with `-initrd`"),
    (0x38, b"ARM\x64", "a Linux kernel for 64-bit Arm", FOR_X86),
    (0x38, b"RSC\x05", "a Linux kernel for RISC-V", FOR_X86),
    (0x38, b"\xcd\x23\x82\x81", "a Linux kernel for LoongArch", FOR_X86),
    (0x24, b"\x18\x28\x6f\x01", "a Linux kernel for 32-bit Arm", FOR_X86),
    (0, b"\x27\x05\x19\x56", "a U-Boot image", FOR_X86),
    (0, b"\xd0\x0d\xfe\xed", "a device tree or FIT image", FOR_X86),
    (0, b"QFI\xfb", "a qcow2 disk image", NOT_A_DISK),
    (0, b"KDMV", "a VMDK disk image", NOT_A_DISK),
    (0, b"MZ", "a program for UEFI or DOS", "without firmware only a bzImage or an ELF kernel can be started"),
    (0, b"#!", "a script", "name a kernel"),
    (510, b"\x55\xaa", "a disk image or boot sector", NOT_A_DISK),
];

/// The error for a file that starts with `head`.
pub(super) fn not_a_kernel(head: &[u8]) -> KernelError {
    FORMATS
        .iter()
        .find(|(at, magic, ..)| head.get(*at..).is_some_and(|h| h.starts_with(magic)))
        .map_or(KernelError::Unknown, |&(_, _, what, remedy)| KernelError::Format { what, remedy })
}
