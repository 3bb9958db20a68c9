//! Delivery through the interrupt table, by hand: software interrupts, and what a host fails to deliver itself
//! (Intel SDM vol. 3, sections 6.10 to 6.14, and vol. 2, "INT n").
//!
//! Real mode, protected mode with 16- and 32-bit gates (to the same ring, to an inner one, out of virtual-8086 mode) and
//! long mode with IST. Not done: task gates.

use super::context::Context;
use super::cpu::{Mode, flags};
use super::memory::Address;
use super::paging::{Access, Privilege};
use super::segment::{Descriptor, error_code, null_segment, system};
use super::stop::{Fault, Stop, Unable};
use iced_x86::Register;

/// What is being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// INT n, INT3, INTO: the gate's privilege is checked.
    Software,
    /// INT1: an instruction, but without the privilege check.
    Icebp,
    /// A device.
    External,
    /// An exception, with its error code if it pushes one.
    Exception(Option<u32>),
}

/// Error code bits that accompany a selector: the event came from outside the program; the index is of the IDT.
const EXT: u32 = 1;
const IDT: u32 = 2;

/// A stack under construction: nothing of the CPU changes until the frame is complete.
struct Stack {
    base: u64,
    pointer: u64,
    mask: u64,
    limit: Option<(kvm_bindings::kvm_segment, u32)>,
    privilege: Privilege,
    /// The push width in bytes.
    width: usize,
}

impl Stack {
    fn push(&mut self, context: &mut Context, value: u64) -> Result<(), Stop> {
        let pointer = self.pointer.wrapping_sub(self.width as u64) & self.mask;
        if let Some((segment, code)) = self.limit {
            check_stack_limit(&segment, pointer, self.width, code)?;
        }
        let linear = self.base.wrapping_add(pointer);
        let linear = if self.base == 0 && self.mask == u64::MAX { linear } else { linear & 0xffff_ffff };
        context.write_linear(linear, &value.to_le_bytes()[..self.width], self.privilege)?;
        self.pointer = pointer;
        Ok(())
    }
}

fn check_stack_limit(segment: &kvm_bindings::kvm_segment, pointer: u64, width: usize, code: u32) -> Result<(), Fault> {
    let limit = u64::from(segment.limit);
    let end = pointer + width as u64 - 1;
    let expands_down = segment.type_ & 0xc == 4;
    let inside = if expands_down {
        pointer > limit && end <= if segment.db != 0 { 0xffff_ffff } else { 0xffff }
    } else {
        end <= limit
    };
    if inside { Ok(()) } else { Err(Fault::stack(code)) }
}

/// Enters the handler of `vector`, returning to the current RIP.
///
/// # Errors
/// The fault that the delivery itself meets; the registers are then unchanged, memory may hold a partial frame.
pub fn deliver(context: &mut Context, vector: u8, source: Source) -> Result<(), Stop> {
    log::debug!(target: "int", "vector {vector:#04x} ({source:?}) at RIP {:#x}", context.cpu.regs.rip);
    match context.cpu.mode() {
        Mode::Real => deliver_real(context, vector),
        Mode::Virtual8086 if source == Source::Software && context.cpu.regs.rflags & flags::IOPL != flags::IOPL => {
            Err(Fault::protection(0).into())
        }
        Mode::Protected | Mode::Virtual8086 | Mode::Long => deliver_protected(context, vector, source),
    }
}

fn deliver_real(context: &mut Context, vector: u8) -> Result<(), Stop> {
    let sregs = context.cpu.sregs;
    let entry = u64::from(vector) * 4;
    if entry + 3 > u64::from(sregs.idt.limit) {
        return Err(Fault::protection(0).into());
    }
    let mut bytes = [0; 4];
    context.read_linear(sregs.idt.base + entry, &mut bytes, Privilege::Supervisor)?;
    let [ip0, ip1, cs0, cs1] = bytes;
    let regs = context.cpu.regs;
    let mut stack = Stack {
        base: sregs.ss.base,
        pointer: regs.rsp & 0xffff,
        mask: 0xffff,
        limit: None,
        privilege: Privilege::Supervisor,
        width: 2,
    };
    for value in [regs.rflags, u64::from(sregs.cs.selector), regs.rip] {
        stack.push(context, value)?;
    }
    context.cpu.set(Register::SP, stack.pointer);
    let cs = &mut context.cpu.sregs.cs;
    cs.selector = u16::from_le_bytes([cs0, cs1]);
    cs.base = u64::from(cs.selector) << 4;
    context.cpu.regs.rip = u64::from(u16::from_le_bytes([ip0, ip1]));
    context.cpu.regs.rflags &= !(flags::IF | flags::TF | flags::AC | flags::RF);
    Ok(())
}

