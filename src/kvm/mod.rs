//! The kernel side: VM, memory slots, interrupt chip, vCPUs, CPUID, and what KVM leaves to user space.

pub mod address_space;
pub mod chips;
pub mod control;
pub mod cpuid;
pub mod disassembly;
pub mod doorbell;
pub mod fallback;
pub mod inspect;
pub mod irq;
pub mod memory;
pub mod msr;
pub mod open;
pub mod pit;
pub mod posted_writes;
pub mod quirks;
pub mod register_port;
pub mod report;
pub mod reset_state;
mod run_page;
pub mod split;
pub mod vcpu;
pub mod vm;
