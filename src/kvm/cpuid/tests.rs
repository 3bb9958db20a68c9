//! CPUID against tables captured from QEMU 7.2.22 (testdata/), and against this machine's KVM.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::features::{self, Word};
use super::host::{Abilities, Table};
use super::leaves::Regs;
use super::models::Model;
use super::native::Native;
use super::*;
use crate::config::{CpuConfig, CpuProperty, KernelIrqchip, Smp};

const EVERYTHING: &str = include_str!("testdata/host-everything.txt");
const EPYC: &str = include_str!("testdata/host-epyc.txt");
const MODELS: &str = include_str!("testdata/models.txt");
const QEMU: &str = include_str!("testdata/qemu.txt");
const HELP: &str = include_str!("testdata/help.txt");

/// TSC frequency of the host that the tables were captured on.
const TSC_KHZ: u32 = 2_596_150;

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

/// `leaf subleaf eax ebx ecx edx`, all but the second hexadecimal.
fn row(line: &str) -> (u32, u32, Regs) {
    let fields: Vec<&str> = line.split(' ').collect();
    let [leaf, subleaf, registers @ ..] = &fields[..] else { panic!("{line}") };
    let registers: Vec<u32> = registers.iter().map(|&register| hex(register) as u32).collect();
    let [eax, ebx, ecx, edx] = registers[..] else { panic!("{line}") };
    (hex(leaf) as u32, subleaf.parse().unwrap(), Regs { eax, ebx, ecx, edx })
}

/// A host from a file of testdata.
fn host(text: &str) -> HostCpu {
    let section = |name| {
        let lines = text.lines().skip_while(move |&line| line != name).skip(1);
        lines.take_while(|line| !line.starts_with('['))
    };
    let msrs: BTreeMap<u64, u64> = section("[msrs]")
        .map(|line| line.split_once(' ').unwrap())
        .map(|(index, value)| (hex(index), hex(value)))
        .collect();
    let table = |name| section(name).map(row).collect::<Table>();
    let abilities = Abilities {
        tsc_deadline: true,
        tsc_control: true,
        is_suspect: false,
        irqchip: KernelIrqchip::On,
        machine_check: 0x0100_010a,
    };
    let msr = |index: u32| msrs.get(&index.into()).copied().unwrap_or(0);
    let mut host = HostCpu::new(Native::Recorded(table("[native]")), table("[offered]"), abilities, msr);
    host.tsc_khz = Some(TSC_KHZ);
    host
}

/// What `-cpu text` means, with the precedence of QEMU.
fn config(text: &str) -> CpuConfig {
    let mut items = text.split(',');
    let model = items.next().unwrap().to_owned();
    let setting = |name: &str, value: &str| CpuProperty { name: name.to_owned(), value: value.to_owned() };
    let (mut first, mut plus, mut minus) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        match (item.strip_prefix('+'), item.strip_prefix('-'), item.split_once('=')) {
            (Some(name), ..) => plus.push(setting(name, "on")),
            (_, Some(name), _) => minus.push(setting(name, "off")),
            (.., Some((name, value))) => first.push(setting(name, value)),
            _ => first.push(setting(item, "on")),
        }
    }
    CpuConfig { model, properties: [first, plus, minus].concat() }
}

fn cpu(text: &str, host: &HostCpu) -> GuestCpu {
    GuestCpu::new(&config(text), host).unwrap()
}

/// What `-smp text` means where it names sockets, dies, cores or threads; QEMU puts what is missing into sockets if
/// anything is named, and into sockets of one core otherwise.
fn topology(text: &str) -> Topology {
    let (cpus, rest) = text.split_once(',').unwrap_or((text, ""));
    let max_cpus: u32 = cpus.parse().unwrap();
    let given: BTreeMap<&str, u32> = rest
        .split(',')
        .filter_map(|item| item.split_once('='))
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect();
    let mut smp = Smp {
        cpus: max_cpus,
        max_cpus,
        sockets: given.get("sockets").copied().unwrap_or(0),
        dies: given.get("dies").copied().unwrap_or(1),
        cores: given.get("cores").copied().unwrap_or(0),
        threads: given.get("threads").copied().unwrap_or(0),
    };
    // Cores are preferred over sockets and threads since pc-6.2.
    smp.sockets = smp.sockets.max(1);
    smp.threads = smp.threads.max(1);
    if smp.cores == 0 {
        smp.cores = max_cpus / (smp.sockets * smp.dies * smp.threads);
    } else if !given.contains_key("sockets") && !given.contains_key("threads") {
        smp.sockets = max_cpus / (smp.dies * smp.cores);
    }
    Topology::new(&smp).unwrap()
}

