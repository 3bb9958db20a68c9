//! The host: what the process does with files, terminals, sockets and itself on behalf of the machine.

pub mod block;
pub mod channel;
pub mod chardev;
pub mod io_thread;
pub mod process;
pub mod terminal;

use anyhow::Result;
use devices::backend::block::BlockBackend;

use self::block::Blocks;
use self::chardev::{CharPort, Chardevs};

/// The drives that a configuration names.
pub trait Drives {
    /// All of them.
    fn blocks(&self) -> &Blocks;

    /// What is in drive `id`, for a device that waits for each of its requests; `None` if the drive is empty.
    ///
    /// # Errors
    /// There is no such drive.
    fn block(&self, id: &str) -> Result<Option<Box<dyn BlockBackend>>> {
        Ok(self.blocks().medium(id)?.map(|medium| medium.waiting()))
    }
}

/// All back ends that a configuration names, as the board asks for them.
pub trait Backends: Drives {
    /// The port of the character device `id`.
    ///
    /// # Errors
    /// There is none.
    fn char_port(&self, id: &str) -> Result<Box<dyn CharPort>>;
}

/// The back ends of a configuration, open.
pub struct Opened<'a> {
    /// Character devices.
    pub chardevs: &'a Chardevs,
    /// Drives.
    pub blocks: &'a Blocks,
}

impl Drives for Blocks {
    fn blocks(&self) -> &Blocks {
        self
    }
}

impl Drives for Opened<'_> {
    fn blocks(&self) -> &Blocks {
        self.blocks
    }
}

impl Backends for Opened<'_> {
    fn char_port(&self, id: &str) -> Result<Box<dyn CharPort>> {
        self.chardevs.port(id)
    }
}
