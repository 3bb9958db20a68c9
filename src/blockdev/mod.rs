//! Options of block nodes: from the objects that QEMU calls `BlockdevOptions` (its QMP reference, "Block devices") to
//! [`NodeConfig`].
//!
//! All that names an image comes by here: `-blockdev` and `blockdev-add`, which say everything; `-drive` and names in images, which
//! leave out drivers that can be found out. A list of `key=value` is an object whose members are those before the first dot
//! ([`nest`]). The messages begin as QEMU's.

mod drivers;
mod fields;
mod names;

use std::path::Path;

use serde_json::{Map, Value};

pub use self::drivers::{NAMES as DRIVERS, instead_of};
use self::fields::Fields;
pub use self::fields::Style;
use crate::config::{Access, Aio, Child, DetectZeroes, FileConfig, FileKind, NodeConfig, NodeDriver};
use crate::suggest::did_you_mean;

/// Why options describe no node.
type Result<T> = std::result::Result<T, String>;

/// The longest name of a node.
const LONGEST_NAME: usize = 31;

/// What a node has from the one above it if it does not say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// What may be done with it.
    pub access: Access,
    /// The host's cache is passed by.
    pub direct: bool,
    /// Flushing does nothing.
    pub no_flush: bool,
    /// It is opened although others may write to it.
    pub force_share: bool,
    /// What is not needed any more is given back.
    pub discard: bool,
    /// By what means requests of files reach the host.
    pub aio: Aio,
}

impl Default for Inherited {
    fn default() -> Self {
        Self {
            access: Access::ReadWrite,
            direct: false,
            no_flush: false,
            force_share: false,
            discard: false,
            aio: Aio::Auto,
        }
    }
}

impl Inherited {
    /// What a node under `node` has from it. Whether what is not needed is given back is for the one above to say.
    fn below(node: &NodeConfig, aio: Aio) -> Self {
        let NodeConfig { access, direct, no_flush, force_share, .. } = *node;
        Self { access, direct, no_flush, force_share, discard: true, aio }
    }
}

/// How much has to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// Every driver.
    All,
    /// A driver that is left out is found out: from the name of a file, or from what is in it.
    AsNeeded,
}

/// The objects that dotted names stand for: `a.b=c` is a member `b` of the member `a`.
///
/// # Errors
/// A name is both that of a value and of an object.
pub fn nest<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Result<Map<String, Value>> {
    let mut root = Map::new();
    for (name, value) in pairs {
        let inconsistent =
            || format!("Parameters '{name}' and what is before or behind a dot of it are used inconsistently");
        let mut parts = name.split('.');
        let last = parts.next_back().unwrap_or_default();
        let mut object = &mut root;
        for part in parts {
            let member = object.entry(part).or_insert_with(|| Map::new().into());
            object = member.as_object_mut().ok_or_else(inconsistent)?;
        }
        if object.get(last).is_some_and(Value::is_object) {
            return Err(inconsistent());
        }
        object.insert(last.to_owned(), value);
    }
    Ok(root)
}

/// A node that `-blockdev` or `blockdev-add` describes.
///
/// # Errors
/// The options describe none, or it has no name.
pub fn node(options: Map<String, Value>, style: Style) -> Result<NodeConfig> {
    let node =
        Reader { detail: Detail::All, aio: Aio::Auto }.node(Fields::new(options, style), Inherited::default())?;
    match node.name {
        Some(_) => Ok(node),
        None => Err("'node-name' must be specified for the root node: give node-name=NAME".into()),
    }
}

