//! Floppy drives and what can be in them.

use std::collections::BTreeSet;

use crate::backend::block::{BlockBackend, BlockError};

/// Bytes of a sector; all formats of the table have 512.
pub const SECTOR: usize = 512;
/// Code of that size in commands: 128 << 2.
pub const SECTOR_CODE: u8 = 2;
/// Cylinder at which the heads reach their stop.
pub const LAST_CYLINDER: u8 = 84;

/// Kinds of drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveKind {
    /// 5.25 inch, 1.2 MB.
    Mb120,
    /// 3.5 inch, 1.44 MB.
    Mb144,
    /// 3.5 inch, 2.88 MB.
    Mb288,
}

impl DriveKind {
    /// The number by which CMOS RAM calls it.
    #[must_use]
    pub fn cmos_type(self) -> u8 {
        match self {
            Self::Mb120 => 2,
            Self::Mb144 => 4,
            Self::Mb288 => 5,
        }
    }

    /// The drive that a medium of `bytes` bytes is made for; `None`: it has no known format.
    #[must_use]
    pub fn for_medium(bytes: u64) -> Option<Self> {
        FORMATS.iter().find(|(_, geometry)| geometry.bytes() == bytes).map(|(kind, _)| *kind)
    }

    fn takes(self, made_for: Self) -> bool {
        self == made_for || (self == Self::Mb288 && made_for == Self::Mb144)
    }

    /// The format of a medium that has no known one: that which the drive was made for.
    fn usual(self) -> Geometry {
        match self {
            Self::Mb120 => Geometry::new(15, 80, 2, KBITS_500),
            Self::Mb144 => Geometry::new(18, 80, 2, KBITS_500),
            Self::Mb288 => Geometry::new(36, 80, 2, MBIT_1),
        }
    }
}

/// Codes of the data rates.
const KBITS_500: u8 = 0;
const KBITS_300: u8 = 1;
const KBITS_250: u8 = 2;
const MBIT_1: u8 = 3;

/// How a medium is formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors of a track, at least 1.
    pub sectors: u8,
    /// Cylinders.
    pub cylinders: u8,
    /// Heads, 1 or 2.
    pub heads: u8,
    /// Code of the data rate.
    pub rate: u8,
}

impl Geometry {
    const fn new(sectors: u8, cylinders: u8, heads: u8, rate: u8) -> Self {
        Self { sectors, cylinders, heads, rate }
    }

    /// Capacity in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.count() * SECTOR as u64
    }

    fn count(self) -> u64 {
        u64::from(self.sectors) * u64::from(self.cylinders) * u64::from(self.heads)
    }
}

