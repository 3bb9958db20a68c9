//! Departures of particular hosts from what KVM documents, each found by a probe and made good here.
//!
//! They are those of a KVM without hardware virtualisation ("kvm-pvm": ring 3 runs natively, everything else in the
//! kernel's instruction emulator). On a host with hardware virtualisation nothing in this module does anything: see
//! [`HostQuirks::detect`].
//!
//! | quirk | what the host does | what natoma does |
//! |---|---|---|
//! | [`ring3_syscall`] | SYSCALL in 64-bit ring 3 jumps to LSTAR without leaving ring 3: #PF there | turns that #PF into the system call |
//! | [`undefined_opcode`] | #UD for INT n in ring 3, for MOVBE and RDPID in ring 0, for most of 32-bit ring 3 | turns that #UD into the instruction |
//! | [`pm32_interrupt`] | interrupts in 32-bit protected mode with segment bases: shutdown, or a lost frame | delivers the interrupt |
//! | [`hypercall`] | VMCALL and VMMCALL never end | has KVM raise #UD instead |
//! | LZCNT, TZCNT | run as BSR and BSF in ring 0 | cannot be noticed; [`Findings::bit_scans`] says so, for CPUID to hide LZCNT |
//!
//! Everything else that such a host leaves out ends in an emulation failure, and so in [`super::fallback`].

mod guest_debug;
mod handler_traps;
pub mod hypercall;
pub(super) mod micro_vm;
pub mod pm32_interrupt;
mod probe;
pub mod ring3_syscall;
pub mod undefined_opcode;
mod vcpu;

use std::arch::x86_64::__cpuid;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::sync::OnceLock;

use kvm_ioctls::{Cap, Error, Kvm, VmFd};

pub use self::guest_debug::{DebuggerRequest, GuestDebug};
pub use self::probe::Findings;
pub use self::vcpu::{Handled, VcpuFixups};
use super::msr;

/// What is known about the host's departures: nothing at first, and for good where nothing can be wrong.
#[derive(Debug)]
pub struct HostQuirks {
    /// KVM, to probe with; `None` on hosts that are beyond suspicion.
    kvm: Option<Kvm>,
    findings: OnceLock<Findings>,
}

impl HostQuirks {
    /// Decides whether the host has to be probed at all, which takes two capability checks and at most three CPUID
    /// instructions.
    ///
    /// KVM runs guests by VMX or SVM; a CPU that shows user space neither cannot do that, so this KVM is of another
    /// kind. A CPU that shows one may still run another kind of KVM, which then offers neither system management mode nor
    /// nested virtualisation, as those need the hardware (SMM may be compiled out, nesting switched off; both at once costs
    /// no more than a probe).
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn detect(kvm: &Kvm) -> Result<Self, Error> {
        let has_vmx = || __cpuid(1).ecx >> 5 & 1 != 0;
        let has_svm = || __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).ecx >> 2 & 1 != 0;
        let may_use_hardware = kvm.check_extension(Cap::X86Smm) || kvm.check_extension(Cap::NestedState);
        if may_use_hardware && (has_vmx() || has_svm()) {
            return Ok(Self { kvm: None, findings: OnceLock::from(Findings::default()) });
        }
        Ok(Self { kvm: Some(duplicate(kvm)?), findings: OnceLock::new() })
    }

    /// True if the host has to be probed before it can be called free of quirks.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.kvm.is_some()
    }

    /// What is wrong with the host. The first call on a suspect host runs a micro-VM, which takes about 2 ms.
    ///
    /// A probe that fails is logged and finds nothing: the guest then meets the host as it is.
    pub fn findings(&self) -> &Findings {
        self.findings.get_or_init(|| {
            let Some(kvm) = &self.kvm else { return Findings::default() };
            probe::probe(kvm).unwrap_or_else(|error| {
                log::warn!("cannot probe the host's KVM for its departures from the documented behaviour: {error}");
                Findings::default()
            })
        })
    }

    /// Prepares a VM on this host, before its first vCPU is created, and sets its MSR filter. Where nothing can be wrong that
    /// is all it does.
    ///
    /// # Errors
    /// KVM's.
    pub fn prepare_vm(&self, vm: &VmFd) -> Result<(), Error> {
        if !self.is_suspect() {
            return msr::filter(vm, &[]);
        }
        hypercall::prepare_vm(vm)?;
        msr::filter(vm, &[ring3_syscall::filtered_msrs()])
    }
}

fn duplicate(kvm: &Kvm) -> Result<Kvm, Error> {
    // SAFETY: `kvm` keeps the descriptor open during the call.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(kvm.as_raw_fd()) };
    let owned =
        borrowed.try_clone_to_owned().map_err(|error| Error::new(error.raw_os_error().unwrap_or(libc::EMFILE)))?;
    // SAFETY: a descriptor of /dev/kvm that nobody else owns.
    Ok(unsafe { Kvm::from_raw_fd(owned.into_raw_fd()) })
}

#[cfg(test)]
mod tests;
