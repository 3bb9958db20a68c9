//! QEMU's `pc-testdev`, which kvm-unit-tests drive.
//!
//! - Four ports that hold what is written to them, at any size; and four more that show the same latch a byte at a time.
//! - A dword port that asks the host to drop its mapping of a guest page. Nothing a guest can observe follows from it but the
//!   time of its next access; here it is counted and nothing is dropped.
//! - 24 ports that drive one ISA interrupt each: what is written is the level. The numbers are those of the interrupts; 16 to
//!   23 lead nowhere on the ISA bus. They and the dword port read as 0.
//! - 64 KiB of memory that is not RAM: every access leaves the guest.

use crate::base::{AccessRule, Device, Inspector, IoDevice, IrqLine, Region, ResetKind, State, StateError};

/// Interrupt lines.
const LINES: usize = 24;
const MEMORY_LEN: u64 = 0x1_0000;

/// The device.
pub struct PcTestdev {
    latch: [u8; 4],
    flushed: u64,
    lines: [IrqLine; LINES],
    memory: Vec<u8>,
}

impl PcTestdev {
    /// The latch at any size.
    pub const LATCH: Region = Region::ports(0, "pc-testdev-ioport", 4, AccessRule::BYTE);
    /// The page to be flushed.
    pub const FLUSH: Region = Region::ports(1, "pc-testdev-flush-page", 4, AccessRule::native(1, 4));
    /// The latch again.
    pub const LATCH_BYTES: Region = Region::ports(2, "pc-testdev-ioport-byte", 4, AccessRule::BYTE);
    /// The interrupts.
    pub const IRQ: Region = Region::ports(3, "pc-testdev-irq-line", LINES as u64, AccessRule::BYTE.guest(1, 1));
    /// The memory.
    pub const MEMORY: Region = Region::memory(4, "pc-testdev-iomem", MEMORY_LEN, AccessRule::BYTE);

    /// A device that drives `lines`.
    #[must_use]
    pub fn new(lines: [IrqLine; LINES]) -> Self {
        Self { latch: [0; 4], flushed: 0, lines, memory: vec![0; MEMORY_LEN as usize] }
    }
}

impl IoDevice for PcTestdev {
    fn read(&mut self, region: u16, offset: u64, _size: u8) -> u64 {
        let offset = offset as usize;
        let byte = match region {
            id if id == Self::LATCH.id || id == Self::LATCH_BYTES.id => self.latch.get(offset),
            id if id == Self::MEMORY.id => self.memory.get(offset),
            // The others can only be written.
            _ => None,
        };
        byte.copied().unwrap_or_default().into()
    }

    fn write(&mut self, region: u16, offset: u64, _size: u8, value: u64) {
        let offset = offset as usize;
        match region {
            id if id == Self::IRQ.id => {
                if let Some(line) = self.lines.get(offset) {
                    line.set(value != 0);
                }
            }
            id if id == Self::FLUSH.id => self.flushed += 1,
            id => {
                let bytes = if id == Self::MEMORY.id { &mut self.memory[..] } else { &mut self.latch[..] };
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte = value as u8;
                }
            }
        }
    }
}

