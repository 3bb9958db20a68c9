//! The properties that `-cpu MODEL,name=value,...` sets, with QEMU 7.2's names and values.

use super::error::CpuError;
use super::features::{self, Feature, Features};
use crate::config::CpuProperty;

/// What the user changes in a model. `None` leaves the model's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Properties {
    /// Features asked for, and features that are not wanted. None is in both.
    pub on: Features,
    pub off: Features,
    /// Whether to warn of features that the host lacks (on unless switched off), and whether to fail.
    pub check: Option<bool>,
    pub enforce: Option<bool>,
    pub vendor: Option<[u8; 12]>,
    pub family: Option<u32>,
    pub model: Option<u32>,
    pub stepping: Option<u32>,
    pub model_id: Option<String>,
    pub level: Option<u32>,
    pub level_func7: Option<u32>,
    pub xlevel: Option<u32>,
    pub xlevel2: Option<u32>,
    pub min_level: Option<u32>,
    pub min_xlevel: Option<u32>,
    pub min_xlevel2: Option<u32>,
    /// Whether features raise the highest leaves to where they are announced (on).
    pub full_cpuid_auto_level: Option<bool>,
    /// 0 means the default.
    pub phys_bits: Option<u32>,
    pub host_phys_bits: Option<bool>,
    /// 0 means no limit.
    pub host_phys_bits_limit: Option<u32>,
    pub host_cache_info: Option<bool>,
    pub l3_cache: Option<bool>,
    pub legacy_cache: Option<bool>,
    pub cpuid_0xb: Option<bool>,
    pub kvm: Option<bool>,
    pub kvm_pv_enforce_cpuid: Option<bool>,
    pub migratable: Option<bool>,
    pub pmu: Option<bool>,
    /// In Hz; 0 means the host's.
    pub tsc_frequency: Option<u64>,
    /// 0 means the default.
    pub ucode_rev: Option<u64>,
    pub vmware_cpuid_freq: Option<bool>,
    /// VMX capabilities to be hidden: possible only by hiding VMX.
    pub vmx_off: Vec<String>,
}

