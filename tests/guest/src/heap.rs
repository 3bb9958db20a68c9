//! The heap below `alloc`: pieces are cut from pages one after the other and never given back, which suits programs that
//! run for a second.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr,
};

use crate::{
    memory::{self, PAGE},
    spin::Mutex,
};

/// Pages that are fetched at a time.
const CHUNK: u64 = 16;

struct Heap {
    /// What is left of the pages fetched last: first address, end.
    rest: Mutex<(usize, usize)>,
}

#[global_allocator]
static HEAP: Heap = Heap { rest: Mutex::new((0, 0)) };

// SAFETY: every piece is cut off before it is handed out, so no two have bytes in common; see `memory::allocate`.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut rest = self.rest.lock();
        let fit = |(start, end): (usize, usize)| {
            let piece = start.checked_next_multiple_of(layout.align())?;
            Some((piece, piece.checked_add(layout.size()).filter(|piece_end| *piece_end <= end)?))
        };
        if fit(*rest).is_none() {
            let Some(bytes) = layout.size().checked_add(layout.align()) else { return ptr::null_mut() };
            let pages = (bytes as u64).div_ceil(PAGE).max(CHUNK);
            let Some(chunk) = memory::allocate(pages) else { return ptr::null_mut() };
            *rest = (chunk.addr().get(), chunk.addr().get() + (pages * PAGE) as usize);
        }
        let Some((piece, piece_end)) = fit(*rest) else { return ptr::null_mut() };
        rest.0 = piece_end;
        piece as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
