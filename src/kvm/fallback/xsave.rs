//! The XSAVE family and FXSAVE/FXRSTOR (Intel SDM vol. 1, chapter 13): standard and compacted formats, all 32- and
//! 64-bit forms.
//!
//! The state comes from and goes to KVM, whose image has every component at its place in the standard format. XSAVEOPT
//! leaves out components in their initial state, not those unmodified since the last XRSTOR. Supervisor components
//! (IA32_XSS not zero) are not done: KVM does not show them to user space.

use iced_x86::{Code, Instruction, Mnemonic};

use super::context::{Context, Flow, state};
use super::cpu::cr4;
use super::dispatch::Handler;
use super::host;
use super::memory::Address;
use super::paging::Access;
use super::stop::{Fault, Stop, Unable};
use super::xstate::{LEGACY, LEGACY_AND_HEADER, MXCSR_DEFAULT, X87_CONTROL, X87_REGISTERS, XMM, XsaveArea, component};

const IA32_XSS: u32 = 0xda0;
/// XCOMP_BV: the image is compacted.
const COMPACTED: u64 = 1 << 63;
const HEADER: usize = LEGACY_AND_HEADER - LEGACY;
/// MXCSR and MXCSR_MASK in the legacy region.
const MXCSR: std::ops::Range<usize> = 24..32;
/// FIP and FDP: 64 bits wide, or 32 bits and a selector.
const POINTERS: std::ops::Range<usize> = 8..24;

/// The handler for an instruction that saves or restores the extended state.
pub fn handler(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Xsave | M::Xsave64 => |context, instruction| save(context, instruction, Form::Standard),
        M::Xsaveopt | M::Xsaveopt64 => |context, instruction| save(context, instruction, Form::Optimised),
        M::Xsavec | M::Xsavec64 => |context, instruction| save(context, instruction, Form::Compacted),
        M::Xsaves | M::Xsaves64 => |context, instruction| {
            check_supervisor_form(context)?;
            save(context, instruction, Form::Compacted)
        },
        M::Xrstor | M::Xrstor64 => |context, instruction| restore(context, instruction, false),
        M::Xrstors | M::Xrstors64 => |context, instruction| {
            check_supervisor_form(context)?;
            restore(context, instruction, true)
        },
        M::Fxsave | M::Fxsave64 => fxsave,
        M::Fxrstor | M::Fxrstor64 => fxrstor,
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// XSAVE.
    Standard,
    /// XSAVEOPT.
    Optimised,
    /// XSAVEC, XSAVES.
    Compacted,
}

fn check_supervisor_form(context: &mut Context) -> Result<(), Stop> {
    context.require_xsave()?;
    context.require_cpl0()?;
    let xss = context.vcpu.msr(IA32_XSS).map_err(|error| state("MSRs", "read", error))?;
    if xss.unwrap_or(0) != 0 {
        return Err(Unable::Form("supervisor state components (IA32_XSS is not zero)").into());
    }
    Ok(())
}

/// Checks common to the family; the operand's address and the requested-feature bitmap.
fn prepare(context: &mut Context, instruction: &Instruction, access: Access) -> Result<(Address, u64), Stop> {
    context.require_xsave()?;
    context.require_task_fpu()?;
    let address = context.address(instruction);
    if !context.linear(address, LEGACY_AND_HEADER, access)?.is_multiple_of(64) {
        return Err(Fault::protection(0).into());
    }
    let regs = &context.cpu.regs;
    let asked = regs.rdx << 32 | regs.rax & 0xffff_ffff;
    Ok((address, asked & context.xcr0()?))
}

/// Bytes of component `number` that the current mode can see: eight registers of each kind outside 64-bit mode.
fn visible(context: &Context, number: usize) -> usize {
    let size = match number {
        1 => 256,
        _ => host::component(number).size,
    };
    if context.cpu.bitness() == 64 {
        return size;
    }
    match number {
        1 | 2 | 6 => size / 2,
        7 => 0,
        _ => size,
    }
}

fn has_64bit_pointers(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Xsave64_mem
            | Code::Xsaveopt64_mem
            | Code::Xsavec64_mem
            | Code::Xsaves64_mem
            | Code::Xrstor64_mem
            | Code::Xrstors64_mem
            | Code::Fxsave64_m512byte
            | Code::Fxrstor64_m512byte
    )
}

fn bits(bitmap: u64) -> impl Iterator<Item = usize> {
    (0..63).filter(move |number| bitmap >> number & 1 != 0)
}

/// Where each extended component of `image_components` lies in a compacted image.
fn compacted_offsets(image_components: u64) -> impl Iterator<Item = (usize, usize)> {
    let mut next = LEGACY_AND_HEADER;
    bits(image_components).filter(|&number| number >= host::FIRST_EXTENDED).map(move |number| {
        let component = host::component(number);
        let offset = if component.aligned { next.next_multiple_of(64) } else { next };
        next = offset + component.size;
        (number, offset)
    })
}

