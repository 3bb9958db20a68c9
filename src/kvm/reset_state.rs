//! The state of a vCPU at power-on, to which a reset returns it.

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_regs,
    kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

use super::vm::VmError;

/// Registers as KVM makes them: the architecture's values after RESET (Intel SDM volume 3, table 10-1).
pub struct ResetState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: Option<kvm_xcrs>,
    lapic: kvm_lapic_state,
    events: kvm_vcpu_events,
    debug: kvm_debugregs,
}

impl ResetState {
    /// Reads the state of a vCPU that has not run yet. Model specific registers are [`StateMsrs`](super::msr::StateMsrs)'.
    ///
    /// # Errors
    /// The kernel refuses to give a part.
    pub fn capture(kvm: &Kvm, fd: &VcpuFd) -> Result<Self, VmError> {
        let xcrs = kvm.check_extension(Cap::Xcrs).then(|| fd.get_xcrs()).transpose();
        Ok(Self {
            regs: fd.get_regs().map_err(VmError::new("read the registers of a virtual CPU"))?,
            sregs: fd.get_sregs().map_err(VmError::new("read the system registers of a virtual CPU"))?,
            xsave: fd.get_xsave().map_err(VmError::new("read the FPU of a virtual CPU"))?,
            xcrs: xcrs.map_err(VmError::new("read the extended control registers of a virtual CPU"))?,
            lapic: fd.get_lapic().map_err(VmError::new("read the local APIC of a virtual CPU"))?,
            events: fd.get_vcpu_events().map_err(VmError::new("read the events of a virtual CPU"))?,
            debug: fd.get_debug_regs().map_err(VmError::new("read the debug registers of a virtual CPU"))?,
        })
    }

    /// The system registers at power-on.
    #[must_use]
    pub fn sregs(&self) -> kvm_sregs {
        self.sregs
    }

    /// Puts a vCPU back into this state.
    ///
    /// # Errors
    /// The kernel refuses a part.
    pub fn restore(&self, fd: &VcpuFd) -> Result<(), VmError> {
        fd.set_sregs(&self.sregs).map_err(VmError::new("reset the system registers of a virtual CPU"))?;
        fd.set_regs(&self.regs).map_err(VmError::new("reset the registers of a virtual CPU"))?;
        if let Some(xcrs) = &self.xcrs {
            fd.set_xcrs(xcrs).map_err(VmError::new("reset the extended control registers of a virtual CPU"))?;
        }
        // SAFETY: the state has the 4096 bytes that KVM reads as long as no larger state (AMX) was permitted to the
        // process, which natoma does not ask for.
        unsafe { fd.set_xsave(&self.xsave) }.map_err(VmError::new("reset the FPU of a virtual CPU"))?;
        fd.set_debug_regs(&self.debug).map_err(VmError::new("reset the debug registers of a virtual CPU"))?;
        fd.set_lapic(&self.lapic).map_err(VmError::new("reset the local APIC of a virtual CPU"))?;
        fd.set_vcpu_events(&self.events).map_err(VmError::new("reset the events of a virtual CPU"))
    }
}

/// Lets a vCPU run, or wait for INIT and SIPI as application processors do after power-on.
///
/// # Errors
/// The kernel refuses.
pub fn set_waiting(fd: &VcpuFd, waiting: bool) -> Result<(), VmError> {
    let mp_state = if waiting { KVM_MP_STATE_UNINITIALIZED } else { KVM_MP_STATE_RUNNABLE };
    fd.set_mp_state(kvm_mp_state { mp_state }).map_err(VmError::new("set the run state of a virtual CPU"))
}
