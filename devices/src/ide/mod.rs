//! The IDE function of the 82371SB (PIIX3), PCI function 01.1, 8086:7010, with ATA disks and CD/DVD drives.
//!
//! Follows Intel 290550 (function 1), ATA/ATAPI-6 (T13 1410D), SFF-8020i and MMC-3. Registers: per channel the command block
//! (8 ports), device control and alternate status (1 port), and half of the bus master's 16 ports (BAR 4).
//! Emulated: two channels with two devices each; disks with 28-bit, 48-bit and CHS addresses, transfers by the
//! processor and by the bus master, multiple sectors, write cache, power modes, host protected area, SMART, TRIM; CD/DVD drives
//! with one data track, their tray and media events; device selection, software reset, diagnostics; a bus master with regions
//! of any size, and its status in all cases that the data sheet tells of.
//!
//! Not emulated: time. A command takes as long as the host does, and the timing registers (IDETIM, SIDETIM) are storage; the ports
//! answer whether IDETIM says so or not, as QEMU's do. The bus master's direction bit is storage too: a command knows its
//! direction. There are no passwords, no queued commands, no streaming, no device configuration overlay: these commands are aborted,
//! and the identification does not have them. CDs have no audio.

mod atapi;
mod bus_master;
mod channel;
mod command;
mod disk;
mod drive;
mod features;
mod geometry;
mod host_protected_area;
mod identify;
mod registers;
mod sectors;
mod smart;
mod state;
mod task_file;
#[cfg(test)]
mod tests;
mod trim;

pub use atapi::Cd;
pub use disk::Disk;
pub use geometry::{Geometry, SECTOR, Translation};
pub use identify::Identity;

use std::ops::Range;
use std::sync::Arc;

use self::channel::{Channel, UNITS};
use self::drive::Unit;
use self::registers::{master, reg};
use crate::backend::disk::DiskClient;
use crate::base::{
    AccessRule, BusMaster, Device, Dma, GuestRam, Inspector, IoDevice, IrqLine, Region, ResetKind, State, StateError,
};
use crate::pci::{Bar, BarKind, PciConfig, PciConfigBuilder, PciFunction};
use crate::scsi::CdDrive;

/// Channels of the function.
const CHANNELS: usize = 2;
/// BAR of the bus master.
const MASTER_BAR: usize = 4;

/// What is connected to a channel's connector.
pub enum Connection {
    /// A disk.
    Disk(Disk),
    /// A CD/DVD drive.
    Cd(Cd),
}

/// Where a drive is: channel and unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// 0 is the primary channel.
    pub channel: u8,
    /// 0 is the master.
    pub unit: u8,
}

/// Registers a write to which does nothing by itself. It may come late: in the order of all writes, and before any other access of the
/// processors to the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LateWrites {
    /// Those of a channel's command block.
    Command {
        /// Number of the channel.
        channel: usize,
        /// Offsets in the block.
        registers: Range<u64>,
    },
    /// Those at these ports.
    Ports(Range<u16>),
}

/// Who can hold back such writes, so that a processor need not wait for each. Called with the function's lock held: a leaf.
pub trait WriteBuffer: Send + Sync {
    /// These are all from now on.
    fn may_be_late(&self, writes: &[LateWrites]);
}

/// After so many commands to a channel it pays to have writes held back, which takes the host a while to set up.
const COMMANDS_THAT_PAY: u8 = 16;

/// The function.
pub struct PiixIde {
    config: PciConfig,
    dma: Dma,
    channels: [Channel; CHANNELS],
    buffer: Option<Arc<dyn WriteBuffer>>,
    /// Commands to each channel, as far as they are counted.
    commands: [u8; CHANNELS],
    /// What `buffer` knows.
    late: Vec<LateWrites>,
}

impl PiixIde {
    /// Command block and control port of the two channels.
    pub const REGIONS: [[Region; 2]; CHANNELS] = [
        [Region::ports(0, "ide", 8, AccessRule::native(1, 4)), Region::ports(1, "ide", 1, AccessRule::BYTE)],
        [Region::ports(2, "ide", 8, AccessRule::native(1, 4)), Region::ports(3, "ide", 1, AccessRule::BYTE)],
    ];
    /// The bus master's registers, BAR 4.
    pub const MASTER: Region = Region::ports(4, "piix-bmdma", 16, AccessRule::UP_TO_DWORD);

