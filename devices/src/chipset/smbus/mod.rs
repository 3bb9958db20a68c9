//! The SMBus host controller of the PIIX4, and the memory EEPROMs on its bus.
//!
//! Follows Intel 290562 (82371AB), section "SMBus host controller", and the System Management Bus Specification 1.0. It is part of
//! the power management function ([`Piix4Pm`](super::piix4_pm::Piix4Pm)), whose configuration space places its 16 I/O ports.
//! Emulated: all six protocols of the data sheet, the block buffer, kill, the completion interrupt, errors for devices that do not
//! answer. The slave side (host notify, alert, shadow addresses) is storage: nobody on this bus is a master.
//!
//! A transaction takes no time. As with QEMU a driver that polls sees the host busy once, and one that asked for the interrupt
//! gets it at once. Offset 0Dh, of the slave data that never arrives, reads as QEMU's does.

mod eeprom;

use self::eeprom::Eeprom;
use crate::base::{AccessRule, Inspector, Region, StateError};

/// Registers.
mod reg {
    pub const HSTSTS: u64 = 0x00;
    pub const SLVSTS: u64 = 0x01;
    pub const HSTCNT: u64 = 0x02;
    pub const HSTCMD: u64 = 0x03;
    pub const HSTADD: u64 = 0x04;
    pub const HSTDAT0: u64 = 0x05;
    pub const HSTDAT1: u64 = 0x06;
    pub const BLKDAT: u64 = 0x07;
    pub const SLVCNT: u64 = 0x08;
    pub const SHDWCMD: u64 = 0x09;
    pub const SLVEVT_LOW: u64 = 0x0a;
    pub const SLVEVT_HIGH: u64 = 0x0b;
    pub const SLVDAT_HIGH: u64 = 0x0d;
}

/// SMBHSTSTS.
mod status {
    pub const HOST_BUSY: u8 = 1 << 0;
    pub const INTER: u8 = 1 << 1;
    pub const DEV_ERR: u8 = 1 << 2;
    /// Nothing here sets it.
    pub const BUS_ERR: u8 = 1 << 3;
    pub const FAILED: u8 = 1 << 4;
    /// Bits that clear when written as one.
    pub const CLEARABLE: u8 = 0x1e;
}

/// SMBHSTCNT.
mod control {
    pub const INTEREN: u8 = 1 << 0;
    pub const KILL: u8 = 1 << 1;
    pub const PROTOCOL_SHIFT: u8 = 2;
    pub const PROTOCOL: u8 = 7;
    pub const START: u8 = 1 << 6;
    /// Bits that read back.
    pub const KEPT: u8 = 0x1f;
}

/// SMBSLVCNT: bits that exist.
const SLVCNT_BITS: u8 = 0x0f;
/// What QEMU's controller has at the upper byte of SMBSLVDAT.
const SLVDAT_HIGH_VALUE: u8 = 0x02;
/// Bytes of a block.
const BLOCK: usize = 32;
/// SMBus address of the first EEPROM; the others follow.
const FIRST_EEPROM: u8 = 0x50;
/// Memory slots.
const EEPROMS: usize = 8;

/// What a transaction does (SMBHSTCNT bits 4:2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Quick,
    Byte,
    ByteData,
    WordData,
    ProcessCall,
    Block,
}

/// The addressed device does not answer, or the transaction is not one of the data sheet's.
struct DeviceError;

/// The controller with its bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Smbus {
    hststs: u8,
    hstcnt: u8,
    hstcmd: u8,
    hstadd: u8,
    hstdat: [u8; 2],
    block: [u8; BLOCK],
    /// Where the next access to SMBBLKDAT goes.
    block_index: u8,
    slvcnt: u8,
    shdwcmd: u8,
    slvevt: [u8; 2],
    eeproms: [Eeprom; EEPROMS],
}

