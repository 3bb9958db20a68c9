//! Commands of ATA disks (ATA/ATAPI-6, clause 8, and those that older drivers still give).

use serde::{Deserialize, Serialize};

/// EXECUTE DEVICE DIAGNOSTIC, which both devices of a channel obey.
pub const EXECUTE_DEVICE_DIAGNOSTIC: u8 = 0x90;
/// DEVICE RESET, which a packet device obeys even while it is busy.
pub const DEVICE_RESET: u8 = 0x08;
/// PACKET.
pub const PACKET: u8 = 0xa0;
/// IDENTIFY PACKET DEVICE.
pub const IDENTIFY_PACKET_DEVICE: u8 = 0xa1;

/// What happens to sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Access {
    Read,
    Write,
    /// They are read, and stay where they are.
    Verify,
}

/// How data passes between host and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// A sector at a time.
    Pio,
    /// As many sectors at a time as SET MULTIPLE MODE has said.
    Multiple,
    /// By the bus master.
    Dma,
}

/// A power mode that a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Power {
    /// Ready.
    Idle,
    /// Heads parked, motor off.
    Standby,
    /// As standby; only a reset wakes it.
    Sleep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Nop,
    Sectors {
        access: Access,
        transport: Transport,
        ext: bool,
    },
    FlushCache,
    Identify,
    InitializeDeviceParameters,
    Recalibrate,
    Seek,
    SetFeatures,
    SetMultiple,
    ReadBuffer,
    WriteBuffer,
    CheckPower,
    /// `timer`: the sector count is that of the standby timer.
    SetPower {
        power: Power,
        timer: bool,
    },
    ReadNativeMax {
        ext: bool,
    },
    SetMax {
        ext: bool,
    },
    Smart,
    DataSetManagement,
}

impl Command {
    /// What an opcode means; `None`: no disk of this kind knows it.
    pub fn decode(opcode: u8) -> Option<Self> {
        use Access::{Read, Verify, Write};
        use Transport::{Dma, Multiple, Pio};
        let sectors = |access, transport, ext| Self::Sectors { access, transport, ext };
        let power = |power, timer| Self::SetPower { power, timer };
        Some(match opcode {
            0x00 => Self::Nop,
            0x06 => Self::DataSetManagement,
            0x10..=0x1f => Self::Recalibrate,
            0x20 | 0x21 => sectors(Read, Pio, false),
            0x24 => sectors(Read, Pio, true),
            0x25 => sectors(Read, Dma, true),
            0x27 => Self::ReadNativeMax { ext: true },
            0x29 => sectors(Read, Multiple, true),
            0x30 | 0x31 | 0x3c => sectors(Write, Pio, false),
            0x34 => sectors(Write, Pio, true),
            0x35 => sectors(Write, Dma, true),
            0x37 => Self::SetMax { ext: true },
            0x39 => sectors(Write, Multiple, true),
            0x40 | 0x41 => sectors(Verify, Pio, false),
            0x42 => sectors(Verify, Pio, true),
            0x70..=0x7f => Self::Seek,
            0x91 => Self::InitializeDeviceParameters,
            0x94 | 0xe0 => power(Power::Standby, false),
            0x95 | 0xe1 => power(Power::Idle, false),
            0x96 | 0xe2 => power(Power::Standby, true),
            0x97 | 0xe3 => power(Power::Idle, true),
            0x98 | 0xe5 => Self::CheckPower,
            0x99 | 0xe6 => power(Power::Sleep, false),
            0xb0 => Self::Smart,
            0xc4 => sectors(Read, Multiple, false),
            0xc5 => sectors(Write, Multiple, false),
            0xc6 => Self::SetMultiple,
            0xc8 | 0xc9 => sectors(Read, Dma, false),
            0xca | 0xcb => sectors(Write, Dma, false),
            0xe4 => Self::ReadBuffer,
            0xe7 | 0xea => Self::FlushCache,
            0xe8 => Self::WriteBuffer,
            0xec => Self::Identify,
            0xef => Self::SetFeatures,
            0xf8 => Self::ReadNativeMax { ext: false },
            0xf9 => Self::SetMax { ext: false },
            _ => return None,
        })
    }
}
