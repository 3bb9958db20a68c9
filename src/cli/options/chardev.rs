//! Character devices, serial ports, monitor and display.

use super::device::ISA_BUS;
use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema, Variant};

const NO_TLS: &str = "natoma has no TLS yet: use a tunnel such as socat or ssh";
const NO_DISPLAY: &str = "natoma has no display yet: use -nographic for a guest on the terminal";

const PATH: Kind = Kind::Text("PATH");

const SOCKET_KEYS: &[Key] = &[
    Key::new("path", PATH, "Unix socket: its path"),
    Key::new("abstract", Kind::Flag, "Unix socket: its name is in Linux's abstract namespace (default off)"),
    Key::new("tight", Kind::Flag, "Unix socket: an abstract name ends at its last character (default on)"),
    Key::new("host", Kind::Text("HOST"), "TCP: name or address (default: every address, or this host)"),
    Key::new("port", Kind::Number(0, 65535), "TCP: port; 0 lets the kernel pick one for a server"),
    Key::new("to", Kind::Number(0, 65535), "TCP server: the last port to try"),
    Key::new("ipv4", Kind::Flag, "TCP: use IPv4"),
    Key::new("ipv6", Kind::Flag, "TCP: use IPv6"),
    Key::new("nodelay", Kind::Flag, "TCP: send every byte at once (default off)"),
    Key::new("delay", Kind::Flag, "TCP: the opposite of nodelay"),
    Key::new("fd", Kind::Text("N"), "a socket that natoma inherits: its file descriptor"),
    Key::new("server", Kind::Flag, "listen instead of connecting (default off)"),
    Key::new("wait", Kind::Flag, "server: wait for a client before the guest starts (default on)"),
    Key::new("telnet", Kind::Flag, "speak the telnet protocol (default off)"),
    Key::new(
        "reconnect",
        Kind::Number(0, 0xffff_ffff),
        "client: try again after this many seconds; 0 never (default 0)",
    ),
    Key::missing("tn3270", &["off"], "use telnet=on"),
    Key::missing("websocket", &["off"], "put websockify in front of a plain socket"),
    Key::missing("tls-creds", &[], NO_TLS),
    Key::missing("tls-authz", &[], NO_TLS),
];

const SERIAL_KEYS: &[Key] = &[Key::new("path", PATH, "the character device of the host: must be given")];
const RINGBUF_KEYS: &[Key] = &[Key::new("size", Kind::Size(1), "its size: a power of two (default 64k)")];

const CHARDEV: Schema = Schema {
    implied: Some("backend"),
    keys: &[
        Key::new("id", Kind::Text("ID"), "its name: must be given"),
        Key::new("mux", Kind::Flag, "let several users share it; Ctrl-A c switches (default off)"),
        Key::new("logfile", PATH, "file that gets a copy of the output"),
        Key::new("logappend", Kind::Flag, "append to the log file (default off: truncate)"),
    ],
    variants: &[
        Variant { name: "null", help: "output vanishes, input never comes", keys: &[] },
        Variant {
            name: "stdio",
            help: "the terminal natoma was started from",
            keys: &[Key::new("signal", Kind::Flag, "Ctrl-C ends natoma (off: the guest gets it) (default on)")],
        },
        Variant {
            name: "file",
            help: "a file",
            keys: &[
                Key::new("path", PATH, "the file: must be given"),
                Key::new("append", Kind::Flag, "append to it (default off: truncate)"),
                Key::new("input-path", PATH, "a file that is the input"),
            ],
        },
        Variant {
            name: "pipe",
            help: "a pair of FIFOs PATH.in and PATH.out, or one FIFO PATH",
            keys: &[Key::new("path", PATH, "common part of the names: must be given")],
        },
        Variant {
            name: "pty",
            help: "a new pseudo-terminal",
            keys: &[Key::new("path", PATH, "symbolic link to it that is made, and removed at the end")],
        },
        Variant { name: "socket", help: "a TCP or Unix socket", keys: SOCKET_KEYS },
        Variant { name: "ringbuf", help: "a buffer in memory that keeps the newest output", keys: RINGBUF_KEYS },
        Variant { name: "memory", help: "old name of ringbuf", keys: RINGBUF_KEYS },
        Variant { name: "serial", help: "a serial line or terminal of the host", keys: SERIAL_KEYS },
        Variant { name: "tty", help: "old name of serial", keys: SERIAL_KEYS },
    ],
    aliases: &[],
    variant_noun: "character device backend",
    missing_variants: &[
        (&["udp"], "use socket"),
        (
            &["vc", "spicevmc", "spiceport", "qemu-vdagent", "dbus"],
            "natoma has no display yet: use stdio, pty or socket",
        ),
        (&["parallel", "parport"], "natoma does not use ports of the host: -parallel file:PATH keeps what is printed"),
        (&["msmouse", "wctablet", "braille", "testdev"], "use a backend that carries plain bytes"),
        (&["mux"], "give the character device itself mux=on"),
    ],
    json: false,
};

const MON: Schema = Schema {
    implied: Some("chardev"),
    keys: &[
        Key::new("chardev", Kind::Text("ID"), "the character device: must be given"),
        Key::new(
            "mode",
            Kind::Choice(&["readline", "control"]),
            "for people (readline), or QMP (control) (default readline)",
        ),
        Key::new("pretty", Kind::Flag, "QMP: indent the messages (default off)"),
    ],
    variants: &[],
    aliases: &[],
    variant_noun: "",
    missing_variants: &[],
    json: false,
};

