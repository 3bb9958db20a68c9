//! Which instructions may run on the host's CPU on the guest's behalf: a table of CPUID features, and what each needs.
//!
//! All of these compute on registers and at most one explicit memory operand, and have no effect outside them.

use std::arch::is_x86_feature_detected as detected;

use iced_x86::{Code, CpuidFeature, EncodingKind, Instruction, Mnemonic, Register};

/// Which part of the floating-point state an instruction works on; decides the checks made before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// General registers only.
    Integer,
    /// General registers only, in a VEX encoding: not in real mode.
    VexInteger,
    /// x87; `waits` is false for those that do not look at pending exceptions.
    X87 {
        /// Raises #MF for a pending exception.
        waits: bool,
    },
    /// MMX registers.
    Mmx,
    /// XMM registers in a legacy encoding; `mmx` if MMX registers too.
    Sse {
        /// One operand is an MMX register.
        mmx: bool,
    },
    /// VEX- (or XOP-) encoded vectors.
    Avx,
    /// EVEX-encoded vectors, and opmasks.
    Avx512,
}

/// Whether an instruction may run on the host's CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Yes(Unit),
    /// The host's CPU does not know it: nor does the guest's.
    Missing,
    /// It is not of the kind that runs this way.
    No,
}

/// Looks an instruction up.
pub fn verdict(instruction: &Instruction) -> Verdict {
    if is_excluded(instruction) {
        return Verdict::No;
    }
    if is_plain_integer(instruction) {
        return Verdict::Yes(Unit::Integer);
    }
    let mut extensions = instruction.cpuid_features().iter().filter(|&&feature| !is_base(feature)).peekable();
    if extensions.peek().is_none() {
        return Verdict::No;
    }
    let mut all_there = true;
    for &feature in extensions {
        match host_has(feature) {
            Some(there) => all_there &= there,
            None => return Verdict::No,
        }
    }
    if all_there { Verdict::Yes(unit(instruction)) } else { Verdict::Missing }
}

/// True if `instruction` belongs to a known feature that the host's CPU lacks.
pub fn is_missing(instruction: &Instruction) -> bool {
    instruction.cpuid_features().iter().any(|&feature| host_has(feature) == Some(false))
}

/// Names for operand sizes; what belongs to nothing else is in the list of integer instructions or not allowed.
fn is_base(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    matches!(feature, F::INTEL386 | F::INTEL486 | F::X64)
}

fn unit(instruction: &Instruction) -> Unit {
    use CpuidFeature as F;
    let features = instruction.cpuid_features();
    let operand = |class: fn(Register) -> bool| {
        (0..instruction.op_count())
            .any(|n| instruction.op_kind(n) == iced_x86::OpKind::Register && class(instruction.op_register(n)))
    };
    let x87 = |&feature: &F| matches!(feature, F::FPU | F::FPU287 | F::FPU387);
    if instruction.encoding() != EncodingKind::Legacy {
        return if features.iter().all(|&f| matches!(f, F::BMI1 | F::BMI2 | F::TBM) || is_base(f)) {
            Unit::VexInteger
        } else if instruction.encoding() == EncodingKind::EVEX || operand(Register::is_k) {
            Unit::Avx512
        } else {
            Unit::Avx
        };
    }
    let mmx = operand(Register::is_mm);
    if features.iter().any(x87) {
        Unit::X87 { waits: !is_no_wait(instruction.mnemonic()) }
    } else if operand(Register::is_xmm) || is_conversion(instruction.mnemonic()) {
        Unit::Sse { mmx }
    } else if mmx || matches!(instruction.mnemonic(), Mnemonic::Emms | Mnemonic::Femms) {
        Unit::Mmx
    } else {
        Unit::Integer
    }
}

/// SSE conversions that may do without an XMM register, their other operand being memory.
fn is_conversion(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Cvtss2si
            | M::Cvttss2si
            | M::Cvtsd2si
            | M::Cvttsd2si
            | M::Cvtps2pi
            | M::Cvttps2pi
            | M::Cvtpd2pi
            | M::Cvttpd2pi
    )
}

/// x87 control instructions that ignore pending exceptions.
fn is_no_wait(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Fninit
            | M::Fnclex
            | M::Fnstcw
            | M::Fnstsw
            | M::Fnstenv
            | M::Fnsave
            | M::Fneni
            | M::Fndisi
            | M::Fnsetpm
            | M::Frstpm
    )
}

/// Instructions of the features below that have effects beyond registers and one explicit operand.
fn is_excluded(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    instruction.is_vsib()
        || instruction.is_string_instruction()
        || instruction.is_stack_instruction()
        || instruction.is_privileged()
        || instruction.op_register(0).is_segment_register()
        || matches!(
            instruction.mnemonic(),
            M::Ldmxcsr | M::Stmxcsr | M::Vldmxcsr | M::Vstmxcsr | M::Maskmovq | M::Maskmovdqu | M::Vmaskmovdqu
        )
        || matches!(
            instruction.code(),
            Code::Mov_AL_moffs8
                | Code::Mov_AX_moffs16
                | Code::Mov_EAX_moffs32
                | Code::Mov_RAX_moffs64
                | Code::Mov_moffs8_AL
                | Code::Mov_moffs16_AX
                | Code::Mov_moffs32_EAX
                | Code::Mov_moffs64_RAX
        )
}

