//! What a command leads to.

use super::Sense;
use super::cd::Fields;
use super::task::Job;

/// What a command leads to.
pub(crate) enum Outcome {
    /// It has ended.
    Good,
    /// It has failed.
    Check(Sense),
    /// These bytes go to the host.
    Data(Vec<u8>),
    /// Blocks of a CD go to the host.
    Blocks { first: u32, count: u32, fields: Fields },
    /// So many bytes come from the host.
    Parameters(usize),
    /// This has to be done by the medium, one after the other.
    Jobs(Vec<Job>),
}

impl Outcome {
    /// An answer of which the host takes `most` bytes.
    pub fn data(mut bytes: Vec<u8>, most: impl Into<u32>) -> Self {
        bytes.truncate(most.into() as usize);
        Self::Data(bytes)
    }
}
