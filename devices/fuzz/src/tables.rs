//! Table files that nobody made, as a user gives them to a machine, and the tables that come of them.
//!
//! The machine's firmware is played here: it finds the files in fw_cfg, places them by the script of the table loader, and walks
//! through ACPI tables and SMBIOS structures as an operating system does. Whatever the user's files contain, that must lead
//! somewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use natoma::cli::Request;
use natoma::command_line;
use natoma::qtest::QtestMachine;

/// The options that name a table file: `FILE` stands for it.
pub const OPTIONS: [&[&str]; 6] = [
    &["-acpitable", "file=FILE"],
    &["-acpitable", "data=FILE"],
    &["-acpitable", "sig=ABCD,rev=2,oem_id=SIX,oem_table_id=EIGHT,oem_rev=3,asl_compiler_id=FOUR,data=FILE:FILE"],
    &["-smbios", "file=FILE"],
    &["-smbios", "type=11,value=a,path=FILE"],
    &["-smbios", "type=0,vendor=V", "-smbios", "file=FILE", "-acpitable", "file=FILE"],
];

/// Where the pieces of the device are that are used: selector, data, and the lower half of the DMA address.
const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA: u16 = 0x518;
/// Item with the directory.
const DIRECTORY: u16 = 0x19;
/// Where descriptors and what they ask for go in RAM, of which there is more.
const DESCRIPTOR: u64 = 0x1000;
const BUFFER: u64 = 0x2000;
const RAM_MIB: &str = "8";
/// Where the first file is placed: as well as anywhere.
const FIRST_PLACE: u32 = 0x7ffd_1234;
const COMMAND: usize = 128;
const HEADER: usize = 36;
/// Type of the structure that ends SMBIOS.
const END: u8 = 127;

/// Makes a machine with `contents` as the file of one of [`OPTIONS`], and looks at its tables. A file that is refused is fine.
///
/// # Panics
/// The tables are inconsistent.
pub fn check(options: &[&str], contents: &[u8]) {
    let file = std::env::temp_dir().join(format!("natoma-fuzz-tables-{}", std::process::id()));
    fs::write(&file, contents).expect("the host has room for temporary files");
    let file = file.to_str().expect("the name is ASCII");
    let fixed = ["-nodefaults", "-accel", "qtest", "-m", RAM_MIB].map(str::to_owned);
    let options = fixed.into_iter().chain(options.iter().map(|option| option.replace("FILE", file)));
    let parsed = command_line::parse(options.map(OsString::from)).expect("the options are right");
    let Request::Run(config) = parsed.request else { unreachable!("the options ask for a machine") };
    let Ok(machine) = QtestMachine::from_config(&config) else { return };
    let mut firmware = Firmware { machine };
    let files = firmware.files();
    let placed = execute(&files["etc/table-loader"], &files);
    let ((_, rsdp), (base, tables)) = (&placed["etc/acpi/rsdp"], &placed["etc/acpi/tables"]);
    walk(rsdp, *base, tables);
    structures(&files["etc/smbios/smbios-anchor"], &files["etc/smbios/smbios-tables"]);
}

struct Firmware {
    machine: QtestMachine,
}

impl Firmware {
    /// All files by their names.
    fn files(&mut self) -> BTreeMap<String, Vec<u8>> {
        self.machine.outw(SELECTOR, DIRECTORY);
        let count = u32::from_be_bytes(self.bytes());
        let entries: Vec<(u32, u16, [u8; 56])> = (0..count)
            .map(|_| {
                let (size, selector) = (u32::from_be_bytes(self.bytes()), u16::from_be_bytes(self.bytes()));
                let _reserved: [u8; 2] = self.bytes();
                (size, selector, self.bytes())
            })
            .collect();
        let name = |name: [u8; 56]| text(&name);
        entries.into_iter().map(|(size, selector, of)| (name(of), self.item(selector, size))).collect()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.machine.inb(DATA))
    }

    /// An item, which fits into RAM, by DMA: some are long.
    fn item(&mut self, selector: u16, size: u32) -> Vec<u8> {
        let select_and_read = u32::from(selector) << 16 | 0x0a;
        let descriptor = [&select_and_read.to_be_bytes()[..], &size.to_be_bytes(), &BUFFER.to_be_bytes()].concat();
        self.machine.write_memory(DESCRIPTOR, &descriptor);
        self.machine.outl(DMA, (DESCRIPTOR as u32).swap_bytes());
        let mut control = [0; 4];
        self.machine.read_memory(DESCRIPTOR, &mut control);
        assert_eq!(control, [0; 4], "the transfer succeeds");
        let mut item = vec![0; size as usize];
        self.machine.read_memory(BUFFER, &mut item);
        item
    }
}

