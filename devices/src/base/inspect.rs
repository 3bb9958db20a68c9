//! Looking into a device from outside: the human monitor, traces and tests.

use std::fmt;

/// One reported item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A register of `bits` bits.
    Register {
        /// Its value.
        value: u64,
        /// Its width.
        bits: u8,
    },
    /// A count or a time, shown in decimal.
    Number(u64),
    /// A signal or condition.
    Flag(bool),
    /// Anything else.
    Text(String),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { value, bits } => {
                write!(f, "{value:#0width$x}", width = usize::from(bits.div_ceil(4)) + 2)
            }
            Self::Number(value) => write!(f, "{value}"),
            Self::Flag(value) => f.write_str(if *value { "on" } else { "off" }),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// Collects what a device reports about itself.
#[derive(Default, Debug)]
pub struct Inspector {
    items: Vec<(String, Item)>,
}

impl Inspector {
    /// Reports a register of `bits` bits under its data-sheet name.
    pub fn register(&mut self, name: impl Into<String>, value: impl Into<u64>, bits: u8) {
        self.items.push((name.into(), Item::Register { value: value.into(), bits }));
    }

    /// Reports a number.
    pub fn number(&mut self, name: impl Into<String>, value: impl Into<u64>) {
        self.items.push((name.into(), Item::Number(value.into())));
    }

    /// Reports a signal or condition.
    pub fn flag(&mut self, name: impl Into<String>, value: bool) {
        self.items.push((name.into(), Item::Flag(value)));
    }

    /// Reports text.
    pub fn text(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.items.push((name.into(), Item::Text(value.into())));
    }

    /// What was reported, in order.
    #[must_use]
    pub fn items(&self) -> &[(String, Item)] {
        &self.items
    }
}

impl fmt::Display for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.iter().try_for_each(|(name, item)| writeln!(f, "{name} = {item}"))
    }
}
