//! The registers of this machine's KVM.

use super::*;
use crate::config::{CpuConfig, KernelIrqchip, Smp};
use crate::kvm::cpuid::{GuestCpu, HostCpu};
use crate::kvm::quirks::HostQuirks;

/// A `qemu64` that has not run; `None`, said loudly, without `/dev/kvm`.
fn vcpu() -> Option<(Kvm, VcpuFd)> {
    if !std::path::Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: no /dev/kvm");
        return None;
    }
    let kvm = crate::kvm::open::open().unwrap();
    let quirks = HostQuirks::detect(&kvm).unwrap();
    let mut host = HostCpu::detect(&kvm, KernelIrqchip::On, &quirks).unwrap();
    let vcpu = crate::kvm::vm::create(&kvm, false, &quirks).unwrap().create_vcpu(0).unwrap();
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
