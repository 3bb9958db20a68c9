//! The test that every device passes.

use std::sync::Arc;

use super::io::Region;
use super::{Bus, Inspector, IoDevice, IrqProbe, Priority, ResetKind, Shared, Space, State, lock};

/// A register value that the data sheet promises after reset.
#[derive(Clone, Copy, Debug)]
pub struct ResetValue {
    /// Window.
    pub region: u16,
    /// Offset in it.
    pub offset: u64,
    /// Size in bytes.
    pub size: u8,
    /// Promised value.
    pub value: u64,
}

/// A freshly made device with everything its test can watch.
pub struct Subject<D> {
    /// The device.
    pub device: Shared<D>,
    /// Its windows.
    pub regions: Vec<Region>,
    /// Its interrupt lines.
    pub irqs: Vec<IrqProbe>,
    /// Whatever must live as long as the device (clocks, queues, memory).
    pub keep: Box<dyn std::any::Any>,
}

/// Checks the contract: data-sheet values after reset; any access of any size at any offset is survived;
/// save, load, save is identical; a bad state is refused; lines are de-asserted by reset.
///
/// `make` builds the same device anew each time.
///
/// # Panics
/// The device breaks the contract.
pub fn check<D: IoDevice + 'static>(make: impl Fn() -> Subject<D>, reset_values: &[ResetValue]) {
    let subject = make();
    assert!(!lock(&subject.device).name().is_empty(), "people have to be told which device it is");
    check_reset_values(&subject, reset_values, "when new");
    hammer(&subject);
    let saved = lock(&subject.device).save();
    let twin = make();
    lock(&twin.device).load(&saved).expect("a saved state loads");
    assert_eq!(lock(&twin.device).save(), saved, "save -> load -> save must be identical");

    for bad in [
        State { version: u32::MAX, data: saved.data.clone() },
        State { version: saved.version, data: serde_json::Value::Null },
        State { version: saved.version, data: serde_json::json!({ "no such field": 1 }) },
    ] {
        assert!(lock(&twin.device).load(&bad).is_err(), "a bad state must be refused: {bad:?}");
        assert_eq!(lock(&twin.device).save(), saved, "a refused state must change nothing");
    }

    let mut report = Inspector::default();
    lock(&subject.device).inspect(&mut report);
    assert!(!report.items().is_empty(), "inspect must report something");

    lock(&subject.device).reset(ResetKind::PowerOn);
    for (number, irq) in subject.irqs.iter().enumerate() {
        assert!(!irq.level(), "line {number} must be de-asserted by reset");
    }
    check_reset_values(&subject, reset_values, "after reset");
}

fn check_reset_values<D: IoDevice>(subject: &Subject<D>, expected: &[ResetValue], when: &str) {
    for want in expected {
        let got = lock(&subject.device).read(want.region, want.offset, want.size);
        assert_eq!(got, want.value, "{want:x?} {when}: reads {got:#x}");
    }
}

/// Accesses of every size at every offset (sampled in long windows), then a long deterministic random sequence.
fn hammer<D: IoDevice + 'static>(subject: &Subject<D>) {
    const BASE: u64 = 0x1_0000;
    let mut random = Random::default();
    for region in &subject.regions {
        let bus = Bus::new(region.space);
        let device: Arc<_> = subject.device.clone();
        bus.map(BASE, *region, Priority::Fixed, device);
        let mut touch = |offset: u64, size: usize, write: bool| {
            let mut data = random.next().to_le_bytes();
            match (write, region.space) {
                (true, _) => bus.write(BASE + offset, &data[..size]),
                (false, Space::Port | Space::Memory) => bus.read(BASE + offset, &mut data[..size]),
            }
        };
        let step = (region.len / 512).max(1) as usize;
        for offset in (0..region.len + 8).step_by(step) {
            for size in 1..=8 {
                touch(offset, size, false);
                touch(offset, size, true);
            }
        }
        let mut choice = Random(region.len);
        for _ in 0..20_000 {
            let dice = choice.next();
            touch((dice >> 8) % region.len, 1 << (dice & 3), dice & 4 != 0);
        }
    }
}

/// xorshift64: tests need variety and repeatability, not quality.
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
