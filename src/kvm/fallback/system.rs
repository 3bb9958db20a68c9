//! System instructions: access control, time stamps and processor ids, cache and TLB control, segment inspection.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::context::{Context, Flow, state};
use super::cpu::{cr4, flags, width_mask};
use super::dispatch::Handler;
use super::memory::Address;
use super::paging::Access;
use super::segment::system;
use super::stop::{Fault, Stop, Unable};
use super::xstate::component;

/// MSR numbers.
mod msr {
    pub const TSC: u32 = 0x10;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// The handler for a system instruction.
pub fn handler(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Clac => clac,
        M::Stac => stac,
        M::Rdtscp => rdtscp,
        M::Rdpid => rdpid,
        M::Rdpkru => rdpkru,
        M::Wrpkru => wrpkru,
        M::Xgetbv => xgetbv,
        M::Invpcid => invpcid,
        M::Monitor | M::Monitorx => monitor,
        M::Mwait | M::Mwaitx => mwait,
        M::Wrmsrns => wrmsrns,
        M::Lar => lar,
        M::Lsl => lsl,
        M::Verr => verr,
        M::Verw => verw,
        M::Clzero => clzero,
        M::Movdiri => movdiri,
        M::Movdir64b => movdir64b,
        M::Clwb | M::Clflush | M::Clflushopt => flush_line,
        M::Rdsspd | M::Rdsspq => rdssp,
        M::Nop
        | M::Reservednop
        | M::Pause
        | M::Endbr32
        | M::Endbr64
        | M::Cldemote
        | M::Lfence
        | M::Mfence
        | M::Sfence
        | M::Serialize
        | M::Prefetch
        | M::Prefetchw
        | M::Prefetchwt1
        | M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetchit0
        | M::Prefetchit1
        | M::Bndmov
        | M::Bndmk
        | M::Bndcl
        | M::Bndcu
        | M::Bndcn
        | M::Bndldx
        | M::Bndstx => nop,
        M::Cld => cld,
        M::Lea => lea,
        M::Ud0 | M::Ud1 | M::Ud2 => undefined,
        _ => return None,
    })
}

/// NOPs, hints and fences: an exit to user space and back orders everything a fence does. (MPX instructions are NOPs
/// while MPX is off, and KVM has no MPX to offer any more.)
fn nop(_: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    Ok(Flow::Next)
}

fn undefined(_: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    Err(Fault::INVALID_OPCODE.into())
}

fn cld(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    context.cpu.regs.rflags &= !flags::DF;
    Ok(Flow::Next)
}

fn lea(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let offset = context.address(instruction).offset;
    context.cpu.set(instruction.op0_register(), offset);
    Ok(Flow::Next)
}

fn require_ring0_or_undefined(context: &Context) -> Result<(), Fault> {
    if context.cpu.cpl() == 0 { Ok(()) } else { Err(Fault::INVALID_OPCODE) }
}

fn clac(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    require_ring0_or_undefined(context)?;
    context.cpu.regs.rflags &= !flags::AC;
    Ok(Flow::Next)
}

fn stac(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    require_ring0_or_undefined(context)?;
    context.cpu.regs.rflags |= flags::AC;
    Ok(Flow::Next)
}

/// Writes EDX:EAX, clearing the upper halves.
fn set_edx_eax(context: &mut Context, value: u64) {
    context.cpu.regs.rax = value & 0xffff_ffff;
    context.cpu.regs.rdx = value >> 32;
}

fn ecx(context: &Context) -> u32 {
    context.cpu.regs.rcx as u32
}

fn rdtscp(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    if context.cpu.sregs.cr4 & cr4::TSD != 0 && context.cpu.cpl() != 0 {
        return Err(Fault::protection(0).into());
    }
    let tsc = context.msr(msr::TSC)?;
    let aux = context.msr(msr::TSC_AUX)?;
    set_edx_eax(context, tsc);
    context.cpu.regs.rcx = aux & 0xffff_ffff;
    Ok(Flow::Next)
}

fn rdpid(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let aux = context.msr(msr::TSC_AUX)?;
    context.cpu.set(instruction.op0_register().full_register(), aux & 0xffff_ffff);
    Ok(Flow::Next)
}

fn rdpkru(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    check_pkru(context)?;
    let pkru = context.fpu()?.pkru();
    set_edx_eax(context, u64::from(pkru));
    Ok(Flow::Next)
}

