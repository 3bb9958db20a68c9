//! From the CPU that the user asks for to the CPU that this host can give.

use super::cache::{self, CacheSet};
use super::error::{CpuError, Warning, bits};
use super::features::{self, Feature, Features, Word};
use super::host::{HostCpu, MSI_EXT_DEST_ID};
use super::leaves::Regs;
use super::models::{AMD, INTEL, Model, Signature};
use super::native::Native;
use super::properties::Properties;
use super::topology::Topology;
use super::xstate;
use crate::config::{CpuConfig, KernelIrqchip};

/// Features of the paravirtual interface that every named model has unless they are switched off: both pairs of clock
/// MSRs, no delay after port I/O, asynchronous page faults, steal time, paravirtual EOI, a stable clock.
const KVM_DEFAULTS: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 24;

/// Width of physical addresses where nothing says otherwise, as under QEMU.
const DEFAULT_PHYSICAL_BITS: u32 = 40;
/// Widths that x86-64 allows.
const PHYSICAL_BITS: std::ops::RangeInclusive<u32> = 32..=52;

/// Revisions that QEMU gives the microcode of its models: recent enough for guests that look.
const MICROCODE_AMD: u64 = 0x0100_0065;
const MICROCODE_OTHERS: u64 = 1 << 32;

/// Words whose features are parts of another feature, and vanish with it.
pub(super) const PARTS: [(Feature, Word); 4] = [
    (features::ARCH_CAPABILITIES, Word::ArchCapabilities),
    (features::CORE_CAPABILITY, Word::CoreCapability),
    (features::PDCM, Word::PerfCapabilities),
    (features::SVM, Word::Leaf8000000aEdx),
];

/// The leaf where a guest finds the features of a word. Not all: QEMU does not look at the others either.
const ANNOUNCED_IN: [(Word, u32); 12] = [
    (Word::Leaf1Edx, 1),
    (Word::Leaf1Ecx, 1),
    (Word::Leaf6Eax, 6),
    (Word::Leaf7Ecx, 7),
    (Word::Leaf7Sub1Eax, 7),
    (Word::LeafDSub1Eax, 0xd),
    (Word::Leaf80000001Edx, 0x8000_0001),
    (Word::Leaf80000001Ecx, 0x8000_0001),
    (Word::Leaf80000007Edx, 0x8000_0007),
    (Word::Leaf80000008Ebx, 0x8000_0008),
    (Word::Leaf8000000aEdx, 0x8000_000a),
    (Word::LeafC0000001Edx, 0xc000_0001),
];

/// The CPU of a guest: what all its virtual CPUs have in common.
#[derive(Debug, Clone)]
pub struct GuestCpu {
    /// EBX, EDX, ECX of leaf 0.
    pub(super) vendor: [u32; 3],
    pub(super) signature: Signature,
    pub(super) brand: [u8; 48],
    pub(super) level: u32,
    /// The highest basic leaf may rise where the topology needs another one.
    pub(super) level_may_rise: bool,
    pub(super) level_func7: u32,
    pub(super) xlevel: u32,
    /// Highest leaf of the range from C000_0000h, or 0.
    pub(super) xlevel2: u32,
    pub(super) features: Features,
    pub(super) caches: Caches,
    pub(super) l3_cache: bool,
    pub(super) physical_bits: u32,
    pub(super) leaf_b: bool,
    /// The guest is told that it runs under KVM.
    pub(super) kvm: bool,
    /// TSC frequency in kHz for the leaf where VMware introduced it.
    pub(super) timing: Option<u32>,
    /// The guest has performance counters.
    pub(super) pmu: bool,
    /// Leaf Ah.
    pub(super) performance_counters: Regs,
    /// Leaf 14h.
    pub(super) processor_trace: Vec<(u32, Regs)>,
    /// Leaf Dh.
    pub(super) extended_state: Vec<(u32, Regs)>,
    /// Revision in MSR 8Bh.
    pub(super) microcode: u64,
    /// IA32_MCG_CAP, or 0 if there are no machine checks.
    pub(super) machine_check: u64,
    /// TSC frequency to be set, if not the host's.
    pub(super) tsc_khz: Option<u32>,
    /// The MSRs of paravirtual features that the guest does not have raise #GP.
    pub(super) enforce_kvm_features: bool,
    warnings: Vec<Warning>,
}

