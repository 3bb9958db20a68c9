//! Guest memory as an instruction sees it: segments, pages, RAM and device registers.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use iced_x86::{Instruction, Register};

use super::context::Context;
use super::cpu::{Cpu, Mode, cr0, cr4, flags, width_mask};
use super::paging::{self, Access, Privilege};
use super::stop::{Fault, Stop};

/// Guest-physical memory: RAM, ROM and, through the bus, device registers.
pub trait GuestPhysical {
    /// Reads memory or a device. Never crosses a page; outside memory `data` is 1, 2, 4 or 8 bytes long.
    /// What nobody claims reads as all-ones.
    fn read(&self, gpa: u64, data: &mut [u8]);

    /// Writes memory or a device. Never crosses a page; outside memory `data` is 1, 2, 4 or 8 bytes long.
    /// What nobody claims is dropped.
    fn write(&self, gpa: u64, data: &[u8]);

    /// True if all of `[gpa, gpa + len)`, which lies within a page, is RAM or ROM: reading it has no side effects.
    fn is_memory(&self, gpa: u64, len: usize) -> bool;

    /// The host address of `[gpa, gpa + len)`, which lies within a page, if all of it is writable RAM, else `None`.
    ///
    /// The address must stay valid and writable as long as `self` is borrowed. The caller goes on to write through it, so
    /// an implementation that tracks dirty pages marks the page dirty here.
    fn ram(&self, gpa: u64, len: usize) -> Option<*mut u8>;
}

/// An operand in memory: an offset into a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Segment register.
    pub segment: Register,
    /// Offset, already cut to the address size.
    pub offset: u64,
}

impl Address {
    /// The address `delta` bytes further on, as the CPU addresses the second part of an operand.
    pub fn plus(self, delta: u64) -> Self {
        Self { offset: self.offset.wrapping_add(delta), ..self }
    }
}

/// The largest operand in memory: an XSAVE area with every component there is.
const MAX_OPERAND: usize = 16384;

/// Largest device access; wider operands are split.
const MAX_BUS_ACCESS: usize = 8;

