//! What the CPU checks before and after an instruction, and the exceptions it raises (Intel SDM vol. 2, chapter 2 and the
//! instructions' own exception tables).

use super::*;
use crate::kvm::fallback::Unable;

const UD: Outcome = Outcome::Raised(6);
const NM: Outcome = Outcome::Raised(7);
const GP: Outcome = Outcome::Raised(13);
const MF: Outcome = Outcome::Raised(16);
const AC: Outcome = Outcome::Raised(17);
const XM: Outcome = Outcome::Raised(19);

/// What becomes of `code` with a vCPU changed by `edit`.
fn outcome(code: &[u8], edit: impl FnOnce(&mut Cpu, &FakeVcpu)) -> Outcome {
    let memory = FakeMemory::new(0x10000);
    let vcpu = FakeVcpu::default();
    let mut cpu = ring0(64);
    cpu.regs.rdi = 0x3000;
    edit(&mut cpu, &vcpu);
    step(cpu, &vcpu, &memory, code).1
}

const FADD: &[u8] = &[0xd8, 0xc1];
const FNSTSW_AX: &[u8] = &[0xdf, 0xe0];
const FWAIT: &[u8] = &[0x9b];
const PADDB_MM: &[u8] = &[0x0f, 0xfc, 0xc1];
const PXOR: &[u8] = &[0x66, 0x0f, 0xef, 0xc1];
const VPXOR: &[u8] = &[0xc5, 0xf1, 0xef, 0xc2];
const VPXORD_ZMM: &[u8] = &[0x62, 0xf1, 0x75, 0x48, 0xef, 0xc2];
const ANDN: &[u8] = &[0xc4, 0xe2, 0x78, 0xf2, 0xc1];
const XGETBV: &[u8] = &[0x0f, 0x01, 0xd0];

#[test]
fn task_switched_and_no_coprocessor() {
    for code in [FADD, FNSTSW_AX, PADDB_MM, PXOR, VPXOR] {
        assert_eq!(outcome(code, |cpu, _| cpu.sregs.cr0 |= cr0::TS), NM, "{code:02x?}");
    }
    assert_eq!(outcome(FADD, |cpu, _| cpu.sregs.cr0 |= cr0::EM), NM);
    assert_eq!(outcome(PADDB_MM, |cpu, _| cpu.sregs.cr0 |= cr0::EM), UD);
    assert_eq!(outcome(PXOR, |cpu, _| cpu.sregs.cr0 |= cr0::EM), UD);
    assert_eq!(outcome(VPXOR, |cpu, _| cpu.sregs.cr0 |= cr0::EM), Outcome::Retired);
    assert_eq!(outcome(FWAIT, |cpu, _| cpu.sregs.cr0 |= cr0::TS), Outcome::Retired);
    assert_eq!(outcome(FWAIT, |cpu, _| cpu.sregs.cr0 |= cr0::TS | cr0::MP), NM);
}

#[test]
fn what_the_guest_has_not_enabled_is_undefined() {
    assert_eq!(outcome(PXOR, |cpu, _| cpu.sregs.cr4 &= !cr4::OSFXSR), UD);
    for code in [VPXOR, VPXORD_ZMM, XGETBV] {
        assert_eq!(outcome(code, |cpu, _| cpu.sregs.cr4 &= !cr4::OSXSAVE), UD, "{code:02x?}");
    }
    assert_eq!(outcome(VPXOR, |_, vcpu| vcpu.xcr0.set(3)), UD);
    assert_eq!(outcome(VPXORD_ZMM, |_, vcpu| vcpu.xcr0.set(7)), UD);
    if std::arch::is_x86_feature_detected!("avx512f") {
        assert_eq!(outcome(VPXORD_ZMM, |_, _| {}), Outcome::Retired);
    }
    assert_eq!(outcome(ANDN, |cpu, vcpu| (cpu.sregs.cr4, _) = (0, vcpu.xcr0.set(1))), Outcome::Retired);
}

#[test]
fn vex_is_unknown_to_real_mode() {
    let real = |cpu: &mut Cpu| {
        cpu.sregs.cr0 &= !cr0::PE;
        cpu.sregs.efer = 0;
        cpu.sregs.cs.l = 0;
        cpu.sregs.cs.db = 1;
    };
    assert_eq!(outcome(ANDN, |cpu, _| real(cpu)), UD);
    assert_eq!(outcome(VPXOR, |cpu, _| real(cpu)), UD);
    assert_eq!(outcome(PXOR, |cpu, _| real(cpu)), Outcome::Retired);
}

