//! The PCI interrupt router of the PIIX3: four wires, each steered to one ISA interrupt or to none.

use std::sync::{Arc, Mutex};

use crate::base::{Delivery, IrqInput, IrqLine, IrqSink, lock};

/// Names of the wires in inspections.
const LABELS: [&str; 4] = ["PIRQA#", "PIRQB#", "PIRQC#", "PIRQD#"];
/// Bit 7 of PIRQRC disables the routing.
const DISABLED: u8 = 1 << 7;
/// ISA interrupts that may be routed to (data sheet: others are reserved).
const ROUTABLE: u16 = 0b1101_1110_1111_1000;

struct Wire {
    level: bool,
    out: IrqLine,
}

/// The router. Its inputs are the wires 0 (PIRQA#) to 3 (PIRQD#).
pub struct PirqRouter {
    isa: [Option<Arc<IrqInput>>; 16],
    wires: Mutex<[Wire; 4]>,
}

impl PirqRouter {
    /// A router to the given ISA interrupts, nothing routed.
    #[must_use]
    pub fn new(isa: [Option<Arc<IrqInput>>; 16]) -> Arc<Self> {
        let wires = std::array::from_fn(|_| Wire { level: false, out: IrqLine::detached() });
        Arc::new(Self { isa, wires: Mutex::new(wires) })
    }

    /// The four inputs.
    #[must_use]
    pub fn inputs(self: &Arc<Self>) -> [Arc<IrqInput>; 4] {
        std::array::from_fn(|wire| IrqInput::new(Arc::clone(self) as Arc<dyn IrqSink>, wire as u32))
    }

    /// Steers `wire` (0 to 3) by the value of its route control register: bit 7 disables, bits 3:0 are the interrupt.
    /// The level of the wire moves along.
    pub fn route(&self, wire: usize, pirqrc: u8) {
        let irq = usize::from(pirqrc & 0xf);
        let target = (pirqrc & DISABLED == 0 && ROUTABLE >> irq & 1 != 0).then(|| self.isa[irq].as_ref()).flatten();
        if let Some(wire_state) = lock(&self.wires).get_mut(wire) {
            wire_state.out = target.map_or_else(IrqLine::detached, |input| input.line(LABELS[wire]));
            wire_state.out.set(wire_state.level);
        }
    }
}

impl IrqSink for PirqRouter {
    fn set_level(&self, pin: u32, level: bool) -> Delivery {
        match lock(&self.wires).get_mut(pin as usize) {
            Some(wire) => {
                wire.level = level;
                wire.out.set(level)
            }
            None => Delivery::Ignored,
        }
    }
}
