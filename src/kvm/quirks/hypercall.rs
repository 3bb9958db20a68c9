//! Hypercalls that never end.
//!
//! A guest that uses the other vendor's hypercall instruction (VMCALL for VMMCALL) has it patched by KVM. A KVM that
//! emulates ring 0 patches and retries without end. KVM can be told not to patch: the instruction then raises #UD. Guests
//! that follow CPUID never depend on the patch. There is no probe for it, as it would not come back.

use kvm_bindings::{KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_FIX_HYPERCALL_INSN, kvm_enable_cap};
use kvm_ioctls::{Error, VmFd};

/// Switches the patching off, where KVM can.
pub(super) fn prepare_vm(vm: &VmFd) -> Result<(), Error> {
    let known = vm.check_extension_raw(u64::from(KVM_CAP_DISABLE_QUIRKS2));
    if known <= 0 || known as u32 & KVM_X86_QUIRK_FIX_HYPERCALL_INSN == 0 {
        return Ok(());
    }
    let mut cap = kvm_enable_cap { cap: KVM_CAP_DISABLE_QUIRKS2, ..Default::default() };
    cap.args[0] = u64::from(KVM_X86_QUIRK_FIX_HYPERCALL_INSN);
    vm.enable_cap(&cap)
}
