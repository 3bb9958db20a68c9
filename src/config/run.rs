//! The process around the machine: names, actions on guest events, monitors, logging.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

/// Name and UUID of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Name of the guest, for titles, monitors and messages.
    pub name: Option<String>,
    /// Name the process gives itself (`ps`, `top`): the kernel keeps the first 15 bytes.
    pub process_name: Option<String>,
    /// Threads are named after what they do.
    pub debug_threads: bool,
    /// UUID of the machine as SMBIOS shows it; `None`: all zero.
    pub uuid: Option<Uuid>,
}

/// How the process behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What happens on reset, power-off, panic and watchdog.
    pub actions: Actions,
    /// Build the machine but do not start its CPUs.
    pub start_paused: bool,
    /// Leave the terminal and go on in the background once the machine is built.
    pub daemonize: bool,
    /// File that holds the process id while natoma runs.
    pub pidfile: Option<PathBuf>,
}

/// What natoma does when the guest resets, powers off, panics or lets its watchdog fire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actions {
    /// The guest resets.
    pub reboot: RebootAction,
    /// The guest powers off.
    pub shutdown: ShutdownAction,
    /// The guest reports a panic.
    pub panic: PanicAction,
    /// A watchdog device fires.
    pub watchdog: WatchdogAction,
}

/// What happens when the guest resets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RebootAction {
    /// The machine resets.
    #[default]
    Reset,
    /// As if the guest had powered off.
    Shutdown,
}

/// What happens when the guest powers off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownAction {
    /// natoma exits.
    #[default]
    Poweroff,
    /// The machine stops and the process stays.
    Pause,
}

/// What happens when the guest reports a panic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PanicAction {
    /// As if the guest had powered off.
    #[default]
    Shutdown,
    /// The machine stops and the process stays.
    Pause,
    /// natoma exits with status 1.
    ExitFailure,
    /// The guest goes on.
    None,
}

/// What happens when a watchdog device fires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchdogAction {
    /// The machine resets.
    #[default]
    Reset,
    /// The power button is pressed: the guest is asked to shut down.
    Shutdown,
    /// natoma exits.
    Poweroff,
    /// Every CPU gets a non-maskable interrupt.
    InjectNmi,
    /// The machine stops and the process stays.
    Pause,
    /// A message is printed and the guest goes on.
    Debug,
    /// Nothing.
    None,
}

/// A monitor: a person's or a program's way to control the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorConfig {
    /// Id of the character device it talks on.
    pub chardev: String,
    /// What it speaks.
    pub mode: MonitorMode,
}

/// What a monitor speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MonitorMode {
    /// Commands for people.
    #[default]
    Readline,
    /// QMP, for programs.
    Control {
        /// Messages are indented.
        pretty: bool,
    },
}

/// The qtest protocol: devices are driven from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QtestConfig {
    /// Id of the character device it is spoken on.
    pub chardev: String,
    /// File the conversation is written to: `None` is standard error, `none` or `/dev/null` nowhere.
    pub log: Option<PathBuf>,
}

/// Log and trace output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged beside errors and warnings; no item twice.
    pub items: Vec<LogItem>,
    /// File for the log instead of standard error; `%d` in it stands for the process id.
    pub file: Option<PathBuf>,
    /// Patterns (`*` matches any text) of trace events that are written to the log, in order; one that begins with `-`
    /// switches matching events off again.
    pub trace: Vec<String>,
}

/// A kind of log message that can be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogItem {
    /// The guest did something invalid, such as an access to a register that does not exist.
    GuestErrors,
    /// The guest used something that natoma does not emulate.
    Unimp,
    /// State of a CPU before its reset.
    CpuReset,
    /// Interrupts and exceptions.
    Int,
}
