//! What the PC's speaker sounds: OUT of counter 2, where bit 1 of port 61h lets it through.
//!
//! A tone is the square wave of mode 3. Other ways to move the cone (other modes, port 61h itself) make clicks, which are silence
//! here, as under QEMU.

use std::fmt;

use super::registers::HZ;

/// A square wave: the input clock of 1193182 Hz divided by a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tone {
    count: u32,
}

impl Tone {
    /// The tone of a count, which is 2 to 65536.
    pub(super) fn of(count: u32) -> Self {
        Self { count }
    }

    /// Waves a second: 18.2 to 596591.
    #[must_use]
    pub fn hertz(self) -> f64 {
        HZ as f64 / f64::from(self.count)
    }
}

impl fmt::Display for Tone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} Hz", self.hertz())
    }
}

/// The speaker: is told each change of its tone, and silent at first.
pub trait Speaker: Send {
    /// Sounds `tone` from now on, or nothing. Is called with the timer locked, and must not wait.
    fn sound(&mut self, tone: Option<Tone>);
}
