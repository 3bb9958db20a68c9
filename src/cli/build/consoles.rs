//! Who is connected to which character device: serial ports, debug console, monitor, devices.

use super::block::Drives;
use super::chardev::{self, ShortForm};
use super::device::{self, Globals, Taken};
use super::io_threads;
use super::scsi;
use crate::cli::error::{Origin, UsageError};
use crate::cli::settings::Settings;
use crate::config::{
    Chardev, ChardevBackend, DeviceConfig, IdeDrive, MonitorConfig, MonitorMode, PARALLEL_PORTS, QtestConfig,
    SERIAL_PORTS,
};

/// Most users of one multiplexer, as in QEMU.
const MAX_USERS: usize = 4;
/// What messages call a monitor.
const MONITOR: &str = "the monitor";

/// The result.
pub struct Consoles {
    pub chardevs: Vec<Chardev>,
    pub serials: [Option<String>; SERIAL_PORTS],
    pub parallels: [Option<String>; PARALLEL_PORTS],
    pub monitors: Vec<MonitorConfig>,
    pub qtest: Option<QtestConfig>,
    pub devices: Vec<DeviceConfig>,
}

/// The character devices while they are collected.
struct Builder {
    daemonize: bool,
    chardevs: Vec<(Chardev, Origin)>,
    users: Vec<(String, String, Origin)>,
    monitors: Vec<MonitorConfig>,
}

