//! #UD for instructions that the CPU has.
//!
//! The host raises #UD in the guest, instead of leaving the instruction to user space, for INT n in ring 3 (INT3 and INTO
//! apart), for MOVBE and RDPID in ring 0, and for most of what the kernel's emulator lacks in 32-bit ring 3 (SSE, INT n,
//! INT3, SYSENTER). natoma stops the vCPU at the first instruction of the guest's #UD handler, takes the exception back, and
//! performs the instruction. What is undefined remains so: UD2 gets to the handler.

use crate::kvm::fallback::{Cpu, Fallback, GuestPhysical, Mode, Outcome, VcpuState, peek, segment_for};

/// RIP, CS, RFLAGS, RSP, SS.
const FRAME_WORDS: usize = 5;
const INT: u8 = 0xcd;
const UNDEFINED_OPCODE: u8 = 6;

/// At the first instruction of the #UD handler: the registers with the instruction performed, if it was wrongly undefined.
pub fn perform(fallback: &mut Fallback, cpu: &Cpu, vcpu: &dyn VcpuState, memory: &dyn GuestPhysical) -> Option<Cpu> {
    let before = interrupted(cpu, memory)?;
    if before.bitness() == 64 && before.cpl() == 3 && !is_int(&before, memory) {
        // Natively executed: the CPU's own word.
        return None;
    }
    match fallback.step(before, vcpu, memory, &[]) {
        Ok((_, Outcome::Raised(UNDEFINED_OPCODE))) | Err(_) => None,
        Ok((after, _)) => Some(after),
    }
}

/// The registers at the instruction that raised the exception.
fn interrupted(cpu: &Cpu, memory: &dyn GuestPhysical) -> Option<Cpu> {
    if cpu.mode() != Mode::Long {
        return None;
    }
    let mut frame = [0; 8 * FRAME_WORDS];
    if !peek(cpu, memory, cpu.regs.rsp, &mut frame) {
        return None;
    }
    let mut words = frame.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let [rip, cs, rflags, rsp, ss] = std::array::from_fn(|_| words.next().unwrap_or(0));
    let mut before = *cpu;
    before.regs.rip = rip;
    before.regs.rflags = rflags & !crate::kvm::fallback::flags::RF;
    before.regs.rsp = rsp;
    before.sregs.cs = segment_for(cpu, memory, cs as u16)?;
    before.sregs.ss = segment_for(cpu, memory, ss as u16)?;
    Some(before)
}

fn is_int(cpu: &Cpu, memory: &dyn GuestPhysical) -> bool {
    let mut code = [0];
    peek(cpu, memory, cpu.regs.rip, &mut code) && code[0] == INT
}
