//! What the host's CPU is, read once: address width, XSAVE layout, vendor.

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::LazyLock;

/// A component of the XSAVE area (CPUID leaf 0xD).
#[derive(Clone, Copy, Debug, Default)]
pub struct Component {
    /// Bytes; 0 if the CPU has no such component.
    pub size: usize,
    /// Offset in the standard format.
    pub offset: usize,
    /// In the compacted format, starts at a multiple of 64.
    pub aligned: bool,
}

/// Number of the first component after x87 and SSE, which live in the legacy region.
pub const FIRST_EXTENDED: usize = 2;

/// Components 0 to 62 of the XSAVE area. The first two are described by the legacy region's own layout; supervisor
/// components, which have no place in the standard format, are left out.
static COMPONENTS: LazyLock<[Component; 63]> = LazyLock::new(|| {
    let mut components = [Component::default(); 63];
    if has_xsave() {
        for (number, component) in (0..).zip(&mut components).skip(FIRST_EXTENDED) {
            let leaf = __cpuid_count(0xd, number);
            let is_supervisor = leaf.ecx & 1 != 0;
            if is_supervisor {
                continue;
            }
            *component = Component { size: leaf.eax as usize, offset: leaf.ebx as usize, aligned: leaf.ecx & 2 != 0 };
        }
    }
    components
});

/// The layout of XSAVE component `number` (2 to 62) in the standard format.
pub fn component(number: usize) -> Component {
    COMPONENTS[number]
}

/// True if the CPU and the kernel have XSAVE.
pub fn has_xsave() -> bool {
    is_x86_feature_detected!("xsave")
}

/// XCR0 of the host: the state components that this process may use.
pub fn xcr0() -> u64 {
    static XCR0: LazyLock<u64> = LazyLock::new(|| {
        if has_xsave() {
            // SAFETY: the CPU has XSAVE and the kernel enabled it.
            unsafe { read_xcr0() }
        } else {
            0
        }
    });
    *XCR0
}

/// # Safety
/// The CPU has XSAVE and CR4.OSXSAVE is set.
#[target_feature(enable = "xsave")]
unsafe fn read_xcr0() -> u64 {
    // SAFETY: the caller's promise.
    unsafe { _xgetbv(0) }
}

/// Width of physical addresses.
pub fn physical_bits() -> u32 {
    static BITS: LazyLock<u32> = LazyLock::new(|| {
        if __cpuid(0x8000_0000).eax < 0x8000_0008 {
            return 36;
        }
        (__cpuid(0x8000_0008).eax & 0xff).clamp(32, 52)
    });
    *BITS
}

/// True on CPUs that follow AMD where the two vendors differ (SYSENTER and SYSCALL by mode).
pub fn is_amd() -> bool {
    static AMD: LazyLock<bool> = LazyLock::new(|| {
        let leaf = __cpuid(0);
        let vendor = [leaf.ebx, leaf.edx, leaf.ecx];
        let named = |name: &[u8; 12]| vendor.iter().flat_map(|word| word.to_le_bytes()).eq(name.iter().copied());
        named(b"AuthenticAMD") || named(b"HygonGenuine")
    });
    *AMD
}