fn text(name: &[u8]) -> String {
    let end = name.iter().position(|byte| *byte == 0).expect("names end");
    String::from_utf8(name[..end].to_vec()).expect("names are ASCII")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Places files as the script says. Returns them with their addresses.
fn execute(script: &[u8], files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut placed: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    let mut next = FIRST_PLACE;
    for command in script.chunks_exact(COMMAND) {
        let number = |at| u32_at(command, at);
        match number(0) {
            1 => {
                let (name, align) = (text(&command[4..60]), number(60));
                assert!(align.is_power_of_two() && matches!(command[64], 1 | 2), "a place that can be had");
                next = next.next_multiple_of(align);
                let contents = files[&name].clone();
                let len = contents.len() as u32;
                assert!(placed.insert(name, (next, contents)).is_none(), "placed once");
                next += len;
            }
            2 => {
                let (at, width) = (number(116) as usize, usize::from(command[120]));
                let address = placed[&text(&command[60..116])].0;
                let (_, target) = placed.get_mut(&text(&command[4..60])).expect("placed before");
                let field = &mut target[at..at + width];
                let offset = field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
                field.copy_from_slice(&(offset + u64::from(address)).to_le_bytes()[..width]);
            }
            3 => {
                let [at, start, len] = [60, 64, 68].map(|operand| number(operand) as usize);
                let (_, target) = placed.get_mut(&text(&command[4..60])).expect("placed before");
                target[at] = target[at].wrapping_sub(sum(&target[start..start + len]));
            }
            0 => assert!(command.iter().all(|byte| *byte == 0), "nothing follows the end"),
            other => panic!("command {other} does not exist"),
        }
    }
    placed
}

/// Follows the pointers from the root to the tables, each of which is whole.
fn walk(rsdp: &[u8], base: u32, tables: &[u8]) {
    assert_eq!((&rsdp[..8], sum(&rsdp[..20])), (&b"RSD PTR "[..], 0));
    let table = |address: u32| {
        let rest = &tables[(address - base) as usize..];
        let table = &rest[..u32_at(rest, 4) as usize];
        assert!(table.len() >= HEADER, "a table has a header");
        assert!(table.starts_with(b"FACS") || sum(table) == 0, "{:x?}", &table[..HEADER]);
        table
    };
    let root = table(u32_at(rsdp, 16));
    assert!(root.starts_with(b"RSDT"));
    let found: Vec<_> = root[HEADER..].chunks_exact(4).map(|entry| &table(u32_at(entry, 0))[..4]).collect();
    for own in [b"FACP", b"APIC"] {
        assert!(found.contains(&&own[..]), "the machine's own tables are there");
    }
}

/// Steps through the structures: as many as the entry point says, of which one is the end, the last if it is the machine's.
fn structures(anchor: &[u8], tables: &[u8]) {
    assert_eq!(&anchor[..4], b"_SM_");
    let [length, count] = [22, 28].map(|at| u16::from_le_bytes([anchor[at], anchor[at + 1]]));
    assert_eq!(usize::from(length), tables.len(), "the entry point knows the length");
    let (mut rest, mut ends) = (tables, false);
    for _ in 0..count {
        let formatted = usize::from(rest[1]);
        assert!(formatted >= 4, "a structure has a header");
        let texts = rest[formatted..].windows(2).position(|pair| pair == [0, 0]).expect("texts end");
        ends |= rest[0] == END;
        rest = &rest[formatted + texts + 2..];
    }
    assert!(rest.is_empty() && ends, "all structures are found");
}
