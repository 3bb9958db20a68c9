//! QEMU's PCI serial cards: `pci-serial` (1b36:0002, one port), `pci-serial-2x` (1b36:0003) and `pci-serial-4x` (1b36:0004).
//!
//! Each port is a 16550A ([`Uart`]) in eight ports of the I/O BAR, one after the other; their interrupts are OR-ed onto INTA#.
//! Beyond that the cards have no registers: a driver finds out which port interrupts by asking each.

use std::sync::{Arc, Mutex, Weak};

use super::Uart;
use crate::backend::char::{CharBackend, CharClient, CharEvent};
use crate::base::{
    AccessRule, BusMaster, Device, DeviceTimers, Inspector, IoDevice, IrqLine, Region, ResetKind, Shared, State,
    StateError, TimerClient, TimerQueue, lock, shared,
};
use crate::pci::{Bar, BarKind, PciConfig, PciConfigBuilder, PciConfigState, PciFunction};

/// Ports of a UART.
const PORTS: u64 = 8;
/// Class: serial controller, before the programming interface.
const CLASS: u32 = 0x07_0000;

/// How many ports a card has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// `pci-serial`.
    Single,
    /// `pci-serial-2x`.
    Dual,
    /// `pci-serial-4x`.
    Quad,
}

impl Model {
    /// Number of ports.
    #[must_use]
    pub const fn ports(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Dual => 2,
            Self::Quad => 4,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Single => "pci-serial",
            Self::Dual => "pci-serial-2x",
            Self::Quad => "pci-serial-4x",
        }
    }

    const fn device_id(self) -> u16 {
        match self {
            Self::Single => 0x0002,
            Self::Dual => 0x0003,
            Self::Quad => 0x0004,
        }
    }
}

/// A card.
pub struct PciSerial {
    model: Model,
    config: PciConfig,
    uarts: Vec<Uart>,
}

impl PciSerial {
    /// A card with a back end and timers for each port. `interface` is the programming interface that the class code shows
    /// (2 is a 16550). The ends of [`Self::ends`] must be connected by the board.
    ///
    /// # Panics
    /// There are not as many back ends as ports: a mistake of the board.
    #[must_use]
    pub fn new(
        model: Model,
        interface: u8,
        queue: &TimerQueue,
        intx: IrqLine,
        ports: Vec<(DeviceTimers, Box<dyn CharBackend>)>,
    ) -> Self {
        assert_eq!(ports.len(), model.ports(), "{}: ports", model.name());
        let region = Region::ports(0, model.name(), PORTS * model.ports() as u64, AccessRule::BYTE);
        let config = PciConfigBuilder::new(0x1b36, model.device_id(), CLASS | u32::from(interface))
            .revision(1)
            .interrupt(1, intx)
            .bus_master(BusMaster::closed())
            .bar(0, Bar { region, kind: BarKind::Io })
            .build();
        let uart = |(timers, backend)| Uart::new(queue.clock().clone(), timers, IrqLine::detached(), backend);
        Self { model, config, uarts: ports.into_iter().map(uart).collect() }
    }

    /// The ports as their timers and character devices see them, in order.
    #[must_use]
    pub fn ends(card: &Shared<Self>) -> Vec<Shared<PortEnd>> {
        let ports = lock(card).model.ports();
        (0..ports).map(|port| shared(PortEnd { card: Arc::downgrade(card), port })).collect()
    }

    fn update_interrupt(&mut self) {
        self.config.set_interrupt(self.uarts.iter().any(Uart::interrupt));
    }
}

/// One port of a card for those who call it from outside.
pub struct PortEnd {
    card: Weak<Mutex<PciSerial>>,
    port: usize,
}

impl PortEnd {
    fn with<R>(&self, action: impl FnOnce(&mut Uart) -> R) -> Option<R> {
        let card = self.card.upgrade()?;
        let mut card = lock(&card);
        let result = action(card.uarts.get_mut(self.port)?);
        card.update_interrupt();
        Some(result)
    }
}

