//! Starting the other processors, as Intel's manual describes for multiprocessor systems: INIT, start-up IPI.

use core::{fmt, hint, ptr, slice, sync::atomic::Ordering};

use crate::{
    cpu::Cpu,
    entry::{STARTING, ap_trampoline, ap_trampoline_end},
    interrupts::LAPIC_EOI,
    lapic::LocalApic,
    memory::{self, PAGE},
    pvh, ring0, tsc,
};

/// Pages of a processor: its [`Cpu`] shares the first one with its ring 0 stack, the others are its ring 3 stack.
const PAGES: u64 = 9;
/// How long to wait for a processor, in TSC ticks: some seconds at any rate that there is.
const PATIENCE: u64 = 1 << 33;
/// When to send the start-up IPI once more: old processors may miss the first.
const REPEAT: u64 = 1 << 22;

/// Why a processor can't be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// There is no memory for its stacks.
    NoMemory,
    /// There is no free page below 1 MiB for its first instructions.
    NoLowMemory,
    /// It did nothing when it was told to.
    NoAnswer,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "no memory for its stacks",
            Self::NoLowMemory => "no page below 1 MiB for its first instructions",
            Self::NoAnswer => "no answer to the start-up IPI",
        })
    }
}

/// Starts the processor of that local APIC id. It runs `work` in ring 3, interrupts off, its local APIC enabled in the
/// same mode as ours, and when that returns it takes interrupts for good. One processor at a time starts others.
pub fn start(lapic: &LocalApic, apic_id: u32, work: fn(&'static Cpu)) -> Result<(), StartError> {
    let page = place_trampoline().ok_or(StartError::NoLowMemory)?;
    let memory = memory::allocate(PAGES).ok_or(StartError::NoMemory)?;
    let cpu = memory.as_ptr().cast::<Cpu>();
    let stack = |pages: u64| memory.as_ptr().wrapping_add((pages * PAGE) as usize - size_of::<usize>());
    // SAFETY: memory of our own, large enough and aligned to a page.
    unsafe { cpu.write(Cpu::new(cpu, stack(1), stack(PAGES), other_processor, work, apic_id)) };
    // SAFETY: just written, and never freed.
    let cpu = unsafe { &*cpu };
    cpu.set_tss_base();

    STARTING.store(ptr::from_ref(cpu).cast_mut(), Ordering::SeqCst);
    lapic.send_init(apic_id);
    lapic.send_startup(apic_id, page);
    let begin = tsc::now();
    let mut repeated = false;
    while !STARTING.load(Ordering::Acquire).is_null() {
        let waited = tsc::since(begin);
        if waited > REPEAT && !repeated {
            lapic.send_startup(apic_id, page);
            repeated = true;
        }
        // Whoever takes the description is alive: if we take it, nobody was.
        if waited > PATIENCE && !STARTING.swap(ptr::null_mut(), Ordering::SeqCst).is_null() {
            return Err(StartError::NoAnswer);
        }
        hint::spin_loop();
    }
    Ok(())
}

/// Where another processor enters ring 3.
pub(crate) extern "C" fn other_processor(cpu: &'static Cpu, _: *const pvh::StartInfo) -> ! {
    if LAPIC_EOI.load(Ordering::Acquire) == 0 {
        LocalApic::enable_x2apic();
    } else {
        LocalApic::enable();
    }
    (cpu.work)(cpu);
    ring0::park()
}

/// Copies the first instructions of a processor to a page below 640 KiB that nobody uses.
fn place_trampoline() -> Option<u64> {
    const BASE_MEMORY: u64 = 0xa_0000;
    let start_info = pvh::start_info();
    let low = start_info.memory_map().iter().filter(|region| region.is_usable() && region.start < BASE_MEMORY);
    let mut pages = low.flat_map(|region| {
        let end = region.end().min(BASE_MEMORY) / PAGE;
        (region.start.div_ceil(PAGE).max(1)..end).rev().map(|page| page * PAGE)
    });
    let page = pages.find(|page| !start_info.overlaps(*page, PAGE))?;
    let size = (&raw const ap_trampoline_end).addr() - (&raw const ap_trampoline).addr();
    // SAFETY: the code between the two symbols.
    let code = unsafe { slice::from_raw_parts(&raw const ap_trampoline, size) };
    // SAFETY: usable memory that the loader left nothing in, and no part of the program.
    unsafe { ptr::copy_nonoverlapping(code.as_ptr(), page as *mut u8, code.len()) };
    Some(page)
}
