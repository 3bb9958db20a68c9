//! A logical unit: a disk or a CD drive, and the commands it has under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cd::{self, CdDrive, CdMemory};
use super::cdb::Transfer;
use super::disk::{Disk, DiskMemory, DiskOptions};
use super::task::{Job, SavedTask, Task};
use super::{Cdb, Identity, Outcome, Sense, TrayWatcher, opcode};
use crate::backend::disk::{DiskPort, DiskPortState, Operation, Request};
use crate::base::{Dma, GuestBuffer, Inspector, StateError};

/// Types of units, to INQUIRY.
const DISK: u8 = 0x00;
const CD: u8 = 0x05;

/// A command of an initiator.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// The initiator's name for it, which no other has that is under way.
    pub name: u64,
    /// The command descriptor block.
    pub cdb: &'a [u8],
    /// Data of the initiator.
    pub out: GuestBuffer,
    /// Room for data of the unit.
    pub into: GuestBuffer,
}

/// What has become of a command at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has ended.
    Ended(End),
    /// It will end later.
    Pending,
    /// It has less data, or less room, than it says.
    Overrun,
}

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its name.
    pub name: u64,
    /// Why it failed, with CHECK CONDITION; otherwise it is GOOD.
    pub sense: Option<Sense>,
    /// Bytes that were moved.
    pub moved: u64,
}

/// What resets a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitReset {
    /// Power, or the bus.
    Hard,
    /// The initiator resets this unit.
    Unit,
    /// The initiator resets its nexus with the target.
    Nexus,
}

enum Kind {
    Disk(Disk),
    Cd(CdDrive),
}

/// A logical unit.
pub struct LogicalUnit {
    kind: Kind,
    identity: Identity,
    /// What the next commands are told before anything else, the first first; each at most once.
    attentions: VecDeque<Sense>,
    /// The commands under way, by the requests of their media.
    tasks: BTreeMap<u64, Task>,
    /// Commands that something else has ended.
    ended: VecDeque<End>,
}

impl LogicalUnit {
    /// A disk.
    #[must_use]
    pub fn disk(port: DiskPort, options: DiskOptions, identity: Identity) -> Self {
        Self::new(Kind::Disk(Disk::new(port, options)), identity)
    }

    /// A CD drive with this medium, its tray closed.
    #[must_use]
    pub fn cd(port: DiskPort, identity: Identity) -> Self {
        Self::new(Kind::Cd(CdDrive::new(port)), identity)
    }

    /// Has the tray of a CD drive watched.
    #[must_use]
    pub fn watched_by(mut self, watcher: Arc<dyn TrayWatcher>) -> Self {
        if let Kind::Cd(cd) = &mut self.kind {
            cd.watcher = Some(watcher);
        }
        self
    }

    fn new(kind: Kind, identity: Identity) -> Self {
        let attentions = [Sense::POWER_ON_OR_RESET].into();
        Self { kind, identity, attentions, tasks: BTreeMap::new(), ended: VecDeque::new() }
    }

    pub(super) fn port(&mut self) -> &mut DiskPort {
        match &mut self.kind {
            Kind::Disk(disk) => &mut disk.port,
            Kind::Cd(cd) => &mut cd.port,
        }
    }

    fn port_ref(&self) -> &DiskPort {
        match &self.kind {
            Kind::Disk(disk) => &disk.port,
            Kind::Cd(cd) => &cd.port,
        }
    }

    fn block(&self) -> u64 {
        match &self.kind {
            Kind::Disk(disk) => disk.options.block.into(),
            Kind::Cd(_) => cd::BLOCK as u64,
        }
    }

    /// Takes a command. What it ends with, if it does not end at once, [`Self::poll`] tells.
    pub fn start(&mut self, command: Command<'_>) -> Reply {
        let Command { name, cdb, out, into } = command;
        let cdb = Cdb(cdb);
        let transfer = cdb.transfer(self.block());
        let (moves, enough) = match transfer {
            Transfer::None => (0, true),
            Transfer::ToHost(bytes) => (bytes, bytes <= into.len() as u64),
            Transfer::FromHost(bytes) => (bytes, bytes <= out.len() as u64),
        };
        if !enough {
            return Reply::Overrun;
        }
        let end = |sense, moved| Reply::Ended(End { name, sense, moved });
        match self.obey(cdb, &out) {
            Outcome::Good => end(None, if matches!(transfer, Transfer::FromHost(_)) { moves } else { 0 }),
            Outcome::Check(sense) => end(Some(sense), 0),
            Outcome::Data(bytes) => {
                into.fill_from(0, &bytes);
                end(None, bytes.len() as u64)
            }
            Outcome::Parameters(len) => match self.take_parameters(cdb, len, &out) {
                Some(sense) => end(Some(sense), 0),
                None => end(None, len as u64),
            },
            Outcome::Blocks { first, count, fields } => {
                let block = cd::BLOCK as u64;
                let job = if fields.is_plain() {
                    Job::Move {
                        operation: Operation::Read,
                        offset: u64::from(first) * block,
                        len: u64::from(count) * block,
                    }
                } else {
                    Job::Raw { fields, block: first, left: count, done: 0 }
                };
                self.begin(Task::new(name, into, moves, vec![job]))
            }
            Outcome::Jobs(jobs) => {
                let data = if out.is_empty() { into } else { out };
                self.begin(Task::new(name, data, moves, jobs))
            }
        }
    }

