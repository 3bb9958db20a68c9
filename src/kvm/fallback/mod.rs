//! Instructions that KVM does not emulate, performed in user space.
//!
//! KVM's instruction emulator knows what a guest commonly aims at devices, and gives up on the rest with
//! `KVM_EXIT_INTERNAL_ERROR`, suberror *emulation*: vector moves to device registers on any host, and whole classes of
//! instructions on hosts where KVM has no hardware virtualisation and emulates all of ring 0. [`Fallback`] then performs
//! the instruction:
//!
//! - [`dispatch`] decodes and finds who performs it;
//! - [`native`] runs what only computes on the host's own CPU;
//! - [`system`], [`flow`], [`x87`], [`xsave`], [`gather`] do by hand what works on state that the process must not touch itself;
//! - [`memory`] and [`paging`] reach the operand as the CPU would: segments, page tables, permissions, RAM or bus;
//! - a fault goes to the guest as the exception that it would get from hardware;
//! - what cannot be done becomes a [`Unemulable`].
//!
//! Limits: accesses do not trigger the guest's own data breakpoints; on hosts where KVM shadows the guest's page tables, a
//! write by one of these instructions *to a page table* is noticed by KVM only at the next TLB flush.

mod context;
mod cpu;
mod dispatch;
mod flow;
mod gather;
mod host;
mod interrupt;
mod memory;
mod native;
mod paging;
mod report;
mod segment;
mod state;
mod stop;
mod system;
#[cfg(test)]
pub(crate) mod tests;
mod x87;
mod xsave;
mod xstate;

use std::collections::HashMap;

use iced_x86::{
    Decoder, DecoderError, DecoderOptions, FormatMnemonicOptions, Formatter, Instruction, IntelFormatter, Mnemonic,
};

use self::context::{Context, Flow, Fpu};
use self::native::Native;
use self::stop::{Fault, Stop, vector};

pub use self::cpu::{Cpu, Mode, flags};
pub use self::flow::flat_segment;
pub use self::interrupt::Source;
pub use self::memory::{GuestPhysical, locate, peek};
pub use self::report::Unemulable;
pub use self::segment::segment_for;
pub use self::state::VcpuState;
pub use self::stop::Unable;
pub use self::xstate::XsaveArea;
#[cfg(test)]
pub(crate) use self::{host::xcr0 as host_xcr0, native::is_allowed};

/// Longest x86 instruction.
const MAX_INSTRUCTION: usize = 15;

/// DR6: a single step.
const DR6_BS: u64 = 1 << 14;

/// What came of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was performed.
    Retired,
    /// It raised this exception, which the returned registers carry as an injected event.
    Raised(u8),
}

/// One vCPU's means to perform instructions in user space, and its counts of them.
#[derive(Default)]
pub struct Fallback {
    native: Native,
    fpu: Fpu,
    /// An example and the number of each instruction.
    counts: HashMap<Mnemonic, (Instruction, u64)>,
}

impl Fallback {
    /// Performs the instruction at `cpu`'s instruction pointer. `code` holds its bytes as far as they are known.
    ///
    /// Returns the vCPU's registers afterwards; state outside them (floating point, MSRs) has been set in `vcpu`.
    ///
    /// # Errors
    /// A report if the instruction cannot be performed; nothing has changed then.
    pub fn step(
        &mut self,
        cpu: Cpu,
        vcpu: &dyn VcpuState,
        memory: &dyn GuestPhysical,
        code: &[u8],
    ) -> Result<(Cpu, Outcome), Unemulable> {
        let mut bytes = [0; MAX_INSTRUCTION];
        let mut known = code.len().min(MAX_INSTRUCTION);
        bytes[..known].copy_from_slice(&code[..known]);
        let mut context = Context::new(cpu, vcpu, memory, &mut self.native, &mut self.fpu);
        let mut result = decode(&cpu, &bytes[..known]);
        if result.is_none() && known < MAX_INSTRUCTION {
            result = match context.fetch(&mut bytes) {
                Ok(fetched) => {
                    known = fetched;
                    decode(&cpu, &bytes[..known])
                }
                Err(stop) => return conclude(context, cpu, Err(stop), &bytes[..known]),
            };
        }
        let Some(instruction) = result else {
            // Either the instruction is too long, or it goes on in a page that cannot be fetched.
            let fault = match known {
                MAX_INSTRUCTION => Fault::protection(0).into(),
                _ => context.fetch_fault(known as u64),
            };
            return conclude(context, cpu, Err(fault), &bytes[..known]);
        };
        self.counts.entry(instruction.mnemonic()).or_insert((instruction, 0)).1 += 1;
        let result = dispatch::execute(&mut context, &instruction, &bytes).and_then(|flow| {
            retire(&mut context, &cpu, &instruction, flow)?;
            Ok(())
        });
        conclude(context, cpu, result, &bytes[..known])
    }

