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

/// The drive.
pub(crate) struct CdDrive {
    pub port: DiskPort,
    pub memory: CdMemory,
    pub watcher: Option<Arc<dyn TrayWatcher>>,
}

impl CdMemory {
    const fn new() -> Self {
        Self { tray_open: false, locked: false, attention: None, event: MediaEvent::None, pages: ModePages::new() }
    }
}

impl CdDrive {
    /// A drive with this medium, its tray closed.
    pub fn new(port: DiskPort) -> Self {
        Self { port, memory: CdMemory::new(), watcher: None }
    }

    /// A reset by hardware: all but the tray is as after power-on.
    pub fn reset(&mut self) {
        let tray_open = self.memory.tray_open;
        self.memory = CdMemory { tray_open, ..CdMemory::new() };
    }

    /// Whether a medium can be read.
    pub fn has_medium(&self) -> bool {
        !self.memory.tray_open && !self.port.is_empty()
    }

    /// Blocks on the medium.
    pub fn blocks(&self) -> u32 {
        let blocks = self.port.len().unwrap_or(0) / BLOCK as u64;
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    /// Takes what a command is to be told before anything else.
    pub fn take_attention(&mut self) -> Option<Sense> {
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
    pub fn tray(&self) -> Tray {
        Tray { open: self.memory.tray_open, locked: self.memory.locked }
    }

    /// The user presses the button of a drive that the guest has locked: it is asked to let go of the medium.
    pub fn request_eject(&mut self) {
        self.memory.event = MediaEvent::EjectRequest;
    }

    /// Opens the tray, whatever the guest thinks of it.
    pub fn open_tray(&mut self) {
        self.memory.locked = false;
        self.move_tray(true);
    }

    /// Closes the tray.
    pub fn close_tray(&mut self) {
        self.move_tray(false);
    }

    /// Takes the medium out of the open tray.
    pub fn take_medium(&mut self) -> Option<Box<dyn DiskBackend>> {
        self.port.replace(None)
    }

    /// Opens the tray, whatever the guest thinks of it, and takes out the medium.
    pub fn eject(&mut self) -> Option<Box<dyn DiskBackend>> {
        self.open_tray();
        self.take_medium()
    }

    /// Puts a medium into the open tray, and leaves it open.
    pub fn load_medium(&mut self, medium: Box<dyn DiskBackend>) -> Option<Box<dyn DiskBackend>> {
        self.port.replace(Some(medium))
    }

    /// Puts in a medium and closes the tray.
    pub fn insert(&mut self, medium: Box<dyn DiskBackend>) -> Option<Box<dyn DiskBackend>> {
        let before = self.port.replace(Some(medium));
        self.move_tray(false);
        // Also if it was closed already: then the medium has changed behind the guest's back.
        self.medium_changed();
        before
    }
}
