//! The keyboard by itself, in the codes of the IBM PS/2 Technical Reference.

use super::*;

const MS: u64 = 1_000_000;
const NOTHING: [u8; 0] = [];

fn read(keyboard: &mut Keyboard) -> Vec<u8> {
    std::iter::from_fn(|| keyboard.next_byte()).collect()
}

/// What a command answers.
fn ask(keyboard: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
    bytes.iter().for_each(|&byte| keyboard.write(byte));
    read(keyboard)
}

/// What pressing and releasing a key sends.
fn stroke(keyboard: &mut Keyboard, key: KeyCode) -> (Vec<u8>, Vec<u8>) {
    keyboard.key(key, true, 0);
    let make = read(keyboard);
    keyboard.key(key, false, 0);
    (make, read(keyboard))
}

fn in_set(set: u8) -> Keyboard {
    let mut keyboard = Keyboard::new();
    assert_eq!(ask(&mut keyboard, &[0xf0, set]), [0xfa, 0xfa]);
    keyboard
}

#[test]
fn commands_are_answered() {
    let mut keyboard = Keyboard::new();
    for (bytes, answer) in [
        (&[0xed, 0x07][..], &[0xfa, 0xfa][..]),
        (&[0xee], &[0xee]),
        (&[0xf0, 0x00], &[0xfa, 0xfa, 0x02]),
        (&[0xf0, 0x03], &[0xfa, 0xfa]),
        (&[0xf0, 0x00], &[0xfa, 0xfa, 0x03]),
        (&[0xf0, 0x04], &[0xfa, 0xfe]),
        (&[0xf2], &[0xfa, 0xab, 0x83]),
        (&[0xf3, 0x00], &[0xfa, 0xfa]),
        (&[0xf4], &[0xfa]),
        (&[0xf5], &[0xfa]),
        (&[0xf6], &[0xfa]),
        (&[0xf7], &[0xfa]),
        (&[0xf8], &[0xfa]),
        (&[0xf9], &[0xfa]),
        (&[0xfa], &[0xfa]),
        (&[0xfb, 0x1c, 0x32], &[0xfa, 0xfa, 0xfa]),
        (&[0xfc, 0x84, 0x8d], &[0xfa, 0xfa, 0xfa]),
        (&[0xfd, 0x02], &[0xfa, 0xfe]),
        (&[0xff], &[0xfa, 0xaa]),
        (&[0xfe], &[0xaa]),
        (&[0xef], &[0xfe]),
        (&[0xf1], &[0xfe]),
        (&[0x55], &[0xfe]),
    ] {
        assert_eq!(ask(&mut keyboard, bytes), answer, "{bytes:x?}");
    }
}

#[test]
fn a_command_in_place_of_a_parameter_is_obeyed() {
    let mut keyboard = Keyboard::new();
    assert_eq!(ask(&mut keyboard, &[0xed, 0xf2]), [0xfa, 0xfa, 0xab, 0x83]);
    assert_eq!(ask(&mut keyboard, &[0xfb, 0x1c, 0xee]), [0xfa, 0xfa, 0xee]);
    assert_eq!(keyboard.leds(), Leds::default());
}

#[test]
fn leds_follow_the_host_until_reset() {
    let mut keyboard = Keyboard::new();
    ask(&mut keyboard, &[0xed, 0x05]);
    assert_eq!(keyboard.leds(), Leds { scroll_lock: true, num_lock: false, caps_lock: true });
    ask(&mut keyboard, &[0xff]);
    assert_eq!(keyboard.leds(), Leds::default());
}

#[test]
fn one_key_in_three_sets() {
    assert_eq!(stroke(&mut in_set(1), KeyCode::A), (vec![0x1e], vec![0x9e]));
    assert_eq!(stroke(&mut in_set(2), KeyCode::A), (vec![0x1c], vec![0xf0, 0x1c]));
    assert_eq!(stroke(&mut in_set(3), KeyCode::A), (vec![0x1c], vec![]), "typematic keys of set 3 report no release");
    assert_eq!(stroke(&mut in_set(3), KeyCode::ShiftLeft), (vec![0x12], vec![0xf0, 0x12]));
    assert_eq!(stroke(&mut in_set(1), KeyCode::CtrlRight), (vec![0xe0, 0x1d], vec![0xe0, 0x9d]));
    assert_eq!(stroke(&mut in_set(2), KeyCode::CtrlRight), (vec![0xe0, 0x14], vec![0xe0, 0xf0, 0x14]));
    assert_eq!(stroke(&mut in_set(3), KeyCode::CtrlRight), (vec![0x58], vec![]));
}

