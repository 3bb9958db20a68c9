//! Model-specific registers: writing them, and those that are the state of a virtual CPU.
//!
//! Registers that KVM keeps elsewhere are left to those places: EFER, FS, GS and APIC base belong to the special registers,
//! the x2APIC's to the local APIC. (Intel SDM volume 4; AMD APM volume 2, appendix A; Linux
//! Documentation/virt/kvm/x86/msr.rst.)

use kvm_bindings::{
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MAX_MSR_ENTRIES, KVM_MSR_EXIT_REASON_FILTER, Msrs, kvm_enable_cap, kvm_msr_entry,
};
use kvm_ioctls::{Cap, Kvm, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::cpuid::Topology;
use super::vm::VmError;

/// MSR_CORE_THREAD_COUNT of Intel's processors. KVM does not have it: user space answers reads of it.
pub const CORE_THREAD_COUNT: u32 = 0x35;

const TSC: u32 = 0x10;
const SPEC_CTRL: u32 = 0x48;
const MCG_CAP: u32 = 0x179;
const TSC_DEADLINE: u32 = 0x6e0;
const TSC_AUX: u32 = 0xc000_0103;

/// State that KVM does not list: the speculation controls, the MTRRs (eight ranges, the fixed ones, the default type) and
/// TSC_AUX.
const UNLISTED: [(u32, u32); 6] = [(SPEC_CTRL, 1), (0x200, 16), (0x250, 1), (0x258, 2), (0x268, 8), (0x2ff, 1)];

/// Registers of a machine check bank, the first of them, and the most banks there can be.
const MC0_CTL: u32 = 0x400;
const MC_BANK: u32 = 4;
const MC_BANKS: u32 = 32;

/// Registers that KVM lists and that are no state: they say what the processor is (capabilities, microcode, platform), are
/// commands (asynchronous page fault acknowledge), belong to what guests are not offered (Hyper-V), or are the first
/// numbers of the clock's registers, which have newer ones: writing the clock by its old number last makes KVM believe that
/// the guest knows no other, and take its clock to be unstable.
fn is_no_state(index: u32) -> bool {
    matches!(
        index,
        0x11 | 0x12
            | 0x8b
            | 0xce
            | 0xcf
            | 0xfe
            | 0x10a
            | MCG_CAP
            | 0x345
            | 0x480..=0x491
            | 0x4000_0000..=0x4000_0fff
            | 0x4b56_4d07
    )
}

/// What a read of [`CORE_THREAD_COUNT`] gives: cores of the socket above bit 16, threads below.
#[must_use]
pub fn core_thread_count(topology: &Topology) -> u64 {
    let cores = topology.dies() * topology.cores();
    u64::from(cores) << 16 | u64::from(topology.cpus_per_socket())
}

/// Has the VM exit (KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR) when its guest reads [`CORE_THREAD_COUNT`], and for the
/// accesses that the bitmaps of `others` do not allow. A VM has one such filter, set before its first virtual CPU is made.
///
/// On a kernel that can't filter (before Linux 5.10) guests get #GP for [`CORE_THREAD_COUNT`], as on most processors.
///
/// # Errors
/// KVM refuses.
pub fn filter(vm: &VmFd, others: &[MsrFilterRange<'_>]) -> Result<(), kvm_ioctls::Error> {
    if others.is_empty() && !vm.check_extension(Cap::X86MsrFilter) {
        return Ok(());
    }
    let mut cap = kvm_enable_cap { cap: KVM_CAP_X86_USER_SPACE_MSR, ..Default::default() };
    cap.args[0] = u64::from(KVM_MSR_EXIT_REASON_FILTER);
    vm.enable_cap(&cap)?;
    let mut ranges =
        vec![MsrFilterRange { flags: MsrFilterRangeFlags::READ, base: CORE_THREAD_COUNT, msr_count: 1, bitmap: &[0] }];
    ranges.extend_from_slice(others);
    vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &ranges)
}

/// One register and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Msr {
    /// Number of the register, as ECX of RDMSR.
    pub index: u32,
    /// Its value.
    pub value: u64,
}

/// A register that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MsrError {
    /// KVM refuses a value.
    #[error("KVM refuses the value {:#x} for the model-specific register {:#x}", .0.value, .0.index)]
    Refused(Msr),
    /// KVM has lost a register that it had before.
    #[error("KVM can't read the model-specific register {0:#x} any more")]
    Unreadable(u32),
    /// A saved register is none of the virtual CPU's.
    #[error("the model-specific register {0:#x} is not part of this virtual CPU's state")]
    NotState(u32),
    /// The call itself fails.
    #[error(transparent)]
    Call(#[from] VmError),
}

