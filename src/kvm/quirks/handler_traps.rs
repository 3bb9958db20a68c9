//! Finds the guest's handlers of #PF and #UD, at whose first instruction the quirks want the vCPU to stop.

use crate::kvm::fallback::{Cpu, GuestPhysical, Mode, peek};

/// An exception whose handler is trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trapped {
    /// #PF.
    PageFault,
    /// #UD.
    UndefinedOpcode,
}

const PAGE_FAULT: u64 = 14;
const UNDEFINED_OPCODE: u64 = 6;
const GATE: u64 = 16;
/// Present, and a 64-bit interrupt or trap gate.
const GATE_VALID: u8 = 0x8e;

/// The handlers' addresses, as the interrupt table had them last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handlers {
    page_fault: Option<u64>,
    undefined_opcode: Option<u64>,
}

impl Handlers {
    /// Reads the guest's interrupt table. Gates that are not there, or not in long mode, give no address.
    pub fn read(cpu: &Cpu, memory: &dyn GuestPhysical) -> Self {
        if cpu.mode() != Mode::Long {
            return Self::default();
        }
        Self { page_fault: handler(cpu, memory, PAGE_FAULT), undefined_opcode: handler(cpu, memory, UNDEFINED_OPCODE) }
    }

    /// The addresses to trap.
    pub fn addresses(&self) -> [Option<u64>; 2] {
        let undefined_opcode = self.undefined_opcode.filter(|_| self.undefined_opcode != self.page_fault);
        [self.page_fault, undefined_opcode]
    }

    /// Which handler begins at `address`.
    pub fn at(&self, address: u64) -> Option<Trapped> {
        // One handler for both vectors (a kernel's early stub) would need a look at more than its address.
        if self.page_fault == Some(address) {
            Some(Trapped::PageFault)
        } else if self.undefined_opcode == Some(address) {
            Some(Trapped::UndefinedOpcode)
        } else {
            None
        }
    }
}

fn handler(cpu: &Cpu, memory: &dyn GuestPhysical, vector: u64) -> Option<u64> {
    let idt = &cpu.sregs.idt;
    let offset = vector * GATE;
    if offset + GATE - 1 > u64::from(idt.limit) {
        return None;
    }
    let mut gate = [0; GATE as usize];
    if !peek(cpu, memory, idt.base.wrapping_add(offset), &mut gate) || gate[5] & GATE_VALID != GATE_VALID {
        return None;
    }
    let [o0, o1, _, _, _, _, o2, o3, o4, o5, o6, o7, ..] = gate;
    Some(u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]))
}