#[test]
fn key_types_rule_set_3() {
    for (command, make_break) in [(0xf7, false), (0xf8, true), (0xf9, false), (0xfa, true)] {
        let mut keyboard = in_set(3);
        ask(&mut keyboard, &[command]);
        let (_, up) = stroke(&mut keyboard, KeyCode::F1);
        assert_eq!(up, if make_break { vec![0xf0, 0x07] } else { vec![] }, "{command:x}");
        keyboard.key(KeyCode::F1, true, 0);
        read(&mut keyboard);
        keyboard.key(KeyCode::F1, true, 600 * MS);
        let repeats = matches!(command, 0xf7 | 0xfa);
        assert_eq!(read(&mut keyboard), if repeats { vec![0x07] } else { vec![] }, "{command:x}");
    }
    let mut keyboard = in_set(3);
    ask(&mut keyboard, &[0xfc, 0x1c, 0xf4]);
    assert_eq!(stroke(&mut keyboard, KeyCode::A).1, [0xf0, 0x1c]);
    assert_eq!(stroke(&mut keyboard, KeyCode::B).1, NOTHING);
    ask(&mut keyboard, &[0xf6, 0xf0, 0x03]);
    assert_eq!(stroke(&mut keyboard, KeyCode::A).1, NOTHING, "defaults are back");
}

#[test]
fn pause_has_no_release() {
    let sequence = vec![0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77];
    assert_eq!(stroke(&mut in_set(2), KeyCode::Pause), (sequence, vec![]));
    assert_eq!(stroke(&mut in_set(1), KeyCode::Pause), (vec![0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], vec![]));
    let mut keyboard = in_set(1);
    stroke_modifier(&mut keyboard, KeyCode::CtrlLeft);
    assert_eq!(stroke(&mut keyboard, KeyCode::Pause), (vec![0xe0, 0x46, 0xe0, 0xc6], vec![]));
}

fn stroke_modifier(keyboard: &mut Keyboard, key: KeyCode) {
    keyboard.key(key, true, 0);
    read(keyboard);
}

#[test]
fn print_screen_depends_on_the_modifiers() {
    for (modifier, make, up) in [
        (None, &[0xe0, 0x2a, 0xe0, 0x37][..], &[0xe0, 0xb7, 0xe0, 0xaa][..]),
        (Some(KeyCode::CtrlLeft), &[0xe0, 0x37], &[0xe0, 0xb7]),
        (Some(KeyCode::ShiftRight), &[0xe0, 0x37], &[0xe0, 0xb7]),
        (Some(KeyCode::AltLeft), &[0x54], &[0xd4]),
    ] {
        let mut keyboard = in_set(1);
        modifier.into_iter().for_each(|key| stroke_modifier(&mut keyboard, key));
        assert_eq!(stroke(&mut keyboard, KeyCode::Print), (make.to_vec(), up.to_vec()), "{modifier:?}");
    }
}

#[test]
fn cursor_keys_come_with_simulated_shifts() {
    let plain = (vec![0xe0, 0x74], vec![0xe0, 0xf0, 0x74]);
    let with_num_lock = (vec![0xe0, 0x12, 0xe0, 0x74], vec![0xe0, 0xf0, 0x74, 0xe0, 0xf0, 0x12]);
    let with_shift = (vec![0xe0, 0xf0, 0x12, 0xe0, 0x74], vec![0xe0, 0xf0, 0x74, 0xe0, 0x12]);
    let mut keyboard = Keyboard::new();
    assert_eq!(stroke(&mut keyboard, KeyCode::Right), plain);
    stroke_modifier(&mut keyboard, KeyCode::ShiftLeft);
    assert_eq!(stroke(&mut keyboard, KeyCode::Right), with_shift);
    ask(&mut keyboard, &[0xed, 0x02]);
    assert_eq!(stroke(&mut keyboard, KeyCode::Right), plain, "Num Lock and Shift cancel");
    keyboard.key(KeyCode::ShiftLeft, false, 0);
    read(&mut keyboard);
    assert_eq!(stroke(&mut keyboard, KeyCode::Right), with_num_lock);
    assert_eq!(stroke(&mut keyboard, KeyCode::KeypadDivide).0, [0xe0, 0x4a], "which knows only the Shift case");
}

