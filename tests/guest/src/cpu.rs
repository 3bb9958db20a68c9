//! One processor: the tables it runs on, and what CPUID says of it.
//!
//! CPUID is executed in ring 0: a hypervisor without hardware support answers for itself there, while ring 3 runs the
//! bare instruction and sees the host.

use core::{cell::UnsafeCell, mem::offset_of};

use crate::{
    first_processor, pvh,
    ring0::{Cpuid, cpuid},
};

/// Segment selectors, the same on every processor.
pub(crate) mod selector {
    pub(crate) const CODE0: u16 = 0x08;
    pub(crate) const DATA0: u16 = 0x10;
    /// 32-bit code: only in the table that start-up code uses until it has found its processor's own.
    pub(crate) const CODE32: u16 = 0x18;
    pub(crate) const DATA3: u16 = 0x18 | 3;
    pub(crate) const CODE3: u16 = 0x20 | 3;
    pub(crate) const TSS: u16 = 0x28;
}

/// A stack for one processor and ring.
#[repr(C, align(16))]
pub(crate) struct Stack<const SIZE: usize>(UnsafeCell<[u8; SIZE]>);

// SAFETY: nothing but the stack pointer of the processor that owns it ever points into a stack.
unsafe impl<const SIZE: usize> Sync for Stack<SIZE> {}

impl<const SIZE: usize> Stack<SIZE> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new([0; SIZE]))
    }

    /// What the stack pointer is on entry to a function that was not called: a return address's room below the end.
    pub(crate) const fn top(&self) -> *const u8 {
        self.0.get().cast::<u8>().wrapping_add(SIZE - size_of::<usize>())
    }
}

/// The 64-bit task state segment (Intel SDM volume 3, "Task Management in 64-bit Mode"). It only gives ring 0 its stack.
#[repr(C, packed(4))]
pub(crate) struct Tss {
    reserved: u32,
    rsp0: *const u8,
    unused: [u32; 22],
    io_map_base: u32,
}

