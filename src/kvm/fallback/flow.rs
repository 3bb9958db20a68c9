//! Control transfers: software interrupts, IRET, SYSENTER and SYSEXIT, and ENTER with nested frames.

use iced_x86::{Code, Instruction, Mnemonic, Register};

use super::context::{Context, Flow};
use super::cpu::{Mode, flags, width_mask};
use super::dispatch::Handler;
use super::host;
use super::interrupt::{Source, deliver, peek_stack};
use super::memory::Address;
use super::segment::{error_code, null_segment};
use super::stop::{Fault, Stop, Unable, vector};
use kvm_bindings::kvm_segment;

/// MSR numbers.
mod msr {
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
}

/// The handler for a control transfer.
pub fn handler(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Int3 => int3,
        M::Int => int,
        M::Int1 => int1,
        M::Into => into,
        M::Iret | M::Iretd | M::Iretq => iret,
        M::Sysenter => sysenter,
        M::Sysexit | M::Sysexitq => sysexit,
        M::Enter => enter,
        M::Push => push,
        _ => return None,
    })
}

fn interrupt(context: &mut Context, instruction: &Instruction, vector: u8, source: Source) -> Result<Flow, Stop> {
    context.cpu.set_ip(instruction.next_ip());
    deliver(context, vector, source)?;
    Ok(Flow::Jumped)
}

fn int3(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    interrupt(context, instruction, vector::BREAKPOINT, Source::Software)
}

fn int(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    interrupt(context, instruction, instruction.immediate8(), Source::Software)
}

fn int1(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    interrupt(context, instruction, vector::DEBUG, Source::Icebp)
}

fn into(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    if context.cpu.regs.rflags & flags::OF == 0 {
        return Ok(Flow::Next);
    }
    interrupt(context, instruction, vector::OVERFLOW, Source::Software)
}

/// The operand size of a stack instruction, in bytes.
fn operand_width(code: Code) -> usize {
    match code {
        Code::Iretw | Code::Enterw_imm16_imm8 => 2,
        Code::Iretd | Code::Enterd_imm16_imm8 => 4,
        _ => 8,
    }
}

fn move_stack(context: &mut Context, pointer: u64) {
    let mask = width_mask(context.cpu.stack_bits());
    let rsp = &mut context.cpu.regs.rsp;
    *rsp = if mask == 0xffff { *rsp & !mask | pointer & mask } else { pointer & mask };
}

fn iret(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let width = operand_width(instruction.code());
    match context.cpu.mode() {
        Mode::Real => iret_real(context, width),
        Mode::Virtual8086 => {
            if context.cpu.regs.rflags & flags::IOPL != flags::IOPL {
                return Err(Fault::protection(0).into());
            }
            iret_real(context, width)
        }
        Mode::Protected if context.cpu.regs.rflags & flags::NT != 0 => Err(Unable::Form("IRET to another task").into()),
        Mode::Long if context.cpu.regs.rflags & flags::NT != 0 => Err(Fault::protection(0).into()),
        Mode::Protected | Mode::Long => iret_protected(context, width),
    }
}

/// What IRET may change of RFLAGS from privilege `cpl`, for an operand of `width` bytes.
fn iret_flags(context: &Context, width: usize, cpl: u8, image: u64) -> u64 {
    let mut may_change = flags::STATUS | flags::TF | flags::DF | flags::NT | flags::RF | flags::AC | flags::ID;
    let iopl = (context.cpu.regs.rflags & flags::IOPL) >> 12;
    if u64::from(cpl) <= iopl {
        may_change |= flags::IF;
    }
    if cpl == 0 {
        may_change |= flags::IOPL | flags::VIF | flags::VIP;
    }
    if width == 2 {
        may_change &= 0xffff;
    }
    context.cpu.regs.rflags & !may_change | image & may_change
}

fn iret_real(context: &mut Context, width: usize) -> Result<Flow, Stop> {
    let ip = peek_stack(context, width, 0)?;
    let selector = peek_stack(context, width, 1)? as u16;
    let image = peek_stack(context, width, 2)?;
    if ip > u64::from(context.cpu.sregs.cs.limit) {
        return Err(Fault::protection(0).into());
    }
    let mut flags = iret_flags(context, width, 0, image);
    if context.cpu.mode() == Mode::Virtual8086 {
        flags = flags & !flags::IOPL | context.cpu.regs.rflags & flags::IOPL;
    }
    move_stack(context, context.cpu.regs.rsp.wrapping_add(3 * width as u64));
    let cs = &mut context.cpu.sregs.cs;
    cs.selector = selector;
    cs.base = u64::from(selector) << 4;
    context.cpu.regs.rip = ip;
    context.cpu.regs.rflags = flags;
    Ok(Flow::Jumped)
}

