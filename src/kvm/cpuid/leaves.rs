//! The table of CPUID leaves that one virtual CPU gets.
//!
//! Which leaf holds what: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; for 4000_00xxh Linux's
//! Documentation/virt/kvm/x86/cpuid.rst. What leaves for serial numbers, cache and thermal monitoring, SGX, AMX and
//! memory encryption would say is not offered: they read as zeros, as all leaves do that are not built here.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use super::cache::Sharing;
use super::features::{self, Place, Register, Word};
use super::guest::{Caches, GuestCpu};
use super::topology::Topology;

/// What CPUID returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Regs {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

impl Regs {
    /// One register.
    #[must_use]
    pub fn get(&self, register: Register) -> u32 {
        match register {
            Register::Eax => self.eax,
            Register::Ebx => self.ebx,
            Register::Ecx => self.ecx,
            Register::Edx => self.edx,
        }
    }

    /// One register, to change it.
    pub fn get_mut(&mut self, register: Register) -> &mut u32 {
        match register {
            Register::Eax => &mut self.eax,
            Register::Ebx => &mut self.ebx,
            Register::Ecx => &mut self.ecx,
            Register::Edx => &mut self.edx,
        }
    }

    /// EAX, EBX, ECX, EDX.
    #[must_use]
    pub fn to_array(self) -> [u32; 4] {
        [self.eax, self.ebx, self.ecx, self.edx]
    }
}

/// Leaves whose result depends on ECX.
const WITH_SUBLEAVES: [u32; 7] = [4, 7, 0xb, 0xd, 0x14, 0x1f, 0x8000_001d];

/// First of the leaves that describe KVM.
const KVM_BASE: u32 = 0x4000_0000;
/// TSC and APIC bus frequency in kHz, where VMware introduced them.
const KVM_TIMING: u32 = 0x4000_0010;
/// "KVMKVMKVM" in EBX, ECX, EDX.
const KVM_SIGNATURE: [u32; 3] = [0x4b4d_564b, 0x564b_4d56, 0x4d];
/// Frequency of the bus clock of KVM's local APIC timer in kHz.
const APIC_BUS_KHZ: u32 = 1_000_000;

/// Bits of 8000_0001h EDX that repeat leaf 1 EDX on AMD's processors.
const AMD_ALIASES: u32 = 0x0183_f3ff;

/// Kinds of level in leaves Bh and 1Fh.
const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;
const LEVEL_DIE: u32 = 5;

/// SVM's revision and its number of address space ids.
const SVM_REVISION: u32 = 1;
const SVM_ASIDS: u32 = 16;

impl GuestCpu {
    /// The CPUID table of virtual CPU number `index`.
    #[must_use]
    pub fn cpuid(&self, topology: &Topology, index: u32) -> CpuId {
        to_kvm(self.leaves(topology, index))
    }

    /// All leaves of virtual CPU number `index` that do not read as zeros.
    pub(super) fn leaves(&self, topology: &Topology, index: u32) -> Vec<(u32, u32, Regs)> {
        let level = self.level_on(topology);
        let mut leaves = self.kvm_leaves();
        leaves.extend(self.basic_leaves(level, topology, index));
        leaves.extend(self.extended_leaves(topology, index));
        if self.xlevel2 >= 0xc000_0001 {
            leaves.push((0xc000_0000, 0, Regs { eax: self.xlevel2, ..Regs::default() }));
            leaves.push((0xc000_0001, 0, Regs { eax: self.signature.eax(), ..self.words(0xc000_0001, 0) }));
        }
        leaves.retain(|&(leaf, _, regs)| {
            let highest = match leaf {
                0..0x4000_0000 => level,
                0x8000_0000..0xc000_0000 => self.xlevel,
                _ => u32::MAX,
            };
            leaf <= highest && regs != Regs::default()
        });
        leaves
    }

    /// The highest basic leaf: dies are told of in 1Fh, which AMD's processors do not have.
    fn level_on(&self, topology: &Topology) -> u32 {
        if self.level_may_rise && topology.dies() > 1 && self.is_intel() { self.level.max(0x1f) } else { self.level }
    }

    fn kvm_leaves(&self) -> Vec<(u32, u32, Regs)> {
        if !self.kvm {
            return Vec::new();
        }
        let [ebx, ecx, edx] = KVM_SIGNATURE;
        let highest = if self.timing.is_some() { KVM_TIMING } else { KVM_BASE + 1 };
        let mut leaves =
            vec![(KVM_BASE, 0, Regs { eax: highest, ebx, ecx, edx }), (KVM_BASE + 1, 0, self.words(KVM_BASE + 1, 0))];
        if let Some(khz) = self.timing {
            leaves.push((KVM_TIMING, 0, Regs { eax: khz, ebx: APIC_BUS_KHZ, ..Regs::default() }));
        }
        leaves
    }

