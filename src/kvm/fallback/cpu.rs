//! The registers of a vCPU as KVM hands them over, and what follows from them: mode, privilege, register names.

use iced_x86::Register;
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs, kvm_sync_regs, kvm_vcpu_events};

/// RFLAGS bits (Intel SDM vol. 1, section 3.4.3).
pub mod flags {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Always one.
    pub const FIXED: u64 = 1 << 1;
    /// Parity.
    pub const PF: u64 = 1 << 2;
    /// Auxiliary carry.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Trap.
    pub const TF: u64 = 1 << 8;
    /// Interrupt enable.
    pub const IF: u64 = 1 << 9;
    /// Direction.
    pub const DF: u64 = 1 << 10;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
    /// I/O privilege level.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check, access control.
    pub const AC: u64 = 1 << 18;
    /// Virtual interrupt flag.
    pub const VIF: u64 = 1 << 19;
    /// Virtual interrupt pending.
    pub const VIP: u64 = 1 << 20;
    /// CPUID is there.
    pub const ID: u64 = 1 << 21;
    /// The six status flags.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}

/// CR0 bits.
pub mod cr0 {
    /// Protection enable.
    pub const PE: u64 = 1 << 0;
    /// Monitor coprocessor.
    pub const MP: u64 = 1 << 1;
    /// Emulation (no x87).
    pub const EM: u64 = 1 << 2;
    /// Task switched.
    pub const TS: u64 = 1 << 3;
    /// Write protect.
    pub const WP: u64 = 1 << 16;
    /// Alignment mask.
    pub const AM: u64 = 1 << 18;
    /// Paging.
    pub const PG: u64 = 1 << 31;
}

/// CR4 bits.
pub mod cr4 {
    /// Time stamp disable.
    pub const TSD: u64 = 1 << 2;
    /// Page size extensions.
    pub const PSE: u64 = 1 << 4;
    /// Physical address extension.
    pub const PAE: u64 = 1 << 5;
    /// Global pages.
    pub const PGE: u64 = 1 << 7;
    /// FXSAVE and SSE enabled.
    pub const OSFXSR: u64 = 1 << 9;
    /// Unmasked SIMD exceptions raise #XM.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// Five-level paging.
    pub const LA57: u64 = 1 << 12;
    /// Process-context identifiers.
    pub const PCIDE: u64 = 1 << 17;
    /// XSAVE enabled.
    pub const OSXSAVE: u64 = 1 << 18;
    /// Supervisor-mode execution prevention.
    pub const SMEP: u64 = 1 << 20;
    /// Supervisor-mode access prevention.
    pub const SMAP: u64 = 1 << 21;
    /// Protection keys for user pages.
    pub const PKE: u64 = 1 << 22;
    /// Control-flow enforcement.
    pub const CET: u64 = 1 << 23;
}

/// EFER bits.
pub mod efer {
    /// Long mode active.
    pub const LMA: u64 = 1 << 10;
    /// No-execute enabled.
    pub const NXE: u64 = 1 << 11;
}

/// How the CPU interprets segments and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Real-address mode.
    Real,
    /// Virtual-8086 mode.
    Virtual8086,
    /// Protected mode outside long mode.
    Protected,
    /// Long mode, compatibility mode included.
    Long,
}

/// A vCPU's general and system registers and its pending events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpu {
    /// General registers, RIP and RFLAGS.
    pub regs: kvm_regs,
    /// Segments, descriptor tables, control registers.
    pub sregs: kvm_sregs,
    /// Exceptions and interrupts on their way into the guest.
    pub events: kvm_vcpu_events,
}

impl From<kvm_sync_regs> for Cpu {
    fn from(sync: kvm_sync_regs) -> Self {
        Self { regs: sync.regs, sregs: sync.sregs, events: sync.events }
    }
}

impl Cpu {
    /// The operating mode.
    pub fn mode(&self) -> Mode {
        if self.sregs.cr0 & cr0::PE == 0 {
            Mode::Real
        } else if self.sregs.efer & efer::LMA != 0 {
            Mode::Long
        } else if self.regs.rflags & flags::VM != 0 {
            Mode::Virtual8086
        } else {
            Mode::Protected
        }
    }

