//! The parts of a vCPU's state that cost an ioctl each, fetched only when an instruction needs them.

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_sregs, kvm_xsave};
use kvm_ioctls::{Error, VcpuFd};

use super::cpu::cr4;
use super::xstate::XsaveArea;

/// Access to vCPU state outside the synchronised registers.
pub trait VcpuState {
    /// The floating-point and vector state.
    ///
    /// # Errors
    /// KVM's; also for a guest with AMX, whose state does not fit.
    fn xsave(&self, area: &mut XsaveArea) -> Result<(), Error>;

    /// Replaces the floating-point and vector state.
    ///
    /// # Errors
    /// KVM's.
    fn set_xsave(&self, area: &XsaveArea) -> Result<(), Error>;

    /// XCR0; 1 (x87 only) where the vCPU has no XSAVE.
    ///
    /// # Errors
    /// KVM's.
    fn xcr0(&self) -> Result<u64, Error>;

    /// Reads an MSR; `None` if KVM does not know it.
    ///
    /// # Errors
    /// KVM's.
    fn msr(&self, index: u32) -> Result<Option<u64>, Error>;

    /// Writes an MSR; false if KVM refuses the index or the value.
    ///
    /// # Errors
    /// KVM's.
    fn set_msr(&self, index: u32, value: u64) -> Result<bool, Error>;

    /// Drops all cached translations of this vCPU, whose system registers are `sregs`.
    ///
    /// # Errors
    /// KVM's.
    fn flush_tlb(&self, sregs: &kvm_sregs) -> Result<(), Error>;

    /// Sets bits of DR6 (the cause of a #DB that is about to be raised).
    ///
    /// # Errors
    /// KVM's.
    fn raise_dr6(&self, bits: u64) -> Result<(), Error>;
}

impl VcpuState for VcpuFd {
    fn xsave(&self, area: &mut XsaveArea) -> Result<(), Error> {
        let state = self.get_xsave()?;
        for (bytes, word) in area.bytes.as_chunks_mut::<4>().0.iter_mut().zip(&state.region) {
            *bytes = word.to_le_bytes();
        }
        Ok(())
    }

    fn set_xsave(&self, area: &XsaveArea) -> Result<(), Error> {
        let mut state = kvm_xsave::default();
        for (word, bytes) in state.region.iter_mut().zip(area.bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        // SAFETY: KVM_SET_XSAVE reads KVM_CAP_XSAVE2 bytes, 4096 unless the process has asked the kernel for AMX for its
        // guests; then KVM_GET_XSAVE, which filled `area`, has failed before.
        unsafe { VcpuFd::set_xsave(self, &state) }
    }

    fn xcr0(&self) -> Result<u64, Error> {
        let xcrs = self.get_xcrs()?;
        let known = &xcrs.xcrs[..(xcrs.nr_xcrs as usize).min(xcrs.xcrs.len())];
        Ok(known.iter().find(|xcr| xcr.xcr == 0).map_or(1, |xcr| xcr.value))
    }

    fn msr(&self, index: u32) -> Result<Option<u64>, Error> {
        let mut msrs = one_msr(index, 0);
        let read = self.get_msrs(&mut msrs)?;
        Ok((read == 1).then(|| msrs.as_slice()[0].data))
    }

    fn set_msr(&self, index: u32, value: u64) -> Result<bool, Error> {
        Ok(self.set_msrs(&one_msr(index, value))? == 1)
    }

    fn flush_tlb(&self, sregs: &kvm_sregs) -> Result<(), Error> {
        // There is no ioctl for it, but KVM drops everything when CR4 is set to another value.
        let mut other = *sregs;
        other.cr4 ^= cr4::PGE;
        self.set_sregs(&other)?;
        self.set_sregs(sregs)
    }

    fn raise_dr6(&self, bits: u64) -> Result<(), Error> {
        let mut registers = self.get_debug_regs()?;
        registers.dr6 |= bits;
        self.set_debug_regs(&registers)
    }
}

fn one_msr(index: u32, data: u64) -> Msrs {
    let entry = kvm_msr_entry { index, data, ..Default::default() };
    Msrs::from_entries(&[entry]).expect("one entry is fewer than the maximum")
}
