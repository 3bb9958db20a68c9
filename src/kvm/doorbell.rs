//! Doorbells that the kernel hears (KVM_IOEVENTFD): a write to one signals an event descriptor, and the guest goes on.

use std::io;

use devices::base::Space;
use devices::virtio::Doorbell;
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::EventFd;

/// Has writes to `doorbell` signal `event` from now on, instead of being accesses to a register.
///
/// # Errors
/// The kernel has no room for it, or something else listens there.
pub fn connect(vm: &VmFd, doorbell: &Doorbell, event: &EventFd) -> io::Result<()> {
    let address = address(doorbell);
    let connected = match doorbell.value {
        Some(value) => vm.register_ioevent(event, &address, value),
        None => vm.register_ioevent(event, &address, NoDatamatch),
    };
    connected.map_err(|errno| io::Error::from_raw_os_error(errno.errno()))
}

/// Makes `doorbell` a register again. What was signalled stays so.
///
/// # Errors
/// Nothing of that kind was connected.
pub fn disconnect(vm: &VmFd, doorbell: &Doorbell, event: &EventFd) -> io::Result<()> {
    let address = address(doorbell);
    let disconnected = match doorbell.value {
        Some(value) => vm.unregister_ioevent(event, &address, value),
        None => vm.unregister_ioevent(event, &address, NoDatamatch),
    };
    disconnected.map_err(|errno| io::Error::from_raw_os_error(errno.errno()))
}

fn address(doorbell: &Doorbell) -> IoEventAddress {
    match doorbell.space {
        Space::Port => IoEventAddress::Pio(doorbell.address),
        Space::Memory => IoEventAddress::Mmio(doorbell.address),
    }
}
