//! Tests of the fallback without KVM: a vCPU and a memory of our own.

mod checks;
pub mod differential;
mod gather;
mod interrupts;
mod native;
mod paging;
pub mod random;
pub mod real_cpu;
mod system;
mod xsave;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::Error;

use super::cpu::{cr0, cr4, efer, flags};
use super::xstate::XsaveArea;
use super::{Cpu, Fallback, GuestPhysical, Outcome, VcpuState, host};

/// The slow state of a vCPU, in memory.
pub struct FakeVcpu {
    pub area: RefCell<XsaveArea>,
    pub xcr0: Cell<u64>,
    pub msrs: RefCell<HashMap<u32, u64>>,
    pub dr6: Cell<u64>,
    pub flushes: Cell<u32>,
}

impl Default for FakeVcpu {
    fn default() -> Self {
        Self {
            area: RefCell::default(),
            xcr0: Cell::new(host::xcr0() & 0xe7),
            msrs: RefCell::default(),
            dr6: Cell::default(),
            flushes: Cell::default(),
        }
    }
}

impl VcpuState for FakeVcpu {
    fn xsave(&self, area: &mut XsaveArea) -> Result<(), Error> {
        area.clone_from(&self.area.borrow());
        Ok(())
    }

    fn set_xsave(&self, area: &XsaveArea) -> Result<(), Error> {
        self.area.borrow_mut().clone_from(area);
        Ok(())
    }

    fn xcr0(&self) -> Result<u64, Error> {
        Ok(self.xcr0.get())
    }

    fn msr(&self, index: u32) -> Result<Option<u64>, Error> {
        Ok(self.msrs.borrow().get(&index).copied())
    }

    fn set_msr(&self, index: u32, value: u64) -> Result<bool, Error> {
        Ok(self.msrs.borrow_mut().insert(index, value).is_some())
    }

    fn flush_tlb(&self, _: &kvm_sregs) -> Result<(), Error> {
        self.flushes.set(self.flushes.get() + 1);
        Ok(())
    }

    fn raise_dr6(&self, bits: u64) -> Result<(), Error> {
        self.dr6.set(self.dr6.get() | bits);
        Ok(())
    }
}

/// RAM from address 0, and everything else a device that logs its accesses and reads as a counter.
pub struct FakeMemory {
    pub ram: RefCell<Box<[u8]>>,
    pub accesses: RefCell<Vec<(bool, u64, usize)>>,
    pub device: RefCell<HashMap<u64, u8>>,
}

impl FakeMemory {
    pub fn new(size: usize) -> Self {
        Self { ram: RefCell::new(vec![0; size].into()), accesses: RefCell::default(), device: RefCell::default() }
    }

    pub fn load(&self, gpa: usize, data: &[u8]) {
        self.ram.borrow_mut()[gpa..gpa + data.len()].copy_from_slice(data);
    }

    pub fn bytes(&self, gpa: usize, len: usize) -> Vec<u8> {
        self.ram.borrow()[gpa..gpa + len].to_vec()
    }

    pub fn u64(&self, gpa: usize) -> u64 {
        u64::from_le_bytes(self.bytes(gpa, 8).try_into().unwrap())
    }

    fn check(gpa: u64, len: usize) {
        assert!(gpa % 4096 + len as u64 <= 4096, "access of {len} at {gpa:#x} crosses a page");
    }
}

impl GuestPhysical for FakeMemory {
    fn read(&self, gpa: u64, data: &mut [u8]) {
        Self::check(gpa, data.len());
        let at = gpa as usize;
        if let Some(ram) = self.ram.borrow().get(at..at + data.len()) {
            return data.copy_from_slice(ram);
        }
        assert!(matches!(data.len(), 1 | 2 | 4 | 8), "bus access of {} bytes", data.len());
        self.accesses.borrow_mut().push((false, gpa, data.len()));
        let device = self.device.borrow();
        for (n, byte) in (0..).zip(data) {
            *byte = device.get(&(gpa + n)).copied().unwrap_or(0xff);
        }
    }

    fn write(&self, gpa: u64, data: &[u8]) {
        Self::check(gpa, data.len());
        let at = gpa as usize;
        if let Some(ram) = self.ram.borrow_mut().get_mut(at..at + data.len()) {
            return ram.copy_from_slice(data);
        }
        assert!(matches!(data.len(), 1 | 2 | 4 | 8), "bus access of {} bytes", data.len());
        self.accesses.borrow_mut().push((true, gpa, data.len()));
        for (n, &byte) in (0..).zip(data) {
            self.device.borrow_mut().insert(gpa + n, byte);
        }
    }

    fn is_memory(&self, gpa: u64, len: usize) -> bool {
        gpa as usize + len <= self.ram.borrow().len()
    }

    fn ram(&self, gpa: u64, len: usize) -> Option<*mut u8> {
        let at = gpa as usize;
        self.ram.borrow_mut().get_mut(at..at + len).map(<[u8]>::as_mut_ptr)
    }
}

/// A flat code or data segment.
pub fn flat(code: bool, long: bool, db: bool, dpl: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: if code { 8 } else { 16 } | u16::from(dpl),
        type_: if code { 11 } else { 3 },
        present: 1,
        dpl,
        db: u8::from(db),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..Default::default()
    }
}

/// A vCPU in `bits`-bit ring 0, flat and unpaged, everything enabled.
pub fn ring0(bits: u32) -> Cpu {
    let code = flat(true, bits == 64, bits == 32, 0);
    let data = flat(false, false, bits >= 32, 0);
    let sregs = kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        cr0: cr0::PE,
        cr4: cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE,
        efer: if bits == 64 { efer::LMA } else { 0 },
        ..Default::default()
    };
    let regs = kvm_regs { rip: 0x1000, rsp: 0x8000, rflags: flags::FIXED, ..Default::default() };
    Cpu { regs, sregs, events: Default::default() }
}

/// Performs `code` placed at the instruction pointer.
pub fn step(cpu: Cpu, vcpu: &FakeVcpu, memory: &FakeMemory, code: &[u8]) -> (Cpu, Outcome) {
    Fallback::default().step(cpu, vcpu, memory, code).unwrap_or_else(|report| panic!("{report}"))
}
