//! Segment descriptors: reading them from the tables, and what LAR, LSL, VERR, VERW and far transfers make of them
//! (Intel SDM vol. 3, sections 3.4.5 and 5.8; AMD APM vol. 2, chapter 4).

use kvm_bindings::kvm_segment;

use super::context::Context;
use super::cpu::{Cpu, Mode};
use super::memory::{GuestPhysical, peek};
use super::paging::Privilege;
use super::stop::{Fault, Stop};

/// System descriptor types that matter here.
pub mod system {
    /// 16-bit TSS, available.
    pub const TSS16_AVAILABLE: u8 = 1;
    /// LDT.
    pub const LDT: u8 = 2;
    /// 16-bit TSS, busy.
    pub const TSS16_BUSY: u8 = 3;
    /// 16-bit call gate.
    pub const CALL_GATE16: u8 = 4;
    /// Task gate.
    pub const TASK_GATE: u8 = 5;
    /// 16-bit interrupt gate.
    pub const INTERRUPT_GATE16: u8 = 6;
    /// 16-bit trap gate.
    pub const TRAP_GATE16: u8 = 7;
    /// 32-bit (in long mode 64-bit) TSS, available.
    pub const TSS_AVAILABLE: u8 = 9;
    /// 32-bit (in long mode 64-bit) TSS, busy.
    pub const TSS_BUSY: u8 = 11;
    /// 32-bit (in long mode 64-bit) call gate.
    pub const CALL_GATE: u8 = 12;
    /// 32-bit (in long mode 64-bit) interrupt gate.
    pub const INTERRUPT_GATE: u8 = 14;
    /// 32-bit (in long mode 64-bit) trap gate.
    pub const TRAP_GATE: u8 = 15;
}

/// An 8-byte segment descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// Base address.
    pub fn base(self) -> u32 {
        (self.0 >> 16 & 0x00ff_ffff | self.0 >> 32 & 0xff00_0000) as u32
    }

    /// Limit in bytes.
    pub fn limit(self) -> u32 {
        let raw = (self.0 & 0xffff | self.0 >> 32 & 0xf_0000) as u32;
        if self.0 >> 55 & 1 != 0 { raw << 12 | 0xfff } else { raw }
    }

    /// The four type bits.
    pub fn kind(self) -> u8 {
        (self.0 >> 40 & 0xf) as u8
    }

    /// False for system descriptors.
    pub fn is_code_or_data(self) -> bool {
        self.0 >> 44 & 1 != 0
    }

    /// A code segment.
    pub fn is_code(self) -> bool {
        self.is_code_or_data() && self.kind() & 8 != 0
    }

    /// A code segment that runs at its caller's privilege.
    pub fn is_conforming(self) -> bool {
        self.is_code() && self.kind() & 4 != 0
    }

    /// A data segment that may be written.
    pub fn is_writable_data(self) -> bool {
        self.is_code_or_data() && self.kind() & 0xa == 2
    }

    /// A data segment, or a code segment that may be read.
    pub fn is_readable(self) -> bool {
        self.is_code_or_data() && (!self.is_code() || self.kind() & 2 != 0)
    }

    /// Descriptor privilege level.
    pub fn dpl(self) -> u8 {
        (self.0 >> 45 & 3) as u8
    }

    /// Present.
    pub fn present(self) -> bool {
        self.0 >> 47 & 1 != 0
    }

    /// 64-bit code.
    pub fn is_long_code(self) -> bool {
        self.0 >> 53 & 1 != 0
    }

    /// The D or B bit.
    pub fn is_32bit(self) -> bool {
        self.0 >> 54 & 1 != 0
    }

    /// What a segment register loaded with `selector` caches.
    pub fn cached(self, selector: u16) -> kvm_segment {
        kvm_segment {
            base: u64::from(self.base()),
            limit: self.limit(),
            selector,
            type_: self.kind(),
            present: u8::from(self.present()),
            dpl: self.dpl(),
            db: u8::from(self.is_32bit()),
            s: u8::from(self.is_code_or_data()),
            l: u8::from(self.is_long_code()),
            g: (self.0 >> 55 & 1) as u8,
            avl: (self.0 >> 52 & 1) as u8,
            unusable: 0,
            padding: 0,
        }
    }
}

