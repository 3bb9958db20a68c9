//! PCI slots as a user of the command line and a driver see them.

use std::fs;

use crate::machine::lifecycle::{ExitStatus, Status};
use crate::machine::testing::Scratch;
use crate::monitor::qtest::IrqChange;
use crate::qtest::QtestMachine;

fn machine(options: &str) -> anyhow::Result<QtestMachine> {
    let always = ["-accel", "qtest", "-nodefaults"];
    QtestMachine::new(always.into_iter().chain(options.split_whitespace()))
}

fn refusal(options: &str) -> String {
    format!("{:#}", machine(options).err().expect("the machine is refused"))
}

/// Selects a configuration register: bus, slot, function, register.
fn select(machine: &mut QtestMachine, bus: u32, slot: u32, function: u32, register: u32) {
    machine.outl(0xcf8, 0x8000_0000 | bus << 16 | slot << 11 | function << 8 | register);
}

fn id(machine: &mut QtestMachine, bus: u32, slot: u32, function: u32) -> u32 {
    select(machine, bus, slot, function, 0);
    machine.inl(0xcfc)
}

const SERIAL: u32 = 0x0002_1b36;
const BRIDGE: u32 = 0x0001_1b36;

#[test]
fn the_33rd_device_is_refused_with_the_list_of_who_sits_where() {
    let card = "-device pci-serial ";
    let mut full = machine(&card.repeat(30)).unwrap();
    assert_eq!(id(&mut full, 0, 31, 0), SERIAL);
    let refused = refusal(&(card.repeat(30) + "-device pci-serial,id=late"));
    let start = "-device pci-serial,id=late: all 32 slots of PCI bus pci.0 are in use: 00.0 i440FX, 01.0 PIIX3";
    assert!(refused.starts_with(start), "{refused}");
    assert!(refused.contains("1f.0 pci-serial"), "{refused}");
}

#[test]
fn slots_are_filled_from_below_around_those_that_are_taken() {
    let mut machine = machine("-device pci-serial,addr=3 -device pci-serial -device pci-serial-4x").unwrap();
    let ids: Vec<_> = (2..6).map(|slot| id(&mut machine, 0, slot, 0)).collect();
    assert_eq!(ids, [SERIAL, SERIAL, 0x0004_1b36, u32::MAX]);
    let refused = refusal("-device pci-serial,id=a -device pci-serial,id=b,addr=2");
    assert_eq!(refused, "-device pci-serial,id=b: PCI address 02.0 is already used by pci-serial,id=a");
}

#[test]
fn multifunction_puts_eight_in_a_slot() {
    let functions: String =
        (0..8).map(|function| format!("-device pci-serial,addr=5.{function},multifunction=on ")).collect();
    let mut machine = machine(&functions).unwrap();
    assert!((0..8).all(|function| id(&mut machine, 0, 5, function) == SERIAL));
    select(&mut machine, 0, 5, 0, 0x0c);
    assert_eq!(machine.inl(0xcfc), 0x0080_0000);
    let refused = refusal("-device pci-serial,addr=5 -device pci-serial,addr=5.1");
    assert!(refused.contains("single function device can't be populated in function 05.1"), "{refused}");
    let refused = refusal("-device pci-serial,addr=5.3 -device pci-serial,addr=5");
    assert!(refused.contains("05.0 indicates single function, but 05.3 is already populated"), "{refused}");
}

#[test]
fn more_fit_behind_bridges() {
    let cards = "-device pci-serial,bus=b ".repeat(32);
    let bridges =
        "-device pci-bridge,chassis_nr=1,id=b,shpc=off -device pci-bridge,chassis_nr=2,bus=b,addr=1f,shpc=off ";
    let refused = refusal(&format!("{bridges}{cards}"));
    assert!(
        refused.starts_with("-device pci-serial: all 32 slots of PCI bus b are in use: 00.0 pci-serial"),
        "{refused}"
    );

    let cards = "-device pci-serial,bus=b ".repeat(31);
    let mut machine =
        machine(&format!("{bridges}{cards} -device pci-serial,bus=pci.1,addr=4,chardev=c -chardev null,id=c")).unwrap();
    assert_eq!((id(&mut machine, 0, 2, 0), id(&mut machine, 1, 0, 0)), (BRIDGE, u32::MAX));
    select(&mut machine, 0, 2, 0, 0x18);
    machine.outl(0xcfc, 0x0002_0100);
    assert_eq!(
        (id(&mut machine, 1, 0, 0), id(&mut machine, 1, 0x1e, 0), id(&mut machine, 1, 0x1f, 0)),
        (SERIAL, SERIAL, BRIDGE)
    );
    select(&mut machine, 1, 0x1f, 0, 0x18);
    machine.outl(0xcfc, 0x0002_0201);
    assert_eq!(id(&mut machine, 2, 4, 0), SERIAL);
    // The UART behind both bridges sends.
    for (bus, slot) in [(0, 2), (1, 0x1f)] {
        select(&mut machine, bus, slot, 0, 0x1c);
        machine.outw(0xcfc, 0xd0d0);
        select(&mut machine, bus, slot, 0, 0x04);
        machine.outw(0xcfc, 1);
    }
    select(&mut machine, 2, 4, 0, 0x10);
    machine.outl(0xcfc, 0xd000);
    select(&mut machine, 2, 4, 0, 0x04);
    assert_eq!(machine.inb(0xd005), 0xff);
    machine.outw(0xcfc, 1);
    assert_eq!(machine.inb(0xd005), 0x60);
    machine.outb(0xd000, b'!');
    assert_eq!(machine.take_output("c"), b"!");
    // After a reset nothing decodes, and the buses have no numbers.
    machine.system_reset();
    assert_eq!((machine.inb(0xd005), id(&mut machine, 1, 0, 0)), (0xff, u32::MAX));
}

