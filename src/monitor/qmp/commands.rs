//! The commands of QMP, as a table.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::error::QmpError;
use super::request::Arguments;
use super::schema::Kind::{Any, Bool, Int, Object, Objects, Str, Strings};
use super::schema::{self, OTHERS, Parameter, may, must};
use super::{block, catalogue, input, machine as of_machine};
use crate::monitor::commands::{self as human, Outcome};
use crate::monitor::pci::PciFunctionInfo;
use crate::monitor::qom::PathError;
use crate::monitor::{Command, Control, Event};

/// What comes of a command.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// This, at once.
    Now(Value),
    /// This, when the machine has done what was asked of it.
    Settled(Value),
}

/// An answer, or why there is none.
pub type Result = std::result::Result<Answer, QmpError>;

/// What a command does.
type Action = fn(&dyn Control, &mut Arguments) -> Result;

/// Most bytes that `ringbuf-read` takes at once.
const RINGBUF_MOST: u64 = 16 << 20;

/// A command: its name, its arguments, and what it does.
type Entry = (&'static str, &'static [Parameter], Action);

/// The commands in alphabetical order. `qmp_capabilities` is the session's own.
const COMMANDS: &[Entry] = &[
    ("block_resize", &[may("device", Str), may("node-name", Str), must("size", Int)], block::resize),
    ("block_set_io_throttle", THROTTLE, block::set_throttle),
    (
        "blockdev-add",
        &[
            must("driver", Str),
            may("node-name", Str),
            may("discard", Str),
            may("cache", Object),
            may("read-only", Bool),
            may("auto-read-only", Bool),
            may("force-share", Bool),
            may("detect-zeroes", Str),
            OTHERS,
        ],
        block::add,
    ),
    (
        "blockdev-change-medium",
        &[
            may("device", Str),
            may("id", Str),
            must("filename", Str),
            may("format", Str),
            may("force", Bool),
            may("read-only-mode", Str),
        ],
        block::change_medium,
    ),
    ("blockdev-close-tray", &[may("device", Str), may("id", Str)], block::close_tray),
    ("blockdev-del", &[must("node-name", Str)], block::delete),
    ("blockdev-insert-medium", &[must("id", Str), must("node-name", Str)], block::insert_medium),
    ("blockdev-open-tray", &[may("device", Str), may("id", Str), may("force", Bool)], block::open_tray),
    ("blockdev-remove-medium", &[must("id", Str)], block::remove_medium),
    ("chardev-add", &[must("id", Str), must("backend", Object)], of_machine::refuse_chardev),
    ("chardev-change", &[must("id", Str), must("backend", Object)], of_machine::keep_chardev),
    ("chardev-remove", &[must("id", Str)], of_machine::keep_chardev),
    ("chardev-send-break", &[must("id", Str)], of_machine::send_break),
    ("cont", &[], |machine, _| request(machine, Command::Continue)),
    ("device-list-properties", &[must("typename", Str)], device_list_properties),
    ("eject", &[may("device", Str), may("id", Str), may("force", Bool)], block::eject),
    ("human-monitor-command", &[must("command-line", Str), may("cpu-index", Int)], human_monitor_command),
    ("inject-nmi", &[], |machine, _| request(machine, Command::Nmi)),
    ("input-send-event", &[may("device", Str), may("head", Int), must("events", Objects)], input::input_send_event),
    (
        "memsave",
        &[must("val", Int), must("size", Int), must("filename", Str), may("cpu-index", Int)],
        of_machine::save_linear,
    ),
    ("pmemsave", &[must("val", Int), must("size", Int), must("filename", Str)], of_machine::save_physical),
    ("qom-get", &[must("path", Str), must("property", Str)], qom_get),
    ("qom-list", &[must("path", Str)], qom_list),
    ("qom-list-properties", &[must("typename", Str)], device_list_properties),
    ("qom-list-types", &[may("implements", Str), may("abstract", Bool)], qom_list_types),
    ("qom-set", &[must("path", Str), must("property", Str), must("value", Any)], qom_set),
    ("query-block", &[], |machine, _| block::query(machine)),
    ("query-block-jobs", &[], |_, _| now(json!([]))),
    ("query-blockstats", &[may("query-nodes", Bool)], block::query_stats),
    ("query-chardev", &[], |machine, _| now(query_chardev(machine))),
    ("query-chardev-backends", &[], |_, _| now(query_chardev_backends())),
    ("query-command-line-options", &[may("option", Str)], catalogue::options),
    ("query-commands", &[], |_, _| now(query_commands())),
    ("query-cpu-definitions", &[], |machine, _| catalogue::cpu_definitions(machine)),
    ("query-cpu-model-expansion", &[must("type", Str), must("model", Object)], catalogue::expand_cpu_model),
    ("query-cpus-fast", &[], |machine, _| now(query_cpus(machine))),
    // It can be woken from suspend to RAM.
    ("query-current-machine", &[], |_, _| now(json!({ "wakeup-suspend-support": true }))),
    ("query-hotpluggable-cpus", &[], |_, _| Err(QmpError::generic("machine does not support hot-plugging CPUs"))),
    ("query-iothreads", &[], |machine, _| of_machine::query_io_threads(machine)),
    ("query-jobs", &[], |_, _| now(json!([]))),
    ("query-kvm", &[], |machine, _| now(json!({ "enabled": machine.uses_kvm(), "present": true }))),
    ("query-machines", &[], |_, _| now(query_machines())),
    ("query-memdev", &[], |machine, _| of_machine::query_memory_backends(machine)),
    ("query-memory-devices", &[], |_, _| now(json!([]))),
    ("query-memory-size-summary", &[], |machine, _| {
        now(json!({ "base-memory": machine.memory_size(), "plugged-memory": 0 }))
    }),
    ("query-mice", &[], |machine, _| input::query_mice(machine)),
    // There is no migration that could be capable of anything.
    ("query-migrate-capabilities", &[], |_, _| now(json!([]))),
    ("query-name", &[], |machine, _| now(machine.name().map_or(json!({}), |name| json!({ "name": name })))),
    ("query-named-block-nodes", &[may("flat", Bool)], block::query_nodes),
    ("query-pci", &[], |machine, _| {
        let devices: Value = machine.pci()?.iter().map(PciFunctionInfo::json).collect();
        now(json!([{ "bus": 0, "devices": devices }]))
    }),
    ("query-qmp-schema", &[], |_, _| now(query_schema())),
    ("query-status", &[], |machine, _| {
        let status = machine.status();
        now(json!({ "status": status, "singlestep": false, "running": status == "running" }))
    }),
    ("query-target", &[], |_, _| now(json!({ "arch": "x86_64" }))),
    ("query-tpm-models", &[], |_, _| now(json!([]))),
    ("query-tpm-types", &[], |_, _| now(json!([]))),
    ("query-uuid", &[], |machine, _| now(json!({ "UUID": machine.uuid() }))),
    ("query-version", &[], |_, _| now(version())),
    ("query-vnc", &[], |_, _| now(json!({ "enabled": false }))),
    ("quit", &[], |machine, _| request(machine, Command::Quit)),
    ("ringbuf-read", &[must("device", Str), must("size", Int), may("format", Str)], ringbuf_read),
    ("send-key", &[must("keys", Objects), may("hold-time", Int)], input::send_key),
    (
        "set-action",
        &[may("reboot", Str), may("shutdown", Str), may("panic", Str), may("watchdog", Str)],
        of_machine::set_action,
    ),
    ("stop", &[], |machine, _| request(machine, Command::Stop)),
    ("system_powerdown", &[], |machine, _| request(machine, Command::PowerButton)),
    ("system_reset", &[], |machine, _| request(machine, Command::Reset)),
    ("system_wakeup", &[], |machine, _| request(machine, Command::Wakeup)),
    ("watchdog-set-action", &[must("action", Str)], of_machine::set_watchdog_action),
];

