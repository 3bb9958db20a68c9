//! One vCPU: KVM_RUN, hand the exit on, repeat.

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_INTERNAL_ERROR_EMULATION, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};

use super::address_space::AddressSpace;
use super::report::Report;
use super::run_page::RunPage;
use super::vm::VmError;

/// What a vCPU tells the machine. Called on the vCPU's thread, which parks right afterwards; must not wait for it.
pub trait VcpuEvents: Send + Sync {
    /// A triple fault: the processor shut down, which resets a PC.
    fn triple_fault(&self, vcpu: u32);

    /// The guest asked KVM for a reset or power-off by a paravirtual interface.
    fn system_event(&self, vcpu: u32, event: SystemEvent);

    /// The vCPU can't go on.
    fn failed(&self, report: Report);
}

/// Events that KVM passes on for paravirtual interfaces (KVM_EXIT_SYSTEM_EVENT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// Power off.
    Shutdown,
    /// Reset.
    Reset,
    /// The guest reports that it crashed.
    Crash,
}

/// What to do after an exit.
enum Next {
    /// Enter the guest again.
    Continue,
    /// Look at the orders first.
    Interrupted,
    /// The machine has been told something that stops this vCPU.
    Stop,
}

/// A vCPU, owned by its thread.
pub struct Vcpu {
    index: u32,
    fd: VcpuFd,
    page: RunPage,
    space: AddressSpace,
    events: Arc<dyn VcpuEvents>,
    /// KVM expects to be entered again to finish the access it last exited for.
    access_pending: bool,
}

impl Vcpu {
    /// Creates the vCPU with number `index` and this APIC id and CPUID.
    ///
    /// # Errors
    /// The kernel refuses a step.
    pub fn new(
        vm: &VmFd,
        index: u32,
        apic_id: u32,
        cpuid: &CpuId,
        space: AddressSpace,
        events: Arc<dyn VcpuEvents>,
    ) -> Result<Self, VmError> {
        let mut fd = vm.create_vcpu(u64::from(apic_id)).map_err(VmError::new("create a virtual CPU"))?;
        fd.set_cpuid2(cpuid).map_err(VmError::new("set the features of a virtual CPU"))?;
        let page = RunPage::new(&mut fd);
        Ok(Self { index, fd, page, space, events, access_pending: false })
    }

    /// Its number, from 0.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The kernel's vCPU.
    #[must_use]
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    pub(super) fn run_page(&self) -> RunPage {
        self.page
    }

    /// Runs the guest until it is kicked (`true`) or can't go on (`false`; the machine has been told).
    pub(super) fn run_guest(&mut self) -> bool {
        loop {
            match self.step() {
                Ok(Next::Continue) => {}
                Ok(Next::Interrupted) => return true,
                Ok(Next::Stop) => return false,
                Err(reason) => {
                    self.events.failed(Report::new(self.index, &self.fd, &self.space, reason));
                    return false;
                }
            }
        }
    }

    /// Lets KVM finish the instruction whose access was served last, so that the registers are consistent.
    pub(super) fn finish_access(&mut self) {
        while std::mem::take(&mut self.access_pending) {
            self.page.set_immediate_exit(true);
            if let Err(reason) = self.step() {
                self.events.failed(Report::new(self.index, &self.fd, &self.space, reason));
                return;
            }
        }
    }

    /// Enters the guest once.
    fn step(&mut self) -> Result<Next, String> {
        self.access_pending = false;
        match self.fd.run() {
            Ok(VcpuExit::IoIn(port, data)) => {
                let size = self.page.io_size().max(1);
                for element in data.chunks_mut(size) {
                    self.space.ports.read(u64::from(port), element);
                }
                self.access_pending = true;
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                let size = self.page.io_size().max(1);
                for element in data.chunks(size) {
                    self.space.ports.write(u64::from(port), element);
                }
                self.access_pending = true;
            }
            Ok(VcpuExit::MmioRead(address, data)) => {
                self.space.devices.read(address, data);
                self.access_pending = true;
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                self.space.devices.write(address, data);
                self.access_pending = true;
            }
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::SetTpr | VcpuExit::TprAccess | VcpuExit::Nmi) => {
                return Ok(Next::Interrupted);
            }
            // With the local APIC in the kernel it sleeps there; after a halt that still comes out, it goes on there.
            Ok(VcpuExit::Hlt) => {}
            Ok(VcpuExit::Shutdown) => {
                self.events.triple_fault(self.index);
                return Ok(Next::Stop);
            }
            Ok(VcpuExit::SystemEvent(event, _)) => {
                let event = match event {
                    KVM_SYSTEM_EVENT_SHUTDOWN => SystemEvent::Shutdown,
                    KVM_SYSTEM_EVENT_RESET => SystemEvent::Reset,
                    KVM_SYSTEM_EVENT_CRASH => SystemEvent::Crash,
                    other => return Err(format!("KVM reports system event {other}, which natoma does not know")),
                };
                self.events.system_event(self.index, event);
                return Ok(Next::Stop);
            }
            Ok(VcpuExit::InternalError) => return self.internal_error(),
            Ok(VcpuExit::FailEntry(reason, cpu)) => {
                return Err(format!(
                    "the processor refused to enter the guest (hardware reason {reason:#x}, host CPU {cpu}); the \
                     kernel log of the host may say more"
                ));
            }
            Ok(VcpuExit::MemoryFault { gpa, size, .. }) => {
                return Err(format!("the host can't give the guest the memory at {gpa:#x}+{size:#x}"));
            }
            Ok(other) => return Err(format!("KVM exits with {other:?}, which natoma does not expect")),
            Err(errno) => match errno.errno() {
                libc::EINTR | libc::EAGAIN => return Ok(Next::Interrupted),
                libc::EFAULT => {
                    return Err("the host has no memory left behind a guest page (EFAULT)".to_owned());
                }
                number => {
                    return Err(format!("KVM_RUN fails: {}", std::io::Error::from_raw_os_error(number)));
                }
            },
        }
        Ok(Next::Continue)
    }

    fn internal_error(&mut self) -> Result<Next, String> {
        let (suberror, data) = self.page.internal_error();
        if suberror == KVM_INTERNAL_ERROR_EMULATION {
            return Err("KVM can't emulate the instruction at RIP".to_owned());
        }
        Err(format!("KVM reports internal error {suberror} with data {data:x?}"))
    }
}
