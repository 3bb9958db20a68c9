//! The XSAVE area as KVM keeps it for a vCPU: standard format, components at the host's offsets
//! (Intel SDM vol. 1, section 13.4).

use std::ops::Range;

use super::host;

/// Component bits of XCR0, XSTATE_BV and RFBM.
pub mod component {
    /// x87.
    pub const X87: u64 = 1 << 0;
    /// XMM0-15 and MXCSR.
    pub const SSE: u64 = 1 << 1;
    /// Upper halves of YMM0-15.
    pub const AVX: u64 = 1 << 2;
    /// Opmask registers, upper halves of ZMM0-15, ZMM16-31.
    pub const AVX512: u64 = 7 << 5;
    /// Protection-key rights.
    pub const PKRU: u64 = 1 << 9;
    /// Components with vector registers that only 64-bit mode can see.
    pub const UPPER_REGISTERS: u64 = SSE | AVX | AVX512 & !(1 << 5);
}

/// Bytes that KVM_GET_XSAVE delivers.
pub const SIZE: usize = 4096;

/// MXCSR after reset: all exceptions masked.
pub const MXCSR_DEFAULT: u32 = 0x1f80;

/// Size of the legacy region, where the header follows.
pub const LEGACY: usize = 512;
/// Size of the legacy region and the header.
pub const LEGACY_AND_HEADER: usize = 576;

/// Control, status, tag words and pointers.
pub const X87_CONTROL: Range<usize> = 0..24;
/// The eight x87 registers, 16 bytes each.
pub const X87_REGISTERS: Range<usize> = 32..160;
/// Start of the XMM registers, 16 bytes each.
pub const XMM: usize = 160;

const FCW: usize = 0;
const FSW: usize = 2;
const ABRIDGED_TAGS: usize = 4;
const FIP: usize = 8;
const FDP: usize = 16;
const MXCSR: usize = 24;
const XSTATE_BV: usize = LEGACY;
const PKRU_COMPONENT: usize = 9;
const YMM_COMPONENT: usize = 2;
const OPMASK_COMPONENT: usize = 5;
const ZMM_HIGH_COMPONENT: usize = 6;
const HIGH16_ZMM_COMPONENT: usize = 7;

/// A vCPU's floating-point and vector state.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct XsaveArea {
    /// The bytes, as XRSTOR reads them.
    pub bytes: [u8; SIZE],
}

impl Default for XsaveArea {
    /// The state after reset.
    fn default() -> Self {
        let mut area = Self { bytes: [0; SIZE] };
        area.put(FCW, 0x37fu16.to_le_bytes());
        area.set_mxcsr(MXCSR_DEFAULT);
        area
    }
}

