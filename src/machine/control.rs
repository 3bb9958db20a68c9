//! The machine as monitors see it.

use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use anyhow::{Context, Result};
use devices::base::lock;
use uuid::Uuid;

use super::inspection::Inspection;
use super::lifecycle::{Machine, Status};
use super::mailbox::{Mailbox, Message, UserRequest};
use super::qom;
use crate::config::{
    Accel, Catalogue, CpuConfig, CpuModel, CpuProperty, DeviceType, MachineConfig, MemoryBackend, NumaConfig,
    OptionGroup, Smp,
};
use crate::host::block::Blocks;
use crate::host::chardev::{Breaks, Chardevs, Ringbufs};
use crate::host::io_thread::IoThread;
use crate::host::process;
use crate::kvm::control::VcpuThread;
use crate::kvm::cpuid::{self, HostCpu};
use crate::monitor::access::Access;
use crate::monitor::drives::{DriveInfo, Nodes};
use crate::monitor::input::Input;
use crate::monitor::pci::PciFunctionInfo;
use crate::monitor::qom::Qom;
use crate::monitor::{Command, Control, Cpu, IoThreadInfo, MediumChange, View};

/// What monitors may know, and how they reach the main loop.
pub struct MonitorControl {
    mailbox: Arc<Mailbox>,
    status: Mutex<Status>,
    name: Option<String>,
    uuid: Uuid,
    smp: Smp,
    uses_kvm: bool,
    memory_size: u64,
    memory_backends: Vec<MemoryBackend>,
    io_threads: OnceLock<Vec<IoThreadInfo>>,
    numa: NumaConfig,
    breaks: Breaks,
    qom: OnceLock<Qom>,
    inspection: OnceLock<Inspection>,
    threads: OnceLock<Vec<VcpuThread>>,
    device_types: LazyLock<Vec<DeviceType>>,
    option_groups: LazyLock<Vec<OptionGroup>>,
    host_cpu: OnceLock<Arc<Mutex<HostCpu>>>,
    chardevs: Vec<(String, String)>,
    ringbufs: Ringbufs,
}

impl MonitorControl {
    /// The machine that `config` describes, not started yet.
    #[must_use]
    pub fn new(config: &MachineConfig, catalogue: Catalogue, chardevs: &Chardevs, mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            status: Mutex::new(Status::Prelaunch),
            name: config.identity.name.clone(),
            uuid: config.identity.uuid.unwrap_or_default(),
            smp: config.smp,
            uses_kvm: config.platform.accel == Accel::Kvm,
            memory_size: config.memory.size(),
            memory_backends: config.memory.ram.iter().chain(&config.memory.spare).cloned().collect(),
            io_threads: OnceLock::new(),
            numa: config.numa.clone(),
            breaks: chardevs.breaks(),
            qom: OnceLock::new(),
            inspection: OnceLock::new(),
            threads: OnceLock::new(),
            device_types: LazyLock::new(catalogue.device_types),
            option_groups: LazyLock::new(catalogue.option_groups),
            host_cpu: OnceLock::new(),
            chardevs: chardevs.descriptions(),
            ringbufs: chardevs.ringbufs(),
        }
    }

    /// What the machine consists of that `config` describes.
    pub fn set_machine(&self, config: &MachineConfig, machine: &Machine, blocks: &Arc<Blocks>) {
        self.inspection.get_or_init(|| machine.inspection(config, blocks));
        self.threads.get_or_init(|| machine.threads());
        self.qom.get_or_init(|| qom::objects(config, machine.board()));
        if let Some(host) = machine.host_cpu() {
            self.host_cpu.get_or_init(|| host);
        }
    }

    /// The threads that serve queues.
    pub fn set_io_threads(&self, threads: &[IoThread]) {
        let describe = |thread: &IoThread| IoThreadInfo { config: thread.config().clone(), thread_id: thread.id() };
        self.io_threads.get_or_init(|| threads.iter().map(describe).collect());
    }

    fn inspection(&self) -> Result<&Inspection> {
        self.inspection.get().context("the machine is still being made")
    }

    /// The state the machine is in now.
    pub fn set_status(&self, status: Status) {
        *lock(&self.status) = status;
    }
}

