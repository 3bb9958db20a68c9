//! Tests of the loader through [`DirectBoot`]: what ends up in guest memory, and what a CPU makes of it.
//!
//! Offsets and magic numbers are written down here a second time, from the documents, so that a wrong constant of the loader
//! is found.

mod by_firmware;
mod cpu;
mod errors;
mod images;
mod linux;
mod multiboot;
mod pvh;
mod random;
mod real;

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::e820::{E820Entry, E820Kind};
use super::{DirectBoot, Entry, EntryState, Image, LoadError, Platform};

const MIB: u64 = 1 << 20;
const RSDP: u64 = 0xf_5a40;
const SEED: [u8; 32] = *b"thirty-two bytes of random seed.";
/// What the board puts at the end of RAM.
const TABLES: u64 = 128 << 10;

/// A machine to load kernels into.
struct Machine {
    mem: GuestMemoryMmap,
    e820: Vec<E820Entry>,
    reserved: Vec<Range<u64>>,
}

impl Machine {
    /// A PC with `mib` MiB of RAM below 4 GiB, ACPI tables at its end.
    fn new(mib: u64) -> Self {
        Self::with_high_ram(mib, 0)
    }

    /// The same with another `high_mib` MiB above 4 GiB.
    fn with_high_ram(mib: u64, high_mib: u64) -> Self {
        let ram = mib * MIB;
        let mut ranges = vec![(GuestAddress(0), ram as usize)];
        let mut e820 = vec![
            E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
            E820Entry::new(0x9_fc00, 0x400, E820Kind::Reserved),
            E820Entry::new(0xf_0000, 0x1_0000, E820Kind::Reserved),
            E820Entry::new(MIB, ram - MIB - TABLES, E820Kind::Ram),
            E820Entry::new(ram - TABLES, TABLES, E820Kind::Acpi),
            E820Entry::new(0xfeff_c000, 0x4000, E820Kind::Reserved),
        ];
        if high_mib > 0 {
            ranges.push((GuestAddress(1 << 32), (high_mib * MIB) as usize));
            e820.push(E820Entry::new(1 << 32, high_mib * MIB, E820Kind::Ram));
        }
        Self { mem: GuestMemoryMmap::from_ranges(&ranges).unwrap(), e820, reserved: Vec::new() }
    }

    fn platform(&self) -> Platform<'_> {
        Platform {
            e820: &self.e820,
            reserved: &self.reserved,
            rsdp: Some(RSDP),
            rng_seed: Some(SEED),
            ram_is_clear: false,
        }
    }

    fn load(&self, boot: &mut DirectBoot) -> Result<Entry, LoadError> {
        boot.load(&self.mem, &self.platform())
    }

    fn boot(&self, kernel: Vec<u8>, initrd: Option<&[u8]>, cmdline: &str) -> Result<Entry, LoadError> {
        let mut boot = DirectBoot::new(Image::from_bytes("kernel", kernel), cmdline.as_bytes())?;
        if let Some(initrd) = initrd {
            boot = boot.with_initrd(Image::from_bytes("initrd", initrd.to_vec()));
        }
        self.load(&mut boot)
    }

    fn bytes(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.mem.read_slice(&mut bytes, GuestAddress(addr)).unwrap();
        bytes
    }

    fn u8(&self, addr: u64) -> u8 {
        self.mem.read_obj(GuestAddress(addr)).unwrap()
    }

    fn u16(&self, addr: u64) -> u16 {
        self.mem.read_obj(GuestAddress(addr)).unwrap()
    }

    fn u32(&self, addr: u64) -> u32 {
        self.mem.read_obj(GuestAddress(addr)).unwrap()
    }

    fn u64(&self, addr: u64) -> u64 {
        self.mem.read_obj(GuestAddress(addr)).unwrap()
    }

    /// A zero-terminated string.
    fn string(&self, addr: u64) -> String {
        let bytes = (addr..).map(|a| self.u8(a)).take_while(|&c| c != 0).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// Makes memory look like that of a machine that has been running.
    fn scribble(&self) {
        let garbage = vec![0xa5; MIB as usize];
        for range in self.e820.iter().filter(|e| e.kind == E820Kind::Ram).map(E820Entry::range) {
            for addr in range.clone().step_by(garbage.len()) {
                let len = garbage.len().min((range.end - addr) as usize);
                self.mem.write_slice(&garbage[..len], GuestAddress(addr)).unwrap();
            }
        }
    }
}

/// An error as a person sees it.
fn chain(error: &LoadError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Asserts that no two ranges share an address.
fn assert_disjoint(ranges: &[(&str, Range<u64>)]) {
    for (i, (a_name, a)) in ranges.iter().enumerate() {
        for (b_name, b) in &ranges[..i] {
            assert!(a.end <= b.start || b.end <= a.start, "{a_name} {a:#x?} overlaps {b_name} {b:#x?}");
        }
    }
}
