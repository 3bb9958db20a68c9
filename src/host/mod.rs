//! The host: what the process does with files, terminals, sockets and itself on behalf of the machine.

pub mod channel;
pub mod chardev;
pub mod process;
pub mod terminal;