    fn obey(&mut self, command: Cdb<'_>, out: &GuestBuffer) -> Outcome {
        let code = command.opcode();
        let (device_type, removable, pages) = match &self.kind {
            Kind::Disk(disk) => (DISK, disk.options.removable, Some(disk)),
            Kind::Cd(_) => (CD, true, None),
        };
        match code {
            opcode::INQUIRY => self.identity.inquiry(command, device_type, removable, pages.map(Disk::vital_pages)),
            opcode::REQUEST_SENSE => {
                let sense = self.take_attention().unwrap_or(Sense::NONE);
                let data = if command.byte(1) & 1 != 0 { sense.descriptors() } else { sense.data() };
                Outcome::data(data, command.byte(4))
            }
            _ => {
                let told_anyway =
                    device_type == CD && matches!(code, opcode::GET_EVENT_STATUS | opcode::GET_CONFIGURATION);
                if !told_anyway && let Some(attention) = self.take_attention() {
                    return Outcome::Check(attention);
                }
                match &mut self.kind {
                    Kind::Disk(disk) => disk.perform(command, out),
                    // There is one initiator, whose reservation keeps off nobody.
                    Kind::Cd(_) if is_reservation(code) => Outcome::Good,
                    Kind::Cd(cd) => cd.perform(command),
                }
            }
        }
    }

    fn take_attention(&mut self) -> Option<Sense> {
        self.attentions.pop_front().or_else(|| match &mut self.kind {
            Kind::Disk(_) => None,
            Kind::Cd(cd) => cd.take_attention(),
        })
    }

    /// Has the next commands told of something.
    pub(super) fn attend(&mut self, sense: Sense) {
        if !self.attentions.contains(&sense) {
            self.attentions.push_back(sense);
        }
    }

    /// The parameters of a command to a CD drive; gives why it fails.
    fn take_parameters(&mut self, command: Cdb<'_>, len: usize, out: &GuestBuffer) -> Option<Sense> {
        let mut data = vec![0; len];
        out.copy_to(0, &mut data);
        match &mut self.kind {
            Kind::Cd(cd) if len > 0 => match cd.take_parameters(command.opcode() == opcode::MODE_SELECT_6, &data) {
                Outcome::Check(sense) => Some(sense),
                _ => None,
            },
            _ => None,
        }
    }

    fn begin(&mut self, mut task: Task) -> Reply {
        match task.request() {
            None => Reply::Ended(End { name: task.name, sense: None, moved: task.moves }),
            Some((operation, offset, len, payload)) => {
                let id = self.port().submit(operation, offset, len, payload);
                self.tasks.insert(id, task);
                Reply::Pending
            }
        }
    }

    /// Takes the next command that has ended.
    pub fn poll(&mut self) -> Option<End> {
        if let Some(end) = self.ended.pop_front() {
            return Some(end);
        }
        let block = self.block();
        while let Some(done) = self.port().completed() {
            let Some(mut task) = self.tasks.remove(&done.id) else { continue };
            if let Err(sense) = task.end_request(done.result, block) {
                return Some(End { name: task.name, sense: Some(sense), moved: 0 });
            }
            if let Reply::Ended(end) = self.begin(task) {
                return Some(end);
            }
        }
        None
    }

    /// Gives up a command, and tells whether it was under way. It ends no more.
    pub fn abort(&mut self, name: u64) -> bool {
        let id = self.tasks.iter().find(|(_, task)| task.name == name).map(|(id, _)| *id);
        let Some(id) = id else { return false };
        self.port().abandon(id);
        self.tasks.remove(&id);
        true
    }

    /// Gives up all commands, and gives their names.
    pub fn abort_all(&mut self) -> Vec<u64> {
        self.port().cancel();
        std::mem::take(&mut self.tasks).into_values().map(|task| task.name).collect()
    }

    /// Gives up all commands, whose names it gives, and tells the next one of the reset.
    pub fn reset(&mut self, how: UnitReset) -> Vec<u64> {
        let given_up = self.abort_all();
        self.attentions.clear();
        self.attend(match how {
            UnitReset::Hard => Sense::POWER_ON_OR_RESET,
            UnitReset::Unit => Sense::DEVICE_RESET,
            UnitReset::Nexus => Sense::NEXUS_LOST,
        });
        match &mut self.kind {
            Kind::Disk(disk) => disk.reset(),
            Kind::Cd(cd) => cd.reset(),
        }
        given_up
    }

    /// Whether it is a CD drive.
    #[must_use]
    pub fn is_cd(&self) -> bool {
        matches!(self.kind, Kind::Cd(_))
    }

