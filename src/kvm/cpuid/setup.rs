//! Making a virtual CPU of KVM the CPU that the guest is to have.

use kvm_bindings::{KVM_CAP_ENFORCE_PV_FEATURE_CPUID, KVMIO, kvm_enable_cap};
use kvm_ioctls::{Cap, Kvm, VcpuFd};
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref};
use vmm_sys_util::{ioctl_ior_nr, ioctl_iow_nr};

use super::features::{self, Place};
use super::guest::{GuestCpu, PARTS};
use super::host::UCODE_REV;
use super::topology::Topology;
use crate::kvm::msr::{self, Msr, MsrError};
use crate::kvm::vm::VmError;

ioctl_iow_nr!(KVM_X86_SETUP_MCE, KVMIO, 0x9c, u64);
ioctl_ior_nr!(KVM_X86_GET_MCE_CAP_SUPPORTED, KVMIO, 0x9d, u64);

/// Banks of machine checks that guests get, as QEMU gives them.
const MCE_BANKS: u64 = 10;
/// IA32_MCG_CAP: the number of banks, MCG_CTL exists, errors of software recovery are told.
const MCG_COUNT: u64 = 0xff;
const MCG_CTL_P: u64 = 1 << 8;
const MCG_SER_P: u64 = 1 << 24;

/// Processors before the P6 family have other machine checks.
const FIRST_FAMILY_WITH_BANKS: u32 = 6;

const MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1 << 0;
const MONITOR: u64 = 1 << 18;

/// What KVM refuses.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A call fails.
    #[error(transparent)]
    Kvm(#[from] VmError),
    /// A model-specific register does not take its value.
    #[error(transparent)]
    Msr(#[from] MsrError),
}

/// IA32_MCG_CAP for guests, or 0 if KVM has no machine checks.
pub(super) fn machine_check_capabilities(kvm: &Kvm) -> u64 {
    let banks = kvm.check_extension_int(Cap::Mce);
    let mut supported = 0u64;
    // SAFETY: the kernel writes 8 bytes to `supported`.
    let result = unsafe { ioctl_with_mut_ref(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED(), &mut supported) };
    match u64::try_from(banks) {
        Ok(banks) if banks != 0 && result == 0 => {
            supported & (MCG_CTL_P | MCG_SER_P) | banks.min(MCE_BANKS) & MCG_COUNT
        }
        _ => 0,
    }
}

impl GuestCpu {
    /// Gives virtual CPU number `index` its CPUID, its TSC frequency and what its model-specific registers say about it.
    /// Call it before the virtual CPU runs.
    ///
    /// # Errors
    /// KVM refuses a step.
    pub fn set_up(&self, vcpu: &VcpuFd, topology: &Topology, index: u32) -> Result<(), SetUpError> {
        vcpu.set_cpuid2(&self.cpuid(topology, index)).map_err(VmError::new("set the features of a virtual CPU"))?;
        if self.enforce_kvm_features {
            let mut cap = kvm_enable_cap { cap: KVM_CAP_ENFORCE_PV_FEATURE_CPUID, ..Default::default() };
            cap.args[0] = 1;
            vcpu.enable_cap(&cap).map_err(VmError::new("hide the registers of paravirtual features"))?;
        }
        if let Some(khz) = self.tsc_khz
            && vcpu.get_tsc_khz() != Ok(khz)
        {
            vcpu.set_tsc_khz(khz).map_err(VmError::new("run the TSC at the frequency of tsc-frequency"))?;
        }
        let checks_machine = self.features.has(features::MCE) && self.features.has(features::MCA);
        if checks_machine && self.signature.family >= FIRST_FAMILY_WITH_BANKS && self.machine_check != 0 {
            // SAFETY: the kernel reads 8 bytes from `machine_check`.
            if unsafe { ioctl_with_ref(vcpu, KVM_X86_SETUP_MCE(), &self.machine_check) } != 0 {
                let error = VmError::new("set up the machine checks of a virtual CPU");
                return Err(error(kvm_ioctls::Error::last()).into());
            }
        }
        Ok(msr::write(vcpu, &self.registers())?)
    }

    /// The registers that say what the processor is, and MISC_ENABLE.
    pub(super) fn registers(&self) -> Vec<Msr> {
        let monitor = if self.features.has(features::MONITOR) { MONITOR } else { 0 };
        let mut registers = vec![
            Msr { index: UCODE_REV, value: self.microcode },
            Msr { index: MISC_ENABLE, value: FAST_STRINGS | monitor },
        ];
        for (whole, word) in PARTS {
            if let Place::Msr(index) = word.place()
                && self.features.has(whole)
                && (whole != features::PDCM || self.pmu)
            {
                registers.push(Msr { index, value: self.features[word] });
            }
        }
        registers
    }
}
