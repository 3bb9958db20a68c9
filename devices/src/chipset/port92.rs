//! System Control Port A, port 92h: fast reset and fast A20 of the PS/2.
//!
//! Bit 0 resets when it goes from 0 to 1, bit 1 opens the A20 gate (the keyboard controller's output opens it too).
//! As in QEMU the register resets to 00h and all bits read as written; those of the PS/2's password lock, watchdog and
//! disk light do nothing.

use std::sync::Arc;

use crate::base::{
    AccessRule, Device, Inspector, IoDevice, IrqLine, Region, ResetCause, ResetKind, State, StateError, SystemControl,
    SystemRequest,
};

const FAST_RESET: u8 = 1 << 0;
const FAST_A20: u8 = 1 << 1;

/// The port.
pub struct Port92 {
    a20: IrqLine,
    system: Arc<dyn SystemControl>,
    value: u8,
}

impl Port92 {
    /// The register.
    pub const REGION: Region = Region::ports(0, "port92", 1, AccessRule::BYTE);

    /// The port in its reset state. `a20` is high while address line 20 may be driven.
    pub fn new(a20: IrqLine, system: Arc<dyn SystemControl>) -> Self {
        Self { a20, system, value: 0 }
    }

    fn set(&mut self, value: u8) {
        self.value = value;
        self.a20.set(value & FAST_A20 != 0);
    }
}

impl IoDevice for Port92 {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        self.value.into()
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, value: u64) {
        let [value, ..] = value.to_le_bytes();
        let resets = value & !self.value & FAST_RESET != 0;
        self.set(value);
        if resets {
            self.system.request(SystemRequest::Reset(ResetCause::Port92));
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub value: u8,
    }
}

impl Device for Port92 {
    fn name(&self) -> &'static str {
        "port92"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.set(0);
    }

    fn save(&self) -> State {
        let Self { a20: _, system: _, value } = self;
        State::of(state::VERSION, &state::V1 { value: *value })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { value } = state.decode(state::VERSION)?;
        self.set(value);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("port 92", self.value, 8);
        out.flag("A20", self.a20.level());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::system::Requests;
    use crate::base::{lock, shared};

    #[test]
    fn contract() {
        contract::check(
            || {
                let (a20, probe) = IrqLine::probed();
                Subject {
                    device: shared(Port92::new(a20, Arc::new(Requests::default()))),
                    regions: vec![Port92::REGION],
                    irqs: vec![probe],
                    keep: Box::new(()),
                }
            },
            &[ResetValue { region: 0, offset: 0, size: 1, value: 0 }],
        );
    }

    #[test]
    fn bit_0_resets_on_its_rising_edge() {
        let requests = Arc::new(Requests::default());
        let mut port = Port92::new(IrqLine::detached(), Arc::clone(&requests) as Arc<dyn SystemControl>);
        for (value, resets) in [(0x02, 0), (0x03, 1), (0x01, 1), (0xfe, 1), (0xff, 2)] {
            port.write(0, 0, 1, value);
            assert_eq!(lock(&requests.0).len(), resets, "{value:#x}");
            assert_eq!(port.read(0, 0, 1), value);
        }
        assert_eq!(lock(&requests.0)[0], SystemRequest::Reset(ResetCause::Port92));
        let state = port.save();
        port.load(&state).expect("loads");
        assert_eq!(lock(&requests.0).len(), 2, "loading is no edge");
    }

    #[test]
    fn bit_1_is_a20() {
        let (line, a20) = IrqLine::probed();
        let mut port = Port92::new(line, Arc::new(Requests::default()));
        assert!(!a20.level());
        port.write(0, 0, 1, 0x02);
        assert!(a20.level());
        port.reset(ResetKind::System);
        assert!(!a20.level());
    }
}
