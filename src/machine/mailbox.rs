//! Messages to the main loop from vCPU threads and devices.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, OnceLock};

use devices::base::{SystemControl, SystemRequest, lock};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::kvm::report::Report;
use crate::kvm::vcpu::{SystemEvent, VcpuEvents};
use crate::monitor::ActionChanges;

/// Something the main loop has to see to.
#[derive(Debug)]
pub enum Message {
    /// A device asks for something that concerns the whole machine.
    Request(SystemRequest),
    /// A vCPU met a triple fault.
    TripleFault {
        /// Its number.
        vcpu: u32,
    },
    /// The guest used a paravirtual interface of KVM.
    SystemEvent(SystemEvent),
    /// A vCPU can't go on.
    Failed(Box<Report>),
    /// A vCPU can't be made what it is to be; it has not run.
    SetUpFailed {
        /// Its number.
        vcpu: u32,
        /// Why.
        error: anyhow::Error,
    },
    /// The user asks for something.
    User(UserRequest),
}

/// What a user can ask of a running machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRequest {
    /// End the process now.
    Quit,
    /// Stop the processors.
    Stop,
    /// Let the processors go on.
    Continue,
    /// Reset the machine, whatever the guest thinks of it.
    Reset,
    /// Press the power button: the guest is asked to shut down.
    PowerButton,
    /// Wake the machine, if it sleeps.
    Wakeup,
    /// Send every processor a non-maskable interrupt.
    Nmi,
    /// Do this about some events from now on.
    SetActions(ActionChanges),
    /// End because of this signal.
    Signal(i32),
}

/// Orders all vCPUs to park, without waiting for them.
type ParkAll = Box<dyn Fn() + Send + Sync>;

/// The main loop's mailbox. A message that changes the course of the machine also parks the vCPUs, so that no guest
/// instruction runs between the cause and its effect.
pub struct Mailbox {
    messages: Mutex<VecDeque<Message>>,
    bell: EventFd,
    park_all: OnceLock<ParkAll>,
}

impl Mailbox {
    /// An empty mailbox.
    ///
    /// # Errors
    /// The host has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { messages: Mutex::default(), bell: EventFd::new(EFD_NONBLOCK)?, park_all: OnceLock::new() })
    }

    /// Connects the vCPUs once they exist, by what orders all of them to park.
    pub fn connect(&self, park_all: impl Fn() + Send + Sync + 'static) {
        // Set once, by the machine's constructor.
        let _ = self.park_all.set(Box::new(park_all));
    }

    /// Leaves a message without disturbing the vCPUs.
    pub fn post(&self, message: Message) {
        lock(&self.messages).push_back(message);
        // The counter of an event descriptor overflows after 2^64 - 2 unread messages.
        let _ = self.bell.write(1);
    }

    /// Parks the vCPUs and leaves a message. In this order: the main loop may see to a message at once, and after many of them it
    /// has the vCPUs run again, without having waited for them to park.
    fn interrupt(&self, message: Message) {
        if let Some(park_all) = self.park_all.get() {
            park_all();
        }
        self.post(message);
    }

    /// Takes the oldest message.
    pub fn take(&self) -> Option<Message> {
        lock(&self.messages).pop_front()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        lock(&self.messages).is_empty()
    }

    /// Clears the bell that woke the main loop.
    pub fn silence(&self) {
        // It may not have rung at all.
        let _ = self.bell.read();
    }
}

impl AsRawFd for Mailbox {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}

impl SystemControl for Mailbox {
    fn request(&self, request: SystemRequest) {
        self.interrupt(Message::Request(request));
    }
}

impl VcpuEvents for Mailbox {
    fn triple_fault(&self, vcpu: u32) {
        self.interrupt(Message::TripleFault { vcpu });
    }

    fn system_event(&self, _vcpu: u32, event: SystemEvent) {
        self.interrupt(Message::SystemEvent(event));
    }

    fn failed(&self, report: Report) {
        self.interrupt(Message::Failed(Box::new(report)));
    }

    fn set_up_failed(&self, vcpu: u32, error: anyhow::Error) {
        self.interrupt(Message::SetUpFailed { vcpu, error });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// Parked after that, they would stay so: with what the message asked for done, nobody would have them run.
    #[test]
    fn processors_have_been_told_to_park_when_the_message_comes() {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let (sender, parked) = mpsc::channel();
        let seen = Arc::downgrade(&mailbox);
        mailbox.connect(move || sender.send(seen.upgrade().unwrap().is_empty()).unwrap());
        mailbox.request(SystemRequest::PowerOff);
        assert_eq!(parked.try_recv(), Ok(true));
        assert!(matches!(mailbox.take(), Some(Message::Request(SystemRequest::PowerOff))));
        assert!(mailbox.is_empty() && parked.try_recv().is_err());
    }
}
