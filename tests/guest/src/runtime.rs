//! What the compiler takes for granted in every program: memory functions, and something to do on a panic.
//!
//! `core` comes compiled for a system with a C library that has the former.

use core::{
    arch::asm,
    panic::PanicInfo,
    slice,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{console, exit, println, ring0};

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    // SAFETY: both ranges are valid and apart, as the caller promises.
    unsafe {
        asm!(
            "rep movsb",
            inout("rdi") to => _,
            inout("rsi") from => _,
            inout("rcx") size => _,
            options(nostack, preserves_flags)
        );
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= size {
        // SAFETY: copying upwards never overwrites what is still to be read.
        return unsafe { memcpy(to, from, size) };
    }
    // SAFETY: both ranges are valid, as the caller promises; copying downwards is safe where upwards was not.
    unsafe {
        asm!(
            "std",
            "rep movsb",
            "cld",
            inout("rdi") to.wrapping_add(size).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(size).wrapping_sub(1) => _,
            inout("rcx") size => _,
            options(nostack)
        );
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, size: usize) -> *mut u8 {
    // SAFETY: the range is valid, as the caller promises.
    unsafe {
        asm!(
            "rep stosb",
            inout("rdi") to => _,
            in("al") value as u8,
            inout("rcx") size => _,
            options(nostack, preserves_flags)
        );
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, size: usize) -> i32 {
    // SAFETY: the range is valid, as the caller promises.
    let left = unsafe { slice::from_raw_parts(left, size) };
    // SAFETY: the same.
    let right = unsafe { slice::from_raw_parts(right, size) };
    for (left, right) in left.iter().zip(right) {
        if left != right {
            return i32::from(*left) - i32::from(*right);
        }
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, size: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(left, right, size) }
}

/// Named by the unwinding tables of `core` and `alloc`, which come compiled for programs that unwind. Here none does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Where the landing pads in `alloc` would end.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    unreachable!("nothing unwinds")
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    if PANICKING.swap(true, Ordering::Relaxed) {
        // The report itself failed, or another processor is at it.
        ring0::park();
    }
    console::seize();
    println!("\nPANIC: {info}");
    exit::fail()
}