    /// A function with the drives of the primary and of the secondary channel, and their interrupts. `gate` is its bus
    /// master's.
    #[must_use]
    pub fn new(
        ram: GuestRam,
        gate: BusMaster,
        irqs: [IrqLine; CHANNELS],
        drives: [[Option<Connection>; UNITS]; CHANNELS],
    ) -> Self {
        let config = PciConfigBuilder::new(0x8086, 0x7010, 0x01_0180)
            .status(0x0280)
            .bar(MASTER_BAR, Bar { region: Self::MASTER, kind: BarKind::Io })
            .bus_master(gate.clone())
            .build();
        let unit = |drive| match drive {
            None => Unit::Absent,
            Some(Connection::Disk(disk)) => Unit::Disk(Box::new(disk)),
            Some(Connection::Cd(cd)) => Unit::Cd(Box::new(cd)),
        };
        let [primary, secondary] = drives.map(|drives| drives.map(unit));
        let [first, second] = irqs;
        let channels = [Channel::new(primary, first), Channel::new(secondary, second)];
        Self { config, dma: Dma::new(ram, gate), channels, buffer: None, commands: [0; CHANNELS], late: Vec::new() }
    }

    /// The same with somebody who can hold back writes.
    #[must_use]
    pub fn buffered_by(self, buffer: Arc<dyn WriteBuffer>) -> Self {
        Self { buffer: Some(buffer), ..self }
    }

    /// Takes note of a command.
    fn count_command(&mut self, channel: usize) {
        let count = &mut self.commands[channel];
        if *count == COMMANDS_THAT_PAY || self.channels[channel].is_empty() {
            return;
        }
        *count += 1;
        if *count == COMMANDS_THAT_PAY {
            self.follow_late_writes();
        }
    }

    /// Tells who can hold back writes which ones, if they are others now.
    ///
    /// What goes before a command has no effect before it: that the device register chooses whose interrupt is to be seen matters
    /// only to a driver that has given commands to both devices, which it must not. The bus master's status a driver clears before
    /// whatever may set it again, which is another access; if it does so after, it may be too late on any PC.
    fn follow_late_writes(&mut self) {
        let Some(buffer) = &self.buffer else { return };
        let master = self.config.bar_address(MASTER_BAR).and_then(|base| u16::try_from(base).ok());
        let mut late = Vec::new();
        for channel in (0..CHANNELS).filter(|channel| self.commands[*channel] == COMMANDS_THAT_PAY) {
            late.push(LateWrites::Command { channel, registers: reg::ERROR_FEATURES..reg::STATUS_COMMAND });
            if let Some(master) = master {
                let at = |register| master + channel as u16 * master::LEN as u16 + register as u16;
                late.push(LateWrites::Ports(at(master::STATUS)..at(master::STATUS + 1)));
                late.push(LateWrites::Ports(at(master::TABLE)..at(master::LEN)));
            }
        }
        if late != self.late {
            buffer.may_be_late(&late);
            self.late = late;
        }
    }

    /// Does something to a CD drive by hand, and sees to a command that this ends. `None`: there is no CD drive at this place.
    pub fn with_cd<R>(&mut self, place: Place, what: impl FnOnce(&mut CdDrive) -> R) -> Option<R> {
        let channel = self.channels.get_mut(usize::from(place.channel))?;
        let result = channel.drives.get_mut(usize::from(place.unit))?.change(what);
        self.settle();
        result
    }

    fn settle(&mut self) {
        self.channels.iter_mut().for_each(|channel| channel.settle(&self.dma));
    }

    /// The channel that a window of ports belongs to, and whether it is the command block.
    fn window(region: u16) -> Option<(usize, bool)> {
        Self::REGIONS.iter().enumerate().find_map(|(channel, [command, control])| match region {
            id if id == command.id => Some((channel, true)),
            id if id == control.id => Some((channel, false)),
            _ => None,
        })
    }
}

