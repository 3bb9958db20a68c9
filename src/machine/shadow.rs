//! The memory slots of the machine, and the host bridge's say in those below 1 MiB.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use devices::base::lock;
use devices::chipset::i440fx::{self, Shadow, ShadowControl, ShadowMap};

use vm_memory::MmapRegion;

use super::firmware::FirmwareRom;
use super::layout::{BIOS_SEGMENT, MemoryLayout, VGA_WINDOW};
use crate::kvm::memory::{Backing, MemorySlots, Slot, SlotError};

/// What the guest sees where an area shows ROM: the end of the firmware.
const ROM_WINDOW: Range<u64> = 0xe_0000..BIOS_SEGMENT.end;

#[derive(Default)]
struct State {
    map: ShadowMap,
    /// The firmware, whose end is at the end of [`ROM_WINDOW`] too.
    rom: Option<Arc<MmapRegion>>,
    /// Changes take effect at once.
    live: bool,
}

/// Switches slots when the guest writes the PAM or SMRAM registers.
#[derive(Clone)]
pub struct ShadowSlots {
    slots: Arc<MemorySlots>,
    state: Arc<Mutex<State>>,
}

impl ShadowSlots {
    /// Switches `slots`, in which nothing is mapped before [`Self::map_ram`].
    #[must_use]
    pub fn new(slots: Arc<MemorySlots>) -> Self {
        Self { slots, state: Arc::default() }
    }

    /// Maps all RAM; C0000h to FFFFFh as a kernel that is started without firmware finds them, or as firmware does. What
    /// the bridge does is taken note of, but has no effect before [`Self::follow_bridge`]: slots are costly to change.
    ///
    /// # Errors
    /// The kernel refuses a slot.
    pub fn map_ram(&self, layout: &MemoryLayout, firmware: Option<&FirmwareRom>) -> Result<(), SlotError> {
        let whole = [0..VGA_WINDOW.start, BIOS_SEGMENT.end..layout.low_ram.end, layout.high_ram.clone()];
        for range in whole.into_iter().filter(|range| !range.is_empty()) {
            self.slots.replace(range.clone(), &[Slot::ram(range)])?;
        }
        let Some(firmware) = firmware else {
            let shadowed = VGA_WINDOW.end..BIOS_SEGMENT.end;
            return self.slots.replace(shadowed.clone(), &[Slot::ram(shadowed)]);
        };
        let range = firmware.range();
        let slot = rom(range.clone(), Arc::clone(firmware.memory()), range.end);
        self.slots.replace(range, &[slot])?;
        let mut state = lock(&self.state);
        state.rom = Some(Arc::clone(firmware.legacy()));
        self.slots.replace(SWITCHED, &wanted(&state.map, state.rom.as_ref()))
    }

    /// Maps what lies below 1 MiB as the bridge has it by now, and from now on as it changes.
    ///
    /// # Errors
    /// The kernel refuses a slot.
    pub fn follow_bridge(&self) -> Result<(), SlotError> {
        let mut state = lock(&self.state);
        self.slots.replace(SWITCHED, &wanted(&state.map, state.rom.as_ref()))?;
        state.live = true;
        Ok(())
    }
}

/// What the bridge has a say in.
const SWITCHED: Range<u64> = VGA_WINDOW.start..BIOS_SEGMENT.end;

/// A slot that shows the end of `memory` so that its last byte is before `end`.
pub(super) fn rom(range: Range<u64>, memory: Arc<MmapRegion>, end: u64) -> Slot {
    let base = end.wrapping_sub(memory.size() as u64);
    Slot { range, readonly: true, backing: Backing::Host { memory, base } }
}

