//! `-cpu`: the model and its properties.

use crate::cli::error::UsageError;
use crate::cli::settings::Settings;
use crate::config::{CpuConfig, CpuProperty};

/// The CPU models and properties that the machine has.
pub struct CpuCatalogue {
    /// Names of the models, each with what it is.
    pub models: fn() -> Vec<(String, String)>,
    /// Names of feature flags and of other properties that can be set on a model, with `-` and not `_`.
    pub properties: fn() -> Vec<&'static str>,
    /// Checks a model and its properties as far as this is possible without the host's CPU. The message says what is wrong
    /// and what to do.
    pub check: fn(&CpuConfig) -> Result<(), String>,
}

/// Reads `-cpu`.
pub fn build(
    settings: &Settings,
    catalogue: &CpuCatalogue,
    warnings: &mut Vec<String>,
) -> Result<CpuConfig, UsageError> {
    let Some(given) = settings.last("cpu") else { return Ok(CpuConfig::default()) };
    let mut parts = given.text().split(',');
    let model = parts.next().unwrap_or_default().to_owned();
    let (mut set, mut plus, mut minus) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let (list, name, value) = match (part.strip_prefix('+'), part.strip_prefix('-'), part.split_once('=')) {
            (Some(name), ..) => (&mut plus, name, "on"),
            (_, Some(name), _) => (&mut minus, name, "off"),
            (.., Some((name, value))) => (&mut set, name, value),
            _ => (&mut set, part, "on"),
        };
        list.push(CpuProperty { name: name.replace('_', "-"), value: value.into() });
    }

    let properties: Vec<_> = [set, plus, minus].concat();
    for (after, property) in (1..).zip(&properties) {
        if let Some(winner) = properties[after..].iter().rfind(|later| later.name == property.name)
            && winner.value != property.value
        {
            warnings.push(format!(
                "{}: {} is set more than once; {}={} counts",
                given.origin, property.name, winner.name, winner.value
            ));
        }
    }
    let cpu = CpuConfig { model, properties };
    (catalogue.check)(&cpu).map_err(|message| given.origin.error(message))?;
    Ok(cpu)
}
