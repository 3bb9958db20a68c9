//! From the loader's jump to Rust in ring 3, on the first processor and on all others.
//!
//! The first processor arrives as the PVH boot protocol says (Xen's `pvh.pandoc` and `start_info.h`): 32-bit protected
//! mode, flat segments, no paging, EBX = the physical address of `hvm_start_info`. The others arrive in real mode, by
//! a start-up IPI, at a copy of [`ap_trampoline`] below 1 MiB. Both take the same way to long mode and leave ring 0 at
//! once; after that it only runs interrupt handlers and the short routines of [`crate::ring0`].
//!
//! Everything the way needs is laid out at compile time, page tables included: ring 0 may be slow where it is emulated.

use core::{arch::global_asm, mem::offset_of, sync::atomic::AtomicPtr};

use crate::{
    cpu::{Cpu, selector},
    interrupts::IDT_POINTER,
};

/// Emits the ELF note by which a PVH loader finds the entry point (`XEN_ELFNOTE_PHYS32_ENTRY`, type 18).
///
/// A program names [`pvh_start`](crate::entry), or a symbol of its own that ends up there with EBX unchanged.
#[macro_export]
macro_rules! pvh_note {
    ($entry:literal) => {
        ::core::arch::global_asm!(
            ".pushsection .note.pvh, \"a\", @note",
            ".balign 4",
            ".long 4, 8, 18", // size of the name, size of the value, type
            ".asciz \"Xen\"",
            concat!(".quad ", $entry),
            ".popsection",
        );
    };
}

/// The processor that the trampoline is to become; whoever takes it leaves null behind.
pub(crate) static STARTING: AtomicPtr<Cpu> = AtomicPtr::new(core::ptr::null_mut());

unsafe extern "C" {
    /// First byte of the code that starts a further processor, to be copied to a page below 1 MiB.
    pub(crate) safe static ap_trampoline: u8;
    /// One past its last byte.
    pub(crate) safe static ap_trampoline_end: u8;
}

/// CR0: paging, write protection, native x87 errors, protected mode; caches on.
const CR0: u32 = 1 << 31 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1;
/// CR4: PAE, FXSAVE and SSE allowed, SSE exceptions.
const CR4: u32 = 1 << 5 | 1 << 9 | 1 << 10;
/// The MSR of long mode, and its enable bit.
const EFER: u32 = 0xc000_0080;
const EFER_LME: u32 = 1 << 8;

global_asm!(
    r#"
    .pushsection .text.entry, "ax"

    .code32
    .global pvh_start
pvh_start:
    cli
    cld
    lgdt [boot_gdt_pointer]

enter_long_mode:
    mov eax, {CR4}
    mov cr4, eax
    mov eax, offset page_map
    mov cr3, eax
    mov ecx, {EFER}
    rdmsr
    or eax, {EFER_LME}
    wrmsr
    mov eax, {CR0}
    mov cr0, eax
    .byte 0xea                      # ljmp {CODE0}:in_long_mode
    .long in_long_mode
    .word {CODE0}

    .code64
in_long_mode:
    # RDI = this processor: the first has a start info and is described at compile time, but for the base of its TSS,
    # which is scattered over the descriptor; another finds its description in STARTING.
    mov esi, ebx
    test esi, esi
    jz 2f
    mov edi, offset {FIRST}
    lea rax, [rdi + {CPU_TSS}]
    mov [rdi + {CPU_GDT} + {TSS} + 2], ax
    shr eax, 16
    mov [rdi + {CPU_GDT} + {TSS} + 4], al
    mov [rdi + {CPU_GDT} + {TSS} + 7], ah
    jmp 3f
2:  xor edi, edi
    xchg [{STARTING}], rdi
    test rdi, rdi
    jnz 3f
    hlt                             # nobody waits for us
    jmp 2b

3:  lgdt [rdi + {CPU_GDT_POINTER}]
    lidt [{IDT_POINTER}]
    mov eax, {DATA3}
    mov ds, eax
    mov es, eax
    mov eax, {DATA0}
    mov ss, eax
    mov eax, {TSS}
    ltr ax
    fninit

    mov rsp, [rdi + {CPU_STACK0}]
    push {DATA3}
    push qword ptr [rdi + {CPU_STACK3}]
    push 2                          # RFLAGS: interrupts off
    push {CODE3}
    push qword ptr [rdi + {CPU_ENTRY}]
    iretq                           # entry(RDI = processor, RSI = start info)

    # A further processor: 16-bit code wherever it was copied to, with CS:0 at its first byte.
    .code16
    .global ap_trampoline, ap_trampoline_end
ap_trampoline:
    cli
    mov ax, cs
    mov ds, ax
    data32 lgdt [boot_gdt_pointer_offset]
    mov eax, 0x11
    mov cr0, eax
    .byte 0x66, 0xea                # ljmpl {CODE32}:ap_start
    .long ap_start
    .word {CODE32}
2:  .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
    .set boot_gdt_pointer_offset, 2b - ap_trampoline
ap_trampoline_end:

    .code32
ap_start:
    mov eax, {DATA0}
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor ebx, ebx
    jmp enter_long_mode
    .code64
    .popsection

    .pushsection .rodata.boot_gdt, "a"
    .balign 8
boot_gdt:
    .quad 0
    .quad {CODE0_DESCRIPTOR}
    .quad {DATA0_DESCRIPTOR}
    .quad 0x00cf9b000000ffff        # {CODE32}: 32-bit code, flat
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
    .popsection

    # The first 4 GiB, each address to itself, open to ring 3, in 2 MiB pages. Accessed and dirty are set beforehand to
    # save the processor those writes. The devices' range at the top is uncached.
    .pushsection .data.pages, "aw"
    .balign 4096
    .global page_directory_pointers
page_map:
    .quad page_directory_pointers + 0x27
    .fill 511, 8, 0
page_directory_pointers:
    .quad page_directories + 0x0027
    .quad page_directories + 0x1027
    .quad page_directories + 0x2027
    .quad page_directories + 0x3027
    .fill 508, 8, 0
page_directories:
    .set address, 0
    .rept 2048
    .if address < 0xfec00000
    .quad address + 0xe7
    .else
    .quad address + 0xff
    .endif
    .set address, address + 0x200000
    .endr
    .popsection
    "#,
    CR0 = const CR0,
    CR4 = const CR4,
    EFER = const EFER,
    EFER_LME = const EFER_LME,
    CODE0 = const selector::CODE0,
    DATA0 = const selector::DATA0,
    CODE32 = const selector::CODE32,
    DATA3 = const selector::DATA3,
    CODE3 = const selector::CODE3,
    TSS = const selector::TSS,
    CODE0_DESCRIPTOR = const Cpu::GDT[1],
    DATA0_DESCRIPTOR = const Cpu::GDT[2],
    CPU_GDT = const offset_of!(Cpu, gdt),
    CPU_GDT_POINTER = const offset_of!(Cpu, gdt_pointer),
    CPU_TSS = const offset_of!(Cpu, tss),
    CPU_STACK0 = const offset_of!(Cpu, stack0),
    CPU_STACK3 = const offset_of!(Cpu, stack3),
    CPU_ENTRY = const offset_of!(Cpu, entry),
    FIRST = sym crate::cpu::FIRST,
    STARTING = sym STARTING,
    IDT_POINTER = sym IDT_POINTER,
);
