//! Guest-physical memory: looking at it, device registers in it, and pages of it for the program.
//!
//! Every address is its own virtual address. The first 4 GiB are mapped at compile time, the rest on demand.

use core::{
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    pvh::{self, Region},
    spin::Mutex,
};

/// Bytes of a page as [`allocate`] counts them.
pub const PAGE: u64 = 0x1000;

const GIB: u64 = 1 << 30;
/// What one table of page-directory pointers covers.
const MAPPABLE: u64 = 512 * GIB;
/// Present, writable, for ring 3, already accessed.
const TABLE: u64 = 0x27;
/// The same, dirty, and 2 MiB large.
const LARGE_PAGE: u64 = 0xe7;

unsafe extern "C" {
    /// First address behind the program: set by the linker script.
    safe static image_end: u8;
    /// The one table of that kind: see the start-up code.
    static page_directory_pointers: [AtomicU64; 512];
}

/// The pages that no one has yet: first address, end.
static FREE: Mutex<(u64, u64)> = Mutex::new((0, 0));

/// The objects at an address; `None` if they don't lie in the first 4 GiB or are misaligned.
///
/// # Safety
/// Nobody writes to them, and whatever bytes are there make valid objects.
pub unsafe fn slice<T>(address: u64, count: usize) -> Option<&'static [T]> {
    let size = u64::try_from(size_of::<T>().checked_mul(count)?).ok()?;
    let pointer = address as *const T;
    if address == 0 || address.checked_add(size)? > 4 * GIB || !pointer.is_aligned() {
        return None;
    }
    // SAFETY: mapped and aligned, as checked; the rest is the caller's promise.
    Some(unsafe { slice::from_raw_parts(pointer, count) })
}

/// The little-endian number at an offset, if it lies in `bytes`.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The little-endian number at an offset, if it lies in `bytes`.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The little-endian number at an offset, if it lies in `bytes`.
pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Takes the largest usable range below 4 GiB and above the program for [`allocate`].
pub(crate) fn init(map: &[Region]) {
    let floor = (&raw const image_end).addr() as u64;
    let ranges = map
        .iter()
        .filter(|region| region.is_usable())
        .map(|region| (region.start.max(floor).next_multiple_of(PAGE), region.end().min(4 * GIB) & !(PAGE - 1)));
    if let Some(largest) = ranges.max_by_key(|(start, end)| end.saturating_sub(*start)) {
        *FREE.lock() = largest;
    }
}

/// Hands out pages, all zero, for good. `None` if memory is short, or if the loader gave no memory map.
pub fn allocate(pages: u64) -> Option<NonNull<u8>> {
    let size = pages.checked_mul(PAGE)?;
    let mut free = FREE.lock();
    let starts = (free.0..=free.1.checked_sub(size)?).step_by(PAGE as usize);
    let start = starts.into_iter().find(|start| !pvh::start_info().overlaps(*start, size))?;
    free.0 = start + size;
    let pages = NonNull::new(start as *mut u8)?;
    // SAFETY: free memory that is mapped, and from here on the caller's alone.
    unsafe { pages.write_bytes(0, size as usize) };
    Some(pages)
}

/// Makes addresses above 4 GiB accessible, in steps of 1 GiB. `None` if they are beyond 512 GiB or memory is short.
pub fn map(address: u64, size: u64) -> Option<()> {
    let end = address.checked_add(size).filter(|end| *end <= MAPPABLE)?;
    for gib in address / GIB..end.div_ceil(GIB) {
        // SAFETY: the symbol is a table of 512 entries, and processors access them as atomically as we do.
        let entry = unsafe { &page_directory_pointers[gib as usize] };
        if entry.load(Ordering::Relaxed) == 0 {
            let mut directory = allocate(1)?.cast::<[u64; 512]>();
            // SAFETY: a page of our own, all zero, which makes a valid array.
            let pages = unsafe { directory.as_mut() };
            for (page, index) in pages.iter_mut().zip(0..) {
                *page = (gib * GIB + index * (GIB / 512)) | LARGE_PAGE;
            }
            entry.store(directory.addr().get() as u64 | TABLE, Ordering::Release);
        }
    }
    Some(())
}

/// A window of device registers. Ring 3 accesses them without help.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: u64,
    size: u64,
}

impl Mmio {
    /// # Safety
    /// At these addresses, which must be mapped, lie device registers, and no register there can reach Rust's memory.
    pub const unsafe fn new(base: u64, size: u64) -> Self {
        Self { base, size }
    }

    /// The address of the window.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Reads the 32-bit register at an offset.
    pub fn read(&self, offset: u64) -> u32 {
        // SAFETY: a register, by the promise of `new`.
        unsafe { ptr::read_volatile(self.register(offset)) }
    }

    /// Writes the 32-bit register at an offset.
    pub fn write(&self, offset: u64, value: u32) {
        // SAFETY: a register, by the promise of `new`.
        unsafe { ptr::write_volatile(self.register(offset), value) };
    }

    fn register(&self, offset: u64) -> *mut u32 {
        assert!(offset.is_multiple_of(4) && offset < self.size, "no register at {offset:#x} of {self:x?}");
        (self.base + offset) as *mut u32
    }
}