fn only_cpu() -> Topology {
    topology("1")
}

fn leaf(cpu: &GuestCpu, leaf: u32, subleaf: u32) -> Regs {
    let leaves = cpu.leaves(&only_cpu(), 0);
    leaves.iter().find(|entry| (entry.0, entry.1) == (leaf, subleaf)).map_or(Regs::default(), |entry| entry.2)
}

#[test]
fn every_model_is_qemus() {
    let everything = host(EVERYTHING);
    let mut seen = 0;
    for line in MODELS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.splitn(18, ' ').collect();
        let name = fields[0];
        let values: Vec<u64> = fields[1..17].iter().map(|field| if *field == "." { 0 } else { hex(field) }).collect();
        let guest = cpu(name, &everything);
        let model = Model::find(name).unwrap();
        let one = leaf(&guest, 1, 0);
        let seven = leaf(&guest, 7, 0);
        let extended = leaf(&guest, 0x8000_0001, 0);
        let ours: Vec<u64> = [
            leaf(&guest, 0, 0).eax,
            leaf(&guest, 0x8000_0000, 0).eax,
            one.eax,
            one.edx,
            one.ecx,
            leaf(&guest, 6, 0).eax,
            seven.ebx,
            seven.ecx,
            seven.edx,
            leaf(&guest, 7, 1).eax,
            leaf(&guest, 0xd, 1).eax,
            extended.edx,
            extended.ecx,
            leaf(&guest, 0x8000_0008, 0).ebx,
        ]
        .map(u64::from)
        .into_iter()
        .chain([model.features[Word::ArchCapabilities], model.features[Word::CoreCapability]])
        .collect();
        assert_eq!(ours, values, "{name}");
        assert_eq!(model.model_id, fields.get(17).copied().unwrap_or(""), "{name}");
        seen += 1;
    }
    let versions = models::meanings().iter().filter(|(name, _)| Model::find(name).unwrap().name == *name).count();
    assert_eq!((seen, versions), (74, 74));
}

#[test]
fn whole_tables_are_qemus() {
    let hosts = BTreeMap::from([("everything", host(EVERYTHING)), ("epyc", host(EPYC))]);
    for case in QEMU.split("\n= ").skip(1) {
        let mut lines = case.lines();
        let title = lines.next().unwrap();
        let [host, request, smp] = title.split(" | ").collect::<Vec<_>>()[..] else { panic!("{title}") };
        let guest = cpu(request, &hosts[host]);
        let topology = topology(smp);
        let last = smp.split(',').next().unwrap().parse::<u32>().unwrap() - 1;
        let expected: BTreeMap<(u32, u32), Regs> = lines
            .filter(|line| !line.starts_with('!'))
            .map(row)
            .map(|(leaf, subleaf, regs)| ((leaf, subleaf), regs))
            .collect();
        let ours: BTreeMap<(u32, u32), Regs> =
            guest.leaves(&topology, last).into_iter().map(|(leaf, subleaf, regs)| ((leaf, subleaf), regs)).collect();
        for key in expected.keys().chain(ours.keys()) {
            assert_eq!(ours.get(key), expected.get(key), "{title}: leaf {:x} {}", key.0, key.1);
        }
    }
}

