//! The processors in KVM, with the interrupt controllers and the PIT that are in the kernel.

use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use anyhow::{Context, Result, bail};
use devices::virtio::Doorbell;
use kvm_bindings::kvm_clock_data;
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vmm_sys_util::eventfd::EventFd;

use super::first_cpu::{FirstCpu, Made, Memory, Model};
use super::irqchip::Irqchip;
use super::{Accelerator, Ground, rules};
use crate::boot::e820::{E820Entry, E820Kind};
use crate::boot::mtrr::mtrrs;
use crate::config::{KernelIrqchip, MachineConfig};
use crate::host::{Drives, process};
use crate::kvm::address_space::AddressSpace;
use crate::kvm::chips;
use crate::kvm::control::{VcpuHandle, VcpuParker, VcpuThread};
use crate::kvm::cpuid::{GuestCpu, HostCpu, Native, Topology};
use crate::kvm::doorbell;
use crate::kvm::inspect::Processors;
use crate::kvm::msr::Msr;
use crate::kvm::open;
use crate::kvm::pit::StoppedPit;
use crate::kvm::posted_writes::PostedWrites;
use crate::kvm::quirks::HostQuirks;
use crate::kvm::register_port::PlacedPort;
use crate::kvm::split::KernelMessages;
use crate::kvm::vcpu::{Vcpu, VcpuEvents, VcpuHost};
use crate::kvm::vm;
use crate::machine::boot::{BootSource, FirstImage, KernelStart};
use crate::machine::build::Assembly;
use crate::machine::description::{Identification, describe};
use crate::machine::guest_time::Clockwork;
use crate::machine::interrupt_report::{InterruptReport, ReadInterrupts};
use crate::machine::layout::{KVM_RESERVED, MemoryLayout};
use crate::machine::mailbox::Mailbox;
use crate::machine::pc::Board;
use crate::machine::pc::doorbells::DoorbellHost;
use crate::machine::{flash, ram};
use crate::tell::tell;

/// Virtual CPUs that KVM creates, in some milliseconds, before one more thread for it pays.
const WORTH_A_THREAD: usize = 16;

/// A virtual machine in the kernel that is being made.
pub struct Begun(Result<Underway>);

struct Underway {
    kvm: Arc<Kvm>,
    quirks: Arc<HostQuirks>,
    topology: Topology,
    first: FirstCpu,
    vm: Arc<VmFd>,
}

/// Begins to make a virtual machine. What prevents it is told by [`Furnished::prepare`], after what is wrong with back ends
/// and images.
#[must_use]
pub fn begin(config: &MachineConfig) -> Begun {
    Begun(Underway::new(config))
}

impl Underway {
    fn new(config: &MachineConfig) -> Result<Self> {
        if config.platform.kernel_irqchip == KernelIrqchip::Off {
            bail!(
                "-accel kernel-irqchip=off: natoma has no local APICs of its own: use kernel-irqchip=split, where all other \
                 interrupt controllers and the PIT are outside the kernel"
            );
        }
        let kvm = Arc::new(open::open().context("-accel kvm")?);
        let topology = Topology::new(&config.smp)?;
        let limit = kvm.get_max_vcpus();
        if config.smp.max_cpus as usize > limit {
            bail!("-smp {}: this host's KVM runs at most {limit} CPUs in one machine", config.smp.max_cpus);
        }
        let quirks = Arc::new(HostQuirks::detect(&kvm).context("can't look at the host")?);
        // The thread is there by the time that the kernel has made the virtual machine.
        let first = FirstCpu::begin(config, &quirks, topology)?;
        let vm = vm::create(&kvm, &quirks).context("-accel kvm")?;
        first.prepare(Arc::clone(&vm));
        Ok(Self { kvm, quirks, topology, first, vm })
    }
}

/// The kernel hears doorbells, and keeps writes.
struct KernelDoorbells {
    vm: Arc<VmFd>,
    posted: Arc<PostedWrites>,
}

impl DoorbellHost for KernelDoorbells {
    fn connect(&self, bell: &Doorbell, event: &EventFd) -> io::Result<()> {
        doorbell::connect(&self.vm, bell, event)
    }

    fn disconnect(&self, bell: &Doorbell, event: &EventFd) -> io::Result<()> {
        doorbell::disconnect(&self.vm, bell, event)
    }

    fn keep_writes(&self, ports: Range<u16>) -> io::Result<()> {
        self.posted.keep(ports)
    }

    fn hear_writes(&self, ports: Range<u16>) -> io::Result<()> {
        self.posted.hear(ports)
    }
}

