//! The commands of the human monitor, as a table.

use std::fmt::Write;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{ActionChanges, Command, Control, hardware, info, input, memory, missing, objects, words};
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
    /// Asks the machine for something that is told by arguments.
    Ask(fn(&[&str]) -> Result<Command>),
    /// Tells or does something.
    Tell(fn(&mut Context<'_>, &[&str]) -> Result<String>),
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
        names: &["block_resize"],
        arguments: "DRIVE SIZE",
        help: "make a medium longer or shorter; a size without a suffix is in MiB",
        action: Action::Tell(hardware::block_resize),
    },
    Spec {
        names: &["block_set_io_throttle"],
        arguments: "DRIVE BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR",
        help: "set how much a drive may do in a second (0: as much as it can)",
        action: Action::Tell(hardware::block_set_io_throttle),
    },
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
        names: &["chardev-send-break"],
        arguments: "ID",
        help: "send a break to the device at a character device",
        action: Action::Tell(send_break),
    },
    Spec {
        names: &["cont", "c"],
        arguments: "",
        help: "let the machine go on",
        action: Action::Request(Command::Continue),
    },
    Spec {
        names: &["cpu"],
        arguments: "INDEX",
        help: "choose the CPU through which memory and registers are seen",
        action: Action::Tell(hardware::choose_cpu),
    },
    Spec {
        names: &["eject"],
        arguments: "[-f] DRIVE",
        help: "take the medium out of a drive",
        action: Action::Tell(hardware::eject),
    },
    Spec {
        names: &["gva2gpa"],
        arguments: "ADDRESS",
        help: "tell where a linear address is in physical memory",
        action: Action::Tell(memory::translate),
    },
    Spec { names: &["help", "?"], arguments: "[COMMAND]", help: "describe the commands", action: Action::Tell(help) },
    Spec {
        names: &["i"],
        arguments: "[/FMT] PORT[.INDEX]",
        help: "read from an I/O port; with INDEX, write that to it first and read from the next one",
        action: Action::Tell(memory::read_port),
    },
    Spec { names: &["info"], arguments: "[ITEM]", help: "tell about the machine", action: Action::Tell(info::info) },
    Spec {
        names: &["memsave"],
        arguments: "ADDRESS SIZE FILE",
        help: "save memory from a linear address on",
        action: Action::Tell(memory::save_linear),
    },
    Spec {
        names: &["mouse_button"],
        arguments: "STATE",
        help: "hold buttons of the mouse (1 left, 2 middle, 4 right)",
        action: Action::Tell(input::mouse_button),
    },
    Spec {
        names: &["mouse_move"],
        arguments: "DX DY [DZ]",
        help: "move the mouse, and turn its wheel",
        action: Action::Tell(input::mouse_move),
    },
    Spec {
        names: &["mouse_set"],
        arguments: "INDEX",
        help: "choose the mouse that is moved (see info mice)",
        action: Action::Tell(input::mouse_set),
    },
    Spec {
        names: &["nmi"],
        arguments: "",
        help: "send every CPU a non-maskable interrupt",
        action: Action::Request(Command::Nmi),
    },
    Spec {
        names: &["o"],
        arguments: "[/FMT] PORT VALUE",
        help: "write to an I/O port",
        action: Action::Tell(memory::write_port),
    },
    Spec {
        names: &["pmemsave"],
        arguments: "ADDRESS SIZE FILE",
        help: "save memory from a physical address on",
        action: Action::Tell(memory::save_physical),
    },
    Spec {
        names: &["print", "p"],
        arguments: "[/FMT] EXPRESSION",
        help: "calculate; registers have a $ before them",
        action: Action::Tell(memory::print),
    },
    Spec {
        names: &["qom-get"],
        arguments: "PATH PROPERTY",
        help: "tell a property of an object",
        action: Action::Tell(objects::get),
    },
    Spec {
        names: &["qom-list"],
        arguments: "[PATH]",
        help: "list the properties of an object",
        action: Action::Tell(objects::list),
    },
    Spec {
        names: &["qom-set"],
        arguments: "PATH PROPERTY VALUE",
        help: "refused: nothing can be set at run time",
        action: Action::Tell(objects::set),
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
        action: Action::Tell(input::send_key),
    },
    Spec { names: &["stop", "s"], arguments: "", help: "stop the machine", action: Action::Request(Command::Stop) },
    Spec {
        names: &["sum"],
        arguments: "ADDRESS SIZE",
        help: "calculate the BSD checksum of physical memory",
        action: Action::Tell(memory::sum),
    },
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
        names: &["watchdog_action"],
        arguments: "ACTION",
        help: "choose what a watchdog does that fires",
        action: Action::Ask(watchdog_action),
    },
    Spec {
        names: &["x"],
        arguments: "[/FMT] ADDRESS",
        help: "show memory at a linear address",
        action: Action::Tell(memory::dump_linear),
    },
    Spec {
        names: &["xp"],
        arguments: "[/FMT] ADDRESS",
        help: "show memory at a physical address",
        action: Action::Tell(memory::dump_physical),
    },
];