impl Control for MonitorControl {
    fn request(&self, command: Command) {
        let request = match command {
            Command::Quit => UserRequest::Quit,
            Command::Stop => UserRequest::Stop,
            Command::Continue => UserRequest::Continue,
            Command::Reset => UserRequest::Reset,
            Command::PowerButton => UserRequest::PowerButton,
            Command::Wakeup => UserRequest::Wakeup,
            Command::Nmi => UserRequest::Nmi,
            Command::SetActions(changes) => UserRequest::SetActions(changes),
        };
        self.mailbox.post(Message::User(request));
    }

    fn status(&self) -> &'static str {
        lock(&self.status).name()
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn uuid(&self) -> String {
        self.uuid.to_string()
    }

    fn cpus(&self) -> u32 {
        self.smp.cpus
    }

    fn cpu_list(&self) -> Vec<Cpu> {
        let Smp { dies, cores, threads, .. } = self.smp;
        let cores = cores * dies;
        let threads_of_host = self.threads.get().map(Vec::as_slice).unwrap_or_default();
        let cpu = |index: u32| Cpu {
            // Without KVM there is no thread of its own.
            thread_id: threads_of_host.get(index as usize).map_or_else(process::id, VcpuThread::id),
            socket: index / threads / cores,
            core: index / threads % cores,
            thread: index % threads,
        };
        (0..self.smp.cpus).map(cpu).collect()
    }

    fn view(&self, view: View) -> Result<String> {
        self.inspection()?.view(view)
    }

    fn pci(&self) -> Result<Vec<PciFunctionInfo>> {
        Ok(self.inspection()?.pci())
    }

    fn drives(&self) -> Result<Vec<DriveInfo>> {
        Ok(self.inspection()?.drives())
    }

    fn nodes(&self) -> Result<&dyn Nodes> {
        Ok(self.inspection()?.nodes())
    }

    fn change_medium(&self, drive: &str, change: MediumChange, force: bool) -> Result<()> {
        self.inspection()?.change_medium(drive, change, force)
    }

    fn set_boot_order(&self, order: &str) -> Result<()> {
        self.inspection()?.set_boot_order(order)
    }

    fn access(&self) -> Result<&dyn Access> {
        Ok(self.inspection()?)
    }

    fn input(&self) -> Result<&dyn Input> {
        Ok(self.inspection()?)
    }

    fn uses_kvm(&self) -> bool {
        self.uses_kvm
    }

    fn memory_size(&self) -> u64 {
        self.memory_size
    }

    fn memory_backends(&self) -> &[MemoryBackend] {
        &self.memory_backends
    }

    fn io_threads(&self) -> &[IoThreadInfo] {
        self.io_threads.get().map(Vec::as_slice).unwrap_or_default()
    }

    fn numa(&self) -> &NumaConfig {
        &self.numa
    }

    fn send_break(&self, chardev: &str) -> Result<()> {
        self.breaks.send(chardev).with_context(|| format!("Chardev '{chardev}' not found"))
    }

    fn qom(&self) -> &Qom {
        self.qom.get_or_init(Qom::default)
    }

    fn device_types(&self) -> &[DeviceType] {
        &self.device_types
    }

    fn option_groups(&self) -> &[OptionGroup] {
        &self.option_groups
    }

    fn cpu_models(&self) -> Result<Vec<CpuModel>> {
        let host = self.host_cpu.get().map(|host| lock(host));
        Ok(cpuid::models(host.as_deref()))
    }

    fn cpu_features(&self, model: &str, properties: Vec<CpuProperty>) -> Result<Vec<(&'static str, bool)>> {
        let host = self.host_cpu.get().context("there is no processor to ask without -accel kvm")?;
        Ok(cpuid::features_of(&CpuConfig { model: model.to_owned(), properties }, &lock(host))?)
    }

    fn chardevs(&self) -> &[(String, String)] {
        &self.chardevs
    }

    fn read_ringbuf(&self, id: &str, count: usize) -> Option<Vec<u8>> {
        self.ringbufs.read(id, count)
    }
}