/// The formats that QEMU knows, told apart by the size of the image: the first one counts.
const FORMATS: [(DriveKind, Geometry); 32] = [
    (DriveKind::Mb144, Geometry::new(18, 80, 2, KBITS_500)),
    (DriveKind::Mb144, Geometry::new(20, 80, 2, KBITS_500)),
    (DriveKind::Mb144, Geometry::new(21, 80, 2, KBITS_500)),
    (DriveKind::Mb144, Geometry::new(21, 82, 2, KBITS_500)),
    (DriveKind::Mb144, Geometry::new(21, 83, 2, KBITS_500)),
    (DriveKind::Mb144, Geometry::new(22, 80, 2, KBITS_500)),
    (DriveKind::Mb144, Geometry::new(23, 80, 2, KBITS_500)),
    (DriveKind::Mb144, Geometry::new(24, 80, 2, KBITS_500)),
    (DriveKind::Mb288, Geometry::new(36, 80, 2, MBIT_1)),
    (DriveKind::Mb288, Geometry::new(39, 80, 2, MBIT_1)),
    (DriveKind::Mb288, Geometry::new(40, 80, 2, MBIT_1)),
    (DriveKind::Mb288, Geometry::new(44, 80, 2, MBIT_1)),
    (DriveKind::Mb288, Geometry::new(48, 80, 2, MBIT_1)),
    (DriveKind::Mb144, Geometry::new(9, 80, 2, KBITS_250)),
    (DriveKind::Mb144, Geometry::new(10, 80, 2, KBITS_250)),
    (DriveKind::Mb144, Geometry::new(10, 82, 2, KBITS_250)),
    (DriveKind::Mb144, Geometry::new(10, 83, 2, KBITS_250)),
    (DriveKind::Mb144, Geometry::new(13, 80, 2, KBITS_250)),
    (DriveKind::Mb144, Geometry::new(14, 80, 2, KBITS_250)),
    (DriveKind::Mb120, Geometry::new(15, 80, 2, KBITS_500)),
    (DriveKind::Mb120, Geometry::new(18, 82, 2, KBITS_500)),
    (DriveKind::Mb120, Geometry::new(18, 83, 2, KBITS_500)),
    (DriveKind::Mb120, Geometry::new(11, 80, 2, KBITS_250)),
    (DriveKind::Mb120, Geometry::new(18, 80, 2, KBITS_500)),
    (DriveKind::Mb120, Geometry::new(9, 80, 2, KBITS_300)),
    (DriveKind::Mb120, Geometry::new(9, 40, 2, KBITS_300)),
    (DriveKind::Mb120, Geometry::new(9, 40, 1, KBITS_300)),
    (DriveKind::Mb120, Geometry::new(10, 41, 2, KBITS_300)),
    (DriveKind::Mb120, Geometry::new(10, 42, 2, KBITS_300)),
    (DriveKind::Mb120, Geometry::new(8, 40, 2, KBITS_250)),
    (DriveKind::Mb120, Geometry::new(8, 40, 1, KBITS_250)),
    (DriveKind::Mb144, Geometry::new(9, 80, 1, KBITS_250)),
];

/// What is in a drive.
struct Medium {
    backend: Box<dyn BlockBackend>,
    geometry: Geometry,
    /// Sectors with the mark of deleted data, by number.
    deleted: BTreeSet<u32>,
    /// It was written since it was last flushed.
    dirty: bool,
}

/// One drive.
pub struct FloppyDrive {
    kind: DriveKind,
    medium: Option<Medium>,
    /// Where the heads are, 0 to [`LAST_CYLINDER`].
    pub(super) cylinder: u8,
    /// The medium has been changed since the heads last moved.
    pub(super) changed: bool,
    /// The sector that READ ID finds next, counted from 0.
    pub(super) rotation: u8,
}

