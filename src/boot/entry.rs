//! The state in which the first CPU enters a kernel: as data, as the descriptor and page tables in guest memory that back
//! it, and as the KVM structures that set it.
//!
//! Follows Linux's `Documentation/arch/x86/boot.rst` ("32-bit Boot Protocol", "64-bit Boot Protocol"), Xen's
//! `docs/misc/pvh.pandoc` and the Multiboot Specification 0.6.96, section 3.2. Their demands agree well enough for one
//! descriptor table: flat code at selector 0x10, flat data at 0x18 and a TSS at 0x20.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::GuestMemoryMmap;

use super::place::{FreeRam, PlaceError};
use super::ram::{self, MemoryError};

const PAGE: u64 = 4096;

const CR0_PE: u64 = 1 << 0;
/// Hard-wired to one since the 486.
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Bit 1 always reads as one; interrupts, traps and virtual-8086 mode are off.
const RFLAGS: u64 = 1 << 1;

const BOOT_CS: u16 = 0x10;
const BOOT_DS: u16 = 0x18;
const BOOT_TSS: u16 = 0x20;
/// Five 8-byte descriptors, the last of them 16 bytes long in long mode.
const GDT_SIZE: u64 = 0x30;

const PTE_PRESENT: u64 = 1 << 0;
const PTE_WRITE: u64 = 1 << 1;
const PTE_LARGE: u64 = 1 << 7;
/// Bytes mapped by the boot page tables, from address 0 on.
pub(super) const IDENTITY_MAPPED: u64 = 4 << 30;
const LARGE_PAGE: u64 = 2 << 20;
const ENTRIES: u64 = 512;

/// The mode and registers in which a kernel starts. Registers not named are zero, interrupts are off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// 64-bit mode; the lowest 4 GiB are mapped to themselves.
    Long64 {
        /// First instruction.
        rip: u64,
        /// Top of a small stack.
        rsp: u64,
        /// Address of Linux's `boot_params`.
        rsi: u64,
        /// Root of the page tables.
        cr3: u64,
    },
    /// 32-bit protected mode with flat segments, paging off.
    Prot32 {
        /// First instruction.
        eip: u32,
        /// Top of a small stack.
        esp: u32,
        /// What the boot protocol puts into registers.
        registers: Prot32Registers,
    },
}

/// The registers by which 32-bit boot protocols pass something on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prot32Registers {
    /// Multiboot: the magic number that says so.
    pub eax: u32,
    /// Multiboot: address of its information structure. PVH: address of `hvm_start_info`.
    pub ebx: u32,
    /// Linux: address of `boot_params`.
    pub esi: u32,
}

/// How to start the first CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Mode and registers.
    pub state: EntryState,
    /// Address of the descriptor table that matches the segment registers.
    pub gdt: u64,
}

/// The page that holds the descriptor table and, above it, the stack.
pub(super) struct CpuPage {
    addr: u64,
}

impl CpuPage {
    /// Claims the page; [`Entry`] constructors fill it.
    pub(super) fn take(free: &mut FreeRam) -> Result<Self, PlaceError> {
        let addr = free.take_for_boot_data(PAGE, PAGE)?;
        Ok(Self { addr })
    }

    fn stack(&self) -> u64 {
        self.addr + PAGE
    }

    fn entry(self, mem: &GuestMemoryMmap, state: EntryState) -> Result<Entry, PlaceError> {
        let entry = Entry { state, gdt: self.addr };
        let mut gdt = [0; GDT_SIZE as usize];
        for segment in [entry.code(), data(), task()] {
            let at = usize::from(segment.selector);
            gdt[at..at + 8].copy_from_slice(&descriptor(&segment).to_le_bytes());
        }
        ram::write(mem, self.addr, &gdt)?;
        Ok(entry)
    }

    /// Entry in 32-bit protected mode.
    pub(super) fn prot32(
        self,
        mem: &GuestMemoryMmap,
        eip: u32,
        registers: Prot32Registers,
    ) -> Result<Entry, PlaceError> {
        let state = EntryState::Prot32 { eip, esp: self.stack() as u32, registers };
        self.entry(mem, state)
    }

    /// Entry in 64-bit mode under the page tables at `tables`.
    pub(super) fn long64(
        self,
        mem: &GuestMemoryMmap,
        rip: u64,
        rsi: u64,
        tables: IdentityMap,
    ) -> Result<Entry, PlaceError> {
        let state = EntryState::Long64 { rip, rsp: self.stack(), rsi, cr3: tables.write(mem)? };
        self.entry(mem, state)
    }
}

