//! Linear to guest-physical addresses: the page walk of Intel SDM vol. 3, chapter 5, with its permission checks.
//!
//! All paging modes are done: none, 32-bit (PSE and PSE-36), PAE, 4-level and 5-level; U/S, W, NX, WP, SMEP, SMAP,
//! reserved bits, and the accessed and dirty flags. Protection keys of user pages are left to the caller, who gets the
//! key (PKRU costs an ioctl). Not done: protection keys of supervisor pages and shadow-stack pages (KVM offers neither
//! to its guests by this path).

use super::cpu::{Cpu, cr0, cr4, efer, flags};
use super::memory::GuestPhysical;
use super::stop::Fault;

/// What is to be done at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write, or read and write.
    Write,
    /// Instruction fetch.
    Fetch,
}

/// On whose behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The current privilege level.
    Current,
    /// The CPU itself: descriptor tables, the TSS, a stack of an inner ring.
    Supervisor,
}

/// Page-fault error code bits.
pub mod error {
    /// The page was present.
    pub const PRESENT: u32 = 1 << 0;
    /// A write.
    pub const WRITE: u32 = 1 << 1;
    /// From CPL 3.
    pub const USER: u32 = 1 << 2;
    /// A reserved bit was set in an entry.
    pub const RESERVED: u32 = 1 << 3;
    /// An instruction fetch (only with NX or SMEP enabled).
    pub const FETCH: u32 = 1 << 4;
    /// Forbidden by a protection key.
    pub const KEY: u32 = 1 << 5;
}

/// The end of a page walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Guest-physical address.
    pub gpa: u64,
    /// Protection key, where keys apply: 4-level paging, a user page, a data access.
    pub key: Option<u8>,
}

const P: u64 = 1 << 0;
const W: u64 = 1 << 1;
const U: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const NX: u64 = 1 << 63;

/// The shape of the tables of one paging mode.
struct Format {
    levels: u32,
    index_bits: u32,
    entry_size: u64,
    long: bool,
}

impl Format {
    fn of(cpu: &Cpu) -> Self {
        let cr4 = cpu.sregs.cr4;
        if cpu.sregs.efer & efer::LMA != 0 {
            let levels = if cr4 & cr4::LA57 != 0 { 5 } else { 4 };
            Self { levels, index_bits: 9, entry_size: 8, long: true }
        } else if cr4 & cr4::PAE != 0 {
            Self { levels: 3, index_bits: 9, entry_size: 8, long: false }
        } else {
            Self { levels: 2, index_bits: 10, entry_size: 4, long: false }
        }
    }

    fn is_pae_pointer(&self, level: u32) -> bool {
        !self.long && level == 3
    }

    fn root(&self, cr3: u64) -> u64 {
        match (self.long, self.entry_size) {
            (true, _) => cr3 & 0x000f_ffff_ffff_f000,
            (false, 8) => cr3 & 0xffff_ffe0,
            _ => cr3 & 0xffff_f000,
        }
    }

    fn is_leaf(&self, entry: u64, level: u32, cr4: u64) -> bool {
        level == 1
            || entry & PS != 0
                && match level {
                    2 => self.entry_size == 8 || cr4 & cr4::PSE != 0,
                    3 => self.long,
                    _ => false,
                }
    }

    /// Bits that must be clear in an entry at `level`.
    fn reserved(&self, level: u32, leaf: bool, cpu: &Cpu, physical_bits: u32) -> u64 {
        if self.entry_size == 4 {
            return if leaf && level == 2 { 1 << 21 } else { 0 };
        }
        let mut bits = 0x000f_ffff_ffff_ffff & !((1 << physical_bits) - 1);
        if !self.long {
            bits |= 0x7ff0_0000_0000_0000;
        }
        if self.is_pae_pointer(level) {
            return bits | NX | 0x1e6;
        }
        if cpu.sregs.efer & efer::NXE == 0 {
            bits |= NX;
        }
        match level {
            4 | 5 => bits | PS,
            _ if leaf && level > 1 => bits | ((1 << (12 + 9 * (level - 1))) - 1) & !0x1fff,
            _ => bits,
        }
    }

    /// Base of the page that the leaf `entry` maps.
    fn page_base(&self, entry: u64, level: u32) -> u64 {
        if self.entry_size == 4 && level == 2 {
            return entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32;
        }
        let page = 1u64 << (12 + self.index_bits * (level - 1));
        entry & 0x000f_ffff_ffff_f000 & !(page - 1)
    }
}

/// The way through the tables to a page.
struct Walk {
    /// Address and value of the entry at each level, from level 1 on.
    entries: [(u64, u64); 5],
    /// Level of the entry that maps the page.
    leaf_level: u32,
    /// W and U, as all levels together grant them.
    rights: u64,
    no_execute: bool,
}

impl Walk {
    fn leaf(&self) -> u64 {
        self.entries[self.leaf_level as usize - 1].1
    }

    fn gpa(&self, format: &Format, linear: u64) -> u64 {
        let size = 1u64 << (12 + format.index_bits * (self.leaf_level - 1));
        format.page_base(self.leaf(), self.leaf_level) | linear & (size - 1)
    }
}

