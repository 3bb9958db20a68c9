//! What the host's processor and its KVM can give a guest.

use std::collections::BTreeMap;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_msr_entry};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

use super::features::{self, Features, Place, Register, Word};
use super::leaves::{Regs, to_kvm};
use super::models::Signature;
use super::native::Native;
use super::setup::machine_check_capabilities;
use crate::config::KernelIrqchip;
use crate::kvm::quirks::HostQuirks;
use crate::kvm::vm::VmError;

/// Microcode revision (Intel SDM volume 3, section 11.11.7).
pub(super) const UCODE_REV: u32 = 0x8b;

/// Flags of KVM_FEATURE (Documentation/virt/kvm/x86/cpuid.rst) whose use makes the guest execute VMCALL: PV_UNHALT,
/// PV_SEND_IPI, PV_SCHED_YIELD, HC_MAP_GPA_RANGE and MIGRATION_CONTROL.
const HYPERCALL_FEATURES: u64 = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16 | 1 << 17;
/// Flags of KVM_FEATURE that need the local APIC in the kernel: PV_EOI, PV_UNHALT, PV_SEND_IPI, ASYNC_PF_INT and
/// MSI_EXT_DEST_ID.
const APIC_FEATURES: u64 = 1 << 6 | 1 << 7 | 1 << 11 | 1 << 14 | 1 << 15;

/// KVM_FEATURE_MSI_EXT_DEST_ID: 15-bit destinations in MSIs, a default with the I/O APIC outside KVM.
pub(super) const MSI_EXT_DEST_ID: u64 = 1 << 15;

/// CPUID results by leaf and subleaf. What is not in the table reads as zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table(BTreeMap<(u32, u32), Regs>);

impl Table {
    /// The result for one leaf and subleaf.
    #[must_use]
    pub fn get(&self, leaf: u32, subleaf: u32) -> Regs {
        self.0.get(&(leaf, subleaf)).copied().unwrap_or_default()
    }

    /// The subleaves of a leaf that are in the table.
    pub fn subleaves(&self, leaf: u32) -> impl Iterator<Item = (u32, Regs)> {
        self.0.range((leaf, 0)..=(leaf, u32::MAX)).map(|(&(_, subleaf), &regs)| (subleaf, regs))
    }
}

impl FromIterator<(u32, u32, Regs)> for Table {
    fn from_iter<I: IntoIterator<Item = (u32, u32, Regs)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(leaf, subleaf, regs)| ((leaf, subleaf), regs)).collect())
    }
}

impl From<&CpuId> for Table {
    fn from(cpuid: &CpuId) -> Self {
        let result = |entry: &kvm_cpuid_entry2| {
            let &kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, .. } = entry;
            (function, index, Regs { eax, ebx, ecx, edx })
        };
        cpuid.as_slice().iter().map(result).collect()
    }
}

/// Bits that a guest sees whatever table it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Overrides {
    /// Bits that always read as 1.
    on: Features,
    /// Bits that always read as 0.
    off: Features,
}

/// What KVM says besides its CPUID table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// The local APIC's timer has its TSC-deadline mode (KVM_CAP_TSC_DEADLINE_TIMER).
    pub tsc_deadline: bool,
    /// Guests can have another TSC frequency than the host (KVM_CAP_TSC_CONTROL).
    pub tsc_control: bool,
    /// KVM may have no hardware virtualisation to build on ([`HostQuirks::is_suspect`]).
    pub is_suspect: bool,
    /// Where the interrupt controllers live.
    pub irqchip: KernelIrqchip,
    /// IA32_MCG_CAP of guests.
    pub machine_check: u64,
}

/// What the host can give a guest.
#[derive(Debug, Clone)]
pub struct HostCpu {
    /// CPUID as the host itself has it.
    pub(super) native: Native,
    /// CPUID as KVM offers it.
    pub(super) offered: Table,
    /// The features that KVM offers, with what its table leaves out.
    offered_features: Features,
    overrides: Overrides,
    pub(super) abilities: Abilities,
    /// Microcode revision that guests of the host's own model see.
    pub(super) microcode: u64,
    pub(super) tsc_khz: Option<u32>,
}