/// Reads `-chardev`, `-serial`, `-debugcon`, `-device` and `-nographic`.
pub fn build(
    settings: &Settings,
    globals: &Globals,
    daemonize: bool,
    drives: &mut Drives,
) -> Result<Consoles, UsageError> {
    let mut builder = Builder { daemonize, chardevs: Vec::new(), users: Vec::new(), monitors: Vec::new() };
    for given in settings.all("chardev") {
        let Some(list) = given.list() else { continue };
        builder.add(chardev::build(list, &given.origin)?, &given.origin)?;
    }

    let mut serials: [Option<String>; SERIAL_PORTS] = Default::default();
    for (number, given) in settings.all("serial").enumerate() {
        let port = serials.get_mut(number).ok_or_else(|| {
            given.origin.error("a PC has four serial ports, and this is the fifth: leave one -serial out")
        })?;
        let user = format!("COM{}", number + 1);
        *port = builder.attach(given.text(), &format!("serial{number}"), &user, &given.origin)?;
    }

    let mut parallels: [Option<String>; PARALLEL_PORTS] = Default::default();
    for (number, given) in settings.all("parallel").enumerate() {
        let port = parallels.get_mut(number).ok_or_else(|| {
            given.origin.error("a PC has three parallel ports, and this is the fourth: leave one -parallel out")
        })?;
        let user = format!("LPT{}", number + 1);
        *port = builder.attach(given.text(), &format!("parallel{number}"), &user, &given.origin)?;
    }

    for (number, given) in settings.all("monitor").enumerate() {
        builder.add_monitor(given.text(), &format!("monitor{number}"), MonitorMode::Readline, &given.origin)?;
    }
    for (option, pretty) in [("qmp", false), ("qmp-pretty", true)] {
        for (number, given) in settings.all(option).enumerate() {
            let mode = MonitorMode::Control { pretty };
            builder.add_monitor(given.text(), &format!("{option}{number}"), mode, &given.origin)?;
        }
    }
    for given in settings.all("mon") {
        let Some(list) = given.list() else { continue };
        let id = list.text("chardev");
        let id = id.ok_or_else(|| given.origin.error("'chardev' is missing: give chardev=ID"))?;
        let pretty = list.flag("pretty");
        let mode = match list.choice::<String>("mode").as_deref() {
            Some("control") => MonitorMode::Control { pretty: pretty.unwrap_or(false) },
            _ if pretty == Some(true) => return Err(given.origin.error("'pretty' is for QMP: add mode=control")),
            _ => MonitorMode::Readline,
        };
        builder.add_monitor(&format!("chardev:{id}"), "", mode, &given.origin)?;
    }

    let qtest = builder.qtest(settings)?;

    let mut debugcon = None;
    for given in settings.all("debugcon") {
        if debugcon.is_some() {
            return Err(given.origin.error(
                "there already is a debug console on that port: add another with -device isa-debugcon,iobase=PORT,chardev=ID",
            ));
        }
        let chardev =
            builder.attach(given.text(), "debugcon", "the debug console", &given.origin)?.ok_or_else(|| {
                given.origin.error("a debug console needs a character device: use null, or leave -debugcon out")
            })?;
        debugcon = Some(DeviceConfig::IsaDebugcon(device::debugcon(&chardev, globals)));
    }

    let taken = Taken {
        serials: serials.each_ref().map(Option::is_some),
        parallels: parallels.each_ref().map(Option::is_some),
        floppies: drives.floppy_units(),
        ide: drives.ide_places(),
        scsi: scsi::Buses::default(),
    };
    let mut devices = device::build(settings, globals, taken)?;
    for (device, given) in devices.iter_mut().zip(settings.all("device")) {
        if let Some(drive) = device.drive_mut() {
            *drive = drives.reference(drive, &given.origin)?;
        }
        drives.furnish(device);
        if let (Some(drive), Some((_, list))) = (device.drive_mut(), device::settings_of(given, globals)) {
            drives.tune(drive, &list, &given.origin)?;
        }
        if let DeviceConfig::IdeCd(IdeDrive { drive: Some(drive), .. }) = device {
            drives.take_for_cd(drive);
        } else if let DeviceConfig::ScsiCd(cd) = device
            && let Some(drive) = &cd.drive
        {
            drives.take_for_cd(drive);
        }
        match device {
            DeviceConfig::IsaDebugExit(_)
            | DeviceConfig::Pvpanic(_)
            | DeviceConfig::Ib700(_)
            | DeviceConfig::PcTestdev(_)
            | DeviceConfig::IdeHd(_)
            | DeviceConfig::IdeCd(_)
            | DeviceConfig::ScsiHd(_)
            | DeviceConfig::ScsiCd(_)
            | DeviceConfig::Floppy(_) => {}
            DeviceConfig::IsaDebugcon(console) => builder.reference(&console.chardev, "isa-debugcon", &given.origin)?,
            DeviceConfig::IsaSerial(uart) => builder.reference(&uart.chardev, "isa-serial", &given.origin)?,
            DeviceConfig::IsaParallel(lpt) => builder.reference(&lpt.chardev, "isa-parallel", &given.origin)?,
            DeviceConfig::Pci(device) => {
                let mut chardevs = device.chardevs();
                chardevs.try_for_each(|id| builder.reference(id, device.driver(), &given.origin))?;
                device.io_thread().iter().try_for_each(|id| io_threads::reference(settings, id, &given.origin))?;
            }
        }
    }

    drives.share_files();
    let has_uart = devices.iter().any(|device| matches!(device, DeviceConfig::IsaSerial(_)));
    if !settings.has("serial") && !has_uart && !settings.has("nodefaults") {
        serials[0] = Some(builder.default_serial(settings)?);
    }
    let has_lpt = devices.iter().any(|device| matches!(device, DeviceConfig::IsaParallel(_)));
    if !settings.has("parallel") && !has_lpt && !settings.has("nodefaults") {
        // QEMU connects it to a window.
        let origin = Origin::bare("-parallel");
        parallels[0] = builder.attach("null", "parallel0", "LPT1", &origin)?;
    }
    builder.check_users()?;
    Ok(Consoles {
        chardevs: builder.chardevs.into_iter().map(|(chardev, _)| chardev).collect(),
        serials,
        parallels,
        monitors: builder.monitors,
        qtest,
        devices: debugcon.into_iter().chain(devices).collect(),
    })
}

impl Builder {
    fn add(&mut self, chardev: Chardev, origin: &Origin) -> Result<(), UsageError> {
        if self.find(&chardev.id).is_some() {
            return Err(origin.error(format_args!("there are two character devices with the id '{}'", chardev.id)));
        }
        if matches!(chardev.backend, ChardevBackend::Stdio { .. }) {
            if self.daemonize {
                return Err(
                    origin.error("-daemonize leaves the terminal, so nothing can use stdio: use pty or a socket")
                );
            }
            if let Some((other, _)) = self.stdio() {
                return Err(origin.error(format_args!(
                    "'{}' already uses the terminal; let them share it: -chardev stdio,id=ID,mux=on and chardev:ID for each",
                    other.id
                )));
            }
        }
        self.chardevs.push((chardev, origin.clone()));
        Ok(())
    }

    fn find(&self, id: &str) -> Option<&Chardev> {
        self.chardevs.iter().map(|(chardev, _)| chardev).find(|chardev| chardev.id == id)
    }

    fn stdio(&self) -> Option<&(Chardev, Origin)> {
        self.chardevs.iter().find(|(chardev, _)| matches!(chardev.backend, ChardevBackend::Stdio { .. }))
    }