impl Smbus {
    /// The I/O ports: QEMU's controller decodes 64.
    pub(super) const REGION: Region = Region::ports(3, "pm-smbus", 64, AccessRule::BYTE);

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn save(&self) -> state::Smbus {
        let Self { hststs, hstcnt, hstcmd, hstadd, hstdat, block, block_index, slvcnt, shdwcmd, slvevt, eeproms } =
            self;
        state::Smbus {
            hststs: *hststs,
            hstcnt: *hstcnt,
            hstcmd: *hstcmd,
            hstadd: *hstadd,
            hstdat: *hstdat,
            block: *block,
            block_index: *block_index,
            slvcnt: *slvcnt,
            shdwcmd: *shdwcmd,
            slvevt: *slvevt,
            eeproms: eeproms.each_ref().map(Eeprom::save),
        }
    }

    /// # Errors
    /// Registers hold what they can't, or an EEPROM is none.
    pub(super) fn load(state: state::Smbus) -> Result<Self, StateError> {
        let state::Smbus {
            hststs,
            hstcnt,
            hstcmd,
            hstadd,
            hstdat,
            block,
            block_index,
            slvcnt,
            shdwcmd,
            slvevt,
            eeproms: saved,
        } = state;
        for (field, value, bits) in [
            ("hststs", hststs, status::CLEARABLE & !status::BUS_ERR | status::HOST_BUSY),
            ("hstcnt", hstcnt, control::KEPT),
            ("slvcnt", slvcnt, SLVCNT_BITS),
            ("block_index", block_index, BLOCK as u8 - 1),
        ] {
            if value & !bits != 0 {
                return Err(StateError::invalid("smbus", format!("{field} is {value:#04x}, which it can't hold")));
            }
        }
        let mut eeproms: [Eeprom; EEPROMS] = Default::default();
        for (eeprom, saved) in eeproms.iter_mut().zip(saved) {
            *eeprom = Eeprom::load(saved)?;
        }
        Ok(Self { hststs, hstcnt, hstcmd, hstadd, hstdat, block, block_index, slvcnt, shdwcmd, slvevt, eeproms })
    }

    pub(super) fn inspect(&self, out: &mut Inspector) {
        out.register("SMBHSTSTS", self.hststs, 8);
        out.register("SMBHSTCNT", self.hstcnt, 8);
        out.register("SMBHSTCMD", self.hstcmd, 8);
        out.register("SMBHSTADD", self.hstadd, 8);
        out.register("SMBHSTDAT", u16::from_le_bytes(self.hstdat), 16);
    }

    /// Whether the controller asserts its interrupt.
    pub(super) fn interrupt(&self) -> bool {
        self.hstcnt & control::INTEREN != 0 && self.hststs & status::CLEARABLE != 0
    }

