//! The interface of virtio 1: the structures in the modern BAR.

use super::VirtioPci;
use super::layout::{COMMON_AT, DEVICE_AT, ISR_AT, NOTIFY_AT, doorbell_step};
use super::registers::{common, status};
use crate::virtio::ring::{NO_VECTOR, Queue};
use crate::virtio::{VirtioDevice, feature};

/// Half `select` of 64 bits; there are no others.
fn half(bits: u64, select: u32) -> u32 {
    match select {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}

/// Replaces a half of an address, the high one at `offset` 4.
fn set_half(address: &mut u64, offset: u64, value: u32) {
    let shift = if offset == common::HIGH { 32 } else { 0 };
    *address = *address & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
}

impl<D: VirtioDevice> VirtioPci<D> {
    pub(super) fn read_modern(&mut self, offset: u64, size: u8) -> u32 {
        match offset {
            NOTIFY_AT.. => 0,
            DEVICE_AT.. => self.read_config(offset - DEVICE_AT, size),
            ISR_AT.. => self.take_isr().into(),
            _ => self.read_common(offset - COMMON_AT),
        }
    }

    pub(super) fn write_modern(&mut self, offset: u64, size: u8, value: u32) {
        match offset {
            NOTIFY_AT.. => {
                let queue = (offset - NOTIFY_AT) / doorbell_step(&self.options);
                self.notified(u16::try_from(queue).unwrap_or(u16::MAX));
            }
            DEVICE_AT.. => self.write_config(offset - DEVICE_AT, size, value),
            ISR_AT.. => {}
            _ => self.write_common(offset - COMMON_AT, value),
        }
    }

    /// What a driver of virtio 1 is offered.
    pub(super) fn modern_offer(&self) -> u64 {
        self.offered & !(feature::LEGACY_ONLY | self.device.legacy_features())
    }

    /// Registers are read by their own size: a wider access finds zeroes beside one, as in QEMU.
    fn read_common(&self, offset: u64) -> u32 {
        let queue = self.selected();
        let area = queue.map(|queue| queue.area).unwrap_or_default();
        let address = |address: u64| half(address, u32::from(offset & common::HIGH != 0));
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select,
            common::DEVICE_FEATURE => half(self.modern_offer(), self.device_feature_select),
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select,
            common::DRIVER_FEATURE => half(self.accepted, self.driver_feature_select),
            common::CONFIG_MSIX_VECTOR => self.config_vector.into(),
            common::NUM_QUEUES => self.driver.queue_count().into(),
            common::DEVICE_STATUS => self.status.into(),
            common::CONFIG_GENERATION => self.generation.into(),
            common::QUEUE_SELECT => self.queue_select.into(),
            common::QUEUE_SIZE => area.size.into(),
            common::QUEUE_MSIX_VECTOR => queue.map_or(NO_VECTOR, |queue| queue.vector).into(),
            common::QUEUE_ENABLE => queue.is_some_and(Queue::is_enabled).into(),
            common::QUEUE_NOTIFY_OFF => self.queue_select.into(),
            at if at & !common::HIGH == common::QUEUE_DESC => address(area.descriptors),
            at if at & !common::HIGH == common::QUEUE_DRIVER => address(area.driver),
            at if at & !common::HIGH == common::QUEUE_DEVICE => address(area.device),
            // Queues are reset by the write, so that none is ever seen being reset.
            _ => 0,
        }
    }

    fn write_common(&mut self, offset: u64, value: u32) {
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select = value,
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select = value,
            common::DRIVER_FEATURE if self.driver_feature_select < 2 => {
                let mut accepted = self.accepted;
                let offset = if self.driver_feature_select == 1 { common::HIGH } else { 0 };
                set_half(&mut accepted, offset, value);
                self.accept(accepted);
            }
            common::CONFIG_MSIX_VECTOR => self.config_vector = self.vector(value),
            common::DEVICE_STATUS if value as u8 == 0 => self.reset_virtio(None),
            common::DEVICE_STATUS => self.set_modern_status(value as u8),
            common::QUEUE_SELECT => self.queue_select = value as u16,
            common::QUEUE_MSIX_VECTOR => {
                let vector = self.vector(value);
                if let Some(queue) = self.selected_mut() {
                    queue.vector = vector;
                }
            }
            common::QUEUE_ENABLE => self.enable_selected(value),
            common::QUEUE_RESET if value == 1 && self.driver.has(feature::RING_RESET) => self.reset_selected(),
            _ => {
                // Where an enabled queue is does not change.
                let Some(queue) = self.selected_mut().filter(|queue| !queue.is_enabled()) else { return };
                let possible = 1..=u32::from(queue.largest());
                let area = &mut queue.area;
                match offset & !common::HIGH {
                    // A size that can't be leaves it as it was; one of a split ring is looked at when it is enabled.
                    _ if offset == common::QUEUE_SIZE && possible.contains(&value) => area.size = value as u16,
                    common::QUEUE_DESC => set_half(&mut area.descriptors, offset & common::HIGH, value),
                    common::QUEUE_DRIVER => set_half(&mut area.driver, offset & common::HIGH, value),
                    common::QUEUE_DEVICE => set_half(&mut area.device, offset & common::HIGH, value),
                    _ => {}
                }
            }
        }
    }

    fn enable_selected(&mut self, value: u32) {
        let features = self.driver.features;
        let number = self.queue_select;
        let Some(queue) = self.selected_mut() else { return };
        if value != 1 {
            self.driver.fail(format_args!("queue {number}: {value:#x} was written to queue_enable"));
        } else if !queue.is_enabled() && !queue.enable(features) {
            let size = queue.area.size;
            self.driver.fail(format_args!("queue {number}: there is no split ring of {size} entries"));
        }
        self.settle();
    }

    fn reset_selected(&mut self) {
        let number = self.queue_select;
        if self.selected().is_some_and(Queue::is_enabled) {
            self.device.queue_reset(number, &mut self.driver);
        }
        self.settle();
        if let Some(queue) = self.selected_mut() {
            queue.reset();
        }
    }

    fn set_modern_status(&mut self, value: u8) {
        let agreeing = value & !self.status & status::FEATURES_OK != 0;
        // The driver looks whether the bit has stayed.
        let refused = if agreeing && !self.agrees() { status::FEATURES_OK } else { 0 };
        self.set_status(value & !refused);
    }

    /// Whether the device works with what the driver has accepted.
    fn agrees(&self) -> bool {
        let has = |features| self.accepted & features == features;
        let needs_modern = self.accepted & (feature::RING_PACKED | feature::RING_RESET) != 0 || !self.options.legacy;
        self.accepted & !self.modern_offer() == 0
            && (has(feature::VERSION_1) || !needs_modern)
            && self.device.accepts(self.accepted)
    }
}
