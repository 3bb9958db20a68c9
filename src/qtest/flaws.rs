//! Publicly known flaws of other models of these devices, tried on the whole board. Those that are tried on a device alone are
//! beside the device; `docs/security.md` lists all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devices::base::{State, StateError, lock};
use devices::input::KeyCode;
use serde_json::json;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::QtestMachine;
use crate::boot::e820::{E820Entry, E820Kind};
use crate::boot::{DirectBoot, Image, Platform};

fn machine(options: &[&str]) -> QtestMachine {
    QtestMachine::new(["-nodefaults", "-m", "16"].iter().chain(options)).unwrap()
}

fn load(pc: &QtestMachine, name: &str, state: &State) -> Result<(), StateError> {
    let (_, device) = pc.board().devices().iter().find(|(other, _)| other == name).unwrap();
    lock(device).load(state)
}

/// A tampered state with a value too large where the model used it as an index.
fn check_refused(pc: &QtestMachine, name: &str, changes: &[(&str, serde_json::Value)]) {
    let saved = pc.save(name).unwrap();
    for (path, value) in changes {
        let mut bad = saved.clone();
        *bad.data.pointer_mut(path).unwrap_or_else(|| panic!("{name} has no {path}: {saved:?}")) = value.clone();
        assert!(load(pc, name, &bad).is_err(), "{name}: {path} = {value}");
        assert_eq!(pc.save(name).unwrap(), saved);
    }
}

/// The number of timers in a saved state was used without a check.
#[test]
fn cve_2013_4527_hpet_state_with_too_many_timers() {
    let pc = machine(&[]);
    let timer = pc.save("hpet").unwrap().data["timers"][0].clone();
    check_refused(&pc, "hpet", &[("/timers", json!(vec![timer; 33])), ("/timers", json!([]))]);
}

/// The read position and length of the queue in a saved state were used without a check.
#[test]
fn cve_2017_16845_ps2_state_with_a_queue_that_is_too_long() {
    let mut pc = machine(&[]);
    pc.outb(0x64, 0xd2);
    pc.outb(0x60, 0x55);
    let (bytes, replies) = (json!(vec![0x1c; 5000]), json!(vec![(0x1c, "Keyboard"); 5000]));
    check_refused(
        &pc,
        "i8042",
        &[
            ("/keyboard/output/data", bytes.clone()),
            ("/keyboard/output/replies", bytes.clone()),
            ("/mouse/output/data", bytes.clone()),
            ("/mouse/output/replies", bytes),
            ("/replies", replies),
        ],
    );
}

/// A divisor of zero, or one larger than the base rate, divided by zero.
#[test]
fn cve_2016_8669_uart_with_any_divisor() {
    let mut pc = machine(&["-serial", "null"]);
    for divisor in [0_u16, 1, 0x00ff, 0x8000, 0xffff] {
        let [low, high] = divisor.to_le_bytes();
        for (port, value) in [(0x3fb, 0x80), (0x3f8, low), (0x3f9, high), (0x3fb, 0x03), (0x3fa, 0x01), (0x3f8, b'x')] {
            pc.outb(port, value);
        }
        pc.clock_step(10_000_000_000).unwrap();
        assert_eq!(pc.take_output("serial0"), b"x", "divisor {divisor:#x}");
        assert_eq!(pc.inb(0x3fd) & 0x60, 0x60, "the transmitter is empty again");
    }
}

/// A serial port (CVE-2017-5579) and a watchdog (CVE-2016-10155) left memory behind when they went.
#[test]
fn cve_2017_5579_and_cve_2016_10155_devices_go_with_their_machine() {
    let options =
        ["-serial", "null", "-device", "i6300esb", "-chardev", "null,id=c", "-device", "pci-serial,chardev=c"];
    let mut pc = machine(&options);
    pc.outb(0x3f8, b'x');
    let devices: Vec<_> =
        pc.board().devices().iter().map(|(name, device)| (name.clone(), Arc::downgrade(device))).collect();
    drop(pc);
    for (name, device) in devices {
        assert!(device.upgrade().is_none(), "{name} is still there");
    }
}