#[test]
fn an_expansion_rom_comes_from_its_file() {
    let scratch = Scratch::new("option-rom");
    let file = scratch.path("rom");
    fs::write(&file, b"\x55\xaa\x01natoma").unwrap();
    let mut rig = machine(&format!("-device pci-serial,romfile={}", file.display())).unwrap();
    select(&mut rig, 0, 2, 0, 0x30);
    rig.outl(0xcfc, 0xfeb0_0001);
    select(&mut rig, 0, 2, 0, 0x04);
    rig.outw(0xcfc, 2);
    let mut contents = [0; 9];
    rig.read_memory(0xfeb0_0000, &mut contents);
    assert_eq!(&contents, b"\x55\xaa\x01natoma");

    // romsize: the BAR's size, whatever the file's is. The register shows it with ones written (PCI 2.1, 6.2.5.2).
    let sized = |size: u32| format!("-device pci-serial,romfile={},romsize={size}", file.display());
    let mut rig = machine(&sized(0x2000)).unwrap();
    select(&mut rig, 0, 2, 0, 0x30);
    rig.outl(0xcfc, 0xffff_fffe);
    assert_eq!(rig.inl(0xcfc), 0xffff_e000);
    let refused = refusal(&sized(8));
    assert!(refused.contains("has 9 bytes, more than romsize=8"), "{refused}");
    let refused = refusal(&sized(32 << 20));
    assert!(refused.contains("romsize=33554432: a PCI ROM has at most 16 MiB"), "{refused}");

    fs::write(&file, b"").unwrap();
    let refused = refusal(&format!("-device pci-serial,romfile={}", file.display()));
    assert!(refused.contains("is empty, or larger than 16 MiB"), "{refused}");
    let refused = refusal("-device pci-serial,romfile=/no/such/file");
    assert!(refused.contains("there is no file \"/no/such/file\""), "{refused}");
}

#[test]
fn without_a_window_for_it_firmware_gets_the_rom() {
    let scratch = Scratch::new("option-rom-file");
    let file = scratch.path("card.rom");
    fs::write(&file, b"\x55\xaa\x01natoma").unwrap();
    let options = format!("-device pci-serial,rombar=0,romfile={}", file.display());
    let mut rig = machine(&options).unwrap();
    select(&mut rig, 0, 2, 0, 0x30);
    rig.outl(0xcfc, 0xffff_ffff);
    assert_eq!(rig.inl(0xcfc), 0, "no register for it");
    assert_eq!(fw_cfg_file(&mut rig, "genroms/card.rom").unwrap(), b"\x55\xaa\x01natoma");
    // Two files of one name: firmware would run one of them only.
    let refused = refusal(&format!("{options} {options}"));
    assert!(refused.contains("rombar=0: the firmware has a file \"genroms/card.rom\" already"), "{refused}");
}

/// Reads a file as firmware does: by the directory.
fn fw_cfg_file(machine: &mut QtestMachine, wanted: &str) -> Option<Vec<u8>> {
    let read = |machine: &mut QtestMachine, len: usize| -> Vec<u8> { (0..len).map(|_| machine.inb(0x511)).collect() };
    machine.outw(0x510, 0x19);
    let count = read(machine, 4);
    for _ in 0..u32::from_be_bytes(count.try_into().unwrap()) {
        let entry = read(machine, 64);
        let name = entry[8..].split(|byte| *byte == 0).next().unwrap();
        if name == wanted.as_bytes() {
            let [len, selector] = [entry[..4].to_vec(), [&[0; 2], &entry[4..6]].concat()]
                .map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
            machine.outw(0x510, selector as u16);
            return Some(read(machine, len as usize));
        }
    }
    None
}