/// The arguments of `block_set_io_throttle`.
const THROTTLE: &[Parameter] = &[
    may("device", Str),
    may("id", Str),
    must("bps", Int),
    must("bps_rd", Int),
    must("bps_wr", Int),
    must("iops", Int),
    must("iops_rd", Int),
    must("iops_wr", Int),
    may("bps_max", Int),
    may("bps_rd_max", Int),
    may("bps_wr_max", Int),
    may("iops_max", Int),
    may("iops_rd_max", Int),
    may("iops_wr_max", Int),
    may("bps_max_length", Int),
    may("bps_rd_max_length", Int),
    may("bps_wr_max_length", Int),
    may("iops_max_length", Int),
    may("iops_rd_max_length", Int),
    may("iops_wr_max_length", Int),
    may("iops_size", Int),
    may("group", Str),
];

/// The name of the command that ends the negotiation.
pub const NEGOTIATE: &str = "qmp_capabilities";

/// The arguments of the command that ends the negotiation.
pub const NEGOTIATION: &[Parameter] = &[may("enable", Strings)];

/// Carries out a command.
pub fn execute(name: &str, mut arguments: Arguments, machine: &dyn Control) -> Result {
    let command = COMMANDS.iter().find(|(command, ..)| *command == name);
    let (_, parameters, action) =
        command.ok_or_else(|| QmpError::command_not_found(format!("The command {name} has not been found")))?;
    schema::check(parameters, &arguments)?;
    action(machine, &mut arguments)
}