/// A virtual machine in the kernel that has no board yet.
pub struct Prepared {
    kvm: Arc<Kvm>,
    quirks: Arc<HostQuirks>,
    topology: Topology,
    image: FirstImage,
    vm: Arc<VmFd>,
    irqchip: Irqchip,
    first: FirstCpu,
    posted: Arc<PostedWrites>,
}

impl Begun {
    /// Gives the virtual machine memory, with what is in it from the start. What prevents it is told by
    /// [`Furnished::prepare`].
    #[must_use]
    pub fn furnish(self, config: &MachineConfig, drives: &dyn Drives) -> Furnished {
        Furnished(self.try_to_furnish(config, drives))
    }

    fn try_to_furnish(self, config: &MachineConfig, drives: &dyn Drives) -> Result<Underway> {
        let flash = flash::open(config, drives)?;
        let image = FirstImage::open(config, &flash)?;
        let underway = self.0?;
        let Underway { kvm, quirks, .. } = &underway;
        let native = Native::default();
        let amd = GuestCpu::will_be_amd(&config.cpu, &native).context("-cpu")?;
        let layout = MemoryLayout::new(&rules(config, amd)).context("-m")?;
        let ram = match ram::map(&config.memory.ram, &layout) {
            Ok(ram) => ram,
            Err(error) => {
                // Memory that the guest could not address is the better reason, should the host not have that much anyway.
                let host = HostCpu::detect(kvm, native, config.platform.kernel_irqchip, quirks)?;
                if let Ok(cpu) = GuestCpu::new(&config.cpu, &host) {
                    layout.narrowed(cpu.physical_bits() as u8).context("-m")?;
                }
                return Err(error.into());
            }
        };
        underway.first.furnish(Memory { layout, ram, image, flash });
        underway.first.introduce(HostCpu::detect(kvm, native, config.platform.kernel_irqchip, quirks)?);
        Ok(underway)
    }
}

/// A virtual machine in the kernel that has its memory and is being given chips and a processor.
pub struct Furnished(Result<Underway>);

impl Furnished {
    /// Waits for the chips.
    ///
    /// # Errors
    /// The host can't provide what the configuration asks for.
    pub fn prepare(self) -> Result<(Prepared, Ground)> {
        let Underway { kvm, quirks, topology, first, vm } = self.0?;
        let Made { slots, shadow, irqchip, irqs, chips, memory } = first.made()?;
        let Memory { layout, ram, image, flash } = memory;
        let reserved = E820Entry::new(KVM_RESERVED.start, KVM_RESERVED.end - KVM_RESERVED.start, E820Kind::Reserved);
        let posted = Arc::new(PostedWrites::new(Arc::clone(&vm)));
        let ground = Ground {
            layout,
            reserved: vec![reserved],
            ram,
            slots,
            shadow,
            flash,
            clockwork: Clockwork::flowing(),
            irqs,
            chips,
            messages: Arc::new(KernelMessages::new(Arc::clone(&vm))),
            doorbells: Some(Arc::new(KernelDoorbells { vm: Arc::clone(&vm), posted: Arc::clone(&posted) })),
        };
        Ok((Prepared { kvm, quirks, topology, image, vm, irqchip, first, posted }, ground))
    }
}

/// A virtual machine in the kernel on whose board processors can be put.
pub struct Ready {
    prepared: Prepared,
    host: VcpuHost,
    cpu: Arc<GuestCpu>,
    host_cpu: Arc<Mutex<HostCpu>>,
}

impl Prepared {
    /// Puts the first processor on the board and fits the memory's layout to what it can address.
    ///
    /// # Errors
    /// The host can't provide the processor, or the processor can't address all of the memory.
    pub fn put_on(self, assembly: &mut Assembly, mailbox: &Arc<Mailbox>) -> Result<Ready> {
        let Assembly { board, layout, space, .. } = assembly;
        let host = VcpuHost {
            kvm: Arc::clone(&self.kvm),
            topology: self.topology,
            space: AddressSpace::clone(space),
            register_port: board.register_port().map(|(port, device)| PlacedPort { port, device }),
            posted: Arc::clone(&self.posted),
            events: Arc::clone(mailbox) as Arc<dyn VcpuEvents>,
            quirks: Arc::clone(&self.quirks),
            controllers: self.irqchip.board_controllers(),
            msrs: Arc::new(OnceLock::new()),
        };
        let Model { cpu, host: host_cpu } = self.first.show(host.clone())?;
        for warning in cpu.warnings().iter().chain(&cpu.topology_warning(&self.topology)) {
            tell(format_args!("warning: {warning}"));
        }
        *layout = layout.clone().narrowed(cpu.physical_bits() as u8).context("-m")?;
        Ok(Ready { prepared: self, host, cpu, host_cpu })
    }
}

