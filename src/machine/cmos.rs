//! What a PC's firmware setup keeps in CMOS RAM, as QEMU fills it in before the machine starts.

use devices::chipset::rtc::registers::CMOS_SIZE;
use devices::ide::Translation;

use super::layout::MemoryLayout;
use super::pc::DiskGeometries;
use crate::config::BootOrder;

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
    /// Where firmware looks for an operating system.
    pub boot: &'a BootOrder,
}

/// Types of the floppy drives: A in the upper nibble.
const FLOPPY_TYPES: usize = 0x10;
/// Types of the first two disks: the first in the upper nibble.
const DISK_TYPES: usize = 0x12;
/// Where the types are that do not fit into a nibble, and the geometries of such disks.
const DISK_DETAILS: [(usize, usize); 2] = [(0x19, 0x1b), (0x1a, 0x24)];
/// A type that does not fit, and that of a disk with a geometry of its own.
const SEE_DETAILS: u8 = 0x0f;
const OWN_GEOMETRY: u8 = 47;
/// Two bits for each disk: how its geometry is translated.
const DISK_TRANSLATIONS: usize = 0x39;
const EQUIPMENT: usize = 0x14;
/// Equipment byte: there are floppy drives; bits 7:6 are their number less one.
const EQUIPMENT_FLOPPY: u8 = 0x01;
/// Equipment byte: a numeric coprocessor and, if there is one, a PS/2 mouse.
const EQUIPMENT_FPU: u8 = 0x02;
const EQUIPMENT_MOUSE: u8 = 0x04;
/// The first two boot devices, a nibble each, the first one in the lower.
pub const BOOT_FIRST_AND_SECOND: usize = 0x3d;
/// The third boot device in the upper nibble; bit 0: boot a floppy without looking for its signature.
pub const BOOT_THIRD: usize = 0x38;
const NO_FLOPPY_CHECK: u8 = 0x01;

/// The contents of CMOS RAM outside the clock's own registers. `floppies` are the types of drives A and B, 0 if absent.
#[must_use]
pub fn contents(inputs: &Inputs<'_>, floppies: [u8; 2], disks: &DiskGeometries) -> [u8; CMOS_SIZE] {
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
    let [a, b] = floppies;
    cmos[FLOPPY_TYPES] = a << 4 | b;
    cmos[EQUIPMENT] = EQUIPMENT_FPU | if inputs.mouse { EQUIPMENT_MOUSE } else { 0 };
    cmos[EQUIPMENT] |= match floppies.iter().filter(|kind| **kind != 0).count() {
        0 => 0,
        count => EQUIPMENT_FLOPPY | (count as u8 - 1) << 6,
    };
    tell_of_disks(&mut cmos, disks);
    let order = inputs.boot.once.as_deref().unwrap_or(&inputs.boot.order);
    [cmos[BOOT_FIRST_AND_SECOND], cmos[BOOT_THIRD]] = boot_order(order, inputs.boot.check_floppy);
    cmos
}

/// Fills in what firmware is told of disks.
fn tell_of_disks(cmos: &mut [u8; CMOS_SIZE], disks: &DiskGeometries) {
    for ((number, disk), (kind, details)) in disks.iter().enumerate().zip(DISK_DETAILS) {
        let Some((geometry, _)) = disk else { continue };
        let [low, high] = geometry.cylinders.to_le_bytes();
        // No precompensation; more than eight heads; the landing zone is the end.
        let control = 0xc0 | u8::from(geometry.heads > 8) << 3;
        cmos[DISK_TYPES] |= SEE_DETAILS << (4 * (1 - number));
        cmos[kind] = OWN_GEOMETRY;
        let bytes = [low, high, geometry.heads, 0xff, 0xff, control, low, high, geometry.sectors];
        cmos[details..details + bytes.len()].copy_from_slice(&bytes);
    }
    for (number, disk) in disks.iter().enumerate() {
        let translation = match disk {
            None | Some((_, Translation::None)) => 0,
            Some((_, Translation::Lba)) => 1,
            Some((_, Translation::Large)) => 2,
            Some((_, Translation::Rechs)) => 3,
        };
        cmos[DISK_TRANSLATIONS] |= translation << (2 * number);
    }
}

