//! Monitors: how people and programs control a running machine. They see it through [`Control`] only.

pub mod access;
mod commands;
mod connection;
#[cfg(test)]
mod double;
pub mod drives;
mod editor;
mod events;
mod expression;
mod hardware;
mod human;
mod info;
pub mod input;
mod memory;
mod missing;
mod objects;
pub mod pci;
mod qmp;
pub mod qom;
pub mod qtest;
mod words;

pub use events::{Cause, Event};
pub use human::HumanMonitor;
pub use qmp::QmpMonitor;

use self::access::Access;
use self::drives::{DriveInfo, Nodes};
use self::input::Input;
use self::pci::PciFunctionInfo;
use self::qom::Qom;
use crate::config::{
    Actions, CpuModel, CpuProperty, DeviceType, IoThread, MemoryBackend, NumaConfig, OptionGroup, PanicAction,
    RebootAction, ShutdownAction, WatchdogAction,
};

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
    /// Send every processor a non-maskable interrupt.
    Nmi,
    /// Change what is done about some events.
    SetActions(ActionChanges),
}

impl Command {
    /// Why a machine in this state does not do it, in QEMU's words.
    fn refusal(self, status: &str) -> Option<&'static str> {
        match (self, status) {
            (Self::Continue, "shutdown") => Some("Resetting the Virtual Machine is required"),
            (Self::Wakeup, status) if status != "suspended" => {
                Some("Unable to wake up: guest is not in suspended state")
            }
            _ => None,
        }
    }
}

/// What is to be done about events from now on; `None`: what was done before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Actions`")]
pub struct ActionChanges {
    pub reboot: Option<RebootAction>,
    pub shutdown: Option<ShutdownAction>,
    pub panic: Option<PanicAction>,
    pub watchdog: Option<WatchdogAction>,
}

impl ActionChanges {
    /// The actions after the change.
    #[must_use]
    pub fn apply(self, actions: Actions) -> Actions {
        let Self { reboot, shutdown, panic, watchdog } = self;
        Actions {
            reboot: reboot.unwrap_or(actions.reboot),
            shutdown: shutdown.unwrap_or(actions.shutdown),
            panic: panic.unwrap_or(actions.panic),
            watchdog: watchdog.unwrap_or(actions.watchdog),
        }
    }
}

/// A part of the machine that a person looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The registers of the interrupt controllers.
    InterruptControllers,
    /// How often interrupts came.
    InterruptCounts,
    /// The local APIC of a processor.
    LocalApic(u32),
    /// The registers of a processor.
    Registers(u32),
    /// All devices by bus.
    Devices,
    /// The address spaces.
    Memory,
    /// Firmware and option ROMs.
    Roms,
    /// The contents of memory.
    Dump(Dump),
}

/// A stretch of memory, and how it is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dump {
    /// Where it begins.
    pub address: u64,
    /// How many numbers are shown.
    pub count: u32,
    /// Bytes of each: 1, 2, 4 or 8.
    pub size: u8,
    /// How each is written.
    pub format: DumpFormat,
    /// Whose linear address it is; `None`: it is guest-physical.
    pub processor: Option<u32>,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a variant says all there is to say about a number")]
pub enum DumpFormat {
    Hex,
    Octal,
    Unsigned,
    Signed,
    Character,
    Instructions,
}

/// A medium to be put into a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// The image file.
    pub path: String,
    /// Its format, if that is known; otherwise its contents are looked at.
    pub format: Option<String>,
    /// Whether the guest may write to it.
    pub writing: Writing,
}

/// What is done to a drive by hand. A drive without a tray is always open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediumChange {
    /// Its tray is opened, and the medium taken out.
    Eject,
    /// Another medium is put in, in place of the one that is there, and the tray is closed.
    Insert(Medium),
    /// Its tray is opened.
    OpenTray,
    /// Its tray is closed.
    CloseTray,
    /// The medium is taken out of the open tray.
    Remove,
}

/// Whether a guest may write to a medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writing {
    /// If it could to the one before.
    #[default]
    Retain,
    /// No.
    Forbidden,
    /// Yes.
    Allowed,
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

/// A thread that serves queues of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoThreadInfo {
    /// What it was made from.
    pub config: IoThread,
    /// The kernel's number of the thread.
    pub thread_id: i32,
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

    /// Tells about a part of the machine, as a person reads it.
    ///
    /// # Errors
    /// There is no such part, or not yet, or the host refuses.
    fn view(&self, view: View) -> anyhow::Result<String>;

    /// The functions on the root PCI bus, and behind its bridges.
    ///
    /// # Errors
    /// There is no machine yet.
    fn pci(&self) -> anyhow::Result<Vec<PciFunctionInfo>>;

    /// Drives and what is in them.
    ///
    /// # Errors
    /// There is no machine yet.
    fn drives(&self) -> anyhow::Result<Vec<DriveInfo>>;

    /// The nodes that media are made of.
    ///
    /// # Errors
    /// There is no machine yet.
    fn nodes(&self) -> anyhow::Result<&dyn Nodes>;

    /// Does something to a drive by hand; `force`: even if the guest has locked its tray.
    ///
    /// # Errors
    /// There is no such drive, its medium can't be changed, its tray is locked or closed, or the image can't be opened.
    fn change_medium(&self, drive: &str, change: MediumChange, force: bool) -> anyhow::Result<()>;

    /// Sets where firmware looks for an operating system at the next start, by letters as `-boot order=` has them.
    ///
    /// # Errors
    /// A letter names no device.
    fn set_boot_order(&self, order: &str) -> anyhow::Result<()>;

    /// Memory and ports.
    ///
    /// # Errors
    /// There is no machine yet.
    fn access(&self) -> anyhow::Result<&dyn Access>;

    /// Keyboard and mouse of the user.
    ///
    /// # Errors
    /// There is no machine yet.
    fn input(&self) -> anyhow::Result<&dyn Input>;

    /// Bytes of RAM.
    fn memory_size(&self) -> u64;

    /// What RAM consists of, and backends that nothing uses.
    fn memory_backends(&self) -> &[MemoryBackend];

    /// The threads that serve queues of devices.
    fn io_threads(&self) -> &[IoThreadInfo];

    /// The NUMA nodes.
    fn numa(&self) -> &NumaConfig;

    /// Sends a break to the device at a character device.
    ///
    /// # Errors
    /// There is no such character device.
    fn send_break(&self, chardev: &str) -> anyhow::Result<()>;

    /// The objects of the machine.
    fn qom(&self) -> &Qom;

    /// The devices that can be added to a machine.
    fn device_types(&self) -> &[DeviceType];

    /// The options of the command line that have parameters.
    fn option_groups(&self) -> &[OptionGroup];

    /// The models of processors.
    ///
    /// # Errors
    /// They are not known.
    fn cpu_models(&self) -> anyhow::Result<Vec<CpuModel>>;

    /// Every feature of processors, and whether such a model has it on this host.
    ///
    /// # Errors
    /// There is no such model or property, or no host to ask.
    fn cpu_features(&self, model: &str, properties: Vec<CpuProperty>) -> anyhow::Result<Vec<(&'static str, bool)>>;

    /// Id and description of each character device.
    fn chardevs(&self) -> &[(String, String)];

    /// Takes up to `count` bytes out of a ring buffer; `None` if there is none of that name.
    fn read_ringbuf(&self, id: &str, count: usize) -> Option<Vec<u8>>;
}