fn wrpkru(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    check_pkru(context)?;
    if context.cpu.regs.rdx as u32 != 0 {
        return Err(Fault::protection(0).into());
    }
    let pkru = context.cpu.regs.rax as u32;
    context.fpu_mut()?.set_pkru(pkru);
    Ok(Flow::Next)
}

fn check_pkru(context: &Context) -> Result<(), Fault> {
    if context.cpu.sregs.cr4 & cr4::PKE == 0 {
        return Err(Fault::INVALID_OPCODE);
    }
    if ecx(context) == 0 { Ok(()) } else { Err(Fault::protection(0)) }
}

fn xgetbv(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    context.require_xsave()?;
    let xcr0 = context.xcr0()?;
    let value = match ecx(context) {
        0 => xcr0,
        1 if std::arch::is_x86_feature_detected!("xsavec") => {
            let fpu = context.fpu()?;
            let sse = if fpu.mxcsr() == super::xstate::MXCSR_DEFAULT { 0 } else { component::SSE };
            xcr0 & (fpu.in_use() | sse)
        }
        _ => return Err(Fault::protection(0).into()),
    };
    set_edx_eax(context, value);
    Ok(Flow::Next)
}

/// INVPCID: whatever its type, all translations are dropped; a CPU may always forget more than it must.
fn invpcid(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_cpl0()?;
    let kind = context.cpu.get(instruction.op0_register()).unwrap_or(u64::MAX);
    let mut descriptor = [0; 16];
    let address = context.address(instruction);
    context.read(address, &mut descriptor)?;
    let descriptor = u128::from_le_bytes(descriptor);
    let pcid = descriptor as u64;
    let linear = (descriptor >> 64) as u64;
    let needs_pcid = kind <= 1;
    let pcid_off = context.cpu.sregs.cr4 & cr4::PCIDE == 0;
    if kind > 3
        || needs_pcid && (pcid >> 12 != 0 || pcid_off && pcid != 0)
        || kind == 0 && !context.is_canonical(linear)
    {
        return Err(Fault::protection(0).into());
    }
    context.vcpu.flush_tlb(&context.cpu.sregs).map_err(|error| state("system registers", "written", error))?;
    Ok(Flow::Next)
}

/// The address in rAX of the instructions that take theirs from there.
fn accumulator_address(context: &Context, instruction: &Instruction) -> Address {
    let bits = match instruction.code() {
        Code::Monitorw | Code::Monitorxw | Code::Clzerow => 16,
        Code::Monitord | Code::Monitorxd | Code::Clzerod => 32,
        _ => 64,
    };
    let segment = match instruction.segment_prefix() {
        Register::None => Register::DS,
        other => other,
    };
    Address { segment, offset: context.cpu.regs.rax & width_mask(bits) }
}

/// MONITOR arms nothing: MWAIT may return at once, for any reason, and does.
fn monitor(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    if instruction.mnemonic() == Mnemonic::Monitor {
        require_ring0_or_undefined(context)?;
    }
    if ecx(context) != 0 {
        return Err(Fault::protection(0).into());
    }
    let linear = context.linear(accumulator_address(context, instruction), 1, Access::Read)?;
    context.probe(linear, 1, Access::Read)?;
    Ok(Flow::Next)
}

fn mwait(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let known = if instruction.mnemonic() == Mnemonic::Mwait {
        require_ring0_or_undefined(context)?;
        1
    } else {
        3
    };
    if ecx(context) & !known != 0 {
        return Err(Fault::protection(0).into());
    }
    Ok(Flow::Next)
}

fn wrmsrns(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    context.require_cpl0()?;
    let regs = &context.cpu.regs;
    let value = regs.rdx << 32 | regs.rax & 0xffff_ffff;
    let index = ecx(context);
    match context.vcpu.set_msr(index, value) {
        Ok(true) => Ok(Flow::Next),
        Ok(false) => Err(Fault::protection(0).into()),
        Err(error) => Err(state("MSRs", "written", error).into()),
    }
}

/// The 16-bit selector operand.
fn selector(context: &mut Context, instruction: &Instruction, operand: u32) -> Result<u16, Stop> {
    context.require_protected_mode()?;
    if instruction.op_kind(operand) == OpKind::Memory {
        let address = context.address(instruction);
        return Ok(context.read_uint(address, 2)? as u16);
    }
    Ok(context.cpu.get(instruction.op_register(operand)).unwrap_or(0) as u16)
}

