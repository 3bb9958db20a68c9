//! The CPU models that QEMU 7.2 has by name, as the guest sees them: vendor, signature, feature flags and caches.
//!
//! Each definition is the first version of a model, written as what it adds to (`+`) or takes from (`-`) a similar one; later
//! versions follow as what each changes in the one before. Without a version a name means the first one, as on QEMU's
//! `pc`. All models run under a hypervisor and say so.
//!
//! Not here: the VMX capabilities that QEMU keeps for Intel models, which matter only with `+vmx`; KVM's own stand.

mod table;

use std::fmt;

use super::cache::CacheSet;
use super::features::{self, Features};
use table::DEFINITIONS;

/// Vendor string of Intel.
pub const INTEL: [u8; 12] = *b"GenuineIntel";
/// Vendor string of AMD.
pub const AMD: [u8; 12] = *b"AuthenticAMD";
/// Vendor string of Hygon.
const HYGON: [u8; 12] = *b"HygonGenuine";

/// What identifies a processor in CPUID leaf 1, EAX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signature {
    /// Family, extended family included: 0 to 270.
    pub family: u32,
    /// Model, extended model included: 0 to 255.
    pub model: u32,
    /// Stepping: 0 to 15.
    pub stepping: u32,
}

impl Signature {
    /// Takes CPUID.01H:EAX apart.
    #[must_use]
    pub fn from_eax(eax: u32) -> Self {
        let family = eax >> 8 & 0xf;
        Self {
            family: if family == 0xf { family + (eax >> 20 & 0xff) } else { family },
            model: eax >> 4 & 0xf | eax >> 12 & 0xf0,
            stepping: eax & 0xf,
        }
    }

    /// CPUID.01H:EAX.
    #[must_use]
    pub fn eax(self) -> u32 {
        let (family, extended) = if self.family > 0xf { (0xf, self.family - 0xf) } else { (self.family, 0) };
        extended << 20 | (self.model & 0xf0) << 12 | family << 8 | (self.model & 0xf) << 4 | self.stepping
    }
}

/// One version of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its full name: `Haswell-v2`.
    pub name: String,
    /// Vendor string. KVM guests get the host's instead.
    pub vendor: [u8; 12],
    /// Family, model and stepping.
    pub signature: Signature,
    /// Highest basic leaf.
    pub level: u32,
    /// Highest extended leaf, or 0.
    pub xlevel: u32,
    /// Brand string.
    pub model_id: &'static str,
    /// What distinguishes the version from the one before, if the brand string does not say so.
    pub note: &'static str,
    /// Caches of its own; `None`: the ones that every other model has.
    pub caches: Option<&'static CacheSet>,
    /// Feature flags.
    pub features: Features,
}

impl Model {
    /// The model with this name, version (`EPYC-v2`) or alias (`EPYC-IBPB`). Case matters, as in QEMU.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        DEFINITIONS.iter().find_map(|definition| {
            let version = match name.strip_prefix(definition.name) {
                Some("") => 1,
                Some(rest) => definition.version_of(rest, name)?,
                None => definition.aliased(name)?,
            };
            Some(definition.model(version))
        })
    }
}

/// What the name of a model stands for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// Another name.
    AliasOf(String),
    /// A processor, in words.
    Described(String),
}

/// As `-cpu help` has it.
impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AliasOf(name) => write!(f, "(alias of {name})"),
            Self::Described(text) => f.write_str(text),
        }
    }
}

/// Every name that [`Model::find`] knows and what it stands for, sorted by name.
#[must_use]
pub fn meanings() -> Vec<(String, Meaning)> {
    let mut names = Vec::new();
    for definition in DEFINITIONS {
        names.push((definition.name.to_owned(), Meaning::AliasOf(format!("{}-v1", definition.name))));
        for number in 1..=definition.versions.len() + 1 {
            let model = definition.model(number);
            if let Some(alias) = definition.change(number).and_then(|version| version.alias) {
                names.push((alias.to_owned(), Meaning::AliasOf(model.name.clone())));
            }
            let note = if model.note.is_empty() { String::new() } else { format!(" [{}]", model.note) };
            names.push((model.name, Meaning::Described(format!("{}{note}", model.model_id))));
        }
    }
    names.sort();
    names
}

/// The first version of a model, and its later ones.
struct Definition {
    name: &'static str,
    vendor: [u8; 12],
    signature: Signature,
    level: u32,
    xlevel: u32,
    model_id: &'static str,
    caches: Option<&'static CacheSet>,
    /// The model whose features it starts from, or none.
    parent: &'static str,
    /// Features added (`+name`) and removed (`-name`).
    features: &'static str,
    versions: &'static [Version],
}

/// What a later version changes.
struct Version {
    /// A second name of this version.
    alias: Option<&'static str>,
    /// Features added (`+name`) and removed (`-name`).
    features: &'static str,
    /// New brand string, or none.
    model_id: &'static str,
    model: Option<u32>,
    stepping: Option<u32>,
    note: &'static str,
}

const PLAIN: Definition = Definition {
    name: "",
    vendor: INTEL,
    signature: Signature { family: 0, model: 0, stepping: 0 },
    level: 0,
    xlevel: 0,
    model_id: "",
    caches: None,
    parent: "",
    features: "",
    versions: &[],
};

const SAME: Version = Version { alias: None, features: "", model_id: "", model: None, stepping: None, note: "" };

impl Definition {
    /// The number in `-v2`, the part of `name` after this definition's own, if there is such a version.
    fn version_of(&self, rest: &str, name: &str) -> Option<usize> {
        match rest.strip_prefix("-v") {
            Some(number) => (1..=self.versions.len() + 1).find(|version| version.to_string() == number),
            None => self.aliased(name),
        }
    }

    fn aliased(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|version| version.alias == Some(name)).map(|index| index + 2)
    }

    /// What version `number` changes; nothing for the first.
    fn change(&self, number: usize) -> Option<&Version> {
        self.versions.get(number.checked_sub(2)?)
    }

    /// Version `number`, from 1.
    fn model(&self, number: usize) -> Model {
        let mut model = Model {
            name: format!("{}-v{number}", self.name),
            vendor: self.vendor,
            signature: self.signature,
            level: self.level,
            xlevel: self.xlevel,
            model_id: self.model_id,
            note: "",
            caches: self.caches,
            features: self.first_features(),
        };
        for version in self.versions.iter().take(number - 1) {
            change(&mut model.features, version.features);
            if !version.model_id.is_empty() {
                model.model_id = version.model_id;
            }
            model.signature.model = version.model.unwrap_or(model.signature.model);
            model.signature.stepping = version.stepping.unwrap_or(model.signature.stepping);
            model.note = version.note;
        }
        model
    }

    /// The features of the first version.
    fn first_features(&self) -> Features {
        let mut features = match DEFINITIONS.iter().find(|definition| definition.name == self.parent) {
            Some(parent) => parent.first_features(),
            None => Features::default(),
        };
        features.set(features::HYPERVISOR, true);
        change(&mut features, self.features);
        features
    }
}

/// Applies `+name -name ...`. A test checks that every name in the table is a feature's.
fn change(features: &mut Features, changes: &str) {
    for change in changes.split_whitespace() {
        if let Some(feature) = features::find(&change[1..]) {
            features.set(feature, change.starts_with('+'));
        }
    }
}
