//! What the guest sees in CPUID.
//!
//! The user asks for a model and changes to it ([`CpuConfig`]); [`HostCpu`] says what the host can
//! give; [`GuestCpu`] is what comes of both, and makes the table for each virtual CPU from its place in the [`Topology`].
//! Models, features and their names, the defaults under KVM and the layout of the leaves are those of QEMU 7.2.
//!
//! Without a model the guest gets `qemu64`, as under QEMU: an AMD processor of family 15 with little more than SSE3. It
//! is there for scripts that rely on it; `-cpu host` is faster in most guests.
//!
//! On a host without hardware virtualisation KVM can't hide unprivileged features: they are there for the guest's programs
//! whatever its kernel is told. There the guest's kernel is told of them too, in a table that agrees with itself, so that it
//! saves all the registers that its programs can use: see [`HostCpu::examine`].

mod cache;
mod catalogue;
mod error;
mod features;
mod guest;
mod host;
mod leaves;
mod models;
mod native;
mod properties;
mod setup;
mod topology;
mod xstate;

#[cfg(test)]
mod tests;

pub use catalogue::{features_of, models};
pub use error::{Bit, CpuError, Warning};
pub use guest::GuestCpu;
pub use host::HostCpu;
pub use native::Native;
pub use setup::SetUpError;
pub use topology::{Place, Topology, TopologyError};

use crate::config::CpuConfig;

/// Models that are no processor of their own: name and meaning.
const SPECIAL_MODELS: [(&str, &str); 3] = [
    ("base", "no features at all"),
    ("host", "everything that the host and its KVM can give a guest"),
    ("max", "(alias of host)"),
];

/// Every name of a model that `-cpu` takes and what it stands for, as `-cpu help` lists them.
#[must_use]
pub fn model_names() -> Vec<(String, String)> {
    let mut names: Vec<_> = models::meanings().into_iter().map(|(name, meaning)| (name, meaning.to_string())).collect();
    names.extend(SPECIAL_MODELS.map(|(name, meaning)| (name.to_owned(), meaning.to_owned())));
    names
}

/// Every property that `-cpu` takes, without aliases: features and others, sorted.
#[must_use]
pub fn property_names() -> Vec<&'static str> {
    let mut names: Vec<_> = features::names().chain(properties::NAMES).collect();
    names.sort_unstable();
    names
}

/// Checks what can be checked of a CPU without a host.
///
/// # Errors
/// The model or a property is unknown or not offered, or a value does not fit.
pub fn check(config: &CpuConfig) -> Result<(), CpuError> {
    guest::check(config)
}