impl HostCpu {
    /// Asks the processor and KVM.
    ///
    /// # Errors
    /// KVM does not tell what it supports.
    pub fn detect(kvm: &Kvm, native: Native, irqchip: KernelIrqchip, quirks: &HostQuirks) -> Result<Self, VmError> {
        let offered = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(VmError::new("list the CPUID leaves it supports"))?;
        let abilities = Abilities {
            tsc_deadline: kvm.check_extension(Cap::TscDeadlineTimer),
            tsc_control: kvm.check_extension(Cap::TscControl),
            is_suspect: quirks.is_suspect(),
            irqchip,
            machine_check: machine_check_capabilities(kvm),
        };
        Ok(Self::new(native, Table::from(&offered), abilities, |index| feature_msr(kvm, index)))
    }

    /// A host with these CPUID tables, where KVM's feature MSRs read as the function says.
    pub(super) fn new(native: Native, offered: Table, abilities: Abilities, feature_msr: impl Fn(u32) -> u64) -> Self {
        let mut offered_features = Features::default();
        for word in Word::all() {
            offered_features[word] = match word.place() {
                Place::Cpuid { leaf, subleaf, register } => offered.get(leaf, subleaf).get(register).into(),
                Place::Msr(index) => feature_msr(index),
            };
        }
        complete(&mut offered_features, abilities);
        Self {
            native,
            offered,
            offered_features,
            overrides: Overrides::default(),
            abilities,
            microcode: feature_msr(UCODE_REV),
            tsc_khz: None,
        }
    }

    /// Learns what only a virtual CPU shows. Call it once, with the first one, before that one's CPUID is set: on a suspect
    /// host this replaces its CPUID.
    ///
    /// A KVM without hardware virtualisation does not get to see every CPUID instruction of its guests, and gives some
    /// leaves of the table it is handed the hardware's bits. What KVM_GET_CPUID2 reads back is what a guest kernel sees.
    ///
    /// # Errors
    /// KVM refuses the question.
    pub fn examine(&mut self, vcpu: &VcpuFd) -> Result<(), VmError> {
        self.tsc_khz = vcpu.get_tsc_khz().ok().filter(|&khz| khz != 0);
        if !self.abilities.is_suspect {
            return Ok(());
        }
        let zeros = self.read_back(vcpu, 0)?;
        let ones = self.read_back(vcpu, u32::MAX)?;
        self.learn_overrides(&zeros, &ones);
        Ok(())
    }

    /// Takes note of the bits that read as 1 although set to 0, and as 0 although set to 1.
    pub(super) fn learn_overrides(&mut self, zeros: &Table, ones: &Table) {
        for (word, leaf, subleaf, register) in probed_words() {
            // Bits without a name are no features: some follow the guest's control registers.
            let [zeros, ones] = [zeros, ones].map(|table| u64::from(table.get(leaf, subleaf).get(register)));
            self.overrides.on[word] = zeros & word.named_bits();
            self.overrides.off[word] = !ones & word.named_bits();
        }
    }

