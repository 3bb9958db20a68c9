//! Every instruction that runs on the host's CPU, against the host's CPU, on the same random operands.

use iced_x86::{Code, Instruction, Mnemonic};

use super::random::{self, BASE, DISPLACEMENT, Random};
use super::real_cpu::{RealCpu, State};
use super::*;
use crate::kvm::fallback::native::is_allowed;

/// Random cases for each opcode.
const CASES: u64 = 8;
/// Where the operand lies in the guest, and how large its surroundings are.
const OPERAND: u64 = 0x3000;
const SURROUNDINGS: usize = 0x400;

#[repr(C, align(64))]
struct Buffer([u8; SURROUNDINGS]);

pub fn is_random(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, Mnemonic::Rdrand | Mnemonic::Rdseed)
}

/// Everything that an instruction can change, in a form that compares by value: components in their initial state and
/// components written with initial values are the same.
pub fn visible(area: &XsaveArea) -> (Vec<u8>, u32, Vec<[u8; 64]>, Vec<u64>) {
    let mut x87 = area.bytes[..24].to_vec();
    x87.extend_from_slice(&area.bytes[32..160]);
    if area.in_use() & 1 == 0 {
        let initial = XsaveArea::default();
        x87[..24].copy_from_slice(&initial.bytes[..24]);
        x87[24..].fill(0);
    }
    let vectors = (0..32).map(|n| area.vector(n)).collect();
    let opmasks = (0..8).map(|n| area.opmask(n)).collect();
    (x87, area.mxcsr(), vectors, opmasks)
}

/// Runs `code` by the fallback and by the CPU, and compares everything.
fn compare(real: &mut RealCpu, instruction: &Instruction, code: &[u8], state: &State, memory: &[u8; SURROUNDINGS]) {
    let base = BASE.number();
    let mut native = state.clone();
    let mut buffer = Buffer(*memory);
    native.gprs[base] = (&raw mut buffer).addr() as u64;
    let native_operand = native.gprs[base] + DISPLACEMENT;
    let (mut native, native_ip) = real.run(code, &native);

    let ram = FakeMemory::new(0x10000);
    ram.load(OPERAND as usize, memory);
    let vcpu = FakeVcpu::default();
    vcpu.area.borrow_mut().clone_from(&state.area);
    let mut cpu = ring0(64);
    for (number, &value) in state.gprs.iter().enumerate() {
        *cpu.gpr_mut(number) = value;
    }
    *cpu.gpr_mut(base) = OPERAND;
    cpu.regs.rflags = state.flags;
    let ip = cpu.regs.rip;
    let (after, outcome) = step(cpu, &vcpu, &ram, code);

    let what = format!("{instruction:?} ({code:02x?})");
    assert_eq!(outcome, Outcome::Retired, "{what}");
    assert_eq!(after.regs.rip, ip + code.len() as u64, "{what}: RIP");
    native.gprs[base] = OPERAND;
    let after_gprs: [u64; 16] = std::array::from_fn(|number| after.gpr(number));
    assert_eq!(after_gprs, native.gprs, "{what}: general registers");
    assert_eq!(after.regs.rflags & flags::STATUS, native.flags & flags::STATUS, "{what}: flags");
    assert_eq!(ram.bytes(OPERAND as usize, SURROUNDINGS), buffer.0, "{what}: memory");
    let pointers = |area: &mut XsaveArea| relocate(area, (native_ip, ip), (native_operand, OPERAND + DISPLACEMENT));
    pointers(&mut native.area);
    assert_same_state(&vcpu.area.borrow(), &native.area, &what);
}

/// The x87 pointers name the instruction and its operand, wherever they are: puts them elsewhere.
pub fn relocate(area: &mut XsaveArea, ip: (u64, u64), operand: (u64, u64)) {
    if area.fip() == ip.0 {
        area.set_fip(ip.1);
    }
    if area.fdp() == operand.0 {
        area.set_fdp(operand.1);
    }
}

/// Compares what instructions can see of two states.
pub fn assert_same_state(ours: &XsaveArea, theirs: &XsaveArea, what: &str) {
    let (ours, theirs) = (visible(ours), visible(theirs));
    assert_eq!(ours.0, theirs.0, "{what}: x87");
    assert_eq!(ours.1, theirs.1, "{what}: MXCSR");
    for number in 0..32 {
        assert_eq!(ours.2[number], theirs.2[number], "{what}: vector register {number}");
    }
    assert_eq!(ours.3, theirs.3, "{what}: opmasks");
}

#[test]
fn allowed_instructions_give_the_results_of_the_cpu() {
    let mut real = RealCpu::new();
    let mut tested = 0;
    let mut without_case = Vec::new();
    for code in Code::values() {
        let mut random = Random(code as u64);
        let mut cases = 0;
        for _ in 0..CASES {
            let Some((instruction, bytes)) = random::instruction(code, &mut random) else { continue };
            if is_random(instruction.mnemonic()) || !is_allowed(&instruction) {
                continue;
            }
            cases += 1;
            let state = random.state();
            let mut memory = [0; SURROUNDINGS];
            random.fill(&mut memory);
            compare(&mut real, &instruction, &bytes, &state, &memory);
        }
        if cases > 0 {
            tested += 1;
        } else {
            let mut instruction = Instruction::default();
            instruction.set_code(code);
            if is_allowed(&instruction) && !is_random(instruction.mnemonic()) {
                without_case.push(code);
            }
        }
    }
    eprintln!("{tested} opcodes tested; no 64-bit form of: {without_case:?}");
    assert!(tested > 500, "the table has shrunk to {tested} opcodes");
}