/// What a command works with.
pub(super) struct Context<'a> {
    pub machine: &'a dyn Control,
    /// The processor through which memory and registers are seen.
    pub cpu: &'a mut u32,
}

/// Carries out a command line, seen through processor `cpu`.
pub(super) fn execute(line: &str, machine: &dyn Control, cpu: &mut u32) -> Outcome {
    match carry_out(line, Context { machine, cpu }) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Text(format!("Error: {error:#}\n")),
    }
}

fn carry_out(line: &str, mut context: Context<'_>) -> Result<Outcome> {
    let words = words::split(line)?;
    let Some((word, rest)) = words.split_first() else { return Ok(Outcome::Text(String::new())) };
    // A format may follow its command at once: x/8xb.
    let (name, format) = word.split_at(word.find('/').unwrap_or(word.len()));
    let arguments: Vec<_> =
        Some(format).filter(|format| !format.is_empty()).into_iter().chain(rest.iter().map(String::as_str)).collect();
    let Some(spec) = find(name) else {
        return Ok(Outcome::Text(match missing::command(name) {
            Some(reason) => format!("Error: {name}: {reason}\n"),
            None => unknown("command", name, COMMANDS.iter().flat_map(|spec| spec.names).copied()),
        }));
    };
    match spec.action {
        Action::Tell(tell) => tell(&mut context, &arguments).map(Outcome::Text),
        Action::Request(_) if !arguments.is_empty() => bail!("{name} takes no arguments"),
        Action::Request(command) => request(context.machine, command),
        Action::Ask(parse) => request(context.machine, parse(&arguments)?),
    }
}

fn request(machine: &dyn Control, command: Command) -> Result<Outcome> {
    if let Some(reason) = command.refusal(machine.status()) {
        bail!(reason);
    }
    machine.request(command);
    Ok(Outcome::Requested)
}

fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.names.contains(&name))
}

pub(super) fn unknown(what: &str, name: &str, names: impl Iterator<Item = &'static str>) -> String {
    format!("unknown {what}: '{name}'{}\n", did_you_mean(name, names))
}

fn help(_: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    if let ["info", items @ ..] = arguments
        && !items.is_empty()
    {
        return Ok(items.iter().map(|item| info::help(item)).collect());
    }
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
    Ok(text)
}

fn ringbuf_read(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [id, size] = arguments else { bail!("give the device and the number of bytes") };
    let size = size.parse().ok().filter(|size| (1..=RINGBUF_MOST).contains(size));
    let size = size.with_context(|| format!("give a number of bytes from 1 to {RINGBUF_MOST}"))?;
    let bytes = context.machine.read_ringbuf(id, size);
    let bytes = bytes.with_context(|| format!("there is no ring buffer '{id}'"))?;
    Ok(format!("{}\n", String::from_utf8_lossy(&bytes)))
}

/// `watchdog_action ACTION`.
fn watchdog_action(arguments: &[&str]) -> Result<Command> {
    let [action] = arguments else { bail!("give what a watchdog does that fires: reset, shutdown, poweroff, ...") };
    let watchdog = serde_json::from_value((*action).into());
    let watchdog = watchdog.map_err(|_| anyhow!("invalid parameter value: {action}"))?;
    Ok(Command::SetActions(ActionChanges { watchdog: Some(watchdog), ..ActionChanges::default() }))
}

fn send_break(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [id] = arguments else { bail!("give a character device (see 'info chardev')") };
    context.machine.send_break(id).map(|()| String::new())
}
