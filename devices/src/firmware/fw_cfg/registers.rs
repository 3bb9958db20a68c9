//! Registers, selectors and layouts of fw_cfg (QEMU's `docs/specs/fw_cfg.rst`).

use crate::base::{AccessRule, Region};

/// Selector (16-bit writes at offset 0) and data (byte reads at either offset).
pub const SELECTOR_AND_DATA: Region = Region::ports(0, "fwcfg", 2, AccessRule::native(1, 2).guest(1, 2));
/// Address of a transfer descriptor, big-endian. A write of the low half starts the transfer.
pub const DMA_ADDRESS: Region = Region::ports(1, "fwcfg.dma", 8, AccessRule::native(1, 8));

/// What the DMA address register reads as: "QEMU CFG".
pub const DMA_SIGNATURE: u64 = u64::from_be_bytes(*b"QEMU CFG");

/// Selector bits that choose an item. The bit below [`ARCH_LOCAL`] once opened a way to write; it means nothing now.
pub const ITEM: u16 = 0x3fff;
/// The item is one that only this architecture has.
pub const ARCH_LOCAL: u16 = 0x8000;
/// Selector of the first file.
pub const FIRST_FILE: u16 = 0x20;

/// Selectors of items that are not files. Numbers in items are little-endian.
pub mod key {
    /// "QEMU".
    pub const SIGNATURE: u16 = 0x00;
    /// Which interfaces there are: [`super::FEATURES`].
    pub const ID: u16 = 0x01;
    /// UUID of the machine, 16 bytes in the order in which they are written.
    pub const UUID: u16 = 0x02;
    /// Size of RAM in bytes, 64 bits.
    pub const RAM_SIZE: u16 = 0x03;
    /// 1 without a display, 16 bits.
    pub const NO_GRAPHIC: u16 = 0x04;
    /// CPUs at start, 16 bits.
    pub const CPUS: u16 = 0x05;
    /// Physical address of the kernel, 32 bits.
    pub const KERNEL_ADDRESS: u16 = 0x07;
    /// Size of the kernel in bytes, 32 bits.
    pub const KERNEL_SIZE: u16 = 0x08;
    /// Physical address of the initial RAM disk, 32 bits.
    pub const INITRD_ADDRESS: u16 = 0x0a;
    /// Its size in bytes, 32 bits.
    pub const INITRD_SIZE: u16 = 0x0b;
    /// First letter of the boot order, 16 bits.
    pub const BOOT_DEVICE: u16 = 0x0c;
    /// Number of NUMA nodes, the node of each APIC id, the memory of each node: 64 bits each.
    pub const NUMA: u16 = 0x0d;
    /// Whether the firmware shows a boot menu, 16 bits.
    pub const BOOT_MENU: u16 = 0x0e;
    /// Bound of the APIC ids, 16 bits.
    pub const MAX_CPUS: u16 = 0x0f;
    /// Address at which the kernel starts, 32 bits.
    pub const KERNEL_ENTRY: u16 = 0x10;
    /// The kernel.
    pub const KERNEL_DATA: u16 = 0x11;
    /// The initial RAM disk.
    pub const INITRD_DATA: u16 = 0x12;
    /// Physical address of the kernel's command line, 32 bits.
    pub const COMMAND_LINE_ADDRESS: u16 = 0x13;
    /// Its size in bytes with the zero at the end, 32 bits.
    pub const COMMAND_LINE_SIZE: u16 = 0x14;
    /// The command line, ended by a zero.
    pub const COMMAND_LINE_DATA: u16 = 0x15;
    /// Physical address of the kernel's real-mode part, 32 bits.
    pub const SETUP_ADDRESS: u16 = 0x16;
    /// Its size in bytes, 32 bits.
    pub const SETUP_SIZE: u16 = 0x17;
    /// The real-mode part of the kernel.
    pub const SETUP_DATA: u16 = 0x18;
    /// The directory of files.
    pub const FILE_DIRECTORY: u16 = 0x19;
    /// Tables of `-acpitable`: number of tables (16 bits), then for each its length (16 bits) and the table.
    pub const ACPI_TABLES: u16 = 0x8000;
    /// SMBIOS tables as machines before version 2.1 pass them.
    pub const SMBIOS: u16 = 0x8001;
    /// 1: the timer's interrupt 0 arrives at input 2 of the I/O APIC, 8 bits.
    pub const IRQ0_OVERRIDE: u16 = 0x8002;
    /// Number of HPETs (8 bits), then for each: id (32 bits), address (64 bits), least tick (16 bits), page protection.
    pub const HPET: u16 = 0x8004;
}

/// Contents of [`key::ID`]: the port interface (bit 0) and DMA (bit 1).
pub const FEATURES: u32 = 0b11;

/// Control field of a transfer descriptor.
pub mod control {
    /// Set by the device: the transfer failed.
    pub const ERROR: u32 = 1 << 0;
    /// Copy from the item to memory.
    pub const READ: u32 = 1 << 1;
    /// Go forward in the item.
    pub const SKIP: u32 = 1 << 2;
    /// Select the item in bits 16 to 31 first.
    pub const SELECT: u32 = 1 << 3;
    /// Copy from memory to the item.
    pub const WRITE: u32 = 1 << 4;
}

/// Length of a transfer descriptor: control and length (32 bits each), address (64 bits), all big-endian.
pub const DESCRIPTOR_LEN: usize = 16;

/// Length of a directory entry: size (32 bits), selector and zero (16 bits each), name; numbers are big-endian.
pub const DIRECTORY_ENTRY_LEN: usize = 64;
/// Room for a file's name in the directory, with the zero that ends it.
pub const NAME_LEN: usize = 56;
