//! The physical address map: where RAM lies, what is fixed around it, and the memory map that tells the guest.
//!
//! Follows QEMU's `pc` machine: RAM ends below 4 GiB at a boundary that leaves room for 32-bit PCI windows, the rest
//! continues at 4 GiB, or above the HyperTransport range on AMD processors when it would reach into that.

use std::ops::Range;

use crate::boot::e820::{E820Entry, E820Kind};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const PAGE: u64 = 4 * KIB;

/// First address above 32 bits.
pub const FOUR_GIB: u64 = 4 * GIB;
/// The extended BIOS data area: the last KiB of the 640 KiB of base memory.
pub const EBDA: Range<u64> = 0x9_fc00..0xa_0000;
/// VGA window: video memory, and system management RAM behind it.
pub const VGA_WINDOW: Range<u64> = 0xa_0000..0xc_0000;
/// Where option ROMs of the ISA bus would be, and PCI's are copied to.
pub const OPTION_ROMS: u64 = 0xc_0000;
/// BIOS segment, searched for the ACPI, SMBIOS and multiprocessor tables.
pub const BIOS_SEGMENT: Range<u64> = 0xf_0000..0x10_0000;
/// The I/O APIC's registers; also where the window for 32-bit PCI memory ends.
pub const IOAPIC: u64 = 0xfec0_0000;
/// The HPET's register block.
pub const HPET: Range<u64> = 0xfed0_0000..0xfed0_0400;
/// The local APICs' registers, and the window for message-signalled interrupts.
pub const LOCAL_APIC: u64 = 0xfee0_0000;
/// The memory of pc-testdev.
pub const PC_TESTDEV: u64 = 0xff00_0000;
/// The identity-mapped page table that KVM wants on processors that can't run unpaged code (one page).
pub const KVM_IDENTITY_MAP: u64 = 0xfeff_c000;
/// The task state segment that KVM wants on such processors (three pages).
pub const KVM_TSS: u64 = 0xfeff_d000;
/// The pages KVM keeps to itself.
pub const KVM_RESERVED: Range<u64> = KVM_IDENTITY_MAP..KVM_TSS + 3 * PAGE;
/// The HyperTransport range, which AMD IOMMUs claim for themselves.
pub const AMD_HYPERTRANSPORT: Range<u64> = 0xfd_0000_0000..0x100_0000_0000;

/// Where RAM ends below 4 GiB unless `max-ram-below-4g` says otherwise.
const DEFAULT_LOW_LIMIT: u64 = 0xe000_0000;
/// Where it ends when there is more of it than that: a boundary that suits 1 GiB pages.
const SPLIT_LOW_LIMIT: u64 = 0xc000_0000;
/// Least memory a machine can have: the first MiB is half ROM area, and the tables want room above it.
const MIN_RAM: u64 = 2 * MIB;
/// Least room left for 32-bit PCI memory. QEMU leaves it to the user to keep any.
const MIN_HOLE32: u64 = 16 * MIB;

/// What a memory layout follows from.
#[derive(Clone, Debug)]
pub struct Rules {
    /// RAM of the machine in bytes, a multiple of 4 KiB.
    pub ram_size: u64,
    /// `max-ram-below-4g`: highest end of RAM below 4 GiB.
    pub max_ram_below_4g: Option<u64>,
    /// Width of the guest's physical addresses in bits (CPUID leaf 0x8000_0008).
    pub phys_bits: u8,
    /// Whether the guest's processors say they are AMD's, whose IOMMUs claim [`AMD_HYPERTRANSPORT`].
    pub amd: bool,
    /// Size of the window for 64-bit PCI memory above RAM (`i440FX-pcihost.pci-hole64-size`).
    pub pci_hole64_size: u64,
}

impl Rules {
    /// Physical address bits that no processor has more of: for a layout that is to be [`MemoryLayout::narrowed`].
    pub const MOST_PHYS_BITS: u8 = 52;
    /// Size of the window for 64-bit PCI memory where nothing else is asked for.
    pub const PCI_HOLE64_SIZE: u64 = 2 * GIB;
}