/// Slots for A0000h to FFFFFh, neighbours of the same kind joined. ROM that is larger than its window is seen from its end
/// on; where it is smaller, or there is none, the bus answers.
fn wanted(map: &ShadowMap, firmware: Option<&Arc<MmapRegion>>) -> Vec<Slot> {
    let mut wanted: Vec<Slot> = Vec::new();
    let window = map.smram_open.then_some(Slot::ram(VGA_WINDOW));
    let areas = map.areas.iter().enumerate().filter_map(|(index, shadow)| {
        let (start, len) = i440fx::area(index);
        let range = start..start + len;
        match shadow {
            Shadow::Ram => Some(Slot::ram(range)),
            Shadow::ReadOnlyRam => Some(Slot { readonly: true, ..Slot::ram(range) }),
            Shadow::Rom => {
                let memory = firmware?;
                let seen = ROM_WINDOW.start.max(ROM_WINDOW.end - (memory.size() as u64).min(ROM_WINDOW.end));
                let range = start.max(seen)..range.end;
                (!range.is_empty()).then(|| rom(range, Arc::clone(memory), ROM_WINDOW.end))
            }
        }
    });
    for slot in window.into_iter().chain(areas) {
        match wanted.last_mut() {
            Some(last)
                if last.range.end == slot.range.start
                    && last.readonly == slot.readonly
                    && last.backing == slot.backing =>
            {
                last.range.end = slot.range.end;
            }
            _ => wanted.push(slot),
        }
    }
    wanted
}

impl ShadowControl for ShadowSlots {
    fn apply(&mut self, map: &ShadowMap) {
        let mut state = lock(&self.state);
        state.map = *map;
        if state.live
            && let Err(error) = self.slots.replace(SWITCHED, &wanted(map, state.rom.as_ref()))
        {
            // KVM has thousands of slots and these areas were accepted before: only a host out of memory gets here.
            log::error!("the memory below 1 MiB can't be switched: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(start: u64, end: u64, readonly: bool) -> Slot {
        Slot { readonly, ..Slot::ram(start..end) }
    }

    #[test]
    fn neighbours_of_a_kind_are_one_slot() {
        let mut map = ShadowMap { areas: [Shadow::Ram; i440fx::AREAS], smram_open: false };
        assert_eq!(wanted(&map, None), [slot(0xc_0000, 0x10_0000, false)]);
        map.smram_open = true;
        assert_eq!(wanted(&map, None), [slot(0xa_0000, 0x10_0000, false)]);
        assert_eq!(wanted(&ShadowMap::default(), None), []);
        // As SeaBIOS leaves it.
        map = ShadowMap { areas: [Shadow::ReadOnlyRam; i440fx::AREAS], smram_open: false };
        map.areas[10] = Shadow::Ram;
        map.areas[11] = Shadow::Ram;
        map.areas[3] = Shadow::Rom;
        assert_eq!(
            wanted(&map, None),
            [
                slot(0xc_0000, 0xc_c000, true),
                slot(0xd_0000, 0xe_8000, true),
                slot(0xe_8000, 0xf_0000, false),
                slot(0xf_0000, 0x10_0000, true),
            ]
        );
    }

    /// The window shows the last 128 KiB of the firmware, or all of it.
    #[test]
    fn rom_is_seen_at_the_end_of_the_first_megabyte() {
        for (size, start) in [(0x1_0000, 0xf_0000), (0x2_0000, 0xe_0000), (0x4_0000, 0xe_0000), (0x20_0000, 0xe_0000)] {
            let memory = Arc::new(MmapRegion::new(size).unwrap());
            let slots = wanted(&ShadowMap::default(), Some(&memory));
            let [slot] = slots.as_slice() else { panic!("{size:#x}: {slots:x?}") };
            assert_eq!((slot.range.clone(), slot.readonly), (start..0x10_0000, true));
            let Backing::Host { base, .. } = slot.backing else { panic!("it is ROM") };
            assert_eq!(0xf_fff0_u64.wrapping_sub(base), size as u64 - 0x10, "the reset vector is at its end");
        }
        let memory = Arc::new(MmapRegion::new(0x4_0000).unwrap());
        let mut map = ShadowMap::default();
        map.areas[9] = Shadow::Ram;
        let slots = wanted(&map, Some(&memory));
        let ranges: Vec<_> = slots.iter().map(|slot| (slot.range.clone(), slot.readonly)).collect();
        assert_eq!(ranges, [(0xe_0000..0xe_4000, true), (0xe_4000..0xe_8000, false), (0xe_8000..0x10_0000, true)]);
    }
}
