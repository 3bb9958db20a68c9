//! The tables against the specification's own tools (iasl and acpiexec of ACPICA) and against QEMU's.
//!
//! Where a tool is not installed its tests say so and pass.

mod firmware;
mod qemu;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use acpi_tables::Aml;

use super::*;
use crate::config::NumaConfig;
use crate::machine::board::port;
use crate::machine::layout::Rules;
use crate::machine::testing::{self, Scratch};

const BASE: u32 = 0x000f_1000;
const LEAN: Purpose = Purpose::DirectBoot { pirqs: [3, 5, 10, 11], slots: 0b1110 };

fn layout() -> MemoryLayout {
    layout_of(128 << 20)
}

fn layout_of(ram_size: u64) -> MemoryLayout {
    let rules =
        Rules { ram_size, max_ram_below_4g: None, phys_bits: 40, amd: false, pci_hole64_size: Rules::PCI_HOLE64_SIZE };
    MemoryLayout::new(&rules).unwrap()
}

fn cpus(n: u32) -> Vec<Cpu> {
    (0..n).map(|apic_id| Cpu::new(apic_id, true)).collect()
}

const ALL: Devices = Devices {
    hpet: Some(0x8086_a201),
    i8042: true,
    vga: true,
    com: [true; 4],
    lpt: true,
    fdc: Some([Some(DriveKind::Mb144), Some(DriveKind::Mb120)]),
    fw_cfg: true,
    pvpanic: Some(0x505),
    smm: true,
};

/// QEMU's root bus with all its defaults, and a bridge with a device behind it.
fn slots() -> Slots {
    let behind = Slots { number: 1, present: 1 << 3, pluggable: u32::MAX, ..Slots::default() };
    let bridges = vec![(4, behind)];
    Slots { number: 0, present: 0b1_1111, pluggable: !0b1_0111, displays: 1 << 2, bridges }
}

fn place(cpus: &[Cpu], devices: Devices, purpose: Purpose) -> PlacedTables {
    let layout = layout();
    let inputs = Inputs {
        oem: Oem::default(),
        cpus,
        layout: &layout,
        pci_hole64: layout.pci_hole64.clone(),
        pm_base: port::PM,
        slots: &slots(),
        sleep: SleepStates { s3: true, s4: Some(2) },
        purpose,
        devices,
        numa: &NumaConfig::default(),
        user_tables: &[],
    };
    AcpiTables::build(&inputs).place(BASE)
}

/// With all there is, as a DSDT for firmware has it.
fn place_all(cpus: &[Cpu]) -> PlacedTables {
    place(cpus, ALL, Purpose::Firmware)
}