fn set_zero_flag(context: &mut Context, set: bool) {
    context.cpu.regs.rflags &= !flags::ZF;
    if set {
        context.cpu.regs.rflags |= flags::ZF;
    }
}

fn lar(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let selector = selector(context, instruction, 1)?;
    let long = context.is_long_mode();
    let found = context.visible_descriptor(selector)?.filter(|descriptor| {
        descriptor.is_code_or_data()
            || match descriptor.kind() {
                system::LDT | system::TSS_AVAILABLE | system::TSS_BUSY | system::CALL_GATE => true,
                system::TSS16_AVAILABLE | system::TSS16_BUSY | system::CALL_GATE16 | system::TASK_GATE => !long,
                _ => false,
            }
    });
    if let Some(descriptor) = found {
        context.cpu.set(instruction.op0_register(), descriptor.0 >> 32 & 0x00ff_ff00);
    }
    set_zero_flag(context, found.is_some());
    Ok(Flow::Next)
}

fn lsl(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let selector = selector(context, instruction, 1)?;
    let long = context.is_long_mode();
    let found = context.visible_descriptor(selector)?.filter(|descriptor| {
        descriptor.is_code_or_data()
            || match descriptor.kind() {
                system::LDT | system::TSS_AVAILABLE | system::TSS_BUSY => true,
                system::TSS16_AVAILABLE | system::TSS16_BUSY => !long,
                _ => false,
            }
    });
    if let Some(descriptor) = found {
        context.cpu.set(instruction.op0_register(), u64::from(descriptor.limit()));
    }
    set_zero_flag(context, found.is_some());
    Ok(Flow::Next)
}

fn verr(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let selector = selector(context, instruction, 0)?;
    let found = context.visible_descriptor(selector)?;
    set_zero_flag(context, found.is_some_and(|descriptor| descriptor.is_readable()));
    Ok(Flow::Next)
}

fn verw(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let selector = selector(context, instruction, 0)?;
    let found = context.visible_descriptor(selector)?;
    set_zero_flag(context, found.is_some_and(|descriptor| descriptor.is_writable_data()));
    Ok(Flow::Next)
}

/// CLZERO: zeroes the 64 bytes around rAX.
fn clzero(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    if std::arch::x86_64::__cpuid(0x8000_0008).ebx & 1 == 0 {
        return Err(Fault::INVALID_OPCODE.into());
    }
    let address = accumulator_address(context, instruction);
    context.write(Address { offset: address.offset & !63, ..address }, &[0; 64])?;
    Ok(Flow::Next)
}

fn movdiri(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    require_leaf7_ecx(27)?;
    let register = instruction.op1_register();
    let value = context.cpu.get(register).unwrap_or(0);
    let address = context.address(instruction);
    context.write_uint(address, register.size(), value)?;
    Ok(Flow::Next)
}

fn movdir64b(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    require_leaf7_ecx(28)?;
    let source = context.address(instruction);
    let offset = context.cpu.get(instruction.op0_register()).unwrap_or(0);
    let destination = Address { segment: Register::ES, offset };
    if !context.linear(destination, 64, Access::Write)?.is_multiple_of(64) {
        return Err(Fault::protection(0).into());
    }
    let mut data = [0; 64];
    context.read(source, &mut data)?;
    context.write(destination, &data)?;
    Ok(Flow::Next)
}

/// #UD if the host's CPU lacks the feature of this bit.
fn require_leaf7_ecx(bit: u32) -> Result<(), Fault> {
    let there = std::arch::x86_64::__cpuid_count(7, 0).ecx >> bit & 1 != 0;
    if there { Ok(()) } else { Err(Fault::INVALID_OPCODE) }
}

/// Cache line write-back: guest memory is coherent, so only the access check remains.
fn flush_line(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let address = context.address(instruction);
    let linear = context.linear(address, 1, Access::Read)?;
    context.probe(linear, 1, Access::Read)?;
    Ok(Flow::Next)
}

/// RDSSP is a NOP while shadow stacks are off.
fn rdssp(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    if context.cpu.sregs.cr4 & cr4::CET != 0 {
        return Err(Unable::Form("shadow stacks").into());
    }
    Ok(Flow::Next)
}
