//! Leaf Dh: the parts of the extended state that XSAVE saves, and their places.
//!
//! The places are the hardware's own: the guest runs the hardware's XSAVE. Supervisor state (processor trace, control-flow
//! enforcement, last branch records) is not offered. (Intel SDM volume 1, chapter 13.)

use super::features::{self, Features, Word};
use super::host::HostCpu;
use super::leaves::Regs;

/// x87 and SSE: the legacy region, which always exists.
const LEGACY: u64 = 0b11;
/// Bytes of the legacy region and the header of an XSAVE area.
const LEGACY_BYTES: u32 = 576;
/// In ECX of a component's subleaf: compacted, it begins at a multiple of 64.
const ALIGNED: u32 = 1 << 1;

/// The components, and the features of which each holds the registers.
const COMPONENTS: [(u64, features::Feature); 4] = [
    (1 << 2, features::AVX),
    // Bound registers, bound configuration.
    (0b11 << 3, features::MPX),
    // Mask registers, upper halves of ZMM0 to ZMM15, ZMM16 to ZMM31.
    (0b111 << 5, features::AVX512F),
    (1 << 9, features::PKU),
];

/// The subleaves of leaf Dh for a guest with these features, or none if it has no XSAVE.
pub(super) fn subleaves(features: &Features, host: &HostCpu) -> Vec<(u32, Regs)> {
    if !features.has(features::XSAVE) {
        return Vec::new();
    }
    let mask = COMPONENTS
        .iter()
        .filter(|&&(bits, feature)| features.has(feature) && host.state_components() & bits == bits)
        .fold(LEGACY, |mask, (bits, _)| mask | bits);
    let components: Vec<(u32, Regs)> =
        (2..63).filter(|index| mask & 1 << index != 0).map(|index| (index, host.native.get(0xd, index))).collect();

    let standard = components.iter().map(|(_, place)| place.ebx.saturating_add(place.eax)).fold(LEGACY_BYTES, u32::max);
    let compacted = components.iter().fold(LEGACY_BYTES, |end, (_, place)| {
        let start = if place.ecx & ALIGNED != 0 { end.next_multiple_of(64) } else { end };
        start.saturating_add(place.eax)
    });
    let instructions = features[Word::LeafDSub1Eax];
    let [low, high] = [mask as u32, (mask >> 32) as u32];
    let mut subleaves = vec![
        // EBX is the size for the components enabled at the time: KVM keeps it up to date.
        (0, Regs { eax: low, ebx: standard, ecx: standard, edx: high }),
    ];
    if instructions != 0 {
        subleaves.push((1, Regs { eax: instructions as u32, ebx: compacted, ..Regs::default() }));
    }
    subleaves.extend(components.into_iter().map(|(index, place)| (index, Regs { edx: 0, ..place })));
    subleaves
}
