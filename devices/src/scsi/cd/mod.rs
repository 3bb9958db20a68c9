//! A CD/DVD drive (MMC-3): one data track, a tray and its events. How commands arrive and data leaves is its user's affair.

mod commands;
mod configuration;
mod medium;
mod pages;
mod raw_sector;
mod toc;

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

/// The drive.
pub(crate) struct CdDrive {
    pub port: DiskPort,
    pub memory: CdMemory,
}

impl CdMemory {
    const fn new() -> Self {
        Self { tray_open: false, locked: false, attention: None, event: MediaEvent::None, pages: ModePages::new() }
    }
}

impl CdDrive {
    /// A drive with this medium, its tray closed.
    pub fn new(port: DiskPort) -> Self {
        Self { port, memory: CdMemory::new() }
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
        if std::mem::replace(&mut self.memory.tray_open, open) == open || self.port.is_empty() {
            return;
        }
        if open {
            self.memory.event = MediaEvent::Removal;
        } else {
            self.medium_changed();
        }
    }

    fn medium_changed(&mut self) {
        self.memory.event = MediaEvent::NewMedia;
        self.memory.attention = Some(Sense::MEDIUM_CHANGED);
    }

    /// Whether the guest keeps the tray closed.
    pub fn is_locked(&self) -> bool {
        self.memory.locked
    }

    /// The user presses the button of a drive: the guest is asked to let go of the medium.
    pub fn request_eject(&mut self) {
        self.memory.event = MediaEvent::EjectRequest;
    }

    /// Opens the tray, whatever the guest thinks of it, and takes out the medium.
    pub fn eject(&mut self) -> Option<Box<dyn DiskBackend>> {
        self.memory.locked = false;
        self.move_tray(true);
        self.port.replace(None)
    }

    /// Puts in a medium and closes the tray.
    pub fn insert(&mut self, medium: Box<dyn DiskBackend>) -> Option<Box<dyn DiskBackend>> {
        let before = self.port.replace(Some(medium));
        self.memory.tray_open = false;
        self.medium_changed();
        before
    }
}
