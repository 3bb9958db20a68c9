//! Page walks: every mode, every permission, the error codes, and the accessed and dirty flags.

use super::*;
use crate::kvm::fallback::paging::{Access, Mapping, Privilege, translate};
use crate::kvm::fallback::stop::Fault;

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const A: u64 = 0x20;
const D: u64 = 0x40;
const PS: u64 = 0x80;
const NX: u64 = 1 << 63;

/// A guest whose tables can be written entry by entry.
struct Tables {
    memory: FakeMemory,
    cpu: Cpu,
}

impl Tables {
    /// 4-level paging with tables at 1000h (PML4), 2000h, 3000h and 4000h, all entries present, writable and user.
    fn long() -> Self {
        let memory = FakeMemory::new(0x20000);
        let mut cpu = ring0(64);
        cpu.sregs.cr0 |= cr0::PG | cr0::WP;
        cpu.sregs.cr3 = 0x1000;
        cpu.sregs.cr4 |= cr4::PAE;
        cpu.sregs.efer |= efer::NXE;
        let tables = Self { memory, cpu };
        for table in [0x1000, 0x2000, 0x3000] {
            tables.set(table, (table + 0x1000) | P | W | U);
        }
        tables
    }

    fn set(&self, address: u64, entry: u64) {
        self.memory.load(address as usize, &entry.to_le_bytes());
    }

    fn set32(&self, address: u64, entry: u64) {
        self.memory.load(address as usize, &(entry as u32).to_le_bytes());
    }

    fn go(&self, linear: u64, access: Access, privilege: Privilege) -> Result<u64, u32> {
        match translate(&self.cpu, &self.memory, linear, access, privilege, 40) {
            Ok(Mapping { gpa, .. }) => Ok(gpa),
            Err(Fault { vector: 14, error_code: Some(code), address }) => {
                assert_eq!(address, Some(linear), "CR2");
                Err(code)
            }
            Err(other) => panic!("{other:?} instead of a page fault"),
        }
    }

    fn current(&self, linear: u64, access: Access) -> Result<u64, u32> {
        self.go(linear, access, Privilege::Current)
    }
}

#[test]
fn four_levels() {
    let tables = Tables::long();
    tables.set(0x4000 + 8 * 5, 0xa_b000 | P);
    assert_eq!(tables.current(0x5123, Access::Read), Ok(0xa_b123));
    assert_eq!(tables.current(0x6000, Access::Read), Err(0));
    assert_eq!(tables.current(0x6000, Access::Write), Err(2));
    assert_eq!(tables.current(0x6000, Access::Fetch), Err(0x10));
    tables.set(0x3000 + 8, 0x60_0000 | P | W | PS);
    assert_eq!(tables.current(0x21_2345, Access::Write), Ok(0x61_2345), "a page of 2 MiB");
    tables.set(0x2000 + 8, 0x8000_0000 | P | W | PS);
    assert_eq!(tables.current(0x5234_5678, Access::Write), Ok(0x9234_5678), "a page of 1 GiB");
}

#[test]
fn five_levels() {
    let mut tables = Tables::long();
    tables.cpu.sregs.cr4 |= cr4::LA57;
    tables.cpu.sregs.cr3 = 0x6000;
    tables.set(0x6000 + 8 * 3, 0x1000 | P | W);
    tables.set(0x4000, 0x7000 | P | W);
    assert_eq!(tables.current(3 << 48 | 0x10, Access::Read), Ok(0x7010));
    assert_eq!(tables.current(0x10, Access::Read), Err(0));
}