/// `-device isa-parallel`.
pub(super) const ISA_PARALLEL: Variant = Variant {
    name: "isa-parallel",
    help: "a parallel port with a printer",
    keys: &[
        ISA_BUS,
        Key::new("chardev", Kind::Text("ID"), "the character device that gets what is printed: must be given"),
        Key::new("index", Kind::Number(0, 2), "which of LPT1 (0) to LPT3 (2) it is (default: the first free one)"),
        Key::new("iobase", Kind::Number(0, 0xffff), "its first port (default: that of the LPT port)"),
        Key::new("irq", Kind::Number(0, 15), "its ISA interrupt (default 7)"),
    ],
};

/// What `-serial` and `-debugcon` accept, as Markdown.
const DEVICE_FORMS: &str = "\
Each `-serial` is the next of COM1 to COM4. When no option speaks of serial ports COM1 is `mon:stdio`; it is `null` with \
`-daemonize` or when another option uses `stdio`, and there is none with `-nodefaults`. DEV is one of these:\n\n\
`none`: there is no such port (`-serial` only).\n\n\
`null`: output vanishes.\n\n\
`stdio`: the terminal natoma was started from; Ctrl-C ends natoma.\n\n\
`mon:DEV`: DEV, shared with the monitor: Ctrl-A c switches between them. With `mon:stdio` Ctrl-C goes to the guest and \
Ctrl-A x ends natoma; Ctrl-A h shows the other keys.\n\n\
`file:PATH`: a file that is written.\n\n\
`pipe:PATH`: FIFOs, see `-chardev pipe`.\n\n\
`pty`: a new pseudo-terminal.\n\n\
`tcp:[HOST]:PORT[,KEY=VALUE...]`, `telnet:[HOST]:PORT[,KEY=VALUE...]`, `unix:PATH[,KEY=VALUE...]`: a socket; the keys are \
those of `-chardev socket`, `server=on,wait=off` say.\n\n\
`/dev/...`: a terminal or serial line of the host.\n\n\
`chardev:ID`: the character device that `-chardev` defined.";

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("serial", Argument::Text("DEV"), Section::Character, "connect a serial port to DEV")
        .details(DEVICE_FORMS),
    OptionSpec::new("parallel", Argument::Text("DEV"), Section::Character, "connect a parallel port to DEV").details(
        "Each is the next of LPT1 to LPT3, and DEV, as for `-serial`, gets what the guest prints. When no option speaks of parallel \
         ports LPT1 is `null`, and there is none with `-nodefaults`.",
    ),
    OptionSpec::new(
        "chardev",
        Argument::List("BACKEND,id=ID[,KEY=VALUE...]", &CHARDEV),
        Section::Character,
        "define a character device",
    )
    .group("chardev")
    .details("`-chardev help` lists the backends, `-chardev BACKEND,help` the keys of one."),
    OptionSpec::new("debugcon", Argument::Text("DEV"), Section::Character, "send what the guest writes to port 0xe9 to DEV")
        .details("DEV is as for `-serial`. The port is changed by `-global isa-debugcon.iobase=PORT`."),
    OptionSpec::new("nographic", Argument::None, Section::Character, "use the terminal only").details(
        "The first serial port and the monitor share the terminal (`-serial mon:stdio`), unless `-serial`, `-monitor` or \
         `-nodefaults` say otherwise.",
    ),
    OptionSpec::new("monitor", Argument::Text("DEV"), Section::Character, "connect a monitor to DEV").details(
        "A monitor is a prompt at which a person controls the machine; `help` there lists its commands. DEV is as for \
         `-serial`; with `none` there is no monitor beside COM1 either.",
    ),
    OptionSpec::new("qmp", Argument::Text("DEV"), Section::Character, "connect a QMP monitor to DEV").details(
        "QMP is how programs control the machine: see [QMP](qmp.md). DEV is as for `-serial`.",
    ),
    OptionSpec::new("qmp-pretty", Argument::Text("DEV"), Section::Character, "the same as -qmp, with indented messages"),
    OptionSpec::new("mon", Argument::List("[chardev=]ID", &MON), Section::Character, "connect a monitor to a character device"),
    OptionSpec::missing("display", Argument::Text("none"), &["none"], NO_DISPLAY)
        .shown(Section::Character, "display of the guest: there is none"),
    OptionSpec::missing("echr", Argument::Text("CHAR"), &["1", "0x1", "0x01"], "the escape key is Ctrl-A"),
    OptionSpec::missing("vga", Argument::Text("TYPE"), &["none"], NO_DISPLAY),
    OptionSpec::missing("vnc", Argument::Text("DISPLAY"), &["none"], NO_DISPLAY),
    OptionSpec::missing("spice", Argument::Text("KEY=VALUE[,...]"), &[], NO_DISPLAY),
    OptionSpec::missing("full-screen", Argument::None, &[], NO_DISPLAY),
    OptionSpec::missing("g", Argument::Text("WIDTHxHEIGHT"), &[], NO_DISPLAY),
    OptionSpec::missing("portrait", Argument::None, &[], NO_DISPLAY),
    OptionSpec::missing("rotate", Argument::Text("DEGREES"), &[], NO_DISPLAY),
    OptionSpec::missing("k", Argument::Text("LANGUAGE"), &[], NO_DISPLAY),
];
