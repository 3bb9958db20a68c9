//! The ways into a running machine: human monitors, QMP monitors, and the qtest protocol.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use devices::base::lock;

use super::accel::qtest::Bench;
use super::control::MonitorControl;
use crate::config::{MachineConfig, MonitorConfig, MonitorMode, QtestConfig};
use crate::host::chardev::Chardevs;
use crate::monitor::qtest::{QtestLog, QtestServer};
use crate::monitor::{Control, Event, HumanMonitor, QmpMonitor};

/// All of them.
pub struct FrontDoors {
    humans: Vec<Arc<Mutex<HumanMonitor>>>,
    programs: Vec<Arc<Mutex<QmpMonitor>>>,
    qtest: Option<Arc<Mutex<QtestServer>>>,
}

impl FrontDoors {
    /// Makes the monitors and connects them.
    ///
    /// # Errors
    /// A character device can't be had.
    pub fn open(config: &MachineConfig, chardevs: &Chardevs, control: &Arc<MonitorControl>) -> Result<Self> {
        let mut doors = Self { humans: Vec::new(), programs: Vec::new(), qtest: None };
        for MonitorConfig { chardev: id, mode } in &config.monitors {
            let mut port = chardevs.port(id).context("-monitor")?;
            let control = Arc::clone(control) as Arc<dyn Control>;
            match mode {
                MonitorMode::Readline => {
                    let shared = config.chardev(id).is_some_and(|chardev| chardev.mux);
                    let monitor = Arc::new(Mutex::new(HumanMonitor::new(port.backend(), control, shared)));
                    port.attach(monitor.clone());
                    doors.humans.push(monitor);
                }
                MonitorMode::Control { pretty } => {
                    let monitor = Arc::new(Mutex::new(QmpMonitor::new(port.backend(), control, *pretty)));
                    port.attach(monitor.clone());
                    doors.programs.push(monitor);
                }
            }
        }
        Ok(doors)
    }

    /// Makes the end of the qtest protocol, if it is spoken.
    ///
    /// # Errors
    /// The character device can't be had, or the log can't be made.
    pub fn open_qtest(&mut self, config: &MachineConfig, chardevs: &Chardevs, bench: Bench) -> Result<()> {
        let Some(QtestConfig { chardev, log }) = &config.qtest else { return Ok(()) };
        let mut port = chardevs.port(chardev).context("-qtest")?;
        let log = QtestLog::open(log.as_deref()).context("-qtest-log: can't make the file")?;
        let server = Arc::new(Mutex::new(QtestServer::new(port.backend(), Box::new(bench), log)));
        port.attach(server.clone());
        self.qtest = Some(server);
        Ok(())
    }

    /// Tells what happened to those who want to know.
    pub fn tell(&self, event: Event) {
        self.programs.iter().for_each(|monitor| lock(monitor).event(event));
    }

    /// The main loop has seen to all requests.
    pub fn settle(&self) {
        self.humans.iter().for_each(|monitor| lock(monitor).settle());
        self.programs.iter().for_each(|monitor| lock(monitor).settle());
        self.qtest.iter().for_each(|server| lock(server).settle());
    }
}