#[test]
fn both_shifts_are_taken_back() {
    let mut keyboard = Keyboard::new();
    stroke_modifier(&mut keyboard, KeyCode::ShiftLeft);
    stroke_modifier(&mut keyboard, KeyCode::ShiftRight);
    let (make, up) = stroke(&mut keyboard, KeyCode::KeypadDivide);
    assert_eq!(make, [0xe0, 0xf0, 0x12, 0xe0, 0xf0, 0x59, 0xe0, 0x4a]);
    assert_eq!(up, [0xe0, 0xf0, 0x4a, 0xe0, 0x59, 0xe0, 0x12]);
}

#[test]
fn repetition_keeps_to_delay_and_rate() {
    // 0x2b is the default: 500 ms, 10.9 per second, which is 91.67 ms.
    let mut keyboard = Keyboard::new();
    let mut repeats = Vec::new();
    for ms in (0..1000).step_by(10) {
        keyboard.key(KeyCode::A, true, ms * MS);
        if ms > 0 && read(&mut keyboard) == [0x1c] {
            repeats.push(ms);
        } else {
            read(&mut keyboard);
        }
    }
    assert_eq!(repeats, [500, 600, 690, 780, 870, 960]);
    keyboard.key(KeyCode::A, false, 1000 * MS);
    assert_eq!(read(&mut keyboard), [0xf0, 0x1c]);

    // 250 ms, 30 per second: 33.3 ms. A host that repeats every 33 ms loses nothing from 264 ms on.
    ask(&mut keyboard, &[0xf3, 0x00]);
    let count = (0..1000).step_by(33).filter(|ms| {
        keyboard.key(KeyCode::A, true, ms * MS);
        !read(&mut keyboard).is_empty()
    });
    assert_eq!(count.count(), 1 + 23);
}

#[test]
fn only_the_last_key_repeats() {
    let mut keyboard = Keyboard::new();
    keyboard.key(KeyCode::A, true, 0);
    keyboard.key(KeyCode::B, true, 0);
    read(&mut keyboard);
    keyboard.key(KeyCode::A, true, 600 * MS);
    assert_eq!(read(&mut keyboard), NOTHING);
    keyboard.key(KeyCode::B, true, 600 * MS);
    assert_eq!(read(&mut keyboard), [0x32]);
    keyboard.key(KeyCode::Pause, true, 600 * MS);
    read(&mut keyboard);
    keyboard.key(KeyCode::Pause, true, 2000 * MS);
    assert_eq!(read(&mut keyboard), NOTHING, "Pause never does");
}

#[test]
fn a_full_buffer_ends_in_the_overrun_code() {
    for (set, overrun) in [(1, 0xff), (2, 0x00)] {
        let mut keyboard = in_set(set);
        for key in &KeyCode::ALL[..20] {
            keyboard.key(*key, true, 0);
        }
        let bytes = read(&mut keyboard);
        assert_eq!((bytes.len(), bytes.last().copied()), (17, Some(overrun)));
        assert_eq!(stroke(&mut keyboard, KeyCode::Z).0.len(), 1, "it goes on once the buffer is read");
    }
}

#[test]
fn answers_go_before_key_strokes_and_parameters_hold_them_back() {
    let mut keyboard = Keyboard::new();
    keyboard.key(KeyCode::A, true, 0);
    keyboard.write(0xed);
    assert_eq!(read(&mut keyboard), [0xfa]);
    keyboard.write(0x00);
    assert_eq!(read(&mut keyboard), [0xfa, 0x1c]);
}

#[test]
fn a_disabled_keyboard_is_silent() {
    let mut keyboard = Keyboard::new();
    ask(&mut keyboard, &[0xf5]);
    assert_eq!(stroke(&mut keyboard, KeyCode::A), (vec![], vec![]));
    ask(&mut keyboard, &[0xf6]);
    assert_eq!(stroke(&mut keyboard, KeyCode::A), (vec![], vec![]), "Set Default does not enable");
    ask(&mut keyboard, &[0xf4]);
    assert_eq!(stroke(&mut keyboard, KeyCode::A).0, [0x1c]);
}

#[test]
fn every_key_makes_a_sound_and_lets_go() {
    for set in 1..=3 {
        let mut keyboard = in_set(set);
        for &key in KeyCode::ALL {
            let (make, up) = stroke(&mut keyboard, key);
            assert!(make.len() <= 8 && up.len() <= 8, "{key:?}");
            assert_eq!(make.is_empty(), set == 3 && codes(key).set3.is_none(), "{key:?} in set {set}");
        }
        assert!(keyboard.pressed.is_empty());
    }
}

#[test]
fn a_host_that_never_reads_costs_nothing() {
    let mut keyboard = Keyboard::new();
    for _ in 0..1000 {
        keyboard.write(0xf2);
    }
    assert!(read(&mut keyboard).len() <= super::super::MAX_REPLIES);
}
