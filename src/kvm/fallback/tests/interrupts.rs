//! INT n, IRET and their kin, by the tables of a guest of our own (Intel SDM vol. 3, chapter 6).

use super::*;

const GDT: usize = 0x2000;
const IDT: usize = 0x3000;
const TSS: usize = 0x5000;
const STACK: u64 = 0x8000;

const CODE0: u16 = 0x08;
const DATA0: u16 = 0x10;
const CODE3: u16 = 0x1b;
const DATA3: u16 = 0x23;
const CONFORMING: u16 = 0x28;
const LONG_CODE0: u16 = 0x30;
const ABSENT: u16 = 0x38;

const INT_40: &[u8] = &[0xcd, 0x40];
const IRETD: &[u8] = &[0xcf];

fn descriptor(kind: u64, dpl: u64, flags: u64) -> [u8; 8] {
    (0x000f_0000_0000_ffff_u64 | (kind | 0x90 | dpl << 5) << 40 | flags << 52).to_le_bytes()
}

fn memory() -> FakeMemory {
    let memory = FakeMemory::new(0x10000);
    let table = [
        [0; 8],
        descriptor(0xb, 0, 0xc),
        descriptor(0x3, 0, 0xc),
        descriptor(0xb, 3, 0xc),
        descriptor(0x3, 3, 0xc),
        descriptor(0xf, 0, 0xc),
        descriptor(0xb, 0, 0xa),
        (u64::from_le_bytes(descriptor(0xb, 0, 0xc)) & !(1 << 47)).to_le_bytes(),
    ];
    for (n, entry) in table.iter().enumerate() {
        memory.load(GDT + 8 * n, entry);
    }
    // Ring 0's stack: 32-bit TSS, and the same number where a 64-bit TSS has RSP0.
    memory.load(TSS + 4, &0x9000u32.to_le_bytes());
    memory.load(TSS + 8, &u32::from(DATA0).to_le_bytes());
    memory
}

/// An 8-byte gate for `vector`.
fn gate(memory: &FakeMemory, vector: usize, selector: u16, offset: u32, access: u8) {
    let gate = u64::from(offset & 0xffff)
        | u64::from(selector) << 16
        | u64::from(access) << 40
        | u64::from(offset >> 16) << 48;
    memory.load(IDT + 8 * vector, &gate.to_le_bytes());
}

const INTERRUPT32: u8 = 0x8e;
const TRAP32: u8 = 0x8f;
const INTERRUPT16: u8 = 0x86;
const RING3: u8 = 0x60;

/// 32-bit protected mode in ring `cpl` with these tables.
fn protected(cpl: u8) -> Cpu {
    let mut cpu = ring0(32);
    let sregs = &mut cpu.sregs;
    (sregs.gdt.base, sregs.gdt.limit) = (GDT as u64, 0x3f);
    (sregs.idt.base, sregs.idt.limit) = (IDT as u64, 0x7ff);
    sregs.tr =
        kvm_segment { base: TSS as u64, limit: 0x67, selector: 0x40, type_: 11, present: 1, ..Default::default() };
    if cpl == 3 {
        sregs.cs = kvm_segment { selector: CODE3, ..flat(true, false, true, 3) };
        sregs.ss = kvm_segment { selector: DATA3, ..flat(false, false, true, 3) };
        [sregs.ds, sregs.es] = [sregs.ss; 2];
    }
    cpu.regs.rsp = STACK;
    cpu.regs.rflags = flags::FIXED | flags::IF | flags::TF | flags::CF;
    cpu
}

