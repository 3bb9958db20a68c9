//! One vCPU: KVM_RUN, hand the exit on, repeat.

use std::sync::{Arc, OnceLock};

use kvm_bindings::{KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};

use super::address_space::AddressSpace;
use super::cpuid::{GuestCpu, SetUpError, Topology};
use super::msr::{self, Msr, MsrError, StateMsrs};
use super::posted_writes::PostedWrites;
use super::quirks::{Handled, HostQuirks, VcpuFixups};
use super::register_port::{Direction, PlacedPort};
use super::report::Report;
use super::reset_state::{self, ResetState};
use super::run_page::RunPage;
use super::split::{self, BoardControllers};
use super::vm::VmError;
use crate::boot::Entry;

/// What a vCPU tells the machine. Called on the vCPU's thread, which parks right afterwards; must not wait for it.
pub trait VcpuEvents: Send + Sync {
    /// A triple fault: the processor shut down, which resets a PC.
    fn triple_fault(&self, vcpu: u32);

    /// The guest asked KVM for a reset or power-off by a paravirtual interface.
    fn system_event(&self, vcpu: u32, event: SystemEvent);

    /// The vCPU can't go on.
    fn failed(&self, report: Report);

    /// The vCPU can't be made what it is to be, before it has run for the first time. It never will.
    fn set_up_failed(&self, vcpu: u32, error: anyhow::Error);
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

/// What all vCPUs of a machine are made from.
#[derive(Clone)]
pub struct VcpuHost {
    /// KVM.
    pub kvm: Arc<Kvm>,
    /// How they are arranged.
    pub topology: Topology,
    /// Memory and ports.
    pub space: AddressSpace,
    /// The port that wants to see registers.
    pub register_port: Option<PlacedPort>,
    /// Writes to ports that KVM keeps.
    pub posted: Arc<PostedWrites>,
    /// The machine.
    pub events: Arc<dyn VcpuEvents>,
    /// What has to be made good on this host.
    pub quirks: Arc<HostQuirks>,
    /// Interrupt controllers outside the kernel.
    pub controllers: Option<Arc<dyn BoardControllers>>,
    /// The model specific registers they have, found with the first.
    pub msrs: Arc<OnceLock<StateMsrs>>,
}

/// Why a vCPU can't be made or reset.
#[derive(Debug, thiserror::Error)]
pub enum VcpuError {
    /// The kernel refuses a call.
    #[error(transparent)]
    Kvm(#[from] VmError),
    /// The kernel refuses to make it the processor that was asked for.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The kernel refuses a model specific register.
    #[error(transparent)]
    Msr(#[from] MsrError),
}

/// A vCPU, owned by its thread.
pub struct Vcpu {
    index: u32,
    fd: VcpuFd,
    page: RunPage,
    space: AddressSpace,
    register_port: Option<PlacedPort>,
    posted: Arc<PostedWrites>,
    has_x2apic: bool,
    events: Arc<dyn VcpuEvents>,
    fixups: VcpuFixups,
    controllers: Option<Arc<dyn BoardControllers>>,
    kvm: Arc<Kvm>,
    /// What a reset restores, once it is known.
    power_on: Option<Box<ResetState>>,
    /// The model specific registers of all vCPUs of the machine, and what a reset restores of them.
    msrs: Arc<OnceLock<StateMsrs>>,
    /// What the guest reads from MSR_CORE_THREAD_COUNT.
    core_thread_count: u64,
    /// KVM expects to be entered again to finish the access it last exited for.
    access_pending: bool,
    /// It has been set up, as far as that has come.
    usable: bool,
}

impl Vcpu {
    /// Makes `fd`, which is new, vCPU number `index` of the machine and the processor `cpu`. If the kernel refuses, the
    /// machine is told, and the vCPU never runs.
    ///
    /// This takes some tenths of a millisecond, which the vCPU's thread has while the rest of the machine is made.
    #[must_use]
    pub fn new(host: &VcpuHost, index: u32, mut fd: VcpuFd, cpu: &GuestCpu) -> Self {
        let VcpuHost { kvm, topology, space, register_port, posted, events, quirks, controllers, msrs } = host;
        let mut vcpu = Self {
            index,
            page: RunPage::new(&mut fd),
            fd,
            space: space.clone(),
            register_port: register_port.clone(),
            posted: Arc::clone(posted),
            has_x2apic: cpu.has_x2apic(),
            events: Arc::clone(events),
            fixups: VcpuFixups::new(Arc::clone(quirks)),
            controllers: controllers.clone(),
            kvm: Arc::clone(kvm),
            power_on: None,
            msrs: Arc::clone(msrs),
            core_thread_count: msr::core_thread_count(topology),
            access_pending: false,
            usable: true,
        };
        vcpu.set_up(cpu, topology).unwrap_or_else(|error| vcpu.give_up(error.into()));
        vcpu
    }

    /// Makes it the processor `cpu` and takes note of the state to which a reset returns.
    fn set_up(&mut self, cpu: &GuestCpu, topology: &Topology) -> Result<(), VcpuError> {
        cpu.set_up(&self.fd, topology, self.index)?;
        // All vCPUs have the same registers: the first shows which.
        if self.index == 0 {
            let _ = self.msrs.set(StateMsrs::detect(&self.kvm, &self.fd)?);
        }
        self.power_on = Some(Box::new(ResetState::capture(&self.kvm, &self.fd)?));
        Ok(())
    }

    /// Tells the machine that the vCPU can't be made what it is to be, and sees to it that it does not run.
    pub fn give_up(&mut self, error: anyhow::Error) {
        self.usable = false;
        self.events.set_up_failed(self.index, error);
    }

    /// Back to the state of power-on. All but the first vCPU then wait for INIT and SIPI.
    ///
    /// # Errors
    /// The kernel refuses a part of the state.
    pub fn reset(&mut self) -> Result<(), VcpuError> {
        self.access_pending = false;
        if log::log_enabled!(target: "cpu_reset", log::Level::Debug) {
            let report = Report::new(self.index, &self.fd, &self.space, "it is reset");
            log::debug!(target: "cpu_reset", "{report}");
        }
        if let Some(power_on) = &self.power_on {
            power_on.restore(&self.fd)?;
        }
        if let Some(msrs) = self.msrs.get() {
            msrs.reset(&self.fd)?;
        }
        Ok(reset_state::set_waiting(&self.fd, self.index != 0)?)
    }

    /// Writes model specific registers.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn set_msrs(&self, registers: &[Msr]) -> Result<(), MsrError> {
        msr::write(&self.fd, registers)
    }

    /// Puts the vCPU, just made or reset, to the entry of a kernel.
    ///
    /// # Errors
    /// The kernel refuses the state.
    pub fn enter_kernel(&mut self, entry: &Entry) -> Result<(), VmError> {
        let sregs = match &self.power_on {
            Some(state) => state.sregs(),
            None => self.fd.get_sregs().map_err(VmError::new("read the system registers of the first virtual CPU"))?,
        };
        self.fd
            .set_sregs(&entry.sregs(sregs))
            .map_err(VmError::new("set the system registers of the first virtual CPU"))?;
        self.fd.set_regs(&entry.regs()).map_err(VmError::new("set the registers of the first virtual CPU"))
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
        while self.usable {
            let next = match self.offer_external_interrupt() {
                Ok(true) => self.step(),
                Ok(false) => Ok(Next::Interrupted),
                Err(reason) => Err(reason),
            };
            let next = next.and_then(|next| {
                let followed = self.fixups.after_exit(&self.fd, &self.space);
                followed.map(|()| next).map_err(|errno| format!("KVM can't set a breakpoint: {errno}"))
            });
            match next {
                Ok(Next::Continue) => {}
                Ok(Next::Interrupted) => return true,
                Ok(Next::Stop) => return false,
                Err(reason) => {
                    self.events.failed(Report::new(self.index, &self.fd, &self.space, reason));
                    return false;
                }
            }
        }
        false
    }

    /// Gives the first processor the interrupt that the 8259s outside the kernel ask for, or asks KVM to return when it
    /// can take it. `false` if that comes only after another look at the orders.
    fn offer_external_interrupt(&mut self) -> Result<bool, String> {
        let Some(controllers) = self.controllers.as_ref().filter(|_| self.index == 0) else { return Ok(true) };
        let mut ready = true;
        if controllers.intr() && self.page.ready_for_interrupt_injection() {
            let controllers = Arc::clone(controllers);
            ready = self.take_external_interrupt(&*controllers)?;
        }
        // Another one may wait behind it.
        let waiting = self.controllers.as_ref().is_some_and(|controllers| controllers.intr());
        self.page.request_interrupt_window(waiting);
        Ok(ready)
    }

    /// Gives the processor the interrupt that the 8259s ask for: through KVM, which is ready for it, or in its place. `false` if
    /// there was something to finish first.
    fn take_external_interrupt(&mut self, controllers: &dyn BoardControllers) -> Result<bool, String> {
        let report = |unable| format!("{:#}", anyhow::Error::from(unable));
        let by_hand = self.fixups.misplaces_interrupts(&self.fd).map_err(report)?;
        if by_hand && self.access_pending {
            self.finish_access();
            // Whoever kicked the vCPU meanwhile has left an order.
            self.page.set_immediate_exit(false);
            return Ok(false);
        }
        let vector = controllers.acknowledge();
        log::debug!(target: "int", "CPU {}: external interrupt {vector:#04x}", self.index);
        if by_hand && self.fixups.deliver_external(&mut self.fd, &self.space, vector).map_err(report)? {
            return Ok(true);
        }
        split::inject(&self.fd, vector)
            .map_err(|error| format!("KVM refuses external interrupt {vector:#04x}: {error}"))?;
        Ok(true)
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
        let exit = self.fd.run();
        self.posted.carry_out(self.page, &self.space.ports);
        match exit {
            Ok(VcpuExit::IoIn(port, _)) if is_at(self.register_port.as_ref(), port) => {
                return self.exchange_registers(Direction::In);
            }
            Ok(VcpuExit::IoOut(port, _)) if is_at(self.register_port.as_ref(), port) => {
                return self.exchange_registers(Direction::Out);
            }
            Ok(VcpuExit::IoIn(port, data)) => {
                self.space.ports.read_string(u64::from(port), self.page.io_size(), data);
                self.access_pending = true;
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                self.space.ports.write_string(u64::from(port), self.page.io_size(), data);
                self.access_pending = true;
            }
            Ok(VcpuExit::MmioRead(address, data)) => {
                // Not straight to the devices: while another processor has slots switched, accesses to the RAM there exit too.
                self.space.read(address, data);
                self.access_pending = true;
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                self.space.write(address, data);
                self.access_pending = true;
            }
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::SetTpr | VcpuExit::TprAccess | VcpuExit::Nmi) => {
                return Ok(Next::Interrupted);
            }
            Ok(VcpuExit::IoapicEoi(vector)) => {
                if let Some(controllers) = &self.controllers {
                    controllers.end_of_interrupt(vector);
                }
            }
            // With the local APIC in the kernel it sleeps there; after a halt that still comes out, it goes on there.
            Ok(VcpuExit::Hlt) => {}
            Ok(VcpuExit::Shutdown) => {
                return self.fix_up(|vcpu| {
                    vcpu.events.triple_fault(vcpu.index);
                    Ok(Next::Stop)
                });
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
            Ok(VcpuExit::InternalError) => return self.fix_up(Self::internal_error),
            Ok(VcpuExit::X86Rdmsr(read)) if read.index == msr::CORE_THREAD_COUNT => {
                *read.data = self.core_thread_count;
                *read.error = 0;
                self.access_pending = true;
            }
            Ok(VcpuExit::X86Wrmsr(_)) => {
                return self.fix_up(|_| Err("KVM asks about a write to an MSR that was not filtered".to_owned()));
            }
            Ok(VcpuExit::Debug(debug)) => {
                return self.fix_up(|_| Err(format!("unexpected debug exception {debug:x?}")));
            }
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

    /// Serves an access to the port that wants to see registers.
    fn exchange_registers(&mut self, direction: Direction) -> Result<Next, String> {
        if let Some(port) = &self.register_port {
            port.access(&self.fd, self.page, self.has_x2apic, direction)?;
        }
        self.access_pending = true;
        Ok(Next::Continue)
    }

    /// Gives the exit to those who make up for what KVM leaves out; `otherwise` decides if it is not theirs.
    fn fix_up(&mut self, otherwise: impl FnOnce(&mut Self) -> Result<Next, String>) -> Result<Next, String> {
        match self.fixups.handle(&mut self.fd, &self.space) {
            Ok(Handled::Resume) => Ok(Next::Continue),
            Ok(Handled::Stepped | Handled::NotMine) => otherwise(self),
            Err(unable) => Err(format!("{:#}", anyhow::Error::from(unable))),
        }
    }

    fn internal_error(&mut self) -> Result<Next, String> {
        let (suberror, data) = self.page.internal_error();
        Err(format!("KVM reports internal error {suberror} with data {data:x?}"))
    }
}

fn is_at(placed: Option<&PlacedPort>, port: u16) -> bool {
    placed.is_some_and(|placed| placed.port == port)
}
