//! MODE SENSE and MODE SELECT (SPC-4, 6.10 and 7.5).

use super::{Cdb, Sense, opcode};

const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;
/// Longest list of parameters that a host may send.
pub(crate) const LONGEST_PARAMETERS: usize = 4096;

/// A page, from its code on.
pub(crate) struct Page {
    pub current: Vec<u8>,
    pub default: Vec<u8>,
    /// Bits that can be changed; in the first two bytes none.
    pub changeable: Vec<u8>,
}

impl Page {
    /// A page of which nothing can be changed.
    pub fn fixed(page: Vec<u8>) -> Self {
        Self { changeable: vec![0; page.len()], default: page.clone(), current: page }
    }

    fn code(&self) -> u8 {
        self.current[0] & 0x3f
    }
}

/// What comes before the pages.
#[derive(Default)]
pub(crate) struct Header {
    pub medium_type: u8,
    pub device_specific: u8,
    /// Number of blocks, and bytes of each.
    pub blocks: Option<(u64, u32)>,
}

impl Header {
    /// The block descriptor of the short kind.
    fn descriptor(&self) -> Vec<u8> {
        self.blocks.map_or_else(Vec::new, |(count, size)| {
            // As many as the field can have, or 0.
            let count = u32::try_from(count).ok().filter(|count| *count <= 0xff_ffff).unwrap_or(0);
            [count.to_be_bytes(), (size & 0xff_ffff).to_be_bytes()].concat()
        })
    }
}

/// The answer to MODE SENSE(6) or MODE SENSE(10), not cut to what the host wants.
pub(crate) fn sense(command: Cdb<'_>, header: &Header, pages: &[Page]) -> Result<Vec<u8>, Sense> {
    let (code, control, subpage) = (command.byte(2) & 0x3f, command.byte(2) >> 6, command.byte(3));
    if !matches!(subpage, 0 | ALL_SUBPAGES) {
        return Err(Sense::INVALID_FIELD);
    }
    let mut body = Vec::new();
    for page in pages.iter().filter(|page| code == ALL_PAGES || code == page.code()) {
        match control {
            0 => body.extend_from_slice(&page.current),
            1 => {
                body.extend_from_slice(&page.current[..2]);
                body.extend_from_slice(&page.changeable[2..]);
            }
            2 => body.extend_from_slice(&page.default),
            _ => return Err(Sense::SAVING_NOT_SUPPORTED),
        }
    }
    if body.is_empty() {
        return Err(Sense::INVALID_FIELD);
    }
    // The host may do without the block descriptor.
    let descriptor = if command.byte(1) & 8 != 0 { Vec::new() } else { header.descriptor() };
    let Header { medium_type, device_specific, .. } = header;
    let after = descriptor.len() + body.len();
    let head = if command.opcode() == opcode::MODE_SENSE_6 {
        vec![(after + 3) as u8, *medium_type, *device_specific, descriptor.len() as u8]
    } else {
        let [high, low] = ((after + 6) as u16).to_be_bytes();
        vec![high, low, *medium_type, *device_specific, 0, 0, 0, descriptor.len() as u8]
    };
    Ok([head, descriptor, body].concat())
}

/// How many bytes of parameters follow on MODE SELECT(6) or (10).
pub(crate) fn select_length(command: Cdb<'_>) -> Result<usize, Sense> {
    let len = match command.opcode() {
        opcode::MODE_SELECT_6 => command.byte(4).into(),
        _ => command.word(7).into(),
    };
    match command.byte(1) & 0x11 {
        _ if len > LONGEST_PARAMETERS => Err(Sense::PARAMETER_LIST_LENGTH),
        // The page format, and nothing that would have to be saved.
        0x10 => Ok(len),
        _ => Err(Sense::INVALID_FIELD),
    }
}

/// The pages that a list of parameters has, all of them possible, of a unit with these blocks.
pub(crate) fn select(short: bool, list: &[u8], header: &Header, pages: &[Page]) -> Result<Vec<Vec<u8>>, Sense> {
    let (before, len) = if short { (4, list.get(3..4)) } else { (8, list.get(6..8)) };
    let len = len.ok_or(Sense::PARAMETER_LIST_LENGTH)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    let rest = list.get(before..).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let (descriptor, mut rest) = rest.split_at_checked(len).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    // The medium keeps its format: only a descriptor that says so is accepted.
    if !descriptor.is_empty() && descriptor != header.descriptor() {
        return Err(Sense::INVALID_PARAMETER);
    }
    let mut selected = Vec::new();
    while let [code, len, ..] = rest {
        let whole = 2 + usize::from(*len);
        let page = pages.iter().find(|page| page.code() == code & 0x3f && code & 0x40 == 0);
        let page = page.filter(|page| page.current.len() == whole).ok_or(Sense::INVALID_PARAMETER)?;
        let (values, next) = rest.split_at_checked(whole).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
        let mut bits = page.current.iter().zip(&page.changeable).zip(values).skip(2);
        if bits.any(|((current, changeable), value)| (current ^ value) & !changeable != 0) {
            return Err(Sense::INVALID_PARAMETER);
        }
        selected.push(values.to_vec());
        rest = next;
    }
    if rest.is_empty() { Ok(selected) } else { Err(Sense::PARAMETER_LIST_LENGTH) }
}
