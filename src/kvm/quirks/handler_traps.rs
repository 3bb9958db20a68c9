//! Finds the guest's handlers of #PF and #UD, at whose first instruction the quirks want the vCPU to stop.

use crate::kvm::fallback::{Cpu, GuestPhysical, Mode, locate, peek};

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

/// The gates from the first that is looked at to the end of the last, which nearly always share a page.
const SPAN: std::ops::Range<u64> = UNDEFINED_OPCODE * GATE..(PAGE_FAULT + 1) * GATE;

/// The handlers' addresses, as the interrupt table had them last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handlers {
    page_fault: Option<u64>,
    undefined_opcode: Option<u64>,
    /// Where the table is, and the guest-physical address of its [`SPAN`] if that is in one page of memory.
    place: Option<(Place, u64)>,
}

/// What leads to the interrupt table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    base: u64,
    limit: u16,
    control: [u64; 4],
}

impl Place {
    fn of(cpu: &Cpu) -> Self {
        let sregs = &cpu.sregs;
        Self { base: sregs.idt.base, limit: sregs.idt.limit, control: [sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer] }
    }
}

impl Handlers {
    /// Reads the guest's interrupt table again, and says whether the handlers changed. Gates that are not there, or not in
    /// long mode, give no address.
    ///
    /// This happens at every exit, so the table is looked up through the guest's page tables only when a register that
    /// leads to it changes. (A guest that maps another page there and keeps CR3 is followed when it next loads CR3.)
    pub fn follow(&mut self, cpu: &Cpu, memory: &dyn GuestPhysical) -> bool {
        let before = self.addresses();
        let place = Place::of(cpu);
        let known = self.place.filter(|(known, _)| *known == place).map(|(_, span)| span);
        let span = known.or_else(|| {
            let covered = cpu.mode() == Mode::Long && SPAN.end - 1 <= u64::from(place.limit);
            covered
                .then(|| locate(cpu, memory, place.base.wrapping_add(SPAN.start), (SPAN.end - SPAN.start) as usize))?
        });
        self.place = span.map(|span| (place, span));
        let mut gates = [0; (SPAN.end - SPAN.start) as usize];
        match span {
            Some(span) if memory.is_memory(span, gates.len()) => {
                memory.read(span, &mut gates);
                let gate =
                    |vector: u64| gates[((vector * GATE) - SPAN.start) as usize..].first_chunk().and_then(target);
                (self.page_fault, self.undefined_opcode) = (gate(PAGE_FAULT), gate(UNDEFINED_OPCODE));
            }
            _ if cpu.mode() != Mode::Long => (self.page_fault, self.undefined_opcode) = (None, None),
            _ => {
                let gate = |vector| handler(cpu, memory, vector);
                (self.page_fault, self.undefined_opcode) = (gate(PAGE_FAULT), gate(UNDEFINED_OPCODE));
            }
        }
        before != self.addresses()
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
    if !peek(cpu, memory, idt.base.wrapping_add(offset), &mut gate) {
        return None;
    }
    target(&gate)
}

/// Where a gate leads, if it is a valid one.
fn target(gate: &[u8; GATE as usize]) -> Option<u64> {
    let [o0, o1, _, _, _, kind, o2, o3, o4, o5, o6, o7, ..] = *gate;
    (kind & GATE_VALID == GATE_VALID).then(|| u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]))
}
