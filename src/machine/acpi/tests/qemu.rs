//! What the tables describe, object by object, beside what QEMU's do.

use super::*;

/// Objects in which the two differ, and why.
type Differences = [(&'static [&'static str], &'static str)];

/// On every machine.
const ALWAYS: &Differences = &[
    (&["\\DBG_", "\\DBGB", "\\DBUG"], "a port for messages of tables under test"),
    (&["\\_SB_.PCI0._ADR"], "a device has either _HID or _ADR"),
    (
        &["\\_SB_.PCI0._PRT"],
        "a package: evaluating QEMU's method takes longer than ACPICA lets a loop run on slow machines",
    ),
    (
        &["\\_SB_.IQST", "\\_SB_.IQCR", "\\_SB_.LNKS._CRS", "\\_SB_.LNKS._STA"],
        "what is the same each time is data, and nothing is shared between the interrupt links",
    ),
    (
        &["\\_SB_.PCI0.S08_.KBD_._STA", "\\_SB_.PCI0.S08_.MOU_._STA", "\\_SB_.PCI0.S08_.COM1._STA"],
        "what _STA says if there is none",
    ),
    (&["\\_SB_.PCI0.GPE0._HID", "\\_SB_.PCI0.PHPR._HID"], "the same id as a number"),
    (
        &[
            "\\_SB_.CPUS.C000",
            "\\_SB_.CPUS.C001",
            "\\_SB_.CPUS.C000._UID",
            "\\_SB_.CPUS.C001._UID",
            "\\_SB_.CPUS.C000._HID",
            "\\_SB_.CPUS.C001._HID",
        ],
        "processors are devices: ACPI 6 has no other objects for them",
    ),
];

/// With an HPET.
const HPET: &Differences = &[(
    &["\\_SB_.HPET._STA", "\\_SB_.HPET.HPTM", "\\_SB_.HPET.VEND", "\\_SB_.HPET.PRD_"],
    "whether there is an HPET is known",
)];

/// With all ports.
const PORTS: &Differences = &[(
    &[
        "\\_SB_.PCI0.S08_.COM2._STA",
        "\\_SB_.PCI0.S08_.COM3._STA",
        "\\_SB_.PCI0.S08_.COM4._STA",
        "\\_SB_.PCI0.S08_.LPT1._STA",
    ],
    "what _STA says if there is none",
)];

/// Devices of tables for a kernel that is started directly.
const DIRECT: &Differences = &[
    (
        &["\\_SB_.LNKA", "\\_SB_.LNKB", "\\_SB_.LNKC", "\\_SB_.LNKD", "\\_SB_.LNKS"],
        "the routing is fixed: it names interrupts, not links",
    ),
    (
        &["\\_GPE", "\\_SB_.CPUS", "\\_SB_.PCI0.GPE0", "\\_SB_.PCI0.PHPR", "\\_SB_.PCI0.PRES"],
        "nothing comes or goes while such a machine runs",
    ),
    (&["\\_SB_.C000", "\\_SB_.C001"], "processors outside of the container for those that come and go"),
    (&["\\_SB_.PCI0"], "one host bridge needs no number; ports that no device here names are left out of its windows"),
    (&["\\_SB_.HPET"], "the HPET table tells where it is"),
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
    // The list has but the beginning of a buffer, and of a package nothing. The routing is too much for the debugger.
    let evaluated: Vec<_> = objects
        .iter()
        .filter(|(path, what)| {
            ["Buffer", "Package"].iter().any(|kind| what.starts_with(kind)) && !path.ends_with("_PRT")
        })
        .map(|(path, _)| path.clone())
        .collect();
    let commands: String = evaluated.iter().map(|path| format!("evaluate {path}\n")).collect();
    let output = acpiexec(scratch, dsdt, &commands);
    for path in evaluated {
        let (_, value) = output.split_once(&format!("Evaluation of {path} returned object ")).expect(&path);
        let lines = value.lines().skip(1).take_while(|line| line.starts_with(' '));
        objects.insert(path, lines.map(str::trim).collect::<Vec<_>>().join("\n"));
    }
    objects
}

/// The devices of a namespace that have an id: by their paths what identifies them and what they occupy.
fn devices(objects: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let devices = objects.keys().filter_map(|path| path.strip_suffix("._HID"));
    let properties = |path: &str| {
        let named = ["_HID", "_UID", "_CRS"].map(|name| (name, objects.get(&format!("{path}.{name}"))));
        named.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))).collect::<Vec<_>>().join("\n")
    };
    devices.map(|path| (path.to_owned(), properties(path))).collect()
}