    /// Does something to a CD drive by hand; `None`: it is none. Commands whose medium is gone fail.
    pub fn with_cd<R>(&mut self, what: impl FnOnce(&mut CdDrive) -> R) -> Option<R> {
        let Kind::Cd(cd) = &mut self.kind else { return None };
        let result = what(cd);
        let pending: BTreeSet<_> = cd.port.pending().map(|request| request.id).collect();
        let gone = self.tasks.extract_if(.., |id, _| !pending.contains(id));
        let failed = gone.map(|(_, task)| End { name: task.name, sense: Some(Sense::MEDIUM_CHANGED), moved: 0 });
        self.ended.extend(failed);
        Some(result)
    }

    /// Media may have become longer or shorter. Gives what the initiator is told if that of this disk has: those of CD drives
    /// come and go by themselves.
    pub fn resized(&mut self) -> Option<Sense> {
        let Kind::Disk(disk) = &mut self.kind else { return None };
        let blocks = disk.blocks();
        if std::mem::replace(&mut disk.blocks_told, blocks) == blocks {
            return None;
        }
        self.attend(Sense::CAPACITY_CHANGED);
        Some(Sense::CAPACITY_CHANGED)
    }

    pub(super) fn save(&self) -> UnitState {
        let Self { kind, identity: _, attentions, tasks, ended: _ } = self;
        let kind = match kind {
            Kind::Disk(disk) => SavedKind::Disk(disk.memory.clone()),
            Kind::Cd(cd) => SavedKind::Cd(cd.memory.clone()),
        };
        UnitState {
            kind,
            attentions: attentions.iter().copied().collect(),
            tasks: tasks.iter().map(|(id, task)| (*id, task.save())).collect(),
            requests: self.port_ref().save(),
        }
    }

    /// Checks a saved state without taking it over; `most` is how many commands there can be.
    pub(super) fn check(&self, state: &UnitState, most: usize, dma: &Dma) -> Result<Loaded, StateError> {
        let UnitState { kind, attentions, tasks, requests } = state;
        let refuse = |field, why: &str| Err(StateError::invalid(field, why));
        match (kind, &self.kind) {
            (SavedKind::Disk(_), Kind::Disk(_)) | (SavedKind::Cd(_), Kind::Cd(_)) => {}
            _ => return refuse("units", "these are not the units of this machine"),
        }
        if attentions.len() > MOST_ATTENTIONS {
            return refuse("attentions", "there are too many of them");
        }
        let requests = self.port_ref().check(requests, most, dma)?;
        let len = self.port_ref().len().unwrap_or(0);
        let mut restored = BTreeMap::new();
        for (id, task) in tasks {
            restored.insert(*id, task.restore(len, dma)?);
        }
        let belongs = |request: &Request, task: &mut Task| {
            task.request().is_some_and(|(operation, offset, len, _)| {
                (operation, offset, len) == (request.operation, request.offset, request.len)
            })
        };
        if restored.len() != requests.len() || restored.len() != tasks.len() {
            return refuse("requests", "a command under way has a request, and there are no others");
        }
        for request in &requests {
            if !restored.get_mut(&request.id).is_some_and(|task| belongs(request, task)) {
                return refuse("requests", "a request is not that of its command");
            }
        }
        Ok(Loaded { tasks: restored, requests })
    }

    /// Takes over a state that has been checked.
    pub(super) fn load(&mut self, state: UnitState, loaded: Loaded) {
        let UnitState { kind, attentions, tasks: _, requests } = state;
        match (kind, &mut self.kind) {
            (SavedKind::Disk(memory), Kind::Disk(disk)) => disk.load(memory),
            (SavedKind::Cd(memory), Kind::Cd(cd)) => cd.memory = memory,
            _ => {}
        }
        self.attentions = attentions.into();
        self.tasks = loaded.tasks;
        self.ended.clear();
        self.port().load(&requests, loaded.requests);
    }

    pub(super) fn inspect(&self, place: &str, out: &mut Inspector) {
        out.text(format!("{place} is"), if self.is_cd() { "a CD drive" } else { "a disk" });
        match &self.kind {
            Kind::Disk(disk) => out.number(format!("{place} blocks"), disk.blocks()),
            Kind::Cd(cd) => out.number(format!("{place} blocks"), cd.blocks()),
        }
        out.number(format!("{place} commands"), self.tasks.len() as u64);
        out.number(format!("{place} attentions"), self.attentions.len() as u64);
    }
}

fn is_reservation(code: u8) -> bool {
    matches!(code, opcode::RESERVE_6 | opcode::RESERVE_10 | opcode::RELEASE_6 | opcode::RELEASE_10)
}

/// As many as there are kinds of them.
const MOST_ATTENTIONS: usize = 8;

/// Saved form of a [`LogicalUnit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitState {
    kind: SavedKind,
    attentions: Vec<Sense>,
    tasks: Vec<(u64, SavedTask)>,
    requests: DiskPortState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum SavedKind {
    Disk(DiskMemory),
    Cd(CdMemory),
}

/// What a saved state has led to.
pub(super) struct Loaded {
    tasks: BTreeMap<u64, Task>,
    requests: Vec<Request>,
}

impl Loaded {
    /// The names of the commands under way.
    pub fn names(&self) -> impl Iterator<Item = u64> {
        self.tasks.values().map(|task| task.name)
    }
}