fn standard_offsets(components: u64) -> impl Iterator<Item = (usize, usize)> {
    bits(components)
        .filter(|&number| number >= host::FIRST_EXTENDED)
        .map(|number| (number, host::component(number).offset))
}

/// x87 control and registers as they go to memory.
fn x87_image(area: &XsaveArea, wide: bool) -> [u8; 24] {
    let mut control: [u8; 24] = area.bytes[X87_CONTROL].try_into().expect("24 bytes");
    if !wide {
        // Offsets of 32 bits; the selectors beside them read as zero on CPUs of today.
        for half in control[POINTERS].chunks_exact_mut(8) {
            half[4..].fill(0);
        }
    }
    control
}

fn save(context: &mut Context, instruction: &Instruction, form: Form) -> Result<Flow, Stop> {
    let (address, requested) = prepare(context, instruction, Access::Write)?;
    let area = context.fpu()?.clone();
    let mut in_use = area.in_use();
    if form == Form::Compacted && area.mxcsr() != MXCSR_DEFAULT {
        in_use |= component::SSE;
    }
    let written = if form == Form::Standard { requested } else { requested & in_use };

    // What goes where; all of it is found writable before the first byte is written.
    let mut pieces: Vec<(usize, Vec<u8>)> = Vec::new();
    if written & component::X87 != 0 {
        pieces.push((0, x87_image(&area, has_64bit_pointers(instruction)).to_vec()));
        pieces.push((X87_REGISTERS.start, area.bytes[X87_REGISTERS].to_vec()));
    }
    let saves_mxcsr = match form {
        Form::Compacted => written & component::SSE != 0,
        Form::Standard | Form::Optimised => requested & (component::SSE | component::AVX) != 0,
    };
    if saves_mxcsr {
        pieces.push((MXCSR.start, area.bytes[MXCSR].to_vec()));
    }
    if written & component::SSE != 0 {
        let len = visible(context, 1);
        pieces.push((XMM, area.bytes[XMM..XMM + len].to_vec()));
    }
    let mut header = [0; 16];
    let header_len = if form == Form::Compacted {
        header[..8].copy_from_slice(&(requested & in_use).to_le_bytes());
        header[8..].copy_from_slice(&(requested | COMPACTED).to_le_bytes());
        16
    } else {
        let old = context.read_uint(address.plus(LEGACY as u64), 8)?;
        header[..8].copy_from_slice(&(old & !requested | in_use & requested).to_le_bytes());
        8
    };
    pieces.push((LEGACY, header[..header_len].to_vec()));
    let place = |(number, offset): (usize, usize)| {
        if written >> number & 1 == 0 {
            return None;
        }
        let from = host::component(number).offset;
        let bytes = area.bytes.get(from..from + visible(context, number))?;
        Some((offset, bytes.to_vec()))
    };
    if form == Form::Compacted {
        pieces.extend(compacted_offsets(requested).filter_map(place));
    } else {
        pieces.extend(standard_offsets(requested).filter_map(place));
    }

    for (offset, bytes) in pieces.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let linear = context.linear(address.plus(*offset as u64), bytes.len(), Access::Write)?;
        context.probe(linear, bytes.len(), Access::Write)?;
    }
    for (offset, bytes) in pieces.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        context.write(address.plus(*offset as u64), bytes)?;
    }
    Ok(Flow::Next)
}

/// The header of an image in memory, checked.
struct Header {
    in_use: u64,
    components: Option<u64>,
}

fn read_header(context: &mut Context, address: Address, must_be_compacted: bool) -> Result<Header, Stop> {
    let mut bytes = [0; HEADER];
    context.read(address.plus(LEGACY as u64), &mut bytes)?;
    let word = |n: usize| u64::from_le_bytes(*bytes[8 * n..].first_chunk().expect("eight words"));
    let (in_use, layout) = (word(0), word(1));
    let xcr0 = context.xcr0()?;
    let compacted = layout & COMPACTED != 0;
    let valid = if compacted {
        let components = layout & !COMPACTED;
        components & !xcr0 == 0 && in_use & !components == 0 && (2..8).all(|n| word(n) == 0)
    } else {
        !must_be_compacted && in_use & !xcr0 == 0 && layout == 0 && word(2) == 0
    };
    if !valid {
        return Err(Fault::protection(0).into());
    }
    Ok(Header { in_use, components: compacted.then_some(layout & !COMPACTED) })
}