/// A sector that is on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl FloppyDrive {
    /// A drive, with its heads over track 0.
    #[must_use]
    pub fn new(kind: DriveKind, medium: Option<Box<dyn BlockBackend>>) -> Self {
        let mut drive = Self { kind, medium: None, cylinder: 0, changed: true, rotation: 0 };
        if let Some(medium) = medium {
            drive.insert(medium);
        }
        drive
    }

    /// What kind of drive it is.
    #[must_use]
    pub fn kind(&self) -> DriveKind {
        self.kind
    }

    /// How the medium in it is formatted.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        self.medium.as_ref().map(|medium| medium.geometry)
    }

    /// Puts in a medium, in place of the one that is in it.
    pub(super) fn insert(&mut self, backend: Box<dyn BlockBackend>) {
        let bytes = backend.len();
        let known = FORMATS.iter().find(|(kind, geometry)| self.kind.takes(*kind) && geometry.bytes() == bytes);
        let geometry = known.map_or_else(|| self.kind.usual(), |(_, geometry)| *geometry);
        self.flush_or_warn();
        self.medium = Some(Medium { backend, geometry, deleted: BTreeSet::new(), dirty: false });
        self.changed = true;
        self.rotation = 0;
    }

    /// Takes the medium out.
    pub(super) fn eject(&mut self) -> Option<Box<dyn BlockBackend>> {
        self.flush_or_warn();
        self.changed = true;
        self.medium.take().map(|medium| medium.backend)
    }

    /// An empty drive is protected as well: its sensor sees no notch.
    pub(super) fn is_protected(&self) -> bool {
        self.medium.as_ref().is_none_or(|medium| medium.backend.is_read_only())
    }

    /// Moves the heads; a medium that is in the drive then is no longer new.
    pub(super) fn step_to(&mut self, cylinder: u8) {
        let cylinder = cylinder.min(LAST_CYLINDER);
        if cylinder != self.cylinder {
            self.cylinder = cylinder;
            self.changed = self.medium.is_none();
        }
    }

    /// Steps from one cylinder of the medium to the next: tracks of an old format are twice as wide.
    pub(super) fn step(&self) -> u8 {
        if self.geometry().is_some_and(|geometry| geometry.cylinders <= 42) { 2 } else { 1 }
    }

    /// The cylinder of the medium that the heads are over.
    pub(super) fn logical_cylinder(&self) -> u8 {
        self.cylinder / self.step()
    }

    /// The sector `r` (from 1) of the track under head `head`; `None` if the track does not have it.
    pub(super) fn place(&self, head: u8, r: u8) -> Option<Place> {
        let Geometry { sectors, cylinders, heads, .. } = self.geometry()?;
        let cylinder = self.logical_cylinder();
        if cylinder >= cylinders || head >= heads || !(1..=sectors).contains(&r) {
            return None;
        }
        let track = u32::from(cylinder) * u32::from(heads) + u32::from(head);
        Some(Place(track * u32::from(sectors) + u32::from(r) - 1))
    }

    /// Whether a sector has the mark of deleted data.
    pub(super) fn is_deleted(&self, place: Place) -> bool {
        self.medium.as_ref().is_some_and(|medium| medium.deleted.contains(&place.0))
    }

    pub(super) fn read(&mut self, place: Place, data: &mut [u8]) -> Result<(), BlockError> {
        match &mut self.medium {
            Some(medium) => medium.backend.read_at(place.offset(), data),
            None => Err(BlockError::OutOfRange { offset: place.offset(), len: data.len() }),
        }
    }

    pub(super) fn write(&mut self, place: Place, data: &[u8], deleted: bool) -> Result<(), BlockError> {
        let Some(medium) = &mut self.medium else { return Err(BlockError::ReadOnly) };
        medium.dirty = true;
        medium.backend.write_at(place.offset(), data)?;
        match deleted {
            true => medium.deleted.insert(place.0),
            false => medium.deleted.remove(&place.0),
        };
        Ok(())
    }

    /// Whether something was written that is not safe yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.medium.as_ref().is_some_and(|medium| medium.dirty)
    }

    /// Makes what was written safe. What the host could not do once it is not asked again.
    pub(super) fn flush(&mut self) -> Result<(), BlockError> {
        match self.medium.as_mut().filter(|medium| medium.dirty) {
            Some(medium) => {
                medium.dirty = false;
                medium.backend.flush()
            }
            None => Ok(()),
        }
    }

    /// The medium is about to leave the drive.
    fn flush_or_warn(&mut self) {
        if let Err(error) = self.flush() {
            log::warn!("isa-fdc: what was written to the medium may not survive a failure of the host: {error}");
        }
    }

    /// The sectors that have the mark of deleted data.
    pub(super) fn deleted(&self) -> Vec<u32> {
        self.medium.iter().flat_map(|medium| medium.deleted.iter().copied()).collect()
    }

    /// Whether the medium has all of these sectors.
    pub(super) fn has_sectors(&self, sectors: &[u32]) -> bool {
        let count = self.geometry().map_or(0, Geometry::count);
        sectors.iter().all(|sector| u64::from(*sector) < count)
    }

    /// Replaces these marks.
    pub(super) fn set_deleted(&mut self, sectors: &[u32]) {
        if let Some(medium) = &mut self.medium {
            medium.deleted = sectors.iter().copied().collect();
        }
    }
}

impl Drop for FloppyDrive {
    fn drop(&mut self) {
        self.flush_or_warn();
    }
}

impl Place {
    fn offset(self) -> u64 {
        u64::from(self.0) * SECTOR as u64
    }
}
