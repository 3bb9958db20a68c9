//! Vector instructions whose memory operands are many, or named by no operand: gathers, scatters, MASKMOVDQU, MASKMOVQ.
//!
//! Element for element, as the data sheets have it: a fault leaves the elements before it done and their mask bits clear.

use iced_x86::{EncodingKind, Instruction, Mnemonic, Register};

use super::context::{Context, Flow};
use super::cpu::width_mask;
use super::dispatch::Handler;
use super::memory::Address;
use super::native::{self, check_pending_x87};
use super::stop::{Fault, Stop};
use super::xstate::component;

/// The handler for such an instruction.
pub fn handler(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Vgatherdps
        | M::Vgatherdpd
        | M::Vgatherqps
        | M::Vgatherqpd
        | M::Vpgatherdd
        | M::Vpgatherdq
        | M::Vpgatherqd
        | M::Vpgatherqq => gather,
        M::Vscatterdps
        | M::Vscatterdpd
        | M::Vscatterqps
        | M::Vscatterqpd
        | M::Vpscatterdd
        | M::Vpscatterdq
        | M::Vpscatterqd
        | M::Vpscatterqq => scatter,
        M::Maskmovdqu => maskmovdqu,
        M::Vmaskmovdqu => vmaskmovdqu,
        M::Maskmovq => maskmovq,
        _ => return None,
    })
}

/// The elements of a gather or scatter.
struct Elements {
    /// Bytes of an element.
    size: usize,
    count: usize,
    indices: [u64; 16],
    /// The address without the index.
    base: u64,
    scale: u64,
    segment: Register,
    address_mask: u64,
}

impl Elements {
    /// The elements between memory and `vector`.
    fn of(context: &mut Context, instruction: &Instruction, vector: Register) -> Result<Self, Stop> {
        let size = instruction.memory_size().size();
        let index = instruction.memory_index();
        let index_size = if instruction.is_vsib64() { 8 } else { 4 };
        let count = (vector.size() / size).min(index.size() / index_size);
        let lanes = context.fpu()?.vector(index.number());
        let mut indices = [0; 16];
        for (n, value) in indices.iter_mut().enumerate().take(count) {
            *value = if index_size == 8 {
                u64::from_le_bytes(lane(&lanes, n))
            } else {
                i64::from(i32::from_le_bytes(lane(&lanes, n))) as u64
            };
        }
        let base = instruction.memory_base();
        let narrow = base.size() == 4 || instruction.memory_displ_size() == 4 && base == Register::None;
        Ok(Self {
            size,
            count,
            indices,
            base: context.cpu.get(base).unwrap_or(0).wrapping_add(instruction.memory_displacement64()),
            scale: instruction.memory_index_scale().into(),
            segment: instruction.memory_segment(),
            address_mask: width_mask(if narrow || context.cpu.bitness() != 64 { 32 } else { 64 }),
        })
    }

    fn address(&self, n: usize) -> Address {
        let offset = self.base.wrapping_add(self.indices[n].wrapping_mul(self.scale));
        Address { segment: self.segment, offset: offset & self.address_mask }
    }
}

/// Element `n` of `N` bytes.
fn lane<const N: usize>(vector: &[u8; 64], n: usize) -> [u8; N] {
    vector.as_chunks::<N>().0[n]
}

fn check(context: &mut Context, instruction: &Instruction) -> Result<(), Stop> {
    if native::is_missing(instruction) {
        return Err(Fault::INVALID_OPCODE.into());
    }
    context.require_avx(if instruction.encoding() == EncodingKind::EVEX { component::AVX512 } else { 0 })
}

fn gather(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    check(context, instruction)?;
    let destination = instruction.op0_register();
    let elements = Elements::of(context, instruction, destination)?;
    let mask = Mask::of(instruction);
    // The destination must be neither index nor mask; the decoder sees to it.
    for n in 0..elements.count {
        if !mask.test(context, n, elements.size)? {
            continue;
        }
        let mut element = [0; 8];
        context.read(elements.address(n), &mut element[..elements.size])?;
        let fpu = context.fpu_mut()?;
        let mut vector = fpu.vector(destination.number());
        vector[n * elements.size..][..elements.size].copy_from_slice(&element[..elements.size]);
        fpu.set_vector(destination.number(), &vector);
        mask.clear(context, n, elements.size)?;
    }
    let fpu = context.fpu_mut()?;
    let mut vector = fpu.vector(destination.number());
    vector[elements.count * elements.size..].fill(0);
    fpu.set_vector(destination.number(), &vector);
    mask.clear_all(context)?;
    Ok(Flow::Next)
}

