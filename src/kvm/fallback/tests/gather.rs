//! Gathers, scatters and masked stores against the CPU.

use iced_x86::{Code, Decoder, Encoder, EncodingKind, Instruction, Register};

use super::differential::{assert_same_state, relocate};
use super::random::{BASE, Random};
use super::real_cpu::{RealCpu, State};
use super::*;
use crate::kvm::fallback::native::is_missing;

const OPERAND: u64 = 0x3000;
const LEN: usize = 0x400;
const INDEX: usize = 2;

#[repr(C, align(64))]
struct Buffer([u8; LEN]);

/// Runs `code`, which addresses memory by RDI only, on both.
fn compare(real: &mut RealCpu, code: &[u8], state: &State, random: &mut Random) {
    let mut memory = [0; LEN];
    random.fill(&mut memory);
    let mut buffer = Buffer(memory);
    let mut native = state.clone();
    native.gprs[BASE.number()] = (&raw mut buffer).addr() as u64;
    let (mut native, ip) = real.run(code, &native);

    let ram = FakeMemory::new(0x8000);
    ram.load(OPERAND as usize, &memory);
    let vcpu = FakeVcpu::default();
    vcpu.area.borrow_mut().clone_from(&state.area);
    let mut cpu = ring0(64);
    cpu.regs.rdi = OPERAND;
    let (_, outcome) = step(cpu, &vcpu, &ram, code);
    let what = format!("{:?} ({code:02x?})", Decoder::new(64, code, 0).decode().code());
    assert_eq!(outcome, Outcome::Retired, "{what}");
    assert_eq!(ram.bytes(OPERAND as usize, LEN), buffer.0, "{what}: memory");
    relocate(&mut native.area, (ip, cpu.regs.rip), (0, 0));
    assert_same_state(&vcpu.area.borrow(), &native.area, &what);
}

/// The gather or scatter `code`: between register 1 and memory at [RDI + register 2 * 2 + 40h], with mask 3.
fn vsib(code: Code) -> Option<Vec<u8>> {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let op_code = code.op_code();
    let evex = op_code.encoding() == EncodingKind::EVEX;
    let mut index = Register::None;
    for (n, &kind) in (0..).zip(op_code.op_kinds()) {
        use iced_x86::OpCodeOperandKind as K;
        let register = match kind {
            K::mem_vsib32x | K::mem_vsib64x => Register::XMM0,
            K::mem_vsib32y | K::mem_vsib64y => Register::YMM0,
            K::mem_vsib32z | K::mem_vsib64z => Register::ZMM0,
            K::xmm_reg | K::xmm_vvvv => Register::XMM0,
            K::ymm_reg | K::ymm_vvvv => Register::YMM0,
            K::zmm_reg => Register::ZMM0,
            _ => return None,
        };
        if matches!(kind, K::xmm_reg | K::ymm_reg | K::zmm_reg | K::xmm_vvvv | K::ymm_vvvv) {
            instruction.set_op_kind(n, iced_x86::OpKind::Register);
            instruction.set_op_register(n, register + if n == 2 { 3 } else { 1 });
        } else {
            instruction.set_op_kind(n, iced_x86::OpKind::Memory);
            index = register + INDEX as u32;
        }
    }
    instruction.set_memory_base(BASE);
    instruction.set_memory_index(index);
    instruction.set_memory_index_scale(2);
    instruction.set_memory_displ_size(1);
    instruction.set_memory_displacement64(0x40);
    if evex {
        instruction.set_op_mask(Register::K3);
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, 0).ok()?;
    Some(encoder.take_buffer())
}

#[test]
fn gathers_and_scatters() {
    let mut real = RealCpu::new();
    let mut tested = 0;
    for code in Code::values().filter(|code| code.op_code().is_instruction()) {
        let name = format!("{code:?}");
        let wanted = (name.contains("gather") || name.contains("scatter")) && !name.contains("pf");
        let Some(bytes) = vsib(code).filter(|_| wanted) else { continue };
        let instruction = Decoder::new(64, &bytes, 0).decode();
        if is_missing(&instruction) {
            continue;
        }
        tested += 1;
        let mut random = Random(code as u64);
        for _ in 0..20 {
            let mut state = random.state();
            let width = if instruction.is_vsib64() { 8 } else { 4 };
            let mut indices = [0; 64];
            for lane in indices.chunks_exact_mut(width) {
                let index = random.below(0xc0) as i64 - 0x20;
                lane.copy_from_slice(&index.to_le_bytes()[..width]);
            }
            state.area.set_vector(INDEX, &indices);
            compare(&mut real, &bytes, &state, &mut random);
        }
    }
    assert!(tested >= 8 || !std::arch::is_x86_feature_detected!("avx2"), "only {tested} tested");
}

#[test]
fn masked_byte_stores() {
    let mut real = RealCpu::new();
    let mut random = Random(9);
    let mut codes: Vec<&[u8]> = vec![&[0x66, 0x0f, 0xf7, 0xca], &[0x0f, 0xf7, 0xca]];
    if std::arch::is_x86_feature_detected!("avx") {
        codes.push(&[0xc5, 0xf9, 0xf7, 0xca]);
    }
    for code in codes {
        for _ in 0..20 {
            let state = random.state();
            compare(&mut real, code, &state, &mut random);
        }
    }
}

#[test]
fn a_faulting_gather_keeps_what_it_has_done() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        eprintln!("SKIPPED: this CPU has no AVX2");
        return;
    }
    let memory = FakeMemory::new(0x8000);
    memory.load(0x3000, &[7, 0, 0, 0]);
    let vcpu = FakeVcpu::default();
    let mut indices = [0; 64];
    // Element 1 lies beyond the data segment's limit, in compatibility mode.
    indices[4..8].copy_from_slice(&0x10_0000i32.to_le_bytes());
    vcpu.area.borrow_mut().set_vector(2, &indices);
    vcpu.area.borrow_mut().set_vector(3, &[0xff; 64]);
    let mut cpu = ring0(32);
    cpu.sregs.ds.limit = 0xffff;
    cpu.regs.rdi = 0x3000;
    // vpgatherdd xmm1, [edi + xmm2 * 1], xmm3
    let (_, outcome) = step(cpu, &vcpu, &memory, &[0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x17]);
    assert_eq!(outcome, Outcome::Raised(13));
    let area = vcpu.area.borrow();
    assert_eq!(area.vector(1)[..4], [7, 0, 0, 0]);
    assert_eq!(area.vector(3)[..8], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
}
