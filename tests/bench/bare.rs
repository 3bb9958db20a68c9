//! The reference: what a guest costs when nobody is there to serve it.
//!
//! A process of its own makes KVM calls, in natoma's order and on one thread, and then does nothing but KVM_RUN. What natoma
//! takes longer is natoma's. There are two of it: one makes the calls that natoma makes, the other only those without which
//! this guest can't run as a PC.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use kvm_bindings::{
    CpuId, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_MAX_CPUID_ENTRIES,
    KVM_PIT_SPEAKER_DUMMY, kvm_irqchip, kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use natoma::boot::e820::{E820Entry, E820Kind};
use natoma::boot::{DirectBoot, Platform};
use natoma::kvm::msr::{self, Msr, StateMsrs};
use natoma::kvm::quirks::HostQuirks;
use natoma::kvm::reset_state::ResetState;
use natoma::kvm::{irq, open, vm};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::monitor::RAM_MIB;
use crate::rom::MARK;

/// The argument by which this program becomes the reference.
pub const ARGUMENT: &str = "--bare";

const SAME_CALLS: &str = "same-calls";
const FEWEST_CALLS: &str = "fewest-calls";
const GUEST: &str = "guest";

/// Where a PC has RAM.
const RAM: u64 = RAM_MIB << 20;
const SLOTS: [(u64, u64); 3] = [(0, 0xa_0000), (0xc_0000, 0x4_0000), (0x10_0000, RAM - 0x10_0000)];
/// The pages that KVM takes for itself on some processors.
const IDENTITY_MAP: u64 = 0xfeff_c000;
const TSS: usize = 0xfeff_d000;

/// Where the code of the guest goes that has one instruction.
const CODE: u64 = 0x1000;

/// As many entries as the CPUID tables have by which natoma finds out what KVM makes of them.
const PROBED_LEAVES: usize = 12;
/// As many MTRRs as a kernel finds set.
const MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRRS: usize = 14;

/// The transmitter of the first serial port, and its line control and line status registers.
const THR: u16 = 0x3f8;
const LCR: u16 = THR + 3;
const LSR: u16 = THR + 5;
const LCR_DLAB: u8 = 0x80;
const LSR_IDLE: u8 = 0x60;

/// Has `command` run a guest whose first instruction writes a byte to standard output, after the calls that natoma makes.
pub fn first_instruction(mut command: Command) -> Command {
    command.args([ARGUMENT, SAME_CALLS]);
    command
}

/// As [`first_instruction`], after as few calls as possible.
pub fn fewest_calls(mut command: Command) -> Command {
    command.args([ARGUMENT, FEWEST_CALLS]);
    command
}

/// Has `command` run the guest at `path`, which gets a console, or half of one, and no other device.
pub fn guest(mut command: Command, path: &str, append: &str) -> Command {
    command.args([ARGUMENT, GUEST, path, append]);
    command
}

/// Does what the arguments say; they are those of one of the functions above.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<bool> {
    let mode = arguments.next().unwrap_or_default();
    if mode == SAME_CALLS {
        run_first_instruction(same_calls()?)?;
    } else if mode == FEWEST_CALLS {
        run_first_instruction(Machine::new()?)?;
    } else if mode == GUEST {
        let (path, append) = arguments.next().zip(arguments.next()).context("a guest has a file and a command line")?;
        run_guest(Path::new(&path), &append)?;
    } else {
        bail!("{ARGUMENT} {} is for this program to say to itself", mode.display());
    }
    Ok(true)
}

/// What must not go before the vCPU does.
struct Machine {
    vcpu: VcpuFd,
    memory: GuestMemoryMmap,
    _vm: Arc<VmFd>,
}

impl Machine {
    fn new() -> Result<Self> {
        let kvm = Kvm::new()?;
        let vm = kvm.create_vm()?;
        vm.set_identity_map_address(IDENTITY_MAP)?;
        vm.set_tss_address(TSS)?;
        // First, as natoma does: once there are chips it takes milliseconds longer.
        let memory = give_memory(&vm)?;
        vm.create_irq_chip()?;
        vm.create_pit2(kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() })?;
        irq::install_routes(&vm)?;
        let vcpu = vm.create_vcpu(0)?;
        vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
        Ok(Self { vcpu, memory, _vm: Arc::new(vm) })
    }
}

