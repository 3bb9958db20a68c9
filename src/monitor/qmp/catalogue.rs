//! Commands that tell what there is to choose from: options of the command line, processors.

use serde_json::{Map, Value, json};

use super::commands::{Result, now};
use super::error::QmpError;
use super::request::Arguments;
use crate::config::{CpuModel, CpuProperty, DeviceProperty, OptionGroup};
use crate::monitor::Control;

/// The name of the type of processors of a model.
fn type_name(model: &str) -> String {
    format!("{model}-x86_64-cpu")
}

/// `query-command-line-options`.
pub fn options(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    let wanted = arguments.optional_string("option")?;
    let parameter = |DeviceProperty { name, kind, description }: &DeviceProperty| {
        // QEMU has one name for all numbers here.
        let kind = match *kind {
            "bool" => "boolean",
            "uint32" | "uint64" => "number",
            "size" => "size",
            _ => "string",
        };
        json!({ "name": name, "type": kind, "help": description })
    };
    let describe = |OptionGroup { name, parameters }: &OptionGroup| json!({ "option": name, "parameters": parameters.iter().map(parameter).collect::<Value>() });
    let groups = machine.option_groups().iter();
    let described: Vec<_> =
        groups.filter(|group| wanted.as_deref().is_none_or(|wanted| wanted == group.name)).map(describe).collect();
    match wanted {
        Some(name) if described.is_empty() => Err(QmpError::generic(format!("invalid option name: {name}"))),
        _ => now(described.into()),
    }
}

/// `query-cpu-definitions`.
pub fn cpu_definitions(machine: &dyn Control) -> Result {
    let describe = |CpuModel { name, alias_of, of_host, missing }: CpuModel| {
        let mut model = json!({
            "name": name,
            "typename": type_name(&name),
            // What a model has may change from one natoma to the next.
            "static": false,
            "migration-safe": !of_host,
            "deprecated": false,
            "unavailable-features": missing,
        });
        if let Some(alias_of) = alias_of {
            model["alias-of"] = alias_of.into();
        }
        model
    };
    now(machine.cpu_models()?.into_iter().map(describe).collect())
}

/// `query-cpu-model-expansion`: the features of a model on this host, with what the client changes about it.
pub fn expand_cpu_model(machine: &dyn Control, arguments: &mut Arguments) -> Result {
    // All features are named either way: there is no model to which a static expansion could refer.
    arguments.choice("type", &[("full", ()), ("static", ())])?;
    let mut model = arguments.object("model")?;
    let name = model.string("name")?;
    let changes = model.optional_members("props")?;
    model.end()?;
    let changes = changes.into_iter().map(|(name, value)| {
        let value = match value {
            Value::Bool(on) => if on { "on" } else { "off" }.to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        CpuProperty { name, value }
    });
    let features = machine.cpu_features(&name, changes.collect())?;
    let properties: Map<_, _> = features.into_iter().map(|(name, on)| (name.to_owned(), on.into())).collect();
    now(json!({ "model": { "name": name, "props": properties } }))
}