impl IoDevice for PiixIde {
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64 {
        let value = match Self::window(region) {
            Some((channel, true)) => {
                let channel = &mut self.channels[channel];
                if offset == reg::DATA && size > 1 {
                    let value = channel.read_data(size).into();
                    if channel.is_amid_block() {
                        return value;
                    }
                    value
                } else {
                    bytes(offset, size, |register| match register {
                        reg::DATA => channel.read_data(1) as u8,
                        register => channel.read(register),
                    })
                }
            }
            Some((channel, false)) => self.channels[channel].status().into(),
            None => bytes(offset, size, |offset| {
                let channel = &self.channels[(offset / master::LEN) as usize % CHANNELS];
                channel.read_master(offset % master::LEN)
            }),
        };
        self.settle();
        value
    }

    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64) {
        let each = (offset..offset + u64::from(size)).zip(value.to_le_bytes());
        match Self::window(region) {
            Some((number, true)) => {
                let channel = &mut self.channels[number];
                if offset == reg::DATA {
                    channel.write_data(size, value as u32);
                    if channel.is_amid_block() {
                        return;
                    }
                } else {
                    each.for_each(|(register, value)| channel.write(register, value));
                }
                if offset == reg::STATUS_COMMAND {
                    self.count_command(number);
                }
            }
            Some((channel, false)) => self.channels[channel].write_control(value as u8),
            None => each.for_each(|(offset, value)| {
                let channel = &mut self.channels[(offset / master::LEN) as usize % CHANNELS];
                channel.write_master(offset % master::LEN, value);
            }),
        }
        self.settle();
    }
}

/// A wider read, made of reads of bytes.
fn bytes(offset: u64, size: u8, mut read: impl FnMut(u64) -> u8) -> u64 {
    (0..u64::from(size)).fold(0, |value, at| value | u64::from(read(offset + at)) << (8 * at))
}

impl PciFunction for PiixIde {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    /// A transfer that waits for bus mastering to be allowed goes on.
    fn config_written(&mut self, _offset: u8, _len: u8) {
        self.settle();
        self.follow_late_writes();
    }
}

impl DiskClient for PiixIde {
    fn requests_completed(&mut self) {
        self.settle();
    }

    fn resume_requests(&mut self) {
        self.channels.iter_mut().for_each(Channel::resume);
        self.settle();
    }

    fn medium_resized(&mut self) {
        for drive in self.channels.iter_mut().flat_map(|channel| &mut channel.drives) {
            if let Unit::Disk(disk) = &mut drive.unit {
                disk.resized();
            }
        }
    }

    fn drain_requests(&mut self) {
        while self.channels.iter_mut().any(Channel::has_requests) {
            self.channels.iter_mut().for_each(Channel::drain);
            self.settle();
        }
    }
}

impl Device for PiixIde {
    fn name(&self) -> &'static str {
        "piix3-ide"
    }

    fn reset(&mut self, kind: ResetKind) {
        self.config.reset();
        self.channels.iter_mut().for_each(|channel| channel.reset(kind));
        self.follow_late_writes();
    }

    fn save(&self) -> State {
        let Self { config, dma: _, channels, buffer: _, commands: _, late: _ } = self;
        let channels = channels.each_ref().map(Channel::save);
        State::of(state::VERSION, &state::V1 { config: config.save(), channels })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config, channels } = state.decode(state::VERSION)?;
        let [primary, secondary] = [0, 1].map(|at| self.channels[at].check(&channels[at], &self.dma));
        let requests = [primary?, secondary?];
        self.config.load(&config)?;
        for ((own, saved), requests) in self.channels.iter_mut().zip(&channels).zip(requests) {
            own.load(saved, requests);
        }
        self.follow_late_writes();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        for (at, name) in [(0x40, "IDETIM primary"), (0x42, "IDETIM secondary")] {
            out.register(name, self.config.read_u16(at), 16);
        }
        for (channel, name) in self.channels.iter().zip(["primary", "secondary"]) {
            channel.inspect(name, out);
        }
    }
}