/// An interrupt or trap gate.
struct Gate {
    offset: u64,
    selector: u16,
    ist: u8,
    /// Push width.
    width: usize,
    clears_if: bool,
}

fn read_gate(context: &mut Context, vector: u8, source: Source, external: u32) -> Result<Gate, Stop> {
    let long = context.is_long_mode();
    let size: u64 = if long { 16 } else { 8 };
    let code = u32::from(vector) << 3 | IDT | external;
    let idt = context.cpu.sregs.idt;
    let entry = u64::from(vector) * size;
    if entry + size - 1 > u64::from(idt.limit) {
        return Err(Fault::protection(code).into());
    }
    let mut bytes = [0; 16];
    context.read_linear(idt.base.wrapping_add(entry), &mut bytes[..size as usize], Privilege::Supervisor)?;
    let gate = Descriptor(u128::from_le_bytes(bytes) as u64);
    let high = (u128::from_le_bytes(bytes) >> 64) as u64 & 0xffff_ffff;
    let (width, clears_if) = match (gate.is_code_or_data(), gate.kind(), long) {
        (false, system::INTERRUPT_GATE, true) => (8, true),
        (false, system::TRAP_GATE, true) => (8, false),
        (false, system::INTERRUPT_GATE, false) => (4, true),
        (false, system::TRAP_GATE, false) => (4, false),
        (false, system::INTERRUPT_GATE16, false) => (2, true),
        (false, system::TRAP_GATE16, false) => (2, false),
        (false, system::TASK_GATE, false) => {
            return Err(Unable::Form("interrupts through task gates").into());
        }
        _ => return Err(Fault::protection(code).into()),
    };
    if source == Source::Software && gate.dpl() < context.cpu.cpl() {
        return Err(Fault::protection(code).into());
    }
    if !gate.present() {
        return Err(Fault::not_present(code).into());
    }
    let offset = gate.0 & 0xffff | gate.0 >> 32 & 0xffff_0000 | high << 32;
    Ok(Gate {
        offset: if width == 2 { offset & 0xffff } else { offset },
        selector: (gate.0 >> 16) as u16,
        ist: if long { (gate.0 >> 32 & 7) as u8 } else { 0 },
        width,
        clears_if,
    })
}

fn deliver_protected(context: &mut Context, vector: u8, source: Source) -> Result<(), Stop> {
    let external = if matches!(source, Source::Software) { 0 } else { EXT };
    let gate = read_gate(context, vector, source, external)?;
    let long = context.is_long_mode();
    let from_virtual_8086 = context.cpu.mode() == Mode::Virtual8086;
    let cpl = context.cpu.cpl();

    if gate.selector & !3 == 0 {
        return Err(Fault::protection(external).into());
    }
    let selector_code = error_code(gate.selector) | external;
    let code = context.descriptor(gate.selector)?.ok_or(Fault::protection(selector_code))?;
    if !code.is_code() || code.dpl() > cpl || long && (!code.is_long_code() || code.is_32bit()) {
        return Err(Fault::protection(selector_code).into());
    }
    if !code.present() {
        return Err(Fault::not_present(selector_code).into());
    }
    let new_cpl = if code.is_conforming() { cpl } else { code.dpl() };
    if from_virtual_8086 && new_cpl != 0 {
        return Err(Fault::protection(selector_code).into());
    }

    let inner = new_cpl < cpl;
    let (ss, mut stack) = new_stack(context, &gate, new_cpl, inner, external)?;
    let sregs = context.cpu.sregs;
    let regs = context.cpu.regs;
    if from_virtual_8086 {
        for segment in [&sregs.gs, &sregs.fs, &sregs.ds, &sregs.es] {
            stack.push(context, u64::from(segment.selector))?;
        }
    }
    if inner || long {
        stack.push(context, u64::from(sregs.ss.selector))?;
        stack.push(context, regs.rsp)?;
    }
    stack.push(context, regs.rflags)?;
    stack.push(context, u64::from(sregs.cs.selector))?;
    stack.push(context, regs.rip)?;
    if let Source::Exception(Some(error)) = source {
        stack.push(context, u64::from(error))?;
    }
    if !long && gate.offset > u64::from(code.limit()) {
        return Err(Fault::protection(external).into());
    }

    let code = context.mark_accessed(gate.selector, code)?;
    context.cpu.sregs.cs = code.cached(gate.selector & !3 | u16::from(new_cpl));
    if let Some(ss) = ss {
        context.cpu.sregs.ss = ss;
    }
    if from_virtual_8086 {
        let none = null_segment(0, 0);
        let sregs = &mut context.cpu.sregs;
        [sregs.gs, sregs.fs, sregs.ds, sregs.es] = [none; 4];
    }
    let pointer = regs.rsp & !stack.mask | stack.pointer;
    context.cpu.regs.rsp = pointer;
    context.cpu.regs.rip = gate.offset;
    context.cpu.regs.rflags &= !(flags::TF | flags::NT | flags::RF | flags::VM);
    if gate.clears_if {
        context.cpu.regs.rflags &= !flags::IF;
    }
    Ok(())
}