fn iret_protected(context: &mut Context, width: usize) -> Result<Flow, Stop> {
    let ip = peek_stack(context, width, 0)?;
    let selector = peek_stack(context, width, 1)? as u16;
    let image = peek_stack(context, width, 2)?;
    let cpl = context.cpu.cpl();
    let long = context.is_long_mode();
    if image & flags::VM != 0 && cpl == 0 && !long && width == 4 {
        return iret_to_virtual_8086(context, ip, selector, image);
    }
    let rpl = (selector & 3) as u8;
    if selector & !3 == 0 {
        return Err(Fault::protection(0).into());
    }
    let code = context.descriptor_or(selector, Fault::protection)?;
    let fits = if code.is_conforming() { code.dpl() <= rpl } else { code.dpl() == rpl };
    if !code.is_code() || rpl < cpl || !fits || long && code.is_long_code() && code.is_32bit() {
        return Err(Fault::protection(error_code(selector)).into());
    }
    if !code.present() {
        return Err(Fault::not_present(error_code(selector)).into());
    }
    let to_64bit = long && code.is_long_code();
    let reachable = if to_64bit { context.is_canonical(ip) } else { ip <= u64::from(code.limit()) };
    if !reachable {
        return Err(Fault::protection(0).into());
    }
    let flags = iret_flags(context, width, cpl, image);

    // SS:RSP is popped on a change of ring, and always in 64-bit mode.
    let outer = rpl > cpl;
    if outer || context.cpu.bitness() == 64 {
        let pointer = peek_stack(context, width, 3)?;
        let stack_selector = peek_stack(context, width, 4)? as u16;
        let ss = load_outer_ss(context, stack_selector, rpl, to_64bit)?;
        context.cpu.sregs.ss = ss;
        let stack_mask = if to_64bit { u64::MAX } else { width_mask(if ss.db != 0 { 32 } else { 16 }) };
        let rsp = &mut context.cpu.regs.rsp;
        *rsp = if stack_mask == 0xffff && !long {
            *rsp & !stack_mask | pointer & stack_mask
        } else {
            pointer & stack_mask
        };
    } else {
        move_stack(context, context.cpu.regs.rsp.wrapping_add(3 * width as u64));
    }
    let code = context.mark_accessed(selector, code)?;
    context.cpu.sregs.cs = code.cached(selector);
    context.cpu.sregs.ss.dpl = rpl;
    context.cpu.regs.rip = ip;
    context.cpu.regs.rflags = flags;
    if outer {
        drop_inner_segments(context, rpl);
    }
    Ok(Flow::Jumped)
}

fn load_outer_ss(context: &mut Context, selector: u16, rpl: u8, to_64bit: bool) -> Result<kvm_segment, Stop> {
    if selector & !3 == 0 {
        if to_64bit && rpl != 3 && (selector & 3) as u8 == rpl {
            return Ok(null_segment(selector, rpl));
        }
        return Err(Fault::protection(0).into());
    }
    let descriptor = context.descriptor_or(selector, Fault::protection)?;
    let code = error_code(selector);
    if (selector & 3) as u8 != rpl || descriptor.dpl() != rpl || !descriptor.is_writable_data() {
        return Err(Fault::protection(code).into());
    }
    if !descriptor.present() {
        return Err(Fault::stack(code).into());
    }
    Ok(context.mark_accessed(selector, descriptor)?.cached(selector))
}

/// Data segments that the outer ring may not use become null.
fn drop_inner_segments(context: &mut Context, cpl: u8) {
    let sregs = &mut context.cpu.sregs;
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs] {
        let conforming_code = segment.type_ & 0xc == 0xc;
        if segment.unusable == 0 && segment.s != 0 && !conforming_code && segment.dpl < cpl {
            *segment = kvm_segment { base: segment.base, ..null_segment(0, 0) };
        }
    }
}

fn iret_to_virtual_8086(context: &mut Context, ip: u64, cs: u16, image: u64) -> Result<Flow, Stop> {
    let mut popped = [0; 6];
    for (index, value) in popped.iter_mut().enumerate() {
        *value = peek_stack(context, 4, index + 3)?;
    }
    let [esp, ss, es, ds, fs, gs] = popped;
    let segment = |selector: u64| kvm_segment {
        base: (selector & 0xffff) << 4,
        limit: 0xffff,
        selector: selector as u16,
        type_: 3,
        present: 1,
        dpl: 3,
        s: 1,
        ..Default::default()
    };
    let sregs = &mut context.cpu.sregs;
    sregs.cs = segment(u64::from(cs));
    sregs.ss = segment(ss);
    sregs.es = segment(es);
    sregs.ds = segment(ds);
    sregs.fs = segment(fs);
    sregs.gs = segment(gs);
    context.cpu.regs.rsp = esp;
    context.cpu.regs.rip = ip & 0xffff;
    let kept = !0x003f_ffff;
    context.cpu.regs.rflags = context.cpu.regs.rflags & kept | image & !kept & !0x8028 | flags::FIXED;
    Ok(Flow::Jumped)
}