#[test]
fn warnings_are_qemus() {
    let hosts = BTreeMap::from([("everything", host(EVERYTHING)), ("epyc", host(EPYC))]);
    let mut seen = 0;
    for case in QEMU.split("\n= ").skip(1) {
        let title = case.lines().next().unwrap();
        let [host, request, smp] = title.split(" | ").collect::<Vec<_>>()[..] else { panic!("{title}") };
        let guest = cpu(request, &hosts[host]);
        let ours: Vec<String> = guest
            .warnings()
            .iter()
            .cloned()
            .chain(guest.topology_warning(&topology(smp)))
            .map(|warning| warning.to_string())
            .collect();
        let expected: Vec<&str> = case
            .lines()
            .filter_map(|line| line.strip_prefix("! "))
            .filter(|line| !line.starts_with("Please"))
            .collect();
        assert_eq!(ours.len(), expected.len(), "{title}: {ours:?}");
        for warning in expected {
            let beginning = warning.to_lowercase().replace("hyperthreading(2)", "hyperthreading (2)");
            assert!(
                ours.iter().any(|ours| ours.to_lowercase().starts_with(&beginning)),
                "{title}: {warning}: {ours:?}"
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 14);
}

#[test]
fn the_names_are_qemus() {
    let (models, flags) = HELP.split_once("[flags]\n").unwrap();
    let expected: BTreeMap<&str, &str> = models
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect();
    let ours: BTreeMap<String, String> = model_names().into_iter().collect();
    assert_eq!(ours.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, meaning) in expected {
        let expected = match meaning {
            // On the machine `pc` a model without a version is its first.
            "(alias configured by machine type)" => format!("(alias of {name}-v1)"),
            _ if ["base", "host", "max"].contains(&name) => continue,
            _ => meaning.to_owned(),
        };
        assert_eq!(ours[name], expected);
        if let Some(target) = expected.strip_prefix("(alias of ").and_then(|rest| rest.strip_suffix(')')) {
            assert_eq!(Model::find(name), Model::find(target), "{name}");
        }
    }

    // What natoma does not offer.
    let withheld = |flag: &&str| {
        ["vmx-", "sgx", "amx-"].iter().any(|start| flag.starts_with(start))
            || ["arch-lbr", "xfd", "intel-pt-lip"].contains(flag)
    };
    let flags: BTreeSet<&str> = flags.split_whitespace().filter(|flag| !withheld(flag)).collect();
    assert_eq!(features::names().collect::<BTreeSet<_>>(), flags);
}

#[test]
fn aliases_name_the_same_feature() {
    // As QEMU's query-cpu-model-expansion shows them to change together.
    for (alias, name) in [
        ("sse3", "pni"),
        ("pclmuldq", "pclmulqdq"),
        ("ds_cpl", "ds-cpl"),
        ("sse4_1", "sse4.1"),
        ("sse4-2", "sse4.2"),
        ("xd", "nx"),
        ("ffxsr", "fxsr-opt"),
        ("i64", "lm"),
        ("lahf_lm", "lahf-lm"),
        ("nodeid_msr", "nodeid-msr"),
        ("perfctr_core", "perfctr-core"),
        ("tsc_adjust", "tsc-adjust"),
        ("kvm_pv_eoi", "kvm-pv-eoi"),
        ("nrip_save", "nrip-save"),
    ] {
        assert!(features::find(alias).is_some(), "{alias}");
        assert_eq!(features::find(alias), features::find(name), "{alias}");
    }
    assert_eq!(features::find("kvmclock").unwrap().mask, 0b1001);
    assert_eq!(features::find("-"), None);
}

fn error(text: &str) -> String {
    let everything = host(EVERYTHING);
    let error = GuestCpu::new(&config(text), &everything).unwrap_err();
    if check(&config(text)).is_err() {
        assert_eq!(check(&config(text)), Err(error.clone()));
    }
    error.to_string()
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    for (text, parts) in [
        ("qemu46", &["no CPU model 'qemu46'", "did you mean 'qemu64'", "-cpu help"][..]),
        ("haswell", &["'haswell'", "did you mean 'Haswell'"]),
        ("EPYC-v4", &["'EPYC-v4'"]),
        ("", &["no CPU model ''"]),
        ("qemu64,+avx3", &["'avx3'", "did you mean 'avx'"]),
        ("qemu64,sse41=on", &["'sse41'", "did you mean 'sse4.1'"]),
        ("qemu64,avx=maybe", &["avx=maybe", "on or off"]),
        ("qemu64,level=-1", &["level=-1", "a number"]),
        ("qemu64,level=0x100000000", &["level=0x100000000", "0xffffffff"]),
        ("qemu64,family=271", &["family=271", "0 to 270"]),
        ("qemu64,model=256", &["0 to 255"]),
        ("qemu64,stepping=16", &["0 to 15"]),
        ("qemu64,vendor=AMD", &["vendor=AMD", "12 bytes"]),
        ("qemu64,phys-bits=20", &["phys-bits=20", "32 to 52"]),
        ("qemu64,-lm,phys-bits=40", &["phys-bits=40", "32-bit CPU"]),
        ("qemu64,tsc-freq=1", &["tsc-frequency=1", "1 kHz"]),
        ("qemu64,tsc-freq=2.5X", &["tsc-freq=2.5X", "2.5G"]),
        ("qemu64,hv-relaxed", &["'hv-relaxed=on'", "Hyper-V"]),
        ("qemu64,hv_spinlocks=0x1fff", &["hv-spinlocks=0x1fff", "Hyper-V"]),
        ("qemu64,+sgx1", &["sgx1", "enclave"]),
        ("qemu64,x-force-features=on", &["internal"]),
        ("qemu64,migratable=off", &["'migratable'", "host and max", "'qemu64'"]),
        ("host,+vmx,-vmx-ept", &["'vmx-ept=off'", "vmx=off"]),
        ("host,+vmx-ept", &["'vmx-ept=on'"]),
        ("kvm64,apic-id=3", &["apic-id", "-smp"]),
    ] {
        let message = error(text);
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
    assert!(GuestCpu::new(&config("qemu64,-vmx-ept,hv-relaxed=off,-sgx"), &host(EVERYTHING)).is_ok());
}

#[test]
fn enforce_fails_where_check_warns() {
    let epyc = host(EPYC);
    let refused = GuestCpu::new(&config("Haswell,enforce"), &epyc).unwrap_err().to_string();
    assert!(refused.contains("CPUID.07H:EBX.hle [bit 4]") && refused.contains("rtm"), "{refused}");
    assert_eq!(cpu("Haswell", &epyc).warnings().len(), 2);
    assert_eq!(cpu("Haswell,check=off", &epyc).warnings(), []);
    assert_eq!(cpu("Haswell-noTSX,enforce", &epyc).warnings(), []);
}

#[test]
fn the_tsc_runs_at_another_frequency_only_where_the_host_can_scale_it() {
    let mut epyc = host(EPYC);
    let timing = |guest: &GuestCpu| leaf(guest, 0x4000_0010, 0);
    assert_eq!(timing(&cpu("qemu64", &epyc)), Regs::default());
    let scaled = cpu("qemu64,tsc-freq=2.5G", &epyc);
    assert_eq!((timing(&scaled).eax, timing(&scaled).ebx), (2_500_000, 1_000_000));
    assert_eq!(timing(&cpu("qemu64,tsc-freq=2.5G,vmware-cpuid-freq=off", &epyc)), Regs::default());
    epyc.abilities.tsc_control = false;
    let refused = GuestCpu::new(&config("qemu64,tsc-freq=2.5G"), &epyc).unwrap_err().to_string();
    assert!(refused.contains("2596150 kHz"), "{refused}");
    assert!(GuestCpu::new(&config("qemu64,tsc-freq=2596150000"), &epyc).is_ok());
}

#[test]
fn interrupt_controllers_outside_kvm_take_features_along() {
    let mut abilities = host(EPYC).abilities;
    let mut guest = |irqchip| {
        abilities.irqchip = irqchip;
        let epyc = host(EPYC);
        let rebuilt = HostCpu::new(epyc.native.clone(), epyc.offered.clone(), abilities, |_| 0);
        let guest = cpu("qemu64,+tsc-deadline,check=off", &rebuilt);
        (leaf(&guest, 1, 0).ecx >> 21 & 0b1001, leaf(&guest, 0x4000_0001, 0).eax)
    };
    // TSC deadline and x2APIC; then PV_EOI (6) and, with the I/O APIC outside, MSI_EXT_DEST_ID (15), which
    // is natoma's doing and not this host's KVM's.
    assert_eq!(guest(KernelIrqchip::On), (0b1001, 0x0100_007b));
    assert_eq!(guest(KernelIrqchip::Split), (0b1001, 0x0100_807b));
    assert_eq!(guest(KernelIrqchip::Off), (0, 0x0100_003b));
}

/// A host without hardware virtualisation (KVM of Linux 6.18 as "kvm-pvm", EPYC of the fourth generation): what it offers
/// and what KVM_GET_CPUID2 reads back after KVM_SET_CPUID2 of zeros and of ones.
fn transparent_host() -> HostCpu {
    let zeros = "00000001 0 00060fb1 05020800 76d81203 178bfbff
00000007 0 00000001 f1bf03ab 00005f46 00000010
00000007 1 00000020 00000000 00000000 00000000
0000000d 0 000000e7 00000240 00000980 00000000
0000000d 1 00000007 00000240 00000000 00000000
80000008 0 00003028 00000000 00000000 00000000";
    let ones = "00000001 0 00060fb1 05020800 f7ffffff 5f9fffff
00000006 0 ffffffff 00000000 00000000 00000000
00000007 0 00000001 f1bf03ab 00005f46 00000010
00000007 1 00000020 00000000 00000000 00000000
0000000d 0 000000e7 00000240 00000980 00000000
0000000d 1 00000007 00000240 00000000 00000000
80000001 0 00060fb1 00000000 ffffffff ffffffff
80000007 0 00000000 00000000 00000000 ffffffff
80000008 0 00003028 ffffffff 00000000 00000000
8000000a 0 00000000 00000000 00000000 ffffffff";
    let offered = "00000000 0 0000001c 68747541 444d4163 69746e65
00000001 0 00a10f11 01020800 81202000 078bfbff
00000006 0 00000004 00000000 00000000 00000000
00000007 0 00000001 01800002 00000104 20000000
0000000d 0 000000e7 00000980 00000980 00000000
40000001 0 01007efb 00000000 00000000 00000000
80000000 0 80000021 68747541 444d4163 69746e65
80000001 0 00a10f11 40000000 00400393 23d3fbff
80000007 0 00000000 00000000 00000000 00000100
80000008 0 00003030 50020005 00007001 00000000";
    let table = |text: &str| text.lines().map(row).collect::<Table>();
    let mut host = host(EPYC);
    host.abilities.is_suspect = true;
    let mut host = HostCpu::new(host.native, table(offered), host.abilities, |_| 0x4000_0000_0c00_0069);
    host.learn_overrides(&table(zeros), &table(ones));
    host
}

#[test]
fn what_a_host_cannot_hide_is_in_the_table() {
    let host = transparent_host();
    for name in ["qemu64", "486", "kvm64", "host", "max", "base", "Icelake-Server-v6", "EPYC-Milan"] {
        let guest = cpu(name, &host);
        let one = leaf(&guest, 1, 0);
        assert_eq!((one.ecx & 0x76d8_1203, one.edx & 0x178b_fbff), (0x76d8_1203, 0x178b_fbff), "{name}");
        assert_eq!(one.ebx >> 16 & 0xff, 1, "{name}: HT is there, so the number of CPUs counts");
        assert_eq!(leaf(&guest, 7, 0), Regs { eax: 1, ebx: 0xf1bf_03ab, ecx: 0x5f46, edx: 0x10 }, "{name}");
        // XSAVE can't be hidden, so a kernel has to find its leaf, with all components.
        assert!(leaf(&guest, 0, 0).eax >= 0xd, "{name}");
        assert_eq!(leaf(&guest, 0xd, 0), Regs { eax: 0xe7, ebx: 0x980, ecx: 0x980, edx: 0 }, "{name}");
        assert_eq!(leaf(&guest, 0xd, 1).eax, 7, "{name}");
        assert_eq!(leaf(&guest, 0xd, 7), Regs { eax: 0x400, ebx: 0x580, ecx: 0, edx: 0 }, "{name}");
    }
    // SSE3 is there, although KVM does not offer it.
    assert_eq!(cpu("qemu64", &host).warnings(), []);
    assert_eq!(
        cpu("qemu64,-avx", &host).warnings()[0].to_string(),
        "this host can't hide a feature: CPUID.01H:ECX.avx [bit 28]"
    );
    // Hypercalls hang and LZCNT goes wrong.
    let guest = cpu("host", &host);
    assert_eq!(leaf(&guest, 0x4000_0001, 0).eax, 0x0100_527b);
    assert_eq!(leaf(&guest, 0x8000_0001, 0).ecx & 1 << 5, 0);
    assert!(!guest.registers().iter().any(|register| register.index == 0x10a), "no ARCH_CAPABILITIES, no register");
}

#[test]
fn registers_say_what_the_model_has() {
    let everything = host(EVERYTHING);
    let value = |text: &str, index| {
        cpu(text, &everything)
            .registers()
            .iter()
            .find(|register| register.index == index)
            .map(|register| register.value)
    };
    // Captured from QEMU at KVM_SET_MSRS: microcode of an AMD and of another vendor, fast strings, no MWAIT.
    assert_eq!(value("qemu64", 0x8b), Some(0x0100_0065));
    assert_eq!(value("qemu64,vendor=GenuineIntel", 0x8b), Some(1 << 32));
    assert_eq!(value("qemu64,ucode-rev=0x1234", 0x8b), Some(0x1234));
    assert_eq!(value("qemu64", 0x1a0), Some(1));
    assert_eq!(value("qemu64,+monitor", 0x1a0), Some(1 | 1 << 18));
    assert_eq!(value("qemu64", 0x10a), None);
    // rdctl-no, skip-l1dfl-vmentry and mds-no are offered; ibrs-all is not.
    assert_eq!(value("Cascadelake-Server-v2", 0x10a), Some(0x29));
    assert_eq!(value("Cascadelake-Server-v2,-arch-capabilities", 0x10a), None);
}

#[test]
fn apic_ids_above_255_are_told_in_leaf_b() {
    let topology = topology("600,sockets=3,cores=100,threads=2");
    let leaves = cpu("EPYC", &host(EVERYTHING)).leaves(&topology, 599);
    let leaf = |number, subleaf| leaves.iter().find(|entry| (entry.0, entry.1) == (number, subleaf)).unwrap().2;
    // Socket 2, core 99, thread 1.
    let apic_id = 2 << 8 | 99 << 1 | 1;
    assert_eq!(leaf(0xb, 0), Regs { eax: 1, ebx: 2, ecx: 0x100, edx: apic_id });
    assert_eq!(leaf(0xb, 1), Regs { eax: 8, ebx: 200, ecx: 0x201, edx: apic_id });
    assert_eq!(leaf(0x8000_001e, 0).eax, apic_id);
    // What fits in 8 bits: the low part of the id, and 200 CPUs.
    assert_eq!(leaf(1, 0).ebx, (apic_id & 0xff) << 24 | 200 << 16 | 0x800);
}

proptest! {
    /// Whatever is asked for, there is an answer, and it makes sense.
    #[test]
    fn no_request_breaks_the_table(
        model in prop_oneof![
            Just("host".to_owned()),
            Just("base".to_owned()),
            proptest::sample::select(model_names()).prop_map(|(name, _)| name),
            "[ -~]{0,12}",
        ],
        properties in proptest::collection::vec(
            (
                prop_oneof![proptest::sample::select(property_names()).prop_map(str::to_owned), "\\PC{0,12}"],
                prop_oneof![
                    Just("on".to_owned()),
                    Just("off".to_owned()),
                    any::<u64>().prop_map(|value| value.to_string()),
                    (0u32..64).prop_map(|value| format!("{value:#x}")),
                    "[0-9]{0,25}[.]?[0-9]{0,25}[kMGT]?",
                    "\\PC{0,16}",
                ],
            )
                .prop_map(|(name, value)| CpuProperty { name, value }),
            0..8,
        ),
        (sockets, dies, cores, threads) in (1u32..9, 1u32..5, 1u32..17, 1u32..5),
        host in proptest::sample::select(vec![0, 1, 2]),
        seed in any::<u32>(),
    ) {
        let host = [host_everything, host_epyc, transparent_host][host]();
        let max_cpus = sockets * dies * cores * threads;
        let topology = Topology::new(&Smp { cpus: 1, max_cpus, sockets, dies, cores, threads }).unwrap();
        let config = CpuConfig { model, properties };
        let index = seed % max_cpus;
        if let Ok(guest) = GuestCpu::new(&config, &host) {
            prop_assert_eq!(check(&config), Ok(()));
            let leaves = guest.leaves(&topology, index);
            let keys: BTreeSet<(u32, u32)> = leaves.iter().map(|&(leaf, subleaf, _)| (leaf, subleaf)).collect();
            prop_assert_eq!(keys.len(), leaves.len());
            let level = leaves.iter().find(|entry| entry.0 == 0).map_or(0, |entry| entry.2.eax);
            prop_assert!(keys.iter().all(|&(leaf, _)| leaf <= level || leaf >= 0x4000_0000));
            prop_assert_eq!(guest.cpuid(&topology, index).as_slice().len(), leaves.len());
        }
    }
}

fn host_everything() -> HostCpu {
    host(EVERYTHING)
}

fn host_epyc() -> HostCpu {
    host(EPYC)
}

/// A virtual CPU with local APIC on this machine's KVM; `None`, said loudly, without `/dev/kvm`.
fn vcpu() -> Option<(kvm_ioctls::Kvm, HostCpu, kvm_ioctls::VcpuFd)> {
    if !std::path::Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: no /dev/kvm");
        return None;
    }
    let kvm = crate::kvm::open::open().unwrap();
    let quirks = crate::kvm::quirks::HostQuirks::detect(&kvm).unwrap();
    let mut host = HostCpu::detect(&kvm, Native::default(), KernelIrqchip::On, &quirks).unwrap();
    let vm = crate::kvm::vm::create(&kvm, &quirks).unwrap();
    crate::kvm::vm::add_chips(&vm, false).unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    host.examine(&vcpu).unwrap();
    Some((kvm, host, vcpu))
}

#[test]
fn kvm_takes_every_model_and_shows_it_unchanged() {
    let Some((_, host, vcpu)) = vcpu() else { return };
    // Bits that follow the state of the virtual CPU: OSXSAVE, the APIC's enable bit, OSPKE; the size for XCR0.
    let dynamic = |leaf: u32, subleaf: u32| match (leaf, subleaf) {
        (1, _) => Regs { ecx: 1 << 27, edx: 1 << 9, ..Regs::default() },
        (7, 0) => Regs { ecx: 1 << 4, ..Regs::default() },
        (0xd, 0 | 1) => Regs { ebx: u32::MAX, ..Regs::default() },
        _ => Regs::default(),
    };
    for (name, _) in model_names() {
        let guest = cpu(&name, &host);
        guest.set_up(&vcpu, &only_cpu(), 0).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let seen = Table::from(&vcpu.get_cpuid2(kvm_bindings::KVM_MAX_CPUID_ENTRIES).unwrap());
        for (leaf, subleaf, regs) in guest.leaves(&only_cpu(), 0) {
            let masked = |regs: Regs| {
                let pairs = regs.to_array().into_iter().zip(dynamic(leaf, subleaf).to_array());
                pairs.map(|(value, dynamic)| value & !dynamic).collect::<Vec<_>>()
            };
            assert_eq!(masked(seen.get(leaf, subleaf)), masked(regs), "{name}: leaf {leaf:x} {subleaf}");
        }
    }
}

#[test]
fn the_host_model_works_and_needs_no_warning() {
    let Some((_, host, _)) = vcpu() else { return };
    let guest = cpu("host", &host);
    assert_eq!(guest.warnings(), []);
    let native = |leaf| std::arch::x86_64::__cpuid(leaf);
    assert_eq!(guest.signature(), native(1).eax);
    assert_eq!(leaf(&guest, 0, 0).ebx, native(0).ebx);
    assert_eq!(leaf(&guest, 0x8000_0002, 0).eax, native(0x8000_0002).eax);
    // Every feature is one that the host has, except what KVM emulates: x2APIC, TSC deadline, hypervisor.
    let extra = 1 << 21 | 1 << 24 | 1 << 31;
    assert_eq!(leaf(&guest, 1, 0).ecx & !native(1).ecx & !extra, 0);
}

#[test]
fn machine_checks_are_those_of_qemu() {
    let Some((kvm, host, vcpu)) = vcpu() else { return };
    if kvm.check_extension_int(kvm_ioctls::Cap::Mce) == 0 {
        eprintln!("SKIPPED: KVM without machine checks");
        return;
    }
    let read = |index| {
        let entry = kvm_bindings::kvm_msr_entry { index, ..Default::default() };
        let mut msrs = kvm_bindings::Msrs::from_entries(&[entry]).unwrap();
        assert_eq!(vcpu.get_msrs(&mut msrs).unwrap(), 1);
        msrs.as_slice()[0].data
    };
    cpu("qemu64", &host).set_up(&vcpu, &only_cpu(), 0).unwrap();
    // Ten banks, MCG_CTL, software recovery (LMCE and others aside).
    assert_eq!(read(0x179), 0x0100_010a);
    assert_eq!(read(0x17b), u64::MAX);
    assert_eq!(read(0x1a0), 1);
}
