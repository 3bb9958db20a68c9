//! An ATA disk.

use serde::{Deserialize, Serialize};

use super::command::{Access, Command, Power, Transport};
use super::drive::{Device, Phase, Step};
use super::features::{Features, set_features};
use super::geometry::{Geometry, SECTOR};
use super::host_protected_area::HostProtectedArea;
use super::identify::Identity;
use super::registers::{device, error};
use super::sectors::{Dma, Sectors};
use super::smart::{Smart, SmartReply};
use super::task_file::{Address, TaskFile};
use super::trim::Trim;
use crate::backend::disk::{DiskPort, Done, Operation, Payload};
use crate::base::{Clock, GuestBuffer, ResetKind};

/// Sectors that READ and WRITE MULTIPLE can transfer at a time.
pub const MOST_MULTIPLE: u8 = 16;

/// What a disk does between two things that it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Job {
    /// Reads, writes or verifies sectors.
    Sectors(Sectors),
    /// The host reads an answer.
    Answer,
    /// The host fills the buffer of READ BUFFER.
    FillBuffer,
    /// Waits for a flush, after which it may change its power mode.
    Flush(Option<Power>),
    /// Gives up blocks.
    Trim(Trim),
}

/// What a disk remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// Cylinders, heads and sectors by which it is addressed now.
    pub geometry: Geometry,
    /// Sectors of READ and WRITE MULTIPLE; 0: they are off.
    pub multiple: u8,
    pub features: Features,
    pub area: HostProtectedArea,
    pub smart: Smart,
    power: Option<Power>,
    /// Guest time of the last command that needed the medium, in nanoseconds.
    active_at: u64,
    /// Nanoseconds without such a command after which it is in standby.
    standby_after: Option<u64>,
    buffer: Vec<u8>,
    job: Option<Job>,
}

/// A disk.
pub struct Disk {
    clock: Clock,
    pub(super) port: DiskPort,
    identity: Identity,
    pub(super) memory: Memory,
}

impl Memory {
    fn new(sectors: u64, identity: &Identity) -> Self {
        Self {
            geometry: identity.geometry,
            multiple: MOST_MULTIPLE,
            features: Features::new(identity.write_cache),
            area: HostProtectedArea::new(sectors),
            smart: Smart::default(),
            power: None,
            active_at: 0,
            standby_after: None,
            buffer: vec![0; SECTOR],
            job: None,
        }
    }

    /// Whether a saved one can be that of this disk.
    pub fn is_possible(&self, sectors: u64) -> bool {
        let Self { geometry, multiple, features, area, smart, buffer, job, .. } = self;
        let Geometry { cylinders, heads, sectors: per_track } = geometry;
        *cylinders > 0
            && (1..=16).contains(heads)
            && *per_track > 0
            && (*multiple == 0 || multiple.is_power_of_two())
            && *multiple <= MOST_MULTIPLE
            && features.is_possible()
            && area.is_possible(sectors)
            && smart.is_possible()
            && buffer.len() == SECTOR
            && match job {
                Some(Job::Sectors(sectors)) => sectors.is_possible(),
                Some(Job::Trim(trim)) => trim.is_possible(),
                None | Some(Job::Answer | Job::FillBuffer | Job::Flush(_)) => true,
            }
    }

    /// Whether a saved job can be under way in this phase, with the block of data that passes.
    pub fn suits(&self, phase: &Phase) -> bool {
        match (&self.job, phase) {
            // The last block of a read is no longer counted while it passes.
            (Some(Job::Sectors(sectors)), Phase::Pio { to_host: true, .. }) => sectors.access == Access::Read,
            (Some(Job::Sectors(sectors)), Phase::Pio { data, .. }) => {
                sectors.access == Access::Write && sectors.has_room_for(data.len())
            }
            (Some(Job::Sectors(sectors)), Phase::Dma) => sectors.left > 0,
            (Some(Job::FillBuffer), Phase::Pio { data, to_host, .. }) => !to_host && data.len() == SECTOR,
            (_, Phase::Pio { to_host, .. }) => *to_host,
            _ => true,
        }
    }