/// Why a machine can't have its RAM as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Less RAM than any PC can start with.
    #[error("{} KiB of RAM are too few: the machine needs at least {min} MiB (-m)", .0 / KIB, min = MIN_RAM / MIB)]
    TooSmall(u64),
    /// RAM that is not made of whole pages.
    #[error("a RAM size of {0} bytes is not a multiple of 4 KiB (-m)")]
    Unaligned(u64),
    /// `max-ram-below-4g` beyond 4 GiB.
    #[error("max-ram-below-4g={0:#x} is more than 4 GiB")]
    LowLimitTooHigh(u64),
    /// `max-ram-below-4g` that leaves no usable low RAM, or cuts a page.
    #[error("max-ram-below-4g={0:#x} has to be a multiple of 4 KiB and at least {min} MiB", min = MIN_RAM / MIB)]
    LowLimitTooLow(u64),
    /// RAM below 4 GiB would reach into the window of PCI memory or the fixed addresses above it.
    #[error(
        "{} MiB of RAM below 4 GiB leave no room for PCI memory: at most {max} MiB fit (lower max-ram-below-4g)",
        .0 / MIB,
        max = (IOAPIC - MIN_HOLE32) / MIB
    )]
    NoPciHole(u64),
    /// The address space of the processors is too small.
    #[error(
        "RAM and the PCI window above it reach up to {end:#x}, beyond the {phys_bits} physical address bits of the \
         processor: give the machine less RAM (-m) or a processor with more bits (-cpu host, or ,phys-bits=)"
    )]
    BeyondPhysBits {
        /// First address behind what is needed; `u64::MAX` if that does not fit in 64 bits.
        end: u64,
        /// What the processor has.
        phys_bits: u8,
    },
}

/// A stretch of guest RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamRegion {
    /// Where the guest sees it.
    pub guest: Range<u64>,
    /// Where it begins in the machine's RAM as a whole.
    pub offset: u64,
}

/// Where RAM and the PCI windows of one machine lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLayout {
    /// RAM from address 0 on.
    pub low_ram: Range<u64>,
    /// RAM above 4 GiB; empty where all of it fits below.
    pub high_ram: Range<u64>,
    /// Window for 32-bit PCI memory.
    pub pci_hole32: Range<u64>,
    /// Window for 64-bit PCI memory.
    pub pci_hole64: Range<u64>,
    /// Whether to keep the guest off [`AMD_HYPERTRANSPORT`].
    amd_hypertransport: bool,
}

impl MemoryLayout {
    /// Lay out a machine.
    ///
    /// # Errors
    /// Sizes that no layout satisfies, each naming the option to change.
    pub fn new(rules: &Rules) -> Result<Self, LayoutError> {
        let size = rules.ram_size;
        if size < MIN_RAM {
            return Err(LayoutError::TooSmall(size));
        }
        if !size.is_multiple_of(PAGE) {
            return Err(LayoutError::Unaligned(size));
        }
        let mut limit = rules.max_ram_below_4g.unwrap_or(DEFAULT_LOW_LIMIT);
        if limit > FOUR_GIB {
            return Err(LayoutError::LowLimitTooHigh(limit));
        }
        if limit < MIN_RAM || !limit.is_multiple_of(PAGE) {
            return Err(LayoutError::LowLimitTooLow(limit));
        }
        if size >= limit {
            limit = limit.min(SPLIT_LOW_LIMIT);
            if !limit.is_multiple_of(GIB) {
                log::warn!(
                    "max-ram-below-4g={limit:#x} is not a multiple of 1 GiB: RAM can't be mapped by large pages throughout"
                );
            }
        }
        let low = size.min(limit);
        if low > IOAPIC - MIN_HOLE32 {
            return Err(LayoutError::NoPciHole(low));
        }

        let endless = LayoutError::BeyondPhysBits { end: u64::MAX, phys_bits: rules.phys_bits };
        // RAM and PCI window above 4 GiB, when RAM begins at `start` there.
        let above = |start: u64| -> Option<(Range<u64>, Range<u64>)> {
            let ram = start..start.checked_add(size - low)?;
            let hole = ram.end.checked_next_multiple_of(GIB)?;
            Some((ram, hole..hole.checked_add(rules.pci_hole64_size)?))
        };
        let (mut high_ram, mut pci_hole64) = above(FOUR_GIB).ok_or_else(|| endless.clone())?;
        let relocate = rules.amd && pci_hole64.end > AMD_HYPERTRANSPORT.start;
        if relocate {
            (high_ram, pci_hole64) = above(AMD_HYPERTRANSPORT.end).ok_or(endless)?;
        }
        let pci_hole32 = low..IOAPIC;
        let layout = Self { low_ram: 0..low, high_ram, pci_hole32, pci_hole64, amd_hypertransport: rules.amd };
        layout.narrowed(rules.phys_bits)
    }