fn give_memory(vm: &VmFd) -> Result<GuestMemoryMmap> {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)])?;
    for (slot, (guest_phys_addr, memory_size)) in (0..).zip(SLOTS) {
        let userspace_addr = memory.get_host_address(GuestAddress(guest_phys_addr))? as u64;
        let region = kvm_userspace_memory_region { slot, flags: 0, guest_phys_addr, memory_size, userspace_addr };
        // SAFETY: the memory is unmapped after the vCPU, the last to hold the VM, is gone.
        unsafe { vm.set_user_memory_region(region)? };
    }
    Ok(memory)
}

/// What natoma asks of KVM before the first instruction; the parts of natoma that it uses do nothing but call KVM.
fn same_calls() -> Result<Machine> {
    let kvm = open::open()?;
    kvm.get_max_vcpus();
    let quirks = HostQuirks::detect(&kvm)?;
    let vm = vm::create(&kvm, &quirks)?;
    let memory = give_memory(&vm)?;
    let offered = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    vm::add_chips(&vm, false)?;
    for chip_id in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC] {
        vm.get_irqchip(&mut kvm_irqchip { chip_id, ..Default::default() })?;
    }
    vm.get_pit2()?;
    let vcpu = vm.create_vcpu(0)?;
    vcpu.get_tsc_khz()?;
    if quirks.is_suspect() {
        let probe = CpuId::from_entries(&offered.as_slice()[..PROBED_LEAVES.min(offered.as_slice().len())])?;
        for _ in 0..2 {
            vcpu.set_cpuid2(&probe)?;
            vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES)?;
        }
    }
    vcpu.set_cpuid2(&offered)?;
    StateMsrs::detect(&kvm, &vcpu)?;
    ResetState::capture(&kvm, &vcpu)?;
    for chip_id in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_IOAPIC] {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        vm.get_irqchip(&mut chip)?;
        vm.set_irqchip(&chip)?;
    }
    msr::write(&vcpu, &[Msr { index: MTRR_DEF_TYPE, value: 0 }; MTRRS])?;
    vcpu.set_lapic(&vcpu.get_lapic()?)?;
    Ok(Machine { vcpu, memory, _vm: vm })
}

fn run_first_instruction(machine: Machine) -> Result<()> {
    let Machine { mut vcpu, memory, _vm } = machine;
    // out MARK, al; hlt
    memory.write_slice(&[0xe6, MARK as u8, 0xf4], GuestAddress(CODE))?;
    let mut sregs = vcpu.get_sregs()?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs)?;
    let mut regs = vcpu.get_regs()?;
    (regs.rip, regs.rflags) = (CODE, 2);
    vcpu.set_regs(&regs)?;
    match vcpu.run()? {
        VcpuExit::IoOut(MARK, byte) => io::stdout().write_all(byte)?,
        other => bail!("the first exit is {other:?}"),
    }
    io::stdout().flush()?;
    Ok(())
}

fn run_guest(path: &Path, append: &OsStr) -> Result<()> {
    let Machine { mut vcpu, memory, _vm } = Machine::new()?;
    let e820 = [E820Entry::new(0, 0x9_fc00, E820Kind::Ram), E820Entry::new(0x10_0000, RAM - 0x10_0000, E820Kind::Ram)];
    let platform = Platform { e820: &e820, reserved: &[], rsdp: None, rng_seed: None, ram_is_clear: true };
    let mut boot = DirectBoot::open(path, None, append.as_encoded_bytes(), RAM)?;
    let entry = boot.load(&memory, &platform)?;
    vcpu.set_sregs(&entry.sregs(vcpu.get_sregs()?))?;
    vcpu.set_regs(&entry.regs())?;

    let (mut output, mut divisor_latch) = (io::stdout().lock(), false);
    loop {
        match vcpu.run()? {
            VcpuExit::IoOut(LCR, value) => divisor_latch = value.first().is_some_and(|value| value & LCR_DLAB != 0),
            // Line-buffered: nobody sees a line before it is complete.
            VcpuExit::IoOut(THR, text) if !divisor_latch => output.write_all(text)?,
            VcpuExit::IoOut(..) | VcpuExit::MmioWrite(..) => {}
            VcpuExit::IoIn(LSR, value) => value.fill(LSR_IDLE),
            VcpuExit::IoIn(_, value) | VcpuExit::MmioRead(_, value) => value.fill(0xff),
            other => bail!("the guest can't go on after {other:?}"),
        }
    }
}