#[test]
fn a_pending_x87_exception_waits_for_the_next_waiting_instruction() {
    // Stack fault flag and invalid operation, with invalid operation unmasked.
    let pending = |_: &mut Cpu, vcpu: &FakeVcpu| {
        let mut area = vcpu.area.borrow_mut();
        area.bytes[..4].copy_from_slice(&[0x7e, 0x03, 0x41, 0x00]);
        area.set_in_use(1);
    };
    for code in [FADD, FWAIT, PADDB_MM] {
        assert_eq!(outcome(code, pending), MF, "{code:02x?}");
    }
    assert_eq!(outcome(FNSTSW_AX, pending), Outcome::Retired);
    assert_eq!(outcome(PXOR, pending), Outcome::Retired);
}

/// Divides XMM0 by XMM1 (1.0 by 0.0) with `mxcsr`. Returns the outcome, MXCSR afterwards and XMM0.
fn divide_by_zero(mxcsr: u32, cr4: u64) -> (Outcome, u32, u32) {
    let vcpu = FakeVcpu::default();
    let mut one = [0; 64];
    one[..4].copy_from_slice(&1.0f32.to_le_bytes());
    vcpu.area.borrow_mut().set_vector(0, &one);
    vcpu.area.borrow_mut().set_mxcsr(mxcsr);
    let mut cpu = ring0(64);
    cpu.sregs.cr4 = cr4;
    // divss xmm0, xmm1
    let (_, outcome) = step(cpu, &vcpu, &FakeMemory::new(0x8000), &[0xf3, 0x0f, 0x5e, 0xc1]);
    let area = vcpu.area.borrow();
    (outcome, area.mxcsr(), u32::from_le_bytes(area.vector(0)[..4].try_into().unwrap()))
}

#[test]
fn unmasked_vector_exceptions_are_raised_and_change_nothing_but_mxcsr() {
    const ZE: u32 = 1 << 2;
    const ZM: u32 = 1 << 9;
    let all = cr4::OSFXSR | cr4::OSXMMEXCPT;
    assert_eq!(divide_by_zero(0x1f80, all), (Outcome::Retired, 0x1f80 | ZE, f32::INFINITY.to_bits()));
    assert_eq!(divide_by_zero(0x1f80 & !ZM, all), (XM, 0x1f80 & !ZM | ZE, 1.0f32.to_bits()));
    assert_eq!(divide_by_zero(0x1f80 & !ZM, cr4::OSFXSR), (UD, 0x1f80 & !ZM | ZE, 1.0f32.to_bits()));
    // Flags that are set already are not exceptions of this instruction.
    assert_eq!(
        divide_by_zero(0x1f81 & !(1 << 7), all),
        (Outcome::Retired, 0x1f81 & !(1 << 7) | ZE, f32::INFINITY.to_bits())
    );
}

#[test]
fn alignment() {
    let aligned: &[&[u8]] = &[
        &[0x66, 0x0f, 0xef, 0x07],       // pxor xmm0, [rdi]
        &[0x0f, 0x28, 0x07],             // movaps xmm0, [rdi]
        &[0xc5, 0xf8, 0x28, 0x07],       // vmovaps xmm0, [rdi]
        &[0xc5, 0xfd, 0xe7, 0x07],       // vmovntdq [rdi], ymm0
        &[0x66, 0x0f, 0x38, 0xdc, 0x07], // aesenc xmm0, [rdi]
        &[0x48, 0x0f, 0xc7, 0x0f],       // cmpxchg16b [rdi]
    ];
    for code in aligned {
        assert_eq!(outcome(code, |_, _| {}), Outcome::Retired, "{code:02x?} aligned");
        assert_eq!(outcome(code, |cpu, _| cpu.regs.rdi += 8), GP, "{code:02x?} misaligned");
    }
    let any: &[&[u8]] = &[
        &[0x0f, 0x10, 0x07],                   // movups xmm0, [rdi]
        &[0xf2, 0x0f, 0xf0, 0x07],             // lddqu xmm0, [rdi]
        &[0xc5, 0xf1, 0xef, 0x07],             // vpxor xmm0, xmm1, [rdi]
        &[0x66, 0x0f, 0x3a, 0x63, 0x07, 0x00], // pcmpistri xmm0, [rdi], 0
        &[0xdb, 0x2f],                         // fld tbyte [rdi]
    ];
    for code in any {
        assert_eq!(outcome(code, |cpu, _| cpu.regs.rdi += 1), Outcome::Retired, "{code:02x?}");
    }
}

