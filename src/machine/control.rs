//! The machine as monitors see it.

use std::sync::{Arc, Mutex};

use devices::base::lock;
use uuid::Uuid;

use super::lifecycle::Status;
use super::mailbox::{Mailbox, Message, UserRequest};
use crate::config::MachineConfig;
use crate::host::chardev::{Chardevs, Ringbufs};
use crate::monitor::{Command, Control};

/// What monitors may know, and how they reach the main loop.
pub struct MonitorControl {
    mailbox: Arc<Mailbox>,
    status: Mutex<Status>,
    name: Option<String>,
    uuid: Uuid,
    cpus: u32,
    chardevs: Vec<(String, String)>,
    ringbufs: Ringbufs,
}

impl MonitorControl {
    /// The machine that `config` describes, not started yet.
    #[must_use]
    pub fn new(config: &MachineConfig, chardevs: &Chardevs, mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            status: Mutex::new(Status::Prelaunch),
            name: config.identity.name.clone(),
            uuid: config.identity.uuid.unwrap_or_default(),
            cpus: config.smp.cpus,
            chardevs: chardevs.descriptions(),
            ringbufs: chardevs.ringbufs(),
        }
    }

    /// The state the machine is in now.
    pub fn set_status(&self, status: Status) {
        *lock(&self.status) = status;
    }
}

impl Control for MonitorControl {
    fn request(&self, command: Command) {
        let request = match command {
            Command::Quit => UserRequest::Quit,
            Command::Stop => UserRequest::Stop,
            Command::Continue => UserRequest::Continue,
            Command::Reset => UserRequest::Reset,
            Command::PowerButton => UserRequest::PowerButton,
        };
        self.mailbox.post(Message::User(request));
    }

    fn status(&self) -> &'static str {
        lock(&self.status).name()
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn uuid(&self) -> String {
        self.uuid.to_string()
    }

    fn cpus(&self) -> u32 {
        self.cpus
    }

    fn chardevs(&self) -> &[(String, String)] {
        &self.chardevs
    }

    fn read_ringbuf(&self, id: &str, count: usize) -> Option<Vec<u8>> {
        self.ringbufs.read(id, count)
    }
}
