//! The HPET, which can take the place of the PIT and the RTC.

use std::collections::BTreeMap;
use std::sync::Arc;

use devices::base::{BusMaster, GuestRam, IrqLine, Priority, shared};
use devices::chipset::hpet::{self, Hpet, LegacyReplacement};
use devices::pci::msi::MessagePort;

use super::{Board, TIMER_IRQ};
use crate::config::HpetConfig;
use crate::machine::board::irq;
use crate::machine::gate::Gate;
use crate::machine::layout::HPET;

/// The low half of the capability register, which tables for the guest repeat as the id of the block.
pub fn block_id(config: &HpetConfig) -> u32 {
    hpet::capabilities(config.timers) as u32
}

impl Board {
    pub(super) fn add_hpet(&mut self, config: &HpetConfig, pit: Box<dyn LegacyReplacement>, rtc: Arc<Gate>) {
        let routes = || (0..u32::BITS as u8).filter(|input| config.routes >> input & 1 != 0);
        let routed = |_| routes().map(|input| (input, self.ioapic_line(input, "HPET"))).collect::<BTreeMap<_, _>>();
        let ram = GuestRam::clone(&self.ram);
        let outputs = hpet::Outputs {
            legacy_0: self.line(TIMER_IRQ, "HPET timer 0"),
            legacy_1: self.line(irq::RTC, "HPET timer 1"),
            routed: (0..config.timers).map(routed).collect(),
            messages: config.messages.then(|| MessagePort::new(Arc::clone(&self.messages), ram, BusMaster::always())),
        };
        let timers = self.queue.timers();
        let owner = timers.owner();
        let legacy = LegacyInterrupts { pit, rtc };
        let hpet = shared(Hpet::new(self.queue.clock().clone(), timers, outputs, Box::new(legacy)));
        self.wind(owner, &hpet);
        self.memory.map(HPET.start, Hpet::REGION, Priority::Fixed, hpet.clone());
        self.register(hpet);
        self.acpi.hpet = Some(block_id(config));
    }

    /// A line to input `input` of the I/O APIC. Where the timer arrives the 8259's input 0 is driven, too, as all lines to the
    /// timer's interrupt do.
    fn ioapic_line(&self, input: u8, label: &'static str) -> IrqLine {
        self.line(if input == irq::PIT_GSI { TIMER_IRQ } else { input }, label)
    }
}

/// Everything that the HPET replaces.
struct LegacyInterrupts {
    pit: Box<dyn LegacyReplacement>,
    rtc: Arc<Gate>,
}

impl LegacyReplacement for LegacyInterrupts {
    fn replace(&mut self, on: bool) {
        self.pit.replace(on);
        self.rtc.set_open(!on);
    }
}

#[cfg(test)]
mod tests {
    use crate::monitor::qtest::IrqChange;
    use crate::qtest::QtestMachine;

    const BLOCK: u64 = 0xfed0_0000;
    /// Tn_INT_TYPE_CNF (level), Tn_INT_ENB_CNF, Tn_FSB_EN_CNF of the IA-PC HPET specification.
    const LEVEL: u64 = 1 << 1;
    const ENABLE: u64 = 1 << 2;
    const FSB: u64 = 1 << 14;

    fn write(pc: &mut QtestMachine, register: u64, value: u64) {
        pc.write_memory(BLOCK + register, &value.to_le_bytes());
    }

    fn read(pc: &mut QtestMachine, register: u64) -> u64 {
        let mut value = [0; 8];
        pc.read_memory(BLOCK + register, &mut value);
        u64::from_le_bytes(value)
    }

    #[test]
    fn a_timer_interrupts_at_the_input_it_is_routed_to() {
        let options = ["-nodefaults", "-global", "hpet.hpet-intcap=0xf00104", "-global", "hpet.timers=5"];
        let mut pc = QtestMachine::new(options).unwrap();
        pc.intercept("ioapic").unwrap();
        assert_eq!(read(&mut pc, 0), 0x0098_9680_8086_a401);
        assert_eq!(read(&mut pc, 0x180), 0x00f0_0104_0000_0030);
        // Timer 4 at input 21, 10 microseconds ahead.
        write(&mut pc, 0x188, 1000);
        write(&mut pc, 0x180, LEVEL | ENABLE | 21 << 9);
        write(&mut pc, 0x10, 1);
        pc.clock_step(10_000).unwrap();
        assert_eq!(pc.take_interrupts(), [IrqChange { pin: 21, level: true }]);
        // Another route takes it along, to where the timer arrives.
        write(&mut pc, 0x180, LEVEL | ENABLE | 2 << 9);
        let moved = pc.take_interrupts();
        assert!(moved.contains(&IrqChange { pin: 21, level: false }) && moved.len() == 2, "{moved:?}");
        // fw_cfg (QEMU, docs/specs/fw_cfg): one block, its id.
        pc.outw(0x510, 0x8004);
        assert_eq!([(); 5].map(|()| pc.inb(0x511)), [1, 0x01, 0xa4, 0x86, 0x80]);
    }

    #[test]
    fn a_timer_stores_its_message() {
        let mut pc = QtestMachine::new(["-nodefaults", "-m", "16", "-global", "hpet.msi=on"]).unwrap();
        assert_eq!(read(&mut pc, 0x100), 0x0000_0004_0000_8030);
        write(&mut pc, 0x110, 0x0000_2000_1234_5678);
        write(&mut pc, 0x108, 1000);
        write(&mut pc, 0x100, ENABLE | FSB);
        write(&mut pc, 0x10, 1);
        pc.clock_step(10_000).unwrap();
        let mut stored = [0; 4];
        pc.read_memory(0x2000, &mut stored);
        assert_eq!(u32::from_le_bytes(stored), 0x1234_5678);
    }
}