    /// Width of the code segment: 16, 32 or 64.
    pub fn bitness(&self) -> u32 {
        if self.mode() == Mode::Long && self.sregs.cs.l != 0 {
            64
        } else if self.sregs.cs.db != 0 {
            32
        } else {
            16
        }
    }

    /// Current privilege level.
    pub fn cpl(&self) -> u8 {
        match self.mode() {
            Mode::Real => 0,
            Mode::Virtual8086 => 3,
            // The DPL of SS is the CPL (SDM vol. 3, 26.3.1.5); CS keeps real-mode bits until its first far jump.
            Mode::Protected | Mode::Long => self.sregs.ss.dpl & 3,
        }
    }

    /// Width of the stack pointer: 16, 32 or 64.
    pub fn stack_bits(&self) -> u32 {
        if self.bitness() == 64 {
            64
        } else if self.sregs.ss.db != 0 {
            32
        } else {
            16
        }
    }

    /// The general register with hardware number `number` (0 is RAX, 4 is RSP).
    ///
    /// # Panics
    /// If `number` is above 15.
    pub fn gpr(&self, number: usize) -> u64 {
        let r = &self.regs;
        [r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15]
            [number]
    }

    /// The place of the general register with hardware number `number`.
    ///
    /// # Panics
    /// If `number` is above 15.
    pub fn gpr_mut(&mut self, number: usize) -> &mut u64 {
        let r = &mut self.regs;
        match number {
            0 => &mut r.rax,
            1 => &mut r.rcx,
            2 => &mut r.rdx,
            3 => &mut r.rbx,
            4 => &mut r.rsp,
            5 => &mut r.rbp,
            6 => &mut r.rsi,
            7 => &mut r.rdi,
            8 => &mut r.r8,
            9 => &mut r.r9,
            10 => &mut r.r10,
            11 => &mut r.r11,
            12 => &mut r.r12,
            13 => &mut r.r13,
            14 => &mut r.r14,
            15 => &mut r.r15,
            _ => unreachable!("x86 has 16 general registers"),
        }
    }

    /// The value of a general register of any width, or of RIP; zero-extended. `None` for other registers.
    pub fn get(&self, register: Register) -> Option<u64> {
        if matches!(register, Register::RIP | Register::EIP) {
            return Some(self.regs.rip);
        }
        if !register.is_gpr() {
            return None;
        }
        let full = self.gpr(register.full_register().number());
        Some(match (register, register.size()) {
            (Register::AH | Register::CH | Register::DH | Register::BH, _) => full >> 8 & 0xff,
            (_, 1) => full & 0xff,
            (_, 2) => full & 0xffff,
            (_, 4) => full & 0xffff_ffff,
            _ => full,
        })
    }

    /// Writes a general register: 8- and 16-bit writes keep the rest of the register, 32-bit writes clear the upper half.
    pub fn set(&mut self, register: Register, value: u64) {
        debug_assert!(register.is_gpr());
        let full = self.gpr_mut(register.full_register().number());
        *full = match (register, register.size()) {
            (Register::AH | Register::CH | Register::DH | Register::BH, _) => *full & !0xff00 | (value & 0xff) << 8,
            (_, 1) => *full & !0xff | value & 0xff,
            (_, 2) => *full & !0xffff | value & 0xffff,
            (_, 4) => value & 0xffff_ffff,
            _ => value,
        };
    }

    /// The cached descriptor of a segment register.
    ///
    /// # Panics
    /// If `register` is not a segment register.
    pub fn segment(&self, register: Register) -> &kvm_segment {
        match register {
            Register::CS => &self.sregs.cs,
            Register::DS => &self.sregs.ds,
            Register::ES => &self.sregs.es,
            Register::FS => &self.sregs.fs,
            Register::GS => &self.sregs.gs,
            Register::SS => &self.sregs.ss,
            _ => unreachable!("{register:?} is not a segment register"),
        }
    }

    /// Replaces the status flags.
    pub fn set_status(&mut self, status: u64) {
        self.regs.rflags = self.regs.rflags & !flags::STATUS | status & flags::STATUS;
    }

    /// Sets the instruction pointer, cut to the width of the code segment.
    pub fn set_ip(&mut self, ip: u64) {
        self.regs.rip = ip & width_mask(self.bitness());
    }
}

/// The bits of a value `bits` wide (16, 32 or 64).
pub fn width_mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}
