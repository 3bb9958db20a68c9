//! The `kvm_run` page of a vCPU, as far as it has to be seen beside kvm-ioctls' own view of it.

use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;

/// A pointer to the page that the kernel shares with the vCPU's thread.
///
/// The `VcpuFd` it was taken from must outlive every use, which the owner of both sees to.
#[derive(Clone, Copy)]
pub struct RunPage(*mut kvm_run);

// SAFETY: only fields that the kernel and other threads may change at any time are accessed, and those atomically or by
// the vCPU's own thread.
unsafe impl Send for RunPage {}

impl RunPage {
    /// The page of `vcpu`.
    pub fn new(vcpu: &mut VcpuFd) -> Self {
        Self(vcpu.get_kvm_run())
    }

    /// The byte at an offset of what is mapped of the vCPU, which begins with the page.
    pub(super) fn at(self, offset: usize) -> *mut u8 {
        self.0.cast::<u8>().wrapping_add(offset)
    }

    /// Makes the next, or the present, KVM_RUN return at once with EINTR; or lets it run again.
    pub fn set_immediate_exit(self, exit: bool) {
        // SAFETY: the page is mapped for as long as the vCPU exists; the field lies within it.
        let field = unsafe { &raw mut (*self.0).immediate_exit };
        // SAFETY: the field is a byte of shared memory that is never accessed other than atomically while shared.
        let flag = unsafe { AtomicU8::from_ptr(field) };
        flag.store(u8::from(exit), Ordering::SeqCst);
    }

    /// Asks KVM to return as soon as the guest can take an external interrupt, or no longer. On the vCPU's thread.
    pub fn request_interrupt_window(self, request: bool) {
        // SAFETY: the page is mapped for as long as the vCPU exists; the field lies within it.
        let field = unsafe { &raw mut (*self.0).request_interrupt_window };
        // SAFETY: a plain byte of the page; the kernel does not read it while the vCPU is not running.
        unsafe { field.write(u8::from(request)) };
    }

    /// Whether KVM, when it returned last, had a place for an external interrupt. On the vCPU's thread.
    #[must_use]
    pub fn ready_for_interrupt_injection(self) -> bool {
        // SAFETY: the page is mapped for as long as the vCPU exists; the field lies within it.
        let field = unsafe { &raw const (*self.0).ready_for_interrupt_injection };
        // SAFETY: a plain byte of the page; the kernel does not write it while the vCPU is not running.
        unsafe { field.read() != 0 }
    }

    /// The size in bytes of one element of a port access. Valid after an exit for port I/O, on the vCPU's thread.
    #[must_use]
    pub fn io_size(self) -> usize {
        // SAFETY: the page is mapped for as long as the vCPU exists; the field lies within it.
        let field = unsafe { &raw const (*self.0).__bindgen_anon_1.io.size };
        // SAFETY: plain bytes of the page; the kernel does not write them while the vCPU is not running.
        usize::from(unsafe { field.read() })
    }

    /// The number of elements of a port access. Valid as [`Self::io_size`].
    #[must_use]
    pub fn io_count(self) -> usize {
        // SAFETY: the page is mapped for as long as the vCPU exists; the field lies within it.
        let field = unsafe { &raw const (*self.0).__bindgen_anon_1.io.count };
        // SAFETY: plain bytes of the page; the kernel does not write them while the vCPU is not running.
        unsafe { field.read() as usize }
    }

    /// Gives the guest the low bytes of `value` as element `index` of what it reads from a port. After an exit for such a
    /// read, on the vCPU's thread.
    ///
    /// # Panics
    /// The access has no such element.
    pub fn set_io_element(self, index: usize, value: u32) {
        assert!(index < self.io_count());
        let size = self.io_size();
        let bytes = &value.to_le_bytes()[..size];
        // SAFETY: the page is mapped for as long as the vCPU exists; the field lies within it.
        let field = unsafe { &raw const (*self.0).__bindgen_anon_1.io.data_offset };
        // SAFETY: plain bytes of the page; the kernel does not write them while the vCPU is not running.
        let offset = unsafe { field.read() } as usize + index * size;
        // SAFETY: the mapping of the vCPU has the data of all elements from `data_offset` on, and this is one of them.
        let element = unsafe { self.0.cast::<u8>().add(offset) };
        // SAFETY: as above, and the kernel does not read them while the vCPU is not running.
        unsafe { element.copy_from_nonoverlapping(bytes.as_ptr(), size) };
    }

    /// Suberror and data of an internal error. Valid after such an exit, on the vCPU's thread.
    #[must_use]
    pub fn internal_error(self) -> (u32, Vec<u64>) {
        // SAFETY: the page is mapped for as long as the vCPU exists; the field lies within it.
        let field = unsafe { &raw const (*self.0).__bindgen_anon_1.internal };
        // SAFETY: plain bytes of the page; the kernel does not write them while the vCPU is not running.
        let internal = unsafe { field.read() };
        let len = (internal.ndata as usize).min(internal.data.len());
        (internal.suberror, internal.data[..len].to_vec())
    }
}