/// The node that `-drive` describes by its options and the name of a file; `None`: there is no medium.
///
/// # Errors
/// The options describe none.
pub fn drive(
    mut options: Map<String, Value>,
    style: Style,
    file: Option<&str>,
    inherited: Inherited,
) -> Result<Option<NodeConfig>> {
    match file {
        None | Some("") => {}
        Some(name) => {
            let named = match name.strip_prefix("json:") {
                Some(text) => names::json(text)?,
                // The driver is that of the file itself.
                None if options.get("driver").and_then(Value::as_str).is_some_and(drivers::is_of_files) => {
                    names::options(name)?
                }
                None => Map::from_iter([("file".to_owned(), names::options(name)?.into())]),
            };
            merge(&mut options, named);
        }
    }
    if !options.contains_key("file") && !options.contains_key("driver") {
        return Ok(None);
    }
    Reader { detail: Detail::AsNeeded, aio: inherited.aio }.node(Fields::new(options, style), inherited).map(Some)
}

/// The image of this name, with this driver if that is known.
///
/// # Errors
/// It is no name of an image, or there is no such driver.
pub fn named(name: &str, driver: Option<&str>, inherited: Inherited) -> Result<NodeConfig> {
    let options = driver.map(|driver| ("driver".to_owned(), driver.into()));
    let node = drive(options.into_iter().collect(), Style::Words, Some(name), inherited)?;
    node.ok_or_else(|| "the name of the file is empty".into())
}

/// The image that another one, in `directory`, is made over: by its name, and by its driver if that is known.
///
/// # Errors
/// It is no name of an image.
pub fn backing(name: &str, driver: Option<&str>, directory: &Path, inherited: Inherited) -> Result<NodeConfig> {
    let mut options = if let Some(text) = name.strip_prefix("json:") {
        names::json(text)?
    } else {
        let mut file = names::options(name)?;
        if file.get("driver").and_then(Value::as_str) == Some("file")
            && let Some(Value::String(path)) = file.get_mut("filename")
        {
            *path = directory.join(&*path).to_str().ok_or("the name of its directory is no UTF-8 text")?.to_owned();
        }
        Map::from_iter([("file".to_owned(), file.into())])
    };
    if let Some(driver) = driver {
        options.entry("driver").or_insert(driver.into());
    }
    Reader { detail: Detail::AsNeeded, aio: inherited.aio }.node(Fields::new(options, Style::Json), inherited)
}

/// Adds to `options` what is not in them.
fn merge(options: &mut Map<String, Value>, others: Map<String, Value>) {
    for (key, value) in others {
        match (options.get_mut(&key), value) {
            (Some(Value::Object(own)), Value::Object(other)) => merge(own, other),
            (Some(_), _) => {}
            (None, value) => {
                options.insert(key, value);
            }
        }
    }
}

/// Reads nodes.
#[derive(Clone, Copy)]
struct Reader {
    detail: Detail,
    /// By what means requests of files reach the host that don't say it.
    aio: Aio,
}

impl Reader {
    fn node(self, mut fields: Fields, inherited: Inherited) -> Result<NodeConfig> {
        let driver = fields.text("driver")?;
        let name = fields.text("node-name")?.map(|name| check_name(&name).map(|()| name)).transpose()?;
        let access = access(&mut fields, inherited.access)?;
        let mut cache = fields.object("cache")?;
        let (direct, no_flush) = (cache.flag("direct")?, cache.flag("no-flush")?);
        cache.end("cache")?;
        let discard = fields.word("discard", &[("ignore", false), ("off", false), ("unmap", true), ("on", true)])?;
        let detect_zeroes = fields.named("detect-zeroes")?;
        let force_share = fields.flag("force-share")?;
        let mut node = NodeConfig {
            name,
            // Until it is known.
            driver: NodeDriver::Null(Default::default()),
            access,
            direct: direct.unwrap_or(inherited.direct),
            no_flush: no_flush.unwrap_or(inherited.no_flush),
            discard: discard.unwrap_or(inherited.discard),
            detect_zeroes: detect_zeroes.unwrap_or(DetectZeroes::Off),
            force_share: force_share.unwrap_or(inherited.force_share),
        };
        if node.detect_zeroes == DetectZeroes::Unmap && !node.discard {
            return Err(format!(
                "setting {} to unmap is not allowed without setting discard operation to unmap: add {}=unmap",
                fields.full("detect-zeroes"),
                fields.full("discard")
            ));
        }
        if node.force_share && node.access != Access::ReadOnly {
            return Err(format!("{}=on can only be used with read-only images", fields.full("force-share")));
        }
        let driver = match driver {
            Some(driver) => driver,
            None if self.detail == Detail::All => {
                return Err(format!("Parameter '{}' is missing", fields.full("driver")));
            }
            None => String::new(),
        };
        node.driver = self.driver(&driver, &mut fields, &mut node)?;
        fields.end(&format!("the driver '{driver}'"))?;
        Ok(node)
    }

