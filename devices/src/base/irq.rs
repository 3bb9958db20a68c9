//! Interrupt wires.
//!
//! An [`IrqInput`] is an input of an interrupt controller or router; any number of labelled [`IrqLine`]s are OR-ed
//! onto it. A device never learns the number of its interrupt.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::lock;

/// What became of an asserted interrupt, for devices that make up for lost ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Delivered, or pending for the first time.
    Delivered,
    /// One was pending already: the guest will see a single interrupt.
    Coalesced,
    /// Masked, or nobody is listening.
    Ignored,
}

/// An interrupt controller or router as the wires see it.
///
/// It is called with the wire's lock held, so that changes of one wire arrive in their order. It must not call back
/// into devices.
pub trait IrqSink: Send + Sync {
    /// The level of input `pin` changed.
    fn set_level(&self, pin: u32, level: bool) -> Delivery;
}

/// One input, on which the levels of all its lines are OR-ed.
pub struct IrqInput {
    sink: Arc<dyn IrqSink>,
    pin: u32,
    /// Labels of the lines that are asserted now.
    asserted: Mutex<Vec<&'static str>>,
    /// How often it has risen.
    rises: AtomicU64,
}

impl IrqInput {
    /// Input `pin` of `sink`.
    pub fn new(sink: Arc<dyn IrqSink>, pin: u32) -> Arc<Self> {
        Arc::new(Self { sink, pin, asserted: Mutex::default(), rises: AtomicU64::new(0) })
    }

    /// A new line to this input, de-asserted. `label` names its source in inspections.
    pub fn line(self: &Arc<Self>, label: &'static str) -> IrqLine {
        IrqLine { input: Some(Arc::clone(self)), label, level: AtomicBool::new(false) }
    }

    /// The OR of all lines.
    #[must_use]
    pub fn level(&self) -> bool {
        !lock(&self.asserted).is_empty()
    }

    /// How often it has gone from low to high.
    #[must_use]
    pub fn rises(&self) -> u64 {
        self.rises.load(Ordering::Relaxed)
    }

    /// The labels of the lines that assert it now.
    #[must_use]
    pub fn sources(&self) -> Vec<&'static str> {
        lock(&self.asserted).clone()
    }

    fn change(&self, label: &'static str, level: bool) -> Delivery {
        let mut asserted = lock(&self.asserted);
        let before = !asserted.is_empty();
        if level {
            asserted.push(label);
        } else if let Some(at) = asserted.iter().position(|other| *other == label) {
            asserted.swap_remove(at);
        }
        let after = !asserted.is_empty();
        if before == after {
            return if after { Delivery::Coalesced } else { Delivery::Ignored };
        }
        if after {
            self.rises.fetch_add(1, Ordering::Relaxed);
        }
        self.sink.set_level(self.pin, after)
    }
}

/// A device's end of a wire. Dropping it de-asserts.
pub struct IrqLine {
    input: Option<Arc<IrqInput>>,
    label: &'static str,
    level: AtomicBool,
}

impl IrqLine {
    /// A line that leads nowhere.
    #[must_use]
    pub fn detached() -> Self {
        Self { input: None, label: "detached", level: AtomicBool::new(false) }
    }

    /// A line for tests, and the probe that watches it.
    #[must_use]
    pub fn probed() -> (Self, IrqProbe) {
        let counts = Arc::new(Counts::default());
        let input = IrqInput::new(Arc::clone(&counts) as Arc<dyn IrqSink>, 0);
        (input.line("probed"), IrqProbe { input, counts })
    }

    /// Drives the line. Costs one atomic operation when the level is what it was.
    pub fn set(&self, level: bool) -> Delivery {
        if self.level.swap(level, Ordering::AcqRel) == level {
            return if level { Delivery::Coalesced } else { Delivery::Ignored };
        }
        match &self.input {
            Some(input) => input.change(self.label, level),
            None => Delivery::Ignored,
        }
    }

    /// Raises and lowers the line: one edge, and no edge if the line was already high.
    pub fn pulse(&self) -> Delivery {
        let delivery = self.set(true);
        self.set(false);
        delivery
    }

    /// The level this line drives.
    #[must_use]
    pub fn level(&self) -> bool {
        self.level.load(Ordering::Acquire)
    }
}

impl Drop for IrqLine {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[derive(Default)]
struct Counts {
    rising: AtomicU64,
}

impl IrqSink for Counts {
    fn set_level(&self, _pin: u32, level: bool) -> Delivery {
        if level {
            self.rising.fetch_add(1, Ordering::SeqCst);
        }
        Delivery::Delivered
    }
}

/// Watches a line in a test.
pub struct IrqProbe {
    input: Arc<IrqInput>,
    counts: Arc<Counts>,
}

impl IrqProbe {
    /// The level now.
    #[must_use]
    pub fn level(&self) -> bool {
        self.input.level()
    }

    /// Rising edges since the probe was made.
    #[must_use]
    pub fn rising_edges(&self) -> u64 {
        self.counts.rising.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ored_and_dropping_one_deasserts() {
        let counts = Arc::new(Counts::default());
        let input = IrqInput::new(Arc::clone(&counts) as Arc<dyn IrqSink>, 7);
        let (first, second) = (input.line("first"), input.line("second"));
        first.set(true);
        second.set(true);
        assert_eq!(input.sources(), ["first", "second"]);
        first.set(false);
        assert!(input.level());
        drop(second);
        assert!(!input.level());
        assert_eq!(counts.rising.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_unchanged_level_reaches_the_sink_once() {
        let (line, probe) = IrqLine::probed();
        assert_eq!(line.set(true), Delivery::Delivered);
        assert_eq!(line.set(true), Delivery::Coalesced);
        line.set(false);
        line.pulse();
        assert_eq!(probe.rising_edges(), 2);
        assert!(!probe.level());
    }
}
