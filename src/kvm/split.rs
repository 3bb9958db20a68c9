//! Interrupt controllers outside the kernel, with the local APICs in it (`kernel-irqchip=split`; api.rst, 7.5
//! KVM_CAP_SPLIT_IRQCHIP).
//!
//! The I/O APIC's messages go to the kernel, which tells the ends of level-triggered ones by KVM_EXIT_IOAPIC_EOI if the
//! routing table has them. The 8259's INTR reaches the first processor only: it is kicked out of the guest, and takes the
//! vector as soon as KVM has a place for it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use devices::base::msi::{ApicBus, Msi, MsiSink};
use devices::base::{Delivery, IrqSink, lock};
use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KVMIO, KvmIrqRouting, kvm_interrupt, kvm_irq_routing_entry, kvm_irq_routing_msi, kvm_msi,
};
use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

use super::control::VcpuKicker;

#[allow(missing_docs, reason = "the macro makes a public function without a comment")]
mod ioctls {
    use super::{KVMIO, ioctl_iow_nr, kvm_interrupt};
    ioctl_iow_nr!(KVM_INTERRUPT, KVMIO, 0x86, kvm_interrupt);
}

/// Pins of the I/O APIC, whose routes KVM watches.
pub const IOAPIC_PINS: usize = 24;

/// Interrupt controllers on the board, as processors see them. Called on their threads.
pub trait BoardControllers: Send + Sync {
    /// Whether the 8259 asks for an interrupt.
    fn intr(&self) -> bool;

    /// The interrupt acknowledge cycle: the vector.
    fn acknowledge(&self) -> u8;

    /// A local APIC ends the level-triggered interrupt `vector`.
    fn end_of_interrupt(&self, vector: u8);
}

/// The wire from the 8259 to the first processor.
#[derive(Default)]
pub struct Intr {
    asserted: AtomicBool,
    processor: OnceLock<VcpuKicker>,
}

impl Intr {
    /// Connects the processor; what was asserted before, it finds when it starts.
    pub fn connect(&self, processor: VcpuKicker) {
        // There is one first processor.
        let _ = self.processor.set(processor);
    }

    /// The level.
    #[must_use]
    pub fn is_asserted(&self) -> bool {
        self.asserted.load(Ordering::SeqCst)
    }
}

impl IrqSink for Intr {
    fn set_level(&self, _pin: u32, level: bool) -> Delivery {
        self.asserted.store(level, Ordering::SeqCst);
        if level && let Some(processor) = self.processor.get() {
            processor.kick();
        }
        Delivery::Delivered
    }
}

/// Gives the processor an external interrupt. KVM must have said that it is ready for one.
///
/// # Errors
/// The kernel refuses.
pub fn inject(vcpu: &VcpuFd, vector: u8) -> io::Result<()> {
    let interrupt = kvm_interrupt { irq: vector.into() };
    // SAFETY: the kernel reads one kvm_interrupt, which lives through the call.
    match unsafe { ioctl_with_ref(vcpu, ioctls::KVM_INTERRUPT(), &interrupt) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Messages of devices to the local APICs in the kernel.
pub struct KernelMessages {
    vm: Arc<VmFd>,
}

impl KernelMessages {
    /// Those to the processors of `vm`.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self { vm }
    }
}

impl MsiSink for KernelMessages {
    fn send(&self, Msi { address, data }: Msi) -> Delivery {
        let [address_lo, address_hi] = kernel_address(address);
        match self.vm.signal_msi(kvm_msi { address_lo, address_hi, data, ..Default::default() }) {
            Ok(0) => Delivery::Coalesced,
            Ok(_) => Delivery::Delivered,
            Err(errno) => {
                // A destination that no processor has; the guest's own doing.
                log::debug!("message {data:#x} to {address:#x}: {errno}");
                Delivery::Ignored
            }
        }
    }
}

/// The local APICs in the kernel as the I/O APIC on the board sees them.
pub struct KernelApics {
    messages: KernelMessages,
    /// The level-triggered messages whose ends are asked for, by pin.
    watched: Mutex<[Option<Msi>; IOAPIC_PINS]>,
}

impl KernelApics {
    /// Those of `vm`.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self { messages: KernelMessages::new(vm), watched: Mutex::default() }
    }
}

impl MsiSink for KernelApics {
    fn send(&self, message: Msi) -> Delivery {
        self.messages.send(message)
    }
}

impl ApicBus for KernelApics {
    fn watch_end(&self, pin: u8, message: Option<Msi>) {
        let mut watched = lock(&self.watched);
        let Some(slot) = watched.get_mut(usize::from(pin)) else { return };
        *slot = message;
        let entries: Vec<_> = (0..).zip(&*watched).filter_map(|(gsi, message)| Some(route(gsi, (*message)?))).collect();
        let result = KvmIrqRouting::from_entries(&entries).map(|routing| self.messages.vm.set_gsi_routing(&routing));
        if !matches!(result, Ok(Ok(()))) {
            // Only malformed routes are refused.
            log::error!("{pin}: KVM refuses the route of an interrupt: {result:?}");
        }
    }
}

fn route(gsi: u32, Msi { address, data }: Msi) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    let [address_lo, address_hi] = kernel_address(address);
    entry.u.msi = kvm_irq_routing_msi { address_lo, address_hi, data, ..Default::default() };
    entry
}

/// The two halves of an address as KVM takes it: with KVM_CAP_X2APIC_API the upper one begins with bit 8 of the destination,
/// which are the 7 extended bits (KVM_FEATURE_MSI_EXT_DEST_ID).
fn kernel_address(address: u64) -> [u32; 2] {
    const EXTENDED: u32 = 0x7f << Msi::EXTENDED_DESTINATION_SHIFT;
    let [low, high] = [address as u32, (address >> 32) as u32];
    [low & !EXTENDED, high | (low & EXTENDED) << (8 - Msi::EXTENDED_DESTINATION_SHIFT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_destinations_go_to_the_upper_half() {
        assert_eq!(kernel_address(0xfee0_1004), [0xfee0_1004, 0]);
        // Destination 7f01h.
        assert_eq!(kernel_address(0xfee0_1fe0), [0xfee0_1000, 0x7f00]);
    }
}
