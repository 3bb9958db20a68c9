//! Registers of a virtio PCI function (virtio 1.2, sections 4.1.4 and 4.1.4.10).

/// Device status.
pub mod status {
    /// The driver is about to drive the device.
    pub const DRIVER: u8 = 1 << 1;
    pub const ACKNOWLEDGE: u8 = 1 << 0;
    pub const DRIVER_OK: u8 = 1 << 2;
    pub const FEATURES_OK: u8 = 1 << 3;
    pub const NEEDS_RESET: u8 = 1 << 6;
}

/// ISR status.
pub mod isr {
    pub const QUEUE: u8 = 1 << 0;
    /// Of the configuration. Bit 0 goes with it, as QEMU has it: old drivers look at no other.
    pub const CONFIGURATION: u8 = 0b11;
}

/// The common configuration structure.
pub mod common {
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub const DEVICE_FEATURE: u64 = 0x04;
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub const DRIVER_FEATURE: u64 = 0x0c;
    pub const CONFIG_MSIX_VECTOR: u64 = 0x10;
    pub const NUM_QUEUES: u64 = 0x12;
    pub const DEVICE_STATUS: u64 = 0x14;
    pub const CONFIG_GENERATION: u64 = 0x15;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_MSIX_VECTOR: u64 = 0x1a;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    pub const QUEUE_DESC: u64 = 0x20;
    pub const QUEUE_DRIVER: u64 = 0x28;
    pub const QUEUE_DEVICE: u64 = 0x30;
    /// The high half of an address.
    pub const HIGH: u64 = 4;
    pub const QUEUE_RESET: u64 = 0x3a;
}

/// The legacy interface: all of it, but for the device's own configuration behind it.
pub mod legacy {
    pub const DEVICE_FEATURES: u64 = 0x00;
    pub const DRIVER_FEATURES: u64 = 0x04;
    /// Page frame number.
    pub const QUEUE_ADDRESS: u64 = 0x08;
    pub const QUEUE_SIZE: u64 = 0x0c;
    pub const QUEUE_SELECT: u64 = 0x0e;
    pub const QUEUE_NOTIFY: u64 = 0x10;
    pub const DEVICE_STATUS: u64 = 0x12;
    pub const ISR_STATUS: u64 = 0x13;
    /// Only there while MSI-X is enabled, as is the next one.
    pub const CONFIG_MSIX_VECTOR: u64 = 0x14;
    pub const QUEUE_MSIX_VECTOR: u64 = 0x16;
    /// Length without and with MSI-X.
    pub const LEN: u64 = 0x14;
    pub const LEN_MSIX: u64 = 0x18;
    /// Unit of addresses, and alignment of the used ring.
    pub const PAGE: u64 = 0x1000;
}
