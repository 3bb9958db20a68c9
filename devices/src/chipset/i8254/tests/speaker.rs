//! The speaker, as programs sound it.

use std::sync::Mutex;

use super::*;

/// Counter 2: both bytes, mode 3, binary.
const SQUARE_WAVE: u8 = 0xb6;
/// Port 61h: the gate of counter 2 is high, and its OUT reaches the speaker.
const ON: u8 = 0x03;

/// What a speaker was told.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Option<Tone>>>>);

impl Speaker for Ear {
    fn sound(&mut self, tone: Option<Tone>) {
        lock(&self.0).push(tone);
    }
}

impl Ear {
    /// In hertz; 0 is silence.
    fn heard(&self) -> Vec<f64> {
        std::mem::take(&mut *lock(&self.0)).into_iter().map(|tone| tone.map_or(0.0, Tone::hertz)).collect()
    }
}

fn rig() -> (Rig, Ear) {
    let ear = Ear::default();
    let (line, irq) = IrqLine::probed();
    let (pit, clock, queue) = timer_with(Box::new(ear.clone()), line, LostTicks::Discard);
    (Rig { pit, clock, queue, irq }, ear)
}

/// Whether these are the frequencies of the clock's 1193182 Hz divided by `counts`; 0 stands for silence.
fn are_of(heard: &[f64], counts: &[u32]) -> bool {
    let right = |(heard, count): (&f64, &u32)| match count {
        0 => *heard == 0.0,
        _ => (heard * f64::from(*count) - 1_193_182.0).abs() < 0.01,
    };
    heard.len() == counts.len() && heard.iter().zip(counts).all(right)
}

#[track_caller]
fn check(ear: &Ear, counts: &[u32]) {
    let heard = ear.heard();
    assert!(are_of(&heard, counts), "{heard:?} are not 1193182 Hz divided by {counts:?}");
}

fn shown(rig: &Rig) -> String {
    let mut report = Inspector::default();
    lock(&rig.pit).inspect(&mut report);
    report.items().iter().find(|(name, _)| name == "speaker").map(|(_, value)| value.to_string()).unwrap()
}

#[test]
fn it_sounds_the_square_wave_that_port_61_lets_through() {
    let (rig, ear) = rig();
    // The concert pitch: 1193182 / 2712 is 439.96.
    rig.program(SQUARE_WAVE, 2712);
    check(&ear, &[]);
    rig.out(0x61, ON);
    check(&ear, &[2712]);
    assert_eq!(shown(&rig), "440.0 Hz");
    rig.out(0x61, ON);
    rig.at(5000);
    assert!(rig.inb(0x61) & ON == ON);
    check(&ear, &[]);
    // Without the gate the counter does not count; without the other bit nobody hears it.
    for silent in [0x02, 0x01, 0x00] {
        rig.out(0x61, silent);
        check(&ear, &[0]);
        assert_eq!(shown(&rig), "silent");
        rig.out(0x61, ON);
        check(&ear, &[2712]);
    }
}

#[test]
fn another_count_is_another_tone_from_its_last_byte_on() {
    let (rig, ear) = rig();
    rig.program(SQUARE_WAVE, 1193);
    rig.out(0x61, ON);
    check(&ear, &[1193]);
    rig.at(500);
    let [low, high] = 2386_u16.to_le_bytes();
    rig.out(0x42, low);
    check(&ear, &[]);
    rig.out(0x42, high);
    check(&ear, &[2386]);
    // When the count has arrived in the counter there is nothing new to tell.
    rig.at(2000);
    rig.inb(0x61);
    check(&ear, &[]);
    // OUT stays high from a control word to the count behind it.
    rig.program(SQUARE_WAVE, 1193);
    check(&ear, &[0, 1193]);
    // 0 stands for the longest count, 18.2 Hz; in BCD for 10000.
    rig.program(SQUARE_WAVE, 0);
    check(&ear, &[0, 65_536]);
    rig.program(SQUARE_WAVE | 1, 0);
    check(&ear, &[0, 10_000]);
}

#[test]
fn what_is_no_square_wave_is_silence() {
    let (rig, ear) = rig();
    rig.out(0x61, ON);
    // As at reset: mode 3, the longest count.
    check(&ear, &[65_536]);
    for mode in [0, 1, 2, 4, 5] {
        rig.program(0xb0 | mode << 1, 2712);
        rig.at(u64::from(mode + 1) * 10_000);
        rig.inb(0x61);
    }
    check(&ear, &[0]);
    // A count of 1 is illegal in mode 3.
    rig.program(SQUARE_WAVE, 1);
    check(&ear, &[]);
    // The other counters are no business of the speaker's.
    rig.program(0x36, 2712);
    rig.program(0x76, 2712);
    check(&ear, &[]);
    // Mode 7 is mode 3.
    rig.program(SQUARE_WAVE | 0x08, 2);
    check(&ear, &[2]);
}

#[test]
fn a_reset_silences_it_and_a_saved_state_sounds_again() {
    let (rig, ear) = rig();
    rig.program(SQUARE_WAVE, 2712);
    rig.out(0x61, ON);
    check(&ear, &[2712]);
    let saved = lock(&rig.pit).save();
    lock(&rig.pit).reset(ResetKind::System);
    check(&ear, &[0]);
    lock(&rig.pit).load(&saved).unwrap();
    check(&ear, &[2712]);
    assert_eq!(shown(&rig), "440.0 Hz");
}