    /// Gives a virtual CPU a table with every feature word at `value` and reads back what its guest would see.
    fn read_back(&self, vcpu: &VcpuFd, value: u32) -> Result<Table, VmError> {
        let vendor = self.native.get(0, 0);
        let mut table = BTreeMap::from([
            ((0, 0), Regs { eax: 0xd, ..vendor }),
            ((7, 0), Regs { eax: 1, ..Regs::default() }),
            // The x87 state alone.
            ((0xd, 0), Regs { eax: 1, ..Regs::default() }),
            ((0x8000_0000, 0), Regs { eax: 0x8000_000a, ..vendor }),
            // 40 bits of physical, 48 of virtual address.
            ((0x8000_0008, 0), Regs { eax: 0x3028, ..Regs::default() }),
        ]);
        for (_, leaf, subleaf, register) in probed_words() {
            *table.entry((leaf, subleaf)).or_default().get_mut(register) = value;
        }
        let table = to_kvm(table.into_iter().map(|((leaf, subleaf), regs)| (leaf, subleaf, regs)));
        vcpu.set_cpuid2(&table).map_err(VmError::new("take a CPUID table as a probe"))?;
        let seen = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).map_err(VmError::new("show the CPUID of a virtual CPU"))?;
        Ok(Table::from(&seen))
    }

    /// The features of a word that a guest can have.
    #[must_use]
    pub fn supported(&self, word: Word) -> u64 {
        self.offered_features[word] & !self.overrides.off[word] | self.overrides.on[word]
    }

    /// The features of a word that every guest here has, wanted or not.
    #[must_use]
    pub fn forced(&self, word: Word) -> u64 {
        self.overrides.on[word]
    }

    /// Vendor string in the order EBX, EDX, ECX.
    #[must_use]
    pub fn vendor(&self) -> [u32; 3] {
        self.native.vendor()
    }

    /// Family, model and stepping.
    #[must_use]
    pub fn signature(&self) -> Signature {
        Signature::from_eax(self.native.get(1, 0).eax)
    }

    /// Brand string, padded with zeros.
    #[must_use]
    pub fn brand(&self) -> [u8; 48] {
        let mut brand = [0; 48];
        let words = (0x8000_0002..=0x8000_0004).flat_map(|leaf| self.native.get(leaf, 0).to_array());
        for (bytes, word) in brand.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        brand
    }

    /// Bits of a guest's physical addresses.
    #[must_use]
    pub fn physical_bits(&self) -> u32 {
        match self.offered.get(0x8000_0008, 0).eax & 0xff {
            0 => match self.native.get(0x8000_0008, 0).eax & 0xff {
                0 => 36,
                bits => bits,
            },
            bits => bits,
        }
    }

    /// The components of the extended state that the processor has and KVM lets a guest use, as a value of XCR0.
    pub(super) fn state_components(&self) -> u64 {
        let Regs { eax, edx, .. } = self.offered.get(0xd, 0);
        let offered = u64::from(edx) << 32 | u64::from(eax);
        let present = (2..63).filter(|&index| offered & 1 << index != 0 && self.native.get(0xd, index).eax != 0);
        offered & present.fold(0b11, |mask, index| mask | 1 << index)
    }

    /// The host's own leaves on caches.
    pub(super) fn caches(&self) -> Vec<(u32, u32, Regs)> {
        [(2, 1), (4, 8), (0x8000_0005, 1), (0x8000_0006, 1), (0x8000_001d, 8)]
            .into_iter()
            .flat_map(|(leaf, most)| (0..most).map(move |subleaf| (leaf, subleaf, self.native.get(leaf, subleaf))))
            .filter(|(.., regs)| *regs != Regs::default())
            .collect()
    }

    /// TSC frequency of a virtual CPU in kHz, once one has been examined.
    #[must_use]
    pub fn tsc_khz(&self) -> Option<u32> {
        self.tsc_khz
    }
}

/// The words of CPUID that the hardware may define, with their places.
fn probed_words() -> impl Iterator<Item = (Word, u32, u32, Register)> {
    Word::all().filter_map(|word| match word.place() {
        // The leaves of KVM itself and of VIA's processors show what they are told.
        Place::Cpuid { leaf: 0x4000_0000..0x8000_0000 | 0xc000_0000.., .. } | Place::Msr(_) => None,
        Place::Cpuid { leaf, subleaf, register } => Some((word, leaf, subleaf, register)),
    })
}

/// Adds what KVM gives every guest without listing it, and takes away what the interrupt controllers' place forbids.
fn complete(features: &mut Features, abilities: Abilities) {
    for name in ["mtrr", "pat", "mce", "mca", "hypervisor", "arat", "topoext", "kvm-hint-dedicated"] {
        if let Some(feature) = features::find(name) {
            features.set(feature, true);
        }
    }
    if abilities.irqchip == KernelIrqchip::Off {
        features.set(features::X2APIC, false);
        features.set(features::TSC_DEADLINE, false);
        features[Word::Leaf40000001Eax] &= !APIC_FEATURES;
    } else {
        if abilities.irqchip == KernelIrqchip::Split {
            // The I/O APIC is natoma's, and so is the way its messages take.
            features[Word::Leaf40000001Eax] |= MSI_EXT_DEST_ID;
        }
        features.set(features::TSC_DEADLINE, abilities.tsc_deadline);
    }
    if abilities.is_suspect {
        // Hypercalls may never return, and the kernel's emulator may run LZCNT as BSR, which nobody would notice.
        features[Word::Leaf40000001Eax] &= !HYPERCALL_FEATURES;
        features.set(features::LZCNT, false);
    }
}

/// Reads a feature MSR of KVM; one that it does not have has no features.
fn feature_msr(kvm: &Kvm, index: u32) -> u64 {
    let entry = kvm_msr_entry { index, ..Default::default() };
    let Ok(mut msrs) = Msrs::from_entries(&[entry]) else { return 0 };
    match kvm.get_msrs(&mut msrs) {
        Ok(1) => msrs.as_slice()[0].data,
        _ => 0,
    }
}
