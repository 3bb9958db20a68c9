//! Limits of drives: `-drive throttling.*` and `-object throttle-group`.

use super::check_id;
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::cli::settings::Settings;
use crate::config::{Throttle, ThrottleGroup, ThrottleLimits};
use crate::scalar::parse_size;

/// What `throttling.*` says.
pub fn of_drive(list: &KeyValues, origin: &Origin) -> Result<Option<Throttle>, UsageError> {
    let limits = limits(list, &["throttling."], origin)?;
    let group = list.text("throttling.group").map(str::to_owned);
    Ok((limits.is_limited() || group.is_some()).then_some(Throttle { group, limits }))
}

/// The groups that objects define.
pub fn groups(settings: &Settings) -> Result<Vec<ThrottleGroup>, UsageError> {
    let mut groups: Vec<ThrottleGroup> = Vec::new();
    for object in settings.all("object") {
        let Some(list) = object.list().filter(|list| list.variant == Some("throttle-group")) else { continue };
        let id = list.text("id").ok_or_else(|| object.origin.error("'id' is missing: give id=ID"))?;
        let id = check_id(&object.origin, id)?.to_owned();
        if groups.iter().any(|group| group.id == id) {
            return Err(object.origin.error(format_args!("there are two objects with the id '{id}'")));
        }
        groups.push(ThrottleGroup { id, limits: limits(list, &["limits.", "x-"], &object.origin)? });
    }
    Ok(groups)
}

/// The limits by the keys of a list that begin with one of `prefixes`.
fn limits(list: &KeyValues, prefixes: &[&str], origin: &Origin) -> Result<ThrottleLimits, UsageError> {
    let mut limits = ThrottleLimits::default();
    for entry in &list.entries {
        let name = prefixes.iter().find_map(|prefix| {
            let of_key = entry.key.strip_prefix(prefix).filter(|rest| !rest.is_empty());
            of_key.or_else(|| entry.written_key.strip_prefix(prefix))
        });
        let Some(name) = name.filter(|name| *name != "group") else { continue };
        let key = &entry.written_key;
        let value = parse_size(&entry.text, 1)
            .ok_or_else(|| origin.error(format_args!("{key}={}: expected a number", entry.text)))?;
        if !limits.set(name, value) {
            return Err(origin.error(format_args!(
                "there is no parameter '{key}': write bps or iops, -total, -read or -write, and -max or -max-length for bursts \
                 (limits.bps-total-max say), or iops-size"
            )));
        }
    }
    limits.check().map_err(|why| origin.error(format_args!("throttling: {why}")))?;
    Ok(limits)
}
