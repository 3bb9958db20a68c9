//! The tables as firmware wants them: three fw_cfg files, of which one is a script that fixes the other two to the addresses
//! that firmware gives them (the format of QEMU's `etc/table-loader`).
//!
//! A command has 128 bytes: its number, then its operands at fixed places; file names have 56 bytes, the last of which is
//! zero.

use super::image::{AcpiTables, Checksum, Part, Pointer};

/// The files.
pub const RSDP_FILE: &str = "etc/acpi/rsdp";
/// See [`RSDP_FILE`].
pub const TABLES_FILE: &str = "etc/acpi/tables";
/// The script.
pub const LOADER_FILE: &str = "etc/table-loader";

/// Length of a command.
const COMMAND_LEN: usize = 128;
/// Length of the place for the name of a file.
const NAME_LEN: usize = 56;

/// Commands: their numbers.
const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;

/// Where a file is to lie: anywhere below 4 GiB, or where operating systems look for the RSDP.
const ZONE_HIGH: u8 = 1;
const ZONE_FSEG: u8 = 2;
/// Alignment of the RSDP.
const RSDP_ALIGN: u32 = 16;

fn file(part: Part) -> &'static str {
    match part {
        Part::Rsdp => RSDP_FILE,
        Part::Tables => TABLES_FILE,
    }
}

/// The script that places `tables`.
pub(super) fn script(tables: &AcpiTables) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = |number: u32, operands: &[&[u8]]| {
        let end = script.len() + COMMAND_LEN;
        script.extend(number.to_le_bytes());
        operands.iter().for_each(|operand| script.extend(*operand));
        script.resize(end, 0);
    };
    for (part, align, zone) in [(Part::Rsdp, RSDP_ALIGN, ZONE_FSEG), (Part::Tables, AcpiTables::ALIGN, ZONE_HIGH)] {
        command(ALLOCATE, &[&name(file(part)), &align.to_le_bytes(), &[zone]]);
    }
    for Pointer { part, at, width } in &tables.pointers {
        command(ADD_POINTER, &[&name(file(*part)), &name(TABLES_FILE), &at.to_le_bytes(), &[*width]]);
    }
    for Checksum { part, at, over } in &tables.checksums {
        let length = over.end - over.start;
        let numbers = [*at, over.start, length].map(u32::to_le_bytes).concat();
        command(ADD_CHECKSUM, &[&name(file(*part)), &numbers]);
    }
    script
}

fn name(file: &str) -> [u8; NAME_LEN] {
    let mut name = [0; NAME_LEN];
    name[..file.len()].copy_from_slice(file.as_bytes());
    name
}