impl TimerClient for PortEnd {
    fn timer_expired(&mut self, timer: u32) {
        self.with(|uart| uart.timer_expired(timer));
    }
}

impl CharClient for PortEnd {
    fn can_receive(&self) -> usize {
        self.with(|uart| uart.can_receive()).unwrap_or(0)
    }

    fn receive(&mut self, data: &[u8]) {
        self.with(|uart| uart.receive(data));
    }

    fn event(&mut self, event: CharEvent) {
        self.with(|uart| uart.event(event));
    }
}

impl Device for PciSerial {
    fn name(&self) -> &'static str {
        self.model.name()
    }

    fn reset(&mut self, kind: ResetKind) {
        self.config.reset();
        self.uarts.iter_mut().for_each(|uart| uart.reset(kind));
        self.update_interrupt();
    }

    fn save(&self) -> State {
        let Self { model: _, config, uarts } = self;
        let uarts = uarts.iter().map(Device::save).collect();
        State::of(state::VERSION, &state::V1 { config: config.save(), uarts })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config, uarts } = state.decode(state::VERSION)?;
        if uarts.len() != self.uarts.len() {
            return Err(StateError::invalid("uarts", format!("{} ports, not {}", uarts.len(), self.uarts.len())));
        }
        self.config.check(&config)?;
        let before: Vec<_> = self.uarts.iter().map(Device::save).collect();
        for (port, state) in uarts.iter().enumerate() {
            if let Err(error) = self.uarts[port].load(state) {
                for (uart, state) in self.uarts.iter_mut().zip(&before).take(port) {
                    uart.load(state)?;
                }
                return Err(error);
            }
        }
        self.config.load(&config)?;
        self.update_interrupt();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        for uart in &self.uarts {
            uart.inspect(out);
        }
    }
}

impl IoDevice for PciSerial {
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64 {
        let port = (offset / PORTS) as usize;
        let value = self.uarts.get_mut(port).map_or(u64::MAX, |uart| uart.read(region, offset % PORTS, size));
        self.update_interrupt();
        value
    }

    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64) {
        if let Some(uart) = self.uarts.get_mut((offset / PORTS) as usize) {
            uart.write(region, offset % PORTS, size, value);
        }
        self.update_interrupt();
    }
}

impl PciFunction for PciSerial {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::{PciConfigState, State};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
        pub uarts: Vec<State>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::char::MemoryChar;
    use crate::base::contract::{self, ResetValue, Subject};
    use crate::base::{IrqProbe, ManualClock};

    struct Rig {
        card: Shared<PciSerial>,
        ends: Vec<Shared<PortEnd>>,
        hosts: Vec<MemoryChar>,
        intx: IrqProbe,
        queue: TimerQueue,
        clock: Arc<ManualClock>,
    }

    fn rig(model: Model) -> Rig {
        let (manual, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock);
        let (line, intx) = IrqLine::probed();
        let hosts: Vec<_> = (0..model.ports()).map(|_| MemoryChar::default()).collect();
        let timers: Vec<_> = hosts.iter().map(|_| queue.timers()).collect();
        let owners: Vec<_> = timers.iter().map(DeviceTimers::owner).collect();
        let ports =
            timers.into_iter().zip(&hosts).map(|(timers, host)| (timers, Box::new(host.clone()) as _)).collect();
        let card = shared(PciSerial::new(model, 2, &queue, line, ports));
        let ends = PciSerial::ends(&card);
        owners.into_iter().zip(&ends).for_each(|(owner, end)| queue.attach(owner, end));
        Rig { card, ends, hosts, intx, queue, clock: manual }
    }

    impl Rig {
        fn out(&self, port: u64, register: u64, value: u8) {
            lock(&self.card).write(0, 8 * port + register, 1, value.into());
        }
        fn inb(&self, port: u64, register: u64) -> u8 {
            lock(&self.card).read(0, 8 * port + register, 1) as u8
        }
    }

