//! Tests of the fix-ups on KVM.

mod mmio;
mod pm32;
mod ring0;
mod ring3;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use iced_x86::code_asm::CodeAssembler;
use kvm_bindings::kvm_regs;
use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::micro_vm::{CODE, MEMORY, MicroVm, STACK};
use super::{DebuggerRequest, Handled, HostQuirks, VcpuFixups};
use crate::kvm::fallback::GuestPhysical;

/// KVM, or `None` (said loudly) on machines that have none.
pub fn kvm() -> Option<Kvm> {
    if !std::path::Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: this machine has no /dev/kvm");
        return None;
    }
    Some(Kvm::new().expect("/dev/kvm exists and so must work"))
}

/// A micro-VM whose vCPU has the fix-ups, and a device beyond its memory.
pub struct Guest {
    pub micro: MicroVm,
    pub fixups: VcpuFixups,
    pub device: Device,
}

/// Remembers what is written to it, and every access (write, address, length).
#[derive(Default)]
pub struct Device {
    pub bytes: RefCell<HashMap<u64, u8>>,
    pub accesses: RefCell<Vec<(bool, u64, usize)>>,
}

impl Device {
    fn read(&self, gpa: u64, data: &mut [u8]) {
        self.accesses.borrow_mut().push((false, gpa, data.len()));
        for (n, byte) in (0..).zip(data) {
            *byte = self.bytes.borrow().get(&(gpa + n)).copied().unwrap_or(0);
        }
    }

    fn write(&self, gpa: u64, data: &[u8]) {
        self.accesses.borrow_mut().push((true, gpa, data.len()));
        for (n, &byte) in (0..).zip(data) {
            self.bytes.borrow_mut().insert(gpa + n, byte);
        }
    }
}

/// Guest-physical memory as an instruction sees it.
struct Space<'a> {
    memory: &'a GuestMemoryMmap,
    device: &'a Device,
}

impl GuestPhysical for Space<'_> {
    fn read(&self, gpa: u64, data: &mut [u8]) {
        if self.memory.read_slice(data, GuestAddress(gpa)).is_err() {
            self.device.read(gpa, data);
        }
    }

    fn write(&self, gpa: u64, data: &[u8]) {
        if self.memory.write_slice(data, GuestAddress(gpa)).is_err() {
            self.device.write(gpa, data);
        }
    }

    fn is_memory(&self, gpa: u64, len: usize) -> bool {
        gpa as usize + len <= MEMORY
    }

    fn ram(&self, gpa: u64, len: usize) -> Option<*mut u8> {
        self.is_memory(gpa, len).then(|| self.memory.get_host_address(GuestAddress(gpa)).unwrap())
    }
}

/// An exit that the fix-ups leave to others.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    Halt,
    Stepped,
    Other(String),
}

impl Guest {
    /// A guest in 64-bit ring 0, about to run `code` at `address`.
    pub fn new(kvm: &Kvm, address: u64, code: &[u8]) -> Self {
        let quirks = Arc::new(HostQuirks::detect(kvm).unwrap());
        let micro = MicroVm::new(kvm, |vm| quirks.prepare_vm(vm)).unwrap();
        let fixups = VcpuFixups::new(quirks);
        micro.write(address, code);
        let regs = kvm_regs { rip: address, rsp: STACK, rflags: 2, ..Default::default() };
        micro.vcpu.set_regs(&regs).unwrap();
        Self { micro, fixups, device: Device::default() }
    }

    /// Runs to the next exit that is not the fix-ups' business.
    pub fn run(&mut self) -> Exit {
        loop {
            let exit = match self.micro.vcpu.run().unwrap() {
                VcpuExit::Hlt => Exit::Halt,
                VcpuExit::MmioRead(gpa, data) => {
                    self.device.read(gpa, data);
                    continue;
                }
                VcpuExit::MmioWrite(gpa, data) => {
                    self.device.write(gpa, data);
                    continue;
                }
                other => Exit::Other(format!("{other:?}")),
            };
            let space = Space { memory: &self.micro.memory, device: &self.device };
            self.fixups.after_exit(&self.micro.vcpu, &space).unwrap();
            match self.fixups.handle(&mut self.micro.vcpu, &space).unwrap_or_else(|e| panic!("{e}")) {
                Handled::Resume => {}
                Handled::Stepped => return Exit::Stepped,
                Handled::NotMine => return exit,
            }
        }
    }

    /// The registers after an exit.
    pub fn regs(&self) -> kvm_regs {
        self.micro.vcpu.get_regs().unwrap()
    }
}

/// Assembles 64-bit code for `address`.
pub fn assemble(address: u64, build: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    build(&mut assembler).unwrap();
    assembler.assemble(address).unwrap()
}
