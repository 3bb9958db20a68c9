//! Vector operands of which only some elements are accessed, and which ones must be aligned.

use iced_x86::{Code, EncodingKind, Instruction, Mnemonic, OpKind, Register};

use crate::kvm::fallback::context::Context;
use crate::kvm::fallback::memory::Address;
use crate::kvm::fallback::paging::{Access, Privilege};
use crate::kvm::fallback::stop::Stop;

/// One bit per byte of a memory operand (of at most 64 bytes, or all of it): is it accessed?
pub type ActiveBytes = u64;

/// Every byte is accessed.
pub const ALL: ActiveBytes = u64::MAX;

/// Which elements of the memory operand an instruction accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    /// All.
    None,
    /// Those whose bit in an opmask register is set.
    Opmask {
        /// Number of the k register.
        register: usize,
        /// Bytes per element.
        element: usize,
    },
    /// As many, from the first, as an opmask register has bits set.
    Packed {
        /// Number of the k register.
        register: usize,
        /// Bytes per element.
        element: usize,
        /// Elements in the vector.
        count: usize,
    },
    /// The only element, if any of the lowest `count` bits of an opmask register is set: scalars, broadcasts.
    Any {
        /// Number of the k register.
        register: usize,
        /// Bits that count.
        count: usize,
    },
    /// Those whose counterpart in a vector register has its top bit set.
    Signs {
        /// Number of the vector register.
        register: usize,
        /// Bytes per element.
        element: usize,
    },
}

impl Masking {
    /// How `instruction` masks its memory operand.
    pub fn of(instruction: &Instruction) -> Self {
        use Mnemonic as M;
        let element = instruction.memory_size().element_size();
        match instruction.mnemonic() {
            M::Vmaskmovps | M::Vmaskmovpd | M::Vpmaskmovd | M::Vpmaskmovq => {
                return Self::Signs { register: instruction.op1_register().number(), element };
            }
            _ => {}
        }
        if instruction.op_mask() == Register::None {
            return Self::None;
        }
        let register = instruction.op_mask().number();
        let count = instruction.memory_size().element_count();
        match instruction.mnemonic() {
            M::Vpcompressb
            | M::Vpcompressw
            | M::Vpcompressd
            | M::Vpcompressq
            | M::Vcompressps
            | M::Vcompresspd
            | M::Vpexpandb
            | M::Vpexpandw
            | M::Vpexpandd
            | M::Vpexpandq
            | M::Vexpandps
            | M::Vexpandpd => Self::Packed { register, element, count },
            M::Vmovss | M::Vmovsd | M::Vmovsh => Self::Any { register, count: 1 },
            _ if instruction.op0_kind() == OpKind::Memory || is_load(instruction.mnemonic()) => {
                Self::Opmask { register, element }
            }
            _ => Self::None,
        }
    }

    /// The bytes that are accessed of an operand of `size` bytes.
    pub fn active(self, context: &mut Context, size: usize) -> Result<ActiveBytes, Stop> {
        Ok(match self {
            Self::None => ALL,
            Self::Opmask { register, element } => {
                let mask = context.fpu()?.opmask(register);
                spread(|n| mask >> n & 1 != 0, size / element, element)
            }
            Self::Packed { register, element, count } => {
                let mask = context.fpu()?.opmask(register) & low_bits(count);
                low_bits(mask.count_ones() as usize * element)
            }
            Self::Any { register, count } => {
                if context.fpu()?.opmask(register) & low_bits(count) != 0 {
                    ALL
                } else {
                    0
                }
            }
            Self::Signs { register, element } => {
                let vector = context.fpu()?.vector(register);
                spread(|n| vector[n * element + element - 1] & 0x80 != 0, size / element, element)
            }
        })
    }
}