/// What a processor needs to run: segments, task state, stacks, and where to go. Start-up code reads it by offset.
#[repr(C)]
pub struct Cpu {
    pub(crate) gdt: UnsafeCell<[u64; 7]>,
    padding: [u16; 3],
    /// The operand of LGDT: this limit, and the base that follows.
    pub(crate) gdt_pointer: u16,
    gdt_base: *const u64,
    pub(crate) tss: Tss,
    pub(crate) stack0: *const u8,
    pub(crate) stack3: *const u8,
    pub(crate) entry: extern "C" fn(&'static Cpu, *const pvh::StartInfo) -> !,
    pub(crate) work: fn(&'static Cpu),
    /// The local APIC id by which this processor was started; 0 for the first one, which nobody starts.
    pub apic_id: u32,
}

const _: () = assert!(offset_of!(Cpu, gdt_base) == offset_of!(Cpu, gdt_pointer) + size_of::<u16>());

// SAFETY: a processor is described before it starts; from then on only its own loading of the task register writes here.
unsafe impl Sync for Cpu {}

static FIRST_STACK0: Stack<0x1000> = Stack::new();
static FIRST_STACK3: Stack<0x1_0000> = Stack::new();

/// The processor that the loader starts. Its TSS descriptor gets its base in the start-up code: an address can't be
/// taken apart at compile time.
pub(crate) static FIRST: Cpu =
    Cpu::new(&raw const FIRST, FIRST_STACK0.top(), FIRST_STACK3.top(), first_processor, |_| {}, 0);

impl Cpu {
    /// The descriptors, by [`selector`]; the last two are the TSS, its base left 0.
    pub(crate) const GDT: [u64; 7] = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x0000_8900_0000_0000 | (size_of::<Tss>() as u64 - 1),
        0,
    ];

    /// Describes the processor that will be at `this`, save for the base of its TSS.
    pub(crate) const fn new(
        this: *const Self,
        stack0: *const u8,
        stack3: *const u8,
        entry: extern "C" fn(&'static Cpu, *const pvh::StartInfo) -> !,
        work: fn(&'static Cpu),
        apic_id: u32,
    ) -> Self {
        Self {
            gdt: UnsafeCell::new(Self::GDT),
            padding: [0; 3],
            gdt_pointer: (size_of_val(&Self::GDT) - 1) as u16,
            gdt_base: this.wrapping_byte_add(offset_of!(Self, gdt)).cast(),
            tss: Tss { reserved: 0, rsp0: stack0, unused: [0; 22], io_map_base: size_of::<Tss>() as u32 },
            stack0,
            stack3,
            entry,
            work,
            apic_id,
        }
    }

    /// Puts the base of the TSS into its descriptor.
    pub(crate) fn set_tss_base(&self) {
        let base = (&raw const self.tss).addr() as u64;
        // SAFETY: this processor has not been started, nobody else looks at its tables.
        let gdt = unsafe { &mut *self.gdt.get() };
        gdt[5] |= (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56;
        gdt[6] = base >> 32;
    }
}

/// The first of the leaves in which a hypervisor describes itself.
pub const HYPERVISOR_LEAF: u32 = 0x4000_0000;

/// How the hypervisor signs itself, if there is one.
pub fn hypervisor() -> Option<[u8; 12]> {
    const HYPERVISOR_PRESENT: u32 = 1 << 31;
    if cpuid(1, 0).ecx & HYPERVISOR_PRESENT == 0 {
        return None;
    }
    let Cpuid { ebx, ecx, edx, .. } = cpuid(HYPERVISOR_LEAF, 0);
    Some(text([ebx, ecx, edx]))
}

/// The processor's maker, as in "GenuineIntel".
pub fn vendor() -> [u8; 12] {
    let Cpuid { ebx, ecx, edx, .. } = cpuid(0, 0);
    text([ebx, edx, ecx])
}

/// The processor's name, padded with spaces or zeros.
pub fn brand() -> Option<[u8; 48]> {
    const BRAND_LEAVES: [u32; 3] = [0x8000_0002, 0x8000_0003, 0x8000_0004];
    if cpuid(0x8000_0000, 0).eax < BRAND_LEAVES[2] {
        return None;
    }
    let mut registers = [0; 12];
    for (leaf, quarter) in BRAND_LEAVES.into_iter().zip(registers.as_chunks_mut::<4>().0) {
        let Cpuid { eax, ebx, ecx, edx } = cpuid(leaf, 0);
        *quarter = [eax, ebx, ecx, edx];
    }
    Some(text(registers))
}

/// Family, model and stepping.
pub fn family_model_stepping() -> (u32, u32, u32) {
    let eax = cpuid(1, 0).eax;
    let (family, model) = (eax >> 8 & 0xf, eax >> 4 & 0xf);
    let extended = family == 0xf;
    let family = if extended { family + (eax >> 20 & 0xff) } else { family };
    let model = if extended || family == 6 { model | (eax >> 12 & 0xf0) } else { model };
    (family, model, eax & 0xf)
}

fn text<const REGISTERS: usize, const BYTES: usize>(registers: [u32; REGISTERS]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (chunk, register) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(registers) {
        *chunk = register.to_le_bytes();
    }
    bytes
}

/// How local APIC ids are made up: thread, core and package, from the low bits to the high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    thread_bits: u32,
    package_shift: u32,
}

impl Topology {
    /// What this processor's CPUID says: leaf 0xb if it has that, else the older leaves of Intel or AMD.
    pub fn read() -> Self {
        const EXTENDED_TOPOLOGY: u32 = 0xb;
        let largest = cpuid(0, 0).eax;
        let levels =
            [0, 1].map(|level| if largest < EXTENDED_TOPOLOGY { None } else { Some(cpuid(EXTENDED_TOPOLOGY, level)) });
        if let [Some(threads), Some(cores)] = levels
            && threads.ebx != 0
        {
            let shift = |level: Cpuid| level.eax & 0x1f;
            return Self { thread_bits: shift(threads), package_shift: shift(threads).max(shift(cores)) };
        }
        const MULTITHREADING: u32 = 1 << 28;
        let basic = cpuid(1, 0);
        let logical = if basic.edx & MULTITHREADING == 0 { 1 } else { (basic.ebx >> 16 & 0xff).max(1) };
        let cores = if vendor() == *b"AuthenticAMD" {
            if cpuid(0x8000_0000, 0).eax < 0x8000_0008 { 1 } else { (cpuid(0x8000_0008, 0).ecx & 0xff) + 1 }
        } else if largest < 4 {
            1
        } else {
            (cpuid(4, 0).eax >> 26) + 1
        };
        let bits = |count: u32| count.next_power_of_two().trailing_zeros();
        Self { thread_bits: bits(logical.div_ceil(cores)), package_shift: bits(logical) }
    }

    /// Package, core in the package and thread of the core.
    pub fn place(&self, apic_id: u32) -> (u32, u32, u32) {
        let package = apic_id.checked_shr(self.package_shift).unwrap_or(0);
        let core = (apic_id & !(u32::MAX << self.package_shift)) >> self.thread_bits;
        (package, core, apic_id & !(u32::MAX << self.thread_bits))
    }
}
