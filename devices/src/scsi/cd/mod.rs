//! A CD/DVD drive (MMC-3): one data track, a tray and its events. How commands arrive and data leaves is its user's affair.

mod commands;
mod configuration;
mod medium;
mod pages;
mod raw_sector;
mod toc;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::pages::ModePages;
use super::Sense;
use crate::backend::disk::{DiskBackend, DiskPort};

pub(crate) use self::raw_sector::{Fields, LEN as RAW_BLOCK};

/// Bytes of a block of data on a CD.
pub const BLOCK: usize = 2048;

/// Something that happened to the medium and has not been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MediaEvent {
    #[default]
    None = 0,
    EjectRequest = 1,
    NewMedia = 2,
    Removal = 3,
}

/// What a drive remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CdMemory {
    tray_open: bool,
    locked: bool,
    /// The next command is told of another medium before anything else.
    attention: Option<Sense>,
    event: MediaEvent,
    pages: ModePages,
}

/// Hears of a drive's tray, whoever moves it. It is called with the drive locked, and calls nothing back.
pub trait TrayWatcher: Send + Sync {
    /// The tray has opened or closed.
    fn tray_moved(&self, open: bool);
}

/// A tray, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tray {
    /// It is open.
    pub open: bool,
    /// The guest keeps its button from opening it.
    pub locked: bool,
}

/// Why a medium stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediumError {
    /// Nothing with removable media is connected there.
    #[error("there is no CD drive")]
    NoDrive,
    /// The guest keeps the tray closed; it has been asked to open it.
    #[error("the guest has locked the tray")]
    Locked,
    /// Nobody can get at it.
    #[error("the tray is closed")]
    TrayClosed,
}

/// The drive. What is public is what its user can do to it by hand.
pub struct CdDrive {
    pub(crate) port: DiskPort,
    pub(crate) memory: CdMemory,
    pub(crate) watcher: Option<Arc<dyn TrayWatcher>>,
}

impl CdMemory {
    const fn new() -> Self {
        Self { tray_open: false, locked: false, attention: None, event: MediaEvent::None, pages: ModePages::new() }
    }
}

impl CdDrive {
    /// A drive with this medium, its tray closed.
    pub(crate) fn new(port: DiskPort) -> Self {
        Self { port, memory: CdMemory::new(), watcher: None }
    }

    /// A reset by hardware: all but the tray is as after power-on.
    pub(crate) fn reset(&mut self) {
        let tray_open = self.memory.tray_open;
        self.memory = CdMemory { tray_open, ..CdMemory::new() };
    }

    /// Whether a medium can be read.
    pub(crate) fn has_medium(&self) -> bool {
        !self.memory.tray_open && !self.port.is_empty()
    }

    /// Blocks on the medium.
    pub(crate) fn blocks(&self) -> u32 {
        let blocks = self.port.len().unwrap_or(0) / BLOCK as u64;
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    /// Takes what a command is to be told before anything else.
    pub(crate) fn take_attention(&mut self) -> Option<Sense> {
        self.memory.attention.take()
    }

    /// The tray opens or closes, with the medium in it.
    fn move_tray(&mut self, open: bool) {
        if std::mem::replace(&mut self.memory.tray_open, open) == open {
            return;
        }
        if let Some(watcher) = &self.watcher {
            watcher.tray_moved(open);
        }
        match (self.port.is_empty(), open) {
            (true, _) => {}
            (false, true) => self.memory.event = MediaEvent::Removal,
            (false, false) => self.medium_changed(),
        }
    }

    fn medium_changed(&mut self) {
        self.memory.event = MediaEvent::NewMedia;
        self.memory.attention = Some(Sense::MEDIUM_CHANGED);
    }

    /// What is to be seen of the tray.
    #[must_use]
    pub fn tray(&self) -> Tray {
        Tray { open: self.memory.tray_open, locked: self.memory.locked }
    }

    /// Opens the tray with the medium in it; `force`: even if the guest has locked it.
    ///
    /// # Errors
    /// It is locked: the guest is asked to open it.
    pub fn open_tray(&mut self, force: bool) -> Result<(), MediumError> {
        let Tray { open, locked } = self.tray();
        if locked && !open && !force {
            self.memory.event = MediaEvent::EjectRequest;
            return Err(MediumError::Locked);
        }
        self.memory.locked = false;
        self.move_tray(true);
        Ok(())
    }

    /// Closes the tray.
    pub fn close_tray(&mut self) {
        self.move_tray(false);
    }

    /// Takes the medium out of the open tray.
    ///
    /// # Errors
    /// The tray is closed.
    pub fn take_medium(&mut self) -> Result<Option<Box<dyn DiskBackend>>, MediumError> {
        self.reach()?;
        Ok(self.port.replace(None))
    }

    /// Opens the tray and takes the medium out of it; `force`: even if the guest has locked it.
    ///
    /// # Errors
    /// It is locked: the guest is asked to open it.
    pub fn eject(&mut self, force: bool) -> Result<Option<Box<dyn DiskBackend>>, MediumError> {
        self.open_tray(force)?;
        self.take_medium()
    }

    /// Puts a medium into the open tray, which stays open. Gives back the one that was in it.
    ///
    /// # Errors
    /// The tray is closed.
    pub fn load_medium(&mut self, medium: Box<dyn DiskBackend>) -> Result<Option<Box<dyn DiskBackend>>, MediumError> {
        self.reach()?;
        Ok(self.port.replace(Some(medium)))
    }

    /// Puts in a medium and closes the tray. Gives back the one that was in it.
    pub fn insert(&mut self, medium: Box<dyn DiskBackend>) -> Option<Box<dyn DiskBackend>> {
        let before = self.port.replace(Some(medium));
        self.move_tray(false);
        // Also if it was closed already: then the medium has changed behind the guest's back.
        self.medium_changed();
        before
    }

    fn reach(&self) -> Result<(), MediumError> {
        if self.memory.tray_open { Ok(()) } else { Err(MediumError::TrayClosed) }
    }
}
