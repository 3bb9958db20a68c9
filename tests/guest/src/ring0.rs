//! The way into ring 0 and back: privileged instructions for code in ring 3.
//!
//! Ring 3 puts the address of a routine into R11 and executes INT3; the gate's handler calls the routine, with the
//! registers as they were, and returns. A routine is a few instructions that every emulator of ring 0 knows: no SSE, no
//! x87, none of the newer integer extensions. A program can bring routines of its own.
//!
//! Port I/O is safe: it can reach Rust's memory only by starting a device's DMA, and whoever programs a bus master
//! answers for the addresses given to it.

use core::{arch::naked_asm, sync::atomic::AtomicU64};

/// Handler of vector 3, behind a gate that ring 3 may use: runs the routine at R11 in ring 0, interrupts off.
#[unsafe(naked)]
pub(crate) extern "C" fn call_gate() {
    naked_asm!("call r11", "iretq")
}

/// Declares routines for [`ring0!`](crate::ring0): a name, and the instructions that go before the RET.
#[macro_export]
macro_rules! ring0_routines {
    ($($name:ident: $($instruction:literal),+;)+) => {$(
        #[unsafe(naked)]
        extern "C" fn $name() {
            ::core::arch::naked_asm!($($instruction,)+ "ret")
        }
    )+};
}

/// `ring0!(routine, operands)`: runs a routine in ring 0. The operands are those of `asm!`, and so are the duties.
#[macro_export]
macro_rules! ring0 {
    ($routine:path $(, $($operands:tt)*)?) => {
        ::core::arch::asm!(
            "mov r11d, offset {routine}",
            "int3",
            routine = sym $routine,
            out("r11") _,
            $($($operands)*)?
        )
    };
}

ring0_routines! {
    do_inb: "in al, dx";
    do_inw: "in ax, dx";
    do_inl: "in eax, dx";
    do_outb: "out dx, al";
    do_outw: "out dx, ax";
    do_outl: "out dx, eax";
    do_outb_each: "2:", "lodsb", "out dx, al", "dec ecx", "jnz 2b";
    do_cpuid: "mov r8, rbx", "cpuid", "xchg r8, rbx"; // the compiler keeps RBX for itself
    do_rdmsr: "rdmsr";
    do_wrmsr: "wrmsr";
    // Behind the return address lies the interrupt frame: RIP, CS, RFLAGS. Bit 9 of the latter is IF.
    do_enable_interrupts: "or qword ptr [rsp + 24], 0x200";
    do_disable_interrupts: "and qword ptr [rsp + 24], -0x201";
    // STI takes effect after HLT has begun: an interrupt that comes after the comparison ends the HLT.
    do_wait_while: "cmp [rdi], rsi", "jne 2f", "sti", "hlt", "cli", "2:";
    do_halt: "sti", "hlt", "cli";
    do_triple_fault: "push 0", "push 0", "lidt [rsp]", "ud2";
}

macro_rules! port_io {
    ($($width:literal: $read:ident by $do_read:ident, $write:ident by $do_write:ident, $type:ty, $register:tt;)+) => {$(
        #[doc = concat!("Reads ", $width, " from a port.")]
        pub fn $read(port: u16) -> $type {
            let value;
            // SAFETY: the routine changes only the output register.
            unsafe { ring0!($do_read, in("dx") port, out($register) value, options(nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes ", $width, " to a port.")]
        pub fn $write(port: u16, value: $type) {
            // SAFETY: the routine changes no register and no memory.
            unsafe { ring0!($do_write, in("dx") port, in($register) value, options(nostack, preserves_flags)) };
        }
    )+};
}

port_io! {
    "a byte": inb by do_inb, outb by do_outb, u8, "al";
    "a word": inw by do_inw, outw by do_outw, u16, "ax";
    "a double word": inl by do_inl, outl by do_outl, u32, "eax";
}

/// Writes bytes to a port, one after the other.
pub fn outb_each(port: u16, bytes: &[u8]) {
    for chunk in bytes.chunks(u32::MAX as usize) {
        // SAFETY: the routine reads the chunk, which is not empty, and changes RSI, ECX and AL.
        unsafe {
            ring0!(
                do_outb_each,
                in("dx") port,
                inout("rsi") chunk.as_ptr() => _,
                inout("ecx") chunk.len() as u32 => _,
                out("al") _,
                options(nostack, preserves_flags, readonly)
            );
        }
    }
}

/// What CPUID answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs)]
pub struct Cpuid {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// CPUID, executed in ring 0. Whether the leaf exists is the caller's to know.
pub fn cpuid(leaf: u32, subleaf: u32) -> Cpuid {
    let (eax, ebx, ecx, edx);
    // SAFETY: the routine changes only the output registers.
    unsafe {
        ring0!(
            do_cpuid,
            inout("eax") leaf => eax,
            inout("ecx") subleaf => ecx,
            out("edx") edx,
            out("r8") ebx,
            options(nostack, preserves_flags)
        );
    }
    Cpuid { eax, ebx, ecx, edx }
}

/// Reads a model-specific register. One that does not exist is a #GP, which ends the program.
pub fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the routine changes only the output registers; reading an MSR has no effect on memory.
    unsafe {
        ring0!(do_rdmsr, in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register. One that does not exist, or a value it can't take, is a #GP.
///
/// # Safety
/// The write must leave the processor able to run this program, and may point the hypervisor only at memory that is free
/// for it.
pub unsafe fn wrmsr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the routine changes no general register; what the MSR does is the caller's promise.
    unsafe { ring0!(do_wrmsr, in("ecx") register, in("eax") low, in("edx") high, options(nostack, preserves_flags)) };
}

/// Lets interrupts reach this processor.
pub fn enable_interrupts() {
    // SAFETY: the handlers save what they use and write to atomics only.
    unsafe { ring0!(do_enable_interrupts, options(nostack)) };
}

/// Holds interrupts back from this processor.
pub fn disable_interrupts() {
    // SAFETY: changes IF in the saved flags only.
    unsafe { ring0!(do_disable_interrupts, options(nostack)) };
}

/// Halts until an interrupt has been handled, unless the word is no longer `value`: then it returns at once.
pub fn wait_while(word: &AtomicU64, value: u64) {
    // SAFETY: the routine reads the word; the handlers that run during the halt write to atomics only.
    unsafe { ring0!(do_wait_while, in("rdi") word.as_ptr(), in("rsi") value, options(nostack, preserves_flags)) };
}

/// Halts for good. Interrupts are still taken and counted.
pub fn park() -> ! {
    loop {
        // SAFETY: as in `wait_while`.
        unsafe { ring0!(do_halt, options(nostack, preserves_flags)) };
    }
}

/// Makes the processor shut down, which a PC answers with a reset.
pub fn triple_fault() -> ! {
    // SAFETY: without an interrupt table the UD2 at the end does not return.
    unsafe { ring0!(do_triple_fault) };
    park()
}