impl Context<'_> {
    /// The address of the memory operand of `instruction` (not for vector-indexed operands).
    pub fn address(&self, instruction: &Instruction) -> Address {
        let base = instruction.memory_base();
        let index = instruction.memory_index();
        let bits = address_bits(instruction);
        // iced folds RIP into the displacement.
        let base = if base.is_ip() { 0 } else { self.cpu.get(base).unwrap_or(0) };
        let index = self.cpu.get(index).unwrap_or(0).wrapping_mul(u64::from(instruction.memory_index_scale()));
        let offset = base.wrapping_add(index).wrapping_add(instruction.memory_displacement64());
        Address { segment: instruction.memory_segment(), offset: offset & width_mask(bits) }
    }

    /// The linear address of `size` bytes at `address`, after the segment checks for `access`.
    pub fn linear(&self, address: Address, size: usize, access: Access) -> Result<u64, Fault> {
        let last = size.max(1) as u64 - 1;
        let refused = if address.segment == Register::SS { Fault::stack(0) } else { Fault::protection(0) };
        let segment = self.cpu.segment(address.segment);
        if self.cpu.bitness() == 64 {
            let base = if matches!(address.segment, Register::FS | Register::GS) { segment.base } else { 0 };
            let linear = base.wrapping_add(address.offset);
            let end = linear.wrapping_add(last);
            if !self.is_canonical(linear) || !self.is_canonical(end) || end < linear {
                return Err(refused);
            }
            return Ok(linear);
        }
        let code = segment.type_ & 8 != 0;
        if matches!(self.cpu.mode(), Mode::Protected | Mode::Long) {
            let writable = !code && segment.type_ & 2 != 0;
            let readable = !code || segment.type_ & 2 != 0;
            let allowed = match access {
                Access::Read => readable,
                Access::Write => writable,
                Access::Fetch => code,
            };
            if segment.unusable != 0 || segment.present == 0 || !allowed {
                return Err(refused);
            }
        }
        let limit = u64::from(segment.limit);
        let end = address.offset + last;
        let expands_down = !code && segment.type_ & 4 != 0;
        let inside = if expands_down {
            address.offset > limit && end <= width_mask(if segment.db != 0 { 32 } else { 16 })
        } else {
            end <= limit
        };
        if !inside {
            return Err(refused);
        }
        Ok(segment.base.wrapping_add(address.offset) & 0xffff_ffff)
    }

    /// True if bits above the linear-address width all equal its top bit.
    pub fn is_canonical(&self, linear: u64) -> bool {
        let unused = if self.cpu.sregs.cr4 & cr4::LA57 != 0 { 7 } else { 16 };
        ((linear as i64) << unused >> unused) as u64 == linear
    }

    /// The linear address of an operand: [`Self::linear`] and the alignment check.
    pub fn operand_linear(&self, address: Address, size: usize, access: Access) -> Result<u64, Fault> {
        let linear = self.linear(address, size, access)?;
        self.check_alignment(linear, size)?;
        Ok(linear)
    }

    /// Reads an operand.
    pub fn read(&mut self, address: Address, data: &mut [u8]) -> Result<(), Stop> {
        let linear = self.operand_linear(address, data.len(), Access::Read)?;
        self.read_linear(linear, data, Privilege::Current)
    }

    /// Writes an operand: all of it, or nothing if any byte of it faults.
    pub fn write(&mut self, address: Address, data: &[u8]) -> Result<(), Stop> {
        let linear = self.operand_linear(address, data.len(), Access::Write)?;
        self.write_linear(linear, data, Privilege::Current)
    }

    /// Reads an unsigned integer of `size` bytes (at most 8).
    pub fn read_uint(&mut self, address: Address, size: usize) -> Result<u64, Stop> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes[..size])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes the low `size` bytes of `value`.
    pub fn write_uint(&mut self, address: Address, size: usize, value: u64) -> Result<(), Stop> {
        self.write(address, &value.to_le_bytes()[..size])
    }

    /// Reads at a linear address.
    pub fn read_linear(&mut self, linear: u64, data: &mut [u8], privilege: Privilege) -> Result<(), Stop> {
        let pages = self.pages(linear, data.len(), Access::Read, privilege)?;
        let mut rest = data;
        for Span { gpa, len } in pages {
            let (part, tail) = rest.split_at_mut(len);
            read_physical(self.memory, gpa, part);
            rest = tail;
        }
        Ok(())
    }

    /// Writes at a linear address: everything, or nothing if any page of it faults.
    pub fn write_linear(&mut self, linear: u64, data: &[u8], privilege: Privilege) -> Result<(), Stop> {
        let pages = self.pages(linear, data.len(), Access::Write, privilege)?;
        let mut rest = data;
        for Span { gpa, len } in pages {
            let (part, tail) = rest.split_at(len);
            write_physical(self.memory, gpa, part);
            rest = tail;
        }
        Ok(())
    }

    /// Checks that all of `[linear, linear + len)` may be accessed, without accessing it.
    pub fn probe(&mut self, linear: u64, len: usize, access: Access) -> Result<(), Stop> {
        self.pages(linear, len, access, Privilege::Current).map(drop)
    }

    /// Fetches up to `bytes.len()` bytes of code at the instruction pointer; fewer if the next page is not executable.
    ///
    /// # Errors
    /// The fault of the first byte.
    pub fn fetch(&mut self, bytes: &mut [u8]) -> Result<usize, Stop> {
        let ip = self.cpu.regs.rip;
        let mut fetched = 0;
        while fetched < bytes.len() {
            let address = Address { segment: Register::CS, offset: ip.wrapping_add(fetched as u64) };
            let span = self
                .linear(address, 1, Access::Fetch)
                .map_err(Stop::from)
                .and_then(|linear| self.page(linear, bytes.len() - fetched, Access::Fetch, Privilege::Current));
            match span {
                Ok(Span { gpa, len }) => {
                    read_physical(self.memory, gpa, &mut bytes[fetched..fetched + len]);
                    fetched += len;
                }
                Err(stop) if fetched == 0 => return Err(stop),
                Err(_) => break,
            }
        }
        Ok(fetched)
    }

    /// Why the code byte `offset` bytes into the instruction cannot be fetched (#GP(0) if by now it can).
    pub fn fetch_fault(&mut self, offset: u64) -> Stop {
        let address = Address { segment: Register::CS, offset: self.cpu.regs.rip.wrapping_add(offset) };
        let fetched = self
            .linear(address, 1, Access::Fetch)
            .map_err(Stop::from)
            .and_then(|linear| self.page(linear, 1, Access::Fetch, Privilege::Current));
        fetched.err().unwrap_or(Fault::protection(0).into())
    }

    /// Replaces `old` by `new` at `address` as one atomic step. `Err` holds what was found instead.
    pub fn compare_exchange(&mut self, address: Address, old: &[u8], new: &[u8]) -> Result<Result<(), [u8; 16]>, Stop> {
        let linear = self.operand_linear(address, old.len(), Access::Write)?;
        let pages = self.pages(linear, old.len(), Access::Write, Privilege::Current)?;
        if let [Span { gpa, .. }] = pages[..] {
            return Ok(compare_exchange(self.memory, gpa, old, new));
        }
        // Across two pages there is nothing to be atomic with: such a lock splits on hardware as well.
        let mut found = [0; 16];
        self.read_linear(linear, &mut found[..old.len()], Privilege::Current)?;
        if found[..old.len()] != *old {
            return Ok(Err(found));
        }
        self.write_linear(linear, new, Privilege::Current)?;
        Ok(Ok(()))
    }

    /// #AC for a misaligned access of ring 3 with CR0.AM and RFLAGS.AC set.
    fn check_alignment(&self, linear: u64, size: usize) -> Result<(), Fault> {
        let checked = self.cpu.regs.rflags & flags::AC != 0 && self.cpu.sregs.cr0 & cr0::AM != 0 && self.cpu.cpl() == 3;
        if checked && matches!(size, 2 | 4 | 8) && !linear.is_multiple_of(size as u64) {
            return Err(Fault::ALIGNMENT);
        }
        Ok(())
    }

    fn pages(&mut self, linear: u64, len: usize, access: Access, privilege: Privilege) -> Result<Vec<Span>, Stop> {
        debug_assert!(len <= MAX_OPERAND);
        let mut pages = Vec::with_capacity(2);
        let mut done = 0;
        while done < len {
            let span = self.page(linear.wrapping_add(done as u64), len - done, access, privilege)?;
            done += span.len;
            pages.push(span);
        }
        Ok(pages)
    }

    /// The part of `[linear, linear + len)` that lies in the first page.
    fn page(&mut self, linear: u64, len: usize, access: Access, privilege: Privilege) -> Result<Span, Stop> {
        let linear = if self.cpu.bitness() == 64 { linear } else { linear & 0xffff_ffff };
        let mapping =
            paging::translate(&self.cpu, self.memory, linear, access, privilege, super::host::physical_bits())?;
        if let Some(key) = mapping.key {
            self.check_protection_key(linear, key, access, privilege)?;
        }
        let left_in_page = 4096 - (linear & 4095) as usize;
        Ok(Span { gpa: mapping.gpa, len: len.min(left_in_page) })
    }

    fn check_protection_key(&mut self, linear: u64, key: u8, access: Access, privilege: Privilege) -> Result<(), Stop> {
        let pkru = self.fpu()?.pkru();
        let user = privilege == Privilege::Current && self.cpu.cpl() == 3;
        let access_disabled = pkru >> (2 * key) & 1 != 0;
        let write_disabled = pkru >> (2 * key) & 2 != 0 && (user || self.cpu.sregs.cr0 & cr0::WP != 0);
        if access_disabled || access == Access::Write && write_disabled {
            let mut code = paging::error::PRESENT | paging::error::KEY;
            if access == Access::Write {
                code |= paging::error::WRITE;
            }
            if user {
                code |= paging::error::USER;
            }
            return Err(Fault::page(linear, code).into());
        }
        Ok(())
    }
}