#[test]
fn pae_and_32_bit() {
    let memory = FakeMemory::new(0x20000);
    let mut cpu = ring0(32);
    cpu.sregs.cr0 |= cr0::PG | cr0::WP;
    cpu.sregs.cr4 |= cr4::PAE;
    cpu.sregs.cr3 = 0x1020;
    let mut tables = Tables { memory, cpu };
    tables.set(0x1020 + 8 * 3, 0x2000 | P);
    tables.set(0x2000 + 8, 0x3000 | P | W | U);
    tables.set(0x3000 + 8 * 2, 0x12_3456_7000 | P | W);
    assert_eq!(tables.current(0xc020_2abc, Access::Write), Ok(0x12_3456_7abc));
    assert_eq!(tables.memory.u64(0x1038), 0x2000 | P, "pointers have no accessed flag");
    assert_eq!(tables.memory.u64(0x2008), 0x3000 | P | W | U | A);
    tables.set(0x1038, 0x2000 | P | 2);
    assert_eq!(tables.current(0xc020_2abc, Access::Write), Err(0xb), "a reserved bit of the pointer");

    tables.cpu.sregs.cr4 = 0;
    tables.cpu.sregs.cr3 = 0x5000;
    tables.set32(0x5000 + 4 * 0x300, 0x6000 | P | W);
    tables.set32(0x6000 + 4 * 5, 0x9_9000 | P | W);
    tables.set32(0x5000 + 4, 0x6000 | P | W | PS);
    assert_eq!(tables.current(0xc000_5010, Access::Write), Ok(0x9_9010));
    assert_eq!(tables.current(0x0040_5010, Access::Write), Ok(0x9_9010), "PS means nothing without PSE");
    tables.cpu.sregs.cr4 = cr4::PSE;
    tables.set32(0x5000 + 4, 0xc040_0000 | 0x3 << 13 | P | W | PS);
    assert_eq!(tables.current(0x0040_5010, Access::Write), Ok(0x3_c040_5010), "PSE-36");
    tables.set32(0x5000 + 4, 0xc040_0000 | 1 << 21 | P | PS);
    assert_eq!(tables.current(0x0040_5010, Access::Read), Err(9));
}

#[test]
fn unpaged_addresses_are_physical() {
    let tables = Tables { memory: FakeMemory::new(0x1000), cpu: ring0(32) };
    assert_eq!(tables.current(0xfee0_0020, Access::Write), Ok(0xfee0_0020));
}

/// One page at linear 0 with `rights` on its leaf (and all rights above), accessed by ring `cpl`.
fn access(rights: u64, cpl: u8, access: Access, edit: fn(&mut Cpu)) -> Result<u64, u32> {
    let mut tables = Tables::long();
    tables.set(0x4000, 0x7000 | rights);
    tables.cpu.sregs.ss.dpl = cpl;
    edit(&mut tables.cpu);
    tables.current(0, access)
}

#[test]
fn user_rights() {
    let none: fn(&mut Cpu) = |_| {};
    assert_eq!(access(P | U, 3, Access::Read, none), Ok(0x7000));
    assert_eq!(access(P | U, 3, Access::Write, none), Err(7));
    assert_eq!(access(P | U | W, 3, Access::Write, none), Ok(0x7000));
    assert_eq!(access(P | W, 3, Access::Read, none), Err(5));
    assert_eq!(access(P | W, 3, Access::Fetch, none), Err(0x15));
    assert_eq!(access(P | U | NX, 3, Access::Fetch, none), Err(0x15));
    assert_eq!(access(P | U | NX, 3, Access::Read, none), Ok(0x7000));
}

#[test]
fn supervisor_rights() {
    let none: fn(&mut Cpu) = |_| {};
    assert_eq!(access(P, 0, Access::Write, none), Err(3));
    assert_eq!(access(P, 0, Access::Write, |cpu| cpu.sregs.cr0 &= !cr0::WP), Ok(0x7000));
    assert_eq!(access(P | W | NX, 0, Access::Fetch, none), Err(0x11));
    assert_eq!(access(P | W | U, 0, Access::Fetch, none), Ok(0x7000));
    assert_eq!(access(P | W | U, 0, Access::Fetch, |cpu| cpu.sregs.cr4 |= cr4::SMEP), Err(0x11));
    assert_eq!(access(P | W | U, 0, Access::Read, |cpu| cpu.sregs.cr4 |= cr4::SMAP), Err(1));
    assert_eq!(access(P | W | U, 0, Access::Write, |cpu| cpu.sregs.cr4 |= cr4::SMAP), Err(3));
    let ac: fn(&mut Cpu) = |cpu| {
        cpu.sregs.cr4 |= cr4::SMAP;
        cpu.regs.rflags |= flags::AC;
    };
    assert_eq!(access(P | W | U, 0, Access::Write, ac), Ok(0x7000));

    // The CPU's own accesses are a supervisor's even in ring 3, and RFLAGS.AC does not help them.
    let mut tables = Tables::long();
    tables.set(0x4000, 0x7000 | P | W);
    tables.set(0x4008, 0x7000 | P | W | U);
    tables.cpu.sregs.ss.dpl = 3;
    ac(&mut tables.cpu);
    assert_eq!(tables.go(0, Access::Write, Privilege::Supervisor), Ok(0x7000));
    assert_eq!(tables.go(0x1000, Access::Read, Privilege::Supervisor), Err(1));
}

