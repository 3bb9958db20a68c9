//! The interrupt table: exceptions end the program with a report, interrupts are counted and stamped with the TSC.
//!
//! A handler does nothing else, since ring 0 may be slow and every device's own business can be done from ring 3 once
//! the count has moved. That needs no handler for any device: level-triggered lines are the exception, and a program
//! that uses them masks them.

use core::{
    arch::global_asm,
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    cpu::{Stack, selector},
    ring0,
};

/// Vector of the 8259's IRQ 0; its other lines follow, the second chip's too.
pub const PIC_VECTORS: u8 = 0x20;
/// First of the vectors that are acknowledged at the local APIC. They are free for programs, up to [`SPURIOUS_VECTOR`].
pub const APIC_VECTORS: u8 = 0x30;
/// What the local APIC delivers when an interrupt has gone away meanwhile; it is counted, but not acknowledged.
pub const SPURIOUS_VECTOR: u8 = 0xff;

/// Breakpoint: the call gate of [`crate::ring0`].
const BREAKPOINT: usize = 3;
/// Present interrupt gates, for ring 0 only and open to ring 3.
const GATE0: u64 = 0x8e00 << 32;
const GATE3: u64 = 0xee00 << 32;

#[repr(C, align(16))]
struct Idt(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written once, by the first processor before it has started another.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

/// The operand of LIDT.
#[repr(C, packed(2))]
pub(crate) struct IdtPointer {
    limit: u16,
    base: *const Idt,
}

// SAFETY: never written to.
unsafe impl Sync for IdtPointer {}

pub(crate) static IDT_POINTER: IdtPointer = IdtPointer { limit: (size_of::<Idt>() - 1) as u16, base: &raw const IDT };

static COUNT: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
static LAST: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// The local APIC's EOI register, 0 while it is used through MSRs (or not at all).
pub(crate) static LAPIC_EOI: AtomicU64 = AtomicU64::new(0);
/// The MSR of the same register.
const X2APIC_EOI: u32 = 0x80b;

/// Runs after an exception, one processor at a time.
static FAULT_STACK: Stack<0x4000> = Stack::new();

/// How often a vector was delivered, on all processors together.
pub fn count(vector: u8) -> u64 {
    COUNT[usize::from(vector)].load(Ordering::Acquire)
}

/// The TSC of the processor that took a vector last, in its handler; 0 before the first time.
pub fn last(vector: u8) -> u64 {
    LAST[usize::from(vector)].load(Ordering::Acquire)
}

/// Halts until a vector's count is no longer `count`, or any other interrupt has been handled.
pub fn wait(vector: u8, count: u64) {
    ring0::wait_while(&COUNT[usize::from(vector)], count);
}

/// Fills the table. Nothing can be called in ring 0 before.
pub(crate) fn init() {
    unsafe extern "C" {
        static interrupt_stubs: [u8; 16 * 256];
    }
    let stubs = (&raw const interrupt_stubs).addr();
    // SAFETY: no other processor runs yet, and no interrupt is due before this returns.
    let gates = unsafe { &mut *IDT.0.get() };
    for (vector, gate) in gates.iter_mut().enumerate() {
        let (handler, kind) = match vector {
            BREAKPOINT => (ring0::call_gate as *const () as usize, GATE3),
            _ => (stubs + 16 * vector, GATE0),
        };
        let handler = handler as u64;
        let low = handler & 0xffff | u64::from(selector::CODE0) << 16 | kind | (handler >> 16 & 0xffff) << 48;
        *gate = [low, handler >> 32];
    }
}

/// Ring 3's end of an exception.
extern "C" fn exception(vector: u64, error: u64, rip: u64, cr2: u64, cs: u64, rsp: u64) -> ! {
    const NAMES: [&str; 22] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS", "#GP", "#PF", "",
        "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
    ];
    let name = NAMES.get(vector as usize).unwrap_or(&"");
    panic!("exception {vector} {name}, error {error:#x}, at {cs:#x}:{rip:#x}, stack {rsp:#x}, CR2 {cr2:#x}");
}

global_asm!(
    r#"
    .pushsection .text.interrupts, "ax"
    .balign 16
interrupt_stubs:
    # The mask has a bit for each exception that pushes an error code; for the others a 0 takes its place.
    .set vector, 0
    .rept 256
    .balign 16
    .if vector < 32
    .if (0x60227d00 >> vector) & 1 == 0
    push 0
    .endif
    .byte 0x68                      # push vector
    .long vector
    jmp exception_entry
    .else
    push rax
    .byte 0xb8                      # mov eax, vector
    .long vector
    .if vector < {APIC_VECTORS}
    jmp pic_entry
    .elseif vector < {SPURIOUS_VECTOR}
    jmp apic_entry
    .else
    jmp spurious_entry
    .endif
    .endif
    .set vector, vector + 1
    .endr

    # Counts vector EAX. Leaves RCX and RDX on the stack, below the return address that it takes away.
    .macro count_vector
    push rcx
    push rdx
    mov ecx, eax
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov [{LAST} + rcx * 8], rax
    lock inc qword ptr [{COUNT} + rcx * 8]
    .endm

    .macro return_from_interrupt
    pop rdx
    pop rcx
    pop rax
    iretq
    .endm

apic_entry:
    count_vector
    mov rcx, [{LAPIC_EOI}]
    xor eax, eax
    test rcx, rcx
    jz 2f
    mov [rcx], eax
    return_from_interrupt
2:  mov ecx, {X2APIC_EOI}
    xor edx, edx
    wrmsr
    return_from_interrupt

pic_entry:
    count_vector
    mov al, 0x20
    cmp ecx, {PIC_VECTORS} + 8
    jb 2f
    out 0xa0, al
2:  out 0x20, al
    return_from_interrupt

spurious_entry:
    count_vector
    return_from_interrupt

    # Goes on in ring 3 with all that is known, never to return: (vector, error, RIP, CR2, CS, RSP).
exception_entry:
    pop rdi
    pop rsi
    mov rdx, [rsp]
    mov rcx, cr2
    mov r8, [rsp + 8]
    mov r9, [rsp + 24]
    mov eax, offset {FAULT_STACK} + {FAULT_STACK_TOP}
    push {DATA3}
    push rax
    push 2
    push {CODE3}
    mov eax, offset {EXCEPTION}
    push rax
    iretq
    .popsection
    "#,
    APIC_VECTORS = const APIC_VECTORS,
    PIC_VECTORS = const PIC_VECTORS,
    SPURIOUS_VECTOR = const SPURIOUS_VECTOR,
    X2APIC_EOI = const X2APIC_EOI,
    LAPIC_EOI = sym LAPIC_EOI,
    COUNT = sym COUNT,
    LAST = sym LAST,
    FAULT_STACK = sym FAULT_STACK,
    FAULT_STACK_TOP = const size_of_val(&FAULT_STACK) - 8,
    EXCEPTION = sym exception,
    CODE3 = const selector::CODE3,
    DATA3 = const selector::DATA3,
);
