//! Opening `/dev/kvm`, and telling people what is wrong when that fails.

use std::io;
use std::os::fd::FromRawFd;

use kvm_ioctls::{Cap, Kvm};

const PATH: &std::ffi::CStr = c"/dev/kvm";
/// The only version of the interface there will ever be (Documentation/virt/kvm/api.rst, KVM_GET_API_VERSION).
const API_VERSION: i32 = 12;

/// What natoma can't do without.
const REQUIRED: [(Cap, &str); 10] = [
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::SetIdentityMapAddr, "KVM_CAP_SET_IDENTITY_MAP_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::Pit2, "KVM_CAP_PIT2"),
    (Cap::PitState2, "KVM_CAP_PIT_STATE2"),
    (Cap::IrqRouting, "KVM_CAP_IRQ_ROUTING"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::SyncRegs, "KVM_CAP_SYNC_REGS"),
];

/// Why there is no KVM.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The device node does not exist.
    #[error(
        "/dev/kvm does not exist: load the module (modprobe kvm_amd or kvm_intel) and check that virtualization is \
         enabled in the firmware setup; inside a virtual machine or container, its host has to pass KVM on"
    )]
    NoDevice,
    /// The node exists, but nothing is behind it.
    #[error("/dev/kvm exists, but no driver answers: load the module (modprobe kvm_amd or kvm_intel)")]
    NoDriver,
    /// The user may not open it.
    #[error("no permission to open /dev/kvm: add the user to its group (usermod -aG kvm USER) and log in again")]
    NoPermission,
    /// Something else is in the way.
    #[error("can't open /dev/kvm")]
    Failed(#[source] io::Error),
    /// It is another device, a file, or a directory.
    #[error(
        "/dev/kvm is something else than KVM's device: remove it and load the module again, or make it by \
         `mknod /dev/kvm c 10 232`"
    )]
    NotKvm,
    /// What answers is not KVM as we know it.
    #[error("/dev/kvm speaks version {0} of its interface, not {API_VERSION}: this is not a KVM that natoma knows")]
    ApiVersion(i32),
    /// The kernel lacks something essential.
    #[error("this kernel's KVM has no {0}: natoma needs Linux 4.17 or later with the in-kernel interrupt controllers")]
    MissingExtension(&'static str),
}

/// Opens `/dev/kvm` and checks that it has what natoma needs.
///
/// # Errors
/// Every cause has its own message with the remedy.
pub fn open() -> Result<Kvm, OpenError> {
    let fd = Kvm::open_with_cloexec_at(PATH, true).map_err(|error| match error.errno() {
        libc::ENOENT => OpenError::NoDevice,
        libc::ENXIO | libc::ENODEV => OpenError::NoDriver,
        libc::EACCES | libc::EPERM => OpenError::NoPermission,
        libc::EISDIR => OpenError::NotKvm,
        errno => OpenError::Failed(io::Error::from_raw_os_error(errno)),
    })?;
    // SAFETY: the descriptor was opened just now and nobody else owns it.
    let kvm = unsafe { Kvm::from_raw_fd(fd) };
    match kvm.get_api_version() {
        API_VERSION => {}
        // The ioctl failed: whatever this is does not know it.
        -1 => return Err(OpenError::NotKvm),
        found => return Err(OpenError::ApiVersion(found)),
    }
    for (cap, name) in REQUIRED {
        if !kvm.check_extension(cap) {
            return Err(OpenError::MissingExtension(name));
        }
    }
    Ok(kvm)
}
