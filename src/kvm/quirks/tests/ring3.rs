//! Ring 3 and back: system calls, software interrupts, and the exceptions that must not be mistaken for them.

use iced_x86::IcedError;
use iced_x86::code_asm::*;

use super::*;
use crate::kvm::quirks::micro_vm::{KERNEL, handler, msr, selector};

/// A guest that sets up SYSCALL in ring 0, with the entry point `entry`, and goes on with `user` in ring 3.
fn ring3_guest(
    kvm: &Kvm,
    entry: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    user: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Guest {
    let guest = guest_of_ring3(kvm, selector::USER_CODE, entry);
    guest.micro.write(CODE, &assemble(CODE, user));
    guest
}

/// The same, going on at `CODE` with `code_segment`.
fn guest_of_ring3(
    kvm: &Kvm,
    code_segment: u16,
    entry: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Guest {
    let set_msr = |a: &mut CodeAssembler, index: u32| -> Result<(), IcedError> {
        a.mov(ecx, index)?;
        a.mov(rdx, rax)?;
        a.shr(rdx, 32)?;
        a.wrmsr()
    };
    let kernel = assemble(KERNEL, |a| {
        let mut entry_point = a.create_label();
        a.mov(rax, 0x001b_0008_0000_0000_u64)?;
        set_msr(a, msr::STAR)?;
        a.mov(eax, 0x4_7700)?;
        set_msr(a, msr::FMASK)?;
        a.lea(rax, qword_ptr(entry_point))?;
        set_msr(a, msr::LSTAR)?;
        a.push(i32::from(selector::USER_DATA))?;
        a.push(USER_STACK as i32)?;
        a.push(0x202)?;
        a.push(i32::from(code_segment))?;
        a.push(CODE as i32)?;
        a.iretq()?;
        a.set_label(&mut entry_point)?;
        entry(a)
    });
    Guest::new(kvm, KERNEL, &kernel)
}

const USER_STACK: u64 = STACK - 0x800;

#[test]
fn system_calls_enter_ring_0_and_return() {
    let Some(kvm) = kvm() else { return };
    // The entry counts in RBX, notes RFLAGS, CS, SS and RSP, and returns until RBX is 100.
    let entry = |a: &mut CodeAssembler| {
        a.inc(ebx)?;
        a.pushfq()?;
        a.pop(r12)?;
        a.mov(r13w, cs)?;
        a.mov(r14w, ss)?;
        a.mov(r15, rsp)?;
        a.cmp(ebx, 100)?;
        let mut done = a.create_label();
        a.je(done)?;
        a.sysretq()?;
        a.set_label(&mut done)?;
        a.hlt()
    };
    let user = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.std()?;
        a.set_label(&mut again)?;
        a.stc()?;
        a.syscall()?;
        a.jmp(again)
    };
    let mut guest = ring3_guest(&kvm, entry, user);
    let start = std::time::Instant::now();
    assert_eq!(guest.run(), Exit::Halt);
    eprintln!("100 system calls in {:?}\n{}", start.elapsed(), guest.fixups);
    let regs = guest.regs();
    assert_eq!(regs.rbx, 100);
    assert_eq!(regs.r12 & 0x4_7f01, 0x0001, "IF, TF, DF, AC and IOPL are masked, CF is not");
    assert_eq!(regs.r11 & 0x4_7f01, 0x0601, "R11 has the flags of ring 3");
    assert_eq!((regs.r13 as u16, regs.r14 as u16), (selector::KERNEL_CODE, selector::KERNEL_DATA));
    assert_eq!(regs.r15, USER_STACK, "SYSCALL leaves RSP alone");
}

#[test]
fn a_jump_to_the_entry_point_is_a_page_fault() {
    let Some(kvm) = kvm() else { return };
    let user = |a: &mut CodeAssembler| {
        let mut elsewhere = a.create_label();
        // RCX and R11 as SYSCALL would leave them, but no SYSCALL.
        a.lea(rcx, qword_ptr(elsewhere))?;
        a.mov(r11d, 0x202)?;
        a.mov(rax, qword_ptr(CODE + 0x100))?;
        a.nop()?;
        a.set_label(&mut elsewhere)?;
        a.jmp(rax)
    };
    let mut guest = ring3_guest(&kvm, |a| a.hlt(), user);
    let entry = KERNEL + guest_entry_offset(&guest);
    guest.micro.write(CODE + 0x100, &entry.to_le_bytes());
    assert_eq!(guest.run(), Exit::Halt);
    let regs = guest.regs();
    assert_eq!(regs.rip, handler(14) + 2);
    assert_eq!(guest.micro.read_u64(regs.rsp), 0x15, "present, user, fetch");
    assert_eq!(guest.micro.read_u64(regs.rsp + 8), entry);
}

/// The entry point is the first HLT of the kernel's code.
fn guest_entry_offset(guest: &Guest) -> u64 {
    (0..).find(|&offset| guest.micro.read_u64(KERNEL + offset) & 0xffff == 0xf4).unwrap()
}

#[test]
fn software_interrupts_of_ring_3_reach_their_gates() {
    let Some(kvm) = kvm() else { return };
    let mut guest = ring3_guest(&kvm, |a| a.hlt(), |a| a.int(0x80));
    assert_eq!(guest.run(), Exit::Halt);
    let regs = guest.regs();
    assert_eq!(regs.rip, handler(0x80) + 2);
    assert_eq!(regs.rsp, STACK - 40, "the frame is on the stack of ring 0");
    assert_eq!(guest.micro.read_u64(regs.rsp), CODE + 2, "and returns behind the INT");
    assert_eq!(guest.micro.read_u64(regs.rsp + 8), u64::from(selector::USER_CODE));
    assert_eq!(guest.micro.read_u64(regs.rsp + 24), USER_STACK);
}

/// Sets up SYSCALL, as the trap at #UD waits for it, then runs `code` in ring 0 with RDI = `CODE` + 100h.
fn ring0_after_setup(kvm: &Kvm, code: &[u8]) -> Guest {
    let kernel = |a: &mut CodeAssembler| {
        a.mov(ecx, msr::LSTAR)?;
        a.mov(eax, handler(0) as u32)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.mov(edi, CODE as u32 + 0x100)?;
        a.db(code)?;
        a.hlt()
    };
    let guest = Guest::new(kvm, KERNEL, &assemble(KERNEL, kernel));
    guest.micro.write(CODE + 0x100, &0x1122_3344_5566_7788_u64.to_le_bytes());
    guest
}

#[test]
fn movbe_and_rdpid_work_in_ring_0_and_ud2_does_not() {
    let Some(kvm) = kvm() else { return };
    if std::arch::is_x86_feature_detected!("movbe") {
        let mut guest = ring0_after_setup(&kvm, &[0x48, 0x0f, 0x38, 0xf0, 0x07]);
        assert_eq!(guest.run(), Exit::Halt);
        assert_eq!((guest.regs().rax, guest.regs().rsp), (0x8877_6655_4433_2211, STACK));
    }
    if std::arch::x86_64::__cpuid_count(7, 0).ecx >> 22 & 1 != 0 {
        let mut guest = ring0_after_setup(&kvm, &[0xf3, 0x0f, 0xc7, 0xf8]);
        crate::kvm::fallback::VcpuState::set_msr(&guest.micro.vcpu, 0xc000_0103, 0x1234).unwrap();
        assert_eq!(guest.run(), Exit::Halt);
        assert_eq!(guest.regs().rax, 0x1234);
    }
    let mut guest = ring0_after_setup(&kvm, &[0x0f, 0x0b]);
    assert_eq!(guest.run(), Exit::Halt);
    assert_eq!(guest.regs().rip, handler(6) + 2);
    assert_eq!(guest.regs().rsp, STACK - 40);
}

#[test]
fn a_changed_handler_is_followed() {
    let Some(kvm) = kvm() else { return };
    // The entry counts; the second call comes after a port access (an exit), before which the #PF gate has moved.
    let entry = |a: &mut CodeAssembler| {
        let mut second = a.create_label();
        a.inc(ebx)?;
        a.cmp(ebx, 2)?;
        a.je(second)?;
        a.mov(word_ptr(0x6000 + 16 * 14), handler(0x90) as u32 as i32)?;
        a.out(0x80, al)?;
        a.sysretq()?;
        a.set_label(&mut second)?;
        a.hlt()
    };
    let user = |a: &mut CodeAssembler| {
        a.syscall()?;
        a.syscall()
    };
    let mut guest = ring3_guest(&kvm, entry, user);
    let exit = guest.run();
    assert!(matches!(&exit, Exit::Other(what) if what.starts_with("IoOut(128")), "{exit:?}");
    assert_eq!(guest.run(), Exit::Halt);
    assert_eq!(guest.regs().rbx, 2);
}

/// 32-bit code of ring 3, run to its first halt in ring 0.
fn compatibility_mode(kvm: &Kvm, code: &[u8]) -> Guest {
    let mut guest = guest_of_ring3(kvm, selector::USER_CODE32, |a| a.hlt());
    guest.micro.write(CODE, code);
    assert_eq!(guest.run(), Exit::Halt);
    guest
}

#[test]
fn compatibility_mode_has_its_instructions() {
    let Some(kvm) = kvm() else { return };
    // mov eax, 12345678h; movd xmm3, eax; paddd xmm3, xmm3; movd ecx, xmm3; popcnt edx, ecx; int 80h
    let vectors = &[
        0xb8, 0x78, 0x56, 0x34, 0x12, 0x66, 0x0f, 0x6e, 0xd8, 0x66, 0x0f, 0xfe, 0xdb, 0x66, 0x0f, 0x7e, 0xd9, 0xf3,
        0x0f, 0xb8, 0xd1, 0xcd, 0x80,
    ];
    let guest = compatibility_mode(&kvm, vectors);
    let regs = guest.regs();
    assert_eq!(regs.rip, handler(0x80) + 2);
    assert_eq!((regs.rcx, regs.rdx), (0x2468_acf0, 0x2468_acf0_u32.count_ones().into()));
    assert_eq!(guest.micro.read_u64(regs.rsp), CODE + vectors.len() as u64);
    assert_eq!(guest.micro.read_u64(regs.rsp + 8), u64::from(selector::USER_CODE32));

    let guest = compatibility_mode(&kvm, &[0xcc]);
    assert_eq!(guest.regs().rip, handler(3) + 2, "INT3");
    assert_eq!(guest.micro.read_u64(guest.regs().rsp), CODE + 1);
    let guest = compatibility_mode(&kvm, &[0x0f, 0x0b]);
    assert_eq!(guest.regs().rip, handler(6) + 2, "UD2");
    assert_eq!(guest.micro.read_u64(guest.regs().rsp), CODE);
}

#[test]
fn a_debugger_steps_through_what_natoma_performs() {
    let Some(kvm) = kvm() else { return };
    // nop; popcnt rax, rdi; xgetbv's neighbour clac; nop; hlt
    let code = [0x90, 0xf3, 0x48, 0x0f, 0xb8, 0xc7, 0x0f, 0x01, 0xca, 0x90, 0xf4];
    let mut guest = Guest::new(&kvm, CODE, &code);
    let request = DebuggerRequest { single_step: true, ..Default::default() };
    assert!(guest.fixups.debug.set_debugger(request));
    guest.fixups.debug.apply(&guest.micro.vcpu).unwrap();
    for expected in [1, 6, 9, 10] {
        let exit = guest.run();
        assert!(exit == Exit::Stepped || matches!(&exit, Exit::Other(what) if what.starts_with("Debug")), "{exit:?}");
        assert_eq!(guest.regs().rip, CODE + expected);
    }
}