impl GuestCpu {
    /// What the user should be told about the difference between this CPU and the one asked for.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What the user should be told about this CPU in such a topology.
    #[must_use]
    pub fn topology_warning(&self, topology: &Topology) -> Option<Warning> {
        let threads = topology.threads();
        let needs_topoext = threads > 1 && self.is_amd() && !self.features.has(features::TOPOEXT);
        needs_topoext.then_some(Warning::Hyperthreading { threads })
    }

    /// EAX of leaf 1: family, model and stepping. Firmware tables repeat it.
    #[must_use]
    pub fn signature(&self) -> u32 {
        self.signature.eax()
    }

    /// EDX of leaf 1: the features that firmware tables repeat.
    #[must_use]
    pub fn basic_features(&self) -> u32 {
        self.features[Word::Leaf1Edx] as u32
    }

    /// Whether the local APIC has the x2APIC mode.
    #[must_use]
    pub fn has_x2apic(&self) -> bool {
        self.features.has(features::X2APIC)
    }

    /// Whether the guest can be a host of virtual machines by VMX.
    #[must_use]
    pub fn has_vmx(&self) -> bool {
        self.features.has(features::VMX)
    }

    /// Bits of a physical address: 32 to 52.
    #[must_use]
    pub fn physical_bits(&self) -> u32 {
        self.physical_bits
    }

    /// Whether the CPU that `config` asks for will be one of AMD's. The memory map has to know that before there is a
    /// virtual CPU for [`HostCpu::examine`] to look at, and so before [`Self::new`] can tell everything.
    ///
    /// # Errors
    /// A property is misspelt.
    pub fn will_be_amd(config: &CpuConfig, native: &Native) -> Result<bool, CpuError> {
        let user = Properties::parse(&config.properties)?;
        let vendor = if config.model == "base" { [0; 3] } else { native.vendor() };
        Ok(user.vendor.map_or(vendor, vendor_words) == vendor_words(AMD))
    }

    /// The vendor is AMD.
    #[must_use]
    pub fn is_amd(&self) -> bool {
        self.vendor == vendor_words(AMD)
    }

    /// The vendor is Intel.
    #[must_use]
    pub fn is_intel(&self) -> bool {
        self.vendor == vendor_words(INTEL)
    }
}

/// Checks what can be checked without a host.
pub(super) fn check(config: &CpuConfig) -> Result<(), CpuError> {
    let user = Properties::parse(&config.properties)?;
    if matches!(config.model.as_str(), "host" | "max") {
        return Ok(());
    }
    if config.model != "base" && Model::find(&config.model).is_none() {
        return Err(CpuError::unknown_model(&config.model));
    }
    user.refuse_host_properties(&config.model)
}

/// What the leaves on caches say.
#[derive(Debug, Clone)]
pub(super) enum Caches {
    /// These, in the leaves of Intel's and AMD's processors.
    Described { intel: &'static CacheSet, amd: &'static CacheSet },
    /// The host's, leaf by leaf.
    Host(Vec<(u32, u32, Regs)>),
}

/// A model before the user's changes.
struct Start {
    vendor: [u32; 3],
    signature: Signature,
    brand: [u8; 48],
    level: u32,
    xlevel: u32,
    xlevel2: u32,
    caches: Option<&'static CacheSet>,
    features: Features,
    /// The host itself: `host` or `max`.
    is_host: bool,
}