/// Names and arguments of all commands.
fn signatures() -> impl Iterator<Item = (&'static str, &'static [Parameter])> {
    COMMANDS.iter().map(|(name, parameters, _)| (*name, *parameters)).chain([(NEGOTIATE, NEGOTIATION)])
}

fn query_schema() -> Value {
    schema::introspection(signatures(), Event::examples().iter().map(|event| (event.name(), event.data(&[]))))
}

/// What natoma says it is: the QEMU whose machine it has, and itself.
pub fn version() -> Value {
    json!({
        "qemu": { "major": 7, "minor": 2, "micro": 0 },
        "package": concat!("natoma ", env!("CARGO_PKG_VERSION")),
    })
}

/// An answer at once.
pub fn now(value: Value) -> Result {
    Ok(Answer::Now(value))
}

/// Asks the machine for something.
pub fn request(machine: &dyn Control, command: Command) -> Result {
    if let Some(reason) = command.refusal(machine.status()) {
        return Err(QmpError::generic(reason));
    }
    machine.request(command);
    Ok(Answer::Settled(json!({})))
}

fn query_commands() -> Value {
    signatures().map(|(name, _)| json!({ "name": name })).collect()
}

fn query_chardev(machine: &dyn Control) -> Value {
    let device =
        |(id, description): &(String, String)| json!({ "label": id, "filename": description, "frontend-open": true });
    machine.chardevs().iter().map(device).collect()
}

fn query_chardev_backends() -> Value {
    let names = ["file", "mux", "null", "pipe", "pty", "ringbuf", "serial", "socket", "stdio"];
    names.map(|name| json!({ "name": name })).into_iter().collect()
}

fn query_cpus(machine: &dyn Control) -> Value {
    let cpu = |(index, cpu): (usize, crate::monitor::Cpu)| {
        json!({
            "cpu-index": index,
            "qom-path": format!("/machine/unattached/device[{index}]"),
            "thread-id": cpu.thread_id,
            "target": "x86_64",
            "props": { "socket-id": cpu.socket, "core-id": cpu.core, "thread-id": cpu.thread },
        })
    };
    machine.cpu_list().into_iter().enumerate().map(cpu).collect()
}

/// The one board. The names, and what it says of itself, are those of QEMU's.
fn query_machines() -> Value {
    json!([{
        "name": "pc-i440fx-7.2",
        "alias": "pc",
        "is-default": true,
        "cpu-max": 255,
        "hotpluggable-cpus": false,
        "numa-mem-supported": false,
        "deprecated": false,
        "default-cpu-type": "qemu64-x86_64-cpu",
        "default-ram-id": "pc.ram",
    }])
}

