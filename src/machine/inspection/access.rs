//! Memory, ports and registers, as monitors read and write them by hand.

use anyhow::{Context, Result};

use super::Inspection;
use crate::monitor::access::Access;

/// Devices are below this address, whatever memory there is.
const FOUR_GIB: u64 = 1 << 32;

impl Access for Inspection {
    fn read_memory(&self, processor: Option<u32>, address: u64, data: &mut [u8]) -> Result<bool> {
        match processor {
            None => {
                self.space.read(address, data);
                Ok(true)
            }
            Some(cpu) => self.read_linear(cpu, address, data),
        }
    }

    fn end_of_memory(&self) -> u64 {
        let slots = self.space.slots.all().last().map_or(0, |slot| slot.range.end);
        let devices = self.board.memory.ranges().last().map_or(0, |(_, last, _)| last.saturating_add(1));
        slots.max(devices).max(FOUR_GIB)
    }

    fn translate(&self, processor: u32, linear: u64) -> Result<Option<u64>> {
        self.processors()?.translate(processor, linear)
    }

    fn read_port(&self, port: u16, data: &mut [u8]) {
        self.space.ports.read(port.into(), data);
    }

    fn write_port(&self, port: u16, data: &[u8]) {
        self.space.ports.write(port.into(), data);
    }

    fn register(&self, processor: u32, name: &str) -> Result<u64> {
        let value = self.processors()?.register(processor, name)?;
        value.with_context(|| format!("unknown register: '{name}'"))
    }
}
