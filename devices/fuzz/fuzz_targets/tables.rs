//! Files of ACPI tables and SMBIOS structures, and what the table loader makes of them.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::tables;

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, contents) = input;
    tables::check(tables::OPTIONS[usize::from(choice) % tables::OPTIONS.len()], contents);
});
