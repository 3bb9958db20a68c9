//! From a decoded instruction to what performs it.

use iced_x86::Instruction;

use super::context::{Context, Flow};
use super::stop::{Stop, Unable};
use super::{flow, gather, native, system, x87, xsave};

/// Performs one instruction on a context: changes the context's registers, or says why not.
pub type Handler = fn(&mut Context, &Instruction) -> Result<Flow, Stop>;

/// Performs `instruction`, whose bytes are the first of `bytes`: by a handler of its own, or on the host's CPU.
pub fn execute(context: &mut Context, instruction: &Instruction, bytes: &[u8]) -> Result<Flow, Stop> {
    let families = [system::handler, flow::handler, x87::handler, xsave::handler, gather::handler];
    if let Some(handler) = families.iter().find_map(|family| family(instruction)) {
        if instruction.has_lock_prefix() {
            return Err(super::stop::Fault::INVALID_OPCODE.into());
        }
        return handler(context, instruction);
    }
    if instruction.is_invalid() {
        return Err(super::stop::Fault::INVALID_OPCODE.into());
    }
    match native::execute(context, instruction, bytes) {
        Err(Stop::Unable(Unable::Unknown)) if instruction.is_privileged() && context.cpu.cpl() != 0 => {
            Err(super::stop::Fault::protection(0).into())
        }
        other => other,
    }
}
