//! Sectors of mode 1 as they are on a CD (ECMA-130): what is around the data.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::BLOCK;
use super::toc::time;

/// Bytes of a sector with everything.
pub(crate) const LEN: usize = 2352;
const SYNC: [u8; 12] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
const HEADER: usize = 12;
const DATA: usize = 16;
/// Checksum, eight zeroes, error correction.
const EDC: usize = DATA + BLOCK;
const P_PARITY: usize = EDC + 12;
const Q_PARITY: usize = P_PARITY + 172;

/// Which fields of a sector READ CD gives, as bits of its flag byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(u8);

impl Fields {
    const SYNC: u8 = 0x80;
    /// The header; a sector of mode 1 has no subheader, whose bit is 40h.
    const HEADER: u8 = 0x20;
    const DATA: u8 = 0x10;
    const CORRECTION: u8 = 0x08;
    /// The data and nothing else.
    pub const PLAIN: Self = Self(Self::DATA);

    /// The fields of a flag byte; `None`: it asks for error flags.
    pub fn new(flags: u8) -> Option<Self> {
        let known = Self::SYNC | Self::HEADER | Self::DATA | Self::CORRECTION;
        (flags & 0x06 == 0).then_some(Self(flags & known))
    }

    /// Whether it is the data and nothing else.
    pub fn is_plain(self) -> bool {
        self == Self::PLAIN
    }

    fn ranges(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let fields = [
            (Self::SYNC, 0..HEADER),
            (Self::HEADER, HEADER..DATA),
            (Self::DATA, DATA..EDC),
            (Self::CORRECTION, EDC..LEN),
        ];
        fields.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, range)| range)
    }

    /// Bytes of a sector that the host gets.
    pub fn len(self) -> usize {
        self.ranges().map(|range| range.len()).sum()
    }

    /// Appends them for the sector `number` with this data.
    pub fn append(self, to: &mut Vec<u8>, number: u32, data: &[u8]) {
        if self.is_plain() {
            to.extend_from_slice(data);
            return;
        }
        let sector = sector(number, data);
        self.ranges().for_each(|range| to.extend_from_slice(&sector[range]));
    }
}

/// A whole sector.
fn sector(number: u32, data: &[u8]) -> [u8; LEN] {
    let mut sector = [0; LEN];
    sector[..HEADER].copy_from_slice(&SYNC);
    // Two decimal digits; a disc that is too long for them has wrong ones.
    let decimal = |value: u8| (value / 10 % 16 * 16) | (value % 10);
    sector[HEADER..HEADER + 3].copy_from_slice(&time(number).map(decimal));
    sector[HEADER + 3] = 1;
    sector[DATA..EDC].copy_from_slice(data);
    let checksum = checksum(&sector[..EDC]);
    sector[EDC..EDC + 4].copy_from_slice(&checksum.to_le_bytes());
    correct(&mut sector, P_PARITY, |column, row| 2 * 43 * row + column, 86, 24);
    correct(&mut sector, Q_PARITY, |column, row| (column / 2 * 86 + column % 2 + 88 * row) % 2236, 52, 43);
    sector
}

/// The 32-bit checksum: polynomial (x16 + x15 + x2 + 1)(x16 + x2 + x + 1), lowest bit first.
fn checksum(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xd801_8001;
    data.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 != 0 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 })
    })
}

/// Multiplication by x in the field of 256 elements with x8 + x4 + x3 + x2 + 1.
const fn double(value: u8) -> u8 {
    value << 1 ^ if value & 0x80 != 0 { 0x1d } else { 0 }
}

/// Division by x + 1.
static HALVES: LazyLock<[u8; 256]> = LazyLock::new(|| {
    let mut table = [0; 256];
    (0..=255_u8).for_each(|value| table[usize::from(value ^ double(value))] = value);
    table
});

/// Writes the two parity bytes of each of `columns` columns, whose `rows` bytes lie where `place` says, counted from the header.
fn correct(sector: &mut [u8; LEN], to: usize, place: impl Fn(usize, usize) -> usize, columns: usize, rows: usize) {
    for column in 0..columns {
        let (mut weighted, mut sum) = (0, 0);
        for row in 0..rows {
            let byte = sector[HEADER + place(column, row)];
            weighted = double(weighted ^ byte);
            sum ^= byte;
        }
        let first = HALVES[usize::from(double(weighted) ^ sum)];
        sector[to + column] = first;
        sector[to + columns + column] = first ^ sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The syndromes of every column are zero: what a drive's decoder checks.
    #[test]
    fn checksum_and_parity_are_those_of_the_standard() {
        let data: Vec<u8> = (0..BLOCK).map(|at| (at * 7 + at / 256) as u8).collect();
        let sector = sector(4350, &data);
        assert_eq!(sector[12..16], [0x01, 0x00, 0x00, 0x01], "a minute after the start, mode 1");
        // A message followed by its checksum leaves the remainder 0.
        assert_eq!(checksum(&sector[..EDC + 4]), 0);
        for (to, columns, rows, place) in [
            (P_PARITY, 86, 24, (|column, row| 86 * row + column) as fn(usize, usize) -> usize),
            (Q_PARITY, 52, 43, |column, row| (column / 2 * 86 + column % 2 + 88 * row) % 2236),
        ] {
            for column in 0..columns {
                let parity = [sector[to + column], sector[to + columns + column]];
                let word = (0..rows).map(|row| sector[HEADER + place(column, row)]).chain(parity);
                let (sum, weighted) = word.fold((0, 0), |(sum, weighted), byte| (sum ^ byte, double(weighted) ^ byte));
                assert_eq!((sum, weighted), (0, 0), "column {column} of {columns}");
            }
        }
    }

    #[test]
    fn fields_are_cut_out_in_their_order() {
        let data = [0x5a; BLOCK];
        for (flags, len) in [(0x10, 2048), (0xf8, 2352), (0x20, 4), (0x30, 2052), (0x18, 2336), (0x00, 0), (0xa0, 16)] {
            let fields = Fields::new(flags).unwrap();
            let mut out = Vec::new();
            fields.append(&mut out, 0, &data);
            assert_eq!((out.len(), fields.len()), (len, len), "{flags:#x}");
        }
        assert_eq!(Fields::new(0x12), None);
    }
}