/// The interrupt of a function that was on no bus was traced to its bus by way of a null pointer.
#[test]
fn cve_2020_25742_interrupts_of_a_card_that_is_cut_off() {
    const IRQ: u32 = 11;
    /// The bridge's hot-plug controller in configuration space: which of its registers the next one shows.
    const SELECT: u32 = 0x40;
    const DATA: u32 = 0x44;
    const COMMAND_REGISTER: u32 = 5;
    fn configure(pc: &mut QtestMachine, bus: u32, slot: u32, register: u32, value: u32) {
        pc.outl(0xcf8, 0x8000_0000 | bus << 16 | slot << 11 | register);
        pc.outl(0xcfc, value);
    }
    let mut pc = machine(&[
        "-device",
        "pci-bridge,id=b,chassis_nr=1,addr=5",
        "-chardev",
        "null,id=c",
        "-device",
        "pci-serial,bus=b,addr=4,chardev=c",
    ]);
    // All INTx lead to one interrupt; the bridge passes bus 1 and ports D000h to DFFFh on; the card has ports there.
    for (bus, slot, register, value) in
        [(0, 1, 0x60, IRQ * 0x0101_0101), (0, 5, 0x18, 0x0001_0100), (0, 5, 0x1c, 0xd0d0), (0, 5, 0x04, 0x07)]
    {
        configure(&mut pc, bus, slot, register, value);
    }
    configure(&mut pc, 1, 4, 0x10, 0xd000);
    configure(&mut pc, 1, 4, 0x04, 0x01);
    pc.intercept("ioapic").unwrap();
    let changes = |pc: &mut QtestMachine| -> Vec<_> {
        let changes = pc.take_interrupts().into_iter();
        changes.filter(|change| change.pin == IRQ).map(|change| change.level).collect()
    };
    // The UART's transmitter is empty, and interrupts.
    pc.outb(0xd001, 0x02);
    assert_eq!(changes(&mut pc), [true]);
    // Slot 4 is disabled.
    configure(&mut pc, 0, 5, SELECT, COMMAND_REGISTER << 16);
    configure(&mut pc, 0, 5, DATA, 0x043f);
    assert_eq!(changes(&mut pc), [false]);
    assert_eq!(pc.inb(0xd001), 0xff, "the card is off the bus");
    // Its character device goes on.
    pc.send("c", b"input");
    pc.clock_step(1_000_000_000).unwrap();
    pc.system_reset();
    assert_eq!(changes(&mut pc), [false; 0]);
}

/// A read of the control port, which has no counter behind it, went past the array of counters; so did a wide read in KVM
/// (CVE-2010-0309).
#[test]
fn cve_2015_3214_pit_reads_of_the_control_port() {
    let mut pc = machine(&[]);
    for command in 0..=0xff {
        pc.outb(0x43, command);
        for port in 0x40..0x44 {
            let _ = (pc.inb(port), pc.inw(port), pc.inl(port));
        }
        pc.outl(0x40, u32::MAX);
    }
}

/// A bus number one past the last one was accepted as an index.
#[test]
fn cve_2014_5388_pci_hotplug_of_buses_that_are_not_there() {
    let mut pc = machine(&[]);
    for bus in [1, 31, 32, 255, 256, 0x7fff_ffff, u32::MAX] {
        pc.outl(0xae10, bus);
        for port in (0xae00..0xae18).step_by(4) {
            let _ = pc.inl(port);
        }
        pc.outl(0xae08, u32::MAX);
        pc.outl(0xae14, u32::MAX);
    }
}

/// The number of a slot was asked for on a bus that is not there, by way of a null pointer.
#[test]
fn cve_2021_4158_slot_numbers_of_buses_that_are_not_there() {
    let mut pc = machine(&[]);
    for bus in [1, 31, 255, 256, 0x7fff_ffff, u32::MAX] {
        pc.outl(0xae10, bus);
        for slot in 0..32 {
            pc.outl(0xae14, 1 << slot);
            assert_eq!(pc.inl(0xae14), 0, "slot {slot} of bus {bus:#x}");
        }
    }
}

/// General purpose events of a saved state were read into an array that was too short for them.
#[test]
fn cve_2015_8666_saved_events_of_any_size() {
    let pc = machine(&[]);
    let changes = ["/gpe_status", "/gpe_enable"].map(|path| [(path, json!(vec![0; 64])), (path, json!(0x1_0000))]);
    check_refused(&pc, "PIIX4_PM", changes.as_flattened());
}

/// An access near the end of configuration space read what lies behind it.
#[test]
fn cve_2020_13791_the_end_of_configuration_space() {
    let mut pc = machine(&["-device", "pci-bridge,chassis_nr=1", "-device", "pci-testdev"]);
    for function in [0, 1 << 11, 1 << 11 | 1 << 8, 1 << 11 | 3 << 8, 2 << 11, 3 << 11] {
        let address = 1 << 31 | function;
        pc.outl(0xcf8, address);
        let ids = pc.inl(0xcfc);
        for register in [0xfc, 0xff] {
            pc.outl(0xcf8, address | register);
            for port in 0xcfc..=0xcff {
                // What is behind the window reads as ones.
                let beyond = u32::MAX.checked_shl(8 * (0xd00 - u32::from(port))).unwrap_or(0);
                assert_eq!(pc.inl(port), beyond, "register {register:#x} by port {port:#x}");
                pc.outl(port, u32::MAX);
                pc.outw(port, u16::MAX);
                pc.outl(0xcfc, 0);
            }
        }
        pc.outl(0xcf8, address);
        assert_eq!(pc.inl(0xcfc), ids, "the access does not begin anew");
    }
}

