//! Ports that exchange more than their data: an access hands the registers of the processor over, too.
//!
//! Hypervisors have put calls behind such ports. Whoever runs processors knows which ports these are (the board tells) and
//! makes accesses to them through [`RegisterPort`] instead of the bus, which has no registers to offer; all other
//! accesses cost what they did.

/// The registers that an access hands over: the low halves of the 64-bit ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the processor's own names say all there is to say")]
pub struct Registers {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
}

/// The processor that makes an access, between the access and its end.
pub trait Caller {
    /// Its registers. What is changed here, it finds changed when it goes on; a 64-bit register that is changed loses its
    /// upper half, as by an instruction that writes 32 bits.
    fn registers(&mut self) -> &mut Registers;

    /// Ticks of its time stamp counter in a second; `None` if that is not known.
    fn tsc_hz(&self) -> Option<u64>;

    /// Whether its local APIC has the x2APIC mode.
    fn has_x2apic(&self) -> bool;
}

/// Registers alone: a processor of which no more is known, for those who call a port in its place.
impl Caller for Registers {
    fn registers(&mut self) -> &mut Registers {
        self
    }

    fn tsc_hz(&self) -> Option<u64> {
        None
    }

    fn has_x2apic(&self) -> bool {
        false
    }
}

/// A port with registers. It is a leaf: it calls nobody but its caller.
pub trait RegisterPort: Send {
    /// The processor reads from the port or writes to it, which makes no difference: what comes of it is in EAX, from which
    /// the caller takes the data of a read.
    fn access(&mut self, caller: &mut dyn Caller);
}
