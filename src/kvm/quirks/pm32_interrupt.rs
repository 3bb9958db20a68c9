//! Interrupts and exceptions in protected mode that are delivered to the wrong stack.
//!
//! Outside long mode the host pushes the frame of an interrupt or exception at linear address ESP, as if SS had base 0.
//! With another base (iPXE runs like that) the address mostly is no memory at all, and the vCPU shuts down as by a triple
//! fault; its registers are those before the event, and the event's vector can still be read. natoma then delivers the
//! event itself and lets the vCPU go on.
//!
//! Where the wrong address happens to be RAM, the host notices nothing, and nor can natoma: an interrupt of controllers in the
//! kernel is lost then. Those of controllers on the board (`kernel-irqchip=split`) pass through natoma's hands, which delivers them
//! itself while there is such a base.

use kvm_bindings::kvm_vcpu_events;

use crate::kvm::fallback::{Cpu, Fallback, GuestPhysical, Mode, Outcome, Source, Unemulable, VcpuState, flags};

/// Whether the frame of an interrupt goes to the wrong place.
#[must_use]
pub fn misplaces_frames(cpu: &Cpu) -> bool {
    cpu.mode() == Mode::Protected && cpu.sregs.ss.base != 0
}

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
    match lost_event(&cpu.events, cpu.regs.rflags).filter(|_| misplaces_frames(cpu)) {
        Some(event) => deliver_event(fallback, cpu, vcpu, memory, event),
        None => Ok(None),
    }
}

/// In place of KVM: the registers with an external interrupt delivered. `None` if that ends in a triple fault.
///
/// # Errors
/// The interrupt cannot be delivered by hand.
pub fn deliver_external(
    fallback: &mut Fallback,
    cpu: &Cpu,
    vcpu: &dyn VcpuState,
    memory: &dyn GuestPhysical,
    vector: u8,
) -> Result<Option<Cpu>, Unemulable> {
    deliver_event(fallback, cpu, vcpu, memory, (vector, Source::External))
}

fn deliver_event(
    fallback: &mut Fallback,
    cpu: &Cpu,
    vcpu: &dyn VcpuState,
    memory: &dyn GuestPhysical,
    mut event: (u8, Source),
) -> Result<Option<Cpu>, Unemulable> {
    loop {
        let (vector, source) = event;
        let (after, outcome) = fallback.deliver(*cpu, vcpu, memory, vector, source)?;
        let Outcome::Raised(raised) = outcome else { return Ok(Some(after)) };
        if vector == DOUBLE_FAULT {
            // A triple fault after all.
            return Ok(None);
        }
        event = if is_contributory(raised) && is_contributory(vector) && matches!(source, Source::Exception(_)) {
            (DOUBLE_FAULT, Source::Exception(Some(0)))
        } else {
            (raised, Source::Exception(error_code(&after.events)))
        };
    }
}

const DOUBLE_FAULT: u8 = 8;

/// Exceptions of which two in a row make a double fault (SDM vol. 3, table 6-5; without paging there is no #PF).
fn is_contributory(vector: u8) -> bool {
    matches!(vector, 0 | 10..=13)
}

fn error_code(events: &kvm_vcpu_events) -> Option<u32> {
    (events.exception.has_error_code != 0).then_some(events.exception.error_code)
}

/// The event that was being delivered. KVM leaves the vectors of the last interrupt and of the last exception behind;
/// which of them was it shows in RFLAGS: before a fault KVM sets RF, and an interrupt needs IF.
fn lost_event(events: &kvm_vcpu_events, rflags: u64) -> Option<(u8, Source)> {
    if rflags & flags::RF != 0 {
        Some((events.exception.nr, Source::Exception(error_code(events))))
    } else if rflags & flags::IF != 0 && events.interrupt.nr != 0 {
        Some((events.interrupt.nr, Source::External))
    } else {
        None
    }
}
