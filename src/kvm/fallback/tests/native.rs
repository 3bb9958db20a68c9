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