/// The stack that the frame goes to, and the new SS if it changes.
fn new_stack(
    context: &mut Context,
    gate: &Gate,
    new_cpl: u8,
    inner: bool,
    external: u32,
) -> Result<(Option<kvm_bindings::kvm_segment>, Stack), Stop> {
    if context.is_long_mode() {
        let pointer = match (gate.ist, inner) {
            (0, false) => context.cpu.regs.rsp,
            (0, true) => tss_field(context, 4 + 8 * u64::from(new_cpl), 8, external)?,
            (ist, _) => tss_field(context, 28 + 8 * u64::from(ist), 8, external)?,
        } & !15;
        if !context.is_canonical(pointer) {
            return Err(Fault::stack(external).into());
        }
        let ss = inner.then(|| null_segment(u16::from(new_cpl), new_cpl));
        let stack =
            Stack { base: 0, pointer, mask: u64::MAX, limit: None, privilege: stack_privilege(inner), width: 8 };
        return Ok((ss, stack));
    }
    let (segment, pointer, code) = if inner {
        let (pointer, selector) = inner_stack(context, new_cpl, external)?;
        let segment = load_inner_ss(context, selector, new_cpl, external)?;
        (segment, pointer, error_code(selector) | external)
    } else {
        (context.cpu.sregs.ss, context.cpu.regs.rsp, external)
    };
    let mask = if segment.db != 0 { 0xffff_ffff } else { 0xffff };
    let stack = Stack {
        base: segment.base,
        pointer: pointer & mask,
        mask,
        limit: Some((segment, code)),
        privilege: stack_privilege(inner),
        width: gate.width,
    };
    Ok((inner.then_some(segment), stack))
}

/// An inner ring's stack is written before the privilege changes.
fn stack_privilege(inner: bool) -> Privilege {
    if inner { Privilege::Supervisor } else { Privilege::Current }
}

fn tss_field(context: &mut Context, offset: u64, size: usize, external: u32) -> Result<u64, Stop> {
    let tr = context.cpu.sregs.tr;
    if offset + size as u64 - 1 > u64::from(tr.limit) {
        return Err(Fault::invalid_tss(error_code(tr.selector) | external).into());
    }
    let mut bytes = [0; 8];
    context.read_linear(tr.base.wrapping_add(offset), &mut bytes[..size], Privilege::Supervisor)?;
    Ok(u64::from_le_bytes(bytes))
}

/// ESP and SS for ring `cpl` from a 16- or 32-bit TSS.
fn inner_stack(context: &mut Context, cpl: u8, external: u32) -> Result<(u64, u16), Stop> {
    let ring = u64::from(cpl);
    if matches!(context.cpu.sregs.tr.type_, system::TSS16_AVAILABLE | system::TSS16_BUSY) {
        let pointer = tss_field(context, 2 + 4 * ring, 2, external)?;
        return Ok((pointer, tss_field(context, 4 + 4 * ring, 2, external)? as u16));
    }
    let pointer = tss_field(context, 4 + 8 * ring, 4, external)?;
    Ok((pointer, tss_field(context, 8 + 8 * ring, 2, external)? as u16))
}

fn load_inner_ss(
    context: &mut Context,
    selector: u16,
    cpl: u8,
    external: u32,
) -> Result<kvm_bindings::kvm_segment, Stop> {
    if selector & !3 == 0 {
        return Err(Fault::invalid_tss(external).into());
    }
    let code = error_code(selector) | external;
    let descriptor = context.descriptor(selector)?.ok_or(Fault::invalid_tss(code))?;
    if (selector & 3) as u8 != cpl || descriptor.dpl() != cpl || !descriptor.is_writable_data() {
        return Err(Fault::invalid_tss(code).into());
    }
    if !descriptor.present() {
        return Err(Fault::stack(code).into());
    }
    Ok(context.mark_accessed(selector, descriptor)?.cached(selector))
}

/// Reads the value of `width` bytes that lies `index` such values above the top of the stack.
pub fn peek_stack(context: &mut Context, width: usize, index: usize) -> Result<u64, Stop> {
    let mask = super::cpu::width_mask(context.cpu.stack_bits());
    let offset = context.cpu.regs.rsp.wrapping_add((width * index) as u64) & mask;
    let address = Address { segment: Register::SS, offset };
    let linear = context.linear(address, width, Access::Read)?;
    let mut bytes = [0; 8];
    context.read_linear(linear, &mut bytes[..width], Privilege::Current)?;
    Ok(u64::from_le_bytes(bytes))
}
