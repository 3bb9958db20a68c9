//! What a handler works on: a copy of the registers, guest memory, and the state that is fetched on demand.

use kvm_ioctls::Error;

use super::cpu::{Cpu, Mode, cr0, cr4};
use super::memory::GuestPhysical;
use super::native::Native;
use super::state::VcpuState;
use super::stop::{Fault, Stop, Unable};
use super::xstate::{XsaveArea, component};

/// How the instruction pointer moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next instruction.
    Next,
    /// The handler has set it.
    Jumped,
}

/// The floating-point state of the vCPU at work, kept between instructions for its memory only.
#[derive(Default)]
pub struct Fpu {
    area: XsaveArea,
    loaded: bool,
    changed: bool,
}

/// One instruction at work.
pub struct Context<'a> {
    /// A copy of the registers, which becomes the vCPU's when the instruction completes.
    pub cpu: Cpu,
    /// State that costs an ioctl.
    pub vcpu: &'a dyn VcpuState,
    /// Guest-physical memory.
    pub memory: &'a dyn GuestPhysical,
    /// The means to run an instruction on the host's CPU.
    pub native: &'a mut Native,
    fpu: &'a mut Fpu,
    xcr0: Option<u64>,
}

impl<'a> Context<'a> {
    /// A context for one instruction. State left in `fpu` and `native` is not looked at.
    pub fn new(
        cpu: Cpu,
        vcpu: &'a dyn VcpuState,
        memory: &'a dyn GuestPhysical,
        native: &'a mut Native,
        fpu: &'a mut Fpu,
    ) -> Self {
        fpu.loaded = false;
        fpu.changed = false;
        Self { cpu, vcpu, memory, native, fpu, xcr0: None }
    }

    /// The floating-point state, to read.
    pub fn fpu(&mut self) -> Result<&mut XsaveArea, Stop> {
        if !self.fpu.loaded {
            self.vcpu.xsave(&mut self.fpu.area).map_err(|error| state("floating-point state", "read", error))?;
            self.fpu.area.fill_unused();
            self.fpu.loaded = true;
        }
        Ok(&mut self.fpu.area)
    }

    /// The floating-point state, to change: it goes back to the vCPU when the instruction ends, even by a fault.
    pub fn fpu_mut(&mut self) -> Result<&mut XsaveArea, Stop> {
        self.fpu()?;
        self.fpu.changed = true;
        Ok(&mut self.fpu.area)
    }

    /// Hands a changed floating-point state back to the vCPU.
    pub fn commit_fpu(&mut self) -> Result<(), Unable> {
        if std::mem::take(&mut self.fpu.changed) {
            self.vcpu.set_xsave(&self.fpu.area).map_err(|error| state("floating-point state", "written", error))?;
        }
        Ok(())
    }

    /// XCR0.
    pub fn xcr0(&mut self) -> Result<u64, Stop> {
        match self.xcr0 {
            Some(value) => Ok(value),
            None => {
                let value = self.vcpu.xcr0().map_err(|error| state("XCR0", "read", error))?;
                Ok(*self.xcr0.insert(value))
            }
        }
    }

    /// Reads an MSR that every CPU of the guest's kind has.
    pub fn msr(&self, index: u32) -> Result<u64, Stop> {
        let value = self.vcpu.msr(index).map_err(|error| state("MSRs", "read", error))?;
        Ok(value.ok_or(Fault::protection(0))?)
    }

    /// #GP(0) unless at CPL 0.
    pub fn require_cpl0(&self) -> Result<(), Fault> {
        if self.cpu.cpl() == 0 { Ok(()) } else { Err(Fault::protection(0)) }
    }

    /// #UD in real and virtual-8086 mode.
    pub fn require_protected_mode(&self) -> Result<(), Fault> {
        match self.cpu.mode() {
            Mode::Protected | Mode::Long => Ok(()),
            Mode::Real | Mode::Virtual8086 => Err(Fault::INVALID_OPCODE),
        }
    }

    /// #NM if x87 instructions are switched off.
    pub fn require_x87(&self) -> Result<(), Fault> {
        if self.cpu.sregs.cr0 & (cr0::EM | cr0::TS) == 0 { Ok(()) } else { Err(Fault::DEVICE_NOT_AVAILABLE) }
    }

    /// #NM if the floating-point state belongs to another task.
    pub fn require_task_fpu(&self) -> Result<(), Fault> {
        if self.cpu.sregs.cr0 & cr0::TS == 0 { Ok(()) } else { Err(Fault::DEVICE_NOT_AVAILABLE) }
    }

    /// The checks before an MMX instruction, pending x87 exceptions apart.
    pub fn require_mmx(&self) -> Result<(), Fault> {
        if self.cpu.sregs.cr0 & cr0::EM != 0 {
            return Err(Fault::INVALID_OPCODE);
        }
        self.require_task_fpu()
    }

    /// The checks before an SSE instruction.
    pub fn require_sse(&self) -> Result<(), Fault> {
        if self.cpu.sregs.cr0 & cr0::EM != 0 || self.cpu.sregs.cr4 & cr4::OSFXSR == 0 {
            return Err(Fault::INVALID_OPCODE);
        }
        self.require_task_fpu()
    }

    /// #UD unless the guest has switched XSAVE on.
    pub fn require_xsave(&self) -> Result<(), Fault> {
        if self.cpu.sregs.cr4 & cr4::OSXSAVE != 0 { Ok(()) } else { Err(Fault::INVALID_OPCODE) }
    }

    /// The checks before a VEX- or EVEX-encoded vector instruction that needs the state components `needed`.
    pub fn require_avx(&mut self, needed: u64) -> Result<(), Stop> {
        self.require_protected_mode()?;
        self.require_xsave()?;
        let needed = needed | component::SSE | component::AVX;
        if self.xcr0()? & needed != needed {
            return Err(Fault::INVALID_OPCODE.into());
        }
        Ok(self.require_task_fpu()?)
    }
}

/// The error for a failed ioctl.
pub fn state(what: &'static str, verb: &'static str, source: Error) -> Unable {
    Unable::State { what, verb, source }
}
