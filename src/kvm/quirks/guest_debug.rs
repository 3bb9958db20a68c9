//! The one place that computes what KVM_SET_GUEST_DEBUG is told, from two parties that need it: the quirks, which trap the
//! guest's exception handlers, and a debugger.

use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, kvm_guest_debug,
};
use kvm_ioctls::{Error, VcpuFd};

/// Breakpoint registers of a CPU.
const REGISTERS: usize = 4;
/// DR7 with no breakpoint enabled: bit 10 always reads as one.
const DR7_FIXED: u64 = 1 << 10;

/// A breakpoint or watchpoint as a debug register takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breakpoint {
    /// Linear address.
    pub address: u64,
    /// DR7's R/W field: 0 execution, 1 data writes, 3 data reads and writes.
    pub kind: u8,
    /// DR7's LEN field: 0 one byte, 1 two, 3 four, 2 eight.
    pub len: u8,
}

impl Breakpoint {
    fn on_execution(address: u64) -> Self {
        Self { address, kind: 0, len: 0 }
    }
}

/// What a debugger wants of a vCPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebuggerRequest {
    /// Exit after each instruction.
    pub single_step: bool,
    /// Exit at INT3.
    pub software_breakpoints: bool,
    /// Hardware breakpoints.
    pub breakpoints: Vec<Breakpoint>,
}

/// The debug settings of one vCPU.
#[derive(Debug, Default)]
pub struct GuestDebug {
    traps: [Option<u64>; 2],
    stepping_over: bool,
    debugger: DebuggerRequest,
    applied: kvm_guest_debug,
}

impl GuestDebug {
    /// Sets what the debugger wants. Takes effect with `apply`.
    ///
    /// Returns false, and changes nothing, if there are not enough breakpoint registers.
    pub fn set_debugger(&mut self, request: DebuggerRequest) -> bool {
        let fits = request.breakpoints.len() + self.traps.iter().flatten().count() <= REGISTERS;
        if fits {
            self.debugger = request;
        }
        fits
    }

    /// The debugger's request.
    #[must_use]
    pub fn debugger(&self) -> &DebuggerRequest {
        &self.debugger
    }

    /// Traps execution at these addresses. With all registers taken by a debugger, its last ones have to wait.
    pub(super) fn set_traps(&mut self, traps: [Option<u64>; 2]) {
        self.traps = traps;
    }

    /// True if `address` is trapped.
    pub(super) fn traps(&self, address: u64) -> bool {
        self.traps.contains(&Some(address))
    }

    /// Runs one instruction without traps, then exits.
    pub(super) fn step_over(&mut self, stepping: bool) {
        self.stepping_over = stepping;
    }

    /// True while one instruction runs without traps.
    pub(super) fn is_stepping_over(&self) -> bool {
        self.stepping_over
    }

    fn wanted(&self) -> kvm_guest_debug {
        let mut debug = kvm_guest_debug::default();
        if self.debugger.single_step || self.stepping_over {
            debug.control |= KVM_GUESTDBG_SINGLESTEP;
        }
        if self.debugger.software_breakpoints {
            debug.control |= KVM_GUESTDBG_USE_SW_BP;
        }
        if !self.stepping_over {
            let traps = self.traps.iter().flatten().map(|&address| Breakpoint::on_execution(address));
            let all = traps.chain(self.debugger.breakpoints.iter().copied());
            let mut dr7 = DR7_FIXED;
            for (n, breakpoint) in all.take(REGISTERS).enumerate() {
                debug.arch.debugreg[n] = breakpoint.address;
                dr7 |= 2 << (2 * n);
                dr7 |= u64::from(breakpoint.kind & 3 | (breakpoint.len & 3) << 2) << (16 + 4 * n);
                debug.control |= KVM_GUESTDBG_USE_HW_BP;
            }
            debug.arch.debugreg[7] = dr7;
        }
        if debug.control == 0 {
            return kvm_guest_debug::default();
        }
        debug.control |= KVM_GUESTDBG_ENABLE;
        debug
    }

    /// Tells KVM, if there is something new to tell.
    ///
    /// # Errors
    /// KVM's.
    pub fn apply(&mut self, vcpu: &VcpuFd) -> Result<(), Error> {
        let wanted = self.wanted();
        if wanted != self.applied {
            vcpu.set_guest_debug(&wanted)?;
            self.applied = wanted;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_and_breakpoints_share_the_registers() {
        let mut debug = GuestDebug::default();
        debug.set_traps([Some(0x1000), None]);
        let watch = Breakpoint { address: 0x2000, kind: 1, len: 2 };
        assert!(debug.set_debugger(DebuggerRequest { breakpoints: vec![watch; 3], ..Default::default() }));
        assert!(!debug.set_debugger(DebuggerRequest { breakpoints: vec![watch; 4], ..Default::default() }));
        let wanted = debug.wanted();
        assert_eq!(wanted.control, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP);
        assert_eq!(wanted.arch.debugreg[..4], [0x1000, 0x2000, 0x2000, 0x2000]);
        // G0-G3; kinds and lengths of DR1-DR3 are R/W=1, LEN=2.
        assert_eq!(wanted.arch.debugreg[7], 0x9990_0000 | 0x400 | 0xaa);
    }

    #[test]
    fn stepping_over_a_trap_leaves_it_out() {
        let mut debug = GuestDebug::default();
        debug.set_traps([Some(0x1000), Some(0x2000)]);
        debug.step_over(true);
        assert_eq!(debug.wanted().control, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP);
        debug.step_over(false);
        assert_eq!(debug.wanted().control, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP);
    }

    #[test]
    fn nothing_wanted_is_nothing_enabled() {
        assert_eq!(GuestDebug::default().wanted(), kvm_guest_debug::default());
    }
}
