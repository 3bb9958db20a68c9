//! The feature bits that have a name on the command line, with QEMU 7.2's names.
//!
//! Most are bits of a CPUID register (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; Linux
//! Documentation/virt/kvm/x86/cpuid.rst), some bits of a model-specific register that a CPUID bit announces. Not here,
//! because natoma has no hand in them: the VMX capabilities (they stay as KVM sets them), SGX and Hyper-V.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::LazyLock;

/// A register whose bits are features. In the order in which QEMU reports what the host lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Leaf1Edx,
    Leaf1Ecx,
    Leaf7Ebx,
    Leaf7Ecx,
    Leaf7Edx,
    Leaf7Sub1Eax,
    Leaf80000001Edx,
    Leaf80000001Ecx,
    Leaf80000007Edx,
    Leaf80000008Ebx,
    LeafC0000001Edx,
    Leaf40000001Eax,
    Leaf40000001Edx,
    Leaf8000000aEdx,
    LeafDSub1Eax,
    Leaf6Eax,
    ArchCapabilities,
    CoreCapability,
    PerfCapabilities,
}

/// Number of [`Word`]s.
const WORDS: usize = 19;

/// Stands in the table for a bit without a name.
const UNNAMED: &str = "-";

/// A register that CPUID fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Where a [`Word`] is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A register of a CPUID leaf.
    Cpuid {
        /// Value of EAX.
        leaf: u32,
        /// Value of ECX; 0 where the leaf does not look at it.
        subleaf: u32,
        /// Register with the result.
        register: Register,
    },
    /// A model-specific register.
    Msr(u32),
}

use Word::{
    ArchCapabilities, CoreCapability, Leaf1Ecx, Leaf1Edx, Leaf6Eax, Leaf7Ebx, Leaf7Ecx, Leaf7Edx, Leaf7Sub1Eax,
    Leaf8000000aEdx, Leaf40000001Eax, Leaf40000001Edx, Leaf80000001Ecx, Leaf80000001Edx, Leaf80000007Edx,
    Leaf80000008Ebx, LeafC0000001Edx, LeafDSub1Eax, PerfCapabilities,
};