    /// Whether data is to be transferred by the bus master.
    pub fn wants_dma(&self) -> bool {
        match &self.job {
            Some(Job::Sectors(sectors)) => sectors.dma == Dma::BusMaster,
            Some(Job::Trim(trim)) => trim.wants_block(),
            _ => false,
        }
    }

    /// What a request of the job, if one is under way, does: operation, first byte and length.
    pub fn expected_request(&self) -> Option<(Operation, u64, u64)> {
        match self.job.as_ref()? {
            Job::Sectors(sectors) => sectors.request(self.features.write_cache),
            Job::Flush(_) => Some((Operation::Flush, 0, 0)),
            Job::Trim(trim) => trim.request(),
            Job::Answer | Job::FillBuffer => None,
        }
    }
}

impl Disk {
    /// A disk with this medium.
    ///
    /// # Panics
    /// There is no medium: a disk's is not removable.
    #[must_use]
    pub fn new(clock: Clock, port: DiskPort, identity: Identity) -> Self {
        let bytes = port.len().expect("a disk has its medium");
        let memory = Memory::new(bytes / SECTOR as u64, &identity);
        Self { clock, port, identity, memory }
    }

    /// The medium has become longer or shorter: the guest learns of it when it asks who the disk is.
    pub(super) fn resized(&mut self) {
        self.memory.area.resize(self.native_sectors());
    }

    /// Sectors on the medium.
    pub(super) fn native_sectors(&self) -> u64 {
        self.port.len().unwrap_or(0) / SECTOR as u64
    }

    /// The geometry that it has without being told another.
    pub(super) fn native_geometry(&self) -> Geometry {
        self.identity.geometry
    }

    fn power(&self) -> Power {
        let idle_for = self.clock.now().saturating_sub(self.memory.active_at);
        match self.memory.power {
            Some(power) => power,
            None if self.memory.standby_after.is_some_and(|limit| idle_for >= limit) => Power::Standby,
            None => Power::Idle,
        }
    }

    fn wake(&mut self) {
        self.memory.power = None;
        self.memory.active_at = self.clock.now();
    }

    /// The sector where a command begins; `None`: there is none.
    fn first_sector(&self, file: &TaskFile, ext: bool) -> Option<u64> {
        match file.address(ext) {
            Address::Lba(lba) => Some(lba),
            Address::Chs { cylinder, head, sector } => self.memory.geometry.lba(cylinder, head, sector),
        }
        .filter(|lba| *lba < self.memory.area.sectors())
    }

    /// Tells the host of a sector in the form in which it asked.
    fn show(&self, lba: u64, file: &mut TaskFile, ext: bool) {
        let address = match file.address(ext) {
            Address::Lba(_) => Address::Lba(lba),
            Address::Chs { .. } => {
                let (cylinder, head, sector) = self.memory.geometry.place(lba);
                Address::Chs { cylinder, head, sector }
            }
        };
        file.set_address(address, ext);
    }

    fn begin_sectors(&mut self, access: Access, transport: Transport, ext: bool, file: &TaskFile) -> Step {
        let block = match transport {
            Transport::Multiple if self.memory.multiple == 0 => return Step::Fail(error::ABRT),
            Transport::Multiple => self.memory.multiple,
            Transport::Pio | Transport::Dma => 1,
        };
        let Some(first) = self.first_sector(file, ext) else { return Step::Fail(error::IDNF) };
        let dma = if transport == Transport::Dma { Dma::BusMaster } else { Dma::None };
        self.wake();
        let sectors = Sectors::new(access, dma, block, ext, first, file.sectors(ext));
        let first_block = sectors.piece_bytes(self.memory.area.sectors());
        self.memory.job = Some(Job::Sectors(sectors));
        match (access, dma) {
            (_, Dma::BusMaster) => Step::Dma,
            // The first block is asked for without an interrupt.
            (Access::Write, Dma::None) => Step::FromHost { len: first_block, interrupt: false },
            (Access::Read | Access::Verify, Dma::None) => self.request_piece(Payload::None, first_block),
        }
    }

    /// Submits what the job does to the next `bytes` bytes.
    fn request_piece(&mut self, payload: Payload, bytes: usize) -> Step {
        let Some(Job::Sectors(sectors)) = &mut self.memory.job else { return Step::Fail(error::ABRT) };
        sectors.begin_piece(bytes);
        if let Some((operation, offset, len)) = sectors.request(self.memory.features.write_cache) {
            self.port.submit(operation, offset, len, payload);
        }
        Step::Wait
    }

