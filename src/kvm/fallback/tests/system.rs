//! System instructions, by the data sheets; LAR, LSL, VERR and VERW also against the CPU.

use super::real_cpu::{RealCpu, State};
use super::*;

const GDT: usize = 0x2000;
const LDT: usize = 0x3000;

const LAR: &[u8] = &[0x0f, 0x02, 0xc1];
const LSL: &[u8] = &[0x0f, 0x03, 0xc1];
const VERR: &[u8] = &[0x0f, 0x00, 0xe1];
const VERW: &[u8] = &[0x0f, 0x00, 0xe9];

/// Runs `code` on selector ECX, with EAX = -1 before. Returns EAX and ZF.
fn examine(memory: &FakeMemory, mut cpu: Cpu, selector: u16, code: &[u8]) -> (u64, bool) {
    (cpu.sregs.gdt.base, cpu.sregs.gdt.limit) = (GDT as u64, 0xff);
    cpu.sregs.ldt = kvm_segment { base: LDT as u64, limit: 0xff, selector: 0x80, present: 1, ..Default::default() };
    cpu.regs.rcx = selector.into();
    cpu.regs.rax = u64::MAX;
    let (after, outcome) = step(cpu, &FakeVcpu::default(), memory, code);
    assert_eq!(outcome, Outcome::Retired);
    (after.regs.rax, after.regs.rflags & flags::ZF != 0)
}

#[test]
fn code_and_data_segments_look_as_they_do_to_the_cpu() {
    // struct user_desc of modify_ldt(2): number, base, limit, bits.
    let entries: [[u32; 4]; 6] = [
        [0, 0x1234_5678, 0xabcd, 0b100_0000],    // data, writable
        [1, 0, 0xf_ffff, 0b001_1001],            // data, read-only, in pages
        [2, 0, 0x1234, 0b000_0010 | 0b100_0000], // data, expanding down
        [3, 0, 0xffff, 0b000_1100 | 0b000_0001], // code, execute only
        [4, 0, 0xffff, 0b000_0100 | 0b000_0001], // code, readable
        [5, 0, 0xffff, 0b010_0000],              // not present
    ];
    for entry in &entries {
        // SAFETY: passes 16 bytes to read; changes a table that nothing in this process refers to.
        let result = unsafe { libc::syscall(libc::SYS_modify_ldt, 0x11, entry.as_ptr(), 16) };
        if result != 0 {
            eprintln!("SKIPPED: this kernel has no modify_ldt");
            return;
        }
    }
    let mut real = RealCpu::new();
    let memory = FakeMemory::new(0x8000);
    for &[number, base, limit, bits] in &entries {
        let bit = |n: u32| u64::from(bits >> n & 1);
        // As fill_ldt() in the kernel: DPL 3, accessed.
        let kind = u64::from(bits >> 1 & 3) << 2 | (bit(3) ^ 1) << 1 | 1;
        let descriptor = u64::from(limit & 0xffff)
            | u64::from(base & 0xff_ffff) << 16
            | (kind | 0x10 | 3 << 5 | (bit(5) ^ 1) << 7) << 40
            | u64::from(limit >> 16) << 48
            | (bit(6) | bit(0) << 2 | bit(4) << 3) << 52
            | u64::from(base >> 24) << 56;
        memory.load(LDT + 8 * number as usize, &descriptor.to_le_bytes());
        let selector = (number << 3 | 7) as u16;
        let mut cpu = ring0(64);
        cpu.sregs.ss.dpl = 3;
        for code in [LAR, LSL, VERR, VERW] {
            let mut state = State { gprs: [0; 16], flags: flags::FIXED | flags::IF, area: XsaveArea::default() };
            state.gprs[0] = u64::MAX;
            state.gprs[1] = selector.into();
            let (native, _) = real.run(code, &state);
            let native = (native.gprs[0], native.flags & flags::ZF != 0);
            assert_eq!(examine(&memory, cpu, selector, code), native, "{code:02x?} of entry {number}");
        }
    }
}

