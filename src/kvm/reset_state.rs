//! The state of a vCPU at power-on, to which a reset returns it.

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED, Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state,
    kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
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
    msrs: Vec<kvm_msr_entry>,
}

impl ResetState {
    /// Reads the state of a vCPU that has not run yet. `msrs` are the model specific registers that a reset restores;
    /// those that this host does not have are left out.
    ///
    /// # Errors
    /// The kernel refuses to give a part.
    pub fn capture(kvm: &Kvm, fd: &VcpuFd, msrs: impl Iterator<Item = u32>) -> Result<Self, VmError> {
        let xcrs = kvm.check_extension(Cap::Xcrs).then(|| fd.get_xcrs()).transpose();
        Ok(Self {
            regs: fd.get_regs().map_err(VmError::new("read the registers of a virtual CPU"))?,
            sregs: fd.get_sregs().map_err(VmError::new("read the system registers of a virtual CPU"))?,
            xsave: fd.get_xsave().map_err(VmError::new("read the FPU of a virtual CPU"))?,
            xcrs: xcrs.map_err(VmError::new("read the extended control registers of a virtual CPU"))?,
            lapic: fd.get_lapic().map_err(VmError::new("read the local APIC of a virtual CPU"))?,
            events: fd.get_vcpu_events().map_err(VmError::new("read the events of a virtual CPU"))?,
            debug: fd.get_debug_regs().map_err(VmError::new("read the debug registers of a virtual CPU"))?,
            msrs: read_msrs(fd, msrs)?,
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
        restore_msrs(fd, &self.msrs)?;
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

/// Reads the registers that exist; KVM stops at the first that does not, which is then skipped.
fn read_msrs(fd: &VcpuFd, indices: impl Iterator<Item = u32>) -> Result<Vec<kvm_msr_entry>, VmError> {
    let mut wanted: Vec<_> = indices.map(|index| kvm_msr_entry { index, ..Default::default() }).collect();
    let mut found = Vec::with_capacity(wanted.len());
    while !wanted.is_empty() {
        let mut msrs = batch(&wanted)?;
        let count = fd.get_msrs(&mut msrs).map_err(VmError::new("read the model specific registers"))?;
        found.extend_from_slice(&msrs.as_slice()[..count]);
        wanted.drain(..(count + 1).min(wanted.len()));
    }
    Ok(found)
}

/// Writes model specific registers.
///
/// # Errors
/// The kernel refuses one.
pub fn write_msrs(fd: &VcpuFd, registers: &[(u32, u64)]) -> Result<(), VmError> {
    let entry = |&(index, data): &(u32, u64)| kvm_msr_entry { index, data, ..Default::default() };
    let entries: Vec<_> = registers.iter().map(entry).collect();
    let error = VmError::new("set the model specific registers of a virtual CPU");
    let written = fd.set_msrs(&batch(&entries)?).map_err(&error)?;
    if written == entries.len() { Ok(()) } else { Err(error(kvm_ioctls::Error::new(libc::EINVAL))) }
}

/// Writes registers that were read before. A host that shows a register it does not let write is tolerated.
fn restore_msrs(fd: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<(), VmError> {
    let mut rest = entries;
    while !rest.is_empty() {
        let count = fd.set_msrs(&batch(rest)?).map_err(VmError::new("reset the model specific registers"))?;
        rest = rest.get(count + 1..).unwrap_or_default();
    }
    Ok(())
}

fn batch(entries: &[kvm_msr_entry]) -> Result<Msrs, VmError> {
    Msrs::from_entries(entries)
        .map_err(|_| VmError::new("take so many model specific registers")(kvm_ioctls::Error::new(libc::E2BIG)))
}
