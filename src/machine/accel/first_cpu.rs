//! The first virtual CPU, whose thread also does what KVM needs long for.
//!
//! KVM takes most of the time in which a machine starts. The thread begins when the command line has been read, and works beside
//! what needs no KVM. Whatever one of the two needs of the other, the other has ready by then as a rule:
//!
//! | this thread                              | the main thread                                          |
//! |------------------------------------------|----------------------------------------------------------|
//! | wakes up                                 | makes the virtual machine                                |
//! |                                          | opens drives and images, allocates guest memory          |
//! | gives it memory, interrupt controllers   | asks what processors KVM can make, opens other back ends |
//! | makes the vCPU, looks at what it can do  | puts up the board                                        |
//! | sets the vCPU up                         | tells firmware of the machine, or loads the kernel       |
//! | runs it                                  | serves devices and users                                 |

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use devices::base::{GuestRam, IrqSink};
use kvm_ioctls::{VcpuFd, VmFd};

use super::irqchip::Irqchip;
use super::kvm::create_vcpu;
use crate::config::{CpuConfig, MachineConfig, PlatformConfig};
use crate::kvm::control::{self, VcpuHandle};
use crate::kvm::cpuid::{GuestCpu, HostCpu, Topology};
use crate::kvm::memory::MemorySlots;
use crate::kvm::quirks::HostQuirks;
use crate::kvm::vcpu::{Vcpu, VcpuHost};
use crate::machine::boot::FirstImage;
use crate::machine::flash::FlashChip;
use crate::machine::layout::MemoryLayout;
use crate::machine::pc::chips::Chips;
use crate::machine::shadow::ShadowSlots;

/// How long the threads wait for each other without going to sleep.
const AWAKE: Duration = Duration::from_millis(1);

/// Largest APIC id that needs no 32-bit destination ids; FFh is the broadcast.
const MAX_XAPIC_ID: u32 = 254;

/// What the guest's processors see in place of devices.
pub struct Memory {
    /// Where RAM lies.
    pub layout: MemoryLayout,
    /// RAM.
    pub ram: GuestRam,
    /// What is booted, which may be in ROM.
    pub image: FirstImage,
    /// Flash chips.
    pub flash: Vec<FlashChip>,
}

/// What the virtual machine in the kernel has been given.
pub struct Made {
    /// Its memory.
    pub slots: Arc<MemorySlots>,
    /// The host bridge's say in that.
    pub shadow: ShadowSlots,
    /// Its interrupt controllers.
    pub irqchip: Irqchip,
    /// Takes the levels of the interrupt inputs.
    pub irqs: Arc<dyn IrqSink>,
    /// Where interrupt controllers and interval timer are.
    pub chips: Chips,
    /// What it was given.
    pub memory: Memory,
}

/// What the processors are to be, and what they could be.
pub struct Model {
    /// The guest's processors.
    pub cpu: Arc<GuestCpu>,
    /// What the host could give them.
    pub host: Arc<Mutex<HostCpu>>,
}

/// The first vCPU, on its way to be one.
pub struct FirstCpu {
    // These go before the thread, which ends when it waits for one of them, is waited for.
    vm: Sender<Arc<VmFd>>,
    memory: Sender<Memory>,
    host: Sender<HostCpu>,
    board: Sender<VcpuHost>,
    made: Receiver<Result<Made>>,
    model: Receiver<Result<Model>>,
    thread: VcpuHandle,
}

