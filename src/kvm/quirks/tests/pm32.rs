//! Interrupts, exceptions and IRET in 32-bit protected mode without paging, with and without a base of the stack segment.

use super::*;
use crate::kvm::quirks::micro_vm::{handler, selector};

/// Bases of SS: none, and two as they make ESP point nowhere.
const BASES: [u32; 3] = [0, 0xf7c1_0000, 0xffff_8000];

const HLT: u8 = 0xf4;

/// A guest in protected mode with a stack at `base`, about to run `code`.
fn guest(kvm: &Kvm, base: u32, code: &[u8]) -> Guest {
    let mut guest = Guest::new(kvm, CODE, code);
    guest.micro.enter_pm32(base).unwrap();
    guest
}

fn stack_word(guest: &Guest, n: u64) -> u32 {
    // The top of the stack has linear address STACK.
    guest.micro.read_u64(STACK - 4 * n) as u32
}

#[test]
fn software_interrupts_and_iret() {
    let Some(kvm) = kvm() else { return };
    for base in BASES {
        // int 40h; hlt, and the handler: iret
        let mut guest = guest(&kvm, base, &[0xcd, 0x40, HLT]);
        guest.micro.write(handler(0x40), &[0xcf]);
        let before = guest.regs();
        assert_eq!(guest.run(), Exit::Halt);
        let after = guest.regs();
        assert_eq!((after.rip, after.rsp), (CODE + 3, before.rsp), "base {base:x}");
        assert_eq!(
            [stack_word(&guest, 1), stack_word(&guest, 2), stack_word(&guest, 3)],
            [2, u32::from(selector::KERNEL_CODE), CODE as u32 + 2],
            "base {base:x}"
        );
    }
}

#[test]
fn interrupts_are_delivered_and_return() {
    let Some(kvm) = kvm() else { return };
    for base in BASES {
        // nop; hlt, and the handler: inc ebx; iret
        let mut guest = guest(&kvm, base, &[0x90, HLT]);
        guest.micro.write(handler(0x41), &[0x43, 0xcf]);
        let mut regs = guest.regs();
        regs.rflags |= 0x200;
        for n in 1..=3 {
            guest.micro.vcpu.set_regs(&regs).unwrap();
            let mut events = guest.micro.vcpu.get_vcpu_events().unwrap();
            events.interrupt.injected = 1;
            events.interrupt.nr = 0x41;
            guest.micro.vcpu.set_vcpu_events(&events).unwrap();
            assert_eq!(guest.run(), Exit::Halt, "base {base:x}");
            let after = guest.regs();
            assert_eq!((after.rbx, after.rip, after.rsp), (n, CODE + 2, regs.rsp), "base {base:x}");
            regs.rbx = n;
        }
    }
}

/// With a base by which the wrong address is RAM, so that the host would not notice.
#[test]
fn external_interrupts_are_delivered_in_place_of_a_host_that_would_lose_them() {
    let Some(kvm) = kvm() else { return };
    for base in [0, 0x1000] {
        // hlt; hlt, and the handler: inc ebx; iret
        let mut guest = guest(&kvm, base, &[HLT, HLT]);
        guest.micro.write(handler(0x41), &[0x43, 0xcf]);
        let mut regs = guest.regs();
        regs.rflags |= 0x200;
        guest.micro.vcpu.set_regs(&regs).unwrap();
        assert_eq!(guest.run(), Exit::Halt);
        let misplaces = guest.fixups.misplaces_interrupts(&guest.micro.vcpu).unwrap();
        let host_does = HostQuirks::detect(&kvm).unwrap().findings().pm32_interrupt;
        assert_eq!(misplaces, host_does && base != 0);
        if !misplaces {
            continue;
        }
        let space = Space { memory: &guest.micro.memory, device: &guest.device };
        assert!(guest.fixups.deliver_external(&mut guest.micro.vcpu, &space, 0x41).unwrap());
        assert_eq!(guest.run(), Exit::Halt);
        let after = guest.regs();
        assert_eq!((after.rbx, after.rip, after.rsp), (1, CODE + 2, regs.rsp));
    }
}

#[test]
fn exceptions_are_delivered() {
    let Some(kvm) = kvm() else { return };
    for base in BASES {
        // ud2
        let mut undefined = guest(&kvm, base, &[0x0f, 0x0b]);
        assert_eq!(undefined.run(), Exit::Halt);
        assert_eq!(undefined.regs().rip, handler(6) + 2, "base {base:x}");
        assert_eq!(stack_word(&undefined, 3), CODE as u32, "base {base:x}");
        // mov ds, ax with a selector beyond the table: an error code
        let mut protection = guest(&kvm, base, &[0xb8, 0x40, 0, 0, 0, 0x8e, 0xd8]);
        assert_eq!(protection.run(), Exit::Halt);
        assert_eq!(protection.regs().rip, handler(13) + 2, "base {base:x}");
        assert_eq!([stack_word(&protection, 3), stack_word(&protection, 4)], [CODE as u32 + 5, 0x40], "base {base:x}");
    }
}

#[test]
fn a_triple_fault_remains_one() {
    let Some(kvm) = kvm() else { return };
    for base in BASES {
        // lidt [zero]; ud2
        let mut guest = guest(&kvm, base, &[0x0f, 0x01, 0x1d, 0x00, 0x90, 0, 0, 0x0f, 0x0b]);
        assert_eq!(guest.run(), Exit::Other("Shutdown".to_owned()), "base {base:x}");
    }
}
