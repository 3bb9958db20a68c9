//! What one vCPU needs beyond KVM: instructions performed in user space, and the quirks of its host made good.

use std::fmt;
use std::sync::Arc;

use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_SHUTDOWN, KVM_EXIT_X86_WRMSR, KVM_INTERNAL_ERROR_EMULATION,
    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, KVM_MP_STATE_RUNNABLE, kvm_mp_state, kvm_run,
};
use kvm_ioctls::{Error, SyncReg, VcpuFd};

use super::guest_debug::GuestDebug;
use super::handler_traps::{Handlers, Trapped};
use super::ring3_syscall::SyscallMsrs;
use super::{HostQuirks, pm32_interrupt, undefined_opcode};
use crate::kvm::fallback::{Cpu, Fallback, GuestPhysical, Outcome, Unable, Unemulable, VcpuState};

/// What became of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// Enter the guest again.
    Resume,
    /// An instruction was performed while a debugger single-steps: to it, this is the end of a step.
    Stepped,
    /// The exit is for others to deal with.
    NotMine,
}

/// How often each quirk was made good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuirkCounts {
    /// System calls completed.
    pub syscalls: u64,
    /// Genuine exceptions that met a trap.
    pub passed_on: u64,
    /// Wrongly undefined instructions performed.
    pub undefined_opcodes: u64,
    /// Interrupts delivered in protected mode.
    pub interrupts: u64,
}

/// The fix-ups of one vCPU.
pub struct VcpuFixups {
    quirks: Arc<HostQuirks>,
    fallback: Fallback,
    /// The vCPU's debug settings; a debugger puts its own in here.
    pub debug: GuestDebug,
    /// Set once the guest has set up system calls on a host that needs help with them.
    handlers: Option<Handlers>,
    syscall: SyscallMsrs,
    counts: QuirkCounts,
    /// KVM copies the registers out at every exit.
    synchronised: bool,
}

impl VcpuFixups {
    /// The fix-ups of a new vCPU. Costs nothing on a host that is not suspect.
    #[must_use]
    pub fn new(quirks: Arc<HostQuirks>) -> Self {
        Self {
            quirks,
            fallback: Fallback::default(),
            debug: GuestDebug::default(),
            handlers: None,
            syscall: SyscallMsrs::default(),
            counts: QuirkCounts::default(),
            synchronised: false,
        }
    }

    /// To be called after every exit, before `handle`: follows changes of the guest's interrupt table.
    ///
    /// # Errors
    /// KVM's.
    #[inline]
    pub fn after_exit(&mut self, vcpu: &VcpuFd, memory: &dyn GuestPhysical) -> Result<(), Error> {
        if self.handlers.is_some() { self.follow_handlers(vcpu, memory) } else { Ok(()) }
    }

    fn follow_handlers(&mut self, vcpu: &VcpuFd, memory: &dyn GuestPhysical) -> Result<(), Error> {
        let cpu = self.registers(vcpu)?;
        if self.handlers.as_mut().is_some_and(|handlers| handlers.follow(&cpu, memory)) {
            self.debug.set_traps(self.handlers.map(|handlers| handlers.addresses()).unwrap_or_default());
        }
        self.debug.apply(vcpu)
    }

    /// Deals with the vCPU's last exit if it is an emulation failure, a shutdown, a debug exit or a filtered MSR.
    ///
    /// Changed registers reach the vCPU with its next KVM_RUN (with [`Handled::Stepped`] they have reached it).
    ///
    /// # Errors
    /// The instruction that nobody can perform.
    pub fn handle(&mut self, vcpu: &mut VcpuFd, memory: &dyn GuestPhysical) -> Result<Handled, Unemulable> {
        match Exit::of(vcpu.get_kvm_run()) {
            Exit::EmulationFailure { code, len } => {
                let cpu = self.registers_or_report(vcpu)?;
                self.perform(vcpu, memory, &cpu, &code[..len])
            }
            Exit::Debug => self.debug_exit(vcpu, memory),
            Exit::Shutdown => self.shutdown(vcpu, memory),
            Exit::MsrWrite { index, value } if SyscallMsrs::include(index) => {
                self.write_syscall_msr(vcpu, memory, index, value)
            }
            Exit::MsrWrite { .. } | Exit::Other => Ok(Handled::NotMine),
        }
    }

