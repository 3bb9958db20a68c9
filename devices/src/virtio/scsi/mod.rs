//! A virtio SCSI host (virtio 1.2, section 5.6), as QEMU's `virtio-scsi-pci`.
//!
//! Emulated: any number of request queues; task management but for ACA; events of units that come, go or change; addresses of
//! targets 0 to 255 with units 0 to 16383 and the REPORT LUNS well-known unit; sizes of commands and sense data as the driver
//! sets them. Commands are carried out beside each other and end in any order.
//!
//! Not emulated: protection information (T10_PI), commands with data in both directions (INOUT), asynchronous notifications of
//! media events (subscriptions are answered with none, as by QEMU), ACA. Task attributes, priorities and command reference
//! numbers are accepted and have no effect: see [`crate::scsi`].

mod control;
mod registers;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::registers::{config, event, feature, queue, response, status};
use super::{Chain, ChainId, Driver, Kind, VirtioDevice, VirtioPci, VirtioStorage};
use crate::base::{GuestBuffer, Inspector, ResetKind, State, StateError};
use crate::scsi::{
    Address, CdDrive, Command, End, LAST_LUN, LogicalUnit, PlaceTaken, Reply, Targets, UnitPlace, UnitReset,
};

/// Highest number of a target.
pub const LAST_TARGET: u8 = 0xff;
/// Most request queues: what a bus of vectors has room for.
pub const MOST_QUEUES: u16 = 1021;
/// Bytes of a command's header before the command, and of its response before the sense data.
const COMMAND_HEADER: usize = 19;
const RESPONSE_HEADER: usize = 12;
/// Bytes of an event.
const EVENT: usize = 16;
/// Sizes after a reset, and the limits of what a driver can set.
const SENSE_SIZE: u32 = 96;
const CDB_SIZE: u32 = 32;
const SENSE_LIMIT: u32 = 0x1_0000;
const CDB_LIMIT: u32 = 256;

/// What a host is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiOptions {
    /// Number of request queues, 1 to [`MOST_QUEUES`].
    pub queues: u16,
    /// Entries of each queue: a power of two from 4.
    pub queue_size: u16,
    /// The number of segments that the driver is told follows from the size of a queue.
    pub seg_max_adjust: bool,
    /// Most sectors of 512 bytes of a command.
    pub max_sectors: u32,
    /// Commands that a driver should have under way at a unit, at most.
    pub cmd_per_lun: u32,
    /// The driver is told of units that come and go.
    pub hotplug: bool,
    /// The driver is told of parameters that change.
    pub param_change: bool,
}

/// QEMU's.
impl Default for ScsiOptions {
    fn default() -> Self {
        Self {
            queues: 1,
            queue_size: 256,
            seg_max_adjust: true,
            max_sectors: 0xffff,
            cmd_per_lun: 128,
            hotplug: true,
            param_change: true,
        }
    }
}

/// A command that a unit has.
#[derive(Debug)]
struct Active {
    chain: ChainId,
    /// The driver's name for it.
    tag: u64,
    place: UnitPlace,
    /// Where the response goes.
    response: GuestBuffer,
    /// Bytes of its data.
    data: u64,
    /// They go to the driver.
    to_driver: bool,
}

/// The device.
pub struct VirtioScsi {
    options: ScsiOptions,
    targets: Targets,
    sense_size: u32,
    cdb_size: u32,
    /// An event found no buffer.
    events_missed: bool,
    next_name: u64,
    /// By the names that units know them under.
    active: BTreeMap<u64, Active>,
}

impl VirtioScsi {
    /// A host with these units.
    #[must_use]
    pub fn new(targets: Targets, options: ScsiOptions) -> Self {
        Self {
            options,
            targets,
            sense_size: SENSE_SIZE,
            cdb_size: CDB_SIZE,
            events_missed: false,
            next_name: 0,
            active: BTreeMap::new(),
        }
    }