impl Start {
    fn find(name: &str, migratable: bool, host: &HostCpu) -> Result<Self, CpuError> {
        match name {
            "host" | "max" => Ok(Self::host(migratable, host)),
            "base" => Ok(Self {
                vendor: [0; 3],
                signature: Signature::default(),
                brand: [0; 48],
                level: 0,
                xlevel: 0,
                xlevel2: 0,
                caches: None,
                features: Features::default(),
                is_host: false,
            }),
            _ => Model::find(name).map(|model| Self::named(model, host)).ok_or_else(|| CpuError::unknown_model(name)),
        }
    }

    /// Everything that the host can give.
    fn host(migratable: bool, host: &HostCpu) -> Self {
        let mut features = Features::default();
        for word in Word::all() {
            // What has no name, another host's natoma may not know. And a guest that relies on the TSC's frequency can't
            // move to a host with another one.
            let mask = if migratable { word.named_bits() } else { !word.withheld_bits() };
            features[word] = host.supported(word) & mask;
        }
        if migratable {
            features.set(features::INVTSC, false);
        }
        // Only on request: the first needs fitting cores and threads, the second CPUs of the guest's own.
        features.set(features::TOPOEXT, false);
        features[Word::Leaf40000001Edx] = 0;
        Self {
            vendor: host.vendor(),
            signature: host.signature(),
            brand: host.brand(),
            level: host.offered.get(0, 0).eax,
            xlevel: host.offered.get(0x8000_0000, 0).eax,
            xlevel2: host.offered.get(0xc000_0000, 0).eax,
            caches: None,
            features,
            is_host: true,
        }
    }

    /// A model, as KVM guests get it.
    fn named(model: Model, host: &HostCpu) -> Self {
        let mut features = model.features;
        features.set(features::X2APIC, host.abilities.irqchip != KernelIrqchip::Off);
        for never in [features::ACPI, features::MONITOR, features::SVM] {
            features.set(never, false);
        }
        features[Word::Leaf40000001Eax] = KVM_DEFAULTS;
        if host.abilities.irqchip == KernelIrqchip::Split {
            features[Word::Leaf40000001Eax] |= MSI_EXT_DEST_ID;
        }
        Self {
            // SYSENTER and SYSCALL in compatibility mode work as on the host, so the vendor has to be the host's.
            vendor: host.vendor(),
            signature: model.signature,
            brand: brand(model.model_id),
            level: model.level,
            xlevel: model.xlevel,
            xlevel2: 0,
            caches: model.caches,
            features,
            is_host: false,
        }
    }
}

