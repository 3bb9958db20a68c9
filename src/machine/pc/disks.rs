//! What all disks and CD drives have in common: their ends of the host's drives, the bells of these, the loops that listen to
//! them, what errors of the host lead to, and what of a disk follows from its drive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use devices::backend::block::BlockError;
use devices::backend::disk::{
    DiskClient, DiskPort, ErrorAction, ErrorPolicy, ErrorReport, ErrorReporter, OnError, Operation,
};
use devices::base::{DiskFailure, GuestLog, SystemControl, SystemRequest, lock};
use devices::ide::{Geometry, SECTOR, Translation};
use devices::virtio::QueueClient;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use nix::libc;

use super::Board;
use super::cd::CdBay;
use super::doorbells::{DoorbellSubscriber, Doorbells};
use crate::config::{self, DiskBlocks, MachineConfig};
use crate::host::Backends;
use crate::host::block::engine::{Bell, Failure, Stats};
use crate::host::block::node::{Node, read_bytes};
use crate::host::io_thread::LoopWork;
use crate::tell::tell;

/// The devices of a board that have disks.
#[derive(Default)]
pub(super) struct Disks {
    pub clients: Vec<Arc<Mutex<dyn DiskClient>>>,
    pub cd_bays: Vec<CdBay>,
    /// What the main loop (`None`) and I/O threads do for them.
    work: BTreeMap<Option<String>, LoopWork>,
}

impl Disks {
    fn add<C>(&mut self, client: &Arc<Mutex<C>>, bells: Vec<Bell>, io_thread: Option<&str>) -> &mut LoopWork
    where
        C: DiskClient + 'static,
    {
        self.clients.push(client.clone());
        let work = self.work.entry(io_thread.map(str::to_owned)).or_default();
        let subscriber = |bell| Arc::new(Mutex::new(BellSubscriber { bell, client: client.clone() })) as _;
        work.subscribers.extend(bells.into_iter().map(subscriber));
        work
    }
}

/// A device's end of a drive.
pub(super) struct DiskEnd {
    /// What the device has.
    pub port: DiskPort,
    /// What rings when a request has ended, whatever medium it was for, also one that comes later: the device's loop is to listen.
    /// `None`: there is no drive.
    pub bell: Option<Bell>,
    /// What is in the drive.
    pub node: Option<Arc<dyn Node>>,
}

impl DiskEnd {
    /// The end of drive `id`, or that of an empty drive.
    ///
    /// # Errors
    /// The drive can't be had.
    pub fn new(
        config: &MachineConfig,
        backends: &dyn Backends,
        id: Option<&str>,
        system: &Arc<dyn SystemControl>,
    ) -> Result<Self> {
        let medium = id.map(|id| backends.blocks().medium(id)).transpose()?.flatten();
        let errors = Errors {
            drive: id.unwrap_or_default().to_owned(),
            number: number(config, id),
            stats: id.and_then(|id| backends.blocks().drive(id)).map(|(stats, _)| stats).unwrap_or_default(),
            system: Arc::clone(system),
            log: Mutex::default(),
        };
        let bell = id.map(|_| Bell::new()).transpose()?;
        let backend = medium.as_ref().zip(bell.as_ref()).map(|(medium, bell)| medium.connect(bell)).transpose()?;
        let port = DiskPort::new(backend, policy(config, id), Arc::new(errors));
        Ok(Self { port, bell, node: medium.map(|medium| Arc::clone(medium.node())) })
    }
}

/// The number of drive `id` among those of the configuration, by which messages name it.
pub(super) fn number(config: &MachineConfig, id: Option<&str>) -> u16 {
    let number = config.drives.iter().position(|drive| Some(drive.id.as_str()) == id);
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or(u16::MAX)
}

/// The geometry of a disk with these contents, which its partition table may tell, and how firmware is to translate it.
/// A disk whose first sector can't be read has none there: the guest will see for itself.
pub(super) fn geometry(contents: &dyn Node) -> (Geometry, Translation) {
    let mut first = [0; SECTOR];
    let readable = first.len().min(usize::try_from(contents.len()).unwrap_or(usize::MAX));
    if let Err(error) = read_bytes(contents, 0, &mut first[..readable]) {
        log::warn!("the first sector of a disk can't be read, so that its geometry follows from its size: {error}");
        first.fill(0);
    }
    Geometry::guess(contents.len() / SECTOR as u64, &first)
}

/// The geometry of a disk, and whether its write cache is on at the start: as its options say, or its drive and what is in it.
pub(super) fn resolve(
    blocks: &DiskBlocks,
    config: &MachineConfig,
    drive: Option<&str>,
    contents: &dyn Node,
) -> (Geometry, bool) {
    let geometry = match blocks.geometry {
        Some((cylinders, heads, sectors)) => Geometry { cylinders, heads, sectors },
        None => geometry(contents).0,
    };
    (geometry, write_cache(blocks.write_cache, config, drive))
}

