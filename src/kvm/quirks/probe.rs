//! The probe: runs a few instructions in a micro-VM and looks at where they end.

use std::arch::is_x86_feature_detected;

use kvm_bindings::kvm_regs;
use kvm_ioctls::{Error, Kvm};

use super::micro_vm::{CODE, KERNEL, MicroVm, STACK, msr, selector};
use crate::kvm::fallback::VcpuState;

/// What a probe found. All false on a host that does as KVM documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent findings")]
pub struct Findings {
    /// SYSCALL from ring 3 stays in ring 3 ([`super::ring3_syscall`]).
    pub ring3_syscall: bool,
    /// Instructions that the host's CPU has raise #UD ([`super::undefined_opcode`]).
    pub undefined_opcode: bool,
    /// Exceptions in 32-bit protected mode ignore the base of SS ([`super::pm32_interrupt`]).
    pub pm32_interrupt: bool,
    /// LZCNT and TZCNT run as BSR and BSF in ring 0. Nothing shows it when it happens, so nothing can be done about it but
    /// to hide LZCNT (CPUID 8000_0001h ECX bit 5) from the guest's kernel. Compilers that target the base architecture
    /// emit TZCNT only where BSF would do as well.
    pub bit_scans: bool,
}

const HLT: u8 = 0xf4;

pub fn probe(kvm: &Kvm) -> Result<Findings, Error> {
    let mut micro = MicroVm::new(kvm, |_| Ok(()))?;
    Ok(Findings {
        ring3_syscall: ring3_syscall(&mut micro)?,
        undefined_opcode: ring3_int(&mut micro)? || movbe(&mut micro)?,
        bit_scans: bit_scans(&mut micro)?,
        // The last one: it leaves long mode.
        pm32_interrupt: pm32_interrupt(&mut micro)?,
    })
}

fn ring3_syscall(micro: &mut MicroVm) -> Result<bool, Error> {
    const SELECTORS: u64 = 0x001b_0008 << 32;
    micro.vcpu.set_msr(msr::STAR, SELECTORS)?;
    micro.vcpu.set_msr(msr::LSTAR, KERNEL)?;
    micro.vcpu.set_msr(msr::FMASK, 0)?;
    let stopped = micro.run(&[0x0f, 0x05], 3, kvm_regs::default())?;
    Ok(stopped.in_handler(14) && micro.vcpu.get_sregs()?.cr2 == KERNEL)
}

/// `int 40h` through a gate of ring 3.
fn ring3_int(micro: &mut MicroVm) -> Result<bool, Error> {
    let stopped = micro.run(&[0xcd, 0x40], 3, kvm_regs::default())?;
    Ok(stopped.in_handler(6))
}

/// `movbe eax, [rdi]` in ring 0.
fn movbe(micro: &mut MicroVm) -> Result<bool, Error> {
    if !is_x86_feature_detected!("movbe") {
        return Ok(false);
    }
    let regs = kvm_regs { rdi: CODE, ..Default::default() };
    let stopped = micro.run(&[0x0f, 0x38, 0xf0, 0x07, HLT], 0, regs)?;
    Ok(stopped.in_handler(6))
}

/// `lzcnt eax, edi` of 1 is 31, where BSR gives 0.
fn bit_scans(micro: &mut MicroVm) -> Result<bool, Error> {
    if !is_x86_feature_detected!("lzcnt") {
        return Ok(false);
    }
    let regs = kvm_regs { rdi: 1, ..Default::default() };
    let stopped = micro.run(&[0xf3, 0x0f, 0xbd, 0xc7, HLT], 0, regs)?;
    Ok(stopped.halted_at(CODE + 4) && stopped.regs.rax == 0)
}

/// UD2 in 32-bit protected mode, with a stack segment that starts at 1000h: where does its frame go?
fn pm32_interrupt(micro: &mut MicroVm) -> Result<bool, Error> {
    const BASE: u32 = 0x1000;
    micro.enter_pm32(BASE)?;
    let stopped = micro.resume(&[0x0f, 0x0b])?;
    let frame_below = |top: u64| micro.read_u64(top - 12) == CODE | u64::from(selector::KERNEL_CODE) << 32;
    Ok(stopped.in_handler(6) && frame_below(STACK - u64::from(BASE)) && !frame_below(STACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the host is shows in its module parameters; the probe must come to the same conclusion by itself.
    #[test]
    fn finds_nothing_on_hardware_and_everything_on_kvm_pvm() {
        let Some(kvm) = crate::kvm::quirks::tests::kvm() else { return };
        let findings = probe(&kvm).unwrap();
        if std::path::Path::new("/sys/module/kvm_pvm").exists() {
            let everything = Findings {
                ring3_syscall: true,
                undefined_opcode: true,
                pm32_interrupt: true,
                bit_scans: is_x86_feature_detected!("lzcnt"),
            };
            assert_eq!(findings, everything);
        } else {
            assert_eq!(findings, Findings::default());
        }
    }
}
