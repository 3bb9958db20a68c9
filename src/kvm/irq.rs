//! Interrupt inputs of the in-kernel controllers, addressed by global system interrupt (GSI).

use std::os::fd::AsRawFd;
use std::sync::Arc;

use devices::base::{Delivery, IrqSink};
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVMIO, KvmIrqRouting,
    kvm_irq_level, kvm_irq_level__bindgen_ty_1, kvm_irq_routing_entry, kvm_irq_routing_irqchip,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::ioctl_with_mut_ref;
use vmm_sys_util::ioctl_iowr_nr;

#[allow(missing_docs, reason = "the macro makes a public function without a comment")]
mod ioctls {
    use super::{KVMIO, ioctl_iowr_nr, kvm_irq_level};
    ioctl_iowr_nr!(KVM_IRQ_LINE_STATUS, KVMIO, 0x67, kvm_irq_level);
}

/// Pins of the I/O APIC.
const IOAPIC_PINS: u32 = 24;
/// The timer's pin on the I/O APIC; its GSI is 0 as on the PIC (MADT interrupt source override).
const IOAPIC_TIMER_PIN: u32 = 2;

/// Drives GSIs by KVM_IRQ_LINE_STATUS.
pub struct GsiSink(Arc<VmFd>);

impl GsiSink {
    /// The GSIs of `vm`.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self(vm)
    }
}

impl IrqSink for GsiSink {
    fn set_level(&self, pin: u32, level: bool) -> Delivery {
        let mut request =
            kvm_irq_level { __bindgen_anon_1: kvm_irq_level__bindgen_ty_1 { irq: pin }, level: u32::from(level) };
        // SAFETY: the kernel reads and writes one kvm_irq_level, which lives through the call.
        let result = unsafe { ioctl_with_mut_ref(&self.0.as_raw_fd(), ioctls::KVM_IRQ_LINE_STATUS(), &mut request) };
        if result < 0 {
            // Only a missing interrupt controller is refused, and the machine has been given one.
            log::error!("KVM_IRQ_LINE_STATUS for GSI {pin}: {}", std::io::Error::last_os_error());
            return Delivery::Ignored;
        }
        // SAFETY: both variants are 32 bits, and the kernel has stored the status.
        match unsafe { request.__bindgen_anon_1.status } {
            0 => Delivery::Coalesced,
            status if status > 0 => Delivery::Delivered,
            _ => Delivery::Ignored,
        }
    }
}

/// The routes of a PC: GSIs 0 to 15 go to both PICs and the I/O APIC, the rest to the I/O APIC alone; the timer's GSI 0
/// arrives at I/O APIC pin 2.
#[must_use]
pub fn pc_routes() -> Vec<kvm_irq_routing_entry> {
    let entry = |gsi: u32, irqchip, pin| {
        let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
        entry.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
        entry
    };
    // Input 2 of the master is the cascade.
    let pic = (0..16).filter(|gsi| *gsi != 2).map(|gsi| {
        let chip = if gsi < 8 { KVM_IRQCHIP_PIC_MASTER } else { KVM_IRQCHIP_PIC_SLAVE };
        entry(gsi, chip, gsi % 8)
    });
    let ioapic = (0..IOAPIC_PINS)
        .filter(|gsi| *gsi != IOAPIC_TIMER_PIN)
        .map(|gsi| entry(gsi, KVM_IRQCHIP_IOAPIC, if gsi == 0 { IOAPIC_TIMER_PIN } else { gsi }));
    pic.chain(ioapic).collect()
}

/// Installs the routes of a PC.
///
/// # Errors
/// The kernel refuses them.
pub fn install_routes(vm: &VmFd) -> Result<(), std::io::Error> {
    let routing = KvmIrqRouting::from_entries(&pc_routes()).map_err(std::io::Error::other)?;
    vm.set_gsi_routing(&routing).map_err(|errno| std::io::Error::from_raw_os_error(errno.errno()))
}