impl GuestCpu {
    /// Works out the CPU that `config` asks for on this host.
    ///
    /// # Errors
    /// The model or a property is unknown or not offered, a value does not fit, or `enforce` was given and the host lacks
    /// a feature.
    pub fn new(config: &CpuConfig, host: &HostCpu) -> Result<Self, CpuError> {
        let user = Properties::parse(&config.properties)?;
        let start = Start::find(&config.model, user.migratable.unwrap_or(true), host)?;
        if !start.is_host {
            user.refuse_host_properties(&config.model)?;
        }
        let mut warnings = Vec::new();
        let features = settle(&start, &user, host, &mut warnings)?;
        if features.has(features::VMX)
            && let Some(name) = user.vmx_off.first()
        {
            return Err(CpuError::NotOffered {
                name: name.clone(),
                value: "off".to_owned(),
                why: "the VMX capabilities are KVM's own; vmx=off hides all of them",
            });
        }

        let vendor = user.vendor.map_or(start.vendor, vendor_words);
        let signature = Signature {
            family: user.family.unwrap_or(start.signature.family),
            model: user.model.unwrap_or(start.signature.model),
            stepping: user.stepping.unwrap_or(start.signature.stepping),
        };
        let physical_bits = physical_bits(&start, &user, &features, host, &mut warnings)?;
        let levels = Levels::new(&start, &user, &features);
        let tsc_khz = match user.tsc_frequency {
            None | Some(0) => None,
            Some(hertz) => Some(tsc_khz(hertz, host)?),
        };
        let kvm = user.kvm.unwrap_or(true);
        let pmu = user.pmu.unwrap_or(start.is_host);
        let timing_known = features.has(features::INVTSC) || tsc_khz.is_some();
        let caches = if user.host_cache_info == Some(true) {
            Caches::Host(host.caches())
        } else {
            let own = start.caches.filter(|_| user.legacy_cache != Some(true));
            Caches::Described { intel: own.unwrap_or(&cache::LEGACY_INTEL), amd: own.unwrap_or(&cache::LEGACY_AMD) }
        };
        Ok(Self {
            vendor,
            signature,
            brand: user.model_id.as_deref().map_or(start.brand, brand),
            level: levels.basic,
            level_may_rise: levels.may_rise,
            level_func7: levels.func7,
            xlevel: levels.extended,
            xlevel2: levels.centaur,
            caches,
            l3_cache: user.l3_cache.unwrap_or(true),
            physical_bits,
            leaf_b: user.cpuid_0xb.unwrap_or(true),
            kvm,
            timing: tsc_khz
                .or(host.tsc_khz())
                .filter(|_| kvm && timing_known && user.vmware_cpuid_freq.unwrap_or(true)),
            pmu,
            performance_counters: if pmu { host.offered.get(0xa, 0) } else { Regs::default() },
            processor_trace: if features.has(features::INTEL_PT) {
                host.offered.subleaves(0x14).collect()
            } else {
                Vec::new()
            },
            extended_state: xstate::subleaves(&features, host),
            microcode: match user.ucode_rev {
                None | Some(0) if start.is_host => host.microcode,
                None | Some(0) if vendor == vendor_words(AMD) => MICROCODE_AMD,
                None | Some(0) => MICROCODE_OTHERS,
                Some(revision) => revision,
            },
            machine_check: host.abilities.machine_check,
            tsc_khz,
            enforce_kvm_features: user.kvm_pv_enforce_cpuid.unwrap_or(false),
            warnings,
            features,
        })
    }
}

/// The features that the guest gets, and what the user should know about the others.
fn settle(start: &Start, user: &Properties, host: &HostCpu, warnings: &mut Vec<Warning>) -> Result<Features, CpuError> {
    let mut features = start.features.clone();
    for word in Word::all() {
        features[word] = features[word] & !user.off[word] | user.on[word];
    }
    if user.kvm == Some(false) {
        features[Word::Leaf40000001Eax] = 0;
        features[Word::Leaf40000001Edx] = 0;
    }
    for (whole, part) in PARTS {
        if !features.has(whole) {
            warnings.extend(bits(part, features[part] & user.on[part]).map(Warning::DependsOnOther));
            features[part] = 0;
        }
    }
    let mut lacking = Vec::new();
    for word in Word::all() {
        let (supported, forced) = (host.supported(word), host.forced(word));
        lacking.extend(bits(word, features[word] & !supported).map(Warning::Lacks));
        warnings.extend(bits(word, forced & user.off[word]).map(Warning::CantHide));
        features[word] = features[word] & supported | forced;
    }
    if user.enforce == Some(true) && !lacking.is_empty() {
        return Err(CpuError::Enforced(lacking));
    }
    if user.check.unwrap_or(true) {
        warnings.append(&mut lacking);
    }
    for (whole, part) in PARTS {
        if !features.has(whole) {
            features[part] = 0;
        }
    }
    Ok(features)
}

/// Highest leaves.
struct Levels {
    basic: u32,
    may_rise: bool,
    func7: u32,
    extended: u32,
    centaur: u32,
}

