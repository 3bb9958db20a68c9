//! Random instructions, operands and register contents, from a seed.

use iced_x86::{Code, Encoder, EncodingKind, Instruction, OpCodeOperandKind as K, OpKind, Register, RoundingControl};

use super::real_cpu::State;
use super::{XsaveArea, flags};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A word that arithmetic finds interesting.
    pub fn word(&mut self) -> u64 {
        let float = |value: f32| u64::from(value.to_bits());
        match self.below(8) {
            0 => self.below(70),
            1 => self.below(70).wrapping_neg(),
            2 => 1 << self.below(64),
            3 => self.pick(&[0, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 31, (1 << 31) - 1]),
            4 => {
                let specials = [0.0, -0.0, 1.0, -1.5, 3.0e38, 1.0e-40, f32::INFINITY, f32::NAN, 0.1, 123456.7];
                float(self.pick(&specials)) | float(self.pick(&specials)) << 32
            }
            5 => self.pick(&[0.0, -0.0, 1.0, -2.5, 1.0e308, 4.0e-320, f64::INFINITY, f64::NAN, 0.1, 1.0e10]).to_bits(),
            _ => self.next(),
        }
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Register contents with all floating-point exceptions masked.
    pub fn state(&mut self) -> State {
        let mut area = XsaveArea::default();
        for number in 0..32 {
            let mut vector = [0; 64];
            self.fill(&mut vector);
            area.set_vector(number, &vector);
        }
        for number in 0..8 {
            let mask = self.word();
            area.set_opmask(number, mask);
        }
        let rounding = self.below(4) as u32;
        area.set_mxcsr(0x1f80 | rounding << 13 | self.pick(&[0, 0x8000, 0x0040]));
        let control = 0x37f & !0x0c00 | (rounding as u16) << 10 | if self.one_in(4) { 0 } else { 0x300 };
        let top = self.below(8) as u16;
        area.bytes[0..2].copy_from_slice(&control.to_le_bytes());
        area.bytes[2..4].copy_from_slice(&(top << 11).to_le_bytes());
        area.bytes[4] = self.pick(&[0xff, 0x0f, self.0 as u8]);
        for register in area.bytes[32..160].as_chunks_mut::<16>().0 {
            let mut value = [0; 10];
            self.fill(&mut value);
            match self.below(3) {
                // An integer or a fraction of moderate size, as most instructions want it.
                0 => {
                    value[7] |= 0x80;
                    let exponent = (0x3fff_u64 - 20 + self.below(60)) as u16 | (self.below(2) as u16) << 15;
                    value[8..].copy_from_slice(&exponent.to_le_bytes());
                }
                1 => value[7] |= 0x80,
                _ => {}
            }
            register[..10].copy_from_slice(&value);
        }
        area.set_in_use(area.in_use() | 1);
        let gprs = std::array::from_fn(|_| self.word());
        State { gprs, flags: flags::FIXED | flags::IF | self.next() & flags::STATUS, area }
    }
}

const GPRS: [Register; 15] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// The register that addresses memory operands, and is never another operand.
pub const BASE: Register = Register::RDI;
/// Displacement of memory operands.
pub const DISPLACEMENT: u64 = 0x40;

