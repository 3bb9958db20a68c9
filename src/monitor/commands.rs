//! The commands of the human monitor, as a table.

use std::fmt::Write;

use super::hardware::{answer, silent};
use super::{Command, Control, View, hardware, input};
use crate::suggest::did_you_mean;

/// Most bytes that `ringbuf_read` takes at once.
const RINGBUF_MOST: usize = 16 << 20;

/// One command.
struct Spec {
    /// Its names, the first one is shown.
    names: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    action: Action,
}

/// What a command does.
enum Action {
    /// Asks the machine for something.
    Request(Command),
    /// Tells something.
    Tell(fn(&dyn Control, &[&str]) -> String),
}

/// What came of a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Text to show.
    Text(String),
    /// Asked for; the monitor waits until it has happened.
    Requested,
}

const COMMANDS: &[Spec] = &[
    Spec {
        names: &["boot_set"],
        arguments: "ORDER",
        help: "choose what is booted from at the next start (a, b, c, d, n)",
        action: Action::Tell(hardware::boot_set),
    },
    Spec {
        names: &["change"],
        arguments: "[-f] DRIVE FILE [FORMAT [MODE]]",
        help: "put another medium into a drive",
        action: Action::Tell(hardware::change),
    },
    Spec {
        names: &["cont", "c"],
        arguments: "",
        help: "let the machine go on",
        action: Action::Request(Command::Continue),
    },
    Spec {
        names: &["eject"],
        arguments: "[-f] DRIVE",
        help: "take the medium out of a drive",
        action: Action::Tell(hardware::eject),
    },
    Spec { names: &["help", "?"], arguments: "[COMMAND]", help: "describe the commands", action: Action::Tell(help) },
    Spec { names: &["info"], arguments: "[ITEM]", help: "tell about the machine", action: Action::Tell(info) },
    Spec {
        names: &["mouse_button"],
        arguments: "STATE",
        help: "hold buttons of the mouse (1 left, 2 middle, 4 right)",
        action: Action::Tell(|machine, words| silent(input::mouse_button(machine, words))),
    },
    Spec {
        names: &["mouse_move"],
        arguments: "DX DY [DZ]",
        help: "move the mouse, and turn its wheel",
        action: Action::Tell(|machine, words| silent(input::mouse_move(machine, words))),
    },
    Spec {
        names: &["mouse_set"],
        arguments: "INDEX",
        help: "choose the mouse that is moved (see info mice)",
        action: Action::Tell(|machine, words| silent(input::mouse_set(machine, words))),
    },
    Spec {
        names: &["nmi"],
        arguments: "",
        help: "send every CPU a non-maskable interrupt",
        action: Action::Request(Command::Nmi),
    },
    Spec { names: &["quit", "q"], arguments: "", help: "end natoma at once", action: Action::Request(Command::Quit) },
    Spec {
        names: &["ringbuf_read"],
        arguments: "DEVICE SIZE",
        help: "take output out of a ring buffer character device",
        action: Action::Tell(ringbuf_read),
    },
    Spec {
        names: &["sendkey"],
        arguments: "KEYS [HOLD]",
        help: "press keys together, as in ctrl-alt-delete; HOLD: milliseconds between strokes (10)",
        action: Action::Tell(|machine, words| silent(input::send_key(machine, words))),
    },
    Spec { names: &["stop", "s"], arguments: "", help: "stop the machine", action: Action::Request(Command::Stop) },
    Spec {
        names: &["system_powerdown"],
        arguments: "",
        help: "press the power button: the guest is asked to shut down",
        action: Action::Request(Command::PowerButton),
    },
    Spec {
        names: &["system_reset"],
        arguments: "",
        help: "reset the machine",
        action: Action::Request(Command::Reset),
    },
    Spec {
        names: &["system_wakeup"],
        arguments: "",
        help: "wake the machine from suspend to RAM",
        action: Action::Request(Command::Wakeup),
    },
    Spec {
        names: &["x"],
        arguments: "[/FMT] ADDRESS",
        help: "show memory at a linear address of the first CPU",
        action: Action::Tell(hardware::dump_linear),
    },
    Spec {
        names: &["xp"],
        arguments: "[/FMT] ADDRESS",
        help: "show memory at a physical address",
        action: Action::Tell(hardware::dump_physical),
    },
];

/// One item of `info`.
struct Item {
    name: &'static str,
    help: &'static str,
    tell: fn(&dyn Control, &[&str]) -> String,
}

