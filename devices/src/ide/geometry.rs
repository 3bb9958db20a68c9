//! Cylinders, heads and sectors, for software that addresses disks so.

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// Most cylinders that the standard has.
const MOST_CYLINDERS: u64 = 16383;
/// Heads and sectors of a disk that nothing is known of.
const USUAL: (u8, u8) = (16, 63);

/// A geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Cylinders, at least 1.
    pub cylinders: u16,
    /// Heads, 1 to 16.
    pub heads: u8,
    /// Sectors of a track, 1 to 255.
    pub sectors: u8,
}

/// How firmware makes the numbers of its disk calls of those of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Not at all.
    None,
    /// By counting sectors.
    Lba,
    /// By doubling heads while it halves cylinders.
    Large,
    /// The same from 15 heads on.
    Rechs,
}

impl Geometry {
    /// The geometry of a disk of `sectors` sectors.
    #[must_use]
    pub fn for_size(sectors: u64) -> Self {
        let (heads, per_track) = USUAL;
        let cylinders = sectors / (u64::from(heads) * u64::from(per_track));
        Self { cylinders: cylinders.clamp(2, MOST_CYLINDERS) as u16, heads, sectors: per_track }
    }

    /// The geometry of a disk and its translation, where `first` is its first sector: a partition table shows what geometry
    /// it was made with, as partitions end with a cylinder.
    #[must_use]
    pub fn guess(sectors: u64, first: &[u8; SECTOR]) -> (Self, Translation) {
        let usual = Self::for_size(sectors);
        match Self::of_partitions(sectors, first) {
            None if usual.cylinders <= 1024 => (usual, Translation::None),
            None => (usual, Translation::Lba),
            Some((cylinders, heads @ ..=16, per_track)) => {
                (Self { cylinders, heads: heads as u8, sectors: per_track }, Translation::None)
            }
            Some(_) if u32::from(usual.cylinders) * u32::from(usual.heads) <= 131_072 => (usual, Translation::Large),
            Some(_) => (usual, Translation::Lba),
        }
    }

    /// The geometry of the partition table: cylinders, heads (up to 256), sectors.
    fn of_partitions(sectors: u64, first: &[u8; SECTOR]) -> Option<(u16, u16, u8)> {
        let (entries, signature) = first[446..].split_at(64);
        if signature != [0x55, 0xaa] {
            return None;
        }
        entries.chunks_exact(16).find_map(|entry| {
            let (end_head, end_sector) = (entry[5], entry[6] & 63);
            if end_head == 0 || end_sector == 0 || entry[12..16] == [0; 4] {
                return None;
            }
            let heads = u16::from(end_head) + 1;
            let cylinders = sectors / (u64::from(heads) * u64::from(end_sector));
            (1..=MOST_CYLINDERS).contains(&cylinders).then_some((cylinders as u16, heads, end_sector))
        })
    }

    /// Sectors that can be addressed with it.
    #[must_use]
    pub fn capacity(self) -> u32 {
        u32::from(self.cylinders) * u32::from(self.heads) * u32::from(self.sectors)
    }

    /// Number of the sector at this place; `None`: there is no such place.
    #[must_use]
    pub fn lba(self, cylinder: u16, head: u8, sector: u8) -> Option<u64> {
        let exists = cylinder < self.cylinders && head < self.heads && (1..=self.sectors).contains(&sector);
        let track = u64::from(cylinder) * u64::from(self.heads) + u64::from(head);
        exists.then(|| track * u64::from(self.sectors) + u64::from(sector) - 1)
    }

    /// The place of a sector: cylinder, head, sector.
    #[must_use]
    pub fn place(self, lba: u64) -> (u16, u8, u8) {
        let (per_track, heads) = (u64::from(self.sectors), u64::from(self.heads));
        let track = lba / per_track;
        ((track / heads) as u16, (track % heads) as u8, (lba % per_track) as u8 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(end_head: u8, end_sector: u8) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        sector[446 + 16..][..16].copy_from_slice(&[0, 1, 1, 0, 0x83, end_head, end_sector, 9, 63, 0, 0, 0, 1, 0, 0, 0]);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    /// `info qtree` of QEMU 7.2 and its CMOS byte 39h.
    #[test]
    fn guesses_are_qemus() {
        let blank = [0; SECTOR];
        let geometry = |cylinders, heads, sectors| Geometry { cylinders, heads, sectors };
        for (megabytes, first, expected) in [
            (64, blank, (geometry(130, 16, 63), Translation::None)),
            (1024, blank, (geometry(2080, 16, 63), Translation::Lba)),
            (20 << 10, blank, (geometry(16383, 16, 63), Translation::Lba)),
            (64, table(254, 63), (geometry(130, 16, 63), Translation::Large)),
            (20 << 10, table(254, 0xff), (geometry(16383, 16, 63), Translation::Lba)),
            (64, table(7, 32), (geometry(512, 8, 32), Translation::None)),
            (64, table(0, 32), (geometry(130, 16, 63), Translation::None)),
        ] {
            assert_eq!(Geometry::guess(megabytes * 2048, &first), expected, "{megabytes} MiB");
        }
        assert_eq!(Geometry::for_size(1), geometry(2, 16, 63));
    }

    #[test]
    fn places_and_numbers_are_inverse() {
        let geometry = Geometry { cylinders: 3, heads: 2, sectors: 5 };
        for lba in 0..30 {
            let (cylinder, head, sector) = geometry.place(lba);
            assert_eq!(geometry.lba(cylinder, head, sector), Some(lba));
        }
        for (cylinder, head, sector) in [(3, 0, 1), (0, 2, 1), (0, 0, 0), (0, 0, 6)] {
            assert_eq!(geometry.lba(cylinder, head, sector), None);
        }
    }
}