/// Reads guest memory at a linear address without rights, faults or traces. False if part of it is not mapped to memory.
pub fn peek(cpu: &Cpu, memory: &dyn GuestPhysical, linear: u64, data: &mut [u8]) -> bool {
    let mut done = 0;
    while done < data.len() {
        let at = linear.wrapping_add(done as u64);
        let len = (data.len() - done).min(4096 - (at & 4095) as usize);
        let gpa = paging::look_up(cpu, memory, at, super::host::physical_bits());
        let Some(gpa) = gpa.filter(|&gpa| memory.is_memory(gpa, len)) else { return false };
        memory.read(gpa, &mut data[done..done + len]);
        done += len;
    }
    true
}

/// The guest-physical address of `len` bytes at a linear address, without rights, faults or traces; if they lie in one page
/// and that is mapped to memory.
pub fn locate(cpu: &Cpu, memory: &dyn GuestPhysical, linear: u64, len: usize) -> Option<u64> {
    let in_page = 4096 - (linear & 4095) as usize;
    let gpa = (len <= in_page).then(|| paging::look_up(cpu, memory, linear, super::host::physical_bits()))?;
    gpa.filter(|&gpa| memory.is_memory(gpa, len))
}

/// A piece of an operand within one page.
#[derive(Clone, Copy)]
struct Span {
    gpa: u64,
    len: usize,
}

fn address_bits(instruction: &Instruction) -> u32 {
    let register = [instruction.memory_base(), instruction.memory_index()].into_iter().find(|&r| r != Register::None);
    let bytes = match register {
        Some(register) => register.size() as u32,
        None => instruction.memory_displ_size(),
    };
    8 * bytes.clamp(2, 8)
}

