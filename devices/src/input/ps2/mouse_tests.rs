//! The mouse by itself, as the IBM PS/2 Technical Reference and Microsoft's notes on the wheel describe it.

use super::*;

const MS: u64 = 1_000_000;
const NOTHING: [u8; 0] = [];

fn read(mouse: &mut Mouse, now: u64) -> Vec<u8> {
    std::iter::from_fn(|| mouse.next_byte(now)).collect()
}

/// What a command answers.
fn ask(mouse: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
    bytes.iter().for_each(|&byte| mouse.write(byte));
    std::iter::from_fn(|| mouse.output.pop_reply()).collect()
}

fn streaming(setup: &[u8]) -> Mouse {
    let mut mouse = Mouse::new();
    ask(&mut mouse, setup);
    assert_eq!(ask(&mut mouse, &[0xf4]), [0xfa]);
    mouse
}

const INTELLIMOUSE: [u8; 6] = [0xf3, 200, 0xf3, 100, 0xf3, 80];
const EXPLORER: [u8; 6] = [0xf3, 200, 0xf3, 200, 0xf3, 80];

#[test]
fn commands_are_answered() {
    let mut mouse = Mouse::new();
    for (bytes, answer) in [
        (&[0xf2][..], &[0xfa, 0x00][..]),
        (&[0xe9], &[0xfa, 0x00, 0x02, 100]),
        (&[0xe8, 0x03], &[0xfa, 0xfa]),
        (&[0xf3, 40], &[0xfa, 0xfa]),
        (&[0xe7], &[0xfa]),
        (&[0xf4], &[0xfa]),
        (&[0xe9], &[0xfa, 0x30, 0x03, 40]),
        (&[0xf0], &[0xfa]),
        (&[0xe6], &[0xfa]),
        (&[0xf5], &[0xfa]),
        (&[0xe9], &[0xfa, 0x40, 0x03, 40]),
        (&[0xea], &[0xfa]),
        (&[0xf6], &[0xfa]),
        (&[0xe9], &[0xfa, 0x00, 0x02, 100]),
        (&[0xfe], &[0xfa, 0x00, 0x02, 100]),
        (&[0xeb], &[0xfa, 0x08, 0x00, 0x00]),
        (&[0xff], &[0xfa, 0xaa, 0x00]),
    ] {
        assert_eq!(ask(&mut mouse, bytes), answer, "{bytes:x?}");
    }
}

#[test]
fn the_second_invalid_byte_in_a_row_is_an_error() {
    let mut mouse = Mouse::new();
    assert_eq!(ask(&mut mouse, &[0xe8, 0x04]), [0xfa, 0xfe]);
    assert_eq!(ask(&mut mouse, &[0x12]), [0xfc]);
    assert_eq!(ask(&mut mouse, &[0xf3, 50]), [0xfa, 0xfe]);
    assert_eq!(ask(&mut mouse, &[0xe9]), [0xfa, 0x00, 0x02, 100]);
}

#[test]
fn packets_hold_signed_nine_bit_counts() {
    let mut mouse = streaming(&[]);
    for (at, (right, down, packet)) in
        [(5, -3, [0x08, 5, 3]), (-1, 1, [0x38, 0xff, 0xff]), (255, -255, [0x08, 255, 255]), (-255, 0, [0x18, 1, 0])]
            .into_iter()
            .enumerate()
    {
        mouse.move_by(right, down);
        assert_eq!(read(&mut mouse, at as u64 * 10 * MS), packet, "{right} {down}");
    }
}

#[test]
fn long_movements_take_several_packets() {
    let mut mouse = streaming(&[]);
    mouse.move_by(600, 0);
    assert_eq!(read(&mut mouse, 0), [0x08, 255, 0]);
    assert_eq!(mouse.wakes_at(), Some(10 * MS));
    assert_eq!(read(&mut mouse, 10 * MS - 1), NOTHING);
    assert_eq!(read(&mut mouse, 10 * MS), [0x08, 255, 0]);
    assert_eq!(read(&mut mouse, 20 * MS), [0x08, 90, 0]);
    assert_eq!(read(&mut mouse, 30 * MS), NOTHING);
    assert_eq!(mouse.wakes_at(), None);
}

#[test]
fn movement_between_samples_is_summed_but_clicks_are_kept() {
    let mut mouse = streaming(&[]);
    mouse.move_by(1, 0);
    assert_eq!(read(&mut mouse, 0), [0x08, 1, 0]);
    mouse.move_by(1, 0);
    mouse.move_by(2, 0);
    mouse.button(MouseButton::Left, true);
    mouse.button(MouseButton::Left, false);
    mouse.move_by(0, -1);
    assert_eq!(read(&mut mouse, 10 * MS), [0x08, 3, 0]);
    assert_eq!(read(&mut mouse, 20 * MS), [0x09, 0, 0]);
    assert_eq!(read(&mut mouse, 30 * MS), [0x08, 0, 1]);
    mouse.button(MouseButton::Left, false);
    assert_eq!(mouse.wakes_at(), None, "nothing has changed");
}

#[test]
fn the_sampling_rate_paces_reports() {
    let mut mouse = streaming(&[0xf3, 20]);
    let mut packets = 0;
    for ms in 0..1000 {
        mouse.move_by(1, 0);
        packets += read(&mut mouse, ms * MS).len() / 3;
    }
    assert_eq!(packets, 20);
}

