//! From a [`MachineConfig`] to a machine that is ready to run.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::iter;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use devices::base::{Clock, TimeSource, TimerQueue};

use super::boot::BootSource;
use super::clock::GuestClock;
use super::description::{Identification, describe};
use super::layout::{MemoryLayout, Rules};
use super::lifecycle::{Machine, Status};
use super::mailbox::Mailbox;
use super::pc::{Board, FindCharPort, Foundation};
use super::shadow::ShadowSlots;
use super::timers::QueueRunner;
use super::{cmos, ram, rtc_time};
use crate::boot::builtin::BUILTIN_GUEST;
use crate::boot::mtrr::mtrrs;
use crate::boot::{DirectBoot, Image};
use crate::config::{KernelIrqchip, MachineConfig};
use crate::kvm::address_space::AddressSpace;
use crate::kvm::chips::ChipState;
use crate::kvm::control::{self, VcpuHandle, VcpuParker};
use crate::kvm::cpuid::{GuestCpu, HostCpu, Topology};
use crate::kvm::irq::GsiSink;
use crate::kvm::memory::MemorySlots;
use crate::kvm::msr::Msr;
use crate::kvm::pit::KernelPit;
use crate::kvm::quirks::HostQuirks;
use crate::kvm::vcpu::{Vcpu, VcpuEvents, VcpuHost};
use crate::kvm::{open, vm};

/// Largest APIC id that needs no 32-bit destination ids; FFh is the broadcast.
const MAX_XAPIC_ID: u32 = 254;

/// Builds the machine, not running.
///
/// # Errors
/// The host can't provide what the configuration asks for.
pub fn build(config: &MachineConfig, mailbox: &Arc<Mailbox>, find: &mut FindCharPort<'_>) -> Result<Machine> {
    if config.platform.kernel_irqchip != KernelIrqchip::On {
        bail!(
            "-accel kernel-irqchip: interrupt controllers outside the kernel are not supported yet: use kernel-irqchip=on"
        );
    }
    let kernel = match &config.boot.kernel {
        Some(kernel) => {
            let initrd = config.boot.initrd.as_ref().map(OsStr::new);
            DirectBoot::open(kernel, initrd, config.boot.append.as_bytes(), config.memory.size())?
        }
        None => DirectBoot::new(Image::from_bytes("the built-in guest", BUILTIN_GUEST), config.boot.append.as_bytes())?,
    };
    let kvm = open::open().context("-accel kvm")?;
    let topology = Topology::new(&config.smp)?;
    let limit = kvm.get_max_vcpus();
    if config.smp.max_cpus as usize > limit {
        bail!("-smp {}: this host's KVM runs at most {limit} CPUs in one machine", config.smp.max_cpus);
    }
    let quirks = Arc::new(HostQuirks::detect(&kvm).context("can't look at the host")?);
    let mut host_cpu = HostCpu::detect(&kvm, config.platform.kernel_irqchip, &quirks)?;
    let rules = Rules {
        ram_size: config.memory.size(),
        max_ram_below_4g: config.platform.max_ram_below_4g,
        phys_bits: Rules::MOST_PHYS_BITS,
        amd: GuestCpu::will_be_amd(&config.cpu, &host_cpu).context("-cpu")?,
        pci_hole64_size: Rules::PCI_HOLE64_SIZE,
    };
    let layout = MemoryLayout::new(&rules).context("-m")?;
    let ram = ram::map(&config.memory.ram, &layout).context("-m")?;

    let vm = vm::create(&kvm, &quirks)?;
    let slots = Arc::new(MemorySlots::new(Arc::clone(&vm), Arc::clone(&ram)));
    let shadow = ShadowSlots::new(Arc::clone(&slots));
    shadow.map_ram(&layout)?;
    vm::add_chips(&vm, topology.apic_id_limit() > MAX_XAPIC_ID + 1)?;
    let chips = ChipState::capture(&vm)?;
    let create_vcpu =
        |index| vm.create_vcpu(topology.apic_id(index).into()).context("KVM refuses to create a virtual CPU");
    // What the host's processors can do shows only with the first virtual one.
    let first = create_vcpu(0)?;
    host_cpu.examine(&first)?;
    let cpu = GuestCpu::new(&config.cpu, &host_cpu).context("-cpu")?;
    for warning in cpu.warnings().iter().chain(&cpu.topology_warning(&topology)) {
        eprintln!("natoma: warning: {warning}");
    }

    let phys_bits = cpu.physical_bits() as u8;
    let layout = layout.narrowed(phys_bits).context("-m")?;
    let clock = Arc::new(GuestClock::new());
    let queue = TimerQueue::new(Clock::new(Arc::clone(&clock) as Arc<dyn TimeSource>));
    let (rtc_queue, epoch, rtc_is_own) = rtc_time::source(&config.rtc, &queue);
    let foundation = Foundation {
        irqs: Arc::new(GsiSink::new(Arc::clone(&vm))),
        shadow: Box::new(shadow.clone()),
        system: Arc::clone(mailbox) as _,
        pit: Box::new(KernelPit::new(Arc::clone(&vm))),
        queue: queue.clone(),
        rtc: (rtc_queue.clone(), epoch),
        cmos: cmos::Inputs { layout: &layout, cpus: config.smp.cpus, mouse: config.platform.i8042 },
    };
    let board = Board::new(foundation, config, find)?;
    let rtc_timers = match rtc_is_own {
        true => Some(QueueRunner::new(rtc_queue, false).context("can't make a timer")?),
        false => None,
    };
    let timers = Arc::new(Mutex::new(QueueRunner::new(queue, true).context("can't make a timer")?));

    let space = AddressSpace { ports: Arc::clone(&board.ports), devices: Arc::clone(&board.memory), slots };
    control::install_kick_handler().context("can't install the signal handler of the virtual CPUs")?;
    let events = Arc::clone(mailbox) as Arc<dyn VcpuEvents>;
    let host = VcpuHost { kvm: &kvm, cpu: &cpu, topology: &topology, space, events, quirks, msrs: OnceCell::new() };
    let mut vcpus = Vec::new();
    let others = (1..config.smp.cpus).map(&create_vcpu);
    for (index, fd) in (0..).zip(iter::once(Ok(first)).chain(others)) {
        let vcpu = Vcpu::new(&host, index, fd?)?;
        vcpus.push(VcpuHandle::spawn(vcpu).context("can't start the thread of a virtual CPU")?);
    }
    mailbox.connect(VcpuParker::new(&vcpus));

    let identification = Identification { signature: cpu.signature(), features: cpu.basic_features() };
    let bios = describe(config, &board, &layout, &topology, identification)?;
    let mtrrs = mtrrs(layout.low_ram.end, phys_bits).into_iter().map(|(index, value)| Msr { index, value }).collect();
    let mut boot = BootSource::new(kernel, bios, mtrrs, ram);
    boot.start(&vm, &board, &vcpus, true)?;
    shadow.follow_bridge()?;

    Ok(Machine {
        vm,
        chips,
        board,
        vcpus,
        clock,
        timers,
        rtc_timers: rtc_timers.map(|timers| Arc::new(Mutex::new(timers))),
        boot,
        actions: config.run.actions,
        status: Status::Prelaunch,
        kvmclock: None,
    })
}