    pub(super) fn read(&mut self, offset: u64) -> u8 {
        match offset {
            reg::HSTSTS => {
                let value = self.hststs;
                if value & status::HOST_BUSY != 0 {
                    self.transact();
                }
                value
            }
            reg::HSTCNT => {
                self.block_index = 0;
                self.hstcnt
            }
            reg::HSTCMD => self.hstcmd,
            reg::HSTADD => self.hstadd,
            reg::HSTDAT0 => self.hstdat[0],
            reg::HSTDAT1 => self.hstdat[1],
            reg::BLKDAT => {
                let value = *self.next_of_block();
                self.advance();
                value
            }
            reg::SLVCNT => self.slvcnt,
            reg::SHDWCMD => self.shdwcmd,
            reg::SLVEVT_LOW => self.slvevt[0],
            reg::SLVEVT_HIGH => self.slvevt[1],
            reg::SLVDAT_HIGH => SLVDAT_HIGH_VALUE,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u8) {
        match offset {
            reg::HSTSTS => self.hststs &= !(value & status::CLEARABLE),
            // Nothing sets a slave status.
            reg::SLVSTS => {}
            reg::HSTCNT => self.write_control(value),
            reg::HSTCMD => self.hstcmd = value,
            reg::HSTADD => self.hstadd = value,
            reg::HSTDAT0 => self.hstdat[0] = value,
            reg::HSTDAT1 => self.hstdat[1] = value,
            reg::BLKDAT => {
                *self.next_of_block() = value;
                self.advance();
            }
            reg::SLVCNT => self.slvcnt = value & SLVCNT_BITS,
            reg::SHDWCMD => self.shdwcmd = value,
            reg::SLVEVT_LOW => self.slvevt[0] = value,
            reg::SLVEVT_HIGH => self.slvevt[1] = value,
            _ => {}
        }
    }

    fn next_of_block(&mut self) -> &mut u8 {
        &mut self.block[usize::from(self.block_index) % BLOCK]
    }

    /// The index wraps: a driver that does not stop comes around.
    fn advance(&mut self) {
        self.block_index = (self.block_index + 1) % BLOCK as u8;
    }

    fn write_control(&mut self, value: u8) {
        let busy = self.hststs & status::HOST_BUSY != 0;
        self.hstcnt = value & control::KEPT;
        if value & control::KILL != 0 {
            if busy || value & control::START != 0 {
                self.hststs = self.hststs & !status::HOST_BUSY | status::FAILED;
            }
        } else if value & control::START != 0 && !busy {
            self.hststs |= status::HOST_BUSY;
            if value & control::INTEREN != 0 {
                self.transact();
            }
        }
    }

    /// Performs the transaction that was started.
    fn transact(&mut self) {
        let done = match self.perform() {
            Ok(()) => status::INTER,
            Err(DeviceError) => status::DEV_ERR,
        };
        self.hststs = self.hststs & !status::HOST_BUSY | done;
    }

    fn protocol(&self) -> Option<Protocol> {
        Some(match self.hstcnt >> control::PROTOCOL_SHIFT & control::PROTOCOL {
            0 => Protocol::Quick,
            1 => Protocol::Byte,
            2 => Protocol::ByteData,
            3 => Protocol::WordData,
            4 => Protocol::ProcessCall,
            5 => Protocol::Block,
            _ => return None,
        })
    }

    fn perform(&mut self) -> Result<(), DeviceError> {
        let protocol = self.protocol().ok_or(DeviceError)?;
        let index = (self.hstadd >> 1).checked_sub(FIRST_EEPROM).ok_or(DeviceError)?;
        let target = self.eeproms.get_mut(usize::from(index)).ok_or(DeviceError)?;
        let reads = self.hstadd & 1 != 0;
        match (protocol, reads) {
            (Protocol::Quick, _) => {}
            (Protocol::Byte, false) => {
                target.select(self.hstcmd);
            }
            (Protocol::Byte, true) => self.hstdat[0] = target.read(),
            (Protocol::ByteData, false) => target.select(self.hstcmd).write(self.hstdat[0]),
            (Protocol::ByteData, true) => self.hstdat[0] = target.select(self.hstcmd).read(),
            (Protocol::WordData, false) => {
                target.select(self.hstcmd);
                self.hstdat.iter().for_each(|byte| target.write(*byte));
            }
            (Protocol::WordData, true) => {
                target.select(self.hstcmd);
                self.hstdat.iter_mut().for_each(|byte| *byte = target.read());
            }
            // A word there and a word back; the direction bit does not matter.
            (Protocol::ProcessCall, _) => {
                target.select(self.hstcmd);
                self.hstdat.iter().for_each(|byte| target.write(*byte));
                self.hstdat.iter_mut().for_each(|byte| *byte = target.read());
            }
            (Protocol::Block, false) => {
                let count = usize::from(self.hstdat[0]);
                let data = self.block.get(..count).filter(|data| !data.is_empty()).ok_or(DeviceError)?;
                target.select(self.hstcmd);
                target.write(self.hstdat[0]);
                data.iter().for_each(|byte| target.write(*byte));
            }
            (Protocol::Block, true) => {
                target.select(self.hstcmd);
                let count = target.read();
                let data = self.block.get_mut(..usize::from(count)).ok_or(DeviceError)?;
                data.iter_mut().for_each(|byte| *byte = target.read());
                self.hstdat[0] = count;
                self.block_index = 0;
            }
        }
        Ok(())
    }
}

/// The saved form.
pub(super) mod state {
    use serde::{Deserialize, Serialize};

    use super::eeprom::state::Eeprom;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Smbus {
        pub hststs: u8,
        pub hstcnt: u8,
        pub hstcmd: u8,
        pub hstadd: u8,
        pub hstdat: [u8; 2],
        pub block: [u8; super::BLOCK],
        pub block_index: u8,
        pub slvcnt: u8,
        pub shdwcmd: u8,
        pub slvevt: [u8; 2],
        pub eeproms: [Eeprom; super::EEPROMS],
    }
}

#[cfg(test)]
mod tests;
