//! The human monitor's commands for the tree of objects.

use std::fmt::Write;

use anyhow::{Context as _, Result, bail};

use super::commands::Context;
use super::qom::Qom;

/// Where the board is.
const MACHINE: &str = "/machine";

/// `qom-list [PATH]`.
pub(super) fn list(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let qom = context.machine.qom();
    let path = match arguments {
        [] => "/",
        [path] => qom.resolve(path)?,
        _ => bail!("give one path at most"),
    };
    Ok(qom.list(path).into_iter().map(|(name, kind)| format!("{name} ({kind})\n")).collect())
}

/// `qom-get PATH PROPERTY`: the value as JSON.
pub(super) fn get(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [path, property] = arguments else { bail!("give the path of an object and a property") };
    let qom = context.machine.qom();
    let path = qom.resolve(path)?;
    let value = qom.get(path, property);
    let value = value.with_context(|| format!("Property '{}.{property}' not found", qom.type_of(path)))?;
    Ok(format!("{value}\n"))
}

/// `qom-set PATH PROPERTY VALUE`.
pub(super) fn set(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [path, property, _] = arguments else { bail!("give the path of an object, a property and a value") };
    let qom = context.machine.qom();
    bail!(qom.refuse_to_set(qom.resolve(path)?, property))
}

/// `info qom-tree [PATH]`.
pub(super) fn tree(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let qom = context.machine.qom();
    let path = match arguments {
        [] => qom.resolve(MACHINE)?,
        [path] => qom.resolve(path)?,
        _ => bail!("give one path at most"),
    };
    let mut text = String::new();
    describe(qom, path, 0, &mut text);
    Ok(text)
}

fn describe(qom: &Qom, path: &str, indent: usize, text: &mut String) {
    let name = path.rsplit('/').next().unwrap_or_default();
    // Writing to a String can't fail.
    let _ = writeln!(text, "{:indent$}/{name} ({})", "", qom.type_of(path));
    for child in qom.children(path) {
        describe(qom, child, indent + 2, text);
    }
}
