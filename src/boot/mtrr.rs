//! The memory type range registers as firmware leaves them in every processor.
//!
//! Follows Intel SDM volume 3, section 12.11, with the values that SeaBIOS sets under QEMU 7.2 (read back there by `rdmsr`):
//! memory is write-back unless said otherwise, the VGA window and the 32-bit PCI window are uncacheable, ROM is
//! write-protected. Without them a kernel finds all memory uncacheable, says so ("MTRRs disabled") and does without PAT.

const IA32_MTRR_PHYSBASE0: u32 = 0x200;
const IA32_MTRR_PHYSMASK0: u32 = 0x201;
const IA32_MTRR_FIX64K_00000: u32 = 0x250;
const IA32_MTRR_FIX16K_80000: u32 = 0x258;
const IA32_MTRR_FIX16K_A0000: u32 = 0x259;
const IA32_MTRR_FIX4K_C0000: u32 = 0x268;
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;

/// Eight fixed ranges of one type each.
const UNCACHEABLE: u64 = 0;
const WRITE_PROTECTED: u64 = 0x0505_0505_0505_0505;
const WRITE_BACK: u64 = 0x0606_0606_0606_0606;

/// Write-back by default, fixed and variable ranges in use.
const DEF_TYPE: u64 = 0xc06;
const PHYSMASK_VALID: u64 = 1 << 11;
const FOUR_GIB: u64 = 1 << 32;

/// Register numbers and values, in the order in which to write them, for a machine whose RAM below 4 GiB ends at
/// `low_ram_end` and processors with `phys_bits` (at least 32) of physical address.
///
/// A variable range has a power of two as its size, so it begins at the lowest such boundary above RAM, which need not be
/// where the PCI window begins; what is in between no processor caches either, as operating systems map devices uncached.
pub fn mtrrs(low_ram_end: u64, phys_bits: u8) -> Vec<(u32, u64)> {
    let mut registers = vec![
        (IA32_MTRR_FIX64K_00000, WRITE_BACK),
        (IA32_MTRR_FIX16K_80000, WRITE_BACK),
        (IA32_MTRR_FIX16K_A0000, UNCACHEABLE),
    ];
    registers.extend((IA32_MTRR_FIX4K_C0000..).take(8).map(|register| (register, WRITE_PROTECTED)));
    // At most 2 GiB, as SeaBIOS never has a larger window.
    let room = FOUR_GIB.saturating_sub(low_ram_end).min(FOUR_GIB / 2);
    if let Some(log2) = room.checked_ilog2() {
        let size = 1 << log2;
        let above_phys = u64::MAX.checked_shl(phys_bits.into()).unwrap_or(0);
        registers.push((IA32_MTRR_PHYSBASE0, (FOUR_GIB - size) | UNCACHEABLE));
        registers.push((IA32_MTRR_PHYSMASK0, !(size - 1) & !above_phys | PHYSMASK_VALID));
    }
    registers.push((IA32_MTRR_DEF_TYPE, DEF_TYPE));
    registers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(registers: &[(u32, u64)], number: u32) -> Option<u64> {
        registers.iter().find(|(n, _)| *n == number).map(|&(_, value)| value)
    }

    /// As read by a guest of QEMU 7.2 with SeaBIOS 1.16.2, 40 bits of physical address.
    #[test]
    fn registers_are_those_that_seabios_leaves() {
        for (low_ram_end, base, mask) in [
            (64 << 20, 0x8000_0000, 0xff_8000_0800),
            (2047 << 20, 0x8000_0000, 0xff_8000_0800),
            (2100 << 20, 0xc000_0000, 0xff_c000_0800),
            (3 << 30, 0xc000_0000, 0xff_c000_0800),
        ] {
            let found = mtrrs(low_ram_end, 40);
            assert_eq!(register(&found, 0x200), Some(base));
            assert_eq!(register(&found, 0x201), Some(mask));
            assert_eq!(register(&found, 0x250), Some(0x0606_0606_0606_0606));
            assert_eq!(register(&found, 0x258), Some(0x0606_0606_0606_0606));
            assert_eq!(register(&found, 0x259), Some(0));
            for number in 0x268..0x270 {
                assert_eq!(register(&found, number), Some(0x0505_0505_0505_0505));
            }
            assert_eq!(found.last(), Some(&(0x2ff, 0xc06)));
        }
    }

    /// SeaBIOS's mask is not contiguous for these, which a processor refuses.
    #[test]
    fn a_range_is_a_power_of_two_above_ram() {
        let found = mtrrs(3300 << 20, 48);
        assert_eq!(register(&found, 0x200), Some(0xe000_0000));
        assert_eq!(register(&found, 0x201), Some(0xffff_e000_0800));
        assert_eq!(register(&mtrrs(0xfffe_0000, 36), 0x201), Some(0xf_fffe_0800));
        assert_eq!(register(&mtrrs(1 << 32, 36), 0x201), None);
    }
}
