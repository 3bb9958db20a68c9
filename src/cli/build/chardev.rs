//! Character devices: `-chardev`, and the short forms of `-serial` and `-debugcon`.

use super::check_id;
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::cli::keyval::syntax::{self, Item};
use crate::cli::options;
use crate::cli::suggest::did_you_mean;
use crate::config::{Chardev, ChardevBackend, SocketAddress};

/// Size of a ring buffer that does not say its own, in bytes.
const RINGBUF_SIZE: u64 = 64 << 10;
/// Longest path of a Unix socket: `sun_path` with its final zero byte.
const SUN_PATH: usize = 108;

/// What the short form of a character device means.
#[derive(Debug, PartialEq, Eq)]
pub enum ShortForm {
    /// `none`
    None,
    /// `chardev:ID`
    Reference(String),
    /// A character device of its own; the monitor shares it (`mon:`).
    New {
        /// Its backend.
        backend: ChardevBackend,
        /// The monitor shares it.
        monitor: bool,
    },
}

/// Reads `-chardev`.
pub fn build(list: &KeyValues, origin: &Origin) -> Result<Chardev, UsageError> {
    let id = list.text("id").ok_or_else(|| origin.error("'id' is missing: give id=NAME"))?;
    let logfile = list.text("logfile");
    if list.flag("logappend").is_some() && logfile.is_none() {
        return Err(origin.error("logappend needs a logfile=PATH"));
    }
    Ok(Chardev {
        id: check_id(origin, id)?.into(),
        option: None,
        backend: backend(list, origin)?,
        mux: list.flag("mux").unwrap_or(false),
        logfile: logfile.map(Into::into),
        logappend: list.flag("logappend").unwrap_or(false),
    })
}

/// The backend that a list describes.
fn backend(list: &KeyValues, origin: &Origin) -> Result<ChardevBackend, UsageError> {
    let path = || {
        let path = list.text("path").filter(|path| !path.is_empty());
        path.ok_or_else(|| origin.error("'path' is missing: give path=PATH"))
    };
    Ok(match list.variant {
        Some("null") => ChardevBackend::Null,
        Some("stdio") => ChardevBackend::Stdio { signal: list.flag("signal").unwrap_or(true) },
        Some("file") => ChardevBackend::File {
            path: path()?.into(),
            append: list.flag("append").unwrap_or(false),
            input_path: list.text("input-path").map(Into::into),
        },
        Some("pipe") => ChardevBackend::Pipe { path: path()?.into() },
        Some("pty") => ChardevBackend::Pty { path: list.text("path").map(Into::into) },
        Some("serial" | "tty") => ChardevBackend::Tty { path: path()?.into() },
        Some("ringbuf" | "memory") => {
            let size = list.size("size").unwrap_or(RINGBUF_SIZE);
            let size = u32::try_from(size).ok().filter(|size| size.is_power_of_two() && *size <= 1 << 30);
            ChardevBackend::Ringbuf { size: size.ok_or_else(|| origin.error("size is a power of two up to 1G"))? }
        }
        Some("socket") => socket(list, origin)?,
        _ => return Err(origin.error("it does not say which backend")),
    })
}