#[test]
fn buttons_have_their_bits() {
    let mut mouse = streaming(&[]);
    mouse.button(MouseButton::Left, true);
    mouse.button(MouseButton::Right, true);
    mouse.button(MouseButton::Middle, true);
    assert_eq!(read(&mut mouse, 0), [0x09, 0, 0]);
    assert_eq!(read(&mut mouse, 10 * MS), [0x0b, 0, 0]);
    assert_eq!(read(&mut mouse, 20 * MS), [0x0f, 0, 0]);
    mouse.button(MouseButton::Middle, false);
    assert_eq!(ask(&mut mouse, &[0xe9])[1], 0x25, "status: left is bit 2, right is bit 0");
}

#[test]
fn scaling_bends_small_counts_and_doubles_the_rest() {
    let mut mouse = streaming(&[0xe7]);
    for (at, (counts, scaled)) in [(1, 1), (2, 1), (3, 3), (4, 6), (5, 9), (6, 12), (100, 200)].into_iter().enumerate()
    {
        mouse.move_by(counts, 0);
        assert_eq!(read(&mut mouse, at as u64 * 10 * MS)[1], scaled, "{counts}");
    }
    mouse.move_by(5, 0);
    assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 0x08, 5, 0], "reading data does not scale");
}

#[test]
fn remote_mode_reports_when_asked() {
    let mut mouse = streaming(&[0xf0]);
    mouse.move_by(7, 0);
    assert_eq!(read(&mut mouse, 0), NOTHING);
    assert_eq!(mouse.wakes_at(), None);
    assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 0x08, 7, 0]);
    assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 0x08, 0, 0]);
    mouse.move_by(7, 0);
    ask(&mut mouse, &[0xea]);
    assert_eq!(read(&mut mouse, 0), NOTHING, "changing the mode resets the counters");
    mouse.move_by(1, 0);
    assert_eq!(read(&mut mouse, 0), [0x08, 1, 0]);
}

#[test]
fn wrap_mode_echoes_all_but_its_end() {
    let mut mouse = streaming(&[]);
    assert_eq!(ask(&mut mouse, &[0xee]), [0xfa]);
    assert_eq!(ask(&mut mouse, &[0xf2, 0xee, 0x00, 0xfe]), [0xf2, 0xee, 0x00, 0xfe]);
    mouse.move_by(1, 0);
    assert_eq!(read(&mut mouse, 0), NOTHING);
    assert_eq!(ask(&mut mouse, &[0xec]), [0xfa]);
    mouse.move_by(1, 0);
    assert_eq!(read(&mut mouse, 0), [0x08, 1, 0], "back in the mode before");
    assert_eq!(ask(&mut mouse, &[0xee]), [0xfa]);
    assert_eq!(ask(&mut mouse, &[0xff]), [0xfa, 0xaa, 0x00]);
    assert_eq!(ask(&mut mouse, &[0xe9]), [0xfa, 0x00, 0x02, 100]);
}

#[test]
fn the_wheel_wakes_up() {
    let mut mouse = streaming(&INTELLIMOUSE);
    assert_eq!(ask(&mut mouse, &[0xf2]), [0xfa, 0x03]);
    mouse.scroll(-1, 5);
    assert_eq!(read(&mut mouse, 0), [0x08, 0, 0, 0xff]);
    mouse.scroll(10, 0);
    assert_eq!(read(&mut mouse, 20 * MS), [0x08, 0, 0, 7]);
    assert_eq!(read(&mut mouse, 40 * MS), [0x08, 0, 0, 3]);
    assert_eq!(ask(&mut mouse, &[0xff]), [0xfa, 0xaa, 0x00]);
    assert_eq!(ask(&mut mouse, &[0xf2]), [0xfa, 0x00]);
}

#[test]
fn the_explorer_has_five_buttons_and_two_wheels() {
    let mut mouse = streaming(&EXPLORER);
    assert_eq!(ask(&mut mouse, &[0xf2]), [0xfa, 0x04]);
    mouse.button(MouseButton::Side, true);
    mouse.button(MouseButton::Extra, true);
    assert_eq!(read(&mut mouse, 0), [0x08, 0, 0, 0x10]);
    assert_eq!(read(&mut mouse, 20 * MS), [0x08, 0, 0, 0x30]);
    mouse.scroll(-1, 0);
    assert_eq!(read(&mut mouse, 40 * MS), [0x08, 0, 0, 0x3f]);
    mouse.scroll(1, 2);
    assert_eq!(read(&mut mouse, 60 * MS), [0x08, 0, 0, 0x7e], "to the right by two");
    assert_eq!(read(&mut mouse, 80 * MS), [0x08, 0, 0, 0x31]);
}

#[test]
fn a_command_cuts_a_packet_short() {
    let mut mouse = streaming(&[]);
    mouse.move_by(1, 1);
    assert_eq!(mouse.next_byte(0), Some(0x28));
    assert_eq!(ask(&mut mouse, &[0xf5]), [0xfa]);
    assert_eq!(read(&mut mouse, 0), NOTHING);
}

#[test]
fn the_last_packet_can_be_had_again() {
    let mut mouse = streaming(&[]);
    mouse.move_by(1, -2);
    assert_eq!(read(&mut mouse, 0), [0x08, 1, 2]);
    assert_eq!(ask(&mut mouse, &[0xfe]), [0x08, 1, 2]);
}

#[test]
fn a_mouse_nobody_reads_keeps_little() {
    let mut mouse = streaming(&[]);
    for turn in 0..1000 {
        mouse.move_by(i32::MAX, i32::MIN);
        mouse.scroll(i32::MIN, i32::MAX);
        mouse.button(MouseButton::Left, turn % 2 == 0);
    }
    assert_eq!(mouse.motions.len(), MAX_MOTIONS);
    let state = mouse.save();
    assert!(Mouse::restore(state).is_ok());
}
