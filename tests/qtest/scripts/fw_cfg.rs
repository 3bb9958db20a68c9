//! fw_cfg: every item and file that firmware finds in it (QEMU's `docs/specs/fw_cfg.rst`), but for the ACPI tables.

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

const DIFFERENCES: &[Difference] = &[
    Difference {
        places: &[at("directory", "size of etc/acpi/rsdp", 0x30)],
        reason: "it is that of ACPI 2.0, which leads to an XSDT too",
    },
    Difference {
        places: &[at("directory", "size of genroms/kvmvapic.bin", 0xffff_dbff)],
        reason: "natoma does not have it: it helps 32-bit Windows where the processor has no virtual APIC",
    },
    Difference {
        places: &[at("accesses of other sizes", "inl 0x510", 0xffff_ffff)],
        reason: "what a device does not decode reads as ones on natoma, as on a bus that nobody drives",
    },
];

/// A machine that sets nothing.
pub const DEFAULT: Script = Script { options: &[], run: walk, differences: DIFFERENCES };

/// A machine that sets everything.
pub const CONFIGURED: Script = Script {
    options: &[
        "-m",
        "64",
        "-smp",
        "2,maxcpus=4",
        "-uuid",
        "00112233-4455-6677-8899-aabbccddeeff",
        "-boot",
        "order=dan,menu=on,splash-time=5000,reboot-timeout=10,strict=on",
        "-fw_cfg",
        "name=opt/a,string=x,,y",
        "-global",
        "isa-fdc.bootindexA=7",
        "-global",
        "isa-fdc.bootindexB=3",
        "-global",
        "PIIX4_PM.disable_s3=1",
        "-machine",
        "graphics=off,hpet=off",
    ],
    run: walk,
    differences: DIFFERENCES,
};

/// A boot order that holds until the machine resets. It is not in fw_cfg but in CMOS RAM.
pub const BOOT_ONCE: Script =
    Script { options: &["-boot", "order=cdn,once=a", "-no-fd-bootchk"], run: boot_once, differences: &[] };

/// Devices of all kinds that can boot, in an order that is not theirs; one is behind a bridge, and one at another function.
pub const BOOT_DEVICES: Script = Script {
    options: &[
        "-drive",
        "if=none,id=a,format=raw,snapshot=on,file=IMAGE",
        "-device",
        "ide-hd,drive=a,bus=ide.1,unit=1,bootindex=8",
        "-device",
        "ide-cd,bus=ide.0,unit=0,bootindex=2",
        "-device",
        "pci-bridge,id=bridge,chassis_nr=1,addr=3",
        "-drive",
        "if=none,id=b,format=raw,snapshot=on,file=IMAGE",
        "-device",
        "virtio-blk-pci,drive=b,bus=bridge,addr=2,bootindex=5",
        "-drive",
        "if=none,id=c,format=raw,snapshot=on,file=IMAGE",
        "-device",
        "virtio-blk-pci,drive=c,addr=1f,bootindex=0",
        "-device",
        "virtio-scsi-pci,id=s,addr=4.0,multifunction=on",
        "-device",
        "virtio-scsi-pci,id=t,addr=4.3",
        "-drive",
        "if=none,id=d,format=raw,snapshot=on,file=IMAGE",
        "-device",
        "scsi-hd,drive=d,bus=t.0,scsi-id=17,lun=300,bootindex=1",
        "-device",
        "scsi-cd,bus=s.0,bootindex=4",
        "-global",
        "isa-fdc.bootindexB=3",
    ],
    run: boot_devices,
    differences: &[],
};

/// Tables of the user's, for firmware that makes its own.
pub const ACPI_TABLES: Script = Script {
    options: &[
        "-acpitable",
        concat!("sig=ONE,rev=3,data=", env!("CARGO_MANIFEST_DIR"), "/rustfmt.toml"),
        "-acpitable",
        concat!("sig=TWO,oem_id=OEM,data=", env!("CARGO_MANIFEST_DIR"), "/LICENSE"),
    ],
    run: acpi_tables,
    differences: &[],
};

