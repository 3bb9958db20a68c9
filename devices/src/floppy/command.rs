//! The commands of the 82078: their codes and lengths.

/// Most bytes of a command: RESTORE.
pub const LONGEST: usize = 17;
/// Most bytes of a result: SAVE.
pub const LONGEST_RESULT: usize = 16;

/// First byte of a command that works on sectors: multi-track.
pub const MULTI_TRACK: u8 = 0x80;
/// Double density.
pub const MFM: u8 = 0x40;
/// Skip sectors with the other kind of data mark.
pub const SKIP: u8 = 0x20;
/// RELATIVE SEEK: towards the spindle.
pub const INWARD: u8 = 0x40;
/// LOCK rather than UNLOCK.
pub const LOCK: u8 = 0x80;
/// DRIVE SPECIFICATION: the last byte.
pub const SPECIFICATION_DONE: u8 = 0x80;
/// DRIVE SPECIFICATION, last byte: no result phase.
pub const SPECIFICATION_SILENT: u8 = 0x40;

/// A condition of SCAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Equal,
    LowOrEqual,
    HighOrEqual,
}

/// What a command works on sectors with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read { deleted: bool },
    ReadTrack,
    Write { deleted: bool },
    Verify,
    Scan(Condition),
    Format,
    FormatAndWrite,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Sectors(Operation),
    ReadId,
    Specify,
    SenseDriveStatus,
    Recalibrate,
    SenseInterruptStatus,
    DumpRegisters,
    Seek,
    RelativeSeek,
    Version,
    Perpendicular,
    Configure,
    Lock,
    PowerDownMode,
    PartId,
    Option,
    DriveSpecification,
    Save,
    Restore,
    Invalid,
}

impl Command {
    /// The command that a byte begins.
    pub fn decode(byte: u8) -> Self {
        match byte {
            0x03 => Self::Specify,
            0x04 => Self::SenseDriveStatus,
            0x07 => Self::Recalibrate,
            0x08 => Self::SenseInterruptStatus,
            0x0e => Self::DumpRegisters,
            0x0f => Self::Seek,
            0x10 => Self::Version,
            0x12 => Self::Perpendicular,
            0x13 => Self::Configure,
            0x14 | 0x94 => Self::Lock,
            0x17 => Self::PowerDownMode,
            0x18 => Self::PartId,
            0x2e => Self::Save,
            0x33 => Self::Option,
            0x4e => Self::Restore,
            0x8e => Self::DriveSpecification,
            0x8f | 0xcf => Self::RelativeSeek,
            0x02 | 0x42 => Self::Sectors(Operation::ReadTrack),
            0x0a | 0x4a => Self::ReadId,
            0x0d | 0x4d => Self::Sectors(Operation::Format),
            0xad | 0xed => Self::Sectors(Operation::FormatAndWrite),
            _ => match (byte & 0x1f, byte & 0x3f) {
                (_, 0x05) => Self::Sectors(Operation::Write { deleted: false }),
                (_, 0x09) => Self::Sectors(Operation::Write { deleted: true }),
                (0x06, _) => Self::Sectors(Operation::Read { deleted: false }),
                (0x0c, _) => Self::Sectors(Operation::Read { deleted: true }),
                (0x16, _) => Self::Sectors(Operation::Verify),
                (0x11, _) => Self::Sectors(Operation::Scan(Condition::Equal)),
                (0x19, _) => Self::Sectors(Operation::Scan(Condition::LowOrEqual)),
                (0x1d, _) => Self::Sectors(Operation::Scan(Condition::HighOrEqual)),
                _ => Self::Invalid,
            },
        }
    }

    /// Whether `bytes`, not empty, are all of it.
    pub fn is_complete(self, bytes: &[u8]) -> bool {
        let parameters = match self {
            Self::Sectors(Operation::Format | Operation::FormatAndWrite) => 5,
            Self::Sectors(_) => 8,
            Self::Seek | Self::RelativeSeek | Self::Specify => 2,
            Self::Configure => 3,
            Self::ReadId
            | Self::SenseDriveStatus
            | Self::Recalibrate
            | Self::Perpendicular
            | Self::PowerDownMode
            | Self::Option => 1,
            Self::Restore => 16,
            // Up to one byte for each of the four drives, and the one that ends it.
            Self::DriveSpecification => {
                return bytes.len() == 6 || bytes[1..].last().is_some_and(|last| last & SPECIFICATION_DONE != 0);
            }
            Self::SenseInterruptStatus
            | Self::DumpRegisters
            | Self::Version
            | Self::Lock
            | Self::PartId
            | Self::Save
            | Self::Invalid => 0,
        };
        bytes.len() > parameters
    }
}
