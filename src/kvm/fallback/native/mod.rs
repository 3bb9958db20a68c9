//! Running an instruction of the guest on the host's CPU.
//!
//! Whole classes of instructions compute on registers and one memory operand and do nothing else: x87, MMX, SSE to
//! AVX-512, BMI, AES, CRC32 and so on. The process runs on the CPU that has them. So natoma does not compute them
//! anew: it re-encodes the instruction with its memory operand moved to a scratch page, loads the guest's registers,
//! runs it, and takes the registers back. Results are the hardware's own, to the last flag.
//!
//! What keeps this safe: only instructions of the table in [`allowed`] run; the memory operand always is the scratch page; RSP
//! as an operand is renamed, so that the stack stays the host's; SSE exceptions are masked while it runs and raised in
//! the guest afterwards; a pending x87 exception is raised before. What the host lacks is #UD, as on the same CPU without
//! a hypervisor.
//!
//! Differences from the bare CPU, all of them in corners:
//! - an unmasked SSE underflow is raised if the result is tiny *and* inexact, not if it is tiny but exact;
//! - a masked EVEX arithmetic instruction (not a move) whose masked-off elements lie in an unmapped page faults.

mod allowed;
mod lanes;
mod page;

use std::collections::HashMap;

use iced_x86::{Encoder, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

use self::allowed::{Unit, Verdict};
use self::lanes::Masking;
use self::page::{CodePage, Frame, SCRATCH};
use super::context::{Context, Flow};
use super::cpu::{Mode, cr4, flags};
use super::host;
use super::memory::Address;
use super::paging::Access;
use super::stop::{Fault, Stop, Unable};
use super::xstate::{XsaveArea, component};

/// The state components that an instruction can work on.
const COMPONENTS: u64 = component::X87 | component::SSE | component::AVX | component::AVX512;

/// MXCSR: exception flags.
const MXCSR_FLAGS: u32 = 0x3f;
/// MXCSR: exceptions that are found before the computation: invalid, denormal, division by zero.
const MXCSR_EARLY: u32 = 0x07;
/// MXCSR: exception masks.
const MXCSR_MASKS: u32 = 0x1f80;
/// MXCSR: everything that may be loaded on any CPU with SSE2.
const MXCSR_VALID: u32 = 0xffff;

/// The memory operand of an instruction.
#[derive(Clone, Copy, Debug)]
struct MemoryOperand {
    size: usize,
    reads: bool,
    writes: bool,
    /// Must be aligned to its size, or #GP(0).
    aligned: bool,
    /// A read-modify-write that other CPUs must not see half done.
    atomic: bool,
    masking: Masking,
}

/// What was found out about an instruction, and where its re-encoded form is.
#[derive(Clone, Copy, Debug)]
struct Plan {
    code: u64,
    unit: Unit,
    memory: Option<MemoryOperand>,
    /// Hardware number of the register that stands in for RSP.
    stack_pointer_as: Option<usize>,
}

/// An instruction as found in the guest's memory.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    bitness: u32,
    len: usize,
    bytes: [u8; 15],
}

/// The means of one vCPU to run instructions on the host's CPU. Costs nothing until first used.
#[derive(Default)]
pub struct Native {
    page: Option<CodePage>,
    plans: HashMap<Key, Plan>,
    host: Box<XsaveArea>,
}

impl Native {
    /// The plan for `instruction`, made at its first use.
    fn plan(&mut self, instruction: &Instruction, bytes: &[u8], bitness: u32) -> Result<Plan, Stop> {
        let mut key = Key { bitness, len: instruction.len(), bytes: [0; 15] };
        key.bytes[..key.len].copy_from_slice(&bytes[..key.len]);
        if let Some(plan) = self.plans.get(&key) {
            return Ok(*plan);
        }
        let unit = match allowed::verdict(instruction) {
            Verdict::Yes(unit) => unit,
            Verdict::Missing => return Err(Fault::INVALID_OPCODE.into()),
            Verdict::No => return Err(Unable::Unknown.into()),
        };
        if !matches!(unit, Unit::Integer | Unit::VexInteger) && !host::has_xsave() {
            return Err(Unable::NoXsave.into());
        }
        let memory = memory_operand(instruction)?;
        let mut instruction = *instruction;
        let stack_pointer_as = rename_stack_pointer(&mut instruction)?;
        let code = self.place(instruction)?;
        let plan = Plan { code, unit, memory, stack_pointer_as };
        self.plans.insert(key, plan);
        Ok(plan)
    }