    /// The same layout for a processor that has no more than `phys_bits` physical address bits.
    ///
    /// # Errors
    /// The processor can't reach all of it.
    pub fn narrowed(self, phys_bits: u8) -> Result<Self, LayoutError> {
        let end = self.pci_hole64.end;
        if 1u64.checked_shl(phys_bits.into()).is_some_and(|top| end > top) {
            return Err(LayoutError::BeyondPhysBits { end, phys_bits });
        }
        Ok(Self { amd_hypertransport: self.amd_hypertransport && phys_bits >= 40, ..self })
    }

    /// The stretches of RAM, to be backed by consecutive parts of the machine's memory.
    pub fn ram_regions(&self) -> impl Iterator<Item = RamRegion> {
        let high_offset = self.low_ram.end;
        [(self.low_ram.clone(), 0), (self.high_ram.clone(), high_offset)]
            .into_iter()
            .filter(|(guest, _)| !guest.is_empty())
            .map(|(guest, offset)| RamRegion { guest, offset })
    }

    /// Size of RAM in bytes.
    #[must_use]
    pub fn ram_size(&self) -> u64 {
        self.ram_regions().map(|region| region.guest.end - region.guest.start).sum()
    }

    /// The last `len` bytes of low RAM in whole pages, for what has to be kept from the operating system. `None` if they
    /// reach into the first MiB.
    pub fn top_of_low_ram(&self, len: u64) -> Option<Range<u64>> {
        let start = self.low_ram.end.checked_sub(len)? & !(PAGE - 1);
        (start >= BIOS_SEGMENT.end).then_some(start..self.low_ram.end)
    }

    /// [`AMD_HYPERTRANSPORT`], if the guest has to be kept off it.
    #[must_use]
    pub fn amd_hypertransport(&self) -> Option<E820Entry> {
        let Range { start, end } = AMD_HYPERTRANSPORT;
        self.amd_hypertransport.then(|| E820Entry::new(start, end - start, E820Kind::Reserved))
    }

