//! Numbers of virtio-scsi (virtio 1.2, section 5.6).

/// Feature bits.
pub mod feature {
    /// Units come and go while the driver runs.
    pub const HOTPLUG: u64 = 1 << 1;
    /// The driver is told when a unit's parameters change.
    pub const CHANGE: u64 = 1 << 2;
}

/// Queues.
pub mod queue {
    #![allow(missing_docs)]
    pub const CONTROL: u16 = 0;
    pub const EVENT: u16 = 1;
    /// The first request queue.
    pub const REQUEST: u16 = 2;
}

/// Offsets in the configuration structure.
pub mod config {
    #![allow(missing_docs)]
    pub const NUM_QUEUES: usize = 0;
    pub const SEG_MAX: usize = 4;
    pub const MAX_SECTORS: usize = 8;
    pub const CMD_PER_LUN: usize = 12;
    pub const EVENT_INFO_SIZE: usize = 16;
    pub const SENSE_SIZE: usize = 20;
    pub const CDB_SIZE: usize = 24;
    pub const MAX_CHANNEL: usize = 28;
    pub const MAX_TARGET: usize = 30;
    pub const MAX_LUN: usize = 32;
    pub const LEN: usize = 36;
}

/// What has become of a request.
pub mod response {
    #![allow(missing_docs)]
    pub const OK: u8 = 0;
    pub const OVERRUN: u8 = 1;
    pub const ABORTED: u8 = 2;
    pub const BAD_TARGET: u8 = 3;
    pub const RESET: u8 = 4;
    pub const FAILURE: u8 = 9;
    pub const FUNCTION_SUCCEEDED: u8 = 10;
    pub const FUNCTION_REJECTED: u8 = 11;
    pub const INCORRECT_LUN: u8 = 12;
}

/// Kinds of control requests, and of task management functions among them.
pub mod control {
    #![allow(missing_docs)]
    pub const TASK_MANAGEMENT: u32 = 0;
    pub const NOTIFICATION_QUERY: u32 = 1;
    pub const NOTIFICATION_SUBSCRIBE: u32 = 2;
    pub const ABORT_TASK: u32 = 0;
    pub const ABORT_TASK_SET: u32 = 1;
    pub const CLEAR_TASK_SET: u32 = 3;
    pub const I_T_NEXUS_RESET: u32 = 4;
    pub const LOGICAL_UNIT_RESET: u32 = 5;
    pub const QUERY_TASK: u32 = 6;
    pub const QUERY_TASK_SET: u32 = 7;
}

/// Events, and the reasons of a transport reset.
pub mod event {
    #![allow(missing_docs)]
    pub const NONE: u32 = 0;
    pub const TRANSPORT_RESET: u32 = 1;
    pub const PARAM_CHANGE: u32 = 3;
    /// Others got lost.
    pub const MISSED: u32 = 1 << 31;
    pub const RESCAN: u32 = 1;
    pub const REMOVED: u32 = 2;
}

/// SCSI status codes.
pub mod status {
    #![allow(missing_docs)]
    pub const GOOD: u8 = 0x00;
    pub const CHECK_CONDITION: u8 = 0x02;
}
