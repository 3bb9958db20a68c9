//! Parallel ports.

use devices::base::shared;
use devices::parallel::Parallel;

use super::Board;
use crate::config::{DeviceConfig, MachineConfig};
use crate::host::chardev::CharPort;
use crate::machine::board::{irq, port};

/// Whether there is a parallel port where firmware looks for LPT1.
pub(super) fn has_lpt1(config: &MachineConfig) -> bool {
    let at_lpt1 = |device: &DeviceConfig| match device {
        DeviceConfig::IsaParallel(lpt) => base(lpt.index.into(), lpt.iobase) == port::LPT[0],
        _ => false,
    };
    config.parallels[0].is_some() || config.devices.iter().any(at_lpt1)
}

/// The first port of LPT `index` (0 is LPT1).
fn base(index: usize, stated: Option<u16>) -> u16 {
    stated.unwrap_or_else(|| port::LPT[index.min(port::LPT.len() - 1)])
}

impl Board {
    /// Adds LPT `index` (0 is LPT1), at other ports if they are stated.
    pub(super) fn add_parallel(&mut self, index: usize, iobase: Option<u16>, irq: u8, char_port: &mut dyn CharPort) {
        const LABELS: [&str; 3] = ["LPT1", "LPT2", "LPT3"];
        let base = base(index, iobase);
        let line = self.line(irq, LABELS[index.min(LABELS.len() - 1)]);
        let device = shared(Parallel::new(line, char_port.backend()));
        char_port.attach(device.clone());
        self.add(&device, &[(base, Parallel::REGION)]);
        self.acpi.lpt |= base == port::LPT[0] && irq == irq::LPT;
    }
}