/// Whether the write cache of a disk is on at the start: as its options say, or its drive.
pub(super) fn write_cache(stated: Option<bool>, config: &MachineConfig, drive: Option<&str>) -> bool {
    let known = config.drives.iter().find(|known| Some(known.id.as_str()) == drive);
    stated.unwrap_or(known.is_none_or(|drive| drive.write_back))
}

/// Tells the user of errors, and stops the machine where that is wanted.
struct Errors {
    drive: String,
    /// Its number among those of the configuration.
    number: u16,
    stats: Arc<Stats>,
    system: Arc<dyn SystemControl>,
    /// A guest may try as often as it likes.
    log: Mutex<GuestLog>,
}

impl ErrorReporter for Errors {
    fn disk_error(&self, report: &ErrorReport<'_>) {
        let ErrorReport { operation, offset, error, action } = report;
        let what = format!("drive '{}': {operation:?} at {offset:#x} failed: {:#}", self.drive, Causes(error));
        match action {
            ErrorAction::Report => lock(&self.log).tell(format_args!("{what}; the guest is told")),
            ErrorAction::Ignore => lock(&self.log).tell(format_args!("{what}; the guest is not told")),
            ErrorAction::Stop => {
                tell(format_args!("{what}; the machine stops, and tries again when it goes on"));
                let full = matches!(error, BlockError::NoSpace);
                self.stats.set_failure(if full { Failure::NoSpace } else { Failure::Other });
            }
        }
        let (no_space, errno) = match error {
            BlockError::NoSpace => (true, libc::ENOSPC),
            BlockError::Io(error) | BlockError::Lost(error) | BlockError::GivenUp(error) => {
                (false, error.raw_os_error().unwrap_or(libc::EIO))
            }
            // The guest's own mistakes are told to nobody else.
            BlockError::ReadOnly | BlockError::OutOfRange { .. } => return,
        };
        let is_read = *operation == Operation::Read;
        self.system.request(SystemRequest::DiskError(DiskFailure {
            drive: self.number,
            is_read,
            no_space,
            errno,
            action: *action,
        }));
    }

    fn resumed(&self) {
        self.stats.forget_failure();
    }
}

/// An error with what caused it.
struct Causes<'a>(&'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source()).try_for_each(|error| write!(f, ": {error}"))
    }
}

/// What errors of a drive lead to.
fn policy(config: &MachineConfig, drive: Option<&str>) -> ErrorPolicy {
    let drive = drive.and_then(|id| config.drives.iter().find(|drive| drive.id == id));
    drive.map_or_else(ErrorPolicy::default, |config::Drive { on_read_error, on_write_error, .. }| ErrorPolicy {
        read: on_error(*on_read_error),
        write: on_error(*on_write_error),
    })
}

fn on_error(configured: config::OnError) -> OnError {
    match configured {
        config::OnError::Report => OnError::Report,
        config::OnError::Stop => OnError::Stop,
        config::OnError::Ignore => OnError::Ignore,
        config::OnError::Enospc => OnError::Enospc,
    }
}

/// Tells a device of completions.
struct BellSubscriber {
    bell: Bell,
    client: Arc<Mutex<dyn DiskClient>>,
}

impl MutEventSubscriber for BellSubscriber {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        lock(&self.client).requests_completed();
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.bell, EventSet::IN | EventSet::EDGE_TRIGGERED)) {
            log::error!("a disk can't be watched: {error}");
        }
    }
}

impl Board {
    /// Takes note of a device with disks, whose bells are for the main loop.
    pub(super) fn add_disks<C: DiskClient + 'static>(&mut self, client: &Arc<Mutex<C>>, bells: Vec<Bell>) {
        self.disks.add(client, bells, None);
    }

    /// Takes note of a device with disks and queues, whose bells and doorbells are for the thread `io_thread`, or for the main
    /// loop.
    pub(super) fn add_queues<C: DiskClient + QueueClient + 'static>(
        &mut self,
        client: &Arc<Mutex<C>>,
        bells: Vec<Bell>,
        doorbells: Option<Arc<Doorbells>>,
        io_thread: Option<&str>,
    ) {
        let LoopWork { subscribers, queues } = self.disks.add(client, bells, io_thread);
        if let Some(doorbells) = doorbells {
            subscribers.push(Arc::new(Mutex::new(DoorbellSubscriber { doorbells, client: client.clone() })));
            queues.push(client.clone());
        }
    }

    /// Takes note of a CD drive.
    pub(super) fn add_cd(&mut self, bay: CdBay) {
        self.disks.cd_bays.push(bay);
    }

    /// What the thread `io_thread`, or the main loop, does for devices.
    #[must_use]
    pub fn loop_work(&self, io_thread: Option<&str>) -> LoopWork {
        self.disks.work.get(&io_thread.map(str::to_owned)).cloned().unwrap_or_default()
    }

    /// The machine goes on: requests that were kept because of an error are made again.
    pub fn resume_disks(&self) {
        self.disks.clients.iter().for_each(|client| lock(client).resume_requests());
    }

    /// Waits until no request of a disk is under way.
    pub fn drain_disks(&self) {
        self.disks.clients.iter().for_each(|client| lock(client).drain_requests());
    }
}