/// Writes registers in order.
///
/// # Errors
/// KVM refuses one; those before it are written.
pub fn write(vcpu: &VcpuFd, registers: &[Msr]) -> Result<(), MsrError> {
    for chunk in registers.chunks(KVM_MAX_MSR_ENTRIES) {
        let entries: Vec<_> = chunk
            .iter()
            .map(|&Msr { index, value }| kvm_msr_entry { index, data: value, ..Default::default() })
            .collect();
        let written = vcpu.set_msrs(&list(&entries)).map_err(VmError::new("write model-specific registers"))?;
        if let Some(&refused) = chunk.get(written) {
            return Err(MsrError::Refused(refused));
        }
    }
    Ok(())
}

/// Reads registers; those that KVM does not have for this virtual CPU are left out.
fn read(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<Msr>, MsrError> {
    let mut values = Vec::with_capacity(indices.len());
    let mut rest = indices;
    while !rest.is_empty() {
        let asked = &rest[..rest.len().min(KVM_MAX_MSR_ENTRIES)];
        let entries: Vec<_> = asked.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut msrs = list(&entries);
        let count = vcpu.get_msrs(&mut msrs).map_err(VmError::new("read model-specific registers"))?;
        values.extend(msrs.as_slice().iter().take(count).map(|entry| Msr { index: entry.index, value: entry.data }));
        // KVM stops at the first that it can't read.
        rest = &rest[if count < asked.len() { count + 1 } else { count }..];
    }
    Ok(values)
}

/// Removes the registers that do not take the value they have.
fn drop_read_only(vcpu: &VcpuFd, registers: &mut Vec<Msr>) -> Result<(), MsrError> {
    let mut start = 0;
    while let Some(rest) = registers.get(start..)
        && !rest.is_empty()
    {
        match write(vcpu, rest) {
            Ok(()) => break,
            Err(MsrError::Refused(read_only)) => {
                start = registers.iter().position(|&register| register == read_only).unwrap_or(registers.len());
                registers.remove(start);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The registers in KVM's form. At most [`KVM_MAX_MSR_ENTRIES`].
fn list(entries: &[kvm_msr_entry]) -> Msrs {
    Msrs::from_entries(entries).expect("no more registers than fit")
}

/// The registers that are the state of the machine's virtual CPUs.
#[derive(Debug, Clone)]
pub struct StateMsrs {
    /// With their values at reset.
    at_reset: Vec<Msr>,
}

impl StateMsrs {
    /// Finds them, with a virtual CPU that is set up and has not run yet.
    ///
    /// # Errors
    /// KVM does not tell.
    pub fn detect(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Self, MsrError> {
        let listed = kvm.get_msr_index_list().map_err(VmError::new("list model-specific registers"))?;
        let banks = read(vcpu, &[MCG_CAP])?.first().map_or(0, |capabilities| capabilities.value as u32 & 0xff);
        let unlisted = UNLISTED
            .into_iter()
            .chain([(MC0_CTL, banks.min(MC_BANKS) * MC_BANK), (TSC_AUX, 1)])
            .flat_map(|(first, count)| first..first + count);
        let mut indices: Vec<u32> = listed.as_slice().iter().copied().chain(unlisted).collect();
        indices.retain(|&index| !is_no_state(index));
        // The local APIC's deadline comes last: it starts a timer by the TSC.
        indices.sort_unstable_by_key(|&index| (index == TSC_DEADLINE, index));
        indices.dedup();
        let mut at_reset = read(vcpu, &indices)?;
        for register in &mut at_reset {
            if register.index == TSC {
                register.value = 0;
            }
        }
        drop_read_only(vcpu, &mut at_reset)?;
        Ok(Self { at_reset })
    }

    /// The numbers of the registers.
    pub fn indices(&self) -> impl Iterator<Item = u32> {
        self.at_reset.iter().map(|register| register.index)
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn save(&self, vcpu: &VcpuFd) -> Result<Vec<Msr>, MsrError> {
        let indices: Vec<u32> = self.indices().collect();
        let values = read(vcpu, &indices)?;
        match indices.iter().find(|&&index| !values.iter().any(|value| value.index == index)) {
            Some(&missing) => Err(MsrError::Unreadable(missing)),
            None => Ok(values),
        }
    }

    /// Writes saved values, after the local APIC's state.
    ///
    /// # Errors
    /// A register is none of these, or KVM refuses a value.
    pub fn load(&self, vcpu: &VcpuFd, registers: &[Msr]) -> Result<(), MsrError> {
        match registers.iter().find(|register| !self.indices().any(|index| index == register.index)) {
            Some(stranger) => Err(MsrError::NotState(stranger.index)),
            None => write(vcpu, registers),
        }
    }

    /// Gives all of them their values at reset.
    ///
    /// # Errors
    /// KVM refuses one.
    pub fn reset(&self, vcpu: &VcpuFd) -> Result<(), MsrError> {
        write(vcpu, &self.at_reset)
    }
}

#[cfg(test)]
mod tests;
