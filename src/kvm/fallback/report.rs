//! What is told about an instruction that nobody can perform.

use std::fmt::Write as _;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use thiserror::Error;

use super::cpu::Cpu;
use super::stop::Unable;

/// The instruction that ends a VM, with the reason and what to do about it. The registers are the vCPU's still.
#[derive(Debug, Error)]
#[error("neither KVM nor natoma can perform the guest's instruction `{instruction}` ({code}); {advice}", advice = advice(.reason))]
pub struct Unemulable {
    instruction: String,
    code: String,
    #[source]
    reason: Unable,
}

impl Unemulable {
    /// A report on the first instruction of `code` (as far as it could be fetched) at the registers `cpu`.
    #[must_use]
    pub fn new(reason: Unable, cpu: &Cpu, code: &[u8]) -> Self {
        let mut instruction = String::new();
        let mut decoder = Decoder::with_ip(cpu.bitness(), code, cpu.regs.rip, DecoderOptions::NONE);
        let decoded = decoder.decode();
        IntelFormatter::new().format(&decoded, &mut instruction);
        let shown = if decoded.is_invalid() { code } else { &code[..decoded.len()] };
        let mut bytes = String::new();
        for byte in shown {
            // Writing to a string cannot fail.
            let _ = write!(bytes, "{}{byte:02x}", if bytes.is_empty() { "" } else { " " });
        }
        Self { instruction, code: bytes, reason }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Unable {
        &self.reason
    }
}

fn advice(reason: &Unable) -> &'static str {
    match reason {
        Unable::NoExecutableMemory(_) => {
            "let the process map executable memory (MemoryDenyWriteExecute= in a service file and SELinux's execmem \
             forbid it)"
        }
        Unable::State { .. } => "this is a failure of KVM itself: the host's kernel log may say more",
        Unable::Unknown | Unable::Form(_) | Unable::NoXsave => {
            "if the guest chooses this instruction by CPUID, hide the feature from it (-cpu MODEL,-feature)"
        }
    }
}
