//! The reference: runs an instruction as it is, in this process, with every register given.
//!
//! Nothing of the code under test is used. The routine is assembled anew for each instruction, around its unchanged
//! bytes; RSP holds the guest's value meanwhile, which is safe as long as no signal has a handler.

use std::ffi::c_void;

use iced_x86::code_asm::*;

use super::{XsaveArea, host};

const SIZE: usize = 0x4000;
const GUEST_AREA: usize = 0x1000;
const HOST_AREA: usize = 0x2000;
const WORDS: usize = 0x3000;

/// Registers before and after.
#[derive(Clone)]
pub struct State {
    /// By hardware number.
    pub gprs: [u64; 16],
    /// RFLAGS.
    pub flags: u64,
    /// Floating-point state.
    pub area: XsaveArea,
}

/// Writable and executable memory, below 2 GiB so that absolute addresses are short.
pub struct RealCpu {
    base: *mut u8,
}

impl RealCpu {
    pub fn new() -> Self {
        // SAFETY: a new mapping touches nothing else.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED);
        Self { base: base.cast() }
    }

    fn address(&self, offset: usize) -> u64 {
        (self.base.addr() + offset) as u64
    }

    fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= SIZE);
        // SAFETY: inside the mapping, as just checked.
        let to = unsafe { self.base.add(offset) };
        // SAFETY: the mapping is writable and overlaps no Rust object.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= SIZE);
        // SAFETY: inside the mapping, as just checked.
        let from = unsafe { self.base.add(offset) };
        // SAFETY: the mapping is readable and overlaps no Rust object.
        unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Runs `instruction` (code bytes, position-independent). Returns the state after it and the address it ran at.
    pub fn run(&mut self, instruction: &[u8], state: &State) -> (State, u64) {
        let gpr = |n: usize| qword_ptr(self.address(WORDS + 8 * n));
        let flags = qword_ptr(self.address(WORDS + 8 * 16));
        let saved = |n: usize| qword_ptr(self.address(WORDS + 8 * (17 + n)));
        let registers = [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
        let callee_saved = [rbx, rbp, r12, r13, r14, r15, rsp];
        let components = host::xcr0() & 0xe7;
        let build = || {
            let mut a = CodeAssembler::new(64)?;
            for (n, register) in callee_saved.into_iter().enumerate() {
                a.mov(saved(n), register)?;
            }
            a.mov(eax, components as u32)?;
            a.xor(edx, edx)?;
            a.xsave64(byte_ptr(self.address(HOST_AREA)))?;
            a.xrstor64(byte_ptr(self.address(GUEST_AREA)))?;
            a.push(flags)?;
            a.popfq()?;
            for (n, register) in registers.into_iter().enumerate() {
                a.mov(register, gpr(n))?;
            }
            let mut here = a.create_label();
            a.set_label(&mut here)?;
            a.db(instruction)?;
            for (n, register) in registers.into_iter().enumerate() {
                a.mov(gpr(n), register)?;
            }
            a.mov(rsp, saved(6))?;
            a.pushfq()?;
            a.pop(flags)?;
            a.mov(eax, components as u32)?;
            a.xor(edx, edx)?;
            a.xsave64(byte_ptr(self.address(GUEST_AREA)))?;
            a.xrstor64(byte_ptr(self.address(HOST_AREA)))?;
            for (n, register) in callee_saved.into_iter().enumerate() {
                a.mov(register, saved(n))?;
            }
            a.cld()?;
            a.ret()?;
            let options = iced_x86::BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
            let result = a.assemble_options(self.address(0), options)?;
            let at = result.label_ip(&here)?;
            Ok::<_, IcedError>((result.inner.code_buffer, at))
        };
        let (code, at) = build().unwrap();
        self.copy_in(0, &code);
        self.copy_in(GUEST_AREA, &state.area.bytes);
        let words: Vec<u8> = state.gprs.iter().chain([&state.flags]).flat_map(|word| word.to_le_bytes()).collect();
        self.copy_in(WORDS, &words);
        // SAFETY: the mapping begins with a complete routine of the C calling convention that takes and returns nothing.
        let routine: extern "C" fn() = unsafe { std::mem::transmute::<*mut u8, extern "C" fn()>(self.base) };
        routine();

        let mut after = state.clone();
        let mut words = [0; 17 * 8];
        self.copy_out(WORDS, &mut words);
        let mut words = words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        after.gprs = std::array::from_fn(|_| words.next().unwrap());
        after.flags = words.next().unwrap();
        self.copy_out(GUEST_AREA, &mut after.area.bytes);
        (after, at)
    }
}

impl Drop for RealCpu {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and unused from here on.
        unsafe { libc::munmap(self.base.cast::<c_void>(), SIZE) };
    }
}
