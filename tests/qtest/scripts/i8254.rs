//! The 8254 and port 61h (Intel 8254 data sheet; PIIX3).

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &["-m", "16"],
    run: walk,
    differences: &[
        Difference {
            places: &[at("port 61h", "inb 0x61", 0x1c)],
            reason: "the PIIX3 keeps bits 2 and 3, and toggles bit 4 with each refresh; QEMU drops them, and toggles it with each read",
        },
        Difference {
            places: &[
                at("control word, mode 0", "inb 0x40", 0x40),
                at("control word, mode 0", "inb 0x41", 0x40),
                at("control word, mode 0", "inb 0x42", 0x40),
                at("control word, mode 1", "inb 0x40", 0x40),
                at("control word, mode 1", "inb 0x41", 0x40),
                at("control word, mode 1", "inb 0x42", 0x40),
                at("control word, mode 3", "inb 0x40", 0x40),
                at("control word, mode 3", "inb 0x41", 0x40),
                at("control word, mode 3", "inb 0x42", 0x40),
            ],
            reason: "QEMU has no null count: it loads a count at once",
        },
        Difference {
            places: &[
                at("control word, mode 2", "inb 0x40", 0xc0),
                at("control word, mode 2", "inb 0x41", 0xc0),
                at("control word, mode 2", "inb 0x42", 0xc0),
                at("control word, mode 4", "inb 0x40", 0xc0),
                at("control word, mode 4", "inb 0x41", 0xc0),
                at("control word, mode 4", "inb 0x42", 0xc0),
                at("control word, mode 5", "inb 0x40", 0xc0),
                at("control word, mode 5", "inb 0x41", 0xc0),
                at("control word, mode 5", "inb 0x42", 0xc0),
                at("null count", "inb 0x40", 0xc0),
            ],
            reason: "QEMU has no null count; and OUT is high before the last tick of mode 2 and until the end of modes 4 and 5, \
                     which QEMU has the other way round",
        },
    ],
};

const COUNTERS: [u16; 3] = [0x40, 0x41, 0x42];
const CONTROL: u16 = 0x43;
const PORT_61: u16 = 0x61;
/// Nanoseconds of a number of ticks, rounded up.
fn ticks(number: u64) -> u64 {
    (number * 1_000_000_000).div_ceil(1_193_182)
}

fn count(pc: &mut dyn Pc, counter: usize) -> u16 {
    pc.outb(CONTROL, (counter << 6) as u8);
    u16::from_le_bytes([pc.inb(COUNTERS[counter]), pc.inb(COUNTERS[counter])])
}

fn status(pc: &mut dyn Pc, counter: usize) -> u8 {
    pc.outb(CONTROL, 0xe0 | 2 << counter);
    pc.inb(COUNTERS[counter])
}

fn program(pc: &mut dyn Pc, counter: usize, mode: u8, count: u16) {
    pc.outb(CONTROL, (counter << 6) as u8 | 0x30 | mode << 1);
    for byte in count.to_le_bytes() {
        pc.outb(COUNTERS[counter], byte);
    }
}

fn walk(pc: &mut dyn Pc) {
    pc.section("reset state");
    for counter in 0..3 {
        assert_eq!(status(pc, counter), 0x86, "mode 3, OUT high");
    }
    assert_eq!(pc.inb(CONTROL), 0x00, "write only");

    pc.section("port 61h");
    assert_eq!(pc.inb(PORT_61) & 0x2f, 0x20, "gate and speaker off, OUT of counter 2 high");
    pc.outb(PORT_61, 0x03);
    assert_eq!(pc.inb(PORT_61) & 0x03, 0x03);
    pc.outb(PORT_61, 0x0c);
    assert_eq!(pc.inb(PORT_61) & 0x0f, if pc.is_natoma() { 0x0c } else { 0x00 });
    pc.outb(PORT_61, 0x00);

    for mode in 0..6 {
        pc.section(&format!("control word, mode {mode}"));
        for counter in 0..3 {
            program(pc, counter, mode, 0x1234);
            let status = status(pc, counter);
            assert_eq!(status & 0x3f, 0x30 | mode << 1);
        }
    }
    pc.section("null count");
    pc.outb(CONTROL, 0x34);
    let before = status(pc, 0);
    if pc.is_natoma() {
        assert_eq!(before, 0xf4, "OUT high, null count");
    }

    if !pc.has_clock() {
        return;
    }
    pc.section("mode 0");
    pc.outb(PORT_61, 0x01);
    program(pc, 2, 0, 1000);
    assert_eq!(pc.inb(PORT_61) & 0x20, 0x00);
    pc.clock_step(ticks(400));
    let now = count(pc, 2);
    assert!((599..=601).contains(&now), "{now}");
    pc.clock_step(ticks(602));
    assert_eq!(pc.inb(PORT_61) & 0x20, 0x20);

    pc.section("mode 3 with an interrupt");
    pc.outb(PORT_61, 0x00);
    assert!(!pc.irq(0) || pc.is_natoma());
    program(pc, 0, 3, 11932);
    let mut rises = 0;
    let mut level = pc.irq(0);
    // Twenty times a second's hundredth, in quarters: the level is seen in each half.
    for _ in 0..80 {
        pc.clock_step(ticks(11932 / 4));
        let now = pc.irq(0);
        rises += u32::from(now && !level);
        level = now;
    }
    assert!((19..=20).contains(&rises), "{rises}");

    pc.section("mode 2 latches");
    program(pc, 0, 2, 0x8000);
    pc.clock_step(ticks(0x101));
    pc.outb(CONTROL, 0xc2);
    pc.clock_step(ticks(0x100));
    assert_eq!(pc.inb(COUNTERS[0]), 0xb4, "status first");
    let latched = u16::from_le_bytes([pc.inb(COUNTERS[0]), pc.inb(COUNTERS[0])]);
    assert!((0x7efe..=0x7f00).contains(&latched), "{latched:#x}");
}