impl FirstCpu {
    /// Begins.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn begin(config: &MachineConfig, quirks: &Arc<HostQuirks>, topology: Topology) -> Result<Self> {
        control::install_kick_handler().context("can't install the signal handler of the virtual CPUs")?;
        let (vm, their_vm) = channel();
        let (memory, their_memory) = channel();
        let (host, their_host) = channel();
        let (board, their_board) = channel();
        let (their_made, made) = channel();
        let (their_model, model) = channel();
        let maker =
            Maker { quirks: Arc::clone(quirks), topology, cpu: config.cpu.clone(), platform: config.platform.clone() };
        let make = move || {
            // Asleep: the thread may still share the processor of the main thread, and is woken up on an idle one.
            let vm = their_vm.recv().ok()?;
            let vm = hand_over(maker.furnish(vm, receive(&their_memory)?), &their_made)?;
            let fd = create_vcpu(&vm, &maker.topology, 0);
            let host = receive(&their_host)?;
            let looked_at = fd.and_then(|fd| maker.model(&fd, host).map(|model| ((fd, Arc::clone(&model.cpu)), model)));
            let (fd, cpu) = hand_over(looked_at, &their_model)?;
            Some(Vcpu::new(&receive(&their_board)?, 0, fd, &cpu))
        };
        let thread = VcpuHandle::spawn(0, config.identity.debug_threads, make);
        let thread = thread.context("can't start the thread of a virtual CPU")?;
        Ok(Self { vm, memory, host, board, made, model, thread })
    }

    /// Shows the thread the virtual machine, and has it get ready.
    pub fn prepare(&self, vm: Arc<VmFd>) {
        // A thread that does not take it any more has answered why.
        let _ = self.vm.send(vm);
    }

    /// Has the virtual machine given its memory and chips.
    pub fn furnish(&self, memory: Memory) {
        let _ = self.memory.send(memory);
    }

    /// Tells what processors the host can make.
    pub fn introduce(&self, host: HostCpu) {
        let _ = self.host.send(host);
    }

    /// Waits until the virtual machine has its memory and chips.
    ///
    /// # Errors
    /// The host refuses something.
    pub fn made(&self) -> Result<Made> {
        wait(&self.made)
    }

    /// Shows the vCPU what is on the board, and waits until it is known what processor it is.
    ///
    /// # Errors
    /// The host can't make it.
    pub fn show(&self, board: VcpuHost) -> Result<Model> {
        let _ = self.board.send(board);
        wait(&self.model)
    }

    /// The thread, on which the vCPU is set up.
    #[must_use]
    pub fn into_thread(self) -> VcpuHandle {
        self.thread
    }
}

fn wait<T>(answer: &Receiver<Result<T>>) -> Result<T> {
    receive(answer).unwrap_or_else(|| bail!("the thread of the first virtual CPU has ended"))
}

/// Waits for what the other thread is about to send, awake for as long as it usually takes: a processor that has gone to
/// sleep may take longer to wake up. `None` if the other thread gave up.
fn receive<T>(from: &Receiver<T>) -> Option<T> {
    let since = Instant::now();
    while since.elapsed() < AWAKE {
        match from.try_recv() {
            // The other thread may need this processor.
            Err(TryRecvError::Empty) => thread::yield_now(),
            result => return result.ok(),
        }
    }
    from.recv().ok()
}

/// Answers with the second part of a result and keeps the first; `None` if there is nothing to go on with, or nobody who
/// waits.
fn hand_over<K, A>(result: Result<(K, A)>, answer: &Sender<Result<A>>) -> Option<K> {
    let (kept, answered) = result.map_or_else(|error| (None, Err(error)), |(kept, part)| (Some(kept), Ok(part)));
    answer.send(answered).ok()?;
    kept
}

/// What the thread knows from the start.
struct Maker {
    quirks: Arc<HostQuirks>,
    topology: Topology,
    cpu: CpuConfig,
    platform: PlatformConfig,
}

impl Maker {
    /// Gives the virtual machine memory and chips.
    fn furnish(&self, vm: Arc<VmFd>, memory: Memory) -> Result<(Arc<VmFd>, Made)> {
        let slots = Arc::new(MemorySlots::new(Arc::clone(&vm), Arc::clone(&memory.ram)));
        let shadow = ShadowSlots::new(Arc::clone(&slots));
        let firmware = memory.image.firmware();
        shadow.map_ram(&memory.layout, firmware)?;
        memory.flash.iter().try_for_each(|chip| chip.map(&slots))?;
        let wide_apic_ids = self.topology.apic_id_limit() > MAX_XAPIC_ID + 1;
        let (irqchip, irqs, chips) =
            Irqchip::make(&vm, &self.platform, &self.quirks, firmware.is_some(), wide_apic_ids)?;
        Ok((vm, Made { slots, shadow, irqchip, irqs, chips, memory }))
    }

    /// What the processors are to be. What the host's can do shows only with a virtual one.
    fn model(&self, fd: &VcpuFd, mut host: HostCpu) -> Result<Model> {
        host.examine(fd)?;
        let cpu = Arc::new(GuestCpu::new(&self.cpu, &host).context("-cpu")?);
        Ok(Model { cpu, host: Arc::new(Mutex::new(host)) })
    }
}
