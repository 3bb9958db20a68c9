//! The option grammar and the table of all options; produces a [`MachineConfig`](crate::config), opens nothing.

pub mod keyval;
mod suggest;
