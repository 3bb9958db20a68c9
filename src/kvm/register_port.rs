//! Accesses to a port that exchanges registers with the processor.
//!
//! The registers are asked for and given back by calls of their own: to have KVM copy them at every exit would cost all
//! other exits something. KVM takes the changes over in the middle of the instruction, and only then completes it.

use std::sync::{Arc, Mutex};

use devices::base::{Caller, RegisterPort, Registers, lock};
use kvm_bindings::kvm_regs;
use kvm_ioctls::VcpuFd;

use super::run_page::RunPage;

/// A port with registers, and where it is.
#[derive(Clone)]
pub struct PlacedPort {
    /// The port's number.
    pub port: u16,
    /// What is behind it.
    pub device: Arc<Mutex<dyn RegisterPort>>,
}

/// Which way the data of an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// A vCPU in the middle of an access.
struct CallingVcpu<'a> {
    fd: &'a VcpuFd,
    has_x2apic: bool,
    registers: Registers,
}

impl Caller for CallingVcpu<'_> {
    fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn tsc_hz(&self) -> Option<u64> {
        self.fd.get_tsc_khz().ok().filter(|khz| *khz > 0).map(|khz| u64::from(khz) * 1000)
    }

    fn has_x2apic(&self) -> bool {
        self.has_x2apic
    }
}

impl PlacedPort {
    /// Completes the access for which a vCPU has exited.
    ///
    /// # Errors
    /// KVM does not give the registers or take them back.
    pub(super) fn access(
        &self,
        fd: &VcpuFd,
        page: RunPage,
        has_x2apic: bool,
        direction: Direction,
    ) -> Result<(), String> {
        for element in 0..page.io_count() {
            let eax = self.exchange(fd, has_x2apic)?;
            if direction == Direction::In {
                page.set_io_element(element, eax);
            }
        }
        Ok(())
    }

    /// One call. Returns EAX.
    fn exchange(&self, fd: &VcpuFd, has_x2apic: bool) -> Result<u32, String> {
        let failed = |what: &str, errno| format!("port {:#x}: KVM can't {what} the registers: {errno}", self.port);
        let mut regs = fd.get_regs().map_err(|errno| failed("read", errno))?;
        let before = low_halves(&regs);
        let mut caller = CallingVcpu { fd, has_x2apic, registers: before };
        lock(&self.device).access(&mut caller);
        let after = caller.registers;
        if after != before {
            put_low_halves(&mut regs, &before, &after);
            fd.set_regs(&regs).map_err(|errno| failed("write", errno))?;
        }
        Ok(after.eax)
    }
}

fn low_halves(regs: &kvm_regs) -> Registers {
    let kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, .. } = *regs;
    let [eax, ebx, ecx, edx, esi, edi] = [rax, rbx, rcx, rdx, rsi, rdi].map(|register| register as u32);
    Registers { eax, ebx, ecx, edx, esi, edi }
}

/// Writes what has changed.
fn put_low_halves(regs: &mut kvm_regs, before: &Registers, after: &Registers) {
    let changes = [
        (&mut regs.rax, before.eax, after.eax),
        (&mut regs.rbx, before.ebx, after.ebx),
        (&mut regs.rcx, before.ecx, after.ecx),
        (&mut regs.rdx, before.edx, after.edx),
        (&mut regs.rsi, before.esi, after.esi),
        (&mut regs.rdi, before.edi, after.edi),
    ];
    for (register, before, after) in changes {
        if before != after {
            *register = after.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use devices::vmware::{Identity, VmPort};
    use kvm_ioctls::{Kvm, VcpuExit};

    use super::super::quirks::micro_vm::{CODE, MicroVm};
    use super::*;

    const PORT: u16 = 0x5658;

    /// Runs one access with these registers to its end. `None` on a host without KVM.
    fn run(code: &[u8], direction: Direction, regs: kvm_regs) -> Option<kvm_regs> {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("SKIPPED: this host has no KVM");
            return None;
        };
        let identity = Identity { uuid: *b"0123456789abcdef", ram_size: 0x1_0800_0000 };
        let port = PlacedPort { port: PORT, device: Arc::new(Mutex::new(VmPort::new(identity, true))) };
        let mut micro = MicroVm::new(&kvm, |_| Ok(())).unwrap();
        micro.write(CODE, &[code, &[0xf4]].concat());
        micro.vcpu.set_regs(&kvm_regs { rip: CODE, rflags: 2, rdx: PORT.into(), ..regs }).unwrap();
        let page = RunPage::new(&mut micro.vcpu);
        loop {
            match micro.vcpu.run().unwrap() {
                VcpuExit::IoIn(PORT, _) => assert_eq!(direction, Direction::In),
                VcpuExit::IoOut(PORT, _) => assert_eq!(direction, Direction::Out),
                VcpuExit::Hlt => return Some(micro.vcpu.get_regs().unwrap()),
                other => panic!("unexpected exit {other:?}"),
            }
            port.access(&micro.vcpu, page, true, direction).unwrap();
        }
    }

    const MAGIC: u64 = 0x564d_5868;
    const UPPER: u64 = 0x1234_5678 << 32;

    #[test]
    fn a_guest_finds_the_answer_in_its_registers() {
        let version = kvm_regs { rax: MAGIC, rbx: UPPER | 1, rcx: 10, rsi: UPPER | 7, ..Default::default() };
        let in_eax_dx = &[0xed];
        let Some(regs) = run(in_eax_dx, Direction::In, version) else { return };
        // The magic number, product and version of QEMU's port; what is not part of the answer stays whole.
        assert_eq!([regs.rax, regs.rbx, regs.rcx, regs.rsi], [6, MAGIC, 2, UPPER | 7]);

        let out_dx_eax = &[0xef];
        let regs = run(out_dx_eax, Direction::Out, version).unwrap();
        assert_eq!([regs.rax, regs.rbx, regs.rcx, regs.rsi], [6, MAGIC, 2, UPPER | 7]);

        let uuid = kvm_regs { rax: MAGIC, rcx: 19, ..Default::default() };
        let regs = run(in_eax_dx, Direction::In, uuid).unwrap();
        let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        let words = [b"0123", b"4567", b"89ab", b"cdef"].map(word);
        assert_eq!([regs.rax, regs.rbx, regs.rcx, regs.rdx], words);
    }

    #[test]
    fn a_narrow_read_has_all_of_eax_too_and_no_magic_gives_ones() {
        let ram_size = kvm_regs { rax: MAGIC, rcx: 20, ..Default::default() };
        let in_al_dx = &[0xec];
        let Some(regs) = run(in_al_dx, Direction::In, ram_size) else { return };
        assert_eq!([regs.rax, regs.rbx], [0x0800_0000, 0x1177]);
        let regs = run(&[0xed], Direction::In, kvm_regs { rax: 1, rcx: 10, ..Default::default() }).unwrap();
        assert_eq!([regs.rax, regs.rbx, regs.rcx], [0xffff_ffff, 0, 10]);
    }
}
