//! The host protected area: sectors at the end of a disk that are hidden until the next reset, or for good.

use serde::{Deserialize, Serialize};

use super::registers::error;
use crate::base::ResetKind;

/// How much of a disk can be addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostProtectedArea {
    /// Sectors that can be addressed now.
    sectors: u64,
    /// Sectors that can be addressed after a reset.
    kept: u64,
    /// They were set for good since power-on, which can be done once.
    set_for_good: bool,
    /// The last command was READ NATIVE MAX ADDRESS.
    pub may_set: bool,
}

impl HostProtectedArea {
    /// Nothing of a disk of `sectors` sectors is hidden.
    pub fn new(sectors: u64) -> Self {
        Self { sectors, kept: sectors, set_for_good: false, may_set: false }
    }

    /// Sectors that can be addressed now.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Makes `last` the last sector that can be addressed, of `native` that there are; `keep`: also after a reset.
    ///
    /// # Errors
    /// It is not on the disk, or was set for good before: bits of the error register.
    pub fn set(&mut self, last: u64, keep: bool, native: u64) -> Result<(), u8> {
        if last >= native || (keep && self.set_for_good) {
            return Err(error::IDNF);
        }
        self.sectors = last + 1;
        if keep {
            self.kept = self.sectors;
            self.set_for_good = true;
        }
        Ok(())
    }

    /// The disk has `native` sectors now. What is hidden stays so, as long as it would have; if nothing is, nothing will be.
    pub fn resize(&mut self, native: u64) {
        let until_reset = self.sectors != self.kept;
        self.kept = if self.set_for_good { self.kept.min(native) } else { native };
        self.sectors = if until_reset { self.sectors.min(native) } else { self.kept };
    }

    /// A reset by hardware. What was set for good lasts as long as the machine does.
    pub fn reset(&mut self, kind: ResetKind, native: u64) {
        if kind == ResetKind::PowerOn {
            *self = Self::new(native);
        }
        self.sectors = self.kept;
        self.may_set = false;
    }

    /// Whether a saved one can be that of a disk of `native` sectors.
    pub fn is_possible(&self, native: u64) -> bool {
        (1..=native).contains(&self.sectors) && (1..=native).contains(&self.kept)
    }
}