/// A port that needs to know which processor accesses it was accessed by the monitor, which is none.
#[test]
fn cve_2016_1922_ports_of_processors_without_a_processor() {
    let mut pc = machine(&[]);
    for port in [0x7e, 0x5658, 0x5659] {
        pc.outl(port, 0x564d_5868);
        pc.outw(port, 0xffff);
        pc.outb(port, 0x00);
        assert_eq!((pc.inl(port), pc.inw(port), pc.inb(port)), (u32::MAX, u16::MAX, u8::MAX), "port {port:#x}");
    }
}

/// Keys that came quicker than the guest took them were kept without bound.
#[test]
fn cve_2017_8379_keys_that_the_guest_does_not_take() {
    let mut pc = machine(&[]);
    let typist = pc.board().typist().unwrap();
    let mut typist = lock(&typist);
    for _ in 0..100_000 {
        typist.stroke(KeyCode::Pause, true);
    }
    let kept = pc.save("i8042").unwrap().data.to_string().len();
    assert!(kept < 10_000, "{kept} bytes of state");
    let taken = (0..100_000).take_while(|_| typist.type_together(&[KeyCode::A; 16], Duration::from_secs(1)).is_ok());
    assert!(taken.count() <= 1024);
    // The buffer of a keyboard has 16 bytes, the last of which says that there were more.
    drop(typist);
    let codes: Vec<_> = (0..32).map(|_| pc.inb(0x60)).collect();
    assert!(codes[16..].iter().all(|code| *code == codes[16]), "{codes:x?}");
}

/// The guest could eject devices that can't go, and timers of the ISA bridge's devices were used after it was freed.
#[test]
fn cve_2011_1751_the_isa_bridge_stays() {
    let mut pc = machine(&[]);
    for slot in 0..32 {
        pc.outl(0xae10, 0);
        pc.outl(0xae08, 1 << slot);
    }
    pc.clock_step(2_000_000_000).unwrap();
    for (function, ids) in [(0, 0x1237_8086), (1 << 11, 0x7000_8086), (1 << 11 | 3 << 8, 0x7113_8086)] {
        pc.outl(0xcf8, 1 << 31 | function);
        assert_eq!(pc.inl(0xcfc), ids);
    }
    pc.outb(0x70, 0x0d);
    assert_eq!(pc.inb(0x71), 0x80, "the clock is there");
}

/// A multiboot header with addresses: load address, end of the file's part, end of everything.
fn multiboot(load: u32, load_end: u32, bss_end: u32) -> Vec<u8> {
    const FLAGS: u32 = 1 << 16;
    const MAGIC: u32 = 0x1bad_b002;
    let header = [MAGIC, FLAGS, MAGIC.wrapping_add(FLAGS).wrapping_neg(), load, load, load_end, bss_end, load];
    let mut image: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.resize(0x400, 0x90);
    image
}

/// Sizes computed from the addresses in the header wrapped around (CVE-2017-14167), or were larger than what was allocated
/// for the file (CVE-2018-7550).
#[test]
fn cve_2017_14167_and_cve_2018_7550_multiboot_addresses() {
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
    let e820 = [E820Entry::new(0, 0x9_fc00, E820Kind::Ram), E820Entry::new(1 << 20, 3 << 20, E820Kind::Ram)];
    let platform = Platform { e820: &e820, reserved: &[], rsdp: None, rng_seed: None, ram_is_clear: true };
    let start = |load, load_end, bss_end| -> bool {
        DirectBoot::new(Image::from_bytes("kernel", multiboot(load, load_end, bss_end)), b"")
            .and_then(|mut kernel| kernel.load(&ram, &platform))
            .is_ok()
    };
    assert!(start(0x10_0000, 0x10_0400, 0x10_0800), "a good one");
    for (load, load_end, bss_end) in [
        (0x10_0000, 0x0f_0000, 0x10_0800),
        (0x10_0000, 0x10_0400, 0x10_0200),
        (0x10_0000, 0xffff_ffff, 0),
        (0x10_0000, 0x10_0400, 0xffff_ffff),
        (0xffff_ff00, 0x0000_0100, 0x0000_0200),
        (0xffff_0000, 0xffff_0400, 0xffff_0800),
        (0x10_0000, 0x20_0000, 0x30_0000),
    ] {
        assert!(!start(load, load_end, bss_end), "{load:#x} {load_end:#x} {bss_end:#x}");
    }
}

/// The names of the tests for known flaws below a directory.
fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn cve_")?.split('(').next());
            found.extend(names.map(|name| format!("cve_{name}")));
        }
    }
}

#[test]
fn all_tests_of_known_flaws_are_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    tests_below(&root.join("src"), &mut tests);
    tests_below(&root.join("devices/src"), &mut tests);
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let listed: BTreeSet<_> = page.split('`').filter(|name| name.starts_with("cve_")).map(str::to_owned).collect();
    assert_eq!(listed, tests, "docs/security.md, and the tests that there are");
}