#[test]
fn where_no_option_rom_is_zeros_are_read() {
    let mut machine = machine("").unwrap();
    let mut bytes = [0xff; 4];
    for address in [0xc_0000, 0xd_fffc] {
        machine.read_memory(address, &mut bytes);
        assert_eq!(bytes, [0; 4], "{address:#x}");
        machine.write_memory(address, &[1]);
        machine.read_memory(address, &mut bytes);
        assert_eq!(bytes, [0; 4], "{address:#x}");
    }
}

/// The hot-plug controller of a bridge in slot 2, at FEBF0000h, by MSI to RAM at 4000h. In slot 3 of bus 1 sits a card.
#[test]
fn a_slot_without_power_cuts_its_card_off() {
    let cards = "-device pci-bridge,chassis_nr=1,id=b -device pci-serial,bus=b,addr=3";
    let mut machine = machine(cards).unwrap();
    let write = |machine: &mut QtestMachine, register: u32, value: u32| {
        select(machine, 0, 2, 0, register);
        machine.outl(0xcfc, value);
    };
    for (register, value) in [
        (0x10, 0xfebf_0000),
        (0x18, 0x0001_0100),
        (0x1c, 0xd0d0),
        (0x50, 0x4000),
        (0x58, 0x1234),
        (0x4c, 0x0001_0000),
        (0x04, 7),
    ] {
        write(&mut machine, register, value);
    }
    select(&mut machine, 1, 3, 0, 0x10);
    machine.outl(0xcfc, 0xd000);
    select(&mut machine, 1, 3, 0, 0x04);
    machine.outw(0xcfc, 1);
    assert_eq!((id(&mut machine, 1, 3, 0), machine.inb(0xd005)), (SERIAL, 0x60));
    let long = |machine: &mut QtestMachine, address: u64| {
        let mut bytes = [0; 4];
        machine.read_memory(address, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    // Slot 3 is enabled, its power indicator is on; slot 4 is empty.
    assert_eq!(long(&mut machine, 0xfebf_002c), 0x7f00_0006);
    assert_eq!(long(&mut machine, 0xfebf_0030), 0x7f00_0d0f);

    // Interrupts of completed commands, then: disable slot 3, power indicator off.
    machine.write_memory(0xfebf_0020, &0xa_u32.to_le_bytes());
    machine.write_memory(0xfebf_0014, &0x030f_u16.to_le_bytes());
    assert_eq!(long(&mut machine, 0x4000), 0x1234, "a message, to RAM");
    assert_eq!(long(&mut machine, 0xfebf_0018), 1);
    assert_eq!((id(&mut machine, 1, 3, 0), machine.inb(0xd005)), (u32::MAX, 0xff));
    assert_eq!(long(&mut machine, 0xfebf_002c), 0x7f00_000f);

    // By the registers in configuration space: enable it, power indicator on. The card is as new.
    write(&mut machine, 0x40, 0x0005_0000);
    write(&mut machine, 0x44, 0x0306);
    assert_eq!((id(&mut machine, 1, 3, 0), machine.inb(0xd005)), (SERIAL, 0xff));
    select(&mut machine, 1, 3, 0, 0x10);
    assert_eq!(machine.inl(0xcfc), 1);
}

/// A watchdog in slot 2 at FEBF0000h that runs out after two periods of the shortest length, and fires.
fn fire_i6300esb(machine: &mut QtestMachine) {
    select(machine, 0, 2, 0, 0x10);
    machine.outl(0xcfc, 0xfebf_0000);
    select(machine, 0, 2, 0, 0x04);
    machine.outw(0xcfc, 2);
    for register in [0_u64, 4] {
        for key in [0x80_u16, 0x86] {
            machine.write_memory(0xfebf_000c, &key.to_le_bytes());
        }
        machine.write_memory(0xfebf_0000 + register, &1_u32.to_le_bytes());
    }
    select(machine, 0, 2, 0, 0x68);
    machine.outb(0xcfc, 2);
    machine.clock_step(10_000_000).unwrap();
}

#[test]
fn a_watchdog_that_fires_does_what_the_user_asked_for() {
    let scratch = 0x70;
    for (action, ended, status) in [
        ("reset", None, Status::Running),
        ("shutdown", None, Status::Running),
        ("poweroff", Some(ExitStatus::SUCCESS), Status::Running),
        ("inject-nmi", None, Status::Running),
        ("pause", None, Status::Watchdog),
        ("debug", None, Status::Running),
        ("none", None, Status::Running),
    ] {
        let mut machine = machine(&format!("-device i6300esb -action watchdog={action}")).unwrap();
        let started = machine.status();
        // The divisor of COM1 would do as well: any register that a reset clears.
        select(&mut machine, 0, 1, 0, scratch);
        machine.outb(0xcfc, 0x55);
        fire_i6300esb(&mut machine);
        assert_eq!(machine.ended(), ended, "{action}");
        assert_eq!(machine.status(), if status == Status::Running { started } else { status }, "{action}");
        select(&mut machine, 0, 1, 0, scratch);
        assert_eq!(machine.inb(0xcfc) == 0x55, action != "reset", "{action}");
    }
    let mut machine = machine("-device i6300esb -no-reboot").unwrap();
    fire_i6300esb(&mut machine);
    assert_eq!(machine.ended(), Some(ExitStatus::SUCCESS), "a reset by a watchdog is a reset");
}

#[test]
fn the_ib700_fires_after_the_chosen_time() {
    let mut machine = machine("-device ib700 -watchdog-action poweroff").unwrap();
    machine.outb(0x443, 10);
    machine.clock_step(9_999_999_999).unwrap();
    assert_eq!(machine.ended(), None);
    machine.clock_step(1).unwrap();
    assert_eq!(machine.ended(), Some(ExitStatus::SUCCESS));
}

#[test]
fn a_panic_does_what_the_user_asked_for() {
    for (action, ended, status) in [
        ("shutdown", Some(ExitStatus::SUCCESS), None),
        ("exit-failure", Some(ExitStatus::FAILURE), None),
        ("pause", None, Some(Status::GuestPanicked)),
        ("none", None, None),
    ] {
        let mut rig = machine(&format!("-device pvpanic -action panic={action}")).unwrap();
        let started = rig.status();
        assert_eq!(rig.inb(0x505), 3);
        rig.outb(0x505, 2);
        assert_eq!((rig.ended(), rig.status()), (None, started), "a crash kernel goes on");
        rig.outb(0x505, 1);
        assert_eq!((rig.ended(), rig.status()), (ended, status.unwrap_or(started)), "{action}");
    }
    let mut rig = machine("-device pvpanic-pci,events=1 -action panic=exit-failure").unwrap();
    select(&mut rig, 0, 2, 0, 0x10);
    rig.outl(0xcfc, 0xfebf_0000);
    select(&mut rig, 0, 2, 0, 0x04);
    rig.outw(0xcfc, 2);
    let mut events = [0];
    rig.read_memory(0xfebf_0000, &mut events);
    assert_eq!(events, [1]);
    rig.write_memory(0xfebf_0000, &[1]);
    assert_eq!(rig.ended(), Some(ExitStatus::FAILURE));
}

#[test]
fn firmware_is_told_the_port_of_the_first_panic_device() {
    let mut machine = machine("-device pvpanic,ioport=0x600 -device pvpanic").unwrap();
    assert_eq!((machine.inb(0x600), machine.inb(0x505)), (3, 3));
    // The directory of fw_cfg: a count, then entries of 64 bytes, all big endian.
    machine.outw(0x510, 0x19);
    let count = u32::from_be_bytes(std::array::from_fn(|_| machine.inb(0x511)));
    let entries: Vec<[u8; 64]> = (0..count).map(|_| std::array::from_fn(|_| machine.inb(0x511))).collect();
    let entry = entries.iter().find(|entry| entry[8..].starts_with(b"etc/pvpanic-port\0")).unwrap();
    assert_eq!(entry[..4], [0, 0, 0, 2]);
    machine.outw(0x510, u16::from_be_bytes([entry[4], entry[5]]));
    assert_eq!([machine.inb(0x511), machine.inb(0x511)], [0x00, 0x06]);
}

#[test]
fn kvm_unit_tests_drive_interrupts() {
    let mut machine = machine("-device pc-testdev").unwrap();
    machine.intercept("ioapic").unwrap();
    machine.outb(0x2000 + 5, 1);
    machine.outb(0x2000 + 5, 0);
    assert_eq!(machine.take_interrupts(), [IrqChange { pin: 5, level: true }, IrqChange { pin: 5, level: false }]);
    machine.outl(0xe0, 0x1234_5678);
    assert_eq!(machine.inb(0xe9), 0x56);
    machine.write_memory(0xff00_0010, b"natoma");
    let mut read = [0; 6];
    machine.read_memory(0xff00_0010, &mut read);
    assert_eq!(&read, b"natoma");
}
