//! The legacy interface: ports of BAR 0.

use super::VirtioPci;
use super::registers::{legacy, status};
use crate::pci::config::reg;
use crate::virtio::ring::{Area, NO_VECTOR, Queue};
use crate::virtio::{VirtioDevice, feature};

/// Bus Master Enable.
const COMMAND_MASTER: u16 = 1 << 2;

/// A queue of `size` entries in one piece from `address` on.
fn area(size: u16, address: u64) -> Area {
    let driver = address + 16 * u64::from(size);
    let device = (driver + 4 + 2 * u64::from(size)).next_multiple_of(legacy::PAGE);
    Area { size, descriptors: address, driver, device }
}

impl<D: VirtioDevice> VirtioPci<D> {
    fn legacy_len(&self) -> u64 {
        if self.msix_enabled() { legacy::LEN_MSIX } else { legacy::LEN }
    }

    /// Registers are read by their own size. What is no register reads as ones.
    pub(super) fn read_legacy(&mut self, offset: u64, size: u8) -> u32 {
        let config = self.legacy_len();
        if offset >= config {
            return self.read_config(offset - config, size);
        }
        match offset {
            legacy::DEVICE_FEATURES => self.offered as u32,
            legacy::DRIVER_FEATURES => self.accepted as u32,
            legacy::QUEUE_ADDRESS => {
                let queue = self.selected().filter(|queue| queue.is_enabled());
                queue.map_or(0, |queue| (queue.area.descriptors / legacy::PAGE) as u32)
            }
            legacy::QUEUE_SIZE => self.selected().map_or(0, |queue| queue.area.size).into(),
            legacy::QUEUE_SELECT => self.queue_select.into(),
            legacy::DEVICE_STATUS => self.status.into(),
            legacy::ISR_STATUS => self.take_isr().into(),
            legacy::CONFIG_MSIX_VECTOR => self.config_vector.into(),
            legacy::QUEUE_MSIX_VECTOR => self.selected().map_or(NO_VECTOR, |queue| queue.vector).into(),
            _ => u32::MAX,
        }
    }

    pub(super) fn write_legacy(&mut self, offset: u64, size: u8, value: u32) {
        let config = self.legacy_len();
        if offset >= config {
            return self.write_config(offset - config, size, value);
        }
        match offset {
            legacy::DRIVER_FEATURES => {
                // It has accepted whatever it was offered, without a look.
                let none = u64::from(value) & feature::BAD_FEATURE != 0;
                self.accept(if none { 0 } else { value.into() });
            }
            // Page 0 is no place for a queue: a driver that goes says so by it.
            legacy::QUEUE_ADDRESS if value == 0 => self.reset_virtio(None),
            legacy::QUEUE_ADDRESS => self.place_selected(u64::from(value) * legacy::PAGE),
            legacy::QUEUE_SELECT => self.queue_select = value as u16,
            legacy::QUEUE_NOTIFY => self.notified(value as u16),
            legacy::DEVICE_STATUS if value as u8 == 0 => self.reset_virtio(None),
            legacy::DEVICE_STATUS => {
                self.set_status(value as u8);
                // Linux before 2.6.34 forgets to become a master, and QEMU does it for it.
                if value as u8 == status::ACKNOWLEDGE | status::DRIVER {
                    let command = self.config.read_u16(reg::COMMAND) | COMMAND_MASTER;
                    self.config.write(reg::COMMAND, 2, command.into());
                }
            }
            legacy::CONFIG_MSIX_VECTOR => self.config_vector = self.vector(value),
            legacy::QUEUE_MSIX_VECTOR => {
                let vector = self.vector(value);
                if let Some(queue) = self.selected_mut() {
                    queue.vector = vector;
                }
            }
            _ => {}
        }
    }

    fn place_selected(&mut self, address: u64) {
        let number = self.queue_select;
        if self.selected().is_some_and(Queue::is_enabled) {
            self.device.queue_reset(number, &mut self.driver);
        }
        if let Some(queue) = self.selected_mut() {
            queue.area = area(queue.largest(), address);
            // A queue of the size that it was made with, in the split format, is always possible.
            queue.enable(0);
        }
        self.settle();
    }
}