/// The integer instructions of the base architecture that a guest is likely to aim at a device in a way that KVM
/// refuses, or to begin an exception handler with.
fn is_plain_integer(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        instruction.mnemonic(),
        M::Adc
            | M::Add
            | M::And
            | M::Bsf
            | M::Bsr
            | M::Bswap
            | M::Bt
            | M::Btc
            | M::Btr
            | M::Bts
            | M::Cbw
            | M::Cdq
            | M::Cdqe
            | M::Clc
            | M::Cmc
            | M::Cmp
            | M::Cmpxchg
            | M::Cmpxchg8b
            | M::Cmpxchg16b
            | M::Cqo
            | M::Cwd
            | M::Cwde
            | M::Dec
            | M::Imul
            | M::Inc
            | M::Lahf
            | M::Mov
            | M::Movsx
            | M::Movsxd
            | M::Movzx
            | M::Mul
            | M::Neg
            | M::Not
            | M::Or
            | M::Rcl
            | M::Rcr
            | M::Rol
            | M::Ror
            | M::Sahf
            | M::Sar
            | M::Sbb
            | M::Shl
            | M::Shld
            | M::Shr
            | M::Shrd
            | M::Stc
            | M::Sub
            | M::Test
            | M::Xadd
            | M::Xchg
            | M::Xor
    ) && !touches_bit_string(instruction)
        && !touches_system_register(instruction)
}

/// BT and its kin with a register bit offset reach beyond their memory operand.
fn touches_bit_string(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(instruction.mnemonic(), M::Bt | M::Btc | M::Btr | M::Bts)
        && instruction.op0_kind() == iced_x86::OpKind::Memory
        && instruction.op1_kind() == iced_x86::OpKind::Register
}

/// MOV to and from segment, control, debug and test registers.
fn touches_system_register(instruction: &Instruction) -> bool {
    [instruction.op0_register(), instruction.op1_register()]
        .into_iter()
        .any(|register| register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr())
}

/// Whether the host has a feature; `None` for features whose instructions do not run this way.
fn host_has(feature: CpuidFeature) -> Option<bool> {
    use CpuidFeature as F;
    Some(match feature {
        // Part of every x86-64 CPU.
        F::FPU | F::FPU287 | F::FPU387 | F::CMOV | F::MMX | F::SSE | F::SSE2 => true,
        F::SSE3 => detected!("sse3"),
        F::SSSE3 => detected!("ssse3"),
        F::SSE4_1 => detected!("sse4.1"),
        F::SSE4_2 => detected!("sse4.2"),
        F::SSE4A => detected!("sse4a"),
        F::POPCNT => detected!("popcnt"),
        F::LZCNT => detected!("lzcnt"),
        F::BMI1 => detected!("bmi1"),
        F::BMI2 => detected!("bmi2"),
        F::TBM => detected!("tbm"),
        F::ADX => detected!("adx"),
        F::MOVBE => detected!("movbe"),
        F::RDRAND => detected!("rdrand"),
        F::RDSEED => detected!("rdseed"),
        F::AES => detected!("aes"),
        F::PCLMULQDQ => detected!("pclmulqdq"),
        F::SHA => detected!("sha"),
        F::GFNI => detected!("gfni"),
        F::VAES => detected!("vaes"),
        F::VPCLMULQDQ => detected!("vpclmulqdq"),
        F::AVX => detected!("avx"),
        F::AVX2 => detected!("avx2"),
        F::F16C => detected!("f16c"),
        F::FMA => detected!("fma"),
        F::AVX_VNNI => detected!("avxvnni"),
        F::AVX_IFMA => detected!("avxifma"),
        F::AVX_NE_CONVERT => detected!("avxneconvert"),
        F::AVX_VNNI_INT8 => detected!("avxvnniint8"),
        F::AVX_VNNI_INT16 => detected!("avxvnniint16"),
        F::SHA512 => detected!("sha512"),
        F::SM3 => detected!("sm3"),
        F::SM4 => detected!("sm4"),
        F::AVX512F => detected!("avx512f"),
        F::AVX512VL => detected!("avx512vl"),
        F::AVX512BW => detected!("avx512bw"),
        F::AVX512DQ => detected!("avx512dq"),
        F::AVX512CD => detected!("avx512cd"),
        F::AVX512_IFMA => detected!("avx512ifma"),
        F::AVX512_VBMI => detected!("avx512vbmi"),
        F::AVX512_VBMI2 => detected!("avx512vbmi2"),
        F::AVX512_VNNI => detected!("avx512vnni"),
        F::AVX512_BITALG => detected!("avx512bitalg"),
        F::AVX512_VPOPCNTDQ => detected!("avx512vpopcntdq"),
        F::AVX512_BF16 => detected!("avx512bf16"),
        F::AVX512_FP16 => detected!("avx512fp16"),
        F::AVX512_VP2INTERSECT => detected!("avx512vp2intersect"),
        _ => return None,
    })
}