#[test]
fn rights_are_those_of_all_levels_together() {
    for table in [0x1000, 0x2000, 0x3000] {
        let mut tables = Tables::long();
        tables.set(0x4000, 0x7000 | P | W | U);
        tables.cpu.sregs.ss.dpl = 3;
        assert_eq!(tables.current(0, Access::Write), Ok(0x7000));
        tables.set(table, (table + 0x1000) | P | U);
        assert_eq!(tables.current(0, Access::Write), Err(7), "not writable at {table:x}");
        tables.set(table, (table + 0x1000) | P | W);
        assert_eq!(tables.current(0, Access::Read), Err(5), "supervisor at {table:x}");
        tables.set(table, (table + 0x1000) | P | W | U | NX);
        assert_eq!(tables.current(0, Access::Fetch), Err(0x15), "not executable at {table:x}");
    }
}

#[test]
fn reserved_bits() {
    let tables = Tables::long();
    tables.set(0x4000, 1 << 40 | 0x7000 | P);
    assert_eq!(tables.current(0, Access::Read), Err(9), "an address beyond MAXPHYADDR");
    tables.set(0x4000, 0x7000 | P);
    tables.set(0x3000, 0x20_2000 | P | PS);
    assert_eq!(tables.current(0, Access::Read), Err(9), "a misaligned page of 2 MiB");
    tables.set(0x3000, 0x4000 | P);
    tables.set(0x1000, 0x2000 | P | PS);
    assert_eq!(tables.current(0, Access::Read), Err(9), "PS in the PML4");
    tables.set(0x1000, 0x2000 | P);
    let mut tables = tables;
    tables.cpu.sregs.efer &= !efer::NXE;
    tables.set(0x4000, 0x7000 | P | NX);
    assert_eq!(tables.current(0, Access::Read), Err(9), "NX while it is not enabled");
    assert_eq!(tables.current(0x1000, Access::Fetch), Err(0), "no fetch bit without NX and SMEP");
}

#[test]
fn accessed_and_dirty_flags() {
    let tables = Tables::long();
    tables.set(0x4000, 0x7000 | P | W);
    tables.current(0, Access::Read).unwrap();
    for table in [0x1000, 0x2000, 0x3000] {
        assert_eq!(tables.memory.u64(table) & (A | D), A);
    }
    assert_eq!(tables.memory.u64(0x4000), 0x7000 | P | W | A);
    tables.current(0, Access::Write).unwrap();
    assert_eq!(tables.memory.u64(0x4000), 0x7000 | P | W | A | D);
    assert_eq!(tables.memory.u64(0x3000) & D, 0);

    tables.set(0x4008, 0x7000 | P);
    assert_eq!(tables.current(0x1000, Access::Write), Err(3));
    assert_eq!(tables.memory.u64(0x4008), 0x7000 | P, "a fault leaves the flags alone");
}

