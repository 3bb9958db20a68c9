//! The memory slots behind the host bridge's decisions about the first MiB.

use std::sync::Arc;

use devices::chipset::i440fx::{self, Shadow, ShadowControl, ShadowMap};

use super::layout::{BIOS_SEGMENT, MemoryLayout, VGA_WINDOW};
use crate::kvm::memory::{MemorySlots, Slot, SlotError};

/// Maps RAM as a machine has it at power-on, with the first MiB as in `map`.
///
/// # Errors
/// The kernel refuses a slot.
pub fn map_ram(slots: &MemorySlots, layout: &MemoryLayout, map: &ShadowMap) -> Result<(), SlotError> {
    let ram = |range: std::ops::Range<u64>| Slot { range, readonly: false };
    let base = 0..VGA_WINDOW.start;
    slots.replace(base.clone(), &[ram(base)])?;
    apply(slots, map)?;
    for range in [BIOS_SEGMENT.end..layout.low_ram.end, layout.high_ram.clone()] {
        if !range.is_empty() {
            slots.replace(range.clone(), &[ram(range)])?;
        }
    }
    Ok(())
}

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

fn apply(slots: &MemorySlots, map: &ShadowMap) -> Result<(), SlotError> {
    slots.replace(VGA_WINDOW.start..BIOS_SEGMENT.end, &wanted(map))
}

/// Switches the slots when the guest writes the PAM or SMRAM registers.
pub struct ShadowSlots(Arc<MemorySlots>);

impl ShadowSlots {
    /// Switches `slots`.
    #[must_use]
    pub fn new(slots: Arc<MemorySlots>) -> Self {
        Self(slots)
    }
}

impl ShadowControl for ShadowSlots {
    fn apply(&mut self, map: &ShadowMap) {
        if let Err(error) = apply(&self.0, map) {
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