fn boot_devices(pc: &mut dyn Pc) {
    let files = entries(pc);
    let (_, selector, size) = files.iter().find(|(name, ..)| name == BOOT_ORDER).unwrap();
    pc.section("the order");
    pc.leave_out(true);
    pc.outw(SELECTOR, *selector);
    pc.leave_out(false);
    let order = bytes(pc, *size as usize + 1);
    assert_eq!(order.iter().filter(|byte| **byte == b'\n').count(), 6, "seven lines");
}

fn acpi_tables(pc: &mut dyn Pc) {
    pc.section("count");
    pc.outw(SELECTOR, 0x8000);
    assert_eq!(bytes(pc, 2), [2, 0]);
    for signature in [b"ONE\0", b"TWO\0"] {
        pc.section("table");
        let len = bytes(pc, 2);
        let len = usize::from(u16::from_le_bytes([len[0], len[1]]));
        let table = bytes(pc, len);
        assert_eq!((&table[..4], usize::from(u16::from_le_bytes([table[4], table[5]]))), (&signature[..], len));
    }
    pc.section("end");
    assert_eq!(bytes(pc, 4), [0; 4]);
}

fn boot_once(pc: &mut dyn Pc) {
    for (section, order) in [("once", [0x01, 0x01]), ("after a reset", [0x32, 0x41]), ("after another", [0x32, 0x41])] {
        pc.section(section);
        for (address, expected) in [0x3d, 0x38].into_iter().zip(order) {
            pc.outb(0x70, address);
            assert_eq!(pc.inb(0x71), expected, "CMOS {address:#x} {section}");
        }
        pc.outb(0xcf9, 0x06);
    }
}

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA: u16 = 0x514;

/// Items with a number, and how many bytes of them are read: some more than there are.
const ITEMS: [(&str, u16, usize); 16] = [
    ("signature", 0x00, 6),
    ("features", 0x01, 6),
    ("uuid", 0x02, 18),
    ("RAM size", 0x03, 10),
    ("no graphic", 0x04, 4),
    ("CPUs", 0x05, 4),
    ("machine", 0x06, 4),
    ("boot device", 0x0c, 4),
    ("NUMA", 0x0d, 80),
    ("boot menu", 0x0e, 4),
    ("most CPUs", 0x0f, 4),
    ("ACPI tables", 0x8000, 4),
    ("SMBIOS", 0x8001, 4),
    ("IRQ 0 override", 0x8002, 6),
    ("e820", 0x8003, 4),
    ("HPET", 0x8004, 20),
];

/// The devices that boot.
const BOOT_ORDER: &str = "bootorder";

/// Files whose contents are compared.
const FILES: [&str; 11] = [
    "bios-geometry",
    BOOT_ORDER,
    "etc/boot-fail-wait",
    "etc/boot-menu-wait",
    "etc/e820",
    "etc/msr_feature_control",
    "etc/smbios/smbios-anchor",
    "etc/smbios/smbios-tables",
    "etc/system-states",
    "etc/tpm/log",
    "opt/a",
];

/// Files of which only the size is compared: the tables have tests of their own.
const TABLES: [&str; 4] = ["etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader", "genroms/kvmvapic.bin"];

fn bytes(pc: &mut dyn Pc, count: usize) -> Vec<u8> {
    (0..count).map(|_| pc.inb(DATA)).collect()
}

