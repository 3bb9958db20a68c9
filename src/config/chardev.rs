//! Character devices: the host's side of serial ports, debug consoles and monitors.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One character device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chardev {
    /// Unique name by which serial ports, devices and monitors refer to it.
    pub id: String,
    /// The option that made it for itself, `serial` say; `None`: it was made by `-chardev`.
    pub option: Option<String>,
    /// Where the bytes go to and come from.
    pub backend: ChardevBackend,
    /// Several users (a serial port and a monitor, say) share it; Ctrl-A c switches between them.
    pub mux: bool,
    /// File that receives a copy of everything the guest sends.
    pub logfile: Option<PathBuf>,
    /// Append to `logfile` instead of truncating it.
    pub logappend: bool,
}

/// What a character device is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ChardevBackend {
    /// Output vanishes, input never comes.
    Null,
    /// Standard input and output of the process. At most one character device of a configuration is this.
    Stdio {
        /// Ctrl-C on the terminal ends natoma (true) or is sent to the guest (false).
        signal: bool,
    },
    /// A file that receives the output.
    File {
        /// The file to write; created if missing.
        path: PathBuf,
        /// Append instead of truncating.
        append: bool,
        /// File whose contents are the input; without it there is none.
        input_path: Option<PathBuf>,
    },
    /// A pair of FIFOs `PATH.in` and `PATH.out`, or the one FIFO (or device) `PATH` for both directions if these do
    /// not exist.
    Pipe {
        /// Common part of the names.
        path: PathBuf,
    },
    /// A new pseudo-terminal; its name is reported when it is opened.
    Pty {
        /// Symbolic link to the terminal's name to create, and to remove at the end.
        path: Option<PathBuf>,
    },
    /// An existing terminal or serial line of the host.
    Tty {
        /// Path of the character device, `/dev/ttyS0` say.
        path: PathBuf,
    },
    /// A stream socket.
    Socket {
        /// The address to connect to or to listen on.
        address: SocketAddress,
        /// Listen (true) or connect (false).
        server: bool,
        /// A server waits for its first client before the guest starts.
        wait: bool,
        /// Disable Nagle's algorithm (TCP only).
        nodelay: bool,
        /// Speak the telnet protocol, so that a telnet client works character by character.
        telnet: bool,
        /// A client tries again after this many seconds when the connection is lost; 0: never.
        reconnect_seconds: u32,
    },
    /// A buffer in memory that keeps the newest output.
    Ringbuf {
        /// Size in bytes: a power of two.
        size: u32,
    },
}

/// The address of a stream socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SocketAddress {
    /// TCP over IPv4 or IPv6.
    Inet {
        /// Host name or numeric address (IPv6 without brackets); empty: every local address for a server, this host
        /// for a client.
        host: String,
        /// Port number; 0: the kernel picks a free one for a server.
        port: u16,
        /// A server tries the ports from `port` up to this one (inclusive) until one is free.
        to: Option<u16>,
        /// IPv4 is allowed; `None`: no preference.
        ipv4: Option<bool>,
        /// IPv6 is allowed; `None`: no preference.
        ipv6: Option<bool>,
    },
    /// A Unix domain socket.
    Unix {
        /// Path of the socket, or its name in the abstract namespace.
        path: String,
        /// The name is in Linux's abstract namespace instead of the file system.
        abstract_name: bool,
        /// An abstract name ends at its last byte instead of filling the whole `sun_path` with zeroes.
        tight: bool,
    },
    /// A connected (client) or listening (server) socket that natoma inherits from its parent process.
    Fd {
        /// File descriptor number, 0 or above.
        fd: i32,
    },
}
