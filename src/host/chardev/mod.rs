//! Character devices of the host: what is at the other end of serial ports, debug consoles and monitors.
//!
//! Each is a [`link::Link`] between a device and a medium, driven by the main loop ([`driver`]). The media are opened
//! here, one file per kind, in the order of the configuration; everything that was created in the file system
//! (sockets, links to pseudo-terminals) is removed when [`Chardevs`] is dropped.

mod address;
mod connection;
mod driver;
mod file;
mod link;
mod mux;
mod pipe;
mod pty;
mod ringbuf;
mod socket;
mod stdio;
mod telnet;
mod tty;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use devices::backend::char::{CharBackend, CharClient};
use devices::base::lock;
use event_manager::MutEventSubscriber;

use self::address::SocketFile;
use self::driver::Driver;
use self::link::{Link, Medium};
use self::mux::Mux;
use self::pty::{Pty, PtyLink};
use self::ringbuf::Ringbuf;
pub use self::socket::Interrupt;
use self::socket::Socket;
use crate::config::{Chardev, ChardevBackend};
use crate::host::terminal;
use crate::tell::announce;

/// A character device's two ends: what the device writes to, and how it is told of input.
pub trait CharPort {
    /// The host's end.
    fn backend(&mut self) -> Box<dyn CharBackend>;

    /// Connects the device's end.
    fn attach(&mut self, client: Arc<Mutex<dyn CharClient>>);
}

/// What the user's wish to end natoma does.
pub type Quit = dyn Fn() + Send + Sync;

/// A part of the main loop.
pub type Subscriber = Arc<Mutex<dyn MutEventSubscriber + Send>>;

/// All character devices of a configuration.
#[derive(Default)]
pub struct Chardevs {
    devices: Vec<Open>,
}

/// A character device that is open.
struct Open {
    id: String,
    link: Arc<Link>,
    driver: Arc<Mutex<Driver>>,
    mux: Option<Arc<Mutex<Mux>>>,
    /// In the words of the command line.
    description: String,
    /// Removes what was created in the file system. A device may outlive the end of the main loop, these may not.
    _pty_link: Option<PtyLink>,
    _socket_file: Option<SocketFile>,
}

impl Chardevs {
    /// Opens the character devices of a configuration, in order. Waiting for a client, or for a server to answer, ends
    /// early when `interrupt` says so. `quit` is what Ctrl-A x does on a multiplexer.
    ///
    /// # Errors
    /// One can't be opened: says which, why and what to do.
    pub fn open(configs: &[Chardev], interrupt: &mut dyn Interrupt, quit: &Arc<Quit>) -> Result<Self> {
        let mut chardevs = Self { devices: Vec::new() };
        for config in configs {
            let open = Open::new(config, interrupt, quit).with_context(|| label(config))?;
            chardevs.devices.push(open);
        }
        Ok(chardevs)
    }

    /// The port of the character device `id`. Users of a multiplexer are attached one after the other; what is typed
    /// goes to the last one first.
    ///
    /// # Errors
    /// There is none.
    pub fn port(&self, id: &str) -> Result<Box<dyn CharPort>> {
        let open = self.devices.iter().find(|open| open.id == id);
        let open = open.ok_or_else(|| anyhow!("there is no character device '{id}'"))?;
        Ok(match &open.mux {
            Some(mux) => Box::new(MuxPort(Arc::clone(mux))),
            None => Box::new(Port { link: Arc::clone(&open.link), driver: Arc::clone(&open.driver) }),
        })
    }

    /// Id and description of each, in the order of the configuration.
    #[must_use]
    pub fn descriptions(&self) -> Vec<(String, String)> {
        self.devices.iter().map(|open| (open.id.clone(), open.description.clone())).collect()
    }

    /// The ring buffers among them.
    #[must_use]
    pub fn ringbufs(&self) -> Ringbufs {
        Ringbufs(self.devices.iter().map(|open| (open.id.clone(), Arc::clone(&open.link))).collect())
    }

    /// What sends breaks from them.
    #[must_use]
    pub fn breaks(&self) -> Breaks {
        Breaks(self.devices.iter().map(|open| (open.id.clone(), Arc::clone(&open.link))).collect())
    }

    /// What the main loop has to run.
    #[must_use]
    pub fn subscribers(&self) -> Vec<Subscriber> {
        self.devices.iter().map(|open| Arc::clone(&open.driver) as Subscriber).collect()
    }
}

