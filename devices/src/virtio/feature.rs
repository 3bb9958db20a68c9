//! Feature bits that are not of one kind of device (virtio 1.2, chapter 6, and the bits of the legacy interface).

/// The driver wants an interrupt whenever it has no buffers left, even if it asks for none (legacy).
pub const NOTIFY_ON_EMPTY: u64 = 1 << 24;
/// Buffers may be split into descriptors as the driver likes (legacy; a matter of course since).
pub const ANY_LAYOUT: u64 = 1 << 27;
/// A descriptor may stand for a table of them.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// Either side says at which entry of a ring it wants to be told.
pub const EVENT_IDX: u64 = 1 << 29;
/// A driver that accepts this accepts whatever it is offered, and gets nothing (legacy).
pub const BAD_FEATURE: u64 = 1 << 30;
/// The driver follows virtio 1.
pub const VERSION_1: u64 = 1 << 32;
/// Queues are of the packed format.
pub const RING_PACKED: u64 = 1 << 34;
/// A queue can be reset alone.
pub const RING_RESET: u64 = 1 << 40;

/// Those that only a driver of the legacy interface is offered.
pub const LEGACY_ONLY: u64 = NOTIFY_ON_EMPTY | ANY_LAYOUT | BAD_FEATURE;