    fn perform(
        &mut self,
        vcpu: &mut VcpuFd,
        memory: &dyn GuestPhysical,
        cpu: &Cpu,
        code: &[u8],
    ) -> Result<Handled, Unemulable> {
        let (after, outcome) = self.fallback.step(*cpu, &*vcpu, memory, code)?;
        if self.debug.debugger().single_step && outcome == Outcome::Retired {
            store_now(vcpu, &after).map_err(|source| {
                Unemulable::new(Unable::State { what: "registers", verb: "written", source }, cpu, code)
            })?;
            return Ok(Handled::Stepped);
        }
        self.store(vcpu, cpu, &after);
        Ok(Handled::Resume)
    }

    fn shutdown(&mut self, vcpu: &mut VcpuFd, memory: &dyn GuestPhysical) -> Result<Handled, Unemulable> {
        if !self.quirks.is_suspect() {
            return Ok(Handled::NotMine);
        }
        let cpu = self.registers_or_report(vcpu)?;
        let delivered = pm32_interrupt::deliver(&mut self.fallback, &cpu, &*vcpu, memory)?;
        let Some(delivered) = delivered.filter(|_| self.quirks.findings().pm32_interrupt) else {
            return Ok(Handled::NotMine);
        };
        self.counts.interrupts += 1;
        self.store(vcpu, &cpu, &delivered);
        Ok(Handled::Resume)
    }

    /// Whether the host would put the frame of an interrupt into the wrong place now, so that [`Self::deliver_external`] is to be
    /// called in its place.
    ///
    /// # Errors
    /// The registers can't be read.
    pub fn misplaces_interrupts(&mut self, vcpu: &VcpuFd) -> Result<bool, Unemulable> {
        if !self.quirks.is_suspect() {
            return Ok(false);
        }
        let cpu = self.registers(vcpu).map_err(unreadable)?;
        Ok(pm32_interrupt::misplaces_frames(&cpu) && self.quirks.findings().pm32_interrupt)
    }