fn walk(pc: &mut dyn Pc) {
    pc.section("reset selects the signature");
    assert_eq!(bytes(pc, 4), b"QEMU");
    for (name, selector, count) in ITEMS {
        pc.section(name);
        pc.outw(SELECTOR, selector);
        bytes(pc, count);
    }

    pc.section("there is no such item");
    for selector in [0x1f, 0x40, 0x3fff, 0x4000, 0x7fff, 0x8020, 0xffff] {
        pc.outw(SELECTOR, selector);
        bytes(pc, 2);
    }

    pc.section("accesses of other sizes");
    pc.outw(SELECTOR, 0);
    pc.inw(SELECTOR);
    pc.inl(SELECTOR);
    pc.outb(SELECTOR, 1);
    pc.outb(DATA, 1);
    pc.inb(SELECTOR);
    pc.inb(DATA);

    let files = directory(pc);
    for name in FILES {
        pc.section(name);
        let Some((_, selector, size)) = files.iter().find(|(file, ..)| file == name) else { continue };
        // The number depends on which files there are.
        pc.leave_out(true);
        pc.outw(SELECTOR, *selector);
        pc.leave_out(false);
        bytes(pc, *size as usize + 1);
    }

    pc.section("DMA: the address reads as a signature");
    for (port, size) in [(DMA, 4), (DMA + 4, 4), (DMA, 1), (DMA + 3, 1), (DMA + 2, 2)] {
        pc.input(port, size);
    }
    transfers(pc);
}

/// Reads the directory: names, selectors and sizes.
fn entries(pc: &mut dyn Pc) -> Vec<(String, u16, u32)> {
    pc.leave_out(true);
    pc.outw(SELECTOR, 0x19);
    let count = u32::from_be_bytes(bytes(pc, 4).try_into().unwrap());
    let files: Vec<_> = (0..count as u16)
        .map(|index| {
            let entry = bytes(pc, 64);
            assert_eq!(entry[4..8], [0, 0x20 + index as u8, 0, 0], "selectors follow the order of the directory");
            let name = entry[8..].split(|byte| *byte == 0).next().unwrap();
            (
                String::from_utf8(name.to_vec()).unwrap(),
                0x20 + index,
                u32::from_be_bytes(entry[..4].try_into().unwrap()),
            )
        })
        .collect();
    assert_eq!(bytes(pc, 4), [0; 4], "the directory ends with its last file");
    pc.leave_out(false);
    files
}

/// Compares the directory. Each file is a step of its own, and there are no others than [`FILES`] and [`TABLES`].
fn directory(pc: &mut dyn Pc) -> Vec<(String, u16, u32)> {
    pc.section("directory");
    let files = entries(pc);
    assert!(files.is_sorted_by(|(a, ..), (b, ..)| a < b), "the directory is sorted");

    for name in FILES.iter().chain(&TABLES) {
        let size = files.iter().find(|(file, ..)| file == name).map_or(u32::MAX, |(.., size)| *size);
        pc.finding(&format!("size of {name}"), &size.to_le_bytes());
    }
    for (name, ..) in &files {
        assert!(FILES.contains(&&**name) || TABLES.contains(&&**name), "{name} is compared with nothing");
    }
    files
}

const DESCRIPTOR: u64 = 0x8000;
const BUFFER: u64 = 0x9000;

/// Makes a transfer and looks at what came of it.
fn transfer(pc: &mut dyn Pc, control: u32, len: u32, address: u64) {
    pc.write(BUFFER, &[0xa5; 16]);
    pc.writel(DESCRIPTOR, control.swap_bytes());
    pc.writel(DESCRIPTOR + 4, len.swap_bytes());
    pc.writeq(DESCRIPTOR + 8, address.swap_bytes());
    pc.outl(DMA, 0);
    pc.outl(DMA + 4, (DESCRIPTOR as u32).swap_bytes());
    pc.readl(DESCRIPTOR);
    let mut buffer = [0; 16];
    pc.read(BUFFER, &mut buffer);
}

fn transfers(pc: &mut dyn Pc) {
    pc.section("DMA: select and read");
    transfer(pc, 0x0a, 6, BUFFER);
    pc.section("DMA: skip, then read on");
    transfer(pc, 0x0c, 1, 0);
    transfer(pc, 0x02, 2, BUFFER);
    pc.inb(DATA);
    pc.section("DMA: nothing but a selection");
    transfer(pc, 0x08, 99, BUFFER);
    pc.inb(DATA);
    pc.section("DMA: an item that is not there");
    transfer(pc, 0x7fff_000a, 4, BUFFER);
    pc.section("DMA: a write to what can't be written");
    transfer(pc, 0x18, 4, BUFFER);
    pc.section("DMA: read wins over write");
    transfer(pc, 0x1a, 4, BUFFER);
}
