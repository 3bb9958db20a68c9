use super::*;
use crate::base::{AccessRule, Device, Inspector, ResetKind, State, StateError, shared};

/// Remembers the accesses it sees; register n reads as n repeated.
#[derive(Default)]
struct Recorder(Vec<(char, u64, u8, u64)>);

impl Device for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }
    fn reset(&mut self, _kind: ResetKind) {}
    fn save(&self) -> State {
        State::of(1, &())
    }
    fn load(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
    fn inspect(&self, _out: &mut Inspector) {}
}

impl IoDevice for Recorder {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        self.0.push(('r', offset, size, 0));
        let bytes = std::array::from_fn(|i| if i < usize::from(size) { (offset as u8) + i as u8 } else { 0 });
        u64::from_le_bytes(bytes)
    }
    fn write(&mut self, _region: u16, offset: u64, size: u8, value: u64) {
        self.0.push(('w', offset, size, value));
    }
}

fn bus_with(base: u64, len: u64, rule: AccessRule) -> (Bus, Arc<Mutex<Recorder>>) {
    let bus = Bus::new(Space::Port);
    let device = shared(Recorder::default());
    bus.map(base, Region::ports(0, "recorder", len, rule), Priority::Fixed, device.clone());
    (bus, device)
}

fn seen(device: &Mutex<Recorder>) -> Vec<(char, u64, u8, u64)> {
    std::mem::take(&mut lock(device).0)
}

#[test]
fn wide_accesses_to_a_byte_device_are_split_in_order() {
    let (bus, device) = bus_with(0x60, 8, AccessRule::BYTE);
    let mut data = [0; 4];
    bus.read(0x61, &mut data);
    assert_eq!(data, [1, 2, 3, 4]);
    bus.write(0x62, &[0xaa, 0xbb]);
    assert_eq!(
        seen(&device),
        [('r', 1, 1, 0), ('r', 2, 1, 0), ('r', 3, 1, 0), ('r', 4, 1, 0), ('w', 2, 1, 0xaa), ('w', 3, 1, 0xbb)]
    );
}

#[test]
fn narrow_accesses_to_a_dword_device_are_widened_and_merged() {
    let (bus, device) = bus_with(0x100, 16, AccessRule::DWORD);
    let mut data = [0; 1];
    bus.read(0x106, &mut data);
    assert_eq!(data, [6]);
    bus.write(0x106, &[0xaa, 0xbb]);
    assert_eq!(seen(&device), [('r', 4, 4, 0), ('r', 4, 4, 0), ('w', 4, 4, 0xbbaa_0504)]);
}

#[test]
fn unaligned_accesses_arrive_aligned() {
    let (bus, device) = bus_with(0, 16, AccessRule::UP_TO_DWORD);
    bus.write(3, &[1, 2, 3, 4]);
    assert_eq!(seen(&device), [('w', 3, 1, 1), ('w', 4, 2, 0x0302), ('w', 6, 1, 4)]);
    bus.write(8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(seen(&device), [('w', 8, 4, 0x0403_0201), ('w', 12, 4, 0x0807_0605)]);
}

#[test]
fn sizes_outside_the_rule_are_refused() {
    let (bus, device) = bus_with(0, 16, AccessRule::native(4, 8).guest(4, 8));
    let mut data = [0; 2];
    bus.read(0, &mut data);
    bus.write(0, &[0]);
    assert_eq!(data, [0xff, 0xff]);
    assert_eq!(bus.refused(), 2);
    assert_eq!(seen(&device), []);
}

#[test]
fn an_access_runs_over_the_edge_into_the_next_window_and_into_nothing() {
    let (bus, first) = bus_with(0, 2, AccessRule::BYTE);
    let second = shared(Recorder::default());
    bus.map(2, Region::ports(0, "second", 1, AccessRule::BYTE), Priority::Fixed, second.clone());
    let mut data = [0; 4];
    bus.read(1, &mut data);
    assert_eq!(data, [1, 0, 0xff, 0xff]);
    assert_eq!(seen(&first), [('r', 1, 1, 0)]);
    assert_eq!(seen(&second), [('r', 0, 1, 0)]);
    assert_eq!(bus.unclaimed(), 0);
    bus.read(0x10, &mut data);
    assert_eq!((data, bus.unclaimed()), ([0xff; 4], 1));
    bus.read(u64::MAX, &mut data);
}

#[test]
fn an_overlay_takes_only_accesses_that_start_in_it() {
    // CF9h inside CF8h-CFBh: a dword to CF8h is the whole configuration address.
    let (bus, address) = bus_with(0xcf8, 4, AccessRule::UP_TO_DWORD);
    let reset = shared(Recorder::default());
    let id = bus.map(0xcf9, Region::ports(0, "rcr", 1, AccessRule::BYTE), Priority::Overlay, reset.clone());
    bus.write(0xcf8, &[0, 0, 0, 0x80]);
    bus.write(0xcf9, &[6]);
    bus.write(0xcfa, &[1]);
    assert_eq!(seen(&address), [('w', 0, 4, 0x8000_0000), ('w', 2, 1, 1)]);
    assert_eq!(seen(&reset), [('w', 0, 1, 6)]);
    bus.unmap(id);
    bus.write(0xcf9, &[6]);
    assert_eq!(seen(&address), [('w', 1, 1, 6)]);
}

#[test]
fn the_stronger_window_wins_and_the_weaker_fills_the_rest() {
    let bus = Bus::new(Space::Memory);
    let device = shared(Recorder::default());
    let region = |name, len| Region::memory(0, name, len, AccessRule::BYTE);
    bus.map(0x1000, region("bar", 0x3000), Priority::Movable, device.clone());
    bus.map(0x2000, region("fixed", 0x1000), Priority::Fixed, device.clone());
    bus.map(0x0, region("late", 0x8000), Priority::Movable, device.clone());
    bus.map(u64::MAX - 0xf, region("top", 0x10), Priority::Fixed, device);
    assert_eq!(
        bus.ranges(),
        [
            (0, 0xfff, "late"),
            (0x1000, 0x1fff, "bar"),
            (0x2000, 0x2fff, "fixed"),
            (0x3000, 0x3fff, "bar"),
            (0x4000, 0x7fff, "late"),
            (u64::MAX - 0xf, u64::MAX, "top"),
        ]
    );
}

#[test]
fn a_string_is_as_many_accesses_of_one_address() {
    // Native ones, ones that are split, ones that are refused, and ones that nobody claims.
    for (rule, size) in
        [(AccessRule::native(1, 4), 2), (AccessRule::BYTE, 2), (AccessRule::BYTE, 1), (AccessRule::DWORD, 1)]
    {
        for address in [0x60, 0x61, 0x67, 0x68] {
            let (bus, device) = bus_with(0x60, 8, rule);
            let written = [1, 2, 3, 4, 5, 6];
            let [mut each, mut string] = [[0; 6]; 2];
            each.chunks_mut(size).for_each(|element| bus.read(address, element));
            written.chunks(size).for_each(|element| bus.write(address, element));
            let expected = seen(&device);
            bus.read_string(address, size, &mut string);
            bus.write_string(address, size, &written);
            assert_eq!((string, seen(&device)), (each, expected), "{size} bytes at {address:#x}");
        }
    }
}
