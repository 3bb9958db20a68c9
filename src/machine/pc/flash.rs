//! The flash chips that hold firmware.

use devices::base::{Priority, shared};
use devices::flash::cfi01::Cfi01;

use super::Board;

impl Board {
    /// Adds chips at their addresses.
    pub(in crate::machine) fn add_flash(&mut self, chips: impl IntoIterator<Item = (u64, Cfi01)>) {
        for (base, chip) in chips {
            let region = chip.region();
            let chip = shared(chip);
            self.memory.map(base, region, Priority::Fixed, chip.clone());
            self.register(chip);
        }
    }
}