    #[test]
    fn identities_are_qemus() {
        for (model, id, len) in [(Model::Single, 2, 8), (Model::Dual, 3, 16), (Model::Quad, 4, 32)] {
            let rig = rig(model);
            let mut card = lock(&rig.card);
            let config = card.config_mut();
            assert_eq!(config.read_u32(0x00), id << 16 | 0x1b36);
            assert_eq!((config.read_u32(0x08), config.read_u32(0x2c)), (0x0700_0201, 0x1100_1af4));
            assert_eq!((config.read_u32(0x10), config.read_u32(0x3c)), (1, 0x100));
            config.write(0x10, 4, u32::MAX);
            assert_eq!(config.read_u32(0x10), !(len - 1) | 1);
        }
    }

    #[test]
    fn each_port_has_its_own_uart_and_all_share_the_interrupt() {
        let rig = rig(Model::Quad);
        for port in 0..4 {
            rig.out(port, 7, 0x10 + port as u8);
            rig.out(port, 0, b'a' + port as u8);
        }
        for port in 0..4 {
            assert_eq!(rig.inb(port, 7), 0x10 + port as u8);
            assert_eq!(rig.hosts[port as usize].take_output(), [b'a' + port as u8]);
        }
        // Receive interrupts of ports 1 and 3.
        for port in [1, 3] {
            rig.out(port, 1, 1);
            lock(&rig.ends[port as usize]).receive(b"x");
        }
        assert!(rig.intx.level());
        assert_eq!(lock(&rig.card).config().read_u16(6) & 8, 8);
        assert_eq!((rig.inb(0, 2), rig.inb(1, 2), rig.inb(3, 2)), (0x01, 0x04, 0x04));
        assert_eq!(rig.inb(1, 0), b'x');
        assert!(rig.intx.level(), "port 3 still interrupts");
        lock(&rig.card).config_mut().write(4, 2, 0x400);
        assert!(!rig.intx.level(), "Interrupt Disable");
        lock(&rig.card).config_mut().write(4, 2, 0);
        assert_eq!(rig.inb(3, 0), b'x');
        assert!(!rig.intx.level());
    }

    #[test]
    fn the_character_timeout_of_a_port_reaches_the_pin() {
        let rig = rig(Model::Dual);
        rig.out(1, 3, 0x03);
        rig.out(1, 2, 0x81);
        rig.out(1, 1, 1);
        lock(&rig.ends[1]).receive(b"x");
        assert!(!rig.intx.level(), "one character is below the trigger level of 8");
        let deadline = rig.queue.next_deadline().unwrap();
        rig.queue.step(&rig.clock, deadline);
        assert!(rig.intx.level());
        assert_eq!(rig.inb(1, 2) & 0x0f, 0x0c);
    }

    #[test]
    fn a_state_that_one_port_refuses_changes_nothing() {
        let rig = rig(Model::Dual);
        rig.out(0, 7, 0x55);
        let before = lock(&rig.card).save();
        let mut bad = before.clone();
        bad.data["uarts"][0]["data"]["scr"] = 1.into();
        bad.data["uarts"][1]["data"]["ier"] = 0xf0.into();
        assert!(lock(&rig.card).load(&bad).is_err());
        assert_eq!(lock(&rig.card).save(), before);
        bad.data["uarts"] = serde_json::json!([]);
        assert!(lock(&rig.card).load(&bad).is_err());
    }

    #[test]
    fn contract() {
        for model in [Model::Single, Model::Dual, Model::Quad] {
            let make = || {
                let Rig { card, ends, hosts, intx, queue, clock } = rig(model);
                let region = lock(&card).config().bar(0).unwrap().region;
                let keep = Box::new((ends, hosts, queue, clock));
                Subject { device: card, regions: vec![region], irqs: vec![intx], keep }
            };
            let last = 8 * model.ports() as u64 - 8;
            let values = [(1, 0x00), (2, 0x01), (3, 0x00), (4, 0x08), (5, 0x60), (6, 0xb0)]
                .map(|(at, value)| ResetValue { region: 0, offset: last + at, size: 1, value });
            contract::check(make, &values);
            crate::pci::contract::check(make);
        }
    }
}