/// Cuts an access outside RAM into accesses a bus knows: powers of two, at most 8 bytes.
fn bus_accesses(len: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = len - start;
        if left == 0 {
            return None;
        }
        let size = MAX_BUS_ACCESS.min(1 << left.ilog2());
        start += size;
        Some(start - size..start)
    })
}

fn read_physical(memory: &dyn GuestPhysical, gpa: u64, data: &mut [u8]) {
    if data.len() <= MAX_BUS_ACCESS && data.len().is_power_of_two() || memory.is_memory(gpa, data.len()) {
        return memory.read(gpa, data);
    }
    for part in bus_accesses(data.len()) {
        memory.read(gpa + part.start as u64, &mut data[part]);
    }
}

fn write_physical(memory: &dyn GuestPhysical, gpa: u64, data: &[u8]) {
    if data.len() <= MAX_BUS_ACCESS && data.len().is_power_of_two() || memory.is_memory(gpa, data.len()) {
        return memory.write(gpa, data);
    }
    for part in bus_accesses(data.len()) {
        memory.write(gpa + part.start as u64, &data[part]);
    }
}

/// Replaces `old` by `new` (1, 2, 4, 8 or 16 bytes, within a page): atomically in RAM if aligned, else by a read and a
/// write. `Err` holds what was found instead, in its first bytes.
pub fn compare_exchange(memory: &dyn GuestPhysical, gpa: u64, old: &[u8], new: &[u8]) -> Result<(), [u8; 16]> {
    let len = old.len();
    let mut found = [0; 16];
    if let Some(host) = memory.ram(gpa, len).filter(|host| host.addr().is_multiple_of(len)) {
        found[..len].copy_from_slice(old);
        let mut wanted = [0; 16];
        wanted[..len].copy_from_slice(new);
        let exchanged = exchange_in_ram(host, len, &mut found, &wanted);
        return if exchanged { Ok(()) } else { Err(found) };
    }
    read_physical(memory, gpa, &mut found[..len]);
    if found[..len] != *old {
        return Err(found);
    }
    write_physical(memory, gpa, new);
    Ok(())
}

/// Compare-and-exchange on RAM; `found` goes in as the expected value and comes out as the value found.
fn exchange_in_ram(host: *mut u8, len: usize, found: &mut [u8; 16], wanted: &[u8; 16]) -> bool {
    use Ordering::SeqCst;
    macro_rules! exchange {
        ($atomic:ty, $int:ty) => {{
            const SIZE: usize = size_of::<$int>();
            let old = <$int>::from_le_bytes(*found.first_chunk::<SIZE>().expect("16 bytes hold an integer"));
            let new = <$int>::from_le_bytes(*wanted.first_chunk::<SIZE>().expect("16 bytes hold an integer"));
            // SAFETY: `GuestPhysical::ram` gave an address that is valid for SIZE bytes; the caller checked alignment.
            let cell = unsafe { <$atomic>::from_ptr(host.cast()) };
            let seen = cell.compare_exchange(old, new, SeqCst, SeqCst).unwrap_or_else(|seen| seen);
            found[..SIZE].copy_from_slice(&seen.to_le_bytes());
            seen == old
        }};
    }
    match len {
        1 => exchange!(AtomicU8, u8),
        2 => exchange!(AtomicU16, u16),
        4 => exchange!(AtomicU32, u32),
        8 => exchange!(AtomicU64, u64),
        16 => {
            let old = u128::from_le_bytes(*found);
            // SAFETY: the address is valid for 16 bytes and aligned; every CPU that KVM runs on has CMPXCHG16B but the
            // first AMD64 ones, where the caller has raised #UD already.
            let seen = unsafe { compare_exchange_16(host.cast(), old, u128::from_le_bytes(*wanted)) };
            *found = seen.to_le_bytes();
            seen == old
        }
        _ => unreachable!("no x86 instruction exchanges {len} bytes"),
    }
}

/// Returns the value found.
///
/// # Safety
/// The CPU has CMPXCHG16B; `host` is valid for 16 bytes and 16-byte aligned.
unsafe fn compare_exchange_16(host: *mut u128, old: u128, new: u128) -> u128 {
    let (mut low, mut high) = (old as u64, (old >> 64) as u64);
    // SAFETY: by the caller's promise. RBX, which cannot be an operand, is put back; the operands have registers of their
    // own, as one that the compiler chooses might be RBX.
    unsafe {
        std::arch::asm!(
            "xchg rdi, rbx",
            "lock cmpxchg16b [rsi]",
            "mov rbx, rdi",
            inout("rdi") new as u64 => _,
            in("rsi") host,
            inout("rax") low,
            inout("rdx") high,
            in("rcx") (new >> 64) as u64,
            options(nostack),
        );
    }
    u128::from(high) << 64 | u128::from(low)
}