#[test]
fn system_descriptors() {
    let memory = FakeMemory::new(0x8000);
    for kind in 0..16u64 {
        let descriptor = 0x0010_0000_0000_2345 | (kind | 0x80) << 40;
        memory.load(GDT + 8 * (kind as usize + 1), &u64::to_le_bytes(descriptor));
    }
    let valid = |bits: u32, code: &[u8]| -> Vec<u16> {
        (0..16).filter(|&kind| examine(&memory, ring0(bits), (kind + 1) << 3, code).1).collect()
    };
    // SDM vol. 2, tables of LAR and LSL.
    assert_eq!(valid(32, LAR), [1, 2, 3, 4, 5, 9, 11, 12]);
    assert_eq!(valid(64, LAR), [2, 9, 11, 12]);
    assert_eq!(valid(32, LSL), [1, 2, 3, 9, 11]);
    assert_eq!(valid(64, LSL), [2, 9, 11]);
    assert!(valid(32, VERR).is_empty() && valid(32, VERW).is_empty());
    assert_eq!(examine(&memory, ring0(32), 3 << 3, LAR), (0x0010_8200, true));
    assert_eq!(examine(&memory, ring0(32), 3 << 3, LSL), (0x2345, true));
    assert_eq!(examine(&memory, ring0(32), 0, LAR), (u64::MAX, false), "null");
    assert_eq!(examine(&memory, ring0(32), 0x1000, LAR), (u64::MAX, false), "beyond the table");
    assert_eq!(examine(&memory, ring0(32), 3 << 3 | 3, LAR), (u64::MAX, false), "RPL above DPL");
    let mut real = ring0(16);
    real.sregs.cr0 = 0;
    assert_eq!(step(real, &FakeVcpu::default(), &memory, LAR).1, Outcome::Raised(6), "real mode");
}

#[test]
fn time_stamp_and_processor_id() {
    let vcpu = FakeVcpu::default();
    vcpu.msrs.borrow_mut().extend([(0x10, 0x1_2345_6789), (0xc000_0103, 0xabc)]);
    let memory = FakeMemory::new(0x8000);
    let rdtscp = &[0x0f, 0x01, 0xf9];
    let (cpu, _) = step(ring0(64), &vcpu, &memory, rdtscp);
    assert_eq!((cpu.regs.rax, cpu.regs.rdx, cpu.regs.rcx), (0x2345_6789, 1, 0xabc));
    let (cpu, _) = step(ring0(64), &vcpu, &memory, &[0xf3, 0x0f, 0xc7, 0xfb]);
    assert_eq!(cpu.regs.rbx, 0xabc);

    let mut user = ring0(64);
    user.sregs.ss.dpl = 3;
    user.sregs.cr4 |= cr4::TSD;
    assert_eq!(step(user, &vcpu, &memory, rdtscp).1, Outcome::Raised(13));
}

#[test]
fn access_control_flag() {
    let memory = FakeMemory::new(0x8000);
    let (cpu, _) = step(ring0(64), &FakeVcpu::default(), &memory, &[0x0f, 0x01, 0xcb]);
    assert_eq!(cpu.regs.rflags, flags::FIXED | flags::AC);
    let again = Cpu { regs: kvm_regs { rip: 0x1000, ..cpu.regs }, ..cpu };
    assert_eq!(step(again, &FakeVcpu::default(), &memory, &[0x0f, 0x01, 0xca]).0.regs.rflags, flags::FIXED);
}