    fn basic_leaves(&self, level: u32, topology: &Topology, index: u32) -> Vec<(u32, u32, Regs)> {
        let [ebx, edx, ecx] = self.vendor;
        let apic_id = topology.apic_id(index);
        let cpus = topology.cpus_per_die();
        let mut one = self.words(1, 0);
        one.eax = self.signature.eax();
        // Initial APIC id, CPUs per package, line size for CLFLUSH in units of 8 bytes.
        one.ebx = (apic_id & 0xff) << 24 | 8 << 8;
        if cpus > 1 {
            one.edx |= features::HT.mask as u32;
        }
        // The number of CPUs counts only with the feature, which some hosts can't hide.
        if one.edx & features::HT.mask as u32 != 0 {
            one.ebx |= cpus.min(0xff) << 16;
        }
        if !self.pmu {
            one.ecx &= !(features::PDCM.mask as u32);
        }
        let seven = Regs { eax: self.level_func7, ..self.words(7, 0) };
        let mut leaves = vec![
            (0, 0, Regs { eax: level, ebx, ecx, edx }),
            (1, 0, one),
            // MONITOR and MWAIT: extensions exist, interrupts break MWAIT even if masked.
            (5, 0, Regs { ecx: 0b11, ..Regs::default() }),
            (6, 0, self.words(6, 0)),
            (7, 0, seven),
            (0xa, 0, self.performance_counters),
        ];
        if self.level_func7 >= 1 {
            leaves.push((7, 1, self.words(7, 1)));
        }
        if !self.is_amd() {
            leaves.extend(self.intel_caches(topology));
        }
        if self.leaf_b {
            leaves.extend(levels(
                0xb,
                apic_id,
                &[
                    (LEVEL_THREAD, topology.core_shift(), topology.threads()),
                    (LEVEL_CORE, topology.socket_shift(), cpus),
                ],
            ));
        }
        let numbered = |leaf| move |&(subleaf, regs): &(u32, Regs)| (leaf, subleaf, regs);
        leaves.extend(self.extended_state.iter().map(numbered(0xd)));
        leaves.extend(self.processor_trace.iter().map(numbered(0x14)));
        if topology.dies() > 1 {
            leaves.extend(levels(
                0x1f,
                apic_id,
                &[
                    (LEVEL_THREAD, topology.core_shift(), topology.threads()),
                    (LEVEL_CORE, topology.die_shift(), cpus),
                    (LEVEL_DIE, topology.socket_shift(), topology.cpus_per_socket()),
                ],
            ));
        }
        leaves
    }

