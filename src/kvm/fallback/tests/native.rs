//! Instructions that run on the host's CPU.

use super::*;

#[test]
fn popcnt_of_memory_through_every_piece_of_an_address() {
    let memory = FakeMemory::new(0x10000);
    memory.load(0x2000 + 8 * 3 + 0x10, &0xff00_ff00_0000_0001u64.to_le_bytes());
    let mut cpu = ring0(64);
    cpu.regs.rbx = 0x2000;
    cpu.regs.rsi = 3;
    // popcnt rax, [rbx + rsi * 8 + 0x10]
    let (cpu, outcome) = step(cpu, &FakeVcpu::default(), &memory, &[0xf3, 0x48, 0x0f, 0xb8, 0x44, 0xf3, 0x10]);
    assert_eq!(outcome, Outcome::Retired);
    assert_eq!(cpu.regs.rax, 17);
    assert_eq!(cpu.regs.rip, 0x1007);
}

#[test]
fn cmpxchg16b_exchanges_in_ram() {
    let memory = FakeMemory::new(0x10000);
    memory.load(0x2000, &[0x11; 16]);
    let mut cpu = ring0(64);
    cpu.regs.rdi = 0x2000;
    (cpu.regs.rax, cpu.regs.rdx) = (0x1111_1111_1111_1111, 0x1111_1111_1111_1111);
    (cpu.regs.rbx, cpu.regs.rcx) = (5, 6);
    // lock cmpxchg16b [rdi]
    let (cpu, _) = step(cpu, &FakeVcpu::default(), &memory, &[0xf0, 0x48, 0x0f, 0xc7, 0x0f]);
    assert_eq!((memory.u64(0x2000), memory.u64(0x2008)), (5, 6));
    assert_ne!(cpu.regs.rflags & flags::ZF, 0);
    let (cpu, _) = step(
        Cpu { regs: kvm_regs { rip: 0x1000, ..cpu.regs }, ..cpu },
        &FakeVcpu::default(),
        &memory,
        &[0xf0, 0x48, 0x0f, 0xc7, 0x0f],
    );
    assert_eq!((cpu.regs.rax, cpu.regs.rdx), (5, 6));
    assert_eq!(cpu.regs.rflags & flags::ZF, 0);
}

#[test]
fn a_vector_move_to_a_device_is_split_into_bus_accesses() {
    let memory = FakeMemory::new(0x10000);
    let vcpu = FakeVcpu::default();
    let pattern: [u8; 64] = std::array::from_fn(|n| n as u8);
    vcpu.area.borrow_mut().set_vector(3, &pattern);
    let mut cpu = ring0(64);
    cpu.regs.rdi = 0xf000_0000;
    // vmovdqu [rdi], ymm3
    step(cpu, &vcpu, &memory, &[0xc5, 0xfe, 0x7f, 0x1f]);
    let expected: Vec<_> = (0..4).map(|n| (true, 0xf000_0000 + 8 * n, 8)).collect();
    assert_eq!(*memory.accesses.borrow(), expected);
    assert!((0..32).all(|n| memory.device.borrow()[&(0xf000_0000 + n)] == n as u8));
    // fld tbyte ptr [rdi], then fstp tbyte ptr [rsi]
    memory.accesses.borrow_mut().clear();
    step(cpu, &vcpu, &memory, &[0xdb, 0x2f]);
    assert_eq!(*memory.accesses.borrow(), [(false, 0xf000_0000, 8), (false, 0xf000_0008, 2)]);
    cpu.regs.rsi = 0x3000;
    step(cpu, &vcpu, &memory, &[0xdb, 0x3e]);
    assert_eq!(memory.bytes(0x3000, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}
