//! Wide accesses to device registers, in both rings: on every host a matter for the fallback.

use super::*;
use crate::kvm::fallback::{VcpuState, XsaveArea};
use crate::kvm::quirks::micro_vm::{HIGH_PAGE, handler};

/// Where the device is, guest-physical.
const DEVICE: u64 = 0xf000_0000;
const HLT: u8 = 0xf4;

/// A guest with vector state, the device mapped at `HIGH_PAGE`, and RDI pointing there.
fn guest(kvm: &Kvm, code: &[u8]) -> Guest {
    let guest = ring0::vector_guest(kvm);
    guest.micro.map_high_page(DEVICE);
    guest.micro.write(CODE, code);
    guest.micro.write(CODE + code.len() as u64, &[HLT]);
    let mut regs = guest.regs();
    regs.rdi = HIGH_PAGE;
    guest.micro.vcpu.set_regs(&regs).unwrap();
    guest
}

/// Accesses of `count` times 8 bytes.
fn eights(write: bool, count: u64) -> Vec<(bool, u64, usize)> {
    (0..count).map(|n| (write, DEVICE + 8 * n, 8)).collect()
}

#[test]
fn vector_stores_and_loads() {
    let Some(kvm) = kvm() else { return };
    if !std::arch::is_x86_feature_detected!("avx") {
        eprintln!("SKIPPED: this CPU has no AVX");
        return;
    }
    // vmovdqu [rdi], ymm1; vmovdqu ymm2, [rdi]
    let mut guest = guest(&kvm, &[0xc5, 0xfe, 0x7f, 0x0f, 0xc5, 0xfe, 0x6f, 0x17]);
    let mut area = XsaveArea::default();
    let pattern: [u8; 64] = std::array::from_fn(|n| if n < 32 { n as u8 + 1 } else { 0 });
    area.set_vector(1, &pattern);
    VcpuState::set_xsave(&guest.micro.vcpu, &area).unwrap();
    assert_eq!(guest.run(), Exit::Halt);
    let mut expected = eights(true, 4);
    expected.extend(eights(false, 4));
    assert_eq!(*guest.device.accesses.borrow(), expected);
    VcpuState::xsave(&guest.micro.vcpu, &mut area).unwrap();
    assert_eq!(area.vector(2), pattern);
}

#[test]
fn from_ring_3() {
    let Some(kvm) = kvm() else { return };
    if !std::arch::is_x86_feature_detected!("avx") {
        eprintln!("SKIPPED: this CPU has no AVX");
        return;
    }
    // vpcmpeqd xmm1, xmm1, xmm1; vmovdqu [rdi], xmm1; popcnt rax, [rdi]; int3
    let code = [0xc5, 0xf1, 0x76, 0xc9, 0xc5, 0xfa, 0x7f, 0x0f, 0xf3, 0x48, 0x0f, 0xb8, 0x07, 0xcc];
    let mut guest = guest(&kvm, &code);
    guest.micro.set_ring(3).unwrap();
    assert_eq!(guest.run(), Exit::Halt);
    assert_eq!(guest.regs().rip, handler(3) + 2);
    assert_eq!(guest.regs().rax, 64);
    let mut expected = eights(true, 2);
    expected.extend(eights(false, 1));
    assert_eq!(*guest.device.accesses.borrow(), expected);
}

#[test]
fn integer_instructions_that_kvm_leaves_out() {
    let Some(kvm) = kvm() else { return };
    // popcnt eax, [rdi]; crc32 ecx, word [rdi + 8]; adcx rdx, [rdi + 16]
    let code =
        [0xf3, 0x0f, 0xb8, 0x07, 0x66, 0xf2, 0x0f, 0x38, 0xf1, 0x4f, 0x08, 0x66, 0x48, 0x0f, 0x38, 0xf6, 0x57, 0x10];
    let mut guest = guest(&kvm, &code);
    guest.device.write(DEVICE, &[0xf0; 24]);
    guest.device.accesses.borrow_mut().clear();
    assert_eq!(guest.run(), Exit::Halt);
    let regs = guest.regs();
    assert_eq!((regs.rax, regs.rdx), (16, 0xf0f0_f0f0_f0f0_f0f0));
    let reads = [(false, DEVICE, 4), (false, DEVICE + 8, 2), (false, DEVICE + 16, 8)];
    assert_eq!(*guest.device.accesses.borrow(), reads);
}
