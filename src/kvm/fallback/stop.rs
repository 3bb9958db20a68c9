//! Why an instruction did not run to its end: a fault for the guest, or something only a person can resolve.

use thiserror::Error;

/// Exception vectors (Intel SDM vol. 3, table 7-1).
pub mod vector {
    /// #DB, debug.
    pub const DEBUG: u8 = 1;
    /// #BP, breakpoint.
    pub const BREAKPOINT: u8 = 3;
    /// #OF, overflow.
    pub const OVERFLOW: u8 = 4;
    /// #UD, invalid opcode.
    pub const INVALID_OPCODE: u8 = 6;
    /// #NM, device not available.
    pub const DEVICE_NOT_AVAILABLE: u8 = 7;
    /// #TS, invalid TSS.
    pub const INVALID_TSS: u8 = 10;
    /// #NP, segment not present.
    pub const NOT_PRESENT: u8 = 11;
    /// #SS, stack-segment fault.
    pub const STACK: u8 = 12;
    /// #GP, general protection.
    pub const PROTECTION: u8 = 13;
    /// #PF, page fault.
    pub const PAGE: u8 = 14;
    /// #MF, x87 floating-point error.
    pub const X87: u8 = 16;
    /// #AC, alignment check.
    pub const ALIGNMENT: u8 = 17;
    /// #XM, SIMD floating-point exception.
    pub const SIMD: u8 = 19;
}

/// An exception to be raised in the guest; the instruction that caused it changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Exception vector.
    pub vector: u8,
    /// Error code, for the vectors that push one (in protected mode).
    pub error_code: Option<u32>,
    /// New value of CR2, for #PF.
    pub address: Option<u64>,
}

impl Fault {
    const fn plain(vector: u8) -> Self {
        Self { vector, error_code: None, address: None }
    }

    const fn with_code(vector: u8, error_code: u32) -> Self {
        Self { vector, error_code: Some(error_code), address: None }
    }

    /// #UD.
    pub const INVALID_OPCODE: Self = Self::plain(vector::INVALID_OPCODE);
    /// #NM.
    pub const DEVICE_NOT_AVAILABLE: Self = Self::plain(vector::DEVICE_NOT_AVAILABLE);
    /// #MF.
    pub const X87: Self = Self::plain(vector::X87);
    /// #XM.
    pub const SIMD: Self = Self::plain(vector::SIMD);
    /// #AC(0).
    pub const ALIGNMENT: Self = Self::with_code(vector::ALIGNMENT, 0);

    /// #GP with `code` (0, or a selector error code).
    pub const fn protection(code: u32) -> Self {
        Self::with_code(vector::PROTECTION, code)
    }

    /// #SS with `code`.
    pub const fn stack(code: u32) -> Self {
        Self::with_code(vector::STACK, code)
    }

    /// #NP with the error code of a selector.
    pub const fn not_present(code: u32) -> Self {
        Self::with_code(vector::NOT_PRESENT, code)
    }

    /// #TS with the error code of a selector.
    pub const fn invalid_tss(code: u32) -> Self {
        Self::with_code(vector::INVALID_TSS, code)
    }

    /// #PF at `address`.
    pub const fn page(address: u64, code: u32) -> Self {
        Self { vector: vector::PAGE, error_code: Some(code), address: Some(address) }
    }
}

/// Why natoma cannot go on with an instruction.
#[derive(Debug, Error)]
pub enum Unable {
    /// No handler knows the instruction.
    #[error("natoma does not emulate this instruction")]
    Unknown,
    /// A known instruction in a form that is left out on purpose.
    #[error("natoma does not emulate {0}")]
    Form(&'static str),
    /// The part of the vCPU's state that the instruction needs could not be had from KVM.
    #[error("the vCPU's {what} cannot be {verb}")]
    State {
        /// What was to be read or written.
        what: &'static str,
        /// "read" or "written".
        verb: &'static str,
        /// KVM's answer.
        source: kvm_ioctls::Error,
    },
    /// The host does not let the process map executable memory.
    #[error("the host refuses executable memory, which natoma needs to run the instruction on the host's CPU")]
    NoExecutableMemory(#[source] std::io::Error),
    /// The host has no XSAVE, so that the guest's floating-point state cannot be loaded.
    #[error("the host's CPU or kernel has no XSAVE, which natoma needs to run the instruction on the host's CPU")]
    NoXsave,
}

/// The way out of a handler that did not complete its instruction.
#[derive(Debug)]
pub enum Stop {
    /// Raise this exception in the guest.
    Fault(Fault),
    /// End the VM with a report.
    Unable(Unable),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Unable> for Stop {
    fn from(unable: Unable) -> Self {
        Self::Unable(unable)
    }
}
