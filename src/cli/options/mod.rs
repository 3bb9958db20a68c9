//! The table of all options: the single source of parsing, help, completion and reference documentation.
//!
//! Names, arguments and meanings follow QEMU 7.2. The table has every option of `qemu-system-x86_64`: one that does not
//! work says so by name, with what to use instead.

mod block;
mod boot;
mod chardev;
mod device;
mod disk;
mod ide;
mod isa;
mod machine;
mod memory;
mod missing;
mod numa;
mod pci;
mod process;
mod scsi;
mod tables;
mod throttle;
mod virtio;

use super::keyval::Schema;
pub use block::{NO_DISK, NODE_KEYS};
pub use device::BOARD_DRIVERS;
pub use pci::{COMMON as PCI_KEYS, is_common as is_pci_key};
pub use tables::ONBOARD_KINDS;

/// One option.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its name, without dash.
    pub name: &'static str,
    /// A second name.
    pub alias: Option<&'static str>,
    /// What follows it.
    pub argument: Argument,
    /// Where help and documentation show it.
    pub section: Section,
    /// What it does, in a line.
    pub help: &'static str,
    /// More about it, as paragraphs of Markdown separated by empty lines; may be empty.
    pub details: &'static str,
    /// What it does to the configuration.
    pub effect: Effect,
    /// Its section in a configuration file, if it has one of its own there.
    pub group: Option<&'static str>,
}

/// What follows an option.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// Nothing.
    None,
    /// Any text; the placeholder says what it means.
    Text(&'static str),
    /// The name of a file.
    File(&'static str),
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A list of `key=value`; the text is its form in a line.
    List(&'static str, &'static Schema),
    /// The name of another option, or nothing.
    OptionName,
}

/// What an option does.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// It is a part of the configuration.
    Setting,
    /// It sets a key of another option: this one, or the option's argument if there is none.
    Sugar {
        /// The other option.
        option: &'static str,
        /// Its key.
        key: &'static str,
        /// The value, if the option has no argument.
        value: Option<&'static str>,
    },
    /// It prints something, and natoma exits.
    Print,
    /// QEMU has it and natoma does not.
    Missing {
        /// Arguments that ask for what natoma does anyway.
        harmless: &'static [&'static str],
        /// What to do instead.
        instead: &'static str,
    },
}

/// A section of the help text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Board, CPUs and clock.
    Machine,
    /// Guest RAM.
    Memory,
    /// Kernel and firmware.
    Boot,
    /// Serial ports and what they are connected to.
    Character,
    /// Drives and their images.
    Drives,
    /// Devices beside those of the board.
    Devices,
    /// The process and what it does when the guest resets, powers off ...
    Process,
    /// Logs and traces.
    Debug,
    /// Help.
    Help,
    /// Options that do nothing yet.
    Missing,
}

impl Section {
    /// The sections in the order of help and documentation, without [`Section::Missing`].
    pub const ALL: [Self; 9] = [
        Self::Machine,
        Self::Memory,
        Self::Boot,
        Self::Character,
        Self::Drives,
        Self::Devices,
        Self::Process,
        Self::Debug,
        Self::Help,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Machine => "Machine and CPUs",
            Self::Memory => "Memory",
            Self::Boot => "What to boot",
            Self::Character => "Serial ports, character devices and display",
            Self::Drives => "Drives",
            Self::Devices => "Devices",
            Self::Process => "Process and actions",
            Self::Debug => "Logging and tracing",
            Self::Help => "Help",
            Self::Missing => "Not supported yet",
        }
    }
}

impl OptionSpec {
    const fn new(name: &'static str, argument: Argument, section: Section, help: &'static str) -> Self {
        Self { name, alias: None, argument, section, help, details: "", effect: Effect::Setting, group: None }
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    const fn group(mut self, group: &'static str) -> Self {
        self.group = Some(group);
        self
    }

    const fn sugar(mut self, option: &'static str, key: &'static str, value: Option<&'static str>) -> Self {
        self.effect = Effect::Sugar { option, key, value };
        self
    }

    const fn prints(mut self) -> Self {
        self.effect = Effect::Print;
        self
    }

    const fn missing(
        name: &'static str,
        argument: Argument,
        harmless: &'static [&'static str],
        instead: &'static str,
    ) -> Self {
        Self { effect: Effect::Missing { harmless, instead }, ..Self::new(name, argument, Section::Missing, "") }
    }

    /// Shows an option that works only in part beside those that work.
    const fn shown(mut self, section: Section, help: &'static str) -> Self {
        self.section = section;
        self.help = help;
        self
    }

    /// Whether an argument follows it.
    pub fn takes_argument(&self) -> bool {
        !matches!(self.argument, Argument::None)
    }

    /// The option as one writes it: `-smp [cpus=]N[,KEY=VALUE...]`.
    pub fn form(&self) -> String {
        match self.argument {
            Argument::None => format!("-{}", self.name),
            Argument::Text(form) | Argument::File(form) | Argument::List(form, _) => format!("-{} {form}", self.name),
            Argument::Choice(words) => format!("-{} {}", self.name, words.join("|")),
            Argument::OptionName => format!("-{} [OPTION]", self.name),
        }
    }
}

/// All options, by section.
pub fn all() -> impl Iterator<Item = &'static OptionSpec> + Clone {
    [
        machine::OPTIONS,
        tables::OPTIONS,
        numa::OPTIONS,
        boot::OPTIONS,
        memory::OPTIONS,
        chardev::OPTIONS,
        block::OPTIONS,
        device::OPTIONS,
        process::OPTIONS,
        missing::OPTIONS,
    ]
    .into_iter()
    .flatten()
}

/// The option with this name (without dash) or alias.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    all().find(|option| option.name == name || option.alias == Some(name))
}

/// The schema of an option that takes a list.
pub fn schema(name: &str) -> Option<&'static Schema> {
    match find(name)?.argument {
        Argument::List(_, schema) => Some(schema),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
