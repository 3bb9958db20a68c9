//! One virtual machine of KVM with the interrupt controllers and the PIT of a PC.

use std::io;
use std::sync::Arc;

use kvm_bindings::{KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, KVM_PIT_SPEAKER_DUMMY, kvm_enable_cap, kvm_pit_config};
use kvm_ioctls::{Kvm, VmFd};

use super::irq;
use super::quirks::HostQuirks;
use super::split::IOAPIC_PINS;

/// The page that KVM identity-maps and the three pages of its TSS, on processors that can't run real mode unaided.
/// They lie where QEMU puts them, inside the area that the memory map reserves.
const IDENTITY_MAP: u64 = 0xfeff_c000;
const TSS: usize = 0xfeff_d000;

/// Flags of KVM_CAP_X2APIC_API (api.rst 7.7): destination ids of 32 bits, and no broadcast at FFh.
const X2APIC_API_USE_32BIT_IDS: u64 = 1 << 0;
const X2APIC_API_DISABLE_BROADCAST_QUIRK: u64 = 1 << 1;

/// Why the VM could not be made.
#[derive(Debug, thiserror::Error)]
#[error("KVM refuses to {doing}")]
pub struct VmError {
    doing: &'static str,
    #[source]
    source: io::Error,
}

impl VmError {
    /// Wraps the error number of a KVM call; `doing` completes "KVM refuses to ...".
    pub(crate) fn new(doing: &'static str) -> impl Fn(kvm_ioctls::Error) -> Self {
        move |errno| Self { doing, source: io::Error::from_raw_os_error(errno.errno()) }
    }
}

/// Makes a VM with nothing in it. `quirks` are those of the host.
///
/// Its memory slots are best set before [`add_chips`]: the kernel makes some chips visible in the background, and holds
/// up a change of the slots, by some milliseconds, until that is done.
///
/// # Errors
/// The kernel refuses a step; the error says which.
pub fn create(kvm: &Kvm, quirks: &HostQuirks) -> Result<Arc<VmFd>, VmError> {
    let vm = loop {
        match kvm.create_vm() {
            // The kernel gives up at any signal, such as a timer of ours.
            Err(errno) if errno.errno() == libc::EINTR => {}
            result => break result.map_err(VmError::new("create a virtual machine"))?,
        }
    };
    // While the VM is new: it would be held up like a change of the slots.
    quirks.prepare_vm(&vm).map_err(VmError::new("make up for what it leaves out"))?;
    vm.set_identity_map_address(IDENTITY_MAP).map_err(VmError::new("place its identity map"))?;
    vm.set_tss_address(TSS).map_err(VmError::new("place its task state segment"))?;
    Ok(Arc::new(vm))
}

/// Adds the local APICs in the kernel, for interrupt controllers outside it. Comes before the first virtual CPU.
///
/// `wide_apic_ids` allows APIC ids above 254.
///
/// # Errors
/// The kernel refuses a step; the error says which.
pub fn add_local_apics(vm: &VmFd, wide_apic_ids: bool) -> Result<(), VmError> {
    if wide_apic_ids {
        use_wide_apic_ids(vm)?;
    }
    let mut cap = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
    cap.args[0] = IOAPIC_PINS as u64;
    vm.enable_cap(&cap).map_err(VmError::new("leave the I/O APIC and the 8259s to natoma; use kernel-irqchip=on"))
}

fn use_wide_apic_ids(vm: &VmFd) -> Result<(), VmError> {
    let mut cap = kvm_enable_cap { cap: KVM_CAP_X2APIC_API, ..Default::default() };
    cap.args[0] = X2APIC_API_USE_32BIT_IDS | X2APIC_API_DISABLE_BROADCAST_QUIRK;
    vm.enable_cap(&cap).map_err(VmError::new("use APIC ids above 254"))
}

/// Adds PICs, I/O APIC, PIT and port 61h in the kernel, routed as in a PC. Comes before the first virtual CPU.
///
/// `wide_apic_ids` allows APIC ids above 254.
///
/// # Errors
/// The kernel refuses a step; the error says which.
pub fn add_chips(vm: &VmFd, wide_apic_ids: bool) -> Result<(), VmError> {
    if wide_apic_ids {
        use_wide_apic_ids(vm)?;
    }
    vm.create_irq_chip().map_err(VmError::new("create the interrupt controllers"))?;
    // The kernel serves port 61h itself, with gate and output of channel 2 exact to the PIT's tick.
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(pit).map_err(VmError::new("create the interval timer"))?;
    irq::install_routes(vm).map_err(|source| VmError { doing: "route the interrupts", source })
}
