//! The chip as a driver sees it. What QEMU's chip answers to the same was taken from QEMU 7.2 over qtest.

use std::sync::Mutex;

use super::*;
use crate::backend::block::MemoryBlock;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{lock, shared};

/// 256 KiB, every byte different from its neighbours.
fn contents() -> Vec<u8> {
    (0..256 * 1024_u32).map(|at| (at ^ at >> 8).to_le_bytes()[0]).collect()
}

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<bool>>>);

impl ArrayWindow for Shown {
    fn show_array(&mut self, shown: bool) {
        lock(&self.0).push(shown);
    }
}

struct Bench {
    chip: Cfi01,
    medium: MemoryBlock,
    shown: Shown,
}

fn bench() -> Bench {
    let mut medium = MemoryBlock::new(contents());
    let shown = Shown::default();
    let array = read_array(&mut medium).unwrap();
    let chip = Cfi01::new(array, Box::new(medium.clone()), Box::new(shown.clone()));
    Bench { chip, medium, shown }
}

impl Bench {
    fn write(&mut self, bytes: &[(u64, u8)]) {
        bytes.iter().for_each(|(offset, byte)| self.chip.write(0, *offset, 1, (*byte).into()));
    }

    fn read(&mut self, offset: u64) -> u8 {
        self.chip.read(0, offset, 1) as u8
    }

    fn status(&mut self) -> u8 {
        self.write(&[(0, 0x70)]);
        self.read(0)
    }
}

#[test]
fn contract() {
    contract::check(
        || {
            let Bench { chip, .. } = bench();
            let regions = vec![chip.region()];
            Subject { device: shared(chip), regions, irqs: Vec::new(), keep: Box::new(()) }
        },
        &[],
    );
    contract::check(
        || {
            let Bench { chip, medium, .. } = bench();
            medium.set_read_only(true);
            let regions = vec![chip.region()];
            Subject { device: shared(chip), regions, irqs: Vec::new(), keep: Box::new(()) }
        },
        &[ResetValue { region: 0, offset: 0x102, size: 4, value: 0x0405_0203 }],
    );
}

#[test]
fn the_query_table_is_qemus() {
    let mut bench = bench();
    bench.write(&[(0, 0x98)]);
    let table: Vec<u8> = (0..0x60).map(|offset| bench.read(offset)).collect();
    let mut expected = vec![0; 0x60];
    expected[0x10..0x40].copy_from_slice(&[
        0x51, 0x52, 0x59, 0x01, 0x00, 0x31, 0x00, 0x00, 0x00, 0x00, 0x00, 0x45, 0x55, 0x00, 0x00, 0x07, //
        0x07, 0x0a, 0x00, 0x04, 0x04, 0x04, 0x00, 0x12, 0x02, 0x00, 0x08, 0x00, 0x01, 0x3f, 0x00, 0x10, //
        0x00, 0x50, 0x52, 0x49, 0x31, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
    ]);
    assert_eq!(table, expected);
    assert_eq!(bench.read(0x3_ff10), b'Q', "at any address");
}

#[test]
fn the_query_table_tells_the_size_of_ovmfs_chips() {
    // 540672 bytes are 132 blocks, 3653632 are 892.
    assert_eq!(registers::query(540_672)[0x2d..0x2f], [131, 0]);
    assert_eq!(registers::query(3_653_632)[0x2d..0x2f], [0x7b, 0x03]);
    assert_eq!(registers::query(3_653_632)[0x27], 14, "as QEMU");
}

#[test]
fn status_and_modes_change_as_in_qemu() {
    let mut bench = bench();
    let first = contents()[0];
    assert_eq!(bench.read(0), first);
    bench.write(&[(0, 0x70)]);
    assert_eq!(bench.read(0), 0x80);
    assert_eq!(bench.chip.read(0, 0, 2), 0x80);
    assert_eq!(bench.chip.read(0, 0, 4), 0x80_0080);
    // OVMF knows the chip by this: after Clear Status the array is read, and the status is 0.
    bench.write(&[(0, 0x50)]);
    assert_eq!(bench.read(0), first);
    assert_eq!(bench.status(), 0);
    bench.write(&[(0, 0x90)]);
    assert_eq!([0, 1, 2].map(|offset| bench.read(offset)), [0; 3]);
    for array in [0xff, 0xf0, 0x33] {
        bench.write(&[(0, 0x90), (0, array)]);
        assert_eq!(bench.read(0), first, "{array:#x}");
    }
    assert_eq!(bench.chip.log.count(), 1, "33h is no command");
    bench.write(&[(0, 0x60)]);
    assert_eq!(bench.read(0), 0);
    bench.write(&[(0, 0x01)]);
    assert_eq!(bench.read(0), 0x80);
    bench.write(&[(0, 0x60), (0, 0xff)]);
    assert_eq!(bench.read(0), first);
}