/// Page tables that map the lowest 4 GiB to themselves: one PML4, one page directory pointer table, and four page
/// directories of 2 MiB pages. (1 GiB pages would save four tables but need a CPU model that has them.)
pub(super) struct IdentityMap {
    addr: u64,
}

impl IdentityMap {
    /// Claims memory for the tables.
    pub(super) fn take(free: &mut FreeRam) -> Result<Self, PlaceError> {
        let directories = IDENTITY_MAPPED / (LARGE_PAGE * ENTRIES);
        let addr = free.take_for_boot_data((2 + directories) * PAGE, PAGE)?;
        Ok(Self { addr })
    }

    /// Writes the tables and returns the value for CR3.
    fn write(self, mem: &GuestMemoryMmap) -> Result<u64, MemoryError> {
        let table = PTE_PRESENT | PTE_WRITE;
        let pml4 = self.addr;
        let pdpt = pml4 + PAGE;
        let directories = pdpt + PAGE;
        let pages: Vec<u8> = (0..IDENTITY_MAPPED)
            .step_by(LARGE_PAGE as usize)
            .flat_map(|addr| (addr | table | PTE_LARGE).to_le_bytes())
            .collect();
        ram::write(mem, directories, &pages)?;
        let mut upper = vec![0; 2 * PAGE as usize];
        upper[..8].copy_from_slice(&(pdpt | table).to_le_bytes());
        for (i, entry) in upper[PAGE as usize..].chunks_exact_mut(8).take(pages.len() / PAGE as usize).enumerate() {
            entry.copy_from_slice(&((directories + i as u64 * PAGE) | table).to_le_bytes());
        }
        ram::write(mem, pml4, &upper)?;
        Ok(pml4)
    }
}

impl Entry {
    /// The general registers.
    pub fn regs(&self) -> kvm_regs {
        let zero = kvm_regs { rflags: RFLAGS, ..Default::default() };
        match self.state {
            EntryState::Long64 { rip, rsp, rsi, .. } => kvm_regs { rip, rsp, rsi, ..zero },
            EntryState::Prot32 { eip, esp, registers } => kvm_regs {
                rip: eip.into(),
                rsp: esp.into(),
                rax: registers.eax.into(),
                rbx: registers.ebx.into(),
                rsi: registers.esi.into(),
                ..zero
            },
        }
    }

    /// The system registers: `reset` (as `KVM_GET_SREGS` returns them for a CPU that has not run) with the segments, tables
    /// and control registers of this entry. What boot protocols say nothing about, such as the APIC base, stays.
    pub fn sregs(&self, reset: kvm_sregs) -> kvm_sregs {
        let (cr0, cr3, cr4, efer) = match self.state {
            EntryState::Long64 { cr3, .. } => (CR0_PE | CR0_ET | CR0_PG, cr3, CR4_PAE, EFER_LME | EFER_LMA),
            EntryState::Prot32 { .. } => (CR0_PE | CR0_ET, 0, 0, 0),
        };
        kvm_sregs {
            cs: self.code(),
            ds: data(),
            es: data(),
            fs: data(),
            gs: data(),
            ss: data(),
            tr: task(),
            gdt: kvm_dtable { base: self.gdt, limit: GDT_SIZE as u16 - 1, ..Default::default() },
            // Empty: until the kernel has its own, any exception is a triple fault, which says where it happened.
            idt: kvm_dtable::default(),
            cr0,
            cr3,
            cr4,
            efer,
            ..reset
        }
    }

    fn code(&self) -> kvm_segment {
        let long = matches!(self.state, EntryState::Long64 { .. });
        kvm_segment {
            selector: BOOT_CS,
            type_: 0b1011, // execute, read, accessed
            db: (!long).into(),
            l: long.into(),
            ..data()
        }
    }
}

fn data() -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: BOOT_DS,
        type_: 0b0011, // read, write, accessed
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// The task register can't be empty: 32 bits wide, busy, at 0, as PVH asks for and as long mode also takes it.
fn task() -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0x67,
        selector: BOOT_TSS,
        type_: 0b1011, // 32/64-bit TSS, busy
        present: 1,
        ..Default::default()
    }
}

/// The descriptor-table form of a segment register (Intel SDM volume 3, figure 3-8).
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 { segment.limit >> 12 } else { segment.limit });
    let access = u64::from(segment.type_ | segment.s << 4 | segment.dpl << 5 | segment.present << 7);
    let flags = u64::from(segment.avl | segment.l << 1 | segment.db << 2 | segment.g << 3);
    limit & 0xffff
        | (segment.base & 0xff_ffff) << 16
        | access << 40
        | (limit >> 16 & 0xf) << 48
        | flags << 52
        | (segment.base >> 24 & 0xff) << 56
}