const ITEMS: &[Item] = &[
    Item {
        name: "block",
        help: "the drives and what is in them",
        tell: |machine, _| hardware::view(machine, View::Media),
    },
    Item { name: "chardev", help: "the character devices", tell: |machine, _| chardevs(machine) },
    Item { name: "cpus", help: "the virtual CPUs", tell: |machine, _| hardware::cpus(machine) },
    Item {
        name: "irq",
        help: "how often interrupts came",
        tell: |machine, _| hardware::view(machine, View::InterruptCounts),
    },
    Item { name: "kvm", help: "whether KVM is used", tell: |machine, _| kvm(machine) },
    Item { name: "lapic", help: "the local APIC of a CPU (0 if none is given)", tell: hardware::local_apic },
    Item {
        name: "mice",
        help: "the mice, and which one is moved",
        tell: |machine, _| answer(input::describe_mice(machine)),
    },
    Item {
        name: "mtree",
        help: "what is where in the address spaces",
        tell: |machine, _| hardware::view(machine, View::Memory),
    },
    Item {
        name: "name",
        help: "the name of the guest",
        tell: |machine, _| machine.name().map(|name| format!("{name}\n")).unwrap_or_default(),
    },
    Item { name: "pci", help: "the functions on the PCI buses", tell: |machine, _| hardware::view(machine, View::Pci) },
    Item {
        name: "pic",
        help: "the interrupt controllers",
        tell: |machine, _| hardware::view(machine, View::InterruptControllers),
    },
    Item {
        name: "qtree",
        help: "the devices by bus, with their registers",
        tell: |machine, _| hardware::view(machine, View::Devices),
    },
    Item { name: "registers", help: "the registers of a CPU, or with -a of all", tell: hardware::registers },
    Item { name: "roms", help: "firmware and option ROMs", tell: |machine, _| hardware::view(machine, View::Roms) },
    Item { name: "status", help: "whether the machine runs", tell: |machine, _| status(machine) },
    Item { name: "uuid", help: "the UUID of the guest", tell: |machine, _| format!("{}\n", machine.uuid()) },
    Item {
        name: "version",
        help: "the version of natoma",
        tell: |_, _| format!("natoma {}\n", env!("CARGO_PKG_VERSION")),
    },
];

/// Carries out a command line.
pub(super) fn execute(line: &str, machine: &dyn Control) -> Outcome {
    let mut words = line.split_whitespace();
    let Some(word) = words.next() else { return Outcome::Text(String::new()) };
    // A format may follow its command at once: x/8xb.
    let (name, format) = word.split_at(word.find('/').unwrap_or(word.len()));
    let arguments: Vec<_> = Some(format).filter(|format| !format.is_empty()).into_iter().chain(words).collect();
    match find(name) {
        Some(Spec { action: Action::Request(command), .. }) if arguments.is_empty() => {
            machine.request(*command);
            Outcome::Requested
        }
        Some(Spec { action: Action::Request(_), .. }) => Outcome::Text(format!("{name}: takes no arguments\n")),
        Some(Spec { action: Action::Tell(tell), .. }) => Outcome::Text(tell(machine, &arguments)),
        None => Outcome::Text(unknown("command", name, COMMANDS.iter().flat_map(|spec| spec.names).copied())),
    }
}

fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.names.contains(&name))
}

fn unknown(what: &str, name: &str, names: impl Iterator<Item = &'static str>) -> String {
    format!("unknown {what}: '{name}'{}\n", did_you_mean(name, names))
}

fn help(_: &dyn Control, arguments: &[&str]) -> String {
    let mut text = String::new();
    for spec in
        COMMANDS.iter().filter(|spec| arguments.is_empty() || arguments.iter().any(|name| spec.names.contains(name)))
    {
        let usage = format!("{} {}", spec.names.join("|"), spec.arguments);
        // Writing to a String can't fail.
        let _ = writeln!(text, "{:<28} {}", usage.trim_end(), spec.help);
    }
    for name in arguments.iter().filter(|name| find(name).is_none()) {
        text += &unknown("command", name, COMMANDS.iter().flat_map(|spec| spec.names).copied());
    }
    text
}

fn info(machine: &dyn Control, arguments: &[&str]) -> String {
    let Some(name) = arguments.first() else {
        return ITEMS.iter().fold(String::new(), |text, item| format!("{text}info {:<10} {}\n", item.name, item.help));
    };
    match ITEMS.iter().find(|item| item.name == *name) {
        Some(item) => (item.tell)(machine, &arguments[1..]),
        None => unknown("item", name, ITEMS.iter().map(|item| item.name)),
    }
}

fn kvm(machine: &dyn Control) -> String {
    format!("kvm support: {}\n", if machine.uses_kvm() { "enabled" } else { "disabled" })
}

fn status(machine: &dyn Control) -> String {
    match machine.status() {
        "running" => "VM status: running\n".into(),
        "paused" => "VM status: paused\n".into(),
        other => format!("VM status: paused ({other})\n"),
    }
}

fn chardevs(machine: &dyn Control) -> String {
    machine.chardevs().iter().map(|(id, description)| format!("{id}: filename={description}\n")).collect()
}

fn ringbuf_read(machine: &dyn Control, arguments: &[&str]) -> String {
    let [id, size] = arguments else { return "ringbuf_read: give the device and the number of bytes\n".into() };
    let Some(size) = size.parse().ok().filter(|size| (1..=RINGBUF_MOST).contains(size)) else {
        return format!("ringbuf_read: '{size}' is no number of bytes from 1 to {RINGBUF_MOST}\n");
    };
    match machine.read_ringbuf(id, size) {
        Some(bytes) => format!("{}\n", String::from_utf8_lossy(&bytes)),
        None => format!("ringbuf_read: there is no ring buffer '{id}'\n"),
    }
}