/// A flat segment of ring `dpl`, as SYSENTER and SYSEXIT load without looking at the tables.
pub fn flat_segment(selector: u16, dpl: u8, code: bool, long: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: if code { 11 } else { 3 },
        present: 1,
        dpl,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..Default::default()
    }
}

fn check_sysenter(context: &Context) -> Result<(), Fault> {
    // AMD's CPUs know neither instruction in long mode.
    if host::is_amd() && context.is_long_mode() {
        return Err(Fault::INVALID_OPCODE);
    }
    if context.cpu.mode() == Mode::Real { Err(Fault::protection(0)) } else { Ok(()) }
}

fn sysenter(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    check_sysenter(context)?;
    let selector = context.msr(msr::SYSENTER_CS)? as u16 & !3;
    if selector == 0 {
        return Err(Fault::protection(0).into());
    }
    let esp = context.msr(msr::SYSENTER_ESP)?;
    let eip = context.msr(msr::SYSENTER_EIP)?;
    let long = context.is_long_mode();
    let mask = width_mask(if long { 64 } else { 32 });
    context.cpu.sregs.cs = flat_segment(selector, 0, true, long);
    context.cpu.sregs.ss = flat_segment(selector + 8, 0, false, false);
    context.cpu.regs.rflags &= !(flags::VM | flags::IF | flags::RF);
    context.cpu.regs.rsp = esp & mask;
    context.cpu.regs.rip = eip & mask;
    Ok(Flow::Jumped)
}

fn sysexit(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    check_sysenter(context)?;
    context.require_cpl0()?;
    let selector = context.msr(msr::SYSENTER_CS)? as u16 & !3;
    if selector == 0 {
        return Err(Fault::protection(0).into());
    }
    let to_64bit = instruction.code() == Code::Sysexitq;
    let (ip, sp) = (context.cpu.regs.rdx, context.cpu.regs.rcx);
    if to_64bit && !(context.is_canonical(ip) && context.is_canonical(sp)) {
        return Err(Fault::protection(0).into());
    }
    let (code, stack) = if to_64bit { (selector + 32, selector + 40) } else { (selector + 16, selector + 24) };
    context.cpu.sregs.cs = flat_segment(code | 3, 3, true, to_64bit);
    context.cpu.sregs.ss = flat_segment(stack | 3, 3, false, false);
    let mask = width_mask(if to_64bit { 64 } else { 32 });
    context.cpu.regs.rip = ip & mask;
    context.cpu.regs.rsp = sp & mask;
    Ok(Flow::Jumped)
}

/// Pushes the low `width` bytes of `value`.
fn push_value(context: &mut Context, width: usize, value: u64) -> Result<(), Stop> {
    let mask = width_mask(context.cpu.stack_bits());
    let offset = context.cpu.regs.rsp.wrapping_sub(width as u64) & mask;
    context.write_uint(Address { segment: Register::SS, offset }, width, value)?;
    move_stack(context, offset);
    Ok(())
}

/// PUSH of a general register or an immediate.
fn push(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let register = instruction.op0_register();
    let value = if register.is_gpr() { context.cpu.get(register) } else { instruction.try_immediate(0).ok() };
    let width = instruction.stack_pointer_increment().unsigned_abs() as usize;
    let Some(value) = value else {
        return Err(Unable::Unknown.into());
    };
    push_value(context, width, value)?;
    Ok(Flow::Next)
}

/// ENTER: KVM does it for level 0.
fn enter(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let width = operand_width(instruction.code());
    let level = instruction.immediate8_2nd() & 31;
    let locals = u64::from(instruction.immediate16());
    let mask = width_mask(context.cpu.stack_bits());
    let caller_frame = context.cpu.regs.rbp;
    push_value(context, width, caller_frame)?;
    let frame = context.cpu.regs.rsp;
    if level > 0 {
        let mut link = caller_frame;
        for _ in 1..level {
            link = link.wrapping_sub(width as u64);
            let outer = Address { segment: Register::SS, offset: link & mask };
            let value = context.read_uint(outer, width)?;
            push_value(context, width, value)?;
        }
        push_value(context, width, frame)?;
    }
    let register = match width {
        2 => Register::BP,
        4 => Register::EBP,
        _ => Register::RBP,
    };
    context.cpu.set(register, frame);
    let pointer = context.cpu.regs.rsp.wrapping_sub(locals) & mask;
    // The CPU checks that the last byte of the new frame can be written.
    let linear = context.linear(Address { segment: Register::SS, offset: pointer }, 1, super::paging::Access::Write)?;
    context.probe(linear, 1, super::paging::Access::Write)?;
    move_stack(context, pointer);
    Ok(Flow::Next)
}