fn scatter(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    check(context, instruction)?;
    let source = instruction.op1_register();
    let elements = Elements::of(context, instruction, source)?;
    let mask = Mask::of(instruction);
    let vector = context.fpu()?.vector(source.number());
    for n in 0..elements.count {
        if mask.test(context, n, elements.size)? {
            context.write(elements.address(n), &vector[n * elements.size..][..elements.size])?;
            mask.clear(context, n, elements.size)?;
        }
    }
    mask.clear_all(context)?;
    Ok(Flow::Next)
}

/// The mask that says which elements are left to do.
enum Mask {
    Opmask(usize),
    /// Top bits of the elements of a vector register.
    Vector(usize),
}

impl Mask {
    fn of(instruction: &Instruction) -> Self {
        if instruction.encoding() == EncodingKind::EVEX {
            Self::Opmask(instruction.op_mask().number())
        } else {
            Self::Vector(instruction.op2_register().number())
        }
    }

    fn test(&self, context: &mut Context, n: usize, size: usize) -> Result<bool, Stop> {
        let fpu = context.fpu()?;
        Ok(match *self {
            Self::Opmask(register) => fpu.opmask(register) >> n & 1 != 0,
            Self::Vector(register) => fpu.vector(register)[(n + 1) * size - 1] & 0x80 != 0,
        })
    }

    fn clear(&self, context: &mut Context, n: usize, size: usize) -> Result<(), Stop> {
        let fpu = context.fpu_mut()?;
        match *self {
            Self::Opmask(register) => fpu.set_opmask(register, fpu.opmask(register) & !(1 << n)),
            Self::Vector(register) => {
                let mut vector = fpu.vector(register);
                vector[n * size..][..size].fill(0);
                fpu.set_vector(register, &vector);
            }
        }
        Ok(())
    }

    fn clear_all(&self, context: &mut Context) -> Result<(), Stop> {
        let fpu = context.fpu_mut()?;
        match *self {
            Self::Opmask(register) => fpu.set_opmask(register, 0),
            Self::Vector(register) => fpu.set_vector(register, &[0; 64]),
        }
        Ok(())
    }
}

fn maskmovdqu(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_sse()?;
    store_masked_bytes(context, instruction)
}

fn vmaskmovdqu(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_avx(0)?;
    store_masked_bytes(context, instruction)
}

fn store_masked_bytes(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let fpu = context.fpu()?;
    let data = fpu.vector(instruction.op1_register().number());
    let mask = fpu.vector(instruction.op2_register().number());
    write_masked(context, instruction, &data[..16], &mask)?;
    Ok(Flow::Next)
}

fn maskmovq(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    context.require_mmx()?;
    check_pending_x87(context)?;
    let fpu = context.fpu()?;
    let data = fpu.mmx(instruction.op1_register().number());
    let mut mask = [0; 64];
    mask[..8].copy_from_slice(&fpu.mmx(instruction.op2_register().number()));
    write_masked(context, instruction, &data, &mask)?;
    context.fpu_mut()?.enter_mmx();
    Ok(Flow::Next)
}

/// Writes the bytes whose mask byte has its top bit set to DS:rDI.
fn write_masked(context: &mut Context, instruction: &Instruction, data: &[u8], mask: &[u8; 64]) -> Result<(), Stop> {
    let pointer = match instruction.op0_kind() {
        iced_x86::OpKind::MemorySegDI => Register::DI,
        iced_x86::OpKind::MemorySegEDI => Register::EDI,
        _ => Register::RDI,
    };
    let offset = context.cpu.get(pointer).unwrap_or(0);
    let address = Address { segment: instruction.memory_segment(), offset };
    let active = (0..data.len()).filter(|&n| mask[n] & 0x80 != 0).fold(0, |bytes, n| bytes | 1 << n);
    context.probe_lanes(address, data.len(), active, super::paging::Access::Write)?;
    context.write_lanes(address, data, active)
}