/// A random instruction with opcode `code`, and its encoding; `None` if it cannot be encoded in 64-bit mode.
pub fn instruction(code: Code, random: &mut Random) -> Option<(Instruction, Vec<u8>)> {
    let op_code = code.op_code();
    // The assembler's forms with a WAIT before them are two instructions.
    if !op_code.is_instruction() || !op_code.mode64() || op_code.fwait() {
        return None;
    }
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let evex = op_code.encoding() == EncodingKind::EVEX;
    let vectors = if evex { 32 } else { 16 };
    let mut memory = false;
    for (n, &kind) in (0..).zip(op_code.op_kinds()) {
        let gpr = random.pick(&GPRS);
        let vector = random.below(vectors) as u32;
        let eight = random.below(8) as u32;
        let wants_memory = random.one_in(2);
        let register = match kind {
            K::mem | K::mem_mib => {
                memory = true;
                None
            }
            K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::mm_or_mem
            | K::xmm_or_mem
            | K::ymm_or_mem
            | K::zmm_or_mem
            | K::k_or_mem
                if wants_memory =>
            {
                memory = true;
                None
            }
            K::r8_or_mem | K::r8_reg | K::r8_opcode => Some(low_byte(gpr)),
            K::r16_or_mem | K::r16_reg | K::r16_rm | K::r16_opcode => Some(word(gpr)),
            K::r32_or_mem | K::r32_reg | K::r32_rm | K::r32_opcode | K::r32_vvvv => Some(gpr.full_register32()),
            K::r64_or_mem | K::r64_reg | K::r64_rm | K::r64_opcode | K::r64_vvvv => Some(gpr),
            K::mm_or_mem | K::mm_reg | K::mm_rm => Some(Register::MM0 + eight),
            K::xmm_or_mem | K::xmm_reg | K::xmm_rm | K::xmm_vvvv => Some(Register::XMM0 + vector),
            K::xmm_is4 | K::xmm_is5 => Some(Register::XMM0 + vector % 16),
            K::ymm_or_mem | K::ymm_reg | K::ymm_rm | K::ymm_vvvv => Some(Register::YMM0 + vector),
            K::ymm_is4 | K::ymm_is5 => Some(Register::YMM0 + vector % 16),
            K::zmm_or_mem | K::zmm_reg | K::zmm_rm | K::zmm_vvvv => Some(Register::ZMM0 + vector),
            K::zmmp3_vvvv => Some(Register::ZMM0 + (vector & !3)),
            K::xmmp3_vvvv => Some(Register::XMM0 + (vector & !3)),
            K::k_or_mem | K::k_reg | K::k_rm | K::k_vvvv => Some(Register::K0 + eight),
            K::kp1_reg => Some(Register::K0 + (eight & !1)),
            K::al => Some(Register::AL),
            K::cl => Some(Register::CL),
            K::ax => Some(Register::AX),
            K::dx => Some(Register::DX),
            K::eax => Some(Register::EAX),
            K::rax => Some(Register::RAX),
            K::st0 => Some(Register::ST0),
            K::sti_opcode => Some(Register::ST0 + eight),
            K::imm8_const_1 => {
                instruction.set_op_kind(n, OpKind::Immediate8);
                instruction.set_immediate8(1);
                continue;
            }
            K::imm4_m2z => {
                instruction.set_op_kind(n, OpKind::Immediate8);
                instruction.set_immediate8(random.below(4) as u8);
                continue;
            }
            K::imm8 => {
                // EXTRQ and INSERTQ have two.
                if (0..n).any(|m| instruction.op_kind(m) == OpKind::Immediate8) {
                    instruction.set_op_kind(n, OpKind::Immediate8_2nd);
                    instruction.set_immediate8_2nd(random.next() as u8);
                } else {
                    instruction.set_op_kind(n, OpKind::Immediate8);
                    instruction.set_immediate8(random.next() as u8);
                }
                continue;
            }
            K::imm8sex16 | K::imm8sex32 | K::imm8sex64 => {
                instruction.set_op_kind(
                    n,
                    match kind {
                        K::imm8sex16 => OpKind::Immediate8to16,
                        K::imm8sex32 => OpKind::Immediate8to32,
                        _ => OpKind::Immediate8to64,
                    },
                );
                instruction.set_immediate8(random.next() as u8);
                continue;
            }
            K::imm16 => {
                instruction.set_op_kind(n, OpKind::Immediate16);
                instruction.set_immediate16(random.next() as u16);
                continue;
            }
            K::imm32 => {
                instruction.set_op_kind(n, OpKind::Immediate32);
                instruction.set_immediate32(random.next() as u32);
                continue;
            }
            K::imm32sex64 => {
                instruction.set_op_kind(n, OpKind::Immediate32to64);
                instruction.set_immediate32to64(i64::from(random.next() as i32));
                continue;
            }
            K::imm64 => {
                instruction.set_op_kind(n, OpKind::Immediate64);
                instruction.set_immediate64(random.next());
                continue;
            }
            _ => return None,
        };
        match register {
            Some(register) => {
                instruction.set_op_kind(n, OpKind::Register);
                instruction.set_op_register(n, register);
            }
            None => {
                instruction.set_op_kind(n, OpKind::Memory);
                instruction.set_memory_base(BASE);
                instruction.set_memory_displ_size(1);
                instruction.set_memory_displacement64(DISPLACEMENT);
            }
        }
    }
    decorate(&mut instruction, memory, random);
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, 0).ok()?;
    Some((instruction, encoder.take_buffer()))
}

/// Masks, zeroing, broadcasts, rounding and LOCK, where the opcode takes them.
fn decorate(instruction: &mut Instruction, memory: bool, random: &mut Random) {
    let op_code = instruction.op_code();
    let writes_memory = instruction.op0_kind() == OpKind::Memory;
    if op_code.can_use_op_mask_register() && (op_code.require_op_mask_register() || random.one_in(2)) {
        instruction.set_op_mask(Register::K1 + random.below(7) as u32);
        if op_code.can_use_zeroing_masking() && !writes_memory && random.one_in(2) {
            instruction.set_zeroing_masking(true);
        }
    }
    if memory && op_code.can_broadcast() && random.one_in(2) {
        instruction.set_is_broadcast(true);
    }
    if !memory && op_code.can_use_rounding_control() && random.one_in(2) {
        let controls = [
            RoundingControl::RoundDown,
            RoundingControl::RoundUp,
            RoundingControl::RoundToNearest,
            RoundingControl::RoundTowardZero,
        ];
        instruction.set_rounding_control(random.pick(&controls));
    } else if !memory && op_code.can_suppress_all_exceptions() && random.one_in(2) {
        instruction.set_suppress_all_exceptions(true);
    }
    if writes_memory && op_code.can_use_lock_prefix() && random.one_in(2) {
        instruction.set_has_lock_prefix(true);
    }
}

fn word(register: Register) -> Register {
    Register::AX + register.number() as u32
}

fn low_byte(register: Register) -> Register {
    match register.number() {
        n @ 0..4 => Register::AL + n as u32,
        n => Register::SPL + (n as u32 - 4),
    }
}