/// With as little as possible.
fn place_least() -> PlacedTables {
    place(&cpus(1), Devices::default(), LEAN)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The table at `address` of an image that lies at `base`.
fn table_at(image: &[u8], base: u32, address: u64) -> Vec<u8> {
    let bytes = &image[usize::try_from(address - u64::from(base)).unwrap()..];
    bytes[..u32_at(bytes, 4) as usize].to_vec()
}

/// Follow the pointers as an operating system does, by the RSDT or the XSDT. Returns the tables by signature.
fn walk(rsdp: &[u8], image: &[u8], base: u32, xsdt: bool) -> BTreeMap<String, Vec<u8>> {
    let (root, width) = if xsdt { (u64_at(rsdp, 24), 8) } else { (u32_at(rsdp, 16).into(), 4) };
    let root = table_at(image, base, root);
    let mut tables = BTreeMap::new();
    let mut add = |table: Vec<u8>| {
        tables.insert(String::from_utf8(table[..4].to_vec()).unwrap(), table);
    };
    for entry in root[36..].chunks(width) {
        let address = if xsdt { u64_at(entry, 0) } else { u32_at(entry, 0).into() };
        let table = table_at(image, base, address);
        if table.starts_with(b"FACP") {
            let dsdt = if xsdt { u64_at(&table, 140) } else { u32_at(&table, 40).into() };
            add(table_at(image, base, u32_at(&table, 36).into()));
            add(table_at(image, base, dsdt));
        }
        add(table);
    }
    add(root);
    tables
}

fn tables(placed: &PlacedTables) -> BTreeMap<String, Vec<u8>> {
    walk(&placed.rsdp, &placed.tables, BASE, true)
}

#[test]
fn both_roots_lead_to_the_same_tables() {
    let placed = place_all(&cpus(2));
    assert_eq!(&placed.rsdp[..8], b"RSD PTR ");
    assert_eq!((sum(&placed.rsdp[..20]), sum(&placed.rsdp)), (0, 0));
    let mut by_xsdt = walk(&placed.rsdp, &placed.tables, BASE, true);
    let mut by_rsdt = walk(&placed.rsdp, &placed.tables, BASE, false);
    for (signature, table) in by_xsdt.iter().chain(&by_rsdt).filter(|(signature, _)| *signature != "FACS") {
        assert_eq!(sum(table), 0, "{signature}");
    }
    assert!(by_xsdt.remove("XSDT").is_some() && by_rsdt.remove("RSDT").is_some());
    assert_eq!(by_xsdt, by_rsdt);
    assert_eq!(Vec::from_iter(by_xsdt.keys()), ["APIC", "DSDT", "FACP", "FACS", "HPET", "WAET"]);
}

#[test]
fn leaves_out_what_is_not_there() {
    let tables = tables(&place_least());
    assert!(!tables.contains_key("HPET"));
    let (dsdt, fadt) = (&tables["DSDT"], &tables["FACP"]);
    let named = |name: &[u8]| dsdt.windows(name.len()).any(|bytes| bytes == name);
    for absent in [b"KBD_", b"MOU_", b"FDC0", b"LPT1", b"COM1", b"COM4", b"FWCF", b"HPET", b"LNKA", b"LNKS"] {
        assert!(!named(absent), "{}", String::from_utf8_lossy(absent));
    }
    assert!(named(b"RTC_"));
    assert_eq!(fadt[48..54], [0; 6], "SMI command port and its values");
    assert_eq!(fadt[109..111], [0b101, 0], "legacy devices, but neither keyboard controller nor VGA");
}

/// ACPI 4.0, table 5-22 (processor local x2APIC): for ids that a local APIC entry can't hold, of which 255 is one.
#[test]
fn numbers_processors_beyond_eight_bits() {
    let cpus: Vec<_> = [254, 255, 0x1_0000].map(|apic_id| Cpu::new(apic_id, apic_id != 255)).into();
    let madt = &tables(&place_all(&cpus))["APIC"];
    let mut expected = vec![0, 8, 0, 254, 1, 0, 0, 0];
    expected.extend([9, 16, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    expected.extend([9, 16, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(madt[44..][..expected.len()], expected);
    assert!(madt.ends_with(&[10, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]), "NMI for x2APICs");
}

/// Every table, with everything there is and with as little as possible, read by iasl and compiled from what it read.
#[test]
fn iasl_reads_and_compiles_them_without_complaint() {
    if !testing::installed("iasl") {
        return;
    }
    let scratch = Scratch::new("iasl");
    let absent_too = [0, 1, 254, 255, 256, 1023].map(|apic_id| Cpu::new(apic_id, apic_id < 256));
    for (n, placed) in [place_all(&absent_too), place_least()].iter().enumerate() {
        for (signature, table) in tables(placed) {
            let stem = scratch.path(format!("{signature}{n}"));
            let [aml, dsl] = ["aml", "dsl"].map(|suffix| stem.with_extension(suffix));
            fs::write(&aml, &table).unwrap();
            let read = testing::output(Command::new("iasl").arg("-d").arg(&aml), "");
            assert!(!read.contains("Error") && !read.contains("Warning"), "iasl -d {signature}:\n{read}");
            // 4089: nothing in the tables uses what drivers do.
            let mut iasl = Command::new("iasl");
            let compiled = testing::output(iasl.args(["-w3", "-vw", "4089", "-p"]).arg(&stem).arg(&dsl), "");
            assert!(compiled.contains("0 Errors") && compiled.contains(" 0 Warnings"), "{signature}:\n{compiled}");
        }
    }
}

/// Run commands of ACPICA's debugger on a DSDT and return what it prints. `\\PRTE n` evaluates to an entry of `_PRT`,
/// all of which are more than the debugger's buffer holds.
fn acpiexec(scratch: &Scratch, dsdt: &[u8], commands: &str) -> String {
    use acpi_tables::aml::{Arg, DeRefOf, Index, Method, Path, Return, ZERO};
    use acpi_tables::sdt::Sdt;
    let routing = Path::new("\\_SB_.PCI0._PRT");
    let mut probe = Sdt::new(*b"SSDT", 36, 2, *b"PROBE ", *b"PROBE   ", 1);
    Method::new("PRTE".into(), 1, false, vec![&Return::new(&DeRefOf::new(&Index::new(&ZERO, &routing, &Arg(0))))])
        .to_aml_bytes(&mut probe);
    probe.update_checksum();
    let [dsdt_file, probe_file] = ["dsdt.aml", "probe.aml"].map(|name| scratch.path(name));
    fs::write(&dsdt_file, dsdt).unwrap();
    fs::write(&probe_file, probe.as_slice()).unwrap();
    testing::output(Command::new("acpiexec").arg(dsdt_file).arg(probe_file), commands)
}

/// Commands that evaluate the first `n` entries of `_PRT`.
fn evaluate_routing(n: usize) -> String {
    (0..n).map(|n| format!("evaluate \\PRTE {n:#x}\n")).collect()
}

/// Where each entry of `_PRT` that was evaluated leads: the name of a link device, or an interrupt number. Checks that
/// the entries are for all pins of the slots from `first_slot` on.
fn routes(evaluated: &str, first_slot: usize) -> Vec<String> {
    let integer = |line: &str| u64::from_str_radix(line.trim().strip_prefix("[Integer] = ").unwrap(), 16).unwrap();
    let entries = evaluated.split("[Package] Contains 4 Elements:\n").skip(1);
    entries
        .enumerate()
        .map(|(n, entry)| {
            let lines: Vec<_> = entry.lines().take(4).collect();
            assert_eq!(integer(lines[0]), (((first_slot + n / 4) << 16) + 0xffff) as u64);
            assert_eq!(integer(lines[1]), n as u64 % 4);
            let index = integer(lines[3]);
            match lines[2].split_once("Name ") {
                Some((_, link)) => {
                    assert_eq!(index, 0);
                    link.replace(" Device", "")
                }
                None => {
                    assert_eq!(integer(lines[2]), 0);
                    index.to_string()
                }
            }
        })
        .collect()
}

/// The wiring of the PIIX3: PIRQ = (slot + pin - 1) mod 4, but for pin A of its own slot, which is the SCI.
#[test]
fn acpiexec_finds_the_routing_of_every_slot() {
    if !testing::installed("acpiexec") {
        return;
    }
    let scratch = Scratch::new("prt");
    let dsdt = &tables(&place_all(&cpus(2)))["DSDT"];
    let routes = routes(&acpiexec(&scratch, dsdt, &evaluate_routing(128)), 0);
    let expected = (0..32).flat_map(|slot| {
        let in_turn = ["LNKD", "LNKA", "LNKB", "LNKC"];
        let mut pins = [0, 1, 2, 3].map(|pin| in_turn[(slot + pin) % 4]);
        if slot == 1 {
            pins[0] = "LNKS";
        }
        pins
    });
    assert_eq!(routes, Vec::from_iter(expected));
}

/// Without link devices the same wiring ends in the interrupts that the PIRQs were given.
#[test]
fn acpiexec_finds_fixed_routing_of_the_slots_in_use() {
    if !testing::installed("acpiexec") {
        return;
    }
    let scratch = Scratch::new("fixed");
    let placed = place(&cpus(1), ALL, LEAN);
    let evaluated = acpiexec(&scratch, &tables(&placed)["DSDT"], &evaluate_routing(13));
    assert_eq!(routes(&evaluated, 1), ["9", "5", "10", "11", "5", "10", "11", "3", "10", "11", "3", "5"]);
    assert!(evaluated.contains("beyond end of object (length 0xC)"), "{evaluated}");
}

/// ACPICA's own check of every predefined name, and no message while it loads the table.
#[test]
fn acpiexec_accepts_every_predefined_name() {
    if !testing::installed("acpiexec") {
        return;
    }
    let scratch = Scratch::new("predefined");
    let dsdt = &tables(&place_all(&cpus(2)))["DSDT"];
    let output = acpiexec(&scratch, dsdt, "test predefined\n");
    for complaint in ["Error", "Warning", "Exception", "Could not"] {
        assert!(!output.contains(complaint), "{output}");
    }
    let results: Vec<_> = output.lines().filter(|line| line.contains(" returned ")).collect();
    assert!(results.len() > 60, "{output}");
    assert!(results.iter().all(|line| line.ends_with("AE_OK")), "{output}");
}

/// `_SRS` routes a PIRQ, `_DIS` cuts it, and `_STA` and `_CRS` tell. The debugger's registers begin as zeros.
#[test]
fn acpiexec_routes_a_pirq() {
    if !testing::installed("acpiexec") {
        return;
    }
    let scratch = Scratch::new("links");
    let dsdt = &tables(&place_all(&cpus(2)))["DSDT"];
    let script = "evaluate \\_SB.LNKB._SRS (89 06 00 09 01 0B 00 00 00 79 00)
        evaluate \\_SB.PRQ0\nevaluate \\_SB.PRQ1\nevaluate \\_SB.PRQ2
        evaluate \\_SB.LNKB._STA\nevaluate \\_SB.LNKB._CRS
        evaluate \\_SB.LNKB._DIS\nevaluate \\_SB.PRQ1
        evaluate \\_SB.LNKB._STA\nevaluate \\_SB.LNKB._CRS\n";
    let output = acpiexec(&scratch, dsdt, script);
    let values: Vec<_> = output.lines().filter_map(|line| line.trim().strip_prefix("[Integer] = ")).collect();
    let expected = [0, 0x0b, 0, 0x0b, 0x80, 0x09].map(|value| format!("{value:016X}"));
    assert_eq!(values, expected, "{output}");
    let buffers: Vec<_> = output.lines().filter(|line| line.contains("[Buffer]")).collect();
    assert_eq!(buffers.len(), 2, "{output}");
    assert!(buffers[0].contains("89 06 00 09 01 0B 00 00 00 79 00"), "{output}");
    assert!(buffers[1].contains("89 06 00 09 01 00 00 00 00 79 00"), "{output}");
}

/// What each slot's methods write to the registers, which are plain memory to the debugger. `_DSM` finds the slot's bit
/// where it put it, and takes it for the number of the device.
#[test]
fn acpiexec_ejects_and_names_by_the_registers() {
    if !testing::installed("acpiexec") {
        return;
    }
    let scratch = Scratch::new("slots");
    let dsdt = &tables(&place_all(&cpus(2)))["DSDT"];
    let uuid = "(D0 37 C9 E5 53 35 7A 4D 91 17 EA 4D 19 C3 43 4D)";
    let script = format!(
        "evaluate \\_SB.PCI0.S28._EJ0 1\nevaluate \\_SB.PCI0.BNUM\nevaluate \\_SB.PCI0.B0EJ
        evaluate \\_SB.PCI0.S20.SF8._EJ0 1\nevaluate \\_SB.PCI0.BNUM\nevaluate \\_SB.PCI0.B0EJ
        evaluate \\_SB.PCI0.S28._SUN\nevaluate \\_SB.PCI0.S20.BSEL
        evaluate \\_SB.PCI0.S28._DSM {uuid} 2 7 0\nevaluate \\_SB.PCI0.S28._DSM {uuid} 2 0 0
        evaluate \\_SB.PCI0.S28._DSM {uuid} 1 0 0\nevaluate \\_GPE._E01\n"
    );
    let output = acpiexec(&scratch, dsdt, &script);
    let values: Vec<_> = output.lines().filter_map(|line| line.trim().strip_prefix("[Integer] = ")).collect();
    let expected = [0, 1 << 5, 1, 1 << 31, 5, 1, 1 << 5].map(|value: u64| format!("{value:016X}"));
    assert_eq!(values, expected, "{output}");
    let buffers: Vec<_> = output.lines().filter(|line| line.contains("[Buffer]")).collect();
    assert!(buffers[0].contains("81") && buffers[1].contains("00"), "{output}");
    assert!(!output.contains("Exception") && !output.contains("Error"), "{output}");
}

/// Registers of processors, as plain memory: the last that was selected, and what was written to it.
#[test]
fn acpiexec_asks_for_processors_by_the_registers() {
    if !testing::installed("acpiexec") {
        return;
    }
    let scratch = Scratch::new("processors");
    let dsdt = &tables(&place_all(&[0, 1, 300].map(|id| Cpu::new(id, true))))["DSDT"];
    let script = "evaluate \\_SB.CPUS.C001._STA\nevaluate \\_SB.PCI0.PRES.CSEL\nevaluate \\_SB.CPUS.C002._EJ0 1
        evaluate \\_SB.PCI0.PRES.CSEL\nevaluate \\_SB.PCI0.PRES.CEJ0\nevaluate \\_SB.CPUS.C001._OST 0x103 0x81 0
        evaluate \\_SB.PCI0.PRES.CSEL\nevaluate \\_SB.PCI0.PRES.CCMD\nevaluate \\_SB.PCI0.PRES.CDAT
        evaluate \\_SB.CPUS.C001._MAT\nevaluate \\_SB.CPUS.C002._MAT\nevaluate \\_SB.CPUS.C000._EJ0 1\n";
    let output = acpiexec(&scratch, dsdt, script);
    let values: Vec<_> = output.lines().filter_map(|line| line.trim().strip_prefix("[Integer] = ")).collect();
    let expected = [0, 1, 2, 1, 1, 2, 0x81].map(|value: u64| format!("{value:016X}"));
    assert_eq!(values, expected, "{output}");
    assert!(output.contains("00 08 01 01 01 00 00 00"), "{output}");
    assert!(output.contains("09 10 00 00 2C 01 00 00 01 00 00 00 02 00 00 00"), "{output}");
    assert!(output.contains("AE_NOT_FOUND"), "the first processor stays: {output}");
}

/// The tables that QEMU 7.2 gives its `pc` machine, but for revisions and what hangs on them.
#[test]
fn says_what_qemu_says() {
    let Some(qemu) = testing::qemu_memory("acpi", &["-smp", "2", "-serial", "null", "-vga", "std"]) else { return };
    let (rsdp_at, rsdp) = qemu.find_in_bios_segment(b"RSD PTR ").expect("SeaBIOS places an RSDP");
    assert_eq!(rsdp_at % 16, 0);
    let theirs = walk(rsdp, &qemu.ram, 0, false);
    let devices = Devices { com: [true, false, false, false], lpt: false, fdc: Some([None; 2]), ..ALL };
    let [ours, direct] = [Purpose::Firmware, LEAN].map(|purpose| tables(&place(&cpus(2), devices, purpose)));

    for (ours, signature) in [(&ours, "HPET"), (&ours, "WAET"), (&direct, "HPET"), (&direct, "WAET")] {
        assert_eq!(ours[signature], theirs[signature], "{signature}");
    }
    // Revision and checksum differ.
    for ours in [&ours, &direct] {
        assert_eq!(ours["APIC"][10..], theirs["APIC"][10..], "APIC");
        assert_eq!(ours["FACP"][46..48], theirs["FACP"][46..48], "SCI");
        assert_eq!(ours["FACP"][56..109], theirs["FACP"][56..109], "FACP");
    }
    // From the power management profile to the boot flags, which are later.
    assert_eq!(ours["FACP"][45..109], theirs["FACP"][45..109], "FACP");
    // Flags: QEMU says that the RTC wakes from S4, we say that there is a reset register.
    assert_eq!(u32_at(&ours["FACP"], 112) & !(1 << 10), u32_at(&theirs["FACP"], 112) & !(1 << 7), "flags");

    if !testing::installed("acpiexec") {
        return;
    }
    let scratch = Scratch::new("qemu-prt");
    // Slots 0 to 4 hold every case, and QEMU's routing takes long to evaluate.
    let [ours, theirs] =
        [&ours, &theirs].map(|tables| routes(&acpiexec(&scratch, &tables["DSDT"], &evaluate_routing(20)), 0));
    assert_eq!(ours.len(), 20);
    assert_eq!(ours, theirs);
}
