//! The table of contents of a disc with one session and one track of data.

/// Number of the lead-out "track".
const LEAD_OUT: u8 = 0xaa;
/// Data track; the subchannel has the position.
const DATA_TRACK: u8 = 0x14;
/// The same, and copying is permitted: what QEMU's lead-out says.
const DATA_LEAD_OUT: u8 = 0x16;
/// Frames before the first block.
const PREGAP: u32 = 150;

/// Minute, second and frame of a block.
pub(super) fn time(block: u32) -> [u8; 3] {
    let frames = block.saturating_add(PREGAP);
    let minutes = u8::try_from(frames / (75 * 60)).unwrap_or(u8::MAX);
    [minutes, (frames / 75 % 60) as u8, (frames % 75) as u8]
}

/// READ TOC/PMA/ATIP for a disc of `blocks` blocks; `None`: there is no such format or track.
pub(super) fn read(format: u8, as_time: bool, start: u8, blocks: u32) -> Option<Vec<u8>> {
    let position = |block: u32| match as_time {
        true => {
            let [minute, second, frame] = time(block);
            [0, minute, second, frame]
        }
        false => block.to_be_bytes(),
    };
    let entries: Vec<u8> = match format {
        // Tracks.
        0 => {
            if start > 1 && start != LEAD_OUT {
                return None;
            }
            let track = |control, number, block| [&[0, control, number, 0], &position(block)[..]].concat();
            let first = if start <= 1 { track(DATA_TRACK, 1, 0) } else { Vec::new() };
            [first, track(DATA_LEAD_OUT, LEAD_OUT, blocks)].concat()
        }
        // The last session, which is the first one.
        1 => [&[0, DATA_TRACK, 1, 0], &position(0)[..]].concat(),
        // The entries as the disc has them: first track, last track, lead-out, the track.
        2 => {
            let entry = |point, [a, b, c]: [u8; 3]| [1, DATA_TRACK, 0, point, 0, 0, 0, 0, a, b, c];
            let entries =
                [entry(0xa0, [1, 0, 0]), entry(0xa1, [1, 0, 0]), entry(0xa2, time(blocks)), entry(1, time(0))];
            entries.concat()
        }
        _ => return None,
    };
    // First and last track or session.
    Some([&(entries.len() as u16 + 2).to_be_bytes()[..], &[1, 1], &entries].concat())
}