fn words(memory: &FakeMemory, at: u64, count: usize) -> Vec<u32> {
    memory.bytes(at as usize, 4 * count).as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

fn push(memory: &FakeMemory, cpu: &mut Cpu, values: &[u32]) {
    for value in values {
        cpu.regs.rsp -= 4;
        memory.load(cpu.regs.rsp as usize, &value.to_le_bytes());
    }
}

fn go(cpu: Cpu, memory: &FakeMemory, code: &[u8]) -> (Cpu, Outcome) {
    step(cpu, &FakeVcpu::default(), memory, code)
}

#[test]
fn protected_mode_same_ring() {
    let memory = memory();
    gate(&memory, 0x40, CODE0, 0x12_3456, INTERRUPT32);
    let before = protected(0);
    let (cpu, outcome) = go(before, &memory, INT_40);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!((cpu.regs.rip, cpu.sregs.cs.selector), (0x12_3456, CODE0));
    assert_eq!(cpu.regs.rsp, STACK - 12);
    assert_eq!(words(&memory, STACK - 12, 3), [0x1002, u32::from(CODE0), before.regs.rflags as u32]);
    assert_eq!(cpu.regs.rflags, flags::FIXED | flags::CF, "an interrupt gate clears IF and TF");

    gate(&memory, 0x40, CODE0, 0x12_3456, TRAP32);
    let (cpu, _) = go(before, &memory, INT_40);
    assert_eq!(cpu.regs.rflags, flags::FIXED | flags::CF | flags::IF);

    gate(&memory, 0x40, CODE0, 0x12_3456, INTERRUPT16);
    let (cpu, _) = go(before, &memory, INT_40);
    assert_eq!((cpu.regs.rip, cpu.regs.rsp), (0x3456, STACK - 6));
}

#[test]
fn protected_mode_to_ring_0() {
    let memory = memory();
    gate(&memory, 0x40, CODE0, 0x5678, INTERRUPT32 | RING3);
    let before = protected(3);
    let (cpu, _) = go(before, &memory, INT_40);
    assert_eq!((cpu.regs.rip, cpu.regs.rsp), (0x5678, 0x9000 - 20));
    assert_eq!((cpu.sregs.cs.selector, cpu.sregs.cs.dpl), (CODE0, 0));
    assert_eq!((cpu.sregs.ss.selector, cpu.sregs.ss.dpl), (DATA0, 0));
    let frame = [0x1002, u32::from(CODE3), before.regs.rflags as u32, STACK as u32, u32::from(DATA3)];
    assert_eq!(words(&memory, 0x9000 - 20, 5), frame);

    // A conforming handler stays in ring 3.
    gate(&memory, 0x40, CONFORMING, 0x5678, INTERRUPT32 | RING3);
    let (cpu, _) = go(before, &memory, INT_40);
    assert_eq!((cpu.sregs.cs.selector, cpu.regs.rsp), (CONFORMING | 3, STACK - 12));
}

/// The error code of the exception that INT 40h raises.
fn int_fault(cpl: u8, vector: u8, edit: impl FnOnce(&FakeMemory, &mut Cpu)) -> u32 {
    let memory = memory();
    let mut cpu = protected(cpl);
    gate(&memory, 0x40, CODE0, 0x5678, INTERRUPT32 | RING3);
    edit(&memory, &mut cpu);
    let (after, outcome) = go(cpu, &memory, INT_40);
    assert_eq!(outcome, Outcome::Raised(vector));
    assert_eq!((after.regs, after.sregs.cs, after.sregs.ss), (cpu.regs, cpu.sregs.cs, cpu.sregs.ss));
    after.events.exception.error_code
}

#[test]
fn faults_of_int() {
    let vector = 0x40 << 3 | 2;
    assert_eq!(int_fault(3, 13, |memory, _| gate(memory, 0x40, CODE0, 0, INTERRUPT32)), vector, "gate of ring 0");
    assert_eq!(int_fault(0, 13, |_, cpu| cpu.sregs.idt.limit = 0x1ff), vector, "beyond the table");
    assert_eq!(int_fault(0, 11, |memory, _| gate(memory, 0x40, CODE0, 0, 0x0e)), vector, "gate not present");
    assert_eq!(int_fault(0, 13, |memory, _| gate(memory, 0x40, CODE0, 0, 0x8c)), vector, "a call gate");
    assert_eq!(int_fault(0, 13, |memory, _| gate(memory, 0x40, 0, 0, INTERRUPT32)), 0, "null selector");
    assert_eq!(int_fault(0, 13, |memory, _| gate(memory, 0x40, 0x48, 0, INTERRUPT32)), 0x48, "beyond the GDT");
    assert_eq!(int_fault(0, 13, |memory, _| gate(memory, 0x40, DATA0, 0, INTERRUPT32)), u32::from(DATA0), "no code");
    assert_eq!(int_fault(0, 13, |memory, _| gate(memory, 0x40, CODE3, 0, INTERRUPT32)), 0x18, "an outer ring");
    assert_eq!(int_fault(0, 11, |memory, _| gate(memory, 0x40, ABSENT, 0, INTERRUPT32)), u32::from(ABSENT));
    assert_eq!(int_fault(3, 10, |_, cpu| cpu.sregs.tr.limit = 8), 0x40, "TSS too short");
    assert_eq!(int_fault(3, 10, |memory, _| memory.load(TSS + 8, &[0x23, 0])), 0x20, "stack of another ring");
    assert_eq!(int_fault(0, 12, |_, cpu| cpu.sregs.ss.limit = 0xfff), 0, "stack limit");
}

#[test]
fn int3_into_and_int1() {
    let memory = memory();
    for vector in [1, 3, 4] {
        gate(&memory, vector, CODE0, 0x100 * vector as u32, INTERRUPT32);
    }
    assert_eq!(go(protected(0), &memory, &[0xcc]).0.regs.rip, 0x300);
    assert_eq!(go(protected(0), &memory, &[0xf1]).0.regs.rip, 0x100);
    assert_eq!(go(protected(0), &memory, &[0xce]).0.regs.rip, 0x1001, "no overflow");
    let mut cpu = protected(0);
    cpu.regs.rflags |= flags::OF;
    assert_eq!(go(cpu, &memory, &[0xce]).0.regs.rip, 0x400);
    // Ring 3 may not use these gates, except by INT1, which checks no privilege.
    assert_eq!(go(protected(3), &memory, &[0xcc]).1, Outcome::Raised(13));
    assert_eq!(go(protected(3), &memory, &[0xf1]).0.regs.rip, 0x100);
}

#[test]
fn real_mode() {
    let memory = FakeMemory::new(0x20000);
    memory.load(4 * 0x40, &[0x34, 0x12, 0x00, 0x10]);
    let mut cpu = ring0(16);
    cpu.sregs.cr0 = 0;
    cpu.sregs.idt.limit = 0x3ff;
    let segment = |selector: u16| kvm_segment {
        base: u64::from(selector) << 4,
        limit: 0xffff,
        selector,
        type_: 3,
        present: 1,
        s: 1,
        ..Default::default()
    };
    cpu.sregs.cs = segment(0x0100);
    cpu.sregs.ss = segment(0x0800);
    cpu.regs.rip = 0x10;
    cpu.regs.rsp = 2;
    cpu.regs.rflags = flags::FIXED | flags::IF | flags::AC;
    let (handler, outcome) = go(cpu, &memory, INT_40);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!((handler.regs.rip, handler.sregs.cs.selector, handler.sregs.cs.base), (0x1234, 0x1000, 0x10000));
    assert_eq!(handler.regs.rsp, 0xfffc, "the stack wraps");
    assert_eq!(memory.bytes(0x8000, 2), [0x02, 0x02], "the flags, at 0800:0000");
    assert_eq!(memory.bytes(0x17ffc, 4), [0x12, 0x00, 0x00, 0x01]);
    assert_eq!(handler.regs.rflags, flags::FIXED);

    let (back, outcome) = go(Cpu { regs: kvm_regs { rip: 0x1234, ..handler.regs }, ..handler }, &memory, IRETD);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!((back.regs.rip, back.sregs.cs.selector, back.regs.rsp), (0x12, 0x0100, 2));
    assert_eq!(back.regs.rflags, flags::FIXED | flags::IF);
}

#[test]
fn iret_to_the_same_ring() {
    let memory = memory();
    let mut cpu = protected(0);
    cpu.regs.rflags = flags::FIXED;
    push(&memory, &mut cpu, &[(flags::FIXED | flags::IF | flags::ZF | flags::IOPL) as u32, CODE0.into(), 0x1234]);
    let (after, outcome) = go(cpu, &memory, IRETD);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!((after.regs.rip, after.regs.rsp), (0x1234, STACK));
    assert_eq!(after.regs.rflags, flags::FIXED | flags::IF | flags::ZF | flags::IOPL);

    // 16-bit operands keep the upper flags.
    let mut cpu = protected(0);
    cpu.regs.rflags |= flags::ID;
    cpu.regs.rsp -= 6;
    memory.load(cpu.regs.rsp as usize, &[0x34, 0x12, CODE0 as u8, 0, 0x02, 0x00]);
    let (after, _) = go(cpu, &memory, &[0x66, 0xcf]);
    assert_eq!((after.regs.rip, after.regs.rsp, after.regs.rflags), (0x1234, STACK, flags::FIXED | flags::ID));
}

#[test]
fn iret_to_ring_3() {
    let memory = memory();
    let mut cpu = protected(0);
    push(&memory, &mut cpu, &[DATA3.into(), 0x7000, 0x202, CODE3.into(), 0x1234]);
    let (after, outcome) = go(cpu, &memory, IRETD);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!((after.regs.rip, after.regs.rsp, after.cpl()), (0x1234, 0x7000, 3));
    assert_eq!((after.sregs.cs.selector, after.sregs.ss.selector), (CODE3, DATA3));
    assert_eq!((after.sregs.ds.unusable, after.sregs.ds.selector), (1, 0), "ring 0's data segment is gone");

    // Ring 3 changes neither IF nor IOPL.
    let mut cpu = protected(3);
    cpu.regs.rflags = flags::FIXED | flags::IF;
    push(&memory, &mut cpu, &[(flags::FIXED | flags::IOPL) as u32, CODE3.into(), 0x1234]);
    assert_eq!(go(cpu, &memory, IRETD).0.regs.rflags, flags::FIXED | flags::IF);
}

#[test]
fn faults_of_iret() {
    let fault = |cpl: u8, frame: &[u32], vector: u8| {
        let memory = memory();
        let mut cpu = protected(cpl);
        push(&memory, &mut cpu, frame);
        let (after, outcome) = go(cpu, &memory, IRETD);
        assert_eq!(outcome, Outcome::Raised(vector), "{frame:x?}");
        assert_eq!(after.regs, cpu.regs);
        after.events.exception.error_code
    };
    assert_eq!(fault(0, &[2, 0, 0x1234], 13), 0, "null code segment");
    assert_eq!(fault(0, &[2, DATA0.into(), 0x1234], 13), u32::from(DATA0));
    assert_eq!(fault(0, &[2, ABSENT.into(), 0x1234], 11), u32::from(ABSENT));
    assert_eq!(fault(3, &[2, CODE0.into(), 0x1234], 13), u32::from(CODE0), "an inner ring");
    assert_eq!(fault(0, &[DATA0.into(), 0x7000, 2, CODE3.into(), 0], 13), u32::from(DATA0), "the wrong stack");
    assert_eq!(fault(0, &[0, 0x7000, 2, CODE3.into(), 0], 13), 0, "no stack");
}

#[test]
fn virtual_8086_mode_and_back() {
    let memory = memory();
    let mut cpu = protected(0);
    let image = (flags::FIXED | flags::VM | flags::IF | flags::IOPL) as u32;
    push(&memory, &mut cpu, &[0x600, 0x500, 0x400, 0x300, 0x200, 0xffe, image, 0x100, 0x10]);
    let (v86, outcome) = go(cpu, &memory, IRETD);
    assert_eq!(outcome, Outcome::Retired);
    let s = &v86.sregs;
    let segments = [s.cs, s.ss, s.es, s.ds, s.fs, s.gs].map(|segment| (segment.selector, segment.base));
    assert_eq!(segments, [1, 2, 3, 4, 5, 6].map(|n| (n << 8, u64::from(n) << 12)));
    assert_eq!((v86.regs.rip, v86.regs.rsp, v86.cpl(), v86.bitness()), (0x10, 0xffe, 3, 16));

    gate(&memory, 0x40, CODE0, 0x5678, INTERRUPT32 | RING3);
    let (handler, outcome) = go(v86, &memory, INT_40);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!(words(&memory, 0x9000 - 36, 9), [0x12, 0x100, image, 0xffe, 0x200, 0x300, 0x400, 0x500, 0x600]);
    assert_eq!((handler.regs.rflags & flags::VM, handler.cpl(), handler.sregs.ds.selector), (0, 0, 0));

    let mut low_privilege = v86;
    low_privilege.regs.rflags &= !flags::IOPL;
    assert_eq!(go(low_privilege, &memory, INT_40).1, Outcome::Raised(13), "INT n needs IOPL 3");
}

/// 64-bit mode in ring `cpl`; gate 40h uses stack `ist`.
fn long(cpl: u8, ist: u8) -> (FakeMemory, Cpu) {
    let memory = memory();
    memory.load(TSS + 36, &0xa000u64.to_le_bytes());
    let gate = 0x5678 | u64::from(LONG_CODE0) << 16 | u64::from(ist) << 32 | u64::from(INTERRUPT32 | RING3) << 40;
    memory.load(IDT + 16 * 0x40, &gate.to_le_bytes());
    memory.load(TSS + 4, &0x9000u64.to_le_bytes());
    let mut cpu = protected(cpl);
    cpu.sregs.efer = efer::LMA;
    cpu.sregs.cs.l = 1;
    cpu.sregs.cs.db = 0;
    cpu.regs.rsp = STACK + 4;
    (memory, cpu)
}

#[test]
fn long_mode() {
    let (memory, cpu) = long(0, 0);
    let (after, outcome) = go(cpu, &memory, INT_40);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!((after.regs.rip, after.regs.rsp), (0x5678, STACK - 40), "the stack is aligned to 16");
    let frame: Vec<u64> = (0..5).map(|n| memory.u64(STACK as usize - 40 + 8 * n)).collect();
    let expected = [0x1002, cpu.sregs.cs.selector.into(), cpu.regs.rflags, STACK + 4, cpu.sregs.ss.selector.into()];
    assert_eq!(frame, expected);
    assert_eq!((after.sregs.cs.l, after.sregs.ss), (1, cpu.sregs.ss));

    let (memory, cpu) = long(3, 0);
    let (after, _) = go(cpu, &memory, INT_40);
    assert_eq!((after.regs.rsp, after.cpl(), after.sregs.ss.selector), (0x9000 - 40, 0, 0), "SS is null");

    let (memory, cpu) = long(0, 1);
    assert_eq!(go(cpu, &memory, INT_40).0.regs.rsp, 0xa000 - 40);

    let (memory, mut cpu) = long(0, 0);
    cpu.regs.rsp = 1 << 62;
    assert_eq!(go(cpu, &memory, INT_40).1, Outcome::Raised(12), "a stack that is not canonical");
}