fn restore(context: &mut Context, instruction: &Instruction, must_be_compacted: bool) -> Result<Flow, Stop> {
    let (address, requested) = prepare(context, instruction, Access::Read)?;
    let header = read_header(context, address, must_be_compacted)?;
    let loaded = requested & header.in_use;
    let mut area = context.fpu()?.clone();

    if requested & component::X87 != 0 {
        if loaded & component::X87 != 0 {
            load_x87(context, address, &mut area, has_64bit_pointers(instruction))?;
        } else {
            let initial = XsaveArea::default();
            area.bytes[X87_CONTROL].copy_from_slice(&initial.bytes[X87_CONTROL]);
            area.bytes[X87_REGISTERS].fill(0);
        }
    }
    let mxcsr = match header.components {
        None if requested & (component::SSE | component::AVX) != 0 => Some(load_mxcsr(context, address)?),
        Some(_) if loaded & component::SSE != 0 => Some(load_mxcsr(context, address)?),
        Some(_) if requested & component::SSE != 0 => Some(MXCSR_DEFAULT),
        _ => None,
    };
    if requested & component::SSE != 0 {
        let len = visible(context, 1);
        let registers = &mut area.bytes[XMM..XMM + len];
        if loaded & component::SSE != 0 {
            context.read(address.plus(XMM as u64), registers)?;
        } else {
            registers.fill(0);
        }
    }
    let offsets: Vec<(usize, usize)> = match header.components {
        Some(components) => compacted_offsets(components).collect(),
        None => standard_offsets(requested).collect(),
    };
    for number in bits(requested).filter(|&number| number >= host::FIRST_EXTENDED) {
        let to = host::component(number).offset;
        let len = visible(context, number);
        let Some(bytes) = area.bytes.get_mut(to..to + len) else {
            return Err(Unable::Form("state components beyond 4096 bytes").into());
        };
        if len == 0 {
            continue;
        }
        if loaded >> number & 1 == 0 {
            bytes.fill(0);
        } else if let Some(&(_, from)) = offsets.iter().find(|&&(of, _)| of == number) {
            context.read(address.plus(from as u64), bytes)?;
        }
    }

    // Outside 64-bit mode the upper registers keep their values, so their components stay in use.
    let kept = if context.cpu.bitness() == 64 { 0 } else { area.in_use() & component::UPPER_REGISTERS };
    area.set_in_use(area.in_use() & !requested | loaded | kept);
    if let Some(mxcsr) = mxcsr {
        area.set_mxcsr(mxcsr);
    }
    *context.fpu_mut()? = area;
    Ok(Flow::Next)
}

fn load_x87(context: &mut Context, address: Address, area: &mut XsaveArea, wide: bool) -> Result<(), Stop> {
    context.read(address, &mut area.bytes[X87_CONTROL])?;
    if !wide {
        for half in area.bytes[POINTERS].chunks_exact_mut(8) {
            half[4..].fill(0);
        }
    }
    context.read(address.plus(X87_REGISTERS.start as u64), &mut area.bytes[X87_REGISTERS])
}

fn load_mxcsr(context: &mut Context, address: Address) -> Result<u32, Stop> {
    let value = context.read_uint(address.plus(MXCSR.start as u64), 4)? as u32;
    if value & !super::x87::MXCSR_WRITABLE != 0 {
        return Err(Fault::protection(0).into());
    }
    Ok(value)
}

/// FXSAVE and FXRSTOR: their checks, and the operand's address.
fn prepare_fx(context: &mut Context, instruction: &Instruction, access: Access) -> Result<Address, Stop> {
    context.require_x87()?;
    let address = context.address(instruction);
    if !context.linear(address, LEGACY, access)?.is_multiple_of(16) {
        return Err(Fault::protection(0).into());
    }
    Ok(address)
}

/// Bytes of the legacy region up to the last register that the mode and CR4.OSFXSR let FXSAVE see.
fn fx_len(context: &Context) -> usize {
    let registers = if context.cpu.sregs.cr4 & cr4::OSFXSR != 0 { visible(context, 1) } else { 0 };
    XMM + registers
}

fn fxsave(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let address = prepare_fx(context, instruction, Access::Write)?;
    let len = fx_len(context);
    let area = context.fpu()?;
    let mut image = area.bytes[..len].to_vec();
    image[X87_CONTROL].copy_from_slice(&x87_image(area, has_64bit_pointers(instruction)));
    context.write(address, &image)?;
    Ok(Flow::Next)
}

fn fxrstor(context: &mut Context, instruction: &Instruction) -> Result<Flow, Stop> {
    let address = prepare_fx(context, instruction, Access::Read)?;
    let mut area = context.fpu()?.clone();
    load_x87(context, address, &mut area, has_64bit_pointers(instruction))?;
    let mut in_use = component::X87;
    if context.cpu.sregs.cr4 & cr4::OSFXSR != 0 {
        let len = visible(context, 1);
        let mxcsr = load_mxcsr(context, address)?;
        context.read(address.plus(XMM as u64), &mut area.bytes[XMM..XMM + len])?;
        in_use |= component::SSE;
        area.set_mxcsr(mxcsr);
    }
    area.set_in_use(area.in_use() | in_use);
    *context.fpu_mut()? = area;
    Ok(Flow::Next)
}