#[test]
fn program_clears_bits_and_reaches_the_medium() {
    let mut bench = bench();
    for (command, offset) in [(0x40, 0x3000_u64), (0x10, 0x3ff5)] {
        let old = contents()[offset as usize];
        bench.write(&[(offset, command), (offset, 0x3c)]);
        assert_eq!(bench.read(offset), 0x80, "status is read after a program");
        bench.write(&[(offset, 0xff)]);
        assert_eq!(bench.read(offset), old & 0x3c, "only erase sets bits (28F640J3, program)");
        assert_eq!(bench.medium.contents()[offset as usize], old & 0x3c);
    }
    // A wide access is one cycle.
    bench.write(&[(0x1000, 0x20), (0x1000, 0xd0)]);
    bench.chip.write(0, 0x1004, 4, 0x4040_4040);
    bench.chip.write(0, 0x1004, 4, 0x1122_3344);
    bench.chip.write(0, 0x1004, 2, 0xffff);
    assert_eq!(bench.chip.read(0, 0x1004, 4), 0x1122_3344);
    assert_eq!(bench.chip.read(0, 0x1004, 2), 0x3344);
}

#[test]
fn erase_needs_its_confirmation() {
    let mut bench = bench();
    for erase in [0x20, 0x28] {
        bench.write(&[(0x5123, erase), (0x5123, 0x55)]);
        assert_eq!(bench.read(0x5000), contents()[0x5000], "the array is untouched, and read");
        assert_eq!(bench.status(), 0xb0, "SR.5 and SR.4: command sequence error");
        bench.write(&[(0, 0x50), (0x5123, erase), (0x5123, 0xff)]);
        assert_eq!(bench.read(0x5000), contents()[0x5000]);
    }
    bench.write(&[(0x5123, 0x20)]);
    bench.write(&[(0x5123, 0xd0)]);
    assert_eq!(bench.read(0), 0x80);
    bench.write(&[(0, 0xff)]);
    let mut expected = contents();
    expected[0x5000..0x6000].fill(0xff);
    assert_eq!(bench.medium.contents(), expected);
    assert!((0..0x1000).all(|offset| bench.read(0x5000 + offset) == 0xff));
    assert_eq!([bench.read(0x4fff), bench.read(0x6000)], [expected[0x4fff], expected[0x6000]]);
}

#[test]
fn a_buffer_is_programmed_when_it_is_confirmed() {
    let mut bench = bench();
    bench.write(&[(0, 0x20), (0, 0xd0)]);
    bench.write(&[(0x10, 0xe8)]);
    assert_eq!(bench.read(0), 0x80, "XSR.7: the buffer is there");
    bench.write(&[(0x10, 1), (0x10, 0xaa), (0x11, 0xbb)]);
    assert_eq!(bench.medium.contents()[0x10..0x12], [0xff, 0xff]);
    bench.write(&[(0x10, 0xd0)]);
    assert_eq!(bench.read(0), 0x80);
    bench.write(&[(0, 0xff)]);
    assert_eq!(bench.chip.read(0, 0x10, 2), 0xbbaa);
    assert_eq!(bench.medium.contents()[0x10..0x12], [0xaa, 0xbb]);

    // Without confirmation, and across two blocks.
    for (second, confirm) in [(0x1001, 0x00), (0x2000, 0xd0)] {
        bench.write(&[(0, 0x50), (0x1000, 0xe8), (0x1000, 1), (0x1fff, 0), (second, 0), (0x1000, confirm)]);
        assert_eq!(bench.medium.contents()[0x1000..0x3000], contents()[0x1000..0x3000]);
        assert_eq!(bench.status(), 0xb0);
    }
    // 65 writes of four bytes are more than the buffer holds.
    bench.write(&[(0, 0x50), (0, 0xe8), (0, 64)]);
    (0..65).for_each(|index| bench.chip.write(0, 0x2000 + 4 * index, 4, 0));
    bench.write(&[(0, 0xd0)]);
    assert_eq!(bench.medium.contents()[0x2000..0x3000], contents()[0x2000..0x3000]);
    assert_eq!(bench.status(), 0xb0);
    // All 256 bytes.
    bench.write(&[(0, 0x50), (0, 0xe8), (0, 255)]);
    (0..256).for_each(|index| bench.write(&[(0x2000 + index, 0)]));
    bench.write(&[(0, 0xd0)]);
    assert_eq!(bench.medium.contents()[0x2000..0x2100], [0; 256]);
}

