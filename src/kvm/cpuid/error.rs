//! What can be wrong with a CPU that was asked for.

use std::fmt;

use super::features::Word;
use crate::suggest::did_you_mean;

/// Why a guest can't have the CPU that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// There is no such model.
    #[error("there is no CPU model '{name}'{hint} (`-cpu help` lists all)")]
    UnknownModel {
        /// The name as given.
        name: String,
        /// The closest name there is, as words to add; or nothing.
        hint: String,
    },
    /// There is no such property or feature.
    #[error("'{name}' is neither a feature nor a property of CPUs{hint} (`-cpu help` lists the features)")]
    UnknownProperty {
        /// The name as given.
        name: String,
        /// The closest name there is, as words to add; or nothing.
        hint: String,
    },
    /// QEMU has it, natoma does not.
    #[error("natoma does not offer '{name}={value}': {why}")]
    NotOffered {
        /// The property.
        name: String,
        /// Its value as given.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// The property exists, but not on this model.
    #[error("the property '{name}' belongs to the models host and max, not to '{model}'")]
    OnlyHost {
        /// The property.
        name: &'static str,
        /// The model that was asked for.
        model: String,
    },
    /// The value does not fit.
    #[error("{name}={value}: expected {expected}")]
    Value {
        /// The property.
        name: String,
        /// Its value as given.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// The TSC can't run at this frequency.
    #[error(
        "tsc-frequency={wanted}000: the TSC of this host's guests runs at {host} kHz, and the host can't scale it: leave \
         tsc-frequency out"
    )]
    TscFrequency {
        /// The frequency asked for, in kHz.
        wanted: u32,
        /// The host's, in kHz.
        host: u32,
    },
    /// `enforce` was given and the host lacks something.
    #[error(
        "enforce: {}; leave these features out, or leave enforce out to do without them",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Enforced(Vec<Warning>),
}

impl CpuError {
    pub(super) fn unknown_model(name: &str) -> Self {
        let names = super::model_names();
        Self::UnknownModel {
            name: name.to_owned(),
            hint: did_you_mean(name, names.iter().map(|(name, _)| name.as_str())),
        }
    }

    pub(super) fn unknown_property(name: &str) -> Self {
        let names = super::property_names().into_iter();
        Self::UnknownProperty { name: name.to_owned(), hint: did_you_mean(name, names) }
    }

    pub(super) fn value(name: &str, value: &str, expected: &str) -> Self {
        Self::Value { name: name.to_owned(), value: value.to_owned(), expected: expected.to_owned() }
    }
}

/// What the user should know about the CPU that the guest gets instead of the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The host can't give the guest this feature.
    #[error("host doesn't support requested feature: {0}")]
    Lacks(Bit),
    /// The feature is part of another one, which is off.
    #[error("this feature depends on other features that were not requested: {0}")]
    DependsOnOther(Bit),
    /// The feature was switched off, but the guest sees it all the same.
    #[error("this host can't hide a feature: {0}")]
    CantHide(Bit),
    /// `phys-bits` differs from the host's.
    #[error("host physical bits ({host}) does not match phys-bits property ({guest})")]
    PhysicalBits {
        /// What the host has.
        host: u32,
        /// What the guest gets.
        guest: u32,
    },
    /// An AMD processor shows the threads of a core only with TOPOEXT.
    #[error(
        "this family of AMD CPU doesn't support hyperthreading ({threads}): configure -smp with threads=1, or switch \
         on the topoext feature"
    )]
    Hyperthreading {
        /// Threads of each core.
        threads: u32,
    },
}

/// One feature bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bit {
    /// Its word.
    pub word: Word,
    /// Its number.
    pub bit: u32,
}

/// `CPUID.01H:ECX.pni [bit 0]`, as QEMU writes it.
impl fmt::Display for Bit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.word)?;
        if let Some(name) = self.word.bit_name(self.bit) {
            write!(f, ".{name}")?;
        }
        write!(f, " [bit {}]", self.bit)
    }
}

/// The bits of `mask`, from bit 0 up.
pub(super) fn bits(word: Word, mask: u64) -> impl Iterator<Item = Bit> {
    (0..64).filter(move |bit| mask & 1 << bit != 0).map(move |bit| Bit { word, bit })
}