/// A segment register after a null selector was loaded.
pub fn null_segment(selector: u16, dpl: u8) -> kvm_segment {
    kvm_segment { selector, dpl, unusable: 1, ..Default::default() }
}

/// What a segment register holding `selector` caches, going by the tables as they are now. `None` if it names nothing.
pub fn segment_for(cpu: &Cpu, memory: &dyn GuestPhysical, selector: u16) -> Option<kvm_segment> {
    if selector & !3 == 0 {
        return Some(null_segment(selector, (selector & 3) as u8));
    }
    let mut bytes = [0; 8];
    peek(cpu, memory, descriptor_address(cpu, selector)?, &mut bytes).then(|| {
        let mut segment = Descriptor(u64::from_le_bytes(bytes)).cached(selector);
        segment.dpl = (selector & 3) as u8;
        segment
    })
}

/// The linear address of the descriptor that `selector` names; `None` if it is null or lies outside its table.
fn descriptor_address(cpu: &Cpu, selector: u16) -> Option<u64> {
    let index = u64::from(selector & !7);
    let (base, limit) = if selector & 4 != 0 {
        let ldt = &cpu.sregs.ldt;
        (ldt.base, if ldt.unusable != 0 || ldt.present == 0 { return None } else { u64::from(ldt.limit) })
    } else {
        (cpu.sregs.gdt.base, if selector & !3 == 0 { return None } else { u64::from(cpu.sregs.gdt.limit) })
    };
    (index + 7 <= limit).then(|| base.wrapping_add(index))
}

/// The error code that names a selector.
pub fn error_code(selector: u16) -> u32 {
    u32::from(selector & !3)
}

impl Context<'_> {
    /// Reads the descriptor that `selector` names; `None` if it is null or lies outside its table.
    pub fn descriptor(&mut self, selector: u16) -> Result<Option<Descriptor>, Stop> {
        let Some(address) = descriptor_address(&self.cpu, selector) else {
            return Ok(None);
        };
        let mut bytes = [0; 8];
        self.read_linear(address, &mut bytes, Privilege::Supervisor)?;
        Ok(Some(Descriptor(u64::from_le_bytes(bytes))))
    }

    /// The descriptor that `selector` names, or `fault` with the selector's error code if there is none.
    pub fn descriptor_or(&mut self, selector: u16, fault: fn(u32) -> Fault) -> Result<Descriptor, Stop> {
        self.descriptor(selector)?.ok_or_else(|| fault(error_code(selector)).into())
    }

    /// Sets the accessed bit of the descriptor that `selector` names, as loading it into a segment register does.
    pub fn mark_accessed(&mut self, selector: u16, descriptor: Descriptor) -> Result<Descriptor, Stop> {
        if descriptor.kind() & 1 != 0 {
            return Ok(descriptor);
        }
        let accessed = Descriptor(descriptor.0 | 1 << 40);
        if let Some(address) = descriptor_address(&self.cpu, selector) {
            self.write_linear(address + 5, &accessed.0.to_le_bytes()[5..6], Privilege::Supervisor)?;
        }
        Ok(accessed)
    }

    /// The descriptor that LAR, LSL, VERR or VERW may look at: there, and visible from the current privilege and the
    /// selector's RPL. `None` clears ZF.
    pub fn visible_descriptor(&mut self, selector: u16) -> Result<Option<Descriptor>, Stop> {
        let Some(descriptor) = self.descriptor(selector)? else {
            return Ok(None);
        };
        let least = self.cpu.cpl().max((selector & 3) as u8);
        Ok((descriptor.is_conforming() || descriptor.dpl() >= least).then_some(descriptor))
    }

    /// True if the mode's TSS and gates are the 64-bit ones.
    pub fn is_long_mode(&self) -> bool {
        self.cpu.mode() == Mode::Long
    }
}
