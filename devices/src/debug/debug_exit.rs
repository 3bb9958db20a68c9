//! QEMU's `isa-debug-exit`: a write ends the process.
//!
//! The exit status is `(value << 1) | 1`, so that a test program can report anything but success: status 0 stays the
//! mark of a machine that was powered off. Reads give 0. There is no state.

use std::sync::Arc;

use crate::base::{
    AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError, SystemControl, SystemRequest,
};

/// The device.
pub struct DebugExit {
    system: Arc<dyn SystemControl>,
}

impl DebugExit {
    /// A device that ends the machine behind `system`.
    pub fn new(system: Arc<dyn SystemControl>) -> Self {
        Self { system }
    }

    /// Its window of `size` ports (QEMU's `iosize`, which is 2 unless told otherwise).
    #[must_use]
    pub const fn region(size: u64) -> Region {
        Region::ports(0, "isa-debug-exit", size, AccessRule::native(1, 4).guest(1, 4))
    }
}

impl IoDevice for DebugExit {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        0
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, value: u64) {
        // An exit status has eight bits.
        let [status, ..] = (value << 1 | 1).to_le_bytes();
        self.system.request(SystemRequest::Exit(status));
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {}
}

impl Device for DebugExit {
    fn name(&self) -> &'static str {
        "isa-debug-exit"
    }

    fn reset(&mut self, _kind: ResetKind) {}

    fn save(&self) -> State {
        let Self { system: _ } = self;
        State::of(state::VERSION, &state::V1 {})
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 {} = state.decode(state::VERSION)?;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.text("exit status", "(value << 1) | 1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::system::Requests;
    use crate::base::{Bus, Priority, Space, lock, shared};

    #[test]
    fn contract() {
        contract::check(
            || Subject {
                device: shared(DebugExit::new(Arc::new(Requests::default()))),
                regions: vec![DebugExit::region(2), DebugExit::region(4), DebugExit::region(1)],
                irqs: Vec::new(),
                keep: Box::new(()),
            },
            &[ResetValue { region: 0, offset: 0, size: 2, value: 0 }],
        );
    }

    #[test]
    fn any_write_exits_with_an_odd_status() {
        for (size, data, status) in [
            (2, &[0x00][..], 0x01),
            (2, &[0x10], 0x21),
            (2, &[0x31, 0x00], 0x63),
            (2, &[0xff, 0xff], 0xff),
            (4, &[0x31, 0x00, 0x00, 0x00], 0x63),
            // A write that is longer than the window acts through the part that fits.
            (2, &[0x10, 0x00, 0x00, 0x00], 0x21),
        ] {
            let requests = Arc::new(Requests::default());
            let bus = Bus::new(Space::Port);
            let device = shared(DebugExit::new(Arc::clone(&requests) as Arc<dyn SystemControl>));
            bus.map(0x501, DebugExit::region(size), Priority::Fixed, device);
            bus.write(0x501, data);
            assert_eq!(*lock(&requests.0), [SystemRequest::Exit(status)], "{data:x?}");
        }
    }
}