/// Walks the tables. `Err` holds the bits of the page-fault error code that say how far it went.
fn walk(cpu: &Cpu, memory: &dyn GuestPhysical, format: &Format, linear: u64, physical_bits: u32) -> Result<Walk, u32> {
    let mut walk = Walk { entries: [(0, 0); 5], leaf_level: format.levels, rights: W | U, no_execute: false };
    let mut table = format.root(cpu.sregs.cr3);
    loop {
        let level = walk.leaf_level;
        let shift = 12 + format.index_bits * (level - 1);
        let index = linear >> shift & ((1 << format.index_bits) - 1);
        let address = table + index * format.entry_size;
        let entry = read_entry(memory, address, format.entry_size);
        if entry & P == 0 {
            return Err(0);
        }
        let leaf = format.is_leaf(entry, level, cpu.sregs.cr4);
        if entry & format.reserved(level, leaf, cpu, physical_bits) != 0 {
            return Err(error::PRESENT | error::RESERVED);
        }
        walk.entries[level as usize - 1] = (address, entry);
        if !format.is_pae_pointer(level) {
            walk.rights &= entry;
            walk.no_execute |= format.entry_size == 8 && entry & NX != 0;
        }
        if leaf {
            return Ok(walk);
        }
        table = entry & 0x000f_ffff_ffff_f000;
        walk.leaf_level -= 1;
    }
}

/// Translates `linear` for an access of `privilege`, setting accessed and dirty flags as the CPU does.
///
/// `physical_bits` is the width of guest-physical addresses (MAXPHYADDR).
///
/// # Errors
/// The #PF to raise.
pub fn translate(
    cpu: &Cpu,
    memory: &dyn GuestPhysical,
    linear: u64,
    access: Access,
    privilege: Privilege,
    physical_bits: u32,
) -> Result<Mapping, Fault> {
    if cpu.sregs.cr0 & cr0::PG == 0 {
        return Ok(Mapping { gpa: linear & 0xffff_ffff, key: None });
    }
    let user = privilege == Privilege::Current && cpu.cpl() == 3;
    let fault = |bits: u32| {
        let mut code = bits;
        if access == Access::Write {
            code |= error::WRITE;
        }
        if user {
            code |= error::USER;
        }
        if access == Access::Fetch && (cpu.sregs.efer & efer::NXE != 0 || cpu.sregs.cr4 & cr4::SMEP != 0) {
            code |= error::FETCH;
        }
        Fault::page(linear, code)
    };

    let format = Format::of(cpu);
    let walk = walk(cpu, memory, &format, linear, physical_bits).map_err(fault)?;
    if !permitted(cpu, walk.rights, walk.no_execute, access, privilege, user) {
        return Err(fault(error::PRESENT));
    }
    for level in walk.leaf_level..=format.levels {
        let (address, entry) = walk.entries[level as usize - 1];
        let mut wanted = if format.is_pae_pointer(level) { 0 } else { A };
        if level == walk.leaf_level && access == Access::Write {
            wanted |= D;
        }
        if entry & wanted != wanted {
            set_bits(memory, address, format.entry_size, entry, wanted);
        }
    }
    let keyed = format.long && cpu.sregs.cr4 & cr4::PKE != 0 && walk.rights & U != 0 && access != Access::Fetch;
    Ok(Mapping { gpa: walk.gpa(&format, linear), key: keyed.then_some((walk.leaf() >> 59 & 0xf) as u8) })
}

/// Where `linear` is mapped to, asking nobody's leave and leaving no trace.
pub fn look_up(cpu: &Cpu, memory: &dyn GuestPhysical, linear: u64, physical_bits: u32) -> Option<u64> {
    if cpu.sregs.cr0 & cr0::PG == 0 {
        return Some(linear & 0xffff_ffff);
    }
    let format = Format::of(cpu);
    Some(walk(cpu, memory, &format, linear, physical_bits).ok()?.gpa(&format, linear))
}

fn permitted(cpu: &Cpu, rights: u64, no_execute: bool, access: Access, privilege: Privilege, user: bool) -> bool {
    let user_page = rights & U != 0;
    if access == Access::Fetch && no_execute {
        return false;
    }
    if user {
        return user_page && (access != Access::Write || rights & W != 0);
    }
    if access == Access::Write && rights & W == 0 && cpu.sregs.cr0 & cr0::WP != 0 {
        return false;
    }
    if !user_page {
        return true;
    }
    match access {
        Access::Fetch => cpu.sregs.cr4 & cr4::SMEP == 0,
        Access::Read | Access::Write => {
            cpu.sregs.cr4 & cr4::SMAP == 0 || privilege == Privilege::Current && cpu.regs.rflags & flags::AC != 0
        }
    }
}

fn read_entry(memory: &dyn GuestPhysical, address: u64, size: u64) -> u64 {
    let mut bytes = [0; 8];
    memory.read(address, &mut bytes[..size as usize]);
    u64::from_le_bytes(bytes)
}

/// Sets flags in a table entry without losing what another CPU may have written to it meanwhile: an entry that changed
/// since it was read is left alone, as the translation then no longer comes from it.
fn set_bits(memory: &dyn GuestPhysical, address: u64, size: u64, entry: u64, bits: u64) {
    let size = size as usize;
    let old = entry.to_le_bytes();
    let new = (entry | bits).to_le_bytes();
    let _ = super::memory::compare_exchange(memory, address, &old[..size], &new[..size]);
}
