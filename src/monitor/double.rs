//! A machine that notes what monitors ask of it.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail};
use devices::base::lock;
use devices::input::KeyCode;
use serde_json::{Map, Value};

use super::access::Access;
use super::drives::{DeviceInfo, DriveInfo, NodeInfo, Nodes, StatsInfo, Target, TrayInfo};
use super::input::{Input, InputEvent, Mouse};
use super::pci::{BarInfo, BridgeInfo, MemoryBar, PciFunctionInfo};
use super::qom::Qom;
use super::{Command, Control, Cpu, IoThreadInfo, MediumChange, View};
use crate::config::{
    CpuModel, CpuProperty, DeviceProperty, DeviceType, IoThread, MemoryBackend, NumaConfig, OptionGroup, Throttle,
};

pub struct Machine {
    pub requests: Mutex<Vec<Command>>,
    pub status: Mutex<&'static str>,
    /// What was done by hand, in the form of `Debug`.
    pub done: Mutex<Vec<String>>,
    chardevs: Vec<(String, String)>,
    qom: Qom,
    devices: Vec<DeviceType>,
    options: Vec<OptionGroup>,
    memory: Vec<MemoryBackend>,
    io_threads: Vec<IoThreadInfo>,
    numa: NumaConfig,
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
            options: vec![OptionGroup { name: "machine", parameters: vec![property.clone()] }],
            devices: vec![DeviceType { name: "isa-debug-exit", properties: vec![property] }],
            memory: vec![MemoryBackend::anonymous("pc.ram", 1 << 20)],
            io_threads: vec![IoThreadInfo {
                config: IoThread { poll_grow: 3, ..IoThread::new("iothread0") },
                thread_id: 1234,
            }],
            numa: NumaConfig { memory: vec![512 << 10; 2], cpus: vec![0, 1], distances: Vec::new() },
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

    fn change_medium(&self, drive: &str, change: MediumChange, force: bool) -> Result<()> {
        match drive {
            "floppy0" | "a" => self.note(format!("{drive} {change:?}{}", if force { " by force" } else { "" })),
            other => bail!("Device '{other}' not found"),
        }
    }

    fn set_boot_order(&self, order: &str) -> Result<()> {
        self.note(format!("boot order {order}"))
    }

    fn pci(&self) -> Result<Vec<PciFunctionInfo>> {
        Ok(vec![bridge_with_a_card()])
    }

    fn drives(&self) -> Result<Vec<DriveInfo>> {
        let drive = |id: &str, object: &str, tray: Option<TrayInfo>| {
            let io_status = tray.map(|_| "ok");
            let device = Some(DeviceInfo { object: object.into(), io_status, removable: true, tray });
            DriveInfo { id: id.into(), is_anonymous: false, device, medium: None, stats: StatsInfo::default() }
        };
        let tray = TrayInfo { open: false, locked: false };
        Ok(vec![
            drive("floppy0", "/machine/unattached/device[9]", None),
            drive("a", "/machine/peripheral/floppy", None),
            drive("ide1-cd0", "/machine/peripheral/cd", Some(tray)),
        ])
    }

    fn nodes(&self) -> Result<&dyn Nodes> {
        Ok(self)
    }

    fn access(&self) -> Result<&dyn Access> {
        Ok(self)
    }

    fn memory_backends(&self) -> &[MemoryBackend] {
        &self.memory
    }

    fn io_threads(&self) -> &[IoThreadInfo] {
        &self.io_threads
    }

    fn numa(&self) -> &NumaConfig {
        &self.numa
    }