    /// Connects a user to the character device that a short form means; one that is made is called `id`: as the option,
    /// numbered if it can be given more than once.
    fn attach(&mut self, text: &str, id: &str, user: &str, origin: &Origin) -> Result<Option<String>, UsageError> {
        match chardev::short_form(text, origin)? {
            ShortForm::None => Ok(None),
            ShortForm::Reference(id) => {
                self.reference(&id, user, origin)?;
                Ok(Some(id))
            }
            ShortForm::New { backend, monitor } => {
                let option = Some(id.trim_end_matches(|last: char| last.is_ascii_digit()).into());
                let chardev = Chardev { id: id.into(), option, backend, mux: monitor, logfile: None, logappend: false };
                self.add(chardev, origin)?;
                if monitor {
                    self.monitors.push(MonitorConfig { chardev: id.into(), mode: MonitorMode::Readline });
                    if user != MONITOR {
                        self.users.push((id.into(), MONITOR.into(), origin.clone()));
                    }
                }
                self.users.push((id.into(), user.into(), origin.clone()));
                Ok(Some(id.into()))
            }
        }
    }

    /// Connects a monitor to the character device that a short form means.
    fn add_monitor(&mut self, text: &str, id: &str, mode: MonitorMode, origin: &Origin) -> Result<(), UsageError> {
        if mode != MonitorMode::Readline && text.starts_with("mon:") {
            return Err(origin.error("a QMP monitor talks to one program: leave 'mon:' out"));
        }
        let monitors = self.monitors.len();
        if let Some(chardev) = self.attach(text, id, MONITOR, origin)?
            // `mon:` has added it already.
            && self.monitors.len() == monitors
        {
            self.monitors.push(MonitorConfig { chardev, mode });
        }
        Ok(())
    }

    /// Reads `-qtest` and `-qtest-log`.
    fn qtest(&mut self, settings: &Settings) -> Result<Option<QtestConfig>, UsageError> {
        let log = settings.last("qtest-log");
        let Some(given) = settings.last("qtest") else {
            return match log {
                Some(given) => Err(given.origin.error("there is no qtest conversation to log: add -qtest DEV")),
                None => Ok(None),
            };
        };
        let chardev = self.attach(given.text(), "qtest", "the qtest protocol", &given.origin)?;
        Ok(chardev.map(|chardev| QtestConfig { chardev, log: log.map(|given| given.text().into()) }))
    }

    /// Connects a user to a character device that `-chardev` defined.
    fn reference(&mut self, id: &str, user: &str, origin: &Origin) -> Result<(), UsageError> {
        if self.find(id).is_none() {
            return Err(origin
                .error(format_args!("there is no character device '{id}': define it with -chardev BACKEND,id={id}")));
        }
        self.users.push((id.into(), user.into(), origin.clone()));
        Ok(())
    }

    /// COM1 when no option speaks of serial ports: on the terminal, shared with the monitor.
    fn default_serial(&mut self, settings: &Settings) -> Result<String, UsageError> {
        let nographic = settings.last("nographic").map(|given| &given.origin);
        if self.daemonize
            && let Some(origin) = nographic
        {
            return Err(origin
                .error("-daemonize leaves the terminal: use -display none, and -serial with a file, pty or socket"));
        }
        // What the user asked for explicitly has the terminal; -nographic asks for it explicitly too.
        let form = match (self.daemonize || self.stdio().is_some(), nographic, settings.has("monitor")) {
            (true, None, _) => "null",
            (_, _, true) => "stdio",
            _ => "mon:stdio",
        };
        let origin = nographic.cloned().unwrap_or_else(|| Origin::bare("the default serial port"));
        self.attach(form, "serial0", "COM1", &origin)?;
        Ok("serial0".into())
    }

    /// A character device has one user, a multiplexer up to four, its monitor among them.
    fn check_users(&self) -> Result<(), UsageError> {
        for (chardev, _) in &self.chardevs {
            let mut users = self.users.iter().filter(|(id, ..)| *id == chardev.id);
            let Some((_, first, _)) = users.next() else { continue };
            if let (false, Some((_, second, origin))) = (chardev.mux, users.clone().next()) {
                return Err(origin.error(format_args!(
                    "character device '{}' is already used by {first}; {second} can share it if it has mux=on",
                    chardev.id
                )));
            }
            if let Some((.., origin)) = users.nth(MAX_USERS - 1) {
                return Err(origin.error(format_args!(
                    "character device '{}' already has {MAX_USERS} users, the most that can share one",
                    chardev.id
                )));
            }
        }
        Ok(())
    }
}
