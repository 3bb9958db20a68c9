//! Memory, ports and registers, as monitors read and write them by hand.

use anyhow::{Context, Result};

use super::Inspection;
use crate::monitor::access::Access;

/// Devices are below this address, whatever memory there is.
const FOUR_GIB: u64 = 1 << 32;

/// What nobody claims reads as.
const NOBODY: u8 = 0xff;

impl Inspection {
    /// Reads guest-physical memory. The bus is not asked about each byte of the gigabytes where nobody is.
    fn read_physical(&self, address: u64, data: &mut [u8]) {
        let slots = self.space.slots.all();
        let slots = slots.iter().map(|slot| (slot.range.start, slot.range.end - 1));
        let devices = self.board.memory.ranges();
        let devices = devices.iter().map(|(first, last, _)| (*first, *last));
        let mut claimed: Vec<_> = slots.chain(devices).collect();
        claimed.sort_unstable();
        let (mut at, mut rest) = (address, data);
        while !rest.is_empty() {
            let here = claimed.iter().find(|(_, last)| *last >= at);
            let (claimed, len) = match here {
                Some((first, last)) if *first <= at => (true, (last - at).saturating_add(1)),
                Some((first, _)) => (false, first - at),
                None => (false, u64::MAX),
            };
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            let (piece, later) = rest.split_at_mut(len);
            match claimed {
                true => self.space.read(at, piece),
                false => piece.fill(NOBODY),
            }
            (at, rest) = (at.wrapping_add(len as u64), later);
        }
    }
}

impl Access for Inspection {
    fn read_memory(&self, processor: Option<u32>, address: u64, data: &mut [u8]) -> Result<bool> {
        match processor {
            None => {
                self.read_physical(address, data);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::qom::Paths;
    use crate::qtest::QtestMachine;

    #[test]
    fn memory_devices_and_nothing_are_read_as_a_processor_reads_them() {
        let mut pc = QtestMachine::new(["-nodefaults", "-m", "2"]).unwrap();
        pc.write_memory(0x1f_fffc, b"last");
        let config = crate::config::MachineConfig::default();
        let paths = Paths::new(&config, pc.board());
        let inspection =
            Inspection::new(&config, pc.blocks(), pc.board().view(), &paths, pc.space().clone(), None, None);
        let mut data = [0; 8];
        assert!(inspection.read_memory(None, 0x1f_fffc, &mut data).unwrap());
        assert_eq!(&data, b"last\xff\xff\xff\xff");
        // The capabilities of the HPET, between two stretches of nothing.
        let (mut around, mut hpet) = ([0; 0x1000], [0; 8]);
        inspection.read_memory(None, 0xfecf_fc00, &mut around).unwrap();
        pc.read_memory(0xfed0_0000, &mut hpet);
        assert_eq!(
            (&around[0x400..0x408], &around[..4], &around[0xffc..]),
            (&hpet[..], &[0xff; 4][..], &[0xff; 4][..])
        );
        // The end of all addresses.
        inspection.read_memory(None, u64::MAX - 3, &mut data).unwrap();
        assert_eq!(data[..4], [0xff; 4]);
        assert_eq!(inspection.end_of_memory(), FOUR_GIB);
    }
}
