//! The script for firmware, executed by an interpreter that knows nothing of what wrote it.

use std::sync::Arc;

use devices::base::{
    AccessRule, Bus, BusMaster, Device, Dma, IoDevice, IrqLine, Priority, Region, ResetKind, Space, SystemControl,
    SystemRequest, shared,
};
use devices::chipset::piix4_pm::PM_BLOCK;
use devices::chipset::port92::Port92;
use devices::firmware::FwCfg;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::machine::acpi::loader::{LOADER_FILE, RSDP_FILE, TABLES_FILE, script};

/// Firmware, as SeaBIOS and OVMF understand the script: what is at the places it chooses.
#[derive(Default)]
struct Firmware {
    /// Files by name: address, alignment and contents.
    placed: BTreeMap<String, (u32, Vec<u8>)>,
    zones: BTreeMap<String, u8>,
}

impl Firmware {
    /// Executes `script` over `files`, which it may place anywhere.
    fn execute(script: &[u8], files: &BTreeMap<&str, Vec<u8>>) -> Self {
        let mut firmware = Self::default();
        let mut next_place = 0x7ffd_1234_u32;
        for command in script.chunks(128) {
            let text = |at: usize| {
                let name = &command[at..at + 56];
                let end = name.iter().position(|byte| *byte == 0).expect("names end");
                String::from_utf8(name[..end].to_vec()).unwrap()
            };
            match u32_at(command, 0) {
                1 => {
                    let (name, align) = (text(4), u32_at(command, 60));
                    next_place = next_place.next_multiple_of(align);
                    let contents = files[name.as_str()].clone();
                    firmware.zones.insert(name.clone(), command[64]);
                    let len = contents.len() as u32;
                    assert!(firmware.placed.insert(name, (next_place, contents)).is_none(), "placed twice");
                    next_place += len + 4;
                }
                2 => {
                    let (at, width) = (u32_at(command, 116) as usize, usize::from(command[120]));
                    let source = firmware.placed[&text(60)].0;
                    let (_, target) = firmware.placed.get_mut(&text(4)).unwrap();
                    let mut value = [0; 8];
                    value[..width].copy_from_slice(&target[at..at + width]);
                    let value = u64::from_le_bytes(value) + u64::from(source);
                    target[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
                }
                3 => {
                    let [at, start, length] = [60, 64, 68].map(|operand| u32_at(command, operand) as usize);
                    let (_, target) = firmware.placed.get_mut(&text(4)).unwrap();
                    target[at] = target[at].wrapping_sub(sum(&target[start..start + length]));
                }
                0 => assert!(command.iter().all(|byte| *byte == 0), "nothing follows the end"),
                other => panic!("command {other} does not exist"),
            }
        }
        firmware
    }
}

/// As it comes from a file.
fn user_table() -> Vec<u8> {
    let mut table = b"USER\x24\0\0\0".to_vec();
    table.resize(36, 0);
    table[9] = sum(&table).wrapping_neg();
    table
}

fn on_buses() -> (FirmwareTables, Arc<Bus>, Arc<Bus>) {
    let [ports, memory] = [Space::Port, Space::Memory].map(|space| Arc::new(Bus::new(space)));
    let tables = FirmwareTables {
        oem: Oem::default(),
        cpus: cpus(2),
        layout: layout(),
        slots: slots(),
        sleep: SleepStates { s3: true, s4: Some(2) },
        devices: ALL,
        numa: NumaConfig::default(),
        user_tables: vec![user_table()],
        ports: ports.clone(),
        memory: memory.clone(),
    };
    (tables, ports, memory)
}

/// Read a file of the device as firmware does, by its place in the directory.
fn read_file(device: &mut FwCfg, name: &str) -> Vec<u8> {
    let [selector, _] = FwCfg::REGIONS;
    let at = device.files().position(|(other, _)| other == name).unwrap();
    let len = device.files().nth(at).unwrap().1;
    device.write(selector.id, 0, 2, 0x20 + at as u64);
    (0..len).map(|_| device.read(selector.id, 1, 1) as u8).collect()
}

#[test]
fn firmware_places_the_tables_by_the_script() {
    let (source, ports, memory) = on_buses();
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
    let mut device = FwCfg::new(Dma::new(ram, BusMaster::always()), 32);
    source.add_files(&mut device).unwrap();
    assert_eq!(Vec::from_iter(device.files().map(|(_, len)| len)), [36, 128 << 10, 4096]);

    // What firmware does before it asks.
    let nobody = shared(Port92::new(IrqLine::detached(), Arc::new(Deaf)));
    ports.map(0xb000, PM_BLOCK, Priority::Movable, nobody.clone());
    let bar = Region::memory(0, "bar", 0x4000, AccessRule::DWORD);
    memory.map(0x38_0000_0000, bar, Priority::Movable, nobody.clone());
    memory.map(0xfebf_0000, bar, Priority::Movable, nobody);

    let files = [RSDP_FILE, TABLES_FILE].map(|name| (name, read_file(&mut device, name)));
    let firmware = Firmware::execute(&read_file(&mut device, LOADER_FILE), &BTreeMap::from(files));
    assert_eq!(Vec::from_iter(firmware.zones.values()), [&2, &1]);
    let (rsdp_at, rsdp) = &firmware.placed[RSDP_FILE];
    let (base, image) = &firmware.placed[TABLES_FILE];
    assert_eq!((rsdp_at % 16, base % 64), (0, 0));
    assert_eq!((sum(&rsdp[..20]), sum(rsdp)), (0, 0));
    let tables = walk(rsdp, image, *base, true);
    assert_eq!(Vec::from_iter(tables.keys()), ["APIC", "DSDT", "FACP", "FACS", "HPET", "USER", "WAET", "XSDT"]);
    assert_eq!(tables["USER"], user_table());
    assert_eq!(tables["DSDT"], walk(rsdp, image, *base, false)["DSDT"]);
    for (signature, table) in tables.iter().filter(|(signature, _)| *signature != "FACS") {
        assert_eq!(sum(table), 0, "{signature}");
    }
    assert_eq!(tables["FACS"].len(), 64);
    let fadt = &tables["FACP"];
    assert_eq!([56, 64, 76].map(|at| u32_at(fadt, at)), [0xb000, 0xb004, 0xb008], "PMBA as it was programmed");
    let window = [0x1_0000_0000_u64, 0x38_0000_3fff].map(u64::to_le_bytes).concat();
    assert!(tables["DSDT"].windows(16).any(|bytes| bytes == window), "the BAR is in the window");

    // Nothing but addresses and checksums differs from the tables of a direct boot.
    let placed = source.build().place(*base);
    assert_eq!(image[..placed.tables.len()], placed.tables);
    assert_eq!(rsdp[..], placed.rsdp);
}

/// A window that firmware places between two files changes the DSDT, whose length decides where all that follows is.
#[test]
fn the_files_are_of_the_same_tables() {
    let (source, _, memory) = on_buses();
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
    let mut device = FwCfg::new(Dma::new(ram, BusMaster::always()), 32);
    source.add_files(&mut device).unwrap();
    let before = source.build();
    let loader = read_file(&mut device, LOADER_FILE);
    let nobody = shared(Port92::new(IrqLine::detached(), Arc::new(Deaf)));
    memory.map(0x38_0000_0000, Region::memory(0, "bar", 0x4000, AccessRule::DWORD), Priority::Movable, nobody);
    assert_ne!(source.build().tables, before.tables);
    assert_eq!(read_file(&mut device, RSDP_FILE), before.rsdp);
    assert_eq!(read_file(&mut device, TABLES_FILE)[..before.tables.len()], before.tables);
    let script = script(&before);
    assert_eq!(loader[..script.len()], script);
    device.reset(ResetKind::System);
    let after = source.build();
    assert_eq!(read_file(&mut device, TABLES_FILE)[..after.tables.len()], after.tables);
}

struct Deaf;

impl SystemControl for Deaf {
    fn request(&self, _request: SystemRequest) {}
}