#[test]
fn invpcid() {
    let memory = FakeMemory::new(0x8000);
    let outcome = |kind: u64, pcid: u64, linear: u64, cr4: u64| {
        let vcpu = FakeVcpu::default();
        memory.load(0x3000, &pcid.to_le_bytes());
        memory.load(0x3008, &linear.to_le_bytes());
        let mut cpu = ring0(64);
        cpu.sregs.cr4 |= cr4;
        (cpu.regs.rax, cpu.regs.rdi) = (kind, 0x3000);
        let (_, outcome) = step(cpu, &vcpu, &memory, &[0x66, 0x0f, 0x38, 0x82, 0x07]);
        (outcome, vcpu.flushes.get())
    };
    for kind in 0..4 {
        assert_eq!(outcome(kind, 0, 0, 0), (Outcome::Retired, 1));
    }
    assert_eq!(outcome(4, 0, 0, 0), (Outcome::Raised(13), 0));
    assert_eq!(outcome(1, 5, 0, 0).0, Outcome::Raised(13), "a PCID without PCIDs");
    assert_eq!(outcome(1, 5, 0, cr4::PCIDE).0, Outcome::Retired);
    assert_eq!(outcome(1, 0x1000, 0, cr4::PCIDE).0, Outcome::Raised(13));
    assert_eq!(outcome(0, 0, 1 << 60, 0).0, Outcome::Raised(13));
    assert_eq!(outcome(2, 0x1000, 1 << 60, 0).0, Outcome::Retired, "the descriptor does not matter");
}

#[test]
fn monitor_and_mwait() {
    let memory = FakeMemory::new(0x8000);
    let outcome = |code: &[u8], rcx: u64| {
        let mut cpu = ring0(64);
        (cpu.regs.rax, cpu.regs.rcx) = (0x3000, rcx);
        step(cpu, &FakeVcpu::default(), &memory, code).1
    };
    let (monitor, mwait) = (&[0x0f, 0x01, 0xc8], &[0x0f, 0x01, 0xc9]);
    assert_eq!(outcome(monitor, 0), Outcome::Retired);
    assert_eq!(outcome(monitor, 1), Outcome::Raised(13));
    assert_eq!(outcome(mwait, 1), Outcome::Retired);
    assert_eq!(outcome(mwait, 2), Outcome::Raised(13));
}

#[test]
fn cache_lines() {
    let memory = FakeMemory::new(0x8000);
    memory.load(0x3000, &[0xaa; 128]);
    let mut cpu = ring0(64);
    cpu.regs.rax = 0x3047;
    let (_, outcome) = step(cpu, &FakeVcpu::default(), &memory, &[0x0f, 0x01, 0xfc]);
    if std::arch::x86_64::__cpuid(0x8000_0008).ebx & 1 != 0 {
        assert_eq!(outcome, Outcome::Retired);
        assert_eq!((memory.bytes(0x3000, 64), memory.bytes(0x3040, 64)), (vec![0xaa; 64], vec![0; 64]));
    } else {
        assert_eq!(outcome, Outcome::Raised(6));
    }
    // clwb, clflushopt, clflush [rax]; prefetchnta [-1], which never faults; endbr64; a reserved NOP of memory.
    for code in [
        &[0x66, 0x0f, 0xae, 0x30][..],
        &[0x66, 0x0f, 0xae, 0x38],
        &[0x0f, 0xae, 0x38],
        &[0x0f, 0x18, 0x04, 0x25, 0xff, 0xff, 0xff, 0xff],
        &[0xf3, 0x0f, 0x1e, 0xfa],
        &[0x0f, 0x19, 0x00],
        &[0xf3, 0x48, 0x0f, 0x1e, 0xc8],
    ] {
        let (after, outcome) = step(cpu, &FakeVcpu::default(), &memory, code);
        assert_eq!((outcome, after.regs.rip), (Outcome::Retired, 0x1000 + code.len() as u64), "{code:02x?}");
    }
}

#[test]
fn direct_stores() {
    let memory = FakeMemory::new(0x8000);
    let features = std::arch::x86_64::__cpuid_count(7, 0).ecx;
    let mut cpu = ring0(64);
    (cpu.regs.rax, cpu.regs.rdi, cpu.regs.rsi) = (0x1122_3344_5566_7788, 0xf000_0000, 0x3000);
    memory.load(0x3000, &[7; 64]);
    let (_, movdiri) = step(cpu, &FakeVcpu::default(), &memory, &[0x48, 0x0f, 0x38, 0xf9, 0x07]);
    let (_, movdir64b) = step(cpu, &FakeVcpu::default(), &memory, &[0x66, 0x0f, 0x38, 0xf8, 0x3e]);
    let expected = |bit: u32| if features >> bit & 1 != 0 { Outcome::Retired } else { Outcome::Raised(6) };
    assert_eq!((movdiri, movdir64b), (expected(27), expected(28)));
}