impl Open {
    fn new(config: &Chardev, interrupt: &mut dyn Interrupt, quit: &Arc<Quit>) -> Result<Self> {
        let log = match &config.logfile {
            Some(path) => Some(file::create(path, config.logappend).context("logfile")?),
            None => None,
        };
        let mut description = describe(&config.backend);
        let (mut pty_link, mut socket_file) = (None, None);
        let medium = match &config.backend {
            ChardevBackend::Null => Medium::Null,
            ChardevBackend::Ringbuf { size } => Medium::Ringbuf(Ringbuf::new(*size)),
            ChardevBackend::Stdio { signal } => Medium::Fixed(stdio::open(*signal)?),
            ChardevBackend::File { path, append, input_path } => {
                Medium::Fixed(file::open(path, *append, input_path.as_deref())?)
            }
            ChardevBackend::Pipe { path } => Medium::Fixed(pipe::open(path)?),
            ChardevBackend::Tty { path } => Medium::Fixed(tty::open(path)?),
            ChardevBackend::Pty { path } => {
                let pty = Pty::open()?;
                description = format!("pty:{}", pty.name().display());
                pty_link = path.as_ref().map(|path| PtyLink::create(path, pty.name())).transpose()?;
                announce(format_args!("char device redirected to {} (label {})", pty.name().display(), config.id));
                Medium::Changing(None, Box::new(pty))
            }
            ChardevBackend::Socket { address, server, wait, nodelay, telnet, reconnect_seconds } => {
                let socket = Socket { address, nodelay: *nodelay, telnet: *telnet };
                match server {
                    true => {
                        let (medium, file) = socket.serve(*wait, interrupt)?;
                        socket_file = file;
                        medium
                    }
                    false => socket.connect(*reconnect_seconds, interrupt)?,
                }
            }
        };
        let label = format!("character device '{}' ({description})", config.id);
        let link = Link::new(label, medium, log).context("can't make an event descriptor")?;
        let driver = Arc::new(Mutex::new(Driver::new(Arc::clone(&link))));
        let mux = config.mux.then(|| Arc::new(Mutex::new(Mux::new(link.backend(), Arc::clone(quit)))));
        if let Some(mux) = &mux {
            lock(&driver).connect(Box::new(Arc::clone(mux)));
        }
        Ok(Self {
            id: config.id.clone(),
            link,
            driver,
            mux,
            description,
            _pty_link: pty_link,
            _socket_file: socket_file,
        })
    }
}

impl Drop for Chardevs {
    fn drop(&mut self) {
        terminal::restore();
    }
}

/// The port of a character device with one user.
struct Port {
    link: Arc<Link>,
    driver: Arc<Mutex<Driver>>,
}

impl CharPort for Port {
    fn backend(&mut self) -> Box<dyn CharBackend> {
        self.link.backend()
    }

    fn attach(&mut self, client: Arc<Mutex<dyn CharClient>>) {
        lock(&self.driver).connect(Box::new(client));
    }
}

/// The port of one user of a multiplexer.
struct MuxPort(Arc<Mutex<Mux>>);

impl CharPort for MuxPort {
    fn backend(&mut self) -> Box<dyn CharBackend> {
        lock(&self.0).backend()
    }

    fn attach(&mut self, client: Arc<Mutex<dyn CharClient>>) {
        lock(&self.0).attach(client);
    }
}

/// The ring buffers of a configuration, for those who read them.
pub struct Ringbufs(Vec<(String, Arc<Link>)>);

impl Ringbufs {
    /// Takes up to `count` bytes out of the ring buffer `id`; `None` if there is none of that name.
    #[must_use]
    pub fn read(&self, id: &str, count: usize) -> Option<Vec<u8>> {
        self.0.iter().find(|(other, _)| other == id)?.1.read_ringbuf(count)
    }
}

/// The character devices of a configuration, as if a break came from the host.
pub struct Breaks(Vec<(String, Arc<Link>)>);

impl Breaks {
    /// Sends a break to the device at the character device `id`, which hears of it from the main loop; `None` if there is no
    /// such character device.
    #[must_use]
    pub fn send(&self, id: &str) -> Option<()> {
        self.0.iter().find(|(other, _)| other == id)?.1.send_break();
        Some(())
    }
}

/// A character device by the option that made it.
fn label(config: &Chardev) -> String {
    let backend = describe(&config.backend);
    match &config.option {
        Some(option) => format!("-{option} {backend}"),
        None => format!("-chardev id={} ({backend})", config.id),
    }
}

/// Its backend in the words of the command line.
fn describe(backend: &ChardevBackend) -> String {
    let path = |kind: &str, path: &PathBuf| format!("{kind}:{}", path.display());
    match backend {
        ChardevBackend::Null => "null".into(),
        ChardevBackend::Stdio { .. } => "stdio".into(),
        ChardevBackend::Ringbuf { .. } => "ringbuf".into(),
        ChardevBackend::Pty { .. } => "pty".into(),
        ChardevBackend::File { path: file, .. } => path("file", file),
        ChardevBackend::Pipe { path: pipe } => path("pipe", pipe),
        ChardevBackend::Tty { path: tty } => tty.display().to_string(),
        ChardevBackend::Socket { address, .. } => address.to_string(),
    }
}

#[cfg(test)]
mod tests;