impl Device for PcTestdev {
    fn name(&self) -> &'static str {
        "pc-testdev"
    }

    /// QEMU's has no reset: what a test has left stays, but for the lines, whose inputs are reset too.
    fn reset(&mut self, _kind: ResetKind) {
        for line in &self.lines {
            line.set(false);
        }
    }

    fn save(&self) -> State {
        let Self { latch, flushed: _, lines, memory } = self;
        let levels = lines.iter().enumerate().fold(0, |levels, (at, line)| levels | u32::from(line.level()) << at);
        State::of(state::VERSION, &state::V1 { latch: *latch, levels, memory: memory.clone() })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { latch, levels, memory } = state.decode(state::VERSION)?;
        if memory.len() as u64 != MEMORY_LEN {
            return Err(StateError::invalid("memory", format!("{} bytes, not {MEMORY_LEN}", memory.len())));
        }
        if levels >> LINES != 0 {
            return Err(StateError::invalid("levels", format!("{levels:#x} has more than {LINES} lines")));
        }
        self.latch = latch;
        self.memory = memory;
        for (at, line) in self.lines.iter().enumerate() {
            line.set(levels >> at & 1 != 0);
        }
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("latch", u32::from_le_bytes(self.latch), 32);
        out.number("pages to be flushed so far", self.flushed);
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub latch: [u8; 4],
        /// Levels of the interrupt lines, the first in bit 0.
        pub levels: u32,
        pub memory: Vec<u8>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::{Bus, IrqProbe, Priority, Shared, Space, lock, shared};

    fn device() -> (Shared<PcTestdev>, Vec<IrqProbe>) {
        let (lines, probes): (Vec<_>, Vec<_>) = (0..LINES).map(|_| IrqLine::probed()).unzip();
        let lines = lines.try_into().unwrap_or_else(|_| unreachable!());
        (shared(PcTestdev::new(lines)), probes)
    }

    #[test]
    fn kvm_unit_tests_find_what_they_expect() {
        let (device, probes) = device();
        let (ports, memory) = (Bus::new(Space::Port), Bus::new(Space::Memory));
        let regions = [PcTestdev::LATCH, PcTestdev::FLUSH, PcTestdev::LATCH_BYTES, PcTestdev::IRQ];
        for (base, region) in [0xe0, 0xe4, 0xe8, 0x2000].into_iter().zip(regions) {
            ports.map(base, region, Priority::Fixed, device.clone());
        }
        memory.map(0xff00_0000, PcTestdev::MEMORY, Priority::Fixed, device.clone());
        let read = |bus: &Bus, address, len: usize| {
            let mut data = [0; 8];
            bus.read(address, &mut data[..len]);
            u64::from_le_bytes(data)
        };
        // realmode.c and emulator.c: a latch at every size, by both of its windows.
        ports.write(0xe0, &0x1234_5678_u32.to_le_bytes());
        assert_eq!((read(&ports, 0xe0, 4), read(&ports, 0xe2, 2), read(&ports, 0xe1, 1)), (0x1234_5678, 0x1234, 0x56));
        assert_eq!(read(&ports, 0xe8, 4), 0x1234_5678);
        ports.write(0xe9, &[0xab]);
        assert_eq!(read(&ports, 0xe0, 4), 0x1234_ab78);
        // ioapic.c: set_irq_line().
        ports.write(0x2000 + 14, &[1]);
        assert_eq!(probes.iter().position(IrqProbe::level), Some(14));
        ports.write(0x2000 + 14, &[0]);
        assert!(!probes[14].level());
        // vmexit.c and emulator.c: memory.
        memory.write(0xff00_fff8, &0x1122_3344_5566_7788_u64.to_le_bytes());
        assert_eq!(read(&memory, 0xff00_fff8, 8), 0x1122_3344_5566_7788);
        assert_eq!(read(&memory, 0xff00_0000, 4), 0);
        // access.c: a page to be flushed.
        let flushed = || lock(&device).flushed;
        assert_eq!(flushed(), 0);
        ports.write(0xe4, &0x10_0000_u32.to_le_bytes());
        assert_eq!(flushed(), 1);
        assert_eq!((read(&ports, 0xe4, 4), read(&ports, 0xe5, 1), read(&ports, 0x2000, 1)), (0, 0, 0), "only written");
    }

    #[test]
    fn an_access_at_the_end_of_the_memory_stays_inside() {
        // QEMU's device once copied past its buffer when an access straddled the end.
        let (device, _) = device();
        let memory = Bus::new(Space::Memory);
        memory.map(0xff00_0000, PcTestdev::MEMORY, Priority::Fixed, device);
        for (at, len) in [(0xff00_ffff, 8), (0xff00_fffd, 4), (0xff00_ffff, 2)] {
            let mut data = [0; 8];
            memory.write(at, &[0x5a; 8][..len]);
            memory.read(at, &mut data[..len]);
            assert_eq!((data[0], data[len - 1]), (0x5a, 0xff));
        }
    }

    #[test]
    fn contract() {
        let make = || {
            let (device, irqs) = device();
            let regions =
                vec![PcTestdev::LATCH, PcTestdev::FLUSH, PcTestdev::LATCH_BYTES, PcTestdev::IRQ, PcTestdev::MEMORY];
            Subject { device, regions, irqs, keep: Box::new(()) }
        };
        contract::check(make, &[ResetValue { region: 3, offset: 0, size: 1, value: 0 }]);
    }
}
