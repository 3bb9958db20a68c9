//! The processors in KVM, with the interrupt controllers and the PIT that are in the kernel.

use std::num::NonZero;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result, bail};
use devices::base::IrqSink;
use devices::chipset::i8254::LostTicks;
use kvm_bindings::kvm_clock_data;
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::split::SplitIrqchip;
use super::{Accelerator, Ground, rules};
use crate::boot::e820::{E820Entry, E820Kind};
use crate::boot::mtrr::mtrrs;
use crate::config::{KernelIrqchip, LostTickPolicy, MachineConfig, PlatformConfig};
use crate::host::{Backends, process};
use crate::kvm::address_space::AddressSpace;
use crate::kvm::chips::{self, ChipState};
use crate::kvm::control::{self, VcpuHandle, VcpuParker, VcpuThread};
use crate::kvm::cpuid::{GuestCpu, HostCpu, Native, Topology};
use crate::kvm::inspect::Processors;
use crate::kvm::irq::GsiSink;
use crate::kvm::memory::MemorySlots;
use crate::kvm::msr::Msr;
use crate::kvm::pit::{self, KernelPit, StoppedPit};
use crate::kvm::quirks::HostQuirks;
use crate::kvm::register_port::PlacedPort;
use crate::kvm::split::{BoardControllers, KernelMessages};
use crate::kvm::vcpu::{Vcpu, VcpuEvents, VcpuHost};
use crate::kvm::{open, vm};
use crate::machine::boot::{BootSource, FirstImage, KernelStart};
use crate::machine::build::Assembly;
use crate::machine::description::{Identification, describe};
use crate::machine::guest_time::Clockwork;
use crate::machine::interrupt_report::{InterruptReport, ReadInterrupts};
use crate::machine::layout::{KVM_RESERVED, MemoryLayout};
use crate::machine::mailbox::Mailbox;
use crate::machine::pc::Board;
use crate::machine::pc::chips::Chips;
use crate::machine::shadow::ShadowSlots;
use crate::machine::{flash, ram};
use crate::tell::tell;

/// Largest APIC id that needs no 32-bit destination ids; FFh is the broadcast.
const MAX_XAPIC_ID: u32 = 254;
/// Virtual CPUs that KVM creates, in some milliseconds, before one more thread for it pays.
const WORTH_A_THREAD: usize = 16;

/// A virtual machine in the kernel that has no board yet.
pub struct Prepared {
    image: FirstImage,
    kvm: Arc<Kvm>,
    quirks: Arc<HostQuirks>,
    topology: Topology,
    cpu: GuestCpu,
    vm: Arc<VmFd>,
    irqchip: Irqchip,
    first: VcpuFd,
}

