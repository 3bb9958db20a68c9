//! Port 80h, where firmware leaves its progress codes.
//!
//! Writes are kept for inspection and traced (`-d`, target `post_code`). As in QEMU, reads give ones. Linux writes here
//! to pass a microsecond, so this must stay cheap.

use crate::base::{AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};

/// The port.
#[derive(Default)]
pub struct PostCode {
    code: u8,
}

impl PostCode {
    /// The port itself.
    pub const REGION: Region = Region::ports(0, "ioport80", 1, AccessRule::BYTE);
}

impl IoDevice for PostCode {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        0xff
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, value: u64) {
        [self.code, ..] = value.to_le_bytes();
        log::trace!(target: "post_code", "{:02x}", self.code);
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub code: u8,
    }
}

impl Device for PostCode {
    fn name(&self) -> &'static str {
        "ioport80"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.code = 0;
    }

    fn save(&self) -> State {
        let Self { code } = self;
        State::of(state::VERSION, &state::V1 { code: *code })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { code } = state.decode(state::VERSION)?;
        self.code = code;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("POST code", self.code, 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::inspect::Item;
    use crate::base::shared;

    #[test]
    fn contract() {
        contract::check(
            || Subject {
                device: shared(PostCode::default()),
                regions: vec![PostCode::REGION],
                irqs: Vec::new(),
                keep: Box::new(()),
            },
            &[ResetValue { region: 0, offset: 0, size: 1, value: 0xff }],
        );
    }

    #[test]
    fn the_last_code_can_be_inspected() {
        let mut port = PostCode::default();
        port.write(0, 0, 1, 0x5a);
        assert_eq!(port.read(0, 0, 1), 0xff);
        let mut report = Inspector::default();
        port.inspect(&mut report);
        assert_eq!(report.items(), [("POST code".to_owned(), Item::Register { value: 0x5a, bits: 8 })]);
    }
}
