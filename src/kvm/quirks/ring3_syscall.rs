//! SYSCALL in 64-bit ring 3 that does not enter ring 0.
//!
//! The host loads RIP from LSTAR, RCX, R11 and RFLAGS as it should, but leaves CS and SS as they are: the first fetch at
//! LSTAR, a supervisor page, raises #PF in the guest. natoma stops the vCPU at the first instruction of the guest's #PF
//! handler (a breakpoint by KVM_SET_GUEST_DEBUG), recognises that fault, and completes the system call in its place.
//!
//! The entry point is learned as the guest writes it: an MSR filter turns writes of STAR, LSTAR and FMASK into exits. The
//! first such write is also what starts the probe, so that guests without user space never pay for it.
//!
//! A genuine fault cannot be taken for a system call: its error code, CR2, RIP, RFLAGS and R11 must fit, and RCX must
//! follow a SYSCALL instruction. User code that jumps to LSTAR having arranged all that has made a system call.

use kvm_ioctls::{Error, MsrFilterRange, MsrFilterRangeFlags};

use crate::kvm::fallback::{Cpu, GuestPhysical, VcpuState, flags, flat_segment, peek};

/// MSR numbers.
mod msr {
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const FMASK: u32 = 0xc000_0084;
}

/// Page-fault error codes: a fetch from ring 3; whether the page is present does not matter.
const FETCH_FROM_USER: u64 = 0x14;
const FETCH_FROM_USER_MASK: u64 = 0x1e;

/// What the CPU pushed when it entered the handler of #PF, from the top of the stack.
const FRAME_WORDS: usize = 6;

/// Writes of the MSRs of SYSCALL, for the VM's filter to turn into exits.
pub(super) fn filtered_msrs() -> MsrFilterRange<'static> {
    /// One bit for each of the eight MSRs from STAR: 0 for those that exit.
    const ALLOWED: [u8; 1] = [!(1 | 1 << (msr::LSTAR - msr::STAR) | 1 << (msr::FMASK - msr::STAR))];
    MsrFilterRange { flags: MsrFilterRangeFlags::WRITE, base: msr::STAR, msr_count: 8, bitmap: &ALLOWED }
}

/// The MSRs of SYSCALL, as the guest wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyscallMsrs {
    star: u64,
    lstar: u64,
    fmask: u64,
}

impl SyscallMsrs {
    /// Takes note of a write that KVM has accepted. False if `index` is none of these MSRs.
    pub fn written(&mut self, index: u32, value: u64) -> bool {
        match index {
            msr::STAR => self.star = value,
            msr::LSTAR => self.lstar = value,
            msr::FMASK => self.fmask = value,
            _ => return false,
        }
        true
    }

    /// True if `index` is one of these MSRs.
    pub fn include(index: u32) -> bool {
        matches!(index, msr::STAR | msr::LSTAR | msr::FMASK)
    }

    /// Reads them all.
    ///
    /// # Errors
    /// KVM's.
    pub fn read(vcpu: &dyn VcpuState) -> Result<Self, Error> {
        let read = |index| vcpu.msr(index).map(|value| value.unwrap_or(0));
        Ok(Self { star: read(msr::STAR)?, lstar: read(msr::LSTAR)?, fmask: read(msr::FMASK)? })
    }

    /// At the first instruction of the #PF handler: the registers with the system call entered, if it was one.
    pub fn complete(&self, cpu: &Cpu, memory: &dyn GuestPhysical) -> Option<Cpu> {
        if cpu.sregs.cr2 != self.lstar {
            return None;
        }
        let mut frame = [0; 8 * FRAME_WORDS];
        if !peek(cpu, memory, cpu.regs.rsp, &mut frame) {
            return None;
        }
        let mut words = frame.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let [error, rip, cs, rflags, rsp] = std::array::from_fn(|_| words.next().unwrap_or(0));
        let after_fetch = error & FETCH_FROM_USER_MASK == FETCH_FROM_USER && rip == self.lstar && cs & 3 == 3;
        if !after_fetch || !self.fits_registers(cpu, rflags) || !follows_syscall(cpu, memory) {
            return None;
        }
        let mut entered = *cpu;
        let selector = (self.star >> 32) as u16 & !3;
        entered.sregs.cs = flat_segment(selector, 0, true, true);
        entered.sregs.ss = flat_segment(selector.wrapping_add(8), 0, false, false);
        entered.regs.rip = self.lstar;
        entered.regs.rsp = rsp;
        entered.regs.rflags = rflags & !flags::RF;
        Some(entered)
    }

    /// SYSCALL leaves the old flags in R11 and the masked ones in RFLAGS.
    fn fits_registers(&self, cpu: &Cpu, rflags: u64) -> bool {
        // The fault itself pushed RF set. Ring 3 has no I/O privilege, nor the flags of virtual-8086 mode.
        let saved = cpu.regs.r11;
        let never = flags::IOPL | flags::VM | flags::VIF | flags::VIP;
        let masked = saved & !self.fmask & !flags::RF | flags::FIXED;
        saved & never == 0 && rflags & !flags::RF == masked
    }
}

/// True if RCX points behind a SYSCALL instruction.
fn follows_syscall(cpu: &Cpu, memory: &dyn GuestPhysical) -> bool {
    let mut code = [0; 2];
    peek(cpu, memory, cpu.regs.rcx.wrapping_sub(2), &mut code) && code == [0x0f, 0x05]
}
