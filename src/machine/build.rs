//! From a [`MachineConfig`] to a machine that is ready to run.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use devices::base::{Clock, TimeSource, TimerQueue};
use kvm_bindings::KVM_MAX_CPUID_ENTRIES;

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
use crate::kvm::control::{self, VcpuHandle, VcpuParker};
use crate::kvm::cpuid::topology::Topology;
use crate::kvm::irq::GsiSink;
use crate::kvm::memory::MemorySlots;
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
    let rules = Rules {
        ram_size: config.memory.size(),
        max_ram_below_4g: config.platform.max_ram_below_4g,
        phys_bits: 40,
        amd: true,
        pci_hole64_size: Rules::PCI_HOLE64_SIZE,
    };
    let layout = MemoryLayout::new(&rules).context("-m")?;
    let vm = vm::create(&kvm, topology.apic_id_limit() > MAX_XAPIC_ID + 1)?;
    let quirks = Arc::new(HostQuirks::detect(&kvm).context("can't look at the host")?);
    quirks.prepare_vm(&vm).context("KVM can't be prepared for this host")?;
    let ram = ram::map(&config.memory.ram, &layout).context("-m")?;

    let slots = Arc::new(MemorySlots::new(Arc::clone(&vm), Arc::clone(&ram)));
    let shadow = ShadowSlots::new(Arc::clone(&slots));
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
    let mut cpuid =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context("KVM does not say which CPU features it supports")?;
    let events = Arc::clone(mailbox) as Arc<dyn VcpuEvents>;
    let host = VcpuHost { kvm: &kvm, vm: &vm, space, events, quirks };
    let mut vcpus = Vec::new();
    for index in 0..config.smp.cpus {
        let apic_id = topology.apic_id(index);
        for entry in cpuid.as_mut_slice() {
            if entry.function == 1 {
                entry.ebx = entry.ebx & 0xffff | 0x800 | config.smp.max_cpus << 16 | apic_id << 24;
                entry.ecx |= 1 << 31;
            }
        }
        let vcpu = Vcpu::new(&host, index, apic_id, &cpuid)?;
        vcpus.push(VcpuHandle::spawn(vcpu).context("can't start the thread of a virtual CPU")?);
    }
    mailbox.connect(VcpuParker::new(&vcpus));

    let leaf_1 = cpuid.as_slice().iter().find(|entry| entry.function == 1);
    let identification = leaf_1.map_or(Identification { signature: 0, features: 0 }, |leaf| Identification {
        signature: leaf.eax,
        features: leaf.edx,
    });
    let bios = describe(config, &board, &layout, &topology, identification)?;
    let mut boot = BootSource::new(kernel, bios, mtrrs(layout.low_ram.end, rules.phys_bits), ram);
    boot.start(&vm, &board, &vcpus, true)?;
    shadow.map_ram(&layout)?;

    Ok(Machine {
        vm,
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