/// Fails where the two differ and it is not said, or where it is said and they do not.
fn check(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>, differences: &[&Differences]) {
    let mut known: Vec<_> = differences.iter().flat_map(|list| list.iter()).flat_map(|(paths, _)| *paths).collect();
    let mut report = Vec::new();
    for path in BTreeMap::from_iter(ours.iter().chain(theirs)).into_keys() {
        let [ours, theirs] = [ours, theirs].map(|objects| objects.get(path).map(String::as_str));
        if ours == theirs {
            continue;
        }
        match known.iter().position(|known| *known == path) {
            Some(at) => _ = known.swap_remove(at),
            None => report.push(format!("{path}: {} and QEMU {}", ours.unwrap_or("-"), theirs.unwrap_or("-"))),
        }
    }
    report.extend(known.iter().map(|path| format!("{path} is listed as a difference and is none")));
    assert!(report.is_empty(), "{}", report.join("\n"));
}

/// The namespace of QEMU's machine with these options.
fn of_qemu(name: &str, options: &[&str]) -> Option<BTreeMap<String, String>> {
    if !testing::installed("acpiexec") {
        return None;
    }
    let qemu = testing::qemu_memory(name, options)?;
    let (_, rsdp) = qemu.find_in_bios_segment(b"RSD PTR ").expect("SeaBIOS places an RSDP");
    let objects = namespace(&Scratch::new(name), &walk(rsdp, &qemu.ram, 0, false)["DSDT"]);
    assert!(objects.len() > 300, "{} objects", objects.len());
    Some(objects)
}

/// The namespace of a machine with two processors.
fn of_natoma(name: &str, devices: Devices, slots: &Slots, purpose: Purpose) -> BTreeMap<String, String> {
    let layout = layout_of(testing::RAM_MIB << 20);
    let inputs = Inputs {
        oem: Oem::default(),
        cpus: &cpus(2),
        layout: &layout,
        pci_hole64: layout.pci_hole64.clone(),
        pm_base: port::PM,
        slots,
        sleep: SleepStates { s3: true, s4: Some(2) },
        purpose,
        devices,
        numa: &NumaConfig::default(),
        user_tables: &[],
    };
    namespace(&Scratch::new(name), &tables(&AcpiTables::build(&inputs).place(BASE))["DSDT"])
}

/// A usual machine: options of QEMU, and the same to the tables.
const USUAL: [&str; 10] = [
    "-smp",
    "2",
    "-serial",
    "null",
    "-vga",
    "std",
    "-device",
    "floppy,drive-type=144",
    "-device",
    "floppy,drive-type=288",
];

fn usual() -> (Devices, Slots) {
    let devices = Devices {
        com: [true, false, false, false],
        lpt: false,
        fdc: Some([Some(DriveKind::Mb144), Some(DriveKind::Mb288)]),
        pvpanic: None,
        ..ALL
    };
    (devices, Slots { present: 0b111, pluggable: !0b111, displays: 1 << 2, ..Slots::default() })
}

#[test]
fn describes_the_devices_that_qemu_describes() {
    let Some(theirs) = of_qemu("acpi-objects", &USUAL) else { return };
    let (devices, slots) = usual();
    check(&of_natoma("objects", devices, &slots, Purpose::Firmware), &theirs, &[ALWAYS, HPET]);
}

/// All ports, no HPET, and a bridge with a device behind it.
#[test]
fn describes_more_devices_as_qemu_describes_them() {
    let serial = ["-serial", "null"].repeat(4);
    let options = [&["-smp", "2", "-machine", "hpet=off", "-parallel", "null", "-device", "pvpanic"], &serial[..]];
    let bridge = ["-device", "pci-bridge,id=b,chassis_nr=1,addr=4", "-device", "pci-serial,bus=b,addr=3"];
    let Some(theirs) = of_qemu("acpi-more", &[options.concat(), bridge.into()].concat()) else { return };
    let devices = Devices { hpet: None, vga: false, fdc: Some([None; 2]), ..ALL };
    let slots = Slots { present: 0b1_0011, pluggable: !0b1_0011, displays: 0, ..slots() };
    check(&of_natoma("more", devices, &slots, Purpose::Firmware), &theirs, &[ALWAYS, PORTS]);
}

/// A kernel that is started directly finds the same devices at the same places, without what only firmware or hot-plug needs.
#[test]
fn describes_the_same_devices_to_a_kernel_that_is_started_directly() {
    let Some(theirs) = of_qemu("acpi-direct", &USUAL) else { return };
    let (of_board, slots) = usual();
    check(&devices(&of_natoma("direct", of_board, &slots, LEAN)), &devices(&theirs), &[DIRECT]);
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