fn low_bits(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

fn spread(active: impl Fn(usize) -> bool, count: usize, element: usize) -> ActiveBytes {
    (0..count).filter(|&n| active(n)).fold(0, |bytes, n| bytes | low_bits(element) << (n * element))
}

/// EVEX loads, whose memory elements correspond to their mask bits one by one (as those of all masked stores do).
fn is_load(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Vmovdqu8
            | M::Vmovdqu16
            | M::Vmovdqu32
            | M::Vmovdqu64
            | M::Vmovdqa32
            | M::Vmovdqa64
            | M::Vmovups
            | M::Vmovupd
            | M::Vmovaps
            | M::Vmovapd
    )
}

/// True if a memory operand that is not aligned to its size raises #GP(0) (Intel SDM vol. 2, section 2.4, exception
/// types 1, 2 and 4 in legacy encodings, type 1 in VEX and EVEX).
pub fn must_be_aligned(instruction: &Instruction, size: usize) -> bool {
    use Mnemonic as M;
    if instruction.mnemonic() == M::Cmpxchg16b {
        return true;
    }
    if size < 16 {
        return false;
    }
    if instruction.encoding() != EncodingKind::Legacy {
        return matches!(
            instruction.mnemonic(),
            M::Vmovaps
                | M::Vmovapd
                | M::Vmovdqa
                | M::Vmovdqa32
                | M::Vmovdqa64
                | M::Vmovntps
                | M::Vmovntpd
                | M::Vmovntdq
                | M::Vmovntdqa
        );
    }
    !is_x87_image(instruction.code())
        && !matches!(
            instruction.mnemonic(),
            M::Movups
                | M::Movupd
                | M::Movdqu
                | M::Lddqu
                | M::Pcmpestri
                | M::Pcmpestrm
                | M::Pcmpestri64
                | M::Pcmpestrm64
                | M::Pcmpistri
                | M::Pcmpistrm
        )
}

/// The x87 environments and states, the only other operands of 16 bytes and more.
pub fn is_x87_image(code: Code) -> bool {
    matches!(
        code,
        Code::Fldenv_m14byte
            | Code::Fldenv_m28byte
            | Code::Fnstenv_m14byte
            | Code::Fnstenv_m28byte
            | Code::Fnsave_m94byte
            | Code::Fnsave_m108byte
            | Code::Frstor_m94byte
            | Code::Frstor_m108byte
    )
}

impl Context<'_> {
    /// Reads the active bytes of an operand into `data`; the others stay as they are. `access` is `Write` where the
    /// instruction goes on to write the operand.
    pub fn read_lanes(
        &mut self,
        address: Address,
        data: &mut [u8],
        active: ActiveBytes,
        access: Access,
    ) -> Result<(), Stop> {
        for run in runs(active, data.len()) {
            let linear = self.operand_linear(address.plus(run.start as u64), run.len(), access)?;
            if access == Access::Write {
                self.probe(linear, run.len(), access)?;
            }
            self.read_linear(linear, &mut data[run], Privilege::Current)?;
        }
        Ok(())
    }

    /// Checks that the active bytes of an operand may be accessed.
    pub fn probe_lanes(
        &mut self,
        address: Address,
        len: usize,
        active: ActiveBytes,
        access: Access,
    ) -> Result<(), Stop> {
        for run in runs(active, len) {
            let linear = self.operand_linear(address.plus(run.start as u64), run.len(), access)?;
            self.probe(linear, run.len(), access)?;
        }
        Ok(())
    }

    /// Writes the active bytes of an operand, which `probe_lanes` or `read_lanes` has found writable.
    pub fn write_lanes(&mut self, address: Address, data: &[u8], active: ActiveBytes) -> Result<(), Stop> {
        for run in runs(active, data.len()) {
            self.write(address.plus(run.start as u64), &data[run])?;
        }
        Ok(())
    }
}

/// The stretches of active bytes in an operand of `len` bytes.
fn runs(active: ActiveBytes, len: usize) -> Vec<std::ops::Range<usize>> {
    if active == ALL || len > 64 {
        return std::iter::once(0..len).collect();
    }
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for byte in (0..len).filter(|byte| active >> byte & 1 != 0) {
        match runs.last_mut() {
            Some(last) if last.end == byte => last.end += 1,
            _ => runs.push(byte..byte + 1),
        }
    }
    runs
}