    /// A piece has been transferred between drive and medium.
    fn end_piece(&mut self, data: Vec<u8>, file: &mut TaskFile) -> Step {
        let limit = self.memory.area.sectors();
        let Some(Job::Sectors(sectors)) = &mut self.memory.job else { return Step::Fail(error::ABRT) };
        sectors.end_piece();
        let sectors = sectors.clone();
        file.set_sectors(sectors.left, sectors.ext);
        self.show(sectors.next.saturating_sub(1), file, sectors.ext);
        match (sectors.access, sectors.dma) {
            // The host still has to read it.
            (Access::Read, Dma::None) => Step::ToHost(data),
            _ => self.next_piece(&sectors, limit, file),
        }
    }

    /// Goes on with the next piece, if there is one.
    fn next_piece(&mut self, sectors: &Sectors, limit: u64, file: &mut TaskFile) -> Step {
        if sectors.left == 0 {
            self.memory.job = None;
            // Whoever has read the last block knows that it was the last.
            return Step::Done { interrupt: !(sectors.access == Access::Read && sectors.dma == Dma::None) };
        }
        if sectors.next >= limit {
            return self.fail(error::IDNF, file);
        }
        let bytes = sectors.piece_bytes(limit);
        match (sectors.access, sectors.dma) {
            (_, Dma::BusMaster) => Step::Dma,
            (Access::Write, Dma::None) => Step::FromHost { len: bytes, interrupt: true },
            (Access::Read | Access::Verify, Dma::None) => self.request_piece(Payload::None, bytes),
        }
    }

    /// Ends the job with an error at the sector where it is.
    fn fail(&mut self, error: u8, file: &mut TaskFile) -> Step {
        if let Some(Job::Sectors(sectors)) = self.memory.job.take() {
            file.set_sectors(sectors.left, sectors.ext);
            self.show(sectors.next, file, sectors.ext);
        }
        Step::Fail(error)
    }

    fn answer(&mut self, data: Vec<u8>) -> Step {
        self.memory.job = Some(Job::Answer);
        Step::ToHost(data)
    }

    /// Flushes, and then changes the power mode if it is to.
    fn flush(&mut self, then: Option<Power>) -> Step {
        self.memory.job = Some(Job::Flush(then));
        self.port.submit(Operation::Flush, 0, 0, Payload::None);
        Step::Wait
    }

    fn set_geometry(&mut self, file: &TaskFile) -> Step {
        let heads = (file.device & device::HEAD) + 1;
        let per_track = file.count.now;
        let cylinders = self.memory.area.sectors() / (u64::from(heads) * u64::from(per_track.max(1)));
        if per_track == 0 || cylinders == 0 {
            return Step::Fail(error::ABRT);
        }
        let cylinders = cylinders.min(u64::from(u16::MAX)) as u16;
        self.memory.geometry = Geometry { cylinders, heads, sectors: per_track };
        Step::DONE
    }

    fn set_power(&mut self, power: Power, timer: Option<u8>) -> Step {
        if let Some(code) = timer {
            self.memory.standby_after = standby_timer(code);
        }
        match power {
            Power::Idle => {
                self.wake();
                Step::DONE
            }
            // Before the heads are parked, everything is on the medium.
            Power::Standby | Power::Sleep => self.flush(Some(power)),
        }
    }

    fn read_native_max(&mut self, file: &mut TaskFile, ext: bool) -> Step {
        if file.device & device::LBA == 0 && !ext {
            let Geometry { cylinders, heads, sectors } = self.native_geometry();
            file.set_address(Address::Chs { cylinder: cylinders - 1, head: heads - 1, sector: sectors }, false);
        } else {
            let last = self.native_sectors().saturating_sub(1);
            let last = if ext { last } else { last.min((1 << 28) - 1) };
            file.set_address(Address::Lba(last), ext);
        }
        Step::DONE
    }

