//! The time-stamp counter.

use core::arch::x86_64::{_mm_lfence, _rdtsc};

/// The counter, read after everything before it is done.
pub fn now() -> u64 {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_lfence() };
    // SAFETY: CR4.TSD is clear.
    unsafe { _rdtsc() }
}

/// Ticks since an earlier reading.
pub fn since(begin: u64) -> u64 {
    now().saturating_sub(begin)
}