impl XsaveArea {
    fn take<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self.bytes[offset..].first_chunk().expect("fields lie inside the area")
    }

    fn put<const N: usize>(&mut self, offset: usize, value: [u8; N]) {
        self.bytes[offset..offset + N].copy_from_slice(&value);
    }

    /// XSTATE_BV: which components are not in their initial state.
    pub fn in_use(&self) -> u64 {
        u64::from_le_bytes(self.take(XSTATE_BV))
    }

    /// Sets XSTATE_BV.
    pub fn set_in_use(&mut self, components: u64) {
        self.put(XSTATE_BV, components.to_le_bytes());
    }

    /// MXCSR.
    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.take(MXCSR))
    }

    /// Sets MXCSR, marking the SSE state as used if it now differs from its initial value.
    pub fn set_mxcsr(&mut self, value: u32) {
        self.put(MXCSR, value.to_le_bytes());
        if value != MXCSR_DEFAULT {
            self.set_in_use(self.in_use() | component::SSE);
        }
    }

    /// The x87 control word.
    pub fn fcw(&self) -> u16 {
        u16::from_le_bytes(self.take(FCW))
    }

    /// The x87 status word.
    pub fn fsw(&self) -> u16 {
        u16::from_le_bytes(self.take(FSW))
    }

    /// True if an unmasked x87 exception waits for the next waiting instruction.
    pub fn x87_exception_pending(&self) -> bool {
        self.fsw() & !self.fcw() & 0x3f != 0
    }

    /// TOP of the x87 status word: the register that is ST0, and the first in the image.
    fn top(&self) -> usize {
        usize::from(self.fsw() >> 11 & 7)
    }

    /// MMX register `number`, which is the x87 register of that number wherever the stack begins.
    pub fn mmx(&self, number: usize) -> [u8; 8] {
        let slot = (number + 8 - self.top()) % 8;
        self.take(X87_REGISTERS.start + 16 * slot)
    }

    /// What every MMX instruction but EMMS does to the x87 state: top of stack 0, all registers valid.
    pub fn enter_mmx(&mut self) {
        let top = self.top();
        self.bytes[X87_REGISTERS].rotate_right(16 * top);
        self.put(FSW, (self.fsw() & !(7 << 11)).to_le_bytes());
        self.bytes[ABRIDGED_TAGS] = 0xff;
        self.set_in_use(self.in_use() | component::X87);
    }

    /// Address of the last x87 instruction.
    pub fn fip(&self) -> u64 {
        u64::from_le_bytes(self.take(FIP))
    }

    /// Sets the address of the last x87 instruction.
    pub fn set_fip(&mut self, value: u64) {
        self.put(FIP, value.to_le_bytes());
    }

    /// Address of the last x87 memory operand.
    pub fn fdp(&self) -> u64 {
        u64::from_le_bytes(self.take(FDP))
    }

    /// Sets the address of the last x87 memory operand.
    pub fn set_fdp(&mut self, value: u64) {
        self.put(FDP, value.to_le_bytes());
    }

    /// The protection-key rights; all allowed if the CPU has no keys.
    pub fn pkru(&self) -> u32 {
        let component = host::component(PKRU_COMPONENT);
        if component.size == 0 || self.in_use() & component::PKRU == 0 {
            return 0;
        }
        u32::from_le_bytes(self.take(component.offset))
    }

    /// Sets the protection-key rights.
    pub fn set_pkru(&mut self, value: u32) {
        let component = host::component(PKRU_COMPONENT);
        if component.size != 0 {
            self.put(component.offset, value.to_le_bytes());
            self.set_in_use(self.in_use() | component::PKRU);
        }
    }

    /// Opmask register `k<number>`.
    pub fn opmask(&self, number: usize) -> u64 {
        let component = host::component(OPMASK_COMPONENT);
        if self.in_use() >> OPMASK_COMPONENT & 1 == 0 {
            return 0;
        }
        u64::from_le_bytes(self.take(component.offset + 8 * number))
    }

    /// Sets opmask register `k<number>`.
    pub fn set_opmask(&mut self, number: usize, value: u64) {
        self.wake(OPMASK_COMPONENT);
        let component = host::component(OPMASK_COMPONENT);
        self.put(component.offset + 8 * number, value.to_le_bytes());
    }

    /// Vector register `number` (0-31) as 64 bytes; parts that the CPU does not have read as zero.
    pub fn vector(&self, number: usize) -> [u8; 64] {
        let mut value = [0; 64];
        for (piece, part, offset) in pieces(number) {
            if self.in_use() >> piece & 1 != 0 {
                value[part.clone()].copy_from_slice(&self.bytes[offset..offset + part.len()]);
            }
        }
        value
    }

    /// Sets vector register `number` (0-31), upper parts included.
    pub fn set_vector(&mut self, number: usize, value: &[u8; 64]) {
        for (piece, part, offset) in pieces(number) {
            let value = &value[part];
            if self.in_use() >> piece & 1 != 0 || value.iter().any(|&byte| byte != 0) {
                self.wake(piece);
                self.bytes[offset..offset + value.len()].copy_from_slice(value);
            }
        }
    }

    /// Gives the components that are not in use their initial values in memory.
    pub fn fill_unused(&mut self) {
        let unused = !self.in_use();
        let initial = Self::default();
        if unused & component::X87 != 0 {
            self.bytes[X87_CONTROL].copy_from_slice(&initial.bytes[X87_CONTROL]);
            self.bytes[X87_REGISTERS].fill(0);
        }
        if unused & component::SSE != 0 {
            self.bytes[XMM..XMM + 256].fill(0);
        }
        for number in (host::FIRST_EXTENDED..63).filter(|number| unused >> number & 1 != 0) {
            let component = host::component(number);
            if let Some(bytes) = self.bytes.get_mut(component.offset..component.offset + component.size) {
                bytes.fill(0);
            }
        }
    }

    /// Takes a component out of its initial state, giving it the initial values in memory.
    fn wake(&mut self, number: usize) {
        if self.in_use() >> number & 1 != 0 {
            return;
        }
        self.set_in_use(self.in_use() | 1 << number);
        if number >= host::FIRST_EXTENDED {
            let component = host::component(number);
            self.bytes[component.offset..component.offset + component.size].fill(0);
        }
    }
}

/// Where the parts of a vector register live: component, bytes of the register, offset in the area.
fn pieces(number: usize) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
    let of = |piece: usize, part: Range<usize>, index: usize| {
        let component = host::component(piece);
        (component.size != 0).then_some((piece, part.clone(), component.offset + part.len() * index))
    };
    let parts = if number < 16 {
        [Some((1, 0..16, XMM + 16 * number)), of(YMM_COMPONENT, 16..32, number), of(ZMM_HIGH_COMPONENT, 32..64, number)]
    } else {
        [of(HIGH16_ZMM_COMPONENT, 0..64, number - 16), None, None]
    };
    parts.into_iter().flatten()
}
