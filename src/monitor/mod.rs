//! Monitors: how a person controls a running machine. They see it through [`Control`] only.

mod commands;
mod editor;
mod human;
pub mod qtest;

pub use human::HumanMonitor;

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

    /// Id and description of each character device.
    fn chardevs(&self) -> &[(String, String)];

    /// Takes up to `count` bytes out of a ring buffer; `None` if there is none of that name.
    fn read_ringbuf(&self, id: &str, count: usize) -> Option<Vec<u8>>;
}
