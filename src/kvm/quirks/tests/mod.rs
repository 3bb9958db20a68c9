//! Tests of the fix-ups on KVM.

mod pm32;
mod ring0;
mod ring3;

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

impl GuestPhysical for GuestMemoryMmap {
    fn read(&self, gpa: u64, data: &mut [u8]) {
        if self.read_slice(data, GuestAddress(gpa)).is_err() {
            data.fill(0xff);
        }
    }

    fn write(&self, gpa: u64, data: &[u8]) {
        let _ = self.write_slice(data, GuestAddress(gpa));
    }

    fn is_memory(&self, gpa: u64, len: usize) -> bool {
        gpa as usize + len <= MEMORY
    }

    fn ram(&self, gpa: u64, len: usize) -> Option<*mut u8> {
        let inside = GuestPhysical::is_memory(self, gpa, len);
        inside.then(|| self.get_host_address(GuestAddress(gpa)).unwrap())
    }
}

/// A micro-VM whose vCPU has the fix-ups.
pub struct Guest {
    pub micro: MicroVm,
    pub fixups: VcpuFixups,
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
        Self { micro, fixups }
    }

    /// Runs to the next exit that is not the fix-ups' business.
    pub fn run(&mut self) -> Exit {
        loop {
            let exit = match self.micro.vcpu.run().unwrap() {
                VcpuExit::Hlt => Exit::Halt,
                other => Exit::Other(format!("{other:?}")),
            };
            self.fixups.after_exit(&self.micro.vcpu, &self.micro.memory).unwrap();
            match self.fixups.handle(&mut self.micro.vcpu, &self.micro.memory).unwrap_or_else(|e| panic!("{e}")) {
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
