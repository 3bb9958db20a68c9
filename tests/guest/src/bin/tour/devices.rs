//! What describes itself: PCI functions and ACPI tables.

use guest::{
    acpi::NoTable,
    pci::{self, register},
    println,
};

use crate::{Machine, Report};

/// Prints every PCI function.
pub(crate) fn show_pci(report: &mut Report) {
    println!("\nPCI, by configuration mechanism #1");
    if !pci::is_present() {
        println!("  There is no PCI bus.");
        return;
    }
    let mut functions = 0;
    pci::scan(0, &mut |function| {
        let [vendor, device] = [register::VENDOR, register::DEVICE].map(|register| function.read16(register));
        let [_, interface, subclass, class] = function.read32(register::REVISION).to_le_bytes();
        let name = pci::class_name(class, subclass);
        println!("  {function}  {vendor:04x}:{device:04x}  {class:02x}{subclass:02x}{interface:02x}  {name}");
        functions += 1;
    });
    println!("  {functions} functions, a host bridge at 00:00.0: {}", report.check(has_host_bridge()));
}

fn has_host_bridge() -> bool {
    const HOST_BRIDGE: u16 = 0x0600;
    let first = pci::Function { bus: 0, device: 0, function: 0 };
    first.read16(register::SUBCLASS) == HOST_BRIDGE
}

/// Prints every ACPI table.
pub(crate) fn show_acpi(machine: &Machine, report: &mut Report) {
    println!("\nACPI");
    let Some(acpi) = &machine.acpi else {
        println!("  There are no tables: no root pointer in the start info or in the BIOS area.");
        return;
    };
    println!("  RSDP  {:08x}  revision {}", acpi.root_pointer, acpi.revision);
    for table in acpi.tables() {
        match table {
            Ok(table) => {
                let (signature, address, length) = (table.signature(), table.address, table.bytes.len());
                println!(
                    "  {signature}  {address:08x}  {length:>5} bytes, checksum {}",
                    report.check(table.is_sound())
                );
            }
            Err(NoTable { address }) => println!("  ????  {address:08x}  no table there: {}", report.check(false)),
        }
    }
    match acpi.sleep_type_s5() {
        Some(value) => println!("  power-off is SLP_TYP {value}"),
        None => println!("  power-off is not described: {}", report.check(false)),
    }
}
