//! Interrupt pins of PCI functions, and where those of functions behind bridges arrive.

use devices::pci::{PciAddress, PciBus};

/// Offset of the Interrupt Pin register in configuration space: 0 is none, 1 INTA#.
const INTERRUPT_PIN: u8 = 0x3d;
/// Pins of a slot.
const PINS: u8 = 4;

/// A pin of a slot on the root bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// The slot.
    pub slot: u8,
    /// The pin: 0 is INTA#.
    pub pin: u8,
}

/// Calls `visit` for each function on `root` and behind its bridges that has an interrupt pin: with the bus it sits on, its
/// place there, and the pin of the root bus at which its interrupt arrives.
pub fn for_each(root: &PciBus, visit: &mut dyn FnMut(&PciBus, PciAddress, Pin)) {
    on_bus(root, &|pin| pin, visit);
}

/// The pins of the root bus at which interrupts arrive, in order and each once.
pub fn in_use(root: &PciBus) -> Vec<Pin> {
    let mut pins = Vec::new();
    for_each(root, &mut |_, _, pin| pins.push(pin));
    pins.sort_unstable();
    pins.dedup();
    pins
}

/// `arrival` says where a pin of a slot of `bus` arrives on the root bus.
fn on_bus(bus: &PciBus, arrival: &dyn Fn(Pin) -> Pin, visit: &mut dyn FnMut(&PciBus, PciAddress, Pin)) {
    for (address, _) in bus.functions() {
        if let Some(pin) = (bus.config_read(address, INTERRUPT_PIN, 1) as u8).checked_sub(1) {
            visit(bus, address, arrival(Pin { slot: address.slot, pin }));
        }
    }
    for (bridge, secondary) in bus.secondaries() {
        // INTx of slot s arrives at pin (s + x) mod 4 of the bridge, x from 0 (PCI-to-PCI Bridge Architecture Specification
        // 1.1, section 9.1). Whatever function of its slot the bridge is.
        let behind = |Pin { slot, pin }| arrival(Pin { slot: bridge.slot, pin: (slot + pin) % PINS });
        on_bus(&secondary, &behind, visit);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use devices::base::{Bus, BusMaster, Delivery, IrqInput, IrqLine, IrqSink, Space, shared};
    use devices::pci::{Extras, HotPlug, PciBridge};

    use super::*;

    struct Nobody;

    impl IrqSink for Nobody {
        fn set_level(&self, _gsi: u32, _level: bool) -> Delivery {
            Delivery::Delivered
        }
    }

    /// Puts a bridge on `bus`, with INTA# or without a pin, and returns what is behind it.
    fn bridge(bus: &Arc<PciBus>, slot: u8, pin: bool) -> Arc<PciBus> {
        let secondary = PciBus::behind(bus, slot, "behind", BusMaster::closed());
        let hot_plug = pin.then(|| HotPlug { interrupt: IrqLine::detached(), messages: None });
        let function = PciBridge::new(1, BusMaster::closed(), Extras { hot_plug, ..Extras::default() });
        bus.insert_bridge(PciAddress::slot(slot), "bridge", shared(function), Arc::clone(&secondary)).unwrap();
        secondary
    }

    /// A root bus with functions that have INTA#: in slot 5; in slot 7 behind slot 4; in slots 3 and 6 behind slot 2 behind
    /// slot 4. Returned with the bus of the last ones.
    pub fn tree() -> (Arc<PciBus>, Arc<PciBus>) {
        let sink: Arc<dyn IrqSink> = Arc::new(Nobody);
        let intx = std::array::from_fn(|wire| IrqInput::new(Arc::clone(&sink), wire as u32));
        let [ports, memory] = [Space::Port, Space::Memory].map(|space| Arc::new(Bus::new(space)));
        let root = Arc::new(PciBus::new(ports, memory, intx));
        bridge(&root, 5, true);
        let outer = bridge(&root, 4, false);
        bridge(&outer, 7, true);
        let inner = bridge(&outer, 2, false);
        bridge(&inner, 3, true);
        bridge(&inner, 6, true);
        (root, inner)
    }

    #[test]
    fn interrupts_behind_bridges_arrive_at_the_pins_of_the_bridge_on_the_root_bus() {
        let (root, _) = tree();
        let mut found = Vec::new();
        for_each(&root, &mut |bus, address, pin| found.push((bus.name().to_owned(), address.slot, pin.slot, pin.pin)));
        let found: Vec<_> = found.iter().map(|(bus, slot, at, pin)| (&**bus, *slot, *at, *pin)).collect();
        assert_eq!(
            found,
            [
                ("pci.0", 5, 5, 0),
                // Slot 7: pin D of the bridge.
                ("behind", 7, 4, 3),
                // Slot 3: pin D of the inner bridge, pin (2 + 3) mod 4 of the outer one. Slot 6: C, then A.
                ("behind", 3, 4, 1),
                ("behind", 6, 4, 0),
            ]
        );
        let pins = in_use(&root).into_iter().map(|Pin { slot, pin }| (slot, pin));
        assert!(pins.eq([(4, 0), (4, 1), (4, 3), (5, 0)]));
    }
}