/// Makes the virtual machine, its memory and chips, and the first of its processors.
///
/// # Errors
/// The host can't provide what the configuration asks for.
pub fn prepare(config: &MachineConfig, backends: &dyn Backends) -> Result<(Prepared, Ground)> {
    if config.platform.kernel_irqchip == KernelIrqchip::Off {
        bail!(
            "-accel kernel-irqchip=off: natoma has no local APICs of its own: use kernel-irqchip=split, where all other \
             interrupt controllers and the PIT are outside the kernel"
        );
    }
    let flash = flash::open(config, backends)?;
    let image = FirstImage::open(config, &flash)?;
    let kvm = Arc::new(open::open().context("-accel kvm")?);
    let topology = Topology::new(&config.smp)?;
    let limit = kvm.get_max_vcpus();
    if config.smp.max_cpus as usize > limit {
        bail!("-smp {}: this host's KVM runs at most {limit} CPUs in one machine", config.smp.max_cpus);
    }
    let quirks = Arc::new(HostQuirks::detect(&kvm).context("can't look at the host")?);
    let native = Native::default();
    let amd = GuestCpu::will_be_amd(&config.cpu, &native).context("-cpu")?;
    let layout = MemoryLayout::new(&rules(config, amd)).context("-m")?;

    let make = || -> Result<_> {
        let ram = ram::map(&config.memory.ram, &layout)?;
        let vm = vm::create(&kvm, &quirks)?;
        let slots = Arc::new(MemorySlots::new(Arc::clone(&vm), Arc::clone(&ram)));
        let shadow = ShadowSlots::new(Arc::clone(&slots));
        shadow.map_ram(&layout, image.firmware())?;
        flash.iter().try_for_each(|chip| chip.map(&slots))?;
        let wide_apic_ids = topology.apic_id_limit() > MAX_XAPIC_ID + 1;
        let chips = Irqchip::make(&vm, &config.platform, &quirks, image.firmware().is_some(), wide_apic_ids)?;
        let first = create_vcpu(&vm, &topology, 0)?;
        Ok((ram, vm, slots, shadow, chips, first))
    };
    // To ask KVM what processors it can make takes about as long as to make a machine for them.
    let (mut host_cpu, made) = thread::scope(|scope| -> Result<_> {
        let detect = || HostCpu::detect(&kvm, native, config.platform.kernel_irqchip, &quirks);
        let host_cpu = thread::Builder::new().spawn_scoped(scope, detect).context("can't start a thread")?;
        let made = make();
        Ok((host_cpu.join().unwrap_or_else(|panic| resume_unwind(panic))?, made))
    })?;
    let (ram, vm, slots, shadow, (irqchip, irqs, chips), first) = match made {
        Ok(made) => made,
        Err(error) => {
            // Memory that the guest could not address is the better reason, should the host not have that much anyway.
            if let Ok(cpu) = GuestCpu::new(&config.cpu, &host_cpu) {
                layout.narrowed(cpu.physical_bits() as u8).context("-m")?;
            }
            return Err(error);
        }
    };
    // What the host's processors can do shows only with the first virtual one.
    host_cpu.examine(&first)?;
    let cpu = GuestCpu::new(&config.cpu, &host_cpu).context("-cpu")?;
    for warning in cpu.warnings().iter().chain(&cpu.topology_warning(&topology)) {
        tell(format_args!("warning: {warning}"));
    }
    let layout = layout.narrowed(cpu.physical_bits() as u8).context("-m")?;
    let ground = Ground {
        layout,
        identification: Identification {
            signature: cpu.signature(),
            features: cpu.basic_features(),
            vmx: cpu.has_vmx(),
        },
        reserved: vec![E820Entry::new(KVM_RESERVED.start, KVM_RESERVED.end - KVM_RESERVED.start, E820Kind::Reserved)],
        ram,
        slots,
        shadow,
        flash,
        clockwork: Clockwork::flowing(),
        irqs,
        chips,
        messages: Arc::new(KernelMessages::new(Arc::clone(&vm))),
    };
    Ok((Prepared { image, kvm, quirks, topology, cpu, vm, irqchip, first }, ground))
}

