//! What a device says it is: the 256 words of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE.

use super::disk::{MOST_MULTIPLE, Memory};
use super::features::DmaMode;
use super::geometry::{Geometry, SECTOR};
use crate::scsi::padded;

/// Names of a device. Texts that are too long are cut off; what is not ASCII becomes a question mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Serial number, up to 20 characters.
    pub serial: String,
    /// Model, up to 40 characters.
    pub model: String,
    /// Revision of the firmware, up to 8 characters.
    pub firmware: String,
    /// World wide name.
    pub wwn: Option<u64>,
    /// Cylinders, heads and sectors. A CD drive has none, whatever this says.
    pub geometry: Geometry,
    /// Speed of rotation per minute; 1: it does not rotate; 0: it does not say.
    pub rotation_rate: u16,
    /// Bytes of a disk's physical sector: a power of two, 512 or more.
    pub physical_sector: u32,
    /// The write cache of a disk is on after power-on.
    pub write_cache: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            serial: "QM00001".into(),
            model: "QEMU HARDDISK".into(),
            firmware: "2.5+".into(),
            wwn: None,
            geometry: Geometry::for_size(0),
            rotation_rate: 0,
            physical_sector: SECTOR as u32,
            write_cache: true,
        }
    }
}

/// Words under construction.
struct Words([u16; SECTOR / 2]);

impl Words {
    fn new(words: &[(usize, u16)]) -> Self {
        let mut this = Self([0; SECTOR / 2]);
        words.iter().for_each(|(at, value)| this.0[*at] = *value);
        this
    }

    fn set(&mut self, at: usize, value: u16) {
        self.0[at] = value;
    }

    /// A text in `words` words, filled up with spaces, the first character in the upper byte.
    fn text(&mut self, at: usize, words: usize, text: &str) {
        let bytes = padded(text, 2 * words);
        for (word, pair) in self.0[at..at + words].iter_mut().zip(bytes.chunks_exact(2)) {
            *word = u16::from_be_bytes([pair[0], pair[1]]);
        }
    }

    /// A number in `words` words, lowest first.
    fn number(&mut self, at: usize, words: usize, value: u64) {
        for (word, shift) in self.0[at..at + words].iter_mut().zip([0, 16, 32, 48]) {
            *word = (value >> shift) as u16;
        }
    }

    /// A world wide name: highest word first.
    fn wwn(&mut self, wwn: Option<u64>) {
        let Some(wwn) = wwn else { return };
        for (word, shift) in self.0[108..112].iter_mut().zip([48, 32, 16, 0]) {
            *word = (wwn >> shift) as u16;
        }
    }

    fn names(&mut self, identity: &Identity) {
        self.text(10, 10, &identity.serial);
        self.text(23, 4, &identity.firmware);
        self.text(27, 20, &identity.model);
        self.wwn(identity.wwn);
    }

    fn dma(&mut self, mode: DmaMode) {
        let [single, multi, ultra] = mode.words();
        self.set(62, single);
        self.set(63, multi);
        self.set(88, ultra);
    }

    fn bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

impl Identity {
    /// The words of a disk of `native` sectors.
    pub(super) fn disk(&self, memory: &Memory, native: u64) -> Vec<u8> {
        let Memory { geometry: current, features, smart, multiple, area, .. } = memory;
        let bit = |on: bool, bit: u16| if on { bit } else { 0 };
        let Geometry { cylinders, heads, sectors } = self.geometry;
        let has_wwn = bit(self.wwn.is_some(), 1 << 8);
        // NOP, READ and WRITE BUFFER, host protected area, look-ahead, write cache, power management, SMART.
        let basic = 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10 | 1 << 3;
        // FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses.
        let newer = 1 << 13 | 1 << 12 | 1 << 10;
        // SMART self-test.
        let newest = 1 << 14 | 1 << 1 | has_wwn;
        let enabled =
            basic | bit(features.look_ahead, 1 << 6) | bit(features.write_cache, 1 << 5) | bit(smart.enabled, 1);
        // Logical sectors of a physical one, as a power of two.
        let sectors_of_physical = (self.physical_sector / SECTOR as u32).checked_ilog2().unwrap_or(0).min(15) as u16;
        let mut words = Words::new(&[
            // A fixed disk.
            (0, 0x0040),
            (1, cylinders),
            (3, heads.into()),
            // Words 4, 5, 20 to 22 are retired; these are usual values.
            (4, SECTOR as u16 * u16::from(sectors)),
            (5, SECTOR as u16),
            (6, sectors.into()),
            (20, 3),
            (21, 512),
            (22, 4),
            (47, 0x8000 | u16::from(MOST_MULTIPLE)),
            (48, 1),
            // Standard standby timer, IORDY, LBA, DMA.
            (49, 1 << 13 | 1 << 11 | 1 << 9 | 1 << 8),
            (50, 1 << 14),
            (51, 0x200),
            (52, 0x200),
            // Words 54 to 58, 64 to 70 and 88 are valid.
            (53, 0x7),
            (54, current.cylinders),
            (55, current.heads.into()),
            (56, current.sectors.into()),
            (59, if *multiple > 0 { 0x100 | u16::from(*multiple) } else { 0 }),
            // PIO modes 3 and 4, and the cycle times.
            (64, 0x03),
            (65, 120),
            (66, 120),
            (67, 120),
            (68, 120),
            // What was given up by TRIM reads the same each time.
            (69, 1 << 14),
            // ATA/ATAPI-4 to -7, as QEMU says.
            (80, 0xf0),
            (81, 0x16),
            (82, basic | 1 << 6 | 1 << 5 | 1),
            (83, 1 << 14 | newer),
            (84, newest),
            (85, enabled),
            (86, newer),
            (87, newest),
            // The cable has 80 wires; this device passed as device 0.
            (93, 1 << 14 | 1 << 13 | 1),
            (106, 0x6000 | sectors_of_physical),
            (169, 1),
            (217, self.rotation_rate),
        ]);
        words.names(self);
        words.dma(features.dma);
        words.number(57, 2, current.capacity().into());
        let addressable = area.sectors().min(native);
        words.number(60, 2, addressable.min((1 << 28) - 1));
        words.number(100, 4, addressable);
        words.bytes()
    }

    /// The words of a CD drive.
    pub(super) fn packet_device(&self, dma: DmaMode) -> Vec<u8> {
        let has_wwn = if self.wwn.is_some() { 1 << 8 } else { 0 };
        let mut words = Words::new(&[
            // A CD-ROM with removable media, 12-byte packets, DRQ within 50 us.
            (0, 0x85c0),
            (20, 3),
            (21, 512),
            (22, 4),
            (48, 1),
            // LBA, DMA.
            (49, 1 << 9 | 1 << 8),
            (53, 0x7),
            (64, 0x03),
            (65, 180),
            (66, 180),
            (67, 300),
            (68, 180),
            (71, 30),
            (72, 30),
            // ATA/ATAPI-1 to -4, as QEMU says.
            (80, 0x1e),
            // NOP, DEVICE RESET, power management, PACKET.
            (82, 1 << 14 | 1 << 9 | 1 << 4 | 1 << 3),
            (83, 1 << 14),
            (84, 1 << 14 | has_wwn),
            (85, 1 << 14 | 1 << 9 | 1 << 4 | 1 << 3),
            (87, 1 << 14 | has_wwn),
        ]);
        words.names(self);
        words.dma(dma);
        words.bytes()
    }
}