#[test]
fn alignment_check_of_ring_3() {
    let popcnt = &[0xf3, 0x0f, 0xb8, 0x07];
    let ring3 = |cpu: &mut Cpu| {
        cpu.sregs.ss.dpl = 3;
        cpu.sregs.cr0 |= cr0::AM;
        cpu.regs.rflags |= flags::AC;
        cpu.regs.rdi += 2;
    };
    assert_eq!(outcome(popcnt, |cpu, _| ring3(cpu)), AC);
    assert_eq!(outcome(popcnt, |cpu, _| (ring3(cpu), cpu.sregs.cr0 &= !cr0::AM).1), Outcome::Retired);
    assert_eq!(outcome(popcnt, |cpu, _| (ring3(cpu), cpu.sregs.ss.dpl = 0).1), Outcome::Retired);
}

#[test]
fn undefined_opcodes_and_prefixes() {
    let undefined: &[&[u8]] = &[
        &[0x0f, 0x0b],                   // ud2
        &[0x0f, 0xb9, 0xc0],             // ud1
        &[0x0f, 0xff, 0xc0],             // ud0
        &[0xf0, 0x0f, 0x01, 0xca],       // lock clac
        &[0xf0, 0xf3, 0x0f, 0xb8, 0x07], // lock popcnt
        &[0x0f, 0x3f],                   // nothing
        &[0x62, 0xf1, 0x05, 0x48, 0x10], // cut short
    ];
    for code in undefined {
        let mut padded = code.to_vec();
        padded.resize(15, 0x90);
        assert_eq!(outcome(&padded, |_, _| {}), UD, "{code:02x?}");
    }
    assert_eq!(outcome(&[0x66; 15], |_, _| {}), GP, "15 prefixes and no opcode");
}

#[test]
fn ring_0_only() {
    for (code, expected) in [
        (&[0x0f, 0x01, 0xca][..], UD),         // clac
        (&[0x0f, 0x01, 0xcb], UD),             // stac
        (&[0x0f, 0x01, 0xc9], UD),             // mwait
        (&[0x66, 0x0f, 0x38, 0x82, 0x07], GP), // invpcid rax, [rdi]
        (&[0x0f, 0x01, 0xc6], GP),             // wrmsrns
        (&[0x0f, 0xc7, 0x2f], GP),             // xsaves
    ] {
        assert_eq!(outcome(code, |cpu, _| cpu.sregs.ss.dpl = 3), expected, "{code:02x?}");
    }
}

#[test]
fn what_cannot_be_done_is_reported() {
    // vpgatherdd xmm1, [rdi + xmm2 * 4], xmm3 is done; task switches are not: int 40h through a task gate.
    let memory = FakeMemory::new(0x10000);
    memory.load(0x5000 + 8 * 0x40, &[0, 0, 0x28, 0, 0, 0x85, 0, 0]);
    let mut cpu = ring0(32);
    cpu.sregs.idt.base = 0x5000;
    cpu.sregs.idt.limit = 0x7ff;
    let report = Fallback::default().step(cpu, &FakeVcpu::default(), &memory, &[0xcd, 0x40]).unwrap_err();
    assert!(matches!(report.reason(), Unable::Form(_)));
    let text = report.to_string();
    assert!(text.contains("`int 40h` (cd 40)"), "{text}");

    let mut real = ring0(16);
    real.sregs.cr0 = 0;
    // fnstenv [bx]
    let report = Fallback::default().step(real, &FakeVcpu::default(), &memory, &[0xd9, 0x37]).unwrap_err();
    assert!(matches!(report.reason(), Unable::Form(_)));
}

#[test]
fn the_interrupt_shadow_ends_and_a_single_step_traps() {
    let vcpu = FakeVcpu::default();
    let mut cpu = ring0(64);
    cpu.events.interrupt.shadow = 1;
    cpu.regs.rflags |= flags::TF | flags::RF;
    let (after, outcome) = step(cpu, &vcpu, &FakeMemory::new(0x8000), &[0x0f, 0x01, 0xca]);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!(after.events.interrupt.shadow, 0);
    assert_eq!((after.events.exception.injected, after.events.exception.nr), (1, 1));
    assert_eq!(after.regs.rflags & flags::RF, 0);
    assert_eq!(vcpu.dr6.get(), 1 << 14);
}