    fn extended_leaves(&self, topology: &Topology, index: u32) -> Vec<(u32, u32, Regs)> {
        let [ebx, edx, ecx] = self.vendor;
        let cpus = topology.cpus_per_die();
        let mut one = self.words(0x8000_0001, 0);
        one.eax = self.signature.eax();
        if self.is_amd() {
            one.edx = one.edx & !AMD_ALIASES | self.words(1, 0).edx & AMD_ALIASES;
        }
        if cpus > 1 && !self.is_intel() {
            one.ecx |= features::CMP_LEGACY.mask as u32;
        }
        let mut eight = self.words(0x8000_0008, 0);
        eight.eax = self.physical_bits;
        if self.features.has(features::LM) {
            eight.eax |= if self.features.has(features::LA57) { 57 } else { 48 } << 8;
        }
        if cpus > 1 {
            eight.ecx = topology.socket_shift() << 12 | (cpus - 1).min(0xff);
        }
        let mut leaves = vec![
            (0x8000_0000, 0, Regs { eax: self.xlevel, ebx, ecx, edx }),
            (0x8000_0001, 0, one),
            (0x8000_0007, 0, self.words(0x8000_0007, 0)),
            (0x8000_0008, 0, eight),
            (0x8000_001e, 0, amd_place(topology, index)),
        ];
        for (leaf, text) in (0x8000_0002..).zip(self.brand.chunks_exact(16)) {
            let word = |at: usize| u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]);
            leaves.push((leaf, 0, Regs { eax: word(0), ebx: word(4), ecx: word(8), edx: word(12) }));
        }
        if self.features.has(features::SVM) {
            let svm = Regs { eax: SVM_REVISION, ebx: SVM_ASIDS, ..self.words(0x8000_000a, 0) };
            leaves.push((0x8000_000a, 0, svm));
        }
        leaves.extend(self.amd_caches(topology));
        leaves
    }

    /// Leaves 2 and 4.
    fn intel_caches(&self, topology: &Topology) -> Vec<(u32, u32, Regs)> {
        match &self.caches {
            Caches::Described { intel, .. } => {
                let subleaves = intel.intel(sharing(topology), self.l3_cache);
                let mut leaves = vec![(2, 0, intel.descriptors(self.l3_cache))];
                leaves.extend((0..).zip(subleaves).map(|(subleaf, regs)| (4, subleaf, regs)));
                leaves
            }
            Caches::Host(leaves) => {
                let mut leaves: Vec<_> = leaves.iter().copied().filter(|&(leaf, ..)| leaf <= 4).collect();
                for (_, _, regs) in leaves.iter_mut().filter(|&&mut (leaf, ..)| leaf == 4) {
                    share_host_cache(&mut regs.eax, topology);
                }
                leaves
            }
        }
    }

    /// Leaves 8000_0005h, 8000_0006h and 8000_001Dh.
    fn amd_caches(&self, topology: &Topology) -> Vec<(u32, u32, Regs)> {
        match &self.caches {
            Caches::Described { amd, .. } => {
                let mut leaves = vec![(0x8000_0005, 0, amd.amd_l1()), (0x8000_0006, 0, amd.amd_l2_l3(self.l3_cache))];
                let subleaves = amd.amd(sharing(topology));
                leaves.extend((0..).zip(subleaves).map(|(subleaf, regs)| (0x8000_001d, subleaf, regs)));
                leaves
            }
            Caches::Host(leaves) => leaves.iter().copied().filter(|&(leaf, ..)| leaf > 4).collect(),
        }
    }

    /// A leaf with the registers that are feature words filled in.
    fn words(&self, leaf: u32, subleaf: u32) -> Regs {
        let mut regs = Regs::default();
        for word in Word::all() {
            if let Place::Cpuid { leaf: of_leaf, subleaf: of_subleaf, register } = word.place()
                && (of_leaf, of_subleaf) == (leaf, subleaf)
            {
                *regs.get_mut(register) = self.features[word] as u32;
            }
        }
        regs
    }
}

/// A leaf on the levels of APIC ids. Each level is given as its kind, the shift to the id of the level above it, and the
/// CPUs in one unit of it.
fn levels(leaf: u32, apic_id: u32, levels: &[(u32, u32, u32)]) -> Vec<(u32, u32, Regs)> {
    let end = (0, 0, 0);
    (0..)
        .zip(levels.iter().chain([&end]))
        .map(|(subleaf, &(kind, shift, cpus))| {
            (leaf, subleaf, Regs { eax: shift, ebx: cpus, ecx: kind << 8 | subleaf, edx: apic_id })
        })
        .collect()
}

/// Leaf 8000_001Eh: the place of a CPU as AMD's processors tell it, with dies as nodes.
fn amd_place(topology: &Topology, index: u32) -> Regs {
    let place = topology.place(index);
    let apic_id = topology.apic_id(index);
    Regs {
        eax: apic_id,
        ebx: (topology.threads() - 1).min(0xff) << 8 | place.core & 0xff,
        ecx: (topology.dies() - 1).min(0b111) << 8 | apic_id >> topology.die_shift() & 0xff,
        edx: 0,
    }
}

fn sharing(topology: &Topology) -> Sharing {
    Sharing { threads: topology.threads(), cores: topology.cores(), ids_per_die: 1 << topology.die_shift() }
}

/// Puts the guest's own number of cores into a cache of the host's, and makes no more CPUs share it than there are.
fn share_host_cache(eax: &mut u32, topology: &Topology) {
    let cores = topology.cores().next_power_of_two().min(64);
    let cpus = topology.cpus_per_socket().next_power_of_two();
    if cores > 1 {
        *eax = *eax & !(0x3f << 26) | (cores - 1) << 26;
    }
    if (*eax >> 14 & 0xfff) + 1 > topology.cpus_per_socket() {
        *eax = *eax & !(0xfff << 14) | (cpus - 1) << 14;
    }
}

/// A table in KVM's form.
pub(super) fn to_kvm(leaves: impl IntoIterator<Item = (u32, u32, Regs)>) -> CpuId {
    let entries: Vec<_> = leaves
        .into_iter()
        .map(|(function, index, Regs { eax, ebx, ecx, edx })| kvm_cpuid_entry2 {
            function,
            index,
            flags: if WITH_SUBLEAVES.contains(&function) { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        })
        .collect();
    CpuId::from_entries(&entries).expect("fewer entries than KVM takes")
}
