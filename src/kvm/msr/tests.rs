//! The registers of this machine's KVM.

use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::VcpuExit;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::*;
use crate::config::{CpuConfig, KernelIrqchip, Smp};
use crate::kvm::cpuid::{GuestCpu, HostCpu, Native};
use crate::kvm::quirks::HostQuirks;

/// A `qemu64` that has not run; `None`, said loudly, without `/dev/kvm`.
fn vcpu() -> Option<(Kvm, VcpuFd)> {
    if !std::path::Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: no /dev/kvm");
        return None;
    }
    let kvm = crate::kvm::open::open().unwrap();
    let quirks = HostQuirks::detect(&kvm).unwrap();
    let mut host = HostCpu::detect(&kvm, Native::default(), KernelIrqchip::On, &quirks).unwrap();
    let vm = crate::kvm::vm::create(&kvm, &quirks).unwrap();
    crate::kvm::vm::add_chips(&vm, false).unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    host.examine(&vcpu).unwrap();
    let topology = Topology::new(&Smp::default()).unwrap();
    GuestCpu::new(&CpuConfig::default(), &host).unwrap().set_up(&vcpu, &topology, 0).unwrap();
    Some((kvm, vcpu))
}

#[test]
fn reset_values_are_those_of_qemu() {
    let Some((kvm, vcpu)) = vcpu() else { return };
    let state = StateMsrs::detect(&kvm, &vcpu).unwrap();
    let at_reset =
        |index| state.at_reset.iter().find(|register| register.index == index).map(|register| register.value);
    // Captured from QEMU 7.2 at KVM_SET_MSRS after a reset: SYSENTER, STAR, LSTAR, the kernel's GS base, MTRRs, machine
    // check status are zero.
    let zero =
        [0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0xc000_0102, 0x200, 0x20f, 0x250, 0x259, 0x26f, 0x2ff, 0x17a];
    for index in zero {
        assert_eq!(at_reset(index), Some(0), "{index:#x}");
    }
    for (index, value) in [(TSC, 0), (0x277, 0x0007_0406_0007_0406), (0x1a0, 1), (0x400, u64::MAX), (0x424, u64::MAX)] {
        assert_eq!(at_reset(index), Some(value), "{index:#x}");
    }
    // Ten banks of four registers.
    assert_eq!(at_reset(0x428), None);
    assert_eq!(state.indices().filter(|index| (0x400..0x500).contains(index)).count(), 40);
}

#[test]
fn state_survives_save_reset_and_load() {
    let Some((kvm, vcpu)) = vcpu() else { return };
    let state = StateMsrs::detect(&kvm, &vcpu).unwrap();
    let lstar = Msr { index: 0xc000_0082, value: 0xffff_ffff_8100_0000 };
    let mtrr = Msr { index: 0x2ff, value: 0xc06 };
    write(&vcpu, &[lstar, mtrr]).unwrap();
    let saved = state.save(&vcpu).unwrap();
    assert!(saved.contains(&lstar) && saved.contains(&mtrr));

    state.reset(&vcpu).unwrap();
    // The TSC runs, whatever it was set to.
    let still =
        |registers: Vec<Msr>| registers.into_iter().filter(|register| register.index != TSC).collect::<Vec<_>>();
    assert_eq!(still(state.save(&vcpu).unwrap()), still(state.at_reset.clone()));

    state.load(&vcpu, &saved).unwrap();
    assert_eq!(still(state.save(&vcpu).unwrap()), still(saved));
}

#[test]
fn strangers_are_refused() {
    let Some((kvm, vcpu)) = vcpu() else { return };
    let state = StateMsrs::detect(&kvm, &vcpu).unwrap();
    let stranger = Msr { index: 0x8b, value: 1 };
    assert!(matches!(state.load(&vcpu, &[stranger]), Err(MsrError::NotState(0x8b))));
    let nowhere = Msr { index: 0x8000_0000, value: 0xff };
    let message = write(&vcpu, &[nowhere]).unwrap_err().to_string();
    assert!(message.contains("0x80000000") && message.contains("0xff"), "{message}");
}

#[test]
fn core_thread_count_is_that_of_the_socket() {
    let smp = Smp { cpus: 24, max_cpus: 24, sockets: 2, dies: 2, cores: 3, threads: 2 };
    assert_eq!(core_thread_count(&Topology::new(&smp).unwrap()), 6 << 16 | 12);
}

#[test]
fn reads_of_core_thread_count_come_to_user_space() {
    if vcpu().is_none() {
        return;
    }
    let kvm = crate::kvm::open::open().unwrap();
    let vm = kvm.create_vm().unwrap();
    filter(&vm, &[]).unwrap();
    if !vm.check_extension(Cap::X86MsrFilter) {
        eprintln!("SKIPPED: KVM can't filter MSRs");
        return;
    }
    // mov ecx, 35h; rdmsr; hlt, in real mode at 0.
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    memory.write_slice(&[0x66, 0xb9, 0x35, 0, 0, 0, 0x0f, 0x32, 0xf4], GuestAddress(0)).unwrap();
    let region = kvm_userspace_memory_region {
        memory_size: 0x1000,
        userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
        ..Default::default()
    };
    // SAFETY: the vCPU, the last user of the mapping, is declared after it and so dropped before it.
    unsafe { vm.set_user_memory_region(region) }.unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    let mut sregs = vcpu.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs).unwrap();
    vcpu.set_regs(&kvm_regs { rflags: 2, ..Default::default() }).unwrap();

    match vcpu.run().unwrap() {
        VcpuExit::X86Rdmsr(read) => {
            assert_eq!(read.index, CORE_THREAD_COUNT);
            *read.data = 0x0006_000c;
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(vcpu.run().unwrap(), VcpuExit::Hlt));
    let regs = vcpu.get_regs().unwrap();
    assert_eq!((regs.rax, regs.rdx), (0x0006_000c, 0));
}