impl Ready {
    /// What the processors say they are.
    #[must_use]
    pub fn identification(&self) -> Identification {
        let cpu = &self.cpu;
        Identification { signature: cpu.signature(), features: cpu.basic_features(), vmx: cpu.has_vmx() }
    }

    /// Adds the other processors, and puts the first to where it starts.
    ///
    /// # Errors
    /// The host refuses a processor, or what is booted can't be loaded.
    pub fn add_processors(
        self,
        config: &MachineConfig,
        assembly: &Assembly,
        mailbox: &Arc<Mailbox>,
    ) -> Result<KvmAccelerator> {
        let identification = self.identification();
        let Self { prepared: Prepared { topology, image, vm, irqchip, first, .. }, host, cpu, host_cpu } = self;
        let Assembly { board, layout, ram, shadow, smbios_files, .. } = assembly;
        process::make_room_for_files(config.smp.cpus);
        let mut vcpus = vec![first.into_thread()];
        for (index, fd) in (1..).zip(create_vcpus(&vm, &topology, 1..config.smp.cpus)?) {
            let (host, cpu) = (host.clone(), Arc::clone(&cpu));
            let make = move || Some(Vcpu::new(&host, index, fd, &cpu));
            let vcpu = VcpuHandle::spawn(index, config.identity.debug_threads, make);
            vcpus.push(vcpu.context("can't start the thread of a virtual CPU")?);
        }
        let parker = VcpuParker::new(&vcpus);
        mailbox.connect(move || parker.park_all());
        irqchip.connect(&vcpus);

        let mut boot = match image {
            FirstImage::Firmware(_) => BootSource::Firmware,
            FirstImage::Kernel(kernel) => {
                let bios = describe(config, board, layout, &topology, identification, smbios_files)?;
                let mtrrs = mtrrs(layout.low_ram.end, cpu.physical_bits() as u8);
                let mtrrs = mtrrs.into_iter().map(|(index, value)| Msr { index, value }).collect();
                BootSource::Kernel(Box::new(KernelStart { kernel, bios, mtrrs, ram: Arc::clone(ram) }))
            }
        };
        let start = boot.load(&vm, board, true)?;
        for vcpu in &vcpus {
            let start = start.clone();
            vcpu.post(move |vcpu| start.apply(vcpu).unwrap_or_else(|error| vcpu.give_up(error)));
        }
        shadow.follow_bridge()?;
        Ok(KvmAccelerator { vm, irqchip, vcpus, host_cpu, boot, kvmclock: None, pit: None })
    }
}

pub(super) fn create_vcpu(vm: &VmFd, topology: &Topology, index: u32) -> Result<VcpuFd> {
    vm.create_vcpu(topology.apic_id(index).into()).map_err(|errno| {
        let what = match errno.errno() {
            libc::EMFILE => {
                format!("-smp: no file is left for CPU {index}: raise the limit (ulimit -Hn) or use fewer CPUs")
            }
            _ => format!("-smp: KVM refuses to create CPU {index}"),
        };
        anyhow::Error::from(errno).context(what)
    })
}

/// Creates many virtual CPUs side by side, as KVM does most of it without a lock that they share.
fn create_vcpus(vm: &VmFd, topology: &Topology, indices: Range<u32>) -> Result<Vec<VcpuFd>> {
    let most_threads = indices.len().div_ceil(WORTH_A_THREAD);
    // To count the host's processors takes a while, too.
    let threads = if most_threads < 2 {
        most_threads
    } else {
        most_threads.min(thread::available_parallelism().map_or(1, NonZero::get))
    };
    if threads < 2 {
        return indices.map(|index| create_vcpu(vm, topology, index)).collect();
    }
    let indices: Vec<_> = indices.collect();
    let shares = indices.chunks(indices.len().div_ceil(threads));
    thread::scope(|scope| {
        let create = |share: &[u32]| share.iter().map(|index| create_vcpu(vm, topology, *index)).collect::<Vec<_>>();
        let start = |share| thread::Builder::new().spawn_scoped(scope, move || create(share));
        let workers = shares.map(start).collect::<Result<Vec<_>, _>>().context("can't start a thread")?;
        let created = workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        created.collect()
    })
}

