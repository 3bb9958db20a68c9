//! `info mtree` and `info roms`: what is where in the address spaces.

use std::fmt::Write;

use devices::base::lock;

use crate::kvm::address_space::AddressSpace;
use crate::kvm::memory::{Backing, Slot};
use crate::machine::pc::view::BoardView;

/// What QEMU calls the memory of a slot. `windows` are those of the devices in memory space.
fn name(slot: &Slot, windows: &[(u64, u64, &'static str)]) -> (&'static str, &'static str) {
    let kind = if slot.readonly { "rom" } else { "ram" };
    let flash = windows
        .iter()
        .find(|(first, last, name)| (*first..=*last).contains(&slot.range.start) && name.starts_with("system.flash"));
    match (&slot.backing, flash) {
        (Backing::Ram, _) => (kind, "pc.ram"),
        (Backing::Host { .. }, Some((.., name))) => (kind, name),
        (Backing::Host { .. }, None) => (kind, "pc.bios"),
    }
}

/// Both address spaces, flat: what is seen at each address now.
pub(super) fn tree(board: &BoardView, space: &AddressSpace) -> String {
    let slots = space.slots.all();
    let windows = board.memory.ranges();
    let backed = slots.iter().map(|slot| {
        let (kind, name) = name(slot, &windows);
        (slot.range.start, slot.range.end - 1, kind, name)
    });
    let io = |(first, last, name)| (first, last, "i/o", name);
    let mut memory: Vec<_> = backed.chain(windows.iter().copied().map(io)).collect();
    memory.sort_by_key(|(first, ..)| *first);
    let ports = board.ports.ranges().into_iter().map(io).collect();
    let mut text = String::new();
    for (name, ranges) in [("memory", memory), ("I/O", ports)] {
        // Writing to a String can't fail.
        let _ = writeln!(text, "address-space: {name}");
        for (first, last, kind, name) in ranges {
            let _ = writeln!(text, "  {first:016x}-{last:016x} (prio 0, {kind}): {name}");
        }
        text.push('\n');
    }
    text
}

/// Firmware's own memory, and the ROMs that it is given to run.
pub(super) fn roms(board: &BoardView, space: &AddressSpace) -> String {
    let mut text = String::new();
    let windows = board.memory.ranges();
    for slot in space.slots.all().iter().filter(|slot| matches!(slot.backing, Backing::Host { .. })) {
        let (kind, name) = name(slot, &windows);
        let (address, size) = (slot.range.start, slot.range.end - slot.range.start);
        let _ = writeln!(text, "addr={address:016x} size={size:#08x} mem={kind} name=\"{name}\"");
    }
    for (file, size) in lock(&board.fw_cfg).files() {
        if let Some((directory @ ("genroms" | "vgaroms"), name)) = file.split_once('/') {
            let _ = writeln!(text, "fw={directory}/{name} size={size:#08x} name=\"{name}\"");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qtest::QtestMachine;

    #[test]
    fn all_that_is_seen_is_listed_in_order() {
        let pc = QtestMachine::new(["-nodefaults", "-m", "16"]).unwrap();
        let text = tree(&pc.board().view(), pc.space());
        assert!(text.starts_with("address-space: memory\n  0000000000000000-"), "{text}");
        assert!(text.contains("-0000000000ffffff (prio 0, ram): pc.ram\n"), "{text}");
        assert!(text.contains("  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\n"), "{text}");
        let (_, ports) = text.split_once("\n\naddress-space: I/O\n").expect("two address spaces");
        assert!(ports.contains("  0000000000000070-0000000000000071 (prio 0, i/o): rtc\n"), "{ports}");
        let starts: Vec<_> = ports.lines().filter_map(|line| line.get(2..18)).collect();
        assert!(starts.is_sorted(), "{ports}");
    }
}
