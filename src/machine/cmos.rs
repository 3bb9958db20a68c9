//! What a PC's firmware setup keeps in CMOS RAM, as QEMU fills it in before the machine starts.

use devices::chipset::rtc::registers::CMOS_SIZE;

use super::layout::MemoryLayout;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What the bytes follow from.
pub struct Inputs<'a> {
    /// Where RAM lies.
    pub layout: &'a MemoryLayout,
    /// Processors that are there from the start.
    pub cpus: u32,
    /// Whether there is a PS/2 mouse.
    pub mouse: bool,
}

/// Equipment byte: a numeric coprocessor and, if there is one, a PS/2 mouse.
const EQUIPMENT_FPU: u8 = 0x02;
const EQUIPMENT_MOUSE: u8 = 0x04;
/// Boot order "cad": disk, floppy, CD-ROM.
const BOOT_FIRST_AND_SECOND: u8 = 0x12;
const BOOT_THIRD: u8 = 0x30;

/// The contents of CMOS RAM outside the clock's own registers.
#[must_use]
pub fn contents(inputs: &Inputs<'_>) -> [u8; CMOS_SIZE] {
    let mut cmos = [0; CMOS_SIZE];
    let mut word = |at: usize, value: u64| {
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        cmos[at..at + 2].copy_from_slice(&value.to_le_bytes());
    };
    let low = inputs.layout.low_ram.end;
    word(0x15, 640);
    let extended = low.saturating_sub(MIB) / KIB;
    word(0x17, extended);
    word(0x30, extended);
    word(0x34, low.saturating_sub(16 * MIB) / (64 * KIB));
    let high = (inputs.layout.high_ram.end - inputs.layout.high_ram.start) / (64 * KIB);
    cmos[0x5b..0x5e].copy_from_slice(&high.to_le_bytes()[..3]);
    cmos[0x5f] = u8::try_from(inputs.cpus - 1).unwrap_or(0);
    cmos[0x14] = EQUIPMENT_FPU | if inputs.mouse { EQUIPMENT_MOUSE } else { 0 };
    cmos[0x3d] = BOOT_FIRST_AND_SECOND;
    cmos[0x38] = BOOT_THIRD;
    cmos
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::layout::Rules;

    fn cmos(ram_size: u64, cpus: u32) -> [u8; CMOS_SIZE] {
        let rules = Rules {
            ram_size,
            max_ram_below_4g: None,
            phys_bits: 40,
            amd: false,
            pci_hole64_size: Rules::PCI_HOLE64_SIZE,
        };
        contents(&Inputs { layout: &MemoryLayout::new(&rules).unwrap(), cpus, mouse: true })
    }

    /// Ports 70h and 71h under QEMU 7.2 with `-nodefaults`.
    #[test]
    fn contents_are_qemus() {
        let tiny = cmos(64 * MIB, 1);
        assert_eq!(tiny[0x14..0x19], [0x06, 0x80, 0x02, 0x00, 0xfc]);
        assert_eq!(tiny[0x30..0x32], [0x00, 0xfc]);
        assert_eq!(tiny[0x34..0x36], [0x00, 0x03]);
        assert_eq!((tiny[0x38], tiny[0x3d]), (0x30, 0x12));
        let small = cmos(128 * MIB, 1);
        assert_eq!(small[0x17..0x19], [0xff, 0xff]);
        assert_eq!(small[0x30..0x32], [0xff, 0xff]);
        assert_eq!(small[0x34..0x36], [0x00, 0x07]);
        assert_eq!(small[0x5b..0x60], [0, 0, 0, 0, 0]);
        let large = cmos(6 << 30, 4);
        assert_eq!(large[0x17..0x19], [0xff, 0xff]);
        assert_eq!(large[0x34..0x36], [0x00, 0xbf]);
        assert_eq!(large[0x5b..0x60], [0x00, 0xc0, 0x00, 0, 3]);
    }
}
