//! GET CONFIGURATION: features and profiles (MMC-3, clause 5).

use super::CdDrive;

const CD_ROM: u16 = 0x0008;
const DVD_ROM: u16 = 0x0010;

/// A feature.
struct Feature {
    code: u16,
    /// It is always current.
    persistent: bool,
    current: bool,
    body: Vec<u8>,
}

impl Feature {
    fn persistent(code: u16, body: &[u8]) -> Self {
        Self { code, persistent: true, current: true, body: body.to_vec() }
    }

    fn current(code: u16, current: bool, body: &[u8]) -> Self {
        Self { code, persistent: false, current, body: body.to_vec() }
    }

    fn descriptor(&self) -> Vec<u8> {
        let flags = u8::from(self.persistent) << 1 | u8::from(self.current);
        [&self.code.to_be_bytes()[..], &[flags, self.body.len() as u8], &self.body].concat()
    }
}

impl CdDrive {
    /// The features from `first` on: all (`which` 0), the current ones (1), or only this one (2).
    pub(super) fn configuration(&self, which: u8, first: u16) -> Option<Vec<u8>> {
        let (medium, dvd) = (self.has_medium(), self.has_dvd());
        let cd = medium && !dvd;
        let profile = match (cd, dvd) {
            (true, _) => CD_ROM,
            (_, true) => DVD_ROM,
            _ => 0,
        };
        let listed = |code: u16| [code.to_be_bytes(), [u8::from(code == profile), 0]].concat();
        let features = [
            Feature::persistent(0x0000, &[listed(DVD_ROM), listed(CD_ROM)].concat()),
            // Core: ATAPI.
            Feature::persistent(0x0001, &[0, 0, 0, 2]),
            // Removable medium: a tray that can be locked and ejected.
            Feature::persistent(0x0003, &[0x29, 0, 0, 0]),
            // Random readable: blocks of 2048 bytes; error recovery page.
            Feature::current(0x0010, medium, &[0, 0, 8, 0, 0, 1, 1, 0]),
            // Multi-read, CD read, DVD read.
            Feature::current(0x001d, cd, &[]),
            Feature::current(0x001e, cd, &[0, 0, 0, 0]),
            Feature::current(0x001f, dvd, &[]),
        ];
        let wanted = |feature: &&Feature| match which {
            0 => feature.code >= first,
            1 => feature.code >= first && feature.current,
            _ => feature.code == first,
        };
        if which > 2 {
            return None;
        }
        let descriptors: Vec<u8> = features.iter().filter(wanted).flat_map(Feature::descriptor).collect();
        let len = descriptors.len() as u32 + 4;
        Some([&len.to_be_bytes()[..], &[0, 0], &profile.to_be_bytes(), &descriptors].concat())
    }
}
