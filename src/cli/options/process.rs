//! The process: actions, files, logging, help.

use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema};

const ACTION: Schema = Schema::plain(
    None,
    &[
        Key::new("reboot", Kind::Choice(&["reset", "shutdown"]), "when the guest resets (default reset)"),
        Key::new("shutdown", Kind::Choice(&["poweroff", "pause"]), "when the guest powers off (default poweroff)"),
        Key::new(
            "panic",
            Kind::Choice(&["shutdown", "pause", "exit-failure", "none"]),
            "when the guest reports a panic (default shutdown)",
        ),
        Key::new(
            "watchdog",
            Kind::Choice(&["reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"]),
            "when a watchdog device fires (default reset)",
        ),
    ],
);

const TRACE: Schema = Schema::plain(
    Some("enable"),
    &[
        Key::new("enable", Kind::Text("PATTERN"), "events to switch on: a name in which * stands for any text"),
        Key::new("events", Kind::Text("FILE"), "a file with a pattern in each line; -PATTERN switches off"),
        Key::missing("file", &[], "traces go to the log: use -D FILE"),
    ],
);

const OVERCOMMIT: Schema = Schema::plain(
    None,
    &[Key::missing("mem-lock", &["off"], "limit the host's swapping"), Key::missing("cpu-pm", &["off"], "")],
);

const MSG: Schema = Schema::plain(
    None,
    &[Key::missing("timestamp", &["off"], "pipe the log through ts"), Key::missing("guest-name", &["off"], "")],
);

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("S", Argument::None, Section::Process, "do not start the CPUs: the machine is built and stays stopped"),
    OptionSpec::new("no-reboot", Argument::None, Section::Process, "the same as -action reboot=shutdown").sugar(
        "action",
        "reboot",
        Some("shutdown"),
    ),
    OptionSpec::new("no-shutdown", Argument::None, Section::Process, "the same as -action shutdown=pause").sugar(
        "action",
        "shutdown",
        Some("pause"),
    ),
    OptionSpec::new(
        "action",
        Argument::List("EVENT=ACTION[,...]", &ACTION),
        Section::Process,
        "what to do when the guest resets, powers off, panics, or lets its watchdog fire",
    )
    .group("action"),
    OptionSpec::new(
        "watchdog-action",
        Argument::Choice(&["reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"]),
        Section::Process,
        "the same as -action watchdog=",
    )
    .sugar("action", "watchdog", None),
    OptionSpec::new("pidfile", Argument::File("FILE"), Section::Process, "write the process id to FILE")
        .details("The file is locked while natoma runs and removed when it ends."),
    OptionSpec::new("daemonize", Argument::None, Section::Process, "go on in the background once the machine is built").details(
        "Errors are reported before that. The terminal is left, so nothing may use `stdio`; the default serial port is `null`.",
    ),
    OptionSpec::new("overcommit", Argument::List("mem-lock=off|cpu-pm=off", &OVERCOMMIT), Section::Process,
        "host resources: not supported yet, except for these settings that change nothing"),
    OptionSpec::new("readconfig", Argument::File("FILE"), Section::Process, "read options from a file").details(
        "The file has sections such as `[machine]` or `[chardev \"ID\"]` with lines `key = \"value\"`, as QEMU's. Options that \
         have no section in QEMU's files are lines of a section `[natoma]`: `serial = \"mon:stdio\"`, `nodefaults = \"on\"`.",
    ),
    OptionSpec::new("writeconfig", Argument::File("FILE"), Section::Process, "write the options to a file and exit").details(
        "`-` is the standard output. `-readconfig` of the file gives the same machine.",
    ),
    OptionSpec::new("no-user-config", Argument::None, Section::Process, "read no configuration files of the user")
        .details("natoma never does."),
    OptionSpec::new("d", Argument::Text("ITEM[,ITEM...]"), Section::Debug, "log these items").details(
        "`-d help` lists them. `trace:PATTERN` is the same as `-trace PATTERN`.",
    ),
    OptionSpec::new("D", Argument::File("FILE"), Section::Debug, "write the log to FILE instead of the standard error")
        .details("`%d` in the name stands for the process id."),
    OptionSpec::new("trace", Argument::List("[enable=]PATTERN[,events=FILE]", &TRACE), Section::Debug, "log trace events")
        .details("`-trace help` lists the events.")
        .group("trace"),
    OptionSpec::new("qtest", Argument::Text("DEV"), Section::Debug, "drive the devices from DEV by the qtest protocol").details(
        "Needs `-accel qtest`. DEV is as for `-serial`; with `unix:PATH` natoma connects to a listening client, with \
         `unix:PATH,server=on,wait=off` it listens itself.",
    ),
    OptionSpec::new("qtest-log", Argument::File("FILE"), Section::Debug, "write the qtest conversation to FILE").details(
        "Without this option it is written to the standard error; `none` and `/dev/null` switch it off.",
    ),
    OptionSpec::new("msg", Argument::List("timestamp=off|guest-name=off", &MSG), Section::Debug,
        "form of messages: not supported yet, except for these settings that change nothing"),
    OptionSpec::new("help", Argument::OptionName, Section::Help, "show this help, or all about one option")
        .alias("h")
        .prints()
        .details("Options that take a list show their keys also with `help` in its place: `-smp help`, `-device isa-serial,help`."),
    OptionSpec::new("version", Argument::None, Section::Help, "show the version").prints(),
    OptionSpec::new(
        "completion",
        Argument::Choice(&["bash", "zsh", "fish"]),
        Section::Help,
        "write a completion script for a shell",
    )
    .prints()
    .details("For bash: `natoma -completion bash > ~/.local/share/bash-completion/completions/natoma`."),
    OptionSpec::new("manual", Argument::Choice(&["man", "markdown"]), Section::Help, "write the manual page, or docs/options.md")
        .prints(),
];
