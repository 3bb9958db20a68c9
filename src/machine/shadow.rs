//! The memory slots of the machine, and the host bridge's say in those below 1 MiB.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use devices::base::lock;
use devices::chipset::i440fx::{self, Shadow, ShadowControl, ShadowMap};

use super::layout::{BIOS_SEGMENT, MemoryLayout, VGA_WINDOW};
use crate::kvm::memory::{MemorySlots, Slot, SlotError};

#[derive(Default)]
struct State {
    map: ShadowMap,
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

    /// Maps all RAM; C0000h to FFFFFh as a kernel that is started without firmware finds them. What the bridge does is
    /// taken note of, but has no effect before [`Self::follow_bridge`]: slots are costly to change.
    ///
    /// # Errors
    /// The kernel refuses a slot.
    pub fn map_ram(&self, layout: &MemoryLayout) -> Result<(), SlotError> {
        let shadowed = VGA_WINDOW.end..BIOS_SEGMENT.end;
        let whole = [0..VGA_WINDOW.start, BIOS_SEGMENT.end..layout.low_ram.end, layout.high_ram.clone(), shadowed];
        for range in whole {
            if !range.is_empty() {
                self.slots.replace(range.clone(), &[Slot { range, readonly: false }])?;
            }
        }
        Ok(())
    }

    /// Maps what lies below 1 MiB as the bridge has it by now, and from now on as it changes.
    ///
    /// # Errors
    /// The kernel refuses a slot.
    pub fn follow_bridge(&self) -> Result<(), SlotError> {
        let mut state = lock(&self.state);
        self.slots.replace(SWITCHED, &wanted(&state.map))?;
        state.live = true;
        Ok(())
    }
}

/// What the bridge has a say in.
const SWITCHED: Range<u64> = VGA_WINDOW.start..BIOS_SEGMENT.end;

/// Slots for A0000h to FFFFFh, neighbours of the same kind joined.
fn wanted(map: &ShadowMap) -> Vec<Slot> {
    let mut wanted: Vec<Slot> = Vec::new();
    let window = map.smram_open.then_some(Slot { range: VGA_WINDOW, readonly: false });
    let areas = map.areas.iter().enumerate().filter_map(|(index, shadow)| {
        let (start, len) = i440fx::area(index);
        (*shadow != Shadow::Rom).then(|| Slot { range: start..start + len, readonly: *shadow == Shadow::ReadOnlyRam })
    });
    for slot in window.into_iter().chain(areas) {
        match wanted.last_mut() {
            Some(last) if last.range.end == slot.range.start && last.readonly == slot.readonly => {
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
            && let Err(error) = self.slots.replace(SWITCHED, &wanted(map))
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
        Slot { range: start..end, readonly }
    }

    #[test]
    fn neighbours_of_a_kind_are_one_slot() {
        let mut map = ShadowMap { areas: [Shadow::Ram; i440fx::AREAS], smram_open: false };
        assert_eq!(wanted(&map), [slot(0xc_0000, 0x10_0000, false)]);
        map.smram_open = true;
        assert_eq!(wanted(&map), [slot(0xa_0000, 0x10_0000, false)]);
        assert_eq!(wanted(&ShadowMap::default()), []);
        // As SeaBIOS leaves it.
        map = ShadowMap { areas: [Shadow::ReadOnlyRam; i440fx::AREAS], smram_open: false };
        map.areas[10] = Shadow::Ram;
        map.areas[11] = Shadow::Ram;
        map.areas[3] = Shadow::Rom;
        assert_eq!(
            wanted(&map),
            [
                slot(0xc_0000, 0xc_c000, true),
                slot(0xd_0000, 0xe_8000, true),
                slot(0xe_8000, 0xf_0000, false),
                slot(0xf_0000, 0x10_0000, true),
            ]
        );
    }
}
