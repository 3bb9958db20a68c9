//! Instructions in ring 0 of a real vCPU, against the CPU: whoever performs them there (hardware, KVM's emulator, the
//! fallback), the results are the same.

use iced_x86::{Code, Mnemonic};

use super::*;
use crate::kvm::fallback::tests::differential::{assert_same_state, is_random, relocate};
use crate::kvm::fallback::tests::random::{self, BASE, DISPLACEMENT, Random};
use crate::kvm::fallback::tests::real_cpu::{RealCpu, State};
use crate::kvm::fallback::{Cpu, VcpuState, XsaveArea, flags, is_allowed};

const OPERAND: u64 = 0x9000;
const SURROUNDINGS: usize = 0x400;
const HLT: u8 = 0xf4;
const OSXSAVE: u64 = 1 << 18;

#[repr(C, align(64))]
struct Buffer([u8; SURROUNDINGS]);

/// A guest with all the vector state that the host has.
pub fn vector_guest(kvm: &Kvm) -> Guest {
    let guest = Guest::new(kvm, CODE, &[HLT]);
    let vcpu = &guest.micro.vcpu;
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES).unwrap()).unwrap();
    let mut sregs = vcpu.get_sregs().unwrap();
    sregs.cr4 |= OSXSAVE;
    vcpu.set_sregs(&sregs).unwrap();
    let mut xcrs = vcpu.get_xcrs().unwrap();
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = crate::kvm::fallback::host_xcr0() & 0xe7;
    vcpu.set_xcrs(&xcrs).unwrap();
    guest
}

/// Runs one instruction on a vCPU and on the CPU.
fn compare(guest: &mut Guest, real: &mut RealCpu, code: &[u8], state: &State, memory: &[u8], what: &str) {
    let base = BASE.number();
    let mut native = state.clone();
    let mut buffer = Buffer(memory.try_into().unwrap());
    native.gprs[base] = (&raw mut buffer).addr() as u64;
    let native_operand = native.gprs[base] + DISPLACEMENT;
    let (mut native, native_ip) = real.run(code, &native);

    guest.micro.write(CODE, code);
    guest.micro.write(CODE + code.len() as u64, &[HLT]);
    guest.micro.write(OPERAND, memory);
    let vcpu = &guest.micro.vcpu;
    VcpuState::set_xsave(vcpu, &state.area).unwrap();
    let mut cpu = Cpu { regs: vcpu.get_regs().unwrap(), sregs: vcpu.get_sregs().unwrap(), events: Default::default() };
    for (number, &value) in state.gprs.iter().enumerate() {
        *cpu.gpr_mut(number) = value;
    }
    *cpu.gpr_mut(base) = OPERAND;
    cpu.regs.rip = CODE;
    cpu.regs.rflags = flags::FIXED | state.flags & flags::STATUS;
    vcpu.set_regs(&cpu.regs).unwrap();

    assert_eq!(guest.run(), Exit::Halt, "{what}");
    cpu.regs = guest.regs();
    assert_eq!(cpu.regs.rip, CODE + code.len() as u64 + 1, "{what}: RIP");
    native.gprs[base] = OPERAND;
    let gprs: [u64; 16] = std::array::from_fn(|number| cpu.gpr(number));
    assert_eq!(gprs, native.gprs, "{what}: general registers");
    assert_eq!(cpu.regs.rflags & flags::STATUS, native.flags & flags::STATUS, "{what}: flags");
    let mut after = vec![0; SURROUNDINGS];
    guest.micro.memory.read_slice(&mut after, GuestAddress(OPERAND)).unwrap();
    assert_eq!(after, buffer.0, "{what}: memory");
    let mut area = XsaveArea::default();
    VcpuState::xsave(&guest.micro.vcpu, &mut area).unwrap();
    relocate(&mut native.area, (native_ip, CODE), (native_operand, OPERAND + DISPLACEMENT));
    assert_same_state(&area, &native.area, what);
}

#[test]
fn every_opcode_gives_the_results_of_the_cpu() {
    let Some(kvm) = kvm() else { return };
    let mut guest = vector_guest(&kvm);
    let mut real = RealCpu::new();
    let quirks = HostQuirks::detect(&kvm).unwrap();
    // Two quirks get in the way: wrong results that cannot be helped, and a #UD that needs a stack (tested on its own).
    let left_out = |mnemonic| match mnemonic {
        Mnemonic::Lzcnt | Mnemonic::Tzcnt => quirks.findings().bit_scans,
        Mnemonic::Movbe => quirks.findings().undefined_opcode,
        _ => is_random(mnemonic),
    };
    for code in Code::values() {
        let mut random = Random(code as u64 | 1 << 32);
        for _ in 0..2 {
            let Some((instruction, bytes)) = random::instruction(code, &mut random) else { continue };
            if left_out(instruction.mnemonic()) || !is_allowed(&instruction) {
                continue;
            }
            let state = random.state();
            let mut memory = [0; SURROUNDINGS];
            random.fill(&mut memory);
            let what = format!("{code:?} ({bytes:02x?})");
            compare(&mut guest, &mut real, &bytes, &state, &memory, &what);
        }
    }
    eprintln!("{}", guest.fixups);
}