    /// The memory map of a machine that starts without firmware; same ranges as SeaBIOS reports.
    ///
    /// `top` is what is taken from the top of low RAM ([`Self::top_of_low_ram`]); may be empty.
    pub fn e820(&self, top: Range<u64>) -> Vec<E820Entry> {
        let usable_end = if top.is_empty() { self.low_ram.end } else { top.start };
        let mut map = Vec::new();
        let mut add = |range: Range<u64>, kind| {
            if !range.is_empty() {
                map.push(E820Entry::new(range.start, range.end - range.start, kind));
            }
        };
        add(0..EBDA.start, E820Kind::Ram);
        add(EBDA, E820Kind::Reserved);
        add(BIOS_SEGMENT, E820Kind::Reserved);
        add(BIOS_SEGMENT.end..usable_end, E820Kind::Ram);
        add(usable_end..self.low_ram.end, E820Kind::Reserved);
        add(KVM_RESERVED, E820Kind::Reserved);
        if self.high_ram.start < AMD_HYPERTRANSPORT.start {
            add(self.high_ram.clone(), E820Kind::Ram);
        }
        if self.amd_hypertransport {
            add(AMD_HYPERTRANSPORT, E820Kind::Reserved);
        }
        if self.high_ram.start >= AMD_HYPERTRANSPORT.start {
            add(self.high_ram.clone(), E820Kind::Ram);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use E820Kind::{Ram, Reserved};

    fn rules(ram_size: u64) -> Rules {
        Rules { ram_size, max_ram_below_4g: None, phys_bits: 48, amd: false, pci_hole64_size: Rules::PCI_HOLE64_SIZE }
    }

    fn split(rules: Rules) -> (u64, Range<u64>) {
        let layout = MemoryLayout::new(&rules).unwrap();
        assert_eq!(layout.low_ram.start, 0);
        (layout.low_ram.end, layout.high_ram)
    }

    /// `info mtree -f` of QEMU 7.2's `pc` for the same `-m`.
    #[test]
    fn splits_ram_like_qemu() {
        for (mib, low, high) in [
            (128, 0x0800_0000, FOUR_GIB..FOUR_GIB),
            (3583, 0xdff0_0000, FOUR_GIB..FOUR_GIB),
            (3584, 0xc000_0000, FOUR_GIB..0x1_2000_0000),
            (4096, 0xc000_0000, FOUR_GIB..0x1_4000_0000),
        ] {
            assert_eq!(split(rules(mib * MIB)), (low, high), "-m {mib}");
        }
    }

    #[test]
    fn max_ram_below_4g_moves_the_boundary() {
        for (limit, mib, low, high) in [
            (2 * GIB, 4096, 0x8000_0000, FOUR_GIB..0x1_8000_0000),
            (4 * GIB, 3968, 0xf800_0000, FOUR_GIB..FOUR_GIB),
            (4 * GIB, 4096, 0xc000_0000, FOUR_GIB..0x1_4000_0000),
            (1536 * MIB, 2048, 0x6000_0000, FOUR_GIB..0x1_2000_0000),
        ] {
            let rules = Rules { max_ram_below_4g: Some(limit), ..rules(mib * MIB) };
            assert_eq!(split(rules), (low, high), "-m {mib} limit {limit:#x}");
        }
    }

    #[test]
    fn keeps_clear_of_hypertransport_on_amd_only() {
        let big = 1010 * GIB;
        assert_eq!(split(rules(big)).1.start, FOUR_GIB);
        let amd = Rules { amd: true, ..rules(big) };
        assert_eq!(split(amd.clone()).1, 0x100_0000_0000..0x100_0000_0000 + big - 3 * GIB);
        // The PCI window counts: 1006 GiB of RAM end at 1007 GiB, the window would end at 1009 GiB = fc40000000.
        assert_eq!(split(Rules { amd: true, ..rules(1006 * GIB) }).1.start, FOUR_GIB);
        let map = MemoryLayout::new(&amd).unwrap().e820(0..0);
        let ranges: Vec<_> = map.iter().map(E820Entry::range).collect();
        assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "{ranges:x?}");
        assert!(ranges.contains(&AMD_HYPERTRANSPORT));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let refused = |r: Rules| MemoryLayout::new(&r).unwrap_err();
        assert_eq!(refused(rules(MIB)), LayoutError::TooSmall(MIB));
        assert_eq!(refused(rules(4 * MIB + 1)), LayoutError::Unaligned(4 * MIB + 1));
        let limit = |l| Rules { max_ram_below_4g: Some(l), ..rules(4095 * MIB) };
        assert_eq!(refused(limit(5 * GIB)), LayoutError::LowLimitTooHigh(5 * GIB));
        assert_eq!(refused(limit(4096)), LayoutError::LowLimitTooLow(4096));
        assert_eq!(refused(limit(4 * GIB)), LayoutError::NoPciHole(4095 * MIB));
        let narrow = Rules { phys_bits: 36, ..rules(64 * GIB) };
        assert_eq!(refused(narrow), LayoutError::BeyondPhysBits { end: 67 * GIB, phys_bits: 36 });
        let endless = refused(rules(!(PAGE - 1)));
        assert_eq!(endless, LayoutError::BeyondPhysBits { end: u64::MAX, phys_bits: 48 });
    }

    #[test]
    fn backs_all_ram_without_gaps() {
        let layout = MemoryLayout::new(&rules(4 * GIB)).unwrap();
        let regions: Vec<_> = layout.ram_regions().collect();
        assert_eq!(regions.len(), 2);
        assert_eq!(regions[1].offset, regions[0].guest.end);
        let total: u64 = regions.iter().map(|r| r.guest.end - r.guest.start).sum();
        assert_eq!(total, 4 * GIB);
        assert_eq!(MemoryLayout::new(&rules(GIB)).unwrap().ram_regions().count(), 1);
    }

    /// What SeaBIOS reports under QEMU for `-m 5G`, but for its ROM, which is not there.
    #[test]
    fn reports_memory_like_seabios() {
        let layout = MemoryLayout::new(&rules(5 * GIB)).unwrap();
        let top = layout.top_of_low_ram(0x1_f001).unwrap();
        assert_eq!(top, 0xbffe_0000..0xc000_0000);
        let map: Vec<_> = layout.e820(top).iter().map(|e| (e.addr, e.size, e.kind)).collect();
        assert_eq!(
            map,
            [
                (0, 0x9_fc00, Ram),
                (0x9_fc00, 0x400, Reserved),
                (0xf_0000, 0x1_0000, Reserved),
                (0x10_0000, 0xbfee_0000, Ram),
                (0xbffe_0000, 0x2_0000, Reserved),
                (0xfeff_c000, 0x4000, Reserved),
                (0x1_0000_0000, 0x8000_0000, Ram),
            ]
        );
    }

    #[test]
    fn what_does_not_fit_into_low_ram_has_no_place() {
        let layout = MemoryLayout::new(&rules(2 * MIB)).unwrap();
        assert_eq!(layout.top_of_low_ram(MIB), Some(MIB..2 * MIB));
        assert_eq!(layout.top_of_low_ram(MIB + 1), None);
        assert_eq!(layout.top_of_low_ram(u64::MAX), None);
    }
}