    /// Enters the guest's handler for `vector` as the CPU would, returning to `cpu`'s instruction pointer: for events that
    /// a host fails to deliver.
    ///
    /// # Errors
    /// A report if that cannot be done; nothing has changed then.
    pub fn deliver(
        &mut self,
        cpu: Cpu,
        vcpu: &dyn VcpuState,
        memory: &dyn GuestPhysical,
        vector: u8,
        source: Source,
    ) -> Result<(Cpu, Outcome), Unemulable> {
        let mut context = Context::new(cpu, vcpu, memory, &mut self.native, &mut self.fpu);
        let result = interrupt::deliver(&mut context, vector, source);
        conclude(context, cpu, result, &[])
    }

    /// How often each instruction was performed or raised a fault, most frequent first.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> = self.counts.values().collect();
        counts.sort_by_key(|(example, count)| (std::cmp::Reverse(*count), example.mnemonic() as u32));
        // The formatter's names, not those of `Debug`: these are a table of addresses, to be relocated at each start.
        let mut formatter = IntelFormatter::new();
        let mut name = |example: &Instruction| {
            let mut name = String::new();
            formatter.format_mnemonic_options(example, &mut name, FormatMnemonicOptions::NO_PREFIXES);
            name
        };
        counts.into_iter().map(|(example, count)| (name(example), *count)).collect()
    }
}

/// Decodes the first instruction of `bytes`; `None` if they end before it does, or it is longer than instructions may be.
fn decode(cpu: &Cpu, bytes: &[u8]) -> Option<Instruction> {
    let attempt = |bytes: &[u8]| {
        let mut decoder = Decoder::with_ip(cpu.bitness(), bytes, cpu.regs.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        (instruction, instruction.is_invalid() && decoder.last_error() == DecoderError::NoMoreBytes)
    };
    let (instruction, incomplete) = attempt(bytes);
    let too_long = instruction.is_invalid() && bytes.len() == MAX_INSTRUCTION && attempt(&bytes[..bytes.len() - 1]).1;
    (!incomplete && !too_long).then_some(instruction)
}

/// What every completed instruction does besides its own work.
fn retire(context: &mut Context, before: &Cpu, instruction: &Instruction, flow: Flow) -> Result<(), Stop> {
    if flow == Flow::Next {
        context.cpu.set_ip(instruction.next_ip());
        context.cpu.regs.rflags &= !flags::RF;
    }
    // The shadow of STI or MOV SS covers one instruction: this was it.
    context.cpu.events.interrupt.shadow = 0;
    if before.regs.rflags & flags::TF != 0 && flow == Flow::Next {
        context.vcpu.raise_dr6(DR6_BS).map_err(|error| context::state("debug registers", "written", error))?;
        inject(&mut context.cpu, Fault { vector: vector::DEBUG, error_code: None, address: None });
    }
    Ok(())
}

/// Turns a handler's result into the vCPU's new registers.
fn conclude(
    mut context: Context,
    before: Cpu,
    result: Result<(), Stop>,
    code: &[u8],
) -> Result<(Cpu, Outcome), Unemulable> {
    let (cpu, outcome) = match result {
        Ok(()) => (context.cpu, Outcome::Retired),
        Err(Stop::Fault(fault)) => {
            let mut cpu = before;
            inject(&mut cpu, fault);
            (cpu, Outcome::Raised(fault.vector))
        }
        Err(Stop::Unable(reason)) => return Err(Unemulable::new(reason, &before, code)),
    };
    match context.commit_fpu() {
        Ok(()) => Ok((cpu, outcome)),
        Err(reason) => Err(Unemulable::new(reason, &before, code)),
    }
}

/// Has KVM deliver an exception at the next entry.
fn inject(cpu: &mut Cpu, fault: Fault) {
    let error_code = fault.error_code.filter(|_| cpu.mode() != Mode::Real);
    let exception = &mut cpu.events.exception;
    exception.injected = 1;
    exception.pending = 0;
    exception.nr = fault.vector;
    exception.has_error_code = u8::from(error_code.is_some());
    exception.error_code = error_code.unwrap_or(0);
    cpu.events.exception_has_payload = 0;
    if let Some(address) = fault.address {
        cpu.sregs.cr2 = address;
    }
}