/// [`BOOT_FIRST_AND_SECOND`] and [`BOOT_THIRD`] for the letters of an order.
#[must_use]
pub fn boot_order(order: &str, check_floppy: bool) -> [u8; 2] {
    let mut devices = order.bytes().map(|letter| match letter {
        b'a' | b'b' => 1,
        b'c' => 2,
        b'd' => 3,
        b'n' => 4,
        _ => 0_u8,
    });
    let [first, second, third] = [(); 3].map(|()| devices.next().unwrap_or(0));
    [second << 4 | first, third << 4 | if check_floppy { 0 } else { NO_FLOPPY_CHECK }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::ide::Geometry;

    use crate::machine::layout::Rules;

    fn cmos(ram_size: u64, cpus: u32, floppies: [u8; 2]) -> [u8; CMOS_SIZE] {
        let rules = Rules {
            ram_size,
            max_ram_below_4g: None,
            phys_bits: 40,
            amd: false,
            pci_hole64_size: Rules::PCI_HOLE64_SIZE,
        };
        let layout = MemoryLayout::new(&rules).unwrap();
        let inputs = Inputs { layout: &layout, cpus, mouse: true, boot: &BootOrder::default() };
        contents(&inputs, floppies, &[None; 4])
    }

    /// Under QEMU 7.2: no option, -boot dan, -boot n, -boot c -no-fd-bootchk.
    #[test]
    fn the_boot_order_is_three_nibbles() {
        for (order, check, bytes) in
            [("cad", true, [0x12, 0x30]), ("dan", true, [0x13, 0x40]), ("n", true, [4, 0]), ("c", false, [2, 1])]
        {
            assert_eq!(boot_order(order, check), bytes, "{order}");
        }
    }

    /// Under QEMU 7.2: no option, -fda with 1.44 MB and -fdb with 1.2 MB, -nodefaults -fdb with 1.2 MB.
    #[test]
    fn floppy_drives_are_counted_and_told_by_type() {
        for (floppies, types, equipment) in [([5, 0], 0x50, 0x07), ([4, 2], 0x42, 0x47), ([0, 2], 0x02, 0x07)] {
            let cmos = cmos(64 * MIB, 1, floppies);
            assert_eq!((cmos[0x10], cmos[0x14]), (types, equipment), "{floppies:?}");
        }
    }

    /// Under QEMU 7.2: a disk of 64 MiB, one of 1 GiB, none, and one of 64 MiB whose partition table has 255 heads.
    #[test]
    fn disks_are_told_by_geometry_and_translation() {
        let disk = |megabytes: u64, translation| Some((Geometry::for_size(megabytes * 2048), translation));
        let disks = [disk(64, Translation::None), disk(1024, Translation::Lba), None, disk(64, Translation::Large)];
        let mut cmos = [0; CMOS_SIZE];
        tell_of_disks(&mut cmos, &disks);
        assert_eq!((cmos[0x12], cmos[0x39]), (0xff, 0x84));
        assert_eq!(cmos[0x19..0x1b], [47, 47]);
        assert_eq!(cmos[0x1b..0x24], [130, 0, 16, 0xff, 0xff, 0xc8, 130, 0, 63]);
        assert_eq!(cmos[0x24..0x2d], [0x20, 8, 16, 0xff, 0xff, 0xc8, 0x20, 8, 63]);
    }

    /// Ports 70h and 71h under QEMU 7.2 with `-nodefaults`.
    #[test]
    fn contents_are_qemus() {
        let tiny = cmos(64 * MIB, 1, [0, 0]);
        assert_eq!(tiny[0x14..0x19], [0x06, 0x80, 0x02, 0x00, 0xfc]);
        assert_eq!(tiny[0x30..0x32], [0x00, 0xfc]);
        assert_eq!(tiny[0x34..0x36], [0x00, 0x03]);
        assert_eq!((tiny[0x38], tiny[0x3d]), (0x30, 0x12));
        let small = cmos(128 * MIB, 1, [0, 0]);
        assert_eq!(small[0x17..0x19], [0xff, 0xff]);
        assert_eq!(small[0x30..0x32], [0xff, 0xff]);
        assert_eq!(small[0x34..0x36], [0x00, 0x07]);
        assert_eq!(small[0x5b..0x60], [0, 0, 0, 0, 0]);
        let large = cmos(6 << 30, 4, [0, 0]);
        assert_eq!(large[0x17..0x19], [0xff, 0xff]);
        assert_eq!(large[0x34..0x36], [0x00, 0xbf]);
        assert_eq!(large[0x5b..0x60], [0x00, 0xc0, 0x00, 0, 3]);
    }
}
