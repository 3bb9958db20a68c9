//! The flash chips that hold firmware.

use std::sync::Arc;

use devices::base::{Priority, shared};

use super::Board;
use crate::kvm::memory::MemorySlots;
use crate::machine::flash::FlashChip;

impl Board {
    /// Adds the chips, which processors see through `slots`.
    pub(in crate::machine) fn add_flash(&mut self, chips: Vec<FlashChip>, slots: &Arc<MemorySlots>) {
        for chip in chips {
            let (base, chip) = chip.into_device(slots);
            let region = chip.region();
            let chip = shared(chip);
            self.memory.map(base, region, Priority::Fixed, chip.clone());
            self.register(chip);
        }
    }
}
