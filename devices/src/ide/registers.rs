//! Registers of ATA devices (ATA/ATAPI-6, clause 7) and of the PIIX3's bus master (Intel 290550, 2.7).

/// Offsets in the command block; the last two have another meaning when written.
pub mod reg {
    #![allow(missing_docs)]
    pub const DATA: u64 = 0;
    pub const ERROR_FEATURES: u64 = 1;
    pub const SECTOR_COUNT: u64 = 2;
    pub const LBA_LOW: u64 = 3;
    pub const LBA_MID: u64 = 4;
    pub const LBA_HIGH: u64 = 5;
    pub const DEVICE: u64 = 6;
    pub const STATUS_COMMAND: u64 = 7;
}

/// Status register.
pub mod status {
    #![allow(missing_docs)]
    pub const BSY: u8 = 0x80;
    pub const DRDY: u8 = 0x40;
    /// Seek complete; "service" in newer standards.
    pub const DSC: u8 = 0x10;
    pub const DRQ: u8 = 0x08;
    /// "Check condition" of packet devices.
    pub const ERR: u8 = 0x01;
}

/// Error register. Packet devices have the sense key in the upper half.
pub mod error {
    #![allow(missing_docs)]
    pub const UNC: u8 = 0x40;
    pub const IDNF: u8 = 0x10;
    pub const ABRT: u8 = 0x04;
    /// What a self-test leaves: this device has passed, and so has device 1, or it is not there.
    pub const PASSED: u8 = 0x01;
}

/// Device register.
pub mod device {
    #![allow(missing_docs)]
    /// Bits that always read as one.
    pub const OBSOLETE: u8 = 0xa0;
    pub const LBA: u8 = 0x40;
    pub const DEV: u8 = 0x10;
    /// LBA bits 27:24, or the head.
    pub const HEAD: u8 = 0x0f;
}

/// Device control register.
pub mod control {
    #![allow(missing_docs)]
    pub const HOB: u8 = 0x80;
    pub const SRST: u8 = 0x04;
    pub const NIEN: u8 = 0x02;
}

/// Interrupt reason of packet devices, in the sector count register.
pub mod reason {
    /// The command packet is awaited, or, with the bit below, the command has ended.
    pub const COMMAND: u8 = 0x01;
    /// To the host.
    pub const INPUT: u8 = 0x02;
}

/// Bus master registers.
pub mod master {
    #![allow(missing_docs)]
    pub const COMMAND: u64 = 0;
    pub const STATUS: u64 = 2;
    pub const TABLE: u64 = 4;
    /// Registers of a channel.
    pub const LEN: u64 = 8;
    /// Start/stop.
    pub const SSBM: u8 = 0x01;
    /// To memory.
    pub const RWCON: u8 = 0x08;
    pub const ACTIVE: u8 = 0x01;
    pub const ERROR: u8 = 0x02;
    pub const INTERRUPT: u8 = 0x04;
    /// Software notes here which device can do DMA.
    pub const CAPABLE: u8 = 0x60;
}
