//! Executable memory for single instructions, and the way in and out of it.
//!
//! Two pages: code and, after it, a scratch page for the memory operand, so that the operand is reached relative to RIP
//! and no general register is lost to addressing. The code page is writable or executable, never both: it is switched
//! to writable to take a new instruction, and back before anything runs. It belongs to one vCPU thread.

use std::io;
use std::ptr::NonNull;

use crate::kvm::fallback::xstate::XsaveArea;

const PAGE: usize = 4096;
/// Room for one instruction (15 bytes, and up to 4 more by re-encoding), and the return.
const SLOT: usize = 32;
const RET: u8 = 0xc3;

/// Bytes of memory operand that fit on the scratch page, with what precedes and follows it zero.
pub const SCRATCH: usize = 512;

/// The registers an instruction runs with, and what becomes of them.
#[repr(C)]
pub struct Frame {
    /// General registers by hardware number. RSP (4) is neither loaded nor stored.
    pub gprs: [u64; 16],
    /// RFLAGS.
    pub flags: u64,
    /// Address of the instruction.
    pub code: u64,
    /// Floating-point state to run with, or null if the instruction has none to do with it.
    pub guest: *mut XsaveArea,
    /// Where the process's own floating-point state waits meanwhile.
    pub host: *mut XsaveArea,
    /// The state components to exchange.
    pub components: u64,
}

/// The two pages.
pub struct CodePage {
    base: NonNull<u8>,
    used: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for CodePage {}

impl CodePage {
    /// Maps the pages.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing else.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at address 0 unasked");
        Ok(Self { base, used: 0 })
    }

    /// Address at which the next instruction will be placed; `None` if the page is full.
    pub fn next(&self) -> Option<u64> {
        (self.used < PAGE).then(|| self.address(self.used))
    }

    /// Address of the memory operand.
    pub fn operand_address(&self) -> u64 {
        self.address(PAGE)
    }

    fn address(&self, offset: usize) -> u64 {
        (self.base.as_ptr().addr() + offset) as u64
    }

    /// Places an instruction at `next()`.
    ///
    /// # Panics
    /// If the page is full or the instruction is longer than a slot.
    pub fn add(&mut self, instruction: &[u8]) -> io::Result<()> {
        assert!(instruction.len() < SLOT && self.used < PAGE, "an instruction fits its slot");
        self.protect(libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: `used` stays within the code page.
        let start = unsafe { self.base.as_ptr().add(self.used) };
        // SAFETY: a slot of the code page, which is ours and, since just now, writable.
        let slot = unsafe { std::slice::from_raw_parts_mut(start, SLOT) };
        slot.fill(RET);
        slot[..instruction.len()].copy_from_slice(instruction);
        self.protect(libc::PROT_READ | libc::PROT_EXEC)?;
        self.used += SLOT;
        Ok(())
    }

    /// Forgets all instructions.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    fn protect(&self, protection: libc::c_int) -> io::Result<()> {
        // SAFETY: the code page is ours, and no Rust reference points into it.
        let result = unsafe { libc::mprotect(self.base.as_ptr().cast(), PAGE, protection) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The memory operand.
    pub fn operand(&mut self) -> &mut [u8; SCRATCH] {
        // SAFETY: the scratch page follows the code page in the same mapping.
        let start = unsafe { self.base.as_ptr().add(PAGE) };
        // SAFETY: the scratch page is ours, readable and writable, page-aligned, and borrowed with `self`.
        unsafe { &mut *start.cast() }
    }

    /// Runs the instruction at `frame.code`.
    ///
    /// # Safety
    /// `frame.code` is the address of an instruction placed by `add` that neither faults, nor transfers control, nor
    /// touches RSP, nor accesses memory other than the scratch page. `frame.guest`, if not null, is an area that XRSTOR
    /// accepts, and `frame.host` is then an area whose header is zero; both are large enough for `frame.components`.
    /// MXCSR in `frame.guest` masks all exceptions.
    pub unsafe fn run(&mut self, frame: &mut Frame) {
        // SAFETY: by the caller's promise. The block saves what it does not declare: RBX and RBP on the stack, vector
        // and x87 state in `frame.host`. The stack pointer stays the host's throughout, so signals find a stack.
        unsafe {
            std::arch::asm!(
                "push rbx",
                "push rbp",
                "push qword ptr [rdi + {code}]",
                "push rdi",
                // The floating-point state.
                "mov rsi, [rdi + {guest}]",
                "test rsi, rsi",
                "jz 2f",
                "mov rcx, [rdi + {host}]",
                "mov eax, [rdi + {components}]",
                "mov edx, [rdi + {components} + 4]",
                "xsave64 [rcx]",
                "xrstor64 [rsi]",
                "2:",
                // Flags and general registers, RDI last.
                "push qword ptr [rdi + {flags}]",
                "popfq",
                "mov rax, [rdi]",
                "mov rcx, [rdi + 8]",
                "mov rdx, [rdi + 16]",
                "mov rbx, [rdi + 24]",
                "mov rbp, [rdi + 40]",
                "mov rsi, [rdi + 48]",
                "mov r8, [rdi + 64]",
                "mov r9, [rdi + 72]",
                "mov r10, [rdi + 80]",
                "mov r11, [rdi + 88]",
                "mov r12, [rdi + 96]",
                "mov r13, [rdi + 104]",
                "mov r14, [rdi + 112]",
                "mov r15, [rdi + 120]",
                "mov rdi, [rdi + 56]",
                "call qword ptr [rsp + 8]",
                // And back; none of these moves changes a flag before they are stored.
                "push rdi",
                "mov rdi, [rsp + 8]",
                "mov [rdi], rax",
                "mov [rdi + 8], rcx",
                "mov [rdi + 16], rdx",
                "mov [rdi + 24], rbx",
                "mov [rdi + 40], rbp",
                "mov [rdi + 48], rsi",
                "mov [rdi + 64], r8",
                "mov [rdi + 72], r9",
                "mov [rdi + 80], r10",
                "mov [rdi + 88], r11",
                "mov [rdi + 96], r12",
                "mov [rdi + 104], r13",
                "mov [rdi + 112], r14",
                "mov [rdi + 120], r15",
                "pop qword ptr [rdi + 56]",
                "pushfq",
                "pop qword ptr [rdi + {flags}]",
                "cld",
                "mov rsi, [rdi + {guest}]",
                "test rsi, rsi",
                "jz 3f",
                "mov rcx, [rdi + {host}]",
                "mov eax, [rdi + {components}]",
                "mov edx, [rdi + {components} + 4]",
                "xsave64 [rsi]",
                "xrstor64 [rcx]",
                "3:",
                "add rsp, 16",
                "pop rbp",
                "pop rbx",
                code = const std::mem::offset_of!(Frame, code),
                flags = const std::mem::offset_of!(Frame, flags),
                guest = const std::mem::offset_of!(Frame, guest),
                host = const std::mem::offset_of!(Frame, host),
                components = const std::mem::offset_of!(Frame, components),
                inout("rdi") frame => _,
                out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            );
        }
    }
}

impl Drop for CodePage {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), 2 * PAGE) };
    }
}