#[test]
fn enter_builds_nested_frames() {
    // SDM vol. 2, ENTER: push the old frame pointer, copy the enclosing ones, push the new one.
    let memory = FakeMemory::new(0x10000);
    let mut cpu = ring0(64);
    cpu.regs.rbp = 0x9000;
    memory.load(0x8ff0, &0x22u64.to_le_bytes());
    memory.load(0x8ff8, &0x11u64.to_le_bytes());
    // enter 20h, 3
    let (after, outcome) = step(cpu, &FakeVcpu::default(), &memory, &[0xc8, 0x20, 0x00, 0x03]);
    assert_eq!(outcome, Outcome::Retired);
    let frame: Vec<u64> = (1..=4).map(|n| memory.u64(0x8000 - 8 * n)).collect();
    assert_eq!(frame, [0x9000, 0x11, 0x22, 0x7ff8]);
    assert_eq!((after.regs.rbp, after.regs.rsp), (0x7ff8, 0x8000 - 32 - 0x20));

    // The same with 16-bit operands.
    let (after, _) = step(cpu, &FakeVcpu::default(), &memory, &[0x66, 0xc8, 0x04, 0x00, 0x01]);
    assert_eq!(memory.bytes(0x7ffc, 4), [0xfe, 0x7f, 0x00, 0x90]);
    assert_eq!((after.regs.rbp, after.regs.rsp), (0x7ffe, 0x7ff8));
}

#[test]
fn first_instructions_of_handlers() {
    let memory = FakeMemory::new(0x10000);
    let mut cpu = ring0(64);
    cpu.regs.rax = 0x1122_3344_5566_7788;
    for (code, rsp, pushed) in [
        (&[0x50][..], 0x7ff8, 0x1122_3344_5566_7788),
        (&[0x6a, 0xff], 0x7ff8, u64::MAX),
        (&[0x68, 0x78, 0x56, 0x34, 0x92], 0x7ff8, 0xffff_ffff_9234_5678),
        (&[0x66, 0x50], 0x7ffe, 0x7788),
    ] {
        memory.load(0x7ff8, &[0; 8]);
        let (after, outcome) = step(cpu, &FakeVcpu::default(), &memory, code);
        assert_eq!((outcome, after.regs.rsp), (Outcome::Retired, rsp), "{code:02x?}");
        assert_eq!(memory.u64(0x7ff8) >> (8 * (rsp - 0x7ff8)), pushed, "{code:02x?}");
    }
    // lea rsp, [rsp - 8]; cld
    assert_eq!(step(cpu, &FakeVcpu::default(), &memory, &[0x48, 0x8d, 0x64, 0x24, 0xf8]).0.regs.rsp, 0x7ff8);
    cpu.regs.rflags |= flags::DF;
    assert_eq!(step(cpu, &FakeVcpu::default(), &memory, &[0xfc]).0.regs.rflags, flags::FIXED);
}

#[test]
fn sysenter_follows_the_vendor() {
    let memory = FakeMemory::new(0x8000);
    let vcpu = FakeVcpu::default();
    vcpu.msrs.borrow_mut().extend([(0x174, 0x10), (0x175, 0x5000), (0x176, 0x6000)]);
    let mut user = ring0(32);
    user.sregs.ss.dpl = 3;
    user.regs.rflags |= flags::IF;
    let (after, outcome) = step(user, &vcpu, &memory, &[0x0f, 0x34]);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!((after.regs.rip, after.regs.rsp, after.regs.rflags), (0x6000, 0x5000, flags::FIXED));
    assert_eq!((after.sregs.cs.selector, after.sregs.ss.selector, after.cpl()), (0x10, 0x18, 0));

    let mut kernel = after;
    (kernel.regs.rdx, kernel.regs.rcx, kernel.regs.rip) = (0x1234, 0x4000, 0x1000);
    let (back, _) = step(kernel, &vcpu, &memory, &[0x0f, 0x35]);
    assert_eq!((back.regs.rip, back.regs.rsp, back.cpl()), (0x1234, 0x4000, 3));
    assert_eq!((back.sregs.cs.selector, back.sregs.ss.selector), (0x23, 0x2b));

    let mut long = user;
    long.sregs.efer = efer::LMA;
    let expected = if host::is_amd() { Outcome::Raised(6) } else { Outcome::Retired };
    assert_eq!(step(long, &vcpu, &memory, &[0x0f, 0x34]).1, expected);
    vcpu.msrs.borrow_mut().insert(0x174, 0);
    assert_eq!(step(user, &vcpu, &memory, &[0x0f, 0x34]).1, Outcome::Raised(13));
}

