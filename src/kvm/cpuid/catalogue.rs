//! What models there are, and what a model has on this host: for those who choose one.

use super::error::{CpuError, Warning};
use super::guest::GuestCpu;
use super::host::HostCpu;
use super::models::{Meaning, meanings};
use super::{SPECIAL_MODELS, features};
use crate::config::{CpuConfig, CpuModel};

/// Every name of a model that `-cpu` takes. Without a host nothing is missing.
#[must_use]
pub fn models(host: Option<&HostCpu>) -> Vec<CpuModel> {
    let special = SPECIAL_MODELS.iter().map(|(name, _)| CpuModel {
        name: (*name).to_owned(),
        alias_of: None,
        of_host: *name != "base",
        missing: Vec::new(),
    });
    let named = meanings().into_iter().map(|(name, meaning)| CpuModel {
        missing: host.map(|host| missing(&name, host)).unwrap_or_default(),
        name,
        alias_of: match meaning {
            Meaning::AliasOf(name) => Some(name),
            Meaning::Described(_) => None,
        },
        of_host: false,
    });
    special.chain(named).collect()
}

/// Features of a model that the host can't give.
fn missing(model: &str, host: &HostCpu) -> Vec<String> {
    let config = CpuConfig { model: model.to_owned(), properties: Vec::new() };
    let Ok(cpu) = GuestCpu::new(&config, host) else { return Vec::new() };
    let lacking = cpu.warnings().iter().filter_map(|warning| match warning {
        Warning::Lacks(bit) => bit.word.bit_name(bit.bit).map(str::to_owned),
        _ => None,
    });
    lacking.collect()
}

/// Every feature, and whether a guest with this CPU has it on this host.
///
/// # Errors
/// There is no such CPU.
pub fn features_of(config: &CpuConfig, host: &HostCpu) -> Result<Vec<(&'static str, bool)>, CpuError> {
    let cpu = GuestCpu::new(config, host)?;
    let feature = |name| features::find(name).map(|feature| (name, cpu.features.has(feature)));
    Ok(features::names().filter_map(feature).collect())
}