    /// Delivers an external interrupt. KVM must be ready for one, and have nothing of the last exit left to finish. `false` if it
    /// can't be delivered, and that is to be KVM's end.
    ///
    /// # Errors
    /// The interrupt that nobody can deliver.
    pub fn deliver_external(
        &mut self,
        vcpu: &mut VcpuFd,
        memory: &dyn GuestPhysical,
        vector: u8,
    ) -> Result<bool, Unemulable> {
        let cpu = self.registers_or_report(vcpu)?;
        let delivered = pm32_interrupt::deliver_external(&mut self.fallback, &cpu, &*vcpu, memory, vector)?;
        let Some(delivered) = delivered else { return Ok(false) };
        // It may have halted.
        vcpu.set_mp_state(kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE }).map_err(|source| {
            Unemulable::new(Unable::State { what: "run state", verb: "written", source }, &cpu, &[])
        })?;
        self.counts.interrupts += 1;
        self.store(vcpu, &cpu, &delivered);
        Ok(true)
    }

    fn debug_exit(&mut self, vcpu: &mut VcpuFd, memory: &dyn GuestPhysical) -> Result<Handled, Unemulable> {
        let cpu = self.registers_or_report(vcpu)?;
        if self.debug.is_stepping_over() {
            self.debug.step_over(false);
            self.apply_debug(vcpu, &cpu)?;
            return Ok(if self.debug.debugger().single_step { Handled::NotMine } else { Handled::Resume });
        }
        let trapped = self.handlers.and_then(|handlers| handlers.at(cpu.regs.rip));
        let (Some(trapped), true) = (trapped, self.debug.traps(cpu.regs.rip)) else {
            return Ok(Handled::NotMine);
        };
        let repaired = match trapped {
            Trapped::PageFault => self.syscall.complete(&cpu, memory).inspect(|_| self.counts.syscalls += 1),
            Trapped::UndefinedOpcode => undefined_opcode::perform(&mut self.fallback, &cpu, &*vcpu, memory)
                .inspect(|_| self.counts.undefined_opcodes += 1),
        };
        if let Some(repaired) = repaired {
            self.store(vcpu, &cpu, &repaired);
            return Ok(Handled::Resume);
        }
        // A genuine exception: get past the trap. KVM would stop at it again, as it does not honour RF there.
        self.counts.passed_on += 1;
        match self.perform(vcpu, memory, &cpu, &[]) {
            Err(_) => {
                self.debug.step_over(true);
                self.apply_debug(vcpu, &cpu)?;
                Ok(Handled::Resume)
            }
            done => done,
        }
    }

    fn write_syscall_msr(
        &mut self,
        vcpu: &mut VcpuFd,
        memory: &dyn GuestPhysical,
        index: u32,
        value: u64,
    ) -> Result<Handled, Unemulable> {
        let cpu = self.registers_or_report(vcpu)?;
        let report = |verb, source| Unemulable::new(Unable::State { what: "MSRs", verb, source }, &cpu, &[]);
        let accepted = (&*vcpu as &dyn VcpuState).set_msr(index, value).map_err(|error| report("written", error))?;
        vcpu.get_kvm_run().__bindgen_anon_1.msr.error = u8::from(!accepted);
        if !accepted {
            return Ok(Handled::Resume);
        }
        let findings = self.quirks.findings();
        if self.handlers.is_none() && (findings.ring3_syscall || findings.undefined_opcode) {
            self.syscall = SyscallMsrs::read(&*vcpu).map_err(|error| report("read", error))?;
            self.handlers = Some(Handlers::default());
        }
        self.syscall.written(index, value);
        self.after_exit(vcpu, memory).map_err(|error| report("read", error))?;
        Ok(Handled::Resume)
    }

    fn apply_debug(&mut self, vcpu: &VcpuFd, cpu: &Cpu) -> Result<(), Unemulable> {
        self.debug.apply(vcpu).map_err(|source| {
            Unemulable::new(Unable::State { what: "debug registers", verb: "written", source }, cpu, &[])
        })
    }

    fn registers(&self, vcpu: &VcpuFd) -> Result<Cpu, Error> {
        if self.synchronised {
            return Ok(vcpu.sync_regs().into());
        }
        Ok(Cpu { regs: vcpu.get_regs()?, sregs: vcpu.get_sregs()?, events: vcpu.get_vcpu_events()? })
    }

    fn registers_or_report(&mut self, vcpu: &mut VcpuFd) -> Result<Cpu, Unemulable> {
        let cpu = self.registers(vcpu).map_err(unreadable)?;
        // A guest that needs help once on a suspect host needs it often. Before, the copies would only cost it time.
        if self.quirks.is_suspect() && !self.synchronised {
            self.synchronise(vcpu, &cpu);
        }
        Ok(cpu)
    }

    /// Has KVM copy the registers out at every exit, from the present one on, at which they are `cpu`.
    fn synchronise(&mut self, vcpu: &mut VcpuFd, cpu: &Cpu) {
        for registers in [SyncReg::Register, SyncReg::SystemRegister, SyncReg::VcpuEvents] {
            vcpu.set_sync_valid_reg(registers);
        }
        let copies = vcpu.sync_regs_mut();
        (copies.regs, copies.sregs, copies.events) = (cpu.regs, cpu.sregs, cpu.events);
        self.synchronised = true;
    }

    /// Has KVM load what differs between `before` and `after` at its next entry.
    fn store(&self, vcpu: &mut VcpuFd, before: &Cpu, after: &Cpu) {
        if before.regs != after.regs {
            vcpu.sync_regs_mut().regs = after.regs;
            vcpu.set_sync_dirty_reg(SyncReg::Register);
        }
        if before.sregs != after.sregs {
            vcpu.sync_regs_mut().sregs = after.sregs;
            vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
        }
        if before.events != after.events {
            vcpu.sync_regs_mut().events = after.events;
            vcpu.set_sync_dirty_reg(SyncReg::VcpuEvents);
        }
    }

    /// How often each quirk was made good.
    #[must_use]
    pub fn quirk_counts(&self) -> QuirkCounts {
        self.counts
    }
}

