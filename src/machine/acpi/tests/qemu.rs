//! What the tables describe, object by object, beside what QEMU's do.

use super::*;

/// Where the two differ, as ends of paths, and why.
const DIFFERENCES: &[(&[&str], &str)] = &[
    (&["\\DBG_", "\\DBGB", "\\DBUG"], "a port for messages of tables under test"),
    (&["PCI0._ADR"], "a device has either _HID or _ADR"),
    (&["PCI0._PRT"], "a package: evaluating QEMU's method takes longer than ACPICA lets a loop run on slow machines"),
    (
        &["_SB_.IQST", "_SB_.IQCR", "LNKS._CRS", "LNKS._STA"],
        "what is the same each time is data, and nothing is shared between the interrupt links",
    ),
    (&["HPET._STA", "HPET.HPTM", "HPET.VEND", "HPET.PRD_"], "whether there is an HPET is known"),
    (&["KBD_._STA", "MOU_._STA", "COM1._STA"], "what _STA says if there is none"),
    (&["GPE0._HID", "PHPR._HID"], "the same id as a number"),
    (
        &["C000", "C001", "C000._UID", "C001._UID", "C000._HID", "C001._HID"],
        "processors are devices: ACPI 6 has no other objects for them",
    ),
];

/// The objects of a table by their paths, with what they are and, where that is data, what it is.
fn namespace(scratch: &Scratch, dsdt: &[u8]) -> BTreeMap<String, String> {
    let output = acpiexec(scratch, dsdt, "namespace\n");
    let (_, list) = output.split_once("ACPI Namespace (from Namespace Root):\n").expect(&output);
    let mut path: Vec<&str> = Vec::new();
    let mut objects = BTreeMap::new();
    for line in list.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [depth, name, kind, _address, _owner, rest @ ..] = &words[..] else { break };
        let Ok(depth) = depth.parse() else { break };
        path.truncate(depth);
        path.push(name);
        let data = matches!(*kind, "Integer" | "String" | "Buffer" | "Region" | "RegionField" | "Package");
        // Addresses in the debugger's memory say nothing.
        let rest = rest.iter().filter(|word| data && !word.starts_with("0x")).copied();
        let description = [*kind].into_iter().chain(rest).collect::<Vec<_>>().join(" ");
        objects.insert(format!("\\{}", path.join(".")), description);
    }
    objects
}

#[test]
fn describes_the_devices_that_qemu_describes() {
    if !testing::installed("acpiexec") {
        return;
    }
    let mut options = vec!["-smp", "2", "-serial", "null", "-vga", "std"];
    options.extend(["-device", "floppy,drive-type=144", "-device", "floppy,drive-type=288"]);
    let Some(qemu) = testing::qemu_memory("acpi-objects", &options) else { return };
    let (_, rsdp) = qemu.find_in_bios_segment(b"RSD PTR ").expect("SeaBIOS places an RSDP");
    let theirs = walk(rsdp, &qemu.ram, 0, false);

    let layout = layout();
    let devices = Devices {
        com: [true, false, false, false],
        lpt: false,
        fdc: Some([Some(DriveKind::Mb144), Some(DriveKind::Mb288)]),
        pvpanic: None,
        ..ALL
    };
    let inputs = Inputs {
        oem: Oem::default(),
        cpus: &cpus(2),
        layout: &layout,
        pci_hole64: layout.pci_hole64.clone(),
        pm_base: port::PM,
        slots: &Slots { present: 0b111, pluggable: !0b111, displays: 1 << 2, ..Slots::default() },
        sleep: SleepStates { s3: true, s4: Some(2) },
        purpose: Purpose::Firmware,
        devices,
        numa: &NumaConfig::default(),
        user_tables: &[],
    };
    let ours = tables(&AcpiTables::build(&inputs).place(BASE));

    let scratch = Scratch::new("objects");
    let [ours, theirs] = [&ours, &theirs].map(|tables| namespace(&scratch, &tables["DSDT"]));
    assert!(ours.len() > 300 && theirs.len() > 300, "{} and {} objects", ours.len(), theirs.len());
    let mut used = BTreeMap::new();
    let mut unknown = Vec::new();
    for path in BTreeMap::from_iter(ours.iter().chain(&theirs)).into_keys() {
        let [ours, theirs] = [&ours, &theirs].map(|objects| objects.get(path).map(String::as_str));
        if ours == theirs {
            continue;
        }
        match DIFFERENCES.iter().find(|(ends, _)| ends.iter().any(|end| path.ends_with(end))) {
            Some((_, reason)) => *used.entry(reason).or_insert(0) += 1,
            None => unknown.push(format!("{path}: {} and QEMU {}", ours.unwrap_or("-"), theirs.unwrap_or("-"))),
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert_eq!(used.len(), DIFFERENCES.len(), "each difference is one: {used:?}");
}

/// Two nodes with a hole in the first, and one without processors, on QEMU 7.2, which asks for a backend of each.
#[test]
fn divides_the_machine_as_qemu_does() {
    let mut options = vec!["-smp", "4,sockets=2,cores=2", "-serial", "null"];
    for object in ["a,size=8M", "b,size=16M", "c,size=8M"] {
        options.extend(["-object", Box::leak(format!("memory-backend-ram,id={object}").into_boxed_str())]);
    }
    for numa in
        ["node,memdev=a,cpus=0-1", "node,memdev=b,cpus=2", "node,memdev=c", "cpu,node-id=0,socket-id=1,core-id=1"]
    {
        options.extend(["-numa", numa]);
    }
    for numa in ["dist,src=0,dst=1,val=21", "dist,src=0,dst=2,val=31", "dist,src=1,dst=2,val=41"] {
        options.extend(["-numa", numa]);
    }
    let Some(qemu) = testing::qemu_memory("acpi-numa", &options) else { return };
    let (_, rsdp) = qemu.find_in_bios_segment(b"RSD PTR ").expect("SeaBIOS places an RSDP");
    let theirs = walk(rsdp, &qemu.ram, 0, false);

    let layout = layout();
    let numa = NumaConfig {
        memory: vec![8 << 20, 16 << 20, 8 << 20],
        cpus: vec![0, 0, 1, 0],
        distances: vec![vec![10, 21, 31], vec![21, 10, 41], vec![31, 41, 10]],
    };
    let cpus: Vec<_> = (0..4).map(|id| Cpu { node: Some(numa.cpus[id as usize]), ..Cpu::new(id, true) }).collect();
    let inputs = Inputs {
        oem: Oem::default(),
        cpus: &cpus,
        layout: &layout,
        pci_hole64: layout.pci_hole64.clone(),
        pm_base: port::PM,
        slots: &Slots::default(),
        sleep: SleepStates::default(),
        purpose: LEAN,
        devices: Devices::default(),
        numa: &numa,
        user_tables: &[],
    };
    let ours = tables(&AcpiTables::build(&inputs).place(BASE));
    assert_eq!(ours["SLIT"], theirs["SLIT"]);
    // QEMU fills the table up with entries that don't count, for memory that might come.
    let entries = |table: &[u8]| -> Vec<Vec<u8>> {
        let (mut at, mut entries) = (48, Vec::new());
        while at < table.len() {
            let len = usize::from(table[at + 1]);
            entries.push(table[at..at + len].to_vec());
            at += len;
        }
        entries.retain(|entry| entry[0] != 1 || entry[28] != 0);
        entries
    };
    assert_eq!(ours["SRAT"][36..48], theirs["SRAT"][36..48]);
    assert_eq!(entries(&ours["SRAT"]), entries(&theirs["SRAT"]));
}