impl Prepared {
    /// Adds all processors, and puts the first to where it starts.
    ///
    /// # Errors
    /// The host refuses a processor, or what is booted can't be loaded.
    pub fn add_processors(
        self,
        config: &MachineConfig,
        assembly: &Assembly,
        mailbox: &Arc<Mailbox>,
    ) -> Result<KvmAccelerator> {
        let Self { image, kvm, quirks, topology, cpu, vm, irqchip, first } = self;
        let Assembly { board, layout, ram, shadow, space, identification, .. } = assembly;
        control::install_kick_handler().context("can't install the signal handler of the virtual CPUs")?;
        let host = VcpuHost {
            kvm: &kvm,
            topology: &topology,
            space: AddressSpace::clone(space),
            register_port: board.register_port().map(|(port, device)| PlacedPort { port, device }),
            events: Arc::clone(mailbox) as Arc<dyn VcpuEvents>,
            quirks,
            controllers: irqchip.board_controllers(),
            msrs: Arc::new(OnceLock::new()),
        };
        let cpu = Arc::new(cpu);
        process::make_room_for_files(config.smp.cpus);
        let mut fds = vec![first];
        fds.extend(create_vcpus(&vm, &topology, 1..config.smp.cpus)?);
        let mut vcpus = Vec::with_capacity(fds.len());
        for (index, fd) in (0..).zip(fds) {
            let cpu = Arc::clone(&cpu);
            let set_up = move |vcpu: &mut Vcpu| vcpu.set_up(&cpu, &topology);
            let vcpu = VcpuHandle::spawn(Vcpu::new(&host, index, fd), config.identity.debug_threads, set_up);
            vcpus.push(vcpu.context("can't start the thread of a virtual CPU")?);
        }
        mailbox.connect(VcpuParker::new(&vcpus));
        irqchip.connect(&vcpus);

        let mut boot = match image {
            FirstImage::Firmware(_) => BootSource::Firmware,
            FirstImage::Kernel(kernel) => {
                let bios = describe(config, board, layout, &topology, *identification)?;
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
        Ok(KvmAccelerator { vm, irqchip, vcpus, boot, kvmclock: None, pit: None })
    }
}

fn create_vcpu(vm: &VmFd, topology: &Topology, index: u32) -> Result<VcpuFd> {
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
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(indices.len().div_ceil(WORTH_A_THREAD));
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

/// Has the kernel's PIT lose ticks. If nobody `asked` for it, a guest can do without.
fn discard_lost_ticks(vm: &VmFd, asked: bool) -> Result<()> {
    match pit::discard_lost_ticks(vm) {
        Err(error) if asked => {
            Err(error).context("-global kvm-pit.lost_tick_policy=discard: KVM refuses; use lost_tick_policy=delay")
        }
        Err(error) => {
            log::info!("the interval timer delivers lost ticks later, as KVM can't lose them: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Where the interrupt controllers are.
enum Irqchip {
    /// In the kernel, with what they are reset to.
    Kernel(ChipState),
    /// On the board, but for the local APICs.
    Split(Arc<SplitIrqchip>),
}

impl Irqchip {
    /// Makes what is in the kernel. Returns also where interrupts go, and what the board has.
    fn make(
        vm: &Arc<VmFd>,
        config: &PlatformConfig,
        quirks: &HostQuirks,
        has_firmware: bool,
        wide_apic_ids: bool,
    ) -> Result<(Self, Arc<dyn IrqSink>, Chips)> {
        // Where firmware takes seconds, the ticks lost by then would come at once and keep other interrupts waiting.
        // To change that takes KVM milliseconds, which a kernel without firmware need not wait for.
        let lost_ticks = match (config.pit_lost_ticks, quirks.is_suspect() && has_firmware) {
            (Some(LostTickPolicy::Discard), _) | (None, true) => LostTicks::Discard,
            (Some(LostTickPolicy::Delay | LostTickPolicy::Slew), _) | (None, false) => LostTicks::Delay,
        };
        if config.kernel_irqchip == KernelIrqchip::On {
            vm::add_chips(vm, wide_apic_ids)?;
            if lost_ticks == LostTicks::Discard {
                discard_lost_ticks(vm, config.pit_lost_ticks.is_some())?;
            }
            let (irqs, pit) = (GsiSink::new(Arc::clone(vm)), KernelPit::new(Arc::clone(vm)));
            return Ok((Self::Kernel(ChipState::capture(vm)?), Arc::new(irqs), Chips::Kernel(Box::new(pit))));
        }
        vm::add_local_apics(vm, wide_apic_ids).context("-accel kernel-irqchip=split")?;
        let split = SplitIrqchip::new(vm);
        let controllers = split.controllers.clone();
        let irqs = Arc::new(controllers.clone());
        Ok((Self::Split(Arc::new(split)), irqs, Chips::Board(controllers, lost_ticks)))
    }

    /// What processors see of controllers on the board.
    fn board_controllers(&self) -> Option<Arc<dyn BoardControllers>> {
        match self {
            Self::Kernel(_) => None,
            Self::Split(split) => Some(Arc::clone(split) as _),
        }
    }

    /// Connects the first processor to the 8259.
    fn connect(&self, vcpus: &[VcpuHandle]) {
        if let (Self::Split(split), Some(first)) = (self, vcpus.first()) {
            first.kicker().into_iter().for_each(|kicker| split.intr.connect(kicker));
        }
    }

    /// Resets what is in the kernel. Comes after the devices have lowered their lines.
    fn reset(&self, vm: &VmFd) -> Result<()> {
        match self {
            Self::Kernel(chips) => Ok(chips.restore(vm)?),
            Self::Split(_) => Ok(()),
        }
    }
}

/// The processors of a complete machine.
pub struct KvmAccelerator {
    vm: Arc<VmFd>,
    irqchip: Irqchip,
    vcpus: Vec<VcpuHandle>,
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

#[cfg(test)]
mod tests {
    use kvm_ioctls::Kvm;

    use super::*;

    #[test]
    fn lost_ticks_are_an_error_only_for_who_asked() {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("SKIPPED: there is no KVM");
            return;
        };
        // KVM refuses as there is no timer.
        let vm = kvm.create_vm().unwrap();
        assert!(discard_lost_ticks(&vm, false).is_ok());
        let error = discard_lost_ticks(&vm, true).unwrap_err();
        assert!(format!("{error:#}").starts_with("-global kvm-pit.lost_tick_policy=discard"), "{error:#}");
    }
}