fn unreadable(source: Error) -> Unemulable {
    let unknown = Cpu { regs: Default::default(), sregs: Default::default(), events: Default::default() };
    Unemulable::new(Unable::State { what: "registers", verb: "read", source }, &unknown, &[])
}

/// Sets the registers at once, for a debugger that is going to read them.
fn store_now(vcpu: &VcpuFd, cpu: &Cpu) -> Result<(), Error> {
    vcpu.set_regs(&cpu.regs)?;
    vcpu.set_sregs(&cpu.sregs)?;
    vcpu.set_vcpu_events(&cpu.events)
}

impl fmt::Display for VcpuFixups {
    /// The counts, one a line. They are also logged (`-trace fallback`) when the vCPU goes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QuirkCounts { syscalls, passed_on, undefined_opcodes, interrupts } = self.counts;
        for (name, count) in [
            ("system calls completed", syscalls),
            ("exceptions passed on", passed_on),
            ("undefined opcodes performed", undefined_opcodes),
            ("interrupts delivered", interrupts),
        ] {
            if count != 0 {
                writeln!(f, "{count:>10} {name}")?;
            }
        }
        for (mnemonic, count) in self.fallback.counts() {
            writeln!(f, "{count:>10} {mnemonic}")?;
        }
        Ok(())
    }
}

impl Drop for VcpuFixups {
    fn drop(&mut self) {
        // Who does not see the names of instructions need not wait for their table.
        if log::log_enabled!(target: "fallback", log::Level::Debug) {
            for line in self.to_string().lines() {
                log::debug!(target: "fallback", "{line}");
            }
        }
    }
}

/// The exits that concern this module.
enum Exit {
    EmulationFailure { code: [u8; 15], len: usize },
    Debug,
    Shutdown,
    MsrWrite { index: u32, value: u64 },
    Other,
}

impl Exit {
    fn of(run: &kvm_run) -> Self {
        match run.exit_reason {
            KVM_EXIT_DEBUG => Self::Debug,
            KVM_EXIT_SHUTDOWN => Self::Shutdown,
            KVM_EXIT_X86_WRMSR => {
                // SAFETY: the exit reason says that this member of the union is valid; it is plain data.
                let msr = unsafe { run.__bindgen_anon_1.msr };
                Self::MsrWrite { index: msr.index, value: msr.data }
            }
            KVM_EXIT_INTERNAL_ERROR => Self::internal_error(run),
            _ => Self::Other,
        }
    }

    fn internal_error(run: &kvm_run) -> Self {
        // SAFETY: the exit reason says that this member of the union is valid; it is plain data.
        let failure = unsafe { run.__bindgen_anon_1.emulation_failure };
        if failure.suberror != KVM_INTERNAL_ERROR_EMULATION {
            return Self::Other;
        }
        // SAFETY: the union has one member, plain bytes.
        let instruction = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
        let told = u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
        // The flags and the bytes are the first three of `ndata` words.
        let len = if failure.ndata >= 3 && failure.flags & told != 0 {
            usize::from(instruction.insn_size).min(instruction.insn_bytes.len())
        } else {
            0
        };
        Self::EmulationFailure { code: instruction.insn_bytes, len }
    }
}