/// The argument `cpu-index`: 0 if it is left out.
pub fn cpu_index(machine: &dyn Control, arguments: &mut Arguments) -> std::result::Result<u32, QmpError> {
    let index = arguments.optional_unsigned("cpu-index")?.unwrap_or(0);
    let index = u32::try_from(index).ok().filter(|index| *index < machine.cpus());
    index.ok_or_else(|| QmpError::generic("Parameter 'cpu-index' expects a CPU number"))
}

fn human_monitor_command(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let line = arguments.string("command-line")?;
    let mut cpu = cpu_index(machine, arguments)?;
    Ok(match human::execute(&line, machine, &mut cpu) {
        Outcome::Text(text) => Answer::Now(text.replace('\n', "\r\n").into()),
        Outcome::Requested => Answer::Settled("".into()),
    })
}

impl From<PathError> for QmpError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::NotFound(path) => Self::device_not_found(&path),
            PathError::Ambiguous(_) => Self::generic(error.to_string()),
        }
    }
}

fn qom_list(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let path = arguments.string("path")?;
    let qom = machine.qom();
    let list = qom.list(qom.resolve(&path)?).into_iter();
    now(list.map(|(name, kind)| json!({ "name": name, "type": kind })).collect())
}

fn qom_get(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let (path, property) = (arguments.string("path")?, arguments.string("property")?);
    let qom = machine.qom();
    let path = qom.resolve(&path)?;
    let missing = || QmpError::generic(format!("Property '{}.{property}' not found", qom.type_of(path)));
    now(qom.get(path, &property).ok_or_else(missing)?)
}

fn qom_set(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let (path, property) = (arguments.string("path")?, arguments.string("property")?);
    let qom = machine.qom();
    Err(QmpError::generic(qom.refuse_to_set(qom.resolve(&path)?, &property)))
}

fn qom_list_types(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let implements = arguments.optional_string("implements")?;
    // There are no abstract types.
    arguments.optional_bool("abstract")?;
    let is_a = |name: &str| {
        implements.as_deref().is_none_or(|of| of == name || of == "device" || of == "object" || of == parent(name))
    };
    let types = machine.device_types().iter().filter(|device| is_a(device.name));
    now(types.map(|device| json!({ "name": device.name, "parent": parent(device.name) })).collect())
}

/// What a type of device is a kind of, as far as its name tells.
fn parent(name: &str) -> &'static str {
    match name {
        _ if name.starts_with("isa-") => "isa-device",
        _ if name.starts_with("pci-") || name.ends_with("-pci") => "pci-device",
        _ => "device",
    }
}

fn device_list_properties(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let name = arguments.string("typename")?;
    let device = machine.device_types().iter().find(|device| device.name == name);
    let device = device.ok_or_else(|| match name.as_str() {
        "device" | "object" | "isa-device" | "pci-device" => {
            QmpError::generic("Parameter 'typename' expects a non-abstract device type")
        }
        _ => QmpError::device_not_found(&name),
    })?;
    let property = |property: &crate::config::DeviceProperty| json!({ "name": property.name, "type": property.kind, "description": property.description });
    now(device.properties.iter().map(property).collect())
}

fn ringbuf_read(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let (device, size) = (arguments.string("device")?, arguments.unsigned("size")?);
    let format = arguments.optional_string("format")?;
    let size = usize::try_from(size.min(RINGBUF_MOST)).unwrap_or(0);
    let bytes = machine.read_ringbuf(&device, size);
    let bytes = bytes.ok_or_else(|| QmpError::generic(format!("{device} is not a ringbuf device")))?;
    match format.as_deref() {
        None | Some("utf8") => now(String::from_utf8_lossy(&bytes).into()),
        Some("base64") => now(BASE64.encode(bytes).into()),
        Some(other) => Err(QmpError::generic(format!("Parameter 'format' does not accept value '{other}'"))),
    }
}