#[test]
fn a_protected_or_broken_medium_shows_in_the_status() {
    let mut bench = bench();
    bench.medium.set_read_only(true);
    for (commands, status) in [
        (&[(0, 0x40), (0, 0)][..], 0x90),
        (&[(0, 0x20), (0, 0xd0)], 0xa0),
        (&[(0, 0xe8), (0, 0), (0, 0), (0, 0xd0)], 0x90),
    ] {
        bench.write(&[(0, 0x50)]);
        bench.write(commands);
        assert_eq!(bench.read(0), status, "as QEMU");
    }
    assert_eq!(bench.chip.log.count(), 0, "protection is nothing to be warned of");
    bench.write(&[(0, 0xff)]);
    assert_eq!(bench.read(0), contents()[0]);

    bench.medium.set_read_only(false);
    bench.medium.set_broken(true);
    bench.write(&[(0, 0x50), (0, 0x40), (0, 0)]);
    assert_eq!(bench.read(0), 0x90);
    bench.write(&[(0, 0xff)]);
    assert_eq!(bench.read(0), contents()[0], "the array is what is on the medium");
    assert_eq!(bench.chip.log.count(), 1);
}

#[test]
fn processors_read_the_array_while_it_is_shown() {
    let mut bench = bench();
    bench.write(&[(0, 0x40), (0, 0), (0, 0x70), (0, 0xff), (0, 0xff), (0, 0x50), (0, 0x98)]);
    assert_eq!(*lock(&bench.shown.0), [false, true, false]);
    bench.chip.reset(ResetKind::System);
    assert_eq!(*lock(&bench.shown.0), [false, true, false, true]);
    assert_eq!(bench.read(0), 0, "programmed before");
    let saved = bench.chip.save();
    bench.write(&[(0, 0x70)]);
    bench.chip.load(&saved).unwrap();
    assert_eq!(*lock(&bench.shown.0), [false, true, false, true, false, true]);
}

#[test]
fn the_medium_is_flushed_at_reset_and_at_the_end() {
    let Bench { mut chip, medium, .. } = bench();
    chip.reset(ResetKind::System);
    assert_eq!(medium.flushes(), 1);
    drop(chip);
    assert_eq!(medium.flushes(), 2);
}

#[test]
fn media_of_odd_sizes_are_refused() {
    for len in [0, 1, 4095, 4097, 0x1_0800] {
        let error = read_array(&mut MemoryBlock::zeroed(len)).unwrap_err();
        assert!(matches!(error, MediumError::Length(found) if found == len as u64), "{len}");
    }
    let mut broken = MemoryBlock::zeroed(4096);
    broken.set_broken(true);
    assert!(matches!(read_array(&mut broken), Err(MediumError::Read(_))));
}

#[test]
fn tampered_states_are_refused() {
    let mut bench = bench();
    bench.write(&[(0, 0xe8), (0, 3), (0, 1), (1, 2)]);
    let saved = bench.chip.save();
    for (path, value) in [
        ("/mode/Buffer/writes/0/offset", serde_json::json!(0x4_0000)),
        ("/mode/Buffer/writes/0/offset", serde_json::json!(u64::MAX)),
        ("/mode/Buffer/writes/1/size", serde_json::json!(8)),
        ("/mode/Buffer/left", serde_json::json!(255)),
        ("/mode", serde_json::json!("Nonsense")),
        ("/status", serde_json::json!(0x81)),
        ("/status", serde_json::json!(0xc0)),
    ] {
        let mut bad = saved.clone();
        *bad.data.pointer_mut(path).unwrap() = value;
        assert!(bench.chip.load(&bad).is_err(), "{path}");
        assert_eq!(bench.chip.save(), saved);
    }
    let mut report = Inspector::default();
    bench.chip.inspect(&mut report);
    assert!(report.to_string().contains("mode = 2 writes in the buffer"), "{report}");
}

/// A chip that is asked in the middle of any command goes on with it where its state is loaded.
#[test]
fn a_state_holds_what_was_begun() {
    type Writes = &'static [(u64, u8)];
    const BLOCK_1: u64 = 0x1_0000;
    let begun: [(Writes, Writes); 9] = [
        (&[], &[]),
        (&[(0, 0x70)], &[]),
        (&[(0, 0x90)], &[]),
        (&[(0, 0x98)], &[]),
        (&[(0, 0x40)], &[(5, 0x00)]),
        (&[(BLOCK_1, 0x20)], &[(BLOCK_1, 0xd0)]),
        (&[(0, 0x60)], &[(0, 0x01)]),
        (&[(0, 0xe8), (0, 1), (8, 0x00)], &[(9, 0x00), (0, 0xd0)]),
        (&[(0, 0xe8), (0, 1), (8, 0x00), (9, 0x00)], &[(0, 0xd0)]),
    ];
    for (before, after) in begun {
        let [mut first, mut second] = [bench(), bench()];
        first.write(before);
        second.chip.load(&first.chip.save()).unwrap();
        assert_eq!(second.chip.save(), first.chip.save(), "{before:x?}");
        for bench in [&mut first, &mut second] {
            bench.write(after);
        }
        for offset in [0, 5, 8, 9, 0x10, BLOCK_1] {
            assert_eq!(second.read(offset), first.read(offset), "{before:x?}, {after:x?} at {offset:#x}");
        }
        assert_eq!(second.medium.contents(), first.medium.contents(), "{before:x?}, {after:x?}");
        assert_eq!(second.status(), first.status());
    }
}