/// Every word, where it is, and the names of its bits from bit 0 up: `-` is a bit without a name, `|` separates an alias.
const TABLE: [(Word, Place, &str); WORDS] = [
    (
        Leaf1Edx,
        cpuid(1, 0, Register::Edx),
        "fpu vme de pse tsc msr pae mce \
         cx8 apic - sep mtrr pge mca cmov \
         pat pse36 pn clflush - ds acpi mmx \
         fxsr sse sse2 ss ht tm ia64 pbe",
    ),
    (
        Leaf1Ecx,
        cpuid(1, 0, Register::Ecx),
        "pni|sse3 pclmulqdq|pclmuldq dtes64 monitor ds-cpl vmx smx est \
         tm2 ssse3 cid - fma cx16 xtpr pdcm \
         - pcid dca sse4.1|sse4-1 sse4.2|sse4-2 x2apic movbe popcnt \
         tsc-deadline aes xsave - avx f16c rdrand hypervisor",
    ),
    (
        Leaf7Ebx,
        cpuid(7, 0, Register::Ebx),
        "fsgsbase tsc-adjust - bmi1 hle avx2 - smep \
         bmi2 erms invpcid rtm - - mpx - \
         avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt \
         clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl",
    ),
    (
        Leaf7Ecx,
        cpuid(7, 0, Register::Ecx),
        "- avx512vbmi umip pku - waitpkg avx512vbmi2 - \
         gfni vaes vpclmulqdq avx512vnni avx512bitalg - avx512-vpopcntdq - \
         la57 - - - - - rdpid - \
         bus-lock-detect cldemote - movdiri movdir64b - - pks",
    ),
    (
        Leaf7Edx,
        cpuid(7, 0, Register::Edx),
        "- - avx512-4vnniw avx512-4fmaps fsrm - - - \
         avx512-vp2intersect - md-clear - - - serialize - \
         tsx-ldtrk - - - - - - avx512-fp16 \
         - - spec-ctrl stibp - arch-capabilities core-capability ssbd",
    ),
    (Leaf7Sub1Eax, cpuid(7, 1, Register::Eax), "- - - - avx-vnni avx512-bf16"),
    (
        Leaf80000001Edx,
        cpuid(0x8000_0001, 0, Register::Edx),
        "- - - - - - - - \
         - - - syscall - - - - \
         - - - - nx|xd - mmxext - \
         - fxsr-opt|ffxsr pdpe1gb rdtscp - lm|i64 3dnowext 3dnow",
    ),
    (
        Leaf80000001Ecx,
        cpuid(0x8000_0001, 0, Register::Ecx),
        "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse \
         3dnowprefetch osvw ibs xop skinit wdt - lwp \
         fma4 tce - nodeid-msr - tbm topoext perfctr-core \
         perfctr-nb",
    ),
    (Leaf80000007Edx, cpuid(0x8000_0007, 0, Register::Edx), "- - - - - - - - invtsc"),
    (
        Leaf80000008Ebx,
        cpuid(0x8000_0008, 0, Register::Ebx),
        "clzero - xsaveerptr - - - - - \
         - wbnoinvd - - ibpb - ibrs amd-stibp \
         - - - - - - - - \
         amd-ssbd virt-ssbd amd-no-ssb",
    ),
    (
        LeafC0000001Edx,
        cpuid(0xc000_0001, 0, Register::Edx),
        "- - xstore xstore-en - - xcrypt xcrypt-en \
         ace2 ace2-en phe phe-en pmm pmm-en",
    ),
    (
        Leaf40000001Eax,
        cpuid(0x4000_0001, 0, Register::Eax),
        // Two bits, one name: the clock with its first and with its present pair of MSRs.
        "kvmclock kvm-nopiodelay kvm-mmu kvmclock kvm-asyncpf kvm-steal-time kvm-pv-eoi kvm-pv-unhalt \
         - kvm-pv-tlb-flush - kvm-pv-ipi kvm-poll-control kvm-pv-sched-yield kvm-asyncpf-int kvm-msi-ext-dest-id \
         - - - - - - - - \
         kvmclock-stable-bit",
    ),
    (Leaf40000001Edx, cpuid(0x4000_0001, 0, Register::Edx), "kvm-hint-dedicated"),
    (
        Leaf8000000aEdx,
        cpuid(0x8000_000a, 0, Register::Edx),
        "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists \
         - - pause-filter - pfthreshold avic - v-vmsave-vmload \
         vgif - - - - - - - \
         - - - - svme-addr-chk",
    ),
    (LeafDSub1Eax, cpuid(0xd, 1, Register::Eax), "xsaveopt xsavec xgetbv1 xsaves"),
    (Leaf6Eax, cpuid(6, 0, Register::Eax), "- - arat"),
    (
        ArchCapabilities,
        Place::Msr(0x10a),
        "rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl \
         taa-no",
    ),
    (CoreCapability, Place::Msr(0xcf), "- - - - - split-lock-detect"),
    (PerfCapabilities, Place::Msr(0x345), "- - - - - - - - - - - - - full-width-write"),
];

const fn cpuid(leaf: u32, subleaf: u32, register: Register) -> Place {
    Place::Cpuid { leaf, subleaf, register }
}

impl Word {
    /// Every word, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|&(word, ..)| word)
    }

    /// Where it is found.
    #[must_use]
    pub fn place(self) -> Place {
        TABLE[self as usize].1
    }

    /// The name of one bit, if it has one.
    #[must_use]
    pub fn bit_name(self, bit: u32) -> Option<&'static str> {
        let slot = TABLE[self as usize].2.split_whitespace().nth(bit as usize)?;
        slot.split('|').next().filter(|&name| name != UNNAMED)
    }

    /// The bits that have a name.
    #[must_use]
    pub fn named_bits(self) -> u64 {
        let slots = (0..).zip(TABLE[self as usize].2.split_whitespace());
        slots.filter(|&(_, slot)| slot != UNNAMED).fold(0, |mask, (bit, _)| mask | 1 << bit)
    }

    /// Bits that no guest gets, because they come with registers or memory that natoma does not look after: SGX,
    /// control-flow enforcement, last branch records, AMX.
    #[must_use]
    pub fn withheld_bits(self) -> u64 {
        match self {
            Leaf7Ebx => 1 << 2,
            Leaf7Ecx => 1 << 7 | 1 << 30,
            Leaf7Edx => 1 << 19 | 1 << 20 | 1 << 22 | 1 << 24 | 1 << 25,
            LeafDSub1Eax => !self.named_bits(),
            _ => 0,
        }
    }
}