/// An NMI of the board arrives at LINT1 of each local APIC.
fn inject_nmi(vcpu: &VcpuFd) -> Result<()> {
    const LVT_LINT1: usize = 0x360;
    const MASKED: u32 = 1 << 16;
    const DELIVERY_MODE: u32 = 7 << 8;
    const NMI: u32 = 4 << 8;
    let lapic = vcpu.get_lapic().context("can't read a local APIC")?;
    let lint1 = (0..4).fold(0, |lint1, byte| lint1 | u32::from(lapic.regs[LVT_LINT1 + byte] as u8) << (8 * byte));
    if lint1 & MASKED == 0 && lint1 & DELIVERY_MODE == NMI {
        vcpu.nmi().context("KVM refuses a non-maskable interrupt")?;
    }
    Ok(())
}

/// The processors of a complete machine.
pub struct KvmAccelerator {
    vm: Arc<VmFd>,
    irqchip: Irqchip,
    vcpus: Vec<VcpuHandle>,
    host_cpu: Arc<Mutex<HostCpu>>,
    boot: BootSource,
    /// The guest's paravirtual clock while the machine is stopped.
    kvmclock: Option<kvm_clock_data>,
    /// The kernel's PIT while the machine is stopped.
    pit: Option<StoppedPit>,
}

impl Drop for KvmAccelerator {
    fn drop(&mut self) {
        self.vcpus.iter().for_each(VcpuHandle::end);
    }
}

impl Accelerator for KvmAccelerator {
    fn wait_set_up(&self) {
        for vcpu in &self.vcpus {
            // Jobs are done in their order. A thread that is gone has nothing more to tell.
            let _ = vcpu.with(|_| ());
        }
    }

    fn threads(&self) -> Vec<VcpuThread> {
        self.vcpus.iter().map(VcpuHandle::thread).collect()
    }

    fn park(&self) {
        self.vcpus.iter().for_each(VcpuHandle::park);
        self.vcpus.iter().for_each(VcpuHandle::wait_parked);
    }

    fn run(&self) {
        self.vcpus.iter().for_each(VcpuHandle::run);
    }

    fn inject_nmi(&self) -> Result<()> {
        for vcpu in &self.vcpus {
            vcpu.with(|vcpu| inject_nmi(vcpu.fd())).context("a virtual CPU is gone")??;
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result<()> {
        self.kvmclock = Some(self.vm.get_clock().context("can't read the guest's paravirtual clock")?);
        self.pit = match self.irqchip {
            Irqchip::Kernel(_) => StoppedPit::stop(&self.vm)?,
            Irqchip::Split(_) => None,
        };
        Ok(())
    }

    fn thaw(&mut self) -> Result<()> {
        if let Some(pit) = self.pit.take() {
            pit.go_on(&self.vm)?;
        }
        let Some(stopped) = self.kvmclock.take() else { return Ok(()) };
        let clock = kvm_clock_data { clock: stopped.clock, ..Default::default() };
        self.vm.set_clock(&clock).context("can't set the guest's paravirtual clock")?;
        for vcpu in &self.vcpus {
            // Tells the guest's soft-lockup watchdog about the pause. A vCPU whose clock is off refuses.
            let _ = vcpu.with(|vcpu| vcpu.fd().kvmclock_ctrl());
        }
        Ok(())
    }

    fn host_cpu(&self) -> Option<Arc<Mutex<HostCpu>>> {
        Some(Arc::clone(&self.host_cpu))
    }

    fn processors(&self) -> Option<Processors> {
        Some(Processors::new(self.vcpus.iter().filter_map(VcpuHandle::kicker).collect()))
    }

    fn kernel_interrupts(&self) -> Option<ReadInterrupts> {
        if let Irqchip::Split(_) = self.irqchip {
            return None;
        }
        let vm = Arc::clone(&self.vm);
        Some(Box::new(move || {
            let (pics, ioapic) = chips::registers(&vm)?;
            Ok(InterruptReport { pics, ioapic })
        }))
    }

    fn reset(&mut self, board: &Board) -> Result<()> {
        // A machine that is stopped has its PIT reset all the same.
        if let Some(pit) = self.pit.take() {
            pit.go_on(&self.vm)?;
        }
        self.irqchip.reset(&self.vm)?;
        let start = self.boot.load(&self.vm, board, false)?;
        for vcpu in &self.vcpus {
            let start = start.clone();
            let reset = move |vcpu: &mut Vcpu| -> Result<()> {
                vcpu.reset()?;
                start.apply(vcpu)
            };
            vcpu.with(reset).context("a virtual CPU is gone")??;
        }
        Ok(())
    }
}
