//! Looking into processors from outside, for people: as text in the form of QEMU's monitor.

mod lapic;
mod registers;

use anyhow::{Context, Result, anyhow};
use kvm_ioctls::VcpuFd;

use self::lapic::LocalApic;
use self::registers::Registers;
use super::control::VcpuKicker;
use super::report::bitness;

/// The processors of a machine. They run on when they have been looked at.
pub struct Processors(Vec<VcpuKicker>);

impl Processors {
    /// These processors, in the order of their numbers.
    #[must_use]
    pub fn new(processors: Vec<VcpuKicker>) -> Self {
        Self(processors)
    }

    /// All registers of processor `cpu`.
    ///
    /// # Errors
    /// There is no such processor, or KVM refuses.
    pub fn registers(&self, cpu: u32) -> Result<String> {
        self.with(cpu, |fd| Ok(Registers::read(fd)?.to_string()))
    }

    /// The local APIC of processor `cpu`.
    ///
    /// # Errors
    /// There is no such processor, or KVM refuses.
    pub fn local_apic(&self, cpu: u32) -> Result<String> {
        let state = self.with(cpu, |fd| fd.get_lapic().context("can't read the local APIC"))?;
        Ok(LocalApic { cpu, state }.to_string())
    }

    /// Where processor `cpu` finds linear address `linear` in guest-physical memory now; `None` if it is not mapped.
    ///
    /// # Errors
    /// There is no such processor, or KVM refuses.
    pub fn translate(&self, cpu: u32, linear: u64) -> Result<Option<u64>> {
        let translation = self.with(cpu, move |fd| fd.translate_gva(linear).context("can't translate an address"))?;
        Ok((translation.valid != 0).then_some(translation.physical_address))
    }

    /// Bits of the code that processor `cpu` runs now: 16, 32 or 64.
    ///
    /// # Errors
    /// There is no such processor, or KVM refuses.
    pub fn bitness(&self, cpu: u32) -> Result<u32> {
        self.with(cpu, |fd| Ok(bitness(&fd.get_sregs().context("can't read the system registers")?)))
    }

    /// A register of processor `cpu` by the name that debuggers have for it; `None` if there is none of that name.
    ///
    /// # Errors
    /// There is no such processor, or KVM refuses.
    pub fn register(&self, cpu: u32, name: &str) -> Result<Option<u64>> {
        let name = name.to_owned();
        self.with(cpu, move |fd| {
            let regs = fd.get_regs().context("can't read the registers")?;
            let sregs = fd.get_sregs().context("can't read the system registers")?;
            Ok(registers::by_name(&regs, &sregs, &name))
        })
    }

    fn with<R: Send + 'static>(&self, cpu: u32, look: impl FnOnce(&VcpuFd) -> Result<R> + Send + 'static) -> Result<R> {
        let processor = self.0.get(cpu as usize).ok_or_else(|| anyhow!("there is no CPU {cpu}"))?;
        processor.with(move |vcpu| look(vcpu.fd())).with_context(|| format!("CPU {cpu} has ended"))?
    }
}