    /// Adds a unit while the driver runs.
    ///
    /// # Errors
    /// There is one at that place.
    pub fn attach(&mut self, place: UnitPlace, unit: LogicalUnit, driver: &mut Driver) -> Result<(), PlaceTaken> {
        self.targets.add(place, unit)?;
        if driver.has(feature::HOTPLUG) {
            self.push_event(event::TRANSPORT_RESET, Some(place), event::RESCAN, driver);
        }
        Ok(())
    }

    /// Takes a unit away while the driver runs, and tells whether there was one.
    pub fn detach(&mut self, place: UnitPlace, driver: &mut Driver) -> bool {
        let Some(given_up) = self.targets.remove(place) else { return false };
        self.give_back(&given_up, response::BAD_TARGET, driver);
        if driver.has(feature::HOTPLUG) {
            self.push_event(event::TRANSPORT_RESET, Some(place), event::REMOVED, driver);
        }
        true
    }

    fn push_event(&mut self, event: u32, place: Option<UnitPlace>, reason: u32, driver: &mut Driver) {
        let Some(chain) = driver.pop(queue::EVENT) else {
            self.events_missed = true;
            return;
        };
        if chain.writable.len() < EVENT {
            return driver.fail(format_args!("a buffer for events has less than {EVENT} bytes"));
        }
        let missed = if std::mem::take(&mut self.events_missed) { event::MISSED } else { 0 };
        let lun = place.map_or([0; 8], |UnitPlace { target, lun }| {
            let [high, low] = lun.to_be_bytes();
            [1, target, if high == 0 { 0 } else { 0x40 | high }, low, 0, 0, 0, 0]
        });
        let bytes = [&(event | missed).to_le_bytes()[..], &lun, &reason.to_le_bytes()].concat();
        chain.writable.fill_from(0, &bytes);
        driver.complete(&chain.id, EVENT as u32);
    }

    fn response_len(&self) -> usize {
        RESPONSE_HEADER + self.sense_size as usize
    }

    /// A chain of a request queue.
    fn begin(&mut self, chain: &Chain, driver: &mut Driver) {
        let (header_len, response_len) = (COMMAND_HEADER + self.cdb_size as usize, self.response_len());
        let Chain { id, readable, writable } = chain;
        if readable.len() < header_len || writable.len() < response_len {
            return driver.fail(format_args!("a request is shorter than its header, or has no room for its response"));
        }
        let mut header = vec![0; header_len];
        readable.copy_to(0, &mut header);
        let out = readable.part(header_len, readable.len() - header_len);
        let into = writable.part(response_len, writable.len() - response_len);
        let (lun, rest) = header.split_at(8);
        let (tag, rest) = rest.split_at(8);
        let cdb = &rest[COMMAND_HEADER - 16..];
        let address = address(lun);
        let mut active = Active {
            chain: *id,
            tag: tag.iter().rfold(0, |tag, byte| tag << 8 | u64::from(*byte)),
            place: UnitPlace { target: 0, lun: 0 },
            response: writable.part(0, response_len),
            data: out.len().max(into.len()) as u64,
            to_driver: out.is_empty(),
        };
        let Some(address) = address else { return active.respond(response::BAD_TARGET, driver) };
        if let Address::Unit(place) = address {
            active.place = place;
        }
        if !out.is_empty() && !into.is_empty() {
            return active.respond(response::FAILURE, driver);
        }
        let name = self.next_name;
        self.next_name += 1;
        match self.targets.start(address, Command { name, cdb, out, into }) {
            None => active.respond(response::BAD_TARGET, driver),
            Some(Reply::Overrun) => active.respond(response::OVERRUN, driver),
            Some(Reply::Ended(end)) => active.end(&end, driver),
            Some(Reply::Pending) => {
                self.active.insert(name, active);
            }
        }
    }

    /// Sees to the commands that units have ended.
    fn take_ends(&mut self, driver: &mut Driver) {
        while let Some(end) = self.targets.poll() {
            if let Some(active) = self.active.remove(&end.name) {
                active.end(&end, driver);
            }
        }
    }