#[test]
fn protection_keys_of_user_pages() {
    if host::component(9).size == 0 {
        eprintln!("SKIPPED: this CPU has no protection keys");
        return;
    }
    let mut tables = Tables::long();
    tables.set(0x4000, 0x7000 | P | W | U | 5 << 59);
    tables.cpu.sregs.cr4 |= cr4::PKE;
    let vcpu = FakeVcpu::default();
    // mov eax, [0] in ring 0: key 5 with access disabled.
    vcpu.area.borrow_mut().set_pkru(1 << 10);
    tables.cpu.regs.rdi = 0;
    let (after, outcome) = step(tables.cpu, &vcpu, &tables.memory, &[0x8b, 0x07]);
    assert_eq!(outcome, Outcome::Raised(14));
    assert_eq!(after.events.exception.error_code, 0x21);
}

#[test]
fn an_operand_across_pages_faults_before_anything_is_written() {
    let mut tables = Tables::long();
    tables.set(0x4000, 0x7000 | P | W);
    tables.cpu.regs.rdi = 0xff8;
    let vcpu = FakeVcpu::default();
    vcpu.area.borrow_mut().set_vector(0, &[0x55; 64]);
    // movups [rdi], xmm0
    let (after, outcome) = step(tables.cpu, &vcpu, &tables.memory, &[0x0f, 0x11, 0x07]);
    assert_eq!(outcome, Outcome::Raised(14));
    assert_eq!((after.sregs.cr2, after.events.exception.error_code), (0x1000, 2));
    assert_eq!(tables.memory.bytes(0x7ff8, 8), [0; 8]);
    assert_eq!(after.regs.rip, tables.cpu.regs.rip);

    // The second page elsewhere in memory.
    tables.set(0x4008, 0x9000 | P | W);
    let (_, outcome) = step(tables.cpu, &vcpu, &tables.memory, &[0x0f, 0x11, 0x07]);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!(
        (tables.memory.bytes(0x7ff8, 8), tables.memory.bytes(0x9000, 9)),
        (vec![0x55; 8], {
            let mut tail = vec![0x55; 8];
            tail.push(0);
            tail
        })
    );
}

#[test]
fn masked_off_elements_do_not_fault() {
    let mut tables = Tables::long();
    tables.set(0x4000, 0x7000 | P | W);
    tables.memory.load(0x7ff0, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
    tables.cpu.regs.rdi = 0xff0;
    let vcpu = FakeVcpu::default();
    let mut signs = [0; 64];
    signs[3] = 0x80;
    signs[15] = 0x80;
    vcpu.area.borrow_mut().set_vector(2, &signs);
    if std::arch::is_x86_feature_detected!("avx2") {
        // vpmaskmovd ymm1, ymm2, [rdi]: elements 0 and 3 of 8.
        let (_, outcome) = step(tables.cpu, &vcpu, &tables.memory, &[0xc4, 0xe2, 0x6d, 0x8c, 0x0f]);
        assert_eq!(outcome, Outcome::Retired);
        let loaded = vcpu.area.borrow().vector(1);
        assert_eq!(loaded[..16], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]);
    }
    if std::arch::is_x86_feature_detected!("avx512f") {
        // vmovdqu32 [rdi]{k1}, zmm2 with k1 = 0b1001
        vcpu.area.borrow_mut().set_opmask(1, 9);
        let code = [0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x17];
        let (_, outcome) = step(tables.cpu, &vcpu, &tables.memory, &code);
        assert_eq!(outcome, Outcome::Retired);
        assert_eq!(tables.memory.bytes(0x7ff0, 16), [0, 0, 0, 0x80, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0x80]);
        vcpu.area.borrow_mut().set_opmask(1, 0x11);
        let (after, outcome) = step(tables.cpu, &vcpu, &tables.memory, &code);
        assert_eq!((outcome, after.sregs.cr2), (Outcome::Raised(14), 0x1000));
    }
}

#[test]
fn code_that_runs_into_an_unmapped_page_faults_there() {
    let mut tables = Tables::long();
    tables.set(0x4000, 0x7000 | P);
    tables.memory.load(0x7ffe, &[0xf3, 0x0f]);
    tables.cpu.regs.rip = 0xffe;
    let (after, outcome) = step(tables.cpu, &FakeVcpu::default(), &tables.memory, &[]);
    assert_eq!(outcome, Outcome::Raised(14));
    assert_eq!((after.sregs.cr2, after.events.exception.error_code), (0x1000, 0x10));
}