#[test]
fn wrmsrns_writes_what_kvm_accepts() {
    let vcpu = FakeVcpu::default();
    vcpu.msrs.borrow_mut().insert(0x175, 0);
    let memory = FakeMemory::new(0x8000);
    let mut cpu = ring0(64);
    (cpu.regs.rcx, cpu.regs.rdx, cpu.regs.rax) = (0x175, 0x1111, 0xffff_ffff_2222_2222);
    assert_eq!(step(cpu, &vcpu, &memory, &[0x0f, 0x01, 0xc6]).1, Outcome::Retired);
    assert_eq!(vcpu.msrs.borrow()[&0x175], 0x1111_2222_2222);
    cpu.regs.rcx = 0x9999;
    assert_eq!(step(cpu, &vcpu, &memory, &[0x0f, 0x01, 0xc6]).1, Outcome::Raised(13));
}

#[test]
fn mxcsr() {
    let memory = FakeMemory::new(0x8000);
    let vcpu = FakeVcpu::default();
    let mut cpu = ring0(64);
    cpu.regs.rdi = 0x3000;
    memory.load(0x3000, &0x9fc0u32.to_le_bytes());
    for ldmxcsr in [&[0x0f, 0xae, 0x17][..], &[0xc5, 0xf8, 0xae, 0x17]] {
        vcpu.area.borrow_mut().set_mxcsr(0x1f80);
        assert_eq!(step(cpu, &vcpu, &memory, ldmxcsr).1, Outcome::Retired);
        assert_eq!(vcpu.area.borrow().mxcsr(), 0x9fc0);
    }
    cpu.regs.rdi = 0x3010;
    for stmxcsr in [&[0x0f, 0xae, 0x1f][..], &[0xc5, 0xf8, 0xae, 0x1f]] {
        memory.load(0x3010, &[0; 4]);
        assert_eq!(step(cpu, &vcpu, &memory, stmxcsr).1, Outcome::Retired);
        assert_eq!(memory.bytes(0x3010, 4), 0x9fc0u32.to_le_bytes());
    }
    memory.load(0x3010, &0x1_0000u32.to_le_bytes());
    assert_eq!(step(cpu, &vcpu, &memory, &[0x0f, 0xae, 0x17]).1, Outcome::Raised(13));
}

#[test]
fn protection_key_rights() {
    let vcpu = FakeVcpu::default();
    let memory = FakeMemory::new(0x8000);
    let (rdpkru, wrpkru) = (&[0x0f, 0x01, 0xee], &[0x0f, 0x01, 0xef]);
    assert_eq!(step(ring0(64), &vcpu, &memory, rdpkru).1, Outcome::Raised(6));
    let mut cpu = ring0(64);
    cpu.sregs.cr4 |= cr4::PKE;
    cpu.regs.rax = 0x55;
    assert_eq!(step(cpu, &vcpu, &memory, wrpkru).1, Outcome::Retired);
    let expected = if host::component(9).size != 0 { 0x55 } else { 0 };
    assert_eq!(step(cpu, &vcpu, &memory, rdpkru).0.regs.rax, expected);
    cpu.regs.rcx = 1;
    assert_eq!(step(cpu, &vcpu, &memory, wrpkru).1, Outcome::Raised(13));
}