    /// Gives back commands that units have given up.
    fn give_back(&mut self, names: &[u64], response: u8, driver: &mut Driver) {
        for name in names {
            if let Some(active) = self.active.remove(name) {
                active.respond(response, driver);
            }
        }
    }

    fn drain(&mut self, driver: &mut Driver) {
        while self.targets.is_busy() {
            self.targets.drain();
            self.take_ends(driver);
        }
    }
}

/// Where the eight bytes of an address lead.
fn address(lun: &[u8]) -> Option<Address> {
    match *lun {
        [0xc1, 0x01, 0, 0, 0, 0, 0, 0] => Some(Address::ReportLuns(None)),
        // Further levels there are none, and QEMU does not look at them.
        [1, target, high, low, ..] => Address::of_lun(target, [high, low]),
        _ => None,
    }
}

impl Active {
    /// The command was carried out, well or not.
    fn end(self, end: &End, driver: &mut Driver) {
        let sense = end.sense.map(crate::scsi::Sense::data).unwrap_or_default();
        let room = self.response.len() - RESPONSE_HEADER;
        let sense = &sense[..sense.len().min(room)];
        let residual = u32::try_from(self.data.saturating_sub(end.moved)).unwrap_or(u32::MAX);
        let status = if end.sense.is_some() { status::CHECK_CONDITION } else { status::GOOD };
        self.write(sense, residual, status, response::OK);
        self.complete(end.moved, driver);
    }

    /// It was not carried out.
    fn respond(self, response: u8, driver: &mut Driver) {
        self.write(&[], 0, status::GOOD, response);
        self.complete(0, driver);
    }

    fn write(&self, sense: &[u8], residual: u32, status: u8, response: u8) {
        let mut bytes = vec![0; self.response.len()];
        bytes[..4].copy_from_slice(&(sense.len() as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&residual.to_le_bytes());
        bytes[10] = status;
        bytes[11] = response;
        bytes[RESPONSE_HEADER..][..sense.len()].copy_from_slice(sense);
        self.response.fill_from(0, &bytes);
    }

    fn complete(&self, moved: u64, driver: &mut Driver) {
        let data = if self.to_driver { moved } else { 0 };
        let written = self.response.len() as u64 + data;
        driver.complete(&self.chain, u32::try_from(written).unwrap_or(u32::MAX));
    }
}

impl VirtioPci<VirtioScsi> {
    /// Does something to a CD drive by hand, and sees to the commands that this ends. `None`: there is no CD drive at this place.
    pub fn with_cd<R>(&mut self, place: UnitPlace, what: impl FnOnce(&mut CdDrive) -> R) -> Option<R> {
        self.with_device(|host, driver| {
            let result = host.targets.unit(place)?.with_cd(what);
            host.take_ends(driver);
            result
        })
    }
}

impl VirtioDevice for VirtioScsi {
    fn kind(&self) -> Kind {
        Kind { name: "virtio-scsi-pci", id: 8, transitional_id: 0x1004, class: 0x01_0000 }
    }

    fn features(&self) -> u64 {
        let optional = [(feature::HOTPLUG, self.options.hotplug), (feature::CHANGE, self.options.param_change)];
        optional.iter().filter(|(_, on)| *on).fold(0, |features, (feature, _)| features | feature)
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![self.options.queue_size; usize::from(queue::REQUEST + self.options.queues)]
    }

