//! FWAIT, LDMXCSR and STMXCSR: floating-point control that needs no arithmetic.

use iced_x86::{Instruction, Mnemonic};

use super::context::{Context, Flow};
use super::cpu::cr0;
use super::dispatch::Handler;
use super::native::check_pending_x87;
use super::stop::{Fault, Stop};

/// MXCSR bits that may be set: all of the lower half on every 64-bit CPU; AMD's MM is left out, as KVM masks it.
pub const MXCSR_WRITABLE: u32 = 0xffff;

/// The handler for a floating-point control instruction.
pub fn handler(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Wait => wait,
        M::Ldmxcsr => ldmxcsr,
        M::Stmxcsr => stmxcsr,
        M::Vldmxcsr => vldmxcsr,
        M::Vstmxcsr => vstmxcsr,
        _ => return None,
    })
}

fn wait(context: &mut Context, _: &Instruction) -> Result<Flow, Stop> {
    let both = cr0::MP | cr0::TS;
    if context.cpu.sregs.cr0 & both == both {
        return Err(Fault::DEVICE_NOT_AVAILABLE.into());
    }
    check_pending_x87(context)?;
    Ok(Flow::Next)
}

fn ldmxcsr(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_sse()?;
    load(context, instruction)
}

fn vldmxcsr(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_avx(0)?;
    load(context, instruction)
}

fn load(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let address = context.address(instruction);
    let value = context.read_uint(address, 4)? as u32;
    if value & !MXCSR_WRITABLE != 0 {
        return Err(Fault::protection(0).into());
    }
    context.fpu_mut()?.set_mxcsr(value);
    Ok(Flow::Next)
}

fn stmxcsr(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_sse()?;
    store(context, instruction)
}

fn vstmxcsr(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_avx(0)?;
    store(context, instruction)
}

fn store(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let value = context.fpu()?.mxcsr();
    let address = context.address(instruction);
    context.write_uint(address, 4, u64::from(value))?;
    Ok(Flow::Next)
}
