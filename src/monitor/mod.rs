//! Monitors: how people and programs control a running machine. They see it through [`Control`] only.

mod commands;
mod connection;
mod editor;
mod events;
mod human;
mod qmp;
pub mod qom;
pub mod qtest;

pub use events::{Cause, Event};
pub use human::HumanMonitor;
pub use qmp::QmpMonitor;

use crate::config::DeviceType;
use qom::Qom;

/// What a monitor can ask of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End the process now.
    Quit,
    /// Stop the processors.
    Stop,
    /// Let the processors go on.
    Continue,
    /// Reset the machine.
    Reset,
    /// Press the power button.
    PowerButton,
    /// Wake the machine from S3.
    Wakeup,
}

/// A virtual CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The host's thread that runs it.
    pub thread_id: i32,
    /// Its place in the topology.
    pub socket: u32,
    /// Its core in the socket.
    pub core: u32,
    /// Its thread in the core.
    pub thread: u32,
}

/// The machine, as a monitor sees it.
pub trait Control: Send + Sync {
    /// Asks for something. The main loop sees to it, and then calls [`HumanMonitor::settle`].
    fn request(&self, command: Command);

    /// The state of the machine by the name QEMU has for it: `running`, `paused`, ...
    fn status(&self) -> &'static str;

    /// The name of the guest.
    fn name(&self) -> Option<&str>;

    /// The UUID of the guest.
    fn uuid(&self) -> String;

    /// Number of virtual CPUs.
    fn cpus(&self) -> u32;

    /// The virtual CPUs in the order of their numbers.
    fn cpu_list(&self) -> Vec<Cpu>;

    /// Whether KVM runs them.
    fn uses_kvm(&self) -> bool;

    /// The registers of the interrupt controllers, as a person reads them; `None` before there are any.
    fn interrupts(&self) -> Option<anyhow::Result<String>>;

    /// Bytes of RAM.
    fn memory_size(&self) -> u64;

    /// The objects of the machine.
    fn qom(&self) -> &Qom;

    /// The devices that can be added to a machine.
    fn device_types(&self) -> &[DeviceType];

    /// Id and description of each character device.
    fn chardevs(&self) -> &[(String, String)];

    /// Takes up to `count` bytes out of a ring buffer; `None` if there is none of that name.
    fn read_ringbuf(&self, id: &str, count: usize) -> Option<Vec<u8>>;
}