    fn config(&self) -> Vec<u8> {
        let ScsiOptions { queues, queue_size, seg_max_adjust, max_sectors, cmd_per_lun, hotplug: _, param_change: _ } =
            self.options;
        let mut structure = vec![0; config::LEN];
        let mut put = |at: usize, value: u32| structure[at..at + 4].copy_from_slice(&value.to_le_bytes());
        // Of a queue, two entries are for the header and the response. 128 is the size that queues once had.
        let seg_max = if seg_max_adjust { queue_size.saturating_sub(2) } else { 128 - 2 };
        put(config::NUM_QUEUES, queues.into());
        put(config::SEG_MAX, seg_max.into());
        put(config::MAX_SECTORS, max_sectors);
        put(config::CMD_PER_LUN, cmd_per_lun);
        put(config::EVENT_INFO_SIZE, EVENT as u32);
        put(config::SENSE_SIZE, self.sense_size);
        put(config::CDB_SIZE, self.cdb_size);
        // One channel.
        put(config::MAX_CHANNEL, u32::from(LAST_TARGET) << (8 * (config::MAX_TARGET - config::MAX_CHANNEL)));
        put(config::MAX_LUN, LAST_LUN.into());
        structure
    }

    fn config_written(&mut self, offset: usize, data: &[u8], driver: &mut Driver) {
        let before = self.config();
        let mut after = before.clone();
        let Some(bytes) = after.get_mut(offset..offset + data.len()) else { return };
        bytes.copy_from_slice(data);
        let value = |at: usize| after[at..at + 4].iter().rfold(0, |value, byte| value << 8 | u32::from(*byte));
        let (sense, cdb) = (value(config::SENSE_SIZE), value(config::CDB_SIZE));
        if sense >= SENSE_LIMIT || cdb >= CDB_LIMIT {
            return driver.fail(format_args!("sense data of {sense} bytes, or commands of {cdb}, can't be"));
        }
        (self.sense_size, self.cdb_size) = (sense, cdb);
    }

    fn queue_notified(&mut self, number: u16, driver: &mut Driver) {
        match number {
            queue::CONTROL => {
                while let Some(chain) = driver.pop(number) {
                    self.control(&chain, driver);
                }
            }
            // Its buffers wait for events, and there may be one that had none.
            queue::EVENT if self.events_missed => self.push_event(event::NONE, None, 0, driver),
            queue::EVENT => {}
            _ => {
                // No more chains are under way than the queue has entries: this ends.
                while let Some(chain) = driver.pop(number) {
                    self.begin(&chain, driver);
                }
                self.take_ends(driver);
            }
        }
    }

    fn queue_reset(&mut self, number: u16, driver: &mut Driver) {
        self.drain(driver);
        // What is left waits for the machine to go on after an error.
        let targets = &mut self.targets;
        self.active.retain(|name, active| {
            let stays = active.chain.queue != number;
            if !stays && let Some(unit) = targets.unit(active.place) {
                unit.abort(*name);
            }
            stays
        });
    }

    fn reset(&mut self, _kind: Option<ResetKind>) {
        self.targets.reset(UnitReset::Hard);
        self.active.clear();
        self.events_missed = false;
        self.sense_size = SENSE_SIZE;
        self.cdb_size = CDB_SIZE;
    }

    fn save(&self) -> State {
        self.save_state()
    }

    fn load(&mut self, state: &State, driver: &Driver) -> Result<(), StateError> {
        self.load_state(state, driver)
    }

    fn inspect(&self, out: &mut Inspector) {
        out.number("sense_size", self.sense_size);
        out.number("cdb_size", self.cdb_size);
        out.flag("events missed", self.events_missed);
        out.number("commands", self.active.len() as u64);
        self.targets.inspect(out);
    }
}

impl VirtioStorage for VirtioScsi {
    fn requests_completed(&mut self, driver: &mut Driver) {
        self.take_ends(driver);
    }

    fn resume_requests(&mut self, driver: &mut Driver) {
        self.targets.resume();
        self.take_ends(driver);
    }

    fn medium_resized(&mut self, driver: &mut Driver) {
        let changed: Vec<_> =
            self.targets.units().filter_map(|(place, unit)| Some((place, unit.resized()?.reason()))).collect();
        for (place, reason) in changed {
            if driver.has(feature::CHANGE) {
                self.push_event(event::PARAM_CHANGE, Some(place), reason, driver);
            }
        }
    }

    fn drain_requests(&mut self, driver: &mut Driver) {
        self.drain(driver);
    }
}