    /// The node under the one of `node`.
    fn child(self, fields: &mut Fields, key: &'static str, node: &NodeConfig) -> Result<Child> {
        let value = fields.take(key);
        let value = fields.must(key, value)?;
        self.child_of(fields, key, value, Inherited::below(node, self.aio))
    }

    fn child_of(self, fields: &Fields, key: &str, value: Value, inherited: Inherited) -> Result<Child> {
        match value {
            Value::String(name) => Ok(Child::Name(name)),
            Value::Object(options) => self.node(fields.below(key, self.complete(options)?), inherited).map(Child::from),
            _ => Err(format!("Invalid parameter type for '{}', expected: object or string", fields.full(key))),
        }
    }

    /// The options of a node under another one, with the driver if the name of the file tells it.
    fn complete(self, mut options: Map<String, Value>) -> Result<Map<String, Value>> {
        if self.detail == Detail::AsNeeded
            && !options.contains_key("driver")
            && let Some(Value::String(name)) = options.get("filename")
        {
            let named = names::options(name)?;
            options.remove("filename");
            merge(&mut options, named);
        }
        Ok(options)
    }

    /// The file of a driver that is nothing but one.
    fn file(self, fields: &mut Fields, kind: FileKind) -> Result<NodeDriver> {
        let path = fields.text("filename")?;
        let path = fields.must("filename", path)?;
        let mut file = FileConfig::new(path, kind);
        file.locking = fields.named("locking")?.unwrap_or(file.locking);
        file.aio = drivers::aio(fields)?.unwrap_or(self.aio);
        fields.refuse("pr-manager", &[], "there are no persistent reservations")?;
        fields.refuse("drop-cache", &["on", "off"], "leave it out")?;
        fields.refuse(
            "aio-max-batch",
            &["0"],
            "leave it out: all requests that a guest makes together begin together",
        )?;
        Ok(NodeDriver::File(file))
    }
}

/// Checks the name of a node.
///
/// # Errors
/// It is none.
pub fn check_name(name: &str) -> Result<()> {
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    match name.len() {
        _ if !well_formed => {
            Err(format!("Invalid node-name: '{name}': use letters, digits, '-', '.' and '_', beginning with a letter"))
        }
        0..=LONGEST_NAME => Ok(()),
        _ => Err(format!("Node name too long: '{name}' has more than {LONGEST_NAME} characters")),
    }
}

fn access(fields: &mut Fields, usual: Access) -> Result<Access> {
    Ok(match (fields.flag("read-only")?, fields.flag("auto-read-only")?) {
        (Some(true), _) => Access::ReadOnly,
        (Some(false) | None, Some(true)) => Access::Auto,
        (Some(false), _) => Access::ReadWrite,
        (None, Some(false)) if usual == Access::Auto => Access::ReadWrite,
        (None, _) => usual,
    })
}

/// Why there is no driver of this name.
fn unknown_driver(fields: &Fields, name: &str) -> String {
    let key = fields.full("driver");
    match instead_of(name) {
        Some(instead) => format!("{key}={name} is not supported: {instead}"),
        None => format!(
            "Parameter '{key}' does not accept value '{name}'{}; natoma has {}",
            did_you_mean(name, drivers::NAMES),
            drivers::NAMES.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
