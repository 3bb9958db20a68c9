//! Interrupts and exceptions in protected mode that are delivered to the wrong stack.
//!
//! Outside long mode the host pushes the frame of an interrupt or exception at linear address ESP, as if SS had base 0.
//! With another base (iPXE runs like that) the address mostly is no memory at all, and the vCPU shuts down as by a triple
//! fault; its registers are those before the event, and the event's vector can still be read. natoma then delivers the
//! event itself and lets the vCPU go on.
//!
//! Where the wrong address happens to be RAM, the host notices nothing, and nor can natoma.

use kvm_bindings::kvm_vcpu_events;

use crate::kvm::fallback::{Cpu, Fallback, GuestPhysical, Mode, Source, Unemulable, VcpuState, flags};

/// After a shutdown: the registers with the event delivered. `None` if the shutdown was not this quirk's.
///
/// # Errors
/// The event cannot be delivered by hand either.
pub fn deliver(
    fallback: &mut Fallback,
    cpu: &Cpu,
    vcpu: &dyn VcpuState,
    memory: &dyn GuestPhysical,
) -> Result<Option<Cpu>, Unemulable> {
    if cpu.mode() != Mode::Protected || cpu.sregs.ss.base == 0 {
        return Ok(None);
    }
    let Some((vector, source)) = lost_event(&cpu.events, cpu.regs.rflags) else { return Ok(None) };
    let (after, _) = fallback.deliver(*cpu, vcpu, memory, vector, source)?;
    Ok(Some(after))
}

/// The event that was being delivered. KVM leaves the vectors of the last interrupt and of the last exception behind;
/// which of them was it shows in RFLAGS: before a fault KVM sets RF, and an interrupt needs IF.
fn lost_event(events: &kvm_vcpu_events, rflags: u64) -> Option<(u8, Source)> {
    if rflags & flags::RF != 0 {
        let exception = &events.exception;
        let error_code = (exception.has_error_code != 0).then_some(exception.error_code);
        Some((exception.nr, Source::Exception(error_code)))
    } else if rflags & flags::IF != 0 && events.interrupt.nr != 0 {
        Some((events.interrupt.nr, Source::External))
    } else {
        None
    }
}
