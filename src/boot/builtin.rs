//! The guest that natoma boots when it is given neither kernel nor disk.

/// An ELF with a PVH entry point, compiled by `build.rs` from `tests/guest`: it shows the machine on the first serial
/// port, checks that its clocks agree, and powers off.
pub const BUILTIN_GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tour.elf"));
