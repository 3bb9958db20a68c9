//! A machine that notes what monitors ask of it.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail};
use devices::base::lock;
use devices::input::KeyCode;

use super::input::{Input, InputEvent, Mouse};
use super::qom::Qom;
use super::{Command, Control, Cpu, Medium, View};
use crate::config::{DeviceProperty, DeviceType};

pub struct Machine {
    pub requests: Mutex<Vec<Command>>,
    pub status: Mutex<&'static str>,
    /// What was done by hand, in the form of `Debug`.
    pub done: Mutex<Vec<String>>,
    chardevs: Vec<(String, String)>,
    qom: Qom,
    devices: Vec<DeviceType>,
}

impl Default for Machine {
    fn default() -> Self {
        let mut qom = Qom::default();
        qom.add("/machine", "pc-i440fx-7.2-machine", []);
        qom.add("/machine/i440fx/ioapic", "ioapic", []);
        let property = DeviceProperty { name: "iobase", kind: "uint32", description: "its first port" };
        Self {
            requests: Mutex::default(),
            status: Mutex::new("running"),
            done: Mutex::default(),
            chardevs: vec![("serial0".into(), "null".into())],
            qom,
            devices: vec![DeviceType { name: "isa-debug-exit", properties: vec![property] }],
        }
    }
}

impl Machine {
    /// Takes what was done since the last time.
    pub fn done(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.done))
    }

    fn note(&self, what: String) -> Result<()> {
        lock(&self.done).push(what);
        Ok(())
    }
}

impl Control for Machine {
    fn request(&self, command: Command) {
        lock(&self.requests).push(command);
    }

    fn status(&self) -> &'static str {
        *lock(&self.status)
    }

    fn name(&self) -> Option<&str> {
        Some("guest")
    }

    fn uuid(&self) -> String {
        "550e8400-e29b-41d4-a716-446655440000".into()
    }

    fn cpus(&self) -> u32 {
        2
    }

    fn cpu_list(&self) -> Vec<Cpu> {
        (0..).zip([7, 8]).map(|(core, thread_id)| Cpu { thread_id, socket: 0, core, thread: 0 }).collect()
    }

    fn view(&self, view: View) -> Result<String> {
        Ok(format!("{view:?}\n"))
    }

    fn change_medium(&self, drive: &str, medium: Option<Medium>) -> Result<()> {
        match drive {
            "floppy0" => self.note(format!("{medium:?}")),
            other => bail!("Device '{other}' not found"),
        }
    }

    fn set_boot_order(&self, order: &str) -> Result<()> {
        self.note(format!("boot order {order}"))
    }

    fn input(&self) -> Result<&dyn Input> {
        Ok(self)
    }

    fn uses_kvm(&self) -> bool {
        false
    }

    fn memory_size(&self) -> u64 {
        1 << 20
    }

    fn qom(&self) -> &Qom {
        &self.qom
    }

    fn device_types(&self) -> &[DeviceType] {
        &self.devices
    }

    fn chardevs(&self) -> &[(String, String)] {
        &self.chardevs
    }

    fn read_ringbuf(&self, id: &str, count: usize) -> Option<Vec<u8>> {
        (id == "ring").then(|| b"newest output"[..count.min(13)].to_vec())
    }
}

impl Input for Machine {
    fn type_together(&self, keys: &[KeyCode], hold: Duration) -> Result<()> {
        self.note(format!("{keys:?} {hold:?}"))
    }

    fn act(&self, events: &[InputEvent]) -> Result<()> {
        self.note(format!("{events:?}"))
    }

    fn mice(&self) -> Vec<Mouse> {
        vec![
            Mouse { index: 2, name: "one", current: false, absolute: false },
            Mouse { index: 3, name: "two", current: true, absolute: true },
        ]
    }

    fn choose_mouse(&self, index: u64) -> Result<()> {
        self.note(format!("mouse {index}"))
    }
}