impl Levels {
    fn new(start: &Start, user: &Properties, features: &Features) -> Self {
        let automatic = user.full_cpuid_auto_level.unwrap_or(true);
        let mut needed = Vec::new();
        if features[Word::Leaf7Ebx] != 0 {
            needed.push(7);
        }
        if automatic {
            needed.extend(ANNOUNCED_IN.iter().filter(|&&(word, _)| features[word] != 0).map(|&(_, leaf)| leaf));
            if features.has(features::INTEL_PT) {
                needed.push(0x14);
            }
            if features.has(features::SVM) {
                needed.push(0x8000_000a);
            }
        }
        // Each range of leaves has its highest one, or 0 where it has none.
        let highest = |range: u32, given: Option<u32>, minimum: u32| {
            let needed = needed.iter().copied().filter(|leaf| leaf & 0xf000_0000 == range);
            given.unwrap_or_else(|| needed.fold(minimum, u32::max))
        };
        Self {
            basic: highest(0, user.level, user.min_level.unwrap_or(start.level)),
            may_rise: automatic && user.level.is_none(),
            func7: user.level_func7.unwrap_or(u32::from(automatic && features[Word::Leaf7Sub1Eax] != 0)),
            extended: highest(0x8000_0000, user.xlevel, user.min_xlevel.unwrap_or(start.xlevel)),
            centaur: highest(0xc000_0000, user.xlevel2, user.min_xlevel2.unwrap_or(start.xlevel2)),
        }
    }
}

/// Width of the guest's physical addresses.
fn physical_bits(
    start: &Start,
    user: &Properties,
    features: &Features,
    host: &HostCpu,
    warnings: &mut Vec<Warning>,
) -> Result<u32, CpuError> {
    let given = user.phys_bits.filter(|&bits| bits != 0);
    let wrong = |expected: &str| CpuError::value("phys-bits", &given.unwrap_or_default().to_string(), expected);
    if !features.has(features::LM) {
        return match given {
            Some(_) => Err(wrong("no such property on a 32-bit CPU (feature lm)")),
            None => Ok(if features.has(features::PSE36) { 36 } else { 32 }),
        };
    }
    let bits = if user.host_phys_bits.unwrap_or(start.is_host) && given.is_none() || user.host_phys_bits == Some(true) {
        let limit = user.host_phys_bits_limit.filter(|&limit| limit != 0).unwrap_or(u32::MAX);
        host.physical_bits().min(limit)
    } else {
        given.unwrap_or(DEFAULT_PHYSICAL_BITS)
    };
    if !PHYSICAL_BITS.contains(&bits) {
        return Err(wrong("32 to 52"));
    }
    if given.is_some() && bits != host.physical_bits() {
        warnings.push(Warning::PhysicalBits { host: host.physical_bits(), guest: bits });
    }
    Ok(bits)
}

/// A TSC frequency in kHz, as KVM takes it.
fn tsc_khz(hertz: u64, host: &HostCpu) -> Result<u32, CpuError> {
    let Some(wanted) = u32::try_from(hertz / 1000).ok().filter(|&khz| khz != 0) else {
        return Err(CpuError::value("tsc-frequency", &hertz.to_string(), "1 kHz to 4294967295 kHz"));
    };
    match host.tsc_khz() {
        Some(host_khz) if host_khz != wanted && !host.abilities.tsc_control => {
            Err(CpuError::TscFrequency { wanted, host: host_khz })
        }
        _ => Ok(wanted),
    }
}

/// EBX, EDX, ECX of leaf 0.
pub(super) fn vendor_words(vendor: [u8; 12]) -> [u32; 3] {
    let word = |at: usize| u32::from_le_bytes([vendor[at], vendor[at + 1], vendor[at + 2], vendor[at + 3]]);
    [word(0), word(4), word(8)]
}

/// A brand string as CPUID holds it: 48 bytes, padded with zeros, cut off where it is longer.
fn brand(text: &str) -> [u8; 48] {
    let mut brand = [0; 48];
    for (to, from) in brand.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    brand
}