    fn set_max(&mut self, after_read: bool, file: &TaskFile, ext: bool) -> Step {
        // The security extensions are not there, and without LBA no drive of this size can be set.
        if !after_read || file.device & device::LBA == 0 {
            return Step::Fail(error::ABRT);
        }
        let Address::Lba(last) = file.address(ext) else { return Step::Fail(error::ABRT) };
        let keep = file.count.now & 1 != 0;
        match self.memory.area.set(last, keep, self.native_sectors()) {
            Ok(()) => Step::DONE,
            Err(error) => Step::Fail(error),
        }
    }

    fn smart(&mut self, file: &TaskFile) -> Step {
        let hours = self.clock.now() / 3_600_000_000_000;
        match self.memory.smart.command(file, hours) {
            Ok(SmartReply::Done) => Step::DONE,
            Ok(SmartReply::Data(data)) => self.answer(data),
            Err(error) => Step::Fail(error),
        }
    }

    /// Submits the next block of a TRIM, or goes on to the next list of them.
    fn next_trim(&mut self) -> Step {
        let limit = self.memory.area.sectors();
        let Some(Job::Trim(trim)) = &mut self.memory.job else { return Step::Fail(error::ABRT) };
        match trim.next(limit) {
            Ok(Some((operation, offset, len))) => {
                self.port.submit(operation, offset, len, Payload::None);
                Step::Wait
            }
            Ok(None) if trim.wants_block() => Step::Dma,
            Ok(None) => {
                self.memory.job = None;
                Step::DONE
            }
            Err(error) => {
                self.memory.job = None;
                Step::Fail(error)
            }
        }
    }

    /// What a device says that an error of the medium was.
    fn medium_error(&self, operation: Operation) -> u8 {
        if operation == Operation::Read { error::UNC } else { error::ABRT }
    }
}

/// The standby timer's period in nanoseconds, by the code of IDLE and STANDBY.
fn standby_timer(code: u8) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    let seconds = match code {
        0 => return None,
        1..=240 => 5 * u64::from(code),
        241..=251 => 30 * 60 * (u64::from(code) - 240),
        252 => 21 * 60,
        253 => 8 * 60 * 60,
        254 | 255 => 21 * 60 + 15,
    };
    Some(seconds * SECOND)
}

impl Device for Disk {
    fn signature(&self) -> [u8; 2] {
        [0, 0]
    }

    fn port(&mut self) -> &mut DiskPort {
        &mut self.port
    }

    fn command(&mut self, opcode: u8, file: &mut TaskFile) -> Step {
        // SET MAX follows READ NATIVE MAX at once or is refused.
        let after_read = std::mem::take(&mut self.memory.area.may_set);
        let command = Command::decode(opcode);
        if self.memory.power == Some(Power::Sleep) {
            return Step::Fail(error::ABRT);
        }
        match command {
            Some(Command::Sectors { access, transport, ext }) => self.begin_sectors(access, transport, ext, file),
            Some(Command::FlushCache) => self.flush(None),
            Some(Command::Identify) => {
                let words = self.identity.disk(&self.memory, self.native_sectors());
                self.answer(words)
            }
            Some(Command::InitializeDeviceParameters) => self.set_geometry(file),
            Some(Command::Recalibrate) => Step::DONE,
            Some(Command::Seek) => match self.first_sector(file, false) {
                Some(_) => {
                    self.wake();
                    Step::DONE
                }
                None => Step::Fail(error::IDNF),
            },
            Some(Command::SetFeatures) => match set_features(&mut self.memory.features, file) {
                // What was in the cache is safe once there is no cache.
                Ok(true) => self.flush(None),
                Ok(false) => Step::DONE,
                Err(error) => Step::Fail(error),
            },
            Some(Command::SetMultiple) => match file.count.now {
                count if count <= MOST_MULTIPLE && (count == 0 || count.is_power_of_two()) => {
                    self.memory.multiple = count;
                    Step::DONE
                }
                _ => Step::Fail(error::ABRT),
            },
            Some(Command::ReadBuffer) => {
                let buffer = self.memory.buffer.clone();
                self.answer(buffer)
            }
            Some(Command::WriteBuffer) => {
                self.memory.job = Some(Job::FillBuffer);
                Step::FromHost { len: SECTOR, interrupt: false }
            }
            Some(Command::CheckPower) => {
                file.count.now = if self.power() == Power::Idle { 0xff } else { 0x00 };
                Step::DONE
            }
            Some(Command::SetPower { power, timer }) => self.set_power(power, timer.then_some(file.count.now)),
            Some(Command::ReadNativeMax { ext }) => {
                self.memory.area.may_set = true;
                self.read_native_max(file, ext)
            }
            Some(Command::SetMax { ext }) => self.set_max(after_read, file, ext),
            Some(Command::Smart) => self.smart(file),
            Some(Command::DataSetManagement) if file.feature() == 1 => {
                self.wake();
                self.memory.job = Some(Job::Trim(Trim::new(file.sectors(true))));
                Step::Dma
            }
            // NOP always fails.
            Some(Command::Nop | Command::DataSetManagement) | None => Step::Fail(error::ABRT),
        }
    }