fn socket(list: &KeyValues, origin: &Origin) -> Result<ChardevBackend, UsageError> {
    let error = |message: &str| origin.error(message);
    let inet = list.get("host").is_some() || list.get("port").is_some();
    let address = match (list.text("path"), list.text("fd"), inet) {
        (Some(path), None, false) => unix_address(list, path, origin)?,
        (None, Some(fd), false) => SocketAddress::Fd {
            fd: fd.parse().ok().filter(|fd| *fd >= 0).ok_or_else(|| {
                error("fd is the number of a socket that natoma inherits from whoever starts it; names of descriptors are not supported")
            })?,
        },
        (None, None, true) => inet_address(list, origin)?,
        (None, None, false) => return Err(error("it has no address: give path=PATH, or host=HOST,port=PORT, or fd=N")),
        _ => return Err(error("it has several addresses: give only one of path, host with port, and fd")),
    };
    let is_inet = matches!(address, SocketAddress::Inet { .. });
    for key in ["to", "ipv4", "ipv6", "nodelay", "delay"].into_iter().filter(|_| !is_inet) {
        // QEMU accepts the delay keys for every socket, where they change nothing.
        if list.get(key).is_some() && !key.ends_with("delay") {
            return Err(origin.error(format_args!("{key} is for TCP sockets: leave it out")));
        }
    }
    let server = list.flag("server").unwrap_or(false);
    let reconnect_seconds = list.number("reconnect").unwrap_or(0);
    if !server && list.get("wait").is_some() {
        return Err(error("wait is for a socket that listens: add server=on, or leave wait out"));
    }
    if server && reconnect_seconds != 0 {
        return Err(error("reconnect is for a socket that connects: leave out reconnect or server"));
    }
    if !server && list.get("to").is_some() {
        return Err(error("to is for a socket that listens: add server=on, or leave to out"));
    }
    Ok(ChardevBackend::Socket {
        address,
        server,
        wait: server && list.flag("wait").unwrap_or(true),
        nodelay: is_inet && list.flag("nodelay").or(list.flag("delay").map(|delay| !delay)).unwrap_or(false),
        telnet: list.flag("telnet").unwrap_or(false),
        reconnect_seconds,
    })
}

fn unix_address(list: &KeyValues, path: &str, origin: &Origin) -> Result<SocketAddress, UsageError> {
    let abstract_name = list.flag("abstract").unwrap_or(false);
    if list.get("tight").is_some() && !abstract_name {
        return Err(origin.error("tight is for abstract names: add abstract=on, or leave tight out"));
    }
    if path.is_empty() || path.contains('\0') {
        return Err(origin.error("the path of the socket is empty or contains a zero byte"));
    }
    if path.len() >= SUN_PATH {
        return Err(origin.error(format_args!(
            "the path of the socket has {} bytes, and the kernel allows {}: use a shorter one",
            path.len(),
            SUN_PATH - 1
        )));
    }
    Ok(SocketAddress::Unix { path: path.into(), abstract_name, tight: list.flag("tight").unwrap_or(true) })
}

fn inet_address(list: &KeyValues, origin: &Origin) -> Result<SocketAddress, UsageError> {
    let port = list.number("port").ok_or_else(|| origin.error("'port' is missing: give port=PORT"))?;
    let (ipv4, ipv6) = (list.flag("ipv4"), list.flag("ipv6"));
    if (ipv4, ipv6) == (Some(false), Some(false)) {
        return Err(origin.error("ipv4=off,ipv6=off leaves no protocol: leave one of them out"));
    }
    let to = list.number::<u16>("to");
    if to.is_some_and(|to| to < port) {
        return Err(origin.error(format_args!("to is the last port to try, so not below port={port}")));
    }
    let host = list.text("host").unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(SocketAddress::Inet { host: host.into(), port, to, ipv4, ipv6 })
}

