//! The tree of objects as QMP shows it: paths, types and properties, all read only.
//!
//! A modest picture of QEMU's object model, with the paths that clients use: `/machine/unattached/device[N]` are the parts of the
//! board, `/machine/peripheral/ID` the devices that were given an id, `/machine/peripheral-anon/device[N]` the others.

use std::collections::BTreeMap;

use serde_json::Value;

/// One object.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    type_name: String,
    /// Properties besides `type`, in order: name, type, value.
    properties: Vec<(String, &'static str, Value)>,
}

/// Why an object can't be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is none.
    #[error("Device '{0}' not found")]
    NotFound(String),
    /// There are several.
    #[error("Path '{0}' does not uniquely identify an object")]
    Ambiguous(String),
}

/// All objects, by their absolute paths.
#[derive(Clone, Debug)]
pub struct Qom(BTreeMap<String, Node>);

impl Default for Qom {
    fn default() -> Self {
        let root = Node { type_name: "container".into(), properties: Vec::new() };
        Self(BTreeMap::from([("/".into(), root)]))
    }
}

/// The type that a property of this value has.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(_) => "uint64",
        _ => "string",
    }
}

impl Qom {
    /// Adds an object and whatever is missing above it. A value that is an object or a list is no property.
    pub fn add(&mut self, path: &str, type_name: &str, properties: impl IntoIterator<Item = (String, Value)>) {
        for (at, _) in path.match_indices('/').skip(1) {
            let container = || Node { type_name: "container".into(), properties: Vec::new() };
            self.0.entry(path[..at].to_owned()).or_insert_with(container);
        }
        let properties = properties.into_iter().filter(|(_, value)| !value.is_object() && !value.is_array());
        let properties = properties.map(|(name, value)| (name, type_of(&value), value)).collect();
        self.0.insert(path.to_owned(), Node { type_name: type_name.to_owned(), properties });
    }

    /// The absolute path of what `path` names: an absolute path, or the end of one.
    ///
    /// # Errors
    /// It names none or several.
    pub fn resolve(&self, path: &str) -> Result<&str, PathError> {
        let trimmed = if path == "/" { path } else { path.trim_end_matches('/') };
        if trimmed.starts_with('/') || trimmed.is_empty() {
            let found = self.0.get_key_value(trimmed).map(|(key, _)| key.as_str());
            return found.ok_or_else(|| PathError::NotFound(path.to_owned()));
        }
        let names = |key: &&String| key.strip_suffix(trimmed).is_some_and(|before| before.ends_with('/'));
        let mut found = self.0.keys().filter(names);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(PathError::NotFound(path.to_owned())),
            (Some(_), Some(_)) => Err(PathError::Ambiguous(path.to_owned())),
        }
    }

    /// The type of the object at an absolute path; empty if there is none.
    #[must_use]
    pub fn type_of(&self, path: &str) -> &str {
        self.0.get(path).map_or("", |node| &node.type_name)
    }

    /// Name and type of all properties of the object at an absolute path, its children among them.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<(String, String)> {
        let Some(node) = self.0.get(path) else { return Vec::new() };
        let own = node.properties.iter().map(|(name, kind, _)| (name.clone(), (*kind).to_owned()));
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let children = self
            .children(path)
            .map(|child| (child[prefix.len()..].to_owned(), format!("child<{}>", self.type_of(child))));
        [("type".to_owned(), "string".to_owned())].into_iter().chain(own).chain(children).collect()
    }

    /// The absolute paths of the children of the object at an absolute path.
    pub fn children(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        self.0
            .keys()
            .map(String::as_str)
            .filter(move |key| key.strip_prefix(&prefix).is_some_and(|name| !name.is_empty() && !name.contains('/')))
    }

    /// Why a property of the object at an absolute path can't be set, in QEMU's words.
    #[must_use]
    pub fn refuse_to_set(&self, path: &str, property: &str) -> String {
        let what = if self.get(path, property).is_some() { "is not writable" } else { "not found" };
        format!("Property '{}.{property}' {what}", self.type_of(path))
    }

    /// A property of the object at an absolute path; a child is its path.
    #[must_use]
    pub fn get(&self, path: &str, property: &str) -> Option<Value> {
        let node = self.0.get(path)?;
        if property == "type" {
            return Some(node.type_name.clone().into());
        }
        if let Some((_, _, value)) = node.properties.iter().find(|(name, ..)| name == property) {
            return Some(value.clone());
        }
        let child = if path == "/" { format!("/{property}") } else { format!("{path}/{property}") };
        self.0.contains_key(&child).then(|| child.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tree() -> Qom {
        let mut qom = Qom::default();
        qom.add("/machine", "pc-machine", [("graphics".into(), true.into()), ("list".into(), json!([1]))]);
        qom.add("/machine/i440fx/ioapic", "ioapic", []);
        qom.add("/machine/unattached/device[0]", "cpu", []);
        qom.add("/machine/peripheral-anon/device[0]", "isa-debug-exit", [("iobase".into(), 0xf4.into())]);
        qom
    }

    #[test]
    fn paths_are_whole_or_an_unambiguous_end() {
        let qom = tree();
        assert_eq!(qom.resolve("/machine/i440fx/ioapic"), Ok("/machine/i440fx/ioapic"));
        assert_eq!(qom.resolve("ioapic"), Ok("/machine/i440fx/ioapic"));
        assert_eq!(qom.resolve("i440fx/ioapic"), Ok("/machine/i440fx/ioapic"));
        assert_eq!(qom.resolve("unattached/device[0]"), Ok("/machine/unattached/device[0]"));
        assert_eq!(qom.resolve("apic"), Err(PathError::NotFound("apic".into())));
        assert_eq!(qom.resolve("device[0]"), Err(PathError::Ambiguous("device[0]".into())));
        assert_eq!(qom.resolve(""), Err(PathError::NotFound(String::new())));
        assert_eq!(qom.resolve("/"), Ok("/"));
    }

    #[test]
    fn children_are_properties() {
        let qom = tree();
        let names = |path| qom.list(path).into_iter().map(|(name, kind)| format!("{name}:{kind}")).collect::<Vec<_>>();
        assert_eq!(names("/"), ["type:string", "machine:child<pc-machine>"]);
        assert_eq!(
            names("/machine"),
            [
                "type:string",
                "graphics:bool",
                "i440fx:child<container>",
                "peripheral-anon:child<container>",
                "unattached:child<container>"
            ]
        );
        assert_eq!(qom.get("/machine", "type"), Some("pc-machine".into()));
        assert_eq!(qom.get("/machine", "i440fx"), Some("/machine/i440fx".into()));
        assert_eq!(qom.get("/machine/peripheral-anon/device[0]", "iobase"), Some(0xf4.into()));
        assert_eq!(qom.get("/machine", "list"), None);
    }
}
