//! What devices need of the host, as traits, with doubles in memory for tests.

pub mod block;
pub mod char;
pub mod disk;