/// Reads the argument of `-serial` or `-debugcon`.
pub fn short_form(text: &str, origin: &Origin) -> Result<ShortForm, UsageError> {
    if let Some(id) = text.strip_prefix("chardev:") {
        return Ok(ShortForm::Reference(id.into()));
    }
    if text == "none" {
        return Ok(ShortForm::None);
    }
    let (device, monitor) = match text.strip_prefix("mon:") {
        Some(device) => (device, true),
        None => (text, false),
    };
    let (kind, rest) = device.split_once(':').unwrap_or((device, ""));
    let backend = match (kind, rest) {
        ("null", "") => ChardevBackend::Null,
        // On a terminal that is shared with the monitor Ctrl-C belongs to the guest.
        ("stdio", "") => ChardevBackend::Stdio { signal: !monitor },
        ("pty", "") => ChardevBackend::Pty { path: None },
        ("file", path) if !path.is_empty() => {
            ChardevBackend::File { path: path.into(), append: false, input_path: None }
        }
        ("pipe", path) if !path.is_empty() => ChardevBackend::Pipe { path: path.into() },
        ("tcp" | "telnet", address) => {
            let (host, rest) = split_host(address).ok_or_else(|| {
                origin.error(format_args!("expected {kind}:[HOST]:PORT[,KEY=VALUE...], {kind}::4444,server=on say"))
            })?;
            let (port, keys) = rest.split_once(',').unwrap_or((rest, ""));
            let mut items = vec![pair("host", host), pair("port", port)];
            if kind == "telnet" {
                items.push(pair("telnet", "on"));
            }
            // The first of the keys has no implied name, so they are split behind a pair.
            items.extend(syntax::split(&format!("x=,{keys}")).into_iter().skip(1));
            socket_of(items, origin)?
        }
        ("unix", address) if !address.is_empty() => {
            let items = syntax::split(address).into_iter().map(|item| match item {
                Item::Implied(path) => pair("path", &path),
                item => item,
            });
            socket_of(items.collect(), origin)?
        }
        _ if device.starts_with("/dev/") && !device.starts_with("/dev/parport") => {
            ChardevBackend::Tty { path: device.into() }
        }
        _ => return Err(origin.error(refusal(device, kind))),
    };
    Ok(ShortForm::New { backend, monitor })
}

fn pair(key: &str, value: &str) -> Item {
    Item::Pair(key.into(), value.into())
}

/// Splits `HOST:REST`, where HOST may be an IPv6 address in brackets.
fn split_host(address: &str) -> Option<(&str, &str)> {
    match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:"),
        None => address.split_once(':'),
    }
}

/// The socket that a short form describes, by the rules of `-chardev socket`. Here bare flags (`server,nowait`) are the
/// usual spelling, so nothing is said about them.
fn socket_of(mut items: Vec<Item>, origin: &Origin) -> Result<ChardevBackend, UsageError> {
    items.push(pair("backend", "socket"));
    let schema = options::schema("chardev").unwrap_or_else(|| unreachable!("-chardev has keys"));
    let list = schema.read(items).map_err(|problem| origin.error(problem))?;
    if let Some(key) = ["id", "mux", "logfile", "logappend"].into_iter().find(|key| list.get(key).is_some()) {
        return Err(origin.error(format_args!("{key} is for -chardev: use -chardev socket,... and chardev:ID here")));
    }
    backend(&list, origin)
}

/// Why a short form means nothing.
fn refusal(device: &str, kind: &str) -> String {
    const KINDS: [&str; 11] =
        ["none", "null", "stdio", "pty", "file", "pipe", "tcp", "telnet", "unix", "mon", "chardev"];
    match kind {
        "vc" => "natoma has no display for a virtual console yet: use stdio, pty or unix:PATH,server=on".into(),
        "udp" => "udp is not supported yet: use tcp or unix".into(),
        "websocket" => "websocket is not supported yet: put websockify in front of tcp:HOST:PORT".into(),
        "msmouse" | "wctablet" | "braille" | "testdev" => {
            format!("{kind} is not supported yet: use a device that carries plain bytes")
        }
        "con" => "con: is the console of Windows: use stdio".into(),
        "file" | "pipe" | "unix" => format!("the path is missing: {kind}:PATH"),
        "null" | "stdio" | "pty" => {
            format!("'{kind}' takes nothing more here: use -chardev {kind},id=ID,... and chardev:ID")
        }
        _ if device.starts_with("/dev/parport") => "natoma has no parallel port yet".into(),
        _ if device.starts_with("COM") => format!("{device} is a name of Windows: use a path such as /dev/ttyS0"),
        _ => {
            // `stdio,signal=off` is a common guess.
            let word = kind.split(',').next().unwrap_or_default();
            if word != kind && KINDS.contains(&word) {
                return format!("'{word}' takes nothing more here: use -chardev {device},id=ID and chardev:ID");
            }
            let meant = did_you_mean(word, KINDS);
            format!("there is no character device '{device}'{meant}; -help serial lists the forms")
        }
    }
}