/// Where a property's value goes.
enum Slot<'a> {
    Flag(&'a mut Option<bool>),
    /// A number, at most this.
    Number(&'a mut Option<u32>, u32),
    Wide(&'a mut Option<u64>),
    /// A frequency with a decimal suffix.
    Frequency(&'a mut Option<u64>),
    Vendor(&'a mut Option<[u8; 12]>),
    Text(&'a mut Option<String>),
}

/// The properties that are not features.
pub(super) const NAMES: [&str; 30] = [
    "check",
    "cpuid-0xb",
    "enforce",
    "family",
    "full-cpuid-auto-level",
    "host-cache-info",
    "host-phys-bits",
    "host-phys-bits-limit",
    "kvm",
    "kvm-pv-enforce-cpuid",
    "l3-cache",
    "legacy-cache",
    "level",
    "level-func7",
    "migratable",
    "min-level",
    "min-xlevel",
    "min-xlevel2",
    "model",
    "model-id",
    "phys-bits",
    "pmu",
    "stepping",
    "tsc-freq",
    "tsc-frequency",
    "ucode-rev",
    "vendor",
    "vmware-cpuid-freq",
    "xlevel",
    "xlevel2",
];

/// What QEMU has and natoma does not, by name or by the beginning of the name, and why.
const NOT_OFFERED: [(&str, &str); 22] = [
    ("amx-", "natoma does not ask the kernel for the tile state of AMX"),
    ("apic-id", "the place of each CPU follows from -smp"),
    ("arch-lbr", "last branch records are not virtualised"),
    ("core-id", "the place of each CPU follows from -smp"),
    ("die-id", "the place of each CPU follows from -smp"),
    ("fill-mtrr-mask", "natoma does not change the MTRR masks of a guest that moves to another host"),
    ("hv-", "Hyper-V enlightenments are not offered"),
    ("intel-pt-lip", "the guest gets the processor trace leaf as KVM lists it"),
    ("kvm-no-smi-migration", "there is no system management mode"),
    ("lbr-fmt", "last branch records are not virtualised"),
    ("lmce", "local machine checks are not delivered to guests"),
    ("memory", "every CPU sees the memory of the machine"),
    ("node-id", "there is one NUMA node"),
    ("sgx", "there is no enclave memory"),
    ("socket-id", "the place of each CPU follows from -smp"),
    ("start-powered-off", "the processors of a PC start by INIT and SIPI"),
    ("tcg-cpuid", "it concerns QEMU's TCG"),
    ("thread-id", "the place of each CPU follows from -smp"),
    ("vmx-", "the VMX capabilities are KVM's own; vmx=on or vmx=off switches all of them"),
    ("x-", "it is an internal switch of QEMU"),
    ("xfd", "natoma does not ask the kernel for the tile state of AMX"),
    ("realized", "it is an internal property of QEMU"),
];

impl Properties {
    /// Applies the settings in order; the last of each name wins.
    ///
    /// # Errors
    /// A name is unknown or not offered, or a value does not fit.
    pub fn parse(settings: &[CpuProperty]) -> Result<Self, CpuError> {
        let mut properties = Self::default();
        for CpuProperty { name, value } in settings {
            properties.set(&name.replace('_', "-"), value)?;
        }
        Ok(properties)
    }

    /// Refuses the properties that only the models `host` and `max` have.
    pub fn refuse_host_properties(&self, model: &str) -> Result<(), CpuError> {
        let given = [("migratable", self.migratable), ("host-cache-info", self.host_cache_info)];
        match given.into_iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(CpuError::OnlyHost { name, model: model.to_owned() }),
            None => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), CpuError> {
        if let Some(feature) = features::find(name) {
            return self.set_feature(feature, flag(name, value)?);
        }
        let wrong = |expected: &str| CpuError::value(name, value, expected);
        match self.slot(name) {
            Some(Slot::Flag(slot)) => *slot = Some(flag(name, value)?),
            Some(Slot::Number(slot, max)) => {
                let number = number(value).and_then(|number| u32::try_from(number).ok());
                *slot = Some(number.filter(|&number| number <= max).ok_or_else(|| {
                    wrong(&format!(
                        "a number from 0 to {}",
                        if max == u32::MAX { format!("{max:#x}") } else { max.to_string() }
                    ))
                })?);
            }
            Some(Slot::Wide(slot)) => *slot = Some(number(value).ok_or_else(|| wrong("a number of 64 bits"))?),
            Some(Slot::Frequency(slot)) => {
                *slot = Some(frequency(value).ok_or_else(|| wrong("a frequency in Hz, such as 2500000000 or 2.5G"))?);
            }
            Some(Slot::Vendor(slot)) => {
                *slot = Some(value.as_bytes().try_into().map_err(|_| wrong("12 bytes, such as GenuineIntel"))?);
            }
            Some(Slot::Text(slot)) => *slot = Some(value.to_owned()),
            None => return self.set_unknown(name, value),
        }
        Ok(())
    }

    fn set_feature(&mut self, feature: Feature, on: bool) -> Result<(), CpuError> {
        self.on.set(feature, on);
        self.off.set(feature, !on);
        Ok(())
    }

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "check" => Slot::Flag(&mut self.check),
            "cpuid-0xb" => Slot::Flag(&mut self.cpuid_0xb),
            "enforce" => Slot::Flag(&mut self.enforce),
            // Fh and FFh in the two fields of the family; likewise model and stepping.
            "family" => Slot::Number(&mut self.family, 0xf + 0xff),
            "full-cpuid-auto-level" => Slot::Flag(&mut self.full_cpuid_auto_level),
            "host-cache-info" => Slot::Flag(&mut self.host_cache_info),
            "host-phys-bits" => Slot::Flag(&mut self.host_phys_bits),
            "host-phys-bits-limit" => Slot::Number(&mut self.host_phys_bits_limit, 0xff),
            "kvm" => Slot::Flag(&mut self.kvm),
            "kvm-pv-enforce-cpuid" => Slot::Flag(&mut self.kvm_pv_enforce_cpuid),
            "l3-cache" => Slot::Flag(&mut self.l3_cache),
            "legacy-cache" => Slot::Flag(&mut self.legacy_cache),
            "level" => Slot::Number(&mut self.level, u32::MAX),
            "level-func7" => Slot::Number(&mut self.level_func7, u32::MAX),
            "migratable" => Slot::Flag(&mut self.migratable),
            "min-level" => Slot::Number(&mut self.min_level, u32::MAX),
            "min-xlevel" => Slot::Number(&mut self.min_xlevel, u32::MAX),
            "min-xlevel2" => Slot::Number(&mut self.min_xlevel2, u32::MAX),
            "model" => Slot::Number(&mut self.model, 0xff),
            "model-id" => Slot::Text(&mut self.model_id),
            "phys-bits" => Slot::Number(&mut self.phys_bits, 0xff),
            "pmu" => Slot::Flag(&mut self.pmu),
            "stepping" => Slot::Number(&mut self.stepping, 0xf),
            "tsc-freq" | "tsc-frequency" => Slot::Frequency(&mut self.tsc_frequency),
            "ucode-rev" => Slot::Wide(&mut self.ucode_rev),
            "vendor" => Slot::Vendor(&mut self.vendor),
            "vmware-cpuid-freq" => Slot::Flag(&mut self.vmware_cpuid_freq),
            "xlevel" => Slot::Number(&mut self.xlevel, u32::MAX),
            "xlevel2" => Slot::Number(&mut self.xlevel2, u32::MAX),
            _ => return None,
        })
    }

    /// A name that is neither a feature nor a property of natoma's. Switching off what natoma never offers is fine.
    fn set_unknown(&mut self, name: &str, value: &str) -> Result<(), CpuError> {
        let Some((_, why)) = NOT_OFFERED.iter().find(|(known, _)| match known.strip_suffix('-') {
            Some(_) => name.starts_with(known),
            None => name == *known || *known == "sgx" && name.starts_with("sgx"),
        }) else {
            return Err(CpuError::unknown_property(name));
        };
        if flag(name, value) != Ok(false) {
            return Err(CpuError::NotOffered { name: name.to_owned(), value: value.to_owned(), why });
        }
        if name.starts_with("vmx-") {
            self.vmx_off.push(name.to_owned());
        }
        Ok(())
    }
}

/// `on` or `off`, in the spellings that QEMU takes.
fn flag(name: &str, value: &str) -> Result<bool, CpuError> {
    match value {
        "on" | "yes" | "true" | "y" => Ok(true),
        "off" | "no" | "false" | "n" => Ok(false),
        _ => Err(CpuError::value(name, value, "on or off")),
    }
}

/// A number as C writes it: decimal, hexadecimal after `0x`, octal after `0`.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix('0') {
        None | Some("") => (text, 10),
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => (hexadecimal, 16),
            None => (rest, 8),
        },
    };
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// A number of Hz, perhaps with a fraction and a decimal suffix (`2.5G`).
fn frequency(text: &str) -> Option<u64> {
    let (digits, unit) = match text.find(|character: char| character.is_ascii_alphabetic()) {
        Some(at) => (
            &text[..at],
            match &text[at..] {
                "k" | "K" => 1_000,
                "m" | "M" => 1_000_000,
                "g" | "G" => 1_000_000_000,
                "t" | "T" => 1_000_000_000_000,
                _ => return None,
            },
        ),
        None => (text, 1u64),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 12 {
        return None;
    }
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / 10u128.pow(fraction.len() as u32);
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}
