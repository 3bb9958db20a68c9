//! A gate in an interrupt wire.

use std::sync::{Arc, Mutex};

use devices::base::{Delivery, IrqLine, IrqSink, lock};

struct State {
    level: bool,
    open: bool,
    out: IrqLine,
}

/// Passes the level of its one input on while it is open.
pub struct Gate(Mutex<State>);

impl Gate {
    /// An open gate in front of `out`.
    #[must_use]
    pub fn new(out: IrqLine) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { level: false, open: true, out })))
    }

    /// Opens or closes it.
    pub fn set_open(&self, open: bool) {
        let mut state = lock(&self.0);
        state.open = open;
        state.out.set(state.level && open);
    }
}

impl IrqSink for Gate {
    fn set_level(&self, _pin: u32, level: bool) -> Delivery {
        let mut state = lock(&self.0);
        state.level = level;
        if state.open { state.out.set(level) } else { Delivery::Ignored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::base::IrqInput;

    #[test]
    fn a_level_that_came_while_closed_passes_when_it_opens() {
        let (out, probe) = IrqLine::probed();
        let gate = Gate::new(out);
        let line = IrqInput::new(Arc::clone(&gate) as Arc<dyn IrqSink>, 0).line("test");
        line.set(true);
        assert!(probe.level());
        gate.set_open(false);
        assert!(!probe.level());
        line.set(false);
        line.set(true);
        assert!(!probe.level());
        gate.set_open(true);
        assert!(probe.level());
    }
}