    /// Encodes an instruction for the code page, with its memory operand on the scratch page.
    fn place(&mut self, mut instruction: Instruction) -> Result<u64, Unable> {
        if self.page.is_none() {
            self.page = Some(CodePage::new().map_err(Unable::NoExecutableMemory)?);
        }
        let page = self.page.as_mut().expect("made just now");
        let address = page.next().unwrap_or_else(|| {
            page.clear();
            self.plans.clear();
            page.next().expect("an empty page has room")
        });
        let has_memory = (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
        if has_memory {
            instruction.set_segment_prefix(Register::None);
            instruction.set_memory_base(Register::RIP);
            instruction.set_memory_index(Register::None);
            instruction.set_memory_index_scale(1);
            instruction.set_memory_displ_size(8);
            instruction.set_memory_displacement64(page.operand_address());
        }
        let mut encoder = Encoder::new(64);
        encoder
            .encode(&instruction, address)
            .map_err(|_| Unable::Form("this instruction: it has no form in 64-bit mode to run on the host"))?;
        page.add(&encoder.take_buffer()).map_err(Unable::NoExecutableMemory)?;
        Ok(address)
    }

    fn page(&mut self) -> &mut CodePage {
        self.page.as_mut().expect("a plan has placed its code")
    }
}

fn memory_operand(instruction: &Instruction) -> Result<Option<MemoryOperand>, Unable> {
    let mut analysis = InstructionInfoFactory::new();
    let memory = match analysis.info(instruction).used_memory() {
        [] => return Ok(None),
        [memory] => *memory,
        _ => {
            return Err(Unable::Form("instructions with two memory operands this way"));
        }
    };
    use OpAccess as A;
    let (reads, writes) = match memory.access() {
        A::Read | A::CondRead => (true, false),
        A::Write | A::CondWrite => (false, true),
        A::ReadWrite | A::ReadCondWrite => (true, true),
        A::None | A::NoMemAccess => return Ok(None),
    };
    let size = memory.memory_size().size();
    if size == 0 || size > SCRATCH {
        return Err(Unable::Form("memory operands of this size"));
    }
    use iced_x86::Mnemonic as M;
    let atomic = reads
        && writes
        && (instruction.has_lock_prefix() || matches!(instruction.mnemonic(), M::Xchg | M::Cmpxchg8b | M::Cmpxchg16b));
    Ok(Some(MemoryOperand {
        size,
        reads,
        writes,
        aligned: lanes::must_be_aligned(instruction, size),
        atomic,
        masking: Masking::of(instruction),
    }))
}

/// Replaces RSP as an operand by a register that the instruction does not use.
fn rename_stack_pointer(instruction: &mut Instruction) -> Result<Option<usize>, Unable> {
    let is_stack_pointer = |register: Register| register.full_register() == Register::RSP;
    let operands: Vec<u32> = (0..instruction.op_count())
        .filter(|&n| instruction.op_kind(n) == OpKind::Register && is_stack_pointer(instruction.op_register(n)))
        .collect();
    if operands.is_empty() {
        return Ok(None);
    }
    let mut analysis = InstructionInfoFactory::new();
    let used = analysis.info(instruction).used_registers();
    // Base and index registers of a memory operand count as used here, which is harmless.
    let candidates = [Register::RBX, Register::RBP, Register::RSI, Register::RDI, Register::RCX, Register::RDX];
    let free = candidates
        .into_iter()
        .find(|&candidate| used.iter().all(|u| u.register().full_register() != candidate))
        .ok_or(Unable::Form("RSP beside so many other registers"))?;
    for n in operands {
        let register = match instruction.op_register(n).size() {
            1 => low_byte(free),
            2 => free.full_register32() - (Register::EAX as u32 - Register::AX as u32),
            4 => free.full_register32(),
            _ => free,
        };
        instruction.set_op_register(n, register);
    }
    Ok(Some(free.number()))
}

fn low_byte(register: Register) -> Register {
    match register {
        Register::RBX => Register::BL,
        Register::RBP => Register::BPL,
        Register::RSI => Register::SIL,
        Register::RDI => Register::DIL,
        Register::RCX => Register::CL,
        _ => Register::DL,
    }
}

/// True if `instruction` belongs to a feature that the host's CPU lacks.
pub fn is_missing(instruction: &Instruction) -> bool {
    allowed::is_missing(instruction)
}

/// True if `instruction` runs on this host's CPU.
#[cfg(test)]
pub fn is_allowed(instruction: &Instruction) -> bool {
    matches!(allowed::verdict(instruction), Verdict::Yes(_))
}

/// Runs `instruction`, whose bytes are the first of `bytes`, on the host's CPU.
pub fn execute(context: &mut Context, instruction: &Instruction, bytes: &[u8]) -> Result<Flow, Stop> {
    let real_mode = matches!(context.cpu.mode(), Mode::Real | Mode::Virtual8086);
    if real_mode && lanes::is_x87_image(instruction.code()) {
        // The host would write the protected-mode layout.
        return Err(Unable::Form("x87 environments in the layout of real mode").into());
    }
    let plan = context.native.plan(instruction, bytes, context.cpu.bitness())?;
    check_enabled(context, plan.unit)?;
    match plan.memory {
        None => run(context, instruction, &plan, &mut [])?,
        Some(operand) if operand.atomic => exchange(context, instruction, &plan, operand)?,
        Some(operand) => {
            let address = context.address(instruction);
            let mut buffer = [0; SCRATCH];
            let data = &mut buffer[..operand.size];
            if operand.aligned {
                check_aligned(context, address, operand)?;
            }
            let active = operand.masking.active(context, operand.size)?;
            if operand.reads {
                let access = if operand.writes { Access::Write } else { Access::Read };
                context.read_lanes(address, data, active, access)?;
            } else {
                // Find out about a fault before anything changes.
                context.probe_lanes(address, operand.size, active, Access::Write)?;
            }
            run(context, instruction, &plan, data)?;
            if operand.writes {
                context.write_lanes(address, data, active)?;
            }
        }
    }
    Ok(Flow::Next)
}

/// A locked read-modify-write: done again until nobody came between the read and the write.
fn exchange(context: &mut Context, instruction: &Instruction, plan: &Plan, operand: MemoryOperand) -> Result<(), Stop> {
    let address = context.address(instruction);
    if operand.aligned {
        check_aligned(context, address, operand)?;
    }
    let before = context.cpu;
    let mut old = [0; 16];
    let old = &mut old[..operand.size];
    context.read_lanes(address, old, lanes::ALL, Access::Write)?;
    loop {
        let mut new = [0; 16];
        let new = &mut new[..operand.size];
        new.copy_from_slice(old);
        run(context, instruction, plan, new)?;
        match context.compare_exchange(address, old, new)? {
            Ok(()) => return Ok(()),
            Err(found) => old.copy_from_slice(&found[..operand.size]),
        }
        context.cpu = before;
    }
}

fn check_aligned(context: &Context, address: Address, operand: MemoryOperand) -> Result<(), Stop> {
    let access = if operand.writes { Access::Write } else { Access::Read };
    let linear = context.linear(address, operand.size, access)?;
    if linear.is_multiple_of(operand.size as u64) { Ok(()) } else { Err(Fault::protection(0).into()) }
}

/// The checks that the CPU makes for a class of instructions before it runs one.
fn check_enabled(context: &mut Context, unit: Unit) -> Result<(), Stop> {
    match unit {
        Unit::Integer => {}
        Unit::VexInteger => context.require_protected_mode()?,
        Unit::X87 { waits } => {
            context.require_x87()?;
            if waits {
                check_pending_x87(context)?;
            }
        }
        Unit::Mmx => {
            context.require_mmx()?;
            check_pending_x87(context)?;
        }
        Unit::Sse { mmx } => {
            context.require_sse()?;
            if mmx {
                check_pending_x87(context)?;
            }
        }
        Unit::Avx => context.require_avx(0)?,
        Unit::Avx512 => context.require_avx(component::AVX512)?,
    }
    Ok(())
}

/// #MF if an earlier x87 instruction left an unmasked exception.
pub fn check_pending_x87(context: &mut Context) -> Result<(), Stop> {
    if context.fpu()?.x87_exception_pending() { Err(Fault::X87.into()) } else { Ok(()) }
}

/// Runs the planned instruction with the context's registers and `operand` in place of its memory operand.
fn run(context: &mut Context, instruction: &Instruction, plan: &Plan, operand: &mut [u8]) -> Result<(), Stop> {
    let uses_fpu = !matches!(plan.unit, Unit::Integer | Unit::VexInteger);
    let before = if uses_fpu { Some(context.fpu()?.clone()) } else { None };
    let has_mxcsr = matches!(plan.unit, Unit::Sse { .. } | Unit::Avx | Unit::Avx512);
    if let (Some(before), true) = (&before, has_mxcsr) {
        let quiet = before.mxcsr() & MXCSR_VALID & !MXCSR_FLAGS | MXCSR_MASKS;
        context.fpu()?.set_mxcsr(quiet);
    }

    let mut frame = Frame {
        gprs: std::array::from_fn(|number| context.cpu.gpr(number)),
        flags: flags::FIXED | flags::IF | context.cpu.regs.rflags & flags::STATUS,
        code: plan.code,
        guest: std::ptr::null_mut(),
        host: &raw mut *context.native.host,
        components: host::xcr0() & COMPONENTS,
    };
    if let Some(stand_in) = plan.stack_pointer_as {
        frame.gprs[stand_in] = context.cpu.regs.rsp;
    }
    if uses_fpu {
        frame.guest = context.fpu()?;
    }
    let page = context.native.page();
    page.operand()[..operand.len()].copy_from_slice(operand);
    // SAFETY: the plan's code was placed on this page and is of the allowed table: registers and the scratch page only, RSP
    // renamed. The FPU area came from KVM, and its MXCSR masks everything if the instruction heeds MXCSR; `host` has
    // a zero header, as XSAVE writes nothing there that XRSTOR refuses.
    unsafe { page.run(&mut frame) };
    operand.copy_from_slice(&page.operand()[..operand.len()]);

    if let Some(before) = before {
        settle_fpu(context, instruction, plan, before, has_mxcsr)?;
    }
    for (number, &value) in frame.gprs.iter().enumerate() {
        if number == 4 || plan.stack_pointer_as == Some(number) {
            continue;
        }
        *context.cpu.gpr_mut(number) = value;
    }
    if let Some(stand_in) = plan.stack_pointer_as {
        context.cpu.regs.rsp = frame.gprs[stand_in];
    }
    context.cpu.set_status(frame.flags);
    Ok(())
}

/// Puts right what the floating-point state shows of the detour, and raises the exceptions that were held back.
fn settle_fpu(
    context: &mut Context,
    instruction: &Instruction,
    plan: &Plan,
    before: XsaveArea,
    has_mxcsr: bool,
) -> Result<(), Stop> {
    let operand = context.native.page().operand_address();
    let ip = context.cpu.regs.rip;
    let data = plan.memory.map(|_| context.address(instruction).offset);
    let unmasked_raise_simd = context.cpu.sregs.cr4 & cr4::OSXMMEXCPT != 0;
    let area = context.fpu()?;
    if has_mxcsr {
        let old = before.mxcsr();
        let raised = area.mxcsr() & MXCSR_FLAGS;
        let unmasked = raised & !(old >> 7);
        if unmasked != 0 {
            let reported = if unmasked & MXCSR_EARLY != 0 { raised & MXCSR_EARLY } else { raised };
            let area = context.fpu_mut()?;
            *area = before;
            area.set_mxcsr(old | reported);
            return Err(if unmasked_raise_simd { Fault::SIMD } else { Fault::INVALID_OPCODE }.into());
        }
        area.set_mxcsr(old | raised);
    }
    if area.fip() == plan.code {
        area.set_fip(ip);
    }
    if let Some(data) = data
        && area.fdp() == operand
    {
        area.set_fdp(data);
    }
    if *area != before {
        context.fpu_mut()?;
    }
    Ok(())
}
