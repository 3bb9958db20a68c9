//! ISA devices of `-device`.

use std::sync::Arc;

use anyhow::Result;
use devices::base::{IrqLine, Priority, SystemControl, lock, shared};
use devices::debug::{PcTestdev, Pvpanic};
use devices::watchdog::Ib700;

use super::Board;
use crate::config;
use crate::machine::board::port;
use crate::machine::layout::PC_TESTDEV;

/// Interrupts of the ISA bus.
const ISA_IRQS: u8 = 16;

impl Board {
    pub(super) fn add_pvpanic(&mut self, config: &config::Pvpanic, system: &Arc<dyn SystemControl>) -> Result<()> {
        let device = shared(Pvpanic::new(config.events, Arc::clone(system)));
        self.add(&device, &[(config.ioport, Pvpanic::REGION)]);
        // Only the first is told of, as in QEMU.
        if self.acpi.pvpanic.is_none() {
            self.acpi.pvpanic = Some(config.ioport);
            let port = config.ioport.to_le_bytes();
            lock(self.fw_cfg()).add_file("etc/pvpanic-port", port)?;
        }
        Ok(())
    }

    pub(super) fn add_ib700(&mut self, system: &Arc<dyn SystemControl>) {
        let timers = self.queue.timers();
        let owner = timers.owner();
        let watchdog = shared(Ib700::new(self.queue.clock().clone(), timers, Arc::clone(system)));
        self.wind(owner, &watchdog);
        self.add(&watchdog, &[(port::IB700_DISABLE, Ib700::DISABLE), (port::IB700_ENABLE, Ib700::ENABLE)]);
    }

    pub(super) fn add_pc_testdev(&mut self) {
        let line = |irq: usize| match u8::try_from(irq) {
            Ok(irq) if irq < ISA_IRQS => self.line(irq, "pc-testdev"),
            _ => IrqLine::detached(),
        };
        let device = shared(PcTestdev::new(std::array::from_fn(line)));
        self.memory.map(PC_TESTDEV, PcTestdev::MEMORY, Priority::Fixed, device.clone());
        let [latch, flush, bytes, irqs] = port::PC_TESTDEV;
        let windows = [
            (latch, PcTestdev::LATCH),
            (flush, PcTestdev::FLUSH),
            (bytes, PcTestdev::LATCH_BYTES),
            (irqs, PcTestdev::IRQ),
        ];
        self.add(&device, &windows);
    }
}
