//! Access to the BARs through configuration space (virtio 1.2, section 4.1.4.9), for firmware that can't reach them yet.

use super::VirtioPci;
use super::layout::{LEGACY_BAR, MODERN_BAR, MSIX_BAR, window};
use crate::base::IoDevice;
use crate::virtio::VirtioDevice;

/// What the registers of the capability choose.
struct Target {
    region: u16,
    offset: u64,
    size: u8,
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// What an access to the data register reaches, if `len` bytes at `offset` of configuration space are such an access, and the
    /// registers choose something.
    fn window_target(&self, offset: u8, len: u8) -> Option<Target> {
        let touched = offset < window::END && u16::from(offset) + u16::from(len) > u16::from(window::DATA);
        if !touched || !self.options.modern {
            return None;
        }
        let (bar, at) = (self.config.read_u8(window::BAR), u64::from(self.config.read_u32(window::OFFSET)));
        let size = self.config.read_u32(window::LENGTH);
        let bar = [LEGACY_BAR, MSIX_BAR, MODERN_BAR].into_iter().find(|known| *known == usize::from(bar))?;
        let region = self.config.bar(bar)?.region;
        let fits = matches!(size, 1 | 2 | 4) && at.is_multiple_of(size.into()) && at + u64::from(size) <= region.len;
        let size = size as u8;
        (fits && region.rule.is_native(at, size.into())).then_some(Target { region: region.id, offset: at, size })
    }

    /// Fetches what a read of the data register is to find.
    pub(super) fn read_window(&mut self, offset: u8, len: u8) {
        if let Some(Target { region, offset, size }) = self.window_target(offset, len) {
            let value = self.read(region, offset, size).to_le_bytes();
            self.config.put(window::DATA, &value[..usize::from(size)]);
        }
    }

    /// Passes on what was written to the data register.
    pub(super) fn write_window(&mut self, offset: u8, len: u8) {
        if let Some(Target { region, offset, size }) = self.window_target(offset, len) {
            let value = self.config.read(window::DATA, size);
            self.write(region, offset, size, value.into());
        }
    }
}
