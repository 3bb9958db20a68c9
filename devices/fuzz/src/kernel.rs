//! Kernel images that nobody built, into a small machine.

use natoma::boot::e820::{E820Entry, E820Kind};
use natoma::boot::{DirectBoot, EntryState, Image, Platform};
use vm_memory::{GuestAddress, GuestMemoryMmap};

const MIB: u64 = 1 << 20;
const RAM: u64 = 16 * MIB;

/// Recognises, loads and places an image.
///
/// # Panics
/// The guest would start outside of its RAM.
pub fn load(kernel: &[u8], initrd: Option<&[u8]>, command_line: &[u8]) {
    let Ok(mut boot) = DirectBoot::new(Image::from_bytes("kernel", kernel.to_vec()), command_line) else { return };
    if let Some(initrd) = initrd {
        boot = boot.with_initrd(Image::from_bytes("initrd", initrd.to_vec()));
    }
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("the host has some memory");
    let e820 = [
        E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
        E820Entry::new(0x9_fc00, 0x400, E820Kind::Reserved),
        E820Entry::new(0xf_0000, 0x1_0000, E820Kind::Reserved),
        E820Entry::new(MIB, RAM - MIB, E820Kind::Ram),
    ];
    let platform =
        Platform { e820: &e820, reserved: &[], rsdp: Some(0xf_5a40), rng_seed: Some([7; 32]), ram_is_clear: true };
    if let Ok(entry) = boot.load(&ram, &platform) {
        let start = match entry.state {
            EntryState::Long64 { rip, .. } => rip,
            EntryState::Prot32 { eip, .. } => eip.into(),
        };
        let inside = e820.iter().any(|entry| entry.kind == E820Kind::Ram && entry.range().contains(&start));
        assert!(inside, "entry at {start:#x}");
    }
}