    fn send_break(&self, chardev: &str) -> Result<()> {
        match chardev {
            "serial0" => self.note("break".into()),
            other => bail!("Chardev '{other}' not found"),
        }
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

    fn option_groups(&self) -> &[OptionGroup] {
        &self.options
    }

    fn cpu_models(&self) -> Result<Vec<CpuModel>> {
        let model = |name: &str, alias: Option<&str>, of_host, missing: &[&str]| CpuModel {
            name: name.into(),
            alias_of: alias.map(str::to_owned),
            of_host,
            missing: missing.iter().map(|name| (*name).to_owned()).collect(),
        };
        Ok(vec![model("host", None, true, &[]), model("qemu64", Some("qemu64-v1"), false, &["svm"])])
    }

    fn cpu_features(&self, model: &str, properties: Vec<CpuProperty>) -> Result<Vec<(&'static str, bool)>> {
        if model != "host" {
            bail!("there is no CPU model '{model}'");
        }
        let avx = properties.iter().all(|property| property.name != "avx" || property.value == "on");
        Ok(vec![("avx", avx), ("svm", false)])
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

/// Memory is 32 KiB of bytes that count upwards from their address; linear addresses end there, too.
const MEMORY: u64 = 0x8000;

impl Access for Machine {
    fn read_memory(&self, processor: Option<u32>, address: u64, data: &mut [u8]) -> Result<bool> {
        for (byte, at) in data.iter_mut().zip(address..) {
            *byte = at as u8;
        }
        Ok(processor.is_none() || address + data.len() as u64 <= MEMORY)
    }

    fn end_of_memory(&self) -> u64 {
        MEMORY
    }

    fn translate(&self, _processor: u32, linear: u64) -> Result<Option<u64>> {
        Ok((linear < MEMORY).then_some(linear + 0x10_0000))
    }

    fn read_port(&self, port: u16, data: &mut [u8]) {
        data.fill(port as u8);
    }

    fn write_port(&self, port: u16, data: &[u8]) {
        lock(&self.done).push(format!("port {port:#x} {data:x?}"));
    }

    fn register(&self, processor: u32, name: &str) -> Result<u64> {
        match name {
            "eip" => Ok(0xfff0 + u64::from(processor)),
            other => bail!("unknown register: '{other}'"),
        }
    }
}

fn bridge_with_a_card() -> PciFunctionInfo {
    let card = PciFunctionInfo {
        bus: 1,
        slot: 3,
        function: 0,
        class: 0x0700,
        vendor: 0x1b36,
        device: 2,
        subsystem: Some((0x1af4, 0x1100)),
        interrupt: Some((1, 11)),
        id: "card".into(),
        bars: vec![BarInfo { number: 0, address: Some(0xc000), size: 8, memory: None }],
        bridge: None,
    };
    let bridge = BridgeInfo {
        primary: 0,
        secondary: 1,
        subordinate: 1,
        io: (0xc000, 0xcfff),
        memory: (0xfe00_0000, 0xfe0f_ffff),
        prefetchable: (0, 0xf_ffff),
        functions: vec![card.clone()],
    };
    let memory = Some(MemoryBar { wide: true, prefetchable: false });
    PciFunctionInfo {
        bus: 0,
        slot: 2,
        class: 0x0604,
        device: 1,
        subsystem: None,
        id: "b".into(),
        bars: vec![BarInfo { number: 0, address: None, size: 256, memory }],
        bridge: Some(bridge),
        ..card
    }
}

impl Nodes for Machine {
    fn nodes(&self) -> Vec<NodeInfo> {
        Vec::new()
    }

    fn add(&self, options: Map<String, Value>) -> Result<()> {
        self.note(format!("add {}", Value::from(options)))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.note(format!("remove {name}"))
    }

    fn insert(&self, drive: &str, node: &str) -> Result<()> {
        self.note(format!("insert {node} into {drive}"))
    }

    fn resize(&self, target: &Target, size: u64) -> Result<()> {
        self.note(format!("resize {target:?} {size}"))
    }

    fn throttle(&self, drive: &str, throttle: Throttle) -> Result<()> {
        let Throttle { group, limits } = throttle;
        self.note(format!("throttle {drive} {group:?} {} {}", limits.bps_total.average, limits.iops_read.max))
    }
}