    fn block_read(&mut self, file: &mut TaskFile) -> Step {
        match &self.memory.job {
            Some(Job::Sectors(sectors)) => {
                let sectors = sectors.clone();
                self.next_piece(&sectors, self.memory.area.sectors(), file)
            }
            _ => {
                self.memory.job = None;
                Step::Done { interrupt: false }
            }
        }
    }

    fn block_written(&mut self, data: Vec<u8>, _file: &mut TaskFile) -> Step {
        match &self.memory.job {
            Some(Job::Sectors(_)) => {
                let len = data.len();
                self.request_piece(Payload::Bytes(data.into()), len)
            }
            Some(Job::FillBuffer) => {
                self.memory.buffer = data;
                self.memory.job = None;
                Step::DONE
            }
            _ => Step::Fail(error::ABRT),
        }
    }

    fn dma_wanted(&self) -> usize {
        match &self.memory.job {
            Some(Job::Sectors(sectors)) => sectors.piece_bytes(self.memory.area.sectors()),
            _ => SECTOR,
        }
    }

    fn dma(&mut self, buffer: &GuestBuffer, file: &mut TaskFile) -> Step {
        match &mut self.memory.job {
            Some(Job::Sectors(sectors)) if sectors.access != Access::Verify => {
                let limit = self.memory.area.sectors();
                if sectors.next >= limit {
                    return self.fail(error::IDNF, file);
                }
                // Only whole sectors pass.
                let whole = buffer.len() - buffer.len() % SECTOR;
                match whole {
                    0 => Step::Dma,
                    whole => self.request_piece(Payload::Guest(buffer.first(whole)), whole),
                }
            }
            Some(Job::Trim(trim)) => {
                if buffer.len() < SECTOR {
                    return Step::Dma;
                }
                let mut list = [0; SECTOR];
                buffer.copy_to(0, &mut list);
                trim.add(&list);
                self.next_trim()
            }
            _ => Step::Fail(error::ABRT),
        }
    }

    fn completed(&mut self, done: Done, file: &mut TaskFile) -> Step {
        match (done.result, &self.memory.job) {
            (Err(_), job) => {
                let error = self.medium_error(done.operation);
                if matches!(job, Some(Job::Sectors(_))) {
                    return self.fail(error, file);
                }
                self.memory.job = None;
                Step::Fail(error)
            }
            (Ok(data), Some(Job::Sectors(_))) => self.end_piece(data, file),
            (Ok(_), Some(Job::Trim(_))) => self.next_trim(),
            (Ok(_), Some(Job::Flush(then))) => {
                self.memory.power = then.or(self.memory.power);
                self.memory.job = None;
                Step::DONE
            }
            (Ok(_), _) => Step::Fail(error::ABRT),
        }
    }

    fn reset(&mut self, kind: Option<ResetKind>) {
        self.memory.job = None;
        self.memory.area.may_set = false;
        if self.memory.power == Some(Power::Sleep) {
            self.memory.power = Some(Power::Standby);
        }
        let Some(kind) = kind else {
            if self.memory.features.reverts {
                self.memory.features = Features::new(self.identity.write_cache);
                self.memory.multiple = MOST_MULTIPLE;
            }
            return;
        };
        let mut area = self.memory.area;
        area.reset(kind, self.native_sectors());
        let smart = std::mem::take(&mut self.memory.smart);
        self.memory = Memory::new(self.native_sectors(), &self.identity);
        self.memory.area = area;
        self.memory.active_at = self.clock.now();
        if kind != ResetKind::PowerOn {
            self.memory.smart = smart;
        }
    }
}