/// `CPUID.01H:ECX` or `MSR(10AH)`, as QEMU writes it.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Place::Cpuid { leaf, register, .. } => {
                write!(f, "CPUID.{leaf:02X}H:{}", format!("{register:?}").to_uppercase())
            }
            Place::Msr(index) => write!(f, "MSR({index:X}H)"),
        }
    }
}

/// One feature: bits of one word that are switched together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The word.
    pub word: Word,
    /// Its bits: one, except for `kvmclock`.
    pub mask: u64,
}

/// Every name of every feature.
static BY_NAME: LazyLock<HashMap<&str, Feature>> = LazyLock::new(|| {
    let mut features = HashMap::new();
    for (word, _, slots) in TABLE {
        for (bit, slot) in (0..).zip(slots.split_whitespace()).filter(|&(_, slot)| slot != UNNAMED) {
            for name in slot.split('|') {
                features.entry(name).or_insert(Feature { word, mask: 0 }).mask |= 1 << bit;
            }
        }
    }
    features
});

/// Finds a feature by any of its names. `_` counts as `-`.
#[must_use]
pub fn find(name: &str) -> Option<Feature> {
    BY_NAME.get(name).or_else(|| BY_NAME.get(name.replace('_', "-").as_str())).copied()
}

/// The names of all features, without aliases, in the order of words and bits.
pub fn names() -> impl Iterator<Item = &'static str> {
    let mut seen = HashSet::new();
    Word::all()
        .flat_map(|word| (0..64).filter_map(move |bit| word.bit_name(bit)))
        .filter(move |&name| seen.insert(name))
}

/// A set of features: the value of every [`Word`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features([u64; WORDS]);

impl Features {
    /// Switches a feature on or off.
    pub fn set(&mut self, feature: Feature, on: bool) {
        if on {
            self[feature.word] |= feature.mask;
        } else {
            self[feature.word] &= !feature.mask;
        }
    }

    /// All of the feature's bits are on.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self[feature.word] & feature.mask == feature.mask
    }
}

impl Index<Word> for Features {
    type Output = u64;

    fn index(&self, word: Word) -> &u64 {
        &self.0[word as usize]
    }
}

impl IndexMut<Word> for Features {
    fn index_mut(&mut self, word: Word) -> &mut u64 {
        &mut self.0[word as usize]
    }
}

/// Features that natoma itself asks about.
macro_rules! known {
    ($($name:ident: $word:ident $bit:literal;)*) => {
        $(pub(super) const $name: Feature = Feature { word: $word, mask: 1 << $bit };)*
    };
}

known! {
    MONITOR: Leaf1Ecx 3;
    PDCM: Leaf1Ecx 15;
    X2APIC: Leaf1Ecx 21;
    TSC_DEADLINE: Leaf1Ecx 24;
    XSAVE: Leaf1Ecx 26;
    AVX: Leaf1Ecx 28;
    HYPERVISOR: Leaf1Ecx 31;
    VMX: Leaf1Ecx 5;
    MCE: Leaf1Edx 7;
    MCA: Leaf1Edx 14;
    PSE36: Leaf1Edx 17;
    ACPI: Leaf1Edx 22;
    HT: Leaf1Edx 28;
    MPX: Leaf7Ebx 14;
    AVX512F: Leaf7Ebx 16;
    INTEL_PT: Leaf7Ebx 25;
    PKU: Leaf7Ecx 3;
    LA57: Leaf7Ecx 16;
    ARCH_CAPABILITIES: Leaf7Edx 29;
    CORE_CAPABILITY: Leaf7Edx 30;
    CMP_LEGACY: Leaf80000001Ecx 1;
    SVM: Leaf80000001Ecx 2;
    LZCNT: Leaf80000001Ecx 5;
    TOPOEXT: Leaf80000001Ecx 22;
    LM: Leaf80000001Edx 29;
    INVTSC: Leaf80000007Edx 8;
}
